//! Time series: an embedded store behind two small traits, and PromQL over them.

pub mod types;

pub use types::*;
