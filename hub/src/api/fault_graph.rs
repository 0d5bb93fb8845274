//! `GET /faults/{id}/graph`: causes and paths of an incident laid over the map of its time, of one host or of all processes.

use std::collections::HashSet;
use std::sync::Arc;

use axum::extract::State;
use gala_analysis::incident::{Incident, Scope};
use gala_analysis::topology::Snapshot;
use gala_analysis::topology::view::{self, EdgeView, Fold, HorizontalQuery, Layer, Node, VerticalQuery};
use gala_model::incident::{CauseMetric, GraphNode, RootCause};
use serde_json::{Value, json};

use super::error::ApiError;
use super::faults::{MAX_VERSION, incident, version_of};
use super::moment::Moment;
use super::params::{Id, Params};
use super::topology::stamp;
use super::written::Written;
use crate::state::HubState;

#[derive(Clone, Copy, PartialEq, Eq)]
enum View {
    /// Everything on the host of the symptom.
    Single,
    /// Processes of all hosts and who talks to whom.
    Cross,
}

/// `GET /faults/{id}/graph`
pub async fn graph(State(hub): State<Arc<HubState>>, Id(id): Id, params: Params) -> Result<Written, ApiError> {
    params.only(&["view", "at", "version"])?;
    let at_ms = params.millis("at")?;
    let version = params.count("version", 1..=MAX_VERSION)?;
    let view = params.choice("view", &[("single", View::Single), ("cross", View::Cross)])?;
    let incident = incident(&hub, &id)?;
    let worker = hub.clone();
    let answer = Written::by(&hub.maps, move || {
        let result = version_of(&worker, &incident, version)?;
        let is_cross = result.resource.scope == gala_model::incident::Scope::CrossNode || incident.scope == Scope::CrossNode;
        let view = view.unwrap_or(if is_cross { View::Cross } else { View::Single });
        let moment = Moment::knowing(&worker, &incident.entity_id, at_ms.unwrap_or(incident.opened_ms));
        Ok(laid_over(&moment, &incident, &result, view))
    });
    answer.await
}

fn laid_over(moment: &Moment, incident: &Incident, result: &RootCause, view: View) -> Value {
    let (resource, snapshot) = (&result.resource, &*moment.snapshot);
    let involved = involved(incident, result);
    let (nodes, edges) = match view {
        View::Single => single(moment, incident, involved),
        View::Cross => cross(moment),
    };
    let shown: HashSet<&str> = nodes.iter().map(|node| &*node.id).collect();
    let shown_as = |id: &str| shown_as(snapshot, &shown, id);
    let causes: HashSet<&str> = resource.cause_metrics.iter().map(|cause| cause.entity_id.as_str()).collect();
    let role = |node: &GraphNode| match node.entity_id.as_str() {
        id if id == incident.entity_id => "symptom",
        id if causes.contains(id) => "cause",
        _ => "step",
    };
    let causal_nodes: Vec<Value> = resource
        .graph
        .nodes
        .iter()
        .map(|node| {
            let mut value = json!(node);
            value["role"] = json!(role(node));
            value["shown_as"] = json!(shown_as(&node.entity_id));
            value
        })
        .collect();
    let paths: Vec<Value> = resource.cause_metrics.iter().map(|cause| path(cause, &shown_as)).collect();
    let (stamp, partial) = stamp(snapshot.info);
    json!({
        "snapshot": stamp,
        "partial": partial,
        "id": incident.id,
        "result_version": resource.result_version,
        "view": if view == View::Single { "single" } else { "cross" },
        "center": shown_as(&incident.entity_id),
        "nodes": nodes,
        "edges": edges,
        "causal": {"nodes": causal_nodes, "edges": resource.graph.edges},
        "paths": paths,
    })
}

fn path(cause: &CauseMetric, shown_as: &dyn Fn(&str) -> Option<String>) -> Value {
    let steps: Vec<Value> = cause
        .path
        .iter()
        .map(|step| {
            json!({
                "step": step.step, "entity_id": step.entity_id, "entity_type": step.entity_type, "metric_id": step.metric_id,
                "hidden": step.hidden, "rule": step.rule, "onset": step.onset, "score": step.score,
                "shown_as": shown_as(&step.entity_id),
            })
        })
        .collect();
    json!({"rank": cause.rank, "probability": cause.probability, "entity_id": cause.entity_id, "steps": steps})
}

/// Entities of the explanation, each once.
fn involved(incident: &Incident, result: &RootCause) -> Vec<String> {
    let resource = &result.resource;
    let graph = resource.graph.nodes.iter().map(|node| &node.entity_id);
    let steps = resource.cause_metrics.iter().flat_map(|cause| cause.path.iter().map(|step| &step.entity_id));
    let mut seen = HashSet::new();
    let all = std::iter::once(&incident.entity_id).chain(graph).chain(steps);
    all.filter(|id| seen.insert(id.as_str())).cloned().collect()
}

/// The host's vertical map, with the entities of the explanation whatever their kind.
fn single(moment: &Moment, incident: &Incident, involved: Vec<String>) -> (Vec<Node>, Vec<EdgeView>) {
    let Some(host) = moment.snapshot.host_of(&incident.machine_id) else { return (Vec::new(), Vec::new()) };
    let query = VerticalQuery {
        entity: host.id.to_string(),
        perspective: Some(Layer::Host),
        highlight: involved,
        ..VerticalQuery::default()
    };
    match view::vertical(&moment.snapshot, &query, &|id| moment.badge(id)) {
        Some(map) => (map.bands.into_iter().flat_map(|band| band.nodes).collect(), map.edges),
        None => (Vec::new(), Vec::new()),
    }
}

fn cross(moment: &Moment) -> (Vec<Node>, Vec<EdgeView>) {
    let query = HorizontalQuery { layer: Layer::Process, center: None, hops: None, offline: true, fold: Fold::None };
    let map = view::horizontal(&moment.snapshot, &query, &|id| moment.badge(id));
    (map.nodes, map.edges)
}

/// The node that stands for an entity: itself, or the nearest it belongs to.
fn shown_as(snapshot: &Snapshot, shown: &HashSet<&str>, id: &str) -> Option<String> {
    if shown.contains(id) {
        return Some(id.to_owned());
    }
    snapshot.parents(id).into_iter().map(|parent| parent.id.to_string()).find(|id| shown.contains(id.as_str()))
}
