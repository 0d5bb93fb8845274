//! The life of incidents: anomalies join an open incident that is near in time and place, else open one; an incident
//! closes when its last symptom is over. Bounded, and saved whole.

use std::collections::VecDeque;

use gala_model::entity::id::EntityKey;
use serde::{Deserialize, Serialize};

use super::{End, Incident, Related, Scope, State, Symptom, summary};
use crate::detect::EntityGraph;

#[derive(Clone, Copy, Debug)]
pub struct BookConfig {
    /// Symptoms that begin within this time of each other may be one incident.
    pub join_ms: i64,
    /// So long after it opened an incident takes in whatever its processes suffer.
    pub young_ms: i64,
    /// Relations between two entities of one incident.
    pub hops: usize,
    pub max_open: usize,
    pub max_closed: usize,
    pub max_symptoms: usize,
}

impl Default for BookConfig {
    fn default() -> Self {
        Self { join_ms: 120_000, young_ms: 180_000, hops: 2, max_open: 200, max_closed: 1_000, max_symptoms: 64 }
    }
}

/// Open and past incidents, oldest first.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Book {
    open: Vec<Incident>,
    closed: VecDeque<Incident>,
    /// Symptoms that found no place because too many incidents were open.
    pub dropped: u64,
    #[serde(skip)]
    config: BookConfig,
}

/// What an anomaly did to the book.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    Opened(String),
    Updated(String),
    Closed(String),
}

impl Book {
    pub fn new(config: BookConfig) -> Self {
        Self { config, ..Self::default() }
    }

    pub fn configure(&mut self, config: BookConfig) {
        self.config = config;
    }

    pub fn open(&self) -> &[Incident] {
        &self.open
    }

    /// Every incident, newest first.
    pub fn all(&self) -> impl Iterator<Item = &Incident> {
        let mut all: Vec<&Incident> = self.open.iter().chain(&self.closed).collect();
        all.sort_by(|left, right| right.opened_ms.cmp(&left.opened_ms).then_with(|| left.id.cmp(&right.id)));
        all.into_iter()
    }

    pub fn get(&self, id: &str) -> Option<&Incident> {
        self.open.iter().chain(&self.closed).find(|incident| incident.id == id)
    }

    /// Whether an open incident already holds this KPI as an open symptom.
    pub fn holds(&self, kpi: &str) -> bool {
        self.open.iter().any(|incident| incident.symptoms.iter().any(|symptom| symptom.kpi == kpi && symptom.closed_ms.is_none()))
    }

    /// A KPI became abnormal.
    pub fn begin(&mut self, symptom: Symptom, graph: &dyn EntityGraph) -> Option<Effect> {
        let near = |incident: &Incident| is_one(incident, &symptom, &self.config, graph);
        if let Some(at) = self.open.iter().position(near) {
            let incident = &mut self.open[at];
            match incident.symptoms.iter().position(|known| known.kpi == symptom.kpi) {
                Some(at) => {
                    incident.symptoms[at] = Symptom { onset_ms: incident.symptoms[at].onset_ms.min(symptom.onset_ms), ..symptom }
                }
                None if incident.symptoms.len() < self.config.max_symptoms => incident.symptoms.push(symptom),
                None => self.dropped += 1,
            }
            refresh(incident);
            return Some(Effect::Updated(incident.id.clone()));
        }
        if self.open.len() >= self.config.max_open {
            self.dropped += 1;
            return None;
        }
        let incident = create(symptom);
        let id = incident.id.clone();
        self.open.push(incident);
        Some(Effect::Opened(id))
    }

    /// News of an abnormal KPI.
    pub fn proceed(&mut self, kpi: &str, update: impl FnOnce(&mut Symptom)) -> Option<Effect> {
        let lasts = |symptom: &Symptom| symptom.kpi == kpi && symptom.closed_ms.is_none();
        let incident = self.open.iter_mut().find(|incident| incident.symptoms.iter().any(lasts))?;
        let symptom = incident.symptoms.iter_mut().find(|symptom| lasts(symptom))?;
        update(symptom);
        refresh(incident);
        Some(Effect::Updated(incident.id.clone()))
    }

    /// A KPI is usual again (or gone); the incident closes with its last one.
    pub fn end(&mut self, kpi: &str, at_ms: i64, end: End) -> Option<Effect> {
        let lasts = |symptom: &Symptom| symptom.kpi == kpi && symptom.closed_ms.is_none();
        let at = self.open.iter().position(|incident| incident.symptoms.iter().any(lasts))?;
        let incident = &mut self.open[at];
        incident.symptoms.iter_mut().filter(|symptom| lasts(symptom)).for_each(|symptom| symptom.closed_ms = Some(at_ms));
        incident.updated_ms = incident.updated_ms.max(at_ms);
        let id = incident.id.clone();
        if incident.symptoms.iter().any(|symptom| symptom.closed_ms.is_none()) {
            return Some(Effect::Updated(id));
        }
        incident.state = State::Closed;
        incident.closed_ms = Some(at_ms);
        incident.end = Some(end);
        let incident = self.open.remove(at);
        if self.closed.len() >= self.config.max_closed {
            self.closed.pop_front();
        }
        self.closed.push_back(incident);
        Some(Effect::Closed(id))
    }

    /// Replaces what is abnormal around an open incident.
    pub fn relate(&mut self, id: &str, related: Vec<Related>) {
        if let Some(incident) = self.open.iter_mut().find(|incident| incident.id == id) {
            incident.related = related;
        }
    }

    /// Open symptoms, for KPIs that vanished while the program was away.
    pub fn open_kpis(&self) -> Vec<String> {
        let open = self.open.iter().flat_map(|incident| &incident.symptoms).filter(|symptom| symptom.closed_ms.is_none());
        open.map(|symptom| symptom.kpi.clone()).collect()
    }
}

/// Whether a symptom belongs to an incident: the same KPI again before long, another face of the same number (its mean, its
/// slow tenth) while it is abnormal, the same process while the incident is young, or near in time and place. What comes later is another fault, though the first one lingers.
fn is_one(incident: &Incident, symptom: &Symptom, config: &BookConfig, graph: &dyn EntityGraph) -> bool {
    let young = symptom.onset_ms - incident.opened_ms <= config.young_ms;
    let again = |known: &Symptom| {
        known.kpi == symptom.kpi && known.closed_ms.is_none_or(|closed_ms| symptom.onset_ms - closed_ms <= config.join_ms)
    };
    let face =
        |known: &Symptom| known.closed_ms.is_none() && (&known.metric, &known.labels) == (&symptom.metric, &symptom.labels);
    let process = |known: &Symptom| young && known.process_id.is_some() && known.process_id == symptom.process_id;
    if incident.symptoms.iter().any(|known| again(known) || face(known) || process(known)) {
        return true;
    }
    let in_time = incident.symptoms.iter().any(|known| (known.onset_ms - symptom.onset_ms).abs() <= config.join_ms);
    in_time
        && incident.symptoms.iter().any(|known| {
            known.machine_id == symptom.machine_id || graph.are_near(&known.entity_id, &symptom.entity_id, config.hops)
        })
}

fn create(symptom: Symptom) -> Incident {
    let onset = symptom.onset_ms.to_string();
    let key = EntityKey::of("incident", &symptom.machine_id, &symptom.metric, [symptom.kpi.as_str(), onset.as_str()].into_iter());
    let mut incident = Incident {
        id: as_uuid(key.0),
        event_id: format!("{}_{}", symptom.opened_ms, symptom.entity_id),
        state: State::Open,
        class: symptom.class,
        opened_ms: symptom.opened_ms,
        onset_ms: symptom.onset_ms,
        updated_ms: symptom.opened_ms,
        closed_ms: None,
        end: None,
        severity: symptom.severity,
        scope: Scope::SingleNode,
        machine_id: String::new(),
        entity_id: String::new(),
        entity_type: String::new(),
        entity_name: String::new(),
        metric: String::new(),
        summary: Default::default(),
        score: 0.0,
        symptoms: vec![symptom],
        related: Vec::new(),
    };
    refresh(&mut incident);
    incident
}

/// Derives the head of an incident from its symptoms.
fn refresh(incident: &mut Incident) {
    let primary = incident.primary().clone();
    incident.summary = summary(&primary);
    incident.class = primary.class;
    incident.machine_id = primary.machine_id;
    incident.entity_id = primary.entity_id;
    incident.entity_type = primary.entity_type;
    incident.entity_name = primary.entity_name;
    incident.metric = primary.metric;
    let symptoms = &incident.symptoms;
    incident.onset_ms = symptoms.iter().map(|symptom| symptom.onset_ms).min().unwrap_or(incident.onset_ms);
    incident.severity = symptoms.iter().map(|symptom| symptom.severity).max().unwrap_or(incident.severity);
    incident.score = symptoms.iter().map(|symptom| symptom.score).fold(0.0, f64::max);
    let newest = symptoms.iter().map(|symptom| symptom.last_bad_ms.max(symptom.opened_ms)).max();
    incident.updated_ms = incident.updated_ms.max(newest.unwrap_or(i64::MIN));
    let one_machine = symptoms.iter().all(|symptom| symptom.machine_id == incident.machine_id);
    incident.scope = if one_machine { Scope::SingleNode } else { Scope::CrossNode };
}

/// The hash as text, in the form of a custom (version 8) UUID.
fn as_uuid(hash: u128) -> String {
    let bits = (hash & !(0xf << 76) & !(0x3 << 62)) | (0x8 << 76) | (0x2 << 62);
    let hex = format!("{bits:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}
