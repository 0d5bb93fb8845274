//! What this kernel can do, the hook ladder, loading, and what each program costs.

use serde::Serialize;

/// A rung of the ladder, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rung {
    TpBtf,
    RawTracepoint,
    Tracepoint,
    Fexit,
    Kprobe,
    Uprobe,
    PerfEvent,
    Iterator,
    Netlink,
    Procfs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HookState {
    Full,
    /// Works on a lower rung; the reason says what is missing.
    Degraded,
    /// Nothing works; the reason says why.
    Off,
}

/// One hook of one probe as it stands on this kernel.
#[derive(Clone, Debug, Serialize)]
pub struct HookReport {
    pub probe: &'static str,
    /// What is hooked, e.g. `tcp_retransmit_skb`.
    pub hook: String,
    pub state: HookState,
    /// Rung in use.
    pub rung: Option<Rung>,
    /// Every rung that exists for this hook, in order.
    pub ladder: Vec<Rung>,
    /// Empty when full.
    pub reason: String,
}
