//! Faults of one host, simulated with noise: each must be explained right half a minute and a minute after it began.

use std::collections::BTreeMap;

use gala_analysis::cause::{CauseGraph, ExplainConfig, GraphEntity, explain, rules};
use gala_analysis::topology::Relation;
use gala_model::incident::{IncidentInput, RootCause, Stage};
use gala_store::{Labels, Matcher, Sample, Series, SeriesRead, StoreError, TimeRange};

const MACHINE: &str = "0f1e-192.0.2.7";
const STEP_MS: i64 = 5_000;
const START_MS: i64 = 1_700_000_000_000;
/// The fault begins between two reports.
const FAULT_MS: i64 = START_MS + 900_000 + 2_000;
const SERVER: &str = "100";
const CLIENT: &str = "200";
const OTHER: &str = "300";

struct FakeStore(Vec<Series>);

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
struct FakeGraph {
    at_ms: i64,
}

fn process(tgid: &str) -> GraphEntity {
    GraphEntity {
        id: format!("{MACHINE}_proc_{tgid}"),
        kind: "proc".into(),
        machine_id: MACHINE.into(),
        name: tgid.into(),
        labels: BTreeMap::from([("tgid".into(), tgid.into()), ("comm".into(), "kv-server".into())]),
    }
}

impl CauseGraph for FakeGraph {
    fn at_ms(&self) -> i64 {
        self.at_ms
    }

    fn entity(&self, id: &str) -> Option<GraphEntity> {
        let host = GraphEntity { id: format!("{MACHINE}_host"), kind: "host".into(), name: "host-a".into(), ..process("") };
        [host, process(SERVER)].into_iter().find(|entity| entity.id == id)
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
struct Host {
    rate: f64,
    wait_us: f64,
    processing_us: f64,
    sending_us: f64,
    run_delay_ms: f64,
    storage_delay_ms: f64,
    fsync_us: f64,
    server_cpu: f64,
    server_core: f64,
    /// CPU use of the process that is not there before the fault.
    other_cpu: f64,
    other_core: f64,
    other_written: f64,
    other_runs: bool,
    /// Processes among which it shares its work.
    other_workers: u32,
    /// Whether it is known who ran while the server waited.
    preempts: bool,
    core_busy: f64,
    disk_await_ms: f64,
    disk_written_kb: f64,
    /// Time of a sync of a file, counted at the disk.
    sync_us: f64,
    disk_writes: f64,
    flushes: f64,
    /// Part of a disk request's time inside the device.
    device_share: f64,
    /// Retransmissions of the client, on its end of the connection.
    client_retransmitted: f64,
    retransmitted: f64,
    lost: f64,
    srtt_us: f64,
    nic_drops: f64,
    accept_overflow: f64,
    connect_ms: f64,
}

struct Noise(u64);

impl Noise {
    /// Uniform in 0..1, the same sequence in every run.
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    fn around(&mut self, value: f64, spread: f64) -> f64 {
        value * (1.0 + spread * (self.next() + self.next() + self.next() - 1.5))
    }

    /// Mostly zero, now and then a few.
    fn rare(&mut self, chance: f64, most: f64) -> f64 {
        if self.next() < chance { (self.next() * most).ceil() } else { 0.0 }
    }
}

fn usual(noise: &mut Noise) -> Host {
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
    }
}

type Fault = fn(&mut Host, &mut Noise);

/// Collects the samples of one report after the other.
#[derive(Default)]
struct Recorder {
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

fn build(fault: Fault, seed: u64, end_ms: i64) -> FakeStore {
    let (mut out, mut noise, mut at) = (Recorder::default(), Noise(seed), START_MS);
    while at <= end_ms {
        let mut host = usual(&mut noise);
        if at > FAULT_MS {
            fault(&mut host, &mut noise);
        }
        out.t_ms = at + (noise.next() * 200.0) as i64;
        report(&host, &mut noise, &mut out);
        at += STEP_MS;
    }
    FakeStore(out.series.into_iter().map(|(labels, samples)| Series { labels: Labels::new(labels), samples }).collect())
}

fn report(host: &Host, noise: &mut Noise, out: &mut Recorder) {
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
    out.put("proc_cpu", &server, host.server_core);
    out.put("proc_write_bytes", &server, noise.around(400_000.0, 0.4));
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
    out.put("net_tcp_listen_overflows", &[("origin", "/proc/dev/netstat")], host.accept_overflow);
    out.put("host_psi_memory_some", &[("hostname", "host-a")], noise.rare(0.05, 1.0) * 0.2);
}

fn cpu_neighbour(host: &mut Host, noise: &mut Noise) {
    host.rate *= 0.5;
    host.wait_us = noise.around(2_000.0, 0.2);
    host.processing_us = noise.around(400.0, 0.3);
    host.run_delay_ms = noise.around(2_300.0, 0.1);
    host.storage_delay_ms *= 1.5;
    host.server_cpu = noise.around(48.0, 0.05);
    host.core_busy = 100.0;
    (host.other_runs, host.other_cpu, host.other_core) = (true, noise.around(50.0, 0.05), 1.0);
}

fn cpu_neighbour_seen_preempting(host: &mut Host, noise: &mut Noise) {
    cpu_neighbour(host, noise);
    host.preempts = true;
}

fn eight_neighbours_of_one_program(host: &mut Host, noise: &mut Noise) {
    cpu_neighbour_seen_preempting(host, noise);
    host.server_cpu = noise.around(20.0, 0.05);
    host.other_cpu = noise.around(80.0, 0.05);
    host.other_workers = 8;
}

fn packet_loss(host: &mut Host, noise: &mut Noise) {
    host.rate *= 0.05;
    host.sending_us = noise.around(9_000.0, 0.4);
    host.wait_us *= 1.6;
    host.server_cpu *= 0.2;
    host.core_busy *= 0.3;
    host.retransmitted = noise.around(60.0, 0.5).round();
    host.lost = noise.around(30.0, 0.5).round();
    host.srtt_us = noise.around(140.0, 0.4);
}

fn packet_loss_with_counted_drops(host: &mut Host, noise: &mut Noise) {
    packet_loss(host, noise);
    host.nic_drops = noise.around(70.0, 0.4).round();
}

fn loss_of_requests_only(host: &mut Host, noise: &mut Noise) {
    host.rate *= 0.1;
    host.wait_us = noise.around(3_000.0, 0.4);
    host.client_retransmitted = noise.around(50.0, 0.4).round();
}

/// Requests wait above the device.
fn slow_disk(host: &mut Host, noise: &mut Noise) {
    host.device_share = 0.01;
    host.rate *= 0.02;
    host.processing_us = noise.around(25_000.0, 0.3);
    host.wait_us = noise.around(30_000.0, 0.3);
    host.storage_delay_ms = noise.around(4_600.0, 0.05);
    host.fsync_us = noise.around(60_000.0, 0.3);
    host.server_cpu *= 0.1;
    host.core_busy *= 0.2;
    host.disk_await_ms = noise.around(48.0, 0.2);
    host.sync_us = noise.around(60_000.0, 0.3);
    host.disk_written_kb *= 0.2;
    host.disk_writes *= 0.2;
    host.flushes *= 0.3;
}

/// The device is well, but what is written to it is held back: syncs of files take long.
fn limited_disk(host: &mut Host, noise: &mut Noise) {
    slow_disk(host, noise);
    host.disk_await_ms = noise.around(0.9, 0.3);
    host.sync_us = noise.around(60_000.0, 0.3);
}

fn fsync_flood(host: &mut Host, noise: &mut Noise) {
    host.rate *= 0.2;
    host.processing_us = noise.around(2_500.0, 0.3);
    host.wait_us = noise.around(5_000.0, 0.3);
    host.storage_delay_ms = noise.around(3_500.0, 0.1);
    host.fsync_us = noise.around(15_000.0, 0.4);
    host.run_delay_ms *= 2.0;
    host.disk_await_ms = noise.around(7.0, 0.3);
    host.disk_written_kb = noise.around(20_000.0, 0.2);
    host.sync_us = noise.around(15_000.0, 0.4);
    host.disk_writes = noise.around(2_000.0, 0.2);
    host.flushes = noise.around(900.0, 0.2);
    (host.other_runs, host.other_cpu, host.other_core) = (true, noise.around(9.0, 0.3), 3.0);
    host.other_written = noise.around(90e6, 0.2);
}

fn full_accept_queue(host: &mut Host, noise: &mut Noise) {
    host.rate *= 0.7;
    host.accept_overflow = noise.around(40.0, 0.5).round();
    host.connect_ms = noise.around(900.0, 0.4);
}

/// Slower for a reason nothing shows.
fn nothing_to_see(host: &mut Host, _: &mut Noise) {
    host.processing_us += 40.0;
}

fn incident(entity: &str, metric: &str) -> IncidentInput {
    let labels: &[(&str, &str)] = match entity {
        "sli" => &[("tgid", SERVER), ("ins_id", "8"), ("app", "KV"), ("method", "SET")],
        _ => &[("tgid", SERVER), ("comm", "kv-server"), ("role", "server"), ("server_ip", "10.0.0.1"), ("server_port", "6379")],
    };
    let entity_id = format!("{MACHINE}_{entity}_{SERVER}");
    IncidentInput {
        event_id: format!("{FAULT_MS}_{entity_id}"),
        at_ms: FAULT_MS + 15_000,
        onset_ms: Some(FAULT_MS + 3_000),
        entity_id,
        entity_type: entity.into(),
        machine_id: MACHINE.into(),
        metric_id: format!("gala_gopher_{metric}"),
        labels: labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        score: 0.9,
    }
}

fn judge_at(store: &FakeStore, now_ms: i64, incident: &IncidentInput) -> RootCause {
    explain(incident, &FakeGraph { at_ms: now_ms - 5_000 }, store, now_ms, rules(), &ExplainConfig::default())
}

fn judge(fault: Fault, seed: u64, after_ms: i64, incident: &IncidentInput) -> RootCause {
    judge_at(&build(fault, seed, FAULT_MS + after_ms), FAULT_MS + after_ms, incident)
}

/// As where only the whole of a request is timed.
fn without_stages(store: &mut FakeStore) {
    let stages = ["sched_nsec", "proc_nsec", "send_nsec"];
    store.0.retain(|series| !stages.iter().any(|stage| series.labels.metric().contains(stage)));
}

/// Explains the fault at both times with several noises; each answer must be right.
fn each(fault: Fault, incident: &IncidentInput, right: impl Fn(&RootCause) -> bool) {
    for seed in 1..=4 {
        let store = build(fault, seed, FAULT_MS + 60_000);
        for after_ms in [30_000, 60_000] {
            let result = judge_at(&store, FAULT_MS + after_ms, incident);
            let first = result.resource.cause_metrics.first();
            assert!(
                right(&result),
                "{} s, noise {seed}: {:?}\n{}\n{}",
                after_ms / 1000,
                first.map(|cause| (&cause.entity_id, &cause.fault_category, cause.probability)),
                result.resource.summary.en,
                serde_json::to_string_pretty(&result.resource).unwrap()
            );
        }
    }
}

fn first_is(result: &RootCause, entity: &str, category: &str) -> bool {
    result.resource.cause_metrics.first().is_some_and(|cause| {
        cause.entity_id == format!("{MACHINE}_{entity}") && cause.fault_category == category && cause.probability > 0.5
    }) && result.resource.fault_category.as_ref().is_some_and(|found| found.code == category)
}

#[test]
fn a_process_that_takes_the_servers_core_is_the_cause() {
    for fault in [cpu_neighbour as Fault, cpu_neighbour_seen_preempting] {
        each(fault, &incident("sli", "sli_latency_nsec"), |result| first_is(result, &format!("proc_{OTHER}"), "S1"));
    }
}

#[test]
fn the_workers_of_one_program_are_one_cause() {
    each(eight_neighbours_of_one_program, &incident("sli", "sli_latency_nsec"), |result| {
        let first = result.resource.cause_metrics.first();
        first.is_some_and(|cause| {
            cause.fault_category == "S1"
                && cause.probability > 0.5
                && cause.metric_labels.get("comm").is_some_and(|comm| comm == "batch")
        })
    });
}

#[test]
fn loss_on_the_link_is_a_network_fault_of_the_link_or_its_interface() {
    let link = format!("tcp_link_{SERVER}_kv-server_server_10.0.0.2_10.0.0.1_0_6379_2");
    each(packet_loss, &incident("sli", "sli_latency_nsec"), |result| first_is(result, &link, "S4"));
    each(packet_loss_with_counted_drops, &incident("sli", "sli_latency_nsec"), |result| {
        (first_is(result, &link, "S4") || first_is(result, "nic_veth1", "S4"))
            && result.resource.fault_domain.as_ref().is_some_and(|domain| domain.level == "network")
    });
}

#[test]
fn a_disk_that_slows_down_with_less_to_do_is_the_cause_itself() {
    each(slow_disk, &incident("sli", "sli_latency_nsec"), |result| {
        first_is(result, "disk_vdb", "S3") || first_is(result, "block_253_16", "S3")
    });
}

#[test]
fn a_disk_that_holds_syncs_back_is_the_cause_though_its_requests_are_quick() {
    each(limited_disk, &incident("sli", "sli_latency_nsec"), |result| first_is(result, "block_253_16", "S3"));
}

#[test]
fn loss_that_only_the_clients_end_counts_is_found_there() {
    let link = format!("tcp_link_{CLIENT}_kv-load_client_10.0.0.2_10.0.0.1_0_6379_2");
    each(loss_of_requests_only, &incident("sli", "sli_latency_nsec"), |result| first_is(result, &link, "S4"));
}

#[test]
fn time_lost_inside_a_device_that_has_less_to_do_is_hardware() {
    let fault: Fault = |host, noise| {
        slow_disk(host, noise);
        host.device_share = 0.95;
    };
    let now_ms = FAULT_MS + 60_000;
    let store = build(fault, 4, now_ms);
    let symptom = incident("sli", "sli_latency_nsec");
    let result = explain(&symptom, &FakeGraph { at_ms: now_ms }, &store, now_ms, rules(), &ExplainConfig::default());
    assert!(first_is(&result, "disk_vdb", "H1") || first_is(&result, "block_253_16", "H1"), "{}", result.resource.summary.en);
}

#[test]
fn a_process_that_floods_the_disk_is_the_cause_of_slow_fsyncs() {
    each(fsync_flood, &incident("sli", "sli_latency_nsec"), |result| first_is(result, &format!("proc_{OTHER}"), "S3"));
}

#[test]
fn a_full_accept_queue_is_the_cause_whichever_symptom_was_felt() {
    let endpoint = format!("endpoint_tcp_{SERVER}_kv-server_server_0.0.0.0_10.0.0.1_6379_2");
    for metric in ["endpoint_tcp_accept_overflow", "endpoint_tcp_estab_latency"] {
        each(full_accept_queue, &incident("endpoint_tcp", metric), |result| first_is(result, &endpoint, "S4"));
    }
}

#[test]
fn without_a_cause_in_sight_the_answer_is_unknown() {
    let symptom = incident("sli", "sli_latency_nsec");
    for seed in 1..=4 {
        let now_ms = FAULT_MS + 60_000;
        let mut store = build(nothing_to_see, seed, now_ms);
        without_stages(&mut store);
        let result = explain(&symptom, &FakeGraph { at_ms: now_ms }, &store, now_ms, rules(), &ExplainConfig::default());
        assert!(result.resource.unknown_probability >= 0.5, "{}", result.resource.summary.en);
        assert_eq!(result.resource.fault_category.unwrap().code, "unknown");
    }
    each(|_, _| {}, &symptom, |result| result.resource.unknown_probability >= 0.5);
}

#[test]
fn work_that_takes_longer_without_waiting_for_anything_is_the_applications_own() {
    each(nothing_to_see, &incident("sli", "sli_latency_nsec"), |result| first_is(result, &format!("proc_{SERVER}"), "S6"));
}

#[test]
fn the_path_leads_from_the_cause_to_the_symptom_with_numbers() {
    let result = judge(cpu_neighbour, 1, 60_000, &incident("sli", "sli_latency_nsec"));
    let path = &result.resource.cause_metrics[0].path;
    let types: Vec<&str> = path.iter().map(|step| step.entity_type.as_str()).collect();
    assert_eq!(types.first(), Some(&"proc"));
    assert_eq!(types.last(), Some(&"sli"));
    assert!(path.len() >= 3 && path.iter().enumerate().all(|(at, step)| step.step == at + 1));
    assert!(path.iter().all(|step| step.hidden || (step.value_before.is_some() && step.onset.is_some())), "{path:#?}");
    assert!(path[..path.len() - 1].iter().all(|step| !step.rule.is_empty()));
    let summary = &result.resource.summary;
    assert!(summary.en.starts_with("CPU use of `batch (300)` rose from 0 % to"), "{}", summary.en);
    assert!(summary.en.contains("with it, request latency of `kv-server (100)` rose from"), "{}", summary.en);
    assert!(summary.zh.contains("CPU 使用率"));
    assert_eq!(result.keywords, ["process"]);
    assert_eq!(result.resource.stage, Stage::Cause);
}

#[test]
fn the_same_inputs_give_the_same_bytes_and_other_inputs_another_digest() {
    let symptom = incident("sli", "sli_latency_nsec");
    let text = |seed| serde_json::to_string(&judge(fsync_flood, seed, 60_000, &symptom)).unwrap();
    assert_eq!(text(3), text(3));
    let digest = |seed| judge(fsync_flood, seed, 60_000, &symptom).resource.inputs_digest;
    assert_ne!(digest(3), digest(4));
}

#[test]
fn what_was_degraded_before_is_not_the_cause() {
    // The disk has been slow all the time; the neighbour is what is new.
    let fault: Fault = cpu_neighbour;
    let now_ms = FAULT_MS + 60_000;
    let mut store = build(fault, 5, now_ms);
    for series in &mut store.0 {
        if series.labels.metric().contains("await") {
            series.samples.iter_mut().for_each(|sample| sample.value *= 60.0);
        }
    }
    let result = explain(
        &incident("sli", "sli_latency_nsec"),
        &FakeGraph { at_ms: now_ms },
        &store,
        now_ms,
        rules(),
        &ExplainConfig::default(),
    );
    assert!(first_is(&result, &format!("proc_{OTHER}"), "S1"), "{}", result.resource.summary.en);
}

#[test]
fn without_stages_the_process_tells_the_same_cause() {
    let now_ms = FAULT_MS + 60_000;
    for (fault, entity, category) in
        [(cpu_neighbour as Fault, format!("proc_{OTHER}"), "S1"), (fsync_flood, format!("proc_{OTHER}"), "S3")]
    {
        let mut store = build(fault, 2, now_ms);
        without_stages(&mut store);
        let result = explain(
            &incident("sli", "sli_latency_nsec"),
            &FakeGraph { at_ms: now_ms },
            &store,
            now_ms,
            rules(),
            &ExplainConfig::default(),
        );
        assert!(first_is(&result, &entity, category), "{}", result.resource.summary.en);
        assert!(result.resource.limits.iter().any(|limit| limit.contains("not measured")), "{:?}", result.resource.limits);
    }
}

#[test]
fn gaps_and_missing_samples_do_not_change_the_answer() {
    let now_ms = FAULT_MS + 60_000;
    let mut store = build(cpu_neighbour, 6, now_ms);
    let mut noise = Noise(99);
    for series in &mut store.0 {
        series.samples.retain(|_| noise.next() > 0.1);
    }
    let result = explain(
        &incident("sli", "sli_latency_nsec"),
        &FakeGraph { at_ms: now_ms },
        &store,
        now_ms,
        rules(),
        &ExplainConfig::default(),
    );
    assert!(first_is(&result, &format!("proc_{OTHER}"), "S1"), "{}", result.resource.summary.en);
}

#[test]
fn an_empty_store_and_an_old_topology_are_said_and_end_in_unknown() {
    let store = FakeStore(Vec::new());
    let symptom = incident("sli", "sli_latency_nsec");
    let result = explain(
        &symptom,
        &FakeGraph { at_ms: FAULT_MS - 600_000 },
        &store,
        FAULT_MS + 30_000,
        rules(),
        &ExplainConfig::default(),
    );
    assert!(result.resource.cause_metrics.is_empty());
    assert_eq!(result.resource.unknown_probability, 1.0);
    assert!(result.resource.limits.iter().any(|limit| limit.contains("630 s old")), "{:?}", result.resource.limits);
}
