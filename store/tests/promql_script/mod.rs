//! Reads and runs PromQL test scripts: `load`, `clear`, `eval instant`, `eval range`, with `expect` lines.

pub mod memory;
pub mod read;
pub mod run;
