//! The common cause of several symptoms. One fault often hurts several services at once; each of them is explained, and
//! the explanation whose first cause explains most of them all is the one that is given.

use gala_model::incident::{IncidentInput, RootCause};
use gala_store::SeriesRead;

use super::explain::{ExplainConfig, explain};
use super::graph::CauseGraph;
use super::rules::RuleSet;

/// Symptoms that are explained at most.
pub const MAX_SYMPTOMS: usize = 3;

/// Explains the symptoms of one incident, the one it is named after first; `None` without symptoms.
pub fn explain_common(
    symptoms: &[IncidentInput],
    graph: &dyn CauseGraph,
    store: &dyn SeriesRead,
    now_ms: i64,
    rules: &RuleSet,
    config: &ExplainConfig,
) -> Option<RootCause> {
    let explain_one = |symptom| explain(symptom, graph, store, now_ms, rules, config);
    let mut results: Vec<RootCause> = symptoms.iter().take(MAX_SYMPTOMS).map(explain_one).collect();
    let best = most_common(&results)?;
    Some(results.swap_remove(best))
}

/// The result whose first cause is likeliest over all results; the first of equals, the first of all where none has a cause.
fn most_common(results: &[RootCause]) -> Option<usize> {
    let mut best: Option<(usize, f64)> = None;
    for (at, result) in results.iter().enumerate() {
        let total = result.resource.cause_metrics.first().map_or(0.0, |first| {
            let in_one = |other: &RootCause| probability(other, &first.entity_id, &first.fault_category);
            results.iter().map(in_one).sum::<f64>()
        });
        if best.is_none_or(|(_, known)| total > known + 1e-9) {
            best = Some((at, total));
        }
    }
    best.map(|(at, _)| at)
}

fn probability(result: &RootCause, entity_id: &str, category: &str) -> f64 {
    let causes = result.resource.cause_metrics.iter().map(|cause| (&cause.entity_id, &cause.fault_category, cause.probability));
    let others = result.resource.also_considered.iter().map(|other| (&other.entity_id, &other.fault_category, other.probability));
    causes
        .chain(others)
        .filter(|(id, code, _)| *id == entity_id && *code == category)
        .map(|(_, _, share)| share)
        .fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use gala_model::incident::CauseMetric;

    use super::*;

    fn with(causes: &[(&str, f64)]) -> RootCause {
        let mut result = RootCause::detected(&IncidentInput::default());
        result.resource.cause_metrics = causes
            .iter()
            .map(|(entity, probability)| CauseMetric {
                entity_id: (*entity).to_owned(),
                fault_category: "S1".to_owned(),
                probability: *probability,
                ..CauseMetric::default()
            })
            .collect();
        result
    }

    #[test]
    fn the_cause_that_most_symptoms_share_wins_over_one_that_a_single_symptom_is_sure_of() {
        let results =
            [with(&[("disk", 0.7), ("burner", 0.2)]), with(&[("burner", 0.6)]), with(&[("burner", 0.5), ("disk", 0.1)])];
        assert_eq!(most_common(&results), Some(1));
    }

    #[test]
    fn without_any_cause_the_first_is_given() {
        assert_eq!(most_common(&[with(&[]), with(&[])]), Some(0));
        assert_eq!(most_common(&[with(&[]), with(&[("disk", 0.3)])]), Some(1));
        assert_eq!(most_common(&[]), None);
    }
}
