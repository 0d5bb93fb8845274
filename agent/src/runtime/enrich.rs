//! From a probe's rows to observations: whose they are, in upstream's label order, with the labels of a row made once and
//! shared between its reports.
//!
//! Order: the row's own keys and labels, `comm`, (`cmdline`, `start_time`), the selector's label, container, pod, pod
//! labels, custom labels, `machine_id`.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gala_model::value::LabelSink;
use gala_model::{Event, LabelSet, Observation, TableDef, Value};
use hashbrown::HashMap;

use super::thresholds::{self, Thresholds};
use crate::identity::{Container, Identity, Process};
use crate::ledger::Ledger;
use crate::probes::{ErasedRow, RowSink};
use crate::sinks::latest::{Kept, Latest, Row, Version};

/// Upstream's `record_timeout`.
const RECORD_TIMEOUT: Duration = Duration::from_secs(60);

/// The same event of the same entity and metric is repeated after this at the earliest.
const EVENT_REPEAT: Duration = Duration::from_secs(600);

/// Events remembered for that.
const MAX_EVENT_KEYS: usize = 1000;

/// Events of one collection; more are lost and counted.
const MAX_EVENTS: usize = 1000;

/// What a pod label reads that the pod does not have.
const POD_LABEL_ABSENT: &str = "not found";

/// Which processes a probe's rows may belong to.
#[derive(Clone, Debug, Default)]
pub enum Filter {
    #[default]
    All,
    Only(Arc<HashSet<u32>>),
    Except(Arc<HashSet<u32>>),
}

impl Filter {
    fn admits(&self, tgid: u32) -> bool {
        match self {
            Self::All => true,
            Self::Only(set) => set.contains(&tgid),
            Self::Except(set) => !set.contains(&tgid),
        }
    }
}

/// What the configuration of a probe adds to its rows.
#[derive(Clone, Debug, Default)]
pub struct RowContext {
    pub filter: Filter,
    pub custom_labels: Vec<(&'static str, Arc<str>)>,
    /// Labels of pods: as the pod has it, and as it is exported.
    pub pod_labels: Vec<(Arc<str>, &'static str)>,
    /// Label of the selector that chose a process.
    pub selector_labels: Arc<HashMap<u32, (&'static str, Arc<str>)>>,
    /// What numbers are judged by, where `report_event` asks for it.
    pub thresholds: Option<Thresholds>,
    /// Changes with any of the above that ends up in labels.
    pub version: u64,
}

/// Shared label texts; what only the cache holds is let go at each sweep.
#[derive(Default)]
struct Texts(hashbrown::HashSet<Arc<str>, ahash::RandomState>);

impl Texts {
    fn intern(&mut self, text: &str) -> Arc<str> {
        if let Some(found) = self.0.get(text) {
            return Arc::clone(found);
        }
        let made: Arc<str> = text.into();
        self.0.insert(Arc::clone(&made));
        made
    }

    fn sweep(&mut self) {
        self.0.retain(|text| Arc::strong_count(text) > 1);
    }
}

/// Makes observations; lives as long as the sampling thread, its buffers are reused.
pub struct Enricher {
    pub identity: Identity,
    latest: Arc<Latest>,
    ledger: Ledger,
    hasher: ahash::RandomState,
    texts: Texts,
    key: Vec<u8>,
    values: Vec<Value>,
    batch: Vec<Observation>,
    /// Value buffers of earlier batches.
    spare: Vec<Vec<Value>>,
    events: Vec<Event>,
    reported: HashMap<(String, String), i64>,
    machine_version: u64,
}

/// One probe's collection under way.
pub struct Collection<'a> {
    enricher: &'a mut Enricher,
    probe: &'static str,
    context: &'a RowContext,
    /// Sub-probes of this probe that are off.
    off: &'a [&'static str],
    at_ms: i64,
    now: Instant,
    timeout_ms: i64,
    pub rows: u64,
    full: u64,
}

impl Enricher {
    pub fn new(identity: Identity, latest: Arc<Latest>, ledger: Ledger) -> Self {
        Self {
            identity,
            latest,
            ledger,
            hasher: ahash::RandomState::new(),
            texts: Texts::default(),
            key: Vec::with_capacity(256),
            values: Vec::with_capacity(64),
            batch: Vec::new(),
            spare: Vec::new(),
            events: Vec::new(),
            reported: HashMap::new(),
            machine_version: 0,
        }
    }

    pub fn collection<'a>(
        &'a mut self,
        probe: &'static str,
        context: &'a RowContext,
        off: &'a [&'static str],
        period: Duration,
        at_ms: i64,
        now: Instant,
    ) -> Collection<'a> {
        let timeout_ms = RECORD_TIMEOUT.max(period * 2).as_millis() as i64;
        Collection { enricher: self, probe, context, off, at_ms, now, timeout_ms, rows: 0, full: 0 }
    }

    /// Gives what was collected since the last call, then takes the buffers back.
    pub fn drain(&mut self, mut give: impl FnMut(&[Observation], &[Event])) {
        if !self.batch.is_empty() || !self.events.is_empty() {
            give(&self.batch, &self.events);
        }
        for observation in self.batch.drain(..) {
            let mut values = observation.values;
            values.clear();
            self.spare.push(values);
        }
        self.events.clear();
    }

    /// Lets go of what is no longer shown or asked for.
    pub fn sweep(&mut self, now: Instant, now_ms: i64) {
        if self.identity.refresh_machine(now) {
            self.machine_version += 1;
        }
        self.latest.sweep(now_ms);
        self.identity.sweep(now);
        self.texts.sweep();
        self.spare.truncate(4096);
        self.reported.retain(|_, at_ms| now_ms - *at_ms < EVENT_REPEAT.as_millis() as i64);
        let evicted = self.identity.evicted();
        self.ledger.set("identity", "processes forgotten early", "more processes than the cache holds", evicted);
    }

    /// Estimate of what all caches hold.
    pub fn bytes(&self) -> usize {
        let texts: usize = self.texts.0.iter().map(|text| text.len() + 40).sum();
        self.identity.bytes() + self.latest.bytes() + texts
    }

    /// Whether an event is news: the same entity and metric within the period is not. Life-cycle events always are.
    fn is_news(&mut self, event: &Event) -> bool {
        if event.metric.is_empty() {
            return true;
        }
        let key = (event.entity_id.clone(), event.metric.clone());
        let repeat_ms = EVENT_REPEAT.as_millis() as i64;
        if self.reported.get(&key).is_some_and(|at_ms| event.at_ms - at_ms < repeat_ms) {
            return false;
        }
        if self.reported.len() >= MAX_EVENT_KEYS {
            let oldest = self.reported.iter().min_by_key(|(_, at_ms)| **at_ms).map(|(key, _)| key.clone());
            oldest.map(|key| self.reported.remove(&key));
        }
        self.reported.insert(key, event.at_ms);
        true
    }
}

/// Joins the label texts of a row to a key; the separator is no UTF-8, so texts cannot run into each other.
struct KeyBuilder<'a>(&'a mut Vec<u8>);

impl LabelSink for KeyBuilder<'_> {
    fn label(&mut self, _name: &'static str, text: &str) {
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(0xff);
    }
}

struct LabelBuilder<'a> {
    texts: &'a mut Texts,
    out: Vec<(&'static str, Arc<str>)>,
}

impl LabelSink for LabelBuilder<'_> {
    fn label(&mut self, name: &'static str, text: &str) {
        if !text.is_empty() {
            self.out.push((name, self.texts.intern(text)));
        }
    }
}

impl RowSink for Collection<'_> {
    fn push_row(&mut self, row: &dyn ErasedRow) {
        let tgid = row.tgid();
        if tgid.is_some_and(|tgid| !self.context.filter.admits(tgid)) {
            return;
        }
        let def = row.def();
        let Enricher { identity, latest, hasher, texts, key, values, batch, spare, machine_version, .. } = &mut *self.enricher;
        key.clear();
        row.labels(&mut KeyBuilder(key));
        values.clear();
        row.values(values);
        // Tables that a probe fills for another one have sub-probes of that one.
        if !self.off.is_empty() && def.probe == self.probe && !leave_out(def, self.off, values) {
            return;
        }
        let process = tgid.and_then(|tgid| identity.process(tgid, self.now).cloned());
        if tgid.is_some() && process.is_none() && !def.has_label("comm") {
            // It ended before anybody could tell whose the row is.
            return;
        }
        let version = Version {
            owner: process.as_ref().map_or(0, |process| process.generation),
            context: self.context.version + *machine_version,
        };
        let kept = latest.store(
            &Row {
                def,
                key,
                hash: hasher.hash_one((std::ptr::from_ref(def) as usize, &**key)),
                version,
                at_ms: self.at_ms,
                values,
                timeout_ms: self.timeout_ms,
            },
            || {
                let mut labels = LabelBuilder { texts, out: Vec::with_capacity(12) };
                row.labels(&mut labels);
                let mut labels = labels.out;
                if labels.is_empty() {
                    return None;
                }
                if let Some(process) = &process {
                    add_process_labels(def, process, tgid, self.context, &mut labels);
                }
                if let Some(id) = row.container_id() {
                    add_container_names(identity.container(id).map(|container| &**container), self.context, &mut labels);
                }
                add_missing(&mut labels, self.context.custom_labels.iter().map(|(name, value)| (*name, value)));
                labels.push(("machine_id", Arc::clone(identity.machine_id())));
                Some(Arc::new(LabelSet(labels)))
            },
        );
        match kept {
            Kept::Stored(labels) => {
                let judge = |limits| thresholds::judge(limits, def, &labels, values, self.at_ms);
                let judged = self.context.thresholds.as_ref().map(judge).unwrap_or_default();
                let mut kept_values = spare.pop().unwrap_or_default();
                std::mem::swap(&mut kept_values, values);
                batch.push(Observation { table: def, labels, at_ms: self.at_ms, values: kept_values });
                self.rows += 1;
                for event in judged {
                    self.push_event(event);
                }
            }
            Kept::Full => self.full += 1,
            Kept::Ownerless => {}
        }
    }

    fn push_event(&mut self, mut event: Event) {
        if event.at_ms == 0 {
            event.at_ms = self.at_ms;
        }
        let machine_id = Arc::clone(self.enricher.identity.machine_id());
        if !event.entity_id.starts_with(&*machine_id) {
            let kind = &event.entity_type;
            event.entity_id = gala_model::entity::id::escape(&format!("{machine_id}_{kind}_{}", event.entity_id));
        }
        if event.kind == "exit"
            && let Some(pid) = event.labels.iter().find(|(name, _)| name == "tgid").and_then(|(_, pid)| pid.parse().ok())
        {
            self.enricher.identity.ended(pid, self.now);
        }
        if self.enricher.events.len() >= MAX_EVENTS {
            self.enricher.ledger.add(&format!("probe.{}", self.probe), "events lost", "more events in a period than are kept", 1);
        } else if self.enricher.is_news(&event) {
            event.labels.push(("machine_id".to_owned(), machine_id.to_string()));
            self.enricher.events.push(event);
        }
    }
}

impl Drop for Collection<'_> {
    fn drop(&mut self) {
        if self.full > 0 {
            let reason = "the agent keeps no more rows; observe fewer processes or connections";
            self.enricher.ledger.add(&format!("probe.{}", self.probe), "rows refused", reason, self.full);
        }
    }
}

/// Takes out the values of sub-probes that are off; answers whether any value is left.
fn leave_out(def: &TableDef, off: &[&str], values: &mut [Value]) -> bool {
    for (field, value) in def.metrics().zip(values.iter_mut()) {
        if off.contains(&field.sub_probe) {
            *value = Value::Missing;
        }
    }
    values.iter().any(|value| !matches!(value, Value::Missing))
}

type Labels = Vec<(&'static str, Arc<str>)>;

fn add_process_labels(def: &TableDef, process: &Process, tgid: Option<u32>, context: &RowContext, labels: &mut Labels) {
    add_missing(labels, [("comm", &process.comm)]);
    if def.entity == "proc" {
        add_missing(labels, [("cmdline", &process.cmdline), ("start_time", &process.start_time)]);
    }
    if let Some((name, value)) = tgid.and_then(|tgid| context.selector_labels.get(&tgid)) {
        add_missing(labels, [(*name, value)]);
    }
    if let Some(container) = &process.container {
        add_missing(labels, [("container_id", &container.id)]);
        add_container_names(Some(container), context, labels);
    }
}

/// Names of a container and its pod; unknown texts stay as empty labels, as upstream has them.
fn add_container_names(container: Option<&Container>, context: &RowContext, labels: &mut Labels) {
    let Some(container) = container else { return };
    add_missing(labels, [("container_name", &container.name), ("container_image", &container.image)]);
    if let Some(pod) = &container.pod {
        add_missing(labels, [("pod_id", &pod.id), ("pod", &pod.name), ("pod_namespace", &pod.namespace)]);
        let absent: Arc<str> = POD_LABEL_ABSENT.into();
        let chosen = context.pod_labels.iter();
        add_missing(labels, chosen.map(|(name, exported)| (*exported, container.label(name).unwrap_or(&absent))));
    }
}

/// A label set has each name once; the first one wins, for it is the row's own.
fn add_missing<'a>(labels: &mut Labels, more: impl IntoIterator<Item = (&'static str, &'a Arc<str>)>) {
    for (name, value) in more {
        if labels.iter().all(|(known, _)| *known != name) {
            labels.push((name, Arc::clone(value)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use gala_model::Table;
    use gala_model::tables::proc::SliCpuNodeGauge;
    use gala_model::tables::tcp::TcpMetric;

    use super::*;
    use crate::identity::cgroup::ContainerRef;
    use crate::identity::runtimes::Names;

    #[test]
    fn what_belongs_to_a_sub_probe_that_is_off_is_left_out() {
        let def = <TcpMetric as Table>::def();
        let kept = |off: &[&str]| {
            let mut values = vec![Value::Number(1.0); def.metrics().count()];
            let any = leave_out(def, off, &mut values);
            let kept = def.metrics().zip(values).filter(|(_, value)| *value != Value::Missing);
            (any, kept.map(|(field, _)| field.name).collect::<Vec<_>>())
        };
        let others = ["tcp_abnormal", "tcp_windows", "tcp_srtt", "tcp_rate", "tcp_sockbuf", "tcp_stats", "tcp_delay"];
        assert_eq!(kept(&others), (true, vec!["srtt", "rcv_rtt"]));
        assert_eq!(kept(&[&others[..], &["tcp_rtt"]].concat()), (false, vec![]));
        assert_eq!(kept(&["tcp_delay"]).1.len(), def.metrics().count());
    }

    #[test]
    fn chosen_labels_of_a_pod_are_exported_as_it_has_them() {
        let found = ContainerRef { id: "3f4b1a9c7d2e".into(), pod_uid: Some("u-1".into()) };
        let own = BTreeMap::from([("app.kubernetes.io/name".to_owned(), "shop".to_owned())]);
        let names = Names { pod: "p-1".into(), pod_namespace: "n".into(), labels: own, ..Names::default() };
        let container = Container::new(&found, names);
        let pod_labels = vec![
            ("io.kubernetes.pod.name".into(), "io_kubernetes_pod_name"),
            ("app.kubernetes.io/name".into(), "app_kubernetes_io_name"),
            ("tier".into(), "tier"),
            ("pod".into(), "pod"),
        ];
        let mut labels = Labels::new();
        add_container_names(Some(&container), &RowContext { pod_labels, ..RowContext::default() }, &mut labels);
        let label = |wanted: &str| labels.iter().filter(|(name, _)| *name == wanted).map(|(_, text)| &**text).collect::<Vec<_>>();
        assert_eq!(label("io_kubernetes_pod_name"), ["p-1"]);
        assert_eq!(label("app_kubernetes_io_name"), ["shop"]);
        assert_eq!(label("tier"), ["not found"]);
        assert_eq!(label("pod"), ["n/p-1"], "each name once, our own before theirs");
    }

    #[test]
    fn a_row_of_which_nothing_is_left_is_no_row() {
        let folder = tempfile::tempdir().unwrap();
        let identity = Identity::new(std::path::Path::new("/proc"), folder.path(), Instant::now());
        let mut enricher = Enricher::new(identity, Arc::new(Latest::new(10)), Ledger::default());
        let context = RowContext::default();
        let mut rows = |probe, off: &[&'static str]| {
            let mut collection = enricher.collection(probe, &context, off, Duration::from_secs(5), 1, Instant::now());
            collection.push_row(&SliCpuNodeGauge {
                sli_node_key: "-1",
                cpu_sleep: Some(1),
                cpu_iowait: None,
                cpu_block: None,
                cpu_rundelay: None,
            });
            collection.rows
        };
        assert_eq!(rows("sli", &[]), 1);
        assert_eq!(rows("sli", &["cpu"]), 0);
        assert_eq!(rows("proc", &["cpu"]), 1, "`cpu` is the other probe's");
    }
}
