//! The sampling thread: ticks each running probe at its period, aligned to the wall clock so that all reports of a host
//! carry the same times, catches what a probe breaks, and hands the observations on.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use gala_model::{Event, Observation, ObservationSink};
use parking_lot::Mutex;

use super::enrich::{Enricher, RowContext};
use super::status::{ProbeState, ProbeStatus, Pulse};
use crate::budget::{Accountant, RunningView, Shed};
use crate::control::range::Range;
use crate::ledger::{Ledger, now_ms};
use crate::probes::{Probe, ProbeSettings, Tick};

/// After a probe starts its first report comes this soon; the aligned ones follow.
const FIRST_REPORT: Duration = Duration::from_millis(500);

/// How often caches are swept.
const SWEEP_EVERY: Duration = Duration::from_secs(10);

/// A report this late carries the time it was due, so that times stay regular; a later one carries its own.
const ON_TIME_MS: i64 = 200;

/// The longest sleep: the wall clock may be set meanwhile.
const MAX_SLEEP: Duration = Duration::from_secs(1);

pub type StartProbe = fn(&ProbeSettings) -> anyhow::Result<Box<dyn Probe>>;

/// What a probe is run with.
#[derive(Clone)]
pub struct RunSpec {
    pub name: &'static str,
    /// All that the probe can report of.
    pub sub_probes: Vec<&'static str>,
    pub start: StartProbe,
    pub settings: ProbeSettings,
    pub range: Range,
    pub context: RowContext,
}

pub enum Command {
    /// A started probe.
    Install(Box<RunSpec>, Box<dyn Probe>),
    /// New settings for a running one; answers whether it took them without a restart.
    Change(Box<RunSpec>, Sender<bool>),
    /// Hands a probe back, to be dropped elsewhere: detaching can take long.
    Remove(&'static str, Sender<Option<Box<dyn Probe>>>),
    Stop,
}

struct Running {
    spec: RunSpec,
    probe: Box<dyn Probe>,
    due_ms: i64,
    previous: Instant,
    shed: Vec<&'static str>,
}

pub struct Sampler {
    pub commands: Receiver<Command>,
    pub enricher: Enricher,
    pub sinks: Vec<Arc<dyn ObservationSink>>,
    pub statuses: Arc<Mutex<BTreeMap<&'static str, ProbeStatus>>>,
    pub ledger: Ledger,
    pub accountant: Accountant,
    pub pulse: Arc<Pulse>,
    running: Vec<Running>,
    swept: Instant,
}

impl Sampler {
    pub fn new(
        commands: Receiver<Command>,
        enricher: Enricher,
        sinks: Vec<Arc<dyn ObservationSink>>,
        statuses: Arc<Mutex<BTreeMap<&'static str, ProbeStatus>>>,
        ledger: Ledger,
        accountant: Accountant,
        pulse: Arc<Pulse>,
    ) -> Self {
        Self { commands, enricher, sinks, statuses, ledger, accountant, pulse, running: Vec::new(), swept: Instant::now() }
    }

    /// Runs until told to stop; every probe is dropped before it returns.
    pub fn run(mut self) {
        loop {
            self.pulse.turn(now_ms());
            let wait = self.next_wait();
            match self.commands.recv_timeout(wait) {
                Ok(Command::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(command) => self.obey(command),
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.collect_due();
            self.keep_house();
        }
        for running in std::mem::take(&mut self.running) {
            drop_caught(running.probe);
        }
    }

    fn next_wait(&self) -> Duration {
        let now = now_ms();
        let due = self.running.iter().map(|running| running.due_ms).min();
        due.map_or(MAX_SLEEP, |due| Duration::from_millis((due - now).max(0) as u64).min(MAX_SLEEP))
    }

    fn obey(&mut self, command: Command) {
        self.accountant.forget_window();
        match command {
            Command::Install(spec, probe) => {
                self.give_back(spec.name);
                let status = ProbeStatus::started(spec.name, &*probe);
                self.statuses.lock().insert(spec.name, status);
                self.running.retain(|running| running.spec.name != spec.name);
                self.running.push(Running {
                    spec: *spec,
                    probe,
                    due_ms: now_ms() + FIRST_REPORT.as_millis() as i64,
                    previous: Instant::now(),
                    shed: Vec::new(),
                });
            }
            Command::Change(spec, answer) => {
                let name = spec.name;
                let taken = match self.running.iter_mut().find(|running| running.spec.name == spec.name) {
                    Some(running) => {
                        let taken = running.probe.reconfigure(&spec.settings);
                        if taken {
                            running.due_ms = running.due_ms.min(next_aligned(now_ms(), spec.settings.report_period));
                            running.spec = *spec;
                            running.shed.clear();
                        }
                        taken
                    }
                    None => false,
                };
                if taken {
                    self.give_back(name);
                }
                let _ = answer.send(taken);
            }
            Command::Remove(name, answer) => {
                let at = self.running.iter().position(|running| running.spec.name == name);
                let probe = at.map(|at| self.running.swap_remove(at).probe);
                self.give_back(name);
                self.statuses.lock().insert(name, ProbeStatus::stopped(name));
                self.ledger.clear_place(&format!("probe.{name}"));
                let _ = answer.send(probe);
            }
            Command::Stop => {}
        }
    }

    fn collect_due(&mut self) {
        let mut at = 0;
        while at < self.running.len() {
            let now = now_ms();
            // A clock set back must not silence a probe for longer than its period.
            let period_ms = self.running[at].spec.settings.report_period.as_millis() as i64;
            if now < self.running[at].due_ms && self.running[at].due_ms - now <= period_ms.max(1000) {
                at += 1;
                continue;
            }
            if self.collect(at, now) {
                at += 1;
            } else {
                drop_caught(self.running.swap_remove(at).probe);
            }
        }
    }

    /// One probe's report; answers whether the probe is still to be run.
    fn collect(&mut self, at: usize, wall_ms: i64) -> bool {
        let running = &mut self.running[at];
        let name = running.spec.name;
        let now = Instant::now();
        let lateness = wall_ms - running.due_ms;
        let tick = Tick {
            at_ms: if (0..=ON_TIME_MS).contains(&lateness) { running.due_ms } else { wall_ms },
            elapsed: now.saturating_duration_since(running.previous),
        };
        running.previous = now;
        running.due_ms = next_aligned(wall_ms, running.spec.settings.report_period);
        if running.spec.range.refresh(&mut self.enricher.identity, now, &mut running.spec.context) {
            running.spec.settings.processes = running.spec.range.processes();
            let _ = running.probe.reconfigure(&running.effective());
        }

        let cpu_before = thread_cpu();
        let (period, off) = (running.spec.settings.report_period, running.off());
        let mut collection = self.enricher.collection(name, &running.spec.context, &off, period, tick.at_ms, now);
        let outcome = catch_unwind(AssertUnwindSafe(|| running.probe.collect(tick, &mut collection)));
        let rows = collection.rows;
        drop(collection);
        let sinks = &self.sinks;
        self.enricher.drain(|observations, events| hand_on(sinks, observations, events));
        let cpu = thread_cpu().saturating_sub(cpu_before);

        let place = format!("probe.{name}");
        let failure = match outcome {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some((format!("{error:#}"), false)),
            Err(panic) => Some((panic_text(&*panic), true)),
        };
        let mut statuses = self.statuses.lock();
        let Some(status) = statuses.get_mut(name) else { return true };
        match failure {
            Some((reason, true)) => {
                tracing::error!("probe {name} broke: {reason}; it is off, the others go on");
                self.ledger.add(&place, "everything this probe sees", &format!("the probe broke: {reason}"), 1);
                *status = ProbeStatus { state: ProbeState::Failed, reason, ..ProbeStatus::stopped(name) };
                false
            }
            Some((reason, false)) => {
                self.ledger.add(&place, "one report", &reason, 1);
                status.reason = reason;
                status.failed_reports += 1;
                true
            }
            None => {
                status.collected(tick.at_ms, rows, cpu, &*running.probe);
                for loss in running.probe.losses() {
                    self.ledger.set(&place, loss.key, &loss.what, loss.count);
                }
                self.pulse.set_ready();
                true
            }
        }
    }

    fn keep_house(&mut self) {
        let now = Instant::now();
        if now.saturating_duration_since(self.swept) >= SWEEP_EVERY {
            self.swept = now;
            self.enricher.sweep(now, now_ms());
        }
        let running = || self.running.iter().map(Running::view).collect();
        let decision = self.accountant.step(now, || self.enricher.bytes() as u64, running, &self.statuses);
        match decision {
            Some(Shed::Less { probe, sub_probe, reason }) => {
                self.ledger.add("budget", &format!("{probe}/{sub_probe}"), &reason, 1);
                self.reshape(probe, |shed| shed.push(sub_probe));
            }
            Some(Shed::More { probe, sub_probe }) => {
                self.ledger.clear("budget", &format!("{probe}/{sub_probe}"));
                self.reshape(probe, |shed| shed.retain(|name| *name != sub_probe));
            }
            None => {}
        }
    }

    /// A probe that runs as it is configured, or not at all, has nothing given up.
    fn give_back(&mut self, probe: &'static str) {
        for part in self.accountant.give_back(probe) {
            self.ledger.clear("budget", &format!("{probe}/{}", part.sub_probe));
        }
        if let Some(status) = self.statuses.lock().get_mut(probe) {
            status.shed.clear();
        }
    }

    /// Runs a probe with other sub-probes; one that cannot change in place is started anew.
    fn reshape(&mut self, name: &str, change: impl FnOnce(&mut Vec<&'static str>)) {
        let Some(running) = self.running.iter_mut().find(|running| running.spec.name == name) else { return };
        self.accountant.forget_window();
        change(&mut running.shed);
        let settings = running.effective();
        if running.probe.reconfigure(&settings) {
            return;
        }
        match (running.spec.start)(&settings) {
            Ok(probe) => {
                let old = std::mem::replace(&mut running.probe, probe);
                running.previous = Instant::now();
                drop_caught(old);
            }
            Err(error) => self.ledger.add(&format!("probe.{name}"), "restart with other sub-probes", &format!("{error:#}"), 1),
        }
    }
}

impl Running {
    /// Settings without what the budget took away.
    fn effective(&self) -> ProbeSettings {
        let mut settings = self.spec.settings.clone();
        settings.sub_probes.retain(|name| !self.shed.contains(&name.as_str()));
        settings
    }

    /// Sub-probes that report nothing: not configured, or given up.
    fn off(&self) -> Vec<&'static str> {
        let configured = &self.spec.settings;
        let is_off = |name: &&'static str| !configured.is_on(name) || self.shed.contains(name);
        self.spec.sub_probes.iter().copied().filter(is_off).collect()
    }

    fn view(&self) -> RunningView {
        RunningView { name: self.spec.name, programs: self.probe.program_fds(), sub_probes: self.effective().sub_probes }
    }
}

fn hand_on(sinks: &[Arc<dyn ObservationSink>], observations: &[Observation], events: &[Event]) {
    for sink in sinks {
        if !observations.is_empty() {
            sink.observe(observations);
        }
        for event in events {
            sink.event(event);
        }
    }
}

/// The next multiple of the period that leaves at least half a period of room.
fn next_aligned(now_ms: i64, period: Duration) -> i64 {
    let period_ms = (period.as_millis() as i64).max(1);
    let next = (now_ms / period_ms + 1) * period_ms;
    if next - now_ms < period_ms / 2 && now_ms % period_ms > ON_TIME_MS { next + period_ms } else { next }
}

/// CPU time of the calling thread.
pub fn thread_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.max(0) as u64, time.tv_nsec.max(0) as u32)
}

/// Drops a probe whatever its destructor does.
pub fn drop_caught(probe: Box<dyn Probe>) {
    let name = probe.name();
    if catch_unwind(AssertUnwindSafe(|| drop(probe))).is_err() {
        tracing::error!("probe {name} broke while it stopped");
    }
}

pub fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "unknown panic".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_aligned_to_the_wall_clock() {
        let five = Duration::from_secs(5);
        assert_eq!(next_aligned(10_000, five), 15_000);
        assert_eq!(next_aligned(10_150, five), 15_000, "a little late keeps the rhythm");
        assert_eq!(next_aligned(11_000, five), 15_000);
    }

    #[test]
    fn a_start_just_before_a_multiple_does_not_make_a_sliver_of_a_period() {
        let five = Duration::from_secs(5);
        assert_eq!(next_aligned(14_000, five), 20_000);
        assert_eq!(next_aligned(12_400, five), 15_000);
    }
}
