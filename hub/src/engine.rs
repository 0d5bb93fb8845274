//! The analysis thread: topology every period, detection every few seconds, explanation of open incidents in its stages.
//! One thread, so that the order of steps is the same every time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use gala_analysis::incident::Incident;
use gala_analysis::topology::view::Names;
use serde_json::json;

use crate::anomalies::MAX_OPEN;
use crate::documents::Shelf;
use crate::explain::Explainer;
use crate::history;
use crate::state::{HubState, SnapshotGraph};
use crate::stream::Topic;

/// Detection looks this often.
const TICK: Duration = Duration::from_secs(5);
/// Pause between looks at the stop flag and at news.
const PULSE: Duration = Duration::from_millis(200);
/// The detector's state is written this often.
const SAVE_EVERY: Duration = Duration::from_secs(60);

/// Key of the detector's state among the documents.
pub const DETECTOR_KEY: &str = "detector";

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
}

impl Loop {
    fn new(hub: Arc<HubState>, topology_period: Duration) -> Self {
        Self { explainer: Explainer::new(hub.clone()), hub, topology_period }
    }

    fn run(mut self, stop: &AtomicBool) {
        let mut next_topology = Instant::now() + Duration::from_secs(1);
        let mut next_tick = next_topology;
        let mut next_save = Instant::now() + SAVE_EVERY;
        self.catch_up();
        while !stop.load(Ordering::Relaxed) {
            let now = Instant::now();
            if now >= next_topology {
                self.topology(gala_store::now_ms());
                next_topology = after(next_topology, self.topology_period, now);
            }
            if now >= next_tick {
                self.detect();
                self.explain();
                self.pulse();
                next_tick = after(next_tick, TICK, now);
            }
            if now >= next_save {
                self.save();
                next_save = after(next_save, SAVE_EVERY, now);
            }
            std::thread::sleep(PULSE);
        }
        self.save();
    }

    /// What was seen between the last saved cycle and the end of the last run is in the store.
    fn catch_up(&self) {
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
        let mut progress_trouble = String::new();
        {
            let mut topology = self.hub.topology.write();
            match outcome {
                Ok(observed) => {
                    if observed.partial {
                        progress_trouble = observed.limits.join("; ");
                    }
                    topology.history_mut().apply(observed);
                }
                Err(error) => {
                    topology.history_mut().miss(now_ms);
                    progress_trouble = format!("the store could not be read: {error}");
                }
            }
            let snapshot = Arc::new(topology.history().at(now_ms));
            *self.hub.now.write() = snapshot;
        }
        let mut progress = self.hub.progress.lock();
        progress.topology_ms = Some(now_ms);
        progress.topology_trouble = progress_trouble;
        drop(progress);
        self.hub.stream.send(Topic::Topology, &json!({"ts": now_ms}));
    }

    fn detect(&self) {
        let now_ms = gala_store::now_ms();
        let snapshot = self.hub.snapshot();
        let graph = SnapshotGraph(snapshot.clone());
        let mut detector = self.hub.detector.lock();
        let outcome = detector.tick(now_ms, &*self.hub.store, &graph);
        let abnormal = detector.anomalies(MAX_OPEN, &graph);
        drop(detector);
        let trouble = match outcome {
            Ok(report) if report.over_cap > 0 => format!("{} series are beyond the cap and not watched", report.over_cap),
            Ok(_) => String::new(),
            Err(error) => format!("the store could not be read: {error}"),
        };
        let names = Names::new(&snapshot);
        let mut log = self.hub.anomalies.write();
        let news = log.update(&abnormal, |machine| names.host_name(machine), now_ms);
        let badges = log.badges_at(now_ms);
        drop(log);
        for row in &news {
            self.hub.stream.send(Topic::Anomaly, row);
        }
        let mut progress = self.hub.progress.lock();
        progress.detection_ms = Some(now_ms);
        progress.detection_trouble = trouble;
        progress.anomalies = Arc::new(badges);
    }

    fn explain(&mut self) {
        let incidents: Vec<Incident> = self.hub.detector.lock().incidents().cloned().collect();
        self.explainer.update(&incidents);
        self.hub.progress.lock().cause_ms = Some(gala_store::now_ms());
    }

    /// Tells what the agent of this process costs now.
    fn pulse(&self) {
        let Some(agent) = self.hub.agent.read().clone() else { return };
        let budget = agent.budget();
        let (cpu, memory) = (&budget["cpu"]["used_ratio"], &budget["memory"]["used_bytes"]);
        self.hub.stream.send(Topic::Agent, &json!({"cpu_ratio": cpu, "memory_bytes": memory}));
    }

    fn save(&self) {
        let state = self.hub.detector.lock().save();
        if let Err(error) = self.hub.documents.put(Shelf::State, DETECTOR_KEY, &state) {
            tracing::warn!(%error, "what detection learnt could not be saved");
        }
        if let Err(error) = self.hub.anomalies.write().save(&self.hub.documents) {
            tracing::warn!(%error, "anomalies could not be saved; it is tried again");
        }
        if let Err(error) = history::save(&self.hub) {
            tracing::warn!(%error, "the history of the topology could not be saved; it is tried again");
        }
    }
}

/// The next time on the grid; times that passed meanwhile are skipped, not caught up.
fn after(planned: Instant, period: Duration, now: Instant) -> Instant {
    let mut next = planned + period;
    while next <= now {
        next += period;
    }
    next
}
