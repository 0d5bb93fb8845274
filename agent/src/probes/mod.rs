//! Probes: one folder per thing observed. A probe fills typed rows and knows nothing of who reads them.

use std::sync::Arc;
use std::time::Duration;

use gala_model::Table;

use crate::kernel::HookReport;

pub mod baseinfo;
mod ended;
mod held;
pub mod io;
mod orphans;
pub mod proc;
pub mod sli;
pub mod socket;
pub mod tcp;

/// What every probe hooks, for reports without running it: its objects, best first.
pub fn object_specs() -> [&'static [crate::kernel::ObjectSpec]; 5] {
    [&[io::SPEC], &[proc::SPEC], tcp::OBJECTS, sli::OBJECTS, socket::OBJECTS]
}

/// The process's name now; the one the kernel side noted when the process is gone, and that it is.
fn process_name(tgid: u32, noted: &[u8; 16]) -> (Arc<str>, bool) {
    match std::fs::read_to_string(format!("/proc/{tgid}/comm")) {
        Ok(text) => (text.trim_end_matches('\n').into(), false),
        Err(_) => {
            let end = noted.iter().position(|byte| *byte == 0).unwrap_or(noted.len());
            (String::from_utf8_lossy(&noted[..end]).into(), true)
        }
    }
}

/// Number of the network namespace the agent runs in, as the kernel knows it; 0 where it cannot be told.
fn own_network_namespace() -> u32 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self/ns/net").map_or(0, |namespace| namespace.ino() as u32)
}

/// Where a probe puts its rows. The runtime gives each row its owner's labels and its time.
pub trait RowSink {
    /// Takes one row; `T` decides table and entity.
    fn push_row(&mut self, row: &dyn ErasedRow);
    /// Something judged or happened, with the words for it.
    fn push_event(&mut self, event: gala_model::Event);
}

impl dyn RowSink + '_ {
    pub fn push<T: Table>(&mut self, row: &T) {
        self.push_row(row);
    }
}

/// A table row without its type.
pub trait ErasedRow {
    fn def(&self) -> &'static gala_model::TableDef;
    fn labels(&self, out: &mut dyn gala_model::value::LabelSink);
    fn values(&self, out: &mut Vec<gala_model::Value>);
    fn tgid(&self) -> Option<u32>;
    fn container_id(&self) -> Option<&str>;
}

impl<T: Table> ErasedRow for T {
    fn def(&self) -> &'static gala_model::TableDef {
        T::def()
    }
    fn labels(&self, out: &mut dyn gala_model::value::LabelSink) {
        Table::labels(self, out);
    }
    fn values(&self, out: &mut Vec<gala_model::Value>) {
        Table::values(self, out);
    }
    fn tgid(&self) -> Option<u32> {
        Table::tgid(self)
    }
    fn container_id(&self) -> Option<&str> {
        Table::container_id(self)
    }
}

/// What the runtime tells a probe at start and on every change.
#[derive(Clone, Debug)]
pub struct ProbeSettings {
    pub report_period: Duration,
    /// How often a value is sampled in the kernel.
    pub sample_period: Duration,
    /// Sub-probes that are on: what is declared to belong to another one is not reported.
    pub sub_probes: Vec<String>,
    pub report_client_port: bool,
    /// Processes to look at; `None` is all.
    pub processes: Option<std::sync::Arc<std::collections::HashSet<u32>>>,
}

impl ProbeSettings {
    pub fn is_on(&self, sub_probe: &str) -> bool {
        self.sub_probes.iter().any(|on| on == sub_probe)
    }
}

/// What a probe lost since its start, by reason; goes to the ledger.
#[derive(Clone, Debug)]
pub struct Loss {
    /// Stable key, e.g. `tcp.links.evicted`.
    pub key: &'static str,
    /// One sentence for a person.
    pub what: String,
    pub count: u64,
}

/// One period's tick.
#[derive(Clone, Copy, Debug)]
pub struct Tick {
    /// Wall clock of the report, milliseconds since 1970.
    pub at_ms: i64,
    /// Measured time since this probe's previous collect.
    pub elapsed: Duration,
}

/// A thing observed. Created per start, dropped at stop: dropping detaches every hook and frees every map.
pub trait Probe: Send {
    /// Upstream's name of the probe (`tcp`, `proc`, `io`, `baseinfo`, `ksli`, `socket`).
    fn name(&self) -> &'static str;
    /// Reports what was seen since the last call.
    fn collect(&mut self, tick: Tick, out: &mut dyn RowSink) -> anyhow::Result<()>;
    /// Takes new settings without a restart; answers whether that was possible.
    fn reconfigure(&mut self, settings: &ProbeSettings) -> bool;
    /// State of each hook: which rung is in use, or why none is.
    fn hooks(&self) -> Vec<HookReport>;
    fn losses(&self) -> Vec<Loss>;
    /// File descriptors of the loaded programs, for measuring their run time.
    fn program_fds(&self) -> Vec<(String, i32)>;
    /// Bytes of BPF maps.
    fn map_bytes(&self) -> u64;
}
