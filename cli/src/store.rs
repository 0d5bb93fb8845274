//! `gala store`: check, compact, export and backup of a store folder.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use gala_store::promql::parse_selector;
use gala_store::{TimeRange, tool};

#[derive(Args)]
pub struct StoreCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Verifies every checksum; works beside a running hub
    Check {
        /// Data folder of the hub, or the store folder in it
        dir: PathBuf,
    },
    /// Merges small blocks; the hub must be stopped
    Compact {
        /// Data folder of the hub, or the store folder in it
        dir: PathBuf,
    },
    /// Writes samples to standard output; works beside a running hub
    Export {
        /// Data folder of the hub, or the store folder in it
        dir: PathBuf,
        /// Which series, e.g. '{__name__=~"gala_gopher_proc_.+"}'
        #[arg(long = "match", default_value = "{__name__=~\".+\"}", value_name = "SELECTOR")]
        selector: String,
        /// Oldest sample, milliseconds since 1970
        #[arg(long, default_value_t = 0, value_name = "MS")]
        from: i64,
        /// Newest sample, milliseconds since 1970 [default: all there are]
        #[arg(long, default_value_t = i64::MAX, hide_default_value = true, value_name = "MS")]
        to: i64,
        /// JSON lines instead of Prometheus text
        #[arg(long)]
        json: bool,
    },
    /// Copies a consistent state into a new folder; the hub must be stopped
    Backup {
        /// Data folder of the hub, or the store folder in it
        dir: PathBuf,
        /// Folder to make
        target: PathBuf,
    },
}

/// The store lies in a folder of its own below the data folder.
fn store_dir(dir: PathBuf) -> PathBuf {
    let inner = dir.join("store");
    if inner.is_dir() { inner } else { dir }
}

impl StoreCommand {
    pub fn run(self) -> Result<ExitCode> {
        match self.action {
            Action::Check { dir } => {
                let report = tool::check(&store_dir(dir)).context("store check")?;
                crate::print(&format!(
                    "{} blocks, {} log segments, {} series, {} samples, {} bytes",
                    report.blocks, report.log_segments, report.series, report.samples, report.bytes
                ));
                for problem in &report.problems {
                    crate::print(&format!(
                        "{} at byte {} ({} bytes): {}",
                        problem.file, problem.offset, problem.bytes, problem.reason
                    ));
                }
                return Ok(if report.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
            }
            Action::Compact { dir } => {
                let report = tool::compact(&store_dir(dir)).context("store compact")?;
                crate::print(&format!(
                    "{} blocks merged, {} bytes became {}",
                    report.merged_blocks, report.before.disk_bytes, report.after.disk_bytes
                ));
            }
            Action::Export { dir, selector, from, to, json } => {
                let matchers = parse_selector(&selector).with_context(|| format!("--match {selector:?}"))?;
                let format = if json { tool::ExportFormat::JsonLines } else { tool::ExportFormat::Text };
                let range = TimeRange { from_ms: from, to_ms: to };
                let mut out = std::io::BufWriter::new(std::io::stdout());
                let report = tool::export(&store_dir(dir), &matchers, range, format, &mut out).context("store export")?;
                crate::eprint(&format!("{} series, {} samples", report.series, report.samples));
            }
            Action::Backup { dir, target } => {
                let report = tool::backup(&store_dir(dir), &target).context("store backup")?;
                crate::print(&format!("{} files, {} bytes in {}", report.files, report.bytes, report.target.display()));
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
