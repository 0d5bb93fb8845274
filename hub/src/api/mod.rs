//! The HTTP API under `/api/v1`: one file per subject, one router.

pub mod agent;
pub mod anomalies;
pub mod ask;
pub mod entities;
pub mod entity_metrics;
pub mod error;
pub mod fault_detail;
pub mod fault_graph;
pub mod faults;
pub mod grid;
pub mod health;
pub mod hosts;
pub mod levels;
pub mod meta;
pub mod moment;
pub mod params;
pub mod rules;
pub mod services;
pub mod topology;
pub mod written;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};

use crate::state::HubState;

/// Everything under `/api/v1` but Prometheus's own endpoints.
pub fn router() -> Router<Arc<HubState>> {
    Router::new()
        .route("/health", get(health::health))
        .route("/metrics", get(health::own_metrics))
        .route("/openapi.json", get(meta::openapi))
        .route("/topology/snapshots", get(topology::snapshots))
        .route("/topology/horizontal", get(topology::horizontal))
        .route("/topology/vertical", get(topology::vertical))
        .route("/topology/changes", get(topology::changes))
        .route("/entities", get(entities::list))
        .route("/entities/{id}", get(entities::one))
        .route("/entities/{id}/edges", get(entities::edges))
        .route("/entities/{id}/neighbours", get(entities::neighbours))
        .route("/entities/{id}/metrics", get(entity_metrics::metrics))
        .route("/entities/{id}/resolve", get(entities::resolve))
        .route("/meta/types", get(meta::types))
        .route("/meta/relations", get(meta::relations))
        .route("/cause/rules", get(rules::get).put(rules::put).delete(rules::delete))
        .route("/services", get(services::services))
        .route("/hosts", get(hosts::hosts))
        .route("/anomalies", get(anomalies::list))
        .route("/anomalies/{event_id}", get(anomalies::one))
        .route("/faults", get(faults::list).post(ask::ask))
        .route("/faults/{id}", get(faults::one))
        .route("/faults/{id}/graph", get(fault_graph::graph))
        .route("/faults/{id}/feedback", post(faults::feedback))
        .route("/faults/by-event/{event_id}", get(faults::by_event))
        .route("/agent/probes", get(agent::probes))
        .route("/agent/probes/{name}/config", get(agent::config).put(agent::set_config))
        .route("/agent/ledger", get(agent::ledger))
        .route("/agent/budget", get(agent::budget))
        .route("/stream", get(crate::stream::stream))
        .route("/write", post(crate::ingest::write::remote_write))
}
