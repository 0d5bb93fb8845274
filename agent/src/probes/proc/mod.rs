//! What processes wait for: CPU, storage, locks, memory; who ran while they waited; their limits; how they end.
//!
//! The kernel side is `tasks/`; once a period this side walks all threads, takes the differences of those processes that do
//! something (see `tasks::Choice`) and turns them into rows.

use std::collections::HashSet;

use ahash::HashMap;
use gala_model::tables::proc::{
    OFF_EDGES_NS, ProcCpu, ProcPage, ProcSched, ProcSyscallIo, SliCpuNodeGauge, SliCpuNodeHistogram, ThreadSched,
};
use gala_model::{Event, Histogram, Severity};

use super::{Loss, Probe, ProbeSettings, RowSink, Tick};
use crate::kernel::{HookReport, ObjectSpec};
use crate::procfs::counter::percent;
use crate::tasks::{
    Choice, NodeWaits, Notice, OffKind, Pair, Snapshot, Tasks, Thread, WATCH, WaitClass, Waits, comm_text, joined,
};

mod cgroup;
mod preempt;

/// What the probe hooks.
pub const SPEC: ObjectSpec = WATCH;

/// The same without the hook at every switch of threads, which is the last and by far the dearest.
static WITHOUT_SWITCHES: ObjectSpec = ObjectSpec { hooks: WATCH.hooks.split_at(WATCH.hooks.len() - 1).0, ..WATCH };

/// What that hook is for.
const OFF_CPU: &str = "proc_offcpu";

/// Rows of who ran while others waited.
const MAX_PREEMPTIONS: usize = 64;
/// Share of the period from which on a process's wait for another is worth a row.
const PREEMPTION_SHARE: f64 = 0.01;
/// Rows of single threads.
const MAX_THREADS: usize = 64;
/// Share of the period from which on a thread's running or waiting is worth a row.
const THREAD_RUN_SHARE: f64 = 0.05;
const THREAD_WAIT_SHARE: f64 = 0.01;

pub fn start(settings: &ProbeSettings) -> anyhow::Result<Box<dyn Probe>> {
    Ok(Box::new(Processes::start(settings)?))
}

struct Processes {
    tasks: Tasks,
    settings: ProbeSettings,
    choice: Choice,
    before: Snapshot,
    node_before: Option<NodeWaits>,
    groups: cgroup::Groups,
    /// Reported in the last period, for their ends.
    reported: HashSet<u32>,
    rows_left_out: u64,
}

impl Processes {
    fn start(settings: &ProbeSettings) -> anyhow::Result<Self> {
        let mut tasks = Tasks::start(if settings.is_on(OFF_CPU) { &WATCH } else { &WITHOUT_SWITCHES });
        let before = tasks.snapshot()?;
        let node_before = tasks.node_waits();
        Ok(Self {
            tasks,
            settings: settings.clone(),
            choice: Choice::default(),
            before,
            node_before,
            groups: cgroup::Groups::default(),
            reported: HashSet::new(),
            rows_left_out: 0,
        })
    }

    fn push_process(&self, pair: &Pair<'_>, out: &mut dyn RowSink) {
        let (usage, waits) = (pair.now.usage.since(&pair.before.usage), pair.now.waits.since(&pair.before.waits));
        let tgid = pair.now.tgid;
        // Kernel threads are not watched, so of their waits nothing is known.
        let watched = self.tasks.watches() && !pair.now.kernel;
        let seen = |value: u64| watched.then_some(value);
        let asleep_in = |class: WaitClass| seen(waits.class_ns[class as usize]);
        if self.settings.is_on(OFF_CPU) {
            out.push(&ProcCpu { tgid, iowait_ns: seen(waits.io_max_ns), offcpu_ns: seen(waits.off_max_ns) });
            out.push(&ProcSched {
                tgid,
                cpu_ns: Some(usage.runtime_ns),
                run_delay_ns: Some(usage.run_delay_ns),
                run_delay_per: percent(usage.run_delay_ns as f64, (usage.run_delay_ns + usage.runtime_ns) as f64),
                run_delay_max_ns: seen(waits.runq_max_ns),
                wait_io_ns: seen(waits.io_ns),
                wait_block_ns: seen(waits.block_ns),
                wait_read_ns: asleep_in(WaitClass::Read),
                wait_write_ns: asleep_in(WaitClass::Write),
                wait_fsync_ns: asleep_in(WaitClass::Fsync),
                wait_net_ns: asleep_in(WaitClass::Net),
                wait_futex_ns: asleep_in(WaitClass::Futex),
                wait_events_ns: asleep_in(WaitClass::Events),
                voluntary_switches: pair.now.switches_known.then_some(usage.voluntary),
                involuntary_switches: pair.now.switches_known.then_some(usage.involuntary),
                threads_blocked: Some(u64::from(pair.now.blocked)),
                threads_stopped: Some(u64::from(pair.now.stopped)),
            });
        }
        if self.settings.is_on("proc_io") && self.tasks.sees_fsync() && pair.now.waits.fsyncs > 0 {
            out.push(&ProcSyscallIo {
                tgid,
                ns_fsync: (waits.fsyncs > 0).then_some(waits.fsync_max_ns),
                fsync_count: Some(waits.fsyncs),
                fsync_sum_ns: Some(waits.fsync_ns),
            });
        }
        if self.settings.is_on("proc_pagecache") && self.tasks.sees_reclaim() && pair.now.waits.reclaim_ns > 0 {
            out.push(&ProcPage { tgid, reclaim_ns: Some(waits.reclaim_max_ns), reclaim_sum_ns: Some(waits.reclaim_ns) });
        }
    }

    /// The processes that cost each waiting one most.
    fn push_preemptions(&mut self, now: &Snapshot, elapsed_ns: f64, out: &mut dyn RowSink) {
        let floor_ns = (elapsed_ns * PREEMPTION_SHARE) as u64;
        let mut rows = preempt::worst(now, &self.reported, &self.groups.throttled, floor_ns);
        self.rows_left_out += rows.len().saturating_sub(MAX_PREEMPTIONS) as u64;
        rows.truncate(MAX_PREEMPTIONS);
        for row in &rows {
            out.push(row);
        }
    }

    fn push_threads(&mut self, now: &Snapshot, elapsed_ns: f64, out: &mut dyn RowSink) {
        let before: HashMap<u32, &Thread> = self.before.threads.iter().map(|thread| (thread.pid, thread)).collect();
        let mut rows: Vec<(u64, ThreadSched)> = Vec::new();
        for thread in now.threads.iter().filter(|thread| self.reported.contains(&thread.tgid)) {
            let Some(before) = before.get(&thread.pid).filter(|before| before.tgid == thread.tgid) else { continue };
            let (usage, waits) = (thread.usage.since(&before.usage), thread.waits.since(&before.waits));
            let waited = usage.run_delay_ns + waits.io_ns + waits.block_ns;
            let matters =
                usage.runtime_ns as f64 >= elapsed_ns * THREAD_RUN_SHARE || waited as f64 >= elapsed_ns * THREAD_WAIT_SHARE;
            if !matters {
                continue;
            }
            let watched = self.tasks.watches();
            rows.push((
                usage.runtime_ns + waited,
                ThreadSched {
                    pid: thread.pid,
                    tgid: thread.tgid,
                    comm: comm_text(&thread.comm),
                    cpu_util: percent(usage.runtime_ns as f64, elapsed_ns),
                    run_delay_ns: Some(usage.run_delay_ns),
                    wait_io_ns: watched.then_some(waits.io_ns),
                    wait_block_ns: watched.then_some(waits.block_ns),
                    off_cpu_ns: watched.then_some(waits.off_max_ns),
                },
            ));
        }
        rows.sort_by_key(|(weight, row)| (std::cmp::Reverse(*weight), row.pid));
        self.rows_left_out += rows.len().saturating_sub(MAX_THREADS) as u64;
        for (_, row) in rows.iter().take(MAX_THREADS) {
            out.push(row);
        }
    }

    /// All user threads together. `now` is not the snapshot kept for the next period yet.
    fn push_node(&mut self, now: &Snapshot, out: &mut dyn RowSink) {
        let long = self.tasks.node_waits();
        if let (Some(long), Some(long_before)) = (&long, &self.node_before) {
            let (mut waits, mut run_delay_ns) = (Waits::default(), 0);
            for pair in joined(&self.before, now).filter(|pair| !pair.now.kernel) {
                waits.add(&pair.now.waits.since(&pair.before.waits));
                run_delay_ns += pair.now.usage.since(&pair.before.usage).run_delay_ns;
            }
            out.push(&SliCpuNodeGauge {
                sli_node_key: "-1",
                cpu_sleep: Some(waits.sleep_ns),
                cpu_iowait: Some(waits.io_ns),
                cpu_block: Some(waits.block_ns),
                cpu_rundelay: Some(run_delay_ns),
            });
            let histogram = |kind: OffKind, sum: u64| distribution(long_before, long, kind, waits.counts[kind as usize], sum);
            out.push(&SliCpuNodeHistogram {
                sli_node_key: "-1",
                cpu_sleep_histo: histogram(OffKind::Sleep, waits.sleep_ns),
                cpu_iowait_histo: histogram(OffKind::Io, waits.io_ns),
                cpu_block_histo: histogram(OffKind::Block, waits.block_ns),
                cpu_rundelay_histo: histogram(OffKind::RunQueue, run_delay_ns),
            });
        }
        self.node_before = long;
    }
}

/// What one kind of time off CPU was distributed like in the period; `None` when nothing happened. Long stretches were counted
/// by length, what is left of `count` was shorter than the first edge. The kernel side keeps the maximum since its start:
/// where this period did not raise it, the upper edge of the highest bucket bounds it.
fn distribution(before: &NodeWaits, now: &NodeWaits, kind: OffKind, count: u64, sum: u64) -> Option<Histogram> {
    let kind = kind as usize;
    let mut histogram = Histogram::new(OFF_EDGES_NS);
    for (bucket, count) in histogram.counts.iter_mut().enumerate() {
        *count = now.counts[kind][bucket].saturating_sub(before.counts[kind][bucket]);
    }
    histogram.counts[0] = count.saturating_sub(histogram.count());
    let highest = histogram.counts.iter().rposition(|count| *count > 0)?;
    let raised = now.max_ns[kind] > before.max_ns[kind];
    let bound = OFF_EDGES_NS.get(highest).copied().unwrap_or(u64::MAX);
    histogram.max = if raised { now.max_ns[kind] } else { bound.min(sum) };
    histogram.sum = sum;
    Some(histogram)
}

/// The event of a process's end; `None` for the end of one that nobody heard of and that no signal killed.
fn end_event(notice: &Notice, was_reported: bool) -> Option<Event> {
    let signal = notice.exit_code & 0x7f;
    let code = notice.exit_code >> 8 & 0xff;
    let (kind, severity, body) = if notice.oom {
        ("oom", Severity::Error, format!("process {} was chosen to be killed because memory ran out", notice.tgid))
    } else if signal != 0 {
        let severity = if [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGPIPE].contains(&(signal as i32)) {
            Severity::Info
        } else {
            Severity::Error
        };
        ("exit", severity, format!("process {} ({}) was ended by signal {signal}", notice.tgid, notice.comm))
    } else {
        let severity = if code == 0 { Severity::Info } else { Severity::Warn };
        ("exit", severity, format!("process {} ({}) ended with status {code}", notice.tgid, notice.comm))
    };
    if !was_reported && severity < Severity::Error {
        return None;
    }
    let mut labels = vec![("tgid".to_owned(), notice.tgid.to_string())];
    if !notice.comm.is_empty() {
        labels.push(("comm".to_owned(), notice.comm.clone()));
    }
    if !notice.oom {
        labels.push(("signal".to_owned(), signal.to_string()));
        labels.push(("status".to_owned(), code.to_string()));
    }
    Some(life_event(notice.tgid, kind, severity, body, labels))
}

fn start_event(pair: &Pair<'_>) -> Event {
    let (tgid, comm) = (pair.now.tgid, pair.now.name());
    let labels = vec![("tgid".to_owned(), tgid.to_string()), ("comm".to_owned(), comm.clone())];
    life_event(tgid, "exec", Severity::Info, format!("process {tgid} ({comm}) started"), labels)
}

fn life_event(tgid: u32, kind: &str, severity: Severity, body: String, labels: Vec<(String, String)>) -> Event {
    Event {
        at_ms: 0,
        entity_id: tgid.to_string(),
        entity_type: "proc".to_owned(),
        metric: String::new(),
        kind: kind.to_owned(),
        severity,
        body,
        labels,
    }
}

impl Probe for Processes {
    fn name(&self) -> &'static str {
        "proc"
    }

    fn collect(&mut self, tick: Tick, out: &mut dyn RowSink) -> anyhow::Result<()> {
        for notice in self.tasks.take_notices() {
            if let Some(mut event) = end_event(&notice, self.reported.contains(&notice.tgid)) {
                event.at_ms = tick.at_ms;
                out.push_event(event);
            }
        }
        let now = self.tasks.snapshot()?;
        let elapsed_ns = now.at.saturating_duration_since(self.before.at).as_nanos() as f64;
        let pairs = self.choice.select(&self.before, &now, self.settings.processes.as_deref());
        let reported: HashSet<u32> = pairs.iter().map(|pair| pair.now.tgid).collect();
        for pair in &pairs {
            self.push_process(pair, out);
            if self.choice.is_new(pair) {
                out.push_event(Event { at_ms: tick.at_ms, ..start_event(pair) });
            }
        }
        self.reported = reported;
        let users = pairs.iter().filter(|pair| !pair.now.kernel).map(|pair| pair.now.tgid);
        if self.settings.is_on(OFF_CPU) || self.settings.is_on("proc_pagecache") {
            self.groups.push(users, out);
        }
        if self.settings.is_on(OFF_CPU) {
            self.push_preemptions(&now, elapsed_ns, out);
            self.push_threads(&now, elapsed_ns, out);
            self.push_node(&now, out);
        }
        self.before = now;
        Ok(())
    }

    fn reconfigure(&mut self, settings: &ProbeSettings) -> bool {
        let same_hooks = settings.is_on(OFF_CPU) == self.settings.is_on(OFF_CPU);
        if same_hooks {
            self.settings = settings.clone();
        }
        same_hooks
    }

    fn hooks(&self) -> Vec<HookReport> {
        self.tasks.hooks()
    }

    fn losses(&self) -> Vec<Loss> {
        let (watches, notices) = self.tasks.lost();
        [
            ("proc.processes.left_out", "active processes beyond the cap were not reported in a period", self.choice.left_out),
            ("proc.rows.left_out", "threads and preemptions beyond the cap were not reported", self.rows_left_out),
            ("proc.threads.unwatched", "threads could not be watched for want of memory", watches),
            ("proc.notices.lost", "ends of processes were not told for want of room", notices),
        ]
        .into_iter()
        .filter(|(_, _, count)| *count > 0)
        .map(|(key, what, count)| Loss { key, what: what.to_owned(), count })
        .collect()
    }

    fn program_fds(&self) -> Vec<(String, i32)> {
        self.tasks.program_fds()
    }

    fn map_bytes(&self) -> u64 {
        self.tasks.map_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(exit_code: u32) -> Notice {
        Notice { oom: false, tgid: 7, start_ns: 1, exit_code, comm: "worker".into(), runtime_ns: 0 }
    }

    #[test]
    fn without_times_off_the_cpu_it_is_the_switches_that_are_not_hooked() {
        let left_out = WATCH.hooks.iter().skip(WITHOUT_SWITCHES.hooks.len()).map(|hook| hook.hook);
        assert_eq!(left_out.collect::<Vec<_>>(), ["sched_switch"]);
    }

    #[test]
    fn a_killed_process_is_told_whether_known_or_not() {
        let event = end_event(&notice(libc::SIGSEGV as u32 | 0x80), false).unwrap();
        assert_eq!((event.kind.as_str(), event.severity), ("exit", Severity::Error));
        assert!(event.body.contains("signal 11"), "{}", event.body);
        assert!(event.labels.contains(&("tgid".into(), "7".into())));
    }

    #[test]
    fn an_orderly_end_is_told_only_of_reported_processes() {
        assert!(end_event(&notice(0), false).is_none());
        assert_eq!(end_event(&notice(0), true).unwrap().severity, Severity::Info);
        assert_eq!(end_event(&notice(3 << 8), true).unwrap().body, "process 7 (worker) ended with status 3");
        assert_eq!(end_event(&notice(libc::SIGTERM as u32), true).unwrap().severity, Severity::Info);
    }

    #[test]
    fn a_distribution_is_of_its_period() {
        let mut before = NodeWaits::default();
        before.counts[0] = [0, 0, 0, 0, 0, 0, 1];
        before.max_ns[0] = 2_000_000_000;
        assert!(distribution(&before, &before, OffKind::RunQueue, 0, 0).is_none());
        let mut now = before;
        now.counts[0][1] += 2;
        let histogram = distribution(&before, &now, OffKind::RunQueue, 12, 4_500_000).unwrap();
        assert_eq!((histogram.counts[0], histogram.counts[1], histogram.count()), (10, 2, 12));
        assert_eq!((histogram.sum, histogram.max), (4_500_000, 4_500_000));
    }
}
