//! Robust measures on short windows: what lasts, each series' own null, nats. A gap is NaN and is never filled.

/// Quantile by linear interpolation over the finite values; `None` without any.
pub fn quantile(values: &[f64], q: f64) -> Option<f64> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    if sorted.is_empty() {
        return None;
    }
    sorted.sort_by(f64::total_cmp);
    let rank = q.clamp(0.0, 1.0) * (sorted.len() - 1) as f64;
    let low = rank.floor() as usize;
    let high = (low + 1).min(sorted.len() - 1);
    Some(sorted[low] + (sorted[high] - sorted[low]) * (rank - low as f64))
}

pub fn median(values: &[f64]) -> Option<f64> {
    quantile(values, 0.5)
}

/// The k-th largest finite value, `k = max(2, ceil(window / 8))`: a level that lasts, not a spike. `window` is the length the
/// window has with its gaps. With fewer than `k` values there is nothing that lasts.
pub fn sustained(values: &[f64], window: usize) -> Option<f64> {
    let k = window.div_ceil(8).max(2);
    let mut sorted: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    if sorted.len() < k {
        return None;
    }
    sorted.sort_by(|left, right| right.total_cmp(left));
    Some(sorted[k - 1])
}

/// The lasting part above the window's best sample.
pub fn contrast(values: &[f64], window: usize) -> Option<f64> {
    let least = values.iter().copied().filter(|value| value.is_finite()).fold(f64::INFINITY, f64::min);
    Some(sustained(values, window)? - least)
}

/// Quantile `q` of a measure over every gap-free window of `length` samples: the series' own null.
pub fn own_null(baseline: &[f64], length: usize, q: f64, measure: impl Fn(&[f64]) -> Option<f64>) -> Option<f64> {
    if length == 0 || baseline.len() < length {
        return None;
    }
    let values: Vec<f64> =
        baseline.windows(length).filter(|window| window.iter().all(|value| value.is_finite())).filter_map(&measure).collect();
    quantile(&values, q)
}

/// Evidence of leaving the own range `ratio`-fold, in nats.
pub fn nats(ratio: f64, steep: f64, cap: f64) -> f64 {
    if ratio > 1.0 { (steep * ratio.ln()).min(cap) } else { 0.0 }
}

/// Covariance, variance of `y`, and correlation over the pairs where both are finite.
pub fn co_moments(x: &[f64], y: &[f64]) -> Option<(f64, f64, f64)> {
    let pairs: Vec<(f64, f64)> =
        x.iter().copied().zip(y.iter().copied()).filter(|(a, b)| a.is_finite() && b.is_finite()).collect();
    if pairs.len() < 2 {
        return None;
    }
    let n = pairs.len() as f64;
    let (mean_x, mean_y) = (pairs.iter().map(|pair| pair.0).sum::<f64>() / n, pairs.iter().map(|pair| pair.1).sum::<f64>() / n);
    let (mut cov, mut var_x, mut var_y) = (0.0, 0.0, 0.0);
    for (a, b) in pairs {
        cov += (a - mean_x) * (b - mean_y);
        var_x += (a - mean_x).powi(2);
        var_y += (b - mean_y).powi(2);
    }
    let scale = (var_x * var_y).sqrt();
    Some((cov / n, var_y / n, if scale > 0.0 { cov / scale } else { 0.0 }))
}

/// Sums of both over the samples that both have.
pub fn sums_of_both(one: &[f64], other: &[f64]) -> (f64, f64) {
    let both = one.iter().zip(other).filter(|(one, other)| one.is_finite() && other.is_finite());
    both.fold((0.0, 0.0), |sums, (one, other)| (sums.0 + one, sums.1 + other))
}

/// Finite values in a slice.
pub fn finite_count(values: &[f64]) -> usize {
    values.iter().filter(|value| value.is_finite()).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spike_does_not_last() {
        assert_eq!(sustained(&[1.0, 1.0, 90.0, 1.0, 1.0], 5), Some(1.0));
        assert_eq!(sustained(&[1.0, 80.0, 90.0, 1.0, 1.0], 5), Some(80.0));
        assert_eq!(sustained(&[f64::NAN, 3.0], 5), None);
    }

    #[test]
    fn windows_with_gaps_do_not_enter_the_null() {
        let baseline = [1.0, 2.0, f64::NAN, 50.0, 60.0, 1.0, 1.0, 1.0];
        let null = own_null(&baseline, 3, 1.0, |window| sustained(window, 3));
        assert_eq!(null, Some(50.0));
        assert_eq!(own_null(&baseline[..2], 3, 1.0, |window| sustained(window, 3)), None);
    }

    #[test]
    fn inside_the_own_range_there_is_no_evidence() {
        assert_eq!(nats(0.99, 2.0, 8.0), 0.0);
        assert_eq!(nats(f64::NAN, 2.0, 8.0), 0.0);
        assert!((nats(std::f64::consts::E, 2.0, 8.0) - 2.0).abs() < 1e-12);
        assert_eq!(nats(1e9, 2.0, 8.0), 8.0);
    }

    #[test]
    fn constant_series_have_no_correlation() {
        let (_, _, rho) = co_moments(&[1.0, 1.0, 1.0], &[1.0, 2.0, 3.0]).unwrap();
        assert_eq!(rho, 0.0);
    }
}
