//! The structures of `tasks.h` on this side, and what the walks print.
#![allow(unsafe_code)]

use crate::kernel::{Plain, plain};

pub const SYSCALLS: usize = 512;
pub const CLASSES: usize = 7;
pub const KINDS: usize = 4;
pub const BUCKETS: usize = 7;

/// In what a thread slept, in the order of `enum wait_class`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum WaitClass {
    Other,
    Read,
    Write,
    Fsync,
    Net,
    Futex,
    Events,
}

/// Kinds of time off CPU, in the order of `enum off_kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffKind {
    RunQueue,
    Io,
    Block,
    Sleep,
}

#[derive(Clone, Copy)]
#[repr(C)]
pub struct Config {
    pub preempt_floor_ns: u64,
    pub exit_age_ns: u64,
    pub class_of: [u8; SYSCALLS],
    pub edges: [u64; BUCKETS - 1],
}

/// What a thread or process used since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Usage {
    pub runtime_ns: u64,
    pub utime_ns: u64,
    pub stime_ns: u64,
    pub gtime_ns: u64,
    pub run_delay_ns: u64,
    pub voluntary: u64,
    pub involuntary: u64,
    pub minor_faults: u64,
    pub major_faults: u64,
    pub rchar: u64,
    pub wchar: u64,
    pub syscr: u64,
    pub syscw: u64,
    pub read_bytes: u64,
    pub write_bytes: u64,
    pub cancelled_bytes: u64,
}

/// What it waited for since it is watched; maxima since the last walk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Waits {
    pub io_ns: u64,
    pub block_ns: u64,
    pub sleep_ns: u64,
    pub class_ns: [u64; CLASSES],
    pub io_max_ns: u64,
    pub runq_max_ns: u64,
    pub off_max_ns: u64,
    pub reclaim_ns: u64,
    pub reclaim_max_ns: u64,
    pub fsyncs: u64,
    pub fsync_ns: u64,
    pub fsync_max_ns: u64,
    /// Stretches off CPU by kind.
    pub counts: [u64; KINDS],
}

pub const CPU_SHARES: usize = 4;

/// What a thread did on one CPU since the last walk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct CpuShare {
    pub cpu: u32,
    /// 1 where the place is taken; of a process how many of its threads waited there.
    pub used: u32,
    pub ran_ns: u64,
    pub waited_ns: u64,
}

pub const FLAG_LEADER: u32 = 1;
pub const FLAG_KERNEL: u32 = 2;
/// All culprits follow the record.
const FLAG_CULPRITS: u32 = 4;
/// Processes told apart that ran while one thread waited, in one period.
const CULPRITS: usize = 6;

/// One thread as the walk prints it.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Record {
    pub tgid: u32,
    pub pid: u32,
    pub flags: u32,
    pub state: u32,
    pub cpu: u32,
    pub threads: u32,
    pub ppid: u32,
    pub pgid: u32,
    pub prio: u32,
    pub static_prio: u32,
    pub start_ns: u64,
    pub cutime_ns: u64,
    pub cstime_ns: u64,
    pub vm_pages: u64,
    pub rss_pages: u64,
    pub swap_pages: u64,
    pub files_limit: u64,
    pub comm: [u8; 16],
    pub usage: Usage,
    pub waits: Waits,
    pub cpus: [CpuShare; CPU_SHARES],
}

/// A process that ran while a thread waited; id 0 is an empty place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Culprit {
    pub ns: u64,
    /// Part of `ns` that others may have run who had the place before.
    pub unsure_ns: u64,
    pub max_ns: u64,
    pub tgid: u32,
    pub count: u32,
    pub cpu: u32,
    pub kernel: u32,
    pub comm: [u8; 16],
}

/// What a walk printed: each record with who ran while its thread waited.
pub fn records(bytes: &[u8]) -> impl Iterator<Item = (Record, Vec<Culprit>)> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let record = plain::read::<Record>(rest)?;
        rest = &rest[size_of::<Record>()..];
        let mut culprits = Vec::new();
        if record.flags & FLAG_CULPRITS != 0 {
            let (theirs, behind) = rest.split_at_checked(CULPRITS * size_of::<Culprit>())?;
            culprits.extend(theirs.chunks_exact(size_of::<Culprit>()).filter_map(plain::read::<Culprit>));
            culprits.retain(|culprit| culprit.tgid != 0);
            rest = behind;
        }
        Some((record, culprits))
    })
}

/// Stretches off CPU longer than the first edge, of all user threads of a CPU since the start of the probe.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct NodeWaits {
    pub max_ns: [u64; KINDS],
    pub counts: [[u64; BUCKETS]; KINDS],
}

pub const NOTICE_EXIT: u32 = 1;
pub const NOTICE_OOM: u32 = 2;

#[derive(Clone, Copy)]
#[repr(C)]
pub struct RawNotice {
    pub kind: u32,
    pub tgid: u32,
    pub exit_code: u32,
    pub padding: u32,
    pub start_ns: u64,
    pub runtime_ns: u64,
    pub comm: [u8; 16],
}

#[derive(Clone, Copy, Default)]
#[repr(C)]
pub struct Counters {
    pub watches_lost: u64,
    pub notices_lost: u64,
}

const _: () = assert!(size_of::<Usage>() == 128);
const _: () = assert!(size_of::<Waits>() == 176);
const _: () = assert!(size_of::<Record>() == 512);
const _: () = assert!(size_of::<Culprit>() == 56);
const _: () = assert!(size_of::<NodeWaits>() == 256);
const _: () = assert!(size_of::<RawNotice>() == 48);
const _: () = assert!(size_of::<Config>() == 576);

// SAFETY: integers only, no padding (the sizes above are the sums of the fields).
unsafe impl Plain for Config {}
// SAFETY: as above.
unsafe impl Plain for Record {}
// SAFETY: as above.
unsafe impl Plain for Culprit {}
// SAFETY: as above.
unsafe impl Plain for NodeWaits {}
// SAFETY: as above.
unsafe impl Plain for RawNotice {}
// SAFETY: as above.
unsafe impl Plain for Counters {}

impl Usage {
    pub fn add(&mut self, other: &Self) {
        self.runtime_ns += other.runtime_ns;
        self.utime_ns += other.utime_ns;
        self.stime_ns += other.stime_ns;
        self.gtime_ns += other.gtime_ns;
        self.run_delay_ns += other.run_delay_ns;
        self.voluntary += other.voluntary;
        self.involuntary += other.involuntary;
        self.minor_faults += other.minor_faults;
        self.major_faults += other.major_faults;
        self.rchar += other.rchar;
        self.wchar += other.wchar;
        self.syscr += other.syscr;
        self.syscw += other.syscw;
        self.read_bytes += other.read_bytes;
        self.write_bytes += other.write_bytes;
        self.cancelled_bytes += other.cancelled_bytes;
    }

    /// What was used since. A thread that ended takes its run delay and what the kernel keeps per thread only with it, so
    /// sums may go back; then nothing is known of that part and it counts as nothing.
    pub fn since(&self, before: &Self) -> Self {
        Self {
            runtime_ns: self.runtime_ns.saturating_sub(before.runtime_ns),
            utime_ns: self.utime_ns.saturating_sub(before.utime_ns),
            stime_ns: self.stime_ns.saturating_sub(before.stime_ns),
            gtime_ns: self.gtime_ns.saturating_sub(before.gtime_ns),
            run_delay_ns: self.run_delay_ns.saturating_sub(before.run_delay_ns),
            voluntary: self.voluntary.saturating_sub(before.voluntary),
            involuntary: self.involuntary.saturating_sub(before.involuntary),
            minor_faults: self.minor_faults.saturating_sub(before.minor_faults),
            major_faults: self.major_faults.saturating_sub(before.major_faults),
            rchar: self.rchar.saturating_sub(before.rchar),
            wchar: self.wchar.saturating_sub(before.wchar),
            syscr: self.syscr.saturating_sub(before.syscr),
            syscw: self.syscw.saturating_sub(before.syscw),
            read_bytes: self.read_bytes.saturating_sub(before.read_bytes),
            write_bytes: self.write_bytes.saturating_sub(before.write_bytes),
            cancelled_bytes: self.cancelled_bytes.saturating_sub(before.cancelled_bytes),
        }
    }
}

impl Waits {
    pub fn add(&mut self, other: &Self) {
        self.io_ns += other.io_ns;
        self.block_ns += other.block_ns;
        self.sleep_ns += other.sleep_ns;
        for (mine, theirs) in self.class_ns.iter_mut().zip(&other.class_ns) {
            *mine += theirs;
        }
        self.io_max_ns = self.io_max_ns.max(other.io_max_ns);
        self.runq_max_ns = self.runq_max_ns.max(other.runq_max_ns);
        self.off_max_ns = self.off_max_ns.max(other.off_max_ns);
        self.reclaim_ns += other.reclaim_ns;
        self.reclaim_max_ns = self.reclaim_max_ns.max(other.reclaim_max_ns);
        self.fsyncs += other.fsyncs;
        self.fsync_ns += other.fsync_ns;
        self.fsync_max_ns = self.fsync_max_ns.max(other.fsync_max_ns);
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
    }

    /// Sums since an earlier walk; the maxima are of this period anyway.
    pub fn since(&self, before: &Self) -> Self {
        let mut class_ns = self.class_ns;
        for (now, before) in class_ns.iter_mut().zip(&before.class_ns) {
            *now = now.saturating_sub(*before);
        }
        let mut counts = self.counts;
        for (now, before) in counts.iter_mut().zip(&before.counts) {
            *now = now.saturating_sub(*before);
        }
        Self {
            counts,
            io_ns: self.io_ns.saturating_sub(before.io_ns),
            block_ns: self.block_ns.saturating_sub(before.block_ns),
            sleep_ns: self.sleep_ns.saturating_sub(before.sleep_ns),
            class_ns,
            reclaim_ns: self.reclaim_ns.saturating_sub(before.reclaim_ns),
            fsyncs: self.fsyncs.saturating_sub(before.fsyncs),
            fsync_ns: self.fsync_ns.saturating_sub(before.fsync_ns),
            ..*self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(tgid: u32, flags: u32) -> Record {
        let zero = [0; size_of::<Record>()];
        Record { tgid, flags, ..plain::read(&zero).unwrap() }
    }

    fn printed(records: &[(Record, [Culprit; CULPRITS])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (record, culprits) in records {
            bytes.extend_from_slice(plain::bytes(record));
            if record.flags & FLAG_CULPRITS != 0 {
                culprits.iter().for_each(|culprit| bytes.extend_from_slice(plain::bytes(culprit)));
            }
        }
        bytes
    }

    #[test]
    fn culprits_stand_behind_the_record_they_belong_to() {
        let mut culprits = [Culprit::default(); CULPRITS];
        culprits[0] = Culprit { tgid: 9, ns: 5, ..Culprit::default() };
        let none = [Culprit::default(); CULPRITS];
        let bytes = printed(&[(record(1, 0), none), (record(2, FLAG_CULPRITS | FLAG_LEADER), culprits), (record(3, 0), none)]);
        let found: Vec<(u32, Vec<u32>)> =
            records(&bytes).map(|(record, culprits)| (record.tgid, culprits.iter().map(|c| c.tgid).collect())).collect();
        assert_eq!(found, [(1, vec![]), (2, vec![9]), (3, vec![])]);
    }

    #[test]
    fn a_cut_record_ends_the_reading() {
        let bytes = printed(&[(record(1, 0), Default::default()), (record(2, FLAG_CULPRITS), Default::default())]);
        assert_eq!(records(&bytes[..bytes.len() - 1]).count(), 1);
        assert_eq!(records(&bytes[..size_of::<Record>() - 1]).count(), 0);
    }
}
