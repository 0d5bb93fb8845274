//! The causal search: from the symptom backwards over the rules, to every class that left its own range, and the flow of
//! the symptom's deviation through what was found.

use std::collections::{BTreeMap, BTreeSet};

use gala_model::PREFIX;
use gala_model::entity::{entity_type, id};
use gala_store::Labels;

use super::evidence::{Context, Grouping, Judged, judge};
use super::graph::CauseGraph;
use super::listeners::{learn_ends, listeners};
use super::rules::{EdgeRule, RuleScope, RuleSet};
use super::series::{Filter, Reader};
use super::stats::{finite_count, median, sustained};
use crate::topology::Relation;

/// Processes looked at closely when any of the host may be the cause.
const MOST_NEIGHBOURS: usize = 16;
/// Nodes of one search.
const MOST_NODES: usize = 300;
/// Processes at the other ends of connections that are looked at.
const MOST_PEERS: usize = 64;
/// A device the process is not known to use: stacked devices hide who uses what.
const UNKNOWN_USE: f64 = 0.4;

/// A class on an entity.
#[derive(Clone, Debug)]
pub struct Node {
    pub class: usize,
    /// `None`: not measured.
    pub judged: Option<Judged>,
    /// Process the node belongs to, or whose view it is.
    pub tgid: String,
    /// Share of the symptom that flows through.
    pub flow: f64,
    /// Share that nothing behind it explains.
    pub own: f64,
    /// Category under the rule that brings most, instead of the class's.
    pub category: Option<String>,
    /// Strongest edge towards the symptom.
    pub next: Option<usize>,
}

/// From cause to effect.
#[derive(Clone, Debug)]
pub struct Edge {
    pub cause: usize,
    pub effect: usize,
    pub rule: usize,
    /// Before normalisation.
    pub weight: f64,
}

/// A class that was measured and stayed in its range.
#[derive(Clone, Debug)]
pub struct Normal {
    pub class: usize,
    pub judged: Judged,
}

/// What the search found; node 0 is the symptom.
#[derive(Debug, Default)]
pub struct Found {
    pub nodes: Vec<Node>,
    pub edges: Vec<Edge>,
    pub normal: Vec<Normal>,
    /// Classes of the symptom's process that nothing measures.
    pub unobserved: BTreeSet<usize>,
    pub truncated: bool,
}

pub struct Search<'a, 'b> {
    pub rules: &'a RuleSet,
    pub graph: &'a dyn CauseGraph,
    pub reader: &'a mut Reader<'b>,
    pub context: Context<'a>,
    /// The process that suffers.
    pub tgid: String,
    pub container_id: String,
    neighbours: BTreeMap<usize, Vec<String>>,
    cpus: Option<BTreeMap<String, f64>>,
    kernel_threads: Option<BTreeSet<String>>,
    found: Found,
    index: BTreeMap<(usize, String), usize>,
}

impl<'a, 'b> Search<'a, 'b> {
    pub fn new(
        rules: &'a RuleSet,
        graph: &'a dyn CauseGraph,
        reader: &'a mut Reader<'b>,
        context: Context<'a>,
        tgid: String,
        container_id: String,
    ) -> Self {
        Self {
            rules,
            graph,
            reader,
            context,
            tgid,
            container_id,
            neighbours: BTreeMap::new(),
            cpus: None,
            kernel_threads: None,
            found: Found::default(),
            index: BTreeMap::new(),
        }
    }

    /// Searches from the symptom's class, judged or not.
    pub fn run(mut self, class: usize, symptom: Option<Judged>) -> Found {
        let tgid = self.tgid.clone();
        let root = self.node(class, symptom, &tgid);
        let mut next = root;
        while next < self.found.nodes.len() {
            self.expand(next);
            next += 1;
        }
        self.found.attribute(self.rules, self.context.grid.step_ms);
        self.found
    }

    fn node(&mut self, class: usize, judged: Option<Judged>, tgid: &str) -> usize {
        let judged = judged.map(|judged| named(judged, self.graph, &self.reader.machine_id));
        let entity = judged.as_ref().map_or_else(|| format!("? {tgid}"), Judged::key);
        if let Some(known) = self.index.get(&(class, entity.clone())) {
            return *known;
        }
        let at = self.found.nodes.len();
        self.index.insert((class, entity), at);
        self.found.nodes.push(Node { class, judged, tgid: tgid.to_owned(), flow: 0.0, own: 0.0, category: None, next: None });
        at
    }

    fn expand(&mut self, effect: usize) {
        let rules = self.rules;
        let effect_class = rules.classes[self.found.nodes[effect].class].name.clone();
        for (at, rule) in rules.rules.iter().enumerate().filter(|(_, rule)| rule.effect == effect_class) {
            if self.found.nodes.len() >= MOST_NODES {
                self.found.truncated = true;
                return;
            }
            let Some(class) = rules.class(&rule.cause) else { continue };
            if rule
                .unless_abnormal
                .as_ref()
                .and_then(|name| rules.class(name))
                .is_some_and(|class| self.device_abnormal(class, effect))
            {
                continue;
            }
            let causes = self.causes(rule, class, effect);
            let measured = !causes.is_empty();
            for (judged, factor) in causes {
                if judged.entity_id == self.entity_of(effect) && class == self.found.nodes[effect].class {
                    continue;
                }
                if !judged.is_abnormal() {
                    self.found.normal.push(Normal { class, judged });
                    continue;
                }
                let tgid = judged.labels.get("tgid").cloned().unwrap_or_else(|| self.found.nodes[effect].tgid.clone());
                let cause = self.node(class, Some(judged), &tgid);
                self.found.edges.push(Edge { cause, effect, rule: at, weight: factor });
            }
            let can_be_hidden = !measured && !rules.classes[class].absent_is_none();
            if can_be_hidden && matches!(rule.scope, RuleScope::SameProcess | RuleScope::ServiceLinks) {
                if self.found.nodes[effect].tgid == self.tgid {
                    self.found.unobserved.insert(class);
                }
                let tgid = self.found.nodes[effect].tgid.clone();
                let cause = self.node(class, None, &tgid);
                if cause != effect {
                    self.found.edges.push(Edge { cause, effect, rule: at, weight: 1.0 });
                }
            }
        }
    }

    fn entity_of(&self, node: usize) -> String {
        self.found.nodes[node].judged.as_ref().map_or_else(String::new, |judged| judged.entity_id.clone())
    }

    /// Judged causes under a rule, each with the factor its scope gives it.
    fn causes(&mut self, rule: &EdgeRule, class: usize, effect: usize) -> Vec<(Judged, f64)> {
        let tgid = self.found.nodes[effect].tgid.clone();
        let labels = self.found.nodes[effect].judged.as_ref().map(|judged| judged.labels.clone()).unwrap_or_default();
        let own = Filter::Processes(vec![tgid.clone()]);
        let container = self.container_id.clone();
        let of_process = move |row: &Labels| match row.get("tgid") {
            Some(theirs) => theirs == tgid,
            None => !container.is_empty() && row.get("container_id") == Some(&container),
        };
        let all = |judged: Vec<Judged>| judged.into_iter().map(|judged| (judged, 1.0)).collect();
        match rule.scope {
            RuleScope::SameProcess => all(self.judge(class, &own, &of_process)),
            RuleScope::SameEntity | RuleScope::SameDevice => {
                all(self.judge(class, &Filter::Machine, &|row| same_device(row, &labels)))
            }
            RuleScope::SameHost | RuleScope::Nics => all(self.judge(class, &Filter::Machine, &|_| true)),
            RuleScope::HostEndpoints | RuleScope::HostLinks => all(self.judge(class, &Filter::Machine, &|_| true)),
            RuleScope::ServiceLinks => {
                let service = ["server_ip", "server_port"].map(|label| labels.get(label).cloned());
                let other_end = move |row: &Labels| {
                    let same = |at: usize, label: &str| service[at].as_deref().is_some_and(|own| row.get(label) == Some(own));
                    same(0, "server_ip") && same(1, "server_port")
                };
                let filter = labels.get("server_port").map_or(own, |port| Filter::ServerPort(port.clone()));
                all(self.judge(class, &filter, &|row| of_process(row) || other_end(row)))
            }
            RuleScope::SameHostEndpoints => {
                let server = labels.get("server_port").cloned();
                let same_port =
                    move |row: &Labels| server.as_deref().is_none_or(|port| row.get("server_port").is_none_or(|own| own == port));
                all(self.judge(class, &Filter::Machine, &same_port))
            }
            RuleScope::SameCpu => {
                let cpus = self.cpus_of_waiting(&labels);
                let judged = self.judge(class, &Filter::Machine, &|row| match row.get("cpu") {
                    Some("cpu") => cpus.is_empty(),
                    Some(cpu) => cpus.contains_key(cpu),
                    None => false,
                });
                judged
                    .into_iter()
                    .map(|judged| {
                        let share = judged.labels.get("cpu").and_then(|cpu| cpus.get(cpu)).copied().unwrap_or(1.0);
                        (judged, share.max(0.2))
                    })
                    .collect()
            }
            RuleScope::Devices => {
                let devices = self.used_devices(&self.found.nodes[effect].tgid.clone());
                let judged = self.judge(class, &Filter::Machine, &|_| true);
                let used =
                    |judged: &Judged| devices.is_empty() || device_label_names(&judged.labels).any(|name| devices.contains(name));
                // Where the devices it is seen to use are well, one stacked on them may not be.
                let known = judged.iter().any(|one| used(one) && one.is_abnormal());
                judged
                    .into_iter()
                    .map(|one| {
                        let factor = if used(&one) || !known { 1.0 } else { UNKNOWN_USE };
                        (one, factor)
                    })
                    .collect()
            }
            RuleScope::CpuNeighbours => self.neighbours(class, &labels),
            RuleScope::OtherProcesses | RuleScope::HostProcesses => {
                all(self.risen(class, rule.scope == RuleScope::HostProcesses, &BTreeMap::new()))
            }
            RuleScope::DeviceUsers => all(self.risen(class, true, &labels)),
            RuleScope::Callees => self.peers(class, effect, true),
            RuleScope::Clients => self.peers(class, effect, false),
            RuleScope::Listeners => {
                let tgids = listeners(self.reader, &labels);
                if tgids.is_empty() {
                    return Vec::new();
                }
                learn_ends(self.reader, self.graph, &tgids);
                let filter = Filter::Processes(tgids.iter().cloned().collect());
                all(self.judge(class, &filter, &|row| row.get("tgid").is_some_and(|tgid| tgids.contains(tgid))))
            }
        }
    }

    fn judge(&mut self, class: usize, filter: &Filter, keep: &dyn Fn(&Labels) -> bool) -> Vec<Judged> {
        let class = &self.rules.classes[class];
        judge(class, self.reader, filter, &self.context, keep, Grouping::of(class))
    }

    fn device_abnormal(&mut self, class: usize, node: usize) -> bool {
        let Some(judged) = &self.found.nodes[node].judged else { return false };
        let labels = judged.labels.clone();
        self.judge(class, &Filter::Machine, &|row| same_device(row, &labels)).iter().any(Judged::is_abnormal)
    }

    /// Processes whose class rose most over the last minutes, judged over their whole history. What is counted per device
    /// counts on the `device` only; threads of the kernel that write for others are nobody's cause.
    fn risen(&mut self, class: usize, own_too: bool, device: &BTreeMap<String, String>) -> Vec<Judged> {
        if !self.neighbours.contains_key(&class) {
            let chosen = self.choose_neighbours(class);
            self.neighbours.insert(class, chosen);
        }
        let own = self.tgid.clone();
        let writing = self.kernel_threads();
        let may = |tgid: &&String| (own_too || **tgid != own) && !writing.contains(*tgid);
        let chosen: Vec<String> = self.neighbours[&class].iter().filter(may).cloned().collect();
        if chosen.is_empty() {
            return Vec::new();
        }
        let filter = Filter::Processes(chosen.clone());
        let counts = |row: &Labels| {
            row.get("tgid").is_some_and(|tgid| chosen.iter().any(|one| one == tgid))
                && row.get("submitter") != Some("kernel")
                && (row.get("disk_name").is_none() || same_device(row, device))
        };
        self.judge(class, &filter, &counts).into_iter().filter(Judged::is_abnormal).collect()
    }

    /// Threads of the kernel that send requests to disks.
    fn kernel_threads(&mut self) -> BTreeSet<String> {
        if self.kernel_threads.is_none() {
            let rows = self.reader.rows(&format!("{PREFIX}proc_block_writes"), &Filter::Machine);
            let writing = rows.iter().filter(|row| row.labels.get("submitter") == Some("kernel"));
            self.kernel_threads = Some(writing.filter_map(|row| row.labels.get("tgid").map(str::to_owned)).collect());
        }
        self.kernel_threads.clone().unwrap_or_default()
    }

    fn choose_neighbours(&mut self, class: usize) -> Vec<String> {
        let grid = self.context.grid;
        let from = grid.incident.saturating_sub(12);
        let mut rises: BTreeMap<String, f64> = BTreeMap::new();
        let rules = self.rules;
        for metric in &rules.classes[class].metrics {
            let suffix = if metric.measure == super::rules::Measure::Count { "_count" } else { "" };
            for row in self.reader.recent(&format!("{PREFIX}{}_{}{suffix}", metric.entity, metric.field), from) {
                let Some(tgid) = row.labels.get("tgid").filter(|_| row.labels.get("submitter") != Some("kernel")) else {
                    continue;
                };
                let before = median(&row.values[from..grid.incident]).unwrap_or(0.0);
                let incident = &row.values[grid.incident..];
                let Some(after) = sustained(incident, incident.len()) else { continue };
                let rise = (after - before) / metric.floor;
                let best = rises.entry(tgid.to_owned()).or_insert(0.0);
                *best = best.max(rise);
            }
        }
        let mut order: Vec<(String, f64)> = rises.into_iter().filter(|(_, rise)| *rise >= 1.0).collect();
        order.sort_by(|left, right| right.1.total_cmp(&left.1).then(left.0.cmp(&right.0)));
        order.truncate(MOST_NEIGHBOURS);
        order.into_iter().map(|(tgid, _)| tgid).collect()
    }

    /// Other processes that take CPU, weighed by how far they run where the process (or on the CPU in `labels`).
    fn neighbours(&mut self, class: usize, labels: &BTreeMap<String, String>) -> Vec<(Judged, f64)> {
        let cpus = match labels.get("cpu") {
            Some(cpu) if cpu != "cpu" && !labels.contains_key("tgid") => BTreeMap::from([(cpu.clone(), 1.0)]),
            _ => self.cpus_of_waiting(labels),
        };
        let saturated = self.saturated();
        self.risen(class, false, &BTreeMap::new())
            .into_iter()
            .map(|judged| {
                let tgid = judged.labels.get("tgid").cloned().unwrap_or_default();
                let theirs = self.cpus_of(&tgid);
                let common: f64 = theirs.iter().filter(|(cpu, _)| cpus.contains_key(*cpu)).map(|(_, share)| share).sum();
                let apart = if saturated { 0.7 } else { 0.15 };
                let factor = if cpus.is_empty() || theirs.is_empty() { 0.7 } else { common.max(apart) };
                (judged, factor)
            })
            .collect()
    }

    /// Whether the whole host is short of CPU, so that any process may hold up any other.
    fn saturated(&mut self) -> bool {
        let grid = self.context.grid;
        let rows = self.reader.rows(&format!("{PREFIX}cpu_total_used_per"), &Filter::Machine);
        rows.iter().any(|row| median(&row.values[grid.incident..]).is_some_and(|used| used >= 85.0))
    }

    /// CPUs of the process in the labels, which may be at the other end of a connection; else of the one that suffers.
    fn cpus_of_waiting(&mut self, labels: &BTreeMap<String, String>) -> BTreeMap<String, f64> {
        match labels.get("tgid").filter(|tgid| **tgid != self.tgid) {
            Some(tgid) => self.cpus_of(tgid),
            None => self.cpus_of_process(),
        }
    }

    fn cpus_of_process(&mut self) -> BTreeMap<String, f64> {
        if self.cpus.is_none() {
            let tgid = self.tgid.clone();
            self.cpus = Some(self.cpus_of(&tgid));
        }
        self.cpus.clone().unwrap_or_default()
    }

    /// CPUs a process was last seen on during the incident, with the share of sightings.
    fn cpus_of(&mut self, tgid: &str) -> BTreeMap<String, f64> {
        let grid = self.context.grid;
        let rows = self.reader.rows(&format!("{PREFIX}proc_cpu"), &Filter::Processes(vec![tgid.to_owned()]));
        let mut shares: BTreeMap<String, f64> = BTreeMap::new();
        for row in rows.iter() {
            let seen = &row.values[grid.incident..];
            let count = finite_count(seen) as f64;
            for cpu in seen.iter().filter(|value| value.is_finite() && **value >= 0.0) {
                *shares.entry(format!("{}", *cpu as u64)).or_default() += 1.0 / count;
            }
        }
        shares
    }

    fn process_id(&self, tgid: &str) -> Option<String> {
        id::external(&self.reader.machine_id, entity_type("proc")?, |key| (key == "tgid").then_some(tgid))
    }

    /// Names of the devices a process is known to use, from its own requests and the topology; empty where neither knows.
    fn used_devices(&mut self, tgid: &str) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        let filter = Filter::Processes(vec![tgid.to_owned()]);
        for field in ["block_writes", "block_reads"] {
            for row in self.reader.rows(&format!("{PREFIX}proc_{field}"), &filter).iter() {
                if row.values.iter().any(|value| *value > 0.0) {
                    names.extend(row.labels.get("disk_name").map(str::to_owned));
                }
            }
        }
        let Some(process) = self.process_id(tgid) else { return names };
        for relation in [Relation::Uses, Relation::StoreIn] {
            for entity in self.graph.related(&process, relation, true) {
                names.extend(["disk_name", "blk_name"].iter().filter_map(|label| entity.labels.get(*label).cloned()));
            }
        }
        names
    }

    /// The class on the processes of this machine that this one is a client of, or that are clients of it.
    fn peers(&mut self, class: usize, effect: usize, callees: bool) -> Vec<(Judged, f64)> {
        let own = self.found.nodes[effect].tgid.clone();
        let Some(process) = self.process_id(&own) else { return Vec::new() };
        let machine = gala_model::entity::id::canonical_machine(&self.reader.machine_id).to_owned();
        let peers = self.graph.related(&process, Relation::Connect, callees).into_iter();
        let tgids: Vec<String> = peers
            .filter(|entity| entity.kind == "proc" && gala_model::entity::id::canonical_machine(&entity.machine_id) == machine)
            .filter_map(|entity| entity.labels.get("tgid").filter(|tgid| **tgid != own).cloned())
            .take(MOST_PEERS)
            .collect();
        if tgids.is_empty() {
            return Vec::new();
        }
        let filter = Filter::Processes(tgids.clone());
        let judged = self.judge(class, &filter, &|row| row.get("tgid").is_some_and(|tgid| tgids.iter().any(|one| one == tgid)));
        judged.into_iter().map(|judged| (judged, 1.0)).collect()
    }
}

/// What the series of a process may lack and the topology knows: its name, and in which container it runs.
const OF_PROCESS: [&str; 4] = ["comm", "container_id", "container_name", "pod_id"];

/// Adds it.
pub(super) fn named(mut judged: Judged, graph: &dyn CauseGraph, machine_id: &str) -> Judged {
    if OF_PROCESS.iter().any(|name| !judged.labels.contains_key(*name))
        && let Some(tgid) = judged.labels.get("tgid")
        && let Some(kind) = entity_type("proc")
        && let Some(process) = id::external(machine_id, kind, |key| (key == "tgid").then_some(tgid))
        && let Some(process) = graph.entity(&process)
    {
        for name in OF_PROCESS {
            if let Some(value) = process.labels.get(name).filter(|value| !value.is_empty()) {
                judged.labels.entry(name.to_owned()).or_insert_with(|| value.clone());
            }
        }
    }
    judged
}

fn device_names(row: &Labels) -> impl Iterator<Item = &str> {
    ["disk_name", "blk_name"].into_iter().filter_map(|label| row.get(label))
}

fn device_label_names(labels: &BTreeMap<String, String>) -> impl Iterator<Item = &str> {
    ["disk_name", "blk_name"].into_iter().filter_map(|label| labels.get(label).map(String::as_str))
}

/// Whether a series is of the device (or other host entity) the labels name.
fn same_device(row: &Labels, labels: &BTreeMap<String, String>) -> bool {
    let mut any = false;
    for own in device_label_names(labels) {
        any = true;
        if device_names(row).any(|name| name == own) {
            return true;
        }
    }
    !any
}
