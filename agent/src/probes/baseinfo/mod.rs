//! The system view of a host, read from `/proc`: processors, memory, disks, interfaces, protocols, file systems, facts,
//! pressure and load, and of its processes what they use and hold.
//!
//! No kernel hooks, so it works on every kernel and, but for the processes of others, without privileges. The first reading
//! is taken at start, so that no report holds what happened before. Listen queues belong to the `socket` probe.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use crate::kernel::{HookReport, HookState, Rung};
use crate::probes::{Loss, Probe, ProbeSettings, RowSink, Tick};

mod alive;
mod cpu;
mod disk;
mod facts;
mod filesystem;
mod memory;
mod network;
mod processes;
mod qdisc;

pub fn start(settings: &ProbeSettings) -> anyhow::Result<Box<dyn Probe>> {
    let mut probe = BaseInfo::default();
    probe.choose(settings);
    Ok(Box::new(probe))
}

/// Ticks per second of the times in `/proc`.
pub(crate) fn clock_ticks() -> u64 {
    rustix::param::clock_ticks_per_second().max(1)
}

/// Each part is there while its sub-probe is on and its file can be read.
#[derive(Default)]
struct BaseInfo {
    processors: Part<cpu::Processors>,
    load: Option<cpu::Load>,
    memory: Part<memory::Memory>,
    disks: Part<disk::Disks>,
    interfaces: Part<network::Interfaces>,
    stack: Part<network::Stack>,
    file_systems: Part<filesystem::FileSystems>,
    processes: Part<processes::Processes>,
    facts: Option<facts::Facts>,
    cpu_rows: bool,
    only: Option<Arc<HashSet<u32>>>,
}

/// A part that runs, or why it does not.
#[derive(Default)]
enum Part<T> {
    #[default]
    Off,
    On(T),
    /// Its last report failed; the next one is tried.
    Stumbled(T, String),
    Failed(String),
}

impl<T> Part<T> {
    fn switch(&mut self, on: bool, start: impl FnOnce() -> anyhow::Result<T>) {
        match (on, &self) {
            (false, _) => *self = Self::Off,
            (true, Self::On(_) | Self::Stumbled(..)) => {}
            (true, _) => *self = start().map_or_else(|error| Self::Failed(error.to_string()), Self::On),
        }
    }

    fn get(&self) -> Option<&T> {
        if let Self::On(part) | Self::Stumbled(part, _) = self { Some(part) } else { None }
    }

    /// Runs the part; one that fails says why, leaves the others alone and is tried again at the next report: descriptors or
    /// memory were short for a moment.
    fn run<R>(&mut self, collect: impl FnOnce(&mut T) -> anyhow::Result<R>) -> Option<R> {
        let mut part = match std::mem::take(self) {
            Self::On(part) | Self::Stumbled(part, _) => part,
            other => {
                *self = other;
                return None;
            }
        };
        let result = collect(&mut part);
        *self = match &result {
            Ok(_) => Self::On(part),
            Err(error) => Self::Stumbled(part, format!("{error:#}")),
        };
        result.ok()
    }

    fn report(&self, what: &str) -> Option<HookReport> {
        let (state, reason) = match self {
            Self::Off => return None,
            Self::On(_) => (HookState::Full, String::new()),
            Self::Stumbled(_, reason) | Self::Failed(reason) => (HookState::Off, format!("{what} cannot be read: {reason}")),
        };
        let rung = (state == HookState::Full).then_some(Rung::Procfs);
        Some(HookReport { probe: "baseinfo", hook: what.to_owned(), state, rung, ladder: vec![Rung::Procfs], reason })
    }
}

impl BaseInfo {
    fn choose(&mut self, settings: &ProbeSettings) {
        self.only.clone_from(&settings.processes);
        let on = |name: &str| settings.is_on(name);
        // Load and pressure are facts of the host, but need `/proc/stat` too.
        self.cpu_rows = on("cpu");
        self.processors.switch(on("cpu") || on("host"), || Ok(cpu::Processors::start()?));
        self.memory.switch(on("mem"), || Ok(memory::Memory::start()?));
        self.disks.switch(on("disk"), || Ok(disk::Disks::start()?));
        self.interfaces.switch(on("nic"), || Ok(network::Interfaces::start()?));
        self.stack.switch(on("net"), || Ok(network::Stack::start()?));
        self.file_systems.switch(on("fs"), || Ok(filesystem::FileSystems::start()?));
        self.processes.switch(on("proc"), processes::Processes::start);
        self.load = on("host").then(|| self.load.take().unwrap_or_else(cpu::Load::start));
        self.facts = on("host").then(|| self.facts.take().unwrap_or_default());
    }
}

impl Probe for BaseInfo {
    fn name(&self) -> &'static str {
        "baseinfo"
    }

    fn collect(&mut self, _tick: Tick, out: &mut dyn RowSink) -> anyhow::Result<()> {
        let cpu_rows = self.cpu_rows;
        let stat_before = self.processors.run(|part| Ok(part.collect(cpu_rows, out)?));
        if let (Some(facts), now) = (&mut self.facts, self.processors.get().map(cpu::Processors::stat)) {
            let hostname = facts.collect(now.and_then(|stat| stat.boot_time), out);
            if let (Some(load), Some(before), Some(now)) = (&mut self.load, stat_before, now) {
                load.collect(&hostname, &before, now, out);
            }
        }
        self.memory.run(|part| Ok(part.collect(out)?));
        self.disks.run(|part| Ok(part.collect(out)?));
        self.interfaces.run(|part| Ok(part.collect(out)?));
        self.stack.run(|part| Ok(part.collect(out)?));
        self.file_systems.run(|part| Ok(part.collect(out)?));
        let only = self.only.as_deref();
        self.processes.run(|part| part.collect(only, out));
        Ok(())
    }

    fn reconfigure(&mut self, settings: &ProbeSettings) -> bool {
        self.choose(settings);
        true
    }

    fn hooks(&self) -> Vec<HookReport> {
        [
            self.processors.report("/proc/stat"),
            self.memory.report("/proc/meminfo"),
            self.disks.report("/proc/diskstats"),
            self.interfaces.report("/proc/net/dev"),
            self.interfaces.get().map(network::Interfaces::queues_hook),
            self.stack.report("/proc/net/snmp"),
            self.file_systems.report("/proc/self/mounts"),
            if let Part::On(_) = self.processes { None } else { self.processes.report("task") },
        ]
        .into_iter()
        .flatten()
        .chain(if let Part::On(part) = &self.processes { part.tasks.hooks() } else { Vec::new() })
        .collect()
    }

    fn losses(&self) -> Vec<Loss> {
        let disks = self.disks.get().map_or(0, |part| part.skipped);
        let interfaces = self.interfaces.get().map_or(0, |part| part.skipped);
        let (processes, quiet) = self.processes.get().map_or((0, 0), |part| (part.choice.left_out, part.alive.left_out));
        let (mounts, silent) = self.file_systems.get().map_or((0, 0), |part| (part.skipped, part.silent_periods()));
        [
            ("baseinfo.disks.skipped", "disks beyond the cap were left out of a report", disks),
            ("baseinfo.interfaces.skipped", "interfaces beyond the cap were left out of a report", interfaces),
            ("baseinfo.mounts.skipped", "mounts beyond the cap were left out of a report", mounts),
            ("baseinfo.processes.left_out", "active processes beyond the cap were not reported in a period", processes),
            ("baseinfo.processes.quiet", "quiet processes beyond the cap were not told of", quiet),
            ("baseinfo.mounts.silent", "remote mounts did not answer for a period", silent),
        ]
        .into_iter()
        .filter(|(_, _, count)| *count > 0)
        .map(|(key, what, count)| Loss { key, what: what.to_owned(), count })
        .collect()
    }

    fn program_fds(&self) -> Vec<(String, i32)> {
        self.processes.get().map(|part| part.tasks.program_fds()).unwrap_or_default()
    }

    fn map_bytes(&self) -> u64 {
        self.processes.get().map_or(0, |part| part.tasks.map_bytes())
    }
}

/// What the probe loads: the walk over all processes.
pub const SPEC: crate::kernel::ObjectSpec = crate::tasks::WALK;

/// How long facts that rarely change are kept.
const FACTS_PERIOD: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_fails_once_is_tried_again() {
        let mut part = Part::On(1);
        assert_eq!(part.run(|_| anyhow::bail!("no descriptor left")).map(|()| 0), None);
        let report = part.report("task").unwrap();
        assert_eq!((report.state, report.reason.as_str()), (HookState::Off, "task cannot be read: no descriptor left"));
        assert_eq!(part.run(|number| Ok(*number + 1)), Some(2));
        assert_eq!(part.report("task").unwrap().state, HookState::Full);
    }
}
