//! The maps: `/topology/...`.

use std::cmp::Reverse;
use std::sync::Arc;

use axum::extract::State;
use gala_analysis::topology::Relation;
use gala_analysis::topology::history::{SnapshotInfo, SnapshotState};
use gala_analysis::topology::view::{self, Fold, HorizontalQuery, Layer, VerticalQuery};
use serde_json::{Value, json};

use super::error::ApiError;
use super::moment::Moment;
use super::params::Params;
use super::written::Written;
use crate::state::HubState;

/// Buckets of the change density at most.
const MAX_BUCKETS: usize = 1_000;
const LAYERS: &[(&str, Layer)] = &[("application", Layer::Application), ("process", Layer::Process), ("host", Layer::Host)];

/// `snapshot` and `partial`, which every topology answer carries.
pub fn stamp(info: SnapshotInfo) -> (Value, bool) {
    (json!({"ts": info.ts, "state": info.state}), info.state == SnapshotState::Partial)
}

/// `GET /topology/snapshots`
pub async fn snapshots(State(hub): State<Arc<HubState>>, params: Params) -> Result<Written, ApiError> {
    params.only(&["from", "to", "nearest", "limit", "cursor"])?;
    let (nearest, (from, to)) = (params.millis("nearest")?, params.span()?);
    let worker = hub.clone();
    let answer = Written::by(&hub.maps, move || {
        let topology = worker.topology.read();
        let history = topology.history();
        let rows: Vec<SnapshotInfo> = match nearest {
            Some(at) => history.snapshot_before(at).into_iter().collect(),
            None => history.snapshots(from.unwrap_or(0), to).rev().collect(),
        };
        let latest = history.latest();
        drop(topology);
        let page = params.page(rows, |row| Reverse(row.ts))?;
        let info = latest.unwrap_or(SnapshotInfo { ts: 0, state: SnapshotState::Missing, entities: 0, edges: 0 });
        let (snapshot, partial) = stamp(info);
        Ok(json!({"snapshot": snapshot, "partial": partial, "items": page.items, "next_cursor": page.next_cursor}))
    });
    answer.await
}

/// `GET /topology/horizontal`
pub async fn horizontal(State(hub): State<Arc<HubState>>, params: Params) -> Result<Written, ApiError> {
    params.only(&["layer", "at", "center", "hops", "offline", "fold", "via"])?;
    let layer = params.choice("layer", LAYERS)?.unwrap_or(Layer::Process);
    let folds = [("none", Fold::None), ("container", Fold::Container), ("pod", Fold::Pod)];
    params.choice("via", &[("transparent", ()), ("explicit", ())])?;
    let query = HorizontalQuery {
        layer,
        center: params.text("center").map(str::to_owned),
        hops: params.count("hops", 0..=100)?,
        offline: params.flag("offline", true)?,
        fold: params.choice("fold", &folds)?.unwrap_or(Fold::None),
    };
    let answer = Moment::of(&hub, &hub.maps, params, move |_, _, moment| horizontal_of(moment, query));
    answer.await
}

fn horizontal_of(moment: &Moment, query: HorizontalQuery) -> Result<Value, ApiError> {
    let (snapshot, layer) = (&*moment.snapshot, query.layer);
    let center = query.center.as_deref().map(|raw| resolve(snapshot, raw)).transpose();
    let center = center.map_err(|error| error.about("center"))?;
    let query = HorizontalQuery { center, ..query };
    let graph = view::horizontal(snapshot, &query, &|id| moment.badge(id));
    let (stamp, partial) = stamp(snapshot.info);
    Ok(json!({
        "snapshot": stamp, "partial": partial, "layer": layer, "center": query.center, "nodes": graph.nodes, "edges": graph.edges,
    }))
}

/// `GET /topology/vertical`
pub async fn vertical(State(hub): State<Arc<HubState>>, params: Params) -> Result<Written, ApiError> {
    params.only(&["entity", "perspective", "at", "highlight", "expand"])?;
    Moment::of(&hub, &hub.maps, params, |_, params, moment| vertical_of(params, moment)).await
}

fn vertical_of(params: &Params, moment: &Moment) -> Result<Value, ApiError> {
    let perspective = params.choice("perspective", LAYERS)?;
    let snapshot = &*moment.snapshot;
    let entity = match params.text("entity") {
        Some(raw) => resolve(snapshot, raw).map_err(|error| error.about("entity"))?,
        None => return Err(ApiError::bad_request("entity", "entity is missing; give the id of what to look at")),
    };
    let expand = params.list("expand");
    if let Some(unknown) = expand.iter().find(|kind| gala_model::entity::entity_type(kind).is_none()) {
        let message = format!("no entity type {unknown:?}; `GET /api/v1/meta/types` lists them");
        return Err(ApiError::bad_request("expand", message));
    }
    let query = VerticalQuery { entity: entity.clone(), perspective, highlight: params.list("highlight"), expand };
    let answer = view::vertical(snapshot, &query, &|id| moment.badge(id))
        .ok_or_else(|| ApiError::not_found(format!("no entity {entity:?} at that time")))?;
    let (stamp, partial) = stamp(snapshot.info);
    Ok(json!({
        "snapshot": stamp, "partial": partial, "root": answer.root, "perspective": answer.perspective,
        "bands": answer.bands, "edges": answer.edges, "highlight": answer.highlight,
    }))
}

/// `GET /topology/changes`
pub async fn changes(State(hub): State<Arc<HubState>>, params: Params) -> Result<Written, ApiError> {
    params.only(&["from", "to", "type", "buckets", "limit", "cursor"])?;
    let worker = hub.clone();
    Written::by(&hub.maps, move || changes_of(&worker, &params)).await
}

fn changes_of(hub: &HubState, params: &Params) -> Result<Value, ApiError> {
    let now = gala_store::now_ms();
    let to = params.millis("to")?.unwrap_or(now);
    let from = params.millis("from")?.unwrap_or(to - 3_600_000);
    if from > to {
        return Err(ApiError::bad_request("from", "from lies after to; swap them"));
    }
    let buckets = params.count("buckets", 1..=MAX_BUCKETS)?;
    let topology = hub.topology.read();
    let mut rows = topology.history().changes(from, to);
    let latest = topology.history().latest();
    drop(topology);
    if let Some(kind) = params.text("type") {
        if gala_model::entity::entity_type(kind).is_none() && Relation::parse(kind).is_none() {
            let message =
                format!("{kind:?} is no type of entity or relation; `GET /api/v1/meta/types` and `/meta/relations` list them");
            return Err(ApiError::bad_request("type", message));
        }
        rows.retain(|row| row.r#type == kind);
    }
    let density = buckets.map(|count| density(&rows, from, to, count));
    rows.sort_by(|left, right| (right.at, &right.id, right.change).cmp(&(left.at, &left.id, left.change)));
    let page = params.page(rows, |row| Reverse((row.at, row.id.clone(), row.change.to_owned())))?;
    let items: Vec<Value> = page
        .items
        .iter()
        .map(|row| {
            json!({
                "ts": row.at, "kind": row.change, "what": row.what, "id": row.id, "type": row.r#type, "name": row.name,
            })
        })
        .collect();
    let (snapshot, partial) =
        stamp(latest.unwrap_or(SnapshotInfo { ts: now, state: SnapshotState::Missing, entities: 0, edges: 0 }));
    let mut answer = json!({"snapshot": snapshot, "partial": partial, "items": items, "next_cursor": page.next_cursor});
    if let Some(density) = density {
        answer["density"] = json!(density);
    }
    Ok(answer)
}

fn density(rows: &[gala_analysis::topology::history::Change], from: i64, to: i64, count: usize) -> Vec<Value> {
    let width = ((to - from) / count as i64).max(1);
    let mut counts = vec![0usize; count];
    for row in rows {
        let index = (((row.at - from) / width) as usize).min(count - 1);
        counts[index] += 1;
    }
    counts.iter().enumerate().map(|(index, changes)| json!({"ts": from + index as i64 * width, "changes": changes})).collect()
}

/// Canonical id of an id in any spelling.
pub fn resolve(snapshot: &gala_analysis::topology::Snapshot, raw: &str) -> Result<String, ApiError> {
    view::resolve(snapshot, raw).map(|found| found.id.to_string()).ok_or_else(|| {
        ApiError::not_found(format!("no entity {raw:?}; `GET /api/v1/entities` lists those known, `at` asks for an earlier time"))
    })
}

/// An id as given and in the spelling that lists have. What is known by neither, such as what is long gone, is not guessed
/// from a part of its keys: that would be another entity.
pub fn spellings(hub: &HubState, raw: &str) -> [String; 2] {
    let known = view::resolve(&hub.snapshot(), raw).filter(|found| found.how != "subset");
    [raw.to_owned(), known.map_or_else(|| raw.to_owned(), |found| found.id.to_string())]
}
