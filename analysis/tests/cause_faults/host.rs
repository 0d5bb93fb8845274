//! A simulated host: what it reports in every period, with noise, and a store and a topology that hold it.

use std::collections::BTreeMap;

use gala_analysis::cause::{CauseGraph, GraphEntity};
use gala_analysis::topology::Relation;
use gala_store::{Labels, Matcher, Sample, Series, SeriesRead, StoreError, TimeRange};

pub const MACHINE: &str = "0f1e-192.0.2.7";
pub const STEP_MS: i64 = 5_000;
pub const START_MS: i64 = 1_700_000_000_000;
/// The fault begins between two reports.
pub const FAULT_MS: i64 = START_MS + 900_000 + 2_000;
pub const SERVER: &str = "100";
pub const CLIENT: &str = "200";
pub const OTHER: &str = "300";

pub struct FakeStore(pub Vec<Series>);

impl SeriesRead for FakeStore {
    fn select(&self, matchers: &[Matcher], range: TimeRange, _max: usize) -> Result<Vec<Series>, StoreError> {
        Ok(self
            .0
            .iter()
            .filter(|series| matchers.iter().all(|matcher| matcher.matches(series.labels.get(&matcher.name).unwrap_or(""))))
            .map(|series| Series {
                labels: series.labels.clone(),
                samples: series.samples.iter().copied().filter(|s| s.t_ms >= range.from_ms && s.t_ms <= range.to_ms).collect(),
            })
            .filter(|series| !series.samples.is_empty())
            .collect())
    }

    fn series(&self, matchers: &[Matcher], range: TimeRange) -> Result<Vec<Labels>, StoreError> {
        Ok(self.select(matchers, range, 0)?.into_iter().map(|series| series.labels).collect())
    }

    fn label_names(&self, _: &[Matcher], _: TimeRange) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }

    fn label_values(&self, _: &str, _: &[Matcher], _: TimeRange) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }
}

/// A topology that knows the host and who is connected to whom, not which device a process uses.
pub struct FakeGraph {
    pub at_ms: i64,
    /// When the server was seen to end.
    pub ended_ms: Option<i64>,
}

impl FakeGraph {
    pub fn at(at_ms: i64) -> Self {
        Self { at_ms, ended_ms: None }
    }
}

pub fn process(tgid: &str) -> GraphEntity {
    GraphEntity {
        id: format!("{MACHINE}_proc_{tgid}"),
        kind: "proc".into(),
        machine_id: MACHINE.into(),
        name: tgid.into(),
        labels: BTreeMap::from([("tgid".into(), tgid.into()), ("comm".into(), "kv-server".into())]),
        ended_ms: None,
    }
}

impl CauseGraph for FakeGraph {
    fn at_ms(&self) -> i64 {
        self.at_ms
    }

    fn entity(&self, id: &str) -> Option<GraphEntity> {
        let host = GraphEntity { id: format!("{MACHINE}_host"), kind: "host".into(), name: "host-a".into(), ..process("") };
        let server = GraphEntity { ended_ms: self.ended_ms, ..process(SERVER) };
        [host, server].into_iter().find(|entity| entity.id == id)
    }

    fn related(&self, id: &str, relation: Relation, outgoing: bool) -> Vec<GraphEntity> {
        match (relation, outgoing, id) {
            (Relation::Connect, true, id) if id.ends_with(CLIENT) => vec![process(SERVER)],
            (Relation::Connect, false, id) if id.ends_with(SERVER) => vec![process(CLIENT)],
            _ => Vec::new(),
        }
    }
}

/// What the host does at one report; faults change it.
pub struct Host {
    pub rate: f64,
    pub wait_us: f64,
    pub processing_us: f64,
    pub sending_us: f64,
    pub run_delay_ms: f64,
    pub storage_delay_ms: f64,
    pub fsync_us: f64,
    pub server_cpu: f64,
    pub server_core: f64,
    /// CPU use of the process that is not there before the fault.
    pub other_cpu: f64,
    pub other_core: f64,
    pub other_written: f64,
    pub other_runs: bool,
    /// Processes among which it shares its work.
    pub other_workers: u32,
    /// Whether it is known who ran while the server waited.
    pub preempts: bool,
    pub core_busy: f64,
    pub disk_await_ms: f64,
    pub disk_written_kb: f64,
    /// Time of a sync of a file, counted at the disk.
    pub sync_us: f64,
    pub disk_writes: f64,
    pub flushes: f64,
    /// Part of a disk request's time inside the device.
    pub device_share: f64,
    /// Retransmissions of the client, on its end of the connection.
    pub client_retransmitted: f64,
    pub retransmitted: f64,
    pub lost: f64,
    pub srtt_us: f64,
    pub nic_drops: f64,
    pub accept_overflow: f64,
    pub connect_ms: f64,
    /// Threads of the server that were stopped, and the wait of its oldest request.
    pub stopped: f64,
    pub oldest_s: f64,
    /// Time withheld by a quota; none where the server's group has no quota.
    pub throttled_ms: Option<f64>,
    /// How often its memory limit is hit; none where it has no limit.
    pub limit_hits: Option<f64>,
    /// Share of requests that fail.
    pub failing: f64,
    /// Requests that the disk fails; nothing is reported without any.
    pub device_errors: f64,
    /// Attempts of the client to connect that fail; nothing is reported without an attempt.
    pub refused: f64,
    pub refused_by_many: bool,
    pub carrier_changes: f64,
    pub oom_kills: f64,
    /// CPU time that programs took from the server of which each process soon ended.
    pub short_lived_ms: f64,
}

pub struct Noise(pub u64);

impl Noise {
    /// Uniform in 0..1, the same sequence in every run.
    pub fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    pub fn around(&mut self, value: f64, spread: f64) -> f64 {
        value * (1.0 + spread * (self.next() + self.next() + self.next() - 1.5))
    }

    /// Mostly zero, now and then a few.
    pub fn rare(&mut self, chance: f64, most: f64) -> f64 {
        if self.next() < chance { (self.next() * most).ceil() } else { 0.0 }
    }
}

pub fn usual(noise: &mut Noise) -> Host {
    Host {
        rate: noise.around(60_000.0, 0.1),
        wait_us: noise.around(20.0, 0.2),
        processing_us: noise.around(60.0, 0.15),
        sending_us: noise.around(30.0, 0.2),
        run_delay_ms: noise.around(20.0, 0.6),
        storage_delay_ms: noise.around(15.0, 0.5),
        fsync_us: noise.around(400.0, 0.3),
        server_cpu: noise.around(55.0, 0.1),
        server_core: 1.0,
        other_cpu: 0.0,
        other_core: 1.0,
        other_written: 0.0,
        other_runs: false,
        other_workers: 1,
        preempts: false,
        core_busy: noise.around(60.0, 0.1),
        disk_await_ms: noise.around(0.8, 0.3),
        disk_written_kb: noise.around(600.0, 0.4),
        sync_us: 400.0,
        disk_writes: noise.around(80.0, 0.3),
        flushes: noise.around(10.0, 0.4),
        device_share: 0.6,
        client_retransmitted: noise.rare(0.1, 3.0),
        retransmitted: noise.rare(0.1, 3.0),
        lost: noise.rare(0.05, 2.0),
        srtt_us: noise.around(80.0, 0.2),
        nic_drops: 0.0,
        accept_overflow: 0.0,
        connect_ms: noise.around(0.3, 0.3),
        stopped: 0.0,
        oldest_s: 0.0,
        throttled_ms: None,
        limit_hits: None,
        failing: 0.0,
        device_errors: 0.0,
        refused: 0.0,
        refused_by_many: false,
        carrier_changes: 0.0,
        oom_kills: 0.0,
        short_lived_ms: 0.0,
    }
}

pub type Fault = fn(&mut Host, &mut Noise);

/// Collects the samples of one report after the other.
#[derive(Default)]
pub struct Recorder {
    series: BTreeMap<Vec<(String, String)>, Vec<Sample>>,
    t_ms: i64,
}

impl Recorder {
    fn samples(&mut self, metric: &str, labels: &[(&str, &str)]) -> &mut Vec<Sample> {
        let mut pairs =
            vec![("__name__".to_owned(), format!("gala_gopher_{metric}")), ("machine_id".to_owned(), MACHINE.to_owned())];
        pairs.extend(labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        self.series.entry(pairs).or_default()
    }

    fn put(&mut self, metric: &str, labels: &[(&str, &str)], value: f64) {
        let t_ms = self.t_ms;
        self.samples(metric, labels).push(Sample { t_ms, value });
    }

    /// What is counted since the start.
    fn grow(&mut self, metric: &str, labels: &[(&str, &str)], amount: f64) {
        let t_ms = self.t_ms;
        let samples = self.samples(metric, labels);
        let value = samples.last().map_or(1e6, |last| last.value) + amount;
        samples.push(Sample { t_ms, value });
    }
}

pub fn build(fault: Fault, seed: u64, end_ms: i64) -> FakeStore {
    build_twice(fault, seed, end_ms, (0, 0))
}

/// The fault was there once before, from and to these times.
pub fn build_twice(fault: Fault, seed: u64, end_ms: i64, before: (i64, i64)) -> FakeStore {
    let (mut out, mut noise, mut at) = (Recorder::default(), Noise(seed), START_MS);
    while at <= end_ms {
        let mut host = usual(&mut noise);
        if at > FAULT_MS || (before.0..before.1).contains(&at) {
            fault(&mut host, &mut noise);
        }
        out.t_ms = at + (noise.next() * 200.0) as i64;
        report(&host, &mut noise, &mut out);
        at += STEP_MS;
    }
    FakeStore(out.series.into_iter().map(|(labels, samples)| Series { labels: Labels::new(labels), samples }).collect())
}

pub fn report(host: &Host, noise: &mut Noise, out: &mut Recorder) {
    // Two commands of one service; what was counted grows for ever.
    for (method, share) in [("SET", 0.6), ("GET", 0.4)] {
        let labels = [
            ("tgid", SERVER),
            ("ins_id", "0"),
            ("app", "KV"),
            ("method", method),
            ("server_ip", "10.0.0.1"),
            ("server_port", "6379"),
        ];
        let count = (host.rate * share).round();
        let total = host.wait_us + host.processing_us + host.sending_us;
        let parts = [
            ("latency_nsec", total),
            ("sched_nsec", host.wait_us),
            ("proc_nsec", host.processing_us),
            ("send_nsec", host.sending_us),
        ];
        for (field, mean_us) in parts {
            out.grow(&format!("sli_{field}_sum"), &labels, mean_us * 1e3 * count);
            out.grow(&format!("sli_{field}_count"), &labels, count);
        }
        out.grow("sli_requests_total", &labels, count);
        out.grow("sli_errors_total", &labels, (count * host.failing).round());
        out.put("sli_oldest_nsec", &labels, host.oldest_s * 1e9);
    }
    let server = [("tgid", SERVER), ("comm", "kv-server")];
    out.put("proc_run_delay_ns", &server, host.run_delay_ms * 1e6);
    out.put("proc_wait_fsync_ns", &server, host.storage_delay_ms * 1e6);
    out.put("proc_fsync_count", &server, 100.0);
    out.put("proc_fsync_sum_ns", &server, host.fsync_us * 1e5);
    fn on_disk<'a>(tgid: &'a str, submitter: &'a str) -> [(&'a str, &'a str); 3] {
        [("tgid", tgid), ("disk_name", "vdb"), ("submitter", submitter)]
    }
    out.put("proc_block_writes", &on_disk(SERVER, "process"), host.disk_writes.min(80.0));
    // The journal writes for whoever asks it to.
    out.put("proc_block_writes", &on_disk("90", "kernel"), host.flushes * 2.0);
    out.put("proc_cpu_util", &server, host.server_cpu);
    out.put("proc_threads_stopped", &server, host.stopped);
    out.put("proc_cpu", &server, host.server_core);
    out.put("proc_write_bytes", &server, noise.around(400_000.0, 0.4));
    let group = [("tgid", SERVER), ("comm", "kv-server"), ("cgroup", "/kv")];
    if let Some(throttled_ms) = host.throttled_ms {
        out.put("proc_throttled_ns", &group, throttled_ms * 1e6);
    }
    if let Some(limit_hits) = host.limit_hits {
        out.put("proc_memory_limit_hits", &group, limit_hits);
        out.put("proc_memory_oom_kills", &group, host.oom_kills);
    }
    if host.short_lived_ms > 0.0 {
        for (program, share) in [("cc1", 0.7), ("ld", 0.3)] {
            let waits = [("tgid", SERVER), ("comm", "kv-server"), ("by_tgid", "0"), ("by_comm", program), ("by_kind", "process")];
            out.put("proc_preempted_ns", &waits, host.short_lived_ms * 1e6 * share);
        }
    }
    let client = [("tgid", CLIENT), ("comm", "kv-load")];
    out.put("proc_cpu_util", &client, noise.around(40.0, 0.2));
    out.put("proc_cpu", &client, 2.0);
    for tgid in ["301", "302", "303", "304"] {
        let labels = [("tgid", tgid), ("comm", "worker")];
        out.put("proc_cpu_util", &labels, noise.around(6.0, 0.8));
        out.put("proc_cpu", &labels, (noise.next() * 4.0).floor());
        out.put("proc_write_bytes", &labels, noise.around(100_000.0, 0.8));
    }
    if host.other_runs {
        let first: u32 = OTHER.parse().unwrap();
        for worker in 0..host.other_workers {
            let (tgid, share) = ((first + 1_000 * worker).to_string(), f64::from(host.other_workers).recip());
            let labels = [("tgid", tgid.as_str()), ("comm", "batch")];
            out.put("proc_cpu_util", &labels, host.other_cpu * share);
            out.put("proc_cpu", &labels, host.other_core);
            out.put("proc_write_bytes", &labels, host.other_written * share);
            out.put("proc_block_writes", &on_disk(&tgid, "process"), host.other_written * share / 50_000.0);
            if host.preempts {
                let waits =
                    [("tgid", SERVER), ("comm", "kv-server"), ("by_tgid", &tgid), ("by_comm", "batch"), ("by_kind", "process")];
                out.put("proc_preempted_ns", &waits, host.run_delay_ms * 0.9e6 * share);
            }
        }
    }
    for cpu in ["0", "1", "2", "3"] {
        let busy = if cpu == "1" { host.core_busy } else { noise.around(25.0, 0.4) };
        out.put("cpu_util_per", &[("cpu", cpu)], busy);
        out.put("cpu_steal_msec", &[("cpu", cpu)], noise.rare(0.2, 20.0));
    }
    out.put("cpu_total_used_per", &[("cpu", "cpu")], noise.around(33.0, 0.1));
    let disk = [("disk_name", "vdb")];
    out.put("disk_w_await", &disk, host.disk_await_ms);
    out.put("disk_wspeed_kB", &disk, host.disk_written_kb);
    out.put("disk_wspeed", &disk, host.disk_writes);
    out.put("disk_fspeed", &disk, host.flushes);
    out.put("disk_w_await", &[("disk_name", "vda")], noise.around(0.6, 0.5));
    out.put("disk_wspeed_kB", &[("disk_name", "vda")], noise.around(200.0, 0.7));
    let block = [("major", "253"), ("first_minor", "16"), ("blk_name", "vdb"), ("disk_name", "vdb")];
    out.put("block_latency_req_sum", &block, host.disk_await_ms * 1e6 * host.disk_writes);
    out.put("block_count_latency_req", &block, host.disk_writes);
    out.put("block_latency_device_sum", &block, host.device_share * host.disk_await_ms * 1e6 * host.disk_writes);
    out.put("block_count_latency_device", &block, host.disk_writes);
    out.put("block_latency_sync_sum", &block, host.sync_us * 1e3 * host.flushes);
    out.put("block_latency_sync_count", &block, host.flushes);
    if host.device_errors > 0.0 {
        out.put("block_err_count", &block, host.device_errors);
        out.put("block_err_code", &block, 10.0);
    }
    let link = [
        ("tgid", SERVER),
        ("comm", "kv-server"),
        ("role", "server"),
        ("client_ip", "10.0.0.2"),
        ("server_ip", "10.0.0.1"),
        ("client_port", "0"),
        ("server_port", "6379"),
        ("protocol", "2"),
    ];
    out.put("tcp_link_retran_packets", &link, host.retransmitted);
    out.put("tcp_link_lost_out", &link, host.lost);
    out.put("tcp_link_segs_out", &link, host.rate);
    out.put("tcp_link_srtt_sum", &link, host.srtt_us * 100.0);
    out.put("tcp_link_srtt_count", &link, 100.0);
    let mut other_end = link;
    (other_end[0].1, other_end[1].1, other_end[2].1) = (CLIENT, "kv-load", "client");
    out.put("tcp_link_retran_packets", &other_end, host.client_retransmitted);
    out.put("nic_tc_sent_drop", &[("dev_name", "eth0")], noise.rare(0.02, 1.0));
    out.put("nic_tc_sent_drop", &[("dev_name", "veth1")], host.nic_drops);
    out.put("nic_carrier_changes", &[("dev_name", "eth0")], host.carrier_changes);
    out.put("net_tcp_retrans_segs", &[("origin", "/proc/dev/snmp")], host.retransmitted + noise.rare(0.3, 3.0));
    let endpoint = [
        ("tgid", SERVER),
        ("comm", "kv-server"),
        ("role", "server"),
        ("client_ip", "0.0.0.0"),
        ("server_ip", "10.0.0.1"),
        ("server_port", "6379"),
        ("protocol", "2"),
    ];
    out.put("endpoint_tcp_accept_overflow", &endpoint, host.accept_overflow);
    out.put("endpoint_tcp_listendrop", &endpoint, host.accept_overflow);
    out.put("endpoint_tcp_estab_latency_sum", &endpoint, host.connect_ms * 1e6 * 50.0);
    out.put("endpoint_tcp_estab_latency_count", &endpoint, 50.0);
    if host.refused > 0.0 {
        // One process an attempt, as of a script.
        let tgid = if host.refused_by_many { (1_000 + out.t_ms % 9_000).to_string() } else { CLIENT.to_owned() };
        let mut client = endpoint;
        (client[0].1, client[1].1, client[2].1, client[3].1) = (&tgid, "kv-load", "client", "10.0.0.2");
        out.put("endpoint_tcp_active_open_failed", &client, host.refused);
        out.put("endpoint_tcp_active_open_refused", &client, host.refused);
    }
    out.put("mem_oom_kills", &[("infos", "/proc/vmstat")], host.oom_kills);
    out.put("net_tcp_listen_overflows", &[("origin", "/proc/dev/netstat")], host.accept_overflow);
    out.put("host_psi_memory_some", &[("hostname", "host-a")], noise.rare(0.05, 1.0) * 0.2);
}
