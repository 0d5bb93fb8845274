//! Incidents and their explanation: `/faults`.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use gala_analysis::cause::rules::CATEGORIES;
use gala_analysis::incident::{Incident, Scope, Symptom};
use gala_model::incident::{Resource, RootCause};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::error::ApiError;
use super::fault_detail::detail;
use super::params::{Id, Params};
use super::topology::spellings;
use super::written::Written;
use crate::documents::{DocumentError, Shelf};
use crate::explain::{input_of, version_key};
use crate::state::HubState;

/// Versions count from 1 and come every few seconds for some minutes.
pub const MAX_VERSION: usize = 1_000_000;
/// Where a fault can sit.
const DOMAINS: [&str; 7] = ["process", "container", "pod", "vm", "machine", "network", "external"];
/// Faults given with an entity at most.
const MAX_OF_ENTITY: usize = 20;

/// The row of an incident in lists and in the stream.
pub fn row(hub: &HubState, incident: &Incident) -> Value {
    let explanations = hub.explanations.read();
    let explanation = explanations.get(&incident.id);
    let snapshot = hub.snapshot();
    let host_name = snapshot.host_of(&incident.machine_id).map_or("", |host| host.name.as_str());
    let first = explanation.and_then(|result| result.resource.cause_metrics.first());
    let cause = first.map(|cause| {
        let known = snapshot.entities.get(cause.entity_id.as_str()).map(|record| record.name.as_str());
        json!({
            "entity_id": cause.entity_id, "entity_name": name_of(known, &cause.entity_id, &cause.entity_name),
            "entity_type": cause.entity_type, "category": cause.fault_category, "probability": cause.probability,
        })
    });
    json!({
        "id": incident.id,
        "state": incident.state,
        "opened_ms": incident.opened_ms,
        "onset_ms": incident.onset_ms,
        "updated_ms": incident.updated_ms,
        "closed_ms": incident.closed_ms,
        "severity": incident.severity,
        "scope": incident.scope,
        "entity_id": incident.entity_id,
        "entity_name": incident.entity_name,
        "metric_id": incident.metric,
        "summary": incident.summary,
        "stage": explanation.map_or(gala_model::incident::Stage::Detected, |result| result.resource.stage),
        "cause": cause,
        "host_name": host_name,
        "asked": hub.asked.lock().incident(&incident.id).is_some(),
    })
}

/// The result's own name, with "+3" where it stands for three more; else the topology's; else the id.
fn name_of<'a>(known: Option<&'a str>, id: &'a str, given: &'a str) -> &'a str {
    if given.is_empty() { known.unwrap_or(id) } else { given }
}

/// `GET /faults`
pub async fn list(State(hub): State<Arc<HubState>>, params: Params) -> Result<Written, ApiError> {
    let worker = hub.clone();
    Written::by(&hub.pages, move || list_of(&worker, &params)).await
}

fn list_of(hub: &HubState, params: &Params) -> Result<Value, ApiError> {
    params.only(&["from", "to", "state", "scope", "entity", "category", "domain", "limit", "cursor"])?;
    let (from, to) = params.span()?;
    let from = from.unwrap_or(0);
    let open = params.choice("state", &[("open", true), ("closed", false)])?;
    let scope = params.choice("scope", &[("single_node", Scope::SingleNode), ("cross_node", Scope::CrossNode)])?;
    let codes: Vec<(&str, ())> = CATEGORIES.iter().map(|(code, ..)| (*code, ())).chain([("unknown", ())]).collect();
    params.choice("category", &codes)?;
    params.choice("domain", &DOMAINS.map(|level| (level, ())))?;
    let entity = params.text("entity").map(|raw| spellings(hub, raw));
    let mut found = hub.incidents();
    let explanations = hub.explanations.read();
    let resource = |incident: &Incident| explanations.get(&incident.id).map(|result| &result.resource);
    found.retain(|incident| {
        let domain = || resource(incident).and_then(|found| found.fault_domain.as_ref()).map(|domain| domain.level.as_str());
        incident.closed_ms.unwrap_or(i64::MAX) >= from
            && incident.onset_ms <= to
            && open.is_none_or(|open| incident.is_open() == open)
            && scope.is_none_or(|scope| incident.scope == scope)
            && entity.as_ref().is_none_or(|entity| incident.symptoms.iter().any(|symptom| is_hurt(symptom, entity)))
            && params.text("category").is_none_or(|wanted| resource(incident).is_some_and(|found| is_of(found, wanted)))
            && params.text("domain").is_none_or(|wanted| domain() == Some(wanted))
    });
    drop(explanations);
    let page = params.page(found, |incident| (Reverse(incident.opened_ms), incident.id.clone()))?;
    let items: Vec<Value> = page.items.iter().map(|incident| row(hub, incident)).collect();
    Ok(json!({"items": items, "next_cursor": page.next_cursor}))
}

/// Whether a symptom is of an entity, in one of its spellings, or of a part of that process.
fn is_hurt(symptom: &Symptom, entity: &[String]) -> bool {
    entity.contains(&symptom.entity_id) || symptom.process_id.as_ref().is_some_and(|process| entity.contains(process))
}

/// Whether a result is of a category: that of its first cause, or `unknown` where none of its causes leads.
fn is_of(found: &Resource, category: &str) -> bool {
    match category {
        "unknown" => found.fault_category.as_ref().is_some_and(|likeliest| likeliest.code == category),
        _ => found.cause_metrics.first().is_some_and(|cause| cause.fault_category == category),
    }
}

/// Rows of incidents in which one of the entities suffers or is a cause, newest first.
pub fn of_entity(hub: &HubState, ids: &HashSet<String>) -> Vec<Value> {
    let found = hub.incidents();
    let causes = |incident: &Incident| {
        let explanations = hub.explanations.read();
        explanations
            .get(&incident.id)
            .is_some_and(|result| result.resource.cause_metrics.iter().any(|cause| ids.contains(&cause.entity_id)))
    };
    let suffers = |incident: &Incident| incident.symptoms.iter().any(|symptom| ids.contains(&symptom.entity_id));
    found
        .iter()
        .filter(|incident| suffers(incident) || causes(incident))
        .take(MAX_OF_ENTITY)
        .map(|incident| row(hub, incident))
        .collect()
}

/// `GET /faults/{id}`
pub async fn one(State(hub): State<Arc<HubState>>, Id(id): Id, params: Params) -> Result<Written, ApiError> {
    params.only(&["version"])?;
    let version = params.count("version", 1..=MAX_VERSION)?;
    let incident = incident(&hub, &id)?;
    explained(hub, incident, version).await
}

/// An incident with one version of its explanation; an earlier one is read from the disk.
async fn explained(hub: Arc<HubState>, incident: Arc<Incident>, version: Option<usize>) -> Result<Written, ApiError> {
    let worker = hub.clone();
    let answer = Written::by(&hub.pages, move || {
        let result = version_of(&worker, &incident, version)?;
        let mut body = detail(&worker, &incident, &result);
        body["feedback"] = json!(verdicts(&worker, &incident));
        Ok(body)
    });
    answer.await
}

/// An incident by its id.
pub fn incident(hub: &HubState, id: &str) -> Result<Arc<Incident>, ApiError> {
    hub.incident(id).ok_or_else(|| ApiError::not_found(format!("no incident {id:?}; `GET /api/v1/faults` lists them")))
}

/// The last explanation of an incident, or an earlier one that is still kept.
pub fn version_of(hub: &HubState, incident: &Incident, asked: Option<usize>) -> Result<RootCause, ApiError> {
    let latest = hub.explanations.read().get(&incident.id).cloned();
    let latest = latest.unwrap_or_else(|| RootCause::detected(&input_of(incident)));
    let version = latest.resource.result_version;
    let Some(asked) = asked.map(|asked| asked as u32).filter(|asked| *asked != version) else { return Ok(latest) };
    let earlier = hub.documents.get(Shelf::Versions, &version_key(incident, asked));
    let earlier = earlier.map_err(|error| ApiError::unavailable(error.to_string()))?;
    earlier.ok_or_else(|| {
        ApiError::not_found(format!("version {asked} of incident {:?} is not kept; the last one is {version}", incident.id))
    })
}

/// `GET /faults/by-event/{event_id}`
pub async fn by_event(State(hub): State<Arc<HubState>>, Id(event_id): Id, params: Params) -> Result<Written, ApiError> {
    params.only(&["version"])?;
    let version = params.count("version", 1..=MAX_VERSION)?;
    let has = |incident: &Arc<Incident>| {
        let begins = |symptom: &Symptom| event_id == format!("{}_{}", symptom.onset_ms, symptom.entity_id);
        incident.event_id == event_id || incident.symptoms.iter().any(begins)
    };
    let incident = hub.incidents().into_iter().find(has).ok_or_else(|| {
        ApiError::not_found(format!("no incident has the event {event_id:?}; `GET /api/v1/anomalies/{{event_id}}` tells of it"))
    })?;
    explained(hub, incident, version).await
}

/// Verdicts on an incident, newest first.
fn verdicts(hub: &HubState, incident: &Incident) -> Vec<Value> {
    let end = format!("/{}", incident.id);
    let from = format!("{:013}", incident.opened_ms);
    let given = hub.documents.last::<Given>(Shelf::Feedback, &from, |key| key.ends_with(&end), MAX_VERDICTS);
    given.into_iter().map(|given| json!(given)).collect()
}

/// A verdict as it is kept.
#[derive(Debug, Serialize, Deserialize)]
struct Given {
    /// When it was given; of verdicts kept before that was noted, unknown.
    #[serde(default)]
    at_ms: Option<i64>,
    verdict: Verdict,
    entity_id: Option<String>,
    text: String,
}

/// A verdict of a person.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Feedback {
    pub verdict: Verdict,
    #[serde(default)]
    pub entity_id: Option<String>,
    #[serde(default)]
    pub text: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Right,
    Wrong,
    Expected,
}

const MAX_FEEDBACK_CHARS: usize = 4_000;
/// No entity has a longer id.
const MAX_ID_CHARS: usize = 4_096;
/// Verdicts given with an incident at most.
const MAX_VERDICTS: usize = 50;
/// Verdicts kept; the oldest go first.
const MAX_FEEDBACK: u64 = 10_000;

/// `POST /faults/{id}/feedback`
pub async fn feedback(
    State(hub): State<Arc<HubState>>,
    Id(id): Id,
    params: Params,
    body: Result<Bytes, BytesRejection>,
) -> Result<StatusCode, ApiError> {
    params.only(&[])?;
    let form = "{\"verdict\": \"right\" | \"wrong\" | \"expected\", \"entity_id\": id or absent, \"text\": words or absent}";
    let feedback: Feedback = super::params::body(&body?, form)?;
    incident(&hub, &id)?;
    let entity_id = feedback.entity_id.as_deref().unwrap_or("");
    for (name, text, most) in [("text", feedback.text.as_str(), MAX_FEEDBACK_CHARS), ("entity_id", entity_id, MAX_ID_CHARS)] {
        if text.chars().count() > most {
            return Err(ApiError::refused(name, format!("{name} is longer than {most} characters; shorten it")));
        }
    }
    let worker = hub.clone();
    let kept = hub.changes.run(move || {
        let at_ms = gala_store::now_ms();
        let key = format!("{at_ms:013}/{}/{id}", uuid::Uuid::now_v7());
        let Feedback { verdict, entity_id, text } = feedback;
        worker.documents.put(Shelf::Feedback, &key, &Given { at_ms: Some(at_ms), verdict, entity_id, text })?;
        worker.documents.trim(Shelf::Feedback, MAX_FEEDBACK)
    });
    kept.await.map_err(ApiError::unsure)?.map_err(|error: DocumentError| ApiError::unavailable(error.to_string()))?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use gala_model::incident::{CauseMetric, FaultCategory};

    use super::*;

    #[test]
    fn what_has_no_leading_cause_is_found_as_unknown() {
        let code = "unknown".to_owned();
        let mut found =
            Resource { fault_category: Some(FaultCategory { code, ..FaultCategory::default() }), ..Resource::default() };
        assert!(is_of(&found, "unknown") && !is_of(&found, "S4"));
        // A hint is listed with the row, so it is found by its category, too.
        found.cause_metrics.push(CauseMetric { fault_category: "S4".to_owned(), ..CauseMetric::default() });
        assert!(is_of(&found, "unknown") && is_of(&found, "S4") && !is_of(&found, "S1"));
        assert!(!is_of(&Resource::default(), "unknown"), "nothing is explained yet");
    }

    #[test]
    fn a_cause_of_several_processes_says_so() {
        assert_eq!(name_of(Some("7, stress, alpha"), "m_proc_7", "stress (7) +3"), "stress (7) +3");
        assert_eq!(name_of(Some("7, stress, alpha"), "m_proc_7", ""), "7, stress, alpha");
        assert_eq!(name_of(None, "m_proc_7", ""), "m_proc_7");
    }
}
