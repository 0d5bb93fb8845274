//! The store's promises seen from outside: order, duplicates, backfill, reopening.

use gala_store::{Labels, Matcher, Sample, SeriesRead, SeriesWrite, Store, StoreOptions, TimeRange, is_stale, now_ms};
use std::time::Duration;

const ALL: TimeRange = TimeRange { from_ms: i64::MIN, to_ms: i64::MAX };

fn series(name: &str, host: &str) -> Labels {
    Labels::new([("__name__", name), ("host", host)])
}

fn write(store: &Store, labels: &Labels, samples: &[(i64, f64)]) -> gala_store::Appended {
    let reference = store.resolve(labels).unwrap();
    let batch: Vec<_> = samples.iter().map(|&(t_ms, value)| (reference, t_ms, value)).collect();
    let appended = store.append(&batch).unwrap();
    store.sync().unwrap();
    appended
}

fn read(store: &Store, name: &str) -> Vec<(String, Vec<(i64, u64)>)> {
    let found = store.select(&[Matcher::equal("__name__", name)], ALL, 1_000_000).unwrap();
    let bits = |sample: &Sample| (sample.t_ms, sample.value.to_bits());
    found.iter().map(|series| (series.labels.to_string(), series.samples.iter().map(bits).collect())).collect()
}

#[test]
fn what_was_synced_is_there_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let start = now_ms() - 60_000;
    let stale = f64::from_bits(gala_store::STALE_NAN_BITS);
    {
        let store = Store::open(StoreOptions::new(folder.path())).unwrap();
        write(&store, &series("up", "a"), &[(start, 1.0), (start + 5_000, stale)]);
        write(&store, &series("up", "b"), &[(start, -0.0)]);
    }
    let store = Store::open(StoreOptions::new(folder.path())).unwrap();
    let found = store.select(&[Matcher::equal("host", "a")], ALL, 10).unwrap();
    assert_eq!(found.len(), 1);
    assert!(is_stale(found[0].samples[1].value));
    assert_eq!(read(&store, "up").len(), 2);
    assert_eq!(read(&store, "up")[1].1, vec![(start, (-0.0f64).to_bits())]);
    assert!(store.damage().is_empty());
}

#[test]
fn within_a_series_only_ascending_times_are_taken_and_the_refusal_names_the_series() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(StoreOptions::new(folder.path())).unwrap();
    let start = now_ms() - 3_600_000;
    let appended =
        write(&store, &series("up", "a"), &[(start, 1.0), (start - 1, 2.0), (start, 1.0), (start, 3.0), (start + 1, 4.0)]);
    assert_eq!(appended.samples, 3, "two new ones and an identical duplicate");
    assert_eq!(appended.rejected.len(), 2);
    assert!(appended.rejected[0].reason.contains(r#"up{host="a"}: out of order"#), "{}", appended.rejected[0].reason);
    assert!(appended.rejected[1].reason.contains("duplicate sample"), "{}", appended.rejected[1].reason);
    assert_eq!(read(&store, "up")[0].1, vec![(start, 1f64.to_bits()), (start + 1, 4f64.to_bits())]);
}

#[test]
fn another_series_may_be_older_but_not_older_than_the_retention() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = StoreOptions::new(folder.path());
    options.retention = Duration::from_secs(86_400);
    let store = Store::open(options).unwrap();
    let now = now_ms();
    assert!(write(&store, &series("up", "a"), &[(now, 1.0)]).rejected.is_empty());
    assert!(write(&store, &series("up", "b"), &[(now - 80_000_000, 1.0)]).rejected.is_empty());
    let too_old = write(&store, &series("up", "c"), &[(now - 90_000_000, 1.0)]);
    assert!(too_old.rejected[0].reason.contains("retention"), "{}", too_old.rejected[0].reason);
    let future = write(&store, &series("up", "c"), &[(now + 3_600_000, 1.0)]);
    assert!(future.rejected[0].reason.contains("future"), "{}", future.rejected[0].reason);
}

#[test]
fn a_second_store_on_the_same_folder_is_told_who_holds_it() {
    let folder = tempfile::tempdir().unwrap();
    let _first = Store::open(StoreOptions::new(folder.path())).unwrap();
    let error = Store::open(StoreOptions::new(folder.path())).err().unwrap().to_string();
    assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
}

#[test]
fn the_series_cap_is_said_with_its_number() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = StoreOptions::new(folder.path().join("new"));
    options.max_series = 2;
    let store = Store::open(options).unwrap();
    store.resolve(&series("up", "a")).unwrap();
    store.resolve(&series("up", "b")).unwrap();
    let error = store.resolve(&series("up", "c")).unwrap_err().to_string();
    assert!(error.contains("cap of 2 series"), "{error}");
    store.resolve(&series("up", "a")).unwrap();
}
