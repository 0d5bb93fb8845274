//! A simulated host: a store in memory, and services, devices and noise that write to it every period.

use std::collections::BTreeMap;
use std::sync::RwLock;

use gala_analysis::detect::{Config, Detector, NoGraph, TickReport};
use gala_analysis::incident::Incident;
use gala_model::{Histogram, Table, TableDef};
use gala_store::{Labels, Matcher, Sample, Series, SeriesRead, StoreError, TimeRange};

/// Requests of a process
#[derive(Table, Debug)]
#[table(name = "requests", entity = "sli", probe = "ksli")]
pub struct Requests {
    /// Process
    #[key]
    pub tgid: u32,
    /// Connection
    #[key]
    pub ins_id: u32,
    /// Protocol
    #[key]
    pub app: String,
    /// Command
    #[key]
    pub method: String,
    /// Latency of requests
    #[histogram(unit = "ns", per_period, bad = "up")]
    pub latency: Histogram,
    /// Requests
    #[counter(unit = "count", cumulative)]
    pub requests_total: u64,
    /// Requests that failed
    #[counter(unit = "count", cumulative, bad = "up")]
    pub errors_total: u64,
    /// Wait of the oldest request
    #[gauge(unit = "ns", level, bad = "up")]
    pub oldest_nsec: u64,
}

/// Opening connections
#[derive(Table, Debug)]
#[table(name = "endpoint_tcp", entity = "endpoint_tcp", probe = "tcp")]
pub struct Listener {
    /// Process
    #[key]
    pub tgid: u32,
    /// Connection requests dropped for a full accept queue
    #[gauge(unit = "count", per_period, bad = "up")]
    pub accept_overflow: u64,
    /// Connections opened
    #[gauge(unit = "count", per_period)]
    pub active_open: u64,
    /// Opens that failed
    #[gauge(unit = "count", per_period, bad = "up")]
    pub active_open_failed: u64,
}

/// Interfaces
#[derive(Table, Debug)]
#[table(name = "nic", entity = "nic", probe = "baseinfo")]
pub struct Interface {
    /// Interface
    #[key]
    pub dev_name: String,
    /// Times the link went up or down
    #[gauge(unit = "count", per_period, bad = "up")]
    pub carrier_changes: u64,
}

/// Block devices
#[derive(Table, Debug)]
#[table(name = "io_err", entity = "block", probe = "io")]
pub struct Device {
    /// Major number
    #[key]
    pub major: u32,
    /// First minor number
    #[key]
    pub first_minor: u32,
    /// Requests
    #[gauge(unit = "count", per_period)]
    pub count_latency_req: u64,
    /// Errors
    #[gauge(unit = "count", per_period, bad = "up")]
    pub err_count: u64,
}

/// File systems
#[derive(Table, Debug)]
#[table(name = "system_df", entity = "fs", probe = "baseinfo")]
pub struct FileSystem {
    /// Mount point
    #[key(name = "MountOn")]
    pub mount_on: String,
    /// Share in use
    #[gauge(name = "UsePer", unit = "%", level, bad = "up")]
    pub use_per: f64,
}

/// Processes
#[derive(Table, Debug)]
#[table(name = "proc", entity = "proc", probe = "proc")]
pub struct Process {
    /// Process
    #[key]
    pub tgid: u32,
    /// CPU time
    #[gauge(unit = "%", level, bad = "up")]
    pub cpu_util: f64,
    /// Bytes written
    #[gauge(unit = "bytes", per_period)]
    pub write_bytes: u64,
    /// Major faults
    #[gauge(unit = "count", per_period, bad = "up")]
    pub major_pagefault_count: u64,
}

/// Links
#[derive(Table, Debug)]
#[table(name = "tcp_link", entity = "tcp_link", probe = "tcp")]
pub struct Link {
    /// Process
    #[key]
    pub tgid: u32,
    /// Role
    #[key]
    pub role: String,
    /// Segments retransmitted
    #[gauge(unit = "segments", per_period, bad = "up")]
    pub retran_packets: u64,
    /// Segments sent
    #[gauge(unit = "segments", per_period)]
    pub segs_out: u64,
    /// Round trip
    #[histogram(unit = "us", per_period, bad = "up")]
    pub srtt: Histogram,
}

pub fn tables() -> Vec<&'static TableDef> {
    vec![Requests::def(), Listener::def(), FileSystem::def(), Process::def(), Link::def(), Interface::def(), Device::def()]
}

/// A store in memory.
#[derive(Default)]
pub struct Memory {
    series: RwLock<BTreeMap<Labels, Vec<Sample>>>,
}

impl Memory {
    pub fn put(&self, labels: &Labels, t_ms: i64, value: f64) {
        let mut series = self.series.write().unwrap();
        match series.get_mut(labels) {
            Some(samples) => samples.push(Sample { t_ms, value }),
            None => {
                series.insert(labels.clone(), vec![Sample { t_ms, value }]);
            }
        }
    }
}

impl SeriesRead for Memory {
    fn select(&self, matchers: &[Matcher], range: TimeRange, _max: usize) -> Result<Vec<Series>, StoreError> {
        let series = self.series.read().unwrap();
        let inside = |samples: &[Sample]| {
            let from = samples.partition_point(|sample| sample.t_ms < range.from_ms);
            let to = samples.partition_point(|sample| sample.t_ms <= range.to_ms);
            samples[from..to.max(from)].to_vec()
        };
        let wanted = |labels: &Labels| matchers.iter().all(|matcher| matcher.matches(labels.get(&matcher.name).unwrap_or("")));
        let picked = series
            .iter()
            .filter(|(labels, _)| wanted(labels))
            .map(|(labels, samples)| Series { labels: labels.clone(), samples: inside(samples) });
        Ok(picked.filter(|series| !series.samples.is_empty()).collect())
    }

    fn series(&self, _: &[Matcher], _: TimeRange) -> Result<Vec<Labels>, StoreError> {
        Ok(self.series.read().unwrap().keys().cloned().collect())
    }

    fn label_names(&self, _: &[Matcher], _: TimeRange) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }

    fn label_values(&self, _: &str, _: &[Matcher], _: TimeRange) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }
}

/// Reproducible noise.
pub struct Random(pub u64);

impl Random {
    pub fn uniform(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    pub fn normal(&mut self) -> f64 {
        let (u, v) = (self.uniform().max(1e-12), self.uniform());
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    }

    /// Heavy-tailed with mean about 1.
    pub fn pareto(&mut self, alpha: f64) -> f64 {
        (alpha - 1.0) / alpha * self.uniform().max(1e-9).powf(-1.0 / alpha)
    }
}

/// A service whose requests are observed.
pub struct Service {
    pub per_s: f64,
    pub latency_ns: f64,
    pub failing: f64,
    pub tail: f64,
    /// Share of the requests that take `slow_ns` more.
    pub slow: f64,
    pub slow_ns: f64,
    requests_total: f64,
    errors_total: f64,
    names: [Labels; 4],
    buckets: Vec<(f64, Labels)>,
}

/// Upper edges of the latency's buckets, nanoseconds.
const EDGES_NS: [f64; 14] = [1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6, 2e6, 5e6, 1e7, 2e7, 5e7, 1e8, 1e9];
/// Spread of single requests, in logarithms.
const SPREAD: f64 = 0.5;

/// Share of a normal distribution below `z`.
fn normal_share(z: f64) -> f64 {
    // Logistic approximation, right to 1 %.
    1.0 / (1.0 + (-1.702 * z).exp())
}

impl Service {
    /// The series that latency is judged by.
    pub fn latency(&self) -> &Labels {
        &self.names[0]
    }

    pub fn new(tgid: u32, per_s: f64, latency_ns: f64) -> Self {
        // Processes whose numbers end alike serve one port.
        let (id, port) = (tgid.to_string(), (6_370 + tgid % 10).to_string());
        let series = |name: &str| {
            let of_process =
                [("tgid", &*id), ("ins_id", "1"), ("app", "KV"), ("method", "GET"), ("comm", "kv"), ("server_port", &*port)];
            labels(&format!("sli_{name}"), &of_process)
        };
        let names = [series("latency_sum"), series("latency_count"), series("requests_total"), series("errors_total")];
        let bucket = |edge: f64| {
            let mut all: Vec<(String, String)> =
                series("latency").iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            all.push(("le".to_owned(), if edge.is_finite() { edge.to_string() } else { "+Inf".to_owned() }));
            (edge, Labels::new(all))
        };
        let buckets = EDGES_NS.into_iter().chain([f64::INFINITY]).map(bucket).collect();
        Self {
            per_s,
            latency_ns,
            failing: 0.0,
            tail: 3.0,
            slow: 0.0,
            slow_ns: 0.0,
            requests_total: 0.0,
            errors_total: 0.0,
            names,
            buckets,
        }
    }

    pub fn report(&mut self, memory: &Memory, t_ms: i64, seconds: f64, random: &mut Random) {
        let expected = self.per_s * seconds;
        let count = (expected + expected.sqrt() * random.normal()).round().max(0.0);
        // The mean of many heavy-tailed requests, and a slow wander of the whole.
        let draws = count.clamp(1.0, 40.0) as usize;
        let mean = (0..draws).map(|_| random.pareto(self.tail)).sum::<f64>() / draws as f64;
        let wander = (0.15 * (t_ms as f64 / 600_000.0).sin() + 0.05 * random.normal()).exp();
        self.requests_total += count;
        self.errors_total += (count * self.failing).round();
        memory.put(&self.names[0], t_ms, ((self.latency_ns * mean * wander + self.slow * self.slow_ns) * count).round());
        let middle = self.latency_ns * wander * (-SPREAD * SPREAD / 2.0).exp();
        let mut below = 0.0f64;
        for (edge, labels) in &self.buckets {
            let usual = normal_share((edge / middle).ln() / SPREAD);
            let slowed = normal_share(((edge - self.slow_ns).max(1.0) / middle).ln() / SPREAD);
            let share = (1.0 - self.slow) * usual + self.slow * slowed;
            let luck = (count * share * (1.0 - share)).max(0.0).sqrt() * random.normal();
            let events = if edge.is_finite() { (count * share + luck).round().clamp(0.0, count) } else { count };
            below = below.max(events);
            memory.put(labels, t_ms, below);
        }
        memory.put(&self.names[1], t_ms, count);
        memory.put(&self.names[2], t_ms, self.requests_total);
        memory.put(&self.names[3], t_ms, self.errors_total);
    }

    pub fn restart_counters(&mut self) {
        self.requests_total = 0.0;
        self.errors_total = 0.0;
    }
}

pub fn labels(metric: &str, pairs: &[(&str, &str)]) -> Labels {
    let name = format!("gala_gopher_{metric}");
    let all = pairs.iter().copied().chain([("__name__", name.as_str()), ("machine_id", "m")]);
    Labels::new(all.map(|(name, value)| (name.to_owned(), value.to_owned())))
}

/// The host and its detector, moved on period by period.
pub struct Host {
    pub memory: Memory,
    pub detector: Detector,
    pub random: Random,
    pub services: Vec<Service>,
    pub now_ms: i64,
    pub period_ms: i64,
    pub opened: Vec<(i64, Incident)>,
    pub closed: Vec<i64>,
}

pub const START_MS: i64 = 1_700_000_000_000;

impl Host {
    pub fn new(services: Vec<Service>) -> Self {
        Self {
            memory: Memory::default(),
            detector: Detector::new(Config::default(), &tables()),
            random: Random(0x1234_5678_9abc_def1),
            services,
            now_ms: START_MS,
            period_ms: 5_000,
            opened: Vec::new(),
            closed: Vec::new(),
        }
    }

    pub fn put(&self, metric: &str, pairs: &[(&str, &str)], value: f64) {
        self.memory.put(&labels(metric, pairs), self.now_ms, value);
    }

    /// One period: everything reports, then detection runs, a little later.
    pub fn step(&mut self, extra: &mut dyn FnMut(&mut Host)) -> TickReport {
        self.now_ms += self.period_ms;
        let mut services = std::mem::take(&mut self.services);
        for service in &mut services {
            service.report(&self.memory, self.now_ms, self.period_ms as f64 / 1e3, &mut self.random);
        }
        self.services = services;
        extra(self);
        self.tick(self.now_ms + 2_500)
    }

    pub fn tick(&mut self, at_ms: i64) -> TickReport {
        let report = self.detector.tick(at_ms, &self.memory, &NoGraph).unwrap();
        for id in &report.opened {
            self.opened.push((at_ms, self.detector.incident(id).unwrap().clone()));
        }
        self.closed.extend(report.closed.iter().map(|_| at_ms));
        report
    }

    pub fn run(&mut self, seconds: i64) {
        self.run_with(seconds, &mut |_| {});
    }

    pub fn run_with(&mut self, seconds: i64, extra: &mut dyn FnMut(&mut Host)) {
        let end_ms = self.now_ms + seconds * 1_000;
        while self.now_ms < end_ms {
            self.step(extra);
        }
    }

    /// Continues with a detector restored from what the old one saved, as text.
    pub fn restart(&mut self) {
        let saved = serde_json::to_string(&self.detector.save()).unwrap();
        self.detector = Detector::new(Config::default(), &tables());
        self.detector.restore(serde_json::from_str(&saved).unwrap());
    }

    pub fn open(&self) -> usize {
        self.detector.incidents().filter(|incident| incident.is_open()).count()
    }
}
