//! The two maps and their details, as answers: horizontal (who talks to whom in one layer) and vertical (what one thing
//! stands on, in five bands).

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use gala_model::entity::{Band, Level};
use serde::Serialize;

use super::history::{EdgeRecord, EntityRecord, LifeState, Snapshot};
use super::{EdgeAttributes, LabelMap, Relation};

/// Open anomalies of an entity, for badges.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Badges {
    pub anomalies: usize,
    /// `INFO`, `WARN`, `ERROR` or null.
    pub severity: Option<&'static str>,
}

/// Says how many open anomalies an entity has.
pub type BadgeOf<'a> = &'a dyn Fn(&str) -> Badges;

/// The node object of every topology answer.
#[derive(Clone, Debug, Serialize)]
pub struct Node {
    pub id: Arc<str>,
    pub r#type: &'static str,
    pub name: String,
    pub band: Band,
    pub level: Level,
    pub machine_id: Arc<str>,
    pub host_name: String,
    pub state: LifeState,
    pub offline_at: Option<i64>,
    pub labels: LabelMap,
    pub badges: Badges,
    /// Children by type, for collapsed bands.
    pub children: BTreeMap<&'static str, usize>,
}

/// The edge object of every topology answer.
#[derive(Clone, Debug, Serialize)]
pub struct EdgeView {
    pub id: String,
    pub relation: Relation,
    pub layer: &'static str,
    pub from: Arc<str>,
    pub to: Arc<str>,
    pub state: LifeState,
    pub directed: bool,
    pub attributes: EdgeAttributes,
    pub via: Option<Arc<str>>,
    pub ambiguous: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    Application,
    Process,
    Host,
}

impl Layer {
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "application" => Some(Self::Application),
            "process" => Some(Self::Process),
            "host" => Some(Self::Host),
            _ => None,
        }
    }

    /// Layer in which an entity of that type is shown.
    pub fn of_type(kind: &str) -> Self {
        match kind {
            "appinstance" => Self::Application,
            "host" | "cpu" | "mem" | "disk" | "block" | "fs" | "nic" | "qdisc" | "net" | "sched" | "hw" | "sli_node" => {
                Self::Host
            }
            _ => Self::Process,
        }
    }
}

/// How containers and pods appear in the process layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fold {
    None,
    Container,
    Pod,
}

/// What to show of the horizontal map.
#[derive(Clone, Debug)]
pub struct HorizontalQuery {
    pub layer: Layer,
    pub center: Option<String>,
    /// Distance from the centre; all when absent.
    pub hops: Option<usize>,
    pub offline: bool,
    pub fold: Fold,
}

#[derive(Debug, Serialize)]
pub struct Graph {
    pub nodes: Vec<Node>,
    pub edges: Vec<EdgeView>,
}

#[derive(Debug, Serialize)]
pub struct BandView {
    pub band: Band,
    pub nodes: Vec<Node>,
}

#[derive(Debug, Serialize)]
pub struct VerticalView {
    pub root: Arc<str>,
    pub perspective: Layer,
    pub bands: Vec<BandView>,
    pub edges: Vec<EdgeView>,
    pub highlight: Vec<String>,
}

/// Host names per machine, looked up once per answer.
pub struct Names<'a> {
    snapshot: &'a Snapshot,
    hosts: HashMap<&'a str, &'a str>,
}

impl<'a> Names<'a> {
    pub fn new(snapshot: &'a Snapshot) -> Self {
        let hosts = snapshot
            .entities
            .values()
            .filter(|record| record.kind.name == "host")
            .map(|record| (gala_model::entity::id::canonical_machine(&record.machine_id), record.name.as_str()))
            .collect();
        Self { snapshot, hosts }
    }

    pub fn host_name(&self, machine_id: &str) -> &str {
        self.hosts.get(gala_model::entity::id::canonical_machine(machine_id)).copied().unwrap_or("")
    }

    pub fn node(&self, record: &EntityRecord, badge_of: BadgeOf) -> Node {
        let mut children = BTreeMap::new();
        for (_, edge) in self.snapshot.into(&record.id, &[Relation::BelongsTo, Relation::RunsOn]) {
            if let Some(child) = self.snapshot.entities.get(&edge.from) {
                *children.entry(child.kind.name).or_default() += 1;
            }
        }
        Node {
            id: record.id.clone(),
            r#type: record.kind.name,
            name: record.name.clone(),
            band: record.kind.band,
            level: record.kind.level,
            machine_id: record.machine_id.clone(),
            host_name: self.host_name(&record.machine_id).to_owned(),
            state: record.state,
            offline_at: record.offline_at_ms,
            labels: record.labels.clone(),
            badges: badge_of(&record.id),
            children,
        }
    }
}

fn edge_view(edge: &EdgeRecord, state: LifeState) -> EdgeView {
    EdgeView {
        id: edge.id(),
        relation: edge.relation,
        layer: edge.relation.layer(),
        from: edge.from.clone(),
        to: edge.to.clone(),
        state,
        directed: true,
        attributes: edge.attributes.clone(),
        via: edge.via.clone(),
        ambiguous: edge.ambiguous,
    }
}

/// Edge `index` of a snapshot as an answer.
pub fn edge_of(snapshot: &Snapshot, index: usize) -> EdgeView {
    edge_view(&snapshot.edges[index], snapshot.state_of_edge(index))
}

/// The horizontal map of one layer.
pub fn horizontal(snapshot: &Snapshot, query: &HorizontalQuery, badge_of: BadgeOf) -> Graph {
    let names = Names::new(snapshot);
    let mut edges = lifted_edges(snapshot, query);
    if query.layer == Layer::Host {
        merge_opposite(&mut edges);
    }
    let mut ids: BTreeSet<Arc<str>> = edges.keys().flat_map(|(from, to)| [from.clone(), to.clone()]).collect();
    // Every object of the layer is shown, those that talk to nobody too.
    let kind = match query.layer {
        Layer::Application => "appinstance",
        Layer::Process => "proc",
        Layer::Host => "host",
    };
    for record in snapshot.entities.values().filter(|record| record.kind.name == kind) {
        if query.layer != Layer::Process || query.fold == Fold::None {
            ids.insert(record.id.clone());
        } else {
            ids.insert(folded(snapshot, &record.id, query.fold));
        }
    }
    if let (Some(center), Some(hops)) = (&query.center, query.hops) {
        let near = within(center, hops, edges.keys());
        ids.retain(|id| near.contains(id));
        edges.retain(|(from, to), _| near.contains(from) && near.contains(to));
    }
    let shown = |state: LifeState| query.offline || state != LifeState::Offline;
    let nodes: Vec<Node> = ids
        .iter()
        .filter_map(|id| snapshot.entities.get(id))
        .filter(|record| shown(record.state))
        .map(|record| names.node(record, badge_of))
        .collect();
    let visible: HashSet<&str> = nodes.iter().map(|node| &*node.id).collect();
    let edges = edges
        .into_values()
        .filter(|edge| shown(edge.state) && visible.contains(&*edge.from) && visible.contains(&*edge.to))
        .collect();
    Graph { nodes, edges }
}

/// Connections between processes, lifted to the layer and aggregated per pair of ends.
fn lifted_edges(snapshot: &Snapshot, query: &HorizontalQuery) -> BTreeMap<(Arc<str>, Arc<str>), EdgeView> {
    let mut lifted: BTreeMap<(Arc<str>, Arc<str>), EdgeView> = BTreeMap::new();
    for (index, edge) in snapshot.edges.iter().enumerate().filter(|(_, edge)| edge.relation == Relation::Connect) {
        let lift = |id: &Arc<str>| match query.layer {
            Layer::Application => parent_of_kind(snapshot, id, "appinstance"),
            Layer::Host => host_of(snapshot, id),
            Layer::Process => Some(folded(snapshot, id, query.fold)),
        };
        let (Some(from), Some(to)) = (lift(&edge.from), lift(&edge.to)) else { continue };
        if from == to {
            continue;
        }
        let state = snapshot.state_of_edge(index);
        match lifted.get_mut(&(from.clone(), to.clone())) {
            Some(seen) => {
                merge_attributes(&mut seen.attributes, &edge.attributes);
                seen.ambiguous |= edge.ambiguous;
                if state == LifeState::Online {
                    seen.state = state;
                }
            }
            None => {
                let mut view = edge_view(edge, state);
                view.id = format!("connect:{from}:{to}");
                (view.from, view.to) = (from.clone(), to.clone());
                lifted.insert((from, to), view);
            }
        }
    }
    lifted
}

/// External peers stay themselves in every layer.
fn parent_of_kind(snapshot: &Snapshot, id: &Arc<str>, kind: &str) -> Option<Arc<str>> {
    let record = snapshot.entities.get(id)?;
    if record.kind.name == "external" {
        return Some(id.clone());
    }
    let mut parents = snapshot.out(id, &[Relation::BelongsTo]).map(|(_, edge)| edge.to.clone());
    parents.find(|parent| snapshot.entities.get(parent).is_some_and(|record| record.kind.name == kind))
}

fn host_of(snapshot: &Snapshot, id: &Arc<str>) -> Option<Arc<str>> {
    let record = snapshot.entities.get(id)?;
    if record.kind.name == "external" {
        Some(id.clone())
    } else {
        snapshot.host_of(&record.machine_id).map(|host| host.id.clone())
    }
}

fn folded(snapshot: &Snapshot, id: &Arc<str>, fold: Fold) -> Arc<str> {
    let wanted: &[&str] = match fold {
        Fold::None => return id.clone(),
        Fold::Container => &["container"],
        Fold::Pod => &["container", "pod"],
    };
    let mut current = id.clone();
    for kind in wanted {
        if let Some(parent) = parent_of_kind(snapshot, &current, kind) {
            current = parent;
        }
    }
    current
}

/// Opposite flows between two hosts become one double-headed edge.
fn merge_opposite(edges: &mut BTreeMap<(Arc<str>, Arc<str>), EdgeView>) {
    let pairs: Vec<_> =
        edges.keys().filter(|(from, to)| from < to && edges.contains_key(&(to.clone(), from.clone()))).cloned().collect();
    for (from, to) in pairs {
        if let Some(back) = edges.remove(&(to.clone(), from.clone()))
            && let Some(edge) = edges.get_mut(&(from, to))
        {
            merge_attributes(&mut edge.attributes, &back.attributes);
            edge.directed = false;
        }
    }
}

fn merge_attributes(into: &mut EdgeAttributes, from: &EdgeAttributes) {
    let weights = (into.connections as f64, from.connections as f64);
    let sum = |left: Option<f64>, right: Option<f64>| match (left, right) {
        (Some(left), Some(right)) => Some(left + right),
        (left, right) => left.or(right),
    };
    let mean = |left: Option<f64>, right: Option<f64>| match (left, right) {
        (Some(left), Some(right)) => Some((left * weights.0 + right * weights.1) / (weights.0 + weights.1).max(1.0)),
        (left, right) => left.or(right),
    };
    into.bytes_tx = sum(into.bytes_tx, from.bytes_tx);
    into.bytes_rx = sum(into.bytes_rx, from.bytes_rx);
    into.requests_per_s = sum(into.requests_per_s, from.requests_per_s);
    into.latency_mean_ms = mean(into.latency_mean_ms, from.latency_mean_ms);
    into.srtt_mean_ms = mean(into.srtt_mean_ms, from.srtt_mean_ms);
    into.error_ratio = mean(into.error_ratio, from.error_ratio);
    into.retransmission_ratio = mean(into.retransmission_ratio, from.retransmission_ratio);
    into.connections += from.connections;
    for port in &from.server_ports {
        if !into.server_ports.contains(port) {
            into.server_ports.push(*port);
        }
    }
    into.server_ports.sort_unstable();
}

/// Ids at most `hops` edges away, in either direction.
fn within<'a>(center: &str, hops: usize, edges: impl Iterator<Item = &'a (Arc<str>, Arc<str>)>) -> HashSet<Arc<str>> {
    let mut adjacent: HashMap<&str, Vec<&Arc<str>>> = HashMap::new();
    for (from, to) in edges {
        adjacent.entry(from).or_default().push(to);
        adjacent.entry(to).or_default().push(from);
    }
    let mut near: HashSet<Arc<str>> = HashSet::from([center.into()]);
    let mut queue: VecDeque<(Arc<str>, usize)> = VecDeque::from([(center.into(), 0)]);
    while let Some((id, distance)) = queue.pop_front() {
        if distance == hops {
            continue;
        }
        for next in adjacent.get(&*id).into_iter().flatten() {
            if near.insert(Arc::clone(next)) {
                queue.push_back((Arc::clone(next), distance + 1));
            }
        }
    }
    near
}

const PARENTS: &[Relation] = &[Relation::BelongsTo, Relation::RunsOn];

/// The vertical map of one entity; `None` if it is not known at that moment.
pub fn vertical(
    snapshot: &Snapshot,
    entity: &str,
    perspective: Option<Layer>,
    highlight: &[String],
    badge_of: BadgeOf,
) -> Option<VerticalView> {
    let asked = snapshot.entities.get(entity)?;
    let perspective = perspective.unwrap_or_else(|| Layer::of_type(asked.kind.name));
    let root = perspective_root(snapshot, asked, perspective);
    let mut shown: BTreeSet<Arc<str>> = BTreeSet::new();
    match perspective {
        Layer::Application => {
            shown.insert(root.clone());
            let members: Vec<Arc<str>> =
                snapshot.into(&root, &[Relation::BelongsTo]).map(|(_, edge)| edge.from.clone()).collect();
            for process in members {
                add_with_parents(snapshot, &process, &mut shown);
            }
        }
        Layer::Process => {
            add_with_parents(snapshot, &root, &mut shown);
            for (_, edge) in snapshot.into(&root, PARENTS) {
                shown.insert(edge.from.clone());
            }
            let containers: Vec<Arc<str>> = shown.iter().filter(|id| is_kind(snapshot, id, "container")).cloned().collect();
            for container in containers {
                for (_, edge) in snapshot.into(&container, PARENTS).filter(|(_, edge)| !is_kind(snapshot, &edge.from, "proc")) {
                    shown.insert(edge.from.clone());
                }
            }
        }
        Layer::Host => {
            let machine = snapshot.entities.get(&root).map(|record| record.machine_id.clone()).unwrap_or_default();
            for record in snapshot.entities.values().filter(|record| same_machine(&record.machine_id, &machine)) {
                if matches!(record.kind.name, "proc" | "container" | "pod" | "appinstance") {
                    shown.insert(record.id.clone());
                }
            }
            shown.insert(root.clone());
        }
    }
    add_host_parts(snapshot, &mut shown);
    // What was asked for is always there, even where the perspective leaves its kind out.
    shown.insert(asked.id.clone());
    Some(assemble(snapshot, root, perspective, &shown, highlight, badge_of))
}

fn is_kind(snapshot: &Snapshot, id: &str, kind: &str) -> bool {
    snapshot.entities.get(id).is_some_and(|record| record.kind.name == kind)
}

fn same_machine(left: &str, right: &str) -> bool {
    gala_model::entity::id::canonical_machine(left) == gala_model::entity::id::canonical_machine(right)
}

/// The application, process or host that stands for an entity.
fn perspective_root(snapshot: &Snapshot, asked: &EntityRecord, perspective: Layer) -> Arc<str> {
    let own = || asked.id.clone();
    match perspective {
        Layer::Host => snapshot.host_of(&asked.machine_id).map_or_else(own, |host| host.id.clone()),
        Layer::Application => {
            let process = perspective_root(snapshot, asked, Layer::Process);
            parent_of_kind(snapshot, &process, "appinstance").unwrap_or(process)
        }
        Layer::Process if matches!(asked.kind.name, "proc" | "container" | "pod") => own(),
        Layer::Process => snapshot
            .parents(&asked.id)
            .into_iter()
            .find(|parent| parent.kind.name == "proc")
            .map_or_else(own, |process| process.id.clone()),
    }
}

fn add_with_parents(snapshot: &Snapshot, id: &Arc<str>, shown: &mut BTreeSet<Arc<str>>) {
    if !shown.insert(id.clone()) {
        return;
    }
    let parents: Vec<Arc<str>> = snapshot.out(id, PARENTS).map(|(_, edge)| edge.to.clone()).collect();
    for parent in parents {
        add_with_parents(snapshot, &parent, shown);
    }
}

/// System and resource entities of every host that is shown.
fn add_host_parts(snapshot: &Snapshot, shown: &mut BTreeSet<Arc<str>>) {
    let machines: HashSet<String> = shown
        .iter()
        .filter_map(|id| snapshot.entities.get(id))
        .filter(|record| !record.machine_id.is_empty())
        .map(|record| gala_model::entity::id::canonical_machine(&record.machine_id).to_owned())
        .collect();
    for record in snapshot.entities.values() {
        let on_shown_host = machines.contains(gala_model::entity::id::canonical_machine(&record.machine_id));
        if on_shown_host && matches!(record.kind.band, Band::System | Band::Resource | Band::Host) {
            shown.insert(record.id.clone());
        }
    }
}

fn assemble(
    snapshot: &Snapshot,
    root: Arc<str>,
    perspective: Layer,
    shown: &BTreeSet<Arc<str>>,
    highlight: &[String],
    badge_of: BadgeOf,
) -> VerticalView {
    let names = Names::new(snapshot);
    let mut bands: BTreeMap<Band, Vec<Node>> = BTreeMap::new();
    for band in [Band::Application, Band::Process, Band::System, Band::Resource, Band::Host] {
        bands.insert(band, Vec::new());
    }
    for record in shown.iter().filter_map(|id| snapshot.entities.get(id)) {
        bands.entry(record.kind.band).or_default().push(names.node(record, badge_of));
    }
    let mut edges = Vec::new();
    for id in shown {
        for (index, edge) in snapshot.out(id, PARENTS).filter(|(_, edge)| shown.contains(&edge.to)) {
            edges.push(edge_view(edge, snapshot.state_of_edge(index)));
        }
    }
    VerticalView {
        root,
        perspective,
        bands: bands.into_iter().map(|(band, nodes)| BandView { band, nodes }).collect(),
        edges,
        highlight: highlight.iter().filter(|id| snapshot.entities.contains_key(id.as_str())).cloned().collect(),
    }
}

/// Which side of a relation to follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    In,
    Out,
    Both,
}

/// Edges of an entity, indexes into the snapshot.
pub fn edges_of(snapshot: &Snapshot, id: &str, relations: &[Relation], direction: Direction) -> Vec<usize> {
    let mut found: Vec<usize> = Vec::new();
    if direction != Direction::In {
        found.extend(snapshot.out(id, relations).map(|(index, _)| index));
    }
    if direction != Direction::Out {
        found.extend(snapshot.into(id, relations).map(|(index, _)| index));
    }
    found
}

/// Everything at most `depth` relations away.
pub fn neighbours(
    snapshot: &Snapshot,
    id: &str,
    relations: &[Relation],
    depth: usize,
    direction: Direction,
    badge_of: BadgeOf,
) -> Graph {
    let names = Names::new(snapshot);
    let mut near: BTreeSet<Arc<str>> = BTreeSet::from([id.into()]);
    let mut used: BTreeSet<usize> = BTreeSet::new();
    let mut frontier: Vec<Arc<str>> = vec![id.into()];
    for _ in 0..depth {
        let mut next = Vec::new();
        for current in &frontier {
            for index in edges_of(snapshot, current, relations, direction) {
                used.insert(index);
                let edge = &snapshot.edges[index];
                for end in [&edge.from, &edge.to] {
                    if near.insert(end.clone()) {
                        next.push(end.clone());
                    }
                }
            }
        }
        frontier = next;
    }
    Graph {
        nodes: near.iter().filter_map(|id| snapshot.entities.get(id)).map(|record| names.node(record, badge_of)).collect(),
        edges: used.into_iter().map(|index| edge_of(snapshot, index)).collect(),
    }
}

/// How a raw id was understood.
#[derive(Debug, Serialize)]
pub struct Resolved {
    pub id: Arc<str>,
    /// `exact`, `alias` or `subset`.
    pub how: &'static str,
    /// Where a subset fits several entities: all of them, `id` then being their process.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<Arc<str>>,
}

/// Resolves an id as written by builder, detector or inspection: exact, then another spelling, then a part of the keys.
pub fn resolve(snapshot: &Snapshot, raw: &str) -> Option<Resolved> {
    if let Some(record) = snapshot.entities.get(raw) {
        return Some(Resolved { id: record.id.clone(), how: "exact", candidates: Vec::new() });
    }
    let escaped = gala_model::entity::id::escape(raw);
    for record in snapshot.entities.values() {
        if *record.id == *escaped || aliases(record).iter().any(|alias| alias == raw || *alias == escaped) {
            return Some(Resolved { id: record.id.clone(), how: "alias", candidates: Vec::new() });
        }
    }
    resolve_subset(snapshot, &escaped)
}

/// Other spellings of an entity's id: the machine without address, every key with `0` for a missing one, and for hosts
/// the form with the operating system's version.
fn aliases(record: &EntityRecord) -> Vec<String> {
    let machine = gala_model::entity::id::canonical_machine(&record.machine_id);
    let mut found = Vec::new();
    let value = |key: &str| record.labels.get(key).map(|value| &**value);
    for machine_id in [&*record.machine_id, machine] {
        found.extend(gala_model::entity::id::external(machine_id, record.kind, value));
        found.push(gala_model::entity::id::detector_spelling(machine_id, record.kind, value));
        if record.kind.name == "host"
            && let Some(version) = value("os_version")
        {
            found.push(gala_model::entity::id::escape(&format!("{machine_id}_host_{version}")));
        }
    }
    found
}

/// Short inspection forms: machine, type, then some of the key values in any order.
fn resolve_subset(snapshot: &Snapshot, raw: &str) -> Option<Resolved> {
    let mut matches: Vec<&EntityRecord> = snapshot
        .entities
        .values()
        .filter(|record| {
            let machine = gala_model::entity::id::canonical_machine(&record.machine_id);
            let rest = raw.strip_prefix(&*record.machine_id).or_else(|| raw.strip_prefix(machine));
            let Some(keys) = rest.and_then(|rest| rest.strip_prefix('_')?.strip_prefix(record.kind.name)?.strip_prefix('_'))
            else {
                return false;
            };
            let values: Vec<String> = record
                .kind
                .keys
                .iter()
                .filter_map(|key| record.labels.get(*key))
                .map(|value| gala_model::entity::id::escape(value))
                .collect();
            keys.split('_').all(|part| values.iter().any(|value| value == part))
        })
        .collect();
    matches.sort_by(|left, right| left.id.cmp(&right.id));
    match matches.as_slice() {
        [] => None,
        [one] => Some(Resolved { id: one.id.clone(), how: "subset", candidates: Vec::new() }),
        many => {
            let process = snapshot.parents(&many[0].id).into_iter().find(|parent| parent.kind.name == "proc");
            let id = process.map_or_else(|| many[0].id.clone(), |process| process.id.clone());
            Some(Resolved { id, how: "subset", candidates: many.iter().map(|record| record.id.clone()).collect() })
        }
    }
}
