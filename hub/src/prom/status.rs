//! The small answers dashboards ask for before they query: what this is, what it allows, that there are no rules.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::answer::{Refusal, success, success_of};
use super::{PromState, time};

/// The Prometheus whose language and API these are; clients choose their requests by it.
const PROMETHEUS_LEVEL: &str = "3.14.0";
/// Rows of each table of `status/tsdb`.
const TOP: usize = 10;

pub async fn rules() -> Response {
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

/// Where the series are: counts by metric, by label and by pair.
pub async fn tsdb(State(state): State<PromState>) -> Response {
    let range = gala_store::TimeRange { from_ms: time::MIN_MS, to_ms: time::MAX_MS };
    let listed = tokio::task::spawn_blocking(move || state.read.series(&[], range)).await;
    let series = match listed {
        Ok(Ok(series)) => series,
        Ok(Err(error)) => return Refusal::from(error).into_response(),
        Err(error) => return Refusal::internal(format!("the request ended unexpectedly: {error}")).into_response(),
    };
    let mut by_metric: BTreeMap<&str, usize> = BTreeMap::new();
    let mut by_pair: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for labels in &series {
        *by_metric.entry(labels.metric()).or_default() += 1;
        labels.iter().for_each(|pair| *by_pair.entry(pair).or_default() += 1);
    }
    let (mut by_label, mut bytes): (BTreeMap<&str, usize>, BTreeMap<&str, usize>) = Default::default();
    for (name, value) in by_pair.keys() {
        *by_label.entry(name).or_default() += 1;
        *bytes.entry(name).or_default() += value.len();
    }
    let pairs: BTreeMap<String, usize> =
        by_pair.iter().map(|((name, value), count)| (format!("{name}={value}"), *count)).collect();
    let data = json!({
        "headStats": {"numSeries": series.len(), "numLabelPairs": by_pair.len()},
        "seriesCountByMetricName": top(&by_metric),
        "labelValueCountByLabelName": top(&by_label),
        "memoryInBytesByLabelName": top(&bytes),
        "seriesCountByLabelValuePair": top(&pairs),
    });
    success_of(&data, &[])
}

fn top<K: AsRef<str> + Ord>(counts: &BTreeMap<K, usize>) -> Vec<serde_json::Value> {
    let mut rows: Vec<(&K, &usize)> = counts.iter().collect();
    rows.sort_by(|left, right| right.1.cmp(left.1));
    rows.into_iter().take(TOP).map(|(name, value)| json!({"name": name.as_ref(), "value": value})).collect()
}
