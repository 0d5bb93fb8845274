//! Reads and runs PromQL test scripts: `load`, `clear`, `eval instant`, `eval range`, with `expect` lines.

pub mod memory;
mod property;
pub mod read;
pub mod run;
