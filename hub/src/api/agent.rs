//! What the agent of this process says of itself: `/agent/...`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::Value;

use super::error::ApiError;
use super::params::Params;
use crate::state::{AgentView, HubState};

fn agent(hub: &HubState) -> Result<Arc<dyn AgentView>, ApiError> {
    hub.agent.read().clone().ok_or_else(|| {
        ApiError::not_found("no agent runs in this process; ask the agent's own port, or start both with `gala up`")
    })
}

/// `GET /agent/probes`
pub async fn probes(State(hub): State<Arc<HubState>>, params: Params) -> Result<Json<Value>, ApiError> {
    params.only(&["limit", "cursor"])?;
    Ok(Json(agent(&hub)?.probes()))
}

/// `GET /agent/ledger`
pub async fn ledger(State(hub): State<Arc<HubState>>, params: Params) -> Result<Json<Value>, ApiError> {
    params.only(&["limit", "cursor"])?;
    Ok(Json(agent(&hub)?.ledger()))
}

/// `GET /agent/budget`
pub async fn budget(State(hub): State<Arc<HubState>>, params: Params) -> Result<Json<Value>, ApiError> {
    params.only(&[])?;
    Ok(Json(agent(&hub)?.budget()))
}
