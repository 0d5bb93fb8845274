//! The crash guarantee on real processes and real file systems: kill -9 at any moment, and a full disk.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use gala_store::{Labels, SeriesRead, SeriesRef, SeriesWrite, Store, StoreOptions, TimeRange, now_ms};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const ALL: TimeRange = TimeRange { from_ms: i64::MIN, to_ms: i64::MAX };
const SERIES: usize = 40;
/// Rounds begin here so that all runs of a test agree on times.
const START_VARIABLE: &str = "GALA_STORE_TEST_START";
const ROUND_VARIABLE: &str = "GALA_STORE_TEST_ROUND";
const DIR_VARIABLE: &str = "GALA_STORE_TEST_DIR";

fn references(store: &Store) -> Vec<SeriesRef> {
    (0..SERIES).map(|number| store.resolve(&Labels::new([("__name__", "load"), ("n", &*number.to_string())])).unwrap()).collect()
}

fn value(series: usize, t_ms: i64) -> f64 {
    if series.is_multiple_of(2) { (t_ms * (series as i64 + 1)) as f64 } else { (t_ms as f64).ln() * series as f64 }
}

fn batch(references: &[SeriesRef], t_ms: i64) -> Vec<(SeriesRef, i64, f64)> {
    references.iter().enumerate().map(|(number, &series)| (series, t_ms, value(number, t_ms))).collect()
}

/// The writer that gets killed: run by the test below in a process of its own, does nothing without its folder.
#[test]
fn writer_process() {
    let Ok(dir) = std::env::var(DIR_VARIABLE) else { return };
    let number = |name: &str| std::env::var(name).unwrap().parse::<i64>().unwrap();
    let (start, first) = (number(START_VARIABLE), number(ROUND_VARIABLE));
    let store = Store::open(StoreOptions::new(dir)).unwrap();
    let references = references(&store);
    let mut out = std::io::stdout();
    for round in first.. {
        assert!(store.append(&batch(&references, start + round)).unwrap().rejected.is_empty());
        store.sync().unwrap();
        writeln!(out, "\nacknowledged {round}").unwrap();
        // Blocks are written and merged often, so that kills meet those too.
        if round % 23 == 22 {
            store.flush().unwrap();
        }
        if round % 97 == 96 {
            store.compact().unwrap();
        }
    }
}

/// Checks that every acknowledged sample is there, once and unchanged; returns the newest round found.
fn verify(dir: &Path, start: i64, acknowledged: i64) -> i64 {
    let store = Store::open(StoreOptions::new(dir)).unwrap();
    assert!(store.damage().is_empty(), "{:?}", store.damage());
    let found = store.select(&[], ALL, usize::MAX).unwrap();
    assert_eq!(found.len(), SERIES);
    let mut newest = 0;
    for series in &found {
        let number: usize = series.labels.get("n").unwrap().parse().unwrap();
        for (round, sample) in series.samples.iter().enumerate() {
            assert_eq!(sample.t_ms, start + round as i64, "no round is missing or doubled");
            assert_eq!(sample.value.to_bits(), value(number, sample.t_ms).to_bits());
        }
        let last = series.samples.len() as i64 - 1;
        assert!(last >= acknowledged, "round {acknowledged} was acknowledged, series {number} ends at {last}");
        newest = newest.max(last);
    }
    newest
}

#[test]
fn nothing_acknowledged_is_lost_by_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let start = now_ms() - 3_600_000;
    let mut next = 0;
    for kill in 0..15usize {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "writer_process", "--nocapture"])
            .env(DIR_VARIABLE, folder.path())
            .env(START_VARIABLE, start.to_string())
            .env(ROUND_VARIABLE, next.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut acknowledged = next - 1;
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let wanted = 1 + kill * 37 % 60;
        let mut seen = 0;
        while seen < wanted {
            let line = lines.next().expect("the writer died by itself").unwrap();
            if let Some(round) = line.strip_prefix("acknowledged ") {
                acknowledged = round.parse().unwrap();
                seen += 1;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What it acknowledged before it died counts too.
        for line in lines.map_while(Result::ok) {
            if let Some(round) = line.strip_prefix("acknowledged ").and_then(|round| round.parse().ok()) {
                acknowledged = acknowledged.max(round);
            }
        }
        next = verify(folder.path(), start, acknowledged) + 1;
    }
}

/// A small file system in memory, unmounted at the end.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(path: &Path, size: &str) -> Option<Self> {
        std::fs::create_dir_all(path).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(path).output();
        mounted.is_ok_and(|output| output.status.success()).then(|| Self(path.to_path_buf()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_is_said_and_survived() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(&folder.path().join("small"), "1m") else {
        println!("skipped: mounting a small file system needs root");
        return;
    };
    let dir = disk.0.join("store");
    let start = now_ms() - 3_600_000;
    let mut acknowledged = Vec::new();
    {
        let store = Store::open(StoreOptions::new(&dir)).unwrap();
        let references = references(&store);
        let mut write = |round: i64| {
            let outcome = store.append(&batch(&references, start + round)).and_then(|_| store.sync());
            if outcome.is_ok() {
                acknowledged.push(start + round);
            }
            outcome.map_err(|error| error.to_string())
        };
        (0..20).for_each(|round| write(round).unwrap());
        let filler = disk.0.join("filler");
        let mut file = std::fs::File::create(&filler).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
        let error = (20..10_000).find_map(|round| write(round).err()).expect("the disk is full");
        assert!(error.contains("No space left") && error.contains("free space"), "{error}");
        assert!(!store.health().ok);
        assert!(store.health().reason.unwrap().contains("No space left"));
        (20_000..20_010).for_each(|round| assert!(write(round).is_err()));
        assert!(!store.select(&[], ALL, usize::MAX).unwrap().is_empty(), "queries go on");
        assert!(store.tick().is_err());
        drop(file);
        std::fs::remove_file(&filler).unwrap();
        (30_000..30_020).for_each(|round| write(round).unwrap());
        store.tick().unwrap();
        assert!(store.health().ok, "{:?}", store.health());
    }
    let store = Store::open(StoreOptions::new(&dir)).unwrap();
    assert!(store.damage().is_empty(), "{:?}", store.damage());
    for series in store.select(&[], ALL, usize::MAX).unwrap() {
        let times: Vec<i64> = series.samples.iter().map(|sample| sample.t_ms).collect();
        assert!(acknowledged.iter().all(|t_ms| times.binary_search(t_ms).is_ok()));
    }
}

fn fill(disk: &SmallDisk) -> PathBuf {
    let filler = disk.0.join("filler");
    let mut file = std::fs::File::create(&filler).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    filler
}

fn served(store: &Store) -> usize {
    store.select(&[], ALL, usize::MAX).unwrap().iter().map(|series| series.samples.len()).sum()
}

/// A small file system with a store of an old block and a young one.
fn small_store(folder: &Path) -> Option<(SmallDisk, PathBuf)> {
    let Some(disk) = SmallDisk::mount(&folder.join("small"), "48m") else {
        println!("skipped: mounting a small file system needs root");
        return None;
    };
    let dir = disk.0.join("store");
    let store = Store::open(StoreOptions::new(&dir)).unwrap();
    let references = references(&store);
    for start in [now_ms() - 5 * 86_400_000, now_ms() - 7_200_000] {
        for round in 0..100 {
            store.append(&batch(&references, start + round)).unwrap();
        }
        store.flush().unwrap();
    }
    drop(store);
    Some((disk, dir))
}

#[test]
fn on_a_full_disk_what_is_too_old_makes_room() {
    let folder = tempfile::tempdir().unwrap();
    let Some((disk, dir)) = small_store(folder.path()) else { return };
    let store = Store::open(StoreOptions::new(&dir)).unwrap();
    let references = references(&store);
    fill(&disk);
    let start = now_ms() - 3_600_000;
    (0..10_000).find(|round| store.append(&batch(&references, start + round)).and_then(|_| store.sync()).is_err()).unwrap();
    assert!(store.tick().is_err());
    assert_eq!(store.stats().blocks, 2);
    store.set_limits(std::time::Duration::from_secs(86_400), u64::MAX);
    assert_eq!(store.tick().unwrap().dropped_blocks, 1);
    assert!(store.health().ok, "{:?}", store.health());
}

#[test]
fn a_store_opens_on_a_full_disk_by_dropping_what_is_too_old() {
    let folder = tempfile::tempdir().unwrap();
    let Some((disk, dir)) = small_store(folder.path()) else { return };
    fill(&disk);
    let mut options = StoreOptions::new(&dir);
    options.retention = std::time::Duration::from_secs(86_400);
    let store = Store::open(options).unwrap();
    assert!(store.health().ok, "{:?}", store.health());
    assert_eq!((store.stats().blocks, served(&store)), (1, 100 * SERIES));
}

#[test]
fn a_store_on_a_full_disk_opens_serves_and_keeps_what_nobody_waits_for() {
    let folder = tempfile::tempdir().unwrap();
    let Some((disk, dir)) = small_store(folder.path()) else { return };
    let filler = fill(&disk);
    let store = Store::open(StoreOptions::new(&dir)).unwrap();
    assert!(store.health().reason.unwrap().contains("No space left"));
    assert_eq!(served(&store), 200 * SERIES);
    let mut export = Vec::new();
    let format = gala_store::tool::ExportFormat::JsonLines;
    assert_eq!(gala_store::tool::export(&dir, &[], ALL, format, &mut export).unwrap().samples as usize, 200 * SERIES);
    let references = references(&store);
    let start = now_ms() - 3_600_000;
    assert!(store.append(&batch(&references, start)).is_err(), "what must be durable is refused");
    // More than the log's buffer holds: the rest is kept in memory alone.
    let rounds = 40_000;
    let many: Vec<(SeriesRef, i64, f64)> = (0..rounds)
        .flat_map(|round| references.iter().map(move |&series| (series, start + round, (round as f64).sqrt())))
        .collect();
    for part in many.chunks(50_000) {
        assert!(store.append_best_effort(part, store.epoch()).unwrap().unwrap().rejected.is_empty());
    }
    let all = 200 * SERIES + many.len();
    assert_eq!(served(&store), all);
    assert!(store.tick().is_err());
    assert!(!store.health().ok);
    std::fs::remove_file(filler).unwrap();
    assert!(store.tick().unwrap().flushed, "what the log does not hold becomes a block at once");
    assert!(store.health().ok, "{:?}", store.health());
    drop(store);
    assert_eq!(served(&Store::open(StoreOptions::new(&dir)).unwrap()), all);
}
