//! What leaves the agent: observations (a row with its owner's labels and a time) and events; one trait for both,
//! served in one process by a channel and apart, of observations so far, by remote write.

use std::sync::Arc;

use crate::event::Event;
use crate::table::TableDef;
use crate::value::Value;

/// The exported labels of a row in export order (upstream's order, `machine_id` last). Shared between periods, so a
/// receiver may key caches by the pointer: equal pointers mean equal labels (not the other way round).
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct LabelSet(pub Vec<(&'static str, Arc<str>)>);

impl LabelSet {
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| *key == name).map(|(_, value)| &**value)
    }
}

/// One row of one table at one time.
#[derive(Clone, Debug)]
pub struct Observation {
    pub table: &'static TableDef,
    pub labels: Arc<LabelSet>,
    /// Milliseconds since 1970, time of measurement.
    pub at_ms: i64,
    /// One per metric field of the table, in its order.
    pub values: Vec<Value>,
}

/// Takes what the agent saw. Must not block for long: a slow sink drops and counts.
pub trait ObservationSink: Send + Sync {
    fn observe(&self, batch: &[Observation]);
    fn event(&self, event: &Event);
}
