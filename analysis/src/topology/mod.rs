//! What exists and what depends on what, in real time.
//!
//! One cycle: [`collect`] folds the store's series into entities, [`relations`] finds direct relations by label
//! equality, [`connect`] pairs both ends of connections and lifts them to processes, applications and hosts,
//! [`requests`] says what is asked over them, [`history`] keeps intervals so that the state at any moment can be told. [`view`] answers the two maps.

pub mod collect;
pub mod connect;
pub mod history;
pub mod names;
pub mod relations;
pub mod requests;
pub mod view;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gala_model::entity::EntityType;
use gala_store::{SeriesRead, StoreError};
use serde::{Deserialize, Serialize};

pub use history::{EdgeRecord, EntityRecord, History, LifeState, Snapshot, Unsaved};

/// Labels of an entity, sorted by name; an empty value is an absent label.
pub type LabelMap = BTreeMap<Arc<str>, Arc<str>>;

/// One observed object in one cycle.
#[derive(Clone, Debug)]
pub struct Entity {
    /// External id; see `gala_model::entity::id`.
    pub id: Arc<str>,
    pub kind: &'static EntityType,
    /// As the series carry it, `<uuid>-<ip>`.
    pub machine_id: Arc<str>,
    pub labels: LabelMap,
    /// Latest value per field.
    pub metrics: BTreeMap<String, f64>,
    /// Time of the newest sample, milliseconds.
    pub last_sample_ms: i64,
}

impl Entity {
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.get(name).map(|value| &**value).filter(|value| !value.is_empty())
    }

    /// The machine without its management address; equal for both spellings.
    pub fn machine(&self) -> &str {
        gala_model::entity::id::canonical_machine(&self.machine_id)
    }
}

/// Kind of relation between two entities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Relation {
    RunsOn,
    BelongsTo,
    IsPeer,
    IsClient,
    IsServer,
    HasVhost,
    StoreIn,
    Uses,
    Connect,
}

impl Relation {
    pub const ALL: [Self; 9] = [
        Self::RunsOn,
        Self::BelongsTo,
        Self::IsPeer,
        Self::IsClient,
        Self::IsServer,
        Self::HasVhost,
        Self::StoreIn,
        Self::Uses,
        Self::Connect,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RunsOn => "runs_on",
            Self::BelongsTo => "belongs_to",
            Self::IsPeer => "is_peer",
            Self::IsClient => "is_client",
            Self::IsServer => "is_server",
            Self::HasVhost => "has_vhost",
            Self::StoreIn => "store_in",
            Self::Uses => "uses",
            Self::Connect => "connect",
        }
    }

    /// `direct` is seen in the data, `indirect` is inferred.
    pub const fn layer(self) -> &'static str {
        if matches!(self, Self::Connect) { "indirect" } else { "direct" }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|relation| relation.as_str() == name)
    }
}

/// One relation in one cycle, from client to server, from part to whole.
#[derive(Clone, Debug)]
pub struct Edge {
    pub relation: Relation,
    pub from: Arc<str>,
    pub to: Arc<str>,
    pub attributes: EdgeAttributes,
    /// Balancer process between the ends.
    pub via: Option<Arc<str>>,
    /// Several pairs of ends were possible and the data could not tell which.
    pub ambiguous: bool,
}

impl Edge {
    pub fn direct(relation: Relation, from: &Arc<str>, to: &Arc<str>) -> Self {
        Self { relation, from: from.clone(), to: to.clone(), attributes: EdgeAttributes::default(), via: None, ambiguous: false }
    }
}

/// What flows over a connection, summed over its pairs, per report period of the agent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EdgeAttributes {
    #[serde(skip_serializing_if = "is_zero", default)]
    pub connections: u64,
    /// Client to server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_tx: Option<f64>,
    /// Server to client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_rx: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// Requests that clients send.
    pub rate_per_s: Option<f64>,
    /// The server has several clients and counts their requests together: they are divided by the bytes each sent.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub rate_is_estimate: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_mean_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_p95_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_ratio: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub srtt_mean_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retransmission_ratio: Option<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub protocols: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub server_ports: Vec<u16>,
}

impl EdgeAttributes {
    /// What is told of a connection that is over: as it was last, but that nothing is asked over it any more.
    pub fn over(&self) -> Self {
        Self { rate_per_s: self.rate_per_s.map(|_| 0.0), rate_is_estimate: false, ..self.clone() }
    }

    /// Adds what flows over another connection between the same ends.
    pub fn merge(&mut self, other: &Self) {
        let sum = |left: Option<f64>, right: Option<f64>| match (left, right) {
            (Some(left), Some(right)) => Some(left + right),
            (left, right) => left.or(right),
        };
        let mean = |left: Option<f64>, right: Option<f64>, weights: (f64, f64)| match (left, right) {
            (Some(left), Some(right)) => {
                Some((left * weights.0 + right * weights.1) / (weights.0 + weights.1).max(f64::MIN_POSITIVE))
            }
            (left, right) => left.or(right),
        };
        let by_connections = (self.connections.max(1) as f64, other.connections.max(1) as f64);
        let by_requests = match (self.rate_per_s, other.rate_per_s) {
            (Some(left), Some(right)) if left + right > 0.0 => (left, right),
            _ => by_connections,
        };
        self.latency_mean_ms = mean(self.latency_mean_ms, other.latency_mean_ms, by_requests);
        self.error_ratio = mean(self.error_ratio, other.error_ratio, by_requests);
        // Quantiles do not add; the larger one is not exceeded by more requests than either says.
        self.latency_p95_ms = self.latency_p95_ms.into_iter().chain(other.latency_p95_ms).reduce(f64::max);
        self.srtt_mean_ms = mean(self.srtt_mean_ms, other.srtt_mean_ms, by_connections);
        self.retransmission_ratio = mean(self.retransmission_ratio, other.retransmission_ratio, by_connections);
        self.bytes_tx = sum(self.bytes_tx, other.bytes_tx);
        self.bytes_rx = sum(self.bytes_rx, other.bytes_rx);
        self.rate_per_s = sum(self.rate_per_s, other.rate_per_s);
        self.rate_is_estimate |= other.rate_is_estimate;
        self.connections += other.connections;
        let ports = other.server_ports.iter().filter(|port| !self.server_ports.contains(port)).copied().collect::<Vec<_>>();
        self.server_ports.extend(ports);
        self.server_ports.sort_unstable();
        let protocols = other.protocols.iter().filter(|name| !self.protocols.contains(name)).cloned().collect::<Vec<_>>();
        self.protocols.extend(protocols);
    }
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// Everything one cycle saw.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    pub at_ms: i64,
    /// Some input was left out (cap reached, query failed in part).
    pub partial: bool,
    pub entities: Vec<Entity>,
    pub edges: Vec<Edge>,
    /// What was folded or left out, for people.
    pub limits: Vec<String>,
    /// Entities are missing that may be there all the same.
    pub is_cut: bool,
}

impl Observed {
    /// Notes what was left out.
    fn leave_out(&mut self, what: String) {
        self.partial = true;
        self.limits.push(what);
    }
}

/// How the topology is built; names follow the configuration keys `topology.*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub period_ms: i64,
    pub alive_window_ms: i64,
    pub offline_confirm: u32,
    pub offline_retention_ms: i64,
    pub history_retention_ms: i64,
    pub edge_hold_ms: i64,
    pub max_links_per_process: usize,
    pub max_entities: usize,
    /// What a cycle has not begun to read by then is left out of it.
    pub query_deadline_ms: i64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            period_ms: 60_000,
            alive_window_ms: 90_000,
            offline_confirm: 2,
            offline_retention_ms: 7_200_000,
            history_retention_ms: 7 * 86_400_000,
            edge_hold_ms: 300_000,
            max_links_per_process: 256,
            max_entities: 300_000,
            query_deadline_ms: 10_000,
        }
    }
}

/// Entities, relations and their history.
#[derive(Debug)]
pub struct Topology {
    config: Config,
    history: History,
}

impl Topology {
    pub fn new(config: Config) -> Self {
        let history = History::new(config.clone());
        Self { config, history }
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    pub fn history(&self) -> &History {
        &self.history
    }

    pub fn history_mut(&mut self) -> &mut History {
        &mut self.history
    }

    /// Reads the store and folds what it says at `now_ms` into the history. When the store cannot be read the cycle is
    /// recorded as missing and nothing turns offline.
    pub fn cycle(&mut self, now_ms: i64, store: &dyn SeriesRead) -> Result<CycleReport, StoreError> {
        match observe(&self.config, now_ms, store) {
            Ok(observed) => {
                let report = CycleReport {
                    entities: observed.entities.len(),
                    edges: observed.edges.len(),
                    partial: observed.partial,
                    limits: observed.limits.clone(),
                };
                self.history.apply(observed);
                Ok(report)
            }
            Err(error) => {
                self.history.miss(now_ms);
                Err(error)
            }
        }
    }
}

/// What a cycle found.
#[derive(Clone, Debug, Serialize)]
pub struct CycleReport {
    pub entities: usize,
    pub edges: usize,
    pub partial: bool,
    pub limits: Vec<String>,
}

/// Entities and relations the store's samples show at `now_ms`; no history, so the same store gives the same answer.
pub fn observe(config: &Config, now_ms: i64, store: &dyn SeriesRead) -> Result<Observed, StoreError> {
    let deadline = Instant::now() + Duration::from_millis(config.query_deadline_ms.unsigned_abs());
    let mut observed = collect::collect(config, now_ms, store, deadline)?;
    relations::relate(&mut observed);
    connect::connect(&mut observed);
    if Instant::now() >= deadline {
        observed.leave_out("what is asked over relations was not read in time".to_owned());
    } else if let Err(error) = requests::attribute(config, store, &mut observed) {
        observed.leave_out(format!("what is asked over relations could not be read: {error}"));
    }
    Ok(observed)
}

#[cfg(test)]
mod tests {
    use gala_store::{Labels, Matcher, Sample, Series, TimeRange};

    use super::*;

    /// One entity of three types, each reporting now; a look at all types fails, and so does one at the broken type.
    struct Broken(&'static str);

    impl SeriesRead for Broken {
        fn select(&self, matchers: &[Matcher], range: TimeRange, _: usize) -> Result<Vec<Series>, StoreError> {
            let pattern = &matchers[0].value;
            if !self.0.is_empty() && (pattern == "gala_gopher_.+" || pattern.contains(self.0)) {
                return Err(StoreError::Io("no such block".into()));
            }
            let all = [
                ("gala_gopher_host_value", ("hostname", "alpha")),
                ("gala_gopher_proc_fd_count", ("tgid", "7")),
                ("gala_gopher_disk_util", ("disk_name", "sda")),
            ];
            let found = all.into_iter().filter(|(name, _)| matchers[0].matches(name));
            Ok(found
                .map(|(name, key)| Series {
                    labels: Labels::new([("__name__", name), ("machine_id", "m-1"), key]),
                    samples: vec![Sample { t_ms: range.to_ms, value: 1.0 }],
                })
                .collect())
        }

        fn series(&self, _: &[Matcher], _: TimeRange) -> Result<Vec<Labels>, StoreError> {
            Ok(Vec::new())
        }

        fn label_names(&self, _: &[Matcher], _: TimeRange) -> Result<Vec<String>, StoreError> {
            Ok(Vec::new())
        }

        fn label_values(&self, _: &str, _: &[Matcher], _: TimeRange) -> Result<Vec<String>, StoreError> {
            Ok(Vec::new())
        }
    }

    #[test]
    fn a_type_that_cannot_be_read_costs_no_other_and_is_not_gone() {
        let mut topology = Topology::new(Config::default());
        assert!(!topology.cycle(0, &Broken("")).unwrap().partial);
        for cycle in 1..=5 {
            let report = topology.cycle(cycle * 60_000, &Broken("disk_")).unwrap();
            assert!(report.partial && report.limits.iter().any(|limit| limit.contains("disk (")), "{:?}", report.limits);
        }
        let now = topology.history().at(300_000);
        let state = |kind: &str| now.entities.values().find(|record| record.kind.name == kind).map(|record| record.state);
        assert_eq!((state("disk"), state("proc")), (Some(LifeState::Online), Some(LifeState::Online)));
        assert_eq!(topology.history().latest().map(|cycle| cycle.state), Some(history::SnapshotState::Partial));
    }

    #[test]
    fn what_is_not_read_in_time_is_left_out() {
        let config = Config { query_deadline_ms: 0, ..Config::default() };
        let observed = observe(&config, 0, &Broken("")).unwrap();
        assert!(observed.partial && !observed.is_cut, "all entities are there: {:?}", observed.limits);
        assert!(observe(&config, 0, &Broken("disk_")).is_err(), "nothing was read");
    }
}
