//! Functions on how a series moves within a window: rate, increase, delta and their kin, with counter resets and the
//! extrapolation Prometheus does at the window's edges.

use crate::Sample;

/// How far a selector may look beyond its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Samples after `start_ms` up to `end_ms`.
    Plain,
    /// Also the last sample at or before the start, within the lookback.
    Anchored,
    /// Also the samples around both ends, to interpolate the values there.
    Smoothed,
}

/// The samples of one series that one evaluation sees; stale markers are gone.
pub struct Window<'a> {
    pub samples: &'a [Sample],
    /// Start of the range; left out.
    pub start_ms: i64,
    pub end_ms: i64,
    /// Time of evaluation, without the offset.
    pub eval_ms: i64,
    pub range_seconds: f64,
    pub reach: Reach,
    /// How often a value falls below the one before it.
    pub drops: usize,
}

type Outcome = Result<Option<f64>, String>;

pub fn rate(window: &Window, _: &[f64]) -> Outcome {
    Ok(movement(window, true).map(|total| total / window.range_seconds))
}

pub fn increase(window: &Window, _: &[f64]) -> Outcome {
    Ok(movement(window, true))
}

pub fn delta(window: &Window, _: &[f64]) -> Outcome {
    Ok(movement(window, false))
}

fn movement(window: &Window, is_counter: bool) -> Option<f64> {
    match window.reach {
        Reach::Plain => extrapolated(window, is_counter),
        Reach::Anchored | Reach::Smoothed => between_edges(window, is_counter),
    }
}

fn extrapolated(window: &Window, is_counter: bool) -> Option<f64> {
    let samples = window.samples;
    let [first, .., last] = samples else { return None };
    let mut total = last.value - first.value;
    if is_counter && window.drops > 0 {
        let mut previous = first.value;
        for sample in &samples[1..] {
            if sample.value < previous {
                total += previous;
            }
            previous = sample.value;
        }
    }
    let sampled = (last.t_ms - first.t_ms) as f64 / 1000.0;
    let average_gap = sampled / (samples.len() - 1) as f64;
    // A sample nearer to the edge than this is taken to mean that the series goes on to the edge.
    let threshold = average_gap * 1.1;
    let mut to_start = (first.t_ms - window.start_ms) as f64 / 1000.0;
    let mut to_end = (window.end_ms - last.t_ms) as f64 / 1000.0;
    if to_start >= threshold {
        to_start = average_gap / 2.0;
    }
    if is_counter && total > 0.0 && first.value >= 0.0 {
        // A counter does not start below zero.
        to_start = to_start.min(sampled * (first.value / total));
    }
    if to_end >= threshold {
        to_end = average_gap / 2.0;
    }
    let factor = if sampled == 0.0 { 1.0 } else { (sampled + to_start + to_end) / sampled };
    Some(total * factor)
}

/// The value at a time between two samples; after a reset a counter is taken to start from zero.
pub fn interpolate(left: Sample, right: Sample, t_ms: i64, is_counter: bool) -> f64 {
    let from = if is_counter && right.value < left.value { 0.0 } else { left.value };
    from + (right.value - from) * (t_ms - left.t_ms) as f64 / (right.t_ms - left.t_ms) as f64
}

/// First and last sample that matter for an anchored or smoothed window.
fn edges(window: &Window) -> Option<(usize, usize)> {
    let samples = window.samples;
    let mut last = samples.len().checked_sub(1)?;
    let first = samples[..last].partition_point(|sample| sample.t_ms <= window.start_ms).saturating_sub(1);
    if window.reach == Reach::Smoothed {
        last = samples[..last].partition_point(|sample| sample.t_ms < window.end_ms);
    }
    let outside =
        samples[last].t_ms <= window.start_ms || (window.reach == Reach::Smoothed && samples[first].t_ms > window.end_ms);
    (!outside).then_some((first, last))
}

fn edge_values(window: &Window, first: usize, last: usize, is_counter: bool) -> (f64, f64) {
    let samples = window.samples;
    let smoothed = window.reach == Reach::Smoothed;
    let left = if smoothed && samples[first].t_ms < window.start_ms && first + 1 < samples.len() {
        interpolate(samples[first], samples[first + 1], window.start_ms, is_counter)
    } else {
        samples[first].value
    };
    let right = if smoothed && last > 0 && samples[last].t_ms > window.end_ms {
        interpolate(samples[last - 1], samples[last], window.end_ms, is_counter)
    } else {
        samples[last].value
    };
    (left, right)
}

fn between_edges(window: &Window, is_counter: bool) -> Option<f64> {
    let (first, last) = edges(window)?;
    let (left, right) = edge_values(window, first, last, is_counter);
    let mut total = right - left;
    if is_counter {
        let from = first + usize::from(window.samples[first].t_ms <= window.start_ms);
        let to = last + usize::from(window.samples[last].t_ms < window.end_ms);
        let mut previous = left;
        for sample in window.samples.get(from..to).unwrap_or_default() {
            if sample.value < previous {
                total += previous;
            }
            previous = sample.value;
        }
        if right < previous {
            total += previous;
        }
    }
    Some(total)
}

/// What an anchored or smoothed range selector shows: the samples inside and the values at both edges.
pub fn extended_samples(window: &Window) -> Vec<Sample> {
    let Some((first, last)) = edges(window) else { return Vec::new() };
    let (left, right) = edge_values(window, first, last, false);
    let from = first + usize::from(window.samples[first].t_ms <= window.start_ms);
    let to = last + usize::from(window.samples[last].t_ms < window.end_ms);
    let mut out = vec![Sample { t_ms: window.start_ms, value: left }];
    out.extend_from_slice(window.samples.get(from..to).unwrap_or_default());
    out.push(Sample { t_ms: window.end_ms, value: right });
    out
}

fn last_two<'a>(window: &'a Window) -> Option<(&'a Sample, &'a Sample)> {
    let [.., previous, last] = window.samples else { return None };
    (last.t_ms != previous.t_ms).then_some((previous, last))
}

pub fn irate(window: &Window, _: &[f64]) -> Outcome {
    Ok(last_two(window).map(|(previous, last)| {
        let total = if last.value < previous.value { last.value } else { last.value - previous.value };
        total / ((last.t_ms - previous.t_ms) as f64 / 1000.0)
    }))
}

pub fn idelta(window: &Window, _: &[f64]) -> Outcome {
    Ok(last_two(window).map(|(previous, last)| last.value - previous.value))
}

/// The samples to compare with each other; with an anchor, from the last one at or before the start.
fn compared<'a>(window: &Window<'a>) -> &'a [Sample] {
    if window.reach != Reach::Anchored {
        return window.samples;
    }
    let after = window.samples.partition_point(|sample| sample.t_ms <= window.start_ms);
    if after == window.samples.len() { &[] } else { &window.samples[after.saturating_sub(1)..] }
}

fn count_pairs(window: &Window, differs: impl Fn(f64, f64) -> bool) -> Outcome {
    let samples = compared(window);
    if samples.is_empty() {
        return Ok(None);
    }
    let count = samples.windows(2).filter(|pair| differs(pair[0].value, pair[1].value)).count();
    Ok(Some(count as f64))
}

pub fn resets(window: &Window, _: &[f64]) -> Outcome {
    count_pairs(window, |previous, current| current < previous)
}

pub fn changes(window: &Window, _: &[f64]) -> Outcome {
    count_pairs(window, |previous, current| current != previous && !(current.is_nan() && previous.is_nan()))
}
