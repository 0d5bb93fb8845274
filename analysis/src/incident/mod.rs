//! Incidents: anomalies of KPIs that belong together, from the first deviating sample until everything is usual again.

mod book;
mod words;

use std::collections::BTreeMap;

use gala_model::Severity;
use serde::{Deserialize, Serialize};

pub use book::{Book, BookConfig, Effect};
pub use words::summary;

pub use crate::detect::kpi::End;
pub use crate::detect::policy::Class;

/// A text in the interface's languages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Text {
    pub en: String,
    pub zh: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    SingleNode,
    CrossNode,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Open,
    Closed,
}

/// How a KPI's value comes out of series: matchers are `labels`, exactly equal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Source {
    /// Sum over events by their number, both added over all series that match, from the increase in a report.
    Mean { over: String, under: String },
    /// The value that so many percent of the events stay within, from the buckets added over all series that match.
    Quantile { name: String, percent: u8 },
    /// A share of two counts, likewise.
    Share { over: String, under: String },
    /// The number itself, added over all series that match.
    Number { name: String },
}

/// One abnormal KPI of an incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Symptom {
    /// Stable name of the KPI: metric and the labels that tell it from others.
    pub kpi: String,
    pub class: Class,
    pub entity_id: String,
    pub entity_type: String,
    pub entity_name: String,
    pub machine_id: String,
    /// External id of the process it belongs to, where it belongs to one.
    pub process_id: Option<String>,
    pub metric: String,
    pub unit: String,
    /// One line on the metric.
    pub help: String,
    /// Labels that select the KPI's series.
    pub labels: BTreeMap<String, String>,
    /// All labels of the series that carries most of it.
    pub lead_labels: BTreeMap<String, String>,
    pub source: Source,
    pub falls: bool,
    pub onset_ms: i64,
    pub opened_ms: i64,
    pub last_bad_ms: i64,
    pub closed_ms: Option<i64>,
    /// What is usual.
    pub low: f64,
    pub before: f64,
    pub high: f64,
    /// Worst value so far.
    pub peak: f64,
    /// Newest value.
    pub now: f64,
    /// 0 to 1: how rare such a departure is; see [`rarity`].
    pub score: f64,
    pub severity: Severity,
}

/// An abnormal series near an incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Related {
    pub entity_id: String,
    pub entity_type: String,
    pub metric: String,
    pub onset_ms: i64,
    pub score: f64,
}

/// One incident; the first app symptom is the primary one, else the first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// Stable over updates and restarts.
    pub id: String,
    /// `<opened ms>_<entity id>`, the id of its events.
    pub event_id: String,
    pub state: State,
    pub class: Class,
    pub opened_ms: i64,
    pub onset_ms: i64,
    pub updated_ms: i64,
    pub closed_ms: Option<i64>,
    pub end: Option<End>,
    pub severity: Severity,
    pub scope: Scope,
    pub machine_id: String,
    pub entity_id: String,
    pub entity_type: String,
    pub entity_name: String,
    pub metric: String,
    pub summary: Text,
    pub score: f64,
    pub symptoms: Vec<Symptom>,
    pub related: Vec<Related>,
}

impl Incident {
    pub fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// The symptom the incident is named after.
    pub fn primary(&self) -> &Symptom {
        let app = self.symptoms.iter().find(|symptom| symptom.class == Class::App);
        app.unwrap_or(&self.symptoms[0])
    }
}

/// Rarity of a departure of so many spreads in most of a few samples in a row, between 0 (expected daily) and 1 (once in
/// a million days), for samples every 5 s with exponential tails.
pub fn rarity(excess: f64) -> f64 {
    let expected_a_day = 17_280.0 * (-1.5 * excess).exp();
    (-expected_a_day.clamp(1e-6, 1.0).log10() / 6.0).clamp(0.0, 1.0)
}
