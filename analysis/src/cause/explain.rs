//! Explanation of one incident on one host: windows, search, flow, fusion, and the result people and programs read.

use std::collections::BTreeMap;

use gala_model::entity::split_metric;
use gala_model::event::Event;
use gala_model::incident::{AbnormalKpi, IncidentInput, RootCause, Scope, Stage, Text};
use gala_store::{Labels, Matcher, SeriesRead, TimeRange};

use super::answer::{self, Answer};
use super::evidence::{Context, Grouping, Judged, judge, symptom_values};
use super::graph::CauseGraph;
use super::params::CoreParams;
use super::rules::{Measure, RuleSet};
use super::search::{Found, Search, named};
use super::series::{Filter, Grid, Reader, fnv, semantics};
use super::stats::finite_count;
use super::text;

/// How an incident is explained.
#[derive(Clone, Debug)]
pub struct ExplainConfig {
    pub params: CoreParams,
    /// History before the onset.
    pub baseline_ms: i64,
    /// Most samples of one metric.
    pub max_samples: usize,
    /// Times of other incidents (from, to, milliseconds since 1970): what was so then is not what is usual.
    pub troubles: Vec<(i64, i64)>,
    /// Most causes reported.
    pub top_k: usize,
    pub least_probability: f64,
    /// Older topology is used, but said.
    pub stale_topology_ms: i64,
    /// What happened to processes lately, of any machine.
    pub events: Vec<Event>,
    pub result_version: u32,
}

impl Default for ExplainConfig {
    fn default() -> Self {
        Self {
            params: CoreParams::default(),
            baseline_ms: 3_600_000,
            max_samples: 4_000_000,
            troubles: Vec::new(),
            top_k: 3,
            least_probability: 0.05,
            stale_topology_ms: 120_000,
            events: Vec::new(),
            result_version: 1,
        }
    }
}

/// The symptom with its windows.
struct Symptom {
    class: usize,
    judged: Option<Judged>,
    values: Vec<f64>,
    grid: Grid,
    onset_ms: i64,
    tgid: String,
    container_id: String,
}

/// Explains one incident from what the store holds up to `now_ms`. The same inputs give the same answer.
pub fn explain(
    incident: &IncidentInput,
    graph: &dyn CauseGraph,
    store: &dyn SeriesRead,
    now_ms: i64,
    rules: &RuleSet,
    config: &ExplainConfig,
) -> RootCause {
    let mut result = RootCause::detected(incident);
    result.resource.result_version = config.result_version;
    result.resource.rules_version = rules.version;
    let age_ms = now_ms - graph.at_ms();
    let mut limits = Vec::new();
    if age_ms > config.stale_topology_ms {
        limits.push(format!("the topology is {} s old", age_ms / 1000));
    }
    let Some(symptom) = symptom(incident, graph, store, now_ms, rules, config) else {
        limits.push(format!("no rule and no series says what {} is about; nothing could be searched", incident.metric_id));
        result.resource.limits = limits;
        result.resource.stage = Stage::Domain;
        return result;
    };
    let reader = Reader::new(store, &incident.machine_id, symptom.grid, config.max_samples);
    let mut reader = reader.without(&config.troubles).knowing(&config.events);
    let context = Context { params: &config.params, grid: symptom.grid, symptom: symptom.values.clone() };
    let search = Search::new(rules, graph, &mut reader, context, symptom.tgid.clone(), symptom.container_id.clone());
    let found = search.run(symptom.class, symptom.judged.clone());
    // Whether there is a fault is the detector's to say; a symptom inside its own range halves what we claim.
    let doubt = if symptom.judged.as_ref().is_some_and(Judged::is_abnormal) { 1.0 } else { 0.5 };
    let answer = Answer { incident, graph, rules, config, found: &found, onset_ms: symptom.onset_ms, doubt, tgid: &symptom.tgid };

    let resource = &mut result.resource;
    resource.onset = symptom.onset_ms;
    resource.scope = Scope::SingleNode;
    resource.stage = stage(now_ms - symptom.onset_ms, now_ms - incident.at_ms);
    resource.abnormal_kpi = kpi(incident, rules, &symptom);
    limits.extend(said_limits(&found, rules, &symptom, &reader));
    answer::fill(&answer, resource);
    resource.limits = limits;
    resource.inputs_digest = digest(incident, &reader, rules);
    let mut keywords: Vec<String> = Vec::new();
    for cause in &resource.cause_metrics {
        if !cause.keyword.is_empty() && !keywords.contains(&cause.keyword) {
            keywords.push(cause.keyword.clone());
        }
    }
    result.keywords = keywords;
    result
}

/// What came up slowly began long before it was noticed: it is final no sooner after that than all else.
fn stage(since_onset_ms: i64, since_noticed_ms: i64) -> Stage {
    match (since_onset_ms, since_noticed_ms) {
        (..15_000, _) => Stage::Domain,
        (_, ..120_000) => Stage::Cause,
        _ => Stage::Final,
    }
}

fn symptom(
    incident: &IncidentInput,
    graph: &dyn CauseGraph,
    store: &dyn SeriesRead,
    now_ms: i64,
    rules: &RuleSet,
    config: &ExplainConfig,
) -> Option<Symptom> {
    let (kind, field) = split_metric(&incident.metric_id)?;
    let class = rules.class_of_metric(kind.name, field)?;
    let momentary = rules.classes[class].metrics.iter().any(|metric| metric.momentary && metric.entity == kind.name);
    // What the detector counts for all processes of a program is of none of them.
    let together = momentary && kind.has_tgid() && !incident.labels.contains_key("tgid");
    let grouping = if together { Grouping::Together } else { Grouping::of(&rules.classes[class]) };
    let entity = graph.entity(&incident.entity_id);
    let mut labels = entity.map(|entity| entity.labels).unwrap_or_default();
    labels.extend(incident.labels.clone());
    let tgid = labels.get("tgid").cloned().unwrap_or_default();
    let keys: Vec<(&str, String)> = if grouping == Grouping::Process {
        vec![("tgid", tgid.clone())]
    } else {
        let labels = if together { &incident.labels } else { &labels };
        kind.keys.iter().filter_map(|key| Some((*key, labels.get(*key).filter(|value| !value.is_empty())?.clone()))).collect()
    };
    let keep = |row: &Labels| keys.iter().all(|(key, value)| row.get(key).is_none_or(|theirs| theirs == value));

    // What is reported only when it happens tells neither since when the machine is seen nor how often it reports.
    let steady = momentary.then(|| pace(STEADY, &incident.machine_id, store, now_ms, config, &|_| true)).flatten();
    let (first_ms, step_ms) = steady.or_else(|| pace(&incident.metric_id, &incident.machine_id, store, now_ms, config, &keep))?;
    let from_ms = first_ms.max(now_ms - config.baseline_ms);
    let filter = if tgid.is_empty() || together { Filter::Machine } else { Filter::Processes(vec![tgid.clone()]) };
    let judge_at = |onset_ms: i64| -> Option<(Option<Judged>, Vec<f64>, Grid)> {
        let grid = Grid::new(from_ms, onset_ms, now_ms, step_ms);
        let mut reader = Reader::new(store, &incident.machine_id, grid, config.max_samples).without(&config.troubles);
        let rule = &rules.classes[class];
        let context = Context { params: &config.params, grid, symptom: Vec::new() };
        let judged = judge(rule, &mut reader, &filter, &context, &keep, grouping);
        let mut judged = judged.into_iter().next().map(|judged| named(judged, graph, &incident.machine_id));
        if let Some(judged) = &mut judged {
            if together {
                judged.entity_id.clone_from(&incident.entity_id);
                judged.labels.retain(|name, _| name == "machine_id" || incident.labels.contains_key(name));
            }
            // The incident's own metric leads; of its forms the mean, for parts add up to it.
            judged.observations.sort_by_key(|seen| {
                let metric = &rule.metrics[seen.metric];
                (!incident.metric_id.starts_with(&seen.metric_id), metric.measure != Measure::Mean)
            });
        }
        let lead = judged.as_ref().map_or(0, |judged| judged.best().metric);
        let values = symptom_values(&rule.metrics[lead], grouping, &mut reader, &filter, &keep)
            .or_else(|| rule.metrics.iter().find_map(|metric| symptom_values(metric, grouping, &mut reader, &filter, &keep)))?;
        Some((judged, values, grid))
    };
    let guess = incident.onset_ms.unwrap_or(incident.at_ms - 60_000).min(now_ms);
    let (mut judged, mut values, mut grid) = judge_at(guess)?;
    let mut onset_ms = guess;
    if incident.onset_ms.is_none()
        && let Some(seen) = judged.as_ref().and_then(|judged| judged.best().onset_ms)
    {
        onset_ms = seen;
        (judged, values, grid) = judge_at(onset_ms)?;
    }
    let container_id = labels.get("container_id").cloned().unwrap_or_default();
    Some(Symptom { class, judged, values, grid, onset_ms, tgid, container_id })
}

/// What every agent reports in each period.
const STEADY: &str = "gala_gopher_cpu_total_used_per";

/// First sample and usual distance of samples of the symptom.
fn pace(
    metric: &str,
    machine_id: &str,
    store: &dyn SeriesRead,
    now_ms: i64,
    config: &ExplainConfig,
    keep: &dyn Fn(&Labels) -> bool,
) -> Option<(i64, i64)> {
    let range = TimeRange { from_ms: now_ms - config.baseline_ms, to_ms: now_ms };
    for name in [metric.to_owned(), format!("{metric}_sum"), format!("{metric}_count")] {
        let mut matchers = vec![Matcher::equal("__name__", &name)];
        if !machine_id.is_empty() {
            matchers.push(Matcher::equal("machine_id", machine_id));
        }
        let Ok(mut series) = store.select(&matchers, range, config.max_samples) else { continue };
        series.retain(|one| one.labels.get("le").is_none() && keep(&one.labels));
        let first = series.iter().filter_map(|one| one.samples.first()).map(|sample| sample.t_ms).min();
        // The densest series tells the pace best.
        let Some(densest) =
            series.iter().max_by(|left, right| left.samples.len().cmp(&right.samples.len()).then(right.labels.cmp(&left.labels)))
        else {
            continue;
        };
        let mut gaps: Vec<i64> =
            densest.samples.windows(2).map(|pair| pair[1].t_ms - pair[0].t_ms).filter(|gap| *gap > 0).collect();
        gaps.sort_unstable();
        if let (Some(first), Some(middle)) = (first, gaps.get(gaps.len() / 2)) {
            // Reports jitter around their period.
            return Some((first, ((middle + 250) / 500 * 500).clamp(1_000, 60_000)));
        }
    }
    None
}

fn kpi(incident: &IncidentInput, rules: &RuleSet, symptom: &Symptom) -> AbnormalKpi {
    let best = symptom.judged.as_ref().map(|judged| (judged, judged.best()));
    let (_, desc) = described(incident, rules, symptom);
    AbnormalKpi {
        metric_id: incident.metric_id.clone(),
        entity_id: incident.entity_id.clone(),
        timestamp: incident.at_ms,
        metric_labels: incident.labels.clone(),
        desc,
        value_before: best.map(|(_, seen)| seen.before),
        value_after: best.map(|(_, seen)| seen.after),
        unit: best.map(|(_, seen)| seen.unit).unwrap_or_else(|| semantics(&incident.metric_id).1).to_owned(),
    }
}

fn described(incident: &IncidentInput, rules: &RuleSet, symptom: &Symptom) -> (String, String) {
    match &symptom.judged {
        Some(judged) => {
            let Text { en, zh } = text::change(rules, symptom.class, judged, judged.best());
            (zh, en)
        }
        None => {
            let Text { en, zh } = text::left(rules, symptom.class, incident);
            (zh, en)
        }
    }
}

fn said_limits(found: &Found, rules: &RuleSet, symptom: &Symptom, reader: &Reader<'_>) -> Vec<String> {
    let mut limits = Vec::new();
    let baseline = finite_count(&symptom.values[..symptom.grid.baseline_end]);
    if baseline < 60 {
        limits.push(format!("only {baseline} samples of the symptom before its onset; usual ranges are rough"));
    }
    let unmeasured: Vec<&str> = found.unobserved.iter().map(|class| rules.classes[*class].text[0].as_str()).collect();
    if !unmeasured.is_empty() {
        limits.push(format!("not measured for this process: {}", unmeasured.join(", ")));
    }
    if found.truncated {
        limits.push("the search was cut off at its limit of nodes".to_owned());
    }
    limits.extend(reader.failures.iter().cloned());
    limits
}

fn digest(incident: &IncidentInput, reader: &Reader<'_>, rules: &RuleSet) -> String {
    let grid = &reader.grid;
    let mut hash = 0xcbf2_9ce4_8422_2325;
    hash = fnv(hash, serde_json::to_string(incident).unwrap_or_default().as_bytes());
    hash = fnv(hash, format!("{grid:?} {}", rules.version).as_bytes());
    format!("{:016x}", reader.digest(hash))
}

/// Metric id of a class's observation where nothing was measured.
pub(super) const HIDDEN_METRIC: &str = "virtual_metric";

/// Labels without the ones every series has.
pub(super) fn shown_labels(labels: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    labels
        .iter()
        .filter(|(name, _)| !matches!(name.as_str(), "instance" | "job"))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}
