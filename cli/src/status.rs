//! `gala status`: health of what runs here.

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use serde_json::{Value, json};

use crate::client::get;

#[derive(Args)]
pub struct Status {
    /// One JSON document instead of lines
    #[arg(long)]
    json: bool,
    #[arg(long, env = "GALA_URL", default_value = "http://127.0.0.1:7070", value_name = "URL")]
    hub: String,
    /// Exporter of an agent without a hub, asked when no hub answers
    #[arg(long, env = "GALA_METRICS", default_value = "http://127.0.0.1:8888", value_name = "URL")]
    metrics: String,
}

impl Status {
    pub fn run(self) -> Result<ExitCode> {
        let base = format!("{}/api/v1", self.hub.trim_end_matches('/'));
        let ask = |path: &str| -> Result<Value> {
            let body = get(&format!("{base}{path}"))?;
            serde_json::from_str(&body).with_context(|| format!("{base}{path} answered no JSON"))
        };
        let health = match ask("/health") {
            Ok(health) => health,
            Err(error) => return crate::agent_status::show(&self.metrics, self.json).unwrap_or(Err(error)),
        };
        let faults = ask("/faults?state=open")?;
        // A hub without an agent has nothing to say here, and that is no error.
        let probes = ask("/agent/probes").unwrap_or(Value::Null);
        let budget = ask("/agent/budget").unwrap_or(Value::Null);
        if self.json {
            let all = json!({"health": health, "faults": faults["items"], "probes": probes["items"], "budget": budget});
            crate::print(&serde_json::to_string_pretty(&all)?);
            return Ok(ExitCode::SUCCESS);
        }
        show_health(&health);
        show_agent(&probes, &budget);
        show_faults(&faults);
        Ok(ExitCode::SUCCESS)
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("")
}

fn show_health(health: &Value) {
    let uptime = health["uptime_ms"].as_u64().unwrap_or(0) / 1000;
    crate::print(&format!(
        "gala {}  {}, up {} min {} s",
        text(&health["version"]),
        text(&health["status"]),
        uptime / 60,
        uptime % 60
    ));
    for (name, component) in health["components"].as_object().into_iter().flatten() {
        crate::print(format!("  {name:<10} {:<9} {}", text(&component["status"]), text(&component["reason"])).trim_end());
    }
    let kpis = &health["components"]["detection"]["kpis"];
    if kpis.is_object() {
        crate::print(&format!("  {} of {} KPIs are warm", kpis["warm"], kpis["total"]));
    }
}

fn show_agent(probes: &Value, budget: &Value) {
    let percent = |value: &Value| value.as_f64().unwrap_or(0.0) * 100.0;
    if budget.is_object() {
        let memory = budget["memory"]["used_bytes"].as_f64().unwrap_or(0.0) / 1_048_576.0;
        crate::print(&format!("agent        {:.2} % of one core, {memory:.1} MiB", percent(&budget["cpu"]["used_ratio"])));
    }
    for probe in probes["items"].as_array().into_iter().flatten() {
        let line = format!(
            "  {:<10} {:<9} {:>6.3} %  {:>8} drops  {}",
            text(&probe["name"]),
            text(&probe["state"]),
            percent(&probe["cpu_ratio"]),
            probe["drops"],
            text(&probe["reason"])
        );
        crate::print(line.trim_end());
    }
}

fn show_faults(faults: &Value) {
    let open = faults["items"].as_array().map_or(&[][..], Vec::as_slice);
    if open.is_empty() {
        crate::print("no open incident");
    }
    for fault in open {
        crate::print(&format!("incident     {}", text(&fault["summary"]["en"])));
        if fault["cause"].is_object() {
            let cause = &fault["cause"];
            let probability = cause["probability"].as_f64().unwrap_or(0.0) * 100.0;
            crate::print(&format!(
                "  cause      {} ({}, {probability:.0} %)",
                text(&cause["entity_name"]),
                text(&cause["category"])
            ));
        }
    }
}
