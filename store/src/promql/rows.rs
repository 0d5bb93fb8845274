//! Result rows: one series with a value per evaluation step. Only the span from the first to the last present value is
//! kept, so series that lived for a moment cost a moment.

use ahash::AHashMap;

use crate::{Labels, STALE_NAN_BITS, is_stale};

use super::eval::Failure;

/// Marks a step without a value. Results are never this NaN: it is the staleness marker, which selectors take out.
const ABSENT: f64 = f64::from_bits(STALE_NAN_BITS);

/// The times a (sub)expression is evaluated at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Steps {
    pub start_ms: i64,
    pub interval_ms: i64,
    pub count: usize,
}

impl Steps {
    pub fn between(start_ms: i64, end_ms: i64, interval_ms: i64) -> Self {
        let interval_ms = interval_ms.max(1);
        let count = if end_ms < start_ms { 0 } else { ((end_ms - start_ms) / interval_ms) as usize + 1 };
        Self { start_ms, interval_ms, count }
    }

    pub fn once(at_ms: i64) -> Self {
        Self { start_ms: at_ms, interval_ms: 1, count: 1 }
    }

    pub fn time(self, step: usize) -> i64 {
        self.start_ms + step as i64 * self.interval_ms
    }

    pub fn last_ms(self) -> i64 {
        self.time(self.count.saturating_sub(1))
    }

    pub fn times(self) -> impl Iterator<Item = (usize, i64)> {
        (0..self.count).map(move |step| (step, self.time(step)))
    }
}

#[derive(Clone, Debug)]
pub(super) struct Row {
    pub labels: Labels,
    first: usize,
    values: Vec<f64>,
}

impl Row {
    pub fn new(labels: Labels) -> Self {
        Self { labels, first: 0, values: Vec::new() }
    }

    pub fn with_capacity(labels: Labels, steps: usize) -> Self {
        Self { labels, first: 0, values: Vec::with_capacity(steps) }
    }

    /// Steps must ascend.
    #[inline]
    pub fn push(&mut self, step: usize, value: f64) {
        if self.values.is_empty() {
            self.first = step;
        }
        let wanted = step - self.first;
        while self.values.len() < wanted {
            self.values.push(ABSENT);
        }
        self.values.push(value);
    }

    #[inline]
    pub fn get(&self, step: usize) -> Option<f64> {
        let value = *self.values.get(step.checked_sub(self.first)?)?;
        (!is_stale(value)).then_some(value)
    }

    /// Steps that have a value.
    pub fn iter(&self) -> impl Iterator<Item = (usize, f64)> + '_ {
        let first = self.first;
        self.values.iter().enumerate().filter(|(_, value)| !is_stale(**value)).map(move |(index, value)| (first + index, *value))
    }

    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Memory in samples.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    pub fn map(&mut self, change: impl Fn(f64) -> f64) {
        for value in &mut self.values {
            if !is_stale(*value) {
                *value = change(*value);
            }
        }
    }

    /// The row with what `change` makes of each value; steps it has nothing for are left out.
    pub fn filter_map(&self, labels: Labels, mut change: impl FnMut(usize, f64) -> Option<f64>) -> Row {
        let mut out = Row::with_capacity(labels, self.values.len());
        for (step, value) in self.iter() {
            if let Some(value) = change(step, value) {
                out.push(step, value);
            }
        }
        out
    }

    /// The single value repeated at every step.
    pub fn spread(&mut self, steps: usize) {
        if let Some(&value) = self.values.first() {
            self.first = 0;
            self.values = vec![value; steps];
        }
    }
}

/// Rows by the labels of the stored series they come from, gathered slice by slice.
#[derive(Default)]
pub(super) struct RowSet {
    rows: Vec<Row>,
    places: AHashMap<Labels, usize>,
}

impl RowSet {
    /// The row of a series; `labels` makes those of the result.
    pub fn of(&mut self, source: &Labels, steps: usize, labels: impl FnOnce() -> Labels) -> &mut Row {
        let place = match self.places.get(source) {
            Some(&place) => place,
            None => {
                self.places.insert(source.clone(), self.rows.len());
                self.rows.push(Row::with_capacity(labels(), steps));
                self.rows.len() - 1
            }
        };
        &mut self.rows[place]
    }

    pub fn into_rows(mut self) -> Vec<Row> {
        self.rows.retain(|row| !row.is_empty());
        self.rows
    }
}

pub(super) const SAME_LABELSET: &str = "vector cannot contain metrics with the same labelset";

fn same_labelset<T>() -> Result<T, Failure> {
    Err(Failure::Execution(SAME_LABELSET.into()))
}

/// Fails if two rows carry the same labels.
pub(super) fn require_distinct(rows: &[Row]) -> Result<(), Failure> {
    let mut seen = ahash::AHashSet::with_capacity(rows.len());
    if rows.iter().all(|row| seen.insert(&row.labels)) { Ok(()) } else { same_labelset() }
}

/// Joins rows with the same labels; fails if two of them have a value at the same step. Empty rows go.
pub(super) fn merge(rows: Vec<Row>) -> Result<Vec<Row>, Failure> {
    let mut places: AHashMap<Labels, usize> = AHashMap::with_capacity(rows.len());
    let mut out: Vec<Row> = Vec::with_capacity(rows.len());
    for row in rows {
        if row.is_empty() {
            continue;
        }
        match places.get(&row.labels) {
            None => {
                places.insert(row.labels.clone(), out.len());
                out.push(row);
            }
            Some(&place) => out[place] = join(&out[place], &row)?,
        }
    }
    Ok(out)
}

fn join(left: &Row, right: &Row) -> Result<Row, Failure> {
    let first = left.first.min(right.first);
    let end = (left.first + left.len()).max(right.first + right.len());
    let mut out = Row::with_capacity(left.labels.clone(), end - first);
    for step in first..end {
        match (left.get(step), right.get(step)) {
            (Some(_), Some(_)) => return same_labelset(),
            (Some(value), None) | (None, Some(value)) => out.push(step, value),
            (None, None) => {}
        }
    }
    Ok(out)
}
