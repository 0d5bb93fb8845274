//! The command socket of a real agent, spoken to as `gopher-ctl` does.

mod common;

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use common::{Running, agent, request, wait_for};
use gala_agent::control::socket::{ask_metrics, ask_probe};

/// An agent whose last one was killed, and its socket.
fn after_a_kill() -> (tempfile::TempDir, Running, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    std::fs::create_dir(&run).unwrap();
    let socket = run.join("gala_gopher_cmd.sock");
    drop(UnixListener::bind(&socket).unwrap());
    let running = agent(|config| config.run_dir = run);
    (folder, running, socket)
}

/// Command, operation, name and configuration in upstream's block; the answer as it comes.
fn exchange(socket: &Path, numbers: [u32; 2], name: &str, config: &str) -> Vec<u8> {
    let mut block: Vec<u8> = numbers.iter().flat_map(|number| number.to_ne_bytes()).collect();
    for (text, room) in [(name, 32), (config, 1_048_576)] {
        block.extend_from_slice(text.as_bytes());
        block.resize(block.len() + room - text.len(), 0);
    }
    assert_eq!(block.len(), 1_048_616);
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.write_all(&block).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    answer
}

#[test]
fn gopher_ctl_is_answered_in_its_own_form_with_the_rest_apis_words() {
    let (_folder, running, socket) = after_a_kill();
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o660);
    let success = "{ \"result\": \"success\", \"message\":\"New config takes effect\" }\n";
    let set = exchange(&socket, [1, 2], "ksli", "{\"params\":{\"report_period\":7}}");
    assert_eq!(String::from_utf8(set).unwrap(), format!("{}\n{success}\0", success.len() + 1));
    let rest = |probe: &str| request(running.agent.rest_address().unwrap(), "GET", probe, b"").body;
    let shown = rest("/ksli");
    assert!(shown.contains("\"report_period\":7"));
    assert_eq!(String::from_utf8(exchange(&socket, [1, 1], "KSLI", "")).unwrap(), format!("{}\n{shown}\0", shown.len() + 1));

    assert_eq!(ask_probe(&socket, "ksli", None).unwrap(), shown);
    let unknown = "{ \"result\": \"failed\", \"message\":\"Failed to get probe config\" }\n";
    assert_eq!(ask_probe(&socket, "nosuch", None).unwrap(), unknown);
    for (json, words) in
        [("hello", "invalid json format"), ("{\"state\":\"on\"}", "invalid state on"), ("", "invalid json format")]
    {
        let refused = ask_probe(&socket, "ksli", Some(json)).unwrap();
        assert!(refused.starts_with("{ \"result\": \"failed\"") && refused.contains(words), "{refused}");
    }
    assert_eq!(rest("/ksli"), shown, "what is refused changes nothing");
    assert!(exchange(&socket, [9, 9], "", "").ends_with(b"\"Bad request\" }\n\0"));
}

#[test]
fn its_metrics_are_the_exporters() {
    let (_folder, running, socket) = after_a_kill();
    assert_eq!(ask_metrics(&socket).unwrap(), "", "nothing to show is no error");
    let body = r#"{"cmd":{"probe":["host"]},"state":"running"}"#;
    assert!(ask_probe(&socket, "baseinfo", Some(body)).unwrap().contains("success"));
    wait_for("metrics", || ask_metrics(&socket).unwrap().contains("gala_gopher_host_"));
    let exported = request(running.agent.metrics_address().unwrap(), "GET", "/metrics", b"").body;
    let names = |text: &str| text.lines().filter_map(|line| Some(line.split_once('{')?.0.to_owned())).collect::<Vec<_>>();
    assert_eq!(names(&ask_metrics(&socket).unwrap()), names(&exported));
}

#[test]
fn who_says_nothing_keeps_no_other_waiting_and_the_end_takes_the_socket() {
    let (_folder, running, socket) = after_a_kill();
    let silent = UnixStream::connect(&socket).unwrap();
    assert_eq!(ask_probe(&socket, "tcp", None).unwrap(), "{}\n");
    drop(silent);
    let run = socket.parent().unwrap().to_owned();
    drop(running);
    assert!(!run.exists(), "the run folder goes with what was in it");
}
