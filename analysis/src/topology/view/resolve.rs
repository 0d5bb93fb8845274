//! Ids as others write them: what they mean here.

use std::sync::Arc;

use serde::Serialize;

use crate::topology::history::{EntityRecord, Snapshot};

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
