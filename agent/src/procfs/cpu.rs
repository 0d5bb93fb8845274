//! Processors: `/proc/stat` (Documentation/filesystems/proc.rst, "Miscellaneous kernel statistics"), `/proc/softirqs`,
//! `/proc/net/softnet_stat` (net/core/net-procfs.c) and the clock in `/proc/cpuinfo`.

use std::collections::BTreeMap;

use super::text::{decimal, fields, hex, lines, lossy, number};

/// Time of one processor by use, in ticks of USER_HZ since boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTimes {
    pub user: u64,
    pub nice: u64,
    pub system: u64,
    pub idle: u64,
    pub iowait: u64,
    pub irq: u64,
    pub softirq: u64,
    pub steal: u64,
    /// Part of user and nice.
    pub guest: u64,
}

impl CpuTimes {
    fn parse<'a>(mut columns: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut next = || columns.next().and_then(number).unwrap_or(0);
        let mut times = Self {
            user: next(),
            nice: next(),
            system: next(),
            idle: next(),
            iowait: next(),
            irq: next(),
            softirq: next(),
            steal: next(),
            guest: next(),
        };
        times.guest += next();
        times
    }

    /// What was used since. Single columns may go back a little (the kernel estimates idle and iowait), which counts as nothing.
    pub fn since(&self, before: &Self) -> Self {
        Self {
            user: self.user.saturating_sub(before.user),
            nice: self.nice.saturating_sub(before.nice),
            system: self.system.saturating_sub(before.system),
            idle: self.idle.saturating_sub(before.idle),
            iowait: self.iowait.saturating_sub(before.iowait),
            irq: self.irq.saturating_sub(before.irq),
            softirq: self.softirq.saturating_sub(before.softirq),
            steal: self.steal.saturating_sub(before.steal),
            guest: self.guest.saturating_sub(before.guest),
        }
    }

    pub fn busy(&self) -> u64 {
        self.user + self.nice + self.system + self.irq + self.softirq + self.steal
    }

    /// Busy share in per cent; `None` when no time passed.
    pub fn utilisation(&self) -> Option<f64> {
        let busy = self.busy() as f64;
        super::counter::percent(busy, busy + (self.idle + self.iowait) as f64)
    }
}

/// `/proc/stat`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stat {
    pub all: CpuTimes,
    /// By processor number; processors that are off line have no line.
    pub cpus: BTreeMap<u32, CpuTimes>,
    pub interrupts: Option<u64>,
    pub context_switches: Option<u64>,
    /// Seconds since 1970.
    pub boot_time: Option<u64>,
    pub forks: Option<u64>,
    pub running: Option<u64>,
    pub blocked: Option<u64>,
}

impl Stat {
    pub fn parse(text: &[u8]) -> Self {
        let mut stat = Self::default();
        for line in lines(text) {
            let mut columns = fields(line);
            let Some(name) = columns.next() else { continue };
            match name {
                b"cpu" => stat.all = CpuTimes::parse(columns),
                b"intr" => stat.interrupts = columns.next().and_then(number),
                b"ctxt" => stat.context_switches = columns.next().and_then(number),
                b"btime" => stat.boot_time = columns.next().and_then(number),
                b"processes" => stat.forks = columns.next().and_then(number),
                b"procs_running" => stat.running = columns.next().and_then(number),
                b"procs_blocked" => stat.blocked = columns.next().and_then(number),
                _ => {
                    let index = name.strip_prefix(b"cpu").and_then(number).and_then(|index| u32::try_from(index).ok());
                    if let Some(index) = index {
                        stat.cpus.insert(index, CpuTimes::parse(columns));
                    }
                }
            }
        }
        stat
    }
}

/// Soft interrupts of one processor since boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SoftIrqs {
    pub timer: u64,
    pub net_rx: u64,
    pub sched: u64,
    pub rcu: u64,
}

/// `/proc/softirqs` by processor number; its head line names the processors, for those off line have no column.
pub fn parse_softirqs(text: &[u8]) -> BTreeMap<u32, SoftIrqs> {
    let mut rows = lines(text);
    let cpus: Vec<u32> = rows.next().map_or_else(Vec::new, |head| {
        fields(head).filter_map(|field| number(field.strip_prefix(b"CPU")?)).filter_map(|cpu| u32::try_from(cpu).ok()).collect()
    });
    let mut irqs: BTreeMap<u32, SoftIrqs> = cpus.iter().map(|cpu| (*cpu, SoftIrqs::default())).collect();
    for row in rows {
        let mut columns = fields(row);
        let name = columns.next().unwrap_or_default();
        for (cpu, count) in cpus.iter().zip(columns.map(|count| number(count).unwrap_or(0))) {
            let entry = irqs.entry(*cpu).or_default();
            match name {
                b"TIMER:" => entry.timer = count,
                b"NET_RX:" => entry.net_rx = count,
                b"SCHED:" => entry.sched = count,
                b"RCU:" => entry.rcu = count,
                _ => {}
            }
        }
    }
    irqs
}

/// Packet input of one processor since boot (32-bit counters).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Softnet {
    pub processed: u64,
    pub dropped: u64,
    pub squeezed: u64,
    pub rps: u64,
}

/// `/proc/net/softnet_stat`. Since 5.10 column 13 holds the processor's number (7d58e6555870); before, lines stand for the
/// processors on line in their order, which `online` gives.
pub fn parse_softnet(text: &[u8], online: &[u32]) -> BTreeMap<u32, Softnet> {
    const CPU_COLUMN: usize = 12;
    lines(text)
        .enumerate()
        .filter_map(|(index, line)| {
            let columns: Vec<u64> = fields(line).map(|column| hex(column).unwrap_or(0)).collect();
            let at = |column: usize| columns.get(column).copied().unwrap_or(0);
            let cpu = columns.get(CPU_COLUMN).and_then(|cpu| u32::try_from(*cpu).ok()).or_else(|| online.get(index).copied())?;
            Some((cpu, Softnet { processed: at(0), dropped: at(1), squeezed: at(2), rps: at(9) }))
        })
        .collect()
}

/// Clock of each processor in MHz from `/proc/cpuinfo`; empty on architectures that do not print it.
pub fn parse_clocks(text: &[u8]) -> BTreeMap<u32, f64> {
    let mut clocks = BTreeMap::new();
    let mut cpu = None;
    for line in lines(text) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = (line[..colon].trim_ascii(), line[colon + 1..].trim_ascii());
        match name {
            b"processor" => cpu = number(value).and_then(|cpu| u32::try_from(cpu).ok()),
            b"cpu MHz" => {
                if let (Some(cpu), Some(clock)) = (cpu, decimal(value)) {
                    clocks.insert(cpu, clock);
                }
            }
            _ => {}
        }
    }
    clocks
}

/// Stalls in microseconds since boot: `/proc/pressure/*` and a control group's `*.pressure`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressure {
    pub some_us: Option<u64>,
    pub full_us: Option<u64>,
}

impl Pressure {
    pub fn parse(text: &[u8]) -> Self {
        let mut pressure = Self::default();
        for line in lines(text) {
            let total = fields(line).find_map(|field| field.strip_prefix(b"total=")).and_then(number);
            match fields(line).next() {
                Some(b"some") => pressure.some_us = total,
                Some(b"full") => pressure.full_us = total,
                _ => {}
            }
        }
        pressure
    }
}

/// Load averages and thread counts of `/proc/loadavg`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LoadAverage {
    pub one: Option<f64>,
    pub five: Option<f64>,
    pub fifteen: Option<f64>,
    pub threads: Option<u64>,
}

impl LoadAverage {
    pub fn parse(text: &[u8]) -> Self {
        let mut columns = fields(text);
        let mut next = || columns.next().and_then(decimal);
        let (one, five, fifteen) = (next(), next(), next());
        let tasks = columns.next().map(lossy).unwrap_or_default();
        Self { one, five, fifteen, threads: tasks.split_once('/').and_then(|(_, all)| all.parse().ok()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kernel 6.18, two processors.
    const STAT_6_18: &[u8] = b"cpu  56244 18930 20046 158590 1519 0 319 2330 12 3
cpu0 26060 9443 8558 83368 372 0 31 1143 0 0
cpu1 30183 9486 11487 75221 1147 0 287 1186 0 0
intr 602017 0 0 0 0 0 0
ctxt 847166
btime 1795642104
processes 20476
procs_running 3
procs_blocked 1
softirq 344857 0 48968 6 11854 88887 0 99 79248 0 115795
";

    #[test]
    fn stat_has_all_processors_and_the_totals() {
        let stat = Stat::parse(STAT_6_18);
        assert_eq!(stat.cpus.len(), 2);
        assert_eq!(stat.all.guest, 15);
        assert_eq!(stat.cpus[&1].steal, 1186);
        assert_eq!((stat.interrupts, stat.context_switches, stat.forks), (Some(602_017), Some(847_166), Some(20476)));
        assert_eq!((stat.running, stat.blocked, stat.boot_time), (Some(3), Some(1), Some(1_795_642_104)));
    }

    #[test]
    fn a_processor_that_is_off_line_is_absent_and_others_keep_their_number() {
        let stat = Stat::parse(b"cpu  3 0 0 0\ncpu0 1 0 0 0 0 0 0 0 0 0\ncpu3 2 0 0 0 0 0 0 0 0 0\n");
        assert_eq!(stat.cpus.keys().copied().collect::<Vec<_>>(), [0, 3]);
        let irqs =
            parse_softirqs(b"                    CPU0       CPU3       \n       TIMER:      1      2\n      NET_RX:   3  4\n");
        assert_eq!(irqs[&3], SoftIrqs { timer: 2, net_rx: 4, ..SoftIrqs::default() });
    }

    #[test]
    fn utilisation_counts_steal_and_leaves_out_waiting() {
        let used = CpuTimes { user: 10, steal: 10, idle: 60, iowait: 20, guest: 5, ..CpuTimes::default() };
        assert_eq!(used.utilisation(), Some(20.0));
        assert_eq!(CpuTimes::default().utilisation(), None);
    }

    #[test]
    fn a_column_that_goes_back_counts_as_nothing() {
        let (before, now) =
            (CpuTimes { iowait: 10, user: 1, ..CpuTimes::default() }, CpuTimes { iowait: 9, user: 3, ..CpuTimes::default() });
        assert_eq!(now.since(&before), CpuTimes { user: 2, ..CpuTimes::default() });
    }

    #[test]
    fn softnet_lines_belong_to_the_processor_they_name() {
        // Kernel 4.18: eleven columns, no number; processors 0 and 2 are on line.
        let old = b"0000000c 00000001 00000002 00000000 00000000 00000000 00000000 00000000 00000000 00000005 00000000\n\
                    00003123 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000\n";
        let rows = parse_softnet(old, &[0, 2]);
        assert_eq!(rows[&0], Softnet { processed: 12, dropped: 1, squeezed: 2, rps: 5 });
        assert_eq!(rows[&2].processed, 0x3123);
        // Kernel 6.18: the thirteenth column is the number.
        let new = b"00000001 0 0 0 0 0 0 0 0 0 0 0 00000003 00000000 00000000\n";
        assert_eq!(parse_softnet(new, &[0])[&3].processed, 1);
    }

    #[test]
    fn pressure_before_5_13_has_no_full_line_for_processors() {
        let old = Pressure::parse(b"some avg10=0.00 avg60=0.00 avg300=0.00 total=123\n");
        assert_eq!((old.some_us, old.full_us), (Some(123), None));
        let new = Pressure::parse(
            b"some avg10=0.02 avg60=1.30 avg300=4.39 total=89640040\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n",
        );
        assert_eq!((new.some_us, new.full_us), (Some(89_640_040), Some(7)));
    }

    #[test]
    fn load_average_holds_the_number_of_threads() {
        let load = LoadAverage::parse(b"0.74 0.93 0.75 3/160 20476\n");
        assert_eq!((load.one, load.fifteen, load.threads), (Some(0.74), Some(0.75), Some(160)));
    }

    #[test]
    fn clocks_follow_their_processor() {
        let clocks =
            parse_clocks(b"processor\t: 0\nmodel name\t: x: y\ncpu MHz\t\t: 2450.000\n\nprocessor\t: 3\ncpu MHz\t\t: 3100.5\n");
        assert_eq!((clocks[&0], clocks[&3]), (2450.0, 3100.5));
        assert!(parse_clocks(b"processor\t: 0\nBogoMIPS\t: 50.00\n").is_empty());
    }
}
