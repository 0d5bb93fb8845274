//! What an answer may claim: never certainty, never more than the whole, "none of these" where little is explained; and in
//! what a fault sits.

use std::cell::Cell;

use gala_analysis::cause::{CauseGraph, ExplainConfig, GraphEntity, explain, explain_common, rules};
use gala_analysis::topology::Relation;
use gala_model::incident::{RootCause, Stage, Text};
use gala_store::{Labels, Sample, Series};

use crate::faults::*;
use crate::host::*;
use crate::{first_is, incident, judge};

const NOW_MS: i64 = FAULT_MS + 60_000;

/// The processes beside the server run in a container.
struct Contained(FakeGraph);

impl CauseGraph for Contained {
    fn at_ms(&self) -> i64 {
        self.0.at_ms()
    }

    fn entity(&self, id: &str) -> Option<GraphEntity> {
        let mut other = process(OTHER);
        other.labels.extend([("comm".to_owned(), "batch".to_owned()), ("container_id".to_owned(), "c0ffee".to_owned())]);
        if id == other.id { Some(other) } else { self.0.entity(id) }
    }

    fn related(&self, id: &str, relation: Relation, outgoing: bool) -> Vec<GraphEntity> {
        self.0.related(id, relation, outgoing)
    }
}

fn shares_are_honest(result: &RootCause) {
    let resource = &result.resource;
    let of_causes = resource.cause_metrics.iter().map(|cause| cause.probability);
    let of_others = resource.also_considered.iter().map(|other| other.probability);
    let whole: f64 = of_causes.clone().chain(of_others).sum::<f64>() + resource.unknown_probability;
    assert!(whole <= 1.0 + 1e-9, "{whole}");
    assert!(of_causes.clone().all(|share| share <= 0.98), "{:?}", of_causes.collect::<Vec<_>>());
    assert!(resource.fault_category.as_ref().is_none_or(|found| found.probability <= 1.0));
    assert!(resource.fault_domain.as_ref().is_none_or(|found| found.probability <= 0.98));
    assert!(!resource.summary.en.contains("100 % sure"), "{}", resource.summary.en);
}

#[test]
fn nothing_is_ever_certain_and_all_shares_are_one_whole() {
    let symptom = incident("sli", "sli_latency_nsec");
    let faults =
        [cpu_neighbour as Fault, cpu_neighbour_seen_preempting, packet_loss, slow_disk, fsync_flood, quota, nothing_to_see];
    for fault in faults.into_iter().chain([memory_limit as Fault, slow_commands, compilation, eight_neighbours_of_one_program]) {
        shares_are_honest(&judge(fault, 2, 45_000, &symptom));
    }
    shares_are_honest(&judge(stopped_server, 2, 45_000, &incident("sli", "sli_oldest_nsec")));
}

#[test]
fn what_explains_little_is_a_hint_and_the_answer_is_unknown() {
    // The server's wait is a tenth of what got longer; of the rest nothing is measured.
    let fault: Fault = |host, noise| {
        host.processing_us += 400.0;
        host.wait_us = noise.around(60.0, 0.1);
        host.run_delay_ms = noise.around(150.0, 0.1);
    };
    let mut store = build(fault, 3, NOW_MS);
    store.0.retain(|series| !series.labels.metric().contains("proc_nsec"));
    let symptom = incident("sli", "sli_latency_nsec");
    let result = explain(&symptom, &FakeGraph::at(NOW_MS), &store, NOW_MS, rules(), &ExplainConfig::default());
    shares_are_honest(&result);
    if let Some(first) = result.resource.cause_metrics.first().filter(|first| first.probability < 0.5) {
        let found = result.resource.fault_category.as_ref().unwrap();
        assert!(found.code == "unknown" || found.probability >= 0.4, "{found:?} {first:?}");
    }
}

#[test]
fn a_neighbour_in_a_container_is_a_fault_of_the_container() {
    for fault in [cpu_neighbour as Fault, cpu_neighbour_seen_preempting] {
        let store = build(fault, 2, NOW_MS);
        let graph = Contained(FakeGraph::at(NOW_MS));
        let symptom = incident("sli", "sli_latency_nsec");
        let result = explain(&symptom, &graph, &store, NOW_MS, rules(), &ExplainConfig::default());
        assert!(first_is(&result, &format!("proc_{OTHER}"), "S1"), "{}", result.resource.summary.en);
        let domain = result.resource.fault_domain.unwrap();
        assert_eq!((domain.level.as_str(), domain.entity_id), ("container", format!("{MACHINE}_container_c0ffee")));
    }
}

#[test]
fn one_burst_of_connections_is_told_with_its_number_and_the_time_it_was_counted_over() {
    let mut store = build(|_, _| {}, 4, NOW_MS);
    for series in store.0.iter_mut().filter(|series| series.labels.metric().ends_with("accept_overflow")) {
        let burst = series.samples.iter_mut().find(|sample| sample.t_ms > FAULT_MS + 20_000);
        burst.into_iter().for_each(|sample| sample.value = 180.0);
    }
    let mut symptom = incident("endpoint_tcp", "endpoint_tcp_accept_overflow");
    (symptom.onset_ms, symptom.at_ms) = (Some(FAULT_MS + 22_000), FAULT_MS + 22_000);
    let now_ms = FAULT_MS + 30_000;
    let result = explain(&symptom, &FakeGraph::at(now_ms), &store, now_ms, rules(), &ExplainConfig::default());
    assert_eq!(result.resource.fault_category.as_ref().map(|found| found.code.as_str()), Some("S4"));
    let Text { en, zh } = &result.resource.summary;
    assert!(en.contains("rose from 0 to 180 per 5 s at ") && zh.contains("从 0 升至 180（每 5 秒）"), "{en} {zh}");
}

#[test]
fn who_makes_the_host_swap_is_the_cause_and_not_the_disk_it_swaps_to() {
    let fault: Fault = |host, noise| {
        slow_disk(host, noise);
        host.disk_written_kb = noise.around(60_000.0, 0.2);
        host.disk_writes = noise.around(3_000.0, 0.2);
    };
    let mut store = build(fault, 5, NOW_MS);
    let mut add = |metric: &str, labels: &[(&str, &str)], usual: f64, then: f64| {
        let name = format!("gala_gopher_{metric}");
        let pairs = [("__name__", name.as_str()), ("machine_id", MACHINE)].into_iter().chain(labels.iter().copied());
        let labels = Labels::new(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let level = |t_ms: i64| if t_ms > FAULT_MS { then } else { usual };
        let times = (START_MS..=NOW_MS).step_by(STEP_MS as usize);
        store.0.push(Series { labels, samples: times.map(|t_ms| Sample { t_ms, value: level(t_ms) }).collect() });
    };
    for metric in ["mem_swap_in", "mem_swap_out"] {
        add(metric, &[("infos", "/proc/vmstat")], 0.0, 20_000.0);
    }
    add("mem_alloc_stalls", &[("infos", "/proc/vmstat")], 0.0, 800.0);
    add("proc_pm_size", &[("tgid", OTHER), ("comm", "hog")], 50e6, 3e9);
    add("proc_major_pagefault_count", &[("tgid", SERVER), ("comm", "kv-server")], 0.0, 400.0);
    let symptom = incident("sli", "sli_latency_nsec");
    let result = explain(&symptom, &FakeGraph::at(NOW_MS), &store, NOW_MS, rules(), &ExplainConfig::default());
    assert!(first_is(&result, &format!("proc_{OTHER}"), "S2"), "{}", result.resource.summary.en);
}

#[test]
fn what_began_long_before_it_was_noticed_is_looked_at_again() {
    let mut symptom = incident("sli", "sli_latency_nsec");
    (symptom.onset_ms, symptom.at_ms) = (Some(FAULT_MS), FAULT_MS + 200_000);
    let stage = |now_ms: i64| {
        let store = build(cpu_neighbour, 2, now_ms);
        explain_common(&[symptom.clone()], &FakeGraph::at(now_ms), &store, now_ms, rules(), &ExplainConfig::default())
            .map(|result| result.resource.stage)
    };
    assert_eq!((stage(FAULT_MS + 205_000), stage(FAULT_MS + 320_000)), (Some(Stage::Cause), Some(Stage::Final)));
}

thread_local! {
    /// What `passing` does, and for how many reports.
    static PASSING: Cell<(Fault, u32)> = const { Cell::new((nothing_to_see, 0)) };
}

fn passing(host: &mut Host, noise: &mut Noise) {
    let (fault, left) = PASSING.get();
    if left > 0 {
        PASSING.set((fault, left - 1));
        fault(host, noise);
    }
}

#[test]
fn the_first_cause_stays_the_same_when_it_is_looked_at_again_after_the_fault_is_over() {
    let server = format!("proc_{SERVER}");
    let other = format!("proc_{OTHER}");
    let cases: [(Fault, &str, &str); 5] = [
        (cpu_neighbour_seen_preempting, &other, "S1"),
        (cpu_neighbour, &other, "S1"),
        (fsync_flood, &other, "S3"),
        (quota, &server, "S1"),
        (memory_limit, &server, "S2"),
    ];
    let symptom = incident("sli", "sli_latency_nsec");
    for (fault, entity, category) in cases {
        // Three quarters of a minute; an incident stays open for another minute.
        PASSING.set((fault, 9));
        let store = build(passing, 3, FAULT_MS + 110_000);
        for after_ms in (30_000..=110_000).step_by(10_000) {
            let now_ms = FAULT_MS + after_ms;
            let result = explain(&symptom, &FakeGraph::at(now_ms), &store, now_ms, rules(), &ExplainConfig::default());
            assert!(first_is(&result, entity, category), "{} s, {entity}: {}", after_ms / 1000, result.resource.summary.en);
        }
    }
}
