//! What *Now* shows of services: processes that answer requests with rate, errors, latency and one state per signal.
//! Numbers come from queries anyone can repeat in Explore.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use axum::extract::State;
use gala_analysis::topology::history::{EntityRecord, Snapshot};
use gala_analysis::topology::view::Names;
use gala_store::promql::{self, QueryValue};
use serde_json::{Value, json};

use super::anomalies;
use super::entities::family;
use super::error::ApiError;
use super::levels::{self, ProcessKey, Saturation, by_process, latency_query, over_time};
use super::params::Params;
use super::written::Written;
use crate::anomalies::Row;
use crate::state::HubState;

const MAX_SERVICES: usize = 500;
const WINDOW_MS: i64 = 900_000;
const POINTS: i64 = 30;
const DAY_MS: i64 = 86_400_000;

/// `GET /services`
pub async fn services(State(hub): State<Arc<HubState>>, params: Params) -> Result<Written, ApiError> {
    params.only(&["limit", "cursor"])?;
    let worker = hub.clone();
    let answer = Written::by(&hub.pages, move || {
        let page = params.page(service_rows(&worker), |(place, _)| place.clone())?;
        let items: Vec<Value> = page.items.into_iter().map(|(_, row)| row).collect();
        Ok(json!({"items": items, "next_cursor": page.next_cursor}))
    });
    answer.await
}

/// Worst first, then by name and id.
type Place = (Reverse<u8>, String, String);

fn service_rows(hub: &HubState) -> Vec<(Place, Value)> {
    let now_ms = gala_store::now_ms();
    let snapshot = hub.snapshot();
    let numbers = Numbers::read(hub, now_ms);
    let anomalies = anomalies_by_process(&snapshot, anomalies::rows_at(hub, None));
    let names = Names::new(&snapshot);
    let judged = hub.progress.lock().judged.clone();
    let mut rows: Vec<(Place, Value)> = Vec::new();
    for (key, rate) in &numbers.rate {
        let Some(process) = process_of(&snapshot, key) else { continue };
        let own = anomalies.get(&*process.id).map_or(&[][..], Vec::as_slice);
        let mut row = service_row(&numbers, key, *rate, process, &names);
        row["signals"] = signals(own, &Judged::of(&snapshot, &process.id, &judged));
        let name = row["name"].as_str().unwrap_or("").to_owned();
        rows.push(((Reverse(worst(own)), name, process.id.to_string()), row));
    }
    rows.sort_by(|left, right| left.0.cmp(&right.0));
    rows.truncate(MAX_SERVICES);
    rows
}

/// Anomalies of each process and of what belongs to it.
fn anomalies_by_process(snapshot: &Snapshot, rows: Vec<Row>) -> HashMap<String, Vec<Row>> {
    let mut by_process: HashMap<String, Vec<Row>> = HashMap::new();
    for row in rows {
        let own = snapshot.entities.get(row.entity_id.as_str()).into_iter();
        let process = own.chain(snapshot.parents(&row.entity_id)).find(|record| record.kind.name == "proc");
        if let Some(process) = process {
            by_process.entry(process.id.to_string()).or_default().push(row);
        }
    }
    by_process
}

/// One read per number for all processes together.
struct Numbers {
    rate: HashMap<ProcessKey, f64>,
    error_ratio: HashMap<ProcessKey, f64>,
    p50_ms: HashMap<ProcessKey, f64>,
    p99_ms: HashMap<ProcessKey, f64>,
    p99_yesterday_ms: HashMap<ProcessKey, f64>,
    /// Between what p99 usually lies, milliseconds.
    p99_usual_ms: Arc<HashMap<ProcessKey, (f64, f64)>>,
    /// What it is judged by, for processes too young for the former.
    p99_judged_ms: HashMap<ProcessKey, (f64, f64)>,
    apps: HashMap<ProcessKey, String>,
    ports: HashMap<ProcessKey, String>,
    saturation: Saturation,
    points: HashMap<ProcessKey, Vec<(i64, f64)>>,
    now_ms: i64,
}

pub const RATE: &str = "sum by (machine_id, tgid) (rate(gala_gopher_sli_requests_total[1m]))";

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
            p99_usual_ms: hub.usual_p99.bands(hub, now_ms),
            p99_judged_ms: levels::judged_p99(hub),
            apps: mostly(hub, "app", now_ms),
            ports: mostly(hub, "server_port", now_ms),
            saturation: Saturation::read(hub, now_ms),
            points: over_time(hub, RATE, now_ms - WINDOW_MS, now_ms, WINDOW_MS / POINTS),
            now_ms,
        }
    }
}

pub fn process_of<'a>(snapshot: &'a Snapshot, (machine_id, tgid): &ProcessKey) -> Option<&'a EntityRecord> {
    snapshot.entities.get(format!("{machine_id}_proc_{tgid}").as_str())
}

fn worst(rows: &[Row]) -> u8 {
    rows.iter().map(|row| if row.kind == "app" { 2 } else { 1 }).max().unwrap_or(0)
}

fn service_row(numbers: &Numbers, key: &ProcessKey, rate: f64, process: &EntityRecord, names: &Names) -> Value {
    let p99 = numbers.p99_ms.get(key).copied();
    let yesterday = numbers.p99_yesterday_ms.get(key).filter(|value| **value > 0.0).and_then(|before| Some(p99? / before));
    let usual = numbers.p99_usual_ms.get(key).or_else(|| numbers.p99_judged_ms.get(key));
    let usual = usual.map(|(low, high)| json!({"lo": low, "hi": high}));
    let fullest = numbers.saturation.fullest(key).map(|(what, ratio)| json!({"what": what, "ratio": ratio}));
    json!({
        "entity_id": process.id,
        "entity_type": process.kind.name,
        "name": process.labels.get("comm").map_or(process.name.as_str(), |comm| comm),
        "host_names": [names.host_name(&process.machine_id)],
        "pid": key.1.parse::<u32>().ok(),
        "port": numbers.ports.get(key).and_then(|port| port.parse::<u16>().ok()).filter(|port| *port > 0),
        "app": numbers.apps.get(key).map(|app| app.to_lowercase()),
        "rate_per_s": rate,
        // Errors and requests are counted over windows that may differ by a scrape.
        "error_ratio": numbers.error_ratio.get(key).map(|ratio| ratio.min(1.0)),
        "p50_ms": numbers.p50_ms.get(key),
        "p99_ms": p99,
        "p99_normal_ms": usual,
        "saturation": fullest,
        "yesterday_ratio": yesterday,
        "rate_points": points_of(numbers, key),
    })
}

/// What of a service is judged by now: without that, nothing is known to be as usual.
struct Judged {
    requests: bool,
    rest: bool,
}

impl Judged {
    fn of(snapshot: &Snapshot, process_id: &str, counts: &HashMap<String, usize>) -> Self {
        let family = family(snapshot, process_id);
        let is_judged = |id: &&String| counts.get(*id).is_some_and(|count| *count > 0);
        let kind = |id: &String| snapshot.entities.get(id.as_str()).map(|record| record.kind.name);
        let (requests, rest): (Vec<&String>, Vec<&String>) =
            family.iter().filter(is_judged).partition(|id| kind(id) == Some("sli"));
        Self { requests: !requests.is_empty(), rest: !rest.is_empty() }
    }
}

fn signals(own: &[Row], judged: &Judged) -> Value {
    json!({
        "latency": signal(own, judged.requests, |row| row.entity_type == "sli" && !row.metric_id.contains("err")),
        "errors": signal(own, judged.requests, |row| row.metric_id.contains("err")),
        "traffic": signal(own, judged.requests, |row| row.metric_id.contains("requests_total")),
        "saturation": signal(own, judged.rest, |row| row.metric_id.contains("overflow") || row.metric_id.contains("rundelay")),
        "resources": signal(own, judged.rest, |row| matches!(row.entity_type.as_str(), "proc" | "tcp_link" | "endpoint_tcp")),
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

/// Value of a label that most requests of each process carry: the protocol it speaks, the port it is asked at.
fn mostly(hub: &HubState, name: &str, now_ms: i64) -> HashMap<ProcessKey, String> {
    let query = format!("sum by (machine_id, tgid, {name}) (rate(gala_gopher_sli_requests_total[5m]))");
    let Ok(answer) = promql::instant(&*hub.store, &query, now_ms, &levels::bounds()) else { return HashMap::new() };
    let QueryValue::Vector(samples) = answer.value else { return HashMap::new() };
    let mut most: HashMap<ProcessKey, (f64, String)> = HashMap::new();
    for sample in samples {
        let label = |name: &str| sample.labels.get(name).unwrap_or("").to_owned();
        let known = most.entry((label("machine_id"), label("tgid"))).or_default();
        if sample.value > known.0 || known.1.is_empty() {
            *known = (sample.value, label(name));
        }
    }
    most.into_iter().filter(|(_, (_, value))| !value.is_empty()).map(|(key, (_, value))| (key, value)).collect()
}

fn signal(own: &[Row], is_judged: bool, concerns: impl Fn(&Row) -> bool) -> Value {
    match own.iter().find(|row| concerns(row)) {
        Some(row) => json!({"state": row.signal_state(), "reason": row.desc}),
        None => json!({"state": if is_judged { "ok" } else { "na" }, "reason": null}),
    }
}
