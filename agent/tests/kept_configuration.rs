//! What is configured by REST outlives the agent.

mod common;

use std::path::Path;
use std::time::{Duration, SystemTime};

use common::{agent, request, wait_for};
use gala_agent::AgentHandle;

fn put(agent: &AgentHandle, probe: &str, json: &str) -> u16 {
    request(agent.rest_address().unwrap(), "PUT", &format!("/{probe}"), json.as_bytes()).status
}

fn get(agent: &AgentHandle, probe: &str) -> String {
    request(agent.rest_address().unwrap(), "GET", &format!("/{probe}"), b"").body
}

fn section(json: serde_json::Value) -> serde_json::Map<String, serde_json::Value> {
    json.as_object().unwrap().clone()
}

#[test]
fn a_restart_finds_every_probe_as_it_was_left() {
    let state = tempfile::tempdir().unwrap();
    let start = |interval| {
        agent(|config| {
            config.state_dir = state.path().to_owned();
            config.run_unasked = true;
            config.interval = Duration::from_secs(interval);
        })
    };
    let first = start(5);
    wait_for("all probes", || first.agent.status().probes_running == 6);
    assert!(!state.path().join("probes.json").exists(), "nobody configured anything");
    assert_eq!(put(&first.agent, "io", r#"{"params":{"report_period":11,"latency_thr":20}}"#), 200);
    assert_eq!(put(&first.agent, "ksli", r#"{"state":"stopped"}"#), 200);
    let labelled = r#"{"cmd":{"probe":["cpu"]},"snoopers":{"custom_labels":{"zone":"b"}},"blacklist":{}}"#;
    assert_eq!(put(&first.agent, "baseinfo", labelled), 200);
    assert_eq!(put(&first.agent, "io", r#"{"params":{"report_period":1}}"#), 400);
    let answers = ["io", "ksli", "baseinfo"].map(|probe| (probe, get(&first.agent, probe)));
    drop(first);

    let second = start(7);
    wait_for("the probes that ran", || second.agent.status().probes_running == 5);
    for (probe, answer) in answers {
        assert_eq!(get(&second.agent, probe), answer);
    }
    assert!(get(&second.agent, "tcp").contains("\"report_period\":7"), "what nobody configured follows --interval");
    wait_for("labels of the black list's probe", || {
        let text = second.agent.exposition();
        text.lines().any(|line| line.starts_with("gala_gopher_cpu_") && line.contains("zone=\"b\""))
    });
}

#[test]
fn requests_of_the_first_seconds_and_what_cannot_be_taken_back_cost_nothing_kept() {
    let state = tempfile::tempdir().unwrap();
    let io = r#""io":{"unasked":false,"config":{"cmd":{"probe":["io_count"]},"params":{"report_period":11},"state":"running"}}"#;
    let gone = r#""baseinfo":{"unasked":false,"config":{"params":{"elf_path":"/no/such/program"},"state":"running"}}"#;
    std::fs::write(state.path().join("probes.json"), format!(r#"{{"version":1,"probes":{{{io},{gone}}}}}"#)).unwrap();
    let start = || {
        agent(|config| {
            config.state_dir = state.path().to_owned();
            config.run_unasked = true;
        })
    };
    let first = start();
    // At once: some probes are still being started.
    assert_eq!(put(&first.agent, "io", r#"{"params":{"report_period":13}}"#), 200);
    assert_eq!(put(&first.agent, "tcp", r#"{"params":{"report_period":17}}"#), 200);
    wait_for("all but what cannot be taken back", || first.agent.status().probes_running == 5);
    first.agent.control().set("ksli", &section(serde_json::json!({"params": {"report_period": 19}}))).unwrap();
    drop(first);

    let second = start();
    wait_for("the same probes", || second.agent.status().probes_running == 5);
    for (probe, wanted) in [("io", "\"report_period\":13"), ("io", "io_count"), ("tcp", ":17"), ("ksli", ":19")] {
        assert!(get(&second.agent, probe).contains(wanted), "{}", get(&second.agent, probe));
    }
    let kept = std::fs::read_to_string(state.path().join("probes.json")).unwrap();
    assert!(kept.contains("/no/such/program"), "what cannot be taken back now stays kept: {kept}");
}

#[test]
fn a_damaged_file_is_set_aside_and_the_usual_probes_run() {
    let state = tempfile::tempdir().unwrap();
    std::fs::write(state.path().join("probes.json"), "{\"version\":1,\"pro").unwrap();
    let running = agent(|config| {
        config.state_dir = state.path().to_owned();
        config.run_unasked = true;
    });
    wait_for("all probes", || running.agent.status().probes_running == 6);
    let ledger = running.agent.ledger();
    let line = ledger.iter().find(|line| line.place == "control").unwrap();
    assert!(line.reason.contains("is damaged") && line.reason.contains("set aside as"), "{line:?}");
    assert!(state.path().join("probes.json.damaged").exists());
    assert_eq!(put(&running.agent, "io", r#"{"params":{"report_period":11}}"#), 200);
    assert!(running.agent.ledger().iter().all(|line| line.place != "control"), "what is configured now is kept");
}

/// An agent whose configuration file was changed at this time and says a period of 30.
fn with_file(state: &Path, changed: SystemTime) -> common::Running {
    agent(|config| {
        config.state_dir = state.to_owned();
        config.probes_changed = Some(changed);
        let io = serde_json::json!({"cmd": {"probe": ["io_count"]}, "params": {"report_period": 30}, "state": "running"});
        config.probes.insert("io".to_owned(), section(io));
        let host = serde_json::json!({"cmd": {"probe": ["host"]}, "state": "running"});
        config.probes.insert("baseinfo".to_owned(), section(host));
    })
}

#[test]
fn the_configuration_file_wins_for_what_it_names_only_when_it_is_newer() {
    let state = tempfile::tempdir().unwrap();
    let long_ago = SystemTime::now() - Duration::from_secs(3600);
    let first = with_file(state.path(), long_ago);
    wait_for("both probes", || first.agent.status().probes_running == 2);
    assert_eq!(put(&first.agent, "io", r#"{"params":{"report_period":11}}"#), 200);
    assert_eq!(put(&first.agent, "ksli", r#"{"state":"running"}"#), 200);
    drop(first);

    let older = with_file(state.path(), long_ago);
    wait_for("three probes", || older.agent.status().probes_running == 3);
    assert!(get(&older.agent, "io").contains("\"report_period\":11"), "{}", get(&older.agent, "io"));
    drop(older);

    let newer = with_file(state.path(), SystemTime::now() + Duration::from_secs(3600));
    wait_for("three probes again", || newer.agent.status().probes_running == 3);
    assert!(get(&newer.agent, "io").contains("\"report_period\":30"), "{}", get(&newer.agent, "io"));
    assert!(get(&newer.agent, "ksli").contains("running"), "what the file does not name stays as it was saved");
}

#[test]
fn where_nothing_is_to_be_kept_nothing_is_written() {
    let state = tempfile::tempdir().unwrap();
    let running = agent(|config| {
        config.state_dir = state.path().to_owned();
        config.keep = false;
    });
    assert_eq!(put(&running.agent, "baseinfo", r#"{"cmd":{"probe":["cpu"]}}"#), 200);
    assert!(!state.path().join("probes.json").exists());
}

#[test]
fn what_could_not_be_kept_is_kept_once_it_can_be() {
    let state = tempfile::tempdir().unwrap();
    let running = agent(|config| config.state_dir = state.path().to_owned());
    // A folder in the way, for a full disk.
    let new = state.path().join("probes.json.new");
    std::fs::create_dir(&new).unwrap();
    assert_eq!(put(&running.agent, "baseinfo", r#"{"cmd":{"probe":["cpu"]}}"#), 200);
    assert!(running.agent.ledger().iter().any(|line| line.place == "control"), "{:?}", running.agent.ledger());
    std::fs::remove_dir(&new).unwrap();
    running.agent.control().save_again();
    assert!(running.agent.ledger().iter().all(|line| line.place != "control"));
    assert!(std::fs::read_to_string(state.path().join("probes.json")).unwrap().contains("\"cpu\""));
}
