//! `gala status` of an agent alone, from what its exporter says of itself.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::{Value, json};

use crate::client::scrape;

/// Prints how the agent is; `None` when none answers there.
pub fn show(exporter: &str, as_json: bool) -> Option<Result<ExitCode>> {
    let body = scrape(exporter).ok()?;
    let status = parse(&body)?;
    if as_json {
        return Some(serde_json::to_string_pretty(&json!({ "agent": status })).map_err(Into::into).map(|text| {
            crate::print(&text);
            ExitCode::SUCCESS
        }));
    }
    for line in lines(&status) {
        crate::print(line.trim_end());
    }
    Some(Ok(ExitCode::SUCCESS))
}

fn lines(status: &Value) -> Vec<String> {
    let number = |value: &Value| value.as_f64().unwrap_or(0.0);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let seconds = number(&status["uptime_s"]) as u64;
    // Before its first window is over nothing is measured, the limits neither.
    let cost = match number(&status["cpu_limit_ratio"]) > 0.0 {
        true => format!(
            "{:.2} % of one core, {:.1} MiB",
            number(&status["cpu_ratio"]) * 100.0,
            number(&status["memory_bytes"]) / 1_048_576.0
        ),
        false => "its cost is not measured yet".to_owned(),
    };
    let mut lines = vec![
        format!("gala {}  agent alone, up {} min {} s", text(&status["version"]), seconds / 60, seconds % 60),
        format!("agent        {cost}"),
    ];
    for probe in status["probes"].as_array().into_iter().flatten() {
        let (name, state, drops) = (text(&probe["name"]), text(&probe["state"]), number(&probe["drops"]));
        let percent = number(&probe["cpu_ratio"]) * 100.0;
        lines.push(format!("  {name:<10} {state:<9} {percent:>6.3} %  {drops:>8} drops"));
    }
    for loss in status["ledger"].as_array().into_iter().flatten() {
        lines.push(format!("not seen     {}: {} ({})", text(&loss["place"]), text(&loss["what"]), number(&loss["count"])));
    }
    lines
}

/// One sample: name without prefix, labels, value.
struct Sample<'a> {
    name: &'a str,
    labels: &'a str,
    value: f64,
}

impl<'a> Sample<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let rest = line.strip_prefix("gala_agent_")?;
        let (series, value) = rest.rsplit_once(' ')?;
        let (name, labels) = series.split_once('{').map_or((series, ""), |(name, labels)| (name, labels.trim_end_matches('}')));
        Some(Self { name, labels, value: value.parse().ok()? })
    }

    fn label(&self, name: &str) -> String {
        let start = format!("{name}=\"");
        let Some((_, rest)) = self.labels.split_once(&start) else { return String::new() };
        let mut out = String::new();
        let mut letters = rest.chars();
        while let Some(letter) = letters.next() {
            match letter {
                '"' => break,
                '\\' => out.extend(letters.next().map(|next| if next == 'n' { '\n' } else { next })),
                _ => out.push(letter),
            }
        }
        out
    }
}

/// What the agent says of itself; `None` where nothing is said.
fn parse(exposition: &str) -> Option<Value> {
    let samples: Vec<Sample<'_>> = exposition.lines().filter_map(Sample::parse).collect();
    let named = |name: &'static str| samples.iter().filter(move |sample| sample.name == name);
    // An empty `sum()` is -0.
    let sum = |name: &'static str| named(name).fold(0.0, |sum, sample| sum + sample.value);
    let version = named("info").next()?.label("version");
    let of_probe = |name: &'static str, probe: &str| {
        named(name).find(|sample| sample.label("probe") == probe).map_or(0.0, |sample| sample.value)
    };
    let probes = named("probe_state").map(|sample| {
        let name = sample.label("probe");
        let (drops, rows) = (of_probe("probe_drops_total", &name), of_probe("probe_rows", &name));
        let cpu = of_probe("probe_cpu_ratio", &name) + of_probe("probe_bpf_cpu_ratio", &name);
        json!({"name": name, "state": sample.label("state"), "cpu_ratio": cpu, "drops": drops, "rows": rows})
    });
    let ledger = named("ledger_total")
        .map(|sample| json!({"place": sample.label("place"), "what": sample.label("what"), "count": sample.value}));
    Some(json!({
        "version": version, "uptime_s": sum("uptime_seconds"),
        "cpu_ratio": sum("cpu_ratio"), "cpu_limit_ratio": sum("cpu_limit_ratio"),
        "memory_bytes": sum("memory_bytes"), "memory_limit_bytes": sum("memory_limit_bytes"),
        "probes": probes.collect::<Vec<_>>(), "ledger": ledger.collect::<Vec<_>>(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "gala_gopher_cpu_total_used_per{cpu=\"cpu\"} 3 1795207403000\n\n\
        gala_agent_info{version=\"0.1.0\"} 1\ngala_agent_uptime_seconds 61.5\n\
        gala_agent_cpu_ratio{side=\"user\"} 0.005\ngala_agent_cpu_ratio{side=\"bpf\"} 0.001\ngala_agent_cpu_limit_ratio 0.1\n\
        gala_agent_memory_bytes{side=\"user\"} 1048576\ngala_agent_memory_bytes{side=\"maps\"} 1048576\n\
        gala_agent_probe_cpu_ratio{probe=\"tcp\"} 0.002\ngala_agent_probe_bpf_cpu_ratio{probe=\"tcp\"} 0.001\n\
        gala_agent_probe_drops_total{probe=\"tcp\"} 4\ngala_agent_probe_state{probe=\"tcp\",state=\"full\"} 1\n\
        gala_agent_ledger_total{place=\"probe.tcp\",what=\"a \\\"quoted\\\" thing\"} 2\n";

    #[test]
    fn what_the_exporter_says_is_shown() {
        let shown = lines(&parse(TEXT).unwrap());
        assert_eq!(
            shown,
            [
                "gala 0.1.0  agent alone, up 1 min 1 s",
                "agent        0.60 % of one core, 2.0 MiB",
                "  tcp        full       0.300 %         4 drops",
                "not seen     probe.tcp: a \"quoted\" thing (2)",
            ]
        );
    }

    #[test]
    fn a_cost_not_measured_yet_is_not_zero() {
        let young = "gala_agent_info{version=\"0.1.0\"} 1\ngala_agent_cpu_limit_ratio 0\n";
        assert_eq!(lines(&parse(young).unwrap())[1], "agent        its cost is not measured yet");
    }

    #[test]
    fn another_exporter_is_no_agent() {
        assert!(parse("node_cpu_seconds_total 1\n").is_none());
    }
}
