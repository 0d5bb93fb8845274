//! What the agent of this process says of itself: `/agent/...`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use gala_analysis::topology::LifeState;
use serde_json::{Value, json};

use super::error::ApiError;
use super::params::Params;
use crate::state::{AgentView, HubState};

fn agent(hub: &HubState) -> Result<Arc<dyn AgentView>, ApiError> {
    hub.agent.read().clone().ok_or_else(|| {
        ApiError::not_found("no agent runs in this process; ask the agent's own port, or start both with `gala up`")
    })
}

/// Cuts a page out of the answer's `items`; `key` names the members that tell rows apart.
fn paged(params: &Params, mut answer: Value, key: &[&str]) -> Result<Value, ApiError> {
    let Value::Array(rows) = answer["items"].take() else { return Ok(answer) };
    let page = params.page(rows, |row| key.iter().map(|name| row[*name].to_string()).collect())?;
    answer["items"] = json!(page.items);
    answer["next_cursor"] = json!(page.next_cursor);
    Ok(answer)
}

/// `GET /agent/probes`
pub async fn probes(State(hub): State<Arc<HubState>>, params: Params) -> Result<Json<Value>, ApiError> {
    params.only(&["limit", "cursor"])?;
    let answer = paged(&params, agent(&hub)?.probes(), &["name"])?;
    Ok(Json(answer))
}

/// `GET /agent/ledger`: what could not be seen, beside what is.
pub async fn ledger(State(hub): State<Arc<HubState>>, params: Params) -> Result<Json<Value>, ApiError> {
    params.only(&["limit", "cursor"])?;
    let mut answer = paged(&params, agent(&hub)?.ledger(), &["place", "what"])?;
    let snapshot = hub.snapshot();
    let online = |kinds: &[&str]| {
        let shown = snapshot.entities.values().filter(|record| record.state == LifeState::Online);
        shown.filter(|record| kinds.contains(&record.kind.name)).count()
    };
    answer["watched"] = json!({
        "hosts": online(&["host"]),
        "processes": online(&["proc"]),
        "connections": online(&["tcp_link"]),
        "devices": online(&["disk", "block", "nic"]),
    });
    // How many requests took place is known only where they are counted a second time; nothing does that yet.
    answer["requests_ratio"] = Value::Null;
    Ok(Json(answer))
}

/// `GET /agent/budget`
pub async fn budget(State(hub): State<Arc<HubState>>, params: Params) -> Result<Json<Value>, ApiError> {
    params.only(&[])?;
    Ok(Json(agent(&hub)?.budget()))
}
