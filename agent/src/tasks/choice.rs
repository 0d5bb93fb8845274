//! Which processes are reported. All would be too many series, so a process is reported while it does something: from the
//! first period in which it runs (or is stuck) after it was first seen, until it was quiet for a minute, or for ten if it
//! ever used a second of CPU. A process that only exists costs nothing. Where processes are named, all of these are reported.

use std::collections::HashSet;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use ahash::HashMap;

use super::{Process, Snapshot};

/// Processes reported at most; those with the least CPU time in the period are left out and counted.
pub const MAX_PROCESSES: usize = 1024;

const KEEP: Duration = Duration::from_secs(60);
const KEEP_BUSY: Duration = Duration::from_secs(600);
const BUSY_NS: u64 = 1_000_000_000;
/// A kernel thread is worth a row from this share of a CPU on.
const KERNEL_SHARE: f64 = 0.01;

#[derive(Clone, Copy)]
struct Known {
    start_ns: u64,
    active_at: Instant,
    /// Time of the snapshot in which it was first reported.
    since: Instant,
}

#[derive(Default)]
pub struct Choice {
    known: HashMap<u32, Known>,
    /// Start of the youngest process in the first snapshot: later ones started under our eyes.
    youngest_ns: Option<u64>,
    /// Time of the latest snapshot.
    latest: Option<Instant>,
    pub left_out: u64,
}

/// A reported process at both ends of the period.
#[derive(Clone, Copy, Debug)]
pub struct Pair<'a> {
    pub before: &'a Process,
    pub now: &'a Process,
}

impl Pair<'_> {
    pub fn runtime_ns(&self) -> u64 {
        self.now.usage.runtime_ns.saturating_sub(self.before.usage.runtime_ns)
    }

    fn is_active(&self, elapsed: Duration) -> bool {
        let floor = if self.now.kernel { (elapsed.as_nanos() as f64 * KERNEL_SHARE) as u64 } else { 0 };
        self.runtime_ns() > floor
            || !self.now.kernel
                && (self.now.blocked + self.now.stopped > 0 || self.now.usage.run_delay_ns > self.before.usage.run_delay_ns)
    }
}

impl Choice {
    /// The processes to report, by id; `only` narrows them.
    pub fn select<'a>(&mut self, before: &'a Snapshot, now: &'a Snapshot, only: Option<&HashSet<u32>>) -> Vec<Pair<'a>> {
        let elapsed = now.at.saturating_duration_since(before.at);
        let youngest = || before.processes.iter().map(|process| process.start_ns).max().unwrap_or(0);
        self.youngest_ns.get_or_insert_with(youngest);
        self.latest = Some(now.at);
        let mut pairs = Vec::new();
        let mut kept = HashMap::default();
        for pair in candidates(before, now, only) {
            let tgid = pair.now.tgid;
            let known = self.known.get(&tgid).filter(|known| known.start_ns == pair.now.start_ns).copied();
            let keep = if pair.now.usage.runtime_ns >= BUSY_NS { KEEP_BUSY } else { KEEP };
            let entry = if only.is_some() || pair.is_active(elapsed) {
                Known { start_ns: pair.now.start_ns, active_at: now.at, since: known.map_or(now.at, |known| known.since) }
            } else {
                match known {
                    Some(known) if now.at.saturating_duration_since(known.active_at) < keep => known,
                    _ => continue,
                }
            };
            kept.insert(tgid, entry);
            pairs.push(pair);
        }
        self.known = kept;
        if pairs.len() > MAX_PROCESSES {
            self.left_out += (pairs.len() - MAX_PROCESSES) as u64;
            pairs.sort_by_key(|pair| std::cmp::Reverse(pair.runtime_ns()));
            pairs.truncate(MAX_PROCESSES);
            pairs.sort_by_key(|pair| pair.now.tgid);
        }
        pairs
    }

    /// Whether the process started after the first snapshot and is reported for the first time in the latest.
    pub fn is_new(&self, pair: &Pair<'_>) -> bool {
        let first_report = self.known.get(&pair.now.tgid).is_some_and(|known| Some(known.since) == self.latest);
        first_report && self.youngest_ns.is_some_and(|youngest| pair.now.start_ns > youngest)
    }
}

/// Who may be reported, by id. Of those that are named also who began since `before`: all it did was done since.
fn candidates<'a>(before: &'a Snapshot, now: &'a Snapshot, only: Option<&HashSet<u32>>) -> Vec<Pair<'a>> {
    static UNBORN: LazyLock<Process> = LazyLock::new(Process::default);
    let mut pairs: Vec<Pair<'a>> = joined(before, now).collect();
    let Some(only) = only else { return pairs };
    pairs.retain(|pair| only.contains(&pair.now.tgid));
    let youngest_ns = before.processes.iter().map(|process| process.start_ns).max().unwrap_or(0);
    let born = now.processes.iter().filter(|process| process.start_ns > youngest_ns && only.contains(&process.tgid));
    pairs.extend(born.map(|now| Pair { before: &UNBORN, now }));
    pairs.sort_unstable_by_key(|pair| pair.now.tgid);
    pairs
}

/// Processes that are in both snapshots. An id that passed to another process does not match.
pub fn joined<'a>(before: &'a Snapshot, now: &'a Snapshot) -> impl Iterator<Item = Pair<'a>> {
    let mut older = before.processes.iter().peekable();
    now.processes.iter().filter_map(move |now| {
        while older.next_if(|before| before.tgid < now.tgid).is_some() {}
        let before = older.next_if(|before| before.tgid == now.tgid)?;
        (before.start_ns == now.start_ns).then_some(Pair { before, now })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::Usage;

    fn process(tgid: u32, start_ns: u64, runtime_ns: u64) -> Process {
        Process { tgid, start_ns, usage: Usage { runtime_ns, ..Usage::default() }, ..Process::default() }
    }

    fn snapshot(at: Instant, processes: Vec<Process>) -> Snapshot {
        Snapshot { at, processes, threads: Vec::new(), preemptions: Vec::new() }
    }

    fn chosen(pairs: &[Pair<'_>]) -> Vec<u32> {
        pairs.iter().map(|pair| pair.now.tgid).collect()
    }

    #[test]
    fn a_process_is_reported_from_its_first_activity_until_it_was_quiet_for_a_minute() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let quiet = |seconds| snapshot(at(seconds), vec![process(7, 1, 10)]);
        let mut choice = Choice::default();
        assert!(choice.select(&quiet(0), &quiet(5), None).is_empty(), "it only exists");
        let ran = snapshot(at(10), vec![process(7, 1, 20)]);
        assert_eq!(chosen(&choice.select(&quiet(5), &ran, None)), [7]);
        let later = |seconds| snapshot(at(seconds), vec![process(7, 1, 20)]);
        assert_eq!(chosen(&choice.select(&ran, &later(69), None)), [7]);
        assert!(choice.select(&later(69), &later(71), None).is_empty());
    }

    #[test]
    fn a_process_is_new_once_if_it_started_under_our_eyes() {
        let start = Instant::now();
        let at = |seconds: u64, runtime| {
            snapshot(start + Duration::from_secs(seconds), vec![process(7, 10, runtime), process(8, 20, runtime)])
        };
        let first = snapshot(start, vec![process(7, 10, 0)]);
        let mut choice = Choice::default();
        let news = |choice: &mut Choice, before: &Snapshot, now: &Snapshot| {
            let pairs = choice.select(before, now, None);
            pairs.iter().filter(|pair| choice.is_new(pair)).map(|pair| pair.now.tgid).collect::<Vec<_>>()
        };
        assert!(news(&mut choice, &first, &at(5, 1)).is_empty());
        assert_eq!(news(&mut choice, &at(5, 1), &at(10, 2)), [8]);
        assert!(news(&mut choice, &at(10, 2), &at(15, 3)).is_empty());
    }

    #[test]
    fn an_id_that_passed_on_is_another_process() {
        let start = Instant::now();
        let before = snapshot(start, vec![process(7, 1, 500), process(9, 1, 1)]);
        let now = snapshot(start + Duration::from_secs(5), vec![process(7, 2, 600), process(8, 1, 1), process(9, 1, 2)]);
        assert_eq!(chosen(&Choice::default().select(&before, &now, None)), [9]);
    }

    #[test]
    fn a_stuck_process_is_reported_though_it_does_not_run() {
        let start = Instant::now();
        let stuck = vec![Process { blocked: 1, ..process(7, 1, 10) }, Process { stopped: 4, ..process(8, 1, 10) }];
        let before = snapshot(start, stuck.clone());
        let now = snapshot(start + Duration::from_secs(5), stuck);
        assert_eq!(chosen(&Choice::default().select(&before, &now, None)), [7, 8]);
    }

    #[test]
    fn kernel_threads_need_a_share_of_a_cpu() {
        let start = Instant::now();
        let kernel = |tgid, runtime| Process { kernel: true, ..process(tgid, 1, runtime) };
        let before = snapshot(start, vec![kernel(2, 0), kernel(3, 0)]);
        let now = snapshot(start + Duration::from_secs(1), vec![kernel(2, 9_000_000), kernel(3, 11_000_000)]);
        assert_eq!(chosen(&Choice::default().select(&before, &now, None)), [3]);
    }

    #[test]
    fn beyond_the_cap_the_least_busy_are_left_out_and_counted() {
        let start = Instant::now();
        let many = |factor: u64| (1..=1030u32).map(|tgid| process(tgid, 1, u64::from(tgid) * factor)).collect();
        let before = snapshot(start, many(1));
        let now = snapshot(start + Duration::from_secs(5), many(2));
        let mut choice = Choice::default();
        let ids = chosen(&choice.select(&before, &now, None));
        assert_eq!((ids.len(), ids[0], choice.left_out), (MAX_PROCESSES, 7, 6));
    }

    #[test]
    fn who_is_named_is_reported_from_its_start_on_also_while_it_does_nothing() {
        let start = Instant::now();
        let before = snapshot(start, vec![process(7, 1, 5), process(8, 1, 5)]);
        let now = snapshot(start + Duration::from_secs(5), vec![process(7, 1, 5), process(8, 1, 5), process(9, 2, 3)]);
        let mut choice = Choice::default();
        let only = HashSet::from([7, 9]);
        let pairs = choice.select(&before, &now, Some(&only));
        assert_eq!(chosen(&pairs), [7, 9]);
        assert_eq!((pairs[0].runtime_ns(), pairs[1].runtime_ns()), (0, 3));
        assert!(!choice.is_new(&pairs[0]) && choice.is_new(&pairs[1]));
    }

    #[test]
    fn a_narrowed_range_is_kept_to() {
        let start = Instant::now();
        let before = snapshot(start, vec![process(7, 1, 0), process(8, 1, 0)]);
        let now = snapshot(start + Duration::from_secs(5), vec![process(7, 1, 5), process(8, 1, 5)]);
        assert_eq!(chosen(&Choice::default().select(&before, &now, Some(&HashSet::from([8])))), [8]);
    }
}
