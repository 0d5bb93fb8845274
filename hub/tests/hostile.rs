//! Parameters nobody should send: each is answered in the API's own form, with its name, the reason and the fix; nothing
//! breaks, nothing hangs.

mod common;

use common::{Answer, MACHINE, TestHub, process_id, requests_id, wait_for, write_story};
use serde_json::Value;

/// What stands in the error, whichever of the two forms it has.
fn error_of(path: &str, answer: &Answer) -> (String, Option<String>) {
    let body = answer.json();
    if let Some(message) = body["error"].as_str() {
        assert_eq!(body["status"], "error", "{path}: {body}");
        return (message.to_owned(), None);
    }
    let message = body["error"]["message"].as_str().unwrap_or_else(|| panic!("{path}: no message in {body}"));
    (message.to_owned(), body["error"]["field"].as_str().map(str::to_owned))
}

fn story() -> (tempfile::TempDir, TestHub) {
    let dir = tempfile::tempdir().unwrap();
    write_story(dir.path());
    let hub = TestHub::start(dir.path());
    wait_for("the map", || (hub.get(&format!("/entities/{}", requests_id())).status == 200).then_some(()));
    (dir, hub)
}

/// Refused with 400, and the parameter is named.
#[test]
fn wrong_values_are_refused_by_name() {
    let (_dir, hub) = story();
    let entity = process_id("4711");
    let numbers: &[&str] = &["NaN", "-1", "1e400", "99999999999999999999", "0x10", "1_000", "true", "%5B%5D"];
    let text: &[&str] = &["%ff%fe", "%00", "%zz", "%", "a%0ab"];
    let ids = [
        ("/entities/{id}", "at"),
        ("/entities/{id}/edges", "at"),
        ("/entities/{id}/edges", "limit"),
        ("/entities/{id}/neighbours", "depth"),
        ("/entities/{id}/metrics", "from"),
        ("/entities/{id}/metrics", "step"),
    ];
    let plain = [
        ("/entities", "at"),
        ("/entities", "limit"),
        ("/anomalies", "from"),
        ("/faults", "to"),
        ("/topology/snapshots", "nearest"),
        ("/topology/horizontal", "hops"),
        ("/topology/changes", "buckets"),
        ("/hosts", "limit"),
        ("/meta/types", "limit"),
        ("/query?query=1", "timeout"),
        ("/query?query=1", "lookback_delta"),
        ("/query?query=1", "limit"),
        ("/query_range?query=1&start=0&end=10", "step"),
        ("/series?match[]=up", "limit"),
        ("/metadata", "limit"),
    ];
    let lists = [
        ("/entities", "q"),
        ("/entities", "machine"),
        ("/anomalies", "entity"),
        ("/faults", "entity"),
        ("/topology/horizontal", "center"),
        ("/query", "query"),
        ("/series", "match[]"),
        ("/metadata", "metric"),
        ("/stream", "topics"),
    ];
    let of = |pairs: &[(&'static str, &'static str)], values: &'static [&'static str]| {
        pairs.iter().flat_map(|(path, name)| values.iter().map(|value| (*path, *name, *value))).collect::<Vec<_>>()
    };
    let words = [
        ("/entities", "type", "sofa"),
        ("/entities", "state", "sleepy"),
        ("/entities", "limt", "5"),
        ("/entities", "cursor", "00ff"),
        ("/entities/{id}/edges", "relation", "loves"),
        ("/entities/{id}/edges", "direction", "up"),
        ("/entities/{id}/metrics", "metric", "gala_gopher_disk_sofa"),
        ("/anomalies", "kind", "odd"),
        ("/anomalies", "severity", "LOUD"),
        ("/anomalies", "dedup", "maybe"),
        ("/faults", "state", "ajar"),
        ("/faults", "category", "S9"),
        ("/faults", "domain", "cellar"),
        ("/topology/horizontal", "layer", "cellar"),
        ("/topology/horizontal", "fold", "napkin"),
        ("/topology/vertical", "perspective", "bird"),
        ("/topology/changes", "type", "sofa"),
        ("/services", "colour", "red"),
        ("/stream", "topics", "gossip"),
        ("/query?query=1", "time", "noon"),
        ("/query?query=1", "time", "1e15"),
        ("/query", "query", "sum("),
        ("/query_exemplars", "query", "sum("),
        ("/labels", "match[]", "x%7B"),
        ("/label/job/values", "match[]", "x%7B"),
        ("/labels", "start", "1e18"),
        ("/query_range?query=1&end=10&step=1", "start", "-9223372036854775808"),
    ];
    let mut cases: Vec<(&str, &str, &str)> = words.to_vec();
    // Prometheus takes 0x10 and 1_000 for no numbers, but -1 for "no limit" of metadata.
    cases.extend(of(&ids, numbers).into_iter().chain(of(&plain, numbers)).filter(|case| *case != ("/metadata", "limit", "-1")));
    cases.extend(of(&lists, text).into_iter().filter(|(path, _, value)| {
        // A query may hold any character; the parser judges it.
        *path != "/query" && *path != "/series" && *path != "/metadata" || !matches!(*value, "%00" | "a%0ab")
    }));
    for (path, name, value) in cases {
        let joined = if path.contains('?') { '&' } else { '?' };
        let needs_entity = if path == "/topology/vertical" { format!("&entity={entity}") } else { String::new() };
        let asked = format!("{}{joined}{name}={value}{needs_entity}", path.replace("{id}", &entity));
        let answer = hub.get(&asked);
        assert_eq!(answer.status, 400, "{asked}: {}", answer.body);
        let (message, field) = error_of(&asked, &answer);
        assert!(field.as_deref() == Some(name) || message.contains(name), "{asked} is not named: {message}");
    }
}

#[test]
fn what_contradicts_itself_is_refused() {
    let (_dir, hub) = story();
    let entity = process_id("4711");
    for (asked, name) in [
        ("/entities?limit=5&limit=6".to_owned(), "limit"),
        ("/faults?from=9&to=5".to_owned(), "from"),
        ("/anomalies?from=9&to=5".to_owned(), "from"),
        ("/topology/changes?from=9&to=5".to_owned(), "from"),
        (format!("/entities/{entity}/metrics?from=9&to=5"), "from"),
        ("/query?query=1&query=2".to_owned(), "query"),
        ("/query_range?query=1&start=9&end=5&step=1".to_owned(), "end"),
        ("/query_exemplars?query=up&start=9&end=5".to_owned(), "end"),
        ("/topology/vertical".to_owned(), "entity"),
        ("/query".to_owned(), "query"),
        ("/series".to_owned(), "match[]"),
        ("/query_range?query=1".to_owned(), "start"),
        (format!("/entities?q={}", "x".repeat(5_000)), "q"),
        (format!("/entities/{}", "x".repeat(5_000)), "id"),
    ] {
        let answer = hub.get(&asked);
        assert_eq!(answer.status, 400, "{asked:.80}: {}", answer.body);
        let (message, field) = error_of(&asked, &answer);
        assert!(field.as_deref() == Some(name) || message.contains(name), "{asked:.80} is not named: {message}");
    }
    // The same value twice says one thing, and several matchers add up.
    assert_eq!(hub.get("/entities?limit=5&limit=5").status, 200);
    assert_eq!(hub.get("/series?match[]=a&match[]=b").status, 200);
}

#[test]
fn bodies_and_methods_are_judged_before_their_content() {
    let (_dir, hub) = story();
    let form = "application/x-www-form-urlencoded";
    for (method, path, content_type, body, status) in [
        ("POST", "/query", "application/json", &b"{\"query\": \"up\"}"[..], 415),
        ("POST", "/query", "", b"query=up", 415),
        ("POST", "/query", form, b"query=%ff", 400),
        ("POST", "/query", form, b"query=%zz", 400),
        ("POST", "/query", form, b"query=1&query=2", 400),
        ("POST", "/query", form, b"", 400),
        ("POST", "/query_range", form, b"query=1&start=0&end=10&step=-1", 400),
        ("POST", "/labels", "multipart/form-data; boundary=x", b"--x--", 415),
        ("POST", "/read", "application/x-protobuf", b"nonsense", 400),
        ("POST", "/faults", form, b"entity=x", 415),
        ("POST", "/faults", "application/json", b"", 400),
        ("POST", "/faults", "application/json", b"[1]", 400),
        ("POST", "/faults", "application/json", b"\xff", 400),
        ("POST", "/faults", "application/json", b"{\"entity\": null, \"metric\": {}}", 400),
        ("POST", "/faults/none/feedback", "application/json", b"{\"verdict\": \"perhaps\"}", 400),
        ("POST", "/faults/none/feedback", "application/json", b"{\"verdict\": \"right\"}", 404),
        ("PUT", "/cause/rules", "application/json", b"7", 422),
        ("POST", "/health", "application/json", b"{}", 405),
        ("PUT", "/faults", "application/json", b"{}", 405),
        ("DELETE", "/entities", "application/json", b"", 405),
        ("PATCH", "/query", "application/json", b"", 405),
        ("BREW", "/query", "", b"", 405),
        ("TRACE", "/faults", "", b"", 405),
    ] {
        let answer = hub.with_body(method, path, content_type, body);
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.body);
        let (message, _) = error_of(path, &answer);
        assert!(message.len() > 10, "{method} {path}: {message}");
    }
    for path in ["/health", "/metrics", "/openapi.json", "/cause/rules"] {
        assert_eq!(hub.get(&format!("{path}?colour=red")).status, 400, "{path}");
    }
    let elsewhere = hub.send(format!("GET /api/v2/health HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", hub.address));
    assert_eq!((elsewhere.status, elsewhere.json()["error"]["code"].as_str()), (404, Some("not_found")));
    let huge = vec![b'a'; (16 << 20) + 1];
    for (method, path, content_type) in
        [("POST", "/query", form), ("PUT", "/cause/rules", "application/json"), ("POST", "/faults", "application/json")]
    {
        let answer = hub.with_body(method, path, content_type, &huge);
        assert_eq!(answer.status, 413, "{path}: {}", answer.body);
        error_of(path, &answer);
    }
}

/// Clients of Prometheus read its errors, whoever made them.
#[test]
fn what_is_refused_before_a_call_has_the_form_of_the_call() {
    let dir = tempfile::tempdir().unwrap();
    let hub = TestHub::start(dir.path());
    let form = "application/x-www-form-urlencoded";
    let ask = |method: &str, path: &str, host: &str, more: &str| {
        let head = format!("{method} /api/v1{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
        hub.send(format!("{head}Content-Type: {form}\r\nContent-Length: 0\r\n{more}\r\n"))
    };
    let own = hub.address.to_string();
    for (method, path, host, more, status) in [
        ("POST", "/query", own.as_str(), "Origin: http://evil.example\r\n", 403),
        ("POST", "/query", &own, "Content-Encoding: gzip\r\n", 415),
        ("POST", "/write", &own, "", 415),
        ("GET", "/label/job/values", "evil.example", "", 421),
        ("PUT", "/series", &own, "", 405),
        ("DELETE", "/status/tsdb", &own, "", 405),
        ("TRACE", "/labels", &own, "", 405),
    ] {
        let answer = ask(method, path, host, more);
        let body = answer.json();
        assert_eq!(answer.status, status, "{method} {path}: {body}");
        assert_eq!((&body["status"], &body["errorType"]), (&Value::from("error"), &Value::from("bad_data")), "{method} {path}");
        assert!(body["error"].is_string(), "{method} {path}: {body}");
    }
    let body = ask("POST", "/faults", &own, "Origin: http://evil.example\r\n").json();
    assert_eq!(body["error"]["code"], "forbidden", "{body}");
}

#[test]
fn only_version_1_of_remote_write_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let hub = TestHub::start(dir.path());
    // Symbols "" and "up", and a series that refers to them.
    let newer = snap::raw::Encoder::new().compress_vec(&[0x22, 0, 0x22, 2, b'u', b'p', 0x2a, 4, 0x0a, 2, 0, 1]).unwrap();
    let v2 = "application/x-protobuf;proto=io.prometheus.write.v2.Request";
    assert_eq!(hub.with_body("POST", "/write", v2, &newer).status, 415);
    for unnamed in ["application/x-protobuf", "application/x-protobuf;proto=prometheus.WriteRequest"] {
        let answer = hub.with_body("POST", "/write", unnamed, &newer);
        assert_eq!(answer.status, 400, "{}", answer.body);
        assert!(answer.body.contains("remote write 2.0"), "{}", answer.body);
    }
}

#[test]
fn queries_that_would_never_end_end() {
    let (_dir, hub) = story();
    let ask = |query: &str| {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
        hub.with_body("POST", "/query", "application/x-www-form-urlencoded", format!("query={encoded}").as_bytes())
    };
    for (query, statuses) in [
        ("(".repeat(50_000), &[400][..]),
        (format!("{}1", "-".repeat(50_000)), &[400]),
        (format!("{}1{}", "sum(".repeat(5_000), ")".repeat(5_000)), &[400]),
        (vec!["a"; 20_000].join("+"), &[400]),
        (vec!["2"; 20_000].join("^"), &[400]),
        ("sum_over_time(vector(1)[10000d:1ms])".to_owned(), &[422]),
        ("{__name__=~\"((a{100}){100}){100}\"}".to_owned(), &[400]),
        ("a[9999999999999999y]".to_owned(), &[400]),
        ("a @ 1e400".to_owned(), &[400]),
        ("a offset -9999999999y".to_owned(), &[400]),
        ("quantile(NaN, {__name__=~\".+\"})".to_owned(), &[200]),
        ("round({__name__=~\".+\"}, 0)".to_owned(), &[422]),
        ("label_replace({__name__=~\".+\"}, \"x\", \"$1\", \"__name__\", \"(.*)\")".to_owned(), &[200]),
        ("count_values(\"\", up)".to_owned(), &[400, 422]),
        ("topk(1e18, {__name__=~\".+\"})".to_owned(), &[200, 400, 422]),
        ("{__name__=~\".+\"} * on() group_left {__name__=~\".+\"}".to_owned(), &[422]),
    ] {
        let answer = ask(&query);
        assert!(statuses.contains(&answer.status), "{query:.60}: {}: {:.300}", answer.status, answer.body);
        let body: Value = answer.json();
        assert_eq!(body["status"] == "error", answer.status != 200, "{query:.60}");
    }
    assert_eq!(hub.get(&format!("/entities/{MACHINE}_host")).status, 200);
}
