//! From labels to what is judged: which KPIs a series carries, which entity it speaks of, how people call it.

use std::collections::BTreeMap;
use std::sync::Arc;

use gala_model::entity::{self, EntityType, id};
use gala_store::Labels;

use super::EntityGraph;
use super::kpi::{Kpi, Trouble};
use super::meaning::{Input, KpiRole, Shape, comes_and_goes};
use super::policy::{Group, ROUND_TRIP};
use crate::incident::{Source, Symptom, rarity};

/// Keys that tell one connection from another; a KPI is of all connections together.
const PER_CONNECTION: [&str; 4] = ["ins_id", "client_ip", "client_port", "toa_client_ip"];

/// Whether a key tells KPIs of that kind apart.
fn tells_apart(key: &str, group: Group) -> bool {
    match group {
        Group::Peer => key == "client_ip" || !PER_CONNECTION.contains(&key),
        Group::Program => key != "tgid" && !PER_CONNECTION.contains(&key),
        Group::Process | Group::Wire => !PER_CONNECTION.contains(&key),
    }
}

/// A KPI with what it is of.
#[derive(Debug)]
pub struct KpiEntry {
    pub key: Arc<str>,
    pub role: KpiRole,
    pub entity: &'static EntityType,
    /// Labels that select its series.
    pub labels: BTreeMap<String, String>,
    pub source: Source,
    /// When the newest of its samples was taken.
    pub heard_ms: i64,
    pub kpi: Kpi,
}

/// Whether a KPI is the round trip of connections that a program has with the server of another KPI.
pub fn is_connection_of(entry: &KpiEntry, attempts: &KpiEntry) -> bool {
    let same = |name: &&str| entry.labels.get(*name).is_some_and(|value| attempts.labels.get(*name) == Some(value));
    std::ptr::eq(entry.role.policy, &ROUND_TRIP)
        && entry.kpi.state.samples > 0
        && ["machine_id", "comm", "server_ip", "server_port"].iter().all(same)
}

/// Key and selecting labels of the KPI that a series carries in a role.
pub fn group(labels: &Labels, entity: &EntityType, role: &KpiRole) -> Option<(String, BTreeMap<String, String>)> {
    if role.policy.group == Group::Wire && labels.get("dev_name").is_some_and(comes_and_goes) {
        return None;
    }
    let mut selected = BTreeMap::new();
    selected.insert("machine_id".to_owned(), labels.get("machine_id")?.to_owned());
    for key in entity.keys.iter().filter(|key| tells_apart(key, role.policy.group)) {
        if let Some(value) = labels.get(key) {
            selected.insert((*key).to_owned(), value.to_owned());
        }
    }
    let mut text = role.metric.to_owned();
    if let Shape::Quantile(percent) = role.shape {
        text.push_str(&format!(":p{percent}"));
    }
    let head = text.len();
    for (name, value) in &selected {
        text.push_str(if text.len() == head { "{" } else { "," });
        text.push_str(name);
        text.push('=');
        text.push_str(value);
    }
    text.push('}');
    Some((text, selected))
}

/// The series names behind a KPI, as far as this series tells.
pub fn source(role: &KpiRole, name: &str, known: Option<&Source>) -> Source {
    let (mut over, mut under) = match known {
        Some(Source::Mean { over, under } | Source::Share { over, under }) => (over.clone(), under.clone()),
        _ => (String::new(), String::new()),
    };
    match role.input {
        Input::Over => over = name.to_owned(),
        Input::Under => under = sum_of(&under, name),
        Input::Load => {}
    }
    match role.shape {
        Shape::Mean => Source::Mean { over: role.field.series.sum.to_owned(), under: role.field.series.count.to_owned() },
        Shape::Quantile(percent) => Source::Quantile { name: name.to_owned(), percent },
        Shape::Share => Source::Share { over, under },
        Shape::Number => Source::Number { name: role.metric.to_owned() },
    }
}

/// Names that add up, as PromQL writes it.
fn sum_of(known: &str, name: &str) -> String {
    let mut names: Vec<&str> = known.split(" + ").filter(|known| !known.is_empty()).chain([name]).collect();
    names.sort_unstable();
    names.dedup();
    names.join(" + ")
}

/// External id of the entity a series speaks of.
pub fn entity_id(labels: &Labels, entity: &EntityType) -> String {
    let machine_id = labels.get("machine_id").unwrap_or("");
    id::external(machine_id, entity, |key| labels.get(key))
        .unwrap_or_else(|| id::escape(&id::detector_spelling(machine_id, entity, |key| labels.get(key))))
}

/// External id of the process a series belongs to.
pub fn process_id(labels: &Labels) -> Option<String> {
    labels.get("tgid")?;
    id::external(labels.get("machine_id")?, entity::entity_type("proc")?, |key| labels.get(key))
}

/// The topology's name for an entity, else the best its labels offer.
pub fn entity_name(labels: &Labels, entity: &EntityType, entity_id: &str, graph: &dyn EntityGraph) -> String {
    // Which of the kernel's tables counted it says nothing to who reads of an incident.
    if entity.name == "net" {
        return "the network stack".to_owned();
    }
    if let Some(name) = graph.name_of(entity_id) {
        return name;
    }
    let wanted: &[&str] = match entity.name {
        "sli" => &["app", "method", "comm"],
        "l7" | "l7_api" => &["protocol", "api", "comm"],
        "host" => &["hostname"],
        "fs" => &["MountOn"],
        _ => &["comm", "container_name", "disk_name", "dev_name", "blk_name", "cpu"],
    };
    let parts: Vec<&str> = wanted.iter().filter_map(|name| labels.get(name)).collect();
    match (parts.is_empty(), entity.keys.first().and_then(|key| labels.get(key))) {
        (false, _) => parts.join(", "),
        (true, Some(key)) => format!("{} {key}", entity.name),
        (true, None) => entity.name.to_owned(),
    }
}

/// The symptom that a KPI's anomaly is.
pub fn symptom(entry: &KpiEntry, trouble: &Trouble, graph: &dyn EntityGraph) -> Option<Symptom> {
    let lead = entry.kpi.lead.as_ref()?;
    let entity_id = entity_id(lead, entry.entity);
    Some(Symptom {
        kpi: entry.key.to_string(),
        class: entry.role.policy.class,
        entity_name: entity_name(lead, entry.entity, &entity_id, graph),
        entity_id,
        entity_type: entry.entity.name.to_owned(),
        machine_id: lead.get("machine_id").unwrap_or("").to_owned(),
        process_id: process_id(lead),
        metric: entry.role.metric.to_owned(),
        unit: unit(&entry.role).to_owned(),
        help: entry.role.field.help.to_owned(),
        labels: entry.labels.clone(),
        lead_labels: lead
            .iter()
            .filter(|(name, _)| *name != "le")
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        source: entry.source.clone(),
        falls: entry.role.policy.falls,
        onset_ms: trouble.onset_ms,
        opened_ms: trouble.opened_ms,
        last_bad_ms: trouble.last_bad_ms,
        closed_ms: None,
        low: trouble.band.low,
        before: trouble.band.middle,
        high: trouble.band.high,
        peak: trouble.peak,
        now: entry.kpi.state.value,
        score: score(entry, trouble),
        severity: entry.role.policy.severity,
    })
}

/// Rules are certain; the rest is as rare as it is far out.
pub fn score(entry: &KpiEntry, trouble: &Trouble) -> f64 {
    if entry.role.policy.limit.is_some() { 1.0 } else { rarity(trouble.excess) }
}

/// Unit of the KPI's value.
pub fn unit(role: &KpiRole) -> &'static str {
    if role.shape == Shape::Share { "ratio" } else { role.field.unit }
}
