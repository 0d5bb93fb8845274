//! What Now and the status answers show, over the story of a Redis that gets slow.

mod common;

use std::time::Duration;

use common::{TestHub, now_ms, process_id, put_process, requests_id, wait_for, write_story};

fn about(actual: f64, expected: f64) -> bool {
    (actual - expected).abs() <= expected.abs() * 0.1
}

#[test]
fn a_service_has_its_range_and_its_fullest_resource() {
    let dir = tempfile::tempdir().unwrap();
    // Most of an hour and a half of five-minute rates lies before the last quarter of an hour.
    let end_ms = common::write_long_story(dir.path(), 6_300_000);
    let hub = TestHub::start(dir.path());
    hub.put(
        end_ms,
        &[("gala_gopher_proc_fd_free_per", &[("tgid", "4711")], 4.0), ("gala_gopher_mem_util", &[("infos", "m")], 40.0)],
    );
    let row = wait_for("the service", || {
        let services = hub.json("/services");
        services["items"].as_array()?.iter().find(|row| row["entity_id"] == process_id("4711")).cloned()
    });
    assert!(about(row["rate_per_s"].as_f64().unwrap(), 100.0), "{row}");
    assert_eq!((row["app"].as_str(), row["pid"].as_u64(), row["port"].as_u64()), (Some("redis"), Some(4711), Some(6379)));
    let normal = &row["p99_normal_ms"];
    let (low, high) = (normal["lo"].as_f64().unwrap(), normal["hi"].as_f64().unwrap());
    assert!(low <= high && high <= 0.5 && row["p99_ms"].as_f64().unwrap() > high, "{row}");
    assert_eq!(row["saturation"]["what"], "open files");
    assert!(about(row["saturation"]["ratio"].as_f64().unwrap(), 0.96), "{row}");
}

#[test]
fn a_young_service_shows_the_range_it_is_judged_by() {
    let dir = tempfile::tempdir().unwrap();
    write_story(dir.path());
    let hub = TestHub::start(dir.path());
    let row = wait_for("the range of a service of 25 minutes", || {
        let services = hub.json("/services");
        services["items"].as_array()?.iter().find(|row| row["p99_normal_ms"].is_object()).cloned()
    });
    let (low, high) = (row["p99_normal_ms"]["lo"].as_f64().unwrap(), row["p99_normal_ms"]["hi"].as_f64().unwrap());
    assert!(low <= 0.5 && high >= 0.3 && high < row["p99_ms"].as_f64().unwrap(), "{row}");
}

#[test]
fn edges_tell_what_is_asked_over_them() {
    let dir = tempfile::tempdir().unwrap();
    let end_ms = write_story(dir.path());
    let hub = TestHub::start(dir.path());
    let edge = |hub: &TestHub| {
        let map = hub.json("/topology/horizontal?layer=process");
        let edges = map["edges"].as_array()?.clone();
        edges.into_iter().find(|edge| edge["from"] == process_id("4712") && edge["to"] == process_id("4711"))
    };
    let found = wait_for("the edge with its rate", || edge(&hub).filter(|edge| edge["attributes"]["rate_per_s"].is_number()));
    let attributes = &found["attributes"];
    assert!(about(attributes["rate_per_s"].as_f64().unwrap(), 100.0), "{attributes}");
    // All of the last minute was slow: 30 ms and a little, in the bucket that ends at 50 ms.
    assert!(about(attributes["latency_mean_ms"].as_f64().unwrap(), 30.7), "{attributes}");
    let p95 = attributes["latency_p95_ms"].as_f64().unwrap();
    assert!((0.5..=50.0).contains(&p95), "{attributes}");
    assert_eq!(attributes["error_ratio"], 0.0);
    assert_eq!(attributes["protocols"], serde_json::json!(["tcp", "redis"]));
    assert!(attributes.get("rate_is_estimate").is_none(), "{attributes}");

    // A second client that sends a third of what the first sends: the rate is divided and says so.
    let link = |tgid: &'static str, comm: &'static str, role: &'static str, client: &'static str| {
        [
            ("tgid", tgid),
            ("comm", comm),
            ("role", role),
            ("protocol", "2"),
            ("client_ip", client),
            ("server_ip", "127.0.0.1"),
            ("client_port", "0"),
            ("server_port", "6379"),
        ]
    };
    let (from, to) = (link("4713", "batch", "client", "127.0.0.2"), link("4711", "redis-server", "server", "127.0.0.2"));
    hub.put(end_ms, &[("gala_gopher_tcp_link_tx_bytes", &from, 10_000.0), ("gala_gopher_tcp_link_rx_bytes", &to, 10_000.0)]);
    let shared = wait_for("the divided rate", || edge(&hub).filter(|edge| edge["attributes"]["rate_is_estimate"] == true));
    assert!(about(shared["attributes"]["rate_per_s"].as_f64().unwrap(), 75.0), "{shared}");
}

#[test]
fn an_edge_whose_client_stopped_carries_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let end_ms = write_story(dir.path());
    let hub = TestHub::start(dir.path());
    // Two clients ask one server; one of them stopped 45 s ago.
    let link = |tgid: &'static str, role: &'static str, client: &'static str| {
        let ends = [("client_ip", client), ("server_ip", "127.0.0.1"), ("client_port", "0"), ("server_port", "7000")];
        [("tgid", tgid), ("comm", "batch"), ("role", role), ("protocol", "2")].into_iter().chain(ends).collect::<Vec<_>>()
    };
    let requests = [("tgid", "4720"), ("ins_id", "0"), ("app", "REDIS"), ("method", "GET"), ("server_port", "7000")];
    let proc = |tgid: &'static str| [("tgid", tgid), ("comm", "batch"), ("pgid", tgid), ("start_time", "100")];
    let mut count = 0.0;
    for t_ms in (end_ms - 85_000..=end_ms).step_by(5_000) {
        count += 200.0;
        let (gone, stays) = (link("4721", "client", "127.0.0.3"), link("4722", "client", "127.0.0.4"));
        let (of_gone, of_stays) = (link("4720", "server", "127.0.0.3"), link("4720", "server", "127.0.0.4"));
        hub.put(t_ms, &[("gala_gopher_sli_requests_total", &requests, count)]);
        for tgid in ["4720", "4721", "4722"] {
            hub.put(t_ms, &[("gala_gopher_proc_fd_count", &proc(tgid), 9.0)]);
        }
        hub.put(t_ms, &[("gala_gopher_tcp_link_tx_bytes", &stays, 1e3), ("gala_gopher_tcp_link_rx_bytes", &of_stays, 1e3)]);
        if t_ms <= end_ms - 45_000 {
            hub.put(t_ms, &[("gala_gopher_tcp_link_tx_bytes", &gone, 9e3), ("gala_gopher_tcp_link_rx_bytes", &of_gone, 9e3)]);
        }
    }
    let rates = |layer: &str, client: &str| {
        let map = hub.json(&format!("/topology/horizontal?layer={layer}"));
        let edges = map["edges"].as_array().unwrap().clone();
        let edge = edges.into_iter().find(|edge| edge["from"].as_str().is_some_and(|from| from.ends_with(client)))?;
        Some((edge["attributes"]["rate_per_s"].as_f64()?, edge))
    };
    let (rate, edge) = wait_for("the rate of the client that stays", || {
        rates("process", "_proc_4722").filter(|(rate, edge)| *rate > 30.0 && edge["state"] == "online")
    });
    assert!(about(rate, 40.0) && edge["attributes"].get("rate_is_estimate").is_none(), "{edge}");
    let (rate, edge) = rates("process", "_proc_4721").unwrap();
    assert_eq!((rate, edge["attributes"].get("latency_mean_ms")), (0.0, None), "{edge}");

    // A client that is seen to end takes its edge with it, on the map of applications too.
    let exit = gala_model::Event {
        at_ms: end_ms + 1_000,
        entity_id: process_id("4722"),
        entity_type: "proc".to_owned(),
        metric: String::new(),
        kind: "exit".to_owned(),
        severity: gala_model::Severity::Info,
        body: String::new(),
        labels: vec![("machine_id".to_owned(), common::MACHINE.to_owned()), ("tgid".to_owned(), "4722".to_owned())],
    };
    hub.hub().state().take_event(&exit);
    for (layer, client) in [("process", "_proc_4722"), ("application", "_appinstance_4722")] {
        let (rate, edge) =
            wait_for("the end of the edge", || rates(layer, client).filter(|(_, edge)| edge["state"] == "offline"));
        assert_eq!(rate, 0.0, "{edge}");
    }
}

/// Who asks whether the analysis lives must not wait for it.
#[test]
fn the_health_waits_for_no_part() {
    let dir = tempfile::tempdir().unwrap();
    let hub = TestHub::start(dir.path());
    wait_for("the first pass", || (hub.get("/health").status == 200).then_some(()));
    let _held = hub.hub().state().detector.lock();
    let _read = hub.hub().state().topology.write();
    assert_eq!(hub.json("/health")["components"]["detection"]["status"], "ok");
    assert_eq!(hub.get("/metrics").status, 200);
}

/// What nobody judges is not as usual, and one thing has one severity.
#[test]
fn a_state_is_told_of_what_is_judged_and_is_the_same_everywhere() {
    let dir = tempfile::tempdir().unwrap();
    write_story(dir.path());
    let hub = TestHub::start(dir.path());
    let requests = requests_id();
    let row = wait_for("the anomaly", || {
        let rows = hub.json("/anomalies?kind=app");
        rows["items"].as_array()?.iter().find(|row| row["entity_id"] == *requests).cloned()
    });
    let state = match row["severity"].as_str().unwrap() {
        "INFO" | "WARN" => "warn",
        _ => "crit",
    };
    let slow = hub.json(&format!("/entities/{requests}"));
    let check = slow["checks"].as_array().unwrap().iter().find(|check| check["metric"] == row["metric_id"]).unwrap();
    assert_eq!(check["state"], state, "{check}");
    assert_eq!(slow["entity"]["badges"]["severity"], row["severity"]);
    // What is wrong with the requests is wrong with their process, its application and its host: every layer of the map shows it.
    let of_machine = |rest: &str| format!("{}_{rest}", common::MACHINE);
    let wholes = [process_id("4711"), of_machine("appinstance_4711"), of_machine("host")];
    for (layer, id) in ["process", "application", "host"].into_iter().zip(wholes) {
        let badges = wait_for("the mark on the map", || {
            let map = hub.json(&format!("/topology/horizontal?layer={layer}"));
            let badges = map["nodes"].as_array()?.iter().find(|node| node["id"] == *id)?["badges"].clone();
            (badges["severity"] == row["severity"]).then_some(badges)
        });
        assert!(badges["anomalies"].as_u64() > Some(0), "{layer}: {badges}");
    }
    let charts = hub.json(&format!("/entities/{requests}/metrics?metric={}", row["metric_id"].as_str().unwrap()));
    assert_eq!(charts["items"][0]["state"], state, "{charts}");
    let service = hub.json("/services")["items"][0].clone();
    assert_eq!(service["signals"]["latency"]["state"], state, "{service}");

    // The client reports what it always did.
    let of_client = || hub.json(&format!("/entities/{}", process_id("4712")));
    let client = wait_for("its check", || Some(of_client()).filter(|client| client["checks"][0]["state"] == "ok"));
    assert_eq!(client["entity"]["badges"]["judged"], true);

    // One that has just begun is known to nobody.
    put_process(&hub, now_ms(), "9", "200");
    let path = format!("/entities/{}", process_id("9"));
    let young = wait_for("the new process", || Some(hub.get(&path)).filter(|answer| answer.status == 200)).json();
    assert_eq!(young["checks"], serde_json::json!([]), "{young}");
    assert_eq!(young["entity"]["badges"], serde_json::json!({"anomalies": 0, "severity": null, "judged": false}));
}

/// A disk that fills up is the system's trouble, though it opens an incident like what users feel.
#[test]
fn what_the_system_suffers_is_no_anomaly_of_an_application() {
    let dir = tempfile::tempdir().unwrap();
    let hub = TestHub::start(dir.path());
    let mount = [("MountOn", "/data"), ("Fsname", "/dev/sdb"), ("Fstype", "ext4")];
    let begun_ms = now_ms();
    for (ago_ms, used) in [(9_000, 50.0), (6_000, 50.0), (3_000, 99.7)] {
        hub.put(begun_ms - ago_ms, &[("gala_gopher_fs_UsePer", &mount, used)]);
    }
    let full = |kind: &str| {
        let rows = hub.json(&format!("/anomalies?kind={kind}"));
        rows["items"].as_array()?.iter().find(|row| row["metric_id"] == "gala_gopher_fs_UsePer").cloned()
    };
    let row = wait_for("the full file system", || full("sys"));
    assert!(full("app").is_none(), "{row}");
    let event = hub.json(&format!("/anomalies/{}", row["event_id"].as_str().unwrap()));
    assert_eq!(event["raw"]["Attributes"]["event_type"], "sys", "{event}");
    assert!(event["raw"]["Body"].as_str().unwrap().contains("System Failure"), "{event}");
}

#[test]
fn charts_tell_times_per_request() {
    let dir = tempfile::tempdir().unwrap();
    let end_ms = write_story(dir.path());
    let hub = TestHub::start(dir.path());
    wait_for("the requests on the map", || (hub.get(&format!("/entities/{}", requests_id())).status == 200).then_some(()));
    let chart = |metric: &str| {
        let path =
            format!("/entities/{}/metrics?metric={metric}&from={}&to={end_ms}&step=10000", requests_id(), end_ms - 900_000);
        hub.json(&path)["items"][0].clone()
    };
    let waiting = chart("gala_gopher_sli_sched_nsec");
    assert_eq!(waiting["unit"], "ns");
    let points = waiting["series"][0]["points"].as_array().unwrap();
    let (early, last) = (points[points.len() / 2][1].as_f64().unwrap(), points.last().unwrap()[1].as_f64().unwrap());
    assert!(about(last, 30.5e6) && early < 1e6, "{early} {last}");
    // The hour before the chart lies before the story: nothing is known of what is usual.
    assert!(waiting["normal"].is_null(), "{waiting}");
    let latency = wait_for("ranges of the latency", || {
        let found = chart("gala_gopher_sli_latency_nsec");
        found["series"].as_array()?.iter().all(|line| line["label"] == "p50" || line["normal"].is_object()).then_some(found)
    });
    let labels: Vec<&str> = latency["series"].as_array().unwrap().iter().map(|line| line["label"].as_str().unwrap()).collect();
    assert_eq!((latency["unit"].as_str(), labels), (Some("ns"), vec!["p50", "p90", "p99", "mean"]));
    assert_eq!(latency["normal"], latency["series"][2]["normal"], "that of p99");
    let mean = &latency["series"][3];
    let (low, high) = (mean["normal"]["lo"].as_f64().unwrap(), mean["normal"]["hi"].as_f64().unwrap());
    assert!(low <= 300e3 && (300e3..10e6).contains(&high), "{}", mean["normal"]);
    assert!(about(mean["points"].as_array().unwrap().last().unwrap()[1].as_f64().unwrap(), 30.7e6), "{mean}");
    // 100 requests a second wait 0.1 ms each.
    let counted = chart("gala_gopher_sli_sched_nsec_sum");
    let per_second = &counted["normal"];
    assert_eq!(counted["unit"], "ns/s");
    assert!(per_second["lo"].as_f64().unwrap() < 10e6 && per_second["hi"].as_f64().unwrap() > 10e6, "{per_second}");

    // Of all metrics, a sum and its count are one chart of a time per request, with what was usual in the hour before.
    let path = format!("/entities/{}/metrics?from={}&to={end_ms}", requests_id(), end_ms - 120_000);
    let all = hub.json(&path)["items"].as_array().unwrap().clone();
    let named = |name: &str| all.iter().find(|row| row["metric"] == format!("gala_gopher_sli_{name}"));
    let waiting = named("sched_nsec").unwrap();
    assert_eq!(waiting["unit"], "ns");
    assert!(waiting["normal"]["hi"].as_f64().unwrap() < 1e6, "{waiting}");
    let requests = named("requests_total").unwrap();
    let (low, high) = (requests["normal"]["lo"].as_f64().unwrap(), requests["normal"]["hi"].as_f64().unwrap());
    assert!(about(low, 100.0) && about(high, 100.0) && requests["state"] == "na", "{requests}");
    assert!(named("sched_nsec_sum").is_none() && named("sched_nsec_count").is_none());
    // A metric of another type is no mistake, and nothing of this entity.
    assert!(chart("gala_gopher_disk_util").is_null());
}

#[test]
fn status_says_what_runs_and_how_long_it_keeps() {
    let dir = tempfile::tempdir().unwrap();
    let hub = TestHub::start(dir.path());
    let build = hub.json("/status/buildinfo")["data"].clone();
    assert!(build["version"].as_str().unwrap().ends_with("+gala.0.1.0"), "{build}");
    assert_eq!((build["revision"].as_str(), build["buildDate"].as_str()), (Some("abc"), Some("2026-01-02")));
    let runtime = || hub.json("/status/runtimeinfo")["data"].clone();
    assert_eq!(runtime()["storageRetention"], "7d or 1GiB");

    let mut config = TestHub::config(dir.path());
    (config.retention, config.store_bytes) = (Duration::from_secs(36 * 3_600), 512 << 20);
    config.listen = hub.address;
    let refused = hub.hub().reload(config.clone()).unwrap_err().to_string();
    assert_eq!(refused, "listen cannot change while the hub runs; restart it");
    assert_eq!(runtime()["storageRetention"], "7d or 1GiB");
    config.listen = TestHub::config(dir.path()).listen;
    hub.hub().reload(config).unwrap();
    assert_eq!(runtime()["storageRetention"], "36h or 512MiB");
    hub.hub().note_configuration(false);
    assert_eq!(runtime()["reloadConfigSuccess"], false);
}

#[test]
fn a_port_that_somebody_has_is_an_error_where_it_was_chosen_and_another_one_is_taken_where_not() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut config = gala_hub::HubConfig { listen: address, ..TestHub::config(dir.path()) };
    let error = gala_hub::Hub::start(config.clone()).err().unwrap().to_string();
    assert!(error.contains(&address.to_string()) && error.contains("--listen"), "{error}");
    config.any_port = true;
    let hub = gala_hub::Hub::start(config.clone()).unwrap();
    assert!(hub.address().port() != address.port() && hub.address().ip() == address.ip());
    assert!(hub.can_take(&config).is_ok(), "a reload asks for nothing new");
    hub.stop();
}
