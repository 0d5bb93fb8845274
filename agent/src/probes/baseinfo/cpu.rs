//! Processors, pressure and load.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use gala_model::tables::baseinfo::{HostPressure, HostTasks, SystemCpu, SystemCpuUtil};

use crate::probes::RowSink;
use crate::procfs::counter::{grown, grown_between, percent};
use crate::procfs::cpu::{LoadAverage, Pressure, SoftIrqs, Softnet, Stat, parse_clocks, parse_softirqs, parse_softnet};
use crate::procfs::{ProcFile, read_optional, text};

/// Reading the clocks makes some kernels interrupt every processor, so they are read rarely.
const CLOCK_PERIOD: Duration = Duration::from_secs(60);

/// One reading of everything that is counted.
#[derive(Default)]
struct Reading {
    stat: Stat,
    softirqs: BTreeMap<u32, SoftIrqs>,
    softnet: BTreeMap<u32, Softnet>,
}

pub(super) struct Processors {
    stat: ProcFile,
    softirqs: Option<ProcFile>,
    softnet: Option<ProcFile>,
    before: Reading,
    clocks: BTreeMap<u32, f64>,
    clocks_at: Option<Instant>,
    /// Milliseconds of one tick of USER_HZ.
    tick_ms: f64,
}

impl Processors {
    pub fn start() -> std::io::Result<Self> {
        let mut processors = Self {
            stat: ProcFile::open("/proc/stat")?,
            softirqs: ProcFile::optional("/proc/softirqs"),
            softnet: ProcFile::optional("/proc/net/softnet_stat"),
            before: Reading::default(),
            clocks: BTreeMap::new(),
            clocks_at: None,
            tick_ms: 1000.0 / super::clock_ticks() as f64,
        };
        processors.before = processors.read()?;
        Ok(processors)
    }

    /// The latest `/proc/stat`, shared with the row of the host's tasks.
    pub fn stat(&self) -> &Stat {
        &self.before.stat
    }

    fn read(&mut self) -> std::io::Result<Reading> {
        let stat = Stat::parse(self.stat.read()?);
        let online: Vec<u32> = stat.cpus.keys().copied().collect();
        let softirqs = read_optional(&mut self.softirqs).map(parse_softirqs).unwrap_or_default();
        let softnet = read_optional(&mut self.softnet).map(|text| parse_softnet(text, &online)).unwrap_or_default();
        Ok(Reading { stat, softirqs, softnet })
    }

    /// Answers the reading before this one, for what else is derived from `/proc/stat`.
    pub fn collect(&mut self, rows: bool, out: &mut dyn RowSink) -> std::io::Result<Stat> {
        let now = self.read()?;
        if self.clocks_at.is_none_or(|at| at.elapsed() >= CLOCK_PERIOD) {
            self.clocks = std::fs::read("/proc/cpuinfo").map(|text| parse_clocks(&text)).unwrap_or_default();
            self.clocks_at = Some(Instant::now());
        }
        if rows {
            // A processor that came on line in this period has no base yet and so no row.
            for row in now.stat.cpus.keys().filter_map(|cpu| self.row(*cpu, &now)) {
                out.push(&row);
            }
            let all = now.stat.all.since(&self.before.stat.all);
            out.push(&SystemCpuUtil { cpu: "cpu", total_used_per: all.utilisation() });
        }
        Ok(std::mem::replace(&mut self.before, now).stat)
    }

    fn row(&self, cpu: u32, now: &Reading) -> Option<SystemCpu> {
        let used = now.stat.cpus.get(&cpu)?.since(self.before.stat.cpus.get(&cpu)?);
        let irqs = now.softirqs.get(&cpu).zip(self.before.softirqs.get(&cpu));
        let packets = now.softnet.get(&cpu).zip(self.before.softnet.get(&cpu));
        let msec = |ticks: u64| Some(ticks as f64 * self.tick_ms);
        Some(SystemCpu {
            cpu: cpu.to_string(),
            rcu: irqs.and_then(|(now, before)| grown(before.rcu, now.rcu)),
            timer: irqs.and_then(|(now, before)| grown(before.timer, now.timer)),
            sched: irqs.and_then(|(now, before)| grown(before.sched, now.sched)),
            net_rx: irqs.and_then(|(now, before)| grown(before.net_rx, now.net_rx)),
            user_msec: msec(used.user),
            nice_msec: msec(used.nice),
            system_msec: msec(used.system),
            idle_msec: msec(used.idle),
            iowait_msec: msec(used.iowait),
            irq_msec: msec(used.irq),
            softirq_msec: msec(used.softirq),
            steal_msec: msec(used.steal),
            guest_msec: msec(used.guest),
            backlog_drops: packets.and_then(|(now, before)| grown(before.dropped, now.dropped)),
            rps_count: packets.and_then(|(now, before)| grown(before.rps, now.rps)),
            softnet_processed: packets.and_then(|(now, before)| grown(before.processed, now.processed)),
            softnet_squeezed: packets.and_then(|(now, before)| grown(before.squeezed, now.squeezed)),
            util_per: used.utilisation(),
            mhz: self.clocks.get(&cpu).copied(),
        })
    }
}

/// Pressure, load and open files of the whole host.
pub(super) struct Load {
    pressure: [Option<ProcFile>; 3],
    before: [Pressure; 3],
    before_at: Instant,
    load: Option<ProcFile>,
    files: Option<ProcFile>,
}

impl Load {
    pub fn start() -> Self {
        let mut load = Self {
            pressure: ["cpu", "memory", "io"].map(|resource| ProcFile::optional(format!("/proc/pressure/{resource}"))),
            before: [Pressure::default(); 3],
            before_at: Instant::now(),
            load: ProcFile::optional("/proc/loadavg"),
            files: ProcFile::optional("/proc/sys/fs/file-nr"),
        };
        load.before = load.read_pressure();
        load
    }

    fn read_pressure(&mut self) -> [Pressure; 3] {
        self.pressure.each_mut().map(|file| read_optional(file).map(Pressure::parse).unwrap_or_default())
    }

    pub fn collect(&mut self, hostname: &str, before: &Stat, now: &Stat, out: &mut dyn RowSink) {
        let pressure = self.read_pressure();
        let elapsed_us = self.before_at.elapsed().as_micros() as f64;
        self.before_at = Instant::now();
        let share = |before: Option<u64>, now: Option<u64>| {
            percent(grown_between(before, now)? as f64, elapsed_us).map(|share| share.min(100.0))
        };
        let [cpu, memory, io] = [0, 1, 2].map(|index: usize| (self.before[index], pressure[index]));
        if self.pressure.iter().any(Option::is_some) {
            out.push(&HostPressure {
                hostname: hostname.to_owned(),
                psi_cpu_some: share(cpu.0.some_us, cpu.1.some_us),
                psi_memory_some: share(memory.0.some_us, memory.1.some_us),
                psi_memory_full: share(memory.0.full_us, memory.1.full_us),
                psi_io_some: share(io.0.some_us, io.1.some_us),
                psi_io_full: share(io.0.full_us, io.1.full_us),
            });
        }
        self.before = pressure;

        let load = read_optional(&mut self.load).map(LoadAverage::parse).unwrap_or_default();
        let files: Vec<u64> =
            read_optional(&mut self.files).map(|line| text::fields(line).filter_map(text::number).collect()).unwrap_or_default();
        let (files_open, files_limit) = (files.first().copied(), files.get(2).copied());
        out.push(&HostTasks {
            hostname: hostname.to_owned(),
            load1: load.one,
            load5: load.five,
            load15: load.fifteen,
            threads: load.threads,
            threads_running: now.running,
            threads_blocked: now.blocked,
            forks: grown_between(before.forks, now.forks),
            context_switches: grown_between(before.context_switches, now.context_switches),
            interrupts: grown_between(before.interrupts, now.interrupts),
            files_open,
            files_used_per: files_open.zip(files_limit).and_then(|(open, limit)| percent(open as f64, limit as f64)),
        });
    }
}
