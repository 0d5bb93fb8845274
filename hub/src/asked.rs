//! Explanations on demand: somebody names an entity, one of its metrics and a time, and gets what an incident there would
//! have got. It is kept like an incident that is over, and alarms nobody.

use std::collections::VecDeque;

use gala_analysis::incident::{Class, Incident, Scope, Source, State, Symptom, summary};
use gala_analysis::topology::history::EntityRecord;
use gala_model::{Bad, FieldDef, Severity};
use serde::{Deserialize, Serialize};

use crate::api::entities::selecting_labels;
use crate::documents::{Change, DocumentError, Documents, Shelf};

/// Kept at most; the oldest go first.
const MAX_KEPT: usize = 200;
/// Asked for and not answered yet, at most.
pub const MAX_WAITING: usize = 8;
/// An explanation looks so far beyond the time it is asked for.
const CONTEXT_MS: i64 = 180_000;

/// One question.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Asked {
    pub asked_ms: i64,
    pub incident: Incident,
    /// Whether the explanation saw all it may see.
    #[serde(default)]
    pub is_done: bool,
}

/// What was asked, newest last.
#[derive(Debug, Default)]
pub struct AskedBook {
    cases: VecDeque<Asked>,
}

/// What a metric was like before and at the time in question, in its unit.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    pub low: f64,
    pub before: f64,
    pub high: f64,
    pub at: f64,
}

impl Asked {
    /// The end of what the explanation looks at.
    pub fn until_ms(&self, now_ms: i64) -> i64 {
        now_ms.min(self.incident.opened_ms + CONTEXT_MS)
    }

    pub fn sees_all(&self, now_ms: i64) -> bool {
        now_ms >= self.incident.opened_ms + CONTEXT_MS
    }

    fn key(&self) -> String {
        format!("{:013}/{}", self.asked_ms, self.incident.id)
    }
}

impl AskedBook {
    pub fn load(documents: &Documents) -> Self {
        Self { cases: documents.all(Shelf::Asked).into_iter().map(|(_, asked)| asked).collect() }
    }

    pub fn incidents(&self) -> impl Iterator<Item = &Incident> {
        self.cases.iter().map(|asked| &asked.incident)
    }

    pub fn incident(&self, id: &str) -> Option<&Incident> {
        self.incidents().find(|incident| incident.id == id)
    }

    /// Not yet seen to their end.
    pub fn open(&self) -> Vec<Asked> {
        self.cases.iter().filter(|asked| !asked.is_done).cloned().collect()
    }

    /// Takes a question and answers what is to be written of it, without anybody waiting for the book meanwhile; `None` where
    /// too many wait for their answer.
    pub fn admit(&mut self, asked: &Asked) -> Option<Result<Vec<Change>, DocumentError>> {
        if self.cases.iter().filter(|asked| !asked.is_done).count() >= MAX_WAITING {
            return None;
        }
        let put = match Change::put(Shelf::Asked, asked.key(), asked) {
            Ok(put) => put,
            Err(error) => return Some(Err(error)),
        };
        let surplus = (self.cases.len() + 1).saturating_sub(MAX_KEPT);
        let gone = self.cases.drain(..surplus).map(|old| Change::remove(Shelf::Asked, old.key()));
        let changes = std::iter::once(put).chain(gone).collect();
        self.cases.push_back(asked.clone());
        Some(Ok(changes))
    }

    /// Takes back a question that could not be written.
    pub fn withdraw(&mut self, id: &str) {
        self.cases.retain(|asked| asked.incident.id != id);
    }

    /// Notes what an explanation found of the beginning, and whether it was the last one; answers what is to be written.
    pub fn explained(&mut self, id: &str, onset_ms: i64, is_done: bool) -> Option<Result<Change, DocumentError>> {
        let asked = self.cases.iter_mut().find(|asked| asked.incident.id == id)?;
        asked.is_done = is_done;
        asked.incident.onset_ms = onset_ms;
        asked.incident.updated_ms = gala_store::now_ms();
        Some(Change::put(Shelf::Asked, asked.key(), asked))
    }
}

/// The incident that would have been, of one symptom.
pub fn incident(record: &EntityRecord, field: &FieldDef, class: Class, at_ms: i64, reading: Reading) -> Incident {
    let labels = selecting_labels(record).iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let symptom = Symptom {
        kpi: field.series.base.to_owned(),
        class,
        entity_id: record.id.to_string(),
        entity_type: record.kind.name.to_owned(),
        entity_name: record.name.clone(),
        machine_id: record.machine_id.to_string(),
        process_id: None,
        metric: field.series.base.to_owned(),
        unit: field.unit.to_owned(),
        help: field.help.to_owned(),
        labels,
        lead_labels: record.labels.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
        source: Source::Number { name: field.series.base.to_owned() },
        falls: field.bad == Bad::Down,
        onset_ms: at_ms,
        opened_ms: at_ms,
        last_bad_ms: at_ms,
        closed_ms: Some(at_ms),
        low: reading.low,
        before: reading.before,
        high: reading.high,
        peak: reading.at,
        now: reading.at,
        score: 0.0,
        severity: Severity::Info,
    };
    Incident {
        id: uuid::Uuid::now_v7().to_string(),
        event_id: format!("{at_ms}_{}", record.id),
        state: State::Closed,
        class,
        opened_ms: at_ms,
        onset_ms: at_ms,
        updated_ms: at_ms,
        closed_ms: Some(at_ms),
        end: None,
        severity: Severity::Info,
        scope: Scope::SingleNode,
        machine_id: symptom.machine_id.clone(),
        entity_id: symptom.entity_id.clone(),
        entity_type: symptom.entity_type.clone(),
        entity_name: symptom.entity_name.clone(),
        metric: symptom.metric.clone(),
        summary: summary(&symptom),
        score: 0.0,
        symptoms: vec![symptom],
        related: Vec::new(),
    }
}
