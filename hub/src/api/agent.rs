//! What the agent of this process says of itself: `/agent/...`.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use gala_analysis::topology::LifeState;
use serde_json::{Map, Value, json};

use super::error::ApiError;
use super::params::{Id, Params};
use crate::state::{AgentView, HubState, NotConfigured};

fn agent(hub: &HubState) -> Result<Arc<dyn AgentView>, ApiError> {
    hub.agent.read().clone().ok_or_else(|| {
        ApiError::not_found("no agent runs in this process; ask the agent's own port, or start both with `gala up`")
    })
}

/// Cuts a page out of the answer's `items`.
fn paged(params: &Params, mut answer: Value) -> Result<Value, ApiError> {
    let Value::Array(rows) = answer["items"].take() else { return Ok(answer) };
    let page = params.page_of_fixed(rows)?;
    answer["items"] = json!(page.items);
    answer["next_cursor"] = json!(page.next_cursor);
    Ok(answer)
}

/// `GET /agent/probes`
pub async fn probes(State(hub): State<Arc<HubState>>, params: Params) -> Result<Json<Value>, ApiError> {
    params.only(&["limit", "cursor"])?;
    let answer = paged(&params, agent(&hub)?.probes())?;
    Ok(Json(answer))
}

/// Settings of one probe.
fn config_of(agent: &dyn AgentView, name: &str) -> Result<Value, ApiError> {
    agent
        .probe_config(name)
        .ok_or_else(|| ApiError::not_found(format!("no probe {name:?}; `GET /api/v1/agent/probes` lists those that there are")))
}

/// `GET /agent/probes/{name}/config`
pub async fn config(State(hub): State<Arc<HubState>>, Id(name): Id, params: Params) -> Result<Json<Value>, ApiError> {
    params.only(&[])?;
    Ok(Json(config_of(&*agent(&hub)?, &name)?))
}

/// A body at fault is to be corrected; what the agent could not do with a right one is to be mended on the host.
fn not_configured(name: &str, error: NotConfigured) -> ApiError {
    match error {
        NotConfigured::Refused(reason) => {
            let message = format!("probe {name}: {reason}; the settings stay as they were, correct it and send it again");
            ApiError::refused("body", message)
        }
        NotConfigured::Failed(reason) => ApiError::unavailable(format!(
            "probe {name}: {reason}; the settings stay as they were, and `gala doctor` tells what this host lacks"
        )),
    }
}

/// `PUT /agent/probes/{name}/config`: what the agent's own REST API takes, with its checks; answers the settings in force.
pub async fn set_config(
    State(hub): State<Arc<HubState>>,
    Id(name): Id,
    params: Params,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, ApiError> {
    params.only(&[])?;
    let form = "an object with `cmd`, `snoopers` or `blacklist`, `params` and `state`, each as wanted";
    let wanted: Map<String, Value> = super::params::body(&body?, form)?;
    let agent = agent(&hub)?;
    config_of(&*agent, &name)?;
    // Starting and stopping wait for the kernel.
    let done = tokio::task::spawn_blocking(move || {
        agent.configure_probe(&name, &wanted).map_err(|error| not_configured(&name, error))?;
        config_of(&*agent, &name)
    });
    done.await
        .map_err(|_| ApiError::unavailable("the change was interrupted; read the settings to see what came of it"))?
        .map(Json)
}

/// `GET /agent/ledger`: what could not be seen, beside what is.
pub async fn ledger(State(hub): State<Arc<HubState>>, params: Params) -> Result<Json<Value>, ApiError> {
    params.only(&["limit", "cursor"])?;
    let mut answer = paged(&params, agent(&hub)?.ledger())?;
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
