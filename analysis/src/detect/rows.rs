//! Rows for people: what is abnormal now, KPI or evidence.

use gala_model::Severity;
use serde::Serialize;

use super::EntityGraph;
use super::evidence::Direction;
use super::live::Detector;
use super::policy::Class;
use super::route;
use crate::incident::rarity;

/// One abnormal number.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AnomalyRow {
    pub entity_id: String,
    pub entity_type: String,
    pub entity_name: String,
    pub machine_id: String,
    pub metric: String,
    pub unit: &'static str,
    /// Whether it opens incidents or is evidence.
    pub kpi: bool,
    /// Whether users feel it.
    pub class: Class,
    pub severity: Severity,
    pub incident_id: Option<String>,
    pub onset_ms: i64,
    pub last_ms: i64,
    pub value: f64,
    pub low: f64,
    pub high: f64,
    /// 0 to 1.
    pub score: f64,
    pub direction: Direction,
    /// `open` while it lasts.
    pub state: &'static str,
}

impl Detector {
    /// What is abnormal now, strongest first, at most `limit` rows.
    pub fn anomalies(&self, limit: usize, graph: &dyn EntityGraph) -> Vec<AnomalyRow> {
        let mut rows: Vec<AnomalyRow> = self.kpi_rows(graph).collect();
        rows.extend(self.evidence_rows(graph));
        let order = |row: &AnomalyRow| (row.kpi, row.score);
        rows.sort_by(|left, right| {
            let ((left_kpi, left_score), (right_kpi, right_score)) = (order(left), order(right));
            let by_rank =
                right_kpi.cmp(&left_kpi).then(right_score.total_cmp(&left_score)).then(left.onset_ms.cmp(&right.onset_ms));
            by_rank.then_with(|| (&left.entity_id, &left.metric).cmp(&(&right.entity_id, &right.metric)))
        });
        rows.truncate(limit);
        rows
    }

    fn kpi_rows<'a>(&'a self, graph: &'a dyn EntityGraph) -> impl Iterator<Item = AnomalyRow> + 'a {
        self.kpis.values().filter_map(move |entry| {
            let trouble = entry.kpi.state.trouble?;
            let symptom = route::symptom(entry, &trouble, graph)?;
            let holds = |symptoms: &[crate::incident::Symptom]| symptoms.iter().any(|known| known.kpi == symptom.kpi);
            let incident = self.book.open().iter().find(|incident| holds(&incident.symptoms));
            Some(AnomalyRow {
                incident_id: incident.map(|incident| incident.id.clone()),
                entity_id: symptom.entity_id,
                entity_type: symptom.entity_type,
                entity_name: symptom.entity_name,
                machine_id: symptom.machine_id,
                metric: symptom.metric,
                unit: route::unit(&entry.role),
                kpi: true,
                class: symptom.class,
                severity: symptom.severity,
                onset_ms: symptom.onset_ms,
                last_ms: entry.kpi.state.last_ms,
                value: symptom.now,
                low: symptom.low,
                high: symptom.high,
                score: symptom.score,
                direction: if symptom.falls { Direction::Down } else { Direction::Up },
                state: "open",
            })
        })
    }

    fn evidence_rows<'a>(&'a self, graph: &'a dyn EntityGraph) -> impl Iterator<Item = AnomalyRow> + 'a {
        self.series.iter().filter_map(move |series| {
            let departure = series.evidence.as_ref()?.departure()?;
            let meaning = series.meaning.as_ref()?;
            let entity_id = route::entity_id(&series.labels, meaning.entity);
            Some(AnomalyRow {
                entity_type: meaning.entity.name.to_owned(),
                entity_name: route::entity_name(&series.labels, meaning.entity, &entity_id, graph),
                machine_id: series.labels.get("machine_id").unwrap_or("").to_owned(),
                metric: series.labels.metric().to_owned(),
                unit: meaning.field.unit,
                kpi: false,
                class: Class::Sys,
                severity: Severity::Info,
                incident_id: self.incident_of(&entity_id),
                entity_id,
                onset_ms: departure.onset_ms,
                last_ms: series.last_ms,
                value: series.value,
                low: departure.low,
                high: departure.high,
                score: rarity(departure.excess),
                direction: departure.direction,
                state: "open",
            })
        })
    }

    fn incident_of(&self, entity_id: &str) -> Option<String> {
        let named = |incident: &&crate::incident::Incident| incident.related.iter().any(|related| related.entity_id == entity_id);
        self.book.open().iter().find(named).map(|incident| incident.id.clone())
    }
}
