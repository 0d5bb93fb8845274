//! The whole program on this host: `gala up` against real connections, its HTTP API, its end. Needs root for the kernel
//! hooks; without it the run is skipped and says so.
#![allow(clippy::print_stdout)] // says what it skips

use std::collections::{BTreeSet, HashMap};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

struct Gala {
    process: Child,
    hub: String,
    metrics: String,
    rest: String,
    /// What systemd would hear.
    notified: UnixDatagram,
    dir: tempfile::TempDir,
}

impl Gala {
    /// Starts on free ports; the log says which.
    fn start(dir: tempfile::TempDir) -> Self {
        let notified = UnixDatagram::bind(dir.path().join("notify")).unwrap();
        notified.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_gala"))
            .args(["up", "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", "--rest-listen", "127.0.0.1:0"])
            .arg("--data")
            .arg(dir.path().join("data"))
            .arg("--run-dir")
            .arg(dir.path().join("run"))
            .env("NOTIFY_SOCKET", dir.path().join("notify"))
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
        Self { process, hub, metrics, rest, notified, dir }
    }

    fn api(&self, path: &str) -> Value {
        let (status, body) = get(&self.hub, &format!("/api/v1{path}"));
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {status}: {error}: {body}"))
    }

    /// Waits until systemd would have heard this.
    fn wait_to_hear(&self, word: &str) {
        let mut heard = [0; 256];
        loop {
            let length = self.notified.recv(&mut heard).unwrap_or_else(|error| panic!("{word} is not heard: {error}"));
            if String::from_utf8_lossy(&heard[..length]).lines().any(|line| line == word) {
                return;
            }
        }
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

/// Connections between two processes of this host as `ss` lists them now: client's pid, server's pid, server's port. The
/// listening sockets tell which end is the server.
fn local_connections() -> BTreeSet<(u32, u32, u16)> {
    let run = |arguments: &[&str]| {
        let output = Command::new("ss").args(arguments).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let port = |address: &str| address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    let pid = |line: &str| line.split_once("pid=").and_then(|(_, rest)| rest.split(',').next()?.parse::<u32>().ok());
    let listening: BTreeSet<u16> = run(&["-tnlH"]).lines().filter_map(|line| port(line.split_whitespace().nth(3)?)).collect();
    let established = run(&["-tanpH", "state", "established"]);
    let ends: HashMap<(&str, &str), u32> = established
        .lines()
        .filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            Some(((*words.get(2)?, *words.get(3)?), pid(line)?))
        })
        .collect();
    let pairs = ends.iter().filter_map(|((own, peer), server)| {
        let server_port = port(own).filter(|port| listening.contains(port))?;
        let client = ends.get(&(*peer, *own))?;
        (client != server).then_some((*client, *server, server_port))
    });
    pairs.collect()
}

/// The edges of the map between processes, likewise.
fn edges_of_the_map(gala: &Gala) -> BTreeSet<(u32, u32, u16)> {
    let map = gala.api("/topology/horizontal?layer=process");
    let process = |id: &Value| id.as_str()?.rsplit_once("_proc_")?.1.parse::<u32>().ok();
    let mut edges = BTreeSet::new();
    for edge in map["edges"].as_array().into_iter().flatten() {
        let (Some(from), Some(to)) = (process(&edge["from"]), process(&edge["to"])) else { continue };
        let ports = edge["attributes"]["server_ports"].as_array().into_iter().flatten();
        edges.extend(ports.filter_map(Value::as_u64).map(|port| (from, to, port as u16)));
    }
    edges
}

/// Ids of the BPF programs a process holds.
fn programs_of(pid: u32) -> BTreeSet<u64> {
    let files = std::fs::read_dir(format!("/proc/{pid}/fdinfo")).unwrap();
    let texts = files.filter_map(|file| std::fs::read_to_string(file.ok()?.path()).ok());
    texts.filter_map(|text| text.lines().find_map(|line| line.strip_prefix("prog_id:")?.trim().parse().ok())).collect()
}

/// Ids of all BPF programs in the kernel; `None` where the tool that tells is missing.
fn all_programs() -> Option<BTreeSet<u64>> {
    let output = Command::new("bpftool").args(["-j", "prog", "show"]).output().ok()?;
    let programs: Value = serde_json::from_slice(&output.stdout).ok()?;
    Some(programs.as_array()?.iter().filter_map(|program| program["id"].as_u64()).collect())
}

/// Ends with the test, also with one that fails.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
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
    let redis = Command::new("redis-server").args(["--port", &port.to_string(), "--save", ""]).stdout(Stdio::null()).spawn();
    let redis = Server(redis.unwrap());
    let redis_pid = redis.0.id();
    let mut client = wait_for("redis listening", || TcpStream::connect(("127.0.0.1", port)).ok());

    let mut gala = Gala::start(tempfile::tempdir().unwrap());
    gala.wait_to_hear("READY=1");
    let agent = gala.api("/health")["components"]["agent"].clone();
    assert_ne!(agent["status"], "starting", "ready is told after the first collection: {agent}");
    wait_for("health", || (get(&gala.hub, "/api/v1/health").0 == 200).then_some(()));
    gala.wait_to_hear("WATCHDOG=1");
    // Else the queue fills, and the program waits for us.
    let heard = gala.notified.try_clone().unwrap();
    std::thread::spawn(move || while heard.recv(&mut [0; 256]).is_ok() {});

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

    // Every connection between two processes of this host that lasts, as `ss` sees it, is an edge of the map; and what the
    // map says of this test and its Redis is what `ss` says.
    let own = (std::process::id(), redis_pid, port);
    assert!(local_connections().contains(&own), "{:?}", local_connections());
    wait_for("every lasting connection on the map", || {
        let before = local_connections();
        ask(&mut client);
        let edges = edges_of_the_map(&gala);
        let after = local_connections();
        let missing = before.intersection(&after).filter(|connection| !edges.contains(connection)).count();
        let of_ours: BTreeSet<_> = edges.into_iter().filter(|(from, to, _)| (*from, *to) == (own.0, own.1)).collect();
        (missing == 0 && of_ours == BTreeSet::from([own])).then_some(())
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
    a_probe_is_set_over_the_hub(&gala);
    a_second_instance_names_the_first(&gala);

    let programs = programs_of(gala.process.id());
    assert!(programs.len() > 10, "hooks are loaded: {programs:?}");
    let (code, took) = gala.terminate();
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(5), "the end took {took:?}");
    assert!(TcpStream::connect(&gala.rest).is_err(), "the REST port is still open");
    // The kernel frees what was attached a moment after the last user is gone.
    match all_programs() {
        Some(_) => wait_for("the kernel freeing every program", || {
            all_programs().is_some_and(|all| all.is_disjoint(&programs)).then_some(())
        }),
        None => println!("skipped: what stays in the kernel cannot be seen without bpftool"),
    }
    let left = std::fs::read_dir(gala.dir.path().join("run")).map_or(0, Iterator::count);
    assert_eq!(left, 0, "files left in the run folder");
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

/// The hub hands the settings of a probe to the agent, whose REST API then shows them; and says what the agent costs.
fn a_probe_is_set_over_the_hub(gala: &Gala) {
    let put = |body: &str| {
        let request = format!(
            "PUT /api/v1/agent/probes/io/config HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            gala.hub,
            body.len()
        );
        let (status, body) = exchange(&gala.hub, &request);
        (status, serde_json::from_str::<Value>(&body).unwrap_or_else(|error| panic!("{error}: {body}")))
    };
    let of_rest = || serde_json::from_str::<Value>(&get(&gala.rest, "/io").1).unwrap();
    for state in ["stopped", "running"] {
        let (status, config) = put(&format!("{{\"state\": \"{state}\"}}"));
        assert_eq!((status, config["state"].as_str()), (200, Some(state)), "{config}");
        assert_eq!(config, of_rest());
    }
    let (status, refused) = put("{\"params\": {\"report_period\": 0}}");
    let message = refused["error"]["message"].as_str().unwrap();
    assert_eq!((status, message.contains("report_period")), (422, true), "{refused}");
    let memory = &gala.api("/agent/budget")["memory"];
    assert!(memory["rss_bytes"].as_u64().unwrap() > memory["agent_bytes"].as_u64().unwrap(), "{memory}");
}

fn a_second_instance_names_the_first(gala: &Gala) {
    let ports = ["--metrics-listen", "off", "--rest-listen", "off"];
    // The same folders, and an agent that shares the data folder only.
    for (command, hub, run) in [("up", &["--listen", "127.0.0.1:0"][..], "run"), ("agent", &[], "run2")] {
        let output = Command::new(env!("CARGO_BIN_EXE_gala"))
            .arg(command)
            .args(hub)
            .args(ports)
            .arg("--data")
            .arg(gala.dir.path().join("data"))
            .arg("--run-dir")
            .arg(gala.dir.path().join(run))
            .output()
            .unwrap();
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{command}: {message}");
        assert!(message.contains(&gala.process.id().to_string()), "{command}: {message}");
    }
    // One of its own data folder touches nothing before it knows.
    let other = gala.dir.path().join("other");
    let output = Command::new(env!("CARGO_BIN_EXE_gala"))
        .args(["up", "--listen", "127.0.0.1:0"])
        .args(ports)
        .arg("--data")
        .arg(&other)
        .arg("--run-dir")
        .arg(gala.dir.path().join("run"))
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains(&format!("pid {}", gala.process.id())), "{message}");
    assert!(!other.exists(), "it made its data folder");
}
