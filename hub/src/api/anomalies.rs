//! What is abnormal now or was in a time range, as rows for people and scripts; and one event with all that is known of it.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::State;
use gala_analysis::topology::history::EntityRecord;
use gala_analysis::topology::view::{self, Names};
use gala_model::Severity;
use serde_json::{Value, json};

use super::entity_metrics::charts;
use super::error::ApiError;
use super::moment::Moment;
use super::params::{Id, Params};
use super::topology::spellings;
use super::written::Written;
use crate::anomalies::Row;
use crate::state::HubState;
use crate::words;

const SEVERITIES: &[(&str, Severity)] =
    &[("INFO", Severity::Info), ("WARN", Severity::Warn), ("ERROR", Severity::Error), ("FATAL", Severity::Fatal)];
/// What is shown of the time around an event.
const BEFORE_MS: i64 = 120_000;
const AFTER_MS: i64 = 60_000;
/// What ended longer ago is no news of an entity.
const LAST_MS: i64 = 86_400_000;
/// Points of its chart.
const POINTS: i64 = 240;

/// What is abnormal now, or was at a moment, strongest first.
pub fn rows_at(hub: &HubState, at_ms: Option<i64>) -> Vec<Row> {
    let log = hub.anomalies.read();
    let mut rows: Vec<Row> = match at_ms {
        None => log.open().cloned().collect(),
        Some(at) => log.at(at).cloned().collect(),
    };
    drop(log);
    rows.sort_by(by_strength);
    rows
}

/// What was over at a moment for no more than a day, the latest first.
pub fn over_at(hub: &HubState, at_ms: Option<i64>, is_wanted: impl Fn(&Row) -> bool, most: usize) -> Vec<Row> {
    let at_ms = at_ms.unwrap_or_else(gala_store::now_ms);
    let log = hub.anomalies.read();
    let over = log.ended().filter(|row| (at_ms - LAST_MS..at_ms).contains(&row.time_ms) && is_wanted(row));
    let mut rows: Vec<&Row> = over.collect();
    rows.sort_by(|left, right| right.time_ms.cmp(&left.time_ms).then_with(|| left.event_id.cmp(&right.event_id)));
    rows.into_iter().take(most).cloned().collect()
}

/// Whether what is abnormal is on a machine, in either spelling of its id.
fn is_on(row: &Row, machine: &str) -> bool {
    let canonical = gala_model::entity::id::canonical_machine;
    let own = row.entity_id.find(&format!("_{}", row.entity_type)).map(|end| &row.entity_id[..end]);
    own.is_some_and(|own| canonical(own) == canonical(machine))
}

fn by_strength(left: &Row, right: &Row) -> std::cmp::Ordering {
    let rank = |row: &Row| (row.kind == "app", row.score.unwrap_or(0.0));
    let ((left_app, left_score), (right_app, right_score)) = (rank(left), rank(right));
    let by_rank = right_app.cmp(&left_app).then(right_score.total_cmp(&left_score)).then(left.first_ms.cmp(&right.first_ms));
    by_rank.then_with(|| (&left.entity_id, &left.metric_id).cmp(&(&right.entity_id, &right.metric_id)))
}

/// Where a row stands in the list, by what does not change while it is read page by page: what is abnormal now comes first,
/// the most severe on top and then the newest; what is over follows, the latest first.
type Place = (bool, Reverse<u8>, Reverse<i64>, String, String, String);

fn place(row: &Row) -> Place {
    let (severity, at_ms) = if row.is_open() { (row.severity.number(), row.first_ms) } else { (0, row.time_ms) };
    let (entity, metric, event) = (row.entity_id.clone(), row.metric_id.clone(), row.event_id.clone());
    (!row.is_open(), Reverse(severity), Reverse(at_ms), entity, metric, event)
}

/// One row per entity and metric: the newest event, with what the others add. It keeps the place of the newest.
fn merged(rows: Vec<(Place, Row)>) -> Vec<(Place, Row)> {
    let mut seen: HashMap<(String, String), usize> = HashMap::new();
    let mut merged: Vec<(Place, Row)> = Vec::new();
    for (place, row) in rows {
        match seen.get(&(row.entity_id.clone(), row.metric_id.clone())) {
            Some(index) => {
                let known = &mut merged[*index].1;
                known.count += row.count;
                known.first_ms = known.first_ms.min(row.first_ms);
                known.score = known.score.into_iter().chain(row.score).reduce(f64::max);
                known.event_ids.extend(row.event_ids);
            }
            None => {
                seen.insert((row.entity_id.clone(), row.metric_id.clone()), merged.len());
                merged.push((place, row));
            }
        }
    }
    merged
}

/// `GET /anomalies`
pub async fn list(State(hub): State<Arc<HubState>>, params: Params) -> Result<Written, ApiError> {
    let worker = hub.clone();
    Written::by(&hub.pages, move || list_of(&worker, &params)).await
}

fn list_of(hub: &HubState, params: &Params) -> Result<Value, ApiError> {
    params.only(&["from", "to", "kind", "severity", "entity", "machine", "metric", "dedup", "limit", "cursor"])?;
    let (from, to) = params.span()?;
    let dedup = params.flag("dedup", true)?;
    let kind = params.choice("kind", &[("app", "app"), ("sys", "sys")])?;
    let severity = params.choice("severity", SEVERITIES)?;
    let entity = params.text("entity").map(|raw| spellings(hub, raw));
    let is_wanted = |row: &Row| {
        row.first_ms <= to
            && kind.is_none_or(|kind| row.kind == kind)
            && severity.is_none_or(|severity| row.severity == severity)
            && entity.as_ref().is_none_or(|entity| entity.contains(&row.entity_id))
            && params.text("machine").is_none_or(|machine| is_on(row, machine))
            && params.text("metric").is_none_or(|metric| row.metric_id == metric)
    };
    let mut rows: Vec<(Place, Row)> = {
        let log = hub.anomalies.read();
        // Without a beginning only what is abnormal now is meant.
        let ended = log.ended().filter(|row| from.is_some_and(|from| row.time_ms >= from));
        log.open().chain(ended).filter(|row| is_wanted(row)).map(|row| (place(row), row.clone())).collect()
    };
    rows.sort_by(|left, right| left.0.cmp(&right.0));
    let rows = if dedup { merged(rows) } else { rows };
    let page = params.page(rows, |(place, _)| place.clone())?;
    let items: Vec<Row> = page.items.into_iter().map(|(_, row)| row).collect();
    Ok(json!({"items": items, "next_cursor": page.next_cursor}))
}

/// `GET /anomalies/{event_id}`; an event of one moment may be of several metrics, `metric` chooses.
pub async fn one(State(hub): State<Arc<HubState>>, Id(event_id): Id, params: Params) -> Result<Written, ApiError> {
    params.only(&["metric"])?;
    let metric = params.text("metric").map(str::to_owned);
    let mut rows: Vec<Row> = {
        let log = hub.anomalies.read();
        log.open().chain(log.ended()).filter(|row| row.event_id == event_id).cloned().collect()
    };
    rows.sort_by(by_strength);
    let metrics: Vec<String> = rows.iter().map(|row| row.metric_id.clone()).collect();
    let wanted = rows.into_iter().find(|row| metric.as_ref().is_none_or(|metric| row.metric_id == *metric));
    let row = wanted.ok_or_else(|| match (&metric, metrics.as_slice()) {
        (Some(metric), [_, ..]) => {
            ApiError::not_found(format!("event {event_id:?} is not of {metric:?}, but of {}", metrics.join(", ")))
        }
        _ => ApiError::not_found(format!("no event {event_id:?} is kept; `GET /api/v1/anomalies?from=` lists them")),
    })?;
    let worker = hub.clone();
    Written::by(&hub.pages, move || event(&worker, &row, &metrics)).await
}

fn event(hub: &HubState, row: &Row, metrics: &[String]) -> Result<Value, ApiError> {
    let moment = Moment::knowing(hub, &row.entity_id, row.time_ms);
    let snapshot = &moment.snapshot;
    let resolved = view::resolve(snapshot, &row.entity_id);
    let record = resolved.as_ref().and_then(|found| snapshot.entities.get(&found.id));
    let (from, to) = (row.first_ms - BEFORE_MS, (row.time_ms + AFTER_MS).min(gala_store::now_ms()));
    let step = ((to - from) / POINTS).max(5_000);
    let chart = match record {
        Some(record) => charts(hub, record, std::slice::from_ref(&row.metric_id), from, to, step)?.into_iter().next(),
        None => None,
    };
    let names = Names::new(snapshot);
    Ok(json!({
        "event_id": row.event_id,
        "metrics": metrics,
        "row": row,
        "event": normalised(row, record, resolved.as_ref()),
        "raw": raw(hub, row, record),
        "entity": record.map(|record| names.node(record, &|id| moment.badge(id))),
        "parents": parents(&moment, &names, record),
        "window": {"from_ms": from, "to_ms": to, "step_ms": step},
        "chart": chart,
    }))
}

fn parents(moment: &Moment, names: &Names, record: Option<&EntityRecord>) -> Vec<view::Node> {
    let chain = record.map(|record| moment.snapshot.parents(&record.id)).unwrap_or_default();
    chain.into_iter().rev().map(|parent| names.node(parent, &|id| moment.badge(id))).collect()
}

/// The one form in which analysis knows events, whatever wrote them.
fn normalised(row: &Row, record: Option<&EntityRecord>, resolved: Option<&view::Resolved>) -> Value {
    let rises = |value: f64| row.normal["hi"].as_f64().is_some_and(|high| value > high);
    json!({
        "id": row.event_id,
        "time_ms": row.first_ms,
        "entity": resolved.map(|found| &found.id),
        "entity_raw": row.entity_id,
        "resolution": resolved.map_or("none", |found| found.how),
        "metric": row.metric_id,
        "kind": row.kind,
        "severity": row.severity,
        "score": row.score,
        "direction": match row.value { Some(value) if rises(value) => "rise", Some(_) => "fall", None => "unknown" },
        "labels": record.map(|record| &record.labels),
        "description": row.desc,
        "candidates": resolved.map(|found| found.candidates.clone()).unwrap_or_default(),
    })
}

/// The event as consumers of detector events read it.
fn raw(hub: &HubState, row: &Row, record: Option<&EntityRecord>) -> Value {
    let explained = row.incident_id.as_ref().and_then(|id| hub.explanations.read().get(id).cloned());
    let causes: Vec<Value> = explained
        .iter()
        .flat_map(|result| &result.resource.cause_metrics)
        .map(|cause| json!({"metric": cause.metric_id, "labels": cause.metric_labels, "score": cause.score}))
        .collect();
    let description = row.desc["en"].as_str().unwrap_or("");
    let header = if row.kind == "app" { "Application Failure" } else { "System Failure" };
    json!({
        "Timestamp": row.time_ms,
        "event_id": row.event_id,
        "Attributes": {
            "schema": "gala.anomaly/2",
            "entity_id": row.entity_id,
            "entity_type": row.entity_type,
            "event_id": row.event_id,
            "event_type": row.kind,
            "event_source": "gala",
            "keywords": [row.kind],
            "incident_id": row.incident_id,
            "state": row.state,
            "start_ts": row.first_ms,
            "end_ts": if row.is_open() { None } else { Some(row.time_ms) },
            "duration": (row.time_ms - row.first_ms) / 1000,
            "occurred count": row.count,
            "cause_metric": causes.first(),
        },
        "Resource": {
            "metric": row.metric_id,
            "metrics": row.metric_id,
            "labels": record.map(|record| words::event_labels(&record.labels)).unwrap_or_default(),
            "score": row.score,
            "root_causes": causes,
            "cause_metrics": causes,
            "description": description,
        },
        "SeverityText": row.severity,
        "SeverityNumber": row.severity.number(),
        "Body": format!("{} - {header} - {description}", crate::prom::show_time(row.time_ms)),
        "is_anomaly": true,
    })
}
