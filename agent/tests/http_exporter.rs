//! The exporter of a real agent.

mod common;

use std::io::Write;
use std::process::{Command, Stdio};

use common::{agent, request, wait_for};

#[test]
fn paths_and_methods_are_answered_as_upstream_does() {
    let running = agent(|_| {});
    let address = running.agent.metrics_address().unwrap();
    for path in ["/", "/metrics"] {
        let reply = request(address, "GET", path, b"");
        assert_eq!((reply.status, reply.body.as_str()), (200, ""), "nothing to show is no error");
        assert!(reply.head.contains("content-type: text/plain"), "{}", reply.head);
    }
    let other = request(address, "GET", "/other", b"");
    assert!(other.status == 404 && other.body.contains("/metrics"), "{}", other.body);
    for method in ["POST", "PUT", "DELETE"] {
        assert_eq!(request(address, method, "/metrics", b"").status, 501, "{method}");
    }
}

#[test]
fn an_agent_alone_serves_what_it_costs_and_lost_under_the_names_a_hub_gives_them() {
    let running = agent(|config| {
        config.alone = true;
        config.probes.insert("nosuch".to_owned(), serde_json::Map::new());
    });
    wait_for("the loss is in the ledger", || running.agent.ledger().iter().any(|line| line.place == "probe.nosuch"));
    let body = request(running.agent.metrics_address().unwrap(), "GET", "/metrics", b"").body;
    let name = |line: &str| line.split(['{', ' ']).next().unwrap_or_default().to_owned();
    let names = |text: &str| {
        let lines = text.lines().filter(|line| line.starts_with("gala_agent_"));
        lines.map(name).collect::<std::collections::BTreeSet<_>>()
    };
    assert!(!body.contains('#'), "no line but samples: {body}");
    assert_eq!(names(&body), names(&running.agent.metrics_text()));
    assert!(body.contains("gala_agent_cpu_limit_ratio ") && body.contains("gala_agent_memory_bytes{side=\"maps\"} "), "{body}");
    assert!(body.contains("gala_agent_ledger_total{place=\"probe.nosuch\","), "{body}");
}

#[test]
fn scrapes_are_independent_and_every_line_is_well_formed() {
    let running = agent(|config| config.run_unasked = true);
    let address = running.agent.metrics_address().unwrap();
    wait_for("a first report", || running.agent.is_ready() && running.agent.exposition().contains("gala_gopher_cpu_"));
    let first = request(address, "GET", "/metrics", b"").body;
    let second = request(address, "GET", "/", b"").body;
    let names = |text: &str| {
        let mut names: Vec<String> = text.lines().filter_map(|line| Some(line.split_once('{')?.0.to_owned())).collect();
        names.sort();
        names.dedup();
        names
    };
    let (first_names, second_names) = (names(&first), names(&second));
    assert!(first_names.iter().all(|name| second_names.contains(name)), "a scrape takes nothing away");
    let machine = format!("machine_id=\"{}\"", running.agent.machine_id());
    for line in first.lines().filter(|line| !line.is_empty()) {
        let (labels, rest) = line.split_once('{').unwrap().1.rsplit_once("} ").unwrap();
        let last = labels.split(",le=").next().unwrap();
        assert!(last.ends_with(&machine), "{line}");
        let (value, stamp) = rest.split_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok() && stamp.parse::<i64>().unwrap() > 1_700_000_000_000, "{line}");
    }
    let promtool = Command::new("promtool").args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let Ok(mut promtool) = promtool else {
        #[allow(clippy::print_stdout)]
        {
            println!("skipped: no promtool here");
        }
        return;
    };
    promtool.stdin.take().unwrap().write_all(first.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(!words.contains("error while linting"), "{words}");
    assert_ne!(output.status.code(), Some(1), "{words}");
}

#[test]
fn a_second_agent_on_the_run_folder_is_refused_by_pid() {
    let running = agent(|_| {});
    let folder = tempfile::tempdir().unwrap();
    let mut config = gala_agent::AgentConfig { metrics_listen: None, rest_listen: None, ..Default::default() };
    config.run_dir = folder.path().join("run");
    config.state_dir = folder.path().join("state");
    let first = gala_agent::Agent::start(config.clone(), std::sync::Arc::new(gala_agent::sinks::Discard)).unwrap();
    let refused = gala_agent::Agent::start(config.clone(), std::sync::Arc::new(gala_agent::sinks::Discard));
    let words = refused.err().unwrap().to_string();
    assert!(words.contains(&format!("held by pid {}", std::process::id())), "{words}");
    first.stop();
    drop(first);
    assert!(!config.run_dir.exists());
    drop(running);
}

#[test]
fn a_taken_port_is_named_with_the_option_that_moves_it() {
    let running = agent(|_| {});
    let folder = tempfile::tempdir().unwrap();
    let config = gala_agent::AgentConfig {
        metrics_listen: running.agent.metrics_address(),
        rest_listen: None,
        run_dir: folder.path().join("run"),
        state_dir: folder.path().join("state"),
        ..Default::default()
    };
    let refused = gala_agent::Agent::start(config, std::sync::Arc::new(gala_agent::sinks::Discard));
    let words = refused.err().unwrap().to_string();
    assert!(words.contains("--metrics-listen") && words.contains("127.0.0.1"), "{words}");
}

#[test]
fn a_taken_port_nobody_chose_is_gone_without_and_told() {
    let running = agent(|_| {});
    let taken = running.agent.metrics_address();
    let other = agent(|config| {
        (config.metrics_listen, config.metrics_required) = (taken, false);
    });
    assert_eq!(other.agent.metrics_address(), None);
    assert!(other.agent.rest_address().is_some(), "the other port is open");
    let line = other.agent.ledger().into_iter().find(|line| line.place == "exporter").unwrap();
    assert!(line.reason.contains(&taken.unwrap().to_string()), "{line:?}");
    assert!(line.reason.contains(&format!("pid {}", std::process::id())), "{line:?}");
    assert_eq!(other.agent.status().closed.len(), 1);
}

#[test]
fn an_agent_with_nothing_to_collect_is_ready() {
    let running = agent(|_| {});
    wait_for("ready", || running.agent.is_ready());
    let turned = running.agent.last_turn_ms();
    wait_for("another round", || running.agent.last_turn_ms() > turned);
}
