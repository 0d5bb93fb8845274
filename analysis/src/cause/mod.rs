//! Root cause: from a symptom and its graph to causes with evidence, path and probability, "none of these" among them.

pub mod offline;
pub mod params;
pub mod stats;

pub use offline::{CaseError, rca_case};
