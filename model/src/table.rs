//! Tables: what one row of an observation holds. A probe declares a struct with `#[derive(Table)]`; names, kinds,
//! units and help live in that one declaration, and exposition, metadata and `docs/metrics.md` read it from here.

use crate::value::{FieldValue, LabelSink, Value};

/// What a field does in its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Label that takes part in the entity's identity.
    Key,
    /// Descriptive label.
    Label,
    /// Number, exported as `gala_gopher_<entity>_<field>`.
    Metric(Kind),
}

/// How a metric is exported; upstream's field types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Gauge,
    Counter,
    Summary,
    /// Exported under the bare name with `le`, plus `_sum` and `_max`.
    Histogram,
}

/// What the number means over time; decides how queries and detection may use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Semantics {
    /// A state at the time of the report.
    Level,
    /// What happened in one report period; never take a rate of it.
    PerPeriod,
    /// Grows for ever; take a rate.
    Cumulative,
}

/// The direction in which a change is bad for users of the entity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bad {
    Up,
    Down,
    Both,
    /// Context only (rates of requests, sizes): never a fault by itself.
    Never,
}

/// One field of a table.
#[derive(Clone, Copy, Debug)]
pub struct FieldDef {
    pub name: &'static str,
    pub role: Role,
    /// SI or upstream's unit (`ns`, `bytes`, `ratio`, `count`, ...); empty for labels.
    pub unit: &'static str,
    /// One line, without a full stop.
    pub help: &'static str,
    pub semantics: Semantics,
    pub bad: Bad,
    /// Sub-probe that fills it (`tcp_rtt`), empty where the probe has none.
    pub sub_probe: &'static str,
    pub series: SeriesNames,
}

/// Exported names of a metric field, spelled once at compile time, so that nobody formats them per sample and caches may
/// be keyed by their address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeriesNames {
    /// `gala_gopher_<entity>_<field>`
    pub base: &'static str,
    pub sum: &'static str,
    pub max: &'static str,
    pub count: &'static str,
    pub bucket: &'static str,
    /// The table declares a metric of the name `max` itself: that one is exported, once.
    pub max_is_declared: bool,
}

impl FieldDef {
    /// Whether the field is a label of the exported series.
    pub const fn is_label(&self) -> bool {
        matches!(self.role, Role::Key | Role::Label)
    }
}

/// One table: fields in export order, labels first or mixed as declared.
#[derive(Debug)]
pub struct TableDef {
    pub name: &'static str,
    /// Entity type; part of every exported name.
    pub entity: &'static str,
    pub probe: &'static str,
    pub help: &'static str,
    pub fields: &'static [FieldDef],
}

impl TableDef {
    /// Labels (keys and labels) in declaration order.
    pub fn labels(&self) -> impl Iterator<Item = &'static FieldDef> {
        self.fields.iter().filter(|field| field.is_label())
    }

    /// Metrics in declaration order; index = position in an observation's values.
    pub fn metrics(&self) -> impl Iterator<Item = &'static FieldDef> {
        self.fields.iter().filter(|field| !field.is_label())
    }

    pub fn has_label(&self, name: &str) -> bool {
        self.labels().any(|field| field.name.eq_ignore_ascii_case(name))
    }

    /// Exported metric name of a field of this table.
    pub fn metric_name(&self, field: &FieldDef) -> String {
        field.series.base.to_owned()
    }
}

/// A typed row. Derived; see `gala_model_derive`.
pub trait Table: Send + 'static {
    const DEF: TableDef;

    fn def() -> &'static TableDef;
    /// Writes the labels in declaration order; an empty text means absent.
    fn labels(&self, out: &mut dyn LabelSink);
    /// Writes the metrics in declaration order.
    fn values(&self, out: &mut Vec<Value>);
    /// The process the row belongs to, for `comm`, container and selector labels.
    fn tgid(&self) -> Option<u32>;
    /// The container the row belongs to, where the table is keyed by container and not by process.
    fn container_id(&self) -> Option<&str> {
        None
    }
}

/// Helper of the derive: a metric field's value.
pub fn value_of<T: FieldValue>(value: &T) -> Value {
    value.to_value()
}
