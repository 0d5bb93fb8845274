//! Faults of what is finite or shared: disks that fill, descriptors, answers too big, a client that does not read, an
//! interface that holds back.

use gala_analysis::cause::{ExplainConfig, explain, rules};
use gala_model::event::{Event, Severity};
use gala_model::incident::{IncidentInput, RootCause};
use gala_store::{Labels, Sample, Series};

use crate::faults::*;
use crate::host::*;
use crate::{first_is, incident};

const NOW_MS: i64 = FAULT_MS + 60_000;
const SERVED: [(&str, &str); 6] = [
    ("tgid", SERVER),
    ("comm", "kv-server"),
    ("role", "server"),
    ("client_ip", "10.0.0.2"),
    ("server_ip", "10.0.0.1"),
    ("server_port", "6379"),
];

/// One more series, of a level at each report.
fn with(store: &mut FakeStore, metric: &str, labels: &[(&str, &str)], value: impl Fn(i64) -> f64) {
    let name = format!("gala_gopher_{metric}");
    let pairs = [("__name__", name.as_str()), ("machine_id", MACHINE)].into_iter().chain(labels.iter().copied());
    let labels = Labels::new(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let times = (START_MS..=NOW_MS).step_by(STEP_MS as usize);
    store.0.push(Series { labels, samples: times.map(|t_ms| Sample { t_ms, value: value(t_ms) }).collect() });
}

fn link() -> Vec<(&'static str, &'static str)> {
    SERVED.into_iter().chain([("client_port", "0"), ("protocol", "2")]).collect()
}

fn since_fault(usual: f64, then: f64) -> impl Fn(i64) -> f64 {
    move |t_ms| if t_ms > FAULT_MS { then } else { usual }
}

fn told(store: &FakeStore, symptom: &IncidentInput, events: &[Event]) -> RootCause {
    let config = ExplainConfig { events: events.to_vec(), ..ExplainConfig::default() };
    explain(symptom, &FakeGraph::at(NOW_MS), store, NOW_MS, rules(), &config)
}

fn slow_answers(host: &mut Host, noise: &mut Noise) {
    host.sending_us = noise.around(6_000.0, 0.3);
}

/// By a file system that fills from 60 % to 100 % within the quarter of an hour before.
fn filling(t_ms: i64) -> f64 {
    60.0 + 40.0 * ((t_ms - START_MS) as f64 / (FAULT_MS - START_MS) as f64).min(1.0)
}

#[test]
fn a_disk_that_filled_slowly_is_found_full() {
    let mut store = build(failing_requests, 1, NOW_MS);
    with(&mut store, "fs_UsePer", &[("MountOn", "/data")], filling);
    with(&mut store, "fs_UsePer", &[("MountOn", "/boot")], |_| 99.6);
    let result = told(&store, &incident("sli", "sli_errors_total"), &[]);
    assert!(first_is(&result, "fs_:data", "S3"), "{:#?}", result.resource.cause_metrics.first());
    let full_before = result.resource.cause_metrics.iter().any(|cause| cause.entity_id.contains("boot"));
    assert!(!full_before, "what was full all the time explains nothing new");
}

#[test]
fn descriptors_that_ran_out_are_why_nobody_accepts() {
    let mut store = build(full_accept_queue, 2, NOW_MS);
    let minute = |t_ms: i64| (t_ms - START_MS) as f64 / 60_000.0;
    with(&mut store, "proc_fd_free_per", &[("tgid", SERVER), ("comm", "kv-server")], move |t_ms| {
        (90.0 - 6.0 * minute(t_ms)).max(0.0)
    });
    let result = told(&store, &incident("endpoint_tcp", "endpoint_tcp_accept_overflow"), &[]);
    assert!(first_is(&result, &format!("proc_{SERVER}"), "S5"), "{:#?}", result.resource.summary.en);
}

#[test]
fn answers_too_big_are_the_applications_and_not_the_networks() {
    let mut store = build(slow_answers, 3, NOW_MS);
    with(&mut store, "tcp_link_tx_bytes", &link(), since_fault(400_000.0, 900e6));
    let result = told(&store, &incident("sli", "sli_latency_nsec"), &[]);
    assert!(first_is(&result, &format!("proc_{SERVER}"), "S6"), "{}", result.resource.summary.en);
}

#[test]
fn a_client_that_does_not_read_is_to_blame_itself() {
    let mut store = build(slow_answers, 4, NOW_MS);
    with(&mut store, "tcp_link_zero_snd_wnd_count", &link(), since_fault(0.0, 40.0));
    let window_only = told(&store, &incident("sli", "sli_latency_nsec"), &[]);
    let first = window_only.resource.cause_metrics.first().map(|cause| (cause.entity_type.clone(), cause.fault_category.clone()));
    assert_eq!(first, Some(("tcp_link".to_owned(), "S4".to_owned())));
    with(&mut store, "proc_threads_stopped", &[("tgid", CLIENT), ("comm", "kv-load")], since_fault(0.0, 3.0));
    let result = told(&store, &incident("sli", "sli_latency_nsec"), &[]);
    assert!(first_is(&result, &format!("proc_{CLIENT}"), "S5"), "{}", result.resource.summary.en);
}

#[test]
fn an_interface_that_holds_packets_back_is_the_cause_and_who_fills_it_before_it() {
    let slow_way: Fault = |host, noise| {
        slow_answers(host, noise);
        host.srtt_us = noise.around(9_000.0, 0.2);
    };
    let mut store = build(slow_way, 5, NOW_MS);
    with(&mut store, "nic_tc_backlog", &[("dev_name", "veth1")], since_fault(0.0, 200_000.0));
    let result = told(&store, &incident("sli", "sli_latency_nsec"), &[]);
    assert!(first_is(&result, "nic_veth1", "S4"), "{}", result.resource.summary.en);
    let mut other = link();
    (other[0].1, other[1].1, other[5].1) = (OTHER, "copy", "873");
    with(&mut store, "tcp_link_tx_bytes", &other, since_fault(2_000.0, 600e6));
    let result = told(&store, &incident("sli", "sli_latency_nsec"), &[]);
    let first_two = result.resource.cause_metrics.iter().take(2).map(|cause| cause.entity_id.clone());
    assert!(first_two.clone().any(|id| id == format!("{MACHINE}_proc_{OTHER}")), "{:?}", first_two.collect::<Vec<_>>());
}

#[test]
fn resets_are_of_the_server_that_ended_else_of_the_connection() {
    let mut store = build(|_, _| {}, 6, NOW_MS);
    let mut client = link();
    (client[0].1, client[1].1, client[2].1) = (CLIENT, "kv-load", "client");
    with(&mut store, "tcp_link_receive_rsts", &client, since_fault(0.0, 600.0));
    let mut symptom = incident("tcp_link", "tcp_link_receive_rsts");
    symptom.labels = client.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    symptom.entity_id = format!("{MACHINE}_tcp_link_{CLIENT}");
    let alone = told(&store, &symptom, &[]);
    assert_eq!(alone.resource.fault_category.map(|found| found.code).as_deref(), Some("S4"), "{}", alone.resource.summary.en);
    let labels = [("tgid", SERVER), ("comm", "kv-server"), ("machine_id", MACHINE)];
    let exit = Event {
        at_ms: FAULT_MS + 1_000,
        entity_id: format!("{MACHINE}_proc_{SERVER}"),
        entity_type: "proc".into(),
        metric: String::new(),
        kind: "exit".into(),
        severity: Severity::Error,
        body: String::new(),
        labels: labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
    };
    let result = told(&store, &symptom, &[exit]);
    assert!(first_is(&result, &format!("proc_{SERVER}"), "S5"), "{}", result.resource.summary.en);
}

#[test]
fn a_table_of_connections_that_is_full_is_why_new_ones_fail() {
    let mut store = build(refused, 1, NOW_MS);
    with(&mut store, "net_conntrack_used_per", &[("origin", "/proc/net/sockstat")], filling);
    let mut symptom = incident("endpoint_tcp", "endpoint_tcp_active_open_failed");
    symptom
        .labels
        .extend([("tgid", CLIENT), ("comm", "kv-load"), ("role", "client")].map(|(name, value)| (name.into(), value.into())));
    let result = told(&store, &symptom, &[]);
    let first = result.resource.cause_metrics.first().map(|cause| cause.entity_type.as_str());
    assert_eq!(first, Some("net"), "{}", result.resource.summary.en);
}
