//! Probes `baseinfo`, `proc` and `io` on this kernel, each figure against another source: `/proc`, control groups, sysfs, our own
//! count of what we did. Needs root and BPF; what is missing is said and skipped.
#![allow(clippy::print_stderr)]

#[path = "../common/wait.rs"]
mod wait;

mod disks;
mod figures;
mod groups;
mod harness;
mod loop_disk;
mod processes;
