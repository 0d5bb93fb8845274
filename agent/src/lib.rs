//! The agent: observes this host and hands out what it saw. Runs on every node.
//!
//! Flow: `probes` fill typed rows, `identity` says whose they are, the runtime gives them time, `sinks` carry them away.

pub mod kernel;
pub mod probes;
pub mod procfs;
