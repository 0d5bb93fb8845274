//! The two maps and their details, as answers: horizontal (who talks to whom in one layer) and vertical (what one thing
//! stands on, in five bands).

mod horizontal;
mod resolve;
mod vertical;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use gala_model::Severity;
use gala_model::entity::{Band, Level};
use serde::Serialize;

use super::history::{EdgeRecord, EntityRecord, LifeState, Snapshot};
use super::{EdgeAttributes, LabelMap, Relation};

pub use horizontal::{HorizontalQuery, horizontal};
pub use resolve::{Resolved, resolve};
pub use vertical::{VerticalQuery, vertical};

/// Open anomalies of an entity, for badges.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Badges {
    pub anomalies: usize,
    /// Of the worst of them.
    pub severity: Option<Severity>,
    /// Whether any number of it is judged; absent where that is not known, as of the past.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub judged: Option<bool>,
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
        attributes: if state == LifeState::Online { edge.attributes.clone() } else { edge.attributes.over() },
        via: edge.via.clone(),
        ambiguous: edge.ambiguous,
    }
}

/// Edge `index` of a snapshot as an answer.
pub fn edge_of(snapshot: &Snapshot, index: usize) -> EdgeView {
    edge_view(&snapshot.edges[index], snapshot.state_of_edge(index))
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
