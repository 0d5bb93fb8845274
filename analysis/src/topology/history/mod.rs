//! Intervals instead of snapshots: when each entity and edge was first and last seen, so that the state at any moment
//! is a filter over rows. Decides online, suspect, offline, unknown, expired. What changed goes into a journal, so that
//! whoever keeps the history on disk writes only that.

mod saved;
mod snapshot;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use gala_model::entity::EntityType;
use serde::{Deserialize, Serialize};

use super::names::display_name;
use super::{Config, Edge, EdgeAttributes, Entity, LabelMap, Observed, Relation};
use saved::Journal;

pub use saved::{Rows, SavedEdge, SavedEntity, Unsaved};
pub use snapshot::{Change, Snapshot};

/// Whether an object is there, as the world is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LifeState {
    Online,
    /// No sample for a while, not yet confirmed.
    Suspect,
    Offline,
    /// Its host does not report at all.
    Unknown,
}

/// One life of one entity.
#[derive(Clone, Debug)]
pub struct EntityRecord {
    pub id: Arc<str>,
    pub kind: &'static EntityType,
    pub machine_id: Arc<str>,
    pub name: String,
    /// Latest labels; earlier ones are in `label_changes`.
    pub labels: LabelMap,
    /// Oldest first.
    pub label_changes: Vec<LabelChange>,
    /// Latest value per field, as of `last_seen_ms`; empty for ended lives and those known only from the history: what they
    /// measured is in the store, and here it would be most of the memory of a host that starts programs all day.
    pub metrics: BTreeMap<String, f64>,
    pub first_seen_ms: i64,
    pub last_seen_ms: i64,
    pub offline_at_ms: Option<i64>,
    pub state: LifeState,
    missed_cycles: u32,
}

/// A label that became another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelChange {
    /// First cycle with the new value.
    pub at_ms: i64,
    pub name: Arc<str>,
    /// `None` where the label was absent.
    pub before: Option<Arc<str>>,
}

/// One life of one relation.
#[derive(Clone, Debug)]
pub struct EdgeRecord {
    pub relation: Relation,
    pub from: Arc<str>,
    pub to: Arc<str>,
    pub attributes: EdgeAttributes,
    pub via: Option<Arc<str>>,
    pub ambiguous: bool,
    pub first_seen_ms: i64,
    pub last_seen_ms: i64,
    pub offline_at_ms: Option<i64>,
}

impl EdgeRecord {
    pub fn id(&self) -> String {
        format!("{}:{}:{}", self.relation.as_str(), self.from, self.to)
    }

    fn key(&self) -> EdgeKey {
        (self.relation, self.from.clone(), self.to.clone())
    }
}

/// Outcome of one cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SnapshotState {
    Complete,
    Partial,
    Missing,
}

/// One cycle as `/topology/snapshots` lists it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct SnapshotInfo {
    pub ts: i64,
    pub state: SnapshotState,
    pub entities: usize,
    pub edges: usize,
}

type EdgeKey = (Relation, Arc<str>, Arc<str>);

/// All intervals. One writer, the cycle.
#[derive(Debug)]
pub struct History {
    config: Config,
    entities: HashMap<Arc<str>, EntityRecord>,
    edges: HashMap<EdgeKey, EdgeRecord>,
    /// Ended lives, oldest first, kept for questions about the past.
    past_entities: VecDeque<EntityRecord>,
    past_edges: VecDeque<EdgeRecord>,
    snapshots: VecDeque<SnapshotInfo>,
    journal: Journal,
    /// Since when cycles run without a pause: silence before then is nobody's end.
    resumed_ms: i64,
}

/// Ended lives of entities kept at most, and of relations; older ones go first. Some 100 MB where a host starts and ends
/// processes all day.
const MAX_PAST: usize = 100_000;
/// Ended lives kept beside what is there; where programs start and end all day older ones join the past before their time.
const MAX_ENDED: usize = 20_000;
/// Label changes kept of one life: a label that changes all the time is no history.
const MAX_LABEL_CHANGES: usize = 32;

impl History {
    pub fn new(config: Config) -> Self {
        Self {
            config,
            entities: HashMap::new(),
            edges: HashMap::new(),
            past_entities: VecDeque::new(),
            past_edges: VecDeque::new(),
            snapshots: VecDeque::new(),
            journal: Journal::default(),
            resumed_ms: i64::MIN,
        }
    }

    /// Folds a cycle in.
    pub fn apply(&mut self, observed: Observed) {
        let now = observed.at_ms;
        let host_names = host_names(&observed.entities);
        let mut alive: HashSet<Arc<str>> = HashSet::with_capacity(observed.entities.len());
        let (entity_count, edge_count) = (observed.entities.len(), observed.edges.len());
        for entity in observed.entities {
            if self.ended_before(&entity) {
                continue;
            }
            alive.insert(entity.id.clone());
            self.see_entity(entity, now, &host_names);
        }
        for edge in observed.edges {
            self.see_edge(edge, now, &alive);
        }
        if observed.is_cut {
            // What could not be read may be there all the same, but not for ever.
            let since = now - self.config.offline_retention_ms;
            alive.extend(self.entities.values().filter(|record| record.last_seen_ms >= since).map(|record| record.id.clone()));
        }
        self.age_entities(&alive);
        self.age_edges(now, observed.is_cut);
        self.expire(now);
        let state = if observed.partial { SnapshotState::Partial } else { SnapshotState::Complete };
        self.remember(SnapshotInfo { ts: now, state, entities: entity_count, edges: edge_count });
    }

    /// A cycle that could not read its input: nothing ages.
    pub fn miss(&mut self, now_ms: i64) {
        self.remember(SnapshotInfo { ts: now_ms, state: SnapshotState::Missing, entities: 0, edges: 0 });
    }

    /// An exit that was seen ends a process and everything that belongs to it at once.
    pub fn exited(&mut self, machine_id: &str, tgid: &str, at_ms: i64) {
        let machine = gala_model::entity::id::canonical_machine(machine_id);
        let mut ended = HashSet::new();
        for record in self.entities.values_mut() {
            let same_machine = gala_model::entity::id::canonical_machine(&record.machine_id) == machine;
            let owned = record.kind.has_tgid() && record.labels.get("tgid").is_some_and(|value| &**value == tgid);
            if same_machine && owned && record.offline_at_ms.is_none() && record.last_seen_ms <= at_ms + 1000 {
                record.end(at_ms);
                self.journal.touch_entity(&record.id);
                ended.insert(record.id.clone());
            }
        }
        for edge in self.edges.values_mut().filter(|edge| edge.offline_at_ms.is_none()) {
            if ended.contains(&edge.from) || ended.contains(&edge.to) {
                edge.offline_at_ms = Some(at_ms);
                self.journal.touch_edge(edge);
            }
        }
    }

    /// Samples from before a known end still lie in the window of the next cycles; they do not revive.
    fn ended_before(&self, entity: &Entity) -> bool {
        self.entities
            .get(&entity.id)
            .and_then(|record| record.offline_at_ms)
            .is_some_and(|offline_at| entity.last_sample_ms <= offline_at)
    }

    fn see_entity(&mut self, entity: Entity, now: i64, host_names: &HashMap<Arc<str>, String>) {
        let host = host_names.get(&entity.machine_id).map_or("", String::as_str);
        let name = display_name(&entity, host);
        if let Some(record) = self.entities.get_mut(&entity.id) {
            let restarted = start_time(&record.labels).zip(start_time(&entity.labels)).is_some_and(|(old, new)| old != new);
            if !restarted && record.offline_at_ms.is_none() {
                if record.is_news(&name, &entity.labels) {
                    self.journal.touch_entity(&entity.id);
                    record.relabel(entity.labels, now);
                    record.name = name;
                }
                record.metrics = entity.metrics;
                record.last_seen_ms = record.last_seen_ms.max(entity.last_sample_ms);
                record.state = LifeState::Online;
                record.missed_cycles = 0;
                return;
            }
            let mut ended = record.clone();
            ended.offline_at_ms.get_or_insert(ended.last_seen_ms);
            ended.state = LifeState::Offline;
            self.journal.put_entity(&ended);
            self.push_past_entity(ended);
        }
        let record = EntityRecord {
            id: entity.id.clone(),
            kind: entity.kind,
            machine_id: entity.machine_id,
            name,
            labels: entity.labels,
            label_changes: Vec::new(),
            metrics: entity.metrics,
            first_seen_ms: entity.last_sample_ms,
            last_seen_ms: entity.last_sample_ms,
            offline_at_ms: None,
            state: LifeState::Online,
            missed_cycles: 0,
        };
        self.journal.touch_entity(&entity.id);
        self.entities.insert(entity.id, record);
    }

    fn see_edge(&mut self, edge: Edge, now: i64, alive: &HashSet<Arc<str>>) {
        if !alive.contains(&edge.from) || !alive.contains(&edge.to) {
            return;
        }
        let key = (edge.relation, edge.from.clone(), edge.to.clone());
        if let Some(record) = self.edges.get_mut(&key) {
            if record.offline_at_ms.is_none() {
                record.attributes = edge.attributes;
                record.via = edge.via;
                record.ambiguous = edge.ambiguous;
                record.last_seen_ms = now;
                return;
            }
            let ended = record.clone();
            self.journal.put_edge(&ended);
            self.push_past_edge(ended);
        }
        // As old as what it was seen in: an end that is new and its relations begin together.
        let sampled = [&edge.from, &edge.to].into_iter().filter_map(|id| self.entities.get(id)).map(|end| end.last_seen_ms).max();
        let first_seen_ms = sampled.map_or(now, |sampled| sampled.min(now));
        let record = EdgeRecord {
            relation: edge.relation,
            from: edge.from,
            to: edge.to,
            attributes: edge.attributes,
            via: edge.via,
            ambiguous: edge.ambiguous,
            first_seen_ms,
            last_seen_ms: now,
            offline_at_ms: None,
        };
        self.journal.touch_edge(&record);
        self.edges.insert(key, record);
    }

    fn age_entities(&mut self, alive: &HashSet<Arc<str>>) {
        let silent_machines: HashSet<Arc<str>> = self
            .entities
            .values()
            .filter(|record| record.kind.name == "host" && !alive.contains(&record.id))
            .filter(|record| record.missed_cycles < self.config.offline_confirm)
            .map(|record| record.machine_id.clone())
            .collect();
        for record in self.entities.values_mut() {
            if alive.contains(&record.id) || record.offline_at_ms.is_some() {
                continue;
            }
            let before = record.state;
            if record.kind.name != "host" && silent_machines.contains(&record.machine_id) {
                record.state = LifeState::Unknown;
            } else {
                record.missed_cycles += 1;
                record.state = LifeState::Suspect;
                if record.missed_cycles >= self.config.offline_confirm {
                    record.end(record.last_seen_ms);
                }
            }
            if record.state != before {
                self.journal.touch_entity(&record.id);
            }
        }
    }

    /// After a cycle that was cut, silence tells nothing of an edge; the end of one of its ends does.
    fn age_edges(&mut self, now: i64, is_cut: bool) {
        for edge in self.edges.values_mut().filter(|edge| edge.offline_at_ms.is_none()) {
            let end_of_end = [&edge.from, &edge.to].into_iter().filter_map(|id| self.entities.get(id)?.offline_at_ms).min();
            // What flows over a connection that no report speaks of is not known, whatever it was last.
            if !is_cut && edge.last_seen_ms < now {
                (edge.attributes.rate_per_s, edge.attributes.rate_is_estimate) = (None, false);
            }
            let is_silent = !is_cut && now - edge.last_seen_ms.max(self.resumed_ms) > self.config.edge_hold_ms;
            edge.offline_at_ms = end_of_end.or_else(|| is_silent.then_some(edge.last_seen_ms));
            if edge.offline_at_ms.is_some() {
                self.journal.touch_edge(edge);
            }
        }
    }

    fn expire(&mut self, now: i64) {
        let shown_until = |ended_ms: i64| ended_ms + self.config.offline_retention_ms > now;
        let ended = self.entities.iter().filter_map(|(id, record)| Some((record.offline_at_ms?, id)));
        let gone = expired(ended.collect(), MAX_ENDED, &shown_until);
        let ended = self.edges.iter().filter_map(|(key, record)| Some((record.offline_at_ms?, key)));
        let gone_edges = expired(ended.collect(), MAX_ENDED, &shown_until);
        for id in gone {
            if let Some(record) = self.entities.remove(&id) {
                self.journal.leave_entity(&record);
                self.push_past_entity(record);
            }
        }
        for key in gone_edges {
            if let Some(record) = self.edges.remove(&key) {
                self.journal.leave_edge(&record);
                self.push_past_edge(record);
            }
        }
        let oldest = now - self.config.history_retention_ms;
        while self.past_entities.front().is_some_and(|record| record.last_seen_ms < oldest) {
            self.forget_oldest_entity();
        }
        while self.past_edges.front().is_some_and(|record| record.last_seen_ms < oldest) {
            self.forget_oldest_edge();
        }
    }

    fn push_past_entity(&mut self, mut ended: EntityRecord) {
        ended.metrics = BTreeMap::new();
        if self.past_entities.len() >= MAX_PAST {
            self.forget_oldest_entity();
        }
        self.past_entities.push_back(ended);
    }

    fn push_past_edge(&mut self, ended: EdgeRecord) {
        if self.past_edges.len() >= MAX_PAST {
            self.forget_oldest_edge();
        }
        self.past_edges.push_back(ended);
    }

    fn forget_oldest_entity(&mut self) {
        if let Some(record) = self.past_entities.pop_front() {
            self.journal.forget_entity(&record);
        }
    }

    fn forget_oldest_edge(&mut self) {
        if let Some(record) = self.past_edges.pop_front() {
            self.journal.forget_edge(&record);
        }
    }

    fn remember(&mut self, info: SnapshotInfo) {
        self.snapshots.push_back(info);
        self.journal.put_cycle(info);
        let oldest = info.ts - self.config.history_retention_ms;
        while let Some(cycle) = self.snapshots.front().filter(|cycle| cycle.ts < oldest) {
            self.journal.forget_cycle(cycle);
            self.snapshots.pop_front();
        }
    }
}

/// Of what ended (when, what): those not shown any more, and the oldest of those that are too many.
fn expired<K: Ord + Clone>(mut ended: Vec<(i64, &K)>, most: usize, is_shown: &dyn Fn(i64) -> bool) -> Vec<K> {
    if ended.len() <= most {
        ended.retain(|(at_ms, _)| !is_shown(*at_ms));
    }
    ended.sort_unstable();
    let surplus = ended.len().saturating_sub(most).max(ended.partition_point(|(at_ms, _)| !is_shown(*at_ms)));
    ended.into_iter().take(surplus).map(|(_, key)| key.clone()).collect()
}

impl EntityRecord {
    fn end(&mut self, at_ms: i64) {
        self.state = LifeState::Offline;
        self.offline_at_ms = Some(at_ms);
        self.metrics = BTreeMap::new();
    }

    /// Whether what a cycle saw is more than another sample.
    fn is_news(&self, name: &str, labels: &LabelMap) -> bool {
        self.state != LifeState::Online || self.name != name || self.labels != *labels
    }

    fn relabel(&mut self, labels: LabelMap, now: i64) {
        let gone_or_other = self.labels.iter().filter(|(name, value)| labels.get(*name) != Some(*value));
        let before = gone_or_other.map(|(name, value)| (name.clone(), Some(value.clone())));
        let added = labels.keys().filter(|name| !self.labels.contains_key(*name)).map(|name| (name.clone(), None));
        let changes: Vec<LabelChange> =
            before.chain(added).map(|(name, before)| LabelChange { at_ms: now, name, before }).collect();
        self.label_changes.extend(changes);
        let surplus = self.label_changes.len().saturating_sub(MAX_LABEL_CHANGES);
        self.label_changes.drain(..surplus);
        self.labels = labels;
    }
}

fn start_time(labels: &LabelMap) -> Option<&str> {
    labels.get("start_time").map(|value| &**value)
}

/// Name per machine id, from the host entity's label.
fn host_names(entities: &[Entity]) -> HashMap<Arc<str>, String> {
    entities
        .iter()
        .filter(|entity| entity.kind.name == "host")
        .map(|host| (host.machine_id.clone(), host.label("hostname").unwrap_or(&host.machine_id).to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ended_is_kept_for_its_time_and_never_too_much_of_it() {
        let keys = [4, 3, 2, 1, 0];
        let ended = || keys.iter().map(|at| (i64::from(*at), at)).collect::<Vec<_>>();
        assert_eq!(expired(ended(), 10, &|at| at >= 2), [0, 1]);
        assert_eq!(expired(ended(), 2, &|at| at >= 2), [0, 1, 2]);
        assert_eq!(expired(ended(), 10, &|_| true), [0; 0]);
    }
}
