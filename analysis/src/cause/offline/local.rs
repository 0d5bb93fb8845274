//! Evidence on the node itself: CPU and memory beyond its own range, time lost in it or on the way to it.

use super::super::params::CoreParams;
use super::super::stats::{median, nats, own_null, sustained};
use super::case::{Case, Column};
use super::classes::{Class, Statistic};
use super::flow::usable;

/// How far a level left its own range.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rise {
    /// Sustained incident level minus the baseline's median.
    pub deviation: f64,
    /// The same over the sustained range of the baseline.
    pub ratio: f64,
}

/// `floor` is the least range; `recent` keeps only the last baseline samples.
pub fn rise(column: &Column, floor: f64, recent: Option<usize>, params: &CoreParams) -> Option<Rise> {
    let length = column.incident.len();
    let baseline = match recent {
        Some(keep) => &column.baseline[column.baseline.len().saturating_sub(keep)..],
        None => &column.baseline[..],
    };
    if !usable(baseline, &column.incident, params) {
        return None;
    }
    let middle = median(baseline)?;
    let deviation = sustained(&column.incident, length)? - middle;
    let range = own_null(baseline, length, params.null_quantile, |window| sustained(window, length)).unwrap_or(middle) - middle;
    let range = range.max(floor);
    (range > 0.0).then_some(Rise { deviation, ratio: deviation / range })
}

/// Nats and ratio of CPU (or memory) per node.
pub fn resource(case: &Case, class: Class, params: &CoreParams) -> Vec<Rise> {
    (0..case.nodes.len())
        .map(|node| {
            let Some(column) = case.column(node, class, None) else { return Rise::default() };
            let floor = if column.kind.percent { params.cpu_floor_points } else { 0.5 * median(&column.baseline).unwrap_or(0.0) };
            let recent = (class == Class::Memory).then(|| (10 * column.incident.len()).max(30));
            rise(column, floor, recent, params).unwrap_or_default()
        })
        .collect()
}

/// Lost time per node: nats of slow service and of the way to it.
#[derive(Debug, Default)]
pub struct LostTime {
    pub latency: Vec<f64>,
    pub gap: Vec<f64>,
    /// Ratio of the node's latency, for hints.
    pub ratio: Vec<f64>,
}

/// What one edge did before and in the incident.
#[derive(Clone, Copy, Debug, Default)]
struct Edge {
    calls: f64,
    span_rise: f64,
    gap_before: f64,
    gap_now: f64,
}

pub fn lost_time(case: &Case, params: &CoreParams) -> LostTime {
    let count = case.nodes.len();
    let mut out = LostTime { latency: vec![0.0; count], gap: vec![0.0; count], ratio: vec![0.0; count] };
    let Some(target) = &case.target else { return out };
    let Statistic::Quantile(quantile) = target.kind.statistic else { return out };
    let Some(symptom) = case.latency_at(target.node, quantile) else { return out };
    let Some(floor) = median(&symptom.baseline).map(|middle| params.latency_floor * middle) else { return out };

    let edges = edges(case);
    let rises: Vec<Option<Rise>> =
        (0..count).map(|node| case.latency_at(node, quantile).and_then(|column| rise(column, floor, None, params))).collect();
    let requests: Vec<f64> = (0..count).map(|node| incoming(case, node)).collect();

    let mut lost = vec![0.0; count];
    for node in 0..count {
        let Some(own) = rises[node] else { continue };
        out.ratio[node] = own.ratio;
        if own.ratio <= 1.0 || own.deviation <= 0.0 {
            continue;
        }
        let by_callees: f64 = if case.calls.is_empty() {
            case.callees[node].iter().filter_map(|callee| rises[*callee]).map(|rise| rise.deviation.max(0.0)).sum()
        } else {
            edges
                .iter()
                .filter(|((caller, _), _)| *caller == node)
                .map(|(_, edge)| {
                    let per_request = if requests[node] > 0.0 { (edge.calls / requests[node]).max(1.0) } else { 1.0 };
                    per_request * (edge.span_rise + (edge.gap_now - edge.gap_before).max(0.0))
                })
                .sum()
        };
        let explained = params.latency_amplification * by_callees / own.deviation;
        let own_time = own.deviation * (1.0 - explained).max(0.0);
        out.latency[node] = if own_time > 0.0 { nats(own.ratio, params.steep, params.cap) } else { 0.0 };
        lost[node] += requests[node].max(0.0) * own_time;
    }
    add_gaps(&edges, floor, params, &mut out.gap, &mut lost);
    let total: f64 = lost.iter().sum();
    for (node, lost) in lost.into_iter().enumerate() {
        let share = if total > 0.0 { lost / total } else { 0.0 };
        out.latency[node] *= share;
        out.gap[node] *= share;
    }
    out
}

/// The gap between a caller's span and its callee's: network, queues, a starved end. A caller late for all its callees keeps
/// the common part.
fn add_gaps(edges: &[((usize, usize), Edge)], floor: f64, params: &CoreParams, gap: &mut [f64], lost: &mut [f64]) {
    let growth = |edge: &Edge| ((edge.gap_now.max(0.0) + floor) / (edge.gap_before.max(0.0) + floor)).ln();
    let known = |edge: &Edge| edge.gap_now.is_finite() && edge.gap_before.is_finite() && edge.calls > 0.0;
    for callee in 0..gap.len() {
        let (mut weighted, mut calls, mut time) = (0.0, 0.0, 0.0);
        for ((caller, _), edge) in edges.iter().filter(|((_, to), edge)| *to == callee && known(edge)) {
            let siblings: Vec<f64> =
                edges.iter().filter(|((from, _), edge)| from == caller && known(edge)).map(|(_, edge)| growth(edge)).collect();
            let common = if siblings.len() >= 3 { median(&siblings).unwrap_or(0.0).max(0.0) } else { 0.0 };
            weighted += edge.calls * (growth(edge) - common);
            calls += edge.calls;
            time += edge.calls * (edge.gap_now - edge.gap_before).max(0.0);
        }
        if calls > 0.0 {
            let score = (params.steep * (weighted / calls - params.gap_free)).clamp(0.0, params.cap);
            gap[callee] = score;
            if score > 0.0 {
                lost[callee] += time;
            }
        }
    }
}

/// Edges with their calls in the incident and call-weighted spans and gaps before and now.
fn edges(case: &Case) -> Vec<((usize, usize), Edge)> {
    let mut sums: std::collections::BTreeMap<(usize, usize), [[f64; 5]; 2]> = std::collections::BTreeMap::new();
    for call in &case.calls {
        let sum = &mut sums.entry((call.caller, call.callee)).or_default()[usize::from(!call.normal)];
        sum[0] += call.calls;
        if call.p90_s.is_finite() {
            sum[1] += call.calls * call.p90_s;
            sum[2] += call.calls;
        }
        if call.gap_s.is_finite() {
            sum[3] += call.calls * call.gap_s;
            sum[4] += call.calls;
        }
    }
    let mean = |total: f64, weight: f64| if weight > 0.0 { total / weight } else { f64::NAN };
    sums.into_iter()
        .map(|(key, [before, now])| {
            let rise = mean(now[1], now[2]) - mean(before[1], before[2]);
            let edge = Edge {
                calls: now[0],
                span_rise: if rise.is_finite() { rise.max(0.0) } else { 0.0 },
                gap_before: mean(before[3], before[4]),
                gap_now: mean(now[3], now[4]),
            };
            (key, edge)
        })
        .collect()
}

/// Requests of a node in the incident: incoming calls, else its request series.
pub fn incoming(case: &Case, node: usize) -> f64 {
    if case.calls.is_empty() {
        return case.column(node, Class::Requests, None).map_or(1.0, |column| {
            let seen: Vec<f64> = column.incident.iter().copied().filter(|value| value.is_finite()).collect();
            if seen.is_empty() { 0.0 } else { seen.iter().sum::<f64>() / seen.len() as f64 }
        });
    }
    case.calls.iter().filter(|call| call.callee == node && !call.normal).map(|call| call.calls).sum()
}
