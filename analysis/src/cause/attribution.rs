//! Attribution: how much of each effect each cause explains, and the flow of the symptom through what was found.

use super::evidence::Judged;
use super::rules::{EdgeKind, RuleSet};
use super::search::{Edge, Found};

/// How far a hidden step weakens what is behind it.
const HIDDEN: f64 = 0.9;
/// A cause that moves so much later than its effect is hardly one.
const LATE_MS: i64 = 30_000;

impl Found {
    /// Weighs every edge and sends the symptom backwards.
    pub(super) fn attribute(&mut self, rules: &RuleSet, step_ms: i64) {
        self.weigh(rules, step_ms);
        self.flow(rules);
    }

    /// Turns the scope factors of edges into weights.
    fn weigh(&mut self, rules: &RuleSet, step_ms: i64) {
        let mut weights: Vec<f64> = vec![0.0; self.edges.len()];
        for node in self.causes_first() {
            let incoming: Vec<usize> = (0..self.edges.len()).filter(|edge| self.edges[*edge].cause == node).collect();
            for edge in incoming {
                weights[edge] = self.weight(edge, &weights, rules, step_ms);
            }
        }
        for (edge, weight) in self.edges.iter_mut().zip(weights) {
            edge.weight = weight;
        }
    }

    fn weight(&self, at: usize, weights: &[f64], rules: &RuleSet, step_ms: i64) -> f64 {
        let edge = &self.edges[at];
        let rule = &rules.rules[edge.rule];
        let (cause, effect) = (&self.nodes[edge.cause], &self.nodes[edge.effect]);
        let Some(judged) = &cause.judged else {
            // Hidden: as strong as what is behind it.
            let behind = (0..self.edges.len()).filter(|other| self.edges[*other].effect == edge.cause);
            return HIDDEN * rule.prior * behind.map(|other| weights[other]).fold(0.0, f64::max);
        };
        let best = judged.best();
        let strength = 1.0 - (-best.nats / 2.0).exp();
        let onset = effect.judged.as_ref().and_then(|effect| effect.best().onset_ms);
        let timely = match (best.onset_ms, onset) {
            (Some(cause), Some(effect)) if cause > effect + LATE_MS => 0.3,
            (Some(cause), Some(effect)) if cause > effect + 2 * step_ms => 0.8,
            _ => 1.0,
        };
        // What happened once has no course that could go along with another.
        let is_event = rules.classes[cause.class].metrics[best.metric].event.is_some();
        let together = if is_event { 1.0 } else { (best.rho / 0.5).clamp(0.15, 1.0) };
        let siblings = || {
            self.edges
                .iter()
                .filter(|other| other.effect == edge.effect)
                .filter_map(|other| Some((other, self.nodes[other.cause].judged.as_ref()?)))
        };
        let base = match rule.kind {
            EdgeKind::Additive => {
                let whole = effect.judged.as_ref().map_or(best.deviation, |effect| effect.best().deviation);
                if whole > 0.0 { rule.prior * (best.deviation / whole).clamp(0.0, 1.0) } else { 0.0 }
            }
            EdgeKind::Cross => rule.prior * strength,
            EdgeKind::Time => {
                let lost = |edge: &Edge, judged: &Judged| {
                    let class = &rules.classes[self.nodes[edge.cause].class];
                    (rules.rules[edge.rule].kind == EdgeKind::Time).then(|| judged.lost_time(class)).flatten()
                };
                let most = siblings().filter_map(|(other, judged)| lost(other, judged)).fold(0.0, f64::max);
                let share = lost(edge, judged).filter(|_| most > 0.0).map_or(1.0, |own| own / most);
                rule.prior * strength * share
            }
        };
        // Of several entities under one rule, each by how far it left its range.
        let largest =
            siblings().filter(|(other, _)| other.rule == edge.rule).map(|(_, judged)| judged.best().ratio).fold(0.0, f64::max);
        let relative = if largest > 0.0 { (best.ratio / largest).clamp(0.0, 1.0) } else { 1.0 };
        base * timely * together * relative * edge.weight
    }

    /// Nodes with causes before their effects.
    fn causes_first(&self) -> Vec<usize> {
        let count = self.nodes.len();
        let (mut state, mut order) = (vec![false; count], Vec::new());
        let mut stack = vec![(0usize, 0usize)];
        if count == 0 {
            return order;
        }
        let causes: Vec<Vec<usize>> = (0..count)
            .map(|node| self.edges.iter().filter(|edge| edge.effect == node).map(|edge| edge.cause).collect())
            .collect();
        state[0] = true;
        while let Some((node, next)) = stack.pop() {
            match causes[node].get(next) {
                Some(cause) => {
                    stack.push((node, next + 1));
                    if !std::mem::replace(&mut state[*cause], true) {
                        stack.push((*cause, 0));
                    }
                }
                None => order.push(node),
            }
        }
        order
    }

    /// Sends the symptom backwards: each node passes on what its causes explain and keeps the rest.
    fn flow(&mut self, rules: &RuleSet) {
        if self.nodes.is_empty() {
            return;
        }
        self.nodes[0].flow = 1.0;
        let mut order = self.causes_first();
        order.reverse();
        for node in order {
            let arriving = self.nodes[node].flow;
            let causes: Vec<usize> = (0..self.edges.len()).filter(|edge| self.edges[*edge].effect == node).collect();
            let whole: f64 = causes.iter().map(|edge| self.edges[*edge].weight).sum();
            self.nodes[node].own = arriving * (1.0 - whole).max(0.0);
            for edge in causes {
                let Edge { cause, rule, weight, .. } = self.edges[edge];
                let share = arriving * weight / whole.max(1.0);
                if share <= 0.0 {
                    continue;
                }
                let best_so_far = self.nodes[cause].next.map_or(0.0, |known| self.edges[known].weight);
                let target = &mut self.nodes[cause];
                target.flow += share;
                if target.next.is_none() || weight > best_so_far {
                    target.next = Some(edge);
                    target.category = rules.rules[rule].category.clone();
                }
            }
        }
    }
}
