//! A hub of its own on a free port with a data folder of its own, and the little HTTP that asking it takes.
#![allow(dead_code)] // each test uses its part

pub mod schema;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use gala_hub::{Build, Hub, HubConfig, TopologyConfig};
use gala_store::{Labels, SeriesWrite};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(30);
/// Cycles come this often, so that tests need not wait.
const PERIOD_MS: i64 = 200;

pub const MACHINE: &str = "0f1e2d3c-0000-4000-8000-000000000001-192.0.2.1";

pub struct TestHub {
    hub: Option<Hub>,
    pub address: SocketAddr,
}

/// Name, labels besides the machine, value.
type PutSample<'a> = (&'a str, &'a [(&'a str, &'a str)], f64);

pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {} {}", self.status, self.body))
    }
}

impl TestHub {
    pub fn start(data_dir: &Path) -> Self {
        let hub = Hub::start(Self::config(data_dir)).unwrap();
        let address = hub.address();
        Self { hub: Some(hub), address }
    }

    pub fn config(data_dir: &Path) -> HubConfig {
        HubConfig {
            data_dir: PathBuf::from(data_dir),
            listen: "127.0.0.1:0".parse().unwrap(),
            any_port: false,
            retention: Duration::from_secs(7 * 86_400),
            store_bytes: 1 << 30,
            topology: TopologyConfig { period_ms: PERIOD_MS, ..TopologyConfig::default() },
            build: Build { full: "0.1.0 (abc, 2026-01-02)", version: "0.1.0", commit: "abc", date: "2026-01-02" },
        }
    }

    pub fn hub(&self) -> &Hub {
        self.hub.as_ref().expect("the hub runs until it is dropped")
    }

    /// Appends one sample per series, all at one time, and makes them safe.
    pub fn put(&self, t_ms: i64, samples: &[PutSample<'_>]) {
        let store = &self.hub().state().store;
        let rows: Vec<_> = samples
            .iter()
            .map(|(name, labels, value)| {
                let own = [("__name__", *name), ("machine_id", MACHINE)];
                let labels = Labels::new(own.into_iter().chain(labels.iter().copied()));
                (store.resolve(&labels).unwrap(), t_ms, *value)
            })
            .collect();
        let appended = store.append(&rows).unwrap();
        assert!(appended.rejected.is_empty(), "{:?}", appended.rejected);
        store.sync().unwrap();
    }

    pub fn get(&self, path: &str) -> Answer {
        self.send(format!("GET /api/v1{path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address))
    }

    pub fn json(&self, path: &str) -> Value {
        let answer = self.get(path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.json()
    }

    pub fn with_body(&self, method: &str, path: &str, content_type: &str, body: &[u8]) -> Answer {
        let mut request = format!(
            "{method} /api/v1{path} HTTP/1.1\r\nHost: {}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            self.address,
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        self.send(request)
    }

    /// Sends bytes as they are and reads to the end of the connection.
    pub fn send(&self, request: impl AsRef<[u8]>) -> Answer {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // A server that refuses early may close before all is sent; its answer counts.
        let _ = stream.write_all(request.as_ref());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let text = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer, but {text:?}"));
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("no status: {head}"));
        let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
        let body = if chunked { unchunk(body) } else { body.to_owned() };
        Answer { status, head: head.to_owned(), body }
    }
}

impl Drop for TestHub {
    fn drop(&mut self) {
        if let Some(hub) = self.hub.take() {
            hub.stop();
        }
    }
}

fn unchunk(mut rest: &str) -> String {
    let mut body = String::new();
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        if size == 0 || after.len() < size {
            break;
        }
        body.push_str(&after[..size]);
        rest = after[size..].trim_start_matches("\r\n");
    }
    body
}

pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "{what} did not happen within {} s", PATIENCE.as_secs());
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub fn now_ms() -> i64 {
    gala_store::now_ms()
}

/// A host with one process, as an agent reports them.
pub fn put_process(hub: &TestHub, t_ms: i64, tgid: &str, start_time: &str) {
    let process = [("tgid", tgid), ("comm", "redis-server"), ("pgid", tgid), ("start_time", start_time)];
    hub.put(
        t_ms,
        &[
            ("gala_gopher_host_value", &[("hostname", "alpha"), ("os_version", "1")], 1.0),
            ("gala_gopher_proc_fd_count", &process, 12.0),
        ],
    );
}

pub fn process_id(tgid: &str) -> String {
    format!("{MACHINE}_proc_{tgid}")
}

/// How often the story's agent reports.
const STEP_MS: i64 = 5_000;
/// Length of the story: long enough for detection to know what is usual.
pub const STORY_MS: i64 = 1_500_000;
/// The slow end of the story.
const SLOW_MS: i64 = 80_000;

/// Redis as an agent of this host would have reported it up to now: 100 requests a second from one client, quick until
/// the last minute, then slow because it waits for a CPU. Written into the data folder before a hub opens it.
pub fn write_story(data_dir: &Path) -> i64 {
    write_long_story(data_dir, STORY_MS)
}

/// The same of another length.
pub fn write_long_story(data_dir: &Path, length_ms: i64) -> i64 {
    let store = gala_store::Store::open(gala_store::StoreOptions::new(data_dir.join("store"))).unwrap();
    let end_ms = now_ms() / STEP_MS * STEP_MS;
    let redis = [("tgid", "4711"), ("comm", "redis-server"), ("pgid", "4711"), ("start_time", "100")];
    let client = [("tgid", "4712"), ("comm", "shop"), ("pgid", "4712"), ("start_time", "100")];
    let requests = [("tgid", "4711"), ("ins_id", "0"), ("app", "REDIS"), ("method", "GET")];
    let address = [("server_ip", "127.0.0.1"), ("server_port", "6379"), ("comm", "redis-server")];
    let link = |tgid: &'static str, comm: &'static str, role: &'static str| {
        let ends = [("client_ip", "127.0.0.1"), ("server_ip", "127.0.0.1"), ("client_port", "0"), ("server_port", "6379")];
        [("tgid", tgid), ("comm", comm), ("role", role), ("protocol", "2")].into_iter().chain(ends)
    };
    let mut batch = Vec::new();
    let mut add = |t_ms: i64, name: &str, labels: Vec<(&str, &str)>, value: f64| {
        let labels = Labels::new([("__name__", name), ("machine_id", MACHINE)].into_iter().chain(labels));
        batch.push((store.resolve(&labels).unwrap(), t_ms, value));
    };
    let (mut count, mut sum_ns, mut sched_ns, mut slow_count) = (0.0, 0.0, 0.0, 0.0);
    for step in 0..=length_ms / STEP_MS {
        let t_ms = end_ms - length_ms + step * STEP_MS;
        let is_slow = t_ms > end_ms - SLOW_MS;
        // A little uneven, as life is.
        let jitter = 1.0 + 0.05 * ((step * 7919 % 13) as f64 / 13.0);
        let latency_ns = if is_slow { 30e6 } else { 300e3 } * jitter;
        count += 500.0;
        sum_ns += 500.0 * latency_ns;
        sched_ns += 500.0 * (latency_ns - 200e3);
        slow_count += if is_slow { 500.0 } else { 0.0 };
        let of_requests = || requests.into_iter().chain(address).collect::<Vec<_>>();
        add(t_ms, "gala_gopher_host_value", vec![("hostname", "alpha"), ("os_version", "1")], 1.0);
        add(t_ms, "gala_gopher_proc_fd_count", redis.to_vec(), 12.0);
        add(t_ms, "gala_gopher_proc_fd_count", client.to_vec(), 9.0);
        add(t_ms, "gala_gopher_proc_run_delay_ns", redis.to_vec(), if is_slow { 3e9 } else { 4e6 } * jitter);
        add(t_ms, "gala_gopher_proc_run_delay_per", redis.to_vec(), if is_slow { 80.0 } else { 0.2 } * jitter);
        for (name, value) in [
            ("requests_total", count),
            ("errors_total", 0.0),
            ("latency_nsec_sum", sum_ns),
            ("latency_nsec_count", count),
            ("sched_nsec_sum", sched_ns),
            ("sched_nsec_count", count),
            ("proc_nsec_sum", count * 150e3),
            ("proc_nsec_count", count),
        ] {
            add(t_ms, &format!("gala_gopher_sli_{name}"), of_requests(), value);
        }
        for (edge, value) in [("500000", count - slow_count), ("50000000", count), ("+Inf", count)] {
            let labels = of_requests().into_iter().chain([("le", edge)]).collect();
            add(t_ms, "gala_gopher_sli_latency_nsec", labels, value);
        }
        for (tgid, comm, role) in [("4711", "redis-server", "server"), ("4712", "shop", "client")] {
            add(t_ms, "gala_gopher_tcp_link_rx_bytes", link(tgid, comm, role).collect(), 20_000.0);
            add(t_ms, "gala_gopher_tcp_link_tx_bytes", link(tgid, comm, role).collect(), 30_000.0);
        }
    }
    let appended = store.append(&batch).unwrap();
    assert!(appended.rejected.is_empty(), "{:?}", appended.rejected.first());
    end_ms
}

/// Entity of the story's requests.
pub fn requests_id() -> String {
    format!("{MACHINE}_sli_4711_0_REDIS_GET")
}
