//! Explanation of incidents in their stages: an open incident is explained as soon as it opens and again while evidence
//! comes in, each result a new version; the last one stays.

use std::collections::HashMap;
use std::sync::Arc;

use gala_analysis::cause::{self, ExplainConfig};
use gala_analysis::incident::{Incident, Symptom};
use gala_analysis::topology::Snapshot;
use gala_model::event::Event;
use gala_model::incident::{IncidentInput, RootCause, Stage};

use crate::api::faults;
use crate::asked::Asked;
use crate::documents::{Change, DocumentError, Shelf};
use crate::state::HubState;
use crate::stream::Topic;

/// Explanations are refreshed this often while the incident is young.
const REFRESH_MS: i64 = 10_000;
/// After so long the result is final.
const FINAL_MS: i64 = 180_000;
/// Events are given to an explanation that are so old: a symptom may be felt for a while before it is explained.
pub(crate) const EVENTS_MS: i64 = 900_000;
/// Explanations kept, somewhat more than there are incidents and questions; the oldest go first.
const MAX_KEPT: usize = 1_500;
/// Versions of explanations kept, of all incidents together: those of the last two hundred or so.
const MAX_VERSIONS: u64 = 3_000;

/// Keeps the explanations of all incidents up to date.
pub struct Explainer {
    hub: Arc<HubState>,
    config: ExplainConfig,
    last_run_ms: HashMap<String, i64>,
}

impl Explainer {
    pub fn new(hub: Arc<HubState>) -> Self {
        Self { hub, config: ExplainConfig::default(), last_run_ms: HashMap::new() }
    }

    /// Explains what is due.
    pub fn update(&mut self, incidents: &[Arc<Incident>]) {
        let now_ms = gala_store::now_ms();
        for incident in incidents {
            if self.is_due(incident, now_ms) {
                self.last_run_ms.insert(incident.id.clone(), now_ms);
                let troubles = troubles_before(incident, incidents);
                let result = self.explain(&inputs_of(incident), &self.hub.snapshot(), now_ms, troubles);
                self.keep(incident, result);
            } else if incident.closed_ms.is_some_and(|closed_ms| now_ms - closed_ms < FINAL_MS) {
                self.finish(incident);
            }
        }
        let asked = self.hub.asked.lock().open();
        for question in &asked {
            self.answer(question, now_ms);
        }
        let of_people = || asked.iter().map(|question| &question.incident.id);
        let is_known = |id: &String| incidents.iter().map(|incident| &incident.id).chain(of_people()).any(|known| known == id);
        self.last_run_ms.retain(|id, _| is_known(id));
    }

    fn explain(&self, inputs: &[IncidentInput], snapshot: &Snapshot, until_ms: i64, troubles: Vec<(i64, i64)>) -> RootCause {
        let rules = self.hub.rules.read().clone();
        let config = ExplainConfig { troubles, events: self.events_before(until_ms), ..self.config.clone() };
        cause::explain_common(inputs, snapshot, &*self.hub.store, until_ms, &rules, &config)
            .unwrap_or_else(|| RootCause::detected(&IncidentInput::default()))
    }

    /// What happened to processes while an incident may have begun that is explained at this time.
    fn events_before(&self, until_ms: i64) -> Vec<Event> {
        let events = self.hub.events.lock();
        let recent = events.iter().filter(|event| (until_ms - EVENTS_MS..=until_ms).contains(&event.at_ms));
        recent.filter(|event| event.entity_type == "proc").cloned().collect()
    }

    /// A question about the past is answered at once and once; one about now like an incident.
    fn answer(&mut self, question: &Asked, now_ms: i64) {
        let (incident, is_last) = (&question.incident, question.sees_all(now_ms));
        if !is_last && now_ms - self.last_run_ms.get(&incident.id).copied().unwrap_or(0) < REFRESH_MS {
            return;
        }
        self.last_run_ms.insert(incident.id.clone(), now_ms);
        // When it began is part of the question.
        let input = IncidentInput { onset_ms: None, ..input_of(incident) };
        let snapshot = self.hub.snapshot_knowing(&incident.entity_id, incident.opened_ms);
        let mut result = self.explain(&[input], &snapshot, question.until_ms(now_ms), Vec::new());
        if is_last {
            result.resource.stage = Stage::Final;
        }
        let onset_ms = result.resource.onset;
        self.keep(incident, result);
        let change = self.hub.asked.lock().explained(&incident.id, onset_ms, is_last);
        if let Err(error) = change.transpose().and_then(|change| self.hub.documents.write(change.as_slice())) {
            tracing::warn!(%error, incident = %incident.id, "the answer could not be saved");
        }
    }

    fn is_due(&self, incident: &Incident, now_ms: i64) -> bool {
        let stage = self.hub.explanations.read().get(&incident.id).map(|result| result.resource.stage);
        if stage == Some(Stage::Final) || (!incident.is_open() && stage.is_some()) {
            return false;
        }
        let last = self.last_run_ms.get(&incident.id).copied().unwrap_or(0);
        // One more run at the end of the young phase makes the result final.
        now_ms - last >= REFRESH_MS || (now_ms - incident.opened_ms >= FINAL_MS && last - incident.opened_ms < FINAL_MS)
    }

    /// Nothing more is learnt of an incident that is over: who waits for the last word has it.
    fn finish(&self, incident: &Incident) {
        let last = self.hub.explanations.read().get(&incident.id).filter(|last| last.resource.stage != Stage::Final).cloned();
        if let Some(mut last) = last {
            last.resource.stage = Stage::Final;
            self.keep(incident, last);
        }
    }

    /// Keeps a result if it says something new. Who reads explanations waits for no disk: it may be the very thing that is
    /// at fault.
    fn keep(&self, incident: &Incident, mut result: RootCause) {
        let previous = self.hub.explanations.read().get(&incident.id).cloned();
        let version = previous.as_ref().map_or(0, |previous| previous.resource.result_version);
        let stage = result.resource.stage;
        result.resource.timing = previous.as_ref().map(|previous| previous.resource.timing.clone()).unwrap_or_default();
        let after_ms = gala_store::now_ms().saturating_sub(incident.opened_ms).max(0) as u64;
        result.resource.timing.entry(stage_name(stage).to_owned()).or_insert(after_ms);
        let says_the_same = previous.is_some_and(|previous| {
            previous.resource.stage == stage && previous.resource.cause_metrics == result.resource.cause_metrics
        });
        if says_the_same {
            return;
        }
        result.resource.result_version = version + 1;
        let surplus = {
            let mut explanations = self.hub.explanations.write();
            explanations.insert(incident.id.clone(), result.clone());
            evict(&mut explanations)
        };
        self.hub.stream.send(Topic::RootCause, &faults::row(&self.hub, incident));
        if let Err(error) = self.save(incident, &result, surplus) {
            tracing::warn!(%error, incident = %incident.id, "the explanation could not be saved");
        }
    }

    fn save(&self, incident: &Incident, result: &RootCause, surplus: Vec<String>) -> Result<(), DocumentError> {
        let documents = &self.hub.documents;
        let version = version_key(incident, result.resource.result_version);
        let mut changes =
            vec![Change::put(Shelf::Explanations, &incident.id, result)?, Change::put(Shelf::Versions, version, result)?];
        changes.extend(surplus.into_iter().map(|id| Change::remove(Shelf::Explanations, id)));
        documents.write(&changes)?;
        documents.trim(Shelf::Versions, MAX_VERSIONS)
    }
}

/// Takes out the oldest that are too many.
fn evict(explanations: &mut HashMap<String, RootCause>) -> Vec<String> {
    let mut surplus = Vec::new();
    while explanations.len() > MAX_KEPT {
        let oldest = explanations.iter().min_by_key(|(_, result)| result.timestamp).map(|(id, _)| id.clone());
        let Some(id) = oldest else { break };
        explanations.remove(&id);
        surplus.push(id);
    }
    surplus
}

/// Key of one version of an explanation; older incidents come first.
pub fn version_key(incident: &Incident, version: u32) -> String {
    format!("{:013}/{}/{version:06}", incident.opened_ms, incident.id)
}

const fn stage_name(stage: Stage) -> &'static str {
    match stage {
        Stage::Detected => "detected",
        Stage::Domain => "domain",
        Stage::Cause => "cause",
        Stage::Final => "final",
    }
}

/// What the explanation needs to know of an incident.
pub fn input_of(incident: &Incident) -> IncidentInput {
    IncidentInput { onset_ms: Some(incident.onset_ms), ..input(incident, incident.primary()) }
}

/// When other incidents of the same host lasted, as far as they began before this one.
fn troubles_before(incident: &Incident, all: &[Arc<Incident>]) -> Vec<(i64, i64)> {
    const MARGIN_MS: i64 = 15_000;
    let others = all.iter().filter(|other| other.machine_id == incident.machine_id && other.onset_ms < incident.onset_ms);
    others
        .filter(|other| other.id != incident.id)
        .map(|other| (other.onset_ms - MARGIN_MS, other.closed_ms.unwrap_or(incident.onset_ms) + MARGIN_MS))
        .collect()
}

/// The primary symptom and, of the other processes that the incident hurts, the worst symptom of each, worst first.
fn inputs_of(incident: &Incident) -> Vec<IncidentInput> {
    let primary = incident.primary();
    let place = |symptom: &Symptom| symptom.process_id.clone().unwrap_or_else(|| symptom.entity_id.clone());
    let mut others: Vec<&Symptom> =
        incident.symptoms.iter().filter(|symptom| symptom.class == primary.class && symptom.closed_ms.is_none()).collect();
    others.sort_by(|left, right| right.score.total_cmp(&left.score));
    let mut known = vec![place(primary)];
    let mut inputs = vec![input_of(incident)];
    for symptom in others {
        if !known.contains(&place(symptom)) {
            known.push(place(symptom));
            inputs.push(input(incident, symptom));
        }
    }
    inputs
}

fn input(incident: &Incident, symptom: &Symptom) -> IncidentInput {
    IncidentInput {
        event_id: incident.event_id.clone(),
        at_ms: incident.opened_ms,
        onset_ms: Some(symptom.onset_ms),
        entity_id: symptom.entity_id.clone(),
        entity_type: symptom.entity_type.clone(),
        machine_id: symptom.machine_id.clone(),
        metric_id: symptom.metric.clone(),
        labels: symptom.labels.clone(),
        score: symptom.score,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::{Duration, Instant};

    use gala_analysis::incident::State;
    use serde_json::json;

    use super::*;
    use crate::documents::hanging;
    use crate::server::open;
    use crate::{HubConfig, TopologyConfig, anomalies};

    /// A hub's state whose documents are on a disk that can be held up.
    fn state(dir: &std::path::Path) -> Arc<HubState> {
        let config = HubConfig {
            data_dir: dir.to_owned(),
            listen: "127.0.0.1:0".parse().unwrap(),
            any_port: false,
            retention: Duration::from_secs(86_400),
            store_bytes: 1 << 30,
            topology: TopologyConfig::default(),
            build: crate::Build::default(),
        };
        let mut state = open(&config).unwrap();
        let slow = dir.join("slow");
        std::fs::create_dir(&slow).unwrap();
        Arc::get_mut(&mut state).expect("nobody else has it yet").documents = hanging::documents(&slow);
        state
    }

    pub(crate) fn incident() -> Incident {
        let symptom = json!({
            "kpi": "k", "class": "app", "entity_id": "m_sli_1", "entity_type": "sli", "entity_name": "sli", "machine_id": "m",
            "process_id": null, "metric": "gala_gopher_sli_latency_nsec", "unit": "ns", "help": "", "labels": {},
            "lead_labels": {}, "source": {"kind": "number", "name": "x"}, "falls": false, "onset_ms": 1, "opened_ms": 1,
            "last_bad_ms": 1, "closed_ms": null, "low": 0.0, "before": 0.0, "high": 1.0, "peak": 9.0, "now": 9.0, "score": 1.0,
            "severity": "WARN",
        });
        let incident = json!({
            "id": "i", "event_id": "1_m_sli_1", "state": "open", "class": "app", "opened_ms": 1, "onset_ms": 1, "updated_ms": 1,
            "closed_ms": null, "end": null, "severity": "WARN", "scope": "single_node", "machine_id": "m", "entity_id": "m_sli_1",
            "entity_type": "sli", "entity_name": "sli", "metric": "gala_gopher_sli_latency_nsec",
            "summary": {"en": "", "zh": ""}, "score": 1.0, "symptoms": [symptom], "related": [],
        });
        serde_json::from_value(incident).unwrap()
    }

    fn wait_for(what: &str, is_so: impl Fn() -> bool) {
        let begun = Instant::now();
        while !is_so() {
            assert!(begun.elapsed() < Duration::from_secs(30), "{what}");
            std::thread::yield_now();
        }
    }

    #[test]
    fn an_incident_that_is_over_early_has_a_last_word_too() {
        let dir = tempfile::tempdir().unwrap();
        let state = state(dir.path());
        let mut explainer = Explainer::new(state.clone());
        let mut open = incident();
        // Open for too short a time to be explained to the end.
        (open.opened_ms, open.onset_ms) = (gala_store::now_ms(), gala_store::now_ms());
        let found = RootCause::detected(&input_of(&open));
        explainer.keep(&open, found);
        let told = || state.explanations.read()["i"].clone();
        assert_eq!((told().resource.stage, told().resource.result_version), (Stage::Detected, 1));
        let over = Incident { state: State::Closed, closed_ms: Some(gala_store::now_ms()), ..open };
        explainer.update(&[Arc::new(over.clone())]);
        assert_eq!((told().resource.stage, told().resource.result_version), (Stage::Final, 2));
        assert!(told().resource.timing.contains_key("final"), "{:?}", told().resource.timing);
        explainer.update(&[Arc::new(over)]);
        assert_eq!(told().resource.result_version, 2, "it is said once");
    }

    #[test]
    fn who_reads_what_was_found_waits_for_no_disk() {
        let dir = tempfile::tempdir().unwrap();
        let state = state(dir.path());
        let explainer = Explainer::new(state.clone());
        let disk = hanging::DISK.lock();
        let keeping = std::thread::spawn(move || explainer.keep(&incident(), RootCause::default()));
        let is_told = || state.explanations.try_read().is_some_and(|known| known.contains_key("i"));
        wait_for("the explanation is told while the disk hangs", is_told);

        let row = json!({
            "event_id": "1_m_sli_1", "event_ids": ["1_m_sli_1"], "time_ms": gala_store::now_ms(), "first_ms": 1, "count": 1,
            "kind": "app", "entity_id": "m_sli_1", "entity_name": "", "entity_type": "sli", "host_name": "", "metric_id": "x",
            "severity": "WARN", "state": "open", "desc": {}, "score": null, "value": null, "normal": {}, "unit": "",
            "incident_id": null,
        });
        state.anomalies.write().begin(serde_json::from_value(row).unwrap());
        let worker = state.clone();
        let saving = std::thread::spawn(move || anomalies::save(&worker.anomalies, &worker.documents));
        let is_taken = || state.anomalies.try_read().is_some_and(|log| log.is_saved());
        wait_for("the anomalies are read while the disk hangs", is_taken);
        assert!(!keeping.is_finished() && !saving.is_finished(), "the disk hangs");
        drop(disk);
        keeping.join().unwrap();
        saving.join().unwrap().unwrap();
        let kept: Option<RootCause> = state.documents.get(Shelf::Explanations, "i").unwrap();
        assert_eq!(kept.map(|result| result.resource.result_version), Some(1));
        assert_eq!(anomalies::AnomalyLog::load(&state.documents).open().count(), 1);
    }
}
