//! Answers against their own description: every call that is read is asked, and what comes is what the document says.

mod common;

use common::schema::faults;
use common::{Answer, TestHub, process_id, requests_id, wait_for, write_story};
use serde_json::Value;

/// Whether an answer is what the document says of that call and status.
fn compare(document: &Value, method: &str, path: &str, answer: &Answer) {
    let call = &document["paths"][path][method];
    assert!(call.is_object(), "{method} {path} is not described");
    let responses = &call["responses"];
    let status = answer.status.to_string();
    let mut response = responses.get(&status).unwrap_or(&responses["default"]);
    if let Some(target) = response["$ref"].as_str() {
        response = document.pointer(target.trim_start_matches('#')).unwrap();
    }
    let Some(schema) = response["content"].get("application/json").map(|media| &media["schema"]) else { return };
    let found = faults(&answer.json(), schema, document);
    assert!(found.is_empty(), "{method} {path} {status}: {}", found.join("\n"));
}

#[test]
fn every_answer_is_what_the_document_says() {
    let dir = tempfile::tempdir().unwrap();
    let end_ms = write_story(dir.path());
    let hub = TestHub::start(dir.path());
    let document = hub.json("/openapi.json");
    let fault = wait_for("an explained incident", || {
        let list = hub.json("/faults");
        list["items"].as_array()?.iter().find(|row| row["cause"].is_object()).cloned()
    });
    let fault_id = fault["id"].as_str().unwrap();
    let event_id = hub.json("/anomalies?kind=app")["items"][0]["event_id"].as_str().unwrap().to_owned();
    let query = |path: &str| match path {
        "/topology/vertical" => format!("?entity={}&highlight={}&expand=sli,tcp_link", process_id("4711"), requests_id()),
        "/topology/changes" => format!("?from={}&buckets=10", end_ms - 3_600_000),
        "/query" => "?query=gala_gopher_proc_fd_count&stats=all".to_owned(),
        "/query_range" => {
            format!("?query=rate(gala_gopher_sli_requests_total[1m])&start={}&end={}&step=30", end_ms / 1000 - 600, end_ms / 1000)
        }
        "/query_exemplars" | "/format_query" | "/parse_query" => "?query=up".to_owned(),
        "/series" => "?match[]=gala_gopher_proc_fd_count".to_owned(),
        "/anomalies" => "?from=0".to_owned(),
        _ => String::new(),
    };
    let empty = serde_json::json!({});
    assert!(!faults(&empty, &document["components"]["schemas"]["Fault"], &document).is_empty(), "the comparison sees nothing");
    let mut asked = 0;
    for (path, calls) in document["paths"].as_object().unwrap() {
        // The stream never ends; the rest of the calls answer and are done.
        if !calls.as_object().unwrap().contains_key("get") || path == "/stream" {
            continue;
        }
        let id = if path.starts_with("/faults") { fault_id.to_owned() } else { requests_id() };
        let real = path.replace("{id}", &id).replace("{event_id}", &event_id).replace("{name}", "__name__");
        let answer = hub.get(&format!("{real}{}", query(path)));
        let without_agent = path.starts_with("/agent/");
        assert_eq!(answer.status, if without_agent { 404 } else { 200 }, "{path}: {}", answer.body);
        assert!(answer.head.to_lowercase().contains("x-request-id: "), "{path}");
        compare(&document, "get", path, &answer);
        asked += 1;
    }
    assert!(asked > 40, "{asked}");
    let set = hub.json("/cause/rules").to_string();
    compare(&document, "put", "/cause/rules", &hub.with_body("PUT", "/cause/rules", "application/json", set.as_bytes()));
    compare(&document, "put", "/cause/rules", &hub.with_body("PUT", "/cause/rules", "application/json", b"[]"));
    let question = format!("{{\"entity\":{:?},\"metric\":\"gala_gopher_sli_latency_nsec\"}}", requests_id());
    compare(&document, "post", "/faults", &hub.with_body("POST", "/faults", "application/json", question.as_bytes()));
}
