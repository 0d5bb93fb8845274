//! PromQL as Prometheus 3 has it, over anything that implements [`SeriesRead`](crate::SeriesRead).
//!
//! A query goes through four steps: text to tokens (`lex`), tokens to a tree (`parse`, `check`), the tree made ready for a
//! time range (`prepare`: duration arithmetic, `@`, parts that are the same at every step), and evaluation (`eval`).
//! Evaluation is by column: each selector is read once for the whole range, each series is walked once with a moving window,
//! and a result row holds one value per step, so labels are touched once per series and not once per step.
//!
//! Left out on purpose: native histograms (the store holds floats only); functions on them give nothing.

mod aggregate;
pub mod ast;
mod binary;
mod call;
mod check;
mod engine;
mod eval;
mod functions;
mod info;
mod labels;
mod lex;
mod literal;
mod notes;
mod parse;
mod parse_labels;
mod parse_time;
mod pattern;
mod prepare;
mod print;
mod rows;
mod select;
mod token;

pub use ast::{Expr, ValueType};
pub use engine::{Answer, Cost, Options, QueryError, QueryValue, VectorSample, instant, range};
pub use functions::{Function, all as all_functions};
pub use labels::show as show_labels;
pub use literal::{duration_ns, format_plain, format_value};
pub use notes::utc as show_utc;
pub use parse::{ParseError, parse, parse_selector};
pub use pattern::compile as compile_pattern;
pub use print::pretty;
