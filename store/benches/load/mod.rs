//! The load of the store's benchmarks: a fleet's. 5,000 series of ten hosts, scraped every 5 s with some jitter: counters of
//! several speeds, counters of nanoseconds, gauges that rest and gauges that move, bytes in pages, seconds in hundredths,
//! doubles in full.
#![allow(dead_code)] // Each benchmark uses its part.

use gala_model::remote_write::{Encoder, encode_labels};

pub const SERIES: usize = 5_000;
pub const STEP_MS: i64 = 5_000;
/// Matches two hosts: 1,000 series.
pub const TWO_HOSTS: &str = "10\\.0\\.0\\.[37]:8888";
const HOSTS: usize = 10;

/// Scrapes of the whole load: two hours.
pub const ROUNDS: i64 = 1440;
pub const SHORT_ROUNDS: i64 = 120;

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

pub struct Load {
    sources: Vec<Source>,
    random: Random,
    encoder: Encoder,
}

impl Load {
    pub fn new() -> Self {
        let mut random = Random(88_172_645_463_325_252);
        let sources = (0..SERIES).map(|number| Source::new(number, &mut random)).collect();
        Self { sources, random, encoder: Encoder::new() }
    }

    /// One scrape of every host, as a compressed body of remote write.
    pub fn round(&mut self, t_ms: i64) -> Vec<u8> {
        self.encoder.clear();
        let jitter: [i64; HOSTS] = std::array::from_fn(|_| (self.random.next() % 7) as i64);
        for source in &mut self.sources {
            let value = source.advance(&mut self.random);
            self.encoder.series_with(&source.label_bytes, [(t_ms + jitter[source.host], value)]);
        }
        snap::raw::Encoder::new().compress_vec(self.encoder.body()).expect("compress")
    }
}

/// What all files of a folder hold.
pub fn folder_bytes(dir: &std::path::Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => folder_bytes(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}
