//! The other half of accuracy: a service that is well, then one that is asked three times as much, must open no incident.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Args;

use crate::runner::{WARM_MINUTES, cause_text};
use crate::say;
use crate::scenario::Fault;
use crate::stage::Number;
use crate::undo::Undo;
use crate::watch::{Hub, Product, end_on_signal, now_ms, wait_for, wait_until_warm};

#[derive(Args)]
pub struct Quiet {
    #[command(flatten)]
    hub: Hub,
    #[command(flatten)]
    number: Number,
    /// Minutes at the usual load
    #[arg(long, default_value_t = 30)]
    minutes: u64,
    /// Minutes at three times the load
    #[arg(long, default_value_t = 5)]
    tripled_minutes: u64,
}

impl Quiet {
    pub fn run(self) -> Result<ExitCode> {
        say(&format!(
            "quiet: two Redis, one with a disk of its own, under their usual load for {} minutes, then three times that for {}; no \
             incident may open. Some {} minutes with {WARM_MINUTES} until detection knows what is usual; Ctrl-C ends it and removes \
             what it made.",
            self.minutes,
            self.tripled_minutes,
            WARM_MINUTES as u64 + self.minutes + self.tripled_minutes
        ));
        let mut undo = Undo::default();
        end_on_signal()?;
        let stages = self.number.build(&[Fault::Cpu, Fault::Disk], &mut undo)?;
        let product = self.hub.reach(&stages, &mut undo)?;
        let (begun, mut early) = (now_ms(), Vec::new());
        wait_until_warm(&product)?;
        tell_new(&product, begun, &mut early)?;
        say(&format!("  {} incidents until now", early.len()));
        let mut found = early.len() + watch(&product, "the usual load", self.minutes)?;
        for stage in stages.all() {
            stage.add_client(2, &mut undo)?;
        }
        found += watch(&product, "three times the load", self.tripled_minutes)?;
        Ok(if found == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Waits so many minutes and tells every incident that opens; answers how many did.
fn watch(product: &Product, what: &str, minutes: u64) -> Result<usize> {
    say(&format!("\n{what}, {minutes} minutes"));
    let begun = now_ms();
    let mut known = Vec::new();
    wait_for(Duration::from_secs(60 * minutes), || {
        tell_new(product, begun, &mut known)?;
        Ok(None::<()>)
    })?;
    say(&format!("  {} incidents", known.len()));
    Ok(known.len())
}

/// Tells the incidents that opened since a moment and are not known yet.
fn tell_new(product: &Product, begun: i64, known: &mut Vec<String>) -> Result<()> {
    for incident in product.incidents_since(begun)? {
        let id = incident["id"].as_str().unwrap_or("").to_owned();
        if !known.contains(&id) {
            let summary = incident["summary"]["en"].as_str().unwrap_or("");
            say(&format!("  {:>4} s  {summary}; {}", (now_ms() - begun) / 1000, cause_text(&incident["cause"])));
            known.push(id);
        }
    }
    Ok(())
}
