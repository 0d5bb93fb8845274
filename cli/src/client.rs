//! Talking to a running agent or hub over its own HTTP, and `gala ctl`.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};

const TIMEOUT: Duration = Duration::from_secs(70);

/// An HTTP client for loopback and plain addresses.
pub fn http() -> Result<reqwest::blocking::Client> {
    reqwest::blocking::Client::builder().timeout(TIMEOUT).no_proxy().build().context("HTTP client")
}

/// Body of a GET; an error status becomes an error with what the server said.
pub fn get(url: &str) -> Result<String> {
    let response = http()?.get(url).send().with_context(|| format!("{url} does not answer; is gala running there?"))?;
    let status = response.status();
    let body = response.text().with_context(|| format!("{url}: the answer broke off"))?;
    if !status.is_success() {
        bail!("{url}: {status}: {}", body.trim());
    }
    Ok(body)
}

/// `gala ctl`
#[derive(Args)]
pub struct Ctl {
    /// REST API of the agent
    #[arg(long, env = "GALA_REST", default_value = "http://127.0.0.1:9999", value_name = "URL")]
    rest: String,
    /// Exporter of the agent
    #[arg(long, env = "GALA_METRICS", default_value = "http://127.0.0.1:8888", value_name = "URL")]
    metrics: String,
    #[command(subcommand)]
    word: Word,
}

#[derive(Subcommand)]
enum Word {
    /// Each probe and whether it runs
    Probes,
    /// One probe: `get` (default) shows its settings, `set JSON` changes them
    Probe {
        name: String,
        #[command(subcommand)]
        action: Option<Action>,
    },
    /// The exporter's text
    #[command(alias = "metric")]
    Metrics,
}

#[derive(Subcommand)]
enum Action {
    Get,
    Set { json: String },
}

impl Ctl {
    pub fn run(self) -> Result<ExitCode> {
        match &self.word {
            Word::Probes => {
                for entry in &gala_agent::control::catalogue::PROBES {
                    let text = get(&format!("{}/{}", self.rest, entry.name))?;
                    let state = serde_json::from_str::<serde_json::Value>(&text)
                        .ok()
                        .and_then(|answer| answer["state"].as_str().map(str::to_owned))
                        .unwrap_or_else(|| "stopped".to_owned());
                    crate::print(&format!("{:<16} {state}", entry.name));
                }
            }
            Word::Probe { name, action: None | Some(Action::Get) } => {
                crate::print(get(&format!("{}/{name}", self.rest))?.trim_end())
            }
            Word::Probe { name, action: Some(Action::Set { json }) } => {
                let url = format!("{}/{name}", self.rest);
                let request = http()?.put(&url).header("content-type", "application/json").body(json.clone());
                let response = request.send().with_context(|| format!("{url} does not answer; is the agent running?"))?;
                let accepted = response.status().is_success();
                let body = response.text().context("the answer broke off")?;
                if !accepted {
                    bail!("{name}: {}", body.trim());
                }
                crate::print(body.trim_end());
            }
            Word::Metrics => crate::print(get(&format!("{}/metrics", self.metrics))?.trim_end()),
        }
        Ok(ExitCode::SUCCESS)
    }
}
