//! `gala query`: PromQL against a hub, as a table or as the hub's own JSON.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::Value;

use crate::client::{ask, http};
use crate::options::{duration, duration_text};

#[derive(Args)]
pub struct Query {
    /// The question
    promql: String,
    /// Over the time up to now instead of now, e.g. 1h
    #[arg(long, value_name = "TIME", value_parser = duration_text)]
    range: Option<String>,
    /// Distance between two points of a range [default: a 60th of it, at least 5 s]
    #[arg(long, value_name = "TIME", value_parser = duration_text)]
    step: Option<String>,
    /// The hub's answer as it is
    #[arg(long)]
    json: bool,
    /// Hub to ask
    #[arg(long, env = "GALA_URL", default_value = "http://127.0.0.1:7070", value_name = "URL")]
    hub: String,
}

impl Query {
    pub fn run(self) -> Result<ExitCode> {
        let mut parameters = vec![("query", self.promql.clone())];
        let path = match &self.range {
            None => "query",
            Some(range) => {
                let range = duration("--range", range)?.as_secs();
                let step = match &self.step {
                    Some(step) => duration("--step", step)?.as_secs(),
                    None => (range / 60).max(5),
                };
                let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).context("clock")?.as_secs();
                parameters.extend([
                    ("start", now.saturating_sub(range).to_string()),
                    ("end", now.to_string()),
                    ("step", step.to_string()),
                ]);
                "query_range"
            }
        };
        let url = format!("{}/api/v1/{path}", self.hub.trim_end_matches('/'));
        let (_, body) = ask(http()?.post(&url).form(&parameters), &url)?;
        if self.json {
            crate::print(body.trim_end());
        }
        let answer: Value = serde_json::from_str(&body).with_context(|| format!("{url} answered no JSON"))?;
        if answer["status"] != "success" {
            bail!("{}", answer["error"].as_str().unwrap_or("the hub refused the query"));
        }
        if !self.json {
            show(&answer["data"]);
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn show(data: &Value) {
    match data["resultType"].as_str() {
        Some("vector") => {
            rows(data).for_each(|row| crate::print(&format!("{}  {}", series(&row["metric"]), text(&row["value"][1]))))
        }
        Some("matrix") => {
            for row in rows(data) {
                crate::print(&series(&row["metric"]));
                for point in row["values"].as_array().into_iter().flatten() {
                    crate::print(&format!("  {}  {}", point[0], text(&point[1])));
                }
            }
        }
        _ => crate::print(&text(&data["result"][1])),
    }
}

fn rows(data: &Value) -> impl Iterator<Item = &Value> {
    data["result"].as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or("").to_owned()
}

fn series(metric: &Value) -> String {
    let Some(labels) = metric.as_object() else { return "{}".to_owned() };
    let name = labels.get("__name__").and_then(Value::as_str).unwrap_or("");
    let others: Vec<String> =
        labels.iter().filter(|(name, _)| *name != "__name__").map(|(name, value)| format!("{name}={value}")).collect();
    if others.is_empty() && !name.is_empty() { name.to_owned() } else { format!("{name}{{{}}}", others.join(", ")) }
}
