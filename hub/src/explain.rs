//! Explanation of incidents in their stages: an open incident is explained as soon as it opens and again while evidence
//! comes in, each result a new version; the last one stays.

use std::collections::HashMap;
use std::sync::Arc;

use gala_analysis::cause::{self, ExplainConfig};
use gala_analysis::incident::Incident;
use gala_model::incident::{IncidentInput, RootCause, Stage};

use crate::api::faults;
use crate::documents::Shelf;
use crate::state::HubState;
use crate::stream::Topic;

/// Explanations are refreshed this often while the incident is young.
const REFRESH_MS: i64 = 10_000;
/// After so long the result is final.
const FINAL_MS: i64 = 180_000;
/// Explanations kept; the oldest go first.
const MAX_KEPT: usize = 2_000;

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
    pub fn update(&mut self, incidents: &[Incident]) {
        let now_ms = gala_store::now_ms();
        for incident in incidents {
            if !self.is_due(incident, now_ms) {
                continue;
            }
            self.last_run_ms.insert(incident.id.clone(), now_ms);
            let input = input_of(incident);
            let rules = self.hub.rules.read().clone();
            let result = cause::explain(&input, &*self.hub.snapshot(), &*self.hub.store, now_ms, &rules, &self.config);
            self.keep(incident, result);
        }
        self.last_run_ms.retain(|id, _| incidents.iter().any(|incident| incident.id == *id));
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

    /// Keeps a result if it says something new.
    fn keep(&self, incident: &Incident, mut result: RootCause) {
        let mut explanations = self.hub.explanations.write();
        let previous = explanations.get(&incident.id);
        let version = previous.map_or(0, |previous| previous.resource.result_version);
        let stage = result.resource.stage;
        result.resource.timing = previous.map(|previous| previous.resource.timing.clone()).unwrap_or_default();
        let after_ms = gala_store::now_ms().saturating_sub(incident.opened_ms).max(0) as u64;
        result.resource.timing.entry(stage_name(stage).to_owned()).or_insert(after_ms);
        let says_the_same = previous.is_some_and(|previous| {
            previous.resource.stage == stage && previous.resource.cause_metrics == result.resource.cause_metrics
        });
        if says_the_same {
            return;
        }
        result.resource.result_version = version + 1;
        if let Err(error) = self.hub.documents.put(Shelf::Explanations, &incident.id, &result) {
            tracing::warn!(%error, incident = %incident.id, "the explanation could not be saved");
        }
        explanations.insert(incident.id.clone(), result);
        self.evict(&mut explanations);
        drop(explanations);
        self.hub.stream.send(Topic::RootCause, &faults::row(&self.hub, incident));
    }

    fn evict(&self, explanations: &mut HashMap<String, RootCause>) {
        while explanations.len() > MAX_KEPT {
            let oldest = explanations.iter().min_by_key(|(_, result)| result.timestamp).map(|(id, _)| id.clone());
            let Some(id) = oldest else { return };
            explanations.remove(&id);
            if let Err(error) = self.hub.documents.remove(Shelf::Explanations, &id) {
                tracing::warn!(%error, incident = %id, "an old explanation could not be removed");
            }
        }
    }
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
    let symptom = incident.primary();
    IncidentInput {
        event_id: incident.event_id.clone(),
        at_ms: incident.opened_ms,
        onset_ms: Some(incident.onset_ms),
        entity_id: symptom.entity_id.clone(),
        entity_type: symptom.entity_type.clone(),
        machine_id: symptom.machine_id.clone(),
        metric_id: symptom.metric.clone(),
        labels: symptom.labels.clone(),
        score: symptom.score,
    }
}
