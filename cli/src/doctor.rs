//! `gala doctor`: what this kernel and these rights allow.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

#[derive(Args)]
pub struct Doctor {
    /// One JSON document instead of lines
    #[arg(long)]
    json: bool,
}

impl Doctor {
    pub fn run(self) -> Result<ExitCode> {
        let report = gala_agent::doctor();
        let text = if self.json { serde_json::to_string_pretty(&report)? } else { report.text() };
        crate::print(text.trim_end());
        Ok(ExitCode::SUCCESS)
    }
}
