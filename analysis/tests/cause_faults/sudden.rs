//! Faults whose evidence begins with them, or that are told by events: no series shows what is usual of it.

use gala_analysis::cause::{ExplainConfig, explain, rules};
use gala_model::event::{Event, Severity};
use gala_model::incident::{IncidentInput, RootCause};

use crate::faults::*;
use crate::host::*;
use crate::{each, first_is, incident};

const LINK: [(&str, &str); 4] = [("role", "client"), ("server_ip", "10.0.0.1"), ("server_port", "6379"), ("comm", "kv-load")];

/// A symptom that is nobody's request.
fn symptom(entity: &str, metric: &str, id: &str, labels: &[(&str, &str)]) -> IncidentInput {
    let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    IncidentInput {
        entity_id: format!("{MACHINE}_{id}"),
        entity_type: entity.into(),
        metric_id: format!("gala_gopher_{metric}"),
        labels: labels.collect(),
        ..incident(entity, metric)
    }
}

fn refused_client() -> IncidentInput {
    let mut labels = LINK.to_vec();
    labels.push(("tgid", CLIENT));
    symptom("endpoint_tcp", "endpoint_tcp_active_open_failed", "endpoint_tcp_200", &labels)
}

fn event(kind: &str, tgid: &str, comm: &str) -> Event {
    let labels = [("tgid", tgid), ("comm", comm), ("machine_id", MACHINE)];
    Event {
        at_ms: FAULT_MS + 1_000,
        entity_id: format!("{MACHINE}_proc_{tgid}"),
        entity_type: "proc".into(),
        metric: String::new(),
        kind: kind.into(),
        severity: Severity::Error,
        body: String::new(),
        labels: labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
    }
}

fn knowing(fault: Fault, symptom: &IncidentInput, events: &[Event], ended_ms: Option<i64>) -> RootCause {
    let now_ms = FAULT_MS + 45_000;
    let config = ExplainConfig { events: events.to_vec(), ..ExplainConfig::default() };
    explain(symptom, &FakeGraph { at_ms: now_ms, ended_ms }, &build(fault, 3, now_ms), now_ms, rules(), &config)
}

#[test]
fn a_quota_that_is_set_is_the_cause_and_not_who_ran_meanwhile() {
    each(quota, &incident("sli", "sli_latency_nsec"), |result| first_is(result, &format!("proc_{SERVER}"), "S1"));
}

#[test]
fn a_memory_limit_that_is_set_is_the_cause() {
    each(memory_limit, &incident("sli", "sli_latency_nsec"), |result| first_is(result, &format!("proc_{SERVER}"), "S2"));
}

#[test]
fn what_the_quota_does_not_withhold_is_still_a_neighbours() {
    let fault: Fault = |host, noise| {
        cpu_neighbour_seen_preempting(host, noise);
        host.throttled_ms = Some(noise.rare(0.5, 30.0));
    };
    each(fault, &incident("sli", "sli_latency_nsec"), |result| first_is(result, &format!("proc_{OTHER}"), "S1"));
}

#[test]
fn errors_of_a_device_are_the_hardware_whichever_symptom_was_felt() {
    let device = [("major", "253"), ("first_minor", "16"), ("blk_name", "vdb"), ("disk_name", "vdb")];
    each(failing_device, &symptom("block", "block_err_count", "block_253_16", &device), |result| {
        first_is(result, "block_253_16", "H1")
    });
    each(failing_device, &incident("sli", "sli_errors_total"), |result| first_is(result, "block_253_16", "H1"));
}

#[test]
fn one_report_of_device_errors_is_enough() {
    let device = [("major", "253"), ("first_minor", "16"), ("blk_name", "vdb"), ("disk_name", "vdb")];
    let now_ms = FAULT_MS + 60_000;
    let mut store = build(failing_device, 2, now_ms);
    for series in store.0.iter_mut().filter(|series| series.labels.metric().contains("block_err")) {
        series.samples.truncate(1);
    }
    let graph = FakeGraph::at(now_ms);
    let symptom = symptom("block", "block_err_count", "block_253_16", &device);
    let result = explain(&symptom, &graph, &store, now_ms, rules(), &ExplainConfig::default());
    assert!(first_is(&result, "block_253_16", "H1"), "{}", result.resource.summary.en);
}

#[test]
fn errors_without_a_cause_in_the_resources_are_the_applications_own() {
    each(failing_requests, &incident("sli", "sli_errors_total"), |result| first_is(result, &format!("proc_{SERVER}"), "S6"));
    let summary = knowing(failing_requests, &incident("sli", "sli_errors_total"), &[], None).resource.summary;
    assert!(summary.en.contains("; nothing measured explains it better, so it is `kv-server (100)` itself"), "{}", summary.en);
}

#[test]
fn a_process_that_answers_nothing_and_waits_for_nothing_hangs() {
    each(hang, &incident("sli", "sli_oldest_nsec"), |result| first_is(result, &format!("proc_{SERVER}"), "S5"));
}

#[test]
fn requests_that_wait_while_the_process_gets_its_cpu_wait_for_other_requests() {
    each(slow_commands, &incident("sli", "sli_latency_nsec"), |result| first_is(result, &format!("proc_{SERVER}"), "S6"));
}

#[test]
fn a_full_queue_of_a_stopped_server_is_the_servers() {
    each(stopped_with_full_queue, &incident("endpoint_tcp", "endpoint_tcp_accept_overflow"), |result| {
        first_is(result, &format!("proc_{SERVER}"), "S5")
    });
}

#[test]
fn who_is_refused_because_the_server_ended_names_the_server() {
    let server = format!("proc_{SERVER}");
    let ended = knowing(refused, &refused_client(), &[event("exit", SERVER, "kv-server")], None);
    assert!(first_is(&ended, &server, "S5"), "{}", ended.resource.summary.en);
    assert!(ended.resource.summary.en.starts_with("`kv-server (100)` ended at 2023-11-14T22:"), "{}", ended.resource.summary.en);
    assert!(ended.resource.summary.zh.contains("Z `kv-server (100)` 已结束"), "{}", ended.resource.summary.zh);
    assert_eq!(ended.resource.cause_metrics[0].evidence[0].kind, "change");
    let others = [event("exit", "304", "worker")];
    let other = knowing(refused, &refused_client(), &others, None);
    assert!(other.resource.cause_metrics.iter().all(|cause| cause.fault_category != "S5"), "{}", other.resource.summary.en);
    assert!(first_is(&other, "endpoint_tcp_200_kv-load_client_10.0.0.2_10.0.0.1_6379_2", "S4"), "{:?}", other.resource.summary);
}

#[test]
fn attempts_of_processes_that_come_and_go_are_one_symptom() {
    let fault: Fault = |host, noise| {
        refused(host, noise);
        host.refused_by_many = true;
    };
    let program = symptom("endpoint_tcp", "endpoint_tcp_active_open_failed", "endpoint_tcp_1234", &LINK);
    let ended = knowing(fault, &program, &[event("exit", SERVER, "kv-server")], None);
    assert!(first_is(&ended, &format!("proc_{SERVER}"), "S5"), "{}", ended.resource.summary.en);
    let unknown = knowing(fault, &program, &[], None);
    assert!(first_is(&unknown, "endpoint_tcp_1234", "S4"), "{}", unknown.resource.summary.en);
}

#[test]
fn where_no_events_come_from_the_topology_tells_who_ended() {
    let ended = knowing(refused, &refused_client(), &[], Some(FAULT_MS + 1_000));
    assert!(first_is(&ended, &format!("proc_{SERVER}"), "S5"), "{}", ended.resource.summary.en);
    let long_ago = knowing(refused, &refused_client(), &[], Some(FAULT_MS - 300_000));
    assert!(!first_is(&long_ago, &format!("proc_{SERVER}"), "S5"), "{}", long_ago.resource.summary.en);
}

#[test]
fn a_link_that_went_down_is_hardware() {
    each(refused_after_link_loss, &refused_client(), |result| first_is(result, "nic_eth0", "H3"));
    let link = symptom("nic", "nic_carrier_changes", "nic_eth0", &[("dev_name", "eth0")]);
    each(refused_after_link_loss, &link, |result| first_is(result, "nic_eth0", "H3"));
}

#[test]
fn who_was_killed_while_the_host_has_memory_is_the_cause() {
    let memory = symptom("mem", "mem_oom_kills", "mem_:proc:vmstat", &[("infos", "/proc/vmstat")]);
    // The kernel tells of both: whom it chose, and its end.
    let events = [event("oom", OTHER, "batch"), event("exit", OTHER, "batch")];
    let result = knowing(killed_for_memory, &memory, &events, None);
    assert!(first_is(&result, &format!("proc_{OTHER}"), "S2"), "{}", result.resource.summary.en);
    assert!(result.resource.summary.en.starts_with("`batch (300)` was killed because memory ran out"));
    assert_eq!(result.resource.cause_metrics[0].evidence[0].kind, "inspection");
    let unknown = knowing(killed_for_memory, &memory, &[], None);
    assert!(first_is(&unknown, "mem_:proc:vmstat", "S2"), "{}", unknown.resource.summary.en);
}

#[test]
fn a_kill_in_a_control_group_is_of_the_process_that_was_killed() {
    let group = symptom("proc", "proc_memory_oom_kills", &format!("proc_{SERVER}"), &[("tgid", SERVER), ("comm", "kv-server")]);
    let result = knowing(killed_in_the_servers_group, &group, &[event("oom", OTHER, "batch")], None);
    assert!(first_is(&result, &format!("proc_{OTHER}"), "S2"), "{}", result.resource.summary.en);
    let unknown = knowing(killed_in_the_servers_group, &group, &[], None);
    assert!(first_is(&unknown, &format!("proc_{SERVER}"), "S2"), "{}", unknown.resource.summary.en);
}

#[test]
fn who_is_refused_because_the_server_was_killed_for_memory_hears_so() {
    let events = [event("oom", SERVER, "kv-server"), event("exit", SERVER, "kv-server")];
    let result = knowing(refused, &refused_client(), &events, None);
    assert!(first_is(&result, &format!("proc_{SERVER}"), "S2"), "{}", result.resource.summary.en);
}

#[test]
fn programs_whose_processes_ended_are_named_and_no_entity_is_made_up() {
    each(compilation, &incident("sli", "sli_latency_nsec"), |result| {
        let first = &result.resource.cause_metrics[0];
        let made_up = |id: &String| id.ends_with("_proc_0");
        first_is(result, "host", "S1")
            && first.entity_name == "cc1 (short-lived)"
            && first.text.en.contains("of `cc1 (short-lived)` rose")
            && !result.resource.graph.nodes.iter().any(|node| made_up(&node.entity_id))
    });
}
