//! What a stranger would hold the API to: paths, methods, tags, cursors, filters, and what goes on while parts of it wait.

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;

use common::{Answer, MACHINE, TestHub, process_id, requests_id, wait_for, write_story};
use serde_json::{Value, json};

/// A request outside of `/api/v1`, as it is written.
fn plain(hub: &TestHub, method: &str, path: &str, more: &str) -> Answer {
    hub.send(format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{more}\r\n", hub.address))
}

fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    let lines = answer.head.lines().filter_map(|line| line.split_once(':'));
    lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
}

fn items(value: &Value) -> &[Value] {
    value["items"].as_array().expect("a list")
}

#[test]
fn nothing_under_api_is_a_page_and_a_refused_method_names_those_taken() {
    let dir = tempfile::tempdir().unwrap();
    let hub = TestHub::start(dir.path());
    for path in ["/api", "/api/", "/api/v1", "/api/v1/", "/api/v2", "/api/v1/nothing", "/api/v1/entities/x/y", "/api/v1/health/"]
    {
        let answer = plain(&hub, "GET", path, "");
        assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (404, Some("not_found")), "{path}");
    }
    let json_type = "Content-Type: application/json\r\nContent-Length: 0\r\n";
    for (method, path, taken) in [
        ("DELETE", "/api/v1/entities", &["GET", "HEAD"][..]),
        ("PUT", "/api/v1/faults", &["GET", "HEAD", "POST"]),
        ("POST", "/api/v1/cause/rules", &["GET", "HEAD", "PUT", "DELETE"]),
        ("PUT", "/api/v1/query", &["GET", "HEAD", "POST"]),
        ("GET", "/api/v1/write", &["POST"]),
        ("OPTIONS", "/api/v1/health", &["GET", "HEAD"]),
        ("POST", "/", &["GET", "HEAD"]),
    ] {
        let answer = plain(&hub, method, path, json_type);
        assert_eq!(answer.status, 405, "{method} {path}");
        let mut allowed: Vec<&str> = header(&answer, "allow").unwrap_or("").split(',').map(str::trim).collect();
        allowed.sort_unstable();
        let mut taken = taken.to_vec();
        taken.sort_unstable();
        assert_eq!(allowed, taken, "{method} {path}");
    }
    // The method is looked at before what comes with it.
    for (method, path, headers, status) in [
        ("DELETE", "/api/v1/entities?limit=x", "Content-Length: 0\r\n", 405),
        ("POST", "/api/v1/rules", "Content-Type: text/plain\r\nContent-Length: 0\r\n", 405),
        ("PATCH", "/api/v1/faults", "Content-Encoding: gzip\r\nContent-Length: 0\r\n", 405),
        ("POST", "/", "Content-Length: 0\r\n", 405),
        ("POST", "/-/ready", "Content-Length: 0\r\n", 405),
        ("PUT", "/api/v1/nothing", "Content-Length: 0\r\n", 404),
        ("POST", "/-/reload", "Content-Length: 0\r\n", 404),
        ("POST", "/api/v1/faults", "Content-Length: 0\r\n", 415),
        ("DELETE", "/api/v1/cause/rules", "Content-Length: 0\r\n", 415),
        ("POST", "/api/v1/faults", "Origin: http://evil.example\r\nContent-Length: 0\r\n", 403),
    ] {
        let answer = plain(&hub, method, path, headers);
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.body);
        assert!(answer.json()["error"].is_string() || answer.json()["error"]["code"].is_string(), "{method} {path}");
    }
    let head = plain(&hub, "HEAD", "/api/v1/openapi.json", "");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    let tag = header(&head, "etag").expect("a tag");
    let again = plain(&hub, "GET", "/api/v1/openapi.json", &format!("If-None-Match: \"x\", {tag}\r\n"));
    assert_eq!((again.status, again.body.as_str()), (304, ""));
    for name in ["x-request-id", "content-security-policy", "x-content-type-options"] {
        assert!(header(&again, name).is_some(), "{name}");
    }
}

/// As those ask that watch and scrape a Prometheus.
#[test]
fn watchers_learn_whether_it_is_ready_and_never_get_a_page() {
    let dir = tempfile::tempdir().unwrap();
    let hub = TestHub::start(dir.path());
    assert_eq!(plain(&hub, "GET", "/-/healthy", "").status, 200);
    wait_for("readiness", || {
        let (ready, health) = (plain(&hub, "GET", "/-/ready", ""), hub.get("/health"));
        assert!(matches!(ready.status, 200 | 503), "{}", ready.body);
        (ready.status == 200 && health.status == 200).then_some(())
    });
    let head = plain(&hub, "HEAD", "/-/ready", "");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    let metrics = plain(&hub, "GET", "/metrics", "");
    assert!(metrics.status == 200 && metrics.body.contains("gala_uptime_seconds"), "{}", metrics.body);
    for path in ["/-/nothing", "/federate?match[]=up"] {
        assert_eq!(plain(&hub, "GET", path, "").json()["error"]["code"], "not_found", "{path}");
    }
}

#[test]
fn a_cursor_is_good_for_its_list_only() {
    let dir = tempfile::tempdir().unwrap();
    write_story(dir.path());
    let hub = TestHub::start(dir.path());
    wait_for("the map", || (hub.get(&format!("/entities/{}", requests_id())).status == 200).then_some(()));
    let cursor = |path: &str| hub.json(path)["next_cursor"].as_str().unwrap_or_else(|| panic!("{path}")).to_owned();
    let (process, host) = (process_id("4711"), format!("{MACHINE}_host"));
    for (list, other) in [
        ("/meta/types".to_owned(), "/meta/relations".to_owned()),
        ("/entities".to_owned(), "/hosts".to_owned()),
        (format!("/entities/{process}/edges"), format!("/entities/{host}/edges")),
    ] {
        let cursor = cursor(&format!("{list}?limit=1"));
        assert_eq!(hub.get(&format!("{list}?limit=1&cursor={cursor}")).status, 200, "{list}");
        let foreign = hub.get(&format!("{other}?limit=1&cursor={cursor}"));
        assert_eq!((foreign.status, foreign.json()["error"]["field"].as_str()), (400, Some("cursor")), "{other}");
    }
}

#[test]
fn anomalies_are_filtered_by_machine_and_entity_in_any_spelling_and_told_when_they_are_over() {
    let dir = tempfile::tempdir().unwrap();
    write_story(dir.path());
    let hub = TestHub::start(dir.path());
    let of = |filter: &str| items(&hub.json(&format!("/anomalies?from=0&{filter}"))).len();
    let uuid = MACHINE.rsplit_once('-').unwrap().0;
    wait_for("an anomaly", || (of(&format!("machine={MACHINE}")) > 0).then_some(()));
    assert!(of(&format!("machine={uuid}")) > 0);
    assert_eq!((of("machine=0"), of(&format!("machine={}", &uuid[..uuid.len() - 1]))), (0, 0), "a part of an id is none");
    let suffix = requests_id().strip_prefix(MACHINE).unwrap().to_owned();
    assert!(of(&format!("entity={uuid}{suffix}")) > 0, "the id without its address is the same entity");
    wait_for("the incident", || (!items(&hub.json(&format!("/faults?entity={uuid}{suffix}"))).is_empty()).then_some(()));
    let of_process = |tgid: &str| items(&hub.json(&format!("/faults?entity={}", process_id(tgid)))).len();
    assert!(of_process("4711") > 0, "its requests are slow");
    assert_eq!(of_process("99"), 0);

    // What is over stays told with the entity.
    hub.hub().state().anomalies.write().update(&[], |_| "", common::now_ms());
    let detail = hub.json(&format!("/entities/{}", requests_id()));
    let told = detail["anomalies"].as_array().unwrap();
    assert!(told.iter().any(|row| row["state"] == "close"), "{told:?}");
}

/// A tick after a long stop reads hours; pages must not wait for it.
#[test]
fn incidents_are_told_while_detection_is_at_work() {
    let dir = tempfile::tempdir().unwrap();
    write_story(dir.path());
    let hub = TestHub::start(dir.path());
    let id = wait_for("the incident", || Some(items(&hub.json("/faults")).first()?["id"].as_str()?.to_owned()));
    let at_work = hub.hub().state().detector.lock();
    let metrics = format!("/entities/{}/metrics", requests_id());
    for path in ["/faults", &format!("/faults/{id}"), &format!("/faults/{id}/graph"), "/services", &metrics] {
        assert_eq!(hub.get(path).status, 200, "{path}");
    }
    drop(at_work);
    drop(hub);
    let hub = TestHub::start(dir.path());
    let at_work = hub.hub().state().detector.lock();
    assert_eq!(hub.json(&format!("/faults/{id}"))["id"], id.as_str(), "from the first moment after a restart");
    drop(at_work);
}

/// A flood of queries takes their places only.
#[test]
fn pages_are_told_while_every_place_of_a_query_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    write_story(dir.path());
    let hub = TestHub::start(dir.path());
    let id = wait_for("the incident", || Some(items(&hub.json("/faults")).first()?["id"].as_str()?.to_owned()));
    let event = items(&hub.json("/anomalies"))[0]["event_id"].as_str().unwrap().to_owned();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let soon = std::time::Duration::from_millis(50);
    let queries = &hub.hub().state().queries;
    let mut taken = Vec::new();
    while let Ok(place) = runtime.block_on(async { tokio::time::timeout(soon, queries.place()).await }) {
        taken.push(place.unwrap());
    }
    assert_eq!(taken.len(), 20);
    let requests = requests_id();
    for path in [
        "/health",
        "/services",
        "/hosts",
        "/faults",
        &format!("/faults/{id}"),
        "/anomalies",
        &format!("/anomalies/{event}"),
        "/entities",
        &format!("/entities/{requests}"),
        &format!("/entities/{requests}/metrics"),
        "/topology/horizontal",
    ] {
        assert_eq!(hub.get(path).status, 200, "{path}");
    }
}

#[test]
fn verdicts_are_bounded_and_told_again_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    write_story(dir.path());
    let hub = TestHub::start(dir.path());
    let id = wait_for("the incident", || Some(items(&hub.json("/faults")).first()?["id"].as_str()?.to_owned()));
    let say = |hub: &TestHub, body: &Value| {
        hub.with_body("POST", &format!("/faults/{id}/feedback"), "application/json", body.to_string().as_bytes())
    };
    for (name, length) in [("entity_id", 5_000), ("text", 5_000)] {
        let mut body = json!({"verdict": "right"});
        body[name] = json!("x".repeat(length));
        let answer = say(&hub, &body);
        assert_eq!((answer.status, answer.json()["error"]["field"].as_str()), (422, Some(name)));
    }
    assert_eq!(hub.json(&format!("/faults/{id}"))["feedback"], json!([]));
    assert_eq!(say(&hub, &json!({"verdict": "wrong", "entity_id": process_id("4712"), "text": "the client"})).status, 204);
    assert_eq!(say(&hub, &json!({"verdict": "right"})).status, 204);
    drop(hub);
    let hub = TestHub::start(dir.path());
    let told = hub.json(&format!("/faults/{id}"))["feedback"].clone();
    assert_eq!((&told[0]["verdict"], &told[1]["text"]), (&json!("right"), &json!("the client")), "{told}");
    assert!(told[0]["at_ms"].as_i64() >= told[1]["at_ms"].as_i64());
}

#[test]
fn the_catalogue_is_stamped_like_the_topology_it_is_of() {
    let dir = tempfile::tempdir().unwrap();
    write_story(dir.path());
    let hub = TestHub::start(dir.path());
    wait_for("the map", || (hub.get(&format!("/entities/{}", requests_id())).status == 200).then_some(()));
    for path in ["/meta/types", "/meta/relations", "/topology/snapshots", "/entities"] {
        let answer = hub.json(path);
        assert!(answer["snapshot"]["ts"].as_i64() > Some(0) && answer["partial"].is_boolean(), "{path}: {}", answer["snapshot"]);
    }
    // Each relation that is drawn has its rule.
    let rules = hub.json("/meta/relations?limit=1000");
    let is_known = |relation: &str, to: &str| items(&rules).iter().any(|rule| rule["relation"] == *relation && rule["to"] == *to);
    for (relation, to) in [("uses", "disk"), ("connect", "proc"), ("connect", "external"), ("belongs_to", "proc")] {
        assert!(is_known(relation, to), "{relation} {to}");
    }
}

/// Reads events until the wanted one comes, over one connection.
fn listen(hub: &TestHub, last_id: Option<&str>, is_wanted: impl Fn(&str) -> bool) -> String {
    let mut stream = TcpStream::connect(hub.address).unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_secs(30))).unwrap();
    let last = last_id.map_or_else(String::new, |id| format!("Last-Event-ID: {id}\r\n"));
    write!(stream, "GET /api/v1/stream?topics=topology HTTP/1.1\r\nHost: {}\r\n{last}\r\n", hub.address).unwrap();
    let (mut text, mut buffer) = (String::new(), [0; 4096]);
    while !is_wanted(&text) {
        let count = stream.read(&mut buffer).expect("the stream says something");
        assert!(count > 0, "the stream ended: {text}");
        text.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    text
}

#[test]
fn a_stream_resumes_behind_the_last_id() {
    let dir = tempfile::tempdir().unwrap();
    write_story(dir.path());
    let hub = TestHub::start(dir.path());
    let ids =
        |text: &str| -> Vec<u64> { text.lines().filter_map(|line| line.strip_prefix("id: ")?.trim().parse().ok()).collect() };
    // The last one may have come in part.
    let text = listen(&hub, None, |text| ids(text).len() >= 3);
    assert!(text.to_lowercase().contains("content-type: text/event-stream") && text.contains("event: topology"), "{text}");
    let first = ids(&text)[0];
    let resumed = listen(&hub, Some(&first.to_string()), |text| ids(text).len() >= 2);
    assert_eq!(ids(&resumed)[0], ids(&text)[1], "what came since is told first: {resumed}");
}
