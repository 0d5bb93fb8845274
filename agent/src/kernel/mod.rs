//! What this kernel can do, the hook ladder, loading, and what each program costs.
//!
//! A probe declares its hooks as data ([`HookSpec`]), each with a ladder of rungs; [`load::load`] takes the best rung that
//! this kernel loads and attaches, and says of each hook how it stands. A probe may have several objects, for kernels of
//! different ages. Nothing here ever fails the agent: a probe whose object cannot be loaded has all its hooks off, with the
//! reason.

use serde::Serialize;

mod capabilities;
mod cost;
mod doctor;
pub mod load;
mod log;
pub mod plain;

pub use capabilities::{Capabilities, KernelNames, Release, has_btf, jiffies_per_second};
pub use cost::{ProgramCost, RunTimeWindow};
pub use doctor::doctor;
pub use plain::Plain;

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

impl Rung {
    /// As it is written in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TpBtf => "tp_btf",
            Self::RawTracepoint => "raw_tracepoint",
            Self::Tracepoint => "tracepoint",
            Self::Fexit => "fexit",
            Self::Kprobe => "kprobe",
            Self::Uprobe => "uprobe",
            Self::PerfEvent => "perf_event",
            Self::Iterator => "iterator",
            Self::Netlink => "netlink",
            Self::Procfs => "procfs",
        }
    }
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

/// One rung of one hook: the programs that do the work there, none where user space does it.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    pub rung: Rung,
    pub programs: &'static [&'static str],
    /// What is worse on this rung than on the first; empty when nothing is.
    pub lacks: &'static str,
}

/// A hook as a probe declares it.
#[derive(Clone, Copy, Debug)]
pub struct HookSpec {
    pub hook: &'static str,
    pub ladder: &'static [Step],
}

/// A probe's BPF object and what it hooks.
#[derive(Clone, Copy, Debug)]
pub struct ObjectSpec {
    pub probe: &'static str,
    pub object: &'static [u8],
    pub hooks: &'static [HookSpec],
}

/// The compiled object of `<name>.bpf.c`, aligned as libelf wants it.
#[macro_export]
macro_rules! bpf_object {
    ($name:literal) => {{
        #[repr(C, align(16))]
        struct Aligned<T: ?Sized>(T);
        static OBJECT: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".bpf.o")));
        &OBJECT.0
    }};
}
