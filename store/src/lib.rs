//! Time series: an embedded store behind two small traits, and PromQL over them.

mod block;
mod chunk;
mod head;
mod metadata;
mod postings;
pub mod promql;
mod query;
pub mod remote_write;
mod store;
pub mod types;
mod upkeep;
mod varint;
mod wal;

pub use metadata::MetricMetadata;
pub use store::{Damage, Health, Stats, Store, StoreOptions, now_ms};
pub use types::*;
pub use upkeep::{Upkeep, UpkeepReport};
