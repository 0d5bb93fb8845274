//! Series to entities: groups the newest samples by type and keys, folds connections over client ports, adds the
//! logical entities (host, application instance, pod, process seen only through its children).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use gala_model::entity::{self, EntityType, id};
use gala_store::{Labels, MatchOp, Matcher, Sample, Series, SeriesRead, StoreError, TimeRange};

use super::{Config, Edge, Entity, LabelMap, Observed, Relation};

/// Labels of the transport, not of the entity.
const TRANSPORT_LABELS: [&str; 4] = ["__name__", "le", "instance", "job"];

/// Samples one cycle may touch; 300,000 entities with a few dozen series stay below.
const MAX_SAMPLES: usize = 200_000_000;

/// What flowed over a connection in a report.
const FLOWS: [&str; 4] = ["tx_bytes", "rx_bytes", "segs_out", "retran_packets"];

/// Whether a series went without a report longer than its own pace explains: what it told last is over.
pub fn is_silent(samples: &[Sample], now_ms: i64) -> bool {
    const PATIENCE_MS: i64 = 30_000;
    // A single report says nothing of its pace, which is a minute where REST does not say otherwise.
    const LONE_PATIENCE_MS: i64 = 75_000;
    let [.., before, last] = samples else {
        return samples.last().is_none_or(|only| now_ms - only.t_ms > LONE_PATIENCE_MS);
    };
    now_ms - last.t_ms > PATIENCE_MS.max(3 * (last.t_ms - before.t_ms))
}

/// Labels that tell the rows of one entity apart (who ran instead, on which disk, which kind of request): they are not the
/// entity's own, and its number is that of all its rows.
fn tells_rows_apart(kind: &EntityType, label: &str) -> bool {
    match kind.name {
        "proc" => matches!(label, "by_tgid" | "by_comm" | "by_kind" | "disk_name" | "submitter"),
        "block" => label == "op",
        _ => false,
    }
}

fn is_one_of_rows(kind: &EntityType, labels: &Labels) -> bool {
    kind.name == "tcp_link" || labels.iter().any(|(name, _)| tells_rows_apart(kind, name))
}

/// Fields that are no amounts: folding several series keeps the largest instead of adding.
fn is_maximum(field: &str) -> bool {
    ["_max", "_max_ns", "ratio", "_util", "_per", "_cpu"].iter().any(|end| field.ends_with(end))
}

/// All types are read at once. Where that fails they are read one by one up to the deadline, so that one that cannot be read
/// costs no other.
pub fn collect(config: &Config, now_ms: i64, store: &dyn SeriesRead, deadline: Instant) -> Result<Observed, StoreError> {
    let range = TimeRange { from_ms: now_ms - config.alive_window_ms, to_ms: now_ms };
    let read = |types: &str| {
        let matchers = [
            Matcher::new("__name__", MatchOp::Regex, format!("{}{types}.+", gala_model::PREFIX))?,
            // Of a histogram only the total matters here: its bucket series would be most of the data.
            Matcher::new("le", MatchOp::Regex, "|\\+Inf")?,
        ];
        store.select(&matchers, range, MAX_SAMPLES)
    };
    let mut builder = Builder::new(config, now_ms);
    let error = match read("") {
        Ok(series) => {
            builder.add_all(&series, None);
            return Ok(builder.finish());
        }
        Err(error) => error,
    };
    let (mut failed, mut late) = (Vec::new(), Vec::new());
    for kind in entity::TYPES {
        if Instant::now() >= deadline {
            late.push(kind.name);
            continue;
        }
        match read(&format!("{}_", kind.name)) {
            Ok(series) => builder.add_all(&series, Some(kind)),
            Err(error) => failed.push(format!("{} ({error})", kind.name)),
        }
    }
    if failed.len() + late.len() == entity::TYPES.len() {
        return Err(error);
    }
    let mut observed = builder.finish();
    for (what, types) in [("could not be read", failed.join(", ")), ("were not read in time", late.join(", "))] {
        if !types.is_empty() {
            observed.is_cut = true;
            observed.leave_out(format!("{what}: {types}"));
        }
    }
    Ok(observed)
}

/// Latest value per field of one entity's series, as a cycle at their end would have it.
pub fn latest(kind: &EntityType, series: &[Series]) -> BTreeMap<String, f64> {
    let mut metrics = BTreeMap::new();
    for one in series {
        let Some((field, sample)) =
            latest_of(one).filter(|(of, ..)| of.name == kind.name).map(|(_, field, sample)| (field, sample))
        else {
            continue;
        };
        if is_one_of_rows(kind, &one.labels) {
            fold(&mut metrics, &field, sample.value);
        } else {
            metrics.insert(field, sample.value);
        }
    }
    metrics
}

/// Type and field of a series, and its newest number.
fn latest_of(series: &Series) -> Option<(&'static EntityType, String, Sample)> {
    let last = series.samples.iter().rev().find(|sample| !sample.value.is_nan())?;
    let (kind, field) = entity::split_metric(series.labels.metric())?;
    let field = if series.labels.get("le").is_some() { format!("{field}_count") } else { field.to_owned() };
    Some((kind, field, *last))
}

struct Builder<'a> {
    config: &'a Config,
    now_ms: i64,
    entities: Vec<Entity>,
    by_id: HashMap<Arc<str>, usize>,
    links_of_process: HashMap<(Arc<str>, Arc<str>), usize>,
    /// Processes and the disks that answered them.
    disks_of: BTreeSet<(Arc<str>, String)>,
    folded_links: usize,
    over_cap: usize,
}

impl<'a> Builder<'a> {
    fn new(config: &'a Config, now_ms: i64) -> Self {
        Self {
            config,
            now_ms,
            entities: Vec::new(),
            by_id: HashMap::new(),
            links_of_process: HashMap::new(),
            disks_of: BTreeSet::new(),
            folded_links: 0,
            over_cap: 0,
        }
    }

    /// Series of one type, or of all.
    fn add_all(&mut self, series: &[Series], wanted: Option<&EntityType>) {
        for one in series {
            let Some((kind, field, last)) = latest_of(one) else { continue };
            // Names of one type may begin like those of another.
            if wanted.is_some_and(|wanted| wanted.name != kind.name) {
                continue;
            }
            let is_flow = kind.name != "tcp_link" || FLOWS.contains(&field.as_str());
            let is_over = is_flow && is_one_of_rows(kind, &one.labels) && is_silent(&one.samples, self.now_ms);
            self.add(kind, &field, &one.labels, last.t_ms, if is_over { 0.0 } else { last.value });
        }
    }

    fn add(&mut self, kind: &'static EntityType, field: &str, labels: &Labels, t_ms: i64, value: f64) {
        let Some(machine_id) = labels.get("machine_id") else { return };
        let is_link = kind.name == "tcp_link";
        let key_value = |key: &str| if is_link && key == "client_port" { Some("0") } else { labels.get(key) };
        let Some(entity_id) = id::external(machine_id, kind, key_value) else { return };
        let index = match self.by_id.get(entity_id.as_str()) {
            Some(index) => *index,
            None => {
                if is_link && !self.admit_link(machine_id, labels.get("tgid").unwrap_or("")) {
                    return;
                }
                if self.entities.len() >= self.config.max_entities {
                    self.over_cap += 1;
                    return;
                }
                self.insert(entity_id.into(), kind, machine_id.into(), LabelMap::new())
            }
        };
        let entity = &mut self.entities[index];
        // Of two tables of one entity the newer sample's labels win; both keep what only one of them has.
        let newer = t_ms >= entity.last_sample_ms;
        let own = |name: &str| !TRANSPORT_LABELS.contains(&name) && !tells_rows_apart(kind, name);
        for (name, text) in labels.iter().filter(|(name, _)| own(name)) {
            if newer || !entity.labels.contains_key(name) {
                let text = if is_link && name == "client_port" { "0" } else { text };
                let text = if name == "role" { normal_role(text) } else { text };
                if entity.label(name) != Some(text) {
                    entity.labels.insert(name.into(), text.into());
                }
            }
        }
        entity.last_sample_ms = entity.last_sample_ms.max(t_ms);
        if let Some(disk) = labels.get("disk_name").filter(|_| kind.name == "proc" && value > 0.0)
            && labels.get("submitter") != Some("kernel")
            && let Some(disk) = disk_id(machine_id, disk)
        {
            self.disks_of.insert((entity.id.clone(), disk));
        }
        if is_one_of_rows(kind, labels) {
            fold(&mut entity.metrics, field, value);
        } else {
            entity.metrics.insert(field.to_owned(), value);
        }
    }

    /// Whether another connection node of that process may be made.
    fn admit_link(&mut self, machine_id: &str, tgid: &str) -> bool {
        let count = self.links_of_process.entry((machine_id.into(), tgid.into())).or_default();
        *count += 1;
        let admitted = *count <= self.config.max_links_per_process;
        self.folded_links += usize::from(!admitted);
        admitted
    }

    fn insert(&mut self, id: Arc<str>, kind: &'static EntityType, machine_id: Arc<str>, labels: LabelMap) -> usize {
        let index = self.entities.len();
        self.by_id.insert(id.clone(), index);
        self.entities.push(Entity { id, kind, machine_id, labels, metrics: BTreeMap::new(), last_sample_ms: i64::MIN });
        index
    }

    fn finish(mut self) -> Observed {
        self.add_hosts();
        self.add_processes();
        self.add_overflow();
        self.add_pods();
        self.add_applications();
        let mut limits = Vec::new();
        if self.folded_links > 0 {
            limits.push(format!(
                "{} connection series beyond {} per process were folded into one node each",
                self.folded_links, self.config.max_links_per_process
            ));
        }
        if self.over_cap > 0 {
            limits.push(format!("{} series belong to entities beyond the cap of {}", self.over_cap, self.config.max_entities));
        }
        let uses = self.disks_of.iter().filter_map(|(process, disk)| {
            let (disk, _) = self.by_id.get_key_value(disk.as_str())?;
            Some(Edge::direct(Relation::Uses, process, disk))
        });
        let edges = uses.collect();
        Observed { at_ms: self.now_ms, partial: self.over_cap > 0, entities: self.entities, edges, limits, ..Observed::default() }
    }

    /// Adds or refreshes an entity that no series names but others imply.
    fn imply(&mut self, kind_name: &str, machine_id: &Arc<str>, labels: LabelMap, last_sample_ms: i64) {
        let Some(kind) = entity::entity_type(kind_name) else { return };
        let key_value = |key: &str| labels.get(key).map(|value| &**value);
        let Some(entity_id) = id::external(machine_id, kind, key_value) else { return };
        let index = match self.by_id.get(entity_id.as_str()) {
            Some(index) => *index,
            None => self.insert(entity_id.into(), kind, machine_id.clone(), labels),
        };
        self.entities[index].last_sample_ms = self.entities[index].last_sample_ms.max(last_sample_ms);
    }

    fn add_hosts(&mut self) {
        let mut newest: BTreeMap<Arc<str>, i64> = BTreeMap::new();
        for entity in &self.entities {
            let seen = newest.entry(entity.machine_id.clone()).or_insert(i64::MIN);
            *seen = (*seen).max(entity.last_sample_ms);
        }
        for (machine_id, last) in newest {
            self.imply("host", &machine_id, LabelMap::new(), last);
        }
    }

    /// A process known only through a connection or its requests still is a process.
    fn add_processes(&mut self) {
        let mut owners = Vec::new();
        for entity in self.entities.iter().filter(|entity| entity.kind.has_tgid() && entity.kind.name != "proc") {
            let mut labels = LabelMap::new();
            for name in ["tgid", "comm", "container_id", "container_name", "pod_id", "pod", "pod_namespace"] {
                if let Some(value) = entity.labels.get(name) {
                    labels.insert(name.into(), value.clone());
                }
            }
            owners.push((entity.machine_id.clone(), labels, entity.last_sample_ms));
        }
        for (machine_id, labels, last) in owners {
            self.imply("proc", &machine_id, labels, last);
        }
    }

    fn add_overflow(&mut self) {
        let cap = self.config.max_links_per_process;
        let over: Vec<_> = self.links_of_process.iter().filter(|(_, count)| **count > cap).map(|(key, _)| key.clone()).collect();
        for (machine_id, tgid) in over {
            let labels =
                LabelMap::from([("parent".into(), tgid.clone()), ("tgid".into(), tgid), ("kind".into(), "tcp_link".into())]);
            self.imply("other", &machine_id, labels, self.now_ms);
        }
    }

    fn add_pods(&mut self) {
        let mut pods = Vec::new();
        for entity in self.entities.iter().filter(|entity| matches!(entity.kind.name, "container" | "proc")) {
            if let Some(pod_id) = entity.labels.get("pod_id") {
                let mut labels = LabelMap::from([("pod_id".into(), pod_id.clone())]);
                for name in ["pod", "pod_namespace"] {
                    if let Some(value) = entity.labels.get(name) {
                        labels.insert(name.into(), value.clone());
                    }
                }
                pods.push((entity.machine_id.clone(), labels, entity.last_sample_ms));
            }
        }
        for (machine_id, labels, last) in pods {
            self.imply("pod", &machine_id, labels, last);
        }
    }

    /// Groups processes by, in this order: label `app`, pod workload, container, process group.
    fn add_applications(&mut self) {
        let addresses: HashMap<Arc<str>, Arc<str>> = self
            .entities
            .iter()
            .filter(|entity| entity.kind.name == "host")
            .filter_map(|host| Some((host.machine_id.clone(), host_address(host)?)))
            .collect();
        let mut groups: BTreeMap<(Arc<str>, Arc<str>), Application> = BTreeMap::new();
        for (index, entity) in self.entities.iter().enumerate().filter(|(_, entity)| entity.kind.name == "proc") {
            let Some((key, derived)) = application_key(entity) else { continue };
            let group = groups.entry((entity.machine_id.clone(), key.into())).or_default();
            group.derived = derived;
            group.last_sample_ms = group.last_sample_ms.max(entity.last_sample_ms);
            let comm = entity.label("comm").unwrap_or("");
            let leads = entity.label("pgid").is_some() && entity.label("pgid") == entity.label("tgid");
            if group.name.is_empty() || leads {
                comm.clone_into(&mut group.name);
            }
            if let Some(app) = entity.label("app") {
                app.clone_into(&mut group.name);
            }
            if key_is_kernel(entity) {
                "kernel threads".clone_into(&mut group.name);
            }
            group.members.push(index);
        }
        for ((machine_id, key), group) in groups {
            let mut labels = LabelMap::from([
                ("pgid".into(), key.clone()),
                ("app_name".into(), group.name.as_str().into()),
                ("derived".into(), group.derived.into()),
                ("process_count".into(), group.members.len().to_string().into()),
            ]);
            if let Some(address) = addresses.get(&machine_id) {
                labels.insert("address".into(), address.clone());
            }
            self.imply("appinstance", &machine_id, labels, group.last_sample_ms);
            for index in group.members {
                self.entities[index].labels.insert("app_key".into(), key.clone());
            }
        }
    }
}

fn disk_id(machine_id: &str, disk: &str) -> Option<String> {
    id::external(machine_id, entity::entity_type("disk")?, |key| (key == "disk_name").then_some(disk))
}

#[derive(Default)]
struct Application {
    name: String,
    derived: &'static str,
    members: Vec<usize>,
    last_sample_ms: i64,
}

fn host_address(host: &Entity) -> Option<Arc<str>> {
    let first = host.label("ip_addr").and_then(|list| list.split([',', ' ']).next()).filter(|ip| !ip.is_empty());
    first.map(Arc::from).or_else(|| id::split_machine(&host.machine_id).1.map(|ip| ip.to_string().into()))
}

/// Kernel threads are all of process group 0.
fn key_is_kernel(process: &Entity) -> bool {
    process.label("pgid") == Some("0") && process.label("container_id").is_none() && process.label("app").is_none()
}

/// Key of the application a process belongs to and where the key comes from.
fn application_key(process: &Entity) -> Option<(String, &'static str)> {
    if let Some(app) = process.label("app") {
        return Some((app.to_owned(), "label"));
    }
    if let Some(pod) = process.label("pod") {
        return Some((workload_of(pod), "workload"));
    }
    if let Some(container) = process.label("container_id") {
        return Some((container.to_owned(), "container"));
    }
    process.label("pgid").map(|pgid| (pgid.to_owned(), "pgid"))
}

/// `namespace/workload` from `namespace/workload-<replica set hash>-<pod hash>` (or `-<ordinal>` of a stateful set).
fn workload_of(pod: &str) -> String {
    let is_hash = |part: &str, len: std::ops::RangeInclusive<usize>| {
        len.contains(&part.len()) && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
    };
    let Some((rest, last)) = pod.rsplit_once('-') else { return pod.to_owned() };
    if !last.is_empty() && last.chars().all(|c| c.is_ascii_digit()) {
        return rest.to_owned();
    }
    if !is_hash(last, 5..=5) {
        return pod.to_owned();
    }
    match rest.rsplit_once('-') {
        Some((workload, hash)) if is_hash(hash, 8..=10) => workload.to_owned(),
        _ => rest.to_owned(),
    }
}

/// Older data carry the collector's numbers for the side of a connection.
fn normal_role(role: &str) -> &str {
    match role {
        "1" => "client",
        "0" => "server",
        other => other,
    }
}

/// Folds one more connection into a node: counts add up, maxima and ratios keep the largest.
fn fold(metrics: &mut BTreeMap<String, f64>, field: &str, value: f64) {
    let slot = metrics.entry(field.to_owned()).or_insert(f64::NEG_INFINITY);
    *slot = if slot.is_infinite() {
        value
    } else if is_maximum(field) {
        slot.max(value)
    } else {
        *slot + value
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workloads_are_named_without_their_hashes() {
        for (pod, workload) in [
            ("shop/checkout-7d9f8b6c5d-x2x4q", "shop/checkout"),
            ("shop/db-0", "shop/db"),
            ("shop/agent-k8x2z", "shop/agent"),
            ("shop/single", "shop/single"),
        ] {
            assert_eq!(workload_of(pod), workload);
        }
    }

    #[test]
    fn a_series_is_silent_by_its_own_pace() {
        let samples = |times: &[i64]| times.iter().map(|t_ms| Sample { t_ms: *t_ms, value: 1.0 }).collect::<Vec<_>>();
        let quick = samples(&[0, 5_000, 10_000]);
        assert!(!is_silent(&quick, 40_000) && is_silent(&quick, 40_001));
        let slow = samples(&[0, 60_000]);
        assert!(!is_silent(&slow, 240_000) && is_silent(&slow, 240_001));
        assert!(!is_silent(&samples(&[10_000]), 85_000) && is_silent(&samples(&[10_000]), 85_001) && is_silent(&[], 0));
    }

    #[test]
    fn rows_of_a_process_are_its_numbers_together_and_not_its_labels() {
        let config = Config::default();
        let mut builder = Builder::new(&config, 10_000);
        let row = |metric: &str, own: &[(&str, &str)], value: f64| {
            let labels = [("__name__", metric), ("machine_id", "m"), ("tgid", "7")];
            let samples = [5_000, 10_000].map(|t_ms| Sample { t_ms, value }).to_vec();
            Series { labels: Labels::new(labels.iter().chain(own).copied()), samples }
        };
        let mut disk = row("gala_gopher_disk_util", &[("disk_name", "vdb")], 1.0);
        disk.labels = Labels::new([("__name__", "gala_gopher_disk_util"), ("machine_id", "m"), ("disk_name", "vdb")]);
        let series = [
            disk,
            row("gala_gopher_proc_num_threads", &[("comm", "kv")], 3.0),
            row("gala_gopher_proc_block_writes", &[("disk_name", "vdb"), ("submitter", "process")], 5.0),
            row("gala_gopher_proc_block_writes", &[("disk_name", "vdc"), ("submitter", "process")], 2.0),
            row("gala_gopher_proc_preempted_ns", &[("by_tgid", "9"), ("by_comm", "cc1"), ("by_kind", "process")], 4.0),
        ];
        builder.add_all(&series, None);
        let observed = builder.finish();
        let process = observed.entities.iter().find(|entity| entity.kind.name == "proc").unwrap();
        let names: Vec<&str> = process.labels.keys().map(|name| &**name).collect();
        assert_eq!(names, ["comm", "machine_id", "tgid"]);
        assert_eq!((process.metrics["block_writes"], process.metrics["preempted_ns"]), (7.0, 4.0));
        let edges: Vec<_> = observed.edges.iter().map(|edge| (edge.relation, &*edge.from, &*edge.to)).collect();
        assert_eq!(edges, [(Relation::Uses, "m_proc_7", "m_disk_vdb")]);
    }

    #[test]
    fn folding_adds_counts_and_keeps_maxima() {
        let mut metrics = BTreeMap::new();
        for value in [3.0, 4.0] {
            fold(&mut metrics, "rx_bytes", value);
            fold(&mut metrics, "syn_srtt_max", value);
        }
        assert_eq!(metrics["rx_bytes"], 7.0);
        assert_eq!(metrics["syn_srtt_max"], 4.0);
    }
}
