//! Who is watched when there is not room for all.

use gala_analysis::detect::{Config, Detector, NoGraph};

use crate::host::{Host, Service, tables};

/// A process that lives for one report.
fn short_lived(host: &mut Host, tgid: u32) {
    let tgid = tgid.to_string();
    let link = [("tgid", tgid.as_str()), ("comm", "ask"), ("role", "client"), ("server_ip", "10.0.0.1"), ("server_port", "1")];
    host.put("tcp_link_retran_packets", &link, 0.0);
    host.put("tcp_link_segs_out", &link, 5.0);
    host.put("proc_cpu_util", &[("tgid", &tgid)], 1.0);
}

fn crowded(max_kpis: usize, max_series: usize) -> Host {
    let mut host = Host::new(vec![Service::new(7, 500.0, 200_000.0)]);
    host.detector = Detector::new(Config { max_kpis, max_series, ..Config::default() }, &tables());
    let mut tgid = 1_000;
    host.run_with(900, &mut |host| {
        for _ in 0..3 {
            tgid += 1;
            short_lived(host, tgid);
        }
    });
    host
}

#[test]
fn a_service_that_starts_among_short_lived_clients_is_judged() {
    for (max_kpis, max_series) in [(40, 60_000), (4_000, 400)] {
        let mut host = crowded(max_kpis, max_series);
        // Restarted: another process.
        host.services[0] = Service::new(8, 500.0, 200_000.0);
        let mut tgid = 10_000;
        let mut churn = |host: &mut Host| {
            for _ in 0..3 {
                tgid += 1;
                short_lived(host, tgid);
            }
        };
        host.run_with(400, &mut churn);
        assert_eq!(host.opened, [], "{max_kpis} KPIs, {max_series} series");
        host.services[0].latency_ns *= 6.0;
        host.run_with(40, &mut churn);
        assert_eq!(host.opened.len(), 1, "{max_kpis} KPIs, {max_series} series");
    }
}

#[test]
fn what_found_no_room_is_judged_once_there_is() {
    let mut host = crowded(8, 60_000);
    let link = [("tgid", "5"), ("role", "client")];
    let report = |host: &mut Host, lost: f64| {
        host.put("tcp_link_retran_packets", &link, lost);
        host.put("tcp_link_segs_out", &link, 5_000.0);
    };
    host.run_with(60, &mut |host| report(host, 2.0));
    // The clients are gone; what they took is given back.
    host.run_with(600, &mut |host| report(host, 2.0));
    assert_eq!(host.opened, []);
    host.run_with(40, &mut |host| report(host, 400.0));
    assert_eq!(host.opened.len(), 1);
}

#[test]
fn want_of_room_is_told_while_it_lasts_and_no_longer() {
    for (max_kpis, max_series) in [(8, 60_000), (4_000, 200)] {
        let mut host = crowded(max_kpis, max_series);
        let told = |host: &mut Host| host.detector.tick(host.now_ms, &host.memory, &NoGraph).unwrap().over_cap;
        assert!(told(&mut host) > 0, "{max_kpis} KPIs, {max_series} series");
        host.run(900);
        assert_eq!(told(&mut host), 0, "{max_kpis} KPIs, {max_series} series");
    }
}

#[test]
fn processes_that_vanish_before_they_are_known_are_soon_forgotten() {
    let host = crowded(4_000, 60_000);
    let before = host.detector.save();
    let kpis = serde_json::to_value(&before).unwrap()["kpis"].as_object().unwrap().len();
    // Two KPIs each of three a report, for five minutes and up to two more; and the service.
    assert!(kpis <= 2 * 3 * 84 + 10, "{kpis} KPIs");
}
