//! What this kernel and these rights allow, without changing anything: for `gala doctor`. Works for every user.

use serde::Serialize;

use crate::control::catalogue::PROBES;
use crate::kernel::{self, HookReport, HookState};
use crate::runtime::status::ProbeState;

/// One probe as it would stand here.
#[derive(Clone, Debug, Serialize)]
pub struct ProbeReport {
    pub name: &'static str,
    pub state: ProbeState,
    /// Empty when full.
    pub reason: String,
}

#[derive(Clone, Debug, Serialize)]
pub struct DoctorReport {
    pub version: &'static str,
    pub kernel: String,
    pub root: bool,
    /// Rights that are missing, with what they are for; empty when all are there.
    pub missing_rights: Vec<String>,
    pub probes: Vec<ProbeReport>,
    pub hooks: Vec<HookReport>,
}

/// Rights by bit of `CapEff` (capability(7), linux/capability.h).
const RIGHTS: [(u32, &str, &str); 5] = [
    (39, "CAP_BPF", "loading BPF programs"),
    (38, "CAP_PERFMON", "attaching BPF programs to kernel events"),
    (19, "CAP_SYS_PTRACE", "reading other users' processes"),
    (12, "CAP_NET_ADMIN", "asking the kernel about sockets of other namespaces"),
    (CAP_DAC_READ_SEARCH, "CAP_DAC_READ_SEARCH", "reading files of other users"),
];

/// Bit of the right that implies the newer ones on old kernels.
const CAP_SYS_ADMIN: u32 = 21;
/// Bit of the right that reads and writes all files, and the one that reads them.
const CAP_DAC_OVERRIDE: u32 = 1;
const CAP_DAC_READ_SEARCH: u32 = 2;

/// Looks at everything. Loads each probe's programs for a moment where that is allowed.
pub fn doctor() -> DoctorReport {
    let hooks = kernel::doctor();
    DoctorReport {
        version: env!("CARGO_PKG_VERSION"),
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        root: rustix::process::geteuid().is_root(),
        missing_rights: own_missing_rights(),
        probes: PROBES.iter().map(|entry| probe_report(entry.name, entry.start.is_some(), &hooks)).collect(),
        hooks,
    }
}

/// Rights this process lacks, with what they are for.
pub fn own_missing_rights() -> Vec<String> {
    missing_rights(&std::fs::read_to_string("/proc/self/status").unwrap_or_default())
}

/// From the text of `/proc/self/status`.
fn missing_rights(status: &str) -> Vec<String> {
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|text| u64::from_str_radix(text.trim(), 16).ok()).unwrap_or(0);
    let has = |bit: u32| effective >> bit & 1 == 1;
    let implied = |bit: u32| match bit {
        CAP_DAC_READ_SEARCH => has(CAP_DAC_OVERRIDE),
        _ => bit >= 38 && has(CAP_SYS_ADMIN),
    };
    let missing = RIGHTS.iter().filter(|(bit, ..)| !has(*bit) && !implied(*bit));
    missing.map(|(_, name, what)| format!("{name}: {what}")).collect()
}

fn probe_report(name: &'static str, supported: bool, hooks: &[HookReport]) -> ProbeReport {
    if !supported {
        return ProbeReport { name, state: ProbeState::Unsupported, reason: "not supported in the current version".to_owned() };
    }
    let (state, reason) = ProbeState::of_hooks(hooks.iter().filter(|hook| hook.probe == name));
    ProbeReport { name, state, reason }
}

impl DoctorReport {
    /// For people: a line per hook and per probe.
    pub fn text(&self) -> String {
        use std::fmt::Write;
        let mut out = format!("gala {} on Linux {}{}\n", self.version, self.kernel, if self.root { "" } else { ", not root" });
        for missing in &self.missing_rights {
            let _ = writeln!(out, "missing right {missing}");
        }
        let _ = writeln!(out, "\n{:<14} {:<12} why", "probe", "state");
        for probe in &self.probes {
            let _ = writeln!(out, "{:<14} {:<12} {}", probe.name, state_word(probe.state), probe.reason);
        }
        let _ = writeln!(out, "\n{:<14} {:<34} {:<9} {:<16} why", "probe", "hook", "state", "rung");
        for hook in &self.hooks {
            let state = match hook.state {
                HookState::Full => "full",
                HookState::Degraded => "degraded",
                HookState::Off => "off",
            };
            let rung = hook.rung.map_or_else(|| "-".to_owned(), |rung| format!("{rung:?}"));
            let _ = writeln!(out, "{:<14} {:<34} {state:<9} {rung:<16} {}", hook.probe, hook.hook, hook.reason);
        }
        out
    }
}

fn state_word(state: ProbeState) -> &'static str {
    match state {
        ProbeState::Full => "full",
        ProbeState::Degraded => "degraded",
        ProbeState::Stopped => "stopped",
        ProbeState::Off | ProbeState::Failed => "off",
        ProbeState::Unsupported => "unsupported",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_rights_are_named_with_their_use() {
        assert_eq!(missing_rights("Name:\tx\nCapEff:\t000001ffffffffff\n"), Vec::<String>::new());
        let none = missing_rights("CapEff:\t0000000000000000\n");
        assert!(none.len() == RIGHTS.len() && none[0].starts_with("CAP_BPF: loading"), "{none:?}");
        let admin = missing_rights(&format!("CapEff:\t{:016x}\n", 1u64 << CAP_SYS_ADMIN));
        assert!(!admin.iter().any(|line| line.starts_with("CAP_BPF")), "older kernels have only the big one: {admin:?}");
        // As a container engine starts root: files, network of its own, no BPF.
        let container = missing_rights("CapEff:\t00000000a80425fb\n");
        assert!(container.iter().any(|line| line.starts_with("CAP_BPF")), "{container:?}");
        assert!(!container.iter().any(|line| line.starts_with("CAP_DAC_READ_SEARCH")), "{container:?}");
    }

    #[test]
    fn a_probe_is_as_good_as_its_hooks() {
        let hook = |state, reason: &str| HookReport {
            probe: "tcp",
            hook: "tcp_probe".into(),
            state,
            rung: None,
            ladder: Vec::new(),
            reason: reason.into(),
        };
        assert_eq!(probe_report("tcp", true, &[hook(HookState::Full, "")]).state, ProbeState::Full);
        let off = probe_report("tcp", true, &[hook(HookState::Off, "no BTF")]);
        assert_eq!((off.state, off.reason.as_str()), (ProbeState::Off, "tcp_probe: no BTF"));
        let mixed = [hook(HookState::Off, "no BTF"), hook(HookState::Full, "")];
        assert_eq!(probe_report("tcp", true, &mixed).state, ProbeState::Degraded);
        assert_eq!(probe_report("jvm", false, &[]).state, ProbeState::Unsupported);
    }
}
