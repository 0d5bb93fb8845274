//! The configuration file read again, and what of it outlives the agent.

mod common;

use std::time::Duration;

use common::{Running, agent, request, wait_for};
use gala_agent::AgentConfig;
use serde_json::json;

fn get(running: &Running, probe: &str) -> String {
    request(running.agent.rest_address().unwrap(), "GET", &format!("/{probe}"), b"").body
}

fn put(running: &Running, probe: &str, body: &str) -> u16 {
    request(running.agent.rest_address().unwrap(), "PUT", &format!("/{probe}"), body.as_bytes()).status
}

fn name(config: &mut AgentConfig, probe: &str, section: serde_json::Value) {
    config.probes.insert(probe.to_owned(), section.as_object().unwrap().clone());
    config.run_unasked = false;
}

fn start(change: impl FnOnce(&mut AgentConfig)) -> (Running, AgentConfig) {
    let mut kept = None;
    let running = agent(|config| {
        change(config);
        kept = Some(config.clone());
    });
    (running, kept.unwrap())
}

fn host(parts: serde_json::Value) -> serde_json::Value {
    json!({"cmd": {"probe": parts}, "params": {"report_period": 5}, "state": "running"})
}

#[test]
fn one_wrong_section_leaves_all_as_it_was() {
    let (running, config) = start(|config| {
        name(config, "baseinfo", host(json!(["cpu"])));
        name(config, "io", host(json!(["io_count"])));
    });
    wait_for("both probes", || running.agent.status().probes_running == 2);
    let before = ["baseinfo", "io", "tcp"].map(|probe| get(&running, probe));
    for (probe, wrong, words) in [
        ("io", host(json!(["nope"])), "unsupported probe range: nope: cmd.probe may name io_trace"),
        ("tcp", host(json!(["tcp_rtt"])), "the snooper for tcp cannot be empty"),
        ("jvm", host(json!([])), "not supported in the current version"),
    ] {
        let mut new = config.clone();
        name(&mut new, "baseinfo", host(json!(["mem"])));
        name(&mut new, probe, wrong);
        let told = running.agent.reload(new).unwrap_err().to_string();
        assert!(told.starts_with(&format!("configuration of probe {probe}: {words}")), "{told}");
        assert_eq!(before, ["baseinfo", "io", "tcp"].map(|probe| get(&running, probe)));
    }
    let mut new = config;
    name(&mut new, "baseinfo", host(json!(["mem"])));
    running.agent.reload(new).unwrap();
    assert!(get(&running, "baseinfo").contains("\"probe\":[\"mem\"]"), "{}", get(&running, "baseinfo"));
}

#[test]
fn a_section_that_is_gone_ends_its_probe_unless_somebody_else_asked_for_it() {
    let state = tempfile::tempdir().unwrap();
    let (running, mut config) = start(|config| {
        config.state_dir = state.path().to_owned();
        name(config, "baseinfo", host(json!(["cpu"])));
        name(config, "io", host(json!(["io_count"])));
        name(config, "ksli", json!({"state": "running"}));
    });
    wait_for("all probes", || running.agent.status().probes_running == 3);
    assert_eq!(put(&running, "ksli", r#"{"params":{"report_period":7}}"#), 200);
    config.probes.remove("io");
    config.probes.remove("ksli");
    running.agent.reload(config.clone()).unwrap();
    assert!(get(&running, "io").contains("\"state\":\"stopped\""), "{}", get(&running, "io"));
    assert!(get(&running, "ksli").contains("\"state\":\"running\""), "{}", get(&running, "ksli"));
    drop(running);

    // The same over a restart: what only the file asked for is not brought back by what was kept.
    let (again, _) = start(|config| {
        config.state_dir = state.path().to_owned();
        name(config, "io", host(json!(["io_count"])));
        config.probes.clear();
    });
    wait_for("what was asked for by REST", || again.agent.status().probes_running == 1);
    assert!(get(&again, "ksli").contains("\"report_period\":7"), "{}", get(&again, "ksli"));
}

#[test]
fn with_the_last_section_gone_the_usual_probes_run_again() {
    let (running, mut config) = start(|config| name(config, "ksli", json!({"state": "running"})));
    wait_for("the named probe", || running.agent.status().probes_running == 1);
    config.probes.clear();
    config.run_unasked = true;
    config.interval = Duration::from_secs(7);
    running.agent.reload(config.clone()).unwrap();
    wait_for("all probes", || running.agent.status().probes_running == 6);
    assert!(get(&running, "ksli").contains("\"report_period\":7"), "{}", get(&running, "ksli"));
    name(&mut config, "io", host(json!(["io_count"])));
    running.agent.reload(config).unwrap();
    assert_eq!(running.agent.status().probes_running, 1, "as soon as one is named only those named run");
}

#[test]
fn what_a_short_interval_makes_is_accepted_back_and_kept() {
    let state = tempfile::tempdir().unwrap();
    let short = |seconds| {
        start(|config| {
            config.state_dir = state.path().to_owned();
            config.run_unasked = true;
            config.interval = Duration::from_secs(seconds);
        })
        .0
    };
    let first = short(2);
    wait_for("all probes", || first.agent.status().probes_running == 6);
    let answer = get(&first, "io");
    assert!(answer.contains("\"report_period\":2"), "{answer}");
    assert_eq!(put(&first, "io", answer.trim()), 200);
    assert_eq!(put(&first, "io", r#"{"params":{"res_upper_thr":80}}"#), 200);
    assert_eq!(put(&first, "io", answer.trim()), 200, "an earlier answer");
    let kept = get(&first, "io");
    drop(first);
    let second = short(5);
    wait_for("all probes again", || second.agent.status().probes_running == 6);
    assert_eq!(get(&second, "io"), kept);
    assert_eq!(put(&second, "io", kept.trim()), 200);
    assert_eq!(put(&second, "tcp", r#"{"params":{"report_period":2}}"#), 400, "nobody reported this here");
}

#[test]
fn events_of_an_agent_alone_are_missed_in_the_ledger() {
    let (running, _) = start(|config| config.alone = true);
    let missed = || running.agent.ledger().iter().any(|line| line.place == "probe.tcp" && line.what.contains("report_event"));
    assert_eq!(put(&running, "tcp", r#"{"blacklist":{},"params":{"report_event":1}}"#), 200);
    assert!(missed(), "{:?}", running.agent.ledger());
    assert_eq!(put(&running, "tcp", r#"{"params":{"report_event":0}}"#), 200);
    assert!(!missed());
}
