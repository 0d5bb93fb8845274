//! A service that restarts is another process with the same habits.

use crate::host::{Host, Service};

/// A host whose service has restarted after half an hour and was away for ten seconds.
fn restarted(latency_ns: f64) -> Host {
    let mut host = Host::new(vec![Service::new(7, 1_000.0, 200_000.0), Service::new(8, 200.0, 2_000_000.0)]);
    host.run(1_800);
    host.services.remove(0);
    host.run(10);
    host.services.insert(0, Service::new(17, 1_000.0, latency_ns));
    host
}

#[test]
fn a_restarted_service_is_judged_by_what_was_usual_before() {
    let mut host = restarted(200_000.0);
    host.run(140);
    assert_eq!(host.opened, []);
    let injected_ms = host.now_ms;
    host.services[0].latency_ns *= 4.0;
    host.run(40);
    assert_eq!(host.opened.len(), 1);
    assert!(host.opened[0].0 - injected_ms <= 40_000);
    assert_eq!(host.opened[0].1.symptoms[0].process_id.as_deref(), Some("m_proc_17"));
    host.services[0].latency_ns = 200_000.0;
    host.run(120);
    assert_eq!((host.opened.len(), host.open()), (1, 0));
}

#[test]
fn a_restart_that_leaves_the_service_slow_is_found() {
    let mut host = restarted(800_000.0);
    host.run(180);
    assert_eq!(host.opened.len(), 1);
}

#[test]
fn restarts_that_are_slow_for_half_a_minute_are_no_incident() {
    let mut host = restarted(1_000_000.0);
    for tgid in [27, 37, 47, 57] {
        host.run(30);
        host.services[0].latency_ns = 230_000.0;
        host.run(420);
        host.services[0] = Service::new(tgid, 1_000.0, 1_000_000.0);
    }
    assert_eq!(host.opened, []);
}

#[test]
fn a_second_server_of_the_same_program_has_habits_of_its_own() {
    let mut host = Host::new(vec![Service::new(7, 1_000.0, 200_000.0)]);
    host.run(1_800);
    host.services.push(Service::new(17, 50.0, 4_000_000.0));
    host.run(900);
    assert_eq!(host.opened, []);
}

#[test]
fn a_worker_of_a_pool_is_not_judged_by_the_one_that_ended_last() {
    let mut host = Host::new([7, 17, 27].map(|tgid| Service::new(tgid, 300.0, 200_000.0)).into());
    host.run(1_800);
    host.services.remove(0);
    host.run(90);
    host.services.push(Service::new(37, 20.0, 2_000_000.0));
    host.run(900);
    assert_eq!(host.opened, []);
}
