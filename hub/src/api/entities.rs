//! Entities: list, one, its relations, its surroundings, and how an id in any spelling is understood.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use axum::extract::State;
use gala_analysis::topology::history::{EntityRecord, LifeState, Snapshot};
use gala_analysis::topology::view::{self, Direction, Names, Node};
use gala_analysis::topology::{LabelMap, Relation, collect};
use gala_store::{MatchOp, Matcher, SeriesRead, TimeRange};
use serde_json::{Value, json};

use super::anomalies;
use super::error::ApiError;
use super::faults;
use super::moment::Moment;
use super::params::{Id, Params};
use super::topology::{resolve as resolve_id, stamp};
use super::written::Written;
use crate::anomalies::Row;
use crate::state::HubState;
use crate::vocabulary;

/// Current values given with an entity at most.
const MAX_METRICS: usize = 200;
/// Anomalies given with it at most.
const MAX_ANOMALIES: usize = 50;
const MAX_SAMPLES: usize = 1_000_000;
const DIRECTIONS: &[(&str, Direction)] = &[("in", Direction::In), ("out", Direction::Out), ("both", Direction::Both)];
const STATES: &[(&str, LifeState)] = &[
    ("online", LifeState::Online),
    ("suspect", LifeState::Suspect),
    ("offline", LifeState::Offline),
    ("unknown", LifeState::Unknown),
];

/// `GET /entities`; every parameter that is not one of the call's own is a label filter.
pub async fn list(State(hub): State<Arc<HubState>>, params: Params) -> Result<Written, ApiError> {
    Moment::of(&hub, &hub.pages, params, |_, params, moment| list_of(params, moment)).await
}

fn list_of(params: &Params, moment: &Moment) -> Result<Value, ApiError> {
    let snapshot = &*moment.snapshot;
    let state = params.choice("state", STATES)?;
    if let Some(kind) = params.text("type")
        && gala_model::entity::entity_type(kind).is_none()
    {
        return Err(ApiError::bad_request("type", format!("no entity type {kind:?}; `GET /api/v1/meta/types` lists them")));
    }
    let own = ["type", "machine", "state", "q", "limit", "cursor", "at"];
    let filters: Vec<(&str, &str)> = params.others(&own).collect();
    if let Some((name, _)) = filters.iter().find(|(name, _)| !is_label(snapshot, name)) {
        let message = format!("{name:?} is neither a parameter ({}) nor a label of any entity", own.join(", "));
        return Err(ApiError::bad_request(name, message));
    }
    let words = params.text("q").map(str::to_lowercase);
    let names = Names::new(snapshot);
    let mut records: Vec<&EntityRecord> = snapshot
        .entities
        .values()
        .filter(|record| params.text("type").is_none_or(|kind| record.kind.name == kind))
        .filter(|record| params.text("machine").is_none_or(|machine| is_machine(record, machine)))
        .filter(|record| state.is_none_or(|state| record.state == state))
        .filter(|record| filters.iter().all(|(name, value)| record.labels.get(*name).is_some_and(|label| **label == **value)))
        .filter(|record| words.as_deref().is_none_or(|words| is_found(record, names.host_name(&record.machine_id), words)))
        .collect();
    records.sort_by(|left, right| (left.kind.name, &left.id).cmp(&(right.kind.name, &right.id)));
    let page = params.page(records, |record| (record.kind.name.to_owned(), record.id.to_string()))?;
    let items: Vec<Node> = page.items.iter().map(|record| names.node(record, &|id| moment.badge(id))).collect();
    let (stamp, partial) = stamp(snapshot.info);
    Ok(json!({"snapshot": stamp, "partial": partial, "items": items, "next_cursor": page.next_cursor}))
}

/// Whether entities have a label of that name, now or by the vocabulary: a typing error must not look like an empty answer.
fn is_label(snapshot: &Snapshot, name: &str) -> bool {
    vocabulary::is_label(name) || snapshot.entities.values().any(|record| record.labels.contains_key(name))
}

fn is_machine(record: &EntityRecord, machine: &str) -> bool {
    let canonical = gala_model::entity::id::canonical_machine;
    canonical(&record.machine_id) == canonical(machine)
}

fn is_found(record: &EntityRecord, host: &str, words: &str) -> bool {
    let inside = |text: &str| text.to_lowercase().contains(words);
    inside(&record.name) || inside(host) || inside(&record.id)
}

/// `GET /entities/{id}`
pub async fn one(State(hub): State<Arc<HubState>>, Id(id): Id, params: Params) -> Result<Written, ApiError> {
    params.only(&["at"])?;
    Moment::of(&hub, &hub.pages, params, move |hub, _, moment| one_of(hub, moment, &id)).await
}

fn one_of(hub: &HubState, moment: &Moment, id: &str) -> Result<Value, ApiError> {
    let snapshot = &*moment.snapshot;
    let id = resolve_id(snapshot, id)?;
    let record = &snapshot.entities[id.as_str()];
    let names = Names::new(snapshot);
    let badge = |id: &str| moment.badge(id);
    let mut parents: Vec<Node> = snapshot.parents(&id).into_iter().map(|parent| names.node(parent, &badge)).collect();
    parents.reverse();
    let family = family(snapshot, &id);
    let is_own = |row: &Row| family.contains(&row.entity_id);
    let mut rows: Vec<Row> = anomalies::rows_at(hub, moment.at_ms).into_iter().filter(is_own).take(MAX_ANOMALIES).collect();
    let checks = checks(record, &rows, family.iter().map(|id| moment.judged(id)).sum());
    // What is over follows: the last anomalies are asked for, not only those that last.
    rows.extend(anomalies::over_at(hub, moment.at_ms, is_own, MAX_ANOMALIES - rows.len()));
    let values = values_of(hub, record, moment.at_ms)?;
    let metrics: Vec<Value> = values
        .iter()
        .take(MAX_METRICS)
        .map(|(field, value)| {
            let found = vocabulary::field(record.kind.name, field);
            let unit = found.map_or("", |(_, field)| field.unit);
            json!({"metric": format!("{}{}_{field}", gala_model::PREFIX, record.kind.name), "value": value, "unit": unit})
        })
        .collect();
    let (stamp, partial) = stamp(snapshot.info);
    Ok(json!({
        "snapshot": stamp,
        "partial": partial,
        "entity": names.node(record, &badge),
        "parents": parents,
        "first_seen_ms": record.first_seen_ms,
        "last_seen_ms": record.last_seen_ms,
        "metrics": metrics,
        "checks": checks,
        "anomalies": rows,
        "faults": faults::of_entity(hub, &family),
        "events": hub.events_of(&id),
    }))
}

/// Latest value per field: those the topology holds, for an earlier time those of then.
fn values_of(hub: &HubState, record: &EntityRecord, at_ms: Option<i64>) -> Result<BTreeMap<String, f64>, ApiError> {
    if at_ms.is_none() && !record.metrics.is_empty() {
        return Ok(record.metrics.clone());
    }
    let to_ms = at_ms.unwrap_or(record.last_seen_ms).min(record.offline_at_ms.unwrap_or(i64::MAX));
    let mut matchers = vec![
        Matcher::new("__name__", MatchOp::Regex, format!("{}{}_.+", gala_model::PREFIX, record.kind.name))?,
        Matcher::new("le", MatchOp::Regex, "|\\+Inf")?,
    ];
    matchers.extend(selecting_labels(record).iter().map(|(name, value)| Matcher::equal(name, value)));
    let range = TimeRange { from_ms: to_ms - hub.topology.read().config().alive_window_ms, to_ms };
    Ok(collect::latest(record.kind, &hub.store.select(&matchers, range, MAX_SAMPLES)?))
}

/// An entity and what belongs to it directly: what is wrong with a part is wrong with the whole.
pub fn family(snapshot: &Snapshot, id: &str) -> HashSet<String> {
    let children = snapshot.into(id, &[Relation::BelongsTo]).map(|(_, edge)| edge.from.to_string());
    std::iter::once(id.to_owned()).chain(children).collect()
}

/// A sentence per judged signal, worst first: what is out of its range, then what is as usual. Nothing where nothing is
/// judged, which is not the same as all being well.
fn checks(record: &EntityRecord, rows: &[Row], judged: usize) -> Vec<Value> {
    let mut checks: Vec<Value> = rows
        .iter()
        .map(|row| {
            json!({
                "state": row.signal_state(),
                "metric": row.metric_id, "text": row.desc, "normal": row.normal_text(), "since_ms": row.first_ms,
            })
        })
        .collect();
    if record.state == LifeState::Offline {
        let text = json!({"en": "It is gone: no sample since then.", "zh": "已下线：此后没有数据。"});
        checks.push(json!({"state": "warn", "metric": null, "text": text, "normal": null, "since_ms": record.offline_at_ms}));
    }
    if checks.is_empty() && judged > 0 {
        let text = json!({
            "en": match judged {
                1 => "The one judged signal is in its usual range.".to_owned(),
                _ => format!("All {judged} judged signals are in their usual range."),
            },
            "zh": format!("全部 {judged} 项被判定的指标均处于正常范围。"),
        });
        checks.push(json!({"state": "ok", "metric": null, "text": text, "normal": null, "since_ms": null}));
    }
    checks
}

fn relations_of(params: &Params, name: &str) -> Result<Vec<Relation>, ApiError> {
    let words = params.list(name);
    if words.is_empty() {
        return Ok(Relation::ALL.to_vec());
    }
    words
        .iter()
        .map(|word| {
            Relation::parse(word).ok_or_else(|| {
                let known: Vec<&str> = Relation::ALL.iter().map(|relation| relation.as_str()).collect();
                ApiError::bad_request(name, format!("no relation {word:?}; there are {}", known.join(", ")))
            })
        })
        .collect()
}

/// `GET /entities/{id}/edges`
pub async fn edges(State(hub): State<Arc<HubState>>, Id(id): Id, params: Params) -> Result<Written, ApiError> {
    params.only(&["relation", "direction", "at", "limit", "cursor"])?;
    Moment::of(&hub, &hub.pages, params, move |_, params, moment| edges_of(params, moment, &id)).await
}

fn edges_of(params: &Params, moment: &Moment, id: &str) -> Result<Value, ApiError> {
    let snapshot = &*moment.snapshot;
    let id = resolve_id(snapshot, id)?;
    let direction = params.choice("direction", DIRECTIONS)?.unwrap_or(Direction::Both);
    let relations = relations_of(params, "relation")?;
    let mut edges: Vec<_> =
        view::edges_of(snapshot, &id, &relations, direction).into_iter().map(|index| view::edge_of(snapshot, index)).collect();
    edges.sort_by(|left, right| left.id.cmp(&right.id));
    let page = params.page(edges, |edge| edge.id.clone())?;
    let names = Names::new(snapshot);
    let mut nodes: Vec<Node> = Vec::new();
    for edge in &page.items {
        let other = if *edge.from == *id { &edge.to } else { &edge.from };
        if let Some(record) = snapshot.entities.get(other)
            && nodes.iter().all(|node| node.id != record.id)
        {
            nodes.push(names.node(record, &|id| moment.badge(id)));
        }
    }
    let (stamp, partial) = stamp(snapshot.info);
    Ok(json!({
        "snapshot": stamp, "partial": partial, "items": page.items, "next_cursor": page.next_cursor, "nodes": nodes,
    }))
}

/// `GET /entities/{id}/neighbours`
pub async fn neighbours(State(hub): State<Arc<HubState>>, Id(id): Id, params: Params) -> Result<Written, ApiError> {
    params.only(&["relations", "depth", "direction", "at"])?;
    Moment::of(&hub, &hub.pages, params, move |_, params, moment| neighbours_of(params, moment, &id)).await
}

fn neighbours_of(params: &Params, moment: &Moment, id: &str) -> Result<Value, ApiError> {
    let snapshot = &*moment.snapshot;
    let id = resolve_id(snapshot, id)?;
    let depth = params.count("depth", 1..=10)?.unwrap_or(1);
    let direction = params.choice("direction", DIRECTIONS)?.unwrap_or(Direction::Both);
    let relations = relations_of(params, "relations")?;
    let graph = view::neighbours(snapshot, &id, &relations, depth, direction, &|id| moment.badge(id));
    let (stamp, partial) = stamp(snapshot.info);
    Ok(json!({"snapshot": stamp, "partial": partial, "center": id, "nodes": graph.nodes, "edges": graph.edges}))
}

/// `GET /entities/{id}/resolve`
pub async fn resolve(State(hub): State<Arc<HubState>>, Id(id): Id, params: Params) -> Result<Written, ApiError> {
    params.only(&["at"])?;
    Moment::of(&hub, &hub.pages, params, move |_, _, moment| resolve_of(moment, &id)).await
}

fn resolve_of(moment: &Moment, id: &str) -> Result<Value, ApiError> {
    let snapshot = &*moment.snapshot;
    let found = view::resolve(snapshot, id).ok_or_else(|| ApiError::not_found(format!("no entity is known by the id {id:?}")))?;
    let (stamp, partial) = stamp(snapshot.info);
    Ok(json!({
        "snapshot": stamp, "partial": partial, "id": found.id, "how": found.how, "candidates": found.candidates,
    }))
}

/// Labels that select an entity's series: its keys and its machine. A connection node stands for all client ports.
pub fn selecting_labels(record: &EntityRecord) -> LabelMap {
    let mut labels = LabelMap::new();
    for key in record.kind.keys.iter().filter(|key| !(record.kind.name == "tcp_link" && **key == "client_port")) {
        if let Some(value) = record.labels.get(*key) {
            labels.insert((*key).into(), value.clone());
        }
    }
    labels.insert("machine_id".into(), record.machine_id.clone());
    labels
}
