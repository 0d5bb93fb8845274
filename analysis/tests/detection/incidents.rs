//! What must be found, and how soon.

use gala_analysis::incident::{Class, Source, Symptom};

use crate::host::{Host, Service};

/// Milliseconds from the first affected period's start to the incident.
fn found_after_ms(host: &Host, injected_ms: i64) -> i64 {
    host.opened.first().map(|(at_ms, _)| at_ms - injected_ms).expect("an incident")
}

#[test]
fn a_doubled_latency_is_an_incident_within_thirty_seconds_and_closes_when_healed() {
    for (per_s, latency_ns) in [(3_000.0, 200_000.0), (50.0, 4_000_000.0), (200.0, 20_000_000.0)] {
        let mut host = Host::new(vec![Service::new(7, per_s, latency_ns)]);
        host.run(1_500);
        assert_eq!(host.opened, [], "quiet before");
        let injected_ms = host.now_ms;
        host.services[0].latency_ns *= 2.3;
        host.run(90);
        let after_ms = found_after_ms(&host, injected_ms);
        assert!(after_ms <= 30_000, "{after_ms} ms at {per_s}/s, {latency_ns} ns");
        let incident = &host.opened[0].1;
        assert_eq!((incident.class, incident.metric.as_str()), (Class::App, "gala_gopher_sli_latency"));
        assert_eq!(incident.entity_id, "m_sli_7_1_KV_GET");
        assert_eq!(incident.symptoms[0].process_id.as_deref(), Some("m_proc_7"));
        assert!((incident.onset_ms - injected_ms).abs() <= 15_000, "onset {} after", incident.onset_ms - injected_ms);
        host.services[0].latency_ns = latency_ns;
        host.run(120);
        assert_eq!((host.opened.len(), host.open(), host.closed.len()), (1, 0, 1));
    }
}

#[test]
fn what_hurts_a_seventh_of_the_requests_is_found_by_the_slow_tenth() {
    let mut host = Host::new(vec![Service::new(7, 1_000.0, 100_000.0)]);
    host.run(1_500);
    let injected_ms = host.now_ms;
    (host.services[0].slow, host.services[0].slow_ns) = (0.15, 600_000.0);
    host.run(60);
    assert!(found_after_ms(&host, injected_ms) <= 40_000);
    let incident = host.detector.incident(&host.opened[0].1.id).unwrap();
    let slow_tenth = |symptom: &&Symptom| matches!(symptom.source, Source::Quantile { percent: 90, .. });
    let tail = incident.symptoms.iter().find(slow_tenth).expect("p90");
    assert!(tail.peak > 500_000.0 && tail.peak < 1_000_000.0, "{} ns", tail.peak);
    assert!(!tail.lead_labels.contains_key("le"));
    assert!(incident.summary.en.contains("request latency"), "{}", incident.summary.en);
}

#[test]
fn what_hurts_one_request_in_fifty_is_found_by_the_slow_hundredth() {
    let mut host = Host::new(vec![Service::new(7, 1_000.0, 100_000.0)]);
    host.run(1_500);
    let injected_ms = host.now_ms;
    (host.services[0].slow, host.services[0].slow_ns) = (0.02, 4_000_000.0);
    host.run(60);
    assert!(found_after_ms(&host, injected_ms) <= 45_000);
    assert!(host.opened[0].1.summary.en.starts_with("p99 request latency"), "{}", host.opened[0].1.summary.en);
}

#[test]
fn a_series_that_reports_twice_in_a_second_counts_once() {
    let mut host = Host::new(Vec::new());
    host.run_with(60, &mut |host| {
        for later_ms in [0, 200, 400] {
            let series = crate::host::labels("fs_UsePer", &[("MountOn", "/")]);
            host.memory.put(&series, host.now_ms + later_ms, 60.0);
        }
    });
    assert_eq!(host.opened, [], "60 % thrice is not 180 %");
}

#[test]
fn a_service_that_is_nearly_as_well_as_before_closes_its_incident_and_opens_no_other() {
    let mut host = Host::new(vec![Service::new(7, 1_000.0, 300_000.0)]);
    host.run(1_500);
    host.services[0].latency_ns *= 100.0;
    host.run(60);
    assert_eq!((host.opened.len(), host.open()), (1, 1));
    host.services[0].latency_ns = 600_000.0;
    host.run(600);
    assert_eq!((host.opened.len(), host.open()), (1, 0));
}

#[test]
fn a_large_fault_is_found_right_after_the_sixtieth_sample() {
    let mut host = Host::new(vec![Service::new(7, 1_000.0, 200_000.0)]);
    host.run(305);
    let injected_ms = host.now_ms;
    host.services[0].latency_ns *= 8.0;
    host.run(40);
    assert!(found_after_ms(&host, injected_ms) <= 30_000);
}

#[test]
fn failing_requests_are_an_incident_of_the_service() {
    let mut host = Host::new(vec![Service::new(7, 500.0, 1_000_000.0)]);
    host.run(400);
    let injected_ms = host.now_ms;
    host.services[0].failing = 0.05;
    host.run(40);
    assert!(found_after_ms(&host, injected_ms) <= 20_000);
    assert_eq!(host.opened[0].1.metric, "gala_gopher_sli_errors_total");
    assert_eq!(host.opened[0].1.symptoms[0].unit, "ratio");
}

#[test]
fn a_service_that_answers_nothing_any_more_is_an_incident() {
    let mut host = Host::new(vec![Service::new(7, 500.0, 1_000_000.0)]);
    let waits = [("tgid", "7"), ("ins_id", "0"), ("app", "KV"), ("method", "GET")];
    let mut oldest_s = 0.0;
    // A report that takes two seconds every now and then is what it always was.
    host.run_with(400, &mut |host| {
        oldest_s += 1.0;
        host.put("sli_oldest_nsec", &waits, if oldest_s % 50.0 == 0.0 { 2e9 } else { 0.0 });
    });
    assert_eq!(host.opened, [], "quiet before");
    let injected_ms = host.now_ms;
    host.services[0].per_s = 0.0;
    oldest_s = 0.0;
    host.run_with(6, &mut |host| {
        oldest_s += 5.0;
        host.put("sli_oldest_nsec", &waits, oldest_s * 1e9);
    });
    assert!(found_after_ms(&host, injected_ms) <= 15_000);
    assert_eq!((host.opened[0].1.class, host.opened[0].1.metric.as_str()), (Class::App, "gala_gopher_sli_oldest_nsec"));
}

#[test]
fn an_overflowing_accept_queue_needs_no_history() {
    let mut host = Host::new(Vec::new());
    host.run_with(30, &mut |host| host.put("endpoint_tcp_accept_overflow", &[("tgid", "9")], 0.0));
    let injected_ms = host.now_ms;
    host.run_with(15, &mut |host| host.put("endpoint_tcp_accept_overflow", &[("tgid", "9")], 40.0));
    assert!(found_after_ms(&host, injected_ms) <= 10_000);
}

#[test]
fn a_filling_disk_is_found_and_one_that_always_was_full_is_not() {
    let mut host = Host::new(Vec::new());
    let mut used = 90.0;
    host.run_with(400, &mut |host| {
        used += 0.2;
        host.put("fs_UsePer", &[("MountOn", "/data")], f64::min(used, 100.0));
        host.put("fs_UsePer", &[("MountOn", "/snap/core")], 100.0);
    });
    assert_eq!(host.opened.len(), 1);
    assert_eq!(host.opened[0].1.entity_name, "/data");
}

#[test]
fn loss_is_found_by_the_share_of_retransmissions() {
    let mut host = Host::new(Vec::new());
    let mut lost = 2.0;
    let link = [("tgid", "5"), ("role", "client")];
    let report = |host: &mut Host, lost: f64| {
        host.put("tcp_link_retran_packets", &link, lost);
        host.put("tcp_link_segs_out", &link, 5_000.0);
    };
    host.run_with(400, &mut |host| report(host, lost));
    assert_eq!(host.opened, []);
    lost = 300.0;
    let injected_ms = host.now_ms;
    host.run_with(40, &mut |host| report(host, lost));
    assert!(found_after_ms(&host, injected_ms) <= 30_000);
}

#[test]
fn everything_that_one_fault_does_is_one_incident_named_after_what_users_feel() {
    let mut host = Host::new(vec![Service::new(7, 1_000.0, 200_000.0), Service::new(8, 300.0, 900_000.0)]);
    let mut lost = 0.0;
    let link = [("tgid", "7"), ("role", "server")];
    let mut cpu = 20.0;
    let report = |host: &mut Host, lost: f64, cpu: f64| {
        host.put("tcp_link_retran_packets", &link, lost);
        host.put("tcp_link_segs_out", &link, 5_000.0);
        let noise = host.random.normal();
        host.put("proc_cpu_util", &[("tgid", "99")], cpu + noise);
    };
    host.run_with(600, &mut |host| report(host, lost, cpu));
    (lost, cpu) = (400.0, 95.0);
    host.services.iter_mut().for_each(|service| service.latency_ns *= 8.0);
    host.run_with(60, &mut |host| report(host, lost, cpu));
    assert_eq!(host.opened.len(), 1);
    let incident = host.detector.incidents().next().unwrap().clone();
    // Mean, p90 and p99 of two services, and the loss.
    assert_eq!(incident.symptoms.len(), 7);
    assert_eq!((incident.class, incident.primary().metric.as_str()), (Class::App, "gala_gopher_sli_latency"));
    let related = incident.related.iter().map(|related| related.entity_id.as_str()).collect::<Vec<_>>();
    assert_eq!(related, ["m_proc_99"]);
}

#[test]
fn faults_in_a_row_are_incidents_of_their_own() {
    let mut host = Host::new(vec![Service::new(7, 1_000.0, 200_000.0)]);
    host.run(1_200);
    for round in 1..=4 {
        let injected_ms = host.now_ms;
        host.services[0].latency_ns *= 5.0;
        host.run(60);
        assert_eq!(host.opened.len(), round);
        assert!(host.opened[round - 1].0 - injected_ms <= 30_000, "round {round}");
        host.services[0].latency_ns /= 5.0;
        host.run(120);
        assert_eq!(host.open(), 0);
    }
    let ids: std::collections::BTreeSet<_> = host.opened.iter().map(|(_, incident)| incident.id.clone()).collect();
    assert_eq!(ids.len(), 4);
}

#[test]
fn the_band_of_a_series_holds_its_usual_values() {
    let mut host = Host::new(vec![Service::new(7, 1_000.0, 200_000.0)]);
    host.run(600);
    let band = host.detector.band(host.services[0].latency()).unwrap();
    assert!(band.low < 200_000.0 && band.high > 200_000.0 && band.high < 500_000.0, "{band:?}");
}
