//! Look-ups in the vocabulary that answers need: which field a metric is, in which table, with what unit.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use gala_model::{FieldDef, TableDef};

pub type Found = (&'static TableDef, &'static FieldDef);
type Fields = HashMap<&'static str, HashMap<&'static str, Found>>;

static FIELDS: LazyLock<Fields> = LazyLock::new(|| {
    let mut fields = Fields::new();
    for table in gala_model::tables::all() {
        for field in table.metrics() {
            fields.entry(table.entity).or_default().entry(field.name).or_insert((table, field));
        }
    }
    fields
});

/// The field behind `<entity>_<name>`; of a histogram's `_sum`, `_max` and `_count` too.
pub fn field(entity: &str, name: &str) -> Option<Found> {
    let exact = |name: &str| FIELDS.get(entity)?.get(name).copied();
    exact(name).or_else(|| ["_sum", "_max", "_count"].into_iter().find_map(|suffix| exact(name.strip_suffix(suffix)?)))
}

/// Sum and count behind a mean that is no field itself, such as the waiting of requests.
pub fn mean(entity: &str, name: &str) -> Option<(Found, Found)> {
    let fields = FIELDS.get(entity)?;
    Some((*fields.get(format!("{name}_sum").as_str())?, *fields.get(format!("{name}_count").as_str())?))
}

/// Whether some table knows the metric, or what it is a mean of.
pub fn is_metric(metric: &str) -> bool {
    let found = gala_model::entity::split_metric(metric);
    found.is_some_and(|(kind, name)| field(kind.name, name).is_some() || mean(kind.name, name).is_some())
}

/// Whether series of some table carry a label of that name.
pub fn is_label(name: &str) -> bool {
    static LABELS: LazyLock<HashSet<&'static str>> = LazyLock::new(|| {
        let of_tables = gala_model::tables::all().into_iter().flat_map(|table| table.labels().map(|field| field.name));
        let keys = gala_model::entity::TYPES.iter().flat_map(|kind| kind.keys.iter().copied());
        let common = ["machine_id", "hostname", "comm", "cmdline", "start_time", "container_id", "container_name"];
        let of_pods = ["container_image", "pod_id", "pod", "pod_namespace", "app"];
        of_tables.chain(keys).chain(common).chain(of_pods).collect()
    });
    LABELS.contains(name)
}

/// Type, help and unit per metric, as `/metadata` lists them.
pub fn metadata() -> Vec<(&'static str, &'static str, &'static str, &'static str)> {
    let mut rows = Vec::new();
    for table in gala_model::tables::all() {
        for field in table.metrics() {
            let kind = match (field.role, field.semantics) {
                (gala_model::Role::Metric(gala_model::Kind::Histogram), _) => "histogram",
                (_, gala_model::Semantics::Cumulative) => "counter",
                _ => "gauge",
            };
            rows.push((field.series.base, kind, field.help, field.unit));
        }
    }
    rows
}
