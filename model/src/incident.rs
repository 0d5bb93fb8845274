//! Incidents and their explanation: what was felt, and the root-cause result as it is stored, sent and shown.
//!
//! Member names are a contract: the envelope (`Timestamp`, `Resource`, ...) is upstream's, what it lacks is added beside it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A sentence in both languages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Text {
    pub en: String,
    pub zh: String,
}

impl Text {
    pub fn new(en: impl Into<String>, zh: impl Into<String>) -> Self {
        Self { en: en.into(), zh: zh.into() }
    }
}

/// What the detector hands over for explanation: one symptom of one entity.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct IncidentInput {
    /// `<start ms>_<entity_id>`; results join to anomalies by it.
    pub event_id: String,
    /// When the detector noticed, milliseconds since 1970.
    pub at_ms: i64,
    /// Its estimate of the start; `None` lets the explanation estimate it.
    pub onset_ms: Option<i64>,
    pub entity_id: String,
    pub entity_type: String,
    /// As the series carry it.
    pub machine_id: String,
    /// Metric of the symptom, `gala_gopher_<entity>_<field>`.
    pub metric_id: String,
    /// Labels of the symptom's entity: its keys at least.
    pub labels: BTreeMap<String, String>,
    /// The detector's score, 0 to 1.
    pub score: f64,
}

/// How far the explanation is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    #[default]
    Detected,
    Domain,
    Cause,
    Final,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    #[default]
    SingleNode,
    CrossNode,
}

/// Where the fault sits.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FaultDomain {
    /// process, container, pod, vm, machine, network or external.
    pub level: String,
    pub entity_id: String,
    pub probability: f64,
    /// Second most likely level, empty if there is none.
    pub runner_up: String,
}

/// What kind of fault it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FaultCategory {
    /// S1 to S6, H1 to H3 or `unknown`.
    pub code: String,
    pub name: String,
    pub probability: f64,
}

/// The symptom as it is shown.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AbnormalKpi {
    pub metric_id: String,
    pub entity_id: String,
    pub timestamp: i64,
    pub metric_labels: BTreeMap<String, String>,
    pub desc: String,
    pub value_before: Option<f64>,
    pub value_after: Option<f64>,
    pub unit: String,
}

/// One observation that speaks for a cause.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// metric, inspection, hardware or change.
    pub kind: String,
    pub text: Text,
    pub metric_id: String,
    pub entity_id: String,
    pub value_before: Option<f64>,
    pub value_after: Option<f64>,
    pub unit: String,
    pub onset: Option<i64>,
    /// Nats against the series' own range.
    pub surprise: f64,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub event_id: String,
}

/// One step from the cause to the symptom, the symptom included.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PathStep {
    /// 1 is the cause.
    pub step: usize,
    /// `virtual_metric` where nothing measures the step.
    pub metric_id: String,
    pub entity_id: String,
    pub entity_type: String,
    pub entity_name: String,
    pub machine_id: String,
    pub metric_labels: BTreeMap<String, String>,
    pub timestamp: i64,
    pub desc: String,
    pub text: Text,
    /// Share of the symptom that flows through the step; 0 for a hidden one.
    pub score: f64,
    pub onset: Option<i64>,
    pub value_before: Option<f64>,
    pub value_after: Option<f64>,
    pub unit: String,
    pub hidden: bool,
    /// Rule that leads from this step to the next; empty for the symptom.
    pub rule: String,
}

/// One cause, best first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CauseMetric {
    pub rank: usize,
    pub probability: f64,
    /// Share of the symptom's deviation it explains.
    pub impact: f64,
    pub score: f64,
    pub keyword: String,
    pub fault_category: String,
    pub metric_id: String,
    pub entity_id: String,
    pub entity_type: String,
    pub entity_name: String,
    pub machine_id: String,
    pub host_name: String,
    pub metric_labels: BTreeMap<String, String>,
    pub timestamp: i64,
    pub desc: String,
    pub text: Text,
    pub evidence: Vec<Evidence>,
    pub path: Vec<PathStep>,
}

/// A cause that was looked at and ranks lower, with the reason.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Considered {
    pub entity_id: String,
    pub entity_type: String,
    pub entity_name: String,
    pub fault_category: String,
    pub metric_id: String,
    pub probability: f64,
    pub impact: f64,
    pub reason: Text,
}

/// A node of the pruned causal graph.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GraphNode {
    pub entity_id: String,
    pub entity_type: String,
    pub metric_id: String,
    pub score: f64,
    pub onset: Option<i64>,
    /// abnormal, normal or hidden.
    pub state: String,
}

/// An edge of the pruned causal graph; ends are indices into the nodes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GraphEdge {
    pub from: usize,
    pub to: usize,
    pub rule: String,
    /// causal, hidden or cross_node.
    pub kind: String,
    pub weight: f64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ResultGraph {
    pub nodes: Vec<GraphNode>,
    pub edges: Vec<GraphEdge>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Attributes {
    pub event_id: String,
    pub event_source: String,
}

/// The explanation proper.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Resource {
    pub result_version: u32,
    pub stage: Stage,
    pub scope: Scope,
    pub onset: i64,
    pub abnormal_kpi: AbnormalKpi,
    pub fault_domain: Option<FaultDomain>,
    pub fault_category: Option<FaultCategory>,
    pub cause_metrics: Vec<CauseMetric>,
    pub also_considered: Vec<Considered>,
    pub unknown_probability: f64,
    pub limits: Vec<String>,
    pub graph: ResultGraph,
    pub summary: Text,
    pub desc: String,
    pub desc_en: String,
    /// Milliseconds per stage, filled by whoever runs the stages.
    pub timing: BTreeMap<String, u64>,
    /// Digest of everything the answer rests on; equal digests mean equal answers.
    pub inputs_digest: String,
    pub rules_version: u32,
}

/// A root-cause result.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RootCause {
    #[serde(rename = "Timestamp")]
    pub timestamp: i64,
    pub event_id: String,
    #[serde(rename = "Attributes")]
    pub attributes: Attributes,
    #[serde(rename = "Resource")]
    pub resource: Resource,
    pub keywords: Vec<String>,
    #[serde(rename = "SeverityText")]
    pub severity_text: String,
    #[serde(rename = "SeverityNumber")]
    pub severity_number: u8,
    #[serde(rename = "Body")]
    pub body: String,
}

impl RootCause {
    /// The result before anything is known but the symptom.
    pub fn detected(incident: &IncidentInput) -> Self {
        Self {
            timestamp: incident.at_ms,
            event_id: incident.event_id.clone(),
            attributes: Attributes { event_id: incident.event_id.clone(), event_source: "root-cause".to_owned() },
            resource: Resource {
                result_version: 1,
                stage: Stage::Detected,
                onset: incident.onset_ms.unwrap_or(incident.at_ms),
                abnormal_kpi: AbnormalKpi {
                    metric_id: incident.metric_id.clone(),
                    entity_id: incident.entity_id.clone(),
                    timestamp: incident.at_ms,
                    metric_labels: incident.labels.clone(),
                    ..AbnormalKpi::default()
                },
                unknown_probability: 1.0,
                ..Resource::default()
            },
            keywords: Vec::new(),
            severity_text: "WARN".to_owned(),
            severity_number: 13,
            body: "A cause inferring event for an abnormal event".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_envelope_keeps_the_names_consumers_know() {
        let incident = IncidentInput { event_id: "7_m_sli_1".into(), at_ms: 7, ..IncidentInput::default() };
        let json = serde_json::to_value(RootCause::detected(&incident)).unwrap();
        assert_eq!(json["Timestamp"], 7);
        assert_eq!(json["Attributes"]["event_id"], json["event_id"]);
        assert_eq!(json["Resource"]["stage"], "detected");
        assert_eq!(json["Resource"]["scope"], "single_node");
        assert!(json["Resource"]["cause_metrics"].as_array().unwrap().is_empty());
        assert!(json["Resource"]["fault_category"].is_null());
        assert_eq!((json["SeverityText"].as_str(), json["SeverityNumber"].as_u64()), (Some("WARN"), Some(13)));
    }
}
