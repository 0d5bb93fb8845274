//! Remote write of a real agent to receivers that fail in the ways hubs fail, and to a Prometheus where there is one.

mod common;

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use common::{agent, request, wait_for};
use gala_model::remote_write::{Item, decode};
use parking_lot::Mutex;

type Seen = Arc<Mutex<Vec<String>>>;

/// A receiver that answers the given statuses first and then takes everything; it notes the names of accepted series.
fn receiver(first: &'static [u16]) -> (SocketAddr, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    let seen = Seen::default();
    let (answers, names) = (Arc::new(Mutex::new(first.to_vec())), Arc::clone(&seen));
    let take = move |headers: HeaderMap, body: Bytes| {
        let (answers, names) = (Arc::clone(&answers), Arc::clone(&names));
        async move {
            let mut answers = answers.lock();
            if !answers.is_empty() {
                return StatusCode::from_u16(answers.remove(0)).unwrap();
            }
            assert_eq!(headers["content-encoding"], "snappy");
            assert_eq!(headers["content-type"], "application/x-protobuf");
            let body = snap::raw::Decoder::new().decompress_vec(&body).unwrap();
            for item in decode(&body) {
                let Item::Series(series) = item.unwrap() else { continue };
                let mut labels = Vec::new();
                series.labels(&mut labels).unwrap();
                assert!(labels.is_sorted());
                names.lock().push(labels.iter().find(|(name, _)| *name == "__name__").unwrap().1.to_owned());
            }
            StatusCode::NO_CONTENT
        }
    };
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            axum::serve(listener, Router::new().route("/api/v1/write", axum::routing::post(take))).await
        })
    });
    (address, seen)
}

#[test]
fn samples_arrive_though_the_hub_fails_first() {
    let (address, seen) = receiver(&[503, 500]);
    let running = agent(|config| {
        config.run_unasked = true;
        config.hub = Some(format!("http://{address}"));
    });
    wait_for("a pushed sample", || seen.lock().iter().any(|name| name.starts_with("gala_gopher_cpu_")));
    assert!(!running.agent.ledger().iter().any(|line| line.what == "samples lost"), "{:?}", running.agent.ledger());
}

#[test]
fn refused_samples_are_counted_and_do_not_block_the_next() {
    let (address, seen) = receiver(&[400]);
    let running = agent(|config| {
        config.run_unasked = true;
        config.interval = Duration::from_secs(1);
        config.hub = Some(format!("http://{address}"));
    });
    wait_for("a pushed sample", || !seen.lock().is_empty());
    let ledger = running.agent.ledger();
    let line = ledger.iter().find(|line| line.what == "samples refused");
    let line = line.unwrap_or_else(|| panic!("no sample was refused: {ledger:?}"));
    assert!(line.count > 0 && line.reason.contains("400"), "{line:?}");
}

#[test]
fn an_address_that_is_none_is_refused_at_start() {
    let folder = tempfile::tempdir().unwrap();
    let config = gala_agent::AgentConfig {
        metrics_listen: None,
        rest_listen: None,
        hub: Some("hub:7070".into()),
        run_dir: folder.path().join("run"),
        state_dir: folder.path().join("state"),
        ..Default::default()
    };
    let refused = gala_agent::Agent::start(config, Arc::new(gala_agent::sinks::Discard));
    assert!(refused.err().unwrap().to_string().contains("hub hub:7070"));
}

struct Prometheus(Child);

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The address it chose itself: one that was free a moment ago may be another test's by now. Its log is read to the end, so
/// that it never blocks on it. `None` where it does not tell: before 2.40.
fn chosen_port(log: impl BufRead + Send + 'static) -> Option<SocketAddr> {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        for line in log.lines().map_while(Result::ok).filter(|line| line.contains("\"Listening on\"")) {
            let _ = tell.send(line.rsplit_once("address=").and_then(|(_, address)| address.parse().ok()));
        }
    });
    told.recv_timeout(Duration::from_secs(30)).ok().flatten()
}

#[test]
fn prometheus_takes_what_we_push() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("p.yml");
    std::fs::write(&config, "global:\n  scrape_interval: 1m\n").unwrap();
    let started = Command::new("prometheus")
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
        .arg("--web.listen-address=127.0.0.1:0")
        .arg("--web.enable-remote-write-receiver")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = started else {
        #[allow(clippy::print_stdout)]
        {
            println!("skipped: no prometheus here");
        }
        return;
    };
    let log = BufReader::new(child.stderr.take().unwrap());
    let _prometheus = Prometheus(child);
    let Some(port) = chosen_port(log) else {
        #[allow(clippy::print_stdout)]
        {
            println!("skipped: this prometheus does not start or does not tell its address");
        }
        return;
    };
    let running = agent(|config| {
        config.run_unasked = true;
        config.hub = Some(format!("http://{port}"));
    });
    let query = "/api/v1/query?query=count(%7B__name__%3D~%22gala_gopher_cpu_.%2B%22%7D)";
    wait_for("our samples in prometheus", || request(port, "GET", query, b"").body.contains("\"value\""));
    assert!(!running.agent.ledger().iter().any(|line| line.what == "samples refused"), "{:?}", running.agent.ledger());
}
