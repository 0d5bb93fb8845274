//! The agent's own metrics in Prometheus text. Their prefix `gala_agent_` keeps them out of the names of what is observed.

use std::fmt::Write;

use super::AgentStatus;
use super::status::{ProbeState, ProbeStatus};
use crate::ledger::LedgerLine;

/// How metrics are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// With `# HELP` and `# TYPE`.
    Described,
    /// Samples alone, as all of the exporter's text is.
    Bare,
}

struct Text {
    out: String,
    form: Form,
}

struct Family<'a> {
    out: &'a mut String,
    name: &'a str,
}

/// Starts a family; each family is written in one group.
fn family<'a>(text: &'a mut Text, name: &'a str, kind: &str, help: &str) -> Family<'a> {
    let out = &mut text.out;
    if text.form == Form::Described {
        let _ = writeln!(out, "# HELP gala_agent_{name} {help}\n# TYPE gala_agent_{name} {kind}");
    }
    Family { out, name }
}

impl Family<'_> {
    fn sample(&mut self, labels: &[(&str, &str)], value: f64) -> &mut Self {
        let _ = write!(self.out, "gala_agent_{}", self.name);
        if !labels.is_empty() {
            let texts = labels.iter().map(|(name, value)| {
                let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
                format!("{name}=\"{value}\"")
            });
            let _ = write!(self.out, "{{{}}}", texts.collect::<Vec<_>>().join(","));
        }
        let _ = writeln!(self.out, " {value}");
        self
    }
}

pub fn render(status: &AgentStatus, probes: &[ProbeStatus], ledger: &[LedgerLine], form: Form) -> String {
    let mut text = Text { out: String::with_capacity(8192), form };
    let out = &mut text;
    let budget = &status.budget;
    family(out, "info", "gauge", "Version of the agent.").sample(&[("version", status.version)], 1.0);
    family(out, "uptime_seconds", "gauge", "Time since the agent started.").sample(&[], status.uptime_ms as f64 / 1000.0);
    family(out, "cpu_ratio", "gauge", "Share of one core in the last window, by side.")
        .sample(&[("side", "user")], budget.user_cpu_ratio)
        .sample(&[("side", "bpf")], budget.bpf_cpu_ratio);
    family(out, "cpu_limit_ratio", "gauge", "Ceiling, in cores.").sample(&[], budget.cpu_limit_ratio);
    family(out, "memory_bytes", "gauge", "Memory, by side.")
        .sample(&[("side", "user")], budget.process_memory_bytes as f64)
        .sample(&[("side", "maps")], budget.map_bytes as f64);
    family(out, "memory_limit_bytes", "gauge", "Ceiling of memory.").sample(&[], budget.memory_limit_bytes as f64);
    family(out, "series", "gauge", "Series the exporter shows.").sample(&[], status.series as f64);
    family(out, "rows", "gauge", "Rows the exporter keeps.").sample(&[], status.rows as f64);
    family(out, "shed_parts", "gauge", "Sub-probes given up to stay inside the budget.").sample(&[], budget.shed.len() as f64);

    let running: Vec<&ProbeStatus> = probes.iter().filter(|probe| probe.state.is_running()).collect();
    let mut per_probe = |name: &str, kind: &str, help: &str, value: &dyn Fn(&ProbeStatus) -> f64| {
        let mut family = family(&mut *out, name, kind, help);
        for probe in &running {
            family.sample(&[("probe", probe.name)], value(probe));
        }
    };
    per_probe("probe_cpu_seconds_total", "counter", "CPU time of a probe's reports.", &|probe| probe.cpu_ns as f64 / 1e9);
    per_probe("probe_cpu_ratio", "gauge", "Share of one core of a probe's reports.", &|probe| probe.cpu_ratio);
    per_probe("probe_bpf_cpu_ratio", "gauge", "Share of one core of a probe's BPF programs.", &|probe| probe.bpf_cpu_ratio);
    per_probe("probe_map_bytes", "gauge", "Bytes of a probe's BPF maps.", &|probe| probe.map_bytes as f64);
    per_probe("probe_rows", "gauge", "Rows of a probe's last report.", &|probe| probe.rows as f64);
    per_probe("probe_reports_total", "counter", "Reports of a probe.", &|probe| probe.reports as f64);
    per_probe("probe_failed_reports_total", "counter", "Reports a probe failed to make.", &|probe| probe.failed_reports as f64);
    per_probe("probe_drops_total", "counter", "What a probe lost.", &|probe| probe.drops as f64);

    let mut states = family(out, "probe_state", "gauge", "1 for the state a probe is in.");
    for probe in probes.iter().filter(|probe| probe.state != ProbeState::Unsupported) {
        states.sample(&[("probe", probe.name), ("state", probe.state.name())], 1.0);
    }

    let mut losses = family(out, "ledger_total", "counter", "What was not seen or lost, by place.");
    for line in ledger {
        losses.sample(&[("place", &line.place), ("what", &line.what)], line.count as f64);
    }
    text.out
}
