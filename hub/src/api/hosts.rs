//! What *Now* shows of hosts: the pressure on their resources and what runs there.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::State;
use gala_analysis::topology::history::{EntityRecord, LifeState, Snapshot};
use serde_json::{Value, json};

use super::error::ApiError;
use super::levels::{HOST, ProcessKey, by_process};
use super::params::Params;
use super::services::{RATE, process_of};
use super::written::Written;
use crate::state::HubState;

/// Full enough to warn, and to fail, as shares of capacity.
const NEARLY_FULL: f64 = 0.85;
const FULL: f64 = 0.95;

/// `GET /hosts`
pub async fn hosts(State(hub): State<Arc<HubState>>, params: Params) -> Result<Written, ApiError> {
    params.only(&["limit", "cursor"])?;
    let worker = hub.clone();
    let text = |row: &Value, name: &str| row[name].as_str().unwrap_or("").to_owned();
    let place = move |row: &Value| (text(row, "name"), text(row, "entity_id"));
    Written::by(&hub.pages, move || params.page(host_rows(&worker), place)).await
}

fn host_rows(hub: &HubState) -> Vec<Value> {
    let now_ms = gala_store::now_ms();
    let snapshot = hub.snapshot();
    let meters: Vec<(&str, HashMap<ProcessKey, f64>)> =
        HOST.iter().map(|(name, query)| (*name, by_process(hub, query, now_ms))).collect();
    let rates = by_process(hub, RATE, now_ms);
    let mut hosts: Vec<&EntityRecord> = snapshot.entities.values().filter(|record| record.kind.name == "host").collect();
    hosts.sort_by(|left, right| (&left.name, &left.id).cmp(&(&right.name, &right.id)));
    hosts
        .into_iter()
        .map(|host| {
            let mut row = json!({
                "entity_id": host.id,
                "name": host.name,
                "services": services_on(&snapshot, &rates, &host.machine_id),
                "state": if host.state == LifeState::Online { "ok" } else { "warn" },
                "life": host.state,
            });
            let mut fullest = 0.0f64;
            for (name, values) in &meters {
                let ratio = values.get(&(host.machine_id.to_string(), String::new())).copied();
                fullest = fullest.max(ratio.unwrap_or(0.0));
                row[*name] = json!({"ratio": ratio, "state": fullness(ratio)});
            }
            if row["state"] == "ok" && fullest >= NEARLY_FULL {
                row["state"] = json!("warn");
            }
            row
        })
        .collect()
}

fn services_on(snapshot: &Snapshot, rates: &HashMap<ProcessKey, f64>, machine_id: &str) -> Vec<String> {
    let mut names: Vec<String> = rates
        .keys()
        .filter(|(machine, _)| machine == machine_id)
        .filter_map(|key| process_of(snapshot, key)?.labels.get("comm").map(ToString::to_string))
        .collect();
    names.sort();
    names.dedup();
    names
}

fn fullness(ratio: Option<f64>) -> &'static str {
    match ratio {
        None => "na",
        Some(ratio) if ratio >= FULL => "crit",
        Some(ratio) if ratio >= NEARLY_FULL => "warn",
        Some(_) => "ok",
    }
}
