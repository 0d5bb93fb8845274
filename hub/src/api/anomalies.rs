//! What is abnormal now, as rows for people and scripts.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use gala_analysis::detect::AnomalyRow;
use gala_analysis::topology::Snapshot;
use gala_analysis::topology::view::Names;
use serde::Serialize;
use serde_json::{Value, json};

use super::error::ApiError;
use super::params::Params;
use crate::state::{HubState, SnapshotGraph};
use crate::words;

const MAX_ROWS: usize = 5_000;

/// Row of `GET /anomalies`; repeated events of one entity and metric are one row.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    pub event_id: String,
    pub event_ids: Vec<String>,
    pub time_ms: i64,
    pub first_ms: i64,
    pub count: usize,
    /// `app` is what users feel, `sys` is evidence.
    pub kind: &'static str,
    pub entity_id: String,
    pub entity_name: String,
    pub entity_type: String,
    pub host_name: String,
    pub metric_id: String,
    pub severity: &'static str,
    pub state: &'static str,
    pub desc: Value,
    pub score: f64,
    pub value: f64,
    pub normal: Value,
    pub unit: String,
    pub incident_id: Option<String>,
}

impl Row {
    pub fn new(row: AnomalyRow, host_name: &str) -> Self {
        let event_id = format!("{}_{}", row.onset_ms, row.entity_id);
        let desc = words::anomaly(&row);
        Self {
            event_ids: vec![event_id.clone()],
            event_id,
            time_ms: row.last_ms,
            first_ms: row.onset_ms,
            count: 1,
            kind: if row.kpi { "app" } else { "sys" },
            entity_id: row.entity_id,
            entity_name: row.entity_name,
            entity_type: row.entity_type,
            host_name: host_name.to_owned(),
            metric_id: row.metric,
            severity: if row.kpi { "WARN" } else { "INFO" },
            state: row.state,
            desc: json!(desc),
            score: row.score,
            value: row.value,
            normal: json!({"lo": row.low, "hi": row.high}),
            unit: row.unit.to_owned(),
            incident_id: row.incident_id,
        }
    }

    /// What is usual, as a sentence.
    pub fn normal_text(&self) -> Value {
        let number = |name: &str| self.normal[name].as_f64().unwrap_or(0.0);
        json!(words::normal(number("lo"), number("hi"), &self.unit))
    }
}

/// What is abnormal now, strongest first.
pub fn rows(hub: &HubState, snapshot: &Arc<Snapshot>) -> Vec<Row> {
    let graph = SnapshotGraph(snapshot.clone());
    let found = hub.detector.lock().anomalies(MAX_ROWS, &graph);
    let names = Names::new(snapshot);
    let mut seen: HashMap<(String, String), usize> = HashMap::new();
    let mut rows: Vec<Row> = Vec::new();
    for row in found {
        let host = names.host_name(&row.machine_id).to_owned();
        let row = Row::new(row, &host);
        match seen.get(&(row.entity_id.clone(), row.metric_id.clone())) {
            Some(index) => {
                let known: &mut Row = &mut rows[*index];
                known.count += 1;
                known.first_ms = known.first_ms.min(row.first_ms);
                known.event_ids.extend(row.event_ids);
            }
            None => {
                seen.insert((row.entity_id.clone(), row.metric_id.clone()), rows.len());
                rows.push(row);
            }
        }
    }
    rows
}

/// `GET /anomalies`
pub async fn list(State(hub): State<Arc<HubState>>, params: Params) -> Result<Json<Value>, ApiError> {
    params.only(&["from", "to", "kind", "severity", "entity", "machine", "metric", "dedup", "limit", "cursor"])?;
    let (from, to) = (params.millis("from")?.unwrap_or(0), params.millis("to")?.unwrap_or(i64::MAX));
    params.flag("dedup", true)?;
    let kind = params.choice("kind", &[("app", "app"), ("sys", "sys")])?;
    let severity = params.choice("severity", &[("INFO", "INFO"), ("WARN", "WARN"), ("ERROR", "ERROR"), ("FATAL", "FATAL")])?;
    let snapshot = hub.snapshot();
    let mut rows = rows(&hub, &snapshot);
    let canonical = gala_model::entity::id::canonical_machine;
    rows.retain(|row| {
        row.time_ms >= from
            && row.first_ms <= to
            && kind.is_none_or(|kind| row.kind == kind)
            && severity.is_none_or(|severity| row.severity == severity)
            && params.text("entity").is_none_or(|entity| row.entity_id == entity)
            && params.text("machine").is_none_or(|machine| row.entity_id.starts_with(canonical(machine)))
            && params.text("metric").is_none_or(|metric| row.metric_id == metric)
    });
    let page = params.page(rows, |row| format!("{}/{}", row.event_id, row.metric_id))?;
    Ok(Json(json!(page)))
}
