//! Charts of an entity: its series as a person wants to see them. Counters come as rates, histograms as quantiles,
//! gaps as null; with the normal band where it is known.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use gala_analysis::topology::history::EntityRecord;
use gala_analysis::topology::view;
use gala_model::{Bad, FieldDef, Kind, Role, Semantics, TableDef};
use gala_store::{MatchOp, Matcher, Sample, Series, SeriesRead, TimeRange};
use serde_json::{Value, json};

use super::entities::selecting_labels;
use super::error::ApiError;
use super::params::{Id, Params};
use super::topology::{resolve, stamp};
use crate::state::HubState;
use crate::vocabulary;

const MAX_SAMPLES: usize = 5_000_000;
const MAX_POINTS: i64 = 2_000;
/// Series drawn in one chart at most; the rest would not be told apart.
const MAX_SERIES_PER_CHART: usize = 12;

pub type Points = Vec<(i64, Option<f64>)>;

/// `GET /entities/{id}/metrics`
pub async fn metrics(State(hub): State<Arc<HubState>>, Id(id): Id, params: Params) -> Result<Json<Value>, ApiError> {
    params.only(&["metric", "from", "to", "step"])?;
    let to = params.millis("to")?.unwrap_or_else(gala_store::now_ms);
    let from = params.millis("from")?.unwrap_or(to - 900_000);
    if from >= to {
        return Err(ApiError::bad_request("from", "from must lie before to"));
    }
    let finest = ((to - from) / MAX_POINTS).max(1_000);
    let step = match params.count("step", 1_000..=86_400_000)? {
        Some(step) => (step as i64).max(finest),
        None => ((to - from) / 240).max(5_000),
    };
    let (worker, asked) = (hub.clone(), id.clone());
    // What is long gone still has a past.
    let snapshot = tokio::task::spawn_blocking(move || match view::resolve(&worker.snapshot(), &asked) {
        Some(_) => worker.snapshot(),
        None => worker.snapshot_at(Some(to)),
    });
    let snapshot = snapshot.await.map_err(|_| ApiError::unavailable("the query was interrupted; try again"))?;
    let id = resolve(&snapshot, &id)?;
    let record = snapshot.entities[id.as_str()].clone();
    let wanted = params.list("metric");
    if let Some(unknown) = wanted.iter().find(|metric| !vocabulary::is_metric(metric)) {
        let message = format!("{unknown:?} is no metric; `GET /api/v1/meta/types` lists them");
        return Err(ApiError::bad_request("metric", message));
    }
    let worker = hub.clone();
    let charts = tokio::task::spawn_blocking(move || charts(&worker, &record, &wanted, from, to, step));
    let items = charts.await.map_err(|_| ApiError::unavailable("the query was interrupted; try again"))??;
    let (stamp, partial) = stamp(snapshot.info);
    Ok(Json(json!({"snapshot": stamp, "partial": partial, "from": from, "to": to, "step_ms": step, "items": items})))
}

/// Charts of an entity's metrics; of all where none is named.
pub fn charts(
    hub: &HubState,
    record: &EntityRecord,
    wanted: &[String],
    from: i64,
    to: i64,
    step: i64,
) -> Result<Vec<Value>, ApiError> {
    let grid = Grid { from, to, step };
    let by_field = series_by_field(hub, record, wanted, grid)?;
    let labels = selecting_labels(record);
    let selector = labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect::<Vec<_>>().join(",");
    let mut charts: Vec<Value> =
        by_field.into_values().map(|(found, series)| chart(hub, record, found, &series, &selector, grid)).collect();
    for metric in wanted {
        charts.extend(mean_chart(hub, record, metric, &selector, grid)?);
    }
    Ok(charts)
}

/// What a chart of one metric draws first: p99 of a histogram, the rate of a counter, else the value; of several series
/// the largest at each time.
pub fn points(hub: &HubState, record: &EntityRecord, metric: &str, grid: Grid) -> Result<Points, ApiError> {
    let by_field = series_by_field(hub, record, &[metric.to_owned()], grid)?;
    let Some((found, series)) = by_field.get(metric) else { return Ok(Points::new()) };
    let lines = lines(found.field, series, grid);
    let drawn = if found.field.role == Role::Metric(Kind::Histogram) { &lines[1..] } else { &lines[..] };
    let Some((first, others)) = drawn.split_first() else { return Ok(Points::new()) };
    let largest = |index: usize, own: Option<f64>| {
        let values = others.iter().filter_map(|(_, points)| points.get(index)?.1);
        values.chain(own).reduce(f64::max)
    };
    Ok(first.1.iter().enumerate().map(|(index, (at, own))| (*at, largest(index, *own))).collect())
}

type ByField = BTreeMap<&'static str, (Found, Vec<Series>)>;

fn series_by_field(hub: &HubState, record: &EntityRecord, wanted: &[String], grid: Grid) -> Result<ByField, ApiError> {
    let prefix = format!("{}{}_", gala_model::PREFIX, record.kind.name);
    let mut matchers = vec![Matcher::new("__name__", MatchOp::Regex, format!("{prefix}.+"))?];
    matchers.extend(selecting_labels(record).iter().map(|(name, value)| Matcher::equal(name, value)));
    // One step more before the range, so that the first rate has a sample to start from.
    let range = TimeRange { from_ms: grid.from - grid.step - 60_000, to_ms: grid.to };
    let mut by_field = ByField::new();
    for series in hub.store.select(&matchers, range, MAX_SAMPLES)? {
        let Some((kind, name)) = gala_model::entity::split_metric(series.labels.metric()) else { continue };
        if kind.name != record.kind.name {
            continue;
        }
        let Some((table, field)) = vocabulary::field(kind.name, name) else { continue };
        let is_histogram = field.role == Role::Metric(Kind::Histogram);
        // Of a histogram the buckets say everything; `_sum`, `_max` and `_count` stay out of the picture.
        if is_histogram != series.labels.get("le").is_some()
            || (!wanted.is_empty() && !wanted.iter().any(|m| m == field.series.base))
        {
            continue;
        }
        by_field.entry(field.series.base).or_insert_with(|| (Found { table, field }, Vec::new())).1.push(series);
    }
    Ok(by_field)
}

#[derive(Clone, Copy)]
pub struct Found {
    table: &'static TableDef,
    field: &'static FieldDef,
}

/// The points of an answer: `from`, `from + step`, ... up to `to`.
#[derive(Clone, Copy)]
pub struct Grid {
    pub from: i64,
    pub to: i64,
    pub step: i64,
}

fn chart(hub: &HubState, record: &EntityRecord, found: Found, series: &[Series], selector: &str, grid: Grid) -> Value {
    let Found { table, field } = found;
    let name = field.series.base;
    let selected = if field.semantics == Semantics::Cumulative {
        format!("rate({name}{{{selector}}}[1m])")
    } else {
        format!("{name}{{{selector}}}")
    };
    let is_histogram = field.role == Role::Metric(Kind::Histogram);
    let is_rate = field.semantics == Semantics::Cumulative && !is_histogram;
    let query = if is_histogram { format!("histogram_quantile(0.99, sum by (le) ({selected}))") } else { selected };
    let lines = lines(field, series, grid);
    let bad = match field.bad {
        Bad::Up => "up",
        Bad::Down => "down",
        Bad::Both => "both",
        Bad::Never => "never",
    };
    let band =
        series.first().filter(|_| field.semantics != Semantics::Cumulative).and_then(|one| hub.detector.lock().band(&one.labels));
    let open = hub.anomalies.read().of(&record.id, name).cloned();
    json!({
        "metric": name,
        "table": table.name,
        "help": field.help,
        "unit": if is_rate { format!("{}/s", field.unit) } else { field.unit.to_owned() },
        "query": query,
        "bad": bad,
        "series": lines.into_iter().map(|(label, points)| json!({"label": label, "points": points})).collect::<Vec<_>>(),
        "normal": band.map(|band| json!({"lo": band.low, "hi": band.high})),
        "onset_ms": open.as_ref().map(|row| row.first_ms),
        "state": match open { None if band.is_none() => "na", None => "ok", Some(row) if row.kind == "app" => "crit", Some(_) => "warn" },
    })
}

/// Chart of a mean that is no field itself but has sum and count: time per request rather than time per second.
fn mean_chart(
    hub: &HubState,
    record: &EntityRecord,
    metric: &str,
    selector: &str,
    grid: Grid,
) -> Result<Option<Value>, ApiError> {
    let name = gala_model::entity::split_metric(metric).filter(|(kind, _)| kind.name == record.kind.name).map(|(_, name)| name);
    let Some(((table, sum), (_, count))) = name.and_then(|name| vocabulary::mean(record.kind.name, name)) else {
        return Ok(None);
    };
    let parts = series_by_field(hub, record, &[sum.series.base.to_owned(), count.series.base.to_owned()], grid)?;
    let total = |field: &FieldDef| -> BTreeMap<i64, f64> {
        let mut total = BTreeMap::new();
        let series = parts.get(field.series.base).map_or(&[][..], |(_, series)| series.as_slice());
        let rates = series.iter().flat_map(|one| rate_points(&one.samples, grid));
        rates.for_each(|(at, rate)| *total.entry(at).or_default() += rate.unwrap_or(0.0));
        total
    };
    let (sums, counts) = (total(sum), total(count));
    let points: Points =
        counts.iter().map(|(at, count)| (*at, sums.get(at).filter(|_| *count > 0.0).map(|sum| sum / count))).collect();
    let rate = |field: &FieldDef| format!("sum(rate({}{{{selector}}}[1m]))", field.series.base);
    let bad = if sum.bad == Bad::Up { "up" } else { "never" };
    Ok(Some(json!({
        "metric": metric, "table": table.name, "help": sum.help, "unit": sum.unit,
        "query": format!("{} / {}", rate(sum), rate(count)),
        "bad": bad, "series": [{"label": "", "points": points}], "normal": null, "onset_ms": null, "state": "na",
    })))
}

/// Labelled lines of one metric: p50 and p99 of a histogram, else a line per series.
fn lines(field: &FieldDef, series: &[Series], grid: Grid) -> Vec<(String, Points)> {
    match field.role {
        Role::Metric(Kind::Histogram) => quantile_lines(series, field.semantics, grid),
        _ => plain_lines(series, field.semantics == Semantics::Cumulative, grid),
    }
}

fn plain_lines(series: &[Series], rate: bool, grid: Grid) -> Vec<(String, Points)> {
    let several = series.len() > 1;
    series
        .iter()
        .take(MAX_SERIES_PER_CHART)
        .map(|one| {
            let label = if several { distinguishing_label(one, series) } else { String::new() };
            (label, if rate { rate_points(&one.samples, grid) } else { last_points(&one.samples, grid) })
        })
        .collect()
}

/// The labels in which the series of a chart differ.
fn distinguishing_label(one: &Series, all: &[Series]) -> String {
    let differs = |name: &str, value: &str| all.iter().any(|other| other.labels.get(name) != Some(value));
    let parts: Vec<&str> = one.labels.iter().filter(|(name, value)| differs(name, value)).map(|(_, value)| value).collect();
    parts.join(" ")
}

/// Newest sample of each step; null where there is none.
fn last_points(samples: &[Sample], grid: Grid) -> Points {
    let mut points = Points::new();
    let mut index = 0;
    let mut at = grid.from;
    while at <= grid.to {
        let mut value = None;
        while index < samples.len() && samples[index].t_ms <= at {
            if samples[index].t_ms > at - grid.step.max(10_000) && samples[index].value.is_finite() {
                value = Some(samples[index].value);
            }
            index += 1;
        }
        points.push((at, value));
        at += grid.step;
    }
    points
}

/// Increase per second in each step; a counter that fell was reset and counts from zero.
fn rate_points(samples: &[Sample], grid: Grid) -> Points {
    let mut points = Points::new();
    let mut at = grid.from;
    while at <= grid.to {
        let start = samples.partition_point(|sample| sample.t_ms <= at - grid.step.max(10_000));
        let end = samples.partition_point(|sample| sample.t_ms <= at);
        let window = &samples[start.saturating_sub(1).min(end)..end];
        let value = match (window.first(), window.last()) {
            (Some(first), Some(last)) if last.t_ms > first.t_ms && at - last.t_ms < grid.step.max(15_000) => {
                let increase: f64 = window
                    .windows(2)
                    .map(|pair| if pair[1].value < pair[0].value { pair[1].value } else { pair[1].value - pair[0].value })
                    .sum();
                Some(increase / ((last.t_ms - first.t_ms) as f64 / 1000.0))
            }
            _ => None,
        };
        points.push((at, value));
        at += grid.step;
    }
    points
}

/// p50 and p99 per step from the bucket series.
fn quantile_lines(series: &[Series], semantics: Semantics, grid: Grid) -> Vec<(String, Points)> {
    let mut buckets: BTreeMap<u64, (f64, Vec<Points>)> = BTreeMap::new();
    for one in series {
        let Some(edge) = one.labels.get("le").and_then(|le| if le == "+Inf" { Some(f64::INFINITY) } else { le.parse().ok() })
        else {
            continue;
        };
        let points =
            if semantics == Semantics::Cumulative { rate_points(&one.samples, grid) } else { last_points(&one.samples, grid) };
        // Non-negative floats order like their bits.
        buckets.entry(edge.to_bits()).or_insert_with(|| (edge, Vec::new())).1.push(points);
    }
    let count = buckets.values().next().map_or(0, |(_, lines)| lines.first().map_or(0, Vec::len));
    let mut lines = vec![("p50".to_owned(), Points::new()), ("p99".to_owned(), Points::new())];
    for index in 0..count {
        let at = grid.from + index as i64 * grid.step;
        let cumulative: Vec<(f64, f64)> =
            buckets.values().map(|(edge, lines)| (*edge, lines.iter().filter_map(|points| points[index].1).sum())).collect();
        lines[0].1.push((at, bucket_quantile(0.5, &cumulative)));
        lines[1].1.push((at, bucket_quantile(0.99, &cumulative)));
    }
    lines
}

/// Linear interpolation inside the bucket, as Prometheus does it; the open bucket answers the last edge.
fn bucket_quantile(quantile: f64, cumulative: &[(f64, f64)]) -> Option<f64> {
    let total = cumulative.last()?.1;
    if total <= 0.0 {
        return None;
    }
    let rank = quantile * total;
    let index = cumulative.iter().position(|(_, count)| *count >= rank)?;
    let (low, below) = if index == 0 { (0.0, 0.0) } else { cumulative[index - 1] };
    let (high, count) = cumulative[index];
    if high.is_infinite() || count <= below {
        return Some(low);
    }
    Some(low + (high - low) * (rank - below) / (count - below))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRID: Grid = Grid { from: 0, to: 40_000, step: 10_000 };

    fn samples(pairs: &[(i64, f64)]) -> Vec<Sample> {
        pairs.iter().map(|(t_ms, value)| Sample { t_ms: *t_ms, value: *value }).collect()
    }

    #[test]
    fn a_gap_is_null_and_not_zero() {
        let points = last_points(&samples(&[(0, 1.0), (10_000, 2.0), (40_000, 5.0)]), GRID);
        assert_eq!(points.iter().map(|point| point.1).collect::<Vec<_>>(), [Some(1.0), Some(2.0), None, None, Some(5.0)]);
    }

    #[test]
    fn a_reset_counter_does_not_go_backwards() {
        let points = rate_points(&samples(&[(0, 100.0), (10_000, 200.0), (20_000, 50.0), (30_000, 60.0)]), GRID);
        let rates: Vec<f64> = points.iter().filter_map(|point| point.1).collect();
        assert!(rates.iter().all(|rate| *rate >= 0.0), "{rates:?}");
        assert_eq!(points[1].1, Some(10.0));
        assert_eq!(points[2].1, Some(5.0));
    }

    #[test]
    fn quantiles_interpolate_and_the_open_bucket_answers_the_last_edge() {
        let cumulative = [(10.0, 50.0), (20.0, 100.0), (f64::INFINITY, 100.0)];
        assert_eq!(bucket_quantile(0.5, &cumulative), Some(10.0));
        assert_eq!(bucket_quantile(0.75, &cumulative), Some(15.0));
        assert_eq!(bucket_quantile(0.9, &[(10.0, 1.0), (f64::INFINITY, 10.0)]), Some(10.0));
        assert_eq!(bucket_quantile(0.9, &[(10.0, 0.0)]), None);
    }
}
