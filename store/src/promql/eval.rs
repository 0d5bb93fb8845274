//! The evaluator: walks the tree once, each node giving a column of values for all steps.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use ahash::AHashMap;

use crate::{Matcher, Series, SeriesRead, StoreError, TimeRange};

use super::ast::{Expr, Kind, ValueType};
use super::engine::{Cost, Options};
use super::labels;
use super::notes::Notes;
use super::print::ShownMatcher;
use super::rows::{Row, Steps, merge};

/// Why evaluation stopped.
#[derive(Debug)]
pub(super) enum Failure {
    Execution(String),
    TooManySamples(usize),
    /// Too much to read at once, though not for the query as a whole.
    SliceTooLarge,
    Timeout,
    Canceled,
    Storage(StoreError),
}

/// Samples read at once where a range can be worked through in slices; never more than a quarter of the query's limit.
const MAX_SLICE: usize = 4_000_000;

pub(super) enum Value {
    /// One number per step.
    Scalar(Vec<f64>),
    Rows(Vec<Row>),
    Text(String),
    /// Only at the top of an instant query.
    Ranges(Vec<Series>),
}

pub(super) struct Evaluator<'a> {
    read: &'a dyn SeriesRead,
    pub(super) lookback_ms: i64,
    max_samples: usize,
    deadline: Option<Instant>,
    cancel: Option<&'a AtomicBool>,
    /// Samples held now: those read and those computed.
    held: usize,
    pub(super) cost: Cost,
    pub(super) notes: Notes,
    /// What was read already; the same selector often stands twice in a query.
    read_before: AHashMap<String, Arc<Vec<Series>>>,
    /// Working through a range in slices, which are not worth keeping.
    slicing: bool,
}

fn pulse(deadline: Option<Instant>, cancel: Option<&AtomicBool>) -> Result<(), Failure> {
    if cancel.is_some_and(|flag| flag.load(Ordering::Relaxed)) {
        return Err(Failure::Canceled);
    }
    if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
        return Err(Failure::Timeout);
    }
    Ok(())
}

fn sample_count(series: &[Series]) -> usize {
    series.iter().map(|one| one.samples.len()).sum()
}

impl<'a> Evaluator<'a> {
    pub fn new(read: &'a dyn SeriesRead, options: &Options<'a>) -> Self {
        Self {
            read,
            lookback_ms: options.lookback_ms,
            max_samples: options.max_samples,
            deadline: options.deadline,
            cancel: options.cancel,
            held: 0,
            cost: Cost::default(),
            notes: Notes::default(),
            read_before: AHashMap::new(),
            slicing: false,
        }
    }

    /// To be called once per series: stops a query that takes too long or that nobody waits for.
    pub(super) fn pulse(&self) -> Result<(), Failure> {
        pulse(self.deadline, self.cancel)
    }

    /// Accounts for samples about to be held.
    pub(super) fn charge(&mut self, samples: usize) -> Result<(), Failure> {
        self.pulse()?;
        self.held += samples;
        self.cost.peak = self.cost.peak.max(self.held);
        if self.held > self.max_samples { Err(Failure::TooManySamples(self.max_samples)) } else { Ok(()) }
    }

    /// Gives back what rows that are no longer needed held.
    pub(super) fn release(&mut self, rows: &[Row]) {
        let samples: usize = rows.iter().map(Row::len).sum();
        self.held = self.held.saturating_sub(samples);
    }

    pub(super) fn charge_rows(&mut self, rows: &[Row]) -> Result<(), Failure> {
        self.charge(rows.iter().map(Row::len).sum())
    }

    /// A grid finer than this cannot end well: one series would be over the limit.
    pub(super) fn bound_steps(&self, steps: Steps) -> Result<(), Failure> {
        if steps.count > self.max_samples { Err(Failure::TooManySamples(self.max_samples)) } else { Ok(()) }
    }

    /// Reads series. With `divisible`, reading stops where a slice of the time range would be better.
    pub(super) fn fetch(&mut self, matchers: &[Matcher], range: TimeRange, divisible: bool) -> Result<Arc<Vec<Series>>, Failure> {
        if range.to_ms < range.from_ms {
            return Ok(Arc::default());
        }
        let mut key = format!("{},{}", range.from_ms, range.to_ms);
        for matcher in matchers {
            key.push_str(&format!(",{}", ShownMatcher(matcher)));
        }
        if let Some(series) = self.read_before.get(&key) {
            return Ok(series.clone());
        }
        self.pulse()?;
        let left = self.max_samples.saturating_sub(self.held);
        let limit = if divisible { left.min(MAX_SLICE).min(self.max_samples / 4) } else { left };
        let (deadline, cancel) = (self.deadline, self.cancel);
        let go_on = || pulse(deadline, cancel).is_ok();
        let found = self.read.select_while(matchers, range, limit, &go_on).map_err(|error| match error {
            StoreError::TooManySamples { .. } if divisible => Failure::SliceTooLarge,
            StoreError::TooManySamples { .. } => Failure::TooManySamples(self.max_samples),
            other => Failure::Storage(other),
        })?;
        let Some(mut series) = found else { return self.pulse().and(Err(Failure::Timeout)) };
        series.sort_by(|left, right| left.labels.cmp(&right.labels));
        self.charge(sample_count(&series))?;
        self.cost.read += sample_count(&series);
        let series = Arc::new(series);
        if !self.slicing {
            self.read_before.insert(key, series.clone());
        }
        Ok(series)
    }

    /// Runs `work` on all steps or, where they need too much at once, on one half after the other. `work` gets the number
    /// of its first step, and must read before it does anything else.
    pub(super) fn sliced(
        &mut self,
        first: usize,
        steps: Steps,
        work: &mut dyn FnMut(&mut Self, usize, Steps) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        match work(self, first, steps) {
            Err(Failure::SliceTooLarge) => {}
            done => return done,
        }
        let half = steps.count / 2;
        let outer = std::mem::replace(&mut self.slicing, true);
        let rest = Steps { start_ms: steps.time(half), count: steps.count - half, ..steps };
        let done = self.sliced(first, Steps { count: half, ..steps }, work).and_then(|()| self.sliced(first + half, rest, work));
        self.slicing = outer;
        done
    }

    /// Gives back what a slice held.
    pub(super) fn put_back(&mut self, series: &[Series]) {
        if self.slicing {
            self.held = self.held.saturating_sub(sample_count(series));
        }
    }

    pub fn eval(&mut self, expr: &Expr, steps: Steps) -> Result<Value, Failure> {
        self.pulse()?;
        // A number is a column like any other; nobody tells when it goes, so it counts to the end.
        if expr.value_type() == ValueType::Scalar {
            self.charge(steps.count)?;
        }
        match &expr.kind {
            Kind::Number { value, .. } => Ok(Value::Scalar(vec![*value; steps.count])),
            Kind::Text(text) => Ok(Value::Text(text.clone())),
            Kind::Vector(selector) => Ok(Value::Rows(self.instant_vector(selector, steps)?)),
            Kind::Matrix { .. } | Kind::Subquery(_) => Ok(Value::Ranges(self.range_result(expr, steps)?)),
            Kind::Paren(inner) => self.eval(inner, steps),
            Kind::Unary { negative, expr } => self.unary(*negative, expr, steps),
            Kind::Binary(binary) => self.binary(binary, expr.span.start, steps),
            Kind::Aggregate(aggregate) => Ok(Value::Rows(self.aggregate(aggregate, steps)?)),
            Kind::Call { function, args } => self.call(function, args, expr.span.start, steps),
            Kind::StepInvariant(inner) => self.step_invariant(inner, steps),
        }
    }

    /// The rows of an expression that has been checked to be an instant vector.
    pub(super) fn rows(&mut self, expr: &Expr, steps: Steps) -> Result<Vec<Row>, Failure> {
        match self.eval(expr, steps)? {
            Value::Rows(rows) => Ok(rows),
            _ => Err(Failure::Execution("expected an instant vector".into())),
        }
    }

    /// The values of an expression that has been checked to be a scalar.
    pub(super) fn scalar(&mut self, expr: &Expr, steps: Steps) -> Result<Vec<f64>, Failure> {
        match self.eval(expr, steps)? {
            Value::Scalar(values) => Ok(values),
            _ => Err(Failure::Execution("expected a scalar".into())),
        }
    }

    fn unary(&mut self, negative: bool, expr: &Expr, steps: Steps) -> Result<Value, Failure> {
        let value = self.eval(expr, steps)?;
        if !negative {
            return Ok(value);
        }
        match value {
            Value::Scalar(values) => Ok(Value::Scalar(values.into_iter().map(|value| -value).collect())),
            Value::Rows(mut rows) => {
                for row in &mut rows {
                    row.labels = labels::without_name(&row.labels);
                    row.map(|value| -value);
                }
                Ok(Value::Rows(merge(rows)?))
            }
            other => Ok(other),
        }
    }

    fn step_invariant(&mut self, inner: &Expr, steps: Steps) -> Result<Value, Failure> {
        if steps.count == 0 {
            return self.eval(inner, steps);
        }
        self.bound_steps(steps)?;
        match self.eval(inner, Steps { count: 1, ..steps })? {
            Value::Scalar(values) => Ok(Value::Scalar(vec![values[0]; steps.count])),
            Value::Rows(mut rows) => {
                for row in &mut rows {
                    self.charge(steps.count)?;
                    row.spread(steps.count);
                }
                Ok(Value::Rows(rows))
            }
            other => Ok(other),
        }
    }
}
