//! Whether a class of observations is abnormal on an entity: each series against the range of its own windows.

use std::collections::BTreeMap;

use gala_model::entity::{entity_type, id};
use gala_model::{PREFIX, Semantics};
use gala_store::Labels;

use super::explain::HIDDEN_METRIC;
use super::params::CoreParams;
use super::rules::{ClassRule, Direction, Measure, MetricRule};
use super::series::{Filter, Grid, Reader, Row, semantics};
use super::stats::{co_moments, finite_count, median, nats, own_null, quantile, sustained};

/// Least samples before the onset for a range of its own.
const LEAST_BASELINE: usize = 12;

/// What is used up left its range so many times, at least, however slowly it filled.
const USED_UP: f64 = 8.0;

/// Process id of those that ended before they could be told apart.
const ENDED: &str = "0";
/// What happens at a moment is seen for so long after it.
const LASTS_MS: i64 = 30_000;

/// One metric of one entity, judged.
#[derive(Clone, Debug)]
pub struct Observation {
    /// Index into the class's metrics.
    pub metric: usize,
    pub metric_id: String,
    pub unit: &'static str,
    pub before: f64,
    pub after: f64,
    /// Time over which what `before` and `after` tell was counted; `None` of a state, a mean, a share or the longest of many.
    pub counted_ms: Option<i64>,
    /// In the bad direction.
    pub deviation: f64,
    pub ratio: f64,
    pub nats: f64,
    /// When it left its usual level; `None` if it did not.
    pub onset_ms: Option<i64>,
    /// Correlation with the symptom around the onset.
    pub rho: f64,
}

/// A class on one entity.
#[derive(Clone, Debug)]
pub struct Judged {
    pub entity_id: String,
    pub entity_type: &'static str,
    pub labels: BTreeMap<String, String>,
    /// Strongest first; never empty.
    pub observations: Vec<Observation>,
}

impl Judged {
    pub fn best(&self) -> &Observation {
        &self.observations[0]
    }

    pub fn is_abnormal(&self) -> bool {
        self.best().ratio >= 1.0
    }

    /// The program that a host stands for, where its processes ended before they could be told apart.
    pub fn program(&self) -> Option<&str> {
        self.labels.get("by_comm").filter(|_| self.entity_type == "host").map(String::as_str)
    }

    /// What tells it from others of its class.
    pub fn key(&self) -> String {
        self.program().map_or_else(|| self.entity_id.clone(), |program| format!("{} {program}", self.entity_id))
    }

    /// Rise of time lost, where a metric of the class counts it.
    pub fn lost_time(&self, class: &ClassRule) -> Option<f64> {
        self.observations
            .iter()
            .filter(|observation| class.metrics[observation.metric].time)
            .map(|observation| observation.deviation.max(0.0) * if observation.unit == "s" { 1e9 } else { 1.0 })
            .reduce(f64::max)
    }
}

/// What all judgements share.
pub struct Context<'a> {
    pub params: &'a CoreParams,
    pub grid: Grid,
    /// The symptom on the grid, bad direction up; empty while it is judged itself.
    pub symptom: Vec<f64>,
}

/// Which series are one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grouping {
    /// Each is.
    Each,
    /// Those of a process: all connections of a service are one service.
    Process,
    /// All: processes of one program that come and go.
    Together,
}

impl Grouping {
    pub fn of(class: &ClassRule) -> Self {
        if class.of_process { Self::Process } else { Self::Each }
    }
}

/// Series of one number, keyed by what they describe.
struct Measured {
    entity_type: &'static str,
    labels: Labels,
    values: Vec<f64>,
}

/// Judges a class on every entity the filter and `keep` let through; ordered by entity id.
pub fn judge(
    class: &ClassRule,
    reader: &mut Reader<'_>,
    filter: &Filter,
    context: &Context<'_>,
    keep: &dyn Fn(&Labels) -> bool,
    grouping: Grouping,
) -> Vec<Judged> {
    let mut found: BTreeMap<String, Judged> = BTreeMap::new();
    for (index, metric) in class.metrics.iter().enumerate() {
        for measured in measure(metric, grouping, reader, filter, keep) {
            let Some(observation) = observe(index, metric, &measured.values, context) else { continue };
            let kind = entity_type(measured.entity_type).unwrap_or(&gala_model::entity::TYPES[0]);
            let (entity_id, entity_type, key) = match program(metric, &measured.labels) {
                Some(program) => (format!("{}_host", reader.machine_id), "host", format!("program {program}")),
                None => {
                    let own = id::external(&reader.machine_id, kind, |key| measured.labels.get(key).or(optional_key(key)));
                    let Some(entity_id) = own else { continue };
                    let service = measured
                        .labels
                        .get("tgid")
                        .filter(|_| grouping == Grouping::Process)
                        .map(|tgid| format!("service {tgid}"));
                    let key =
                        service.unwrap_or_else(|| if grouping == Grouping::Together { String::new() } else { entity_id.clone() });
                    (entity_id, kind.name, key)
                }
            };
            found
                .entry(key)
                .or_insert_with(|| Judged {
                    entity_id,
                    entity_type,
                    labels: measured
                        .labels
                        .iter()
                        .filter(|(name, _)| *name != "__name__")
                        .map(|(name, value)| (name.to_owned(), value.to_owned()))
                        .collect(),
                    observations: Vec::new(),
                })
                .observations
                .push(observation);
        }
    }
    let mut judged: Vec<Judged> = found.into_values().collect();
    for one in &mut judged {
        one.observations.sort_by(|left, right| {
            right.nats.total_cmp(&left.nats).then(right.ratio.total_cmp(&left.ratio)).then(left.metric.cmp(&right.metric))
        });
    }
    judged
}

/// The program that did it, where its processes have ended and only their name was kept: nothing of them is left to look
/// at, so their host stands for them.
fn program<'a>(rule: &MetricRule, labels: &'a Labels) -> Option<&'a str> {
    let (subject, name) = rule.subject.as_ref().zip(rule.subject_name.as_ref())?;
    (labels.get(subject) == Some(ENDED)).then(|| labels.get(name).unwrap_or(""))
}

/// Keys that a series may lack without losing its entity.
fn optional_key(key: &str) -> Option<&'static str> {
    matches!(key, "ins_id" | "method" | "app" | "client_port" | "comm" | "protocol").then_some("0")
}

/// Series of a metric rule as numbers on the grid.
fn measure(
    rule: &MetricRule,
    grouping: Grouping,
    reader: &mut Reader<'_>,
    filter: &Filter,
    keep: &dyn Fn(&Labels) -> bool,
) -> Vec<Measured> {
    let Some(kind) = entity_type(&rule.entity) else { return Vec::new() };
    if let Some(event) = &rule.event {
        let rows = reader.event_rows(event, filter).into_iter().filter(|row| keep(&row.labels));
        return rows.map(|row| Measured { entity_type: kind.name, labels: row.labels, values: row.values }).collect();
    }
    let base = format!("{PREFIX}{}_{}", rule.entity, rule.field);
    let (over, under) = match (rule.measure, &rule.per) {
        (Measure::Mean, _) => (format!("{base}_sum"), Some(format!("{base}_count"))),
        (Measure::Count, _) => (format!("{base}_count"), None),
        (Measure::Value, Some(per)) => (base.clone(), Some(format!("{PREFIX}{}_{per}", rule.entity))),
        (Measure::Value, None) => (base.clone(), None),
    };
    // Types without a process are few; a filter by process or port would hide them.
    let filter = if kind.has_tgid() { filter.clone() } else { Filter::Machine };
    let over = grouped(
        &reader.rows(&over, &filter),
        grouping,
        keep,
        under.is_some() || rule.measure == Measure::Count || semantics(&base).0 == Semantics::Cumulative,
    );
    let over = without_parts(over, rule, grouping, reader, &filter, keep);
    let rows = match under {
        None => over,
        Some(under) => {
            let under = grouped(&reader.rows(&under, &filter), grouping, keep, true);
            over.into_iter()
                .filter_map(|(key, (labels, sums))| {
                    let (_, counts) = under.get(&key)?;
                    let values =
                        sums.iter().zip(counts).map(|(sum, count)| if *count > 0.0 { sum / count } else { f64::NAN }).collect();
                    Some((key, (labels, values)))
                })
                .collect()
        }
    };
    rows.into_values()
        .map(|(labels, mut values)| {
            let labels = about_subject(rule, labels);
            if rule.absent_is_zero {
                // Who took nothing from a waiting process is not listed with it.
                let all = values.len();
                let first = values.iter().position(|value| value.is_finite()).unwrap_or(0);
                let until = if rule.subject.is_some() { all } else { first };
                values[..until].iter_mut().filter(|value| !value.is_finite()).for_each(|value| *value = 0.0);
            }
            if rule.momentary {
                values = lasting(&values, (LASTS_MS / reader.grid.step_ms).max(1) as usize);
            }
            if rule.direction == Direction::Down {
                values.iter_mut().for_each(|value| *value = -*value);
            }
            Measured { entity_type: kind.name, labels, values }
        })
        .collect()
}

/// Each slot with the most of the `slots` up to it; a gap had none.
fn lasting(values: &[f64], slots: usize) -> Vec<f64> {
    let most = |at: usize| values[(at + 1).saturating_sub(slots)..=at].iter().copied().filter(|value| value.is_finite());
    (0..values.len()).map(|at| most(at).fold(0.0, f64::max)).collect()
}

/// What is left of each number without the parts that other classes tell of. Where a part is not measured that must be, the
/// number says nothing of its own.
fn without_parts(
    mut over: Grouped,
    rule: &MetricRule,
    grouping: Grouping,
    reader: &mut Reader<'_>,
    filter: &Filter,
    keep: &dyn Fn(&Labels) -> bool,
) -> Grouped {
    let suffix = if rule.measure == Measure::Mean { "_sum" } else { "" };
    let keys = entity_type(&rule.entity).map_or(&[][..], |kind| kind.keys);
    // Parts may come from other tables, with other labels.
    let entity = |labels: &Labels| -> Vec<String> {
        let own: &[&str] = match grouping {
            Grouping::Each => keys,
            Grouping::Process => &["tgid"],
            Grouping::Together => &[],
        };
        own.iter().map(|key| labels.get(key).unwrap_or("").to_owned()).collect()
    };
    for (part, may_lack) in rule.parts() {
        let rows = reader.rows(&format!("{PREFIX}{}_{part}{suffix}", rule.entity), filter);
        let mut parts: BTreeMap<Vec<String>, Vec<f64>> = BTreeMap::new();
        for (_, (labels, values)) in grouped(&rows, grouping, keep, true) {
            parts.entry(entity(&labels)).and_modify(|sum| add_up(sum, &values, true)).or_insert(values);
        }
        over.retain(|_, (labels, _)| may_lack || parts.contains_key(&entity(labels)));
        for (labels, values) in over.values_mut() {
            let Some(part) = parts.get(&entity(labels)) else { continue };
            for (value, part) in values.iter_mut().zip(part) {
                let part = if may_lack && !part.is_finite() { 0.0 } else { *part };
                let rest = *value - part;
                *value = if rest < 0.0 { 0.0 } else { rest };
            }
        }
    }
    over
}

/// The labels of the process a row is about, where that is another than the one that measured it.
fn about_subject(rule: &MetricRule, labels: Labels) -> Labels {
    let Some(subject) = rule.subject.as_ref().and_then(|label| labels.get(label)) else { return labels };
    if program(rule, &labels).is_some() {
        let label = |wanted: &Option<String>, name: &str| wanted.as_deref() == Some(name);
        let about = |name: &str| name == "machine_id" || label(&rule.subject, name) || label(&rule.subject_name, name);
        let kept = labels.iter().filter(|(name, _)| about(name));
        return Labels::new(kept.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
    let name = rule.subject_name.as_ref().and_then(|label| labels.get(label)).unwrap_or("");
    let kept = labels.iter().filter(|(label, _)| matches!(*label, "machine_id" | "__name__"));
    Labels::new(kept.chain([("tgid", subject), ("comm", name)]).map(|(name, value)| (name.to_owned(), value.to_owned())))
}

type Grouped = BTreeMap<String, (Labels, Vec<f64>)>;

/// Series that describe one thing, added up (or their largest, for levels).
fn grouped(rows: &[Row], grouping: Grouping, keep: &dyn Fn(&Labels) -> bool, add: bool) -> Grouped {
    let mut groups: Grouped = BTreeMap::new();
    for row in rows.iter().filter(|row| keep(&row.labels)) {
        let each = || row.labels.iter().filter(|(name, _)| *name != "__name__").map(|(name, value)| format!("{name}={value};"));
        let key = match (grouping, row.labels.get("tgid")) {
            (Grouping::Together, _) => String::new(),
            (Grouping::Process, Some(tgid)) => tgid.to_owned(),
            _ => each().collect(),
        };
        match groups.get_mut(&key) {
            None => {
                groups.insert(key, (row.labels.clone(), row.values.clone()));
            }
            Some((_, values)) => add_up(values, &row.values, add),
        }
    }
    groups
}

/// Adds the other series, or takes the larger of both; a gap of one leaves the other's value.
fn add_up(values: &mut [f64], others: &[f64], add: bool) {
    for (mine, theirs) in values.iter_mut().zip(others) {
        *mine = match (mine.is_finite(), theirs.is_finite()) {
            (true, true) if add => *mine + theirs,
            (true, true) => mine.max(*theirs),
            (false, true) => *theirs,
            _ => *mine,
        };
    }
}

/// The number the symptom's metric rule describes, for the process or entity `keep` lets through.
pub fn symptom_values(
    rule: &MetricRule,
    grouping: Grouping,
    reader: &mut Reader<'_>,
    filter: &Filter,
    keep: &dyn Fn(&Labels) -> bool,
) -> Option<Vec<f64>> {
    measure(rule, grouping, reader, filter, keep)
        .into_iter()
        .map(|measured| measured.values)
        .max_by_key(|values| finite_count(values))
}

fn observe(metric: usize, rule: &MetricRule, values: &[f64], context: &Context<'_>) -> Option<Observation> {
    let grid = &context.grid;
    let (baseline, incident) = (&values[..grid.baseline_end], &values[grid.incident..]);
    // Slow work completes rarely: two values in the incident are enough, for they are judged as what lasts.
    if finite_count(baseline) < LEAST_BASELINE || finite_count(incident) < 2 {
        return None;
    }
    let before = median(baseline)?;
    let after = sustained(incident, incident.len())?;
    let length = incident.len();
    let floor = rule.floor.max(rule.floor_share * before.abs());
    let beyond = |level: f64, null: f64| (level - before) / (null - before).max(floor);
    let null_of = |measure: &dyn Fn(&[f64]) -> Option<f64>| own_null(baseline, length, context.params.null_quantile, measure);
    let ratio =
        beyond(after, null_of(&|window| sustained(window, length)).or_else(|| quantile(baseline, context.params.null_quantile))?);
    // A single stall among the usual hides everything smaller from what lasts, but not a level that moved for good.
    let moved = null_of(&median).and_then(|null| Some(beyond(median(incident)?, null)));
    let ratio = moved.map_or(ratio, |moved| ratio.max(moved));
    let deviation = after - before;
    let sign = if rule.direction == Direction::Down { -1.0 } else { 1.0 };
    let limit = rule.limit.map(|limit| sign * limit).filter(|limit| before < *limit && after >= *limit);
    let ratio = if limit.is_some() { ratio.max(USED_UP) } else { ratio };
    let around = grid.incident.saturating_sub(12);
    let rho =
        context.symptom.get(around..).and_then(|symptom| co_moments(&values[around..], symptom)).map_or(0.0, |(.., rho)| rho);
    let base = format!("{PREFIX}{}_{}", rule.entity, rule.field);
    let unit = match (&rule.per, rule.measure) {
        (Some(per), _) if per.starts_with("count") => semantics(&base).1,
        (Some(_), _) => "ratio",
        (None, Measure::Count) => "count",
        (None, Measure::Mean) => {
            Some(semantics(&base).1).filter(|unit| !unit.is_empty()).unwrap_or_else(|| semantics(&format!("{base}_sum")).1)
        }
        (None, Measure::Value) => semantics(&base).1,
    };
    let counted_ms = counted_ms(rule, semantics(&base), grid.step_ms);
    Some(Observation {
        metric,
        metric_id: if rule.event.is_some() { HIDDEN_METRIC.to_owned() } else { base },
        unit,
        before: sign * before,
        after: sign * after,
        counted_ms,
        deviation,
        ratio,
        nats: nats(ratio, context.params.steep, context.params.cap),
        onset_ms: (ratio >= 1.0).then(|| onset(values, grid, limit.unwrap_or(before + 0.5 * deviation))).flatten(),
        rho,
    })
}

/// Time over which a number of a rule is counted: a second of what grows for ever, a report of what is told by report.
fn counted_ms(rule: &MetricRule, (semantics, unit): (Semantics, &str), step_ms: i64) -> Option<i64> {
    if rule.event.is_some() || rule.per.is_some() || rule.measure == Measure::Mean {
        return None;
    }
    // A time of a period may be the longest in it, unless it is one that adds up; a share of it is no count.
    let adds_up = rule.measure == Measure::Count || rule.time || !matches!(unit, "ns" | "us" | "ms" | "s" | "%" | "ratio" | "");
    match semantics {
        Semantics::Cumulative => Some(1_000),
        Semantics::PerPeriod if adds_up => Some(step_ms),
        _ => None,
    }
}

/// First time the level is half way to where it stays, two samples running.
fn onset(values: &[f64], grid: &Grid, threshold: f64) -> Option<i64> {
    let above = |slot: usize| values.get(slot).is_none_or(|value| !value.is_finite() || *value >= threshold);
    (grid.incident.saturating_sub(10)..grid.slots)
        .find(|slot| values[*slot] >= threshold && above(slot + 1))
        .map(|slot| grid.time(slot))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rule(direction: Direction) -> MetricRule {
        MetricRule {
            entity: "proc".into(),
            field: "cpu_util".into(),
            measure: Measure::Value,
            per: None,
            less: Vec::new(),
            less_if_there: Vec::new(),
            limit: None,
            direction,
            floor: 5.0,
            floor_share: 0.0,
            absent_is_zero: false,
            momentary: false,
            event: None,
            category: None,
            own_weight: 1.0,
            time: false,
            subject: None,
            subject_name: None,
            text: None,
        }
    }

    fn context(params: &CoreParams) -> Context<'_> {
        let grid = Grid::new(0, 400_000, 430_000, 5_000);
        Context { params, grid, symptom: vec![1.0; grid.slots] }
    }

    #[test]
    fn a_change_inside_the_own_range_is_no_evidence() {
        let params = CoreParams::default();
        let context = context(&params);
        // Sawtooth between 10 and 60: the incident's 55 is nothing new.
        let values: Vec<f64> = (0..context.grid.slots)
            .map(|slot| if slot >= context.grid.incident { 55.0 } else { 10.0 + 50.0 * f64::from(u8::from(slot % 20 < 10)) })
            .collect();
        let seen = observe(0, &rule(Direction::Up), &values, &context).unwrap();
        assert!(seen.ratio < 1.0 && seen.nats == 0.0 && seen.onset_ms.is_none(), "{seen:?}");
    }

    #[test]
    fn what_adds_up_is_counted_over_a_report_or_a_second_and_what_does_not_over_nothing() {
        let of = |field: &str, of_rule: fn(&mut MetricRule)| {
            let mut rule = MetricRule { field: field.into(), ..rule(Direction::Up) };
            of_rule(&mut rule);
            counted_ms(&rule, semantics(&format!("{PREFIX}{}_{field}", rule.entity)), 5_000)
        };
        assert_eq!(of("block_writes", |_| ()), Some(5_000));
        assert_eq!(of("run_delay_ns", |rule| rule.time = true), Some(5_000));
        assert_eq!(of("run_delay_max_ns", |_| ()), None, "the longest of many");
        assert_eq!(of("fsync_sum_ns", |rule| rule.per = Some("fsync_count".into())), None, "a mean");
        assert_eq!(of("cpu_util", |_| ()), None, "a share");
        assert_eq!(of("requests_total", |rule| rule.entity = "sli".into()), Some(1_000));
        assert_eq!(of("accept_queue", |rule| rule.entity = "endpoint_tcp".into()), None, "a state");
    }

    #[test]
    fn a_constant_series_has_a_finite_score() {
        let params = CoreParams::default();
        let context = context(&params);
        let values: Vec<f64> =
            (0..context.grid.slots).map(|slot| if context.grid.time(slot) >= 400_000 { 90.0 } else { 0.0 }).collect();
        let seen = observe(0, &rule(Direction::Up), &values, &context).unwrap();
        assert_eq!(seen.ratio, 18.0);
        assert_eq!(seen.onset_ms, Some(400_000));
        let flat = vec![3.0; context.grid.slots];
        assert_eq!(observe(0, &rule(Direction::Up), &flat, &context).unwrap().ratio, 0.0);
    }

    proptest! {
        #[test]
        fn gaps_infinities_and_noise_never_give_a_score_that_is_no_number(
            values in prop::collection::vec(prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(0.0), -1e12..1e12f64], 87)
        ) {
            let params = CoreParams::default();
            let context = context(&params);
            prop_assume!(values.len() == context.grid.slots);
            if let Some(seen) = observe(0, &rule(Direction::Up), &values, &context) {
                prop_assert!(seen.ratio.is_finite() && seen.nats.is_finite() && seen.nats >= 0.0);
            }
        }
    }
}
