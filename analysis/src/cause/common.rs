//! The common cause of several symptoms. One fault often hurts several services at once; each of them is explained, and
//! the explanation whose first cause explains most of them all is the one that is given. Where another symptom is surely of
//! something else, two faults came together, and both are told.

use gala_model::incident::{CauseMetric, IncidentInput, RootCause, Text};
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
    let second = (0..results.len()).find(|at| *at != best && are_apart(&results[best], &results[*at]));
    let second = second.map(|at| results[at].clone());
    let mut result = results.swap_remove(best);
    if let Some(second) = second {
        join(&mut result, second, config.top_k);
    }
    Some(result)
}

/// Whether both are sure of their first cause and neither has anything to say of the other's.
fn are_apart(one: &RootCause, other: &RootCause) -> bool {
    const SURE: f64 = 0.5;
    const HEARD_OF: f64 = 0.02;
    // Or it explains so much: a share of the probability falls far faster.
    const EXPLAINS: f64 = 0.1;
    // A process that is slow of itself is what is left where nothing else is measured: no fault of its own.
    let is_rest = |cause: &CauseMetric| cause.fault_category == "S6" && cause.path.len() <= 2;
    let is_sure = |cause: &&CauseMetric| cause.probability >= SURE && !is_rest(cause);
    let first = |result: &RootCause| result.resource.cause_metrics.first().filter(is_sure).cloned();
    let (Some(mine), Some(theirs)) = (first(one), first(other)) else { return false };
    let device = |cause: &CauseMetric| cause.metric_labels.get("disk_name").cloned();
    let comm = |cause: &CauseMetric| cause.metric_labels.get("comm").cloned();
    let alike = |left: Option<String>, right: Option<String>| left.is_some() && left == right;
    // A disk and its block device are one, so are the processes of a program and the ends of its connections.
    // Where the other one's host was not looked at, that its cause was not heard of says nothing.
    let same = mine.fault_category == theirs.fault_category
        || mine.machine_id != theirs.machine_id
        || alike(device(&mine), device(&theirs))
        || alike(comm(&mine), comm(&theirs));
    let knows = |result: &RootCause, cause: &CauseMetric| {
        let resource = &result.resource;
        let causes = resource.cause_metrics.iter().map(|known| (&known.entity_id, known.probability, known.impact));
        let others = resource.also_considered.iter().map(|known| (&known.entity_id, known.probability, known.impact));
        let mut all = causes.chain(others);
        all.any(|(id, share, impact)| *id == cause.entity_id && (share >= HEARD_OF || impact >= EXPLAINS))
    };
    !same && !knows(one, &theirs) && !knows(other, &mine)
}

/// Puts the first cause of a second fault behind the first one's. Each explains its own part of the incident, so each has its
/// share of the probability.
fn join(result: &mut RootCause, second: RootCause, top_k: usize) {
    let (mine, theirs) = (&mut result.resource, second.resource);
    let Some(cause) = theirs.cause_metrics.into_iter().next() else { return };
    mine.unknown_probability = (mine.unknown_probability + theirs.unknown_probability) / 2.0;
    for known in &mut mine.also_considered {
        known.probability /= 2.0;
    }
    mine.cause_metrics.insert(1, cause);
    mine.cause_metrics.truncate(top_k);
    for (at, known) in mine.cause_metrics.iter_mut().enumerate() {
        (known.rank, known.probability) = (at + 1, known.probability / 2.0);
    }
    if let Some(found) = &mut mine.fault_category {
        found.probability /= 2.0;
    }
    if let Some(found) = &mut mine.fault_domain {
        found.probability /= 2.0;
    }
    mine.limits.extend(theirs.limits.into_iter().filter(|limit| !mine.limits.contains(limit)).collect::<Vec<_>>());
    mine.summary = Text {
        en: format!("Two faults at once: {}; and {}", mine.summary.en, theirs.summary.en),
        zh: format!("同时存在两个故障：{}；另有{}", mine.summary.zh, theirs.summary.zh),
    };
    mine.desc_en = mine.summary.en.clone();
    mine.desc = format!("{}；另有{}", mine.desc, theirs.desc);
    for keyword in second.keywords {
        if !result.keywords.contains(&keyword) {
            result.keywords.push(keyword);
        }
    }
}

/// The result whose first cause is likeliest over all results, those of worse symptoms before others; the first of equals, the
/// first of all where none has a cause.
fn most_common(results: &[RootCause]) -> Option<usize> {
    let weights = weights(results);
    let mut best: Option<(usize, f64)> = None;
    for (at, result) in results.iter().enumerate() {
        let total = result.resource.cause_metrics.first().map_or(0.0, |first| {
            let in_one = |other: &RootCause| probability(other, &first.entity_id, &first.fault_category);
            results.iter().zip(&weights).map(|(other, weight)| weight * in_one(other)).sum::<f64>()
        });
        if best.is_none_or(|(_, known)| total > known + 1e-9) {
            best = Some((at, total));
        }
    }
    best.map(|(at, _)| at)
}

/// By how far each symptom rose, of the one that rose furthest; all alike where they are measured in different units.
fn weights(results: &[RootCause]) -> Vec<f64> {
    // One that hardly rose still has a say.
    const LEAST: f64 = 0.25;
    let rise = |result: &RootCause| {
        let kpi = &result.resource.abnormal_kpi;
        Some((kpi.value_after? - kpi.value_before?).abs()).filter(|rise| rise.is_finite())
    };
    let rises: Vec<f64> = results.iter().filter_map(rise).collect();
    let most = rises.iter().copied().fold(0.0, f64::max);
    let units = results.iter().map(|result| &result.resource.abnormal_kpi.unit);
    let comparable = rises.len() == results.len() && most > 0.0 && units.clone().all(|unit| units.clone().next() == Some(unit));
    if comparable { rises.iter().map(|rise| (rise / most).max(LEAST)).collect() } else { vec![1.0; results.len()] }
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
    fn what_hurts_most_says_in_which_way_a_common_culprit_hurts() {
        let mut results = [with(&[("flood", 0.97)]), with(&[("flood", 0.95)])];
        results[1].resource.cause_metrics[0].fault_category = "S3".to_owned();
        assert_eq!(most_common(&results), Some(0));
        for (result, after) in results.iter_mut().zip([300.0, 2_000.0]) {
            (result.resource.abnormal_kpi.value_before, result.resource.abnormal_kpi.value_after) = (Some(30.0), Some(after));
        }
        assert_eq!(most_common(&results), Some(1));
        results[1].resource.abnormal_kpi.unit = "ratio".to_owned();
        assert_eq!(most_common(&results), Some(0), "other units do not compare");
    }

    #[test]
    fn two_faults_at_once_are_both_told_and_their_shares_stay_within_the_whole() {
        let mut results = [with(&[("burner", 0.96), ("disk", 0.01)]), with(&[("link", 0.97)])];
        assert!(!are_apart(&results[0], &results[1]), "of one kind");
        results[1].resource.cause_metrics[0].fault_category = "S4".to_owned();
        assert!(are_apart(&results[0], &results[1]));
        let [mut joined, second] = results;
        (joined.resource.unknown_probability, joined.resource.summary.en) = (0.03, "a burner".to_owned());
        join(&mut joined, second, 3);
        let causes: Vec<_> = joined.resource.cause_metrics.iter().map(|cause| (cause.rank, &*cause.entity_id)).collect();
        assert_eq!(causes, [(1, "burner"), (2, "link"), (3, "disk")]);
        let whole: f64 = joined.resource.cause_metrics.iter().map(|cause| cause.probability).sum();
        assert!(whole <= 1.0, "{whole}");
        assert!(joined.resource.summary.en.starts_with("Two faults at once: a burner; and "));
        let shared = [with(&[("burner", 0.96), ("link", 0.03)]), with(&[("link", 0.97)])];
        assert!(!are_apart(&shared[0], &shared[1]), "one is heard of in the other");
        let mut hosts = [with(&[("burner", 0.96)]), with(&[("link", 0.97)])];
        let theirs = &mut hosts[1].resource.cause_metrics[0];
        (theirs.fault_category, theirs.machine_id) = ("S4".to_owned(), "another".to_owned());
        assert!(!are_apart(&hosts[0], &hosts[1]), "neither looked at the other's host");
        let mut rest = [with(&[("burner", 0.96)]), with(&[("front", 0.93)])];
        rest[1].resource.cause_metrics[0].fault_category = "S6".to_owned();
        assert!(!are_apart(&rest[0], &rest[1]), "what nothing explains is no second fault");
    }

    #[test]
    fn without_any_cause_the_first_is_given() {
        assert_eq!(most_common(&[with(&[]), with(&[])]), Some(0));
        assert_eq!(most_common(&[with(&[]), with(&[("disk", 0.3)])]), Some(1));
        assert_eq!(most_common(&[]), None);
    }
}
