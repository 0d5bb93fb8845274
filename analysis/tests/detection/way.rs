//! The way to a service: longer, closed, or with nobody at its end. And errors that come only now and then.

use gala_analysis::detect::kpi::{Change, Kpi, Patience, Reading};
use gala_analysis::detect::meaning::Shape;
use gala_analysis::detect::policy;

use crate::host::{Host, Service};

/// One end of connections with a peer: their number, mean round trip, and segments sent by each in a period.
fn link(host: &mut Host, role: &str, client_ip: &str, sockets: f64, srtt_us: f64, segments: f64) {
    let tgid = if role == "server" { "100" } else { "200" };
    let comm = if role == "server" { "kv" } else { "shop" };
    let labels = [
        ("tgid", tgid),
        ("comm", comm),
        ("role", role),
        ("client_ip", client_ip),
        ("server_ip", "10.0.0.1"),
        ("server_port", "6379"),
    ];
    let wavering = (0.15 * host.random.normal()).exp();
    host.put("tcp_link_srtt_sum", &labels, srtt_us * wavering * sockets);
    host.put("tcp_link_srtt_count", &labels, sockets);
    host.put("tcp_link_segs_out", &labels, segments * sockets);
}

/// Attempts of a program to connect; a row only where there were any.
fn attempts(host: &mut Host, tgid: &str, comm: &str, opened: f64, failed: f64) {
    let labels = [("tgid", tgid), ("comm", comm), ("role", "client"), ("server_ip", "10.0.0.1"), ("server_port", "6379")];
    host.put("endpoint_tcp_active_open", &labels, opened);
    host.put("endpoint_tcp_active_open_failed", &labels, failed);
}

fn texts(host: &Host) -> Vec<String> {
    host.opened.iter().map(|(_, incident)| incident.summary.en.clone()).collect()
}

#[test]
fn a_pause_does_not_keep_what_comes_after_it_open() {
    let mut host = Host::new(Vec::new());
    host.run(330);
    // A job that runs for moments, some minutes apart.
    host.run_with(15, &mut |host| attempts(host, "100", "job", 1_000.0, 0.0));
    host.run(450);
    host.run_with(20, &mut |host| attempts(host, "101", "job", 100.0, 900.0));
    assert_eq!(host.opened.len(), 1);
    host.run(200);
    assert_eq!(host.open(), 0);
}

#[test]
fn a_client_that_fails_no_more_is_over_when_it_would_have_tried_again() {
    // Tries in every report, or twice a minute; gone for good, or back a moment before it is over.
    for (pace_s, over_s) in [(5, 60), (30, 75)] {
        for pause_s in [over_s - 5, 600] {
            let mut host = Host::new(Vec::new());
            host.run_with(120, &mut |host| attempts(host, "200", "shop", 8.0, 0.0));
            let fail = |host: &mut Host| host.run_with(5, &mut |host| attempts(host, "200", "shop", 0.0, 40.0));
            for _ in 0..5 {
                host.run(pace_s - 5);
                fail(&mut host);
            }
            let last_ms = host.now_ms;
            assert_eq!((host.opened.len(), host.open()), (1, 1), "a try every {pace_s} s");
            host.run(pause_s);
            fail(&mut host);
            let closed_after_s: Vec<i64> = host.closed.iter().map(|at_ms| (at_ms - last_ms) / 1_000).collect();
            let is_right = |after_s: &[i64]| if pause_s < 600 { after_s.is_empty() } else { after_s == [over_s + 2] };
            assert!(is_right(&closed_after_s), "a try every {pace_s} s, a pause of {pause_s} s: {closed_after_s:?}");
        }
    }
}

#[test]
fn a_longer_way_is_found_at_the_end_that_asks() {
    // A client that waits for its answers asks less then: 125 times a second, or 50.
    for segments in [625.0, 250.0] {
        let mut host = Host::new(Vec::new());
        host.run_with(600, &mut |host| link(host, "client", "10.0.0.2", 8.0, 120.0, 625.0));
        let injected_ms = host.now_ms;
        host.run_with(60, &mut |host| link(host, "client", "10.0.0.2", 8.0, 20_000.0, segments));
        assert_eq!(host.opened.len(), 1, "{segments} segments");
        assert!(host.opened[0].0 - injected_ms <= 30_000, "{} ms", host.opened[0].0 - injected_ms);
        let incident = &host.opened[0].1;
        assert_eq!((incident.entity_type.as_str(), incident.metric.as_str()), ("tcp_link", "gala_gopher_tcp_link_srtt"));
        host.run_with(120, &mut |host| link(host, "client", "10.0.0.2", 8.0, 120.0, 625.0));
        assert_eq!(host.open(), 0);
    }
}

#[test]
fn a_longer_way_that_leaves_hardly_any_requests_is_found_where_both_ends_are_seen() {
    for with_server in [true, false] {
        let mut host = Host::new(Vec::new());
        let report = |host: &mut Host, seconds: i64, srtt_us: f64, segments: f64| {
            host.run_with(seconds, &mut |host| {
                link(host, "client", "10.0.0.2", 50.0, srtt_us, segments);
                if with_server {
                    link(host, "server", "10.0.0.2", 50.0, srtt_us, segments);
                }
            });
        };
        report(&mut host, 600, 300.0, 10_000.0);
        let injected_ms = host.now_ms;
        report(&mut host, 60, 25_000.0, 200.0);
        // One end alone may as well have been asked for something heavier.
        assert_eq!(host.opened.len(), usize::from(with_server));
        assert!(host.opened.iter().all(|(at_ms, _)| at_ms - injected_ms <= 40_000));
    }
}

#[test]
fn a_client_that_goes_idle_or_asks_for_heavier_things_is_no_longer_way() {
    let mut host = Host::new(Vec::new());
    // At the accepting end: acknowledgements with the next request, then late ones. The other end at the same time.
    let busy = |host: &mut Host| {
        link(host, "server", "10.0.0.2", 8.0, 1_000.0, 5_000.0);
        link(host, "client", "10.0.0.2", 8.0, 120.0, 5_000.0);
    };
    let idle = |host: &mut Host| {
        link(host, "server", "10.0.0.2", 8.0, 40_000.0, 100.0);
        link(host, "client", "10.0.0.2", 8.0, 120.0, 100.0);
    };
    let heavy = |host: &mut Host| {
        link(host, "server", "10.0.0.2", 8.0, 150.0, 150.0);
        link(host, "client", "10.0.0.2", 8.0, 40_000.0, 150.0);
    };
    for round in 0..4 {
        host.run_with(600, &mut |host| busy(host));
        host.run_with(if round == 2 { 1_500 } else { 60 }, &mut |host| idle(host));
        host.run_with(300, &mut |host| busy(host));
        host.run_with(120, &mut |host| heavy(host));
    }
    host.run_with(300, &mut |host| busy(host));
    assert_eq!(texts(&host), Vec::<String>::new());
}

#[test]
fn more_connections_and_far_peers_are_no_longer_way() {
    let mut host = Host::new(Vec::new());
    host.run_with(600, &mut |host| link(host, "server", "10.0.0.2", 8.0, 1_000.0, 5_000.0));
    host.run_with(600, &mut |host| {
        // The same requests over more connections, and somebody from abroad.
        link(host, "server", "10.0.0.2", 80.0, 35_000.0, 500.0);
        link(host, "server", "198.51.100.7", 4.0, 180_000.0, 80.0);
    });
    // Three times the load.
    host.run_with(300, &mut |host| link(host, "server", "10.0.0.2", 24.0, 900.0, 5_000.0));
    assert_eq!(texts(&host), Vec::<String>::new());
}

#[test]
fn a_server_that_is_gone_is_found_by_who_was_connected() {
    let mut host = Host::new(Vec::new());
    // Opened long ago: no attempt was ever seen.
    host.run_with(120, &mut |host| link(host, "client", "10.0.0.2", 8.0, 120.0, 625.0));
    let injected_ms = host.now_ms;
    host.run_with(30, &mut |host| attempts(host, "200", "shop", 0.0, 40.0));
    assert_eq!(host.opened.len(), 1);
    assert!(host.opened[0].0 - injected_ms <= 20_000);
    let incident = &host.opened[0].1;
    assert_eq!((incident.entity_type.as_str(), incident.score), ("endpoint_tcp", 1.0));
    assert!(incident.summary.en.starts_with("failed connection attempts of shop rose to 100 %"), "{}", incident.summary.en);
    attempts(&mut host, "200", "shop", 8.0, 0.0);
    host.run_with(200, &mut |host| link(host, "client", "10.0.0.2", 8.0, 120.0, 625.0));
    assert_eq!((host.opened.len(), host.open()), (1, 0));
}

#[test]
fn a_server_that_answers_nobody_is_found_by_clients_that_wait_long_between_attempts() {
    let mut host = Host::new(Vec::new());
    let mut tgid = 300;
    // A command run every two seconds, each time a process of its own.
    host.run_with(300, &mut |host| {
        for _ in 0..2 {
            tgid += 1;
            attempts(host, &tgid.to_string(), "ask", 1.0, 0.0);
        }
    });
    let injected_ms = host.now_ms;
    host.run_with(90, &mut |host| {
        if host.now_ms % 10_000 == 0 {
            tgid += 1;
            attempts(host, &tgid.to_string(), "ask", 0.0, 1.0);
        }
    });
    assert_eq!(host.opened.len(), 1);
    assert!(host.opened[0].0 - injected_ms <= 100_000);
}

#[test]
fn who_never_reached_a_server_and_a_server_that_restarts_are_no_incident() {
    let mut host = Host::new(Vec::new());
    host.run_with(1_800, &mut |host| {
        // A wrong address in a configuration, asked in vain; and one that fails more often than not.
        attempts(host, "400", "agent", 0.0, 5.0);
        let fails = if host.random.uniform() < 0.8 { 6.0 } else { 3.0 };
        attempts(host, "500", "probe", 8.0 - fails, fails);
        link(host, "client", "10.0.0.2", 8.0, 120.0, 625.0);
        let restarts = host.now_ms % 600_000 == 0;
        attempts(host, "200", "shop", if restarts { 8.0 } else { 1.0 }, if restarts { 30.0 } else { 0.0 });
    });
    assert_eq!(texts(&host), Vec::<String>::new());
}

#[test]
fn a_cable_is_news_and_a_bridge_of_containers_is_not() {
    let mut host = Host::new(Vec::new());
    let report = |host: &mut Host, changes: [f64; 3]| {
        for (name, changes) in ["eth0", "docker0", "veth12ab"].into_iter().zip(changes) {
            host.put("nic_carrier_changes", &[("dev_name", name)], changes);
        }
    };
    host.run_with(300, &mut |host| report(host, [0.0; 3]));
    host.run_with(5, &mut |host| report(host, [0.0, 1.0, 2.0]));
    assert_eq!(texts(&host), Vec::<String>::new());
    host.run_with(5, &mut |host| report(host, [1.0, 0.0, 0.0]));
    assert_eq!(host.opened.len(), 1);
    assert_eq!(host.opened[0].1.entity_id, "m_nic_eth0");
    host.run_with(120, &mut |host| report(host, [0.0; 3]));
    assert_eq!(host.open(), 0);
}

#[test]
fn the_first_error_of_a_disk_that_was_there_is_found() {
    let disk = [("major", "8"), ("first_minor", "0")];
    for (zeros, known) in [(false, true), (true, true), (false, false)] {
        let mut host = Host::new(Vec::new());
        host.run_with(60, &mut |host| {
            if known {
                host.put("block_count_latency_req", &disk, 10.0);
            }
            if zeros {
                host.put("block_err_count", &disk, 0.0);
            }
        });
        let injected_ms = host.now_ms;
        host.run_with(20, &mut |host| {
            host.put("block_count_latency_req", &disk, 10.0);
            host.put("block_err_count", &disk, 3.0);
        });
        // What fails since it was first seen may always have.
        assert_eq!(host.opened.len(), usize::from(known), "zeros {zeros}, known {known}");
        assert!(host.opened.iter().all(|(at_ms, _)| at_ms - injected_ms <= 10_000));
    }
}

#[test]
fn a_service_with_habitual_errors_is_left_alone_until_it_gets_worse() {
    for seed in 1..20 {
        let mut host = Host::new(vec![Service::new(7, 20.0, 1_000_000.0)]);
        host.random.0 ^= 0x9e37_79b9_7f4a_7c15u64.wrapping_mul(seed);
        host.run_with(400, &mut |host| host.services[0].failing = (0.05 + 0.02 * host.random.normal()).max(0.0));
        assert_eq!(texts(&host), Vec::<String>::new(), "seed {seed}");
        host.services[0].failing = 0.25;
        host.run(30);
        assert_eq!(host.opened.len(), 1, "seed {seed}");
    }
}

#[test]
fn what_lies_hardly_beyond_the_usual_is_no_anomaly_and_what_lies_far_beyond_is_one_soon() {
    let after = |times: f64| {
        let mut kpi = Kpi::new(Shape::Quantile(90), &policy::REQUEST_P90);
        let patience = Patience { calm_ms: 60_000, new_normal_ms: 3_600_000 };
        let mut t_ms = 0;
        let mut take = |kpi: &mut Kpi, value: f64| {
            t_ms += 5_000;
            kpi.take(Reading { t_ms, value, load: 200.0, judged: true, thin: false }, patience)
        };
        for index in 0..300 {
            assert_eq!(take(&mut kpi, 1_800_000.0 + 100_000.0 * f64::from(index % 7)), None);
        }
        let (middle, high) = kpi.band().map(|band| (band.middle, band.high)).unwrap();
        let value = if times < 2.0 { times * high } else { times * middle };
        (1..=40).find(|_| matches!(take(&mut kpi, value), Some(Change::Opened(_))))
    };
    assert_eq!(after(1.01), None);
    assert_eq!(after(1.04), None);
    assert!(after(1.2).is_some_and(|readings| readings <= 14));
    assert_eq!(after(3.0), Some(4));
}
