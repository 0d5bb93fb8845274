//! What root cause asks of the topology: entities by id and their relations. Everything else comes from series labels.

use std::collections::BTreeMap;

use crate::topology::{Relation, Snapshot};

/// An entity as the causal search sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GraphEntity {
    pub id: String,
    pub kind: String,
    pub machine_id: String,
    /// For people.
    pub name: String,
    /// Labels its series carry, keys among them.
    pub labels: BTreeMap<String, String>,
    /// When it was seen to end, milliseconds since 1970.
    pub ended_ms: Option<i64>,
}

/// The observed topology at one time.
pub trait CauseGraph {
    /// Time of the state, milliseconds since 1970.
    fn at_ms(&self) -> i64;
    fn entity(&self, id: &str) -> Option<GraphEntity>;
    /// Ends of relations that leave (`outgoing`) or reach `id`, ordered by id.
    fn related(&self, id: &str, relation: Relation, outgoing: bool) -> Vec<GraphEntity>;
}

impl CauseGraph for Snapshot {
    fn at_ms(&self) -> i64 {
        self.at_ms
    }

    fn entity(&self, id: &str) -> Option<GraphEntity> {
        self.entities.get(id).map(|entity| GraphEntity {
            id: entity.id.to_string(),
            kind: entity.kind.name.to_owned(),
            machine_id: entity.machine_id.to_string(),
            name: entity.name.clone(),
            labels: entity.labels.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
            ended_ms: entity.offline_at_ms,
        })
    }

    fn related(&self, id: &str, relation: Relation, outgoing: bool) -> Vec<GraphEntity> {
        let relations = [relation];
        let mut ends: Vec<String> = if outgoing {
            self.out(id, &relations).map(|(_, edge)| edge.to.to_string()).collect()
        } else {
            self.into(id, &relations).map(|(_, edge)| edge.from.to_string()).collect()
        };
        ends.sort();
        ends.dedup();
        ends.iter().filter_map(|end| CauseGraph::entity(self, end)).collect()
    }
}
