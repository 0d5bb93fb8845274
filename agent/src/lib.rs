//! The agent: observes this host and hands out what it saw. Runs on every node.
//!
//! Flow: `probes` fill typed rows, `identity` says whose they are, the runtime gives them time, `sinks` carry them away.

pub mod budget;
pub mod control;
pub mod doctor;
pub mod identity;
pub mod kernel;
pub mod ledger;
mod netlink;
pub mod probes;
pub mod procfs;
pub mod runtime;
pub mod sinks;
pub mod tasks;

pub use doctor::{DoctorReport, doctor};
pub use runtime::{Agent, AgentConfig, AgentError, AgentHandle, AgentStatus};
