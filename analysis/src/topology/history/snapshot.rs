//! The state at one moment, made of intervals, and what changed between two.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use serde::Serialize;

use super::{EdgeKey, EdgeRecord, EntityRecord, History, LifeState, SnapshotInfo, SnapshotState};
use crate::topology::Relation;

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

impl History {
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

    /// State at a moment: rows first seen by then that were not yet gone for longer than the offline retention.
    pub fn at(&self, at_ms: i64) -> Snapshot {
        let retention = self.config.offline_retention_ms;
        let shown = |first: i64, offline: Option<i64>| first <= at_ms && offline.is_none_or(|at| at + retention > at_ms);
        let mut entities: HashMap<Arc<str>, EntityRecord> = HashMap::new();
        for record in self.past_entities.iter().chain(self.entities.values()) {
            if shown(record.first_seen_ms, record.offline_at_ms) {
                entities.insert(record.id.clone(), record.as_of(at_ms));
            }
        }
        let missing = SnapshotInfo { ts: at_ms, state: SnapshotState::Missing, entities: 0, edges: 0 };
        let mut snapshot = Snapshot {
            at_ms,
            info: self.snapshot_before(at_ms).unwrap_or(missing),
            entities,
            edges: Vec::new(),
            offline_edges: HashSet::new(),
            outgoing: HashMap::new(),
            incoming: HashMap::new(),
        };
        // Later lives replace earlier ones, and the order of edges is the same every time.
        let mut rows: BTreeMap<EdgeKey, &EdgeRecord> = BTreeMap::new();
        for edge in self.past_edges.iter().chain(self.edges.values()) {
            let ends_are_known = || snapshot.entities.contains_key(&edge.from) && snapshot.entities.contains_key(&edge.to);
            if shown(edge.first_seen_ms, edge.offline_at_ms) && ends_are_known() {
                rows.insert(edge.key(), edge);
            }
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

impl EntityRecord {
    /// The record as it was at a moment of its life: state and labels of then.
    fn as_of(&self, at_ms: i64) -> Self {
        let mut record = self.clone();
        if record.offline_at_ms.is_some_and(|offline| offline > at_ms) {
            record.offline_at_ms = None;
            record.state = LifeState::Online;
        }
        if record.offline_at_ms.is_none() && at_ms <= record.last_seen_ms {
            record.state = LifeState::Online;
        }
        for change in self.label_changes.iter().rev().take_while(|change| change.at_ms > at_ms) {
            match &change.before {
                Some(before) => record.labels.insert(change.name.clone(), before.clone()),
                None => record.labels.remove(&change.name),
            };
        }
        record
    }
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

    /// All an entity is a part of: what it belongs to or runs on, nearest first, and the application of its process.
    pub fn wholes(&self, id: &str) -> Vec<&EntityRecord> {
        let mut wholes = self.parents(id);
        let own = self.entities.get(id).into_iter();
        let process = own.chain(wholes.iter().copied()).find(|record| record.kind.name == "proc");
        let Some(process) = process else { return wholes };
        let mut parents = self.out(&process.id, &[Relation::BelongsTo]).filter_map(|(_, edge)| self.entities.get(&edge.to));
        wholes.extend(parents.find(|parent| parent.kind.name == "appinstance"));
        wholes
    }

    /// Host entity of a machine, both spellings.
    pub fn host_of(&self, machine_id: &str) -> Option<&EntityRecord> {
        let machine = gala_model::entity::id::canonical_machine(machine_id);
        self.entities
            .values()
            .find(|record| record.kind.name == "host" && gala_model::entity::id::canonical_machine(&record.machine_id) == machine)
    }
}
