//! What one thing stands on, in five bands.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use gala_model::entity::Band;

use super::horizontal::parent_of_kind;
use super::{BadgeOf, BandView, Layer, Names, Node, VerticalView, edge_view};
use crate::topology::Relation;
use crate::topology::history::{EntityRecord, Snapshot};

/// What to show of the vertical map.
#[derive(Clone, Debug, Default)]
pub struct VerticalQuery {
    pub entity: String,
    /// By the entity's type when absent.
    pub perspective: Option<Layer>,
    /// Shown whatever the perspective, where their host is.
    pub highlight: Vec<String>,
    /// Types whose entities are shown beneath what they belong to.
    pub expand: Vec<String>,
}

const PARENTS: &[Relation] = &[Relation::BelongsTo, Relation::RunsOn];

/// The vertical map of one entity; `None` if it is not known at that moment.
pub fn vertical(snapshot: &Snapshot, query: &VerticalQuery, badge_of: BadgeOf) -> Option<VerticalView> {
    let asked = snapshot.entities.get(query.entity.as_str())?;
    let perspective = query.perspective.unwrap_or_else(|| Layer::of_type(asked.kind.name));
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
    add_children(snapshot, &query.expand, &mut shown);
    let machines = machines_of(snapshot, &shown);
    for record in query.highlight.iter().filter_map(|id| snapshot.entities.get(id.as_str())) {
        if machines.contains(gala_model::entity::id::canonical_machine(&record.machine_id)) {
            add_with_parents(snapshot, &record.id, &mut shown);
        }
    }
    add_host_parts(snapshot, &mut shown);
    // What was asked for is always there, even where the perspective leaves its kind out.
    shown.insert(asked.id.clone());
    Some(assemble(snapshot, root, perspective, &shown, &query.highlight, badge_of))
}

fn add_children(snapshot: &Snapshot, kinds: &[String], shown: &mut BTreeSet<Arc<str>>) {
    let children = shown.iter().flat_map(|id| snapshot.into(id, PARENTS)).map(|(_, edge)| edge.from.clone());
    let wanted: Vec<Arc<str>> = children.filter(|id| kinds.iter().any(|kind| is_kind(snapshot, id, kind))).collect();
    shown.extend(wanted);
}

/// Hosts of what is shown, in the spelling without address.
fn machines_of(snapshot: &Snapshot, shown: &BTreeSet<Arc<str>>) -> HashSet<String> {
    shown
        .iter()
        .filter_map(|id| snapshot.entities.get(id))
        .filter(|record| !record.machine_id.is_empty())
        .map(|record| gala_model::entity::id::canonical_machine(&record.machine_id).to_owned())
        .collect()
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
    let machines = machines_of(snapshot, shown);
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
        highlight: highlight.iter().filter(|id| shown.contains(id.as_str())).cloned().collect(),
    }
}
