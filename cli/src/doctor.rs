//! `gala doctor`: what this kernel and these rights allow.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use gala_agent::kernel::doctor;
use gala_agent::kernel::{HookReport, HookState};

#[derive(Args)]
pub struct Doctor {
    /// One JSON document instead of lines
    #[arg(long)]
    json: bool,
}

impl Doctor {
    pub fn run(self) -> Result<ExitCode> {
        let hooks = doctor();
        if self.json {
            crate::print(&serde_json::to_string_pretty(&hooks)?);
            return Ok(ExitCode::SUCCESS);
        }
        let mut probes: BTreeMap<&str, Vec<&HookReport>> = BTreeMap::new();
        for hook in &hooks {
            probes.entry(hook.probe).or_default().push(hook);
        }
        for (probe, hooks) in probes {
            let state = summary(&hooks);
            crate::print(&format!("{probe:<10} {}", word(state)));
            for hook in hooks {
                let rung = hook.rung.map_or_else(|| "-".to_owned(), |rung| serde_json::to_string(&rung).unwrap_or_default());
                let line = format!("  {:<34} {:<9} {:<15} {}", hook.hook, word(hook.state), rung.trim_matches('"'), hook.reason);
                crate::print(line.trim_end());
            }
        }
        if !rustix::process::geteuid().is_root() {
            crate::print("\nwithout root no program can be loaded; run `sudo gala doctor` to see what this kernel allows");
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A probe with every hook off is off; with some hook not full, degraded.
fn summary(hooks: &[&HookReport]) -> HookState {
    if hooks.iter().all(|hook| hook.state == HookState::Full) {
        HookState::Full
    } else if hooks.iter().all(|hook| hook.state == HookState::Off) {
        HookState::Off
    } else {
        HookState::Degraded
    }
}

const fn word(state: HookState) -> &'static str {
    match state {
        HookState::Full => "full",
        HookState::Degraded => "degraded",
        HookState::Off => "off",
    }
}
