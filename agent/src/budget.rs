//! What the agent itself costs, measured, and what it gives up to stay inside its ceiling.
//!
//! CPU is our threads' time plus the run time of our BPF programs; memory is what the process holds plus BPF maps. Run
//! times are measured by the kernel in short windows, for counting costs some 20 ns a run. Over the ceiling twice in a row:
//! the dearest probe loses its most dispensable part. Well below for a while: the part last given up comes back; a part
//! that had to go again soon after waits longer each time.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::Serialize;

use crate::kernel::RunTimeWindow;
use crate::ledger::now_ms;
use crate::runtime::status::ProbeStatus;

/// Threads of the agent start so; in `gala up` they share the process with the hub.
pub const THREAD_PREFIX: &str = "gala-agent";

const MEASURE_EVERY: Duration = Duration::from_secs(10);
/// Measurements kept: a quarter of an hour.
const HISTORY: usize = 90;
/// A window covers a default report period, so that what runs once per report is in it.
const WINDOW: Duration = Duration::from_secs(5);
const WINDOW_EVERY: Duration = Duration::from_secs(60);
/// Time a change is given before the next.
const SETTLE: Duration = Duration::from_secs(30);
const RESTORE_AFTER: Duration = Duration::from_secs(120);
const MAX_RESTORE_AFTER: Duration = Duration::from_secs(3600);
/// Below this share of the ceiling a part may come back.
const RESTORE_BELOW: f64 = 0.6;

/// What each probe can do without, most dispensable first; the rest of a probe is what it is for. Each is work that is not
/// done then: histograms the walk over the sockets does not fill, the hook at every switch of threads, file systems not asked.
const OPTIONAL: &[(&str, &[&str])] =
    &[("proc", &["proc_offcpu"]), ("tcp", &["tcp_sockbuf", "tcp_rate", "tcp_windows"]), ("baseinfo", &["fs"])];

/// The ceiling.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Cores; 0.1 is a tenth of one core.
    pub cpu_cores: f64,
    pub memory_bytes: u64,
}

impl Default for Limits {
    /// 2 % of all cores together, at least 10 % of one; 80 MiB.
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as f64;
        Self { cpu_cores: (0.02 * cores).max(0.1), memory_bytes: 80 << 20 }
    }
}

/// A part that was given up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ShedPart {
    pub probe: &'static str,
    pub sub_probe: &'static str,
    pub since_ms: i64,
}

/// Own cost as last measured. Ratios are of one core.
#[derive(Clone, Debug, Default, Serialize)]
pub struct BudgetReport {
    pub measured_ms: i64,
    pub cpu_ratio: f64,
    pub user_cpu_ratio: f64,
    pub bpf_cpu_ratio: f64,
    pub cpu_limit_ratio: f64,
    pub memory_bytes: u64,
    /// The process when the agent is alone in it, else an estimate of what the agent's caches hold.
    pub process_memory_bytes: u64,
    pub map_bytes: u64,
    pub memory_limit_bytes: u64,
    pub over: bool,
    pub shed: Vec<ShedPart>,
    /// Why BPF run time is not known; empty when it is.
    pub bpf_reason: String,
    /// Time in milliseconds since 1970, CPU and memory of the last measurements, oldest first.
    #[serde(skip)]
    pub history: VecDeque<(i64, f64, u64)>,
}

impl BudgetReport {
    fn remember(&mut self) {
        if self.history.len() >= HISTORY {
            self.history.pop_front();
        }
        self.history.push_back((self.measured_ms, self.cpu_ratio, self.memory_bytes));
    }
}

/// What the sampler is to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shed {
    Less { probe: &'static str, sub_probe: &'static str, reason: String },
    More { probe: &'static str, sub_probe: &'static str },
}

/// A running probe as the accountant sees it.
pub struct RunningView {
    pub name: &'static str,
    pub programs: Vec<(String, i32)>,
    /// Sub-probes that are on and not given up.
    pub sub_probes: Vec<String>,
}

struct Window {
    counting: RunTimeWindow,
    opened: Instant,
    /// Probe of each program, in the window's order.
    owners: Vec<&'static str>,
}

pub struct Accountant {
    limits: Limits,
    alone: bool,
    report: Arc<Mutex<BudgetReport>>,
    threads: HashMap<u32, (bool, u64)>,
    measured: Instant,
    probe_cpu_ns: BTreeMap<&'static str, u64>,
    window: Option<Window>,
    window_due: Instant,
    over_in_a_row: u32,
    changed: Instant,
    calm_since: Option<Instant>,
    restored: Option<Instant>,
    restore_after: Duration,
}

impl Accountant {
    /// `alone`: nothing else runs in this process.
    pub fn new(limits: Limits, alone: bool, report: Arc<Mutex<BudgetReport>>) -> Self {
        let now = Instant::now();
        let mut this = Self {
            limits,
            alone,
            report,
            threads: HashMap::new(),
            measured: now,
            probe_cpu_ns: BTreeMap::new(),
            window: None,
            window_due: now + WINDOW,
            over_in_a_row: 0,
            changed: now,
            calm_since: None,
            restored: None,
            restore_after: RESTORE_AFTER,
        };
        this.threads_cpu_ns();
        this
    }

    /// Called often; measures when it is time and says at most one change.
    pub fn step(
        &mut self,
        now: Instant,
        cache_bytes: impl FnOnce() -> u64,
        running: impl Fn() -> Vec<RunningView>,
        statuses: &Mutex<BTreeMap<&'static str, ProbeStatus>>,
    ) -> Option<Shed> {
        self.step_window(now, &running, statuses);
        let elapsed = now.saturating_duration_since(self.measured);
        if elapsed < MEASURE_EVERY {
            return None;
        }
        self.measured = now;
        let user_ratio = self.threads_cpu_ns() as f64 / elapsed.as_nanos() as f64;
        let process_memory = if self.alone { resident_bytes() } else { cache_bytes() };
        let mut map_bytes = 0;
        let mut bpf_ratio = 0.0;
        let mut costs = BTreeMap::new();
        for (name, status) in statuses.lock().iter_mut() {
            let before = self.probe_cpu_ns.insert(name, status.cpu_ns).unwrap_or(0);
            status.cpu_ratio = status.cpu_ns.saturating_sub(before) as f64 / elapsed.as_nanos() as f64;
            map_bytes += status.map_bytes;
            bpf_ratio += status.bpf_cpu_ratio;
            costs.insert(*name, (status.cpu_ratio + status.bpf_cpu_ratio, status.map_bytes));
        }
        let cpu = user_ratio + bpf_ratio;
        let memory = process_memory + map_bytes;
        let share = (cpu / self.limits.cpu_cores).max(memory as f64 / self.limits.memory_bytes.max(1) as f64);
        let shed = {
            let mut report = self.report.lock();
            report.measured_ms = now_ms();
            report.cpu_ratio = cpu;
            report.user_cpu_ratio = user_ratio;
            report.bpf_cpu_ratio = bpf_ratio;
            report.cpu_limit_ratio = self.limits.cpu_cores;
            report.memory_bytes = memory;
            report.process_memory_bytes = process_memory;
            report.map_bytes = map_bytes;
            report.memory_limit_bytes = self.limits.memory_bytes;
            report.over = share > 1.0;
            report.remember();
            report.shed.clone()
        };
        let by_memory = memory > self.limits.memory_bytes;
        let decision = self.decide(now, share, by_memory, &shed, &running(), &costs);
        self.note(&decision, statuses);
        decision
    }

    /// The probe runs as it is configured again, or not at all: what was given up of it, which is forgotten.
    pub fn give_back(&mut self, probe: &str) -> Vec<ShedPart> {
        self.report.lock().shed.extract_if(.., |part| part.probe == probe).collect()
    }

    /// The set of programs changed: a window over the old one is void.
    pub fn forget_window(&mut self) {
        if self.window.take().is_some() {
            self.window_due = Instant::now();
        }
    }

    fn decide(
        &mut self,
        now: Instant,
        share: f64,
        by_memory: bool,
        shed: &[ShedPart],
        running: &[RunningView],
        costs: &BTreeMap<&'static str, (f64, u64)>,
    ) -> Option<Shed> {
        self.over_in_a_row = if share > 1.0 { self.over_in_a_row + 1 } else { 0 };
        if share > RESTORE_BELOW {
            self.calm_since = None;
        } else {
            self.calm_since.get_or_insert(now);
        }
        if now.saturating_duration_since(self.changed) < SETTLE {
            return None;
        }
        if self.over_in_a_row >= 2 {
            let (probe, sub_probe) = dearest_optional(running, costs, by_memory)?;
            if self.restored.is_some_and(|at| now.saturating_duration_since(at) < self.restore_after * 2) {
                self.restore_after = (self.restore_after * 2).min(MAX_RESTORE_AFTER);
            }
            self.changed = now;
            self.over_in_a_row = 0;
            let what = if by_memory { "memory" } else { "CPU" };
            let reason =
                format!("the agent's {what} is at {:.0} % of its ceiling; raise --budget-cpu or --budget-memory", share * 100.0);
            return Some(Shed::Less { probe, sub_probe, reason });
        }
        let last = shed.last()?;
        let calm = self.calm_since.is_some_and(|since| now.saturating_duration_since(since) >= self.restore_after);
        if !calm {
            return None;
        }
        self.changed = now;
        self.calm_since = None;
        self.restored = Some(now);
        Some(Shed::More { probe: last.probe, sub_probe: last.sub_probe })
    }

    fn note(&self, decision: &Option<Shed>, statuses: &Mutex<BTreeMap<&'static str, ProbeStatus>>) {
        let mut report = self.report.lock();
        match decision {
            Some(Shed::Less { probe, sub_probe, reason }) => {
                tracing::warn!("{probe}/{sub_probe} is off for now: {reason}");
                report.shed.push(ShedPart { probe, sub_probe, since_ms: now_ms() });
            }
            Some(Shed::More { probe, sub_probe }) => {
                tracing::info!("{probe}/{sub_probe} is on again");
                report.shed.retain(|part| part.probe != *probe || part.sub_probe != *sub_probe);
            }
            None => return,
        }
        for (name, status) in statuses.lock().iter_mut() {
            status.shed = report.shed.iter().filter(|part| part.probe == *name).map(|part| part.sub_probe).collect();
        }
    }

    fn step_window(
        &mut self,
        now: Instant,
        running: &impl Fn() -> Vec<RunningView>,
        statuses: &Mutex<BTreeMap<&'static str, ProbeStatus>>,
    ) {
        if let Some(window) = self.window.take_if(|window| now.saturating_duration_since(window.opened) >= WINDOW) {
            let seconds = now.saturating_duration_since(window.opened).as_secs_f64();
            let mut sums: BTreeMap<&'static str, (u64, u64)> = BTreeMap::new();
            for (owner, cost) in window.owners.iter().zip(window.counting.read()) {
                let sum = sums.entry(owner).or_default();
                sum.0 += cost.run_ns;
                sum.1 += cost.runs;
            }
            for (name, status) in statuses.lock().iter_mut() {
                let (run_ns, runs) = sums.get(name).copied().unwrap_or_default();
                status.bpf_cpu_ratio = run_ns as f64 / 1e9 / seconds;
                status.events_per_s = runs as f64 / seconds;
                status.ns_per_event = if runs == 0 { 0.0 } else { run_ns as f64 / runs as f64 };
            }
        }
        if self.window.is_none() && now >= self.window_due {
            self.window_due = now + WINDOW_EVERY;
            let (mut owners, mut programs) = (Vec::new(), Vec::new());
            for view in running() {
                owners.extend(std::iter::repeat_n(view.name, view.programs.len()));
                programs.extend(view.programs);
            }
            if programs.is_empty() {
                return;
            }
            let opened = RunTimeWindow::open(programs);
            self.report.lock().bpf_reason = opened.as_ref().err().map_or_else(String::new, |error| {
                format!(
                    "the kernel does not measure BPF run time for us ({error}); it needs Linux 5.8 and CAP_SYS_ADMIN or CAP_BPF"
                )
            });
            self.window = opened.ok().map(|counting| Window { counting, opened: now, owners });
        }
    }

    /// CPU time of our threads since the last call.
    fn threads_cpu_ns(&mut self) -> u64 {
        let Ok(tasks) = fs::read_dir("/proc/self/task") else { return 0 };
        let mut sum = 0;
        let mut seen = HashMap::with_capacity(self.threads.len());
        for tid in tasks.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()) {
            let (ours, before) = self.threads.get(&tid).copied().unwrap_or_else(|| {
                let name = fs::read_to_string(format!("/proc/self/task/{tid}/comm")).unwrap_or_default();
                (self.alone || name.starts_with(THREAD_PREFIX), 0)
            });
            let now = if ours { task_cpu_ns(tid).unwrap_or(before) } else { 0 };
            sum += now.saturating_sub(before);
            seen.insert(tid, (ours, now));
        }
        self.threads = seen;
        sum
    }
}

fn dearest_optional(
    running: &[RunningView],
    costs: &BTreeMap<&'static str, (f64, u64)>,
    by_memory: bool,
) -> Option<(&'static str, &'static str)> {
    let mut best: Option<(f64, &'static str, &'static str)> = None;
    for view in running {
        let optional = OPTIONAL.iter().find(|(name, _)| *name == view.name).map_or(&[][..], |(_, parts)| *parts);
        let Some(part) = optional.iter().find(|part| view.sub_probes.iter().any(|on| on == *part)) else { continue };
        let (cpu, maps) = costs.get(view.name).copied().unwrap_or_default();
        let cost = if by_memory { maps as f64 } else { cpu };
        if best.is_none_or(|(dearest, ..)| cost > dearest) {
            best = Some((cost, view.name, part));
        }
    }
    best.map(|(_, probe, part)| (probe, part))
}

/// First number of `/proc/<pid>/task/<tid>/schedstat`: time on CPU in nanoseconds.
fn task_cpu_ns(tid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/self/task/{tid}/schedstat")).ok()?;
    text.split_ascii_whitespace().next()?.parse().ok()
}

/// Second number of `/proc/self/statm` in bytes.
pub fn resident_bytes() -> u64 {
    let text = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = text.split_ascii_whitespace().nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * rustix::param::page_size() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::catalogue;

    fn view(name: &'static str, sub_probes: &[&str]) -> RunningView {
        RunningView { name, programs: Vec::new(), sub_probes: sub_probes.iter().map(|name| (*name).to_owned()).collect() }
    }

    fn accountant() -> Accountant {
        Accountant::new(Limits { cpu_cores: 0.1, memory_bytes: 1 << 20 }, true, Arc::default())
    }

    fn costs(pairs: &[(&'static str, f64)]) -> BTreeMap<&'static str, (f64, u64)> {
        pairs.iter().map(|(name, cpu)| (*name, (*cpu, 0))).collect()
    }

    #[test]
    fn measurements_are_remembered_whether_or_not_anybody_asks() {
        let mut accountant = accountant();
        let start = Instant::now();
        for turn in 1..=HISTORY as u32 + 5 {
            accountant.step(start + MEASURE_EVERY * turn, || 0, Vec::new, &Mutex::default());
        }
        let report = accountant.report.lock();
        assert_eq!(report.history.len(), HISTORY);
        assert_eq!(report.history.back().copied(), Some((report.measured_ms, report.cpu_ratio, report.memory_bytes)));
    }

    #[test]
    fn the_dearest_probe_loses_its_most_dispensable_part_first() {
        let running = [view("baseinfo", &["cpu", "fs"]), view("tcp", &["tcp_windows", "tcp_rate", "tcp_stats"])];
        assert_eq!(dearest_optional(&running, &costs(&[("baseinfo", 0.1), ("tcp", 0.2)]), false), Some(("tcp", "tcp_rate")));
        assert_eq!(dearest_optional(&running, &costs(&[("baseinfo", 0.3), ("tcp", 0.2)]), false), Some(("baseinfo", "fs")));
        assert_eq!(dearest_optional(&running[..1], &costs(&[("baseinfo", 0.0)]), false), Some(("baseinfo", "fs")));
        assert_eq!(dearest_optional(&[view("ksli", &[])], &costs(&[("ksli", 1.0)]), false), None);
    }

    #[test]
    fn what_may_be_given_up_exists_and_is_not_all_of_a_probe() {
        for (probe, parts) in OPTIONAL {
            let entry = catalogue::find(probe).unwrap();
            for part in *parts {
                assert!(entry.sub_probes.contains(part) && entry.fills(part), "{probe}/{part}");
            }
            assert!(entry.sub_probes.iter().any(|left| entry.fills(left) && !parts.contains(left)), "{probe}");
        }
    }

    #[test]
    fn a_probe_configured_anew_has_nothing_given_up() {
        let mut accountant = accountant();
        let part = |probe, sub_probe| ShedPart { probe, sub_probe, since_ms: 0 };
        accountant.report.lock().shed = vec![part("tcp", "tcp_rate"), part("baseinfo", "fs"), part("tcp", "tcp_windows")];
        assert_eq!(accountant.give_back("tcp"), [part("tcp", "tcp_rate"), part("tcp", "tcp_windows")]);
        assert_eq!(accountant.report.lock().shed, [part("baseinfo", "fs")]);
    }

    #[test]
    fn one_peak_sheds_nothing_and_two_in_a_row_shed_one_part() {
        let mut accountant = accountant();
        let running = [view("baseinfo", &["fs"])];
        let costs = costs(&[("baseinfo", 0.2)]);
        let start = Instant::now() + SETTLE;
        let mut at = |seconds: u64, share: f64| {
            accountant.decide(start + Duration::from_secs(seconds), share, false, &[], &running, &costs)
        };
        assert_eq!(at(10, 2.0), None);
        assert_eq!(at(20, 0.5), None);
        assert_eq!(at(30, 2.0), None);
        assert!(matches!(at(40, 2.0), Some(Shed::Less { probe: "baseinfo", sub_probe: "fs", .. })));
        assert_eq!(at(50, 2.0), None, "a change is given time");
    }

    #[test]
    fn a_part_comes_back_after_calm_and_later_each_time() {
        let mut accountant = accountant();
        let part = [ShedPart { probe: "baseinfo", sub_probe: "fs", since_ms: 0 }];
        let (nothing, running) = ([], [view("baseinfo", &["fs"])]);
        let costs = costs(&[("baseinfo", 0.2)]);
        let start = Instant::now() + SETTLE;
        let mut seconds = 0;
        let mut calm_until_restored = |accountant: &mut Accountant| {
            let from = seconds;
            loop {
                seconds += 10;
                let now = start + Duration::from_secs(seconds);
                if accountant.decide(now, 0.3, false, &part, &running, &costs).is_some() {
                    break;
                }
                assert!(seconds < 10_000);
            }
            let took = seconds - from;
            for _ in 0..6 {
                seconds += 10;
                let now = start + Duration::from_secs(seconds);
                if accountant.decide(now, 2.0, false, &nothing, &running, &costs).is_some() {
                    break;
                }
            }
            took
        };
        let first = calm_until_restored(&mut accountant);
        let second = calm_until_restored(&mut accountant);
        assert!(second > first + 60, "{first} then {second}");
    }

    #[test]
    fn our_own_cost_is_measured() {
        assert!(resident_bytes() > 1 << 20);
        let mut accountant = accountant();
        let mut sum = 0u64;
        let before = accountant.threads_cpu_ns();
        for value in 0..20_000_000u64 {
            sum = std::hint::black_box(sum.wrapping_add(value));
        }
        assert!(accountant.threads_cpu_ns() > 0, "{before} {sum}");
    }
}
