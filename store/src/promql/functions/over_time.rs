//! Functions that sum up a window: `*_over_time`, regression and smoothing.

use super::math::{self, Kahan, Mean};
use super::rate::Window;

type Outcome = Result<Option<f64>, String>;

fn values<'a>(window: &'a Window) -> impl Iterator<Item = f64> + 'a {
    window.samples.iter().map(|sample| sample.value)
}

fn seconds(t_ms: i64) -> f64 {
    t_ms as f64 / 1000.0
}

pub fn avg(window: &Window, _: &[f64]) -> Outcome {
    let mut values = values(window);
    let Some(first) = values.next() else { return Ok(None) };
    let mut mean = Mean::of(first);
    values.for_each(|value| mean.add(value));
    Ok(Some(mean.value()))
}

pub fn sum(window: &Window, _: &[f64]) -> Outcome {
    let mut sum = Kahan::default();
    values(window).for_each(|value| sum.add(value));
    Ok(Some(if sum.sum.is_infinite() { sum.sum } else { sum.total() }))
}

pub fn count(window: &Window, _: &[f64]) -> Outcome {
    Ok(Some(window.samples.len() as f64))
}

pub fn present(_: &Window, _: &[f64]) -> Outcome {
    Ok(Some(1.0))
}

pub fn first(window: &Window, _: &[f64]) -> Outcome {
    Ok(window.samples.first().map(|sample| sample.value))
}

pub fn last(window: &Window, _: &[f64]) -> Outcome {
    Ok(window.samples.last().map(|sample| sample.value))
}

pub fn time_of_first(window: &Window, _: &[f64]) -> Outcome {
    Ok(window.samples.first().map(|sample| seconds(sample.t_ms)))
}

pub fn time_of_last(window: &Window, _: &[f64]) -> Outcome {
    Ok(window.samples.last().map(|sample| seconds(sample.t_ms)))
}

/// The sample that wins every comparison; NaN loses against anything.
fn best(window: &Window, beats: fn(f64, f64) -> bool) -> Option<crate::Sample> {
    let first = *window.samples.first()?;
    Some(window.samples.iter().fold(
        first,
        |best, sample| {
            if beats(sample.value, best.value) || best.value.is_nan() { *sample } else { best }
        },
    ))
}

pub fn max(window: &Window, _: &[f64]) -> Outcome {
    Ok(best(window, |value, best| value > best).map(|sample| sample.value))
}

pub fn min(window: &Window, _: &[f64]) -> Outcome {
    Ok(best(window, |value, best| value < best).map(|sample| sample.value))
}

/// The last time the maximum was there.
pub fn time_of_max(window: &Window, _: &[f64]) -> Outcome {
    Ok(best(window, |value, best| value >= best).map(|sample| seconds(sample.t_ms)))
}

/// The last time the minimum was there.
pub fn time_of_min(window: &Window, _: &[f64]) -> Outcome {
    Ok(best(window, |value, best| value <= best).map(|sample| seconds(sample.t_ms)))
}

/// Median of the distances from the median.
pub fn mad(window: &Window, _: &[f64]) -> Outcome {
    if window.samples.is_empty() {
        return Ok(None);
    }
    let mut all: Vec<f64> = values(window).collect();
    if all.iter().any(|value| value.is_nan()) {
        return Ok(Some(f64::NAN));
    }
    let median = math::quantile(0.5, &mut all);
    all.iter_mut().for_each(|value| *value = (*value - median).abs());
    Ok(Some(math::quantile(0.5, &mut all)))
}

pub fn quantile(window: &Window, args: &[f64]) -> Outcome {
    let mut all: Vec<f64> = values(window).collect();
    Ok(Some(math::quantile(args[0], &mut all)))
}

/// Welford's variance with compensated sums.
fn variance(window: &Window) -> f64 {
    let (mut count, mut mean, mut squares) = (0.0, Kahan::default(), Kahan::default());
    for value in values(window) {
        count += 1.0;
        let delta = value - mean.total();
        mean.add(delta / count);
        squares.add(delta * (value - mean.total()));
    }
    squares.total() / count
}

pub fn stdvar(window: &Window, _: &[f64]) -> Outcome {
    Ok(Some(variance(window)))
}

pub fn stddev(window: &Window, _: &[f64]) -> Outcome {
    Ok(Some(variance(window).sqrt()))
}

/// Least squares: slope per second and the value at `zero_ms`.
fn regression(window: &Window, zero_ms: i64) -> (f64, f64) {
    let first = window.samples[0].value;
    if window.samples.iter().all(|sample| sample.value == first) {
        return if first.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first) };
    }
    let (mut x_sum, mut y_sum, mut xy_sum, mut xx_sum) = (Kahan::default(), Kahan::default(), Kahan::default(), Kahan::default());
    for sample in window.samples {
        let x = (sample.t_ms - zero_ms) as f64 / 1e3;
        x_sum.add(x);
        y_sum.add(sample.value);
        xy_sum.add(x * sample.value);
        xx_sum.add(x * x);
    }
    let n = window.samples.len() as f64;
    let (x, y, xy, xx) = (x_sum.total(), y_sum.total(), xy_sum.total(), xx_sum.total());
    let slope = (xy - x * y / n) / (xx - x * x / n);
    (slope, y / n - slope * x / n)
}

pub fn deriv(window: &Window, _: &[f64]) -> Outcome {
    if window.samples.len() < 2 {
        return Ok(None);
    }
    Ok(Some(regression(window, window.samples[0].t_ms).0))
}

pub fn predict_linear(window: &Window, args: &[f64]) -> Outcome {
    if window.samples.len() < 2 {
        return Ok(None);
    }
    let (slope, intercept) = regression(window, window.eval_ms);
    Ok(Some(slope * args[0] + intercept))
}

pub fn double_exponential_smoothing(window: &Window, args: &[f64]) -> Outcome {
    let (smoothing, trend) = (args[0], args[1]);
    for (name, factor, symbol) in [("smoothing", smoothing, "sf"), ("trend", trend, "tf")] {
        if factor <= 0.0 || factor >= 1.0 {
            return Err(format!("invalid {name} factor. Expected: 0 < {symbol} < 1, got: {factor:.6}"));
        }
    }
    let [first, second, ..] = window.samples else { return Ok(None) };
    let (mut previous, mut level) = (0.0, first.value);
    let mut slope = second.value - first.value;
    for (index, sample) in window.samples.iter().enumerate().skip(1) {
        if index > 1 {
            slope = trend * (level - previous) + (1.0 - trend) * slope;
        }
        let next = smoothing * sample.value + (1.0 - smoothing) * (level + slope);
        (previous, level) = (level, next);
    }
    Ok(Some(level))
}
