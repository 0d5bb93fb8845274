//! Faults that creep, come and go, begin before anything is known, or hit who is hardly asked; and a clock that is set back.

use crate::host::{Host, Memory, Service};

fn host(per_s: f64, latency_ns: f64) -> Host {
    Host::new(vec![Service::new(7, per_s, latency_ns)])
}

/// One report with a stall: for a tenth of its requests the service does not answer for a second.
fn stall(host: &mut Host) {
    let service = &mut host.services[0];
    (service.slow, service.slow_ns) = (0.1, 500_000_000.0);
    host.step(&mut |_| {});
    host.services[0].slow = 0.0;
}

#[test]
fn what_gets_worse_slowly_is_found_and_what_hardly_does_is_not() {
    // Clients that wait for their answers ask less of whoever gets slower.
    for (times, waits, expected) in [(8.0, false, 1), (8.0, true, 1), (1.4, false, 0)] {
        let mut host = host(500.0, 2_000_000.0);
        host.run(3_600);
        let steps = 60;
        for _ in 0..steps {
            let step = f64::powf(times, 1.0 / f64::from(steps));
            host.services[0].latency_ns *= step;
            host.services[0].per_s /= if waits { step } else { 1.0 };
            host.run(60);
        }
        assert_eq!(host.opened.len(), expected, "{times} times in an hour, clients that wait: {waits}");
        host.services[0].per_s = 500.0;
        host.services[0].latency_ns = 2_000_000.0;
        host.run(300);
        assert_eq!((host.opened.len(), host.open()), (expected, 0));
    }
}

#[test]
fn a_swing_of_the_day_is_no_creeping_fault() {
    let mut host = host(500.0, 2_000_000.0);
    host.period_ms = 30_000;
    host.run_with(86_400, &mut |host| {
        let day = (host.now_ms as f64 / 86_400_000.0 * std::f64::consts::TAU).sin();
        (host.services[0].per_s, host.services[0].latency_ns) = (500.0 * (2.0 * day).exp(), 2_000_000.0 * (0.5 * day).exp());
    });
    assert_eq!(host.opened, []);
}

#[test]
fn short_stalls_that_come_again_are_one_incident_and_a_lone_one_is_none() {
    let mut host = host(500.0, 2_000_000.0);
    host.run(1_500);
    for _ in 0..6 {
        stall(&mut host);
        host.run(300);
    }
    assert_eq!(host.opened, [], "one in five minutes");
    let injected_ms = host.now_ms;
    for _ in 0..20 {
        stall(&mut host);
        host.run(15);
    }
    assert_eq!((host.opened.len(), host.open()), (1, 1));
    assert!(host.opened[0].0 - injected_ms <= 240_000, "{} ms", host.opened[0].0 - injected_ms);
    assert!((host.opened[0].1.onset_ms - injected_ms).abs() <= 15_000);
    host.run(120);
    assert_eq!((host.opened.len(), host.open()), (1, 0));
}

#[test]
fn a_fault_that_is_on_for_ten_seconds_and_off_for_ten_is_found_in_a_minute() {
    let mut host = host(500.0, 2_000_000.0);
    host.run(1_500);
    let injected_ms = host.now_ms;
    for _ in 0..4 {
        host.services[0].latency_ns *= 8.0;
        host.run(10);
        host.services[0].latency_ns /= 8.0;
        host.run(10);
    }
    assert_eq!(host.opened.len(), 1);
    assert!(host.opened[0].0 - injected_ms <= 63_000, "{} ms", host.opened[0].0 - injected_ms);
    assert!((host.opened[0].1.onset_ms - injected_ms).abs() <= 15_000);
}

#[test]
fn a_fault_that_begins_in_the_warm_up_is_found_at_its_end() {
    for begins_s in [150, 220] {
        let mut host = host(500.0, 2_000_000.0);
        host.run(begins_s);
        host.services[0].latency_ns *= 6.0;
        host.run(330 - begins_s);
        assert_eq!(host.opened.len(), 1, "{begins_s} s");
        host.services[0].latency_ns /= 6.0;
        host.run(120);
        assert_eq!(host.open(), 0);
    }
}

#[test]
fn traffic_that_begins_in_the_warm_up_is_no_fault() {
    for begins_s in [100, 150] {
        let mut host = host(10.0, 1_000_000.0);
        host.run(begins_s);
        (host.services[0].per_s, host.services[0].latency_ns) = (100.0, 20_000_000.0);
        host.run(900);
        assert_eq!(host.opened, [], "{begins_s} s");
    }
}

#[test]
fn stalls_that_stay_are_told_a_few_times_and_then_usual() {
    let mut host = host(500.0, 2_000_000.0);
    host.run(1_500);
    // Four minutes with a stall in every fourth report, two without, and so on.
    for index in 0..4 * 720 {
        if index % 72 < 48 && index % 4 == 0 {
            stall(&mut host);
        } else {
            host.run(5);
        }
    }
    assert!((1..=6).contains(&host.opened.len()), "{} in four hours", host.opened.len());
}

#[test]
fn a_service_that_is_asked_three_times_a_minute_is_judged() {
    let mut host = host(0.05, 200_000_000.0);
    host.run(4 * 3_600);
    assert_eq!(host.opened, []);
    host.services[0].latency_ns *= 15.0;
    host.run(900);
    assert_eq!(host.opened.len(), 1);
}

#[test]
fn a_clock_that_was_ahead_for_an_hour_leaves_nobody_blind() {
    for restarts in [false, true] {
        let mut host = host(500.0, 2_000_000.0);
        host.run(900);
        // What the clock wrote while it was ahead is refused by no store, but for its own series.
        host.now_ms -= 3_600_000;
        host.memory = Memory::default();
        if restarts {
            host.restart();
        }
        host.run(120);
        assert_eq!(host.opened, []);
        host.services[0].latency_ns *= 6.0;
        host.run(40);
        assert_eq!((host.opened.len(), host.open()), (1, 1), "restarts {restarts}");
        host.services[0].latency_ns /= 6.0;
        host.run(120);
        assert_eq!(host.open(), 0);
    }
}

#[test]
fn what_is_saved_of_a_number_that_never_changes_is_little() {
    let of = |kpis: u32| {
        let mut host = Host::new(Vec::new());
        host.run_with(1_500, &mut |host| {
            (0..kpis).for_each(|tgid| host.put("endpoint_tcp_accept_overflow", &[("tgid", &tgid.to_string())], 0.0));
        });
        serde_json::to_string(&host.detector.save()).unwrap().len()
    };
    let each = (of(20) - of(10)) / 10;
    assert!(each < 1_200, "{each} bytes");
}
