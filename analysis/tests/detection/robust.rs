//! Clocks, gaps, resets, restarts, churn and nonsense.

use proptest::prelude::*;

use crate::host::{Host, Service, labels};

fn host() -> Host {
    Host::new(vec![Service::new(7, 1_000.0, 200_000.0)])
}

#[test]
fn a_clock_step_or_a_gap_is_no_incident_and_detection_goes_on() {
    for step_ms in [60_000, -60_000, 600_000] {
        let mut host = host();
        host.run(900);
        host.now_ms += step_ms;
        host.run(300);
        assert_eq!(host.opened, [], "step of {step_ms} ms");
        host.services[0].latency_ns *= 6.0;
        host.run(40);
        assert_eq!(host.opened.len(), 1, "step of {step_ms} ms");
    }
}

#[test]
fn a_counter_reset_is_not_an_error_burst() {
    let mut host = host();
    host.services[0].failing = 0.001;
    host.run(600);
    host.services[0].restart_counters();
    host.run(300);
    assert_eq!(host.opened, []);
}

#[test]
fn a_new_report_interval_is_learnt() {
    let mut host = host();
    host.run(900);
    host.period_ms = 60_000;
    host.run(1_800);
    assert_eq!(host.opened, []);
    host.services[0].latency_ns *= 6.0;
    let injected_ms = host.now_ms;
    host.run(240);
    assert_eq!(host.opened.len(), 1);
    assert!(host.opened[0].0 - injected_ms <= 180_000);
}

#[test]
fn a_restart_in_the_middle_keeps_the_incident_and_what_is_usual() {
    let mut host = host();
    host.run(900);
    host.services[0].latency_ns *= 6.0;
    host.run(60);
    let id = host.opened[0].1.id.clone();
    host.restart();
    host.run(60);
    assert_eq!((host.opened.len(), host.open()), (1, 1));
    host.services[0].latency_ns /= 6.0;
    host.run(120);
    assert_eq!((host.opened.len(), host.open()), (1, 0));
    assert!(host.detector.incident(&id).unwrap().closed_ms.is_some());
}

#[test]
fn a_number_that_has_not_spoken_yet_does_not_cost_what_is_known() {
    let mut host = host();
    // Errors without requests: the share has no value.
    let silent = crate::host::labels("sli_errors_total", &[("tgid", "50"), ("ins_id", "1"), ("app", "KV"), ("method", "GET")]);
    host.run_with(900, &mut |host| host.memory.put(&silent, host.now_ms, 0.0));
    let before = host.detector.warmup(host.now_ms);
    host.restart();
    host.run(10);
    assert_eq!(host.detector.warmup(host.now_ms).kpis_warm, before.kpis_warm);
}

#[test]
fn a_start_without_saved_state_warms_from_the_store() {
    let mut host = host();
    host.run(900);
    host.detector = gala_analysis::detect::Detector::new(Default::default(), &crate::host::tables());
    host.run(10);
    let warmup = host.detector.warmup(host.now_ms);
    assert_eq!((warmup.kpis, warmup.kpis_warm, warmup.entities_warm, warmup.warm_at_ms), (4, 4, 1, None));
    host.services[0].latency_ns *= 6.0;
    host.run(40);
    assert_eq!(host.opened.len(), 1);
}

#[test]
fn the_report_says_when_the_rest_is_warm() {
    let mut host = host();
    host.run(100);
    let warmup = host.detector.warmup(host.now_ms);
    assert_eq!((warmup.kpis, warmup.kpis_warm), (4, 1));
    let in_s = (warmup.warm_at_ms.unwrap() - host.now_ms) / 1_000;
    assert!((190..=230).contains(&in_s), "{in_s} s");
}

#[test]
fn a_permanent_change_is_one_incident_and_then_the_new_normal() {
    let mut host = host();
    host.run(1_200);
    host.services[0].latency_ns *= 4.0;
    host.run(7_200);
    assert_eq!((host.opened.len(), host.open()), (1, 0));
    host.services[0].latency_ns *= 4.0;
    host.run(60);
    assert_eq!(host.opened.len(), 2, "what is usual now is judged again");
}

#[test]
fn a_service_that_vanishes_closes_its_incident() {
    let mut host = host();
    host.run(900);
    host.services[0].latency_ns *= 6.0;
    host.run(40);
    host.services.clear();
    host.run(400);
    assert_eq!((host.opened.len(), host.open()), (1, 0));
}

#[test]
fn an_overlapping_second_fault_later_on_is_an_incident_of_its_own() {
    let mut host = Host::new(vec![Service::new(7, 1_000.0, 200_000.0), Service::new(8, 1_000.0, 200_000.0)]);
    host.run(900);
    host.services[0].latency_ns *= 6.0;
    host.run(300);
    host.services[1].latency_ns *= 6.0;
    host.run(40);
    assert_eq!((host.opened.len(), host.open()), (2, 2));
}

#[test]
fn another_fault_of_a_service_that_still_suffers_from_the_first_is_an_incident_of_its_own() {
    let mut host = Host::new(vec![Service::new(7, 1_000.0, 200_000.0)]);
    host.run(900);
    host.services[0].latency_ns *= 6.0;
    host.run(100);
    assert_eq!(host.opened.len(), 1);
    host.services[0].failing = 0.1;
    host.run(30);
    assert_eq!(host.opened.len(), 1, "soon after it is the same");
    host.services[0].failing = 0.0;
    host.run(400);
    host.services[0].failing = 0.1;
    host.run(30);
    assert_eq!((host.opened.len(), host.open()), (2, 2));
    (host.services[0].failing, host.services[0].latency_ns) = (0.0, 200_000.0);
    host.run(120);
    assert_eq!((host.opened.len(), host.open()), (2, 0));
}

#[test]
fn what_a_fault_only_brushes_is_not_learnt_as_usual() {
    let mut host = Host::new(vec![Service::new(7, 1_000.0, 200_000.0), Service::new(8, 1_000.0, 2_000_000.0)]);
    host.run(900);
    let of_8 = host.services[1].latency().clone();
    let before = host.detector.band(&of_8).unwrap();
    for _ in 0..6 {
        host.services[0].latency_ns = 1_200_000.0;
        host.services[1].latency_ns = 3_200_000.0;
        host.run(24);
        (host.services[0].latency_ns, host.services[1].latency_ns) = (200_000.0, 2_000_000.0);
        host.run(40);
    }
    let after = host.detector.band(&of_8).unwrap();
    assert!(host.opened.iter().all(|(_, incident)| incident.symptoms.iter().all(|symptom| symptom.labels["tgid"] == "7")));
    assert!(after.high < 1.1 * before.high, "{before:?}, then {after:?}");
    host.services[1].latency_ns = 6_000_000.0;
    let known = host.opened.len();
    host.run(30);
    assert_eq!(host.opened.len(), known + 1);
}

#[test]
fn churning_processes_stay_bounded_and_silent() {
    let mut host = host();
    let mut tgid = 100;
    host.run_with(3_600, &mut |host| {
        if host.now_ms % 60_000 == 0 {
            tgid += 1;
        }
        let cpu = 30.0 + 10.0 * host.random.normal().abs();
        host.put("proc_cpu_util", &[("tgid", &tgid.to_string())], cpu);
    });
    assert_eq!(host.opened, []);
}

#[test]
fn stale_markers_nan_and_negative_numbers_are_no_values() {
    let mut host = host();
    host.run(600);
    let series = labels("sli_latency_sum", &[("tgid", "7"), ("ins_id", "2"), ("app", "KV"), ("method", "SET")]);
    for value in [f64::NAN, f64::INFINITY, -5.0, f64::from_bits(0x7ff0_0000_0000_0002)] {
        host.now_ms += 5_000;
        host.memory.put(&series, host.now_ms, value);
        host.tick(host.now_ms + 2_500);
    }
    assert_eq!(host.opened, []);
}

#[test]
fn the_same_samples_give_the_same_incidents() {
    let run = || {
        let mut host = host();
        host.run(900);
        host.services[0].latency_ns *= 6.0;
        host.run(60);
        host.opened
    };
    assert_eq!(run(), run());
}

/// A quick look by default; `PROPTEST_CASES` asks for a longer one.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(64)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]
    #[test]
    fn no_input_breaks_it(samples in proptest::collection::vec((0i64..400_000, any::<f64>(), 0usize..4), 1..400)) {
        let mut host = Host::new(Vec::new());
        let names = ["sli_latency_sum", "sli_latency_count", "proc_cpu_util", "sli_errors_total"];
        for (offset_ms, value, name) in samples {
            host.now_ms += offset_ms - 100_000;
            host.memory.put(&labels(names[name], &[("tgid", "1"), ("app", "x")]), host.now_ms, value);
            host.tick(host.now_ms);
        }
        let _ = host.detector.anomalies(100, &gala_analysis::detect::NoGraph);
    }
}
