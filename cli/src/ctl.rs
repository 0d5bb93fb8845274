//! `gala ctl`: talks to a running agent over its REST API and its exporter. Our words and those of gala-gopher's `gopher-ctl`;
//! what the agent answers is printed as it is.

use std::process::ExitCode;

use anyhow::Result;
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Subcommand};
use serde_json::Value;

use crate::client::{ask, get, http};

#[derive(Args)]
pub struct Ctl {
    /// REST API of the agent
    #[arg(long, env = "GALA_REST", default_value = "http://127.0.0.1:9999", value_name = "URL")]
    rest: String,
    /// Exporter of the agent
    #[arg(long, env = "GALA_METRICS", default_value = "http://127.0.0.1:8888", value_name = "URL")]
    metrics: String,
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
                    let text = get(&format!("{}/{}", self.rest, entry.name))?;
                    let state = serde_json::from_str::<Value>(&text)
                        .ok()
                        .and_then(|answer| answer["state"].as_str().map(str::to_owned))
                        .unwrap_or_else(|| "stopped".to_owned());
                    crate::print(&format!("{:<16} {state}", entry.name));
                }
            }
            Word::Probe { words } => match wish(words) {
                Ok(Wish::Get(name)) => {
                    let url = format!("{}/{name}", self.rest);
                    let (status, body) = ask(http()?.get(&url), &url)?;
                    // So gopher-ctl names it, for the REST API speaks of URLs.
                    let unknown = "{ \"result\": \"failed\", \"message\":\"Failed to get probe config\" }";
                    let body = if status.as_u16() == 404 { unknown } else { &body };
                    return Ok(self.told(status.is_success(), body));
                }
                Ok(Wish::Set(name, json)) => {
                    let url = format!("{}/{name}", self.rest);
                    let request = http()?.put(&url).header("content-type", "application/json").body(json.to_owned());
                    let (status, body) = ask(request, &url)?;
                    return Ok(self.told(status.is_success(), &body));
                }
                Err(problem) => {
                    let usage = "gala ctl probe NAME [get | set JSON], or get NAME, set NAME JSON";
                    crate::Cli::command().override_usage(usage).error(ErrorKind::InvalidValue, problem).exit()
                }
            },
            Word::Metrics => crate::print(get(&format!("{}/metrics", self.metrics))?.trim_end()),
        }
        Ok(ExitCode::SUCCESS)
    }

    fn told(&self, accepted: bool, body: &str) -> ExitCode {
        crate::print(body.trim_end());
        if accepted || self.ignore_refusal { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
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
