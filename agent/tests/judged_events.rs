//! Thresholds that a PUT sets reach the rows: events are sent for what passes them, and for nothing else.

mod common;

use std::sync::{Arc, Mutex};

use common::{Running, agent_into, request, wait_for};
use gala_agent::AgentHandle;
use gala_model::{Event, Observation, ObservationSink};

#[derive(Default)]
struct Seen {
    events: Mutex<Vec<Event>>,
    reports: Mutex<usize>,
}

impl ObservationSink for Seen {
    fn observe(&self, _batch: &[Observation]) {
        *self.reports.lock().unwrap() += 1;
    }

    fn event(&self, event: &Event) {
        self.events.lock().unwrap().push(event.clone());
    }
}

fn start() -> (Running, Arc<Seen>) {
    let seen = Arc::new(Seen::default());
    (agent_into(seen.clone(), |_| {}), seen)
}

fn put(agent: &AgentHandle, probe: &str, json: &str) -> String {
    let reply = request(agent.rest_address().unwrap(), "PUT", &format!("/{probe}"), json.as_bytes());
    assert_eq!(reply.status, 200, "{}", reply.body);
    reply.body
}

#[test]
fn a_threshold_is_judged_when_asked_and_with_the_value_that_was_set() {
    let (running, seen) = start();
    let agent = &running.agent;
    // Memory is in use on any host, but never all of it.
    let body = r#"{"cmd":{"probe":["mem"]},"params":{"report_period":5,"report_event":1,"res_upper_thr":100},"state":"running"}"#;
    put(agent, "baseinfo", body);
    wait_for("a report", || *seen.reports.lock().unwrap() > 0);
    assert!(seen.events.lock().unwrap().is_empty());
    put(agent, "baseinfo", r#"{"params":{"res_upper_thr":1}}"#);
    wait_for("an event", || !seen.events.lock().unwrap().is_empty());
    let event = seen.events.lock().unwrap()[0].clone();
    assert_eq!((event.metric.as_str(), event.kind.as_str()), ("gala_gopher_mem_util", "threshold"));
    assert_eq!(event.entity_id, format!("{}_mem_:proc:meminfo", agent.machine_id()));
    assert!(event.body.starts_with("Memory utilization too high (") && event.body.ends_with("%)."), "{}", event.body);
}

#[test]
fn a_server_that_turns_connections_away_is_reported_without_a_threshold() {
    if gala_agent::kernel::Capabilities::probe().obstacle().is_some() {
        return;
    }
    let (running, seen) = start();
    let agent = &running.agent;
    let body =
        r#"{"cmd":{"probe":["tcp_socket"]},"blacklist":{},"params":{"report_period":5,"report_event":1},"state":"running"}"#;
    put(agent, "socket", body);
    // Nobody listens there, and no other test is given it as a free one.
    let port = 1;
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
    let own = std::process::id().to_string();
    let is_ours = |event: &Event| {
        let has = |name: &str, value: &str| event.labels.iter().any(|(label, text)| label == name && text == value);
        event.metric == "gala_gopher_endpoint_tcp_active_open_failed"
            && has("tgid", &own)
            && has("server_port", &port.to_string())
    };
    wait_for("an event of the refused connection", || seen.events.lock().unwrap().iter().any(is_ours));
}

#[test]
fn parameters_without_effect_are_named_in_the_ledger_and_leave_the_answer_alone() {
    let (running, _seen) = start();
    let agent = &running.agent;
    let used = put(agent, "tcp", r#"{"cmd":{"probe":["tcp_rtt"]},"blacklist":{},"params":{"latency_thr":20,"offline_thr":0}}"#);
    let success = "{ \"result\": \"success\", \"message\":\"New config takes effect\" }\n";
    assert_eq!(used, success);
    let unused = put(agent, "tcp", r#"{"params":{"offline_thr":50,"sample_period":100,"drops_thr":10}}"#);
    assert_eq!(unused, success);
    let line = |agent: &AgentHandle| agent.ledger().into_iter().find(|line| line.what == "parameters without effect");
    let noted = line(agent).unwrap();
    assert_eq!((noted.count, noted.reason.contains("offline_thr, sample_period")), (2, true), "{noted:?}");
    put(agent, "tcp", r#"{"params":{"offline_thr":0,"sample_period":5000}}"#);
    assert!(line(agent).is_none());
}
