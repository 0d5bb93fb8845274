//! Label names, values and counts against what listing every series gives, over head and blocks.

use std::collections::BTreeSet;
use std::time::Duration;

use gala_store::{Cardinality, Labels, MatchOp, Matcher, SeriesRead, SeriesWrite, Store, StoreOptions, TimeRange};

const START_MS: i64 = 1_700_000_000_000;
const HOUR_MS: i64 = 3_600_000;
const ALL: TimeRange = TimeRange { from_ms: i64::MIN / 4, to_ms: i64::MAX / 4 };

/// Three hours, each with series of its own and some that go on; the first two end as blocks, the last stays in the head.
fn fill(store: &Store) {
    for hour in 0..3 {
        for number in 0..40 {
            let tgid = if number % 2 == 0 { number } else { hour * 100 + number };
            let mut labels =
                vec![("__name__".to_owned(), format!("metric_{}", number % 5)), ("tgid".to_owned(), tgid.to_string())];
            if hour == 1 {
                labels.push(("only_then".to_owned(), "yes".to_owned()));
            }
            let series = store.resolve(&Labels::new(labels)).unwrap();
            let at = |minute: i64| START_MS + i64::from(hour) * HOUR_MS + minute * 60_000;
            let samples: Vec<_> = (0..50).map(|minute| (series, at(minute), 1.0)).collect();
            store.append(&samples).unwrap();
        }
        if hour < 2 {
            store.flush().unwrap();
        }
    }
}

fn opened(dir: &std::path::Path) -> Store {
    let mut options = StoreOptions::new(dir);
    options.retention = Duration::MAX;
    let store = Store::open(options).unwrap();
    fill(&store);
    store
}

#[test]
fn names_and_values_are_those_of_the_series_listed() {
    let dir = tempfile::tempdir().unwrap();
    let store = opened(dir.path());
    let ranges = [
        ALL,
        TimeRange { from_ms: START_MS, to_ms: START_MS + HOUR_MS / 2 },
        TimeRange { from_ms: START_MS + HOUR_MS, to_ms: START_MS + 2 * HOUR_MS - 1 },
        TimeRange { from_ms: START_MS + 2 * HOUR_MS, to_ms: i64::MAX / 4 },
        TimeRange { from_ms: 0, to_ms: 1 },
    ];
    let selections = [
        vec![],
        vec![Matcher::equal("__name__", "metric_3")],
        vec![Matcher::new("tgid", MatchOp::Regex, "1.*").unwrap()],
        vec![Matcher::equal("only_then", "")],
        vec![Matcher::equal("__name__", "nothing")],
    ];
    for range in ranges {
        for matchers in &selections {
            let listed = store.series(matchers, range).unwrap();
            let names: BTreeSet<&str> = listed.iter().flat_map(Labels::iter).map(|(name, _)| name).collect();
            let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
            assert_eq!(store.label_names(matchers, range).unwrap(), names, "{range:?} {matchers:?}");
            for label in ["__name__", "tgid", "only_then", "unheard_of"] {
                let values: BTreeSet<&str> = listed.iter().filter_map(|labels| labels.get(label)).collect();
                let values: Vec<String> = values.into_iter().map(str::to_owned).collect();
                assert_eq!(store.label_values(label, matchers, range).unwrap(), values, "{label} {range:?} {matchers:?}");
            }
        }
    }
}

/// The same series behind the trait's own way of counting.
struct Listed(Store);

impl SeriesRead for Listed {
    fn select(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        max_samples: usize,
    ) -> Result<Vec<gala_store::Series>, gala_store::StoreError> {
        self.0.select(matchers, range, max_samples)
    }

    fn series(&self, matchers: &[Matcher], range: TimeRange) -> Result<Vec<Labels>, gala_store::StoreError> {
        self.0.series(matchers, range)
    }

    fn label_names(&self, matchers: &[Matcher], range: TimeRange) -> Result<Vec<String>, gala_store::StoreError> {
        self.0.label_names(matchers, range)
    }

    fn label_values(&self, name: &str, matchers: &[Matcher], range: TimeRange) -> Result<Vec<String>, gala_store::StoreError> {
        self.0.label_values(name, matchers, range)
    }
}

#[test]
fn counts_are_those_of_the_series_listed() {
    let store = Store::in_memory();
    fill(&store);
    let counted = store.cardinality(4).unwrap();
    assert_eq!(counted.series_by_metric.len(), 4);
    assert!(counted.series_by_metric.windows(2).all(|pair| pair[0].1 >= pair[1].1));
    let span = (counted.oldest_ms, counted.newest_ms);
    assert_eq!(span, (Some(START_MS), Some(START_MS + 2 * HOUR_MS + 49 * 60_000)));
    let listed = Listed(store).cardinality(4).unwrap();
    assert_eq!(Cardinality { oldest_ms: None, newest_ms: None, ..counted }, listed);
}
