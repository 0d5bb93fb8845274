//! Behaviour: calls and messages that a request no longer leads to, and errors nobody logged before.

use std::collections::{BTreeMap, BTreeSet};

use super::super::params::CoreParams;
use super::super::stats::{median, quantile, sums_of_both};
use super::case::{Case, ENTRY};
use super::classes::Class;
use super::local::incoming;

/// Expected and seen counts of one kind of work.
#[derive(Clone, Copy, Debug, Default)]
struct Work {
    expected: f64,
    seen: f64,
    /// Events the expectation rests on.
    baseline: f64,
}

impl Work {
    /// Standard deviation of what is missing: Poisson on both sides and a relative spread.
    fn deviation(&self, params: &CoreParams) -> f64 {
        let relative = 1.0 / self.baseline.max(1.0) + params.overdispersion.powi(2);
        (self.expected + 1.0 + self.expected.powi(2) * relative).sqrt()
    }

    fn missing(&self, params: &CoreParams) -> f64 {
        (self.expected - self.seen) / self.deviation(params)
    }
}

/// Nats per node for calls a request no longer makes.
pub fn missing_calls(case: &Case, params: &CoreParams) -> Vec<f64> {
    let mut score = vec![0.0; case.nodes.len()];
    if case.calls.is_empty() {
        missing_requests(case, params, &mut score);
        return score;
    }
    let requests = |node: usize, normal: bool| -> f64 {
        case.calls.iter().filter(|call| call.callee == node && call.normal == normal).map(|call| call.calls).sum()
    };
    let (mut per_edge, mut per_caller): (BTreeMap<(usize, usize), Work>, BTreeMap<usize, Work>) = Default::default();
    for call in &case.calls {
        if case.nodes[call.caller] == ENTRY {
            continue;
        }
        for work in [per_edge.entry((call.caller, call.callee)).or_default(), per_caller.entry(call.caller).or_default()] {
            if call.normal { work.baseline += call.calls } else { work.seen += call.calls }
        }
    }
    let scale = |caller: usize| {
        let before = requests(caller, true);
        if before > 0.0 { requests(caller, false) / before } else { 0.0 }
    };
    for ((caller, _), work) in &mut per_edge {
        work.expected = work.baseline * scale(*caller);
    }
    for (caller, work) in &mut per_caller {
        work.expected = work.baseline * scale(*caller);
    }
    let lost = |edge: (usize, usize)| per_edge.get(&edge).map_or(0.0, |work| (work.expected - work.seen).max(0.0));
    let most_lost = |caller: usize| case.callees[caller].iter().map(|callee| lost((caller, *callee))).fold(0.0, f64::max);
    for (caller, work) in &per_caller {
        let own = work.missing(params) - params.z_free;
        if own <= 0.0 {
            continue;
        }
        score[*caller] = f64::max(score[*caller], own.min(params.cap));
        let most = most_lost(*caller);
        let fraction = (work.expected - work.seen) / work.expected;
        for callee in &case.callees[*caller] {
            let here = lost((*caller, *callee));
            if here <= 0.0 || most <= 0.0 {
                continue;
            }
            let mut sum = params.callee_share * own * here / most;
            for other in case.callers[*callee].iter().filter(|other| **other != *caller) {
                let Some(theirs) = per_caller.get(other) else { continue };
                let expected = (theirs.expected * fraction / theirs.deviation(params)).min(params.cap / 2.0);
                let ratio = theirs.missing(params) * expected - expected.powi(2) / 2.0;
                let most = most_lost(*other);
                let weight = if most > 0.0 { lost((*other, *callee)) / most } else { 1.0 };
                sum += if ratio > 0.0 { weight * ratio } else { ratio };
            }
            score[*callee] = f64::max(score[*callee], sum.clamp(0.0, params.cap));
        }
    }
    score
}

/// Without traces: a node with one caller that is asked less often per request of that caller than in any stretch as long
/// before. Only samples that both have count.
fn missing_requests(case: &Case, params: &CoreParams, score: &mut [f64]) {
    for (node, callers) in case.callers.iter().enumerate() {
        let [caller] = callers[..] else { continue };
        let (Some(own), Some(theirs)) = (case.column(node, Class::Requests, None), case.column(caller, Class::Requests, None))
        else {
            continue;
        };
        let (seen, asked) = sums_of_both(&own.incident, &theirs.incident);
        let length = own.incident.len();
        if length == 0 || own.baseline.len() < length {
            continue;
        }
        let ratios: Vec<f64> = own
            .baseline
            .windows(length)
            .zip(theirs.baseline.windows(length))
            .map(|(own, theirs)| sums_of_both(own, theirs))
            .filter(|(_, theirs)| *theirs > 0.0)
            .map(|(own, theirs)| own / theirs)
            .collect();
        let Some(least) = quantile(&ratios, 1.0 - params.null_quantile) else { continue };
        let work = Work { expected: least * asked, seen, baseline: sums_of_both(&own.baseline, &theirs.baseline).0 };
        let own = work.missing(params) - params.z_free;
        if own > 0.0 {
            score[caller] = score[caller].max(own.min(params.cap));
            score[node] = score[node].max((params.callee_share * own).min(params.cap));
        }
    }
}

/// Nats per node for error messages that the baseline does not have.
pub fn new_errors(case: &Case, params: &CoreParams) -> Vec<f64> {
    let mut score = vec![0.0; case.nodes.len()];
    let mut nodes_of: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
    let mut known: BTreeSet<&str> = BTreeSet::new();
    let mut fresh: BTreeMap<(usize, &str), f64> = BTreeMap::new();
    for message in case.logs.iter().filter(|message| is_error(&message.template)) {
        nodes_of.entry(&message.template).or_default().insert(message.node);
        if message.normal {
            known.insert(&message.template);
        } else {
            *fresh.entry((message.node, &message.template)).or_default() += message.count;
        }
    }
    for ((node, template), count) in fresh {
        if known.contains(template) {
            continue;
        }
        let spread = nodes_of[template].len() as f64;
        score[node] = f64::max(score[node], (params.error_weight * count.ln_1p() / spread.powi(2)).min(params.cap));
    }
    score
}

/// Nats per node for ordinary messages that requests no longer lead to.
pub fn missing_messages(case: &Case, params: &CoreParams) -> Vec<f64> {
    let mut score = vec![0.0; case.nodes.len()];
    let mut works: BTreeMap<usize, BTreeMap<&str, Work>> = BTreeMap::new();
    for message in case.logs.iter().filter(|message| !is_error(&message.template)) {
        let work = works.entry(message.node).or_default().entry(&message.template).or_default();
        if message.normal { work.baseline += message.count } else { work.seen += message.count }
    }
    for (node, templates) in works {
        let (before, now) = (requests_before(case, node), incoming(case, node));
        if before <= 0.0 || now <= 0.0 {
            continue;
        }
        let (mut best, mut total) = (0.0f64, Work::default());
        for mut work in templates.into_values().filter(|work| work.baseline > 0.0) {
            work.expected = work.baseline * now / before;
            best = best.max(work.missing(params));
            total.expected += work.expected;
            total.seen += work.seen;
            total.baseline += work.baseline;
        }
        score[node] = (best.max(0.0) + total.missing(params).max(0.0) - params.z_free).clamp(0.0, params.cap);
    }
    score
}

fn requests_before(case: &Case, node: usize) -> f64 {
    if case.calls.is_empty() {
        return case.column(node, Class::Requests, None).and_then(|column| median(&column.baseline)).unwrap_or(0.0);
    }
    case.calls.iter().filter(|call| call.callee == node && call.normal).map(|call| call.calls).sum()
}

fn is_error(template: &str) -> bool {
    template.contains("ERROR")
}
