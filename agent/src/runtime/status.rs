//! How each probe stands: state, hooks, cost, losses. What `status`, the hub's agent page and the REST state read.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use serde::Serialize;

use crate::kernel::{HookReport, HookState};
use crate::probes::Probe;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeState {
    /// Runs, every hook on its best rung.
    Full,
    /// Runs, some hook on a lower rung or off.
    Degraded,
    /// Runs, but no hook works: it sees nothing here.
    Off,
    Stopped,
    /// Broke or could not start; the reason says why.
    Failed,
    /// Not in this version.
    Unsupported,
}

impl ProbeState {
    /// As it is written everywhere.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Degraded => "degraded",
            Self::Off => "off",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::Unsupported => "unsupported",
        }
    }

    pub const fn is_running(self) -> bool {
        matches!(self, Self::Full | Self::Degraded | Self::Off)
    }

    /// What a probe with these hooks is worth, and why it is not full: each reason once, behind the hooks it holds for.
    pub fn of_hooks<'a>(hooks: impl IntoIterator<Item = &'a HookReport>) -> (Self, String) {
        let (mut working, mut missing) = (false, Vec::<(&str, Vec<&str>)>::new());
        for hook in hooks {
            working |= hook.state != HookState::Off;
            if hook.state == HookState::Full {
                continue;
            }
            match missing.iter_mut().find(|(reason, _)| *reason == hook.reason) {
                Some((_, hooks)) => hooks.push(&hook.hook),
                None => missing.push((&hook.reason, vec![&hook.hook])),
            }
        }
        let state = match (missing.is_empty(), working) {
            (true, _) => Self::Full,
            (false, true) => Self::Degraded,
            (false, false) => Self::Off,
        };
        let reasons = missing.iter().map(|(reason, hooks)| {
            // What is worse on a lower rung ends with why the better ones are off, which is said already.
            let known = missing.iter().filter_map(|(other, _)| reason.strip_suffix(other)?.strip_suffix(": ")).next();
            format!("{}: {}", hooks.join(", "), known.unwrap_or(reason))
        });
        (state, reasons.collect::<Vec<_>>().join("; "))
    }
}

/// Signs of life of the sampling thread.
#[derive(Debug, Default)]
pub struct Pulse {
    ready: AtomicBool,
    turned_ms: AtomicI64,
}

impl Pulse {
    /// A first report was collected, or there is none to collect.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    pub fn set_ready(&self) {
        self.ready.store(true, Ordering::Release);
    }

    /// When the thread last went round, milliseconds since 1970; at least once a second.
    pub fn turned_ms(&self) -> i64 {
        self.turned_ms.load(Ordering::Acquire)
    }

    pub fn turn(&self, at_ms: i64) {
        self.turned_ms.store(at_ms, Ordering::Release);
    }
}

/// One probe now.
#[derive(Clone, Debug, Serialize)]
pub struct ProbeStatus {
    pub name: &'static str,
    pub state: ProbeState,
    /// Empty when full.
    pub reason: String,
    pub hooks: Vec<HookReport>,
    /// Rows of the last report.
    pub rows: u64,
    /// Time of the last report, milliseconds since 1970; 0 before the first.
    pub last_ms: i64,
    pub reports: u64,
    pub failed_reports: u64,
    /// User-side CPU time of all reports.
    pub cpu_ns: u64,
    /// Share of one core our side used, measured over the last budget window.
    pub cpu_ratio: f64,
    /// Share of one core its BPF programs used in the last measured window.
    pub bpf_cpu_ratio: f64,
    /// BPF program runs per second in that window.
    pub events_per_s: f64,
    /// Mean run time of one program run in that window.
    pub ns_per_event: f64,
    pub map_bytes: u64,
    /// Sum of what was lost.
    pub drops: u64,
    /// Sub-probes the budget took away.
    pub shed: Vec<&'static str>,
}

impl ProbeStatus {
    pub fn stopped(name: &'static str) -> Self {
        Self {
            name,
            state: ProbeState::Stopped,
            reason: String::new(),
            hooks: Vec::new(),
            rows: 0,
            last_ms: 0,
            reports: 0,
            failed_reports: 0,
            cpu_ns: 0,
            cpu_ratio: 0.0,
            bpf_cpu_ratio: 0.0,
            events_per_s: 0.0,
            ns_per_event: 0.0,
            map_bytes: 0,
            drops: 0,
            shed: Vec::new(),
        }
    }

    pub fn started(name: &'static str, probe: &dyn Probe) -> Self {
        let mut status = Self::stopped(name);
        status.look_at(probe);
        status
    }

    pub fn collected(&mut self, at_ms: i64, rows: u64, cpu: Duration, probe: &dyn Probe) {
        self.last_ms = at_ms;
        self.rows = rows;
        self.reports += 1;
        self.cpu_ns += cpu.as_nanos() as u64;
        self.drops = probe.losses().iter().map(|loss| loss.count).sum();
        // Hooks change rarely (a lazily attached program): the first reports and then every minute or so.
        if self.reports <= 2 || self.reports.is_multiple_of(12) {
            self.look_at(probe);
        }
    }

    fn look_at(&mut self, probe: &dyn Probe) {
        self.hooks = probe.hooks();
        self.map_bytes = probe.map_bytes();
        (self.state, self.reason) = ProbeState::of_hooks(&self.hooks);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(name: &str, state: HookState, reason: &str) -> HookReport {
        HookReport { probe: "tcp", hook: name.into(), state, rung: None, ladder: Vec::new(), reason: reason.into() }
    }

    #[test]
    fn a_reason_many_hooks_share_is_told_once() {
        let hooks = [
            hook("connections", HookState::Degraded, "short ones are not seen: no BTF"),
            hook("reset", HookState::Off, "no BTF"),
            hook("drop", HookState::Off, "no BTF"),
            hook("walk", HookState::Full, ""),
        ];
        let told = "connections: short ones are not seen; reset, drop: no BTF";
        assert_eq!(ProbeState::of_hooks(&hooks), (ProbeState::Degraded, told.to_owned()));
        let alone = ProbeState::of_hooks(&hooks[..1]).1;
        assert_eq!(alone, "connections: short ones are not seen: no BTF", "it is said somewhere");
        assert_eq!(ProbeState::of_hooks(&hooks[1..3]), (ProbeState::Off, "reset, drop: no BTF".to_owned()));
        assert_eq!(ProbeState::of_hooks(&hooks[3..]), (ProbeState::Full, String::new()));
    }
}
