//! What the store costs, each figure beside its floor and its aim. CPU time is what the process used, upkeep included.
//!
//! The load is a fleet's: 5,000 series of ten hosts, scraped every 5 s with some jitter: counters of several speeds,
//! counters of nanoseconds, gauges that rest and gauges that move, bytes in pages, seconds in hundredths, doubles in
//! full. Arguments: `--quick` a twelfth of the load.
#![allow(clippy::print_stdout)]

use gala_model::remote_write::{Encoder, encode_labels};
use gala_store::remote_write::ingest;
use gala_store::{Matcher, SeriesRead, Store, StoreOptions, TimeRange, now_ms};
use std::path::Path;
use std::time::{Duration, Instant};

const SERIES: usize = 5_000;
const HOSTS: usize = 10;
const STEP_MS: i64 = 5_000;

/// xorshift64*: the same load in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }
}

/// One series of the load: its encoded labels and how its value moves.
struct Source {
    label_bytes: Vec<u8>,
    host: usize,
    kind: usize,
    rate: f64,
    value: f64,
}

/// Shares of a node's metrics, in twentieths, by kind (see `advance`).
const KINDS: [usize; 20] = [0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 3, 3, 4, 4, 5, 5, 6, 7];

impl Source {
    fn new(number: usize, random: &mut Random) -> Self {
        let (host, item) = (number % HOSTS, number / HOSTS);
        let mut label_bytes = Vec::new();
        let texts = [
            ("__name__", format!("gala_gopher_{}_{}", ["tcp_link", "proc", "block", "nic", "sched"][item % 5], item % 100)),
            ("comm", ["redis-server", "nginx", "postgres", "java"][item % 4].to_owned()),
            ("instance", format!("10.0.0.{host}:8888")),
            ("job", "gala".to_owned()),
            ("machine_id", format!("5c1f0b2e-77aa-4b1e-8f00-0000000000{host:02}")),
            ("tgid", (1000 + item * 7).to_string()),
        ];
        encode_labels(texts.iter().map(|(name, value)| (*name, value.as_str())), &mut label_bytes);
        let kind = KINDS[item % KINDS.len()];
        let rate = match kind {
            3 => 1e6 * 10f64.powf(random.unit() * 3.0),
            _ => 10f64.powf(random.unit() * 4.0),
        };
        Self { label_bytes, host, kind, rate, value: (random.unit() * 1000.0).floor() }
    }

    fn advance(&mut self, random: &mut Random) -> f64 {
        match self.kind {
            0 => {}
            1 if random.unit() < 0.05 => self.value = (self.value + random.normal() * 3.0).round().max(0.0),
            2 | 3 => self.value += (self.rate * (1.0 + 0.2 * random.normal())).max(0.0).floor(),
            4 => self.value = (self.value + (random.normal() * 50.0).round() * 4096.0).max(0.0),
            5 => self.value = if random.unit() < 0.9 { 0.0 } else { (random.next() % 20) as f64 },
            6 => self.value = ((self.value * 100.0).round() + (random.unit() * 500.0).floor()) / 100.0,
            7 => self.value = self.value * 0.99 + random.unit(),
            _ => {}
        }
        self.value
    }
}

struct Load {
    sources: Vec<Source>,
    random: Random,
    encoder: Encoder,
}

impl Load {
    fn new() -> Self {
        let mut random = Random(88_172_645_463_325_252);
        let sources = (0..SERIES).map(|number| Source::new(number, &mut random)).collect();
        Self { sources, random, encoder: Encoder::new() }
    }

    /// One scrape of every host, as a compressed body.
    fn round(&mut self, t_ms: i64) -> Vec<u8> {
        self.encoder.clear();
        let jitter: [i64; HOSTS] = std::array::from_fn(|_| (self.random.next() % 7) as i64);
        for source in &mut self.sources {
            let value = source.advance(&mut self.random);
            self.encoder.series_with(&source.label_bytes, [(t_ms + jitter[source.host], value)]);
        }
        snap::raw::Encoder::new().compress_vec(self.encoder.body()).expect("compress")
    }
}

fn cpu() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

fn folder_bytes(dir: &Path) -> u64 {
    std::fs::read_dir(dir)
        .map(|entries| {
            entries
                .flatten()
                .map(|entry| match entry.metadata() {
                    Ok(metadata) if metadata.is_dir() => folder_bytes(&entry.path()),
                    Ok(metadata) => metadata.len(),
                    Err(_) => 0,
                })
                .sum()
        })
        .unwrap_or(0)
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

fn report(what: &str, value: String, floor: &str, aim: &str, meets: (bool, bool)) {
    let verdict = match meets {
        (_, true) => "aim met",
        (true, false) => "floor met",
        _ => "BELOW FLOOR",
    };
    println!("{what:<44} {value:>14}   floor {floor:>8}   aim {aim:>8}   {verdict}");
}

/// Opens a copy of the files as a kill would leave them and times it to the first answer.
fn reopen(dir: &Path, folder: &Path, what: &str) {
    let copied = folder.join("copy");
    copy(dir, &copied);
    let (started, cpu_before) = (Instant::now(), cpu());
    let store = Store::open(StoreOptions::new(&copied)).expect("open the copy");
    let range = TimeRange { from_ms: now_ms() - 120_000, to_ms: now_ms() };
    store.select(&[Matcher::equal("instance", "10.0.0.3:8888")], range, usize::MAX).expect("select");
    let seconds = started.elapsed().as_secs_f64();
    let used = (cpu() - cpu_before).as_secs_f64();
    let label = format!("answers after kill -9, {what}");
    println!("{:<44} {:>14}   {used:.3} s of CPU", "  samples read from the log", store.stats().replayed);
    report(&label, format!("{seconds:.3} s"), "1 s", "0.3 s", (seconds <= 1.0, seconds <= 0.3));
    drop(store);
    std::fs::remove_dir_all(&copied).expect("remove the copy");
}

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let rounds: i64 = if quick { 120 } else { 1440 };
    let folder = tempfile::tempdir().expect("temporary folder");
    let dir = folder.path().join("store");
    let store = Store::open(StoreOptions::new(&dir)).expect("open");
    let mut load = Load::new();
    let start = now_ms() - rounds * STEP_MS;
    let (mut spent, mut generating, mut body_bytes) = (Duration::ZERO, Duration::ZERO, 0);
    let mut crash_measured = false;
    for round in 0..rounds {
        let before = cpu();
        let body = load.round(start + round * STEP_MS);
        body_bytes += body.len();
        let between = cpu();
        let ingested = ingest(&store, &body).expect("ingest");
        store.tick().expect("tick");
        spent += cpu() - between;
        generating += between - before;
        assert_eq!((ingested.samples, ingested.rejected.len()), (SERIES, 0));
        if !crash_measured && round == 60 {
            reopen(&dir, folder.path(), "5 minutes of log");
            crash_measured = true;
        }
    }
    let resident = resident_mib();
    reopen(&dir, folder.path(), "at the end");
    let samples = SERIES as u64 * rounds as u64;
    let per_second = samples as f64 / spent.as_secs_f64() / 1e6;
    println!("load: {SERIES} series, {samples} samples, {:.1} bytes a sample on the wire", body_bytes as f64 / samples as f64);
    let rate = format!("{per_second:.2} M/CPU s");
    report("remote write, one sample a series, fsynced", rate, "1", "2", (per_second >= 1.0, per_second >= 2.0));
    let before = cpu();
    store.compact().expect("compact");
    let with_compaction = samples as f64 / (spent + (cpu() - before)).as_secs_f64() / 1e6;
    let rate = format!("{with_compaction:.2} M/CPU s");
    report("  with all merging", rate, "1", "2", (with_compaction >= 1.0, with_compaction >= 2.0));
    let bytes = folder_bytes(&dir) as f64 / samples as f64;
    report("bytes a sample, all files, settled", format!("{bytes:.3}"), "1.3", "0.80", (bytes <= 1.3, bytes <= 0.8));
    println!("{:<44} {resident:>10.0} MiB", "resident while ingesting (load included)");
    let end = start + rounds * STEP_MS;
    let range = TimeRange { from_ms: end - 3_600_000, to_ms: end };
    let matchers = [Matcher::new("instance", gala_store::MatchOp::Regex, "10\\.0\\.0\\.[37]:8888").expect("matcher")];
    let cpu_before = cpu();
    let mut times: Vec<f64> = (0..5)
        .map(|_| {
            let started = Instant::now();
            let found = store.select(&matchers, range, usize::MAX).expect("select");
            assert_eq!(found.len(), 1_000);
            started.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    let query_cpu = cpu() - cpu_before;
    times.sort_by(f64::total_cmp);
    let median = times[2];
    report(
        "1 h of 1,000 series, median of five",
        format!("{median:.1} ms"),
        "100 ms",
        "100 ms",
        (median <= 100.0, median <= 100.0),
    );
    println!("{:<44} {:>14}", "  CPU of one such query", format!("{:.1} ms", query_cpu.as_secs_f64() * 1e3 / 5.0));
}
