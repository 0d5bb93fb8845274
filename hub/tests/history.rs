//! The topology's past over a restart and over a crash of the hub.

mod common;

use std::path::Path;

use common::{TestHub, now_ms, process_id, put_process, wait_for};
use serde_json::Value;

fn ids(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().filter_map(|item| item["id"].as_str()).collect()
}

fn shows(hub: &TestHub, path: &str, id: &str) -> Option<()> {
    ids(&hub.json(path)).contains(&id).then_some(())
}

#[test]
fn the_past_is_answered_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let hub = TestHub::start(dir.path());
    put_process(&hub, now_ms(), "4711", "100");
    wait_for("the process on the map", || shows(&hub, "/entities?type=proc", &process_id("4711")));
    let then = now_ms();
    let edges = hub.json(&format!("/entities/{}/edges", process_id("4711")));
    assert!(edges["items"].as_array().unwrap().iter().any(|edge| edge["relation"] == "runs_on"), "{edges}");
    // It goes on for a while, even if all this took no millisecond: an end is dated by the last sample.
    put_process(&hub, now_ms().max(then + 1), "4711", "100");
    wait_for("a sample after that", || {
        let last = hub.json(&format!("/entities/{}", process_id("4711")))["last_seen_ms"].as_i64()?;
        (last > then).then_some(())
    });
    // Another process takes the number: the first life ends, a second begins.
    put_process(&hub, now_ms(), "4711", "200");
    let start_time = |hub: &TestHub, query: &str| {
        let entity = hub.json(&format!("/entities/{}{query}", process_id("4711")));
        entity["entity"]["labels"]["start_time"].as_str().map(str::to_owned)
    };
    wait_for("the second life", || (start_time(&hub, "").as_deref() == Some("200")).then_some(()));
    drop(hub);

    let hub = TestHub::start(dir.path());
    assert_eq!(start_time(&hub, &format!("?at={then}")).as_deref(), Some("100"));
    let before = hub.json(&format!("/topology/snapshots?to={then}"));
    assert!(!before["items"].as_array().unwrap().is_empty());
    let map = hub.json(&format!("/topology/horizontal?layer=process&at={then}"));
    assert_eq!(map["nodes"][0]["name"], "4711, redis-server, alpha", "{map}");
    assert_eq!(map["nodes"][0]["state"], "online");
    let edges = hub.json(&format!("/entities/{}/edges?at={then}", process_id("4711")));
    assert!(edges["items"].as_array().unwrap().iter().any(|edge| edge["relation"] == "runs_on"), "{edges}");
    let changes = hub.json("/topology/changes?type=proc");
    let kinds: Vec<&str> = changes["items"].as_array().unwrap().iter().filter_map(|row| row["kind"].as_str()).collect();
    assert_eq!(kinds, ["appeared", "disappeared", "appeared"], "{changes}");
    // What goes on keeps its beginning.
    let cycle = wait_for("a cycle of this run", || {
        let ts = hub.json("/topology/snapshots?limit=1")["items"][0]["ts"].as_i64()?;
        (ts > then).then_some(ts)
    });
    let host = hub.json("/entities?type=host");
    assert_eq!(host["items"][0]["state"], "online", "{host} at {cycle}");
    let first_seen = hub.json(&format!("/entities/{}_host", common::MACHINE))["first_seen_ms"].as_i64().unwrap();
    assert!(first_seen <= then);
}

#[test]
fn what_a_crash_kept_from_being_written_is_found_in_the_samples() {
    let dir = tempfile::tempdir().unwrap();
    let hub = TestHub::start(&dir.path().join("run"));
    put_process(&hub, now_ms(), "1", "100");
    wait_for("the first process", || shows(&hub, "/entities?type=proc", &process_id("1")));
    drop(hub);
    let hub = TestHub::start(&dir.path().join("run"));
    put_process(&hub, now_ms(), "2", "100");
    wait_for("the second process", || shows(&hub, "/entities?type=proc", &process_id("2")));
    let then = now_ms();
    // A copy of the folder is what a crash leaves; nothing was saved since the second process came.
    copy(&dir.path().join("run"), &dir.path().join("crashed"));
    drop(hub);

    let hub = TestHub::start(&dir.path().join("crashed"));
    for tgid in ["1", "2"] {
        wait_for("the process of then", || shows(&hub, &format!("/entities?type=proc&at={then}"), &process_id(tgid)));
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}
