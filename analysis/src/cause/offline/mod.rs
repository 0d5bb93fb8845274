//! Root cause of a case on files: flow, resources, lost time, behaviour, fused in nats with "nothing to localise".

mod behaviour;
mod case;
mod classes;
mod flow;
mod local;

use std::path::Path;

use serde::Serialize;

pub use case::CaseError;

use self::case::{Case, ENTRY};
use self::classes::Class;
use super::params::CoreParams;
use super::stats::nats;

/// One place of the ranking.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ranked {
    pub node: String,
    /// What is wrong on the node.
    pub metric: String,
    /// Nats for a node with evidence; a hint without evidence has none.
    pub score: f64,
    /// Posterior, "none of these" included in the whole.
    pub probability: f64,
}

/// Answer to one case; an empty ranking says that there is nothing to localise.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ranking {
    pub case: String,
    pub ranking: Vec<Ranked>,
    pub unknown_probability: f64,
}

/// Reads the case in `dir`, ranks its candidates and writes `output`.
pub fn rca_case(dir: &Path, output: &Path) -> Result<Ranking, CaseError> {
    let ranking = rank(&Case::read(dir)?, &CoreParams::default());
    let text = serde_json::to_string_pretty(&ranking)
        .map_err(|error| CaseError::Invalid { path: output.to_owned(), reason: error.to_string() })?;
    std::fs::write(output, text + "\n").map_err(|error| CaseError::Write { path: output.to_owned(), error })?;
    Ok(ranking)
}

/// Evidence of one node, in nats per channel.
#[derive(Clone, Copy, Debug, Default)]
struct Evidence {
    flow: f64,
    cpu: f64,
    memory: f64,
    latency: f64,
    gap: f64,
    calls: f64,
    errors: f64,
    entry: f64,
}

impl Evidence {
    fn total(&self) -> f64 {
        self.flow + self.cpu + self.memory + self.latency + self.gap + self.calls + self.errors + self.entry
    }

    /// A resource before what it causes; else the channel with most nats.
    fn metric(&self) -> &'static str {
        if self.cpu > 0.0 || self.memory > 0.0 {
            return if self.cpu >= self.memory { "cpu" } else { "memory" };
        }
        let channels = [
            (self.flow, "latency or availability"),
            (self.latency, "latency"),
            (self.gap, "network gap"),
            (self.calls, "calls or messages per request"),
            (self.errors, "error messages"),
            (self.entry, "requests of users"),
        ];
        channels.iter().fold(channels[0], |best, channel| if channel.0 > best.0 { *channel } else { best }).1
    }
}

fn rank(case: &Case, params: &CoreParams) -> Ranking {
    let (evidence, hints) = judge(case, params);
    let mut answers: Vec<(usize, f64)> = case
        .candidates
        .iter()
        .map(|node| (*node, evidence[*node].total()))
        .filter(|(node, total)| *total > 0.0 && case.nodes[*node] != ENTRY)
        .collect();
    answers.sort_by(|left, right| right.1.total_cmp(&left.1).then(left.0.cmp(&right.0)));
    let quiet = answers.first().is_none_or(|(_, best)| *best < params.answer);
    if quiet {
        return Ranking { case: case.name.clone(), ranking: Vec::new(), unknown_probability: 1.0 };
    }
    let whole = 1.0 + answers.iter().map(|(_, total)| total.exp()).sum::<f64>();
    let mut ranking: Vec<Ranked> = answers
        .iter()
        .map(|(node, total)| Ranked {
            node: case.nodes[*node].clone(),
            metric: evidence[*node].metric().to_owned(),
            score: *total,
            probability: total.exp() / whole,
        })
        .collect();
    let mut rest: Vec<usize> =
        case.candidates.iter().copied().filter(|node| answers.iter().all(|(answered, _)| answered != node)).collect();
    rest.sort_by(|left, right| hints[*right].total_cmp(&hints[*left]).then(left.cmp(right)));
    ranking.extend(rest.into_iter().filter(|node| hints[*node] > 0.0).map(|node| Ranked {
        node: case.nodes[node].clone(),
        metric: "hint".to_owned(),
        score: 0.0,
        probability: 0.0,
    }));
    Ranking { case: case.name.clone(), ranking, unknown_probability: 1.0 / whole }
}

fn judge(case: &Case, params: &CoreParams) -> (Vec<Evidence>, Vec<f64>) {
    let count = case.nodes.len();
    let flow = flow::flow(case, params);
    let cpu = local::resource(case, Class::Cpu, params);
    let memory = local::resource(case, Class::Memory, params);
    let lost = local::lost_time(case, params);
    let errors = behaviour::new_errors(case, params);
    let score = |ratio: f64| nats(ratio, params.steep, params.cap);
    let mut calls = if flow.applies { vec![0.0; count] } else { behaviour::missing_calls(case, params) };
    let mut messages = behaviour::missing_messages(case, params);

    let strongest: Vec<f64> = (0..count).map(|node| errors[node].max(score(cpu[node].ratio)).max(messages[node])).collect();
    let reduced: Vec<f64> =
        (0..count).map(|node| reachable(case, node).into_iter().map(|below| strongest[below]).fold(0.0, f64::max)).collect();
    for node in 0..count {
        calls[node] = (calls[node] - reduced[node]).max(0.0);
        messages[node] = (messages[node] - reduced[node]).max(0.0);
    }
    let entered = entry_nodes(case, &flow, params);
    let evidence = (0..count)
        .map(|node| Evidence {
            flow: flow.score[node],
            cpu: score(cpu[node].ratio),
            memory: score(memory[node].ratio),
            latency: lost.latency[node],
            gap: lost.gap[node],
            calls: calls[node].max(messages[node]),
            errors: errors[node],
            entry: if entered.contains(&node) { params.entry } else { 0.0 },
        })
        .collect();
    let hints = (0..count).map(|node| flow.ratio[node].max(cpu[node].ratio).max(lost.ratio[node])).collect();
    (evidence, hints)
}

/// Nodes that receive the users' calls, when the symptom left its range and no flow tells more.
fn entry_nodes(case: &Case, flow: &flow::Flow, params: &CoreParams) -> Vec<usize> {
    let (Some(target), Some(entry)) = (&case.target, case.entry()) else { return Vec::new() };
    if flow.applies {
        return Vec::new();
    }
    let slow = case.column(target.node, Class::Latency, Some(target.kind.statistic)).is_some_and(|column| {
        let floor = super::stats::median(&column.baseline).unwrap_or(0.0) * params.latency_floor;
        local::rise(column, floor, None, params).is_some_and(|rise| rise.ratio >= 1.0)
    });
    let failing = case.column(target.node, Class::Availability, None).is_some_and(|column| {
        local::rise(&flow::failing(column), params.failure_floor, None, params).is_some_and(|rise| rise.ratio >= 1.0)
    });
    if slow || failing { case.callees[entry].clone() } else { Vec::new() }
}

/// Nodes below `node`, without itself.
fn reachable(case: &Case, node: usize) -> Vec<usize> {
    let mut seen = vec![false; case.nodes.len()];
    seen[node] = true;
    let (mut open, mut found) = (case.callees[node].clone(), Vec::new());
    while let Some(next) = open.pop() {
        if !std::mem::replace(&mut seen[next], true) {
            found.push(next);
            open.extend(&case.callees[next]);
        }
    }
    found
}
