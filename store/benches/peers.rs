//! The store as its users meet it: `gala hub` over HTTP, and Prometheus and VictoriaMetrics, where they are installed, on the
//! same bytes in the same run. CPU time is the server's, until it is calm again. `GALA` names another binary,
//! `BENCH_SHORT=1` takes a twelfth of the load.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use gala_store::now_ms;
use serde_json::Value;

use figures::Better::{Less, More};
use figures::{also, figure, is_short, median, note, title};
use load::{Load, ROUNDS, SERIES, SHORT_ROUNDS, STEP_MS, TWO_HOSTS, folder_bytes};

mod figures;
mod load;

const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Gala,
    Prometheus,
    VictoriaMetrics,
}

/// One server with a folder and a port of its own; killed when dropped.
struct Server {
    kind: Kind,
    dir: PathBuf,
    port: u16,
    process: Child,
}

impl Server {
    fn start(kind: Kind, dir: &Path, port: u16) -> Self {
        let (at, data) = (format!("127.0.0.1:{port}"), dir.display());
        let arguments = match kind {
            Kind::Gala => vec![
                "hub".into(),
                format!("--listen={at}"),
                format!("--data={data}"),
                format!("--run-dir={data}/run"),
                format!("--config={data}/none"),
                "--log=warn".into(),
            ],
            Kind::Prometheus => vec![
                format!("--config.file={data}/none"),
                format!("--storage.tsdb.path={data}/data"),
                format!("--web.listen-address={at}"),
                "--web.enable-remote-write-receiver".into(),
                "--web.enable-admin-api".into(),
                "--log.level=error".into(),
            ],
            Kind::VictoriaMetrics => vec![
                format!("-storageDataPath={data}/data"),
                format!("-httpListenAddr={at}"),
                "-search.latencyOffset=0s".into(),
                "-search.disableCache".into(),
                "-loggerLevel=ERROR".into(),
            ],
        };
        std::fs::create_dir_all(dir).expect("create folder");
        std::fs::write(dir.join("none"), "").expect("empty configuration");
        let mut command = Command::new(program(kind));
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
        // Rivals' words at the end of a kill are no news.
        command.stderr(if kind == Kind::Gala { Stdio::inherit() } else { Stdio::null() });
        let process = command.spawn().expect("start the server");
        Self { kind, dir: dir.to_owned(), port, process }
    }

    /// Body of an answer with status 200.
    fn ask(&self, request: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        // HTTP/1.0: the answer ends with the connection and is not cut into chunks.
        write!(stream, "{request} HTTP/1.0\r\nHost: 127.0.0.1:{}\r\nContent-Length: 0\r\n\r\n", self.port).ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        let text = String::from_utf8(answer).ok()?;
        let (head, body) = text.split_once("\r\n\r\n")?;
        head.split(' ').nth(1).is_some_and(|status| status == "200").then(|| body.to_owned())
    }

    /// The number a query answers, 0 where it finds nothing.
    fn number(&self, query: &str, at_ms: i64) -> Option<f64> {
        let time = at_ms as f64 / 1e3;
        let answer = self.ask(&format!("GET /api/v1/query?time={time}&query={}", escape(query)))?;
        let answer: Value = serde_json::from_str(&answer).ok()?;
        let found = answer["data"]["result"].as_array()?.first().map(|sample| sample["value"][1].as_str()?.parse().ok());
        found.unwrap_or(Some(0.0))
    }

    /// User and system time so far, in seconds.
    fn cpu(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id())).expect("the server runs");
        let behind_name = stat.rsplit(')').next().unwrap_or_default();
        let ticks: Vec<f64> = behind_name.split_whitespace().skip(11).take(2).filter_map(|text| text.parse().ok()).collect();
        ticks.iter().sum::<f64>() / rustix::param::clock_ticks_per_second() as f64
    }

    /// CPU time once work in the background has ceased.
    fn cpu_when_calm(&self) -> f64 {
        let (mut before, begun) = (self.cpu(), Instant::now());
        loop {
            sleep(Duration::from_secs(1));
            let now = self.cpu();
            if now - before <= 0.03 || begun.elapsed() > PATIENCE / 2 {
                return now;
            }
            before = now;
        }
    }

    fn resident_mib(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
    }

    fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    fn terminate(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.process);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.process.wait();
    }

    /// Bytes of all files once everything is merged, as far as the server does that while it runs.
    fn settled_while_running(&self) -> Option<u64> {
        match self.kind {
            Kind::Gala => None,
            // Its newest two to three hours stay in a log; the snapshot holds them as a block.
            Kind::Prometheus => {
                self.ask("POST /api/v1/admin/tsdb/snapshot").expect("snapshot");
                Some(folder_bytes(&self.dir.join("data/snapshots")))
            }
            Kind::VictoriaMetrics => {
                self.ask("GET /internal/force_flush").expect("flush");
                self.ask("GET /internal/force_merge").expect("merge");
                self.cpu_when_calm();
                Some(folder_bytes(&self.dir.join("data")))
            }
        }
    }

    /// The same for ours, which is merged by hand when the hub has ended.
    fn settled_after_end(mut self) -> u64 {
        self.terminate();
        let done = Command::new(program(Kind::Gala)).args(["store", "compact"]).arg(&self.dir).stdout(Stdio::null()).status();
        assert!(done.is_ok_and(|status| status.success()), "gala store compact failed");
        folder_bytes(&self.dir.join("store"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn program(kind: Kind) -> PathBuf {
    match kind {
        Kind::Gala => std::env::var_os("GALA")
            .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/release/gala"), PathBuf::from),
        Kind::Prometheus => "prometheus".into(),
        Kind::VictoriaMetrics => "victoria-metrics".into(),
    }
}

/// Name and version; `None` where it is not installed.
fn name(kind: Kind) -> Option<String> {
    let (product, package) = match kind {
        Kind::Gala => ("gala", ""),
        Kind::Prometheus => ("Prometheus", "prometheus"),
        Kind::VictoriaMetrics => ("VictoriaMetrics", "victoria-metrics"),
    };
    let output = Command::new(program(kind)).arg("--version").output().ok()?;
    // A build without a version is named by its package.
    let packaged = Command::new("dpkg-query").args(["-W", "-f", "${Version}", package]).output();
    let text = [output.stdout, output.stderr, packaged.map(|output| output.stdout).unwrap_or_default()].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    let is_version = |word: &&str| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.');
    let version = text.split(|c: char| c.is_whitespace() || c == '-' || c == '+').find(is_version).unwrap_or("");
    Some(format!("{product} {version}"))
}

fn escape(text: &str) -> String {
    text.bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

fn within<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "{what} did not happen within {} s", PATIENCE.as_secs());
        sleep(Duration::from_millis(5));
    }
}

/// One connection that writes bodies and waits for each acknowledgement.
struct Writer(BufReader<TcpStream>);

impl Writer {
    fn connect(server: &Server) -> Self {
        let stream = within("the port opens", || TcpStream::connect(("127.0.0.1", server.port)).ok());
        stream.set_nodelay(true).expect("socket option");
        stream.set_read_timeout(Some(PATIENCE)).expect("socket option");
        Self(BufReader::new(stream))
    }

    fn write(&mut self, body: &[u8]) {
        let head = format!(
            "POST /api/v1/write HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Type: application/x-protobuf\r\n\
             Content-Encoding: snappy\r\nX-Prometheus-Remote-Write-Version: 0.1.0\r\nContent-Length: {}\r\n\r\n",
            self.0.get_ref().peer_addr().expect("connected").port(),
            body.len()
        );
        let stream = self.0.get_mut();
        stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).expect("send");
        let (mut status, mut length) = (String::new(), 0);
        for line in self.0.by_ref().lines().map(|line| line.expect("answer")) {
            if status.is_empty() {
                status = line;
            } else if line.is_empty() {
                break;
            } else if let Some((key, value)) = line.split_once(':')
                && key.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().expect("length");
            }
        }
        let mut rest = vec![0; length];
        self.0.read_exact(&mut rest).expect("answer");
        let refused = String::from_utf8_lossy(&rest);
        assert!(status.split(' ').nth(1).is_some_and(|code| code.starts_with('2')), "{status}: {refused}");
    }
}

struct Outcome {
    name: String,
    is_ours: bool,
    rate: f64,
    resident_mib: f64,
    query_ms: f64,
    again_s: f64,
    lost: f64,
    bytes_a_sample: f64,
}

fn run(kind: Kind, name: String, bodies: &[Vec<u8>], end_ms: i64, folder: &Path) -> Outcome {
    let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("free port").port();
    let dir = folder.join(name.replace(' ', "-"));
    let mut server = Server::start(kind, &dir, port);
    within("the server answers", || server.ask("GET /api/v1/query?query=1"));
    let samples = (SERIES * bodies.len()) as f64;
    let mut writer = Writer::connect(&server);
    let (last, first) = bodies.split_last().expect("some load");
    let before = server.cpu();
    first.iter().for_each(|body| writer.write(body));
    let spent = server.cpu_when_calm() - before;
    let resident_mib = server.resident_mib();

    let query = format!(
        "GET /api/v1/query_range?start={}&end={}&step=60&nocache=1&query={}",
        (end_ms - 3_600_000) / 1000,
        end_ms / 1000,
        escape(&format!("{{instance=~\"{}\"}}", TWO_HOSTS.replace('\\', "\\\\")))
    );
    let times = (0..5).map(|_| {
        let begun = Instant::now();
        let answer = server.ask(&query).expect("the query is answered");
        let took = begun.elapsed().as_secs_f64() * 1e3;
        assert_eq!(answer.matches("\"metric\":").count(), 1_000);
        took
    });
    let query_ms = median(times.collect());

    let settled = server.settled_while_running().map(|bytes| bytes as f64 / (samples - SERIES as f64));
    writer.write(last);
    server.kill();
    let killed = Instant::now();
    let server = Server::start(kind, &dir, port);
    within("an answer after the kill", || server.number("count({job=\"gala\"})", end_ms));
    let again_s = killed.elapsed().as_secs_f64();
    let found = within("a count", || server.number("sum(count_over_time({job=\"gala\"}[4h]))", end_ms + 60_000));
    Outcome {
        is_ours: kind == Kind::Gala,
        rate: (samples - SERIES as f64) / spent / 1e6,
        resident_mib,
        query_ms,
        again_s,
        lost: samples - found,
        bytes_a_sample: settled.unwrap_or_else(|| server.settled_after_end() as f64 / samples),
        name,
    }
}

fn main() {
    title("store as a server: the same bytes over HTTP, one connection");
    let rounds = if is_short() { SHORT_ROUNDS } else { ROUNDS };
    let end_ms = now_ms();
    let mut load = Load::new();
    let bodies: Vec<Vec<u8>> = (1..=rounds).map(|round| load.round(end_ms - (rounds - round) * STEP_MS)).collect();
    let folder = tempfile::tempdir().expect("temporary folder");
    let mut outcomes = Vec::new();
    for kind in [Kind::Gala, Kind::Prometheus, Kind::VictoriaMetrics] {
        match name(kind) {
            Some(name) => outcomes.push(run(kind, name, &bodies, end_ms, folder.path())),
            None => note(&format!("skipped: {} is not installed", program(kind).display())),
        }
    }
    let body_bytes: usize = bodies.iter().map(Vec::len).sum();
    let samples = SERIES as f64 * rounds as f64;
    note(&format!(
        "{SERIES} series, {:.1} M samples, {:.1} bytes a sample on the wire",
        samples / 1e6,
        body_bytes as f64 / samples
    ));
    let print = |what: &str, unit: &str, better, floor, aim, value: &dyn Fn(&Outcome) -> f64| {
        for outcome in &outcomes {
            if outcome.is_ours {
                figure(what, value(outcome), unit, better, floor, aim);
            } else {
                also(&outcome.name, value(outcome), unit);
            }
        }
    };
    print("remote write over HTTP, background work included", "M/CPU s", More, 1.0, 2.0, &|outcome| outcome.rate);
    print("bytes a sample, all files, settled", "bytes", Less, 1.3, 0.80, &|outcome| outcome.bytes_a_sample);
    print("acknowledged samples lost by kill -9", "", Less, 0.0, 0.0, &|outcome| outcome.lost);
    print("start to first answer after kill -9", "s", Less, 1.0, 0.3, &|outcome| outcome.again_s);
    print("1 h of 1,000 series at 60 s over HTTP, median of 5", "ms", Less, 100.0, 100.0, &|outcome| outcome.query_ms);
    for outcome in &outcomes {
        also(&format!("resident after writing, {}", outcome.name), outcome.resident_mib, "MiB");
    }
}
