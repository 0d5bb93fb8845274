//! Time series: an embedded store behind two small traits, and PromQL over them.
//!
//! # Files
//!
//! ```text
//! DIR/lock                               pid of the process that has the store open; locked with flock
//! DIR/wal/0000000007.wal                 log segments: what is not yet in a block
//! DIR/blocks/0000000001-0000000006.blk   blocks: immutable, named by the log segments whose samples they hold
//! DIR/damaged/...                        bytes that failed a check, set aside under the name of their file
//! DIR/metadata.json                      type, help and unit of metrics
//! ```
//!
//! **Log.** Appends gather in a buffer; `sync` writes it and calls fdatasync, once for all who wait. Each record has a
//! checksum over its content and another over its header (layout in `wal`), and each segment describes the series it
//! names, so it can be read alone. Every two million samples, half an hour, or soon after a burst the head becomes a block
//! and the segments it came from are deleted.
//!
//! **Block.** All numbers little-endian, "varint" is LEB128:
//!
//! ```text
//! magic "GALABLK1"
//! groups       columns of values, and columns of times, in runs: zstd frame of tokens, raw bits (see `block::column`)
//! index        zstd frame: groups with their crc32, time columns, label strings, series in label order, their columns
//! footer       index offset u64, length u32, raw length u32, crc32 u32, zero u32, oldest ms i64, newest ms i64,
//!              samples u64, series u64, zero u32, crc32 of all that u32, magic "GALAEND1"
//! ```
//!
//! A series scraped with others shares their column of times, which then costs nothing. Blocks are merged when the two,
//! then the twelve hours they lie in are over. A merged block is named by the whole run of segments it replaces: should a
//! crash leave old and new, the wider name wins. Files are read at offsets, not mapped.
//!
//! # Crash guarantee
//!
//! When `sync` has returned, everything appended before survives kill -9 and a power loss. Samples nobody waits for
//! (`append_best_effort`: this host's own) are synced by upkeep every five seconds, so that a crash costs the last seconds;
//! the price is one fdatasync of some kilobytes each five seconds, which keeps a disk from ever spinning down. A crash in
//! mid-write leaves at most an unfinished record at the end of the log, which was acknowledged to nobody and is cut off.
//! Blocks get their name after their content is on disk; the log they replace goes after that. A sample is in the log or
//! in a block, and if a crash leaves it in both it is served once.
//!
//! Bytes damaged otherwise are found by their checksum: in the log the records around them are kept, in a block the
//! groups around them; a block without a readable index is set aside whole. `Store::damage` names each part, `health`
//! says that there is one. A file that could not be read is not a damaged one: it stays where it is.
//!
//! On a full disk the log is cut back to its last whole record, appends that must be durable fail and say why, best-effort
//! ones go on in memory. What is beyond retention or size goes first, so the store may help itself; else it goes on when
//! there is space. It opens on a full disk too.

mod block;
mod chunk;
mod head;
mod lookup;
mod merge;
mod metadata;
mod open;
mod postings;
pub mod promql;
mod query;
mod refusals;
pub mod remote_write;
mod store;
pub mod tool;
pub mod types;
mod upkeep;
mod varint;
mod wal;

pub use metadata::MetricMetadata;
pub use store::{Damage, Health, Stats, Store, StoreOptions, now_ms};
pub use types::*;
pub use upkeep::{Upkeep, UpkeepReport};
