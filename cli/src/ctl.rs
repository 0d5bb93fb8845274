//! `gala ctl`: talks to a running agent over its REST API and its exporter, or over its command socket where those are off.
//! Our words and those of gala-gopher's `gopher-ctl`; what the agent answers is printed as it is.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Subcommand};
use gala_agent::control::run_folder::SOCKET;
use gala_agent::control::socket;
use serde_json::Value;

use crate::client::{ask, http, no_answer, scrape};
use crate::options::Common;

const OWN_REST: &str = "http://127.0.0.1:9999";
const OWN_METRICS: &str = "http://127.0.0.1:8888";

/// How gopher-ctl names an unknown probe, for the REST API speaks of URLs.
const UNKNOWN_PROBE: &str = "{ \"result\": \"failed\", \"message\":\"Failed to get probe config\" }";

#[derive(Args)]
pub struct Ctl {
    /// REST API of the agent [default: http://127.0.0.1:9999, or the command socket when none answers there]
    #[arg(long, env = "GALA_REST", value_name = "URL")]
    rest: Option<String>,
    /// Exporter of the agent [default: http://127.0.0.1:8888, or the command socket when none answers there]
    #[arg(long, env = "GALA_METRICS", value_name = "URL")]
    metrics: Option<String>,
    /// Asks over the command socket in this run folder, unless an address is named
    #[arg(long, env = "GALA_RUN_DIR", value_name = "DIR")]
    run_dir: Option<PathBuf>,
    /// Ends with 0 also when the agent refuses, as gopher-ctl does
    #[arg(long)]
    ignore_refusal: bool,
    #[command(subcommand)]
    word: Word,
}

#[derive(Subcommand)]
enum Word {
    /// Each probe and whether it runs
    Probes,
    /// One probe: `NAME` or `NAME get` shows its settings, `NAME set JSON` changes them; `get NAME`, `set NAME JSON` too
    Probe {
        #[arg(required = true, num_args = 1..=3, value_name = "WORDS")]
        words: Vec<String>,
    },
    /// The exporter's text
    #[command(alias = "metric")]
    Metrics,
}

/// What is asked of one probe.
#[derive(Debug, PartialEq, Eq)]
enum Wish<'a> {
    Get(&'a str),
    Set(&'a str, &'a str),
}

/// gopher-ctl puts the operation before the name; no probe is called like one.
fn wish(words: &[String]) -> Result<Wish<'_>, &'static str> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["get"] | ["set"] => Err("Please specify the probe name"),
        ["set", _] | [_, "set"] => Err("Please specify the probe config"),
        ["set", name, json] | [name, "set", json] => Ok(Wish::Set(name, json)),
        ["get", name] | [name, "get"] | [name] => Ok(Wish::Get(name)),
        _ => Err("Unknown probe operation"),
    }
}

impl Ctl {
    pub fn run(self) -> Result<ExitCode> {
        match &self.word {
            Word::Probes => {
                for entry in &gala_agent::control::catalogue::PROBES {
                    let text = self.probe(entry.name, None)?;
                    let state = serde_json::from_str::<Value>(&text)
                        .ok()
                        .and_then(|answer| answer["state"].as_str().map(str::to_owned))
                        .unwrap_or_else(|| "stopped".to_owned());
                    crate::print(&format!("{:<16} {state}", entry.name));
                }
            }
            Word::Probe { words } => match wish(words) {
                Ok(Wish::Get(name)) => return Ok(self.told(&self.probe(name, None)?)),
                Ok(Wish::Set(name, json)) => return Ok(self.told(&self.probe(name, Some(json))?)),
                Err(problem) => {
                    let usage = "gala ctl probe NAME [get | set JSON], or get NAME, set NAME JSON";
                    crate::Cli::command().override_usage(usage).error(ErrorKind::InvalidValue, problem).exit()
                }
            },
            Word::Metrics => crate::print(self.metrics()?.trim_end()),
        }
        Ok(ExitCode::SUCCESS)
    }

    /// What is said of a probe, or to its new configuration.
    fn probe(&self, name: &str, config: Option<&str>) -> Result<String> {
        // Nothing else is a name, and some of it would be another address.
        if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return Ok(UNKNOWN_PROBE.to_owned());
        }
        let over_rest = || -> Result<String> {
            let url = format!("{}/{name}", self.rest.as_deref().unwrap_or(OWN_REST).trim_end_matches('/'));
            let request = match config {
                None => http()?.get(&url),
                // So gopher-ctl's JSON is one whatever it begins with.
                Some(json) => http()?.put(&url).body(format!("json={json}")),
            };
            let (status, body) = ask(request, &url)?;
            if config.is_none() && status.as_u16() == 404 {
                return Ok(UNKNOWN_PROBE.to_owned());
            }
            // A refusal says so itself; else something other than the agent answers.
            if !status.is_success() && !is_refusal(&body) {
                bail!("{url} answers {status}: {}", body.trim_end());
            }
            Ok(body)
        };
        self.over(self.rest.is_some(), over_rest, |socket| socket::ask_probe(socket, name, config))
    }

    fn metrics(&self) -> Result<String> {
        let exporter = self.metrics.as_deref().unwrap_or(OWN_METRICS);
        self.over(self.metrics.is_some(), || scrape(exporter), socket::ask_metrics)
    }

    /// Over HTTP, or over the command socket where that is named, or where nobody takes a call that nobody named.
    fn over(
        &self,
        is_named: bool,
        http: impl FnOnce() -> Result<String>,
        socket: impl FnOnce(&Path) -> std::io::Result<String>,
    ) -> Result<String> {
        let path = self.socket();
        if self.run_dir.is_none() || is_named {
            let answered = http();
            let is_away = answered.as_ref().err().and_then(no_answer).is_some_and(|nobody| nobody.is_unreachable);
            if is_named || !is_away || !path.as_ref().is_ok_and(|path| path.exists()) {
                return answered;
            }
        }
        let path = path?;
        socket(&path).with_context(|| format!("no agent answers at {}", path.display()))
    }

    fn socket(&self) -> Result<PathBuf> {
        // As the agent finds it, where both have the same environment.
        let named = |variable| std::env::var_os(variable).filter(|path| !path.is_empty()).map(PathBuf::from);
        let (config, data) = (named("GALA_CONFIG"), named("GALA_DATA_DIR"));
        let common = Common { run_dir: self.run_dir.clone(), config, data, ..Common::default() };
        Ok(common.run_dir(&common.file()?)?.join(SOCKET))
    }

    fn told(&self, body: &str) -> ExitCode {
        crate::print(body.trim_end());
        if is_refusal(body) && !self.ignore_refusal { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }
}

fn is_refusal(body: &str) -> bool {
    serde_json::from_str::<Value>(body).is_ok_and(|answer| answer["result"] == "failed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_order_of_words_and_gopher_ctls_mean_the_same() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        for text in ["tcp", "tcp get", "get tcp"] {
            assert_eq!(wish(&words(text)), Ok(Wish::Get("tcp")), "{text}");
        }
        for text in ["set tcp {}", "tcp set {}"] {
            assert_eq!(wish(&words(text)), Ok(Wish::Set("tcp", "{}")), "{text}");
        }
        assert_eq!(wish(&words("set")), Err("Please specify the probe name"));
        assert_eq!(wish(&words("set tcp")), Err("Please specify the probe config"));
        assert!(wish(&words("tcp put {}")).is_err() && wish(&words("get tcp now")).is_err());
    }
}
