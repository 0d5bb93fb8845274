//! The other half of accuracy: a service that is well, then one that is asked three times as much, must open no incident.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Args;

use crate::redis;
use crate::runner::{build_stages, cause_text, prepare, usual_rate, wait_until_warm};
use crate::say;
use crate::scenario::Fault;
use crate::undo::Undo;
use crate::watch::{Product, now_ms, wait_for};

#[derive(Args)]
pub struct Quiet {
    #[arg(long, value_name = "PROGRAM")]
    gala: PathBuf,
    #[arg(long, default_value = "127.0.0.1:7070", value_name = "ADDR:PORT")]
    hub: String,
    /// Minutes at the usual load
    #[arg(long, default_value_t = 30)]
    minutes: u64,
    /// Minutes at three times the load
    #[arg(long, default_value_t = 5)]
    tripled_minutes: u64,
}

impl Quiet {
    pub fn run(self) -> Result<ExitCode> {
        let mut undo = Undo::default();
        let product = prepare(&self.gala, &self.hub, &mut undo)?;
        let stages = build_stages(&[Fault::Cpu, Fault::Disk], &mut undo)?;
        wait_until_warm(&product)?;
        let mut found = watch(&product, "the usual load", self.minutes)?;
        for (stage, with_disk) in stages.iter().zip([false, true]) {
            let (address, rate) = (stage.redis.address.to_string(), (2 * usual_rate(with_disk)).to_string());
            undo.kill_later(redis::own(&["client", &address, "--rate", &rate], true)?);
        }
        found += watch(&product, "three times the load", self.tripled_minutes)?;
        Ok(if found == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Waits so many minutes and tells every incident that opens; answers how many did.
fn watch(product: &Product, what: &str, minutes: u64) -> Result<usize> {
    say(&format!("\n{what}, {minutes} minutes"));
    let begun = now_ms();
    let mut known: Vec<String> = Vec::new();
    wait_for(Duration::from_secs(60 * minutes), || {
        for incident in product.incidents_since(begun)? {
            let id = incident["id"].as_str().unwrap_or("").to_owned();
            if !known.contains(&id) {
                let summary = incident["summary"]["en"].as_str().unwrap_or("");
                say(&format!("  {:>4} s  {summary}; {}", (now_ms() - begun) / 1000, cause_text(&incident["cause"])));
                known.push(id);
            }
        }
        Ok(None::<()>)
    })?;
    say(&format!("  {} incidents", known.len()));
    Ok(known.len())
}
