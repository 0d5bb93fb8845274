//! What the agent says of itself: to people, to the hub in its process, and to whoever scrapes it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use serde::Serialize;

use super::metrics;
use super::status::{ProbeState, ProbeStatus, Pulse};
use crate::budget::BudgetReport;
use crate::ledger::Ledger;
use crate::sinks::latest::Latest;

/// The agent itself, for `gala status`.
#[derive(Clone, Debug, Serialize)]
pub struct AgentStatus {
    pub version: &'static str,
    pub uptime_ms: u64,
    pub machine_id: String,
    /// Ports are open and a first report was collected, or there is none to collect.
    pub ready: bool,
    pub metrics_listen: Option<SocketAddr>,
    pub rest_listen: Option<SocketAddr>,
    /// Ports nobody chose that could not be opened, and why.
    pub closed: Vec<String>,
    /// Rows and series the exporter shows.
    pub rows: usize,
    pub series: usize,
    pub probes_running: usize,
    pub probes_failed: usize,
    pub budget: BudgetReport,
}

/// Where the agent's state stands; all clones see the same.
#[derive(Clone)]
pub struct About {
    pub(super) started: Instant,
    pub(super) machine_id: Arc<str>,
    pub(super) metrics_listen: Option<SocketAddr>,
    pub(super) rest_listen: Option<SocketAddr>,
    pub(super) closed: Arc<[String]>,
    pub(super) latest: Arc<Latest>,
    pub(super) statuses: Arc<Mutex<BTreeMap<&'static str, ProbeStatus>>>,
    pub(super) budget: Arc<Mutex<BudgetReport>>,
    pub(super) ledger: Ledger,
    pub(super) pulse: Arc<Pulse>,
}

impl About {
    pub fn status(&self) -> AgentStatus {
        let statuses = self.statuses.lock();
        let (rows, series) = self.latest.size();
        AgentStatus {
            version: env!("CARGO_PKG_VERSION"),
            uptime_ms: self.started.elapsed().as_millis() as u64,
            machine_id: self.machine_id.to_string(),
            ready: self.is_ready(),
            metrics_listen: self.metrics_listen,
            rest_listen: self.rest_listen,
            closed: self.closed.to_vec(),
            rows,
            series,
            probes_running: statuses.values().filter(|status| status.state.is_running()).count(),
            probes_failed: statuses.values().filter(|status| status.state == ProbeState::Failed).count(),
            budget: self.budget.lock().clone(),
        }
    }

    /// Every probe upstream knows, in its order.
    pub fn probes(&self) -> Vec<ProbeStatus> {
        let statuses = self.statuses.lock();
        crate::control::catalogue::PROBES.iter().filter_map(|entry| statuses.get(entry.name).cloned()).collect()
    }

    pub fn is_ready(&self) -> bool {
        self.pulse.is_ready()
    }

    /// Own cost, losses and blind spots as metrics.
    pub fn metrics_text(&self, form: metrics::Form) -> String {
        metrics::render(&self.status(), &self.probes(), &self.ledger.lines(), form)
    }
}
