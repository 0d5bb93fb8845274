//! Watching the product from outside, as an operator's script would: over its HTTP API.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Set by Ctrl-C; every wait ends then.
pub static STOP: AtomicBool = AtomicBool::new(false);

/// A running hub.
pub struct Product {
    /// `127.0.0.1:7070`
    pub address: String,
    /// This program started it, and it ends with it.
    pub is_ours: bool,
}

impl Product {
    pub fn get(&self, path: &str) -> Result<Value> {
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
        self.get("/health").is_ok_and(|health| health["status"] != "starting")
    }

    /// Warm KPIs, all of them, and when the last will be.
    pub fn warmth(&self) -> Result<(u64, u64, Option<i64>)> {
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

/// Lets Ctrl-C and SIGTERM end the waits, so that everything is undone.
pub fn end_on_signal() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("signal handling")?;
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            runtime.block_on(async {
                use tokio::signal::unix::{SignalKind, signal};
                if let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
                {
                    tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
                    STOP.store(true, Ordering::Relaxed);
                }
            });
        })
        .context("signal handling")?;
    Ok(())
}
