//! Incidents, what led to them, and questions about causes, over HTTP: a hub over the story of a Redis that gets slow.

mod common;

use common::{MACHINE, TestHub, process_id, requests_id, wait_for, write_story};
use serde_json::{Value, json};

fn post(hub: &TestHub, body: &Value) -> common::Answer {
    hub.with_body("POST", "/faults", "application/json", body.to_string().as_bytes())
}

fn items(value: &Value) -> &[Value] {
    value["items"].as_array().expect("a list")
}

/// The incident of the story, explained.
fn explained(hub: &TestHub) -> Value {
    wait_for("the explained incident", || {
        let list = hub.json("/faults");
        items(&list).iter().find(|row| row["cause"].is_object()).cloned()
    })
}

#[test]
fn an_incident_is_laid_over_the_map_and_its_versions_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let end_ms = write_story(dir.path());
    let hub = TestHub::start(dir.path());
    let row = explained(&hub);
    let id = row["id"].as_str().unwrap();
    assert_eq!((row["asked"].as_bool(), row["state"].as_str()), (Some(false), Some("open")), "{row}");

    let latest = hub.json(&format!("/faults/{id}"));
    let version = latest["Resource"]["result_version"].as_u64().unwrap();
    for known in 1..=version {
        let kept = hub.json(&format!("/faults/{id}?version={known}"));
        assert_eq!(kept["Resource"]["result_version"].as_u64(), Some(known));
    }
    let unknown = hub.get(&format!("/faults/{id}?version=999"));
    assert_eq!(unknown.status, 404);
    assert!(unknown.json()["error"]["message"].as_str().unwrap().contains("999"));

    let resource = &latest["Resource"];
    assert_eq!(latest["SeverityText"], row["severity"], "an incident has one severity");
    assert!(!resource["fault_domain"]["entity_name"].as_str().unwrap().is_empty(), "{}", resource["fault_domain"]);
    assert!(resource["symptoms"].as_array().unwrap().iter().all(|one| one["host_name"] == "alpha"), "{resource}");
    for cause in resource["cause_metrics"].as_array().unwrap() {
        for step in cause["path"].as_array().unwrap() {
            assert_eq!(step["host_name"], "alpha", "{step}");
            // The query of a measured step gives numbers where it was abnormal.
            let Some(query) = step["query"].as_str() else {
                assert_eq!(step["hidden"], true, "{step}");
                continue;
            };
            let escaped: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
            let answer = hub.json(&format!("/query?query={escaped}&time={}", end_ms / 1_000));
            let value: f64 = answer["data"]["result"][0]["value"][1].as_str().expect(query).parse().unwrap();
            let after = step["value_after"].as_f64().unwrap();
            assert!(value > after * 0.5 && value < after * 2.0, "{query}: {value}, {step}");
        }
    }

    let single = hub.json(&format!("/faults/{id}/graph?view=single"));
    let shown = |graph: &Value| -> Vec<String> {
        graph["nodes"].as_array().unwrap().iter().map(|node| node["id"].as_str().unwrap().to_owned()).collect()
    };
    let nodes = shown(&single);
    assert!(nodes.contains(&format!("{MACHINE}_host")) && nodes.contains(&requests_id()), "{nodes:?}");
    let path = &single["paths"][0]["steps"];
    assert_eq!(path.as_array().unwrap().last().unwrap()["entity_id"], row["entity_id"], "{path}");
    for step in path.as_array().unwrap() {
        assert!(nodes.contains(&step["shown_as"].as_str().unwrap().to_owned()), "{step}");
    }
    let roles: Vec<&str> =
        single["causal"]["nodes"].as_array().unwrap().iter().filter_map(|node| node["role"].as_str()).collect();
    assert!(roles.contains(&"symptom"), "{roles:?}");

    let cross = hub.json(&format!("/faults/{id}/graph?view=cross"));
    assert!(shown(&cross).iter().all(|node| node.contains("_proc_")), "{cross}");
    assert_eq!(cross["center"], process_id("4711"));
    let edges = cross["edges"].as_array().unwrap();
    assert!(edges.iter().any(|edge| edge["from"] == process_id("4712") && edge["to"] == process_id("4711")), "{cross}");
    assert_eq!(hub.get(&format!("/faults/{id}/graph?view=sideways")).status, 400);
    assert_eq!(hub.get("/faults/none/graph").status, 404);
}

#[test]
fn an_event_tells_all_that_is_known_of_it() {
    let dir = tempfile::tempdir().unwrap();
    write_story(dir.path());
    let hub = TestHub::start(dir.path());
    let row = explained(&hub);
    let anomalies = hub.json("/anomalies?kind=app");
    let anomaly = items(&anomalies).iter().find(|one| one["entity_id"] == row["entity_id"]).expect("the symptom").clone();
    let event_id = anomaly["event_id"].as_str().unwrap();

    let metric = anomaly["metric_id"].as_str().unwrap();
    let event = hub.json(&format!("/anomalies/{event_id}?metric={metric}"));
    assert_eq!(event["event"]["entity"], row["entity_id"]);
    assert_eq!(event["event"]["resolution"], "exact");
    assert_eq!(event["event"]["direction"], "rise");
    assert_eq!(event["raw"]["Attributes"]["event_id"], event_id);
    assert_eq!(event["raw"]["Resource"]["metric"], metric);
    assert_eq!(event["entity"]["id"], row["entity_id"]);
    assert_eq!(event["parents"][0]["type"], "host");
    let window = &event["window"];
    assert!(window["from_ms"].as_i64() < anomaly["first_ms"].as_i64() && window["to_ms"].as_i64() >= anomaly["time_ms"].as_i64());
    assert_eq!(event["chart"]["metric"], metric, "{event}");
    assert!(event["chart"]["series"][0]["points"].as_array().unwrap().len() > 10);
    assert_eq!(hub.json(&format!("/faults/by-event/{event_id}"))["id"], row["id"]);
    assert_eq!(hub.get("/anomalies/17_nobody").status, 404);
    assert_eq!(hub.get(&format!("/anomalies/{event_id}?metric=other")).status, 404);
    drop(hub);

    // Kept over a restart.
    let hub = TestHub::start(dir.path());
    assert_eq!(hub.json(&format!("/anomalies/{event_id}?metric={metric}"))["event_id"], event_id);
    assert!(!items(&hub.json(&format!("/anomalies?from={}", anomaly["first_ms"]))).is_empty());
}

#[test]
fn causes_are_searched_on_demand() {
    let dir = tempfile::tempdir().unwrap();
    let end_ms = write_story(dir.path());
    let hub = TestHub::start(dir.path());
    wait_for("the requests on the map", || (hub.get(&format!("/entities/{}", requests_id())).status == 200).then_some(()));
    let question = json!({"entity": requests_id(), "metric": "gala_gopher_sli_latency_nsec", "time": end_ms - 20_000});
    let answer = post(&hub, &question);
    assert_eq!(answer.status, 202, "{}", answer.body);
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    assert!(answer.head.to_lowercase().contains(&format!("location: /api/v1/faults/{id}")), "{}", answer.head);
    let found = wait_for("an answer", || {
        let found = hub.json(&format!("/faults/{id}"));
        (!found["Resource"]["cause_metrics"].as_array()?.is_empty()).then_some(found)
    });
    assert_eq!((found["asked"].as_bool(), found["state"].as_str()), (Some(true), Some("closed")));
    let cause = &found["Resource"]["cause_metrics"][0];
    assert_eq!(cause["fault_category"], "S1", "{cause}");
    assert!(items(&hub.json("/faults")).iter().any(|row| row["id"] == id.as_str() && row["asked"] == true));
    drop(hub);

    let hub = TestHub::start(dir.path());
    assert_eq!(hub.json(&format!("/faults/{id}"))["Resource"]["cause_metrics"][0]["fault_category"], "S1");
    for (name, value, status, field) in [
        ("entity", json!("nobody"), 422, "entity"),
        ("entity", json!(7), 400, "entity"),
        ("metric", json!("gala_gopher_proc_fd_count"), 422, "metric"),
        ("metric", json!("up"), 422, "metric"),
        ("time", json!(end_ms - 30 * 86_400_000), 422, "time"),
        ("time", json!(end_ms + 86_400_000), 422, "time"),
        ("time", json!(i64::MIN), 422, "time"),
        ("time", json!("noon"), 400, "time"),
        ("depth", json!(1), 400, "depth"),
    ] {
        let mut bad = question.clone();
        bad[name] = value;
        let answer = post(&hub, &bad);
        let error = answer.json()["error"].clone();
        assert_eq!((answer.status, error["field"].as_str()), (status, Some(field)), "{bad}: {error}");
    }
}
