//! Flow: the symptom's deviation is sent down the call graph, each node keeping what its callees do not explain.
//!
//! Only for symptoms that add up (mean latency, failures): contributions are per request of the symptom, so callees sum to
//! their caller whatever their traffic. Each node must leave the range of its own baseline windows to keep blame.

use super::super::params::CoreParams;
use super::super::stats::{co_moments, contrast, finite_count, median, quantile, sums_of_both, sustained};
use super::case::{Case, Column};
use super::classes::{Class, Statistic};

/// A node's contribution to the symptom over the incident.
struct Share {
    /// Per request of the symptom, cut at what lasts; gaps stay gaps.
    excess: Vec<f64>,
    /// Usual amount of the same, without anything subtracted.
    usual: f64,
    /// How far the part that moves with the symptom left the node's own range.
    ratio: f64,
    rho: f64,
}

/// Result of the channel; index is the node.
#[derive(Debug, Default)]
pub struct Flow {
    /// Nats per node.
    pub score: Vec<f64>,
    /// Ratio per node, for hints.
    pub ratio: Vec<f64>,
    /// Whether the channel applies to this symptom at all.
    pub applies: bool,
}

pub fn flow(case: &Case, params: &CoreParams) -> Flow {
    let count = case.nodes.len();
    let mut out = Flow { score: vec![0.0; count], ratio: vec![0.0; count], applies: false };
    let Some(target) = &case.target else { return out };
    if target.kind.statistic != Statistic::Additive || !matches!(target.kind.class, Class::Latency | Class::Availability) {
        return out;
    }
    let Some(shares) = shares(case, target.node, target.kind.class, params) else { return out };
    out.applies = true;
    for (node, share) in shares.iter().enumerate() {
        out.ratio[node] = share.as_ref().map_or(0.0, |share| share.ratio);
    }
    let inferred;
    let callees = if case.callees.iter().all(Vec::is_empty) {
        inferred = nested(target.node, target.kind.class, &shares);
        &inferred
    } else {
        &case.callees
    };
    let order = callers_first(callees, target.node);
    // A callee that stands before its caller would send back what it was given: of nodes that call each other in a circle the
    // one nearer to the symptom is the caller.
    let mut place = vec![usize::MAX; count];
    order.iter().enumerate().for_each(|(at, node)| place[*node] = at);
    let mut arriving = vec![0.0; count];
    arriving[target.node] = 1.0;
    for node in order {
        let Some(share) = &shares[node] else { continue };
        if arriving[node] <= 0.0 {
            continue;
        }
        let total = sum_of(&share.excess);
        if total <= 0.0 {
            continue;
        }
        let mut rest = share.excess.clone();
        let mut open: Vec<usize> = usable_callees(callees, node, &shares)
            .into_iter()
            .filter(|callee| place[*callee] > place[node])
            .filter(|callee| shares[*callee].as_ref().is_some_and(|s| s.ratio >= 1.0 && s.rho >= params.rho_min))
            .collect();
        while let Some((at, overlap)) = best_overlap(&open, &shares, &share.excess, &rest, params.over) {
            let callee = open.swap_remove(at);
            arriving[callee] += arriving[node] * overlap / total;
            if let Some(claimed) = &shares[callee] {
                take(&mut rest, &share.excess, &claimed.excess);
            }
            open.sort_unstable();
        }
        if share.ratio >= 1.0 {
            out.score[node] = params.flow_weight * arriving[node] * sum_of(&rest) / total;
        }
    }
    out
}

fn sum_of(values: &[f64]) -> f64 {
    values.iter().filter(|value| value.is_finite()).sum()
}

/// The open callee that overlaps most with what is still unexplained; `None` when nothing overlaps. What a callee did in
/// its gaps is as in the samples that both have, if these hold enough of the caller's excess to tell.
fn best_overlap(open: &[usize], shares: &[Option<Share>], whole: &[f64], rest: &[f64], over: f64) -> Option<(usize, f64)> {
    let total = sum_of(whole);
    open.iter()
        .enumerate()
        .filter_map(|(at, callee)| {
            let share = shares[*callee].as_ref()?;
            let (seen, own) = sums_of_both(whole, &share.excess);
            let least = |left: &f64, claimed: &f64| if claimed.is_finite() { left.min(*claimed) } else { 0.0 };
            let common = sum_of(&rest.iter().zip(&share.excess).map(|(left, claimed)| least(left, claimed)).collect::<Vec<_>>());
            let all = if seen >= TELLING * total { common * total / seen } else { common };
            let overlap = all * (over * seen / own).min(1.0);
            (overlap > 1e-9 * total).then_some((at, overlap))
        })
        .max_by(|left, right| left.1.total_cmp(&right.1).then(right.0.cmp(&left.0)))
}

/// Share of a caller's excess that must lie in samples its callee has as well.
const TELLING: f64 = 0.4;

/// Subtracts what a callee explains, in its gaps in proportion.
fn take(rest: &mut [f64], whole: &[f64], claimed: &[f64]) {
    let (seen, own) = sums_of_both(whole, claimed);
    let ratio = if seen >= TELLING * sum_of(whole) && seen > 0.0 { (own / seen).clamp(0.0, 1.0) } else { 0.0 };
    for ((left, all), claimed) in rest.iter_mut().zip(whole).zip(claimed) {
        *left = (*left - if claimed.is_finite() { *claimed } else { ratio * all }).max(0.0);
    }
}

/// Without a call graph: a caller's time holds its callees', so each node may call those that usually take less; failures
/// are passed on, so those that fail less.
fn nested(symptom: usize, class: Class, shares: &[Option<Share>]) -> Vec<Vec<usize>> {
    let amount = |share: &Share| if class == Class::Latency { share.usual } else { sum_of(&share.excess) };
    let mut order: Vec<(usize, f64)> =
        shares.iter().enumerate().filter_map(|(node, share)| Some((node, amount(share.as_ref()?)))).collect();
    order.retain(|(node, _)| *node != symptom);
    order.sort_by(|left, right| right.1.total_cmp(&left.1).then(left.0.cmp(&right.0)));
    let mut callees = vec![Vec::new(); shares.len()];
    let nodes: Vec<usize> = order.iter().map(|(node, _)| *node).collect();
    for (at, node) in nodes.iter().enumerate() {
        callees[*node] = nodes[at + 1..].to_vec();
    }
    callees[symptom] = nodes;
    callees
}

fn shares(case: &Case, symptom: usize, class: Class, params: &CoreParams) -> Option<Vec<Option<Share>>> {
    let symptom_requests = case.column(symptom, Class::Requests, None);
    let symptom_column = case.column(symptom, class, Some(Statistic::Additive))?;
    let length = symptom_column.incident.len();
    if !usable(&symptom_column.baseline, &symptom_column.incident, params) {
        return None;
    }
    let floor = match class {
        Class::Latency => params.flow_floor * median(&symptom_column.baseline)?,
        _ => 1.0 / symptom_requests.and_then(|column| median(&column.baseline)).filter(|n| *n > 0.0).unwrap_or(100.0),
    };
    let excess_of = |node: usize| -> Option<(Vec<f64>, f64, f64)> {
        let column = case.column(node, class, Some(Statistic::Additive))?;
        if !usable(&column.baseline, &column.incident, params) {
            return None;
        }
        let badness = |values: &[f64]| match class {
            Class::Latency => values.to_vec(),
            _ => failures(values, &column.baseline),
        };
        let requests = case.column(node, Class::Requests, None);
        let (normal, incident) =
            (weights(requests, symptom_requests, false, column), weights(requests, symptom_requests, true, column));
        let excess = cut(&above_best(&badness(&column.incident), &incident), length);
        let baseline = badness(&column.baseline);
        let null_values: Vec<f64> = (0..=baseline.len().checked_sub(length)?)
            .filter(|start| (*start..start + length).all(|at| baseline[at].is_finite() && normal[at].is_finite()))
            .filter_map(|start| contrast(&above_best(&baseline[start..start + length], &normal[start..start + length]), length))
            .collect();
        let null = quantile(&null_values, params.null_quantile)?;
        let usual =
            median(&baseline.iter().zip(&normal).map(|(value, weight)| value * weight).collect::<Vec<_>>()).unwrap_or(0.0);
        Some((excess, null, usual))
    };
    let (symptom_excess, ..) = excess_of(symptom)?;
    let symptom_contrast = contrast(&symptom_excess, length)?;
    Some(
        (0..case.nodes.len())
            .map(|node| {
                let (excess, null, usual) = excess_of(node)?;
                let (cov, var, rho) = co_moments(&excess, &symptom_excess)?;
                let moving = if var > 0.0 { cov / var * symptom_contrast } else { 0.0 };
                let ratio = moving.min(contrast(&excess, length)?) / null.max(floor);
                Some(Share { excess, usual, ratio, rho })
            })
            .collect(),
    )
}

/// Failures per request; availability comes as a percentage or as a ratio.
fn failures(values: &[f64], baseline: &[f64]) -> Vec<f64> {
    let whole = if baseline.iter().any(|value| *value > 1.5) { 100.0 } else { 1.0 };
    values.iter().map(|value| 1.0 - value / whole).collect()
}

/// The same column as failures.
pub(super) fn failing(column: &Column) -> Column {
    Column {
        baseline: failures(&column.baseline, &column.baseline),
        incident: failures(&column.incident, &column.baseline),
        ..column.clone()
    }
}

/// Requests of the node per request of the symptom; a missing count keeps its last value; 1 where none is known.
fn weights(node: Option<&Column>, symptom: Option<&Column>, incident: bool, like: &Column) -> Vec<f64> {
    let length = if incident { like.incident.len() } else { like.baseline.len() };
    let held = |column: &Column| {
        let mut last = column.baseline.iter().copied().find(|value| value.is_finite()).unwrap_or(f64::NAN);
        let mut fill = |values: &[f64]| -> Vec<f64> {
            values
                .iter()
                .map(|value| {
                    if value.is_finite() {
                        last = *value;
                    }
                    last
                })
                .collect()
        };
        let (baseline, now) = (fill(&column.baseline), fill(&column.incident));
        if incident { now } else { baseline }
    };
    match (node, symptom) {
        (Some(node), Some(symptom)) => held(node)
            .into_iter()
            .zip(held(symptom))
            .map(|(own, whole)| if whole > 0.0 { own / whole } else { f64::NAN })
            .collect(),
        _ => vec![1.0; length],
    }
}

fn above_best(values: &[f64], weights: &[f64]) -> Vec<f64> {
    let best = values.iter().copied().filter(|value| value.is_finite()).fold(f64::INFINITY, f64::min);
    values.iter().zip(weights).map(|(value, weight)| (value - best) * weight).collect()
}

/// Cuts single samples above what lasts.
fn cut(values: &[f64], window: usize) -> Vec<f64> {
    let Some(lasting) = sustained(values, window) else { return vec![0.0; values.len()] };
    values.iter().map(|value| if value.is_finite() { value.min(lasting) } else { f64::NAN }).collect()
}

pub(super) fn usable(baseline: &[f64], incident: &[f64], params: &CoreParams) -> bool {
    finite_count(baseline) >= params.baseline_min
        && finite_count(incident) as f64 >= params.cover * incident.len() as f64
        && !incident.is_empty()
}

/// Callees with a share of their own; those without are transparent, their callees take their place.
fn usable_callees(callees: &[Vec<usize>], node: usize, shares: &[Option<Share>]) -> Vec<usize> {
    let mut seen = vec![false; callees.len()];
    seen[node] = true;
    let (mut open, mut found) = (callees[node].clone(), Vec::new());
    while let Some(next) = open.pop() {
        if std::mem::replace(&mut seen[next], true) {
            continue;
        }
        if shares[next].is_some() { found.push(next) } else { open.extend(&callees[next]) }
    }
    found.sort_unstable();
    found
}

/// Nodes reachable from the symptom, callers before callees; an edge that would close a cycle is left out.
fn callers_first(callees: &[Vec<usize>], root: usize) -> Vec<usize> {
    let mut state = vec![0u8; callees.len()];
    let (mut order, mut stack) = (Vec::new(), vec![(root, 0usize)]);
    state[root] = 1;
    while let Some((node, next)) = stack.pop() {
        match callees[node].get(next) {
            Some(callee) => {
                stack.push((node, next + 1));
                if state[*callee] == 0 {
                    state[*callee] = 1;
                    stack.push((*callee, 0));
                }
            }
            None => order.push(node),
        }
    }
    order.reverse();
    order
}
