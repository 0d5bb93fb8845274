//! The agent's state as the hub's `/agent/...` answers show it.

use std::sync::Arc;

use gala_agent::AgentHandle;
use gala_agent::budget::resident_bytes;
use gala_agent::control::{Refusal, catalogue};
use gala_agent::kernel::{HookReport, has_btf};
use gala_agent::ledger::LedgerLine;
use gala_agent::runtime::status::{ProbeState, ProbeStatus};
use gala_hub::{AgentView, Component, NotConfigured, Status};
use serde_json::{Map, Value, json};

/// Answers from the agent of this process.
pub struct AgentPages {
    agent: Arc<AgentHandle>,
}

impl AgentPages {
    pub fn new(agent: Arc<AgentHandle>) -> Self {
        Self { agent }
    }
}

fn not_configured(refusal: &Refusal) -> NotConfigured {
    match refusal {
        Refusal::NotStarted(_) => NotConfigured::Failed(refusal.to_string()),
        Refusal::Wrong { .. } => NotConfigured::Refused(refusal.to_string()),
    }
}

/// What a probe lost, and why. A probe's losses are named after it; beside them stand blind spots that lose nothing counted.
fn losses(probe: &str, ledger: &[LedgerLine]) -> Option<String> {
    let (place, of_probe) = (format!("probe.{probe}"), format!("{probe}."));
    let lost = ledger.iter().filter(|line| line.place == place && line.what.starts_with(&of_probe));
    let lost: Vec<String> = lost.map(|line| format!("{}: {}", line.what, line.reason)).collect();
    (!lost.is_empty()).then(|| lost.join("; "))
}

/// Probes no version supports yet are not listed: nothing can be said of them.
fn probe_row(status: &ProbeStatus, ledger: &[LedgerLine]) -> Value {
    let state = match status.state {
        ProbeState::Full => "full",
        ProbeState::Degraded => "degraded",
        ProbeState::Off | ProbeState::Stopped | ProbeState::Failed | ProbeState::Unsupported => "off",
    };
    let reason = match status.state {
        ProbeState::Stopped if status.reason.is_empty() => "not started",
        _ => &status.reason,
    };
    json!({
        "name": status.name,
        "what": what(status.name),
        "state": state,
        "reason": reason,
        "hooks": status.hooks.iter().map(hook_row).collect::<Vec<_>>(),
        "ns_per_event": measured(status.ns_per_event),
        "events_per_s": measured(status.events_per_s),
        "cpu_ratio": status.cpu_ratio + status.bpf_cpu_ratio,
        "map_bytes": status.map_bytes,
        "drops": status.drops,
        "drops_reason": losses(status.name, ledger).filter(|_| status.drops > 0),
        "sub_probes": sub_probes(status.name),
    })
}

/// Those there is something to see of.
fn sub_probes(probe: &str) -> Vec<&'static str> {
    let entry = catalogue::find(probe);
    entry.map_or_else(Vec::new, |entry| entry.sub_probes.iter().copied().filter(|name| entry.fills(name)).collect())
}

/// What one probe costs; ratios are of one core.
fn cost_row(status: &ProbeStatus) -> Value {
    json!({
        "name": status.name, "cpu_ratio": status.cpu_ratio + status.bpf_cpu_ratio, "user_ratio": status.cpu_ratio,
        "bpf_ratio": status.bpf_cpu_ratio, "ns_per_event": measured(status.ns_per_event),
        "events_per_s": measured(status.events_per_s), "map_bytes": status.map_bytes,
    })
}

/// Probes that run and see nothing, for want of rights or of something in the kernel.
fn blind<'a>(probes: impl Iterator<Item = &'a ProbeStatus>) -> Option<String> {
    let probes: Vec<&ProbeStatus> = probes.collect();
    let names: Vec<&str> = probes.iter().map(|probe| probe.name).collect();
    let reason = &probes.first()?.hooks.first()?.reason;
    Some(format!("probes that see nothing here: {} ({reason})", names.join(", ")))
}

fn measured(value: f64) -> Option<f64> {
    (value > 0.0).then_some(value)
}

fn hook_row(hook: &HookReport) -> Value {
    json!(hook)
}

/// A few words on what a probe observes.
fn what(probe: &str) -> &'static str {
    match probe {
        "baseinfo" => "the host: processors, memory, disks, interfaces, pressure",
        "tcp" => "connections: bytes, round trips, losses",
        "socket" => "endpoints: queues, opens, overflows",
        "proc" => "processes: running, waiting, files, ends",
        "io" => "block devices: latency of every request",
        "ksli" => "requests of Redis, stage by stage",
        _ => "",
    }
}

impl AgentView for AgentPages {
    fn probes(&self) -> Value {
        let (statuses, ledger) = (self.agent.probes(), self.agent.ledger());
        let shown = statuses.iter().filter(|status| status.state != ProbeState::Unsupported);
        let rows: Vec<Value> = shown.map(|status| probe_row(status, &ledger)).collect();
        let release = rustix::system::uname().release().to_string_lossy().into_owned();
        json!({"items": rows, "next_cursor": null, "kernel": {"release": release, "btf": has_btf()}})
    }

    fn probe_config(&self, name: &str) -> Option<Value> {
        catalogue::find(name)?;
        serde_json::from_str(&self.agent.control().get(name).body).ok()
    }

    fn configure_probe(&self, name: &str, config: &Map<String, Value>) -> Result<(), NotConfigured> {
        self.agent.control().set(name, config).map_err(|refusal| not_configured(&refusal))
    }

    fn ledger(&self) -> Value {
        let rows: Vec<Value> = self
            .agent
            .ledger()
            .iter()
            .map(|line| {
                json!({
                    "place": line.place, "what": line.what, "seen": null, "total": null, "ratio": null,
                    "reason": line.reason, "since_ms": line.since_ms, "last_ms": line.last_ms, "count": line.count,
                })
            })
            .collect();
        json!({"items": rows, "next_cursor": null})
    }

    fn metrics(&self) -> String {
        self.agent.metrics_text()
    }

    fn budget(&self) -> Value {
        let budget = self.agent.budget();
        let probes: Vec<Value> = self.agent.probes().iter().filter(|status| status.state.is_running()).map(cost_row).collect();
        let shed: Vec<Value> = budget
            .shed
            .iter()
            .map(|part| {
                let what =
                    if part.sub_probe.is_empty() { part.probe.to_owned() } else { format!("{}/{}", part.probe, part.sub_probe) };
                json!({"what": what, "reason": "over the budget", "at_ms": part.since_ms})
            })
            .collect();
        json!({
            "cpu": {
                "used_ratio": budget.cpu_ratio, "user_ratio": budget.user_cpu_ratio, "bpf_ratio": budget.bpf_cpu_ratio,
                "limit_ratio": budget.cpu_limit_ratio, "bpf_reason": budget.bpf_reason,
            },
            "memory": {
                "used_bytes": budget.memory_bytes, "agent_bytes": budget.process_memory_bytes,
                "rss_bytes": resident_bytes(), "map_bytes": budget.map_bytes, "limit_bytes": budget.memory_limit_bytes,
            },
            "shed": shed,
            "history": budget.history,
            "probes": probes,
        })
    }

    fn health(&self) -> Component {
        let status = self.agent.status();
        let probes = self.agent.probes();
        let last = probes.iter().map(|probe| probe.last_ms).max().filter(|last| *last > 0);
        if !status.ready {
            return Component::new(Status::Starting, "the first collection is not done yet", last);
        }
        let mut trouble = status.closed;
        let of = |state| probes.iter().filter(move |probe| probe.state == state);
        let broken: Vec<&str> = of(ProbeState::Failed).map(|probe| probe.name).collect();
        if !broken.is_empty() {
            trouble.push(format!("probes that failed: {}", broken.join(", ")));
        }
        trouble.extend(blind(of(ProbeState::Off)));
        if trouble.is_empty() { Component::ok(last) } else { Component::new(Status::Degraded, trouble.join("; "), last) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(place: &str, what: &str, reason: &str) -> LedgerLine {
        LedgerLine { place: place.into(), what: what.into(), reason: reason.into(), since_ms: 1, last_ms: 2, count: 3 }
    }

    #[test]
    fn drops_are_explained_by_losses_alone() {
        let ledger = [
            line("probe.tcp", "parameters without effect", "kept and change nothing"),
            line("probe.tcp", "tcp.links.lost", "beyond the limit"),
            line("probe.tcp", "stop", "hooks are still being removed"),
            line("probe.io", "io.requests.lost", "beyond the cap"),
        ];
        let mut status = ProbeStatus::stopped("tcp");
        assert_eq!(probe_row(&status, &ledger)["drops_reason"], Value::Null, "nothing was lost");
        status.drops = 3;
        assert_eq!(probe_row(&status, &ledger)["drops_reason"], "tcp.links.lost: beyond the limit");
        assert_eq!(probe_row(&status, &ledger[..1])["drops_reason"], Value::Null);
    }

    #[test]
    fn probes_that_see_nothing_are_named_with_one_reason() {
        let hook = HookReport {
            probe: "io",
            hook: "block_rq_issue".into(),
            state: gala_agent::kernel::HookState::Off,
            rung: None,
            ladder: Vec::new(),
            reason: "no BTF".into(),
        };
        let status = |name| ProbeStatus { hooks: vec![hook.clone()], ..ProbeStatus::stopped(name) };
        let told = "probes that see nothing here: io, ksli (no BTF)";
        assert_eq!(blind([&status("io"), &status("ksli")].into_iter()).as_deref(), Some(told));
        assert_eq!(blind([].into_iter()), None);
    }

    #[test]
    fn a_probe_that_does_not_start_is_not_the_settings_fault() {
        let failed = Refusal::NotStarted("no BTF".to_owned());
        assert_eq!(not_configured(&failed), NotConfigured::Failed("failed to start probe: no BTF".to_owned()));
        let wrong = Refusal::wrong("Bad request", "params.x: no");
        assert_eq!(not_configured(&wrong), NotConfigured::Refused("Bad request: params.x: no".to_owned()));
    }
}
