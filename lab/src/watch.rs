//! Watching the product from outside, as an operator's script would: over its HTTP API.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::Value;

use crate::say;
use crate::stage::Stages;
use crate::undo::{Undo, last_line, spawn_logged};

const UP_PATIENCE: Duration = Duration::from_secs(30);
/// A hub that does not answer for so long is gone; for less it may be busy.
const SILENCE: Duration = Duration::from_secs(30);
const WARM_PATIENCE: Duration = Duration::from_secs(480);
/// The service's first reports are in by then, so that health knows of its KPIs.
const FIRST_LOOK_MS: i64 = 30_000;
/// Sixty reports of a KPI and a few more: no longer is to be waited from the first look on.
const WARM_AFTER_MS: i64 = 300_000;
/// Health tells when nine of ten KPIs will be warm, and those of the service began last.
const LAST_MS: i64 = 30_000;

/// Set by Ctrl-C; every wait ends then.
pub static STOP: AtomicBool = AtomicBool::new(false);

/// Which hub is watched.
#[derive(Args)]
pub struct Hub {
    /// The program to start when no hub answers
    #[arg(long, value_name = "PROGRAM")]
    gala: PathBuf,
    #[arg(long, default_value = "127.0.0.1:7070", value_name = "ADDR:PORT")]
    hub: String,
}

/// A running hub.
pub struct Product {
    /// `127.0.0.1:7070`
    pub address: String,
    /// What it says, where this program started it; it ends with it then.
    log: Option<PathBuf>,
}

impl Hub {
    /// The hub that answers, else one that is started, with its files in the lab's folder.
    pub fn reach(&self, stages: &Stages, undo: &mut Undo) -> Result<Product> {
        let mut product = Product { address: self.hub.clone(), log: None };
        if product.ask("/health").is_err() {
            say(&format!("starting {} up", self.gala.display()));
            self.start(&mut product, &stages.dir(), undo)?;
        } else {
            let up = wait_for(UP_PATIENCE, || Ok(product.is_up().then_some(())))?;
            up.with_context(|| format!("the hub at {} is still starting after {} s", self.hub, UP_PATIENCE.as_secs()))?;
            say("a hub answers already, so it is the one that is watched");
        }
        if let Some(less) = less_than_all(&product.get("/health")?) {
            say(&format!("its agent does not see everything, so it may miss what is made here: {less}"));
        }
        say(&format!("the interface is at http://{}/", self.hub));
        Ok(product)
    }

    /// Starts an instance that shares no file, socket or port with another one and leaves nothing behind; returns when it is up.
    fn start(&self, product: &mut Product, dir: &Path, undo: &mut Undo) -> Result<()> {
        let dir = dir.join("hub");
        let (data, run, log) = (dir.join("data").display().to_string(), dir.join("run").display().to_string(), dir.join("log"));
        for folder in [&data, &run] {
            std::fs::create_dir_all(folder).with_context(|| folder.clone())?;
        }
        let gala = self.gala.display().to_string();
        let files = ["--data", &data, "--run-dir", &run];
        let ports = ["--listen", &self.hub, "--metrics-listen", "off", "--rest-listen", "off"];
        let process = undo.kill_later(spawn_logged(&[&[gala.as_str(), "up"], &ports[..], &files[..]].concat(), &log)?);
        product.log = Some(log.clone());
        let up = wait_for(UP_PATIENCE, || {
            if let Some(status) = process.borrow_mut().try_wait().context("the started program")? {
                bail!("{gala} up ended ({status}): {}", last_line(&log));
            }
            Ok(product.is_up().then_some(()))
        })?;
        up.with_context(|| {
            format!("no hub at {} after {} s; its last word: {}", self.hub, UP_PATIENCE.as_secs(), last_line(&log))
        })
    }
}

/// Why a hub with this health sees less of this host than it could, if it does.
fn less_than_all(health: &Value) -> Option<String> {
    let agent = &health["components"]["agent"];
    match agent["status"].as_str() {
        Some("ok") => None,
        Some(status) => Some(format!("{status}, {}", agent["reason"].as_str().unwrap_or("no reason is told"))),
        None => Some("it has none".to_owned()),
    }
}

impl Product {
    /// Whether it ends with this program.
    pub const fn is_ours(&self) -> bool {
        self.log.is_some()
    }

    /// An answer of the API; a hub that is busy is asked again.
    pub fn get(&self, path: &str) -> Result<Value> {
        let begun = Instant::now();
        loop {
            match self.ask(path) {
                Err(error) if begun.elapsed() >= SILENCE => {
                    let word = self.log.as_deref().map(|log| format!("; its last word: {}", last_line(log)));
                    return Err(error.context(format!("the hub does not answer any more{}", word.unwrap_or_default())));
                }
                Err(_) if STOP.load(Ordering::Relaxed) => bail!("stopped"),
                Err(_) => std::thread::sleep(Duration::from_millis(500)),
                Ok(answer) => return Ok(answer),
            }
        }
    }

    fn ask(&self, path: &str) -> Result<Value> {
        let place = || format!("http://{}/api/v1{path}", self.address);
        let mut stream = TcpStream::connect(&self.address).with_context(place)?;
        stream.set_read_timeout(Some(Duration::from_secs(20))).with_context(place)?;
        let request = format!("GET /api/v1{path} HTTP/1.0\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address);
        stream.write_all(request.as_bytes()).with_context(place)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).with_context(place)?;
        let (_, body) = answer.split_once("\r\n\r\n").with_context(place)?;
        serde_json::from_str(body).with_context(place)
    }

    pub fn is_up(&self) -> bool {
        self.ask("/health").is_ok_and(|health| health["status"] != "starting")
    }

    /// Warm KPIs, all of them, and when the last will be.
    fn warmth(&self) -> Result<(u64, u64, Option<i64>)> {
        let health = self.get("/health")?;
        let kpis = &health["components"]["detection"]["kpis"];
        Ok((kpis["warm"].as_u64().unwrap_or(0), kpis["total"].as_u64().unwrap_or(0), kpis["warm_at_ms"].as_i64()))
    }

    /// Incidents that were opened after a moment or are open now, newest first.
    pub fn incidents_since(&self, at_ms: i64) -> Result<Vec<Value>> {
        let faults = self.get("/faults?limit=200")?;
        let items = faults["items"].as_array().cloned().unwrap_or_default();
        Ok(items.into_iter().filter(|fault| fault["opened_ms"].as_i64().unwrap_or(0) >= at_ms).collect())
    }
}

/// Waits until what the service does is known to the detector, as health foretells it for the KPIs there are once the service
/// runs. Not until all are warm: where processes come and go all never are.
pub fn wait_until_warm(product: &Product) -> Result<()> {
    say("waiting until detection knows what is usual (a KPI is judged from its 60th sample, some 5 minutes)");
    let begun = now_ms();
    let (mut shown, mut until_ms) = (0, None);
    let warm = wait_for(WARM_PATIENCE, || {
        let (warm, total, at_ms) = product.warmth()?;
        let now = now_ms();
        if total == 0 || now < begun + FIRST_LOOK_MS {
            return Ok(None);
        }
        let foretold = |at_ms: i64| at_ms.clamp(now, now + WARM_AFTER_MS) + LAST_MS;
        // Absent when all are warm, and while the pace of none is known.
        let unknown = if warm < total { now + WARM_AFTER_MS + LAST_MS } else { now };
        let until = *until_ms.get_or_insert(at_ms.map_or(unknown, foretold));
        let passed = (now - begun) / 1000;
        if passed >= shown + 30 {
            shown = passed;
            say(&format!("  {passed} s: {warm} of {total} KPIs are warm, about {} s to go", ((until - now) / 1000).max(0)));
        }
        Ok((now >= until).then_some(()))
    })?;
    if warm.is_none() {
        say("  detection knows of no KPI; going on");
    }
    Ok(())
}

pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

/// Looks until there is an answer, the time is over (`None`), or Ctrl-C.
pub fn wait_for<T>(patience: Duration, mut look: impl FnMut() -> Result<Option<T>>) -> Result<Option<T>> {
    let begun = Instant::now();
    loop {
        if STOP.load(Ordering::Relaxed) {
            bail!("stopped");
        }
        if let Some(found) = look()? {
            return Ok(Some(found));
        }
        if begun.elapsed() >= patience {
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// Lets Ctrl-C, SIGTERM and a terminal that is closed end the waits, so that everything is undone. From its return on.
pub fn end_on_signal() -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("signal handling")?;
    let entered = runtime.enter();
    let heard = |kind| signal(kind).context("signal handling");
    let (mut interrupt, mut terminate, mut hangup) =
        (heard(SignalKind::interrupt())?, heard(SignalKind::terminate())?, heard(SignalKind::hangup())?);
    drop(entered);
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            runtime.block_on(async {
                tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {}, _ = hangup.recv() => {} }
                STOP.store(true, Ordering::Relaxed);
            });
        })
        .context("signal handling")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_hub_that_sees_less_is_told_with_its_reason() {
        let health = |agent: Value| json!({"status": "degraded", "components": {"agent": agent, "store": {"status": "ok"}}});
        assert_eq!(less_than_all(&health(json!({"status": "ok", "reason": ""}))), None);
        let degraded = less_than_all(&health(json!({"status": "degraded", "reason": "not root"})));
        assert_eq!(degraded.as_deref(), Some("degraded, not root"));
        assert_eq!(less_than_all(&json!({"status": "ok", "components": {}})).as_deref(), Some("it has none"));
    }
}
