//! The small answers dashboards ask for before they query: what this is, what it allows, that there are no rules.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::answer::{Refusal, bad_parameter, success, success_of};
use super::params::Params;
use super::{PromState, time};

/// The Prometheus whose language and API these are; clients choose their requests by it.
const PROMETHEUS_LEVEL: &str = "3.14.0";
/// Rows of each table of `status/tsdb`, unless asked otherwise, and at most.
const TOP: usize = 10;
const MAX_TOP: usize = 10_000;

/// There are none of either type.
pub async fn rules(params: Params) -> Response {
    match params.get("type") {
        "" | "alert" | "record" => {}
        other => return bad_parameter("type", format!("not supported value {other:?}")).into_response(),
    }
    success("{\"groups\":[]}", &[], &[])
}

pub async fn alerts() -> Response {
    success("{\"alerts\":[]}", &[], &[])
}

pub async fn alertmanagers() -> Response {
    success("{\"activeAlertmanagers\":[],\"droppedAlertmanagers\":[]}", &[], &[])
}

/// Nothing is scraped: samples are pushed.
pub async fn targets() -> Response {
    success("{\"activeTargets\":[],\"droppedTargets\":[],\"droppedTargetCounts\":{}}", &[], &[])
}

pub async fn scrape_pools() -> Response {
    success("{\"scrapePools\":[]}", &[], &[])
}

/// Metadata of targets and notices to people: there are neither.
pub async fn none() -> Response {
    success("[]", &[], &[])
}

/// The store has read its log before the port opens.
pub async fn walreplay() -> Response {
    success("{\"min\":0,\"max\":0,\"current\":0}", &[], &[])
}

pub async fn buildinfo(State(state): State<PromState>) -> Response {
    let about = state.about.read().clone();
    let version = if about.version.is_empty() { String::new() } else { format!("+gala.{}", about.version) };
    let data = json!({
        "version": format!("{PROMETHEUS_LEVEL}{version}"),
        "revision": about.revision,
        "branch": "",
        "buildUser": "",
        "buildDate": about.build_date,
        "goVersion": "",
    });
    success_of(&data, &[])
}

pub async fn runtimeinfo(State(state): State<PromState>) -> Response {
    let about = state.about.read().clone();
    let data = json!({
        "startTime": time::show(about.started_ms),
        "serverTime": time::show(time::now_ms()),
        "hostname": std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim(),
        "reloadConfigSuccess": !about.configuration_refused,
        "lastConfigTime": time::show(about.configured_ms),
        "storageRetention": about.retention,
    });
    success_of(&data, &[])
}

pub async fn flags(State(state): State<PromState>) -> Response {
    let limits = &state.limits;
    let seconds = |duration: std::time::Duration| format!("{}s", duration.as_secs());
    let data = json!({
        "query.lookback-delta": seconds(limits.lookback),
        "query.max-concurrency": limits.concurrency.to_string(),
        "query.max-samples": limits.max_samples.to_string(),
        "query.timeout": seconds(limits.timeout),
        "storage.tsdb.retention": state.about.read().retention.clone(),
        "web.enable-remote-write-receiver": "true",
    });
    success_of(&data, &[])
}

/// The evaluation interval is the step of subqueries that name none.
pub async fn config() -> Response {
    success_of(&json!({"yaml": "global:\n  evaluation_interval: 1m\n"}), &[])
}

/// Where the series are that report now: counts by metric, by label and by pair.
pub async fn tsdb(State(state): State<PromState>, params: Params) -> Response {
    let top = match params.get("limit") {
        "" => TOP,
        text => match text.parse::<usize>() {
            Ok(0) | Err(_) => return Refusal::bad_data("limit must be a positive number").into_response(),
            Ok(top) if top > MAX_TOP => {
                return Refusal::bad_data(format!("limit must not exceed {MAX_TOP}")).into_response();
            }
            Ok(top) => top,
        },
    };
    let read = state.read.clone();
    let counted = state.gate.run(move || read.cardinality(top)).await;
    let counts = match counted.map_err(Refusal::from).and_then(|counts| counts.map_err(Refusal::from)) {
        Ok(counts) => counts,
        Err(refusal) => return refusal.into_response(),
    };
    let rows = |counts: &[(String, u64)]| -> Vec<serde_json::Value> {
        counts.iter().map(|(name, value)| json!({"name": name, "value": value})).collect()
    };
    let data = json!({
        "headStats": {
            "numSeries": counts.series,
            "numLabelPairs": counts.label_pairs,
            "minTime": counts.oldest_ms,
            "maxTime": counts.newest_ms,
        },
        "seriesCountByMetricName": rows(&counts.series_by_metric),
        "labelValueCountByLabelName": rows(&counts.values_by_label),
        "memoryInBytesByLabelName": rows(&counts.bytes_by_label),
        "seriesCountByLabelValuePair": rows(&counts.series_by_pair),
    });
    success_of(&data, &[])
}
