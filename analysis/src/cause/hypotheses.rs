//! Whom to blame: what the flow left at each node, by entity and kind of fault.

use std::collections::BTreeMap;

use gala_model::entity::{entity_type, id};

use super::answer::Answer;
use super::evidence::Judged;
use super::search::Node;

/// Share of the symptom below which a node is no hypothesis.
const LEAST_IMPACT: f64 = 0.02;
/// Share of a block request's rise that lies inside the device when the hardware is to blame.
const DEVICE_SHARE: f64 = 0.7;

/// An entity to blame, for one kind of fault: that of the node which weighs most.
#[derive(Clone, Debug)]
pub(super) struct Hypothesis {
    pub entity_id: String,
    pub entity_type: String,
    pub labels: BTreeMap<String, String>,
    pub category: String,
    /// Nodes with what each keeps, largest first.
    pub nodes: Vec<(usize, f64)>,
    pub impact: f64,
    pub probability: f64,
}

/// All there is to blame, what explains most first.
pub(super) fn hypotheses(answer: &Answer<'_>) -> Vec<Hypothesis> {
    let hardware = hardware_devices(answer);
    let mut by_key: BTreeMap<(String, String), Hypothesis> = BTreeMap::new();
    for (at, node) in answer.found.nodes.iter().enumerate() {
        let (mut category, own_weight) = kind_of_fault(answer, node);
        let impact = node.own * own_weight;
        if category.is_empty() || impact < LEAST_IMPACT {
            continue;
        }
        let Some(judged) = &node.judged else { continue };
        let (entity_id, entity_type, labels) = blamed(answer, node, judged);
        let device = ["disk_name", "blk_name"].iter().find_map(|label| labels.get(*label)).cloned();
        if let Some(device) = &device
            && category == "S3"
            && hardware.contains(device)
        {
            category = "H1".to_owned();
        }
        // A disk and the block device it is are one thing to blame; so are the processes of one program beside the service,
        // and the two ends of a connection.
        let (key, all_it_does) = match (entity_type.as_str(), device, labels.get("comm")) {
            ("proc", _, Some(comm)) if labels.get("tgid").is_some_and(|tgid| tgid != answer.tgid) => {
                (format!("program {comm}"), true)
            }
            ("host", ..) if judged.program().is_some() => (format!("program {}", judged.program().unwrap_or("")), true),
            ("tcp_link", ..) => (link(&labels).unwrap_or_else(|| entity_id.clone()), false),
            ("proc", ..) | (_, None, _) => (entity_id.clone(), false),
            (_, Some(device), _) => (format!("device {device}"), false),
        };
        // A neighbour that takes both the processor and the disk is one neighbour.
        let kind = if all_it_does { String::new() } else { category.clone() };
        let hypothesis = by_key.entry((key, kind)).or_insert_with(|| Hypothesis {
            entity_id: entity_id.clone(),
            entity_type: entity_type.clone(),
            labels: labels.clone(),
            category: category.clone(),
            nodes: Vec::new(),
            impact: 0.0,
            probability: 0.0,
        });
        if hypothesis.nodes.first().is_none_or(|(_, largest)| impact > *largest) {
            (hypothesis.entity_id, hypothesis.entity_type, hypothesis.labels) = (entity_id, entity_type, labels);
            hypothesis.category = category;
        }
        hypothesis.nodes.push((at, impact));
        hypothesis.nodes.sort_by(|left, right| right.1.total_cmp(&left.1).then(left.0.cmp(&right.0)));
        hypothesis.impact += impact;
    }
    // No cause explains more than all of the symptom, however many processes of it were counted.
    by_key.values_mut().for_each(|one| one.impact = one.impact.min(1.0));
    let mut all: Vec<Hypothesis> = by_key.into_values().collect();
    all.sort_by(|left, right| right.impact.total_cmp(&left.impact).then_with(|| left.entity_id.cmp(&right.entity_id)));
    all
}

/// Category of a node that is to blame, and how much of what nothing else explains it is blamed for.
fn kind_of_fault(answer: &Answer<'_>, node: &Node) -> (String, f64) {
    let class = &answer.rules.classes[node.class];
    if let Some(category) = &node.category {
        return (category.clone(), class.own_weight);
    }
    let metric = node.judged.as_ref().map(|judged| &class.metrics[judged.best().metric]);
    if let Some((metric, category)) = metric.and_then(|metric| Some((metric, metric.category.as_ref()?))) {
        return (category.clone(), metric.own_weight);
    }
    let instead = class.while_usual.as_ref().filter(|instead| is_usual(answer, node, &instead.class));
    (instead.map_or(&class.category, |instead| &instead.category).clone(), class.own_weight)
}

/// Whether a class of the node's process is measured and in its range.
fn is_usual(answer: &Answer<'_>, node: &Node, class: &str) -> bool {
    let Some(class) = answer.rules.class(class) else { return false };
    let own = |judged: &Judged| judged.labels.get("tgid").is_some_and(|tgid| *tgid == node.tgid);
    let usual = answer.found.normal.iter().any(|normal| normal.class == class && own(&normal.judged));
    usual && !answer.found.nodes.iter().any(|other| other.class == class && other.judged.as_ref().is_some_and(own))
}

/// "client > server:port", the same at both ends of a connection.
fn link(labels: &BTreeMap<String, String>) -> Option<String> {
    Some(format!("link {} > {}:{}", labels.get("client_ip")?, labels.get("server_ip")?, labels.get("server_port")?))
}

/// Devices whose rise lies inside the device while nobody asks more of them.
fn hardware_devices(answer: &Answer<'_>) -> Vec<String> {
    let Some(device) = answer.rules.class("block.device") else { return Vec::new() };
    answer
        .found
        .edges
        .iter()
        .filter(|edge| answer.found.nodes[edge.cause].class == device)
        .filter_map(|edge| {
            let inside = answer.found.nodes[edge.cause].judged.as_ref()?;
            let whole = answer.found.nodes[edge.effect].judged.as_ref()?;
            // Of requests both; how long a sync of a file takes is made of several.
            let requests = whole.observations.iter().find(|seen| seen.metric_id.contains("latency_req")).unwrap_or(whole.best());
            let share = inside.best().deviation / requests.deviation;
            (share >= DEVICE_SHARE).then(|| inside.labels.get("disk_name").or(inside.labels.get("blk_name")).cloned()).flatten()
        })
        .collect()
}

/// What to blame for a node: stages of requests are their process's.
fn blamed(answer: &Answer<'_>, node: &Node, judged: &Judged) -> (String, String, BTreeMap<String, String>) {
    let process = answer.rules.classes[node.class]
        .of_process
        .then(|| {
            let tgid = judged.labels.get("tgid")?;
            id::external(&answer.incident.machine_id, entity_type("proc")?, |key| (key == "tgid").then_some(tgid))
        })
        .flatten();
    match process {
        Some(entity_id) => {
            let labels = judged
                .labels
                .iter()
                .filter(|(name, _)| matches!(name.as_str(), "tgid" | "comm" | "machine_id" | "container_id" | "pod_id"));
            (entity_id, "proc".to_owned(), labels.map(|(name, value)| (name.clone(), value.clone())).collect())
        }
        None => (judged.entity_id.clone(), judged.entity_type.to_owned(), judged.labels.clone()),
    }
}
