//! What *Now* shows: processes that answer requests with rate, errors, latency and one state per signal; and hosts with
//! the pressure on their resources. Numbers come from queries anyone can repeat in Explore.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use gala_analysis::topology::history::{EntityRecord, LifeState, Snapshot};
use gala_analysis::topology::view::Names;
use gala_store::promql::{self, QueryValue};
use serde_json::{Value, json};

use super::anomalies;
use super::error::ApiError;
use super::params::Params;
use crate::anomalies::Row;
use crate::state::HubState;

const MAX_SERVICES: usize = 500;
const WINDOW_MS: i64 = 900_000;
const POINTS: i64 = 30;
const DAY_MS: i64 = 86_400_000;
/// Full enough to warn, and to fail, as shares of capacity.
const NEARLY_FULL: f64 = 0.85;
const FULL: f64 = 0.95;

/// Machine and process of a series.
type ProcessKey = (String, String);

fn by_process(hub: &HubState, query: &str, at_ms: i64) -> HashMap<ProcessKey, f64> {
    let Ok(answer) = promql::instant(&*hub.store, query, at_ms, &promql::Options::default()) else { return HashMap::new() };
    let QueryValue::Vector(samples) = answer.value else { return HashMap::new() };
    let key =
        |labels: &gala_store::Labels| Some((labels.get("machine_id")?.to_owned(), labels.get("tgid").unwrap_or("").to_owned()));
    samples
        .iter()
        .filter(|sample| sample.value.is_finite())
        .filter_map(|sample| Some((key(&sample.labels)?, sample.value)))
        .collect()
}

fn latency_query(quantile: &str) -> String {
    format!("histogram_quantile({quantile}, sum by (machine_id, tgid, le) (rate(gala_gopher_sli_latency_nsec[5m]))) / 1e6")
}

/// `GET /services`
pub async fn services(State(hub): State<Arc<HubState>>, params: Params) -> Result<Json<Value>, ApiError> {
    params.only(&["limit", "cursor"])?;
    let worker = hub.clone();
    let rows = tokio::task::spawn_blocking(move || service_rows(&worker));
    let rows = rows.await.map_err(|_| ApiError::unavailable("the query was interrupted; try again"))?;
    let page = params.page(rows, |row| row["entity_id"].as_str().unwrap_or("").to_owned())?;
    Ok(Json(json!(page)))
}

fn service_rows(hub: &HubState) -> Vec<Value> {
    let now_ms = gala_store::now_ms();
    let snapshot = hub.snapshot();
    let numbers = Numbers::read(hub, now_ms);
    let anomalies = anomalies::rows_at(hub, None);
    let names = Names::new(&snapshot);
    let mut rows: Vec<(u8, Value)> = Vec::new();
    for (key, rate) in &numbers.rate {
        let Some(process) = process_of(&snapshot, key) else { continue };
        let own = own_anomalies(&snapshot, process, &anomalies);
        let row = service_row(hub, &numbers, key, *rate, process, &names, &own);
        rows.push((worst(&own), row));
    }
    let text = |row: &Value| row["name"].as_str().unwrap_or("").to_owned();
    rows.sort_by(|left, right| right.0.cmp(&left.0).then_with(|| text(&left.1).cmp(&text(&right.1))));
    rows.into_iter().map(|(_, row)| row).take(MAX_SERVICES).collect()
}

/// One read per number for all processes together.
struct Numbers {
    rate: HashMap<ProcessKey, f64>,
    error_ratio: HashMap<ProcessKey, f64>,
    p50_ms: HashMap<ProcessKey, f64>,
    p99_ms: HashMap<ProcessKey, f64>,
    p99_yesterday_ms: HashMap<ProcessKey, f64>,
    points: HashMap<ProcessKey, Vec<(i64, f64)>>,
    now_ms: i64,
}

const RATE: &str = "sum by (machine_id, tgid) (rate(gala_gopher_sli_requests_total[1m]))";

impl Numbers {
    fn read(hub: &HubState, now_ms: i64) -> Self {
        let errors = "sum by (machine_id, tgid) (rate(gala_gopher_sli_errors_total[5m])) / sum by (machine_id, tgid) \
                      (rate(gala_gopher_sli_requests_total[5m]))";
        Self {
            rate: by_process(hub, RATE, now_ms),
            error_ratio: by_process(hub, errors, now_ms),
            p50_ms: by_process(hub, &latency_query("0.5"), now_ms),
            p99_ms: by_process(hub, &latency_query("0.99"), now_ms),
            p99_yesterday_ms: by_process(hub, &latency_query("0.99"), now_ms - DAY_MS),
            points: rate_points(hub, now_ms),
            now_ms,
        }
    }
}

fn rate_points(hub: &HubState, now_ms: i64) -> HashMap<ProcessKey, Vec<(i64, f64)>> {
    let options = promql::Options::default();
    let Ok(answer) = promql::range(&*hub.store, RATE, now_ms - WINDOW_MS, now_ms, WINDOW_MS / POINTS, &options) else {
        return HashMap::new();
    };
    let QueryValue::Matrix(series) = answer.value else { return HashMap::new() };
    let mut points = HashMap::new();
    for one in series {
        let key = (one.labels.get("machine_id").unwrap_or("").to_owned(), one.labels.get("tgid").unwrap_or("").to_owned());
        points.insert(key, one.samples.iter().map(|sample| (sample.t_ms, sample.value)).collect());
    }
    points
}

fn process_of<'a>(snapshot: &'a Snapshot, (machine_id, tgid): &ProcessKey) -> Option<&'a EntityRecord> {
    snapshot.entities.get(format!("{machine_id}_proc_{tgid}").as_str())
}

/// Anomalies of a process and of what belongs to it.
fn own_anomalies<'a>(snapshot: &Snapshot, process: &EntityRecord, all: &'a [Row]) -> Vec<&'a Row> {
    let belongs =
        |row: &Row| row.entity_id == *process.id || snapshot.parents(&row.entity_id).iter().any(|parent| parent.id == process.id);
    all.iter().filter(|row| belongs(row)).collect()
}

fn worst(rows: &[&Row]) -> u8 {
    rows.iter().map(|row| if row.kind == "app" { 2 } else { 1 }).max().unwrap_or(0)
}

fn service_row(
    hub: &HubState,
    numbers: &Numbers,
    key: &ProcessKey,
    rate: f64,
    process: &EntityRecord,
    names: &Names,
    own: &[&Row],
) -> Value {
    let p99 = numbers.p99_ms.get(key).copied();
    let yesterday = numbers.p99_yesterday_ms.get(key).filter(|value| **value > 0.0).and_then(|before| Some(p99? / before));
    let app = app_of(hub, key, numbers.now_ms);
    json!({
        "entity_id": process.id,
        "entity_type": process.kind.name,
        "name": process.labels.get("comm").map_or(process.name.as_str(), |comm| comm),
        "host_names": [names.host_name(&process.machine_id)],
        "app": app,
        "rate_per_s": rate,
        "error_ratio": numbers.error_ratio.get(key),
        "p50_ms": numbers.p50_ms.get(key),
        "p99_ms": p99,
        "p99_normal_ms": null,
        "saturation": null,
        "yesterday_ratio": yesterday,
        "rate_points": points_of(numbers, key),
        "signals": {
            "latency": signal(own, |row| row.entity_type == "sli" && !row.metric_id.contains("err")),
            "errors": signal(own, |row| row.metric_id.contains("err")),
            "traffic": signal(own, |row| row.metric_id.contains("requests_total")),
            "saturation": signal(own, |row| row.metric_id.contains("overflow") || row.metric_id.contains("rundelay")),
            "resources": signal(own, |row| matches!(row.entity_type.as_str(), "proc" | "tcp_link" | "endpoint_tcp")),
        },
    })
}

fn points_of(numbers: &Numbers, key: &ProcessKey) -> Vec<Value> {
    let known: BTreeMap<i64, f64> = numbers.points.get(key).into_iter().flatten().copied().collect();
    (0..=POINTS)
        .map(|index| {
            let at = numbers.now_ms - WINDOW_MS + index * (WINDOW_MS / POINTS);
            json!([at, known.get(&at)])
        })
        .collect()
}

/// Protocol that the process speaks most.
fn app_of(hub: &HubState, (machine_id, tgid): &ProcessKey, now_ms: i64) -> Option<String> {
    let query =
        format!("topk(1, sum by (app) (rate(gala_gopher_sli_requests_total{{machine_id={machine_id:?}, tgid={tgid:?}}}[5m])))");
    let answer = promql::instant(&*hub.store, &query, now_ms, &promql::Options::default()).ok()?;
    let QueryValue::Vector(samples) = answer.value else { return None };
    samples.first()?.labels.get("app").map(str::to_lowercase)
}

fn signal(own: &[&Row], concerns: impl Fn(&Row) -> bool) -> Value {
    match own.iter().find(|row| concerns(row)) {
        Some(row) => json!({"state": if row.kind == "app" { "crit" } else { "warn" }, "reason": row.desc}),
        None => json!({"state": "ok", "reason": null}),
    }
}

/// `GET /hosts`
pub async fn hosts(State(hub): State<Arc<HubState>>, params: Params) -> Result<Json<Value>, ApiError> {
    params.only(&["limit", "cursor"])?;
    let worker = hub.clone();
    let rows = tokio::task::spawn_blocking(move || host_rows(&worker));
    let rows = rows.await.map_err(|_| ApiError::unavailable("the query was interrupted; try again"))?;
    let page = params.page(rows, |row| row["entity_id"].as_str().unwrap_or("").to_owned())?;
    Ok(Json(json!(page)))
}

/// Shares of capacity in use, 0 to 1, largest part of each kind.
const METERS: [(&str, &str); 4] = [
    ("cpu", "max by (machine_id) (gala_gopher_cpu_total_used_per) / 100"),
    ("memory", "max by (machine_id) (gala_gopher_mem_util) / 100"),
    ("disk", "max by (machine_id) (gala_gopher_disk_util) / 100"),
    ("network", "max by (machine_id) (gala_gopher_nic_util) / 100"),
];

fn host_rows(hub: &HubState) -> Vec<Value> {
    let now_ms = gala_store::now_ms();
    let snapshot = hub.snapshot();
    let meters: Vec<(&str, HashMap<ProcessKey, f64>)> =
        METERS.iter().map(|(name, query)| (*name, by_process(hub, query, now_ms))).collect();
    let rates = by_process(hub, RATE, now_ms);
    let mut hosts: Vec<&EntityRecord> = snapshot.entities.values().filter(|record| record.kind.name == "host").collect();
    hosts.sort_by(|left, right| left.name.cmp(&right.name));
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
