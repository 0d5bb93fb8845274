//! The analysis thread: topology every period, detection every few seconds, explanation of open incidents in its stages.
//! One thread, so that the order of steps is the same every time. A step that panics takes none of the others with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use gala_analysis::detect::{self, Detector};
use gala_analysis::incident::Incident;
use gala_analysis::topology::view::Names;
use serde_json::json;

use crate::anomalies::{self, MAX_OPEN};
use crate::api::faults;
use crate::documents::{Documents, Shelf};
use crate::explain::Explainer;
use crate::history;
use crate::state::{HubState, Progress, SnapshotGraph, incidents_of};
use crate::stream::Topic;
use crate::watch::{Pass, Step};

/// Detection looks this often.
pub const TICK: Duration = Duration::from_secs(5);
/// Pause between looks at the stop flag and at news.
const PULSE: Duration = Duration::from_millis(200);
/// What is judged is counted this often: every series is looked at.
const COUNT_EVERY: Duration = Duration::from_secs(30);
/// The detector's state is written this often.
const SAVE_EVERY: Duration = Duration::from_secs(60);

/// Key of the detector's state among the documents.
const DETECTOR_KEY: &str = "detector";

/// A detector that goes on from what was saved.
pub fn detector(documents: &Documents) -> Detector {
    let mut detector = Detector::new(detect::Config::default(), &gala_model::tables::all());
    match documents.get(Shelf::State, DETECTOR_KEY) {
        Ok(Some(saved)) => detector.restore(saved),
        Ok(None) => {}
        Err(error) => tracing::warn!(%error, "what detection learnt before is not readable; it learns anew"),
    }
    detector
}

/// The running analysis; `stop` waits for its end.
pub struct Engine {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Engine {
    /// Starts the thread. `topology_period` is the time between two cycles.
    pub fn start(hub: Arc<HubState>, topology_period: Duration) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let flag = stop.clone();
        let thread =
            std::thread::Builder::new().name("gala-analysis".into()).spawn(move || Loop::new(hub, topology_period).run(&flag))?;
        Ok(Self { stop, thread: Some(thread) })
    }

    pub fn stop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic in it was reported when it happened; there is nothing to add at the end.
            let _ = thread.join();
        }
    }
}

struct Loop {
    hub: Arc<HubState>,
    topology_period: Duration,
    explainer: Explainer,
    /// When it was counted last what is judged.
    counted: Option<Instant>,
}

impl Loop {
    fn new(hub: Arc<HubState>, topology_period: Duration) -> Self {
        Self { explainer: Explainer::new(hub.clone()), hub, topology_period, counted: None }
    }

    fn run(mut self, stop: &AtomicBool) {
        let [mut topology, mut detection, mut cause, mut news, mut saving] =
            ["topology", "detection", "cause", "news", "saving"].map(Step::new);
        let mut next_topology = Instant::now() + Duration::from_secs(1);
        let mut next_tick = next_topology;
        let mut next_save = Instant::now() + SAVE_EVERY;
        self.step(&mut topology, |progress| Some(&mut progress.topology), Self::catch_up);
        while !stop.load(Ordering::Relaxed) {
            let now = Instant::now();
            if now >= next_topology {
                self.step(&mut topology, |progress| Some(&mut progress.topology), |own| own.topology(gala_store::now_ms()));
                next_topology = after(next_topology, self.topology_period, now);
            }
            if now >= next_tick {
                if !self.step(&mut detection, |progress| Some(&mut progress.detection), Self::detect) {
                    // What a tick left half done is not to be gone on with.
                    *self.hub.detector.lock() = detector(&self.hub.documents);
                }
                self.step(&mut cause, |progress| Some(&mut progress.cause), Self::explain);
                self.step(&mut news, |_| None, Self::pulse);
                next_tick = after(next_tick, TICK, now);
            }
            if now >= next_save {
                self.step(&mut saving, |_| None, Self::save);
                next_save = after(next_save, SAVE_EVERY, now);
            }
            self.turned();
            std::thread::sleep(PULSE);
        }
        // The end waits for no pause.
        self.step(&mut Step::new("saving"), |_| None, Self::save);
    }

    /// Does one step, and notes where the health answer looks if it panicked; answers whether it did not.
    fn step(
        &mut self,
        step: &mut Step,
        part: impl FnOnce(&mut Progress) -> Option<&mut Pass>,
        work: impl FnOnce(&mut Self),
    ) -> bool {
        let outcome = step.attempt(|| work(self));
        self.turned();
        let Err(reason) = outcome else { return true };
        if let Some(pass) = part(&mut self.hub.progress.lock()) {
            pass.trouble = reason;
        }
        false
    }

    fn turned(&self) {
        *self.hub.turned.lock() = Instant::now();
    }

    /// What was seen between the last saved cycle and the end of the last run is in the store.
    fn catch_up(&mut self) {
        let Some(newest_ms) = self.hub.store.stats().newest_ms else { return };
        let known_ms = self.hub.topology.read().history().latest().map(|cycle| cycle.ts);
        if known_ms.is_some_and(|known_ms| known_ms < newest_ms) {
            self.topology(newest_ms.min(gala_store::now_ms()));
        }
    }

    /// One cycle over what the store holds up to `now_ms`.
    fn topology(&self, now_ms: i64) {
        let outcome = {
            // Reading the store is most of the work; readers of the topology wait only for the folding in.
            let config = self.hub.topology.read().config().clone();
            gala_analysis::topology::observe(&config, now_ms, &*self.hub.store)
        };
        let mut trouble = String::new();
        {
            let mut topology = self.hub.topology.write();
            match outcome {
                Ok(observed) => {
                    if observed.partial {
                        trouble = observed.limits.join("; ");
                    }
                    topology.history_mut().apply(observed);
                }
                Err(error) => {
                    topology.history_mut().miss(now_ms);
                    trouble = format!("the store could not be read: {error}");
                }
            }
            let snapshot = Arc::new(topology.history().at(now_ms));
            *self.hub.now.write() = snapshot;
        }
        // They are of the cycle before; whoever still looks at one of them asks anew.
        self.hub.past.lock().clear();
        self.hub.progress.lock().topology.done(now_ms, trouble);
        self.hub.stream.send(Topic::Topology, &json!({"ts": now_ms}));
    }

    fn detect(&mut self) {
        let now_ms = gala_store::now_ms();
        let snapshot = self.hub.snapshot();
        let graph = SnapshotGraph(snapshot.clone());
        let mut detector = self.hub.detector.lock();
        let outcome = detector.tick(now_ms, &*self.hub.store, &graph);
        let abnormal = detector.anomalies(MAX_OPEN, &graph);
        let warmup = detector.warmup(now_ms);
        let judged = self.counted.is_none_or(|counted| counted.elapsed() >= COUNT_EVERY).then(|| detector.judged());
        let before = self.hub.detected.read().clone();
        let incidents = incidents_of(&detector, &before);
        drop(detector);
        let open_incidents = incidents.iter().filter(|incident| incident.is_open()).count();
        let over = ended(&before, &incidents);
        // Before the stream tells of their anomalies.
        *self.hub.detected.write() = incidents;
        let trouble = match outcome {
            Ok(report) if report.over_cap > 0 => format!("{} series are beyond the cap and not watched", report.over_cap),
            Ok(_) => String::new(),
            Err(error) => format!("the store could not be read: {error}"),
        };
        let names = Names::new(&snapshot);
        let mut log = self.hub.anomalies.write();
        let news = log.update(&abnormal, |machine| names.host_name(machine), now_ms);
        // Before the log may be read again: who sees a row sees its badge.
        self.hub.progress.lock().anomalies = Arc::new(log.badges_at(now_ms, &snapshot));
        drop(log);
        for row in &news {
            self.hub.stream.send(Topic::Anomaly, row);
        }
        for incident in &over {
            self.hub.stream.send(Topic::RootCause, &faults::row(&self.hub, incident));
        }
        let mut progress = self.hub.progress.lock();
        progress.detection.done(now_ms, trouble);
        progress.warmup = warmup;
        progress.open_incidents = open_incidents;
        if let Some(judged) = judged {
            progress.judged = Arc::new(judged);
            self.counted = Some(Instant::now());
        }
    }

    fn explain(&mut self) {
        let incidents = self.hub.detected.read().clone();
        self.explainer.update(&incidents);
        self.hub.progress.lock().cause.done(gala_store::now_ms(), String::new());
    }

    /// Tells what the agent of this process costs now.
    fn pulse(&mut self) {
        let Some(agent) = self.hub.agent.read().clone() else { return };
        let budget = agent.budget();
        let (cpu, memory) = (&budget["cpu"]["used_ratio"], &budget["memory"]["used_bytes"]);
        self.hub.stream.send(Topic::Agent, &json!({"cpu_ratio": cpu, "memory_bytes": memory}));
    }

    fn save(&mut self) {
        let state = self.hub.detector.lock().save();
        if let Err(error) = self.hub.documents.put(Shelf::State, DETECTOR_KEY, &state) {
            tracing::warn!(%error, "what detection learnt could not be saved");
        }
        if let Err(error) = anomalies::save(&self.hub.anomalies, &self.hub.documents) {
            tracing::warn!(%error, "anomalies could not be saved; it is tried again");
        }
        if let Err(error) = history::save(&self.hub) {
            tracing::warn!(%error, "the history of the topology could not be saved; it is tried again");
        }
    }
}

/// Incidents that were open before and are over now.
fn ended(before: &[Arc<Incident>], now: &[Arc<Incident>]) -> Vec<Arc<Incident>> {
    let was_open = |incident: &&Arc<Incident>| before.iter().any(|old| old.id == incident.id && old.is_open());
    now.iter().filter(|incident| !incident.is_open()).filter(was_open).cloned().collect()
}

/// The next time on the grid; times that passed meanwhile are skipped, not caught up.
fn after(planned: Instant, period: Duration, now: Instant) -> Instant {
    let mut next = planned + period;
    while next <= now {
        next += period;
    }
    next
}

#[cfg(test)]
mod tests {
    use gala_analysis::incident::State;

    use super::*;
    use crate::explain::tests::incident;

    #[test]
    fn the_end_of_an_incident_is_news_once() {
        let open = Arc::new(incident());
        let over = Arc::new(Incident { state: State::Closed, closed_ms: Some(2), ..incident() });
        assert_eq!(ended(std::slice::from_ref(&open), std::slice::from_ref(&over)), std::slice::from_ref(&over));
        assert!(ended(std::slice::from_ref(&over), std::slice::from_ref(&over)).is_empty());
        assert!(ended(&[], &[over]).is_empty() && ended(std::slice::from_ref(&open), std::slice::from_ref(&open)).is_empty());
    }
}
