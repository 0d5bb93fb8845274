//! The settings of a probe over the hub's API: what the agent refuses is refused with its reason.

mod common;

use std::sync::Arc;

use common::TestHub;
use gala_hub::{AgentView, Component, NotConfigured};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};

/// An agent with one probe that keeps what it is given, takes no `snoopers` and does not start with `params`.
struct OneProbe(Mutex<Value>);

impl AgentView for OneProbe {
    fn probes(&self) -> Value {
        json!({"items": []})
    }

    fn probe_config(&self, name: &str) -> Option<Value> {
        (name == "tcp").then(|| self.0.lock().clone())
    }

    fn configure_probe(&self, _: &str, config: &Map<String, Value>) -> Result<(), NotConfigured> {
        if config.contains_key("snoopers") {
            return Err(NotConfigured::Refused("Error occurs when parsing snooper proc_id".to_owned()));
        }
        if config.contains_key("params") {
            return Err(NotConfigured::Failed("failed to start probe: no BTF".to_owned()));
        }
        *self.0.lock() = Value::Object(config.clone());
        Ok(())
    }

    fn ledger(&self) -> Value {
        json!({"items": []})
    }

    fn budget(&self) -> Value {
        Value::Null
    }

    fn metrics(&self) -> String {
        String::new()
    }

    fn health(&self) -> Component {
        Component::ok(None)
    }
}

#[test]
fn settings_of_a_probe_are_read_changed_and_refused_with_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    let hub = TestHub::start(dir.path());
    let path = "/agent/probes/tcp/config";
    assert_eq!(hub.get(path).status, 404, "without an agent");
    hub.hub().set_agent(Arc::new(OneProbe(Mutex::new(json!({})))));
    assert_eq!(hub.json(path), json!({}));
    let put = |path: &str, body: &str| {
        let answer = hub.with_body("PUT", path, "application/json", body.as_bytes());
        (answer.status, answer.json())
    };
    let wanted = json!({"blacklist": {}, "state": "running"});
    assert_eq!(put(path, &wanted.to_string()), (200, wanted.clone()));
    assert_eq!(hub.json(path), wanted);

    let (status, body) = put(path, "{\"snoopers\": {\"proc_id\": [-1]}}");
    let message = body["error"]["message"].as_str().unwrap();
    assert_eq!((status, message.contains("parsing snooper proc_id")), (422, true), "{body}");
    assert!(message.contains("correct it"), "{body}");
    let (status, body) = put(path, "{\"params\": {}}");
    let message = body["error"]["message"].as_str().unwrap();
    assert_eq!((status, message.contains("no BTF"), message.contains("correct it")), (503, true, false), "{body}");
    for malformed in ["{", "[]", ""] {
        assert_eq!(put(path, malformed).0, 400, "{malformed:?}");
    }
    assert_eq!(put("/agent/probes/nobody/config", "{}").0, 404);
    assert_eq!(hub.with_body("PUT", path, "text/plain", b"{}").status, 415);
    assert_eq!(hub.json(path), wanted, "what is refused changes nothing");
}
