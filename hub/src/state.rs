//! What the hub's rooms share: the store, the topology, the detector, explanations, the stream, the agent if one runs in
//! this process.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use gala_analysis::cause::RuleSet;
use gala_analysis::detect::{Detector, EntityGraph, Warmup};
use gala_analysis::incident::Incident;
use gala_analysis::topology::{Relation, Snapshot, Topology, view};
use gala_model::Event;
use gala_model::incident::RootCause;
use gala_store::Store;
use parking_lot::{Mutex, MutexGuard, RwLock};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::anomalies::AnomalyLog;
use crate::api::levels::UsualP99;
use crate::asked::AskedBook;
use crate::documents::Documents;
use crate::explain::EVENTS_MS;
use crate::gate::Gate;
use crate::prom::{About, Metadata, MetadataSource, PromState, QueryLimits};
use crate::stream::Stream;
use crate::watch::Pass;

/// Events kept of all entities, and given of one. Some 900 bytes each; a host that starts a few programs a second fills
/// them within the time that is explained.
const MAX_EVENTS: usize = 5_000;
const MAX_EVENTS_OF_ENTITY: usize = 50;
/// So long a page waits for a tick of the detection, which takes some tenths of a second; after a long stop it reads hours.
const TICK_PATIENCE: Duration = Duration::from_secs(1);
/// Who did not get the detector in time tells those that come within this time.
const LONG_TICK: Duration = Duration::from_secs(5);
/// Earlier states kept.
const MAX_PAST_STATES: usize = 4;

/// What the agent of this process tells the API; the shapes are those of the `/agent/...` answers.
pub trait AgentView: Send + Sync {
    fn probes(&self) -> Value;
    fn ledger(&self) -> Value;
    fn budget(&self) -> Value;
    /// Settings of one probe in the words of the agent's own REST API; `None` if there is no such probe.
    fn probe_config(&self, name: &str) -> Option<Value>;
    /// Changes them, starts or stops the probe; else the settings stay as they were. May block.
    fn configure_probe(&self, name: &str, config: &Map<String, Value>) -> Result<(), NotConfigured>;
    /// Its own metrics, Prometheus text.
    fn metrics(&self) -> String;
    fn health(&self) -> Component;
}

/// Why settings of a probe did not take effect, in the agent's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotConfigured {
    /// They say what the probe does not take.
    Refused(String),
    /// They are right, but the probe cannot run with them here or now.
    Failed(String),
}

/// One part of the health answer.
#[derive(Clone, Debug, Serialize)]
pub struct Component {
    pub status: Status,
    /// Empty when all is well.
    pub reason: String,
    /// Last time it did its work, milliseconds since 1970.
    pub last_ms: Option<i64>,
    #[serde(flatten)]
    pub more: BTreeMap<&'static str, Value>,
}

impl Component {
    pub fn ok(last_ms: Option<i64>) -> Self {
        Self { status: Status::Ok, reason: String::new(), last_ms, more: BTreeMap::new() }
    }

    pub fn new(status: Status, reason: impl Into<String>, last_ms: Option<i64>) -> Self {
        Self { status, reason: reason.into(), last_ms, more: BTreeMap::new() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Ok,
    Degraded,
    Starting,
}

/// The topology of an earlier moment, as the history knew it after one cycle.
pub struct PastState {
    at_ms: i64,
    as_of: i64,
    state: Arc<Snapshot>,
}

/// Incidents, newest first; what does not change from tick to tick is not copied again.
pub type Incidents = Arc<Vec<Arc<Incident>>>;

/// Those of a detector, as far as they are the same those of before.
pub fn incidents_of(detector: &Detector, before: &[Arc<Incident>]) -> Incidents {
    let known: HashMap<&str, &Arc<Incident>> = before.iter().map(|incident| (incident.id.as_str(), incident)).collect();
    let shared = |incident: &Incident| match known.get(incident.id.as_str()) {
        Some(same) if ***same == *incident => (*same).clone(),
        _ => Arc::new(incident.clone()),
    };
    Arc::new(detector.incidents().map(shared).collect())
}

/// Everything behind the API.
pub struct HubState {
    pub store: Arc<Store>,
    pub documents: Documents,
    pub topology: RwLock<Topology>,
    /// State of now, rebuilt after each cycle; readers never see half of one.
    pub now: RwLock<Arc<Snapshot>>,
    /// States of earlier moments asked for last: a page asks several things of one moment.
    pub past: Mutex<VecDeque<PastState>>,
    pub detector: Mutex<Detector>,
    /// Its incidents as of its last tick, newest first: who asks for them must not wait for a tick, which after a long stop
    /// reads hours.
    pub detected: RwLock<Incidents>,
    /// Until when a tick is taken for a long one, which no page waits for.
    pub long_tick: Mutex<Option<Instant>>,
    /// Latest explanation by incident id.
    pub explanations: RwLock<HashMap<String, RootCause>>,
    /// Causal rules in force.
    pub rules: RwLock<Arc<RuleSet>>,
    /// Explanations that people asked for.
    pub asked: Mutex<AskedBook>,
    pub anomalies: RwLock<AnomalyLog>,
    pub usual_p99: UsualP99,
    pub progress: Mutex<Progress>,
    /// When the analysis ended a step or looked for work last.
    pub turned: Mutex<Instant>,
    pub topology_period: Duration,
    /// Latest events of this host's agent, newest last.
    pub events: Mutex<VecDeque<Event>>,
    pub stream: Stream,
    /// Samples of this process's agent that the store did not take.
    pub refused: Arc<AtomicU64>,
    pub agent: RwLock<Option<Arc<dyn AgentView>>>,
    /// Places for Prometheus's queries, whoever asks them.
    pub queries: Gate,
    /// Places for what pages list and draw from the store, and for maps: no flood of queries keeps people from looking.
    pub pages: Gate,
    pub maps: Gate,
    /// Places for what other hosts write.
    pub writes: Gate,
    /// Places for what people change: it waits for the disk, which must not keep anybody from reading.
    pub changes: Gate,
    pub version: &'static str,
    pub about: Arc<RwLock<About>>,
    pub started: Instant,
}

/// How far the analysis came; for the health answer, which must not wait for what may hang.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    pub topology: Pass,
    pub detection: Pass,
    pub cause: Pass,
    pub warmup: Warmup,
    pub open_incidents: usize,
    pub anomalies: Arc<HashMap<String, view::Badges>>,
    /// How many numbers of each entity are judged.
    pub judged: Arc<HashMap<String, usize>>,
}

impl HubState {
    /// What the Prometheus endpoints need.
    pub fn prom_state(&self) -> PromState {
        let dictionary = Arc::new(Dictionary(self.store.clone()));
        PromState::new(self.store.clone(), dictionary, QueryLimits::default(), self.about.clone()).behind(self.queries.clone())
    }

    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.now.read().clone()
    }

    /// State at a moment; now when absent.
    pub fn snapshot_at(&self, at_ms: Option<i64>) -> Arc<Snapshot> {
        let Some(at_ms) = at_ms else { return self.snapshot() };
        let topology = self.topology.read();
        let as_of = topology.history().latest().map_or(0, |cycle| cycle.ts);
        let known =
            self.past.lock().iter().find(|past| past.at_ms == at_ms && past.as_of == as_of).map(|past| past.state.clone());
        known.unwrap_or_else(|| {
            let state = Arc::new(topology.history().at(at_ms));
            let mut past = self.past.lock();
            // Those of an earlier cycle are not asked for again.
            past.retain(|kept| kept.as_of == as_of);
            if past.len() >= MAX_PAST_STATES {
                past.pop_front();
            }
            past.push_back(PastState { at_ms, as_of, state: state.clone() });
            state
        })
    }

    /// State at a moment if it knows the entity, else that of now: samples may be older than the first cycle.
    pub fn snapshot_knowing(&self, entity_id: &str, at_ms: i64) -> Arc<Snapshot> {
        let past = self.snapshot_at(Some(at_ms));
        if view::resolve(&past, entity_id).is_some() { past } else { self.snapshot() }
    }

    /// Keeps an event; an exit ends the process in the topology at once.
    pub fn take_event(&self, event: &Event) {
        if event.kind == "exit" {
            let label = |name: &str| event.labels.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
            if let (Some(machine), Some(tgid)) = (label("machine_id"), label("tgid")) {
                self.topology.write().history_mut().exited(machine, tgid, event.at_ms);
            }
        }
        keep_event(&mut self.events.lock(), event.clone(), MAX_EVENTS);
    }

    /// Events of one entity, newest first.
    pub fn events_of(&self, id: &str) -> Vec<Value> {
        let events = self.events.lock();
        let own = events.iter().rev().filter(|event| event.entity_id == id).take(MAX_EVENTS_OF_ENTITY);
        own.map(|event| json!({"ts": event.at_ms, "severity": event.severity, "text": {"en": event.body, "zh": event.body}}))
            .collect()
    }

    /// The detector, unless a tick holds it for longer than a page is to wait: pages then lack what is usual of a number.
    pub fn detector_soon(&self) -> Option<MutexGuard<'_, Detector>> {
        let is_long = self.long_tick.lock().is_some_and(|until| Instant::now() < until);
        let detector = if is_long { self.detector.try_lock() } else { self.detector.try_lock_for(TICK_PATIENCE) };
        if detector.is_none() && !is_long {
            *self.long_tick.lock() = Some(Instant::now() + LONG_TICK);
        }
        detector
    }

    /// Every incident, those that people asked about too, newest first.
    pub fn incidents(&self) -> Vec<Arc<Incident>> {
        let mut incidents = self.detected.read().to_vec();
        incidents.extend(self.asked.lock().incidents().cloned().map(Arc::new));
        incidents.sort_by(|left, right| right.opened_ms.cmp(&left.opened_ms).then_with(|| left.id.cmp(&right.id)));
        incidents
    }

    pub fn incident(&self, id: &str) -> Option<Arc<Incident>> {
        let found = self.detected.read().iter().find(|incident| incident.id == id).cloned();
        found.or_else(|| self.asked.lock().incident(id).cloned().map(Arc::new))
    }
}

/// Keeps one more event. Where there are too many, those go first that no explanation asks for: the oldest once it is too
/// old, else the oldest start of a program, which is never a cause.
fn keep_event(events: &mut VecDeque<Event>, event: Event, most: usize) {
    if events.len() >= most {
        let is_old = events.front().is_some_and(|oldest| oldest.at_ms < event.at_ms - EVENTS_MS);
        let start = events.iter().position(|kept| kept.kind == "exec").filter(|_| !is_old);
        events.remove(start.unwrap_or(0));
    }
    events.push_back(event);
}

/// Metadata of the built-in tables, and of what senders describe.
struct Dictionary(Arc<Store>);

impl MetadataSource for Dictionary {
    fn metadata(&self, metric: Option<&str>) -> Vec<Metadata> {
        let built_in = crate::vocabulary::metadata().into_iter().map(|(family, kind, help, unit)| {
            let (family, kind, help, unit) = (family.to_owned(), kind.to_owned(), help.to_owned(), unit.to_owned());
            Metadata { family, kind, help, unit }
        });
        let sent = self.0.metadata().into_iter().map(|(family, given)| Metadata {
            family,
            kind: given.kind,
            help: given.help,
            unit: given.unit,
        });
        built_in.chain(sent).filter(|row| metric.is_none_or(|wanted| row.family == wanted)).collect()
    }
}

/// The snapshot as detection asks it.
pub struct SnapshotGraph(pub Arc<Snapshot>);

impl EntityGraph for SnapshotGraph {
    fn name_of(&self, entity_id: &str) -> Option<String> {
        self.0.entities.get(entity_id).map(|record| record.name.clone())
    }

    fn are_near(&self, left: &str, right: &str, hops: usize) -> bool {
        if left == right {
            return true;
        }
        let mut near: std::collections::HashSet<&str> = std::collections::HashSet::from([left]);
        let mut frontier = vec![left];
        for _ in 0..hops {
            let mut next = Vec::new();
            for id in frontier {
                for index in view::edges_of(&self.0, id, &Relation::ALL, view::Direction::Both) {
                    let edge = &self.0.edges[index];
                    for end in [&*edge.from, &*edge.to] {
                        if near.insert(end) {
                            next.push(end);
                        }
                    }
                }
            }
            if near.contains(right) {
                return true;
            }
            frontier = next;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_of_programs_do_not_displace_the_ends_that_explain() {
        let event = |at_ms: i64, kind: &str| Event {
            at_ms,
            entity_id: String::new(),
            entity_type: "proc".to_owned(),
            metric: String::new(),
            kind: kind.to_owned(),
            severity: gala_model::Severity::Info,
            body: String::new(),
            labels: Vec::new(),
        };
        let mut events = VecDeque::new();
        keep_event(&mut events, event(0, "exit"), 3);
        (1..9).for_each(|at_ms| keep_event(&mut events, event(at_ms, "exec"), 3));
        let times = |events: &VecDeque<Event>| events.iter().map(|event| event.at_ms).collect::<Vec<_>>();
        assert_eq!(times(&events), [0, 7, 8]);
        (9..12).for_each(|at_ms| keep_event(&mut events, event(at_ms, "exit"), 3));
        assert_eq!(times(&events), [9, 10, 11], "with no start among them the oldest goes");
        keep_event(&mut events, event(EVENTS_MS + 10, "exec"), 3);
        keep_event(&mut events, event(EVENTS_MS + 11, "exec"), 3);
        assert_eq!(times(&events), [11, EVENTS_MS + 10, EVENTS_MS + 11], "what is too old to explain goes before a start");
    }
}
