//! The processes of this host, once a period: what each used, what it waited for, how it ended. Shared by the probes that
//! report on processes. The kernel's own walk over its threads (`walk.bpf.c`, `watch.bpf.c`) gives all of them in one read;
//! without BPF the files of `/proc` give what an ordinary user may see.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use ahash::HashMap;
use anyhow::Result;
use libbpf_rs::{MapCore, MapFlags, MapHandle, RingBuffer, RingBufferBuilder};

use gala_model::tables::proc::OFF_EDGES_NS;

use self::layout::{BUCKETS, Config, Counters, Culprit, FLAG_KERNEL, FLAG_LEADER, RawNotice, Record, SYSCALLS};
use crate::kernel::load::{self, Loaded, Walker};
use crate::kernel::{HookReport, HookSpec, HookState, ObjectSpec, Rung, Step, plain};

mod choice;
pub mod layout;
mod procfs;

pub use choice::{Choice, MAX_PROCESSES, Pair, joined};
pub use layout::{CpuShare, NodeWaits, OffKind, Usage, WaitClass, Waits};

const fn step(rung: Rung, programs: &'static [&'static str]) -> Step {
    Step { rung, programs, lacks: "" }
}

const BY_FILES: Step =
    Step { rung: Rung::Procfs, programs: &[], lacks: "threads are not told apart, other users' I/O is not seen" };

/// The walk alone.
pub const WALK: ObjectSpec = ObjectSpec {
    probe: "baseinfo",
    object: crate::bpf_object!("walk"),
    hooks: &[HookSpec { hook: "task", ladder: &[step(Rung::Iterator, &["walk"]), BY_FILES] }],
};

/// The walk with waits, preemptions and ends.
pub const WATCH: ObjectSpec = ObjectSpec {
    probe: "proc",
    object: crate::bpf_object!("watch"),
    hooks: &[
        HookSpec { hook: "task", ladder: &[step(Rung::Iterator, &["walk_watched"]), BY_FILES] },
        HookSpec { hook: "task_newtask", ladder: &[step(Rung::TpBtf, &["on_new_task"])] },
        HookSpec { hook: "sched_process_exit", ladder: &[step(Rung::TpBtf, &["on_exit"])] },
        HookSpec { hook: "mark_victim", ladder: &[step(Rung::RawTracepoint, &["on_oom"])] },
        HookSpec {
            hook: "vfs_fsync_range",
            ladder: &[
                step(
                    Rung::Fexit,
                    &["fsync_range_enter", "fsync_range_exit", "fsync_enter", "fsync_exit", "fdatasync_enter", "fdatasync_exit"],
                ),
                Step {
                    rung: Rung::TpBtf,
                    programs: &["ext4_fsync_enter", "ext4_fsync_exit"],
                    lacks: "calls are counted on ext4 only, elsewhere only the time asleep in them",
                },
            ],
        },
        HookSpec { hook: "mm_vmscan_direct_reclaim", ladder: &[step(Rung::TpBtf, &["reclaim_begin", "reclaim_end"])] },
        HookSpec { hook: "sched_switch", ladder: &[step(Rung::TpBtf, &["on_switch"])] },
    ],
};

/// Waits on the run queue below this charge nobody: they are the scheduler's own time.
const PREEMPT_FLOOR_NS: u64 = 100_000;
/// Younger processes end without a notice.
const EXIT_AGE_NS: u64 = 1_000_000_000;
/// Notices kept between two reports; more are counted as lost.
const MAX_NOTICES: usize = 256;

/// A process at the time of a walk.
#[derive(Clone, Debug, Default)]
pub struct Process {
    pub tgid: u32,
    /// Since boot; with the id it names the process for ever.
    pub start_ns: u64,
    pub kernel: bool,
    pub comm: [u8; 16],
    pub ppid: u32,
    pub pgid: u32,
    pub cpu: u32,
    pub threads: u32,
    pub priority: i64,
    pub nice: i64,
    pub vm_pages: u64,
    pub rss_pages: u64,
    pub swap_pages: Option<u64>,
    pub files_limit: Option<u64>,
    pub cutime_ns: u64,
    pub cstime_ns: u64,
    /// Threads in uninterruptible sleep.
    pub blocked: u32,
    /// Threads stopped by a signal or a debugger.
    pub stopped: u32,
    pub zombie: bool,
    pub usage: Usage,
    pub waits: Waits,
    /// Where its threads ran and waited since the walk before.
    pub cpus: Vec<CpuShare>,
    /// Whether I/O could be read.
    pub io_known: bool,
    /// Whether switches could be read.
    pub switches_known: bool,
}

impl Process {
    pub fn name(&self) -> String {
        comm_text(&self.comm)
    }
}

/// All processes at one time, by id.
#[derive(Debug)]
pub struct Snapshot {
    pub at: Instant,
    pub processes: Vec<Process>,
    /// Threads of user processes with their usage, for those with several.
    pub threads: Vec<Thread>,
    /// Who ran while others waited since the walk before.
    pub preemptions: Vec<Preemption>,
}

/// A thread of a process with several.
#[derive(Clone, Debug)]
pub struct Thread {
    pub pid: u32,
    pub tgid: u32,
    pub start_ns: u64,
    pub comm: [u8; 16],
    pub usage: Usage,
    pub waits: Waits,
}

/// Who ran while a process waited, in one period. Of each thread those who ran longest are told apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preemption {
    pub victim: u32,
    pub culprit: u32,
    pub culprit_comm: String,
    pub culprit_kernel: bool,
    pub cpu: u32,
    pub ns: u64,
    pub count: u64,
    pub max_ns: u64,
}

impl Preemption {
    fn new(victim: u32, culprit: &Culprit) -> Self {
        let mut pair = Self {
            victim,
            culprit: culprit.tgid,
            culprit_comm: comm_text(&culprit.comm),
            culprit_kernel: culprit.kernel != 0,
            cpu: culprit.cpu,
            ns: 0,
            count: 0,
            max_ns: 0,
        };
        pair.add(culprit);
        pair
    }

    /// What another thread of the same process saw. Only what is sure counts: the rest is divided by run time later.
    fn add(&mut self, culprit: &Culprit) {
        self.ns += culprit.ns.saturating_sub(culprit.unsure_ns);
        self.count += u64::from(culprit.count);
        self.max_ns = self.max_ns.max(culprit.max_ns);
    }
}

/// The end of a process.
#[derive(Clone, Debug)]
pub struct Notice {
    pub oom: bool,
    pub tgid: u32,
    pub start_ns: u64,
    pub exit_code: u32,
    pub comm: String,
    pub runtime_ns: u64,
}

pub struct Tasks {
    loaded: Loaded,
    walker: Option<Walker>,
    node: Option<MapHandle>,
    counters: Option<MapHandle>,
    ring: Option<RingBuffer<'static>>,
    notices: Arc<Mutex<Vec<Notice>>>,
    notices_dropped: Arc<std::sync::atomic::AtomicU64>,
    files: procfs::Files,
}

impl Tasks {
    /// Never fails: what does not work is in [`Tasks::hooks`].
    pub fn start(spec: &'static ObjectSpec) -> Self {
        let config = Config {
            preempt_floor_ns: PREEMPT_FLOOR_NS,
            exit_age_ns: EXIT_AGE_NS,
            class_of: syscall_classes(),
            edges: std::array::from_fn(|index| OFF_EDGES_NS[index]),
        };
        let watches = spec.probe == WATCH.probe;
        let loaded = load::load(spec, |open| match watches {
            true => load::set_config(open, plain::bytes(&config)),
            false => Ok(()),
        });
        let watching = loaded.works("sched_switch");
        let name = if watches { "walk_watched" } else { "walk" };
        let notices = Arc::new(Mutex::new(Vec::new()));
        let notices_dropped = Arc::new(std::sync::atomic::AtomicU64::new(0));
        let mut tasks = Self {
            walker: loaded.iterator(name, None).ok(),
            node: watching.then(|| loaded.map("node").ok()).flatten(),
            counters: loaded.map(".bss.counters").ok(),
            ring: None,
            loaded,
            notices,
            notices_dropped,
            files: procfs::Files::default(),
        };
        tasks.ring = tasks.open_ring().ok();
        tasks
    }

    fn open_ring(&self) -> Result<RingBuffer<'static>> {
        let map = self.loaded.map("notices")?;
        let (notices, dropped) = (Arc::clone(&self.notices), Arc::clone(&self.notices_dropped));
        let mut builder = RingBufferBuilder::new();
        builder.add(&map, move |bytes| {
            if let Some(raw) = plain::read::<RawNotice>(bytes) {
                let mut kept = notices.lock().expect("no holder of this lock panics");
                if kept.len() < MAX_NOTICES {
                    kept.push(Notice {
                        oom: raw.kind == layout::NOTICE_OOM,
                        tgid: raw.tgid,
                        start_ns: raw.start_ns,
                        exit_code: raw.exit_code,
                        comm: comm_text(&raw.comm),
                        runtime_ns: raw.runtime_ns,
                    });
                } else {
                    dropped.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                }
            }
            0
        })?;
        Ok(builder.build()?)
    }

    /// Whether waits, and who ran meanwhile, are seen.
    pub fn watches(&self) -> bool {
        self.node.is_some() && self.walker.is_some()
    }

    /// Whether single calls of fsync are seen.
    pub fn sees_fsync(&self) -> bool {
        self.loaded.works("vfs_fsync_range") && self.walker.is_some()
    }

    pub fn sees_reclaim(&self) -> bool {
        self.loaded.works("mm_vmscan_direct_reclaim") && self.walker.is_some()
    }

    /// All processes as they are now.
    pub fn snapshot(&mut self) -> Result<Snapshot> {
        let Some(walker) = &self.walker else {
            let processes = self.files.read()?;
            return Ok(Snapshot { at: Instant::now(), processes, threads: Vec::new(), preemptions: Vec::new() });
        };
        let mut bytes: Vec<u8> = Vec::new();
        let at = Instant::now();
        walker.run(|piece| bytes.extend_from_slice(piece))?;
        Ok(gather(at, layout::records(&bytes)))
    }

    /// Long stretches off CPU of all user threads since the start of the probe, all CPUs together.
    pub fn node_waits(&self) -> Option<NodeWaits> {
        let per_cpu = self.node.as_ref()?.lookup_percpu(plain::bytes(&0u32), MapFlags::ANY).ok()??;
        let mut total = NodeWaits::default();
        for one in per_cpu.iter().filter_map(|bytes| plain::read::<NodeWaits>(bytes)) {
            for kind in 0..layout::KINDS {
                total.max_ns[kind] = total.max_ns[kind].max(one.max_ns[kind]);
                for bucket in 0..BUCKETS {
                    total.counts[kind][bucket] += one.counts[kind][bucket];
                }
            }
        }
        Some(total)
    }

    /// Ends of processes since the last call.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        if let Some(ring) = &self.ring {
            // Fails only when interrupted; what is left comes with the next call.
            let _ = ring.consume();
        }
        std::mem::take(&mut *self.notices.lock().expect("no holder of this lock panics"))
    }

    /// Hooks as they stand; without a walk that of `/proc` is named.
    pub fn hooks(&self) -> Vec<HookReport> {
        let mut hooks = self.loaded.hooks.clone();
        for hook in hooks.iter_mut().filter(|hook| hook.hook == "task" && hook.state == HookState::Full && self.walker.is_none())
        {
            hook.state = HookState::Degraded;
            hook.rung = Some(Rung::Procfs);
            hook.reason = format!("{}: the iterator could not be opened", BY_FILES.lacks);
        }
        hooks
    }

    /// Threads not watched, ends not told.
    pub fn lost(&self) -> (u64, u64) {
        let counters = self
            .counters
            .as_ref()
            .and_then(|map| map.lookup(plain::bytes(&0u32), MapFlags::ANY).ok()??.get(..).and_then(plain::read::<Counters>));
        let counters = counters.unwrap_or_default();
        let dropped = self.notices_dropped.load(std::sync::atomic::Ordering::Relaxed);
        (counters.watches_lost, counters.notices_lost + dropped)
    }

    pub fn program_fds(&self) -> Vec<(String, i32)> {
        self.loaded.program_fds()
    }

    pub fn map_bytes(&self) -> u64 {
        self.loaded.map_bytes()
    }
}

/// Adds threads up to processes; threads of processes with several are kept too.
fn gather(at: Instant, records: impl Iterator<Item = (Record, Vec<Culprit>)>) -> Snapshot {
    const UNINTERRUPTIBLE: u32 = 2;
    // __TASK_STOPPED, __TASK_TRACED.
    const STOPPED: u32 = 4 | 8;
    let mut index: HashMap<u32, usize> = HashMap::default();
    let mut processes: Vec<Process> = Vec::new();
    let mut threads = Vec::new();
    let mut preemptions: HashMap<(u32, u32), Preemption> = HashMap::default();
    for (record, culprits) in records {
        for culprit in &culprits {
            let entry = preemptions.entry((record.tgid, culprit.tgid));
            entry.and_modify(|known| known.add(culprit)).or_insert_with(|| Preemption::new(record.tgid, culprit));
        }
        let place = *index.entry(record.tgid).or_insert_with(|| {
            processes.push(Process { tgid: record.tgid, io_known: true, switches_known: true, ..Process::default() });
            processes.len() - 1
        });
        let process = &mut processes[place];
        process.usage.add(&record.usage);
        process.waits.add(&record.waits);
        for share in record.cpus.iter().filter(|share| share.ran_ns + share.waited_ns > 0) {
            let waiting = u32::from(share.waited_ns > 0);
            match process.cpus.iter_mut().find(|known| known.cpu == share.cpu) {
                Some(known) => {
                    known.used += waiting;
                    known.ran_ns += share.ran_ns;
                    known.waited_ns += share.waited_ns;
                }
                None => process.cpus.push(CpuShare { used: waiting, ..*share }),
            }
        }
        process.blocked += u32::from(record.state & 0xff == UNINTERRUPTIBLE);
        process.stopped += u32::from(record.state & STOPPED != 0);
        if record.flags & FLAG_LEADER != 0 {
            process.start_ns = record.start_ns;
            process.kernel = record.flags & FLAG_KERNEL != 0;
            process.comm = record.comm;
            (process.ppid, process.pgid) = (record.ppid, record.pgid);
            (process.cpu, process.threads) = (record.cpu, record.threads);
            process.priority = i64::from(record.prio) - 100;
            process.nice = i64::from(record.static_prio) - 120;
            (process.vm_pages, process.rss_pages) = (record.vm_pages, record.rss_pages);
            process.swap_pages = Some(record.swap_pages);
            process.files_limit = Some(record.files_limit);
            (process.cutime_ns, process.cstime_ns) = (record.cutime_ns, record.cstime_ns);
            process.zombie = record.vm_pages == 0 && record.flags & FLAG_KERNEL == 0;
        }
        if record.threads > 1 || record.flags & FLAG_LEADER == 0 {
            threads.push(Thread {
                pid: record.pid,
                tgid: record.tgid,
                start_ns: record.start_ns,
                comm: record.comm,
                usage: record.usage,
                waits: record.waits,
            });
        }
    }
    processes.sort_unstable_by_key(|process| process.tgid);
    let mut preemptions: Vec<Preemption> = preemptions.into_values().collect();
    preemptions.sort_unstable_by_key(|pair| (pair.victim, pair.culprit));
    Snapshot { at, processes, threads, preemptions }
}

/// The name a task gives itself: up to 15 bytes, any but 0.
pub fn comm_text(comm: &[u8]) -> String {
    let end = comm.iter().position(|byte| *byte == 0).unwrap_or(comm.len());
    String::from_utf8_lossy(&comm[..end]).into_owned()
}

/// The class of each system call by its number on this architecture.
fn syscall_classes() -> [u8; SYSCALLS] {
    let mut classes = [WaitClass::Other as u8; SYSCALLS];
    for (numbers, class) in syscall_groups() {
        for number in *numbers {
            if let Some(slot) = usize::try_from(*number).ok().and_then(|number| classes.get_mut(number)) {
                *slot = *class as u8;
            }
        }
    }
    classes
}

#[cfg(target_arch = "x86_64")]
fn syscall_groups() -> &'static [(&'static [libc::c_long], WaitClass)] {
    use libc::*;
    &[
        (&[SYS_read, SYS_readv, SYS_pread64, SYS_preadv, SYS_preadv2], WaitClass::Read),
        (&[SYS_write, SYS_writev, SYS_pwrite64, SYS_pwritev, SYS_pwritev2], WaitClass::Write),
        (&[SYS_fsync, SYS_fdatasync, SYS_sync_file_range, SYS_msync, SYS_sync, SYS_syncfs], WaitClass::Fsync),
        (
            &[
                SYS_sendto,
                SYS_recvfrom,
                SYS_sendmsg,
                SYS_recvmsg,
                SYS_sendmmsg,
                SYS_recvmmsg,
                SYS_connect,
                SYS_accept,
                SYS_accept4,
            ],
            WaitClass::Net,
        ),
        (&[SYS_futex, SYS_futex_waitv], WaitClass::Futex),
        (
            &[
                SYS_poll,
                SYS_ppoll,
                SYS_select,
                SYS_pselect6,
                SYS_epoll_wait,
                SYS_epoll_pwait,
                SYS_epoll_pwait2,
                SYS_nanosleep,
                SYS_clock_nanosleep,
                SYS_pause,
                SYS_rt_sigtimedwait,
                SYS_rt_sigsuspend,
                SYS_wait4,
                SYS_waitid,
            ],
            WaitClass::Events,
        ),
    ]
}

/// Saved registers are read on x86-64 only; elsewhere every sleep is `other`.
#[cfg(not(target_arch = "x86_64"))]
fn syscall_groups() -> &'static [(&'static [libc::c_long], WaitClass)] {
    &[]
}
