//! A real Redis server on one processor, with its client in the other namespace.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::host::{NAMESPACE, SERVER_IP};
use crate::undo::{Undo, spawn};

const START_PATIENCE: Duration = Duration::from_secs(10);

/// A running server.
pub struct Redis {
    pub pid: u32,
    pub address: SocketAddr,
    pub cpu: usize,
}

/// Starts a server; `dir` on a disk makes every write durable before it is answered.
pub fn start(port: u16, cpu: usize, dir: Option<&Path>, undo: &mut Undo) -> Result<Redis> {
    let (port_text, cpu_text) = (port.to_string(), cpu.to_string());
    let bind = SERVER_IP.to_string();
    let mut command = vec![
        "taskset",
        "-c",
        &cpu_text,
        "redis-server",
        "--port",
        &port_text,
        "--bind",
        &bind,
        "--save",
        "",
        "--tcp-backlog",
        "8",
        "--protected-mode",
        "no",
    ];
    let dir_text = dir.map(|dir| dir.display().to_string());
    if let Some(dir) = &dir_text {
        command.extend(["--dir", dir, "--appendonly", "yes", "--appendfsync", "always", "--auto-aof-rewrite-percentage", "0"]);
    }
    let child = spawn(&command)?;
    let pid = child.id();
    undo.kill_later(child);
    let address = SocketAddr::from((SERVER_IP, port));
    let begun = Instant::now();
    while TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_err() {
        if begun.elapsed() > START_PATIENCE {
            bail!("redis-server does not listen on {address} after {} s", START_PATIENCE.as_secs());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(Redis { pid, address, cpu })
}

/// Runs one of this program's own subcommands, in the client's namespace or here.
pub fn own(words: &[&str], in_namespace: bool) -> Result<Child> {
    let program = std::env::current_exe().context("own program")?.display().to_string();
    let mut command: Vec<&str> = if in_namespace { vec!["ip", "netns", "exec", NAMESPACE] } else { Vec::new() };
    command.push(&program);
    command.extend_from_slice(words);
    spawn(&command)
}
