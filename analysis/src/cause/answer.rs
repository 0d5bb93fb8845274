//! From flow to answer: hypotheses of entity and category, their probabilities with "none of these", evidence and path.

use std::collections::{BTreeMap, BTreeSet};

use gala_model::incident::{
    CauseMetric, Considered, Evidence, FaultCategory, FaultDomain, GraphEdge, GraphNode, IncidentInput, PathStep, Resource,
    ResultGraph, Text,
};

use super::evidence::Judged;
use super::explain::{ExplainConfig, HIDDEN_METRIC, shown_labels};
use super::graph::CauseGraph;
use super::hypotheses::{Hypothesis, hypotheses};
use super::rules::{RuleSet, category_name, keyword};
use super::search::{Found, Node};
use super::text;

/// Everything the answer is made of.
pub(super) struct Answer<'a> {
    pub incident: &'a IncidentInput,
    pub graph: &'a dyn CauseGraph,
    pub rules: &'a RuleSet,
    pub config: &'a ExplainConfig,
    pub found: &'a Found,
    pub onset_ms: i64,
    pub doubt: f64,
    pub tgid: &'a str,
}

/// "None of these" weighs as much as a cause that explains so much of the symptom.
const UNKNOWN_IMPACT: f64 = 0.15;
/// So much stays with "none of these" whatever is seen: some causes nothing here measures.
const NEVER_SURE: f64 = 0.03;

pub(super) fn fill(answer: &Answer<'_>, resource: &mut Resource) {
    let mut hypotheses = hypotheses(answer);
    let score = |impact: f64| answer.config.params.flow_weight * impact * answer.doubt;
    // What explains nothing has no weight, however many such there are.
    let weight = |impact: f64| score(impact).exp_m1();
    let unknown = (answer.config.params.flow_weight * UNKNOWN_IMPACT).exp_m1();
    let whole = unknown + hypotheses.iter().map(|one| weight(one.impact)).sum::<f64>();
    for one in &mut hypotheses {
        one.probability = (1.0 - NEVER_SURE) * weight(one.impact) / whole;
    }
    resource.unknown_probability = (1.0 - hypotheses.iter().map(|one| one.probability).sum::<f64>()).clamp(0.0, 1.0);
    let best = hypotheses.first();
    let reported = if best.is_some_and(|best| score(best.impact) >= answer.config.params.answer) {
        hypotheses.iter().take(answer.config.top_k).filter(|one| one.probability >= answer.config.least_probability).count()
    } else {
        0
    };
    resource.cause_metrics = hypotheses[..reported].iter().enumerate().map(|(at, one)| cause(answer, one, at + 1)).collect();
    resource.also_considered = considered(answer, &hypotheses[reported..]);
    let category = category(&hypotheses, reported > 0, resource.unknown_probability);
    // Where "none of these" leads, those that come next are hints.
    let answered = category.code != "unknown";
    resource.fault_category = Some(category);
    resource.fault_domain = (reported > 0).then(|| domain(answer, &hypotheses)).flatten();
    resource.graph = graph(answer);
    let symptom = symptom_text(answer);
    resource.summary = match resource.cause_metrics.first() {
        Some(first) => {
            let (en, zh) = category_name(&first.fault_category);
            let (sure, certain) = certainty(first.probability);
            // The symptom's own process or device: its change is the symptom, so it is not told twice.
            if !answered {
                Text {
                    en: format!(
                        "{}; its cause is not known; a hint: {} ({en}, {sure} sure)",
                        capital(&symptom.en),
                        first.text.en
                    ),
                    zh: format!("{}；根因未知，线索：{}（{zh}，置信度 {certain}）", symptom.zh, first.text.zh),
                }
            } else if hypotheses[0].nodes[0].0 == 0 {
                let name = &first.entity_name;
                Text {
                    en: format!(
                        "{}; nothing measured explains it better, so it is `{name}` itself ({en}, {sure} sure)",
                        capital(&symptom.en)
                    ),
                    zh: format!("{}；没有更好的解释，根因是 `{name}` 自身（{zh}，置信度 {certain}）", symptom.zh),
                }
            } else {
                Text {
                    en: format!("{} ({en}, {sure} sure); with it, {}", first.text.en, symptom.en),
                    zh: format!("{}（{zh}，置信度 {certain}），导致{}", first.text.zh, symptom.zh),
                }
            }
        }
        None => Text {
            en: format!("{}; no cause stands out in what is measured", capital(&symptom.en)),
            zh: format!("{}；在已采集的指标中没有突出的根因", symptom.zh),
        },
    };
    resource.desc_en = resource.summary.en.clone();
    resource.desc = described(&symptom, resource);
}

/// Upstream's sentence: the symptom, then the numbered causes.
fn described(symptom: &Text, resource: &Resource) -> String {
    if resource.cause_metrics.is_empty() {
        return resource.summary.zh.clone();
    }
    let causes: Vec<String> = resource.cause_metrics.iter().map(|cause| format!("{}. {}", cause.rank, cause.text.zh)).collect();
    format!("{}，前 {} 个根因是：{}", symptom.zh, causes.len(), causes.join("；"))
}

/// A probability in whole percents, English and Chinese; never told as certain.
fn certainty(probability: f64) -> (String, String) {
    if probability > 0.99 {
        return ("over 99 %".into(), "高于 99 %".into());
    }
    let percents = format!("{:.0} %", 100.0 * probability);
    (percents.clone(), percents)
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

fn symptom_text(answer: &Answer<'_>) -> Text {
    let root = &answer.found.nodes[0];
    match &root.judged {
        Some(judged) => text::change(answer.rules, root.class, judged, judged.best()),
        None => text::left(answer.rules, root.class, answer.incident),
    }
}

/// The likeliest category over all causes; `unknown` where no cause was reported or the category has too little.
fn category(hypotheses: &[Hypothesis], reported: bool, unknown: f64) -> FaultCategory {
    let mut sums: BTreeMap<&str, f64> = BTreeMap::new();
    for one in hypotheses {
        *sums.entry(&one.category).or_default() += one.probability;
    }
    let best = sums.into_iter().max_by(|left, right| left.1.total_cmp(&right.1).then(right.0.cmp(left.0)));
    match best {
        Some((code, probability)) if reported && probability >= unknown.max(0.4) => {
            FaultCategory { code: code.to_owned(), name: category_name(code).0.to_owned(), probability }
        }
        _ => FaultCategory { code: "unknown".to_owned(), name: "unknown".to_owned(), probability: unknown },
    }
}

fn domain(answer: &Answer<'_>, hypotheses: &[Hypothesis]) -> Option<FaultDomain> {
    let mut levels: BTreeMap<&str, (f64, String)> = BTreeMap::new();
    for one in hypotheses {
        let (level, entity_id) = level(answer, one);
        let entry = levels.entry(level).or_insert((0.0, entity_id));
        entry.0 += one.probability;
    }
    let mut order: Vec<(&str, (f64, String))> = levels.into_iter().collect();
    order.sort_by(|left, right| right.1.0.total_cmp(&left.1.0).then(left.0.cmp(right.0)));
    let (best, (probability, entity_id)) = order.first()?.clone();
    let runner_up = order.get(1).map_or("", |(level, _)| level).to_owned();
    Some(FaultDomain { level: best.to_owned(), entity_id, probability, runner_up })
}

/// Level of a hypothesis and the entity that stands for it.
fn level(answer: &Answer<'_>, one: &Hypothesis) -> (&'static str, String) {
    let machine = &answer.incident.machine_id;
    let host = || format!("{machine}_host");
    let container = one.labels.get("container_id").filter(|id| !id.is_empty());
    match one.entity_type.as_str() {
        "tcp_link" | "nic" => ("network", one.entity_id.clone()),
        _ if one.category == "S4" && one.entity_type == "proc" => ("network", one.entity_id.clone()),
        "proc" | "endpoint_tcp" | "jvm" | "dns" | "sli" => {
            match (one.labels.get("pod_id").filter(|id| !id.is_empty()), container) {
                (Some(pod), _) => ("pod", format!("{machine}_pod_{pod}")),
                (None, Some(container)) => ("container", format!("{machine}_container_{container}")),
                _ => ("process", one.entity_id.clone()),
            }
        }
        "container" | "sli_container" => ("container", one.entity_id.clone()),
        _ => ("machine", host()),
    }
}

/// "stress (4711) +3": the one that weighs most, and how many more of its program.
fn name(answer: &Answer<'_>, one: &Hypothesis) -> String {
    let name = text::entity_name(&one.entity_type, &one.labels, &one.entity_id);
    let judged = one.nodes.iter().filter_map(|(at, _)| answer.found.nodes[*at].judged.as_ref());
    let processes: BTreeSet<&String> = judged.filter_map(|judged| judged.labels.get("tgid")).collect();
    match processes.len() {
        several if several > 1 && one.entity_type == "proc" => format!("{name} +{}", several - 1),
        _ => name,
    }
}

fn cause(answer: &Answer<'_>, one: &Hypothesis, rank: usize) -> CauseMetric {
    let (lead, _) = one.nodes[0];
    let node = &answer.found.nodes[lead];
    let judged = node.judged.as_ref();
    let text = judged.map(|judged| text::change(answer.rules, node.class, judged, judged.best())).unwrap_or_default();
    let mut evidence = Vec::new();
    for (at, _) in &one.nodes {
        let node = &answer.found.nodes[*at];
        let Some(judged) = &node.judged else { continue };
        for seen in judged.observations.iter().filter(|seen| seen.ratio >= 1.0).take(4) {
            evidence.push(Evidence {
                kind: evidence_kind(answer.rules.classes[node.class].metrics[seen.metric].event.as_deref()).to_owned(),
                text: text::change(answer.rules, node.class, judged, seen),
                metric_id: seen.metric_id.clone(),
                entity_id: judged.entity_id.clone(),
                value_before: Some(seen.before),
                value_after: Some(seen.after),
                unit: seen.unit.to_owned(),
                onset: seen.onset_ms,
                surprise: seen.nats,
                event_id: String::new(),
            });
        }
    }
    let host = answer.graph.entity(&format!("{}_host", answer.incident.machine_id));
    CauseMetric {
        rank,
        probability: one.probability,
        impact: one.impact,
        score: one.impact,
        keyword: keyword(&one.entity_type).to_owned(),
        fault_category: one.category.clone(),
        metric_id: judged.map_or_else(|| HIDDEN_METRIC.to_owned(), |judged| judged.best().metric_id.clone()),
        entity_id: one.entity_id.clone(),
        entity_type: one.entity_type.clone(),
        entity_name: name(answer, one),
        machine_id: answer.incident.machine_id.clone(),
        host_name: host.map(|host| host.name).or_else(|| one.labels.get("hostname").cloned()).unwrap_or_default(),
        metric_labels: shown_labels(&one.labels),
        timestamp: judged.and_then(|judged| judged.best().onset_ms).unwrap_or(answer.onset_ms),
        desc: text.zh.clone(),
        text,
        evidence,
        path: path(answer, lead),
    }
}

/// An end is a change, being killed for memory is something the kernel found.
fn evidence_kind(event: Option<&str>) -> &'static str {
    match event {
        None => "metric",
        Some("oom") => "inspection",
        Some(_) => "change",
    }
}

/// Steps from a node along its strongest edges to the symptom.
fn path(answer: &Answer<'_>, from: usize) -> Vec<PathStep> {
    let mut steps = Vec::new();
    let (mut at, mut rule) = (from, String::new());
    loop {
        let node = &answer.found.nodes[at];
        let next = node.next.filter(|_| at != 0).map(|edge| &answer.found.edges[edge]);
        if let Some(edge) = next {
            rule.clone_from(&answer.rules.rules[edge.rule].id);
        } else {
            rule.clear();
        }
        steps.push(step(answer, node, steps.len() + 1, &rule));
        match next {
            Some(edge) if steps.len() < 16 => at = edge.effect,
            _ => break,
        }
    }
    steps
}

fn step(answer: &Answer<'_>, node: &Node, number: usize, rule: &str) -> PathStep {
    let class = &answer.rules.classes[node.class];
    let Some(judged) = &node.judged else {
        return PathStep {
            step: number,
            metric_id: HIDDEN_METRIC.to_owned(),
            entity_type: class.metrics[0].entity.clone(),
            machine_id: answer.incident.machine_id.clone(),
            timestamp: answer.onset_ms,
            text: Text::new(format!("{} (not measured)", class.text[0]), format!("{}（未采集）", class.text[1])),
            desc: format!("{}（未采集）", class.text[1]),
            hidden: true,
            rule: rule.to_owned(),
            ..PathStep::default()
        };
    };
    let best = judged.best();
    let text = text::change(answer.rules, node.class, judged, best);
    PathStep {
        step: number,
        metric_id: best.metric_id.clone(),
        entity_id: judged.entity_id.clone(),
        entity_type: judged.entity_type.to_owned(),
        entity_name: text::entity_name(judged.entity_type, &judged.labels, &judged.entity_id),
        machine_id: answer.incident.machine_id.clone(),
        metric_labels: shown_labels(&judged.labels),
        timestamp: best.onset_ms.unwrap_or(answer.onset_ms),
        desc: text.zh.clone(),
        text,
        score: node.flow,
        onset: best.onset_ms,
        value_before: Some(best.before),
        value_after: Some(best.after),
        unit: best.unit.to_owned(),
        hidden: false,
        rule: rule.to_owned(),
    }
}

/// Why the others are less likely: they explain little, or never left their range.
fn considered(answer: &Answer<'_>, lower: &[Hypothesis]) -> Vec<Considered> {
    const MOST: usize = 12;
    let mut out: Vec<Considered> = lower
        .iter()
        .take(MOST / 2)
        .map(|one| {
            let (lead, _) = one.nodes[0];
            let node = &answer.found.nodes[lead];
            let seen = node.judged.as_ref().map(Judged::best);
            let share = 100.0 * one.impact;
            let late = seen.and_then(|seen| seen.onset_ms).map_or(0, |onset| (onset - answer.onset_ms) / 1000);
            let reason = if late > 30 {
                Text::new(format!("moved {late} s after the symptom"), format!("在症状出现 {late} 秒后才变化"))
            } else {
                Text::new(format!("explains {share:.0} % of the symptom"), format!("只能解释症状的 {share:.0} %"))
            };
            Considered {
                entity_id: one.entity_id.clone(),
                entity_type: one.entity_type.clone(),
                entity_name: name(answer, one),
                fault_category: one.category.clone(),
                metric_id: seen.map(|seen| seen.metric_id.clone()).unwrap_or_default(),
                probability: one.probability,
                impact: one.impact,
                reason,
            }
        })
        .collect();
    let mut known: Vec<usize> = Vec::new();
    for normal in &answer.found.normal {
        let own = normal.judged.labels.get("tgid").is_none_or(|tgid| tgid == answer.tgid);
        let category = &answer.rules.classes[normal.class].category;
        if !own || category.is_empty() || known.contains(&normal.class) || out.len() >= MOST {
            continue;
        }
        known.push(normal.class);
        out.push(Considered {
            entity_id: normal.judged.entity_id.clone(),
            entity_type: normal.judged.entity_type.to_owned(),
            entity_name: text::entity_name(normal.judged.entity_type, &normal.judged.labels, &normal.judged.entity_id),
            fault_category: category.clone(),
            metric_id: normal.judged.best().metric_id.clone(),
            probability: 0.0,
            impact: 0.0,
            reason: text::stayed(answer.rules, normal.class, &normal.judged),
        });
    }
    out
}

/// The part of the causal graph through which the symptom flows.
fn graph(answer: &Answer<'_>) -> ResultGraph {
    let shown: Vec<usize> = (0..answer.found.nodes.len()).filter(|at| *at == 0 || answer.found.nodes[*at].flow >= 0.01).collect();
    let place = |at: usize| shown.iter().position(|one| *one == at);
    let nodes = shown
        .iter()
        .map(|at| {
            let node = &answer.found.nodes[*at];
            let class = &answer.rules.classes[node.class];
            match &node.judged {
                Some(judged) => GraphNode {
                    entity_id: judged.entity_id.clone(),
                    entity_type: judged.entity_type.to_owned(),
                    metric_id: judged.best().metric_id.clone(),
                    score: node.flow,
                    onset: judged.best().onset_ms,
                    state: if judged.is_abnormal() { "abnormal" } else { "normal" }.to_owned(),
                },
                None => GraphNode {
                    entity_type: class.metrics[0].entity.clone(),
                    metric_id: HIDDEN_METRIC.to_owned(),
                    score: node.flow,
                    state: "hidden".to_owned(),
                    ..GraphNode::default()
                },
            }
        })
        .collect();
    let edges = answer
        .found
        .edges
        .iter()
        .filter(|edge| edge.weight > 0.0)
        .filter_map(|edge| {
            Some(GraphEdge {
                from: place(edge.cause)?,
                to: place(edge.effect)?,
                rule: answer.rules.rules[edge.rule].id.clone(),
                kind: if answer.found.nodes[edge.cause].judged.is_some() { "causal" } else { "hidden" }.to_owned(),
                weight: edge.weight,
            })
        })
        .collect();
    ResultGraph { nodes, edges }
}
