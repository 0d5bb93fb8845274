//! Who talks to whom in one layer.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::{BadgeOf, EdgeView, Fold, Graph, Layer, Names, Node, edge_view};
use crate::topology::Relation;
use crate::topology::history::{LifeState, Snapshot};

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
        let mut view = edge_view(edge, state);
        view.id = format!("connect:{from}:{to}");
        (view.from, view.to) = (from.clone(), to.clone());
        match lifted.entry((from, to)) {
            Entry::Occupied(mut seen) => join(seen.get_mut(), &view),
            Entry::Vacant(place) => {
                place.insert(view);
            }
        }
    }
    lifted
}

/// External peers stay themselves in every layer.
pub(super) fn parent_of_kind(snapshot: &Snapshot, id: &Arc<str>, kind: &str) -> Option<Arc<str>> {
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
            join(edge, &back);
            edge.directed = false;
        }
    }
}

/// Adds another connection between the same ends. Of one that is over nothing counts beside one that is not.
fn join(seen: &mut EdgeView, other: &EdgeView) {
    match (seen.state == LifeState::Online, other.state == LifeState::Online) {
        (true, false) => {}
        (false, true) => (seen.attributes, seen.state) = (other.attributes.clone(), other.state),
        _ => seen.attributes.merge(&other.attributes),
    }
    seen.ambiguous |= other.ambiguous;
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
