//! The history on disk: one row per life, keyed by its start and its id, and one per cycle. A row is written when a life
//! begins, changes or ends and not while it merely goes on: what goes on was last seen in the last cycle.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{EdgeKey, EdgeRecord, EntityRecord, History, LabelChange, LifeState, SnapshotInfo};
use crate::topology::{EdgeAttributes, LabelMap, Relation};

/// A life of an entity as it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SavedEntity {
    id: Arc<str>,
    kind: String,
    machine_id: Arc<str>,
    name: String,
    labels: LabelMap,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    label_changes: Vec<LabelChange>,
    first_seen_ms: i64,
    last_seen_ms: i64,
    offline_at_ms: Option<i64>,
    state: LifeState,
}

/// A life of a relation as it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SavedEdge {
    relation: Relation,
    from: Arc<str>,
    to: Arc<str>,
    attributes: EdgeAttributes,
    via: Option<Arc<str>>,
    ambiguous: bool,
    first_seen_ms: i64,
    last_seen_ms: i64,
    offline_at_ms: Option<i64>,
}

/// Rows to write and keys to remove, of one kind.
#[derive(Debug)]
pub struct Rows<R> {
    pub put: BTreeMap<String, R>,
    pub remove: HashSet<String>,
}

impl<R> Default for Rows<R> {
    fn default() -> Self {
        Self { put: BTreeMap::new(), remove: HashSet::new() }
    }
}

impl<R> Rows<R> {
    fn forget(&mut self, key: String) {
        self.put.remove(&key);
        self.remove.insert(key);
    }

    /// Takes back older rows; what is newer stays.
    fn give_back(&mut self, older: Self) {
        for (key, row) in older.put {
            if !self.remove.contains(&key) {
                self.put.entry(key).or_insert(row);
            }
        }
        self.remove.extend(older.remove);
    }
}

/// What changed since the last save. Key order is time order.
#[derive(Debug, Default)]
pub struct Unsaved {
    pub entities: Rows<SavedEntity>,
    pub edges: Rows<SavedEdge>,
    pub cycles: Rows<SnapshotInfo>,
}

/// Thirteen digits of milliseconds last until the year 2286.
fn key(first_seen_ms: i64, id: &str) -> String {
    format!("{:013}/{id}", first_seen_ms.max(0))
}

/// Collects what is to be written. Lives that go on are only marked; their rows are made when they are asked for.
#[derive(Debug, Default)]
pub(super) struct Journal {
    touched_entities: HashSet<Arc<str>>,
    touched_edges: HashSet<EdgeKey>,
    unsaved: Unsaved,
}

impl Journal {
    pub fn touch_entity(&mut self, id: &Arc<str>) {
        self.touched_entities.insert(id.clone());
    }

    pub fn touch_edge(&mut self, edge: &EdgeRecord) {
        self.touched_edges.insert(edge.key());
    }

    /// The row of a life as it is now.
    pub fn put_entity(&mut self, record: &EntityRecord) {
        self.touched_entities.remove(&record.id);
        self.unsaved.entities.put.insert(record.row_key(), SavedEntity::of(record));
    }

    pub fn put_edge(&mut self, edge: &EdgeRecord) {
        self.touched_edges.remove(&edge.key());
        self.unsaved.edges.put.insert(edge.row_key(), SavedEdge::of(edge));
    }

    /// A life leaves those that can be marked.
    pub fn leave_entity(&mut self, record: &EntityRecord) {
        if self.touched_entities.contains(&record.id) {
            self.put_entity(record);
        }
    }

    pub fn leave_edge(&mut self, edge: &EdgeRecord) {
        if self.touched_edges.contains(&edge.key()) {
            self.put_edge(edge);
        }
    }

    pub fn forget_entity(&mut self, record: &EntityRecord) {
        self.unsaved.entities.forget(record.row_key());
    }

    pub fn forget_edge(&mut self, edge: &EdgeRecord) {
        self.unsaved.edges.forget(edge.row_key());
    }

    pub fn put_cycle(&mut self, cycle: SnapshotInfo) {
        self.unsaved.cycles.put.insert(cycle.row_key(), cycle);
    }

    pub fn forget_cycle(&mut self, cycle: &SnapshotInfo) {
        self.unsaved.cycles.forget(cycle.row_key());
    }
}

impl EntityRecord {
    fn row_key(&self) -> String {
        key(self.first_seen_ms, &self.id)
    }
}

impl EdgeRecord {
    fn row_key(&self) -> String {
        key(self.first_seen_ms, &self.id())
    }
}

impl SnapshotInfo {
    fn row_key(&self) -> String {
        key(self.ts, "")
    }
}

impl SavedEntity {
    fn of(record: &EntityRecord) -> Self {
        Self {
            id: record.id.clone(),
            kind: record.kind.name.to_owned(),
            machine_id: record.machine_id.clone(),
            name: record.name.clone(),
            labels: record.labels.clone(),
            label_changes: record.label_changes.clone(),
            first_seen_ms: record.first_seen_ms,
            last_seen_ms: record.last_seen_ms,
            offline_at_ms: record.offline_at_ms,
            state: record.state,
        }
    }

    /// `None` for a type this build does not know.
    fn record(self, last_cycle_ms: i64) -> Option<EntityRecord> {
        let kind = gala_model::entity::entity_type(&self.kind)?;
        let goes_on = self.state == LifeState::Online;
        Some(EntityRecord {
            id: self.id,
            kind,
            machine_id: self.machine_id,
            name: self.name,
            labels: self.labels,
            label_changes: self.label_changes,
            metrics: BTreeMap::new(),
            first_seen_ms: self.first_seen_ms,
            last_seen_ms: if goes_on { self.last_seen_ms.max(last_cycle_ms) } else { self.last_seen_ms },
            offline_at_ms: self.offline_at_ms,
            state: self.state,
            missed_cycles: 0,
        })
    }
}

impl SavedEdge {
    fn of(edge: &EdgeRecord) -> Self {
        Self {
            relation: edge.relation,
            from: edge.from.clone(),
            to: edge.to.clone(),
            attributes: edge.attributes.clone(),
            via: edge.via.clone(),
            ambiguous: edge.ambiguous,
            first_seen_ms: edge.first_seen_ms,
            last_seen_ms: edge.last_seen_ms,
            offline_at_ms: edge.offline_at_ms,
        }
    }

    fn record(self, last_cycle_ms: i64) -> EdgeRecord {
        EdgeRecord {
            relation: self.relation,
            from: self.from,
            to: self.to,
            attributes: self.attributes,
            via: self.via,
            ambiguous: self.ambiguous,
            first_seen_ms: self.first_seen_ms,
            last_seen_ms: if self.offline_at_ms.is_none() { self.last_seen_ms.max(last_cycle_ms) } else { self.last_seen_ms },
            offline_at_ms: self.offline_at_ms,
        }
    }
}

impl History {
    /// Takes what changed since the last call; who cannot write it gives it back.
    pub fn take_unsaved(&mut self) -> Unsaved {
        for id in std::mem::take(&mut self.journal.touched_entities) {
            if let Some(record) = self.entities.get(&id) {
                self.journal.put_entity(record);
            }
        }
        for key in std::mem::take(&mut self.journal.touched_edges) {
            if let Some(edge) = self.edges.get(&key) {
                self.journal.put_edge(edge);
            }
        }
        std::mem::take(&mut self.journal.unsaved)
    }

    pub fn give_back(&mut self, older: Unsaved) {
        let unsaved = &mut self.journal.unsaved;
        unsaved.entities.give_back(older.entities);
        unsaved.edges.give_back(older.edges);
        unsaved.cycles.give_back(older.cycles);
    }

    /// Puts saved rows, in key order, into a history that is still empty. Of several lives of one id the newest goes on.
    pub fn restore(&mut self, entities: Vec<SavedEntity>, edges: Vec<SavedEdge>, cycles: Vec<SnapshotInfo>, now_ms: i64) {
        self.snapshots = cycles.into();
        self.resumed_ms = now_ms;
        let last_cycle_ms = self.snapshots.back().map_or(i64::MIN, |cycle| cycle.ts);
        for record in entities.into_iter().filter_map(|row| row.record(last_cycle_ms)) {
            if let Some(mut earlier) = self.entities.insert(record.id.clone(), record) {
                earlier.offline_at_ms.get_or_insert(earlier.last_seen_ms);
                earlier.state = LifeState::Offline;
                self.past_entities.push_back(earlier);
            }
        }
        for edge in edges.into_iter().map(|row| row.record(last_cycle_ms)) {
            if let Some(mut earlier) = self.edges.insert(edge.key(), edge) {
                earlier.offline_at_ms.get_or_insert(earlier.last_seen_ms);
                self.past_edges.push_back(earlier);
            }
        }
        self.expire(now_ms);
        // Ended lives stand in the order of their end.
        self.past_entities.make_contiguous().sort_by_key(|record| record.offline_at_ms);
        self.past_edges.make_contiguous().sort_by_key(|edge| edge.offline_at_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::{Config, Edge, Entity, Observed};
    use gala_model::entity::entity_type;

    const HOUR_MS: i64 = 3_600_000;

    /// A host and a process on it, both seen at `at_ms`.
    fn seen(at_ms: i64, comm: &str) -> Observed {
        let entity = |kind: &str, id: &str, labels: &[(&str, &str)]| Entity {
            id: id.into(),
            kind: entity_type(kind).unwrap(),
            machine_id: "m".into(),
            labels: labels.iter().map(|(name, value)| (Arc::from(*name), Arc::from(*value))).collect(),
            metrics: BTreeMap::new(),
            last_sample_ms: at_ms,
        };
        let entities = vec![entity("host", "m_host", &[]), entity("proc", "m_proc_1", &[("tgid", "1"), ("comm", comm)])];
        let edges = vec![Edge::direct(Relation::RunsOn, &entities[1].id, &entities[0].id)];
        Observed { at_ms, entities, edges, ..Observed::default() }
    }

    fn restored(unsaved: Unsaved, now_ms: i64) -> History {
        let mut history = History::new(Config::default());
        let Unsaved { entities, edges, cycles } = unsaved;
        let rows = (entities.put.into_values(), edges.put.into_values(), cycles.put.into_values());
        history.restore(rows.0.collect(), rows.1.collect(), rows.2.collect(), now_ms);
        history
    }

    #[test]
    fn only_what_changed_is_written_and_what_could_not_be_is_kept() {
        let mut history = History::new(Config::default());
        history.apply(seen(1_000, "a"));
        let first = history.take_unsaved();
        assert_eq!((first.entities.put.len(), first.edges.put.len(), first.cycles.put.len()), (2, 1, 1));
        history.apply(seen(2_000, "a"));
        let second = history.take_unsaved();
        assert_eq!((second.entities.put.len(), second.edges.put.len(), second.cycles.put.len()), (0, 0, 1));
        history.apply(seen(3_000, "b"));
        history.give_back(second);
        let third = history.take_unsaved();
        assert_eq!((third.entities.put.len(), third.edges.put.len(), third.cycles.put.len()), (1, 0, 2));
    }

    #[test]
    fn a_pause_of_the_hub_is_nobodys_end() {
        let mut history = History::new(Config::default());
        history.apply(seen(1_000, "a"));
        history.apply(seen(11_000, "a"));
        let now_ms = 11_000 + HOUR_MS;
        let mut history = restored(history.take_unsaved(), now_ms);
        // Just started, the agent has not reported yet.
        history.apply(Observed { at_ms: now_ms, ..Observed::default() });
        history.apply(seen(now_ms + 10_000, "a"));
        let snapshot = history.at(now_ms + 10_000);
        assert_eq!(snapshot.entities["m_proc_1"].first_seen_ms, 1_000);
        assert!(snapshot.offline_edges.is_empty());
        assert_eq!(history.changes(2_000, now_ms + 10_000).len(), 0);
    }

    #[test]
    fn silence_is_an_end_once_as_many_looks_confirm_it_as_are_asked_for() {
        let mut history = History::new(Config { offline_confirm: 2, ..Config::default() });
        history.apply(seen(0, "a"));
        let mut look = |at_ms| {
            let host = seen(at_ms, "a").entities.into_iter().take(1).collect();
            history.apply(Observed { at_ms, entities: host, ..Observed::default() });
            history.at(at_ms).entities["m_proc_1"].state
        };
        assert_eq!((look(60_000), look(120_000)), (LifeState::Suspect, LifeState::Offline));
    }

    #[test]
    fn ended_lives_hold_no_numbers() {
        let mut history = History::new(Config::default());
        let busy = |at_ms: i64| {
            let mut observed = seen(at_ms, "a");
            observed.entities[1].metrics.insert("cpu_util".to_owned(), 3.0);
            observed
        };
        let numbers = |history: &History, at_ms| history.at(at_ms).entities["m_proc_1"].metrics.len();
        history.apply(busy(1_000));
        assert_eq!(numbers(&history, 1_000), 1);
        history.exited("m", "1", 1_500);
        assert_eq!(numbers(&history, 2_000), 0);
        let mut history = History::new(Config::default());
        history.apply(busy(1_000));
        let mut at_ms = 1_000;
        while history.at(at_ms).entities["m_proc_1"].state != LifeState::Offline {
            at_ms += 60_000;
            let mut without = busy(at_ms);
            without.entities.truncate(1);
            history.apply(without);
        }
        assert_eq!(numbers(&history, at_ms), 0);
    }

    #[test]
    fn labels_are_told_as_they_were() {
        let mut history = History::new(Config::default());
        history.apply(seen(1_000, "a"));
        history.apply(seen(2_000, "b"));
        history.apply(seen(3_000, "c"));
        let history = restored(history.take_unsaved(), 4_000);
        let comm = |at_ms| history.at(at_ms).entities["m_proc_1"].labels["comm"].to_string();
        assert_eq!([1_500, 2_500, 3_500].map(comm), ["a", "b", "c"]);
    }
}
