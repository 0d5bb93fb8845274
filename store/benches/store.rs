//! What the store itself costs, without a network: ingest, size, opening after a kill, a query. CPU time is what the process
//! used, upkeep included. `BENCH_SHORT=1`: a twelfth of the load.

use std::path::Path;
use std::time::{Duration, Instant};

use gala_store::remote_write::ingest;
use gala_store::{MatchOp, Matcher, SeriesRead, Store, StoreOptions, TimeRange, now_ms};

use figures::Better::{Less, More};
use figures::{also, figure, is_short, least, median, title};
use load::{Load, ROUNDS, SERIES, SHORT_ROUNDS, STEP_MS, TWO_HOSTS, folder_bytes};

mod figures;
mod load;

fn cpu() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("create folder");
    for entry in std::fs::read_dir(from).expect("list folder").flatten() {
        if entry.path().is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()));
        } else {
            std::fs::copy(entry.path(), to.join(entry.file_name())).expect("copy");
        }
    }
}

fn resident_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}

/// Opens copies of the files as a kill would leave them and times them to the first answer.
fn reopen(dir: &Path, folder: &Path) {
    let copied = folder.join("copy");
    let mut replayed = 0;
    let times: Vec<f64> = (0..3)
        .map(|_| {
            copy(dir, &copied);
            let started = Instant::now();
            let store = Store::open(StoreOptions::new(&copied)).expect("open the copy");
            let range = TimeRange { from_ms: now_ms() - 120_000, to_ms: now_ms() };
            store.select(&[Matcher::equal("instance", "10.0.0.3:8888")], range, usize::MAX).expect("select");
            let seconds = started.elapsed().as_secs_f64();
            replayed = store.stats().replayed;
            drop(store);
            std::fs::remove_dir_all(&copied).expect("remove the copy");
            seconds
        })
        .collect();
    let what = format!("opens with {:.1} M samples in its log, median of 3", replayed as f64 / 1e6);
    figure(&what, median(times), "s", Less, 1.0, 0.3);
}

/// Writes the whole load; answers the CPU seconds it took.
fn write_all(dir: &Path, rounds: i64, start: i64, mut after_round: impl FnMut(i64)) -> (Store, f64) {
    let store = Store::open(StoreOptions::new(dir)).expect("open");
    let mut load = Load::new();
    let mut spent = Duration::ZERO;
    for round in 0..rounds {
        let body = load.round(start + round * STEP_MS);
        let before = cpu();
        let ingested = ingest(&store, &body).expect("ingest");
        store.tick().expect("tick");
        spent += cpu() - before;
        assert_eq!((ingested.samples, ingested.rejected.len()), (SERIES, 0));
        after_round(round);
    }
    (store, spent.as_secs_f64())
}

/// CPU seconds to merge what can be merged.
fn settle(store: &Store) -> f64 {
    let before = cpu();
    store.compact().expect("compact");
    (cpu() - before).as_secs_f64()
}

fn main() {
    title("store, within one process");
    let rounds = if is_short() { SHORT_ROUNDS } else { ROUNDS };
    let samples = SERIES as f64 * rounds as f64;
    let start = now_ms() - rounds * STEP_MS;
    let folder = tempfile::tempdir().expect("temporary folder");
    let (mut writing, mut merged) = (Vec::new(), Vec::new());
    for turn in 0..2 {
        let dir = folder.path().join(format!("turn{turn}"));
        let (store, spent) = write_all(&dir, rounds, start, |_| ());
        writing.push(spent);
        merged.push(spent + settle(&store));
        drop(store);
        std::fs::remove_dir_all(&dir).expect("remove the store");
    }
    let dir = folder.path().join("store");
    // After five minutes, and when the log is about as long as it gets.
    let (store, spent) = write_all(&dir, rounds, start, |round| {
        if [60, 390].contains(&round) {
            reopen(&dir, folder.path());
        }
    });
    writing.push(spent);
    merged.push(spent + settle(&store));
    let rate = |seconds: &[f64]| samples / least(seconds) / 1e6;
    figure("remote write, a sample a series, fsynced, best of 3", rate(&writing), "M/CPU s", More, 1.0, 2.0);
    figure("  with all merging", rate(&merged), "M/CPU s", More, 1.0, 2.0);
    figure("bytes a sample, all files, settled", folder_bytes(&dir) as f64 / samples, "bytes", Less, 1.3, 0.80);
    also("resident while ingesting, load included", resident_mib(), "MiB");
    let end = start + rounds * STEP_MS;
    let range = TimeRange { from_ms: end - 3_600_000, to_ms: end };
    let matchers = [Matcher::new("instance", MatchOp::Regex, TWO_HOSTS).expect("matcher")];
    let times: Vec<f64> = (0..5)
        .map(|_| {
            let started = Instant::now();
            let found = store.select(&matchers, range, usize::MAX).expect("select");
            assert_eq!(found.len(), 1_000);
            started.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    figure("all samples of 1 h of 1,000 series, median of 5", median(times), "ms", Less, 100.0, 100.0);
}
