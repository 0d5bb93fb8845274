//! Values of a row: numbers, missing numbers, histograms; and how a field's Rust type becomes label text or a value.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// One metric of one row.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing was measured; not exported, never zero.
    Missing,
    Number(f64),
    Histogram(Box<Histogram>),
}

/// Counts per bucket of one report period (or since the start, as the field's semantics say).
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Histogram {
    /// Inclusive upper bounds, ascending.
    pub edges: &'static [u64],
    /// One count per edge and one more for what lies above the last; not cumulative.
    pub counts: Vec<u64>,
    pub sum: u64,
    pub max: u64,
}

impl Histogram {
    pub fn new(edges: &'static [u64]) -> Self {
        Self { edges, counts: vec![0; edges.len() + 1], sum: 0, max: 0 }
    }

    pub fn record(&mut self, value: u64) {
        let bucket = self.edges.partition_point(|edge| *edge < value);
        self.counts[bucket] += 1;
        self.sum = self.sum.saturating_add(value);
        self.max = self.max.max(value);
    }

    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Adds what another histogram over the same edges counted.
    pub fn merge(&mut self, other: &Histogram) {
        if self.counts.is_empty() {
            *self = other.clone();
            return;
        }
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.sum = self.sum.saturating_add(other.sum);
        self.max = self.max.max(other.max);
    }

    /// Linear interpolation inside the bucket; `quantile` in 0..=1; `None` without samples. The open bucket answers `max`.
    pub fn quantile(&self, quantile: f64) -> Option<f64> {
        let total = self.count();
        if total == 0 {
            return None;
        }
        let rank = quantile.clamp(0.0, 1.0) * total as f64;
        let mut below = 0u64;
        for (index, count) in self.counts.iter().enumerate() {
            if *count > 0 && (below + count) as f64 >= rank {
                let low = if index == 0 { 0 } else { self.edges[index - 1] };
                let high = self.edges.get(index).copied().unwrap_or(self.max).max(low);
                let share = ((rank - below as f64) / *count as f64).clamp(0.0, 1.0);
                return Some((low as f64 + share * (high - low) as f64).min(self.max as f64));
            }
            below += count;
        }
        Some(self.max as f64)
    }
}

/// Receives the label texts of a row in declaration order.
pub trait LabelSink {
    fn label(&mut self, name: &'static str, text: &str);
}

/// A type that can stand as a key or label.
pub trait LabelText {
    fn with_text(&self, f: &mut dyn FnMut(&str));
}

macro_rules! int_label {
    ($($t:ty),*) => {$(
        impl LabelText for $t {
            fn with_text(&self, f: &mut dyn FnMut(&str)) {
                f(itoa::Buffer::new().format(*self));
            }
        }
        impl FieldValue for $t {
            fn to_value(&self) -> Value {
                Value::Number(*self as f64)
            }
        }
    )*};
}

/// A type that can stand as a metric.
pub trait FieldValue {
    fn to_value(&self) -> Value;
}

int_label!(u8, u16, u32, u64, i32, i64, usize);

/// Shares, percentages and means are measured to a few digits; the rest is noise of their division, and costs a store ten
/// times what the number does.
const FRACTION: f64 = 1e5;

impl FieldValue for f64 {
    fn to_value(&self) -> Value {
        if !self.is_finite() {
            return Value::Missing;
        }
        let scaled = *self * FRACTION;
        // The sum makes zero of minus zero.
        Value::Number(if scaled.abs() < 9e15 { scaled.round() / FRACTION + 0.0 } else { *self })
    }
}

impl FieldValue for bool {
    fn to_value(&self) -> Value {
        Value::Number(f64::from(u8::from(*self)))
    }
}

impl FieldValue for Histogram {
    fn to_value(&self) -> Value {
        if self.counts.is_empty() { Value::Missing } else { Value::Histogram(Box::new(self.clone())) }
    }
}

impl<T: FieldValue> FieldValue for Option<T> {
    fn to_value(&self) -> Value {
        self.as_ref().map_or(Value::Missing, FieldValue::to_value)
    }
}

impl LabelText for String {
    fn with_text(&self, f: &mut dyn FnMut(&str)) {
        f(self);
    }
}

impl LabelText for &'static str {
    fn with_text(&self, f: &mut dyn FnMut(&str)) {
        f(self);
    }
}

impl LabelText for Cow<'static, str> {
    fn with_text(&self, f: &mut dyn FnMut(&str)) {
        f(self);
    }
}

impl LabelText for std::sync::Arc<str> {
    fn with_text(&self, f: &mut dyn FnMut(&str)) {
        f(self);
    }
}

impl<T: LabelText> LabelText for Option<T> {
    fn with_text(&self, f: &mut dyn FnMut(&str)) {
        match self {
            Some(inner) => inner.with_text(f),
            None => f(""),
        }
    }
}

impl LabelText for IpAddr {
    fn with_text(&self, f: &mut dyn FnMut(&str)) {
        f(&self.to_string());
    }
}

impl LabelText for Ipv4Addr {
    fn with_text(&self, f: &mut dyn FnMut(&str)) {
        f(&self.to_string());
    }
}

impl LabelText for Ipv6Addr {
    fn with_text(&self, f: &mut dyn FnMut(&str)) {
        f(&self.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EDGES: &[u64] = &[10, 20, 50];

    #[test]
    fn fractions_end_after_five_digits_and_what_is_no_number_is_missing() {
        assert_eq!((100.0 / 3.0).to_value(), Value::Number(33.33333));
        assert_eq!((-2e-6).to_value(), Value::Number(0.0));
        assert_eq!(1e300.to_value(), Value::Number(1e300));
        assert_eq!(f64::NAN.to_value(), Value::Missing);
    }

    #[test]
    fn a_value_on_an_edge_counts_below_it() {
        let mut histogram = Histogram::new(EDGES);
        for value in [0, 10, 11, 50, 51] {
            histogram.record(value);
        }
        assert_eq!(histogram.counts, [2, 1, 1, 1]);
        assert_eq!((histogram.sum, histogram.max, histogram.count()), (122, 51, 5));
    }

    #[test]
    fn quantiles_stay_inside_their_bucket_and_below_the_maximum() {
        let mut histogram = Histogram::new(EDGES);
        for value in 1..=40 {
            histogram.record(value);
        }
        let median = histogram.quantile(0.5).unwrap();
        assert!((10.0..=20.0).contains(&median), "{median}");
        assert!(histogram.quantile(1.0).unwrap() <= 40.0);
        assert_eq!(Histogram::new(EDGES).quantile(0.5), None);
    }
}
