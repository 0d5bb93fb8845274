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
    assert!(
        appended.rejected.named()[0].reason.contains(r#"up{host="a"}: out of order"#),
        "{}",
        appended.rejected.named()[0].reason
    );
    assert!(appended.rejected.named()[1].reason.contains("duplicate sample"), "{}", appended.rejected.named()[1].reason);
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
    assert!(too_old.rejected.named()[0].reason.contains("retention"), "{}", too_old.rejected.named()[0].reason);
    let future = write(&store, &series("up", "c"), &[(now + 3_600_000, 1.0)]);
    assert!(future.rejected.named()[0].reason.contains("future"), "{}", future.rejected.named()[0].reason);
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

/// Twenty series, one of them with markers, written in `rounds` batches starting at `start`.
fn write_rounds(store: &Store, start: i64, rounds: std::ops::Range<i64>) {
    let references: Vec<_> = (0..20).map(|host| store.resolve(&series("load", &format!("host-{host:02}"))).unwrap()).collect();
    for round in rounds {
        let value = |host: usize| match (host, round % 50) {
            (3, 49) => f64::from_bits(gala_store::STALE_NAN_BITS),
            (4, _) => (round as f64).sin(),
            _ => (round * (host as i64 + 1)) as f64 / 100.0,
        };
        let batch: Vec<_> =
            references.iter().enumerate().map(|(host, &reference)| (reference, start + round * 5_000, value(host))).collect();
        assert!(store.append(&batch).unwrap().rejected.is_empty());
    }
    store.sync().unwrap();
}

#[test]
fn queries_see_the_same_before_and_after_flushing_merging_and_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let start = now_ms() - 30 * 3_600_000;
    let reference = Store::in_memory();
    write_rounds(&reference, start, 0..6_000);
    let expected = read(&reference, "load");
    {
        let store = Store::open(StoreOptions::new(folder.path())).unwrap();
        for part in 0..5 {
            write_rounds(&store, start, part * 1_000..(part + 1) * 1_000);
            assert!(store.flush().unwrap());
        }
        write_rounds(&store, start, 5_000..6_000);
        assert_eq!(store.stats().blocks, 5);
        assert_eq!(read(&store, "load"), expected);
        assert!(store.tick().unwrap().merged_blocks >= 2, "the windows are long over");
        assert_eq!(read(&store, "load"), expected);
        assert!(store.stats().blocks < 5);
    }
    let store = Store::open(StoreOptions::new(folder.path())).unwrap();
    assert_eq!(read(&store, "load"), expected);
    store.compact().unwrap();
    assert_eq!(store.stats().blocks, 1);
    assert_eq!(store.stats().samples, 120_000);
    assert_eq!(read(&store, "load"), expected);
    assert!(store.damage().is_empty());
    let range = TimeRange { from_ms: start + 10_000, to_ms: start + 20_000 };
    let found = store.select(&[Matcher::equal("host", "host-07")], range, 10).unwrap();
    let times: Vec<i64> = found[0].samples.iter().map(|sample| sample.t_ms - start).collect();
    assert_eq!(times, [10_000, 15_000, 20_000], "both ends of the range are included");
    let error = store.select(&[], ALL, 1_000).unwrap_err().to_string();
    assert!(error.contains("more than 1000 samples"), "{error}");
}

#[test]
fn a_sample_older_than_what_a_block_holds_is_refused_after_a_restart_too() {
    let folder = tempfile::tempdir().unwrap();
    let start = now_ms() - 3_600_000;
    {
        let store = Store::open(StoreOptions::new(folder.path())).unwrap();
        write(&store, &series("up", "a"), &[(start, 1.0), (start + 5_000, 2.0)]);
        store.flush().unwrap();
    }
    let store = Store::open(StoreOptions::new(folder.path())).unwrap();
    let appended = write(&store, &series("up", "a"), &[(start + 1_000, 9.0), (start + 10_000, 3.0)]);
    assert_eq!(appended.rejected.len(), 1);
    assert!(appended.rejected.named()[0].reason.contains("out of order"), "{}", appended.rejected.named()[0].reason);
    assert_eq!(read(&store, "up")[0].1.len(), 3);
}

#[test]
fn matchers_mean_in_blocks_and_head_what_promql_says() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(StoreOptions::new(folder.path())).unwrap();
    let now = now_ms();
    let plain = Labels::new([("__name__", "up")]);
    for (labels, t_ms) in [(series("up", "a"), now - 3), (series("up", "b"), now - 2), (plain.clone(), now - 1)] {
        write(&store, &labels, &[(t_ms, 1.0)]);
    }
    let count = |op, value: &str| {
        let matchers = [Matcher::equal("__name__", "up"), Matcher::new("host", op, value).unwrap()];
        (store.select(&matchers, ALL, 100).unwrap().len(), store.series(&matchers, ALL).unwrap().len())
    };
    use gala_store::MatchOp::{Equal, NotEqual, NotRegex, Regex};
    for _ in 0..2 {
        assert_eq!(count(Equal, "a"), (1, 1));
        assert_eq!(count(Equal, ""), (1, 1), "an empty value means the label is absent");
        assert_eq!(count(NotEqual, "a"), (2, 2));
        assert_eq!(count(NotEqual, ""), (2, 2));
        assert_eq!(count(Regex, "a|"), (2, 2));
        assert_eq!(count(Regex, "[ab]"), (2, 2));
        assert_eq!(count(NotRegex, "a.*"), (2, 2));
        assert_eq!(store.label_values("host", &[], ALL).unwrap(), ["a", "b"]);
        assert_eq!(store.label_names(&[], ALL).unwrap(), ["__name__", "host"]);
        store.flush().unwrap();
    }
    assert_eq!(store.stats().blocks, 1);
}

#[test]
fn old_blocks_go_by_age_and_by_size() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = StoreOptions::new(folder.path());
    let now = now_ms();
    {
        let store = Store::open(options.clone()).unwrap();
        write_rounds(&store, now - 6 * 86_400_000, 0..100);
        store.flush().unwrap();
        write_rounds(&store, now - 3_600_000, 0..100);
        store.flush().unwrap();
        assert_eq!(store.tick().unwrap().dropped_blocks, 0);
    }
    options.retention = Duration::from_secs(86_400);
    let store = Store::open(options.clone()).unwrap();
    assert_eq!(store.tick().unwrap().dropped_blocks, 1);
    assert!(store.stats().oldest_ms.unwrap() >= now - 3_600_000);
    drop(store);
    options.max_bytes = 1;
    let store = Store::open(options).unwrap();
    assert_eq!(store.tick().unwrap().dropped_blocks, 1);
    assert_eq!(store.stats().samples, 0);
}

#[test]
fn a_small_store_does_not_outgrow_its_cap_in_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = StoreOptions::new(folder.path());
    options.max_bytes = 1 << 20;
    let store = Store::open(options).unwrap();
    let start = now_ms() - 3_600_000;
    let samples: Vec<_> = (0..40_000).map(|step| (start + step, (step as f64).sqrt())).collect();
    write(&store, &series("up", "a"), &samples[..1_000]);
    assert!(!store.tick().unwrap().flushed, "few samples stay in the log");
    write(&store, &series("up", "a"), &samples[1_000..]);
    assert!(store.stats().log_bytes > 256 << 10);
    assert!(store.tick().unwrap().flushed);
    assert_eq!(store.stats().samples, 40_000);
}

/// Copies log and blocks as a kill at this moment would leave them.
fn files_as_they_are(dir: &std::path::Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for part in ["wal", "blocks"] {
        std::fs::create_dir(copy.path().join(part)).unwrap();
        for entry in std::fs::read_dir(dir.join(part)).unwrap().flatten() {
            std::fs::copy(entry.path(), copy.path().join(part).join(entry.file_name())).unwrap();
        }
    }
    copy
}

#[test]
fn upkeep_writes_out_what_nobody_waits_for() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = StoreOptions::new(folder.path());
    options.sync_every = Duration::ZERO;
    let store = Store::open(options).unwrap();
    let start = now_ms() - 60_000;
    let reference = store.resolve(&series("up", "a")).unwrap();
    for round in 0..3 {
        store.append_best_effort(&[(reference, start + round, 1.0)], store.epoch()).unwrap().unwrap();
        let before = Store::open(StoreOptions::new(files_as_they_are(folder.path()).path())).unwrap();
        assert_eq!(before.stats().samples, round as u64, "nothing waits for the disk");
        store.tick().unwrap();
        let after = Store::open(StoreOptions::new(files_as_they_are(folder.path()).path())).unwrap();
        assert_eq!(after.stats().samples, round as u64 + 1);
    }
    assert_eq!(StoreOptions::new("").sync_every, Duration::from_secs(5), "a crash costs the last seconds");
}

#[test]
fn what_is_refused_of_samples_nobody_waits_for_is_told_by_health() {
    let store = Store::in_memory();
    let now = now_ms();
    let reference = store.resolve(&series("up", "a")).unwrap();
    let append = |t_ms| store.append_best_effort(&[(reference, t_ms, 1.0)], store.epoch()).unwrap().unwrap();
    assert!(append(now).rejected.is_empty());
    assert!(store.health().ok);
    // The clock was set back.
    assert_eq!((append(now - 5_000).rejected.len(), append(now - 4_000).rejected.len()), (1, 1));
    let reason = store.health().reason.unwrap();
    assert!(reason.starts_with("2 samples of this host were refused in the last minute; first: series up"), "{reason}");
    assert!(reason.contains("out of order"), "{reason}");
}

#[test]
fn a_read_of_blocks_ends_when_nobody_waits_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(StoreOptions::new(folder.path())).unwrap();
    let now = now_ms();
    for host in ["a", "b", "c"] {
        write(&store, &series("up", host), &[(now, 1.0)]);
    }
    store.flush().unwrap();
    let asked = std::cell::Cell::new(0);
    let read = |patience: usize| {
        asked.set(0);
        let go_on = || asked.replace(asked.get() + 1) < patience;
        store.select_while(&[], ALL, usize::MAX, &go_on).unwrap().map(|found| found.len())
    };
    assert_eq!((read(usize::MAX), asked.get()), (Some(3), 3));
    assert_eq!((read(1), asked.get()), (None, 2), "it ends at once");
}
