//! `GET /faults/{id}`: the explanation with what a page shows beside it: names of hosts and of the domain, and for each
//! step a query that gives its numbers again.

use gala_analysis::cause::RuleSet;
use gala_analysis::incident::{Incident, Symptom};
use gala_analysis::topology::Snapshot;
use gala_model::incident::{FaultDomain, PathStep, RootCause};
use gala_model::{FieldDef, Kind, Role, Semantics};
use serde_json::{Value, json};

use crate::state::HubState;
use crate::vocabulary;

/// What a process took from another stands at the one that waited, by who ran instead.
const TAKEN: &str = "gala_gopher_proc_preempted_ns";

/// The result with the row's life beside it.
pub fn detail(hub: &HubState, incident: &Incident, result: &RootCause) -> Value {
    let mut body = json!(result);
    // The result tells of the symptom it explains best, which need not be the first.
    let told = &result.resource.abnormal_kpi;
    let is_told = |one: &&Symptom| one.entity_id == told.entity_id && one.metric == told.metric_id;
    let symptom = incident.symptoms.iter().find(is_told).unwrap_or_else(|| incident.primary());
    let snapshot = hub.snapshot();
    let rules = hub.rules.read().clone();
    let host_name = |machine_id: &str| snapshot.host_of(machine_id).map_or("", |host| host.name.as_str()).to_owned();
    body["id"] = json!(incident.id);
    body["state"] = json!(incident.state);
    body["opened_ms"] = json!(incident.opened_ms);
    body["closed_ms"] = json!(incident.closed_ms);
    body["summary"] = json!(incident.summary);
    // An explanation knows of no severity; the incident has one.
    body["SeverityText"] = json!(incident.severity);
    body["SeverityNumber"] = json!(incident.severity.number());
    body["asked"] = json!(hub.asked.lock().incident(&incident.id).is_some());
    let resource = &mut body["Resource"];
    let symptoms = incident.symptoms.iter().map(|one| {
        let mut row = json!(one);
        row["host_name"] = json!(host_name(&one.machine_id));
        row
    });
    resource["symptoms"] = symptoms.collect();
    let kpi = &mut resource["abnormal_kpi"];
    kpi["entity_type"] = json!(symptom.entity_type);
    kpi["entity_name"] = json!(symptom.entity_name);
    kpi["host_name"] = json!(host_name(&symptom.machine_id));
    if kpi["value_before"].is_null() {
        kpi["value_before"] = json!(symptom.before);
        kpi["value_after"] = json!(symptom.peak);
        kpi["unit"] = json!(symptom.unit);
    }
    kpi["normal"] = json!({"lo": symptom.low, "hi": symptom.high});
    if let Some(domain) = &result.resource.fault_domain {
        resource["fault_domain"]["entity_name"] = json!(domain_name(&snapshot, domain, result));
    }
    for (at, cause) in result.resource.cause_metrics.iter().enumerate() {
        let known = host_name(&cause.machine_id);
        let host = if known.is_empty() { cause.host_name.clone() } else { known };
        let row = &mut resource["cause_metrics"][at];
        row["host_name"] = json!(host);
        for (step_at, step) in cause.path.iter().enumerate() {
            let row = &mut row["path"][step_at];
            let known = host_name(&step.machine_id);
            let is_here = step.machine_id == cause.machine_id;
            row["host_name"] = json!(if known.is_empty() && is_here { &host } else { &known });
            row["query"] = json!(query(step, cause.path.get(step_at + 1), &rules));
        }
    }
    body
}

/// What people call the domain: as the map does, else as the result does.
fn domain_name(snapshot: &Snapshot, domain: &FaultDomain, result: &RootCause) -> String {
    if let Some(record) = snapshot.entities.get(domain.entity_id.as_str()) {
        return record.name.clone();
    }
    let causes = &result.resource.cause_metrics;
    let own = causes.iter().map(|cause| (&cause.entity_id, &cause.entity_name));
    let steps = causes.iter().flat_map(|cause| &cause.path).map(|step| (&step.entity_id, &step.entity_name));
    let named = own.chain(steps).find(|(id, name)| **id == domain.entity_id && !name.is_empty()).map(|(_, name)| name.clone());
    let host = || {
        let machine_id = domain.entity_id.strip_suffix("_host")?;
        let on_it = causes.iter().find(|cause| cause.machine_id == machine_id && !cause.host_name.is_empty());
        on_it.map(|cause| cause.host_name.clone())
    };
    named.or_else(host).unwrap_or_else(|| domain.entity_id.clone())
}

/// PromQL that gives the numbers of a step; nothing where none measures it.
fn query(step: &PathStep, next: Option<&PathStep>, rules: &RuleSet) -> Option<String> {
    if step.hidden {
        return None;
    }
    let own = step.metric_labels.get("tgid");
    let waited = next.and_then(|next| next.metric_labels.get("tgid")).filter(|waited| Some(*waited) != own);
    if let (TAKEN, Some(by), Some(from)) = (step.metric_id.as_str(), own, waited) {
        let machine = &step.machine_id;
        // A last value must not live on after the end.
        return Some(format!("sum(last_over_time({TAKEN}{{machine_id={machine:?},tgid={from:?},by_tgid={by:?}}}[15s]))"));
    }
    let labels = step.metric_labels.iter().filter(|(_, value)| !value.is_empty());
    let selector = labels.map(|(name, value)| format!("{name}={value:?}")).collect::<Vec<_>>().join(",");
    let (kind, name) = gala_model::entity::split_metric(&step.metric_id)?;
    let of = |field: &FieldDef, series: &str| {
        let selected = format!("{series}{{{selector}}}");
        match field.semantics {
            Semantics::Cumulative => format!("sum(rate({selected}[1m]))"),
            Semantics::Level => selected,
            _ => format!("sum({selected})"),
        }
    };
    // What other steps tell of is no part of this one.
    let minus = |suffix: &str| -> String {
        let parts = rules.left_out(&step.rule, kind.name, name);
        let fields = parts.filter_map(|(part, may_lack)| {
            let (_, field) = vocabulary::field(kind.name, &format!("{part}{suffix}"))?;
            Some((of(field, field.series.base), may_lack))
        });
        // Without the part nothing is left out; a difference to nothing would be nothing.
        let minus = |(part, may_lack)| if may_lack { format!(" - ({part} or vector(0))") } else { format!(" - {part}") };
        fields.map(minus).collect()
    };
    if let Some((_, field)) = vocabulary::field(kind.name, name) {
        let series = &field.series;
        // Times are told as means.
        if field.role == Role::Metric(Kind::Histogram) && step.metric_id == series.base {
            return Some(format!("({}{}) / {}", of(field, series.sum), minus("_sum"), of(field, series.count)));
        }
        return Some(format!("{}{}", of(field, &step.metric_id), minus("")));
    }
    let ((_, sum), (_, count)) = vocabulary::mean(kind.name, name)?;
    Some(format!("{} / {}", of(sum, sum.series.base), of(count, count.series.base)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_is_what_others_leave_over_is_asked_for_without_them() {
        let labels = [("tgid".to_owned(), "7".to_owned())].into();
        let step = |rule: &str, metric: &str| PathStep {
            rule: rule.to_owned(),
            metric_id: metric.to_owned(),
            metric_labels: std::collections::BTreeMap::clone(&labels),
            ..PathStep::default()
        };
        let asked = |step| query(&step, None, gala_analysis::cause::rules()).unwrap();
        let rate = |name: &str| format!("sum(rate(gala_gopher_sli_{name}{{tgid=\"7\"}}[1m]))");
        assert_eq!(
            asked(step("sending-latency", "gala_gopher_sli_latency_nsec")),
            format!(
                "({} - {} - {}) / {}",
                rate("latency_nsec_sum"),
                rate("sched_nsec_sum"),
                rate("proc_nsec_sum"),
                rate("latency_nsec_count")
            )
        );
        let whole = format!("({}) / {}", rate("latency_nsec_sum"), rate("latency_nsec_count"));
        assert_eq!(asked(step("", "gala_gopher_sli_latency_nsec")), whole);
        let locks = asked(step("lock-processing", "gala_gopher_proc_wait_block_ns"));
        assert!(locks.starts_with("sum(gala_gopher_proc_wait_block_ns{") && locks.matches(" - sum(").count() == 3, "{locks}");
        let waits = asked(step("sched-wait", "gala_gopher_proc_run_delay_ns"));
        assert!(waits.ends_with(" - (sum(gala_gopher_proc_throttled_ns{tgid=\"7\"}) or vector(0))"), "{waits}");
    }
}
