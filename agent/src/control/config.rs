//! What is configured for one probe, its answer to GET, and the settings it runs with.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Map, Value};

use super::catalogue::ProbeEntry;
use super::params::{PARAMS, ParamDef};
use super::range::{Mode, Objects, Range};
use crate::probes::ProbeSettings;
use crate::runtime::enrich::RowContext;
use crate::runtime::thresholds::Thresholds;

/// Label names people may introduce during the life of an agent.
const MAX_LABEL_NAMES: usize = 1024;

/// One probe's configuration. Names are answered whole, also those upstream cuts, so that answers can be sent back.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProbeConfig {
    /// Enabled sub-probes in catalogue order.
    pub sub_probes: Vec<&'static str>,
    pub mode: Mode,
    pub objects: Objects,
    /// Sorted by name.
    pub custom_labels: Vec<(&'static str, String)>,
    pub pod_labels: Vec<String>,
    /// Only what was set.
    pub params: BTreeMap<&'static str, Value>,
}

impl ProbeConfig {
    pub fn param(&self, param: &ParamDef) -> Value {
        self.params.get(param.name).cloned().unwrap_or_else(|| param.default())
    }

    fn number(&self, name: &str) -> i64 {
        super::params::find(name).and_then(|param| self.param(param).as_i64()).unwrap_or(0)
    }

    /// The object GET answers, keys in alphabetical order.
    pub fn answer(&self, entry: &ProbeEntry, running: bool) -> Value {
        let mut command = Map::new();
        command.insert("bin".into(), entry.program.into());
        command.insert("probe".into(), self.sub_probes.clone().into());
        let shown = PARAMS.iter().map(|param| (param, self.param(param)));
        let shown = shown.filter(|(param, value)| param.is_shown_for(entry.name, value));
        let params: Map<String, Value> = shown.map(|(param, value)| (param.name.to_owned(), value)).collect();
        // Alphabetical whether or not the map keeps the order of insertion. Labels are in force with either list.
        let listed: BTreeMap<String, Value> = self.objects_answer().into_iter().chain(self.labels_answer()).collect();
        let listed: Map<String, Value> = listed.into_iter().collect();
        let mut answer = Map::new();
        if self.mode == Mode::Black {
            answer.insert("blacklist".into(), listed.clone().into());
        }
        answer.insert("cmd".into(), command.into());
        answer.insert("params".into(), params.into());
        if self.mode == Mode::White {
            answer.insert("snoopers".into(), listed.into());
        }
        answer.insert("state".into(), if running { "running" } else { "stopped" }.into());
        answer.into()
    }

    /// `custom_labels` and `pod_labels`, if there are any.
    pub(super) fn labels_answer(&self) -> Map<String, Value> {
        let mut answer = Map::new();
        if !self.custom_labels.is_empty() {
            let labels = self.custom_labels.iter().map(|(name, value)| ((*name).to_owned(), Value::from(value.as_str())));
            answer.insert("custom_labels".into(), labels.collect::<Map<_, _>>().into());
        }
        if !self.pod_labels.is_empty() {
            answer.insert("pod_labels".into(), self.pod_labels.clone().into());
        }
        answer
    }

    /// The five lists; nothing when all are empty.
    pub(super) fn objects_answer(&self) -> Map<String, Value> {
        let mut answer = Map::new();
        if self.objects.is_empty() {
            return answer;
        }
        let names = self.objects.proc_name.entries().iter().map(|entry| {
            let mut object = Map::new();
            if !entry.cmdline.is_empty() {
                object.insert("cmdline".into(), entry.cmdline.as_str().into());
            }
            object.insert("comm".into(), entry.pattern.as_str().into());
            if let Some((name, value)) = &entry.label {
                let label = Map::from_iter([((*name).to_owned(), Value::from(value.as_str()))]);
                object.insert("label".into(), label.into());
            }
            Value::from(object)
        });
        answer.insert("container_id".into(), self.objects.container_id.clone().into());
        answer.insert("container_name".into(), self.objects.container_name.clone().into());
        answer.insert("pod_id".into(), self.objects.pod_id.clone().into());
        answer.insert("proc_id".into(), self.objects.proc_id.clone().into());
        answer.insert("proc_name".into(), names.collect::<Vec<_>>().into());
        answer
    }

    pub fn range(&self, entry: &ProbeEntry) -> Range {
        Range::new(self.mode, &self.objects, entry.observes)
    }

    pub fn settings(&self, entry: &ProbeEntry) -> ProbeSettings {
        ProbeSettings {
            report_period: Duration::from_secs(self.number("report_period").max(1) as u64),
            sample_period: Duration::from_millis(self.number("sample_period").max(1) as u64),
            sub_probes: self.sub_probes.iter().map(|name| (*name).to_owned()).collect(),
            report_client_port: self.number("report_cport") == 1,
            processes: self.range(entry).processes(),
        }
    }

    /// `version` must differ between any two contexts of a probe.
    pub fn context(&self, version: u64) -> RowContext {
        let custom_labels = self.custom_labels.iter().map(|(name, value)| (*name, Arc::from(value.as_str()))).collect();
        let pod_labels =
            self.pod_labels.iter().filter_map(|name| Some((Arc::from(name.as_str()), exported_label(name)?))).collect();
        RowContext { custom_labels, pod_labels, thresholds: self.thresholds(), version, ..RowContext::default() }
    }

    /// 0, which is also the default, only leaves judging by thresholds out.
    fn thresholds(&self) -> Option<Thresholds> {
        let limit = |name| u32::try_from(self.number(name)).unwrap_or(0);
        let given =
            || Thresholds { latency_ms: limit("latency_thr"), drops: limit("drops_thr"), upper_percent: limit("res_upper_thr") };
        self.reports_events().then(given)
    }

    /// Numbers past their thresholds are told as events.
    pub fn reports_events(&self) -> bool {
        self.number("report_event") == 1
    }

    /// Sub-probes that are on and that this version reports nothing for.
    pub fn unfilled(&self, entry: &ProbeEntry) -> impl Iterator<Item = &'static str> {
        self.sub_probes.iter().copied().filter(|name| !entry.fills(name))
    }

    /// Parameters among those given that differ from their default and that the probe has no use for.
    pub fn unused<'a>(&'a self, probe: &'a str) -> impl Iterator<Item = &'static str> + 'a {
        let set = self.params.iter().filter_map(|(name, value)| Some((super::params::find(name)?, value)));
        set.filter(|(param, value)| **value != param.default() && !param.is_used_by(probe)).map(|(param, _)| param.name)
    }
}

/// Names of labels that people may not give: each series has these from elsewhere, and must not have them twice.
pub fn is_reserved(label: &str) -> bool {
    label.starts_with("__") || matches!(label, "le" | "machine_id")
}

/// A pod's label as a label of a series; `None` for a name that is reserved, or one more than may be made.
pub fn exported_label(name: &str) -> Option<&'static str> {
    Some(exported_name(name)).filter(|name| !is_reserved(name)).and_then(|name| intern(&name))
}

/// `app.kubernetes.io/name` becomes `app_kubernetes_io_name`.
fn exported_name(name: &str) -> String {
    let mut out: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if out.starts_with(|c: char| c.is_ascii_digit()) {
        out.insert(0, '_');
    }
    out
}

/// A label name that lives as long as the program, for label sets hold names by address; `None` when too many were made.
pub fn intern(name: &str) -> Option<&'static str> {
    static NAMES: Mutex<Vec<&'static str>> = Mutex::new(Vec::new());
    let mut names = NAMES.lock();
    if let Some(known) = names.iter().find(|known| **known == name) {
        return Some(known);
    }
    if names.len() >= MAX_LABEL_NAMES {
        return None;
    }
    let kept: &'static str = Box::leak(name.to_owned().into_boxed_str());
    names.push(kept);
    Some(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_pods_get_names_that_a_series_may_have_and_has_not_yet() {
        assert_eq!(exported_label("app.kubernetes.io/name"), Some("app_kubernetes_io_name"));
        assert_eq!(exported_label("7days"), Some("_7days"));
        for reserved in ["machine_id", "machine-id", "le", "__name__", "_.x"] {
            assert_eq!(exported_label(reserved), None, "{reserved}");
        }
        // What was saved before this was refused makes no second label of the name.
        let config = ProbeConfig { pod_labels: vec!["le".into(), "tier".into()], ..ProbeConfig::default() };
        assert_eq!(config.context(1).pod_labels, [("tier".into(), "tier")]);
    }
}
