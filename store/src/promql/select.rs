//! Selectors: reading series once for the whole range and walking each with a moving window.

use std::borrow::Cow;
use std::sync::Arc;

use crate::{Sample, Series, TimeRange, is_stale};

use super::ast::{At, Expr, Kind, Selector, Subquery};
use super::eval::{Evaluator, Failure, Value};
use super::functions::rate::{self, Reach, Window};
use super::rows::{Row, RowSet, Steps};

/// Step of subqueries that name none.
const DEFAULT_SUBQUERY_STEP_MS: i64 = 60_000;

/// A range vector before it is cut into windows.
pub(super) struct Ranges {
    series: Source,
    at: Option<i64>,
    offset_ms: i64,
    range_ms: i64,
    range_seconds: f64,
    reach: Reach,
    lookback_ms: i64,
}

enum Source {
    Stored(Arc<Vec<Series>>),
    Computed(Vec<Series>),
}

impl Ranges {
    pub fn series(&self) -> &[Series] {
        match &self.series {
            Source::Stored(series) => series,
            Source::Computed(series) => series,
        }
    }

    /// Calls `visit` with every window of the series that holds samples.
    pub fn walk<E>(
        &self,
        series: &Series,
        steps: Steps,
        mut visit: impl FnMut(usize, &Window) -> Result<(), E>,
    ) -> Result<(), E> {
        let samples = without_stale(&series.samples);
        let (before, after) = match self.reach {
            Reach::Plain => (0, 0),
            Reach::Anchored => (self.lookback_ms, 0),
            Reach::Smoothed => (self.lookback_ms, self.lookback_ms),
        };
        let falls = |index: usize| usize::from(samples[index].value < samples[index - 1].value);
        let (mut low, mut high, mut drops) = (0, 0, 0);
        for (step, eval_ms) in steps.times() {
            let end_ms = self.at.unwrap_or(eval_ms) - self.offset_ms;
            let start_ms = end_ms - self.range_ms;
            while high < samples.len() && samples[high].t_ms <= end_ms + after {
                if high > low {
                    drops += falls(high);
                }
                high += 1;
            }
            while low < high && samples[low].t_ms <= start_ms - before {
                low += 1;
                if low < high {
                    drops -= falls(low);
                }
            }
            if low == high {
                continue;
            }
            let window = Window {
                samples: &samples[low..high],
                start_ms,
                end_ms,
                eval_ms,
                range_seconds: self.range_seconds,
                reach: self.reach,
                drops,
            };
            visit(step, &window)?;
        }
        Ok(())
    }
}

fn without_stale(samples: &[Sample]) -> Cow<'_, [Sample]> {
    if samples.iter().any(|sample| is_stale(sample.value)) {
        Cow::Owned(samples.iter().filter(|sample| !is_stale(sample.value)).copied().collect())
    } else {
        Cow::Borrowed(samples)
    }
}

fn fixed_time(at: At) -> Option<i64> {
    if let At::Time(ms) = at { Some(ms) } else { None }
}

impl Evaluator<'_> {
    /// Series of the selector with all samples that evaluation at `steps` can touch, sorted by labels.
    fn load(&mut self, selector: &Selector, steps: Steps, before_ms: i64, after_ms: i64) -> Result<Arc<Vec<Series>>, Failure> {
        if steps.count == 0 {
            return Ok(Arc::default());
        }
        let (first, last) = match fixed_time(selector.at) {
            Some(ms) => (ms, ms),
            None => (steps.start_ms, steps.last_ms()),
        };
        let offset = selector.offset.ms();
        let range = TimeRange {
            from_ms: first.saturating_sub(offset).saturating_sub(before_ms).saturating_add(1),
            to_ms: last.saturating_sub(offset).saturating_add(after_ms),
        };
        // Dividing helps while the steps span more than what each of them looks back on.
        let divisible = steps.count > 1 && last - first > before_ms.saturating_add(after_ms);
        self.fetch(&selector.matchers, range, divisible)
    }

    pub(super) fn instant_vector(&mut self, selector: &Selector, steps: Steps) -> Result<Vec<Row>, Failure> {
        if selector.smoothed {
            return self.smoothed_vector(selector, steps);
        }
        self.pick(selector, steps, |sample| sample.value)
    }

    /// The times of the samples an instant selector picks, in seconds.
    pub(super) fn sample_times(&mut self, selector: &Selector, steps: Steps) -> Result<Vec<Row>, Failure> {
        self.pick(selector, steps, |sample| sample.t_ms as f64 / 1000.0)
    }

    fn pick(&mut self, selector: &Selector, steps: Steps, value_of: fn(&Sample) -> f64) -> Result<Vec<Row>, Failure> {
        let (lookback, at, offset) = (self.lookback_ms, fixed_time(selector.at), selector.offset.ms());
        let mut rows = RowSet::default();
        self.sliced(0, steps, &mut |this, first, part| {
            let series = this.load(selector, part, lookback, 0)?;
            for one in series.iter() {
                let row = rows.of(&one.labels, steps.count, || one.labels.clone());
                let before = row.len();
                let picks = Picks { at, offset, lookback, value_of };
                picks.add_to(row, first, one, part);
                let added = row.len() - before;
                this.charge(added)?;
            }
            this.put_back(&series);
            Ok(())
        })?;
        Ok(rows.into_rows())
    }

    fn smoothed_vector(&mut self, selector: &Selector, steps: Steps) -> Result<Vec<Row>, Failure> {
        let (lookback, at, offset) = (self.lookback_ms, fixed_time(selector.at), selector.offset.ms());
        let mut rows = RowSet::default();
        self.sliced(0, steps, &mut |this, first, part| {
            let series = this.load(selector, part, lookback, lookback)?;
            for one in series.iter() {
                let samples = without_stale(&one.samples);
                let row = rows.of(&one.labels, steps.count, || one.labels.clone());
                let before = row.len();
                for (step, t_ms) in part.times() {
                    if let Some(value) = smoothed_value(&samples, at.unwrap_or(t_ms) - offset, lookback) {
                        row.push(first + step, value);
                    }
                }
                let added = row.len() - before;
                this.charge(added)?;
            }
            this.put_back(&series);
            Ok(())
        })?;
        Ok(rows.into_rows())
    }

    /// Calls `work` with the range vector of an expression, for all steps at once or slice by slice.
    pub(super) fn each_range(
        &mut self,
        expr: &Expr,
        steps: Steps,
        mut work: impl FnMut(&mut Self, usize, Steps, &Ranges) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        if !matches!(expr.kind, Kind::Matrix { .. }) {
            let ranges = self.ranges(expr, steps)?;
            return work(self, 0, steps, &ranges);
        }
        self.sliced(0, steps, &mut |this, first, part| {
            let ranges = this.ranges(expr, part)?;
            work(this, first, part, &ranges)?;
            this.put_back(ranges.series());
            Ok(())
        })
    }

    /// The range vector of a range selector or subquery.
    pub(super) fn ranges(&mut self, expr: &Expr, steps: Steps) -> Result<Ranges, Failure> {
        match &expr.kind {
            Kind::Matrix { selector, range } => {
                let lookback = self.lookback_ms;
                let (reach, before, after) = match (selector.anchored, selector.smoothed) {
                    (true, _) => (Reach::Anchored, lookback, 0),
                    (_, true) => (Reach::Smoothed, lookback, lookback),
                    _ => (Reach::Plain, 0, 0),
                };
                let series = self.load(selector, steps, range.ms().saturating_add(before), after)?;
                Ok(Ranges {
                    series: Source::Stored(series),
                    at: fixed_time(selector.at),
                    offset_ms: selector.offset.ms(),
                    range_ms: range.ms(),
                    range_seconds: range.seconds(),
                    reach,
                    lookback_ms: lookback,
                })
            }
            Kind::Subquery(subquery) => Ok(Ranges {
                series: Source::Computed(self.subquery(subquery, steps)?),
                at: fixed_time(subquery.at),
                offset_ms: subquery.offset.ms(),
                range_ms: subquery.range.ms(),
                range_seconds: subquery.range.seconds(),
                reach: Reach::Plain,
                lookback_ms: 0,
            }),
            Kind::StepInvariant(inner) | Kind::Paren(inner) => self.ranges(inner, steps),
            _ => Err(Failure::Execution("expected a range vector".into())),
        }
    }

    /// Evaluates the inside of a subquery on its own grid, over everything the steps can see.
    pub(super) fn subquery(&mut self, subquery: &Subquery, steps: Steps) -> Result<Vec<Series>, Failure> {
        if steps.count == 0 {
            return Ok(Vec::new());
        }
        let (first, last) = match fixed_time(subquery.at) {
            Some(ms) => (ms, ms),
            None => (steps.start_ms, steps.last_ms()),
        };
        let (offset, range) = (subquery.offset.ms(), subquery.range.ms());
        let interval = if subquery.step.is_set() { subquery.step.ms().max(1) } else { DEFAULT_SUBQUERY_STEP_MS };
        let from = first.saturating_sub(offset).saturating_sub(range);
        // Steps are multiples of the interval; the one at the very start is outside.
        let mut start = interval * (from / interval);
        if start <= from {
            start += interval;
        }
        let inner = Steps::between(start, last.saturating_sub(offset), interval);
        self.bound_steps(inner)?;
        let rows = match self.eval(&subquery.expr, inner)? {
            Value::Rows(rows) => rows,
            _ => return Err(Failure::Execution("subquery is only allowed on instant vector".into())),
        };
        let to_series = |row: Row| {
            let samples = row.iter().map(|(step, value)| Sample { t_ms: inner.time(step), value }).collect();
            Series { labels: row.labels, samples }
        };
        Ok(rows.into_iter().filter(|row| !row.is_empty()).map(to_series).collect())
    }

    /// A range vector as the result of a query: the windows at one time.
    pub(super) fn range_result(&mut self, expr: &Expr, steps: Steps) -> Result<Vec<Series>, Failure> {
        if let Kind::Subquery(subquery) = &expr.kind {
            return self.subquery(subquery, steps);
        }
        let ranges = self.ranges(expr, steps)?;
        let mut out: Vec<Series> = Vec::new();
        for series in ranges.series() {
            ranges.walk(series, steps, |_, window| {
                let samples = if window.reach == Reach::Plain { window.samples.to_vec() } else { rate::extended_samples(window) };
                if !samples.is_empty() {
                    out.push(Series { labels: series.labels.clone(), samples });
                }
                Ok::<(), Failure>(())
            })?;
        }
        Ok(out)
    }
}

/// Between two samples the value on the line through them; after the last one its value.
fn smoothed_value(samples: &[Sample], t_ms: i64, lookback: i64) -> Option<f64> {
    let next = samples.partition_point(|sample| sample.t_ms < t_ms);
    let right = samples.get(next).filter(|sample| sample.t_ms <= t_ms + lookback);
    let left = next.checked_sub(1).map(|index| samples[index]).filter(|sample| sample.t_ms > t_ms - lookback);
    match (left, right) {
        (_, Some(right)) if right.t_ms == t_ms => Some(right.value),
        (Some(left), Some(right)) => Some(rate::interpolate(left, *right, t_ms, false)),
        (left, _) => left.map(|left| left.value),
    }
}

/// How an instant selector picks samples.
pub(super) struct Picks {
    pub at: Option<i64>,
    pub offset: i64,
    pub lookback: i64,
    pub value_of: fn(&Sample) -> f64,
}

impl Picks {
    /// `steps` begin at the row's step `first`.
    pub fn add_to(&self, row: &mut Row, first: usize, series: &Series, steps: Steps) {
        let samples = &series.samples;
        let mut next = 0;
        for (step, t_ms) in steps.times() {
            let t_ms = self.at.unwrap_or(t_ms) - self.offset;
            while next < samples.len() && samples[next].t_ms <= t_ms {
                next += 1;
            }
            let Some(sample) = next.checked_sub(1).map(|index| &samples[index]) else { continue };
            // The edge of the lookback is outside, as is a series that has ended.
            if sample.t_ms > t_ms - self.lookback && !is_stale(sample.value) {
                row.push(first + step, (self.value_of)(sample));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::*;
    use crate::promql::ast::ValueType;
    use crate::promql::engine::Options;
    use crate::promql::functions::{Body, Function};
    use crate::{Labels, SeriesWrite, Store};

    static STOP: AtomicBool = AtomicBool::new(false);
    static WINDOWS: AtomicUsize = AtomicUsize::new(0);

    /// Looks at windows and stops the query at the first one.
    static STOPPING: Function = Function {
        name: "count_over_time",
        args: &[ValueType::Matrix],
        variadic: 0,
        returns: ValueType::Vector,
        body: Body::Range(|window, _| {
            STOP.store(true, Ordering::Relaxed);
            WINDOWS.fetch_add(1, Ordering::Relaxed);
            Ok(Some(window.samples.len() as f64))
        }),
    };

    #[test]
    fn a_query_ends_early_in_the_middle_of_one_series() {
        const SAMPLES: i64 = 10_000;
        let store = Store::in_memory();
        let series = store.resolve(&Labels::new([("__name__", "up")])).unwrap();
        let samples: Vec<_> = (0..SAMPLES).map(|second| (series, second * 1000, 1.0)).collect();
        assert_eq!(store.append(&samples).unwrap().samples, samples.len());
        let options = Options { cancel: Some(&STOP), ..Options::default() };
        let mut evaluator = Evaluator::new(&store, &options);
        let matrix = crate::promql::parse("up[10000s]").unwrap();
        let steps = Steps::between(0, (SAMPLES - 1) * 1000, 1000);
        let stopped = evaluator.call(&STOPPING, &[matrix], 0, steps);
        assert!(matches!(stopped, Err(Failure::Canceled)));
        assert!(WINDOWS.load(Ordering::Relaxed) < steps.count / 2, "{} windows", WINDOWS.load(Ordering::Relaxed));
    }
}
