//! The vocabulary of GALA: what is observed, how it is named, what a number means. Pure: no I/O, no clocks, no threads.
//!
//! A probe declares its tables once with `#[derive(Table)]`; exposition, metadata, `docs/metrics.md` and the interface's
//! dictionary are generated from that declaration.
#![forbid(unsafe_code)]

extern crate self as gala_model;

pub mod docs;
pub mod entity;
pub mod event;
pub mod exposition;
pub mod incident;
pub mod meta;
pub mod observation;
pub mod remote_write;
pub mod request_head;
pub mod series;
pub mod table;
pub mod tables;
pub mod value;

pub use event::{Event, Severity};
pub use gala_model_derive::Table;
pub use observation::{LabelSet, Observation, ObservationSink};
pub use table::{Bad, FieldDef, Kind, Role, Semantics, SeriesNames, Table, TableDef};
pub use value::{Histogram, Value};

/// Every metric of upstream and ours starts so.
pub const PREFIX: &str = "gala_gopher_";
