//! `POST /faults`: an explanation on demand, for one metric of one entity at one time.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use gala_analysis::incident::Class;
use gala_analysis::topology::history::EntityRecord;
use gala_model::{Bad, FieldDef};
use serde::Deserialize;
use serde_json::json;

use super::entity_metrics::points;
use super::error::ApiError;
use super::grid::Grid;
use super::params::Params;
use super::topology::resolve;
use crate::asked::{self, Asked, MAX_WAITING, Reading};
use crate::state::HubState;
use crate::vocabulary;

/// What is usual is read from the hour before, what it was then from around the time.
const BASELINE_MS: i64 = 3_600_000;
const AROUND_MS: i64 = 60_000;
const STEP_MS: i64 = 10_000;
/// Values before the time without which nothing can be called usual.
const LEAST_VALUES: usize = 10;
/// Until a place is free, in all likelihood.
const RETRY_AFTER_S: u32 = 30;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    entity: String,
    metric: String,
    /// Milliseconds since 1970; now if absent.
    time: Option<i64>,
}

/// `POST /faults`
pub async fn ask(
    State(hub): State<Arc<HubState>>,
    params: Params,
    body: Result<Bytes, BytesRejection>,
) -> Result<impl IntoResponse, ApiError> {
    params.only(&[])?;
    let question: Question = super::params::body(&body?, "{\"entity\": id, \"metric\": name, \"time\": milliseconds or absent}")?;
    let (reader, writer) = (hub.clone(), hub.clone());
    let asked = hub.pages.run(move || accept(&reader, &question)).await??;
    let id = hub.changes.run(move || keep(&writer, asked)).await.map_err(ApiError::unsure)??;
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, format!("/api/v1/faults/{id}"))], Json(json!({"id": id}))))
}

/// Puts a question into the book and on disk.
fn keep(hub: &HubState, asked: Asked) -> Result<String, ApiError> {
    let admitted = hub.asked.lock().admit(&asked);
    let id = asked.incident.id;
    let Some(changes) = admitted else {
        let message = format!("{MAX_WAITING} questions wait for their answer; ask again later");
        return Err(ApiError::too_many(message, RETRY_AFTER_S));
    };
    changes.and_then(|changes| hub.documents.write(&changes)).map_err(|error| {
        hub.asked.lock().withdraw(&id);
        ApiError::unavailable(error.to_string())
    })?;
    Ok(id)
}

fn accept(hub: &HubState, question: &Question) -> Result<Asked, ApiError> {
    let asked_ms = gala_store::now_ms();
    let at_ms = question.time.unwrap_or(asked_ms);
    let oldest_ms = hub.store.stats().oldest_ms.unwrap_or(asked_ms);
    if !(oldest_ms..=asked_ms).contains(&at_ms) {
        return Err(ApiError::refused("time", format!("time {at_ms} is outside of what is kept, {oldest_ms} to {asked_ms}")));
    }
    let snapshot = hub.snapshot_knowing(&question.entity, at_ms);
    let id = resolve(&snapshot, &question.entity).map_err(|error| ApiError::refused("entity", error.message))?;
    let record = &snapshot.entities[id.as_str()];
    let field = metric_of(record, &question.metric)?;
    let rules = hub.rules.read().clone();
    let name = field.series.base.strip_prefix(gala_model::PREFIX).and_then(|rest| rest.strip_prefix(record.kind.name));
    let class = rules.class_of_metric(record.kind.name, name.unwrap_or("").trim_start_matches('_')).ok_or_else(|| {
        let message =
            format!("no causal rule speaks of {}; `GET /api/v1/cause/rules` lists what can be explained", question.metric);
        ApiError::refused("metric", message)
    })?;
    let class = if rules.classes[class].name.starts_with("service.") { Class::App } else { Class::Sys };
    let reading = read(hub, record, field, at_ms)?;
    Ok(Asked { asked_ms, incident: asked::incident(record, field, class, at_ms, reading), is_done: false })
}

/// The field a metric is, which must be of the entity.
fn metric_of(record: &EntityRecord, metric: &str) -> Result<&'static FieldDef, ApiError> {
    let kind = record.kind.name;
    let found = gala_model::entity::split_metric(metric).filter(|(of, _)| of.name == kind);
    let field = found.and_then(|(_, name)| vocabulary::field(kind, name)).map(|(_, field)| field);
    field.ok_or_else(|| {
        let message = format!("{metric:?} is no metric of an entity of type {kind}; `GET /api/v1/meta/types` lists them");
        ApiError::refused("metric", message)
    })
}

fn read(hub: &HubState, record: &EntityRecord, field: &'static FieldDef, at_ms: i64) -> Result<Reading, ApiError> {
    let grid = Grid { from: at_ms - BASELINE_MS, to: at_ms + AROUND_MS, step: STEP_MS };
    let points = points(hub, record, field.series.base, grid)?;
    let values = |from: i64, to: i64| -> Vec<f64> {
        let inside = points.iter().filter(|(t_ms, _)| (from..=to).contains(t_ms));
        inside.filter_map(|(_, value)| value.filter(|value| value.is_finite())).collect()
    };
    let mut before = values(grid.from, at_ms - AROUND_MS);
    let then = values(at_ms - AROUND_MS, at_ms + AROUND_MS);
    let worst = match field.bad {
        Bad::Down => then.iter().copied().reduce(f64::min),
        _ => then.iter().copied().reduce(f64::max),
    };
    let Some(at) = worst.filter(|_| before.len() >= LEAST_VALUES) else {
        let message = format!(
            "{} has {} values in the hour before that time and {} around it; at least {LEAST_VALUES} and 1 are needed",
            field.series.base,
            before.len(),
            then.len()
        );
        return Err(ApiError::refused("time", message));
    };
    before.sort_by(f64::total_cmp);
    let quantile = |share: f64| before[((before.len() - 1) as f64 * share).round() as usize];
    Ok(Reading { low: quantile(0.05), before: quantile(0.5), high: quantile(0.95), at })
}
