//! Who ran while a process waited for a CPU. What the kernel side saw slice by slice is exact but ends 16 slices back and at
//! the few who ran longest; the rest, as it comes with many runnable threads, is divided among those who ran on the same CPU
//! in the period, by their run time there and never beyond it. For what a group's own quota held back nobody is charged: to
//! the scheduler that is a wait too, and whoever ran meanwhile was not the reason.

use std::collections::HashSet;

use ahash::HashMap;
use gala_model::tables::proc::ProcPreempt;

use crate::tasks::{Process, Snapshot};

/// Rows of one waiting process.
const MAX_CULPRITS: usize = 3;

#[derive(Clone, Debug, Default)]
struct Charge {
    ns: f64,
    count: u64,
    max_ns: u64,
    cpu: u32,
    kernel: bool,
}

/// One who ran: its id, 0 when it ended meanwhile (ids of short-lived processes would make a new series each), and its name.
type Culprit = (u32, String);

/// Rows of the reported processes, the longest waits first; shorter ones than `floor_ns` are left out. `throttled` tells for
/// how long the groups of processes were held back.
pub(super) fn worst(now: &Snapshot, reported: &HashSet<u32>, throttled: &HashMap<u32, u64>, floor_ns: u64) -> Vec<ProcPreempt> {
    let alive: HashMap<u32, &Process> = now.processes.iter().map(|process| (process.tgid, process)).collect();
    let mut victims: HashMap<u32, HashMap<Culprit, Charge>> = HashMap::default();
    for pair in now.preemptions.iter().filter(|pair| reported.contains(&pair.victim)) {
        let culprit = match alive.get(&pair.culprit) {
            Some(process) => (pair.culprit, process.name()),
            None => (0, pair.culprit_comm.clone()),
        };
        let charge = victims.entry(pair.victim).or_default().entry(culprit).or_default();
        charge.ns += pair.ns as f64;
        charge.count += pair.count;
        charge.max_ns = charge.max_ns.max(pair.max_ns);
        (charge.cpu, charge.kernel) = (pair.cpu, pair.culprit_kernel);
    }
    let runners = runners(now);
    for process in now.processes.iter().filter(|process| reported.contains(&process.tgid)) {
        let charges = victims.entry(process.tgid).or_default();
        let waited: u64 = process.cpus.iter().map(|share| share.waited_ns).sum();
        let held = throttled.get(&process.tgid).map_or(0, |held| waited.min(*held));
        if held > 0 {
            // Which of the slices fell into it is not known.
            let others = (waited - held) as f64 / waited as f64;
            charges.values_mut().for_each(|charge| charge.ns *= others);
        }
        let seen: f64 = charges.values().map(|charge| charge.ns).sum();
        let rest = (waited - held) as f64 - seen;
        if rest >= floor_ns as f64 {
            divide_rest(process, rest, &runners, &alive, charges);
        }
    }
    let mut rows: Vec<ProcPreempt> = Vec::new();
    for (tgid, charges) in victims {
        let mut charges: Vec<(Culprit, Charge)> =
            charges.into_iter().filter(|(_, charge)| charge.ns >= floor_ns as f64).collect();
        charges.sort_by(|a, b| b.1.ns.total_cmp(&a.1.ns).then_with(|| a.0.cmp(&b.0)));
        rows.extend(charges.into_iter().take(MAX_CULPRITS).map(|((by_tgid, by_comm), charge)| ProcPreempt {
            tgid,
            by_tgid,
            by_comm,
            by_kind: if charge.kernel { "kernel" } else { "process" },
            preempted_ns: charge.ns as u64,
            preempted_count: charge.count,
            preempted_max_ns: charge.max_ns,
            preempted_cpu: charge.cpu,
        }));
    }
    rows.sort_by_key(|row| (std::cmp::Reverse(row.preempted_ns), row.tgid, row.by_tgid));
    rows
}

/// Run time by CPU and process in the period.
fn runners(now: &Snapshot) -> HashMap<u32, Vec<(u32, u64)>> {
    let mut runners: HashMap<u32, Vec<(u32, u64)>> = HashMap::default();
    for process in &now.processes {
        for share in process.cpus.iter().filter(|share| share.ran_ns > 0) {
            runners.entry(share.cpu).or_default().push((process.tgid, share.ran_ns));
        }
    }
    runners
}

/// Charges what a process waited beyond the slices that were seen. Nobody made one of its threads wait longer than it ran.
fn divide_rest(
    process: &Process,
    rest: f64,
    runners: &HashMap<u32, Vec<(u32, u64)>>,
    alive: &HashMap<u32, &Process>,
    charges: &mut HashMap<Culprit, Charge>,
) {
    let waited: u64 = process.cpus.iter().map(|share| share.waited_ns).sum();
    let mut given: HashMap<u32, Given> = HashMap::default();
    for share in process.cpus.iter().filter(|share| share.waited_ns > 0) {
        let Some(ran) = runners.get(&share.cpu) else { continue };
        let others: u64 = ran.iter().filter(|(tgid, _)| *tgid != process.tgid).map(|(_, ns)| ns).sum();
        let rest_here = rest * share.waited_ns as f64 / waited as f64;
        for (tgid, ns) in ran.iter().filter(|(tgid, _)| *tgid != process.tgid) {
            let given = given.entry(*tgid).or_default();
            given.ns += rest_here * *ns as f64 / others as f64;
            given.most_ns += *ns as f64 * f64::from(share.used.max(1));
            given.cpu = share.cpu;
        }
    }
    for (tgid, given) in given {
        let name = alive.get(&tgid).map(|other| other.name()).unwrap_or_default();
        let charge = charges.entry((tgid, name)).or_default();
        charge.ns += given.ns.min((given.most_ns - charge.ns).max(0.0));
        charge.cpu = given.cpu;
    }
}

/// What one who ran gets of the rest, and the most it can have cost in all.
#[derive(Default)]
struct Given {
    ns: f64,
    most_ns: f64,
    cpu: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::{CpuShare, Preemption};

    fn process(tgid: u32, name: &str, cpus: &[(u32, u64, u64)]) -> Process {
        let mut comm = [0; 16];
        comm[..name.len()].copy_from_slice(name.as_bytes());
        let cpus =
            cpus.iter().map(|(cpu, ran_ns, waited_ns)| CpuShare { cpu: *cpu, used: 1, ran_ns: *ran_ns, waited_ns: *waited_ns });
        Process { tgid, comm, cpus: cpus.collect(), ..Process::default() }
    }

    fn pair(victim: u32, culprit: u32, ns: u64) -> Preemption {
        Preemption { victim, culprit, culprit_comm: "short".into(), culprit_kernel: false, cpu: 1, ns, count: 2, max_ns: ns / 2 }
    }

    fn snapshot(processes: Vec<Process>, preemptions: Vec<Preemption>) -> Snapshot {
        Snapshot { at: std::time::Instant::now(), processes, threads: Vec::new(), preemptions }
    }

    #[test]
    fn what_was_seen_is_charged_as_seen() {
        let processes = vec![process(7, "redis", &[(1, 500, 1000)]), process(9, "hog", &[(1, 1000, 0)])];
        let rows = worst(&snapshot(processes, vec![pair(7, 9, 1000)]), &HashSet::from([7]), &HashMap::default(), 10);
        assert_eq!(rows.len(), 1);
        let row = &rows[0];
        assert_eq!((row.tgid, row.by_tgid, row.by_comm.as_str()), (7, 9, "hog"));
        assert_eq!((row.preempted_ns, row.preempted_count, row.preempted_max_ns), (1000, 2, 500));
    }

    #[test]
    fn the_rest_of_long_waits_is_divided_by_run_time_on_the_same_cpu() {
        let victim = process(7, "redis", &[(1, 100, 1000)]);
        let processes = vec![
            victim,
            process(8, "big", &[(1, 3000, 0)]),
            process(9, "small", &[(1, 1000, 0)]),
            process(10, "far", &[(0, 9000, 0)]),
        ];
        let rows = worst(&snapshot(processes, Vec::new()), &HashSet::from([7]), &HashMap::default(), 10);
        let charged: Vec<(u32, u64)> = rows.iter().map(|row| (row.by_tgid, row.preempted_ns)).collect();
        assert_eq!(charged, [(8, 750), (9, 250)]);
    }

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn who_hardly_ran_is_not_the_reason_of_a_long_wait() {
        let waiting = |threads: u32| {
            let mut victim = process(7, "redis", &[(1, SECOND / 2, 4 * SECOND)]);
            victim.cpus[0].used = threads;
            let others = [process(8, "sshd", &[(1, 1_000_000, 0)]), process(9, "hog", &[(1, 400_000_000, 0)])];
            let now = snapshot([vec![victim], others.to_vec()].concat(), vec![pair(7, 9, 300_000_000)]);
            let rows = worst(&now, &HashSet::from([7]), &HashMap::default(), 50_000_000);
            rows.iter().map(|row| (row.by_tgid, row.preempted_ns)).collect::<Vec<_>>()
        };
        assert_eq!(waiting(1), [(9, 400_000_000)], "it was seen to run for 0.3 s of its 0.4 s");
        assert_eq!(waiting(2), [(9, 800_000_000)], "two threads waited for the same one");
    }

    #[test]
    fn for_what_its_own_quota_held_back_nobody_is_charged() {
        let processes = vec![process(7, "redis", &[(1, SECOND / 2, 4 * SECOND)]), process(9, "busy", &[(1, 4 * SECOND, 0)])];
        let now = snapshot(processes, vec![pair(7, 9, 2 * SECOND)]);
        let charged = |throttled: u64| {
            let rows = worst(&now, &HashSet::from([7]), &HashMap::from_iter([(7, throttled)]), 50_000_000);
            rows.iter().map(|row| row.preempted_ns).collect::<Vec<_>>()
        };
        assert_eq!(charged(0), [4 * SECOND]);
        assert_eq!(charged(3 * SECOND), [SECOND]);
        assert!(charged(5 * SECOND).is_empty());
    }

    #[test]
    fn processes_that_ended_share_a_row_by_name() {
        let now = snapshot(vec![process(7, "redis", &[])], vec![pair(7, 20, 60), pair(7, 21, 50)]);
        let rows = worst(&now, &HashSet::from([7]), &HashMap::default(), 100);
        assert_eq!(rows.len(), 1);
        assert_eq!((rows[0].by_tgid, rows[0].by_comm.as_str(), rows[0].preempted_ns), (0, "short", 110));
    }

    #[test]
    fn short_waits_and_unreported_processes_have_no_row() {
        let now = |ns| snapshot(vec![process(7, "redis", &[]), process(9, "hog", &[])], vec![pair(7, 9, ns)]);
        assert!(worst(&now(99), &HashSet::from([7]), &HashMap::default(), 100).is_empty());
        assert!(worst(&now(990), &HashSet::new(), &HashMap::default(), 100).is_empty());
    }
}
