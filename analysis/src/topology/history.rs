//! Intervals instead of snapshots: when each entity and edge was first and last seen, so that the state at any moment
//! is a filter over rows. Decides online, suspect, offline, unknown, expired.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use gala_model::entity::EntityType;
use serde::{Deserialize, Serialize};

use super::names::display_name;
use super::{Config, Edge, EdgeAttributes, Entity, LabelMap, Observed, Relation};

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
    /// Latest value per field, as of `last_seen_ms`.
    pub metrics: BTreeMap<String, f64>,
    pub first_seen_ms: i64,
    pub last_seen_ms: i64,
    pub offline_at_ms: Option<i64>,
    pub state: LifeState,
    missed_cycles: u32,
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

/// An appearance or a disappearance.
#[derive(Clone, Debug, Serialize)]
pub struct Change {
    pub at: i64,
    /// `appeared` or `disappeared`.
    pub change: &'static str,
    /// `entity` or `edge`.
    pub what: &'static str,
    pub id: String,
    pub r#type: &'static str,
    pub name: String,
}

/// The state at one moment.
#[derive(Debug)]
pub struct Snapshot {
    pub at_ms: i64,
    pub info: SnapshotInfo,
    pub entities: HashMap<Arc<str>, EntityRecord>,
    pub edges: Vec<EdgeRecord>,
    /// Offline edges shown beside live ones.
    pub offline_edges: HashSet<usize>,
    /// Indexes into `edges` by start and by end.
    pub outgoing: HashMap<Arc<str>, Vec<usize>>,
    pub incoming: HashMap<Arc<str>, Vec<usize>>,
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
}

/// Ended lives kept at most; older ones go first.
const MAX_PAST: usize = 200_000;

impl History {
    pub fn new(config: Config) -> Self {
        Self {
            config,
            entities: HashMap::new(),
            edges: HashMap::new(),
            past_entities: VecDeque::new(),
            past_edges: VecDeque::new(),
            snapshots: VecDeque::new(),
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
            self.see_entity(entity, &host_names);
        }
        for edge in observed.edges {
            self.see_edge(edge, now, &alive);
        }
        self.age_entities(&alive);
        self.age_edges(now);
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
                record.state = LifeState::Offline;
                record.offline_at_ms = Some(at_ms);
                ended.insert(record.id.clone());
            }
        }
        for edge in self.edges.values_mut().filter(|edge| edge.offline_at_ms.is_none()) {
            if ended.contains(&edge.from) || ended.contains(&edge.to) {
                edge.offline_at_ms = Some(at_ms);
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

    fn see_entity(&mut self, entity: Entity, host_names: &HashMap<Arc<str>, String>) {
        let host = host_names.get(&entity.machine_id).map_or("", String::as_str);
        let name = display_name(&entity, host);
        if let Some(record) = self.entities.get_mut(&entity.id) {
            let restarted = start_time(&record.labels).zip(start_time(&entity.labels)).is_some_and(|(old, new)| old != new);
            if !restarted && record.offline_at_ms.is_none() {
                record.name = name;
                record.labels = entity.labels;
                record.metrics = entity.metrics;
                record.last_seen_ms = record.last_seen_ms.max(entity.last_sample_ms);
                record.state = LifeState::Online;
                record.missed_cycles = 0;
                return;
            }
            let mut ended = record.clone();
            ended.offline_at_ms.get_or_insert(ended.last_seen_ms);
            ended.state = LifeState::Offline;
            push_bounded(&mut self.past_entities, ended);
        }
        let record = EntityRecord {
            id: entity.id.clone(),
            kind: entity.kind,
            machine_id: entity.machine_id,
            name,
            labels: entity.labels,
            metrics: entity.metrics,
            first_seen_ms: entity.last_sample_ms,
            last_seen_ms: entity.last_sample_ms,
            offline_at_ms: None,
            state: LifeState::Online,
            missed_cycles: 0,
        };
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
            push_bounded(&mut self.past_edges, record.clone());
        }
        let record = EdgeRecord {
            relation: edge.relation,
            from: edge.from,
            to: edge.to,
            attributes: edge.attributes,
            via: edge.via,
            ambiguous: edge.ambiguous,
            first_seen_ms: now,
            last_seen_ms: now,
            offline_at_ms: None,
        };
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
            if record.kind.name != "host" && silent_machines.contains(&record.machine_id) {
                record.state = LifeState::Unknown;
                continue;
            }
            record.missed_cycles += 1;
            if record.missed_cycles > self.config.offline_confirm {
                record.state = LifeState::Offline;
                record.offline_at_ms = Some(record.last_seen_ms);
            } else {
                record.state = LifeState::Suspect;
            }
        }
    }

    fn age_edges(&mut self, now: i64) {
        for edge in self.edges.values_mut().filter(|edge| edge.offline_at_ms.is_none()) {
            let end_of_end = [&edge.from, &edge.to].into_iter().filter_map(|id| self.entities.get(id)?.offline_at_ms).min();
            if let Some(offline_at) = end_of_end {
                edge.offline_at_ms = Some(offline_at);
            } else if now - edge.last_seen_ms > self.config.edge_hold_ms {
                edge.offline_at_ms = Some(edge.last_seen_ms);
            }
        }
    }

    fn expire(&mut self, now: i64) {
        let shown_until = |offline_at: Option<i64>| offline_at.is_none_or(|at| at + self.config.offline_retention_ms > now);
        let gone: Vec<Arc<str>> =
            self.entities.iter().filter(|(_, record)| !shown_until(record.offline_at_ms)).map(|(id, _)| id.clone()).collect();
        let gone_edges: Vec<EdgeKey> =
            self.edges.iter().filter(|(_, record)| !shown_until(record.offline_at_ms)).map(|(key, _)| key.clone()).collect();
        for id in gone {
            if let Some(record) = self.entities.remove(&id) {
                push_bounded(&mut self.past_entities, record);
            }
        }
        for key in gone_edges {
            if let Some(record) = self.edges.remove(&key) {
                push_bounded(&mut self.past_edges, record);
            }
        }
        let oldest = now - self.config.history_retention_ms;
        while self.past_entities.front().is_some_and(|record| record.last_seen_ms < oldest) {
            self.past_entities.pop_front();
        }
        while self.past_edges.front().is_some_and(|record| record.last_seen_ms < oldest) {
            self.past_edges.pop_front();
        }
    }

    fn remember(&mut self, info: SnapshotInfo) {
        self.snapshots.push_back(info);
        let oldest = info.ts - self.config.history_retention_ms;
        while self.snapshots.front().is_some_and(|snapshot| snapshot.ts < oldest) {
            self.snapshots.pop_front();
        }
    }

    pub fn latest(&self) -> Option<SnapshotInfo> {
        self.snapshots.back().copied()
    }

    /// Cycles in `[from, to]`, newest last.
    pub fn snapshots(&self, from_ms: i64, to_ms: i64) -> impl DoubleEndedIterator<Item = SnapshotInfo> + '_ {
        self.snapshots.iter().copied().filter(move |snapshot| (from_ms..=to_ms).contains(&snapshot.ts))
    }

    /// Newest cycle not after `at_ms`.
    pub fn snapshot_before(&self, at_ms: i64) -> Option<SnapshotInfo> {
        let end = self.snapshots.partition_point(|snapshot| snapshot.ts <= at_ms);
        end.checked_sub(1).map(|index| self.snapshots[index])
    }

    /// The current life of an entity, offline ones too while they are shown.
    pub fn entity(&self, id: &str) -> Option<&EntityRecord> {
        self.entities.get(id)
    }

    pub fn entities(&self) -> impl Iterator<Item = &EntityRecord> {
        self.entities.values()
    }

    pub fn edges(&self) -> impl Iterator<Item = &EdgeRecord> {
        self.edges.values()
    }

    /// State at a moment: rows first seen by then that were not yet gone for longer than the offline retention.
    pub fn at(&self, at_ms: i64) -> Snapshot {
        let retention = self.config.offline_retention_ms;
        let shown = |first: i64, offline: Option<i64>| first <= at_ms && offline.is_none_or(|at| at + retention > at_ms);
        let mut entities: HashMap<Arc<str>, EntityRecord> = HashMap::new();
        for record in self.past_entities.iter().chain(self.entities.values()) {
            if !shown(record.first_seen_ms, record.offline_at_ms) {
                continue;
            }
            let mut record = record.clone();
            if record.offline_at_ms.is_some_and(|offline| offline > at_ms) {
                record.offline_at_ms = None;
                record.state = LifeState::Online;
            }
            entities.insert(record.id.clone(), record);
        }
        let mut snapshot = Snapshot {
            at_ms,
            info: self.snapshot_before(at_ms).unwrap_or(SnapshotInfo {
                ts: at_ms,
                state: SnapshotState::Missing,
                entities: 0,
                edges: 0,
            }),
            entities,
            edges: Vec::new(),
            offline_edges: HashSet::new(),
            outgoing: HashMap::new(),
            incoming: HashMap::new(),
        };
        let mut rows: BTreeMap<&EdgeKey, &EdgeRecord> = BTreeMap::new();
        let keys: Vec<(EdgeKey, &EdgeRecord)> = self
            .past_edges
            .iter()
            .chain(self.edges.values())
            .filter(|edge| shown(edge.first_seen_ms, edge.offline_at_ms))
            .filter(|edge| snapshot.entities.contains_key(&edge.from) && snapshot.entities.contains_key(&edge.to))
            .map(|edge| ((edge.relation, edge.from.clone(), edge.to.clone()), edge))
            .collect();
        for (key, edge) in &keys {
            rows.insert(key, edge);
        }
        for edge in rows.into_values() {
            let index = snapshot.edges.len();
            if edge.offline_at_ms.is_some_and(|offline| offline <= at_ms) {
                snapshot.offline_edges.insert(index);
            }
            snapshot.outgoing.entry(edge.from.clone()).or_default().push(index);
            snapshot.incoming.entry(edge.to.clone()).or_default().push(index);
            snapshot.edges.push(edge.clone());
        }
        snapshot
    }

    /// Appearances and disappearances in `[from, to]`, oldest first.
    pub fn changes(&self, from_ms: i64, to_ms: i64) -> Vec<Change> {
        let inside = |at: i64| (from_ms..=to_ms).contains(&at);
        let mut changes = Vec::new();
        for record in self.past_entities.iter().chain(self.entities.values()) {
            let mut push = |at, change| {
                let (id, kind, name) = (record.id.to_string(), record.kind.name, record.name.clone());
                changes.push(Change { at, change, what: "entity", id, r#type: kind, name });
            };
            if inside(record.first_seen_ms) {
                push(record.first_seen_ms, "appeared");
            }
            if let Some(at) = record.offline_at_ms.filter(|at| inside(*at)) {
                push(at, "disappeared");
            }
        }
        for edge in self.past_edges.iter().chain(self.edges.values()) {
            let mut push = |at, change| {
                let name = format!("{} → {}", edge.from, edge.to);
                changes.push(Change { at, change, what: "edge", id: edge.id(), r#type: edge.relation.as_str(), name });
            };
            if inside(edge.first_seen_ms) {
                push(edge.first_seen_ms, "appeared");
            }
            if let Some(at) = edge.offline_at_ms.filter(|at| inside(*at)) {
                push(at, "disappeared");
            }
        }
        changes.sort_by(|left, right| (left.at, &left.id).cmp(&(right.at, &right.id)));
        changes
    }
}

fn start_time(labels: &LabelMap) -> Option<&str> {
    labels.get("start_time").map(|value| &**value)
}

fn push_bounded<T>(queue: &mut VecDeque<T>, item: T) {
    if queue.len() >= MAX_PAST {
        queue.pop_front();
    }
    queue.push_back(item);
}

/// Name per machine id, from the host entity's label.
fn host_names(entities: &[Entity]) -> HashMap<Arc<str>, String> {
    entities
        .iter()
        .filter(|entity| entity.kind.name == "host")
        .map(|host| (host.machine_id.clone(), host.label("hostname").unwrap_or(&host.machine_id).to_owned()))
        .collect()
}

impl Snapshot {
    pub fn state_of_edge(&self, index: usize) -> LifeState {
        if self.offline_edges.contains(&index) { LifeState::Offline } else { LifeState::Online }
    }

    /// Edges out of an entity with one of the relations.
    pub fn out<'a>(&'a self, id: &str, relations: &'a [Relation]) -> impl Iterator<Item = (usize, &'a EdgeRecord)> {
        let indexes = self.outgoing.get(id).map_or(&[][..], Vec::as_slice);
        indexes.iter().map(|index| (*index, &self.edges[*index])).filter(|(_, edge)| relations.contains(&edge.relation))
    }

    /// Edges into an entity with one of the relations.
    pub fn into<'a>(&'a self, id: &str, relations: &'a [Relation]) -> impl Iterator<Item = (usize, &'a EdgeRecord)> {
        let indexes = self.incoming.get(id).map_or(&[][..], Vec::as_slice);
        indexes.iter().map(|index| (*index, &self.edges[*index])).filter(|(_, edge)| relations.contains(&edge.relation))
    }

    /// The entity that something belongs to or runs on, nearest first.
    pub fn parents(&self, id: &str) -> Vec<&EntityRecord> {
        let mut chain: Vec<&EntityRecord> = Vec::new();
        let mut current = self.entities.get(id);
        while let Some(record) = current {
            let mut parents = self
                .out(&record.id, &[Relation::BelongsTo, Relation::RunsOn])
                .filter_map(|(_, edge)| self.entities.get(&edge.to));
            current = parents.find(|parent| parent.kind.name != "appinstance" && chain.iter().all(|seen| seen.id != parent.id));
            chain.extend(current);
        }
        chain
    }

    /// Host entity of a machine, both spellings.
    pub fn host_of(&self, machine_id: &str) -> Option<&EntityRecord> {
        let machine = gala_model::entity::id::canonical_machine(machine_id);
        self.entities
            .values()
            .find(|record| record.kind.name == "host" && gala_model::entity::id::canonical_machine(&record.machine_id) == machine)
    }
}
