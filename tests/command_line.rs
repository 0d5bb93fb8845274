//! The command line from outside: what is wrong usage, what a check of the configuration tells, upstream's file and words.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

fn gala(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gala")).args(words).stdin(Stdio::null()).output().unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn a_value_that_cannot_be_read_is_wrong_usage_and_names_its_option() {
    for words in [
        &["up", "--interval", "abc"][..],
        &["up", "--interval", "601"],
        &["up", "--listen", "nowhere"],
        &["agent", "--metrics-listen", "8888"],
        &["agent", "--budget-cpu", "0"],
        &["agent", "--hub", "ftp://hub"],
        &["hub", "--retention", "7y"],
        &["hub", "--log", "gala=loud"],
        &["query", "up", "--range", "x"],
        &["ctl", "probe", "set", "tcp"],
        &["ctl", "probe", "tcp", "put", "{}"],
    ] {
        let output = gala(words);
        assert_eq!(output.status.code(), Some(2), "{words:?}: {}", said(&output));
        if let Some(option) = words.iter().find(|word| word.starts_with("--")) {
            assert!(said(&output).contains(option), "{words:?}: {}", said(&output));
        }
    }
}

#[test]
fn switches_of_the_environment_are_written_as_people_write_them() {
    let hub = |value: &str| {
        let mut hub = Command::new(env!("CARGO_BIN_EXE_gala"));
        hub.args(["hub", "--listen", "127.0.0.1:0", "--data", "/proc/none"]).env("GALA_INSECURE", value).env("GALA_NO_AUTH", "0");
        hub.stdin(Stdio::null()).output().unwrap()
    };
    for value in ["1", "yes", "true", "off", "0"] {
        let output = hub(value);
        assert_eq!(output.status.code(), Some(1), "{value}: {}", said(&output));
        assert!(said(&output).contains("/proc/none") && said(&output).contains("--data"), "{value}: {}", said(&output));
    }
    assert_eq!(hub("perhaps").status.code(), Some(2));
}

#[test]
fn a_signal_that_comes_while_the_program_starts_ends_it_as_any() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = Command::new(env!("CARGO_BIN_EXE_gala"))
        .args(["agent", "--metrics-listen", "off", "--rest-listen", "off", "--data"])
        .arg(folder.path().join("data"))
        .arg("--run-dir")
        .arg(folder.path().join("run"))
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Held as soon as the folder is there; the probes are still to be loaded.
    while !folder.path().join("run").exists() {
        assert!(process.try_wait().unwrap().is_none(), "it ended");
    }
    Command::new("kill").args(["-TERM", &process.id().to_string()]).status().unwrap();
    assert_eq!(process.wait().unwrap().code(), Some(0));
    assert!(!folder.path().join("run").exists());
}

#[test]
fn a_start_that_hangs_ends_with_the_signal_too() {
    let folder = tempfile::tempdir().unwrap();
    let (data, run) = (folder.path().join("data"), folder.path().join("run"));
    std::fs::create_dir(&data).unwrap();
    // What was kept is read at the start; nobody ever writes to this one.
    assert!(Command::new("mkfifo").arg(data.join("probes.json")).status().unwrap().success());
    let mut process = Command::new(env!("CARGO_BIN_EXE_gala"))
        .args(["agent", "--metrics-listen", "off", "--rest-listen", "off", "--data", data.to_str().unwrap()])
        .args(["--run-dir", run.to_str().unwrap()])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while !run.exists() {
        assert!(process.try_wait().unwrap().is_none(), "it ended");
    }
    Command::new("kill").args(["-TERM", &process.id().to_string()]).status().unwrap();
    let signalled = std::time::Instant::now();
    let status = loop {
        if let Some(status) = process.try_wait().unwrap() {
            break status;
        }
        if signalled.elapsed().as_secs() >= 30 {
            process.kill().unwrap();
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    };
    assert_eq!(status.code(), Some(0));
    assert!(!run.exists(), "what hangs leaves no lock and no socket behind");
}

#[test]
fn a_port_that_is_taken_is_told_with_its_holder_and_the_option_that_moves_it() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = gala(&["hub", "--listen", &address, "--data", data.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    for words in [address.as_str(), &format!("pid {}, has it", std::process::id()), "--listen"] {
        assert!(said(&output).contains(words), "{words}: {}", said(&output));
    }
}

/// Another server where the agent is asked for: one answer to whoever calls.
fn stranger(answer: &'static str) -> String {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(answer.as_bytes());
    });
    format!("http://{address}")
}

#[test]
fn an_answer_of_another_server_is_no_success_of_ctl() {
    let url = stranger("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbusy");
    let output = gala(&["ctl", "--rest", &url, "probe", "tcp"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("502") && said(&output).contains("busy"), "{}", said(&output));
    let url = stranger("HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\nConnection: close\r\n\r\nnone");
    let output = gala(&["ctl", "--rest", &url, "probe", "tcp", "set", "{}"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
}

#[test]
fn version_and_help_of_the_agent_are_no_failure() {
    let version = gala(&["agent", "-v"]);
    assert!(version.status.success() && said(&version).contains("\nCOMMIT_SHA1="), "{}", said(&version));
    assert!(gala(&["agent", "-h"]).status.success());
}

fn check(folder: &Path, name: &str, text: &str) -> Output {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    gala(&["agent", "--check-config", "--config_path", path.to_str().unwrap()])
}

#[test]
fn a_check_tells_every_fault_and_takes_upstreams_file() {
    let folder = tempfile::tempdir().unwrap();
    let broken = check(folder.path(), "gala.toml", "retention = \"7y\"\n[probes.io]\nstate = \"runing\"\n[probes.jvm]\n");
    assert_eq!(broken.status.code(), Some(1));
    for words in ["retention \"7y\"", "[probes.io]: invalid state runing", "[probes.jvm]: "] {
        assert!(said(&broken).contains(words), "{}", said(&broken));
    }
    let switch = check(folder.path(), "gala.toml", "interval = 5\ninsecure = \"yes\"\n");
    assert!(said(&switch).contains("line 2: insecure must be true or false"), "{}", said(&switch));
    let upstream =
        "global =\n{\n    log_level = \"info\";\n    rest_api_on = true;\n};\nevent =\n{\n    out_channel = \"kafka\";\n};\n";
    let taken = check(folder.path(), "gala-gopher.conf", upstream);
    assert!(taken.status.success(), "{}", said(&taken));
    assert!(said(&taken).contains("not supported here: events to kafka"), "{}", said(&taken));
    let init = "jvm {\"snoopers\":{\"proc_name\":[{\"comm\":\"^java$\"}]},\"state\":\"running\"}\n";
    std::fs::write(folder.path().join("probes.init"), init).unwrap();
    let later = check(folder.path(), "gala-gopher.conf", upstream);
    assert!(later.status.success(), "{}", said(&later));
    assert!(said(&later).contains("not supported here: probe jvm of probes.init"), "{}", said(&later));
    std::fs::write(folder.path().join("probes.init"), "io {\"state\":\"runing\"}\n").unwrap();
    let wrong = check(folder.path(), "gala-gopher.conf", upstream);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(said(&wrong).contains("probes.init: io: invalid state runing"), "{}", said(&wrong));
    let missing = gala(&["agent", "-c", "/no/such/gala-gopher.conf"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(said(&missing).contains("/no/such/gala-gopher.conf"), "{}", said(&missing));
}

struct Agent {
    process: Child,
    rest: String,
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// An agent on free ports, configured by upstream's files.
fn agent(folder: &Path) -> Agent {
    let (conf, data, run) = (folder.join("gala-gopher.conf"), folder.join("data"), folder.join("run"));
    std::fs::write(&conf, "global = { log_level = \"info\"; };\n").unwrap();
    std::fs::write(folder.join("probes.init"), "baseinfo {\"cmd\":{\"probe\":[\"cpu\"]}, \"state\":\"running\"}\n").unwrap();
    let mut process = Command::new(env!("CARGO_BIN_EXE_gala"))
        .args(["agent", "--metrics-listen", "off", "--rest-listen", "127.0.0.1:0", "-c"])
        .arg(conf)
        .arg("--data")
        .arg(data)
        .arg("--run-dir")
        .arg(run)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let log = BufReader::new(process.stderr.take().unwrap());
    let mut lines = log.lines().map_while(Result::ok);
    let rest =
        lines.find_map(|line| Some(format!("http://{}", line.split_once("agent REST     http://")?.1.trim_end_matches('/'))));
    std::thread::spawn(move || lines.for_each(drop));
    Agent { process, rest: rest.expect("the log says where it listens") }
}

#[test]
fn gopher_ctls_words_print_what_the_agent_answers() {
    let folder = tempfile::tempdir().unwrap();
    let agent = agent(folder.path());
    let ctl = |words: &[&str]| {
        let output = gala(&[&["ctl", "--rest", &agent.rest], words].concat());
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let success = "{ \"result\": \"success\", \"message\":\"New config takes effect\" }\n";
    assert_eq!(ctl(&["probe", "set", "ksli", "{\"params\":{\"report_period\":7}}"]), (Some(0), success.to_owned()));
    let shown = ctl(&["probe", "get", "ksli"]);
    assert!(shown.1.contains("\"report_period\":7") && shown.1.ends_with("\"state\":\"stopped\"}\n"), "{shown:?}");
    assert_eq!(ctl(&["probe", "ksli"]), shown);
    // The log writes the address with its slash, and what has no REST API has a socket.
    let output = gala(&["ctl", "--rest", &format!("{}/", agent.rest), "probe", "ksli"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), shown.1);
    let over_socket = |words: &[&str]| {
        let run = folder.path().join("run");
        let output = gala(&[&["ctl", "--run-dir", run.to_str().unwrap()], words].concat());
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    assert_eq!(over_socket(&["probe", "ksli"]), shown);
    assert_eq!(over_socket(&["probe", "set", "nosuch", "{}"]).0, Some(1));
    assert_eq!(over_socket(&["metric"]).0, Some(0));
    let refusal = "{ \"result\": \"failed\", \"message\":\"invalid state on: must be running or stopped\" }\n".to_owned();
    assert_eq!(ctl(&["probe", "set", "ksli", "{\"state\":\"on\"}"]), (Some(1), refusal.clone()));
    assert_eq!(ctl(&["--ignore-refusal", "probe", "ksli", "set", "{\"state\":\"on\"}"]), (Some(0), refusal));
    let unknown = "{ \"result\": \"failed\", \"message\":\"Failed to get probe config\" }\n".to_owned();
    assert_eq!(ctl(&["probe", "get", "nosuch"]), (Some(1), unknown));
    // Upstream's file starts what `probes.init` names and nothing else.
    let begun = std::time::Instant::now();
    while !ctl(&["probe", "get", "baseinfo"]).1.contains("\"state\":\"running\"") {
        assert!(begun.elapsed().as_secs() < 30, "baseinfo does not run: {:?}", ctl(&["probes"]));
    }
    let probes = ctl(&["probes"]).1;
    assert_eq!(probes.lines().filter(|line| line.ends_with(" running")).count(), 1, "{probes}");
}
