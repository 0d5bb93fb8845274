//! Quantiles and fractions of classic histograms, the kind with one cumulative series per bucket.

use super::math::almost_equal;

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    pub upper: f64,
    /// Observations up to the bound.
    pub count: f64,
}

/// Relative difference between two buckets that counts as floating point error.
const TOLERANCE: f64 = 1e-12;

/// Where counts had to be made to ascend.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Repair {
    pub min_bucket: f64,
    pub max_bucket: f64,
    pub max_difference: f64,
}

/// Sorted, equal bounds merged; none if the `+Inf` bucket is missing.
fn ordered(buckets: &mut Vec<Bucket>) -> bool {
    buckets.sort_by(|left, right| left.upper.total_cmp(&right.upper));
    if buckets.last().is_none_or(|last| last.upper != f64::INFINITY) {
        return false;
    }
    buckets.dedup_by(|later, earlier| {
        let same = later.upper == earlier.upper;
        if same {
            earlier.count += later.count;
        }
        same
    });
    true
}

fn make_monotonic(buckets: &mut [Bucket]) -> Option<Repair> {
    let mut repair: Option<Repair> = None;
    let mut previous = buckets[0].count;
    for bucket in &mut buckets[1..] {
        let current = bucket.count;
        if current == previous {
            continue;
        }
        if almost_equal(previous, current, TOLERANCE) {
            bucket.count = previous;
            continue;
        }
        if current < previous {
            bucket.count = previous;
            let entry =
                repair.get_or_insert(Repair { min_bucket: f64::INFINITY, max_bucket: f64::NEG_INFINITY, max_difference: 0.0 });
            entry.min_bucket = entry.min_bucket.min(bucket.upper);
            entry.max_bucket = entry.max_bucket.max(bucket.upper);
            entry.max_difference = entry.max_difference.max(previous - current);
            continue;
        }
        previous = current;
    }
    repair
}

/// The q-quantile, linear within a bucket, and what had to be repaired for it.
pub fn quantile(q: f64, buckets: &mut Vec<Bucket>) -> (f64, Option<Repair>) {
    if q.is_nan() {
        return (f64::NAN, None);
    }
    if q < 0.0 {
        return (f64::NEG_INFINITY, None);
    }
    if q > 1.0 {
        return (f64::INFINITY, None);
    }
    if !ordered(buckets) {
        return (f64::NAN, None);
    }
    let repair = make_monotonic(buckets);
    let last = buckets.len() - 1;
    let observations = buckets[last].count;
    if last == 0 || observations == 0.0 {
        return (f64::NAN, repair);
    }
    let mut rank = q * observations;
    // A NaN count or rank is never reached.
    let is_reached = |bucket: &Bucket| bucket.count >= rank;
    let index = buckets[..last].partition_point(|bucket| !is_reached(bucket));
    if index == last {
        return (buckets[last - 1].upper, repair);
    }
    if index == 0 && buckets[0].upper <= 0.0 {
        return (buckets[0].upper, repair);
    }
    let (mut start, end, mut count) = (0.0, buckets[index].upper, buckets[index].count);
    if index > 0 {
        start = buckets[index - 1].upper;
        count -= buckets[index - 1].count;
        rank -= buckets[index - 1].count;
    }
    (start + (end - start) * (rank / count), repair)
}

/// The share of observations between two values.
pub fn fraction(lower: f64, upper: f64, buckets: &mut Vec<Bucket>) -> f64 {
    if !ordered(buckets) {
        return f64::NAN;
    }
    let count = buckets[buckets.len() - 1].count;
    if count == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let (below_lower, below_upper) = (rank_of(lower, buckets).min(count), rank_of(upper, buckets).min(count));
    (below_upper - below_lower) / count
}

/// Observations up to a value, linear within its bucket.
fn rank_of(value: f64, buckets: &[Bucket]) -> f64 {
    let mut rank = 0.0;
    // With a positive first bound all observations are taken to be positive.
    let mut from = if buckets[0].upper <= 0.0 { f64::NEG_INFINITY } else { 0.0 };
    for bucket in buckets {
        if from >= value {
            return rank;
        }
        if bucket.upper > value {
            if from == f64::NEG_INFINITY {
                return bucket.count;
            }
            return rank + (bucket.count - rank) * (value - from) / (bucket.upper - from);
        }
        (rank, from) = (bucket.count, bucket.upper);
    }
    rank
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(pairs: &[(f64, f64)]) -> Vec<Bucket> {
        pairs.iter().map(|&(upper, count)| Bucket { upper, count }).collect()
    }

    #[test]
    fn quantiles_interpolate_within_the_bucket() {
        let mut data = buckets(&[(f64::INFINITY, 40.0), (1.0, 10.0), (2.0, 30.0)]);
        assert_eq!(quantile(0.5, &mut data).0, 1.5);
        assert_eq!(quantile(1.0, &mut data).0, 2.0);
    }

    #[test]
    fn decreasing_counts_are_repaired_and_reported() {
        let (value, repair) = quantile(0.5, &mut buckets(&[(1.0, 10.0), (2.0, 8.0), (f64::INFINITY, 20.0)]));
        assert_eq!(value, 1.0);
        assert_eq!(repair, Some(Repair { min_bucket: 2.0, max_bucket: 2.0, max_difference: 2.0 }));
    }

    #[test]
    fn fractions_are_shares() {
        let mut data = buckets(&[(1.0, 10.0), (2.0, 30.0), (f64::INFINITY, 40.0)]);
        assert_eq!(fraction(0.0, 1.5, &mut data), 0.5);
        assert_eq!(fraction(f64::NEG_INFINITY, f64::INFINITY, &mut data), 1.0);
        assert!(fraction(0.0, f64::NAN, &mut data).is_nan());
    }
}
