//! Events: something judged or happened at a moment, with severity; shape of agent-side and analysis-side messages.

use serde::{Deserialize, Serialize};

/// OpenTelemetry severity, as upstream uses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Severity {
    Info,
    Warn,
    Error,
    Fatal,
}

impl Severity {
    /// OpenTelemetry's SeverityNumber.
    pub const fn number(self) -> u8 {
        match self {
            Self::Info => 9,
            Self::Warn => 13,
            Self::Error => 17,
            Self::Fatal => 21,
        }
    }
}

/// One event of one entity.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Event {
    /// Milliseconds since 1970.
    pub at_ms: i64,
    /// External id, `<machine_id>_<type>_<keys>`.
    pub entity_id: String,
    pub entity_type: String,
    /// Metric the event is about; empty for life-cycle events (`process started`).
    pub metric: String,
    /// Machine-readable kind: `threshold`, `oom`, `exec`, `exit`, `restart`, ...
    pub kind: String,
    pub severity: Severity,
    pub body: String,
    pub labels: Vec<(String, String)>,
}
