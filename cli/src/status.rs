//! `gala status`: health of what runs here.

use std::process::ExitCode;

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::client::{NoAnswer, ask, http, no_answer};

/// Where a hub listens unless told otherwise.
const OWN_HUB: &str = "http://127.0.0.1:7070";

#[derive(Args)]
pub struct Status {
    /// One JSON document instead of lines
    #[arg(long)]
    json: bool,
    /// Hub to ask [default: http://127.0.0.1:7070, or the agent of this host when no hub answers there]
    #[arg(long, env = "GALA_URL", value_name = "URL")]
    hub: Option<String>,
    /// Exporter of an agent without a hub, asked when no hub was named and none answers
    #[arg(long, env = "GALA_METRICS", default_value = "http://127.0.0.1:8888", value_name = "URL")]
    metrics: String,
}

impl Status {
    pub fn run(self) -> Result<ExitCode> {
        let hub = self.hub.as_deref().unwrap_or(OWN_HUB).trim_end_matches('/');
        let base = format!("{hub}/api/v1");
        let answer = |path: &str| -> Result<(StatusCode, Value)> {
            let url = format!("{base}{path}");
            let (status, body) = ask(http()?.get(&url), &url)?;
            Ok((status, serde_json::from_str(&body).with_context(|| format!("{url} answered no JSON"))?))
        };
        let (status, health) = match answer("/health") {
            Ok(answered) => answered,
            Err(error) => match no_answer(&error) {
                Some(nobody) if nobody.is_unreachable => return self.without_hub(hub, nobody),
                _ => return Err(error),
            },
        };
        // In the first seconds health is 503, and a health answer all the same.
        if !health["components"].is_object() {
            bail!("{base}/health: {status}: {}", text(&health["error"]["message"]));
        }
        // A hub without an agent has nothing to say of one, one that starts not yet of everything, and that is no error.
        let known = |path| answer(path).ok().filter(|(status, _)| status.is_success()).map_or(Value::Null, |(_, body)| body);
        let (faults, probes) = (known("/faults?state=open"), known("/agent/probes"));
        let (budget, ledger) = (known("/agent/budget"), known("/agent/ledger"));
        if self.json {
            let all = json!({
                "health": health, "faults": faults["items"], "probes": probes["items"], "budget": budget,
                "watched": ledger["watched"], "ledger": ledger["items"],
            });
            crate::print(&serde_json::to_string_pretty(&all)?);
            return Ok(ExitCode::SUCCESS);
        }
        show_health(&health);
        show_agent(&probes, &budget);
        coverage(&ledger).iter().for_each(|line| crate::print(line));
        show_faults(&faults);
        Ok(ExitCode::SUCCESS)
    }

    /// Who names a hub asks about another host, perhaps: this one's agent says nothing of it.
    fn without_hub(&self, hub: &str, nobody: &NoAnswer) -> Result<ExitCode> {
        let no_hub = format!("no hub answers at {hub}: {}", nobody.reason);
        let shown = if self.hub.is_none() { crate::agent_status::show(&self.metrics, self.json) } else { None };
        if shown.is_some() {
            crate::eprint(&no_hub);
        }
        shown.unwrap_or_else(|| Err(anyhow!(no_hub)))
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

/// What is watched, and what is not seen of it.
fn coverage(ledger: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(watched) = ledger["watched"].as_object() {
        let counts: Vec<String> = watched.iter().map(|(what, count)| format!("{count} {what}")).collect();
        lines.push(format!("watched      {}", counts.join(", ")));
    }
    for line in ledger["items"].as_array().into_iter().flatten() {
        lines.push(format!(
            "not seen     {}: {} ({}): {}",
            text(&line["place"]),
            text(&line["what"]),
            line["count"],
            text(&line["reason"])
        ));
    }
    lines
}

fn show_faults(faults: &Value) {
    if faults["items"].is_null() {
        return crate::print("incidents are not known yet");
    }
    let open = faults["items"].as_array().map_or(&[][..], Vec::as_slice);
    if open.is_empty() {
        crate::print("no open incident");
    }
    for fault in open {
        crate::print(&format!("incident     {}", text(&fault["summary"]["en"])));
        if fault["cause"].is_object() {
            let cause = &fault["cause"];
            let probability = cause["probability"].as_f64().unwrap_or(0.0);
            // No cause is certain.
            let sure = if probability > 0.99 { "over 99".to_owned() } else { format!("{:.0}", probability * 100.0) };
            crate::print(&format!("  cause      {} ({}, {sure} %)", text(&cause["entity_name"]), text(&cause["category"])));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    /// As `main` does before anything is asked; fails only where a test was faster.
    fn prepare() {
        let _ = rustls::crypto::ring::default_provider().install_default();
    }

    /// Answers every request with the agent's words until the test ends.
    fn exporter() -> String {
        server("200 OK", "gala_agent_info{version=\"0.1.0\"} 1\n")
    }

    /// Answers every request with the same until the test ends.
    fn server(status: &'static str, body: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || listener.incoming().flatten().for_each(|stream| answer(stream, status, body)));
        address
    }

    fn answer(mut stream: TcpStream, status: &str, body: &str) {
        let mut request = [0; 4096];
        let _ = stream.read(&mut request);
        let _ = write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
    }

    /// Nothing listens there, and no other test is given it.
    const NOBODY: &str = "http://127.0.0.1:1";

    #[test]
    fn a_named_hub_that_is_down_is_not_replaced_by_the_agent_here() {
        prepare();
        let status = Status { json: false, hub: Some(format!("{NOBODY}/")), metrics: exporter() };
        let error = status.run().unwrap_err().to_string();
        assert!(error.starts_with(&format!("no hub answers at {NOBODY}: ")), "{error}");
    }

    #[test]
    fn without_a_named_hub_the_agent_here_is_asked() {
        prepare();
        let error = crate::client::get(NOBODY).unwrap_err();
        let unreachable = no_answer(&error).unwrap();
        assert!(unreachable.is_unreachable && error.to_string().matches(NOBODY).count() == 1, "{error:#}");
        let status = |metrics| Status { json: true, hub: None, metrics };
        assert!(status(exporter()).without_hub(NOBODY, unreachable).is_ok());
        let error = status(NOBODY.to_owned()).without_hub(NOBODY, unreachable).unwrap_err().to_string();
        assert!(error.starts_with("no hub answers at "), "{error}");
    }

    #[test]
    fn a_hub_that_starts_is_shown_and_one_that_refuses_is_an_error() {
        prepare();
        let of = |hub| Status { json: false, hub: Some(hub), metrics: NOBODY.to_owned() }.run();
        let starting =
            r#"{"status": "starting", "version": "0.1.0", "uptime_ms": 900, "components": {"store": {"status": "ok"}}}"#;
        assert!(of(server("503 Service Unavailable", starting)).is_ok());
        let refused = r#"{"error": {"code": "unavailable", "message": "too many queries"}}"#;
        let error = of(server("503 Service Unavailable", refused)).unwrap_err().to_string();
        assert!(error.contains("503") && error.ends_with("too many queries"), "{error}");
    }

    #[test]
    fn coverage_is_what_is_watched_and_what_is_not_seen() {
        let ledger = json!({
            "watched": {"hosts": 1, "processes": 7},
            "items": [{"place": "probe.tcp", "what": "links", "count": 3, "reason": "beyond the limit"}],
        });
        let lines = ["watched      1 hosts, 7 processes", "not seen     probe.tcp: links (3): beyond the limit"];
        assert_eq!(coverage(&ledger), lines);
        assert!(coverage(&Value::Null).is_empty());
    }

    #[test]
    fn a_hub_that_answers_is_reached_whatever_it_says() {
        prepare();
        let status = Status { json: false, hub: Some(exporter()), metrics: exporter() };
        let error = status.run().unwrap_err().to_string();
        assert!(error.ends_with("answered no JSON"), "{error}");
    }
}
