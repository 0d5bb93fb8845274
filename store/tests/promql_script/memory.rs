//! A store in memory that also knows which series a script gave in a form we do not hold.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use gala_store::{Labels, Matcher, Sample, Series, SeriesRead, StoreError, TimeRange};

#[derive(Default)]
pub struct Memory {
    pub series: BTreeMap<Labels, Vec<Sample>>,
    /// Series with native histograms or start timestamps.
    pub foreign: Vec<Labels>,
    /// Whether a query asked for one of those.
    pub touched_foreign: AtomicBool,
}

fn matches(labels: &Labels, matchers: &[Matcher]) -> bool {
    matchers.iter().all(|matcher| matcher.matches(labels.get(&matcher.name).unwrap_or("")))
}

impl Memory {
    fn matching<'a>(&'a self, matchers: &'a [Matcher]) -> impl Iterator<Item = (&'a Labels, &'a Vec<Sample>)> {
        self.series.iter().filter(move |(labels, _)| matches(labels, matchers))
    }
}

impl SeriesRead for Memory {
    fn select(&self, matchers: &[Matcher], range: TimeRange, max_samples: usize) -> Result<Vec<Series>, StoreError> {
        if self.foreign.iter().any(|labels| matches(labels, matchers)) {
            self.touched_foreign.store(true, Ordering::Relaxed);
        }
        let mut total = 0;
        let mut out = Vec::new();
        for (labels, samples) in self.matching(matchers) {
            let inside = |sample: &&Sample| (range.from_ms..=range.to_ms).contains(&sample.t_ms);
            let samples: Vec<Sample> = samples.iter().filter(inside).copied().collect();
            total += samples.len();
            if total > max_samples {
                return Err(StoreError::TooManySamples { limit: max_samples });
            }
            if !samples.is_empty() {
                out.push(Series { labels: labels.clone(), samples });
            }
        }
        Ok(out)
    }

    fn series(&self, matchers: &[Matcher], range: TimeRange) -> Result<Vec<Labels>, StoreError> {
        Ok(self.select(matchers, range, usize::MAX)?.into_iter().map(|series| series.labels).collect())
    }

    fn label_names(&self, matchers: &[Matcher], range: TimeRange) -> Result<Vec<String>, StoreError> {
        let mut names: Vec<String> = self
            .series(matchers, range)?
            .iter()
            .flat_map(|l| l.iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>())
            .collect();
        names.sort();
        names.dedup();
        Ok(names)
    }

    fn label_values(&self, name: &str, matchers: &[Matcher], range: TimeRange) -> Result<Vec<String>, StoreError> {
        let mut values: Vec<String> =
            self.series(matchers, range)?.iter().filter_map(|labels| labels.get(name).map(str::to_string)).collect();
        values.sort();
        values.dedup();
        Ok(values)
    }
}
