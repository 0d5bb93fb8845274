//! Signs of life: a process is told of now and then while it is quiet, so that whoever keeps a map of the host knows it and
//! does not take it for ended. One series, twice a minute, for each that was there for two reports.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use ahash::HashMap;

use crate::tasks::{Process, Snapshot};

/// Well inside the 60 s for which a record is shown.
const EVERY: Duration = Duration::from_secs(30);

/// Processes told of; further ones are left out and counted.
const MAX_PROCESSES: usize = 4096;

#[derive(Clone, Copy)]
struct Known {
    start_ns: u64,
    /// `None` before the first row.
    told_at: Option<Instant>,
}

#[derive(Default)]
pub(super) struct Alive {
    known: HashMap<u32, Known>,
    pub left_out: u64,
}

impl Alive {
    /// Begins with those that are there: they may never run while we look.
    pub fn start(snapshot: &Snapshot) -> Self {
        let mut alive = Self::default();
        snapshot.processes.iter().filter(|process| is_one(process)).for_each(|process| alive.remember(process, None));
        alive
    }

    /// The quiet processes whose sign of life is due; `reported` have rows in this period, by id.
    pub fn due<'a>(&mut self, reported: &[u32], only: Option<&HashSet<u32>>, now: &'a Snapshot) -> Vec<&'a Process> {
        let mut due = Vec::new();
        let mut living = HashSet::new();
        for process in now.processes.iter().filter(|process| is_one(process)) {
            if reported.binary_search(&process.tgid).is_ok() {
                self.remember(process, Some(now.at));
                living.insert(process.tgid);
                continue;
            }
            living.insert(process.tgid);
            let known = self.known.get_mut(&process.tgid).filter(|known| known.start_ns == process.start_ns);
            let Some(known) = known else {
                // One that is as short-lived as most is gone by the next report.
                self.remember(process, None);
                continue;
            };
            let wanted = only.is_none_or(|only| only.contains(&process.tgid));
            if wanted && known.told_at.is_none_or(|told| now.at.saturating_duration_since(told) >= EVERY) {
                known.told_at = Some(now.at);
                due.push(process);
            }
        }
        self.known.retain(|tgid, _| living.contains(tgid));
        due
    }

    fn remember(&mut self, process: &Process, told_at: Option<Instant>) {
        if self.known.len() < MAX_PROCESSES || self.known.contains_key(&process.tgid) {
            self.known.insert(process.tgid, Known { start_ns: process.start_ns, told_at });
        } else {
            self.left_out += 1;
        }
    }
}

/// Kernel threads are no part of a map, and a zombie has ended.
fn is_one(process: &Process) -> bool {
    !process.kernel && !process.zombie
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(tgid: u32, start_ns: u64) -> Process {
        Process { tgid, start_ns, ..Process::default() }
    }

    fn snapshot(at: Instant, processes: Vec<Process>) -> Snapshot {
        Snapshot { at, processes, threads: Vec::new(), preemptions: Vec::new() }
    }

    #[test]
    fn a_quiet_process_is_told_of_twice_a_minute_while_it_lives() {
        let start = Instant::now();
        let mut alive = Alive::default();
        let mut told = Vec::new();
        for second in (0..=180).step_by(5) {
            let lives = second <= 120;
            let processes = if lives { vec![process(7, 1), process(8, 1)] } else { vec![process(8, 1)] };
            let now = snapshot(start + Duration::from_secs(second), processes);
            let reported: &[u32] = if second < 20 { &[7] } else { &[] };
            told.extend(alive.due(reported, None, &now).iter().map(|process| (second, process.tgid)));
        }
        let of = |tgid: u32| told.iter().filter(|row| row.1 == tgid).map(|row| row.0).collect::<Vec<_>>();
        assert_eq!(of(7), [45, 75, 105], "it was reported until 15 and ended after 120");
        assert_eq!(of(8), [5, 35, 65, 95, 125, 155], "it never did anything");
        assert_eq!(alive.known.len(), 1);
    }

    #[test]
    fn an_id_that_passed_on_is_not_told_of() {
        let start = Instant::now();
        let mut alive = Alive::default();
        alive.due(&[7], None, &snapshot(start, vec![process(7, 1)]));
        let later = snapshot(start + EVERY, vec![process(7, 2)]);
        assert!(alive.due(&[], None, &later).is_empty(), "it is seen for the first time");
        let again = snapshot(start + EVERY + EVERY, vec![process(7, 2)]);
        assert_eq!(alive.due(&[], None, &again)[0].start_ns, 2);
    }

    #[test]
    fn a_narrowed_range_is_kept_to() {
        let start = Instant::now();
        let mut alive = Alive::default();
        let both = |seconds| snapshot(start + Duration::from_secs(seconds), vec![process(7, 1), process(8, 1)]);
        alive.due(&[7, 8], None, &both(0));
        let only = HashSet::from([8]);
        let later = both(40);
        assert_eq!(alive.due(&[], Some(&only), &later).iter().map(|process| process.tgid).collect::<Vec<_>>(), [8]);
    }

    #[test]
    fn beyond_the_cap_processes_are_left_out_and_counted() {
        let mut alive = Alive::default();
        let many = MAX_PROCESSES as u32 + 3;
        let reported: Vec<u32> = (0..many).collect();
        let now = snapshot(Instant::now(), reported.iter().map(|tgid| process(*tgid, 1)).collect());
        alive.due(&reported, None, &now);
        assert_eq!((alive.known.len(), alive.left_out), (MAX_PROCESSES, 3));
    }

    #[test]
    fn who_is_there_before_us_is_told_of_at_once() {
        let zombie = Process { zombie: true, ..process(8, 1) };
        let now = snapshot(Instant::now(), vec![process(7, 1), zombie]);
        let mut alive = Alive::start(&now);
        assert_eq!(alive.due(&[], None, &now).iter().map(|process| process.tgid).collect::<Vec<_>>(), [7]);
    }
}
