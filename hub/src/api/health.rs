//! Health of every part, and the hub's own metrics.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use gala_analysis::detect::Warmup;
use serde_json::json;

use super::error::ApiError;
use super::params::Params;
use crate::engine::TICK;
use crate::state::{Component, HubState, Progress, Status};
use crate::watch::Pass;

/// Clocks of hosts that send samples differ by less.
const CLOCK_TOLERANCE_MS: i64 = 10_000;

/// `GET /health`
pub async fn health(State(hub): State<Arc<HubState>>, params: Params) -> Result<Response, ApiError> {
    params.only(&[])?;
    let (status, body) = report(&hub);
    let code = if status == Status::Starting { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    Ok((code, Json(body)).into_response())
}

/// `GET /-/healthy`: the process answers.
pub async fn healthy() -> &'static str {
    "GALA is healthy.\n"
}

/// `GET /-/ready`: every part has begun its work.
pub async fn ready(State(hub): State<Arc<HubState>>) -> Response {
    match report(&hub).0 {
        Status::Starting => (StatusCode::SERVICE_UNAVAILABLE, "GALA is starting.\n").into_response(),
        Status::Ok | Status::Degraded => "GALA is ready.\n".into_response(),
    }
}

/// The health answer and its overall status.
pub fn report(hub: &HubState) -> (Status, serde_json::Value) {
    let progress = hub.progress.lock().clone();
    let now = Instant::now();
    let part = |pass: &Pass, period: Duration| match (pass.last_ms, pass.reason(period, now)) {
        (None, reason) if reason.is_empty() => Component::new(Status::Starting, "the first pass is not done yet", None),
        (last, reason) if reason.is_empty() => Component::ok(last),
        (last, reason) => Component::new(Status::Degraded, reason, last),
    };
    let mut components = vec![
        ("store", store_health(hub)),
        ("topology", part(&progress.topology, hub.topology_period)),
        ("detection", detection_health(&progress.warmup, part(&progress.detection, TICK))),
        ("cause", part(&progress.cause, TICK)),
    ];
    if let Some(agent) = &*hub.agent.read() {
        components.insert(0, ("agent", agent.health()));
    }
    let any = |status: Status| components.iter().any(|(_, component)| component.status == status);
    let status = if any(Status::Starting) {
        Status::Starting
    } else if any(Status::Degraded) {
        Status::Degraded
    } else {
        Status::Ok
    };
    let components: serde_json::Map<String, serde_json::Value> =
        components.into_iter().map(|(name, component)| (name.to_owned(), json!(component))).collect();
    let body = json!({
        "status": status,
        "version": hub.version,
        "uptime_ms": hub.started.elapsed().as_millis() as u64,
        "components": components,
    });
    (status, body)
}

/// Series and documents: both are what is kept.
fn store_health(hub: &HubState) -> Component {
    let newest = hub.store.stats().newest_ms;
    let series = hub.store.health().reason;
    let clock = series.as_ref().and_then(|_| ahead(newest?, gala_store::now_ms()));
    let troubles: Vec<String> = series.into_iter().chain(clock).chain(hub.documents.trouble()).collect();
    if troubles.is_empty() { Component::ok(newest) } else { Component::new(Status::Degraded, troubles.join("; "), newest) }
}

/// After the clock was set back, series take nothing until it has caught up with their newest samples.
fn ahead(newest_ms: i64, now_ms: i64) -> Option<String> {
    let ahead_ms = newest_ms - now_ms;
    (ahead_ms > CLOCK_TOLERANCE_MS).then(|| {
        let (seconds, until) = (ahead_ms / 1000, crate::prom::show_time(newest_ms));
        format!("the newest samples are {seconds} s ahead of the clock; if that was set back, their series go on at {until}")
    })
}

/// How many KPIs are known well enough to be judged, and when the rest will be.
fn detection_health(warmup: &Warmup, mut component: Component) -> Component {
    component.more.insert("kpis", json!({"warm": warmup.kpis_warm, "total": warmup.kpis, "warm_at_ms": warmup.warm_at_ms}));
    component.more.insert("entities", json!({"warm": warmup.entities_warm, "total": warmup.entities}));
    component
}

/// `GET /metrics`: the hub's own numbers and those of this process's agent, Prometheus text.
pub async fn own_metrics(State(hub): State<Arc<HubState>>, params: Params) -> Result<Response, ApiError> {
    params.only(&[])?;
    let stats = hub.store.stats();
    let Progress { warmup, open_incidents, .. } = hub.progress.lock().clone();
    let snapshot = hub.snapshot();
    let mut text = String::new();
    let mut put = |name: &str, kind: &str, help: &str, value: f64| {
        let _ = writeln!(text, "# HELP gala_{name} {help}\n# TYPE gala_{name} {kind}\ngala_{name} {value}");
    };
    put("uptime_seconds", "gauge", "Time since start", hub.started.elapsed().as_secs_f64());
    put("store_series", "gauge", "Series in the head", stats.series as f64);
    put("store_samples_appended_total", "counter", "Samples taken since start", stats.appended_total as f64);
    put("store_samples_rejected_total", "counter", "Samples refused since start", stats.rejected_total as f64);
    put("store_bytes", "gauge", "Bytes on disk", stats.disk_bytes as f64);
    put("topology_entities", "gauge", "Entities shown now", snapshot.entities.len() as f64);
    put("topology_edges", "gauge", "Relations shown now", snapshot.edges.len() as f64);
    put("detection_kpis", "gauge", "KPIs watched", warmup.kpis as f64);
    put("detection_kpis_warm", "gauge", "KPIs judged", warmup.kpis_warm as f64);
    put("incidents_open", "gauge", "Open incidents", open_incidents as f64);
    put(
        "ingest_refused_total",
        "counter",
        "Samples of this process's agent not stored",
        hub.refused.load(Ordering::Relaxed) as f64,
    );
    if let Some(agent) = hub.agent.read().clone() {
        text.push_str(&agent.metrics());
    }
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_set_back_says_until_when() {
        assert_eq!(ahead(1_700_000_010_000, 1_700_000_000_000), None);
        let text = ahead(1_700_000_060_000, 1_700_000_000_000).unwrap();
        assert!(text.contains("60 s ahead") && text.ends_with("2023-11-14T22:14:20.000Z"), "{text}");
    }
}
