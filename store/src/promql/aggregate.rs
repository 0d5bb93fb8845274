//! Aggregations. Groups are worked out once per series; then each series is added to its group's column of accumulators.

use std::cmp::Ordering;

use ahash::AHashMap;

use crate::Labels;

use super::ast::{Aggregate, AggregateOp, Kind};
use super::eval::{Evaluator, Failure};
use super::functions::math::{Kahan, Mean, nan_first, quantile};
use super::labels::{self, keep};
use super::literal::{format_general, format_plain, quote};
use super::rows::{Row, Steps, merge};

/// What one group has gathered at one step.
#[derive(Clone)]
enum Cell {
    Sum(Kahan),
    Mean(Mean),
    Count(f64),
    Extreme(f64),
    Spread { count: f64, mean: f64, squares: f64 },
    Values(Vec<f64>),
}

impl Cell {
    fn of(op: AggregateOp, value: f64) -> Self {
        match op {
            AggregateOp::Sum => Self::Sum(Kahan::of(value)),
            AggregateOp::Avg => Self::Mean(Mean::of(value)),
            AggregateOp::Min | AggregateOp::Max => Self::Extreme(value),
            AggregateOp::Stddev | AggregateOp::Stdvar => {
                let squares = if value.is_finite() { 0.0 } else { f64::NAN };
                Self::Spread { count: 1.0, mean: value, squares }
            }
            AggregateOp::Quantile => Self::Values(vec![value]),
            _ => Self::Count(1.0),
        }
    }

    fn add(&mut self, op: AggregateOp, value: f64) {
        match self {
            Self::Sum(sum) => sum.add(value),
            Self::Mean(mean) => mean.add(value),
            Self::Count(count) => *count += 1.0,
            Self::Extreme(best) => {
                let better = if op == AggregateOp::Max { *best < value } else { *best > value };
                if better || best.is_nan() {
                    *best = value;
                }
            }
            Self::Spread { count, mean, squares } => {
                *count += 1.0;
                let delta = value - *mean;
                *mean += delta / *count;
                *squares += delta * (value - *mean);
            }
            Self::Values(values) => values.push(value),
        }
    }

    fn value(self, op: AggregateOp, param: f64) -> f64 {
        match self {
            Self::Sum(sum) => sum.total(),
            Self::Mean(mean) => mean.value(),
            Self::Count(count) => {
                if op == AggregateOp::Group {
                    1.0
                } else {
                    count
                }
            }
            Self::Extreme(best) => best,
            Self::Spread { count, squares, .. } => {
                let variance = squares / count;
                if op == AggregateOp::Stddev { variance.sqrt() } else { variance }
            }
            Self::Values(mut values) => quantile(param, &mut values),
        }
    }
}

/// Which group each row belongs to, and the groups' labels.
struct Grouping {
    of_row: Vec<usize>,
    labels: Vec<Labels>,
}

fn group_labels(labels: &Labels, aggregate: &Aggregate) -> Labels {
    let is_named = |name: &str| aggregate.grouping.iter().any(|label| label == name);
    if aggregate.without {
        keep(labels, |name| name != "__name__" && !is_named(name))
    } else if aggregate.grouping.is_empty() {
        labels::empty()
    } else {
        keep(labels, is_named)
    }
}

fn group(rows: &[Row], aggregate: &Aggregate) -> Grouping {
    let mut numbers: AHashMap<Labels, usize> = AHashMap::new();
    let mut labels = Vec::new();
    let of_row = rows.iter().map(|row| {
        let key = group_labels(&row.labels, aggregate);
        *numbers.entry(key).or_insert_with_key(|key| {
            labels.push(key.clone());
            labels.len() - 1
        })
    });
    let of_row = of_row.collect();
    Grouping { of_row, labels }
}

impl Evaluator<'_> {
    pub(super) fn aggregate(&mut self, aggregate: &Aggregate, steps: Steps) -> Result<Vec<Row>, Failure> {
        if aggregate.op == AggregateOp::CountValues {
            return self.count_values(aggregate, steps);
        }
        let params = match &aggregate.param {
            Some(param) => self.scalar(param, steps)?,
            None => Vec::new(),
        };
        let rows = self.rows(&aggregate.expr, steps)?;
        let at = aggregate.param.as_ref().map_or(0, |param| param.span.start);
        let out = match aggregate.op {
            AggregateOp::Topk | AggregateOp::Bottomk | AggregateOp::Limitk => {
                if !self.check_count(&params)? {
                    return Ok(Vec::new());
                }
                select_k(aggregate, &rows, &params, steps)
            }
            AggregateOp::LimitRatio => {
                if !self.check_ratio(&params, at)? {
                    return Ok(Vec::new());
                }
                select_ratio(&rows, &params)
            }
            op => {
                if op == AggregateOp::Quantile {
                    let invalid = params.iter().copied().filter(|q| !(0.0..=1.0).contains(q));
                    for q in extremes(invalid) {
                        self.notes.invalid_quantile(at, q);
                    }
                }
                self.fold(aggregate, &rows, &params, steps)?
            }
        };
        self.release(&rows);
        self.charge_rows(&out)?;
        Ok(out)
    }

    fn fold(&mut self, aggregate: &Aggregate, rows: &[Row], params: &[f64], steps: Steps) -> Result<Vec<Row>, Failure> {
        let op = aggregate.op;
        let Grouping { of_row, labels } = group(rows, aggregate);
        let mut cells: Vec<Vec<Option<Cell>>> = vec![Vec::new(); labels.len()];
        for (row, &group) in rows.iter().zip(&of_row) {
            self.pulse()?;
            let column = &mut cells[group];
            if column.is_empty() {
                column.resize(steps.count, None);
            }
            for (step, value) in row.iter() {
                match &mut column[step] {
                    Some(cell) => cell.add(op, value),
                    empty => *empty = Some(Cell::of(op, value)),
                }
            }
        }
        let out = labels.into_iter().zip(cells).map(|(labels, column)| {
            let mut row = Row::with_capacity(labels, column.len());
            for (step, cell) in column.into_iter().enumerate() {
                if let Some(cell) = cell {
                    row.push(step, cell.value(op, params.get(step).copied().unwrap_or(f64::NAN)));
                }
            }
            row
        });
        Ok(out.filter(|row| !row.is_empty()).collect())
    }

    /// Whether any step asks for at least one series; refuses what is no count.
    fn check_count(&self, params: &[f64]) -> Result<bool, Failure> {
        if params.iter().all(|k| *k < 1.0) {
            return Ok(false);
        }
        if params.iter().any(|k| k.is_nan()) {
            return Err(Failure::Execution("Parameter value is NaN".into()));
        }
        let limit = i64::MAX as f64;
        if let Some(k) = params.iter().find(|k| **k <= -limit) {
            return Err(Failure::Execution(format!("Scalar value {} underflows int64", format_general(*k))));
        }
        if let Some(k) = params.iter().find(|k| **k >= limit) {
            return Err(Failure::Execution(format!("Scalar value {} overflows int64", format_general(*k))));
        }
        Ok(true)
    }

    fn check_ratio(&mut self, params: &[f64], at: usize) -> Result<bool, Failure> {
        if params.iter().all(|ratio| *ratio == 0.0) {
            return Ok(false);
        }
        if params.iter().any(|ratio| ratio.is_nan()) {
            return Err(Failure::Execution("Ratio value is NaN".into()));
        }
        let outside = params.iter().copied().filter(|ratio| ratio.abs() > 1.0);
        for ratio in extremes(outside) {
            let (got, cap) = (format_general(ratio), format_general(ratio.signum()));
            self.notes.warn(at, format!("ratio value should be between -1 and 1, got {got}, capping to {cap}"));
        }
        Ok(true)
    }

    fn count_values(&mut self, aggregate: &Aggregate, steps: Steps) -> Result<Vec<Row>, Failure> {
        let Some(Kind::Text(label)) = aggregate.param.as_ref().map(|param| &param.kind) else {
            return Err(Failure::Execution("count_values needs a label name".into()));
        };
        if !labels::is_valid_name(label) {
            return Err(Failure::Execution(format!("invalid label name {}", quote(label))));
        }
        let rows = self.rows(&aggregate.expr, steps)?;
        let Grouping { of_row, labels: groups } = group(&rows, aggregate);
        // "without (x)" takes the new label away again if it is x.
        let gone = aggregate.without && aggregate.grouping.contains(label);
        let mut places: AHashMap<(usize, u64), usize> = AHashMap::new();
        let mut by_labels: AHashMap<Labels, usize> = AHashMap::new();
        let mut columns: Vec<Vec<u32>> = Vec::new();
        for (row, &group) in rows.iter().zip(&of_row) {
            self.pulse()?;
            for (step, value) in row.iter() {
                let key = (group, value.to_bits());
                let place = match places.get(&key) {
                    Some(&place) => place,
                    None => {
                        let base = &groups[group];
                        let labels = if gone { base.clone() } else { labels::set(base, label, &format_plain(value)) };
                        // Different NaNs read the same.
                        let place = *by_labels.entry(labels).or_insert(columns.len());
                        if place == columns.len() {
                            self.charge(steps.count)?;
                            columns.push(vec![0; steps.count]);
                        }
                        places.insert(key, place);
                        place
                    }
                };
                columns[place][step] += 1;
            }
        }
        self.release(&rows);
        let mut out: Vec<Row> = by_labels
            .into_iter()
            .map(|(labels, place)| {
                let mut row = Row::new(labels);
                let counted = std::mem::take(&mut columns[place]).into_iter().enumerate().filter(|(_, count)| *count > 0);
                counted.for_each(|(step, count)| row.push(step, f64::from(count)));
                row
            })
            .collect();
        out.sort_by(|left, right| left.labels.cmp(&right.labels));
        merge(out)
    }
}

/// The smallest and the largest of some values, and NaN if it is among them.
fn extremes(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut all: Vec<f64> = values.collect();
    all.sort_by(|left, right| nan_first(*left, *right));
    all.dedup_by(|later, earlier| later == earlier || (later.is_nan() && earlier.is_nan()));
    let numbers = all.iter().position(|value| !value.is_nan()).unwrap_or(all.len());
    let mut picked = all[..numbers].to_vec();
    picked.extend(all[numbers..].first());
    if all.len() > numbers + 1 {
        picked.extend(all.last());
    }
    picked
}

/// topk, bottomk and limitk: rows keep their values at the steps where they are among the k of their group.
fn select_k(aggregate: &Aggregate, rows: &[Row], params: &[f64], steps: Steps) -> Vec<Row> {
    let Grouping { of_row, labels } = group(rows, aggregate);
    let mut members: Vec<Vec<usize>> = vec![Vec::new(); labels.len()];
    for (row, &group) in of_row.iter().enumerate() {
        members[group].push(row);
    }
    let mut out: Vec<Row> = rows.iter().map(|row| Row::new(row.labels.clone())).collect();
    let mut order = Vec::new();
    for group in &members {
        let mut present: Vec<(usize, f64)> = Vec::with_capacity(group.len());
        for (step, &k) in params.iter().enumerate() {
            if k < 1.0 {
                continue;
            }
            let k = (k as usize).min(group.len());
            present.clear();
            present.extend(group.iter().filter_map(|&row| rows[row].get(step).map(|value| (row, value))));
            match aggregate.op {
                AggregateOp::Topk => keep_best(&mut present, k, |left, right| left < right),
                AggregateOp::Bottomk => keep_best(&mut present, k, |left, right| left > right),
                _ => {}
            }
            for &(row, value) in present.iter().take(k) {
                out[row].push(step, value);
                if steps.count == 1 {
                    order.push(row);
                }
            }
        }
    }
    if steps.count == 1 {
        // An instant query shows its winners in order.
        return order.into_iter().map(|row| out[row].clone()).collect();
    }
    out.retain(|row| !row.is_empty());
    out
}

/// Leaves the k best, best first; NaN loses in both directions. A heap with the worst on top, moved as Go's `container/heap`
/// moves it: which of equal values stay depends on that, and is to be as in Prometheus.
fn keep_best(present: &mut Vec<(usize, f64)>, k: usize, is_worse: fn(f64, f64) -> bool) {
    let goes_up = |left: (usize, f64), right: (usize, f64)| left.1.is_nan() || is_worse(left.1, right.1);
    let mut heap: Vec<(usize, f64)> = Vec::with_capacity(k);
    for &new in present.iter() {
        if heap.len() < k {
            heap.push(new);
            let mut at = heap.len() - 1;
            while at > 0 && goes_up(heap[at], heap[(at - 1) / 2]) {
                heap.swap(at, (at - 1) / 2);
                at = (at - 1) / 2;
            }
            continue;
        }
        let worst = heap[0].1;
        if !(is_worse(worst, new.1) || (worst.is_nan() && !new.1.is_nan())) {
            continue;
        }
        heap[0] = new;
        let mut at = 0;
        while let Some(&left) = heap.get(2 * at + 1) {
            let is_right = heap.get(2 * at + 2).is_some_and(|&right| goes_up(right, left));
            let child = 2 * at + 1 + usize::from(is_right);
            if !goes_up(heap[child], heap[at]) {
                break;
            }
            heap.swap(at, child);
            at = child;
        }
    }
    heap.sort_by(|left, right| match (left.1.is_nan(), right.1.is_nan()) {
        (false, false) if is_worse(right.1, left.1) => Ordering::Less,
        (false, false) if is_worse(left.1, right.1) => Ordering::Greater,
        (left, right) => left.cmp(&right),
    });
    *present = heap;
}

fn select_ratio(rows: &[Row], params: &[f64]) -> Vec<Row> {
    let kept = rows.iter().map(|row| {
        let place = labels::fraction(&row.labels);
        row.filter_map(row.labels.clone(), |step, value| {
            let ratio = params[step].clamp(-1.0, 1.0);
            // A negative ratio takes what the positive one with the same sum of 1 leaves.
            let inside = if ratio >= 0.0 { place < ratio } else { place >= 1.0 + ratio };
            (inside && ratio != 0.0).then_some(value)
        })
    });
    kept.filter(|row| !row.is_empty()).collect()
}
