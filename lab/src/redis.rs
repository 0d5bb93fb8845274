//! A real Redis server on one processor, with its client in the other namespace.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::host::Lane;
use crate::undo::{Process, Undo, end, last_line, spawn, spawn_logged};

const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(100);

/// A running server.
#[derive(Clone)]
pub struct Redis {
    pub address: SocketAddr,
    pub cpu: usize,
    words: Vec<String>,
    log: PathBuf,
    process: Process,
}

/// What a server is to be.
pub struct Wanted<'a> {
    pub address: SocketAddr,
    pub cpu: usize,
    /// A folder on a disk makes every write durable before it is answered.
    pub dir: Option<&'a Path>,
    pub log: PathBuf,
}

/// Starts a server and waits until it takes connections.
pub fn start(wanted: Wanted<'_>, undo: &mut Undo) -> Result<Redis> {
    let Wanted { address, cpu, dir, log } = wanted;
    let (port, bind, cpu_text) = (address.port().to_string(), address.ip().to_string(), cpu.to_string());
    let mut words = vec!["taskset", "-c", &cpu_text, "redis-server", "--port", &port, "--bind", &bind, "--save", ""];
    words.extend(["--tcp-backlog", "8", "--protected-mode", "no"]);
    let dir_text = dir.map(|dir| dir.display().to_string());
    if let Some(dir) = &dir_text {
        words.extend(["--dir", dir, "--appendonly", "yes", "--appendfsync", "always", "--auto-aof-rewrite-percentage", "0"]);
    }
    let words: Vec<String> = words.into_iter().map(str::to_owned).collect();
    let process = undo.kill_later(launch(&words, &log)?);
    let redis = Redis { address, cpu, words, log, process };
    redis.wait_until_open()?;
    Ok(redis)
}

fn launch(words: &[String], log: &Path) -> Result<Child> {
    spawn_logged(&words.iter().map(String::as_str).collect::<Vec<_>>(), log)
}

impl Redis {
    pub fn pid(&self) -> u32 {
        self.process.borrow().id()
    }

    /// Ends the server at once, as the kernel does when memory ran out.
    pub fn kill(&self) {
        end(&self.process);
    }

    /// A new server in the place of one that was killed.
    pub fn start_again(&self) -> Result<()> {
        let child = launch(&self.words, &self.log)?;
        *self.process.borrow_mut() = child;
        self.wait_until_open()
    }

    fn wait_until_open(&self) -> Result<()> {
        let begun = Instant::now();
        loop {
            let is_open = TcpStream::connect_timeout(&self.address, PAUSE).is_ok();
            // Whoever answered for one that has ended is somebody else.
            if let Some(status) = self.process.borrow_mut().try_wait().context("redis-server")? {
                bail!("redis-server on {} ended ({status}): {}", self.address, last_line(&self.log));
            }
            if is_open {
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                bail!("redis-server does not listen on {} after {} s", self.address, PATIENCE.as_secs());
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Waits until the server answers its client, which a firewall of the host may keep from it.
    pub fn wait_until_asked(&self) -> Result<()> {
        let begun = Instant::now();
        while !self.ask(&["INFO", "commandstats"])?.contains("cmdstat_get:") {
            if begun.elapsed() > PATIENCE {
                bail!(
                    "no request reaches redis-server on {} from the lab's namespace within {} s; does a firewall of this host drop \
                     packets of new interfaces?",
                    self.address,
                    PATIENCE.as_secs()
                );
            }
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// The answer to one command, as it came.
    pub fn ask(&self, words: &[&str]) -> Result<String> {
        let place = || format!("redis-server on {}", self.address);
        let mut stream = TcpStream::connect_timeout(&self.address, PATIENCE).with_context(place)?;
        stream.set_read_timeout(Some(PATIENCE)).with_context(place)?;
        stream.write_all(request(words).as_bytes()).with_context(place)?;
        stream.write_all(request(&["QUIT"]).as_bytes()).with_context(place)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).with_context(place)?;
        if answer.starts_with('-') {
            bail!("{} refused {}: {}", place(), words.join(" "), answer.lines().next().unwrap_or(""));
        }
        Ok(answer)
    }

    /// Nanoseconds the server ran on a processor so far.
    pub fn run_time(&self) -> Result<u64> {
        let path = format!("/proc/{}/schedstat", self.pid());
        let text = std::fs::read_to_string(&path).with_context(|| path.clone())?;
        text.split_whitespace().next().and_then(|word| word.parse().ok()).with_context(|| path)
    }
}

/// A command as it goes over the wire.
pub fn request(words: &[&str]) -> String {
    let parts = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len()));
    format!("*{}\r\n{}", words.len(), parts.collect::<String>())
}

/// Runs one of this program's own subcommands, beside the client or here.
pub fn own(words: &[&str], beside_client: Option<Lane>) -> Result<Child> {
    let program = std::env::current_exe().context("own program")?.display().to_string();
    let command = [&[program.as_str()], words].concat();
    match beside_client {
        Some(lane) => spawn(&Lane::inside(&lane.name(), &command)),
        None => spawn(&command),
    }
}
