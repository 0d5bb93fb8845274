//! Charts of an entity: its series as a person wants to see them. Counters come as rates, histograms as quantiles,
//! gaps as null; with the normal band where it is known.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use gala_analysis::incident::Source;
use gala_analysis::topology::history::EntityRecord;
use gala_analysis::topology::view;
use gala_model::{Bad, FieldDef, Kind, Role, Semantics, TableDef};
use gala_store::{MatchOp, Matcher, Series, SeriesRead, TimeRange};
use serde_json::{Value, json};

use super::entities::selecting_labels;
use super::error::ApiError;
use super::grid::{Grid, Points, last_points, mean_points, quantile_points, rate_points};
use super::levels;
use super::params::{Id, Params};
use super::topology::{resolve, stamp};
use super::written::Written;
use crate::state::HubState;
use crate::vocabulary;

const MAX_SAMPLES: usize = 5_000_000;
const MAX_POINTS: i64 = 2_000;
/// Series drawn in one chart at most; the rest would not be told apart.
const MAX_SERIES_PER_CHART: usize = 12;
/// Lines of a histogram besides its mean; requests are judged by all but the first.
const QUANTILES: [(&str, u8); 3] = [("p50", 50), ("p90", 90), (MAIN_QUANTILE, 99)];
/// The line that stands for a histogram.
const MAIN_QUANTILE: &str = "p99";
/// What is usual of a mean is read from so long before the chart.
const PAST_MS: i64 = 3_600_000;
const PAST_STEP_MS: i64 = 60_000;

/// `GET /entities/{id}/metrics`
pub async fn metrics(State(hub): State<Arc<HubState>>, Id(id): Id, params: Params) -> Result<Written, ApiError> {
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
    let worker = hub.clone();
    let answer = Written::by(&hub.pages, move || {
        // What is long gone still has a past.
        let snapshot = match view::resolve(&worker.snapshot(), &id) {
            Some(_) => worker.snapshot(),
            None => worker.snapshot_at(Some(to)),
        };
        let id = resolve(&snapshot, &id)?;
        let record = &snapshot.entities[id.as_str()];
        let wanted = params.list("metric");
        if let Some(unknown) = wanted.iter().find(|metric| !vocabulary::is_metric(metric)) {
            let message = format!("{unknown:?} is no metric; `GET /api/v1/meta/types` lists them");
            return Err(ApiError::bad_request("metric", message));
        }
        let items = charts(&worker, record, &wanted, from, to, step)?;
        let (stamp, partial) = stamp(snapshot.info);
        Ok(json!({"snapshot": stamp, "partial": partial, "from": from, "to": to, "step_ms": step, "items": items}))
    });
    answer.await
}

/// Charts of an entity's metrics; of all where none is named, and then a sum and its count are one chart of their mean.
pub fn charts(
    hub: &HubState,
    record: &EntityRecord,
    wanted: &[String],
    from: i64,
    to: i64,
    step: i64,
) -> Result<Vec<Value>, ApiError> {
    let grid = Grid { from, to, step };
    let mut by_field = series_by_field(hub, record, wanted, grid)?;
    let labels = selecting_labels(record);
    let selector = labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect::<Vec<_>>().join(",");
    let mut means = wanted.to_vec();
    if wanted.is_empty() {
        let bases: Vec<&str> = by_field.keys().filter_map(|name| name.strip_suffix("_sum")).collect();
        let is_pair = |base: &str| !by_field.contains_key(base) && by_field.contains_key(format!("{base}_count").as_str());
        means = bases.into_iter().filter(|base| is_pair(base)).map(str::to_owned).collect();
        by_field.retain(|name, _| {
            let base = name.strip_suffix("_sum").or_else(|| name.strip_suffix("_count"));
            base.is_none_or(|base| !means.iter().any(|mean| mean == base))
        });
    }
    let past = Past::before(hub, record, grid);
    let usual = usual_rates(hub, record, &by_field, &past)?;
    let chart = |drawn: &Drawn| chart(hub, record, drawn, usual.get(drawn.field.series.base).copied(), &selector, grid);
    let mut charts: Vec<Value> = by_field.values().map(chart).collect();
    for metric in &means {
        charts.extend(mean_chart(hub, record, metric, &past, &selector, grid)?);
    }
    Ok(charts)
}

/// What a chart of one metric draws first: p99 of a histogram, the rate of a counter, else the value; of several series
/// the largest at each time.
pub fn points(hub: &HubState, record: &EntityRecord, metric: &str, grid: Grid) -> Result<Points, ApiError> {
    let by_field = series_by_field(hub, record, &[metric.to_owned()], grid)?;
    let Some(drawn) = by_field.get(metric) else { return Ok(Points::new()) };
    let mut lines = lines(hub, drawn, grid);
    if drawn.is_histogram() {
        lines.retain(|line| line.label == MAIN_QUANTILE);
    }
    let Some((first, others)) = lines.split_first() else { return Ok(Points::new()) };
    let largest = |index: usize, own: Option<f64>| {
        let values = others.iter().filter_map(|line| line.points.get(index)?.1);
        values.chain(own).reduce(f64::max)
    };
    Ok(first.points.iter().enumerate().map(|(index, (at, own))| (*at, largest(index, *own))).collect())
}

type ByField = BTreeMap<&'static str, Drawn>;

fn series_by_field(hub: &HubState, record: &EntityRecord, wanted: &[String], grid: Grid) -> Result<ByField, ApiError> {
    let Some(pattern) = name_pattern(record.kind.name, wanted) else { return Ok(ByField::new()) };
    let mut matchers = vec![Matcher::new("__name__", MatchOp::Regex, pattern)?];
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
        // The count of a histogram may be a field of its own.
        if !wanted.is_empty() && !wanted.iter().any(|metric| metric == field.series.base) {
            continue;
        }
        let drawn = by_field.entry(field.series.base).or_insert_with(|| Drawn::new(table, field));
        drawn.add(series);
    }
    by_field.retain(|_, drawn| !drawn.series.is_empty());
    Ok(by_field)
}

/// What the names of the series to be read match: all of the entity's type, or those of the fields that are wanted, a
/// histogram's sums and counts included; `None` where no field is among them.
fn name_pattern(kind: &str, wanted: &[String]) -> Option<String> {
    if wanted.is_empty() {
        return Some(format!("{}{kind}_.+", gala_model::PREFIX));
    }
    let mut names = Vec::new();
    for metric in wanted {
        let Some((_, field)) = gala_model::entity::split_metric(metric)
            .filter(|(found, _)| found.name == kind)
            .and_then(|(_, name)| vocabulary::field(kind, name))
            .filter(|(_, field)| field.series.base == metric)
        else {
            continue;
        };
        names.push(field.series.base);
        if field.role == Role::Metric(Kind::Histogram) {
            names.extend([field.series.sum, field.series.count]);
        }
    }
    (!names.is_empty()).then(|| names.join("|"))
}

/// A metric with its series.
struct Drawn {
    table: &'static TableDef,
    field: &'static FieldDef,
    /// The metric's own series; of a histogram its buckets.
    series: Vec<Series>,
    /// Of a histogram, for its mean.
    sums: Vec<Series>,
    counts: Vec<Series>,
}

impl Drawn {
    const fn new(table: &'static TableDef, field: &'static FieldDef) -> Self {
        Self { table, field, series: Vec::new(), sums: Vec::new(), counts: Vec::new() }
    }

    fn is_histogram(&self) -> bool {
        self.field.role == Role::Metric(Kind::Histogram)
    }

    fn is_counter(&self) -> bool {
        self.field.semantics == Semantics::Cumulative
    }

    fn add(&mut self, series: Series) {
        let metric = series.labels.metric();
        match (self.is_histogram(), series.labels.get("le").is_some()) {
            (false, false) | (true, true) => self.series.push(series),
            (true, false) if metric == self.field.series.sum => self.sums.push(series),
            (true, false) if metric == self.field.series.count => self.counts.push(series),
            _ => {}
        }
    }
}

/// The hour before a chart, for numbers that nothing judges: between what they lay.
struct Past {
    grid: Grid,
    /// When requests of the process were abnormal.
    bad_times: Vec<(i64, i64)>,
}

impl Past {
    fn before(hub: &HubState, record: &EntityRecord, grid: Grid) -> Self {
        let process = (record.machine_id.to_string(), record.labels.get("tgid").map_or("", |tgid| tgid).to_owned());
        let grid = Grid { from: grid.from - PAST_MS, to: grid.from, step: PAST_STEP_MS };
        Self { grid, bad_times: levels::bad_times(hub, &process) }
    }

    fn range_of(&self, points: Points) -> Option<(f64, f64)> {
        let is_usual = |at: i64| !self.bad_times.iter().any(|(from, to)| (*from..=to + PAST_STEP_MS).contains(&at));
        levels::band_of(points.into_iter().filter(|(at, _)| is_usual(*at)).filter_map(|(_, value)| value).collect())
    }
}

/// Usual rates of counters that are no KPI by themselves, such as requests.
fn usual_rates(
    hub: &HubState,
    record: &EntityRecord,
    by_field: &ByField,
    past: &Past,
) -> Result<BTreeMap<&'static str, (f64, f64)>, ApiError> {
    let is_open = |drawn: &&Drawn| drawn.is_counter() && !drawn.is_histogram() && drawn.series.len() == 1;
    let judged = |drawn: &&Drawn| usual(hub, drawn.series.first(), is_number).is_some();
    let open = by_field.values().filter(is_open).filter(|drawn| !judged(drawn));
    let names: Vec<String> = open.map(|drawn| drawn.field.series.base.to_owned()).collect();
    if names.is_empty() {
        return Ok(BTreeMap::new());
    }
    let read = series_by_field(hub, record, &names, past.grid)?;
    let range = |drawn: &Drawn| past.range_of(rate_points(&drawn.series.first()?.samples, past.grid));
    Ok(read.iter().filter_map(|(name, drawn)| Some((*name, range(drawn)?))).collect())
}

fn chart(hub: &HubState, record: &EntityRecord, drawn: &Drawn, usual: Option<(f64, f64)>, selector: &str, grid: Grid) -> Value {
    let Drawn { table, field, .. } = drawn;
    let name = field.series.base;
    let selected = if drawn.is_counter() { format!("rate({name}{{{selector}}}[1m])") } else { format!("{name}{{{selector}}}") };
    let is_rate = drawn.is_counter() && !drawn.is_histogram();
    let query = if drawn.is_histogram() { format!("histogram_quantile(0.99, sum by (le) ({selected}))") } else { selected };
    let lines = lines(hub, drawn, grid);
    let bad = match field.bad {
        Bad::Up => "up",
        Bad::Down => "down",
        Bad::Both => "both",
        Bad::Never => "never",
    };
    let main = lines.iter().find(|line| line.label == MAIN_QUANTILE).or_else(|| lines.first());
    let judged = main.and_then(|line| line.normal);
    let open = hub.anomalies.read().of(&record.id, name).cloned();
    json!({
        "metric": name,
        "table": table.name,
        "help": field.help,
        "unit": if is_rate { format!("{}/s", field.unit) } else { field.unit.to_owned() },
        "query": query,
        "bad": bad,
        "series": lines.iter().map(Line::answer).collect::<Vec<_>>(),
        "normal": judged.or(usual).map(range),
        "onset_ms": open.as_ref().map(|row| row.first_ms),
        "state": match &open { Some(row) => row.signal_state(), None if judged.is_none() => "na", None => "ok" },
    })
}

/// Chart of a mean that is no field itself but has sum and count: time per request rather than time per second. Nothing
/// judges it; between what it lay in the hour before the chart is told all the same.
fn mean_chart(
    hub: &HubState,
    record: &EntityRecord,
    metric: &str,
    past: &Past,
    selector: &str,
    grid: Grid,
) -> Result<Option<Value>, ApiError> {
    let name = gala_model::entity::split_metric(metric).filter(|(kind, _)| kind.name == record.kind.name).map(|(_, name)| name);
    let Some(((table, sum), (_, count))) = name.and_then(|name| vocabulary::mean(record.kind.name, name)) else {
        return Ok(None);
    };
    let names = [sum.series.base.to_owned(), count.series.base.to_owned()];
    let read = |grid: Grid| -> Result<Points, ApiError> {
        let parts = series_by_field(hub, record, &names, grid)?;
        let series = |field: &FieldDef| parts.get(field.series.base).map_or(&[][..], |drawn| drawn.series.as_slice());
        Ok(mean_points(series(sum), series(count), sum.semantics == Semantics::Cumulative, grid))
    };
    let line = Line { label: String::new(), points: read(grid)?, normal: None };
    let usual = past.range_of(read(past.grid)?);
    let rate = |field: &FieldDef| format!("sum(rate({}{{{selector}}}[1m]))", field.series.base);
    let bad = if sum.bad == Bad::Up { "up" } else { "never" };
    Ok(Some(json!({
        "metric": metric, "table": table.name, "help": sum.help, "unit": sum.unit,
        "query": format!("{} / {}", rate(sum), rate(count)),
        "bad": bad, "series": [line.answer()], "normal": usual.map(range), "onset_ms": null, "state": "na",
    })))
}

/// One line of a chart.
struct Line {
    label: String,
    points: Points,
    normal: Option<(f64, f64)>,
}

impl Line {
    fn answer(&self) -> Value {
        json!({"label": self.label, "points": self.points, "normal": self.normal.map(range)})
    }
}

fn range((low, high): (f64, f64)) -> Value {
    json!({"lo": low, "hi": high})
}

/// Lines of one metric: quantiles and mean of a histogram, else one per series; each with its usual range.
fn lines(hub: &HubState, drawn: &Drawn, grid: Grid) -> Vec<Line> {
    if drawn.is_histogram() { histogram_lines(hub, drawn, grid) } else { plain_lines(hub, drawn, grid) }
}

/// Usual range of what comes out of a series in one way.
fn usual(hub: &HubState, series: Option<&Series>, is_it: impl Fn(&Source) -> bool) -> Option<(f64, f64)> {
    let bands = hub.detector_soon()?.bands(&series?.labels);
    bands.into_iter().find(|(source, _)| is_it(source)).map(|(_, band)| (band.low, band.high))
}

const fn is_number(source: &Source) -> bool {
    matches!(source, Source::Number { .. })
}

fn histogram_lines(hub: &HubState, drawn: &Drawn, grid: Grid) -> Vec<Line> {
    let shares = QUANTILES.map(|(_, percent)| f64::from(percent) / 100.0);
    let points = quantile_points(&drawn.series, drawn.is_counter(), &shares, grid);
    let quantiles = QUANTILES.iter().zip(points).map(|((label, wanted), points)| {
        let is_it = |source: &Source| matches!(source, Source::Quantile { percent, .. } if percent == wanted);
        Line { label: (*label).to_owned(), points, normal: usual(hub, drawn.series.first(), is_it) }
    });
    let mean = (!drawn.sums.is_empty()).then(|| Line {
        label: "mean".to_owned(),
        points: mean_points(&drawn.sums, &drawn.counts, drawn.is_counter(), grid),
        normal: usual(hub, drawn.sums.first(), |source| matches!(source, Source::Mean { .. })),
    });
    quantiles.chain(mean).collect()
}

fn plain_lines(hub: &HubState, drawn: &Drawn, grid: Grid) -> Vec<Line> {
    let series = &drawn.series;
    let line = |one: &Series| Line {
        label: if series.len() > 1 { distinguishing_label(one, series) } else { String::new() },
        points: if drawn.is_counter() { rate_points(&one.samples, grid) } else { last_points(&one.samples, grid) },
        normal: usual(hub, Some(one), is_number),
    };
    series.iter().take(MAX_SERIES_PER_CHART).map(line).collect()
}

/// The labels in which the series of a chart differ.
fn distinguishing_label(one: &Series, all: &[Series]) -> String {
    let differs = |name: &str, value: &str| all.iter().any(|other| other.labels.get(name) != Some(value));
    let parts: Vec<&str> = one.labels.iter().filter(|(name, value)| differs(name, value)).map(|(_, value)| value).collect();
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(kind: &str, wanted: &[&str]) -> Option<String> {
        name_pattern(kind, &wanted.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn only_series_of_wanted_fields_are_read() {
        let metric = |kind: &str, name: &str| format!("{}{kind}_{name}", gala_model::PREFIX);
        assert_eq!(pattern("proc", &[]), Some(metric("proc", ".+")));
        for table in gala_model::tables::all() {
            for field in table.metrics() {
                let base = field.series.base;
                let read = pattern(table.entity, &[base]).unwrap();
                let names: Vec<&str> = read.split('|').collect();
                let is_histogram = field.role == Role::Metric(Kind::Histogram);
                let all = [base, field.series.sum, field.series.count];
                assert_eq!(names, if is_histogram { &all[..] } else { &all[..1] });
            }
        }
        assert_eq!(pattern("proc", &[&metric("proc", "nothing"), &metric("disk", "rspeed")]), None, "no field of the type");
    }
}
