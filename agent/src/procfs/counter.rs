//! Differences of kernel counters: what was counted in a period, in the face of resets and of counters of 32 bits.

/// What a counter grew by. A counter that went back either wrapped at 32 bits (both readings fit, the old one in the top
/// eighth of the range, the new one in the lowest) or was reset: after a reset nothing is known, not even the new value.
pub fn grown(before: u64, now: u64) -> Option<u64> {
    const WRAP: u64 = 1 << 32;
    const EDGE: u64 = WRAP / 8;
    if now >= before {
        return Some(now - before);
    }
    ((WRAP - EDGE..WRAP).contains(&before) && now < EDGE).then(|| now + WRAP - before)
}

/// The same for readings that may be missing.
pub fn grown_between(before: Option<u64>, now: Option<u64>) -> Option<u64> {
    grown(before?, now?)
}

/// Growth per second.
pub fn rate(grown: Option<u64>, seconds: f64) -> Option<f64> {
    (seconds > 0.0).then_some(())?;
    Some(grown? as f64 / seconds)
}

/// `part` of `whole` in per cent; `None` when there is no whole.
pub fn percent(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then(|| part / whole * 100.0)
}

/// `sum` over `count`; `None` when nothing was counted.
pub fn mean(sum: Option<u64>, count: Option<u64>) -> Option<f64> {
    let count = count.filter(|count| *count > 0)?;
    Some(sum? as f64 / count as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_survives_a_wrap_of_32_bits_but_not_a_reset() {
        assert_eq!(grown(5, 12), Some(7));
        assert_eq!(grown(u64::from(u32::MAX) - 1, 3), Some(5));
        assert_eq!(grown(1_000_000, 10), None);
        assert_eq!(grown(1 << 40, 10), None);
        assert_eq!(grown(u64::from(u32::MAX), 1 << 31), None);
    }

    #[test]
    fn a_mean_of_nothing_is_missing() {
        assert_eq!(mean(Some(10), Some(0)), None);
        assert_eq!(mean(Some(10), Some(4)), Some(2.5));
        assert_eq!(percent(1.0, 0.0), None);
        assert_eq!(rate(Some(10), 0.0), None);
    }
}
