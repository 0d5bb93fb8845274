//! The parts of one KPI as series bring them, put together to reports, and few events put together over several.

use std::collections::VecDeque;

use gala_store::Labels;

use super::buckets::Buckets;
use super::kpi::Reading;
use super::meaning::{Input, Shape};
use super::policy::Policy;

/// Reports of one KPI that may be incomplete at once.
const MAX_OPEN_REPORTS: usize = 8;
/// A report whose parts did not all come within this time is judged as it is.
const SETTLE_MS: i64 = 2_000;
/// Parts closer than this are of one report.
const ONE_REPORT_MS: i64 = 1_000;
/// A mean of fewer events must stand out further; so must a quantile with fewer beyond it.
const THIN_BELOW: f64 = 30.0;
const THIN_BEYOND: f64 = 6.0;

/// One sample of a series that carries a KPI.
#[derive(Clone, Copy, Debug)]
pub struct ReportPart<'a> {
    pub t_ms: i64,
    pub input: Input,
    pub amount: f64,
    pub labels: &'a Labels,
    /// When the sample was read from the store.
    pub now_ms: i64,
}

/// Parts of one report, being put together.
#[derive(Clone, Debug)]
pub(super) struct Report {
    pub t_ms: i64,
    over: f64,
    under: f64,
    load: Option<f64>,
    has_over: bool,
    /// Wall time at which the first part was read.
    read_ms: i64,
    /// Events up to each edge, for a quantile.
    buckets: Buckets,
    pub heaviest: f64,
    pub heaviest_labels: Option<Labels>,
}

/// Events of several reports.
#[derive(Clone, Debug, Default)]
struct Pool {
    from_ms: i64,
    over: f64,
    under: f64,
    load: Option<f64>,
    buckets: Buckets,
}

/// The reports of one KPI that are not judged yet, oldest first.
#[derive(Debug, Default)]
pub(super) struct Reports {
    open: VecDeque<Report>,
    pool: Option<Pool>,
}

impl Reports {
    /// Adds a part; `shape` says what it is a part of.
    pub fn add(&mut self, part: &ReportPart, shape: Shape) {
        let ReportPart { t_ms, input, amount, labels, now_ms } = *part;
        let at = match self.open.iter().position(|report| (report.t_ms - t_ms).abs() < ONE_REPORT_MS) {
            Some(at) => at,
            None => {
                if self.open.len() == MAX_OPEN_REPORTS {
                    return;
                }
                let at = self.open.partition_point(|report| report.t_ms < t_ms);
                self.open.insert(at, Report::new(t_ms, now_ms));
                at
            }
        };
        self.open[at].add(input, amount, labels, shape);
    }

    /// The oldest report, if it lies before what comes at `t_ms`.
    pub fn before(&mut self, t_ms: i64) -> Option<Report> {
        self.open.front().is_some_and(|report| t_ms - report.t_ms >= ONE_REPORT_MS).then(|| self.open.pop_front())?
    }

    /// The oldest report, if nothing of it is awaited any more.
    pub fn complete(&mut self, now_ms: i64) -> Option<Report> {
        let is_complete = |report: &Report| now_ms - report.t_ms >= SETTLE_MS || now_ms > report.read_ms;
        self.open.front().is_some_and(is_complete).then(|| self.open.pop_front())?
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }

    pub fn is_empty(&self) -> bool {
        self.open.is_empty() && self.pool.is_none()
    }

    /// Of few events a mean says little, and so does a share of what seldom happens: puts reports together until there are
    /// enough, for some time at most. Answers `None` while there are not.
    pub fn pooled(&mut self, mut report: Report, shape: Shape, policy: &Policy) -> Option<Report> {
        let wants = match shape {
            Shape::Mean | Shape::Quantile(_) => !policy.smoothed,
            Shape::Share => policy.absent_is_zero,
            Shape::Number => false,
        };
        if !wants {
            return Some(report);
        }
        // What seldom happens: who was counted an hour ago is not put together with who is now.
        let is_stale = |pool: &Pool| policy.absent_is_zero && report.t_ms - pool.from_ms > policy.pool_ms;
        if self.pool.as_ref().is_some_and(is_stale) {
            self.pool = None;
        }
        let pool = self.pool.get_or_insert_with(|| Pool { from_ms: report.t_ms, ..Pool::default() });
        pool.over += report.over;
        pool.under += report.under;
        pool.load = sum(pool.load, report.load);
        pool.buckets.merge(&report.buckets);
        if pool.under < policy.events && report.t_ms - pool.from_ms < policy.pool_ms {
            return None;
        }
        (report.over, report.under, report.load) = (pool.over, pool.under, pool.load);
        report.buckets = std::mem::take(&mut pool.buckets);
        self.pool = None;
        Some(report)
    }
}

fn sum(left: Option<f64>, right: Option<f64>) -> Option<f64> {
    left.zip(right).map(|(left, right)| left + right).or(left).or(right)
}

impl Report {
    fn new(t_ms: i64, read_ms: i64) -> Self {
        Self {
            t_ms,
            over: 0.0,
            under: 0.0,
            load: None,
            has_over: false,
            read_ms,
            buckets: Buckets::default(),
            heaviest: f64::NEG_INFINITY,
            heaviest_labels: None,
        }
    }

    fn add(&mut self, input: Input, amount: f64, labels: &Labels, shape: Shape) {
        match input {
            Input::Over if matches!(shape, Shape::Quantile(_)) => {
                let Some(edge) = labels.get("le").and_then(|edge| edge.parse().ok()) else { return };
                self.buckets.add(edge, amount);
                self.under = self.buckets.events();
            }
            Input::Over => {
                // Who starts reports more than once in a second; one series is then one number, not several.
                let again = shape == Shape::Number && self.heaviest_labels.as_ref() == Some(labels);
                self.over += if again { (amount - self.heaviest).max(0.0) } else { amount };
            }
            Input::Under => self.under += amount,
            Input::Load => self.load = Some(self.load.unwrap_or(0.0) + amount),
        }
        if input == Input::Over {
            self.has_over = true;
            if amount > self.heaviest {
                self.heaviest = amount;
                self.heaviest_labels = Some(labels.clone());
            }
        }
    }

    /// Whether of what was tried nothing failed.
    pub fn is_spotless(&self) -> bool {
        self.under > 0.0 && self.over == 0.0
    }

    /// What the report says, over so many seconds.
    pub fn reading(&self, shape: Shape, policy: &Policy, seconds: f64) -> Option<Reading> {
        let t_ms = self.t_ms;
        let enough = self.under >= policy.events;
        let of_events = |value: f64, judged: bool, thin: bool| Reading { t_ms, value, load: self.under / seconds, judged, thin };
        let has_events = self.has_over && self.under > 0.0;
        match shape {
            Shape::Mean if policy.smoothed => {
                let load = self.load.unwrap_or(0.0) / self.under;
                let value = self.over / self.under;
                has_events.then(|| Reading { t_ms, value, load: load / seconds, judged: load >= policy.events, thin: false })
            }
            Shape::Mean => has_events.then(|| of_events(self.over / self.under, enough, self.under < THIN_BELOW)),
            Shape::Quantile(percent) => {
                let thin = self.under * f64::from(100 - percent) / 100.0 < THIN_BEYOND;
                self.buckets.quantile(f64::from(percent) / 100.0).map(|value| of_events(value, enough, thin))
            }
            Shape::Share => has_events.then(|| {
                // So few are none: they neither alarm nor help later ones to.
                let value = if self.over >= policy.events { (self.over / self.under).min(1.0) } else { 0.0 };
                of_events(value, true, false)
            }),
            Shape::Number => {
                self.has_over.then_some(Reading { t_ms, value: self.over, load: self.under, judged: true, thin: false })
            }
        }
    }
}
