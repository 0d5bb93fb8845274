//! What is and was abnormal: one event per entity and metric from its first sight until it is usual again, kept over
//! restarts for as long as the samples.

use std::collections::{BTreeMap, HashMap, HashSet};

use gala_analysis::detect::AnomalyRow;
use gala_analysis::topology::Snapshot;
use gala_analysis::topology::view::Badges;
use gala_model::Severity;
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::documents::{Change, DocumentError, Documents, Shelf};
use crate::words;

/// Events kept that are over; the oldest go first.
const MAX_ENDED: usize = 10_000;
/// Open ones at most, the strongest.
pub const MAX_OPEN: usize = 5_000;
const RETENTION_MS: i64 = 7 * 86_400_000;

/// Row of `GET /anomalies`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    pub event_id: String,
    pub event_ids: Vec<String>,
    pub time_ms: i64,
    pub first_ms: i64,
    pub count: usize,
    /// `app` is what users feel, `sys` is of the system under them.
    pub kind: String,
    pub entity_id: String,
    pub entity_name: String,
    pub entity_type: String,
    pub host_name: String,
    pub metric_id: String,
    pub severity: Severity,
    /// `open`, `close`.
    pub state: String,
    pub desc: Value,
    pub score: Option<f64>,
    pub value: Option<f64>,
    pub normal: Value,
    pub unit: String,
    pub incident_id: Option<String>,
}

impl Row {
    fn new(row: &AnomalyRow, host_name: &str) -> Self {
        let event_id = format!("{}_{}", row.onset_ms, row.entity_id);
        Self {
            event_ids: vec![event_id.clone()],
            event_id,
            time_ms: row.last_ms,
            first_ms: row.onset_ms,
            count: 1,
            kind: if row.class == gala_analysis::incident::Class::App { "app" } else { "sys" }.to_owned(),
            entity_id: row.entity_id.clone(),
            entity_name: row.entity_name.clone(),
            entity_type: row.entity_type.clone(),
            host_name: host_name.to_owned(),
            metric_id: row.metric.clone(),
            severity: row.severity,
            state: "open".to_owned(),
            desc: json!(words::anomaly(row)),
            score: Some(row.score).filter(|score| score.is_finite()),
            value: Some(row.value).filter(|value| value.is_finite()),
            normal: json!({"lo": row.low, "hi": row.high}),
            unit: row.unit.to_owned(),
            incident_id: row.incident_id.clone(),
        }
    }

    pub fn is_open(&self) -> bool {
        self.state == "open"
    }

    /// The state in which it shows what it is of.
    pub const fn signal_state(&self) -> &'static str {
        signal_state(self.severity)
    }

    /// What is usual, as a sentence.
    pub fn normal_text(&self) -> Value {
        let number = |name: &str| self.normal[name].as_f64().unwrap_or(0.0);
        json!(words::normal(number("lo"), number("hi"), &self.unit))
    }

    /// Takes over what is new of the same event; its id and its beginning stay.
    fn proceed(&mut self, news: Self) {
        let incident_id = news.incident_id.or(self.incident_id.take());
        *self = Self {
            event_id: std::mem::take(&mut self.event_id),
            event_ids: std::mem::take(&mut self.event_ids),
            first_ms: self.first_ms,
            incident_id,
            ..news
        };
    }

    fn key(&self) -> String {
        format!("{:013}/{}/{}", self.first_ms, self.entity_id, self.metric_id)
    }
}

/// How a severity shows, the same wherever it does: what is evidence or hurts is amber, what fails is red.
const fn signal_state(severity: Severity) -> &'static str {
    match severity {
        Severity::Info | Severity::Warn => "warn",
        Severity::Error | Severity::Fatal => "crit",
    }
}

/// Entity and metric.
type Subject = (String, String);

/// All events; one writer, the detection tick.
#[derive(Debug, Default)]
pub struct AnomalyLog {
    open: BTreeMap<Subject, Row>,
    /// By key, so in the order of their beginning.
    ended: BTreeMap<String, Row>,
    unsaved: HashSet<String>,
}

impl AnomalyLog {
    pub fn load(documents: &Documents) -> Self {
        let mut log = Self::default();
        for (key, row) in documents.all::<Row>(Shelf::Anomalies) {
            if row.is_open() {
                log.open.insert((row.entity_id.clone(), row.metric_id.clone()), row);
            } else {
                log.ended.insert(key, row);
            }
        }
        log
    }

    /// Compares with what is abnormal now; returns the events that began or ended.
    pub fn update<'a>(&mut self, rows: &[AnomalyRow], host_name: impl Fn(&str) -> &'a str, now_ms: i64) -> Vec<Row> {
        let mut news = Vec::new();
        let mut current: HashSet<Subject> = HashSet::new();
        for anomaly in rows {
            let row = Row::new(anomaly, host_name(&anomaly.machine_id));
            let subject = (row.entity_id.clone(), row.metric_id.clone());
            if !current.insert(subject.clone()) {
                continue;
            }
            match self.open.get_mut(&subject) {
                Some(known) => known.proceed(row),
                None => {
                    news.push(row.clone());
                    self.begin(row);
                }
            }
        }
        let over: Vec<Subject> = self.open.keys().filter(|subject| !current.contains(*subject)).cloned().collect();
        for subject in over {
            let Some(mut row) = self.open.remove(&subject) else { continue };
            row.state = "close".to_owned();
            self.unsaved.insert(row.key());
            news.push(row.clone());
            self.ended.insert(row.key(), row);
        }
        self.forget(now_ms - RETENTION_MS);
        news
    }

    pub fn begin(&mut self, row: Row) {
        self.unsaved.insert(row.key());
        self.open.insert((row.entity_id.clone(), row.metric_id.clone()), row);
    }

    #[cfg(test)]
    pub fn is_saved(&self) -> bool {
        self.unsaved.is_empty()
    }

    fn forget(&mut self, oldest_ms: i64) {
        let is_surplus = |ended: &BTreeMap<String, Row>| {
            ended.len() > MAX_ENDED || ended.first_key_value().is_some_and(|(_, row)| row.time_ms < oldest_ms)
        };
        while is_surplus(&self.ended) {
            if let Some((key, _)) = self.ended.pop_first() {
                self.unsaved.remove(&key);
            }
        }
    }

    /// Abnormal now.
    pub fn open(&self) -> impl Iterator<Item = &Row> {
        self.open.values()
    }

    /// Those that are over.
    pub fn ended(&self) -> impl Iterator<Item = &Row> {
        self.ended.values()
    }

    /// Open anomaly of an entity's metric.
    pub fn of(&self, entity_id: &str, metric: &str) -> Option<&Row> {
        self.open.get(&(entity_id.to_owned(), metric.to_owned()))
    }

    /// Open at a moment: those open now that had begun, and those that ended later.
    pub fn at(&self, at_ms: i64) -> impl Iterator<Item = &Row> {
        let open = self.open.values().filter(move |row| row.first_ms <= at_ms);
        open.chain(self.ended.values().filter(move |row| (row.first_ms..=row.time_ms).contains(&at_ms)))
    }

    /// Anomalies per entity at a moment. What is more than evidence counts at all its entity is a part of, too: maps show
    /// processes, applications and hosts, and what is wrong with their parts is wrong with them.
    pub fn badges_at(&self, at_ms: i64, snapshot: &Snapshot) -> HashMap<String, Badges> {
        let mut badges: HashMap<String, Badges> = HashMap::new();
        for row in self.at(at_ms) {
            let wholes = if row.severity > Severity::Info { snapshot.wholes(&row.entity_id) } else { Vec::new() };
            for id in std::iter::once(row.entity_id.as_str()).chain(wholes.iter().map(|whole| &*whole.id)) {
                let badge = badges.entry(id.to_owned()).or_default();
                badge.anomalies += 1;
                badge.severity = badge.severity.max(Some(row.severity));
            }
        }
        badges
    }

    /// What changed since the last time and is still kept.
    fn take_changes(&mut self) -> Result<Vec<Change>, DocumentError> {
        let open: HashMap<String, &Row> = self.open.values().map(|row| (row.key(), row)).collect();
        let mut changes = Vec::new();
        for key in &self.unsaved {
            if let Some(row) = open.get(key).copied().or_else(|| self.ended.get(key)) {
                changes.push(Change::put(Shelf::Anomalies, key, row)?);
            }
        }
        self.unsaved.clear();
        Ok(changes)
    }
}

/// Writes what changed, while others read the log; what cannot be written is tried again.
pub fn save(log: &RwLock<AnomalyLog>, documents: &Documents) -> Result<(), DocumentError> {
    let changes = log.write().take_changes()?;
    let written = documents.write(&changes);
    if written.is_err() {
        log.write().unsaved.extend(changes.into_iter().map(Change::into_key));
        return written;
    }
    documents.trim(Shelf::Anomalies, (MAX_ENDED + MAX_OPEN) as u64)
}
