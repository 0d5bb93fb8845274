//! Faults of one host, simulated with noise: each must be explained right half a minute and a minute after it began.

mod claims;
mod faults;
mod host;
mod sudden;
mod used_up;

use gala_analysis::cause::{ExplainConfig, explain, rules};
use gala_model::incident::{IncidentInput, RootCause, Stage};

use crate::faults::*;
use crate::host::*;

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
    explain(incident, &FakeGraph::at(now_ms - 5_000), store, now_ms, rules(), &ExplainConfig::default())
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
fn a_longer_way_is_a_network_fault_of_the_connection() {
    let link = format!("tcp_link_{SERVER}_kv-server_server_10.0.0.2_10.0.0.1_0_6379_2");
    let fault: Fault = |host, noise| {
        host.rate *= 0.4;
        host.srtt_us = noise.around(20_000.0, 0.1);
    };
    each(fault, &incident("tcp_link", "tcp_link_srtt"), |result| first_is(result, &link, "S4"));
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
    let result = explain(&symptom, &FakeGraph::at(now_ms), &store, now_ms, rules(), &ExplainConfig::default());
    assert!(first_is(&result, "disk_vdb", "H1") || first_is(&result, "block_253_16", "H1"), "{}", result.resource.summary.en);
}

#[test]
fn a_process_that_floods_the_disk_is_the_cause_of_slow_fsyncs() {
    each(fsync_flood, &incident("sli", "sli_latency_nsec"), |result| first_is(result, &format!("proc_{OTHER}"), "S3"));
}

#[test]
fn a_server_that_was_stopped_is_the_cause_of_requests_nobody_answers() {
    each(stopped_server, &incident("sli", "sli_oldest_nsec"), |result| first_is(result, &format!("proc_{SERVER}"), "S5"));
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
        let result = explain(&symptom, &FakeGraph::at(now_ms), &store, now_ms, rules(), &ExplainConfig::default());
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
    let result =
        explain(&incident("sli", "sli_latency_nsec"), &FakeGraph::at(now_ms), &store, now_ms, rules(), &ExplainConfig::default());
    assert!(first_is(&result, &format!("proc_{OTHER}"), "S1"), "{}", result.resource.summary.en);
}

#[test]
fn what_an_earlier_fault_did_is_not_taken_for_usual() {
    let before = (FAULT_MS - 500_000, FAULT_MS - 380_000);
    let (symptom, now_ms) = (incident("sli", "sli_latency_nsec"), FAULT_MS + 25_000);
    let sure = |troubles: Vec<(i64, i64)>| {
        let store = build_twice(cpu_neighbour_seen_preempting, 7, now_ms, before);
        let config = ExplainConfig { troubles, ..ExplainConfig::default() };
        let result = explain(&symptom, &FakeGraph::at(now_ms), &store, now_ms, rules(), &config);
        let neighbour = format!("{MACHINE}_proc_{OTHER}");
        result.resource.cause_metrics.iter().find(|cause| cause.entity_id == neighbour).map_or(0.0, |cause| cause.probability)
    };
    let (knowing, not_knowing) = (sure(vec![before]), sure(Vec::new()));
    assert!(knowing > 0.9 && knowing > not_knowing, "{knowing} with the earlier fault known, {not_knowing} without");
}

#[test]
fn a_stall_some_minutes_before_does_not_hide_what_lasts() {
    let stall = FAULT_MS - 300_000..FAULT_MS - 289_000;
    let now_ms = FAULT_MS + 45_000;
    let mut store = build(fsync_flood, 8, now_ms);
    for series in &mut store.0 {
        let metric = series.labels.metric().to_owned();
        for sample in &mut series.samples {
            if ["sli_latency_nsec_sum", "sli_sched_nsec_sum"].iter().any(|sum| metric.ends_with(sum))
                && sample.t_ms >= stall.start
            {
                let reports = ((sample.t_ms - stall.start) / STEP_MS + 1).min(2);
                sample.value += reports as f64 * 500e9;
            } else if ["proc_wait_fsync_ns", "proc_fsync_sum_ns"].iter().any(|time| metric.ends_with(time))
                && stall.contains(&sample.t_ms)
            {
                sample.value = 4.9e9;
            }
        }
    }
    let symptom = incident("sli", "sli_latency_nsec");
    let result = judge_at(&store, now_ms, &symptom);
    assert!(first_is(&result, &format!("proc_{OTHER}"), "S3"), "{}", result.resource.summary.en);
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
            &FakeGraph::at(now_ms),
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
    let result =
        explain(&incident("sli", "sli_latency_nsec"), &FakeGraph::at(now_ms), &store, now_ms, rules(), &ExplainConfig::default());
    assert!(first_is(&result, &format!("proc_{OTHER}"), "S1"), "{}", result.resource.summary.en);
}

#[test]
fn an_empty_store_and_an_old_topology_are_said_and_end_in_unknown() {
    let store = FakeStore(Vec::new());
    let symptom = incident("sli", "sli_latency_nsec");
    let result =
        explain(&symptom, &FakeGraph::at(FAULT_MS - 600_000), &store, FAULT_MS + 30_000, rules(), &ExplainConfig::default());
    assert!(result.resource.cause_metrics.is_empty());
    assert_eq!(result.resource.unknown_probability, 1.0);
    assert!(result.resource.limits.iter().any(|limit| limit.contains("630 s old")), "{:?}", result.resource.limits);
}
