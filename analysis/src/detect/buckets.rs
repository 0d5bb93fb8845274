//! The buckets of one report of a histogram, and the quantiles they tell.

/// Events up to each edge, by rising edge; the last edge is infinite.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Buckets {
    up_to: Vec<(f64, f64)>,
}

impl Buckets {
    /// More events up to an edge.
    pub fn add(&mut self, edge: f64, events: f64) {
        let at = self.up_to.partition_point(|(known, _)| *known < edge);
        match self.up_to.get_mut(at) {
            Some((known, sum)) if *known == edge => *sum += events,
            _ => self.up_to.insert(at, (edge, events)),
        }
    }

    pub fn merge(&mut self, other: &Self) {
        other.up_to.iter().for_each(|(edge, events)| self.add(*edge, *events));
    }

    /// All events; 0 without the infinite edge.
    pub fn events(&self) -> f64 {
        self.up_to.last().filter(|(edge, _)| edge.is_infinite()).map_or(0.0, |(_, events)| *events)
    }

    /// The value that a share of the events does not exceed, linear within a bucket as PromQL's `histogram_quantile` has
    /// it; beyond the last finite edge that edge. `None` without events.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let events = self.events();
        if events <= 0.0 {
            return None;
        }
        let rank = share * events;
        let (mut low, mut below) = (0.0, 0.0);
        for (edge, up_to) in &self.up_to {
            if *up_to >= rank && edge.is_finite() {
                let inside = up_to - below;
                return Some(if inside > 0.0 { low + (edge - low) * (rank - below) / inside } else { *edge });
            }
            if edge.is_finite() {
                (low, below) = (*edge, *up_to);
            }
        }
        Some(low)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(parts: &[(f64, f64)]) -> Buckets {
        let mut buckets = Buckets::default();
        parts.iter().for_each(|(edge, events)| buckets.add(*edge, *events));
        buckets
    }

    #[test]
    fn a_quantile_is_linear_within_its_bucket() {
        let buckets = of(&[(f64::INFINITY, 100.0), (10.0, 50.0), (20.0, 100.0)]);
        assert_eq!(buckets.quantile(0.5), Some(10.0));
        assert_eq!(buckets.quantile(0.9), Some(18.0));
        assert_eq!(buckets.quantile(0.25), Some(5.0));
    }

    #[test]
    fn beyond_the_last_edge_is_that_edge() {
        assert_eq!(of(&[(10.0, 1.0), (f64::INFINITY, 100.0)]).quantile(0.9), Some(10.0));
    }

    #[test]
    fn without_events_or_their_number_there_is_none() {
        assert_eq!(of(&[]).quantile(0.9), None);
        assert_eq!(of(&[(10.0, 5.0)]).quantile(0.9), None);
        assert_eq!(of(&[(10.0, 0.0), (f64::INFINITY, 0.0)]).quantile(0.9), None);
    }

    #[test]
    fn reports_add_up() {
        let mut all = of(&[(10.0, 1.0), (f64::INFINITY, 2.0)]);
        all.merge(&of(&[(5.0, 1.0), (10.0, 1.0), (f64::INFINITY, 1.0)]));
        assert_eq!(all, of(&[(5.0, 1.0), (10.0, 2.0), (f64::INFINITY, 3.0)]));
        assert_eq!(all.events(), 3.0);
    }
}
