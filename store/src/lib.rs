//! Time series: an embedded store behind two small traits, and PromQL over them.

mod chunk;
mod head;
mod postings;
mod store;
pub mod promql;
pub mod types;
mod varint;
mod wal;

pub use store::{Damage, Store, StoreOptions, now_ms};
pub use types::*;
