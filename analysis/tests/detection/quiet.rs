//! What must be left alone.

use crate::host::{Host, Service};

fn busy_host() -> Host {
    let mut services = vec![
        Service::new(1, 5_000.0, 90_000.0),
        Service::new(2, 200.0, 1_500_000.0),
        Service::new(3, 3.0, 30_000_000.0),
        Service::new(4, 0.2, 5_000_000.0),
    ];
    // A second finite moment is all the tail has.
    services[1].tail = 2.1;
    services[2].tail = 2.1;
    Host::new(services)
}

/// Background life: idle noise, a batch job every hour, cron every ten minutes, retransmissions now and then.
fn background(host: &mut Host) {
    let minute = host.now_ms / 60_000;
    let batch = minute % 60 < 4;
    let cron = minute % 10 == 0;
    for tgid in ["11", "12", "13"] {
        let idle = (0.3 * host.random.normal()).abs();
        let cpu = if batch && tgid == "11" { 90.0 } else { idle };
        host.put("proc_cpu_util", &[("tgid", tgid)], cpu);
        let burst = host.random.pareto(1.5);
        let written = if cron || batch {
            4e6 * burst
        } else if host.random.uniform() < 0.1 {
            8_192.0
        } else {
            0.0
        };
        host.put("proc_write_bytes", &[("tgid", tgid)], written);
        let faults = if host.random.uniform() < 0.02 { 3.0 * burst } else { 0.0 };
        host.put("proc_major_pagefault_count", &[("tgid", tgid)], faults.floor());
    }
    for (tgid, segments) in [("1", 20_000.0), ("2", 900.0), ("3", 12.0)] {
        let lost = if host.random.uniform() < 0.1 { host.random.pareto(1.5).min(0.01 * segments + 2.0).floor() } else { 0.0 };
        host.put("tcp_link_retran_packets", &[("tgid", tgid), ("role", "server")], lost);
        host.put("tcp_link_segs_out", &[("tgid", tgid), ("role", "server")], segments);
    }
    host.put("fs_UsePer", &[("MountOn", "/")], 71.0 + 0.5 * (host.now_ms as f64 / 3.6e6).sin());
    host.put("endpoint_tcp_accept_overflow", &[("tgid", "1")], 0.0);
}

#[test]
fn a_quiet_day_with_its_cycle_of_load_has_no_incident() {
    let mut host = busy_host();
    // Debug builds simulate a coarser day.
    host.period_ms = if cfg!(debug_assertions) { 20_000 } else { 5_000 };
    let base: Vec<(f64, f64)> = host.services.iter().map(|service| (service.per_s, service.latency_ns)).collect();
    host.run_with(86_400, &mut |host| {
        background(host);
        let day = (host.now_ms as f64 / 86_400_000.0 * std::f64::consts::TAU).sin();
        for (service, (per_s, latency_ns)) in host.services.iter_mut().zip(&base) {
            service.per_s = per_s * (1.0 + 2.0 * (1.0 + day));
            service.latency_ns = latency_ns * (1.0 + 0.2 * day);
        }
    });
    let found: Vec<_> = host
        .opened
        .iter()
        .map(|(at_ms, incident)| {
            (at_ms - crate::host::START_MS, &incident.summary.en, incident.onset_ms - at_ms, incident.symptoms[0].score)
        })
        .collect();
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn two_hours_of_batch_jobs_and_cron_have_no_incident() {
    let mut host = busy_host();
    host.run_with(7_200, &mut background);
    let found: Vec<_> = host
        .opened
        .iter()
        .map(|(at_ms, incident)| {
            (at_ms - crate::host::START_MS, &incident.summary.en, incident.onset_ms - at_ms, incident.symptoms[0].score)
        })
        .collect();
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn tripled_load_without_slowdown_is_no_incident() {
    let mut host = busy_host();
    host.run_with(1_800, &mut background);
    for service in &mut host.services {
        service.per_s *= 3.0;
        service.latency_ns *= 1.25;
    }
    host.run_with(900, &mut background);
    for service in &mut host.services {
        service.per_s /= 3.0;
        service.latency_ns /= 1.25;
    }
    host.run_with(900, &mut background);
    assert_eq!(host.opened, []);
}

#[test]
fn more_load_that_makes_users_wait_is_an_incident() {
    let mut host = busy_host();
    host.run(1_800);
    host.services[0].per_s *= 3.0;
    host.services[0].latency_ns *= 8.0;
    host.run(60);
    assert_eq!(host.opened.len(), 1);
}

#[test]
fn a_service_that_gets_faster_or_idle_is_no_incident() {
    let mut host = busy_host();
    host.run(1_800);
    host.services[0].latency_ns /= 4.0;
    host.services[1].per_s /= 50.0;
    host.run(900);
    assert_eq!(host.opened, []);
}

/// What an ordinary day brings, packed into two hours: a log is rotated, cron runs, packages are upgraded, a large file is
/// copied, a new version is deployed. Answers the incidents that came of it.
fn ordinary(seed: u64) -> Vec<String> {
    let mut host = busy_host();
    host.random.0 ^= 0x9e37_79b9_7f4a_7c15u64.wrapping_mul(seed);
    host.run_with(1_800, &mut background);
    let usual: Vec<f64> = host.services.iter().map(|service| service.latency_ns).collect();
    let slower = |host: &mut Host, seconds: i64, times: [f64; 2]| {
        let times = [times[0], times[1], times[1], times[1]];
        let slowed = usual.iter().zip(times).map(|(usual, times)| usual * times);
        host.services.iter_mut().zip(slowed).for_each(|(service, slowed)| service.latency_ns = slowed);
        host.run_with(seconds, &mut background);
        host.services.iter_mut().zip(&usual).for_each(|(service, usual)| service.latency_ns = *usual);
    };
    for round in 0..4 {
        // A log is rotated: a tenth of one report's requests waits for the disk.
        for service in &mut host.services {
            (service.slow, service.slow_ns) = (0.1, 40_000_000.0);
        }
        host.run_with(5, &mut background);
        host.services.iter_mut().for_each(|service| service.slow = 0.0);
        host.run_with(295, &mut background);
        // Cron: a few seconds of a processor.
        slower(&mut host, 10, [2.5; 2]);
        host.run_with(290, &mut background);
        // Packages are upgraded, then a large file is copied: minutes in which everything takes a little longer, and what
        // takes 90 us twice as long.
        slower(&mut host, 120, [1.3; 2]);
        host.run_with(300, &mut background);
        slower(&mut host, 300, [2.0, 1.4]);
        host.run_with(300, &mut background);
        // A new version is deployed, and fills its caches.
        let tgid = 11 + 10 * round;
        host.services[0] = Service::new(tgid, 5_000.0, 300_000.0);
        host.run_with(20, &mut background);
        host.services[0].latency_ns = 90_000.0;
        host.run_with(160, &mut background);
    }
    let after_s = |at_ms: i64| (at_ms - crate::host::START_MS) / 1_000;
    let opened = host.opened.iter();
    opened.map(|(at_ms, incident)| format!("seed {seed}, {} s: {}", after_s(*at_ms), incident.summary.en)).collect()
}

#[test]
fn an_ordinary_day_has_no_incident() {
    let found: Vec<String> = (0..3).flat_map(ordinary).collect();
    assert!(found.is_empty(), "{found:#?}");
}
