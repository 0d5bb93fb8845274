//! The lower rung: processes from the files of `/proc` (Documentation/filesystems/proc.rst). Dearer (20 us a
//! process instead of 4), so I/O and run delay are read again only when CPU time moved.

use std::fs;
use std::path::{Path, PathBuf};

use ahash::HashMap;
use anyhow::{Context, Result};

use super::{Process, Usage};
use crate::procfs::text::{fields, lines, number, signed};

const NS_PER_SECOND: u64 = 1_000_000_000;

/// Both clocks of a process, each rounded to ticks twice, agree to this many.
const SAME_TICKS: u64 = 4;

/// CPU time at one moment by both clocks.
#[derive(Clone, Copy, Debug, Default)]
struct CpuTime {
    /// Of all threads, also those that ended, in whole ticks.
    coarse_ns: u64,
    /// Of the first thread; `None` where there are others.
    fine_ns: Option<u64>,
}

impl CpuTime {
    /// What was used since, by the finer clock where it counted the same. Never a difference between two clocks: they
    /// part for good once a second thread has run.
    fn since(self, before: Self, tick_ns: u64) -> u64 {
        let coarse = self.coarse_ns.saturating_sub(before.coarse_ns);
        let fine = self.fine_ns.zip(before.fine_ns).and_then(|(now, before)| now.checked_sub(before));
        fine.filter(|fine| fine.abs_diff(coarse) <= SAME_TICKS * tick_ns).unwrap_or(coarse)
    }
}

/// A process as it was read last.
struct Known {
    process: Process,
    cpu_time: CpuTime,
}

#[derive(Default)]
pub(super) struct Files {
    before: HashMap<u32, Known>,
    buffer: Vec<u8>,
}

impl Files {
    pub fn read(&mut self) -> Result<Vec<Process>> {
        let mut now: HashMap<u32, Known> = HashMap::default();
        for entry in fs::read_dir("/proc").context("reading /proc failed")?.flatten() {
            let Some(tgid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
            // A process that ended meanwhile has no files any more.
            if let Some(known) = self.read_one(tgid, &entry.path()) {
                now.insert(tgid, known);
            }
        }
        self.before = now;
        let mut processes: Vec<Process> = self.before.values().map(|known| known.process.clone()).collect();
        processes.sort_unstable_by_key(|process| process.tgid);
        Ok(processes)
    }

    fn read_one(&mut self, tgid: u32, folder: &Path) -> Option<Known> {
        let tick_ns = NS_PER_SECOND / rustix::param::clock_ticks_per_second().max(1);
        let mut process = parse_stat(crate::procfs::read_into(&folder.join("stat"), &mut self.buffer).ok()?, tick_ns)?;
        process.tgid = tgid;
        let coarse_ns = process.usage.runtime_ns;
        let before = self.before.get(&tgid).filter(|before| before.process.start_ns == process.start_ns);
        let clocks = before.map(|before| (before.process.usage.runtime_ns, before.cpu_time));
        let unchanged = before.filter(|before| {
            let times = |usage: &Usage| (usage.utime_ns, usage.stime_ns);
            times(&before.process.usage) == times(&process.usage)
        });
        if let Some(Known { process: before, cpu_time }) = unchanged {
            let faults = (process.usage.minor_faults, process.usage.major_faults);
            process.usage = before.usage;
            (process.usage.minor_faults, process.usage.major_faults) = faults;
            process.io_known = before.io_known;
            process.files_limit = before.files_limit;
            return Some(Known { process, cpu_time: *cpu_time });
        }
        let cpu_time = CpuTime { coarse_ns, fine_ns: self.read_rest(folder, &mut process) };
        if let Some((runtime_ns, before)) = clocks {
            process.usage.runtime_ns = runtime_ns + cpu_time.since(before, tick_ns);
        }
        Some(Known { process, cpu_time })
    }

    /// Answers the CPU time of the first thread where there is no other.
    fn read_rest(&mut self, folder: &Path, process: &mut Process) -> Option<u64> {
        let mut fine_ns = None;
        let mut read = |name: &str| -> Option<Vec<u8>> {
            let path: PathBuf = folder.join(name);
            crate::procfs::read_into(&path, &mut self.buffer).ok().map(<[u8]>::to_vec)
        };
        if let Some(text) = read("schedstat") {
            let mut columns = fields(&text).map(number);
            fine_ns = columns.next().flatten().filter(|runtime| process.threads == 1 && *runtime > 0);
            process.usage.run_delay_ns = columns.next().flatten().unwrap_or(0);
        }
        if let Some(text) = read("io") {
            process.io_known = parse_io(&text, &mut process.usage);
        }
        if let Some(text) = read("limits") {
            process.files_limit = parse_files_limit(&text);
        }
        fine_ns
    }
}

/// `/proc/PID/stat`. The name stands in parentheses and may hold blanks, parentheses and line ends, so the last
/// parenthesis of the file ends it.
pub(super) fn parse_stat(text: &[u8], tick_ns: u64) -> Option<Process> {
    let open = text.iter().position(|byte| *byte == b'(')?;
    let close = text.iter().rposition(|byte| *byte == b')')?;
    let mut comm = [0; 16];
    let name = text.get(open + 1..close)?;
    let length = name.len().min(15);
    comm[..length].copy_from_slice(&name[..length]);
    // Field 3 (state) is at index 0.
    let columns: Vec<&[u8]> = fields(&text[close + 1..]).collect();
    let field = |index: usize| columns.get(index - 3).copied();
    let count = |index: usize| field(index).and_then(number);
    let state = field(3)?;
    const KERNEL_THREAD: u64 = 0x0020_0000;
    let (utime, stime) = (count(14)? * tick_ns, count(15)? * tick_ns);
    Some(Process {
        comm,
        ppid: count(4)? as u32,
        pgid: field(5).and_then(signed)? as u32,
        kernel: count(9)? & KERNEL_THREAD != 0,
        blocked: u32::from(state == b"D"),
        stopped: u32::from(state == b"T" || state == b"t"),
        zombie: state == b"Z",
        cutime_ns: field(16).and_then(signed)?.max(0) as u64 * tick_ns,
        cstime_ns: field(17).and_then(signed)?.max(0) as u64 * tick_ns,
        priority: field(18).and_then(signed)?,
        nice: field(19).and_then(signed)?,
        threads: count(20)? as u32,
        start_ns: count(22)? * tick_ns,
        vm_pages: count(23)? / rustix::param::page_size() as u64,
        rss_pages: field(24).and_then(signed)?.max(0) as u64,
        cpu: count(39).unwrap_or(0) as u32,
        usage: Usage {
            utime_ns: utime,
            stime_ns: stime,
            runtime_ns: utime + stime,
            gtime_ns: count(43).unwrap_or(0) * tick_ns,
            minor_faults: count(10)?,
            major_faults: count(12)?,
            ..Usage::default()
        },
        ..Process::default()
    })
}

/// `/proc/PID/io`; answers whether it held anything.
fn parse_io(text: &[u8], usage: &mut Usage) -> bool {
    let mut any = false;
    for line in lines(text) {
        let mut columns = fields(line);
        let (Some(name), Some(value)) = (columns.next(), columns.next().and_then(number)) else { continue };
        let slot = match name {
            b"rchar:" => &mut usage.rchar,
            b"wchar:" => &mut usage.wchar,
            b"syscr:" => &mut usage.syscr,
            b"syscw:" => &mut usage.syscw,
            b"read_bytes:" => &mut usage.read_bytes,
            b"write_bytes:" => &mut usage.write_bytes,
            b"cancelled_write_bytes:" => &mut usage.cancelled_bytes,
            _ => continue,
        };
        *slot = value;
        any = true;
    }
    any
}

/// The soft limit of open files in `/proc/PID/limits`; `unlimited` is the largest number.
fn parse_files_limit(text: &[u8]) -> Option<u64> {
    let line = lines(text).find(|line| line.starts_with(b"Max open files"))?;
    let soft = fields(&line[b"Max open files".len()..]).next()?;
    if soft == b"unlimited" { Some(u64::MAX) } else { number(soft) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK_NS: u64 = 10_000_000;

    /// Kernel 6.1, the name made hostile.
    const STAT: &[u8] = b"4321 (a) S 1\n(b c) S 17 4321 4300 34816 4321 4194304 1500 20 3 1 250 50 7 9 20 0 4 0 98765 12288000 2100 18446744073709551615 1 1 0 0 0 0 0 4096 17663 1 0 0 17 1 0 0 0 12 0 0 0 0 0 0 0 0 0\n";

    #[test]
    fn a_name_with_blanks_parentheses_and_line_ends_does_not_move_the_fields() {
        let process = parse_stat(STAT, TICK_NS).unwrap();
        assert_eq!(process.name(), "a) S 1\n(b c");
        assert_eq!((process.ppid, process.pgid, process.threads, process.cpu), (17, 4321, 4, 1));
        assert_eq!(
            (process.usage.utime_ns, process.usage.stime_ns, process.usage.gtime_ns),
            (2_500_000_000, 500_000_000, 120_000_000)
        );
        assert_eq!((process.usage.minor_faults, process.usage.major_faults), (1500, 3));
        assert_eq!((process.priority, process.nice, process.rss_pages), (20, 0, 2100));
        assert!(!process.kernel && !process.zombie);
    }

    #[test]
    fn kernel_threads_and_blocked_ones_are_told_apart() {
        let kernel = b"9 (kworker/0:1-events) D 2 0 0 0 -1 69238880 0 0 0 0 0 7 0 0 20 0 1 0 30 0 0 18446744073709551615 0 0 0 0 0 0 0 2147483647 0 1 0 0 17 0 0 0 0 0 0\n";
        let process = parse_stat(kernel, TICK_NS).unwrap();
        assert!(process.kernel);
        assert_eq!((process.blocked, process.pgid), (1, 0));
        assert!(parse_stat(b"9 (cut", TICK_NS).is_none());
        assert!(parse_stat(b"9 (x) S 2", TICK_NS).is_none());
    }

    #[test]
    fn an_unlimited_number_of_files_is_a_number() {
        let limits = b"Limit                     Soft Limit           Hard Limit           Units     \nMax open files            unlimited            1048576              files     \n";
        assert_eq!(parse_files_limit(limits), Some(u64::MAX));
        assert_eq!(
            parse_files_limit(b"Max open files            1024                 524288               files     \n"),
            Some(1024)
        );
    }

    #[test]
    fn cpu_time_is_a_difference_of_one_clock() {
        let time = |coarse_ms: u64, fine_us: Option<u64>| CpuTime {
            coarse_ns: coarse_ms * 1_000_000,
            fine_ns: fine_us.map(|us| us * 1000),
        };
        let since = |before: CpuTime, now: CpuTime| now.since(before, TICK_NS) / 1000;
        assert_eq!(since(time(500, Some(501_250)), time(510, Some(519_750))), 18_500, "one thread: as fine as the kernel counts");
        // Hours of threads that ended, of which the first thread's clock knows nothing.
        let hours = 7_200_000;
        assert_eq!(since(time(hours, None), time(hours + 20, Some(900_000))), 20_000);
        assert_eq!(since(time(hours, Some(900_000)), time(hours + 20, None)), 20_000);
        assert_eq!(since(time(hours, Some(900_000)), time(hours + 3000, Some(901_000))), 3_000_000, "a thread came and went");
        assert_eq!(since(time(hours, Some(900_000)), time(hours + 10, Some(0))), 10_000);
    }

    #[test]
    fn a_process_whose_threads_come_and_go_has_no_leap_of_cpu_time() {
        let root = tempfile::tempdir().unwrap();
        let mut files = Files::default();
        let mut runtime_ms = |utime: u64, threads: u32, fine_ms: u64| {
            let stat = format!("7 (x) S 1 1 1 0 -1 0 0 0 0 0 {utime} 0 0 0 20 0 {threads} 0 500 0 0");
            fs::write(root.path().join("stat"), stat).unwrap();
            fs::write(root.path().join("schedstat"), format!("{} 0 1\n", fine_ms * 1_000_000)).unwrap();
            let known = files.read_one(7, root.path()).unwrap();
            let runtime_ns = known.process.usage.runtime_ns;
            files.before.insert(7, known);
            runtime_ns / 1_000_000
        };
        // 2 h of CPU time in threads, 1 s in the first one.
        let begin = runtime_ms(720_000, 4, 1000);
        let steps = [runtime_ms(720_010, 1, 1100), runtime_ms(720_020, 1, 1195), runtime_ms(720_030, 2, 1290)];
        assert_eq!(steps.map(|runtime| runtime - begin), [100, 195, 295]);
    }

    #[test]
    fn io_is_read_by_name() {
        let mut usage = Usage::default();
        assert!(parse_io(
            b"rchar: 6976\nwchar: 5\nsyscr: 10\nsyscw: 1\nread_bytes: 4096\nwrite_bytes: 8192\ncancelled_write_bytes: 1\n",
            &mut usage
        ));
        assert_eq!((usage.rchar, usage.write_bytes, usage.cancelled_bytes), (6976, 8192, 1));
        assert!(!parse_io(b"", &mut usage));
    }
}
