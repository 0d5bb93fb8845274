//! What each active process used in the period and holds at its end, and that the quiet ones are still there.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ahash::HashMap;
use gala_model::tables::baseinfo::{HostProcesses, SystemProc};

use super::alive::Alive;
use crate::probes::RowSink;
use crate::procfs::counter::percent;
use crate::procfs::read_into;
use crate::procfs::text::{fields, lines, number};
use crate::tasks::{Choice, Pair, Process, Snapshot, Tasks, WALK};

/// Before 6.2 (f1f1f2569901) open files have to be counted one by one; no more than this many processes a period.
const MAX_COUNTED: usize = 32;
/// The kernel walks a process's page tables for its detailed memory figures and holds its memory lock meanwhile, so only one
/// process of at most this size is asked in a period, and none twice in a minute.
const MAX_ROLLUP_BYTES: u64 = 128 << 20;
const ROLLUP_PERIOD: Duration = Duration::from_secs(60);

pub(super) struct Processes {
    pub tasks: Tasks,
    pub choice: Choice,
    pub alive: Alive,
    before: Snapshot,
    rolled_up: HashMap<u32, Instant>,
    counted_from: usize,
    units: Units,
    buffer: Vec<u8>,
}

/// Sizes in which figures are told.
struct Units {
    page_bytes: u64,
    pages: u64,
    tick_ns: f64,
    /// The size of `/proc/PID/fd` is the number of its entries.
    fd_size: bool,
}

impl Processes {
    pub fn start() -> anyhow::Result<Self> {
        let mut tasks = Tasks::start(&WALK);
        let before = tasks.snapshot()?;
        let meminfo = std::fs::read("/proc/meminfo").unwrap_or_default();
        let page_bytes = rustix::param::page_size() as u64;
        let total_kb = crate::procfs::memory::MemInfo::parse(&meminfo).total.unwrap_or(0);
        let units = Units {
            page_bytes,
            pages: total_kb * 1024 / page_bytes,
            tick_ns: 1e9 / super::clock_ticks() as f64,
            fd_size: std::fs::metadata("/proc/self/fd").is_ok_and(|folder| folder.size() > 0),
        };
        Ok(Self {
            tasks,
            choice: Choice::default(),
            alive: Alive::start(&before),
            before,
            rolled_up: HashMap::default(),
            counted_from: 0,
            units,
            buffer: Vec::new(),
        })
    }

    pub fn collect(&mut self, only: Option<&HashSet<u32>>, out: &mut dyn RowSink) -> anyhow::Result<()> {
        let now = self.tasks.snapshot()?;
        let before = &self.before;
        let seconds = now.at.saturating_duration_since(before.at).as_secs_f64();
        let pairs = self.choice.select(before, &now, only);
        let asked = self.next_rollup(&pairs);
        let reported: Vec<u32> = pairs.iter().map(|pair| pair.now.tgid).collect();
        for (index, pair) in pairs.iter().enumerate() {
            let mut row = usage_row(pair, seconds, &self.units);
            let in_turn = (index + pairs.len() - self.counted_from % pairs.len()) % pairs.len() < MAX_COUNTED;
            row.fd_count = if pair.now.kernel { None } else { open_files(pair.now.tgid, self.units.fd_size, in_turn) };
            row.fd_free_per = row.fd_count.zip(pair.now.files_limit).and_then(|(open, limit)| free_share(open, limit));
            if asked == Some(pair.now.tgid) {
                let path = PathBuf::from(format!("/proc/{}/smaps_rollup", pair.now.tgid));
                if let Ok(text) = read_into(&path, &mut self.buffer) {
                    add_rollup(text, &mut row);
                }
            }
            out.push(&row);
        }
        for quiet in self.alive.due(&reported, only, &now) {
            out.push(&life_row(quiet));
        }
        if !self.units.fd_size {
            self.counted_from += MAX_COUNTED;
        }
        let users = || now.processes.iter().filter(|process| !process.kernel);
        out.push(&HostProcesses {
            hostname: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            processes: users().count() as u64,
            zombies: users().filter(|process| process.zombie).count() as u64,
            threads_uninterruptible: now.processes.iter().map(|process| u64::from(process.blocked)).sum(),
        });
        self.note_rollup(asked, &reported);
        self.before = now;
        Ok(())
    }

    /// The process whose detailed memory figures are oldest.
    fn next_rollup(&self, pairs: &[Pair<'_>]) -> Option<u32> {
        let small = |pair: &&Pair<'_>| {
            !pair.now.kernel && !pair.now.zombie && pair.now.rss_pages * self.units.page_bytes <= MAX_ROLLUP_BYTES
        };
        let due = |tgid: &u32| self.rolled_up.get(tgid).is_none_or(|at| at.elapsed() >= ROLLUP_PERIOD);
        let candidates = pairs.iter().filter(small).map(|pair| pair.now.tgid).filter(due);
        candidates.min_by_key(|tgid| self.rolled_up.get(tgid).copied())
    }

    /// Remembers who was asked; forgets who is not reported any more.
    fn note_rollup(&mut self, asked: Option<u32>, reported: &[u32]) {
        self.rolled_up.retain(|tgid, _| reported.binary_search(tgid).is_ok());
        if let Some(tgid) = asked {
            self.rolled_up.insert(tgid, Instant::now());
        }
    }
}

fn usage_row(pair: &Pair<'_>, seconds: f64, units: &Units) -> SystemProc {
    let (before, now) = (pair.before, pair.now);
    let usage = now.usage.since(&before.usage);
    // The scheduler counts run time exactly, user and kernel mode are sampled by ticks: the sample divides the exact sum,
    // as the kernel does for /proc/PID/stat.
    let sampled = usage.utime_ns + usage.stime_ns;
    let user_ns =
        if sampled > 0 { usage.runtime_ns as f64 * usage.utime_ns as f64 / sampled as f64 } else { usage.runtime_ns as f64 };
    let system_ns = usage.runtime_ns as f64 - user_ns;
    let guest_ns = (usage.gtime_ns as f64).min(user_ns);
    let jiffies = |ns: f64| Some((ns / units.tick_ns).round() as u64);
    let io = |value: u64| now.io_known.then_some(value);
    let share = |ns: f64| percent(ns / 1e9, seconds);
    SystemProc {
        tgid: now.tgid,
        pgid: now.pgid,
        ppid: now.ppid,
        rchar_bytes: io(usage.rchar),
        wchar_bytes: io(usage.wchar),
        syscr_count: io(usage.syscr),
        syscw_count: io(usage.syscw),
        read_bytes: io(usage.read_bytes),
        write_bytes: io(usage.write_bytes),
        cancelled_write_bytes: io(usage.cancelled_bytes),
        swap_data_size: now.swap_pages.map(|pages| pages * units.page_bytes / 1024),
        minor_pagefault_count: Some(usage.minor_faults),
        major_pagefault_count: Some(usage.major_faults),
        utime_jiffies: jiffies(user_ns),
        stime_jiffies: jiffies(system_ns),
        cutime_jiffies: jiffies(now.cutime_ns.saturating_sub(before.cutime_ns) as f64),
        cstime_jiffies: jiffies(now.cstime_ns.saturating_sub(before.cstime_ns) as f64),
        priority: Some(now.priority),
        nice: Some(now.nice),
        num_threads: Some(u64::from(now.threads)),
        vm_size: Some(now.vm_pages * units.page_bytes),
        pm_size: Some(now.rss_pages * units.page_bytes),
        pm_util: percent(now.rss_pages as f64, units.pages as f64),
        cpu: Some(u64::from(now.cpu)),
        cpu_util: share(usage.runtime_ns as f64),
        cpu_user_util: share(user_ns - guest_ns),
        cpu_system_util: share(system_ns),
        ..SystemProc::default()
    }
}

/// That a process is there, and nothing else.
fn life_row(process: &Process) -> SystemProc {
    let Process { tgid, pgid, ppid, .. } = *process;
    SystemProc { tgid, pgid, ppid, num_threads: Some(u64::from(process.threads)), ..SystemProc::default() }
}

/// Open files of a process; where they have to be counted, only when it is in turn.
fn open_files(tgid: u32, fd_size: bool, in_turn: bool) -> Option<u64> {
    let folder = format!("/proc/{tgid}/fd");
    if fd_size {
        return std::fs::metadata(folder).ok().map(|folder| folder.size());
    }
    if !in_turn {
        return None;
    }
    Some(std::fs::read_dir(folder).ok()?.count() as u64)
}

/// Share of the limit still unused; without a limit all of it.
fn free_share(open: u64, limit: u64) -> Option<f64> {
    if limit >= u64::MAX / 2 {
        return Some(100.0);
    }
    percent(limit.saturating_sub(open) as f64, limit as f64)
}

/// Figures of `/proc/PID/smaps_rollup` in kB.
fn add_rollup(text: &[u8], row: &mut SystemProc) {
    for line in lines(text) {
        let mut columns = fields(line);
        let (Some(name), value) = (columns.next(), columns.next().and_then(number)) else { continue };
        let slot = match name {
            b"Shared_Clean:" => &mut row.shared_clean_size,
            b"Shared_Dirty:" => &mut row.shared_dirty_size,
            b"Private_Clean:" => &mut row.private_clean_size,
            b"Private_Dirty:" => &mut row.private_dirty_size,
            b"Referenced:" => &mut row.referenced_size,
            b"LazyFree:" => &mut row.lazyfree_size,
            b"Swap:" => &mut row.swap_data_size,
            b"SwapPss:" => &mut row.swap_data_pss_size,
            _ => continue,
        };
        *slot = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::Usage;

    const UNITS: Units = Units { page_bytes: 4096, pages: 1000, tick_ns: 1e7, fd_size: true };

    #[test]
    fn exact_run_time_is_divided_by_the_sampled_modes() {
        let before = Process::default();
        let usage = Usage { runtime_ns: 2_000_000_000, utime_ns: 300, stime_ns: 100, ..Usage::default() };
        let now = Process { usage, rss_pages: 100, ..Process::default() };
        let row = usage_row(&Pair { before: &before, now: &now }, 4.0, &UNITS);
        assert_eq!((row.cpu_util, row.cpu_user_util, row.cpu_system_util), (Some(50.0), Some(37.5), Some(12.5)));
        assert_eq!((row.utime_jiffies, row.stime_jiffies), (Some(150), Some(50)));
        assert_eq!((row.pm_size, row.pm_util), (Some(409_600), Some(10.0)));
        assert_eq!(row.rchar_bytes, None, "I/O that may not be read is not zero");
    }

    #[test]
    fn an_unlimited_number_of_files_is_all_free() {
        assert_eq!(free_share(10, u64::MAX), Some(100.0));
        assert_eq!(free_share(250, 1000), Some(75.0));
        assert_eq!(free_share(0, 0), None);
    }

    #[test]
    fn rollup_figures_are_found_by_name() {
        let mut row = SystemProc::default();
        add_rollup(b"00400000-7ffd r--p 00000000 00:00 0 [rollup]\nRss: 884 kB\nShared_Clean: 696 kB\nPrivate_Dirty: 188 kB\nSwapPss: 3 kB\n", &mut row);
        assert_eq!((row.shared_clean_size, row.private_dirty_size, row.swap_data_pss_size), (Some(696), Some(188), Some(3)));
        assert_eq!(row.lazyfree_size, None);
    }
}
