//! Root cause: from a symptom and its graph to causes with evidence, path and probability, "none of these" among them.
//!
//! [`explain`] works on a live host over the store's series and the topology; [`offline`] on the files of a case. Both
//! judge each series against the range of its own windows, weigh evidence in nats and send the symptom's deviation
//! backwards like a flow; [`rules`] says as data what may cause what.

mod answer;
mod attribution;
mod common;
pub mod evidence;
mod explain;
pub mod graph;
mod hypotheses;
mod listeners;
pub mod offline;
pub mod params;
pub mod rules;
pub mod search;
pub mod series;
pub mod stats;
pub mod text;

pub use common::explain_common;
pub use explain::{ExplainConfig, explain};
pub use graph::{CauseGraph, GraphEntity};
pub use offline::{CaseError, rca_case};
pub use rules::{RuleSet, rules};
