//! What a series means for detection: read from the tables of the vocabulary, never from the name of a program. Request
//! and connection latencies, errors of requests, slow devices and stalled containers are what users feel; a few counters
//! are faults by themselves; everything else is evidence.

use std::collections::HashMap;
use std::sync::Arc;

use gala_model::entity::{self, EntityType};
use gala_model::{Bad, FieldDef, Kind, Semantics, TableDef};

use super::policy::{self, Policy};

/// Which of a field's series a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Value,
    Sum,
    Count,
    Max,
    /// Events up to the edge in label `le`.
    Bucket,
}

/// How the parts of a KPI make its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Sum over events divided by their number; the number is also the load.
    Mean,
    /// The value that so many percent of the events stay within, from the buckets of a histogram; their number is the load.
    Quantile(u8),
    /// Something counted, as a share of something else counted.
    Share,
    /// The number itself, beside a load where there is one; several series of one KPI add up.
    Number,
}

/// What part a series plays in a KPI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    Over,
    Under,
    /// What was done meanwhile, where that is neither.
    Load,
}

/// A number that may open an incident.
#[derive(Clone, Copy, Debug)]
pub struct KpiRole {
    pub shape: Shape,
    pub input: Input,
    pub policy: &'static Policy,
    /// The metric an incident names: the field whose change hurts.
    pub metric: &'static str,
    pub field: &'static FieldDef,
}

/// One known series name.
#[derive(Clone, Debug)]
pub struct Meaning {
    pub entity: &'static EntityType,
    pub field: &'static FieldDef,
    pub part: Part,
    /// Empty for evidence. One series may serve several KPIs (a number of packets under several shares).
    pub roles: Vec<KpiRole>,
}

impl Meaning {
    /// Whether the number grows for ever, so that only its increase means something.
    pub fn is_cumulative(&self) -> bool {
        self.field.semantics == Semantics::Cumulative && self.part != Part::Max
    }

    /// Whether the number counts what happened since the sample before.
    pub fn counts_a_period(&self) -> bool {
        self.part != Part::Max && self.field.semantics != Semantics::Level
    }

    /// Direction in which a change is bad, as evidence.
    pub fn bad(&self) -> Bad {
        if matches!(self.part, Part::Count | Part::Bucket) { Bad::Never } else { self.field.bad }
    }
}

/// All names of the tables.
#[derive(Debug)]
pub struct Dictionary {
    by_name: HashMap<&'static str, Arc<Meaning>>,
}

impl Dictionary {
    pub fn new(tables: &[&'static TableDef]) -> Self {
        let mut by_name: HashMap<&'static str, Arc<Meaning>> = HashMap::new();
        for table in tables {
            let Some(entity) = entity::entity_type(table.entity) else { continue };
            for field in table.metrics() {
                let mut add = |name, part| {
                    by_name.entry(name).or_insert_with(|| Arc::new(Meaning { entity, field, part, roles: Vec::new() }));
                };
                if matches!(field.role, gala_model::Role::Metric(Kind::Histogram)) {
                    add(field.series.sum, Part::Sum);
                    add(field.series.count, Part::Count);
                    add(field.series.max, Part::Max);
                } else {
                    add(field.series.base, Part::Value);
                }
            }
        }
        let mut dictionary = Self { by_name };
        for table in tables {
            dictionary.add_roles(table);
        }
        dictionary
    }

    /// Names of the histograms whose buckets are read.
    pub fn bucket_names(&self) -> Vec<&'static str> {
        let mut names: Vec<&'static str> =
            self.by_name.iter().filter(|(_, meaning)| meaning.part == Part::Bucket).map(|(name, _)| *name).collect();
        names.sort_unstable();
        names
    }

    pub fn get(&self, name: &str) -> Option<&Arc<Meaning>> {
        self.by_name.get(name)
    }

    fn role(&mut self, name: &str, role: KpiRole) {
        if let Some(meaning) = self.by_name.get_mut(name).map(Arc::make_mut) {
            let same = |other: &KpiRole| (other.metric, other.shape, other.input) == (role.metric, role.shape, role.input);
            let known = meaning.roles.iter().any(same);
            if !known {
                meaning.roles.push(role);
            }
        }
    }

    fn add_roles(&mut self, table: &'static TableDef) {
        for field in table.metrics() {
            let histogram = matches!(field.role, gala_model::Role::Metric(Kind::Histogram));
            if histogram && field.bad == Bad::Up && is_time(field.unit) {
                if let Some(policy) = latency_policy(table.entity, field.name) {
                    let role = |input| KpiRole { shape: Shape::Mean, input, policy, metric: field.series.base, field };
                    self.role(field.series.sum, role(Input::Over));
                    self.role(field.series.count, role(Input::Under));
                    let load = policy::load_of(table.entity, field.name);
                    if let Some(load) = load.and_then(|name| table.metrics().find(|other| other.name == name)) {
                        self.role(load.series.base, role(Input::Load));
                    }
                }
                for (percent, policy) in quantile_policies(table.entity, field.name) {
                    self.add_quantile(table, field, *percent, policy);
                }
            } else if !histogram {
                self.add_plain(table, field);
            }
        }
    }

    fn add_quantile(&mut self, table: &'static TableDef, field: &'static FieldDef, percent: u8, policy: &'static Policy) {
        let Some(entity) = entity::entity_type(table.entity) else { return };
        let bucket = || Arc::new(Meaning { entity, field, part: Part::Bucket, roles: Vec::new() });
        self.by_name.entry(field.series.base).or_insert_with(bucket);
        let role = KpiRole { shape: Shape::Quantile(percent), input: Input::Over, policy, metric: field.series.base, field };
        self.role(field.series.base, role);
    }

    fn add_plain(&mut self, table: &'static TableDef, field: &'static FieldDef) {
        if let Some(rule) = policy::number_rule(table.entity, field.name) {
            let role = |input| KpiRole { shape: Shape::Number, input, policy: rule, metric: field.series.base, field };
            self.role(field.series.base, role(Input::Over));
            let load = policy::load_of(table.entity, field.name);
            if let Some(load) = load.and_then(|name| table.metrics().find(|other| other.name == name)) {
                self.role(load.series.base, role(Input::Under));
            }
        }
        let Some((rule, wholes)) = policy::share_rule(table.entity, field.name) else { return };
        let named = |name: &&'static str| table.metrics().find(|other| other.name == *name);
        let whole = |names: &&[&'static str]| names.iter().map(named).collect::<Option<Vec<_>>>();
        let Some(whole) = wholes.iter().find_map(whole) else { return };
        let role = |input| KpiRole { shape: Shape::Share, input, policy: rule, metric: field.series.base, field };
        self.role(field.series.base, role(Input::Over));
        for under in whole {
            self.role(under.series.base, role(Input::Under));
        }
    }
}

fn is_time(unit: &str) -> bool {
    matches!(unit, "ns" | "us" | "ms" | "s")
}

/// Latencies that somebody waits for. Stages of a request are evidence: their sum is the request.
fn latency_policy(entity: &str, field: &str) -> Option<&'static Policy> {
    match entity {
        "sli" | "l7" | "l7_api" | "sermant_l7" | "sermant_l7_api" => {
            (field.contains("latency") || field.contains("rtt")).then_some(&policy::REQUEST_LATENCY)
        }
        "endpoint_tcp" | "endpoint" => field.contains("estab").then_some(&policy::CONNECT_LATENCY),
        "block" => field.contains("req").then_some(&policy::DEVICE_LATENCY),
        "tcp_link" => (field == "srtt").then_some(&policy::ROUND_TRIP),
        _ => None,
    }
}

/// Requests are judged by their slow tenth and hundredth too: what hurts some of them moves the mean little.
fn quantile_policies(entity: &str, field: &str) -> &'static [(u8, &'static Policy)] {
    const REQUESTS: [(u8, &Policy); 2] = [(90, &policy::REQUEST_P90), (99, &policy::REQUEST_P99)];
    let requests = latency_policy(entity, field).is_some_and(|policy| std::ptr::eq(policy, &policy::REQUEST_LATENCY));
    if requests { &REQUESTS } else { &[] }
}

/// Interfaces that are made for containers, machines and tunnels, and whose link goes up and down with what uses them.
const VIRTUAL_INTERFACES: [&str; 38] = [
    "azv",
    "br-",
    "cali",
    "cilium",
    "cni",
    "docker",
    "dummy",
    "eni",
    "flannel",
    "fwbr",
    "fwln",
    "fwpr",
    "geneve",
    "gke",
    "ifb",
    "kube",
    "lxc",
    "lxdbr",
    "macvtap",
    "ovs",
    "podman",
    "ppp",
    "qbr",
    "qvb",
    "qvo",
    "tailscale",
    "tap",
    "tun",
    "veth",
    "vif",
    "virbr",
    "vmbr",
    "vmnet",
    "vnet",
    "vxlan",
    "wg",
    "wwan",
    "zt",
];

/// Whether an interface is one of those.
pub fn comes_and_goes(interface: &str) -> bool {
    VIRTUAL_INTERFACES.iter().any(|kind| interface.starts_with(kind))
}

/// One unit of what a person would notice, for evidence on metrics of that unit.
pub fn practical_unit(unit: &str) -> f64 {
    match unit {
        "ns" => 200_000.0,
        "us" => 200.0,
        "ms" => 5.0,
        "s" => 0.1,
        "%" => 5.0,
        "ratio" => 0.02,
        "bytes" => 65_536.0,
        "kB" => 16_384.0,
        "kB/s" | "KiB/s" => 256.0,
        "count" | "packets" | "segments" | "datagrams" | "pages" | "requests" => 10.0,
        _ => 1.0,
    }
}

/// Nanoseconds of one unit of time, where it is one.
pub fn nanoseconds(unit: &str) -> f64 {
    match unit {
        "us" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        _ => 1.0,
    }
}

/// Commands that wait for somebody else by design: how long they take says nothing about the server.
const WAITING_COMMANDS: [&str; 17] = [
    "BLPOP",
    "BRPOP",
    "BRPOPLPUSH",
    "BLMOVE",
    "BLMPOP",
    "BZPOPMIN",
    "BZPOPMAX",
    "BZMPOP",
    "XREAD",
    "XREADGROUP",
    "WAIT",
    "WAITAOF",
    "SUBSCRIBE",
    "PSUBSCRIBE",
    "SSUBSCRIBE",
    "MONITOR",
    "PSYNC",
];

/// Whether requests of that kind wait by design.
pub fn waits_by_design(method: &str) -> bool {
    WAITING_COMMANDS.iter().any(|command| command.eq_ignore_ascii_case(method))
}
