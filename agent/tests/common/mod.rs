//! A running agent on free ports and a client that says exactly what it is told to.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use gala_agent::sinks::Discard;
use gala_agent::{Agent, AgentConfig, AgentHandle};
use gala_model::ObservationSink;

pub use wait::wait_for;

mod wait;

pub struct Running {
    pub agent: AgentHandle,
    _folders: tempfile::TempDir,
}

/// An agent on port 0 with folders of its own.
#[allow(dead_code)] // each test binary starts what it needs
pub fn agent(change: impl FnOnce(&mut AgentConfig)) -> Running {
    agent_into(Arc::new(Discard), change)
}

/// The same, with somebody who takes what it observes.
pub fn agent_into(sink: Arc<dyn ObservationSink>, change: impl FnOnce(&mut AgentConfig)) -> Running {
    let folders = tempfile::tempdir().unwrap();
    let local = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    let mut config = AgentConfig {
        metrics_listen: local,
        rest_listen: local,
        run_dir: folders.path().join("run"),
        state_dir: folders.path().join("state"),
        run_unasked: false,
        alone: false,
        ..AgentConfig::default()
    };
    change(&mut config);
    let agent = Agent::start(config, sink).unwrap();
    Running { agent, _folders: folders }
}

#[allow(dead_code)] // each test binary reads what it needs
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: String,
}

/// One request on a connection of its own.
pub fn request(address: SocketAddr, method: &str, path: &str, body: &[u8]) -> Reply {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let head = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).unwrap();
    let text = String::from_utf8(reply).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let head = head.to_lowercase();
    let body = if head.contains("transfer-encoding: chunked") { unchunk(body) } else { body.to_owned() };
    Reply { status, head, body }
}

fn unchunk(mut text: &str) -> String {
    let mut out = String::new();
    while let Some((size, rest)) = text.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap();
        if size == 0 {
            break;
        }
        out.push_str(&rest[..size]);
        text = &rest[size + 2..];
    }
    out
}
