//! The whole program on this host: `gala up` against real connections, its HTTP API, its end. Needs root for the kernel
//! hooks; without it the run is skipped and says so.
#![allow(clippy::print_stdout)] // says what it skips

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

struct Gala {
    process: Child,
    hub: String,
    metrics: String,
    rest: String,
    dir: tempfile::TempDir,
}

impl Gala {
    /// Starts on free ports; the log says which.
    fn start(dir: tempfile::TempDir) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_gala"))
            .args(["up", "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", "--rest-listen", "127.0.0.1:0"])
            .arg("--data")
            .arg(dir.path().join("data"))
            .arg("--run-dir")
            .arg(dir.path().join("run"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(process.stderr.take().unwrap());
        let (send, receive) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                if let Some((_, url)) = line.split_once("http://") {
                    let kind = ["web interface", "metrics ", "agent REST"].into_iter().find(|kind| line.contains(kind));
                    if let Some(kind) = kind {
                        let address = url.split('/').next().unwrap_or("").to_owned();
                        if send.send((kind, address)).is_err() {
                            break;
                        }
                    }
                }
            }
        });
        let address = || receive.recv_timeout(PATIENCE).expect("the program says where it listens").1;
        let (hub, metrics, rest) = (address(), address(), address());
        Self { process, hub, metrics, rest, dir }
    }

    fn api(&self, path: &str) -> Value {
        let (status, body) = get(&self.hub, &format!("/api/v1{path}"));
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {status}: {error}: {body}"))
    }

    fn terminate(&mut self) -> (Option<i32>, Duration) {
        let begun = Instant::now();
        Command::new("kill").args(["-TERM", &self.process.id().to_string()]).status().unwrap();
        let status = self.process.wait().unwrap();
        (status.code(), begun.elapsed())
    }
}

impl Drop for Gala {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn get(address: &str, path: &str) -> (u16, String) {
    exchange(address, &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"))
}

/// One request, one answer; bodies come whole because the connection closes behind them.
fn exchange(address: &str, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let text = String::from_utf8_lossy(&answer);
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let body = if head.to_ascii_lowercase().contains("transfer-encoding: chunked") { unchunk(body) } else { body.to_owned() };
    (status, body)
}

fn unchunk(mut rest: &str) -> String {
    let mut body = String::new();
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        if size == 0 {
            break;
        }
        body.push_str(&after[..size]);
        rest = after[size..].trim_start_matches("\r\n");
    }
    body
}

fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "{what} did not happen within {} s", PATIENCE.as_secs());
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Established connections of this host as `ss` lists them: both ends with the process.
fn connections_of(pid: u32) -> HashSet<(String, String)> {
    let listing = Command::new("ss").args(["-tanpH", "state", "established"]).output().unwrap();
    let listing = String::from_utf8_lossy(&listing.stdout).into_owned();
    let own = listing.lines().filter(|line| line.contains(&format!("pid={pid},")));
    own.filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        Some(((*words.get(2)?).to_owned(), (*words.get(3)?).to_owned()))
    })
    .collect()
}

#[test]
fn up_shows_this_hosts_real_life_and_leaves_nothing_behind() {
    if !is_root() {
        println!("skipped: up needs root for kernel hooks");
        return;
    }
    if Command::new("redis-server").arg("--version").output().is_err() {
        println!("skipped: up needs redis-server");
        return;
    }
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let mut redis =
        Command::new("redis-server").args(["--port", &port.to_string(), "--save", ""]).stdout(Stdio::null()).spawn().unwrap();
    let redis_pid = redis.id();
    let mut client = wait_for("redis listening", || TcpStream::connect(("127.0.0.1", port)).ok());

    let mut gala = Gala::start(tempfile::tempdir().unwrap());
    wait_for("health", || (get(&gala.hub, "/api/v1/health").0 == 200).then_some(()));

    // Asked for all along, so that there are requests to see and a connection that carries bytes.
    let ask = |client: &mut TcpStream| {
        client.write_all(b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n").unwrap();
        let mut answer = [0u8; 64];
        assert!(client.read(&mut answer).unwrap() > 0);
    };
    let series = wait_for("500 series", || {
        ask(&mut client);
        let (status, text) = get(&gala.metrics, "/metrics");
        let count = text.lines().filter(|line| line.starts_with("gala_gopher_")).count();
        (status == 200 && count > 500).then_some(count)
    });
    assert!(series > 500);
    wait_for("samples in the store", || {
        let answer = gala.api("/query?query=count(%7B__name__%3D~%22gala_gopher_.%2B%22%7D)");
        let count = answer["data"]["result"][0]["value"][1].as_str()?.parse::<f64>().ok()?;
        (count > 500.0).then_some(())
    });

    // The connection of this test to Redis, as `ss` sees it, is an edge of the map.
    let own_pid = std::process::id();
    let seen_by_ss = connections_of(own_pid);
    assert!(seen_by_ss.iter().any(|(_, peer)| peer.ends_with(&format!(":{port}"))), "{seen_by_ss:?}");
    wait_for("the edge from this test to redis", || {
        ask(&mut client);
        let map = gala.api("/topology/horizontal?layer=process");
        let edges = map["edges"].as_array()?;
        let from = format!("_proc_{own_pid}");
        let to = format!("_proc_{redis_pid}");
        let edge = edges.iter().find(|edge| {
            edge["from"].as_str().is_some_and(|id| id.ends_with(&from)) && edge["to"].as_str().is_some_and(|id| id.ends_with(&to))
        })?;
        let ports: Vec<u64> = edge["attributes"]["server_ports"].as_array()?.iter().filter_map(Value::as_u64).collect();
        (ports == [u64::from(port)]).then_some(())
    });
    wait_for("redis among the services", || {
        ask(&mut client);
        let services = gala.api("/services");
        services["items"]
            .as_array()?
            .iter()
            .any(|row| row["entity_id"].as_str().is_some_and(|id| id.ends_with(&format!("_proc_{redis_pid}"))))
            .then_some(())
    });

    refuses_bad_input(&gala);
    a_second_instance_names_the_first(&gala);

    let (code, took) = gala.terminate();
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(5), "the end took {took:?}");
    assert!(TcpStream::connect(&gala.rest).is_err(), "the REST port is still open");
    let _ = redis.kill();
    let _ = redis.wait();
}

fn refuses_bad_input(gala: &Gala) {
    for (path, status, code) in [
        ("/nowhere", 404, "not_found"),
        ("/entities?limit=0", 400, "bad_request"),
        ("/entities?cursor=zz", 400, "bad_request"),
        ("/entities/nobody", 404, "not_found"),
        ("/topology/horizontal?layer=cellar", 400, "bad_request"),
        ("/topology/vertical", 400, "bad_request"),
        ("/faults/none", 404, "not_found"),
        ("/stream?topics=gossip", 400, "bad_request"),
    ] {
        let (found, body) = get(&gala.hub, &format!("/api/v1{path}"));
        let body: Value = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}"));
        assert_eq!((found, body["error"]["code"].as_str()), (status, Some(code)), "{path}: {body}");
        assert!(!body["error"]["message"].as_str().unwrap().is_empty(), "{path}");
    }
    let foreign = "GET /api/v1/health HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    assert_eq!(exchange(&gala.hub, foreign).0, 421);
    let form = format!(
        "POST /api/v1/faults/x/feedback HTTP/1.1\r\nHost: {}\r\nContent-Type: text/plain\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}",
        gala.hub
    );
    assert_eq!(exchange(&gala.hub, &form).0, 415);
}

fn a_second_instance_names_the_first(gala: &Gala) {
    let output = Command::new(env!("CARGO_BIN_EXE_gala"))
        .args(["up", "--listen", "127.0.0.1:0", "--metrics-listen", "off", "--rest-listen", "off"])
        .arg("--data")
        .arg(gala.dir.path().join("data"))
        .arg("--run-dir")
        .arg(gala.dir.path().join("run"))
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains(&gala.process.id().to_string()), "{message}");
}
