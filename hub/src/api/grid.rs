//! Samples on an even grid of times: last values, rates of counters, quantiles of histograms, means; gaps are null.

use std::collections::BTreeMap;

use gala_store::{Sample, Series};

pub type Points = Vec<(i64, Option<f64>)>;

/// The points of an answer: `from`, `from + step`, ... up to `to`.
#[derive(Clone, Copy)]
pub struct Grid {
    pub from: i64,
    pub to: i64,
    pub step: i64,
}

/// Newest sample of each step; null where there is none.
pub fn last_points(samples: &[Sample], grid: Grid) -> Points {
    let mut points = Points::new();
    let mut index = 0;
    let mut at = grid.from;
    while at <= grid.to {
        let mut value = None;
        while index < samples.len() && samples[index].t_ms <= at {
            if samples[index].t_ms > at - grid.step.max(10_000) && samples[index].value.is_finite() {
                value = Some(samples[index].value);
            }
            index += 1;
        }
        points.push((at, value));
        at += grid.step;
    }
    points
}

/// Increase per second in each step; a counter that fell was reset and counts from zero.
pub fn rate_points(samples: &[Sample], grid: Grid) -> Points {
    let mut points = Points::new();
    let mut at = grid.from;
    while at <= grid.to {
        let start = samples.partition_point(|sample| sample.t_ms <= at - grid.step.max(10_000));
        let end = samples.partition_point(|sample| sample.t_ms <= at);
        let window = &samples[start.saturating_sub(1).min(end)..end];
        let value = match (window.first(), window.last()) {
            (Some(first), Some(last)) if last.t_ms > first.t_ms && at - last.t_ms < grid.step.max(15_000) => {
                let increase: f64 = window
                    .windows(2)
                    .map(|pair| if pair[1].value < pair[0].value { pair[1].value } else { pair[1].value - pair[0].value })
                    .sum();
                Some(increase / ((last.t_ms - first.t_ms) as f64 / 1000.0))
            }
            _ => None,
        };
        points.push((at, value));
        at += grid.step;
    }
    points
}

/// Quantiles per step from the bucket series, in the order asked.
pub fn quantile_points(series: &[Series], is_counter: bool, quantiles: &[f64], grid: Grid) -> Vec<Points> {
    let mut buckets: BTreeMap<u64, (f64, Vec<Points>)> = BTreeMap::new();
    for one in series {
        let Some(edge) = one.labels.get("le").and_then(|le| if le == "+Inf" { Some(f64::INFINITY) } else { le.parse().ok() })
        else {
            continue;
        };
        let points = if is_counter { rate_points(&one.samples, grid) } else { last_points(&one.samples, grid) };
        // Non-negative floats order like their bits.
        buckets.entry(edge.to_bits()).or_insert_with(|| (edge, Vec::new())).1.push(points);
    }
    let count = buckets.values().next().map_or(0, |(_, lines)| lines.first().map_or(0, Vec::len));
    let mut lines = vec![Points::with_capacity(count); quantiles.len()];
    for index in 0..count {
        let at = grid.from + index as i64 * grid.step;
        let cumulative: Vec<(f64, f64)> =
            buckets.values().map(|(edge, lines)| (*edge, lines.iter().filter_map(|points| points[index].1).sum())).collect();
        for (line, quantile) in lines.iter_mut().zip(quantiles) {
            line.push((at, bucket_quantile(*quantile, &cumulative)));
        }
    }
    lines
}

/// What a sum grew by, per event that its count grew by, over all series together; null where nothing happened.
pub fn mean_points(sums: &[Series], counts: &[Series], is_counter: bool, grid: Grid) -> Points {
    let total = |series: &[Series]| -> BTreeMap<i64, f64> {
        let mut total = BTreeMap::new();
        for one in series {
            let points = if is_counter { rate_points(&one.samples, grid) } else { last_points(&one.samples, grid) };
            points.into_iter().for_each(|(at, value)| *total.entry(at).or_default() += value.unwrap_or(0.0));
        }
        total
    };
    let (sums, counts) = (total(sums), total(counts));
    counts.iter().map(|(at, count)| (*at, sums.get(at).filter(|_| *count > 0.0).map(|sum| sum / count))).collect()
}

/// Linear interpolation inside the bucket, as Prometheus does it; the open bucket answers the last edge.
fn bucket_quantile(quantile: f64, cumulative: &[(f64, f64)]) -> Option<f64> {
    let total = cumulative.last()?.1;
    if total <= 0.0 {
        return None;
    }
    let rank = quantile * total;
    let index = cumulative.iter().position(|(_, count)| *count >= rank)?;
    let (low, below) = if index == 0 { (0.0, 0.0) } else { cumulative[index - 1] };
    let (high, count) = cumulative[index];
    if high.is_infinite() || count <= below {
        return Some(low);
    }
    Some(low + (high - low) * (rank - below) / (count - below))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRID: Grid = Grid { from: 0, to: 40_000, step: 10_000 };

    fn samples(pairs: &[(i64, f64)]) -> Vec<Sample> {
        pairs.iter().map(|(t_ms, value)| Sample { t_ms: *t_ms, value: *value }).collect()
    }

    #[test]
    fn a_gap_is_null_and_not_zero() {
        let points = last_points(&samples(&[(0, 1.0), (10_000, 2.0), (40_000, 5.0)]), GRID);
        assert_eq!(points.iter().map(|point| point.1).collect::<Vec<_>>(), [Some(1.0), Some(2.0), None, None, Some(5.0)]);
    }

    #[test]
    fn a_reset_counter_does_not_go_backwards() {
        let points = rate_points(&samples(&[(0, 100.0), (10_000, 200.0), (20_000, 50.0), (30_000, 60.0)]), GRID);
        let rates: Vec<f64> = points.iter().filter_map(|point| point.1).collect();
        assert!(rates.iter().all(|rate| *rate >= 0.0), "{rates:?}");
        assert_eq!(points[1].1, Some(10.0));
        assert_eq!(points[2].1, Some(5.0));
    }

    #[test]
    fn quantiles_interpolate_and_the_open_bucket_answers_the_last_edge() {
        let cumulative = [(10.0, 50.0), (20.0, 100.0), (f64::INFINITY, 100.0)];
        assert_eq!(bucket_quantile(0.5, &cumulative), Some(10.0));
        assert_eq!(bucket_quantile(0.75, &cumulative), Some(15.0));
        assert_eq!(bucket_quantile(0.9, &[(10.0, 1.0), (f64::INFINITY, 10.0)]), Some(10.0));
        assert_eq!(bucket_quantile(0.9, &[(10.0, 0.0)]), None);
    }
}
