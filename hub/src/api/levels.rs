//! Numbers per process and per host, each from a query that anyone can repeat in Explore: how full what a process stands
//! on is, and between what its p99 usually lies.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gala_store::promql::{self, QueryValue};
use parking_lot::Mutex;

use crate::state::HubState;

/// Machine and process of a series; no process where the number is of the whole machine.
pub type ProcessKey = (String, String);

/// What is usual is read from so long a past, in steps of the rate's own window.
const PAST_MS: i64 = 6 * 3_600_000;
const STEP_MS: i64 = 300_000;
/// The last minutes are what is compared.
const GAP_MS: i64 = 900_000;
/// An hour of values makes a range.
const LEAST_POINTS: usize = 12;
/// Share of the values outside of the range at either end.
const TAIL: f64 = 0.05;
/// The range is read anew this often.
const REFRESH_MS: i64 = 600_000;

/// Shares of a host's capacity in use, 0 to 1, largest part of each kind.
pub const HOST: [(&str, &str); 4] = [
    ("cpu", "max by (machine_id) (gala_gopher_cpu_total_used_per) / 100"),
    ("memory", "max by (machine_id) (gala_gopher_mem_util) / 100"),
    ("disk", "max by (machine_id) (gala_gopher_disk_util) / 100"),
    ("network", "max by (machine_id) (gala_gopher_nic_util) / 100"),
];

/// Shares of a process's own limits in use.
const PROCESS: [(&str, &str); 4] = [
    ("open files", "1 - min by (machine_id, tgid) (gala_gopher_proc_fd_free_per) / 100"),
    ("memory limit", "max by (machine_id, tgid) (gala_gopher_proc_memory_limit_used_per) / 100"),
    ("busiest thread", "max by (machine_id, tgid) (gala_gopher_thread_cpu_util) / 100"),
    (
        "accept queue",
        "max by (machine_id, tgid) (gala_gopher_endpoint_tcp_accept_queue / (gala_gopher_endpoint_tcp_accept_queue_limit > 0))",
    ),
];

/// A single number must not hold up all that are shown with it.
const QUERY_TIMEOUT: Duration = Duration::from_secs(10);

/// Bounds of a query of the pages' own.
pub fn bounds() -> promql::Options<'static> {
    promql::Options { deadline: Some(Instant::now() + QUERY_TIMEOUT), ..promql::Options::default() }
}

/// One number per process or machine at a moment.
pub fn by_process(hub: &HubState, query: &str, at_ms: i64) -> HashMap<ProcessKey, f64> {
    let Ok(answer) = promql::instant(&*hub.store, query, at_ms, &bounds()) else { return HashMap::new() };
    let QueryValue::Vector(samples) = answer.value else { return HashMap::new() };
    samples
        .iter()
        .filter(|sample| sample.value.is_finite())
        .filter_map(|sample| Some((key_of(&sample.labels)?, sample.value)))
        .collect()
}

/// The same over time.
pub fn over_time(hub: &HubState, query: &str, from_ms: i64, to_ms: i64, step_ms: i64) -> HashMap<ProcessKey, Vec<(i64, f64)>> {
    let Ok(answer) = promql::range(&*hub.store, query, from_ms, to_ms, step_ms, &bounds()) else {
        return HashMap::new();
    };
    let QueryValue::Matrix(series) = answer.value else { return HashMap::new() };
    let points = |samples: &[gala_store::Sample]| samples.iter().map(|sample| (sample.t_ms, sample.value)).collect();
    series.iter().filter_map(|one| Some((key_of(&one.labels)?, points(&one.samples)))).collect()
}

fn key_of(labels: &gala_store::Labels) -> Option<ProcessKey> {
    Some((labels.get("machine_id")?.to_owned(), labels.get("tgid").unwrap_or("").to_owned()))
}

pub fn latency_query(quantile: &str) -> String {
    format!("histogram_quantile({quantile}, sum by (machine_id, tgid, le) (rate(gala_gopher_sli_latency_nsec[5m]))) / 1e6")
}

/// How full things are, read once for all processes.
pub struct Saturation(Vec<(&'static str, HashMap<ProcessKey, f64>)>);

impl Saturation {
    pub fn read(hub: &HubState, at_ms: i64) -> Self {
        Self(HOST.iter().chain(&PROCESS).map(|(what, query)| (*what, by_process(hub, query, at_ms))).collect())
    }

    /// The fullest thing a process stands on, as a share of what it can take.
    pub fn fullest(&self, (machine_id, tgid): &ProcessKey) -> Option<(&'static str, f64)> {
        let keys = [(machine_id.clone(), tgid.clone()), (machine_id.clone(), String::new())];
        let ratios = self.0.iter().filter_map(|(what, values)| Some((*what, *keys.iter().find_map(|key| values.get(key))?)));
        let (what, ratio) = ratios.max_by(|left, right| left.1.total_cmp(&right.1))?;
        Some((what, ratio.clamp(0.0, 1.0)))
    }
}

type Bands = Arc<HashMap<ProcessKey, (f64, f64)>>;

/// The usual ranges of p99, kept for a while: reading hours of histograms at each look would cost more than it tells.
#[derive(Default)]
pub struct UsualP99(Mutex<Option<(i64, Bands)>>);

impl UsualP99 {
    /// Milliseconds, 5th and 95th percentile of the last hours; what fell into an anomaly of the process's requests is
    /// left out. Processes with less than an hour of values are not there.
    pub fn bands(&self, hub: &HubState, now_ms: i64) -> Bands {
        let mut kept = self.0.lock();
        if let Some((_, bands)) = kept.as_ref().filter(|(read_ms, _)| (0..REFRESH_MS).contains(&(now_ms - read_ms))) {
            return bands.clone();
        }
        let to_ms = (now_ms - GAP_MS) / STEP_MS * STEP_MS;
        let mut bands = HashMap::new();
        for (key, points) in over_time(hub, &latency_query("0.99"), to_ms - PAST_MS, to_ms, STEP_MS) {
            let bad = bad_times(hub, &key);
            let is_usual = |at: i64| !bad.iter().any(|(from, to)| (*from..=to + STEP_MS).contains(&at));
            let values = points.into_iter().filter(|(at, value)| value.is_finite() && is_usual(*at)).map(|(_, value)| value);
            if let Some(band) = band_of(values.collect()) {
                bands.insert(key, band);
            }
        }
        // Hours that could not be read in time are no reason to forget what was usual before.
        let before = kept.take().map(|(_, bands)| bands).filter(|_| bands.is_empty());
        let bands = before.unwrap_or_else(|| Arc::new(bands));
        *kept = Some((now_ms, bands.clone()));
        bands
    }
}

/// Ranges by which p99 is judged, milliseconds; of a process with several kinds of requests, all that one of them holds.
pub fn judged_p99(hub: &HubState) -> HashMap<ProcessKey, (f64, f64)> {
    let mut bands: HashMap<ProcessKey, (f64, f64)> = HashMap::new();
    let Some(detector) = hub.detector_soon() else { return bands };
    for (labels, band) in detector.quantile_bands("gala_gopher_sli_latency_nsec", 99) {
        let label = |name: &str| labels.get(name).cloned().unwrap_or_default();
        let (low, high) = (band.low / 1e6, band.high / 1e6);
        let known = bands.entry((label("machine_id"), label("tgid"))).or_insert((low, high));
        *known = (known.0.min(low), known.1.max(high));
    }
    bands
}

/// When requests of a process were abnormal.
pub fn bad_times(hub: &HubState, (machine_id, tgid): &ProcessKey) -> Vec<(i64, i64)> {
    let prefix = gala_model::entity::id::escape(&format!("{machine_id}_sli_{tgid}_"));
    let log = hub.anomalies.read();
    let of_requests = log.open().chain(log.ended()).filter(|row| row.kind == "app" && row.entity_id.starts_with(&prefix));
    of_requests.map(|row| (row.first_ms, row.time_ms)).collect()
}

/// Between the 5th and the 95th percentile; nothing where too few values make no range.
pub fn band_of(mut values: Vec<f64>) -> Option<(f64, f64)> {
    if values.len() < LEAST_POINTS {
        return None;
    }
    values.sort_by(f64::total_cmp);
    let at = |share: f64| values[((values.len() - 1) as f64 * share).round() as usize];
    Some((at(TAIL), at(1.0 - TAIL)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_needs_an_hour_and_leaves_the_tails_out() {
        assert_eq!(band_of(vec![1.0; 11]), None);
        let values = (1..=41).map(f64::from).collect();
        assert_eq!(band_of(values), Some((3.0, 39.0)));
    }
}
