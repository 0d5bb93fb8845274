//! Disks: load and service by the formulas of iostat(1), over the measured time.

use std::collections::HashMap;
use std::time::Instant;

use gala_model::tables::baseinfo::SystemIostat;

use crate::probes::RowSink;
use crate::procfs::ProcFile;
use crate::procfs::counter::{grown, grown_between, mean, percent, rate};
use crate::procfs::disk::{DiskStat, parse_diskstats};

const BYTES_PER_SECTOR: f64 = 512.0;

/// Devices reported at most; those that did something come first in the kernel's order.
const MAX_DISKS: usize = 256;

pub(super) struct Disks {
    diskstats: ProcFile,
    before: HashMap<(u32, u32), DiskStat>,
    before_at: Instant,
    pub skipped: u64,
}

impl Disks {
    pub fn start() -> std::io::Result<Self> {
        let mut diskstats = ProcFile::open("/proc/diskstats")?;
        let before = by_number(parse_diskstats(diskstats.read()?));
        Ok(Self { diskstats, before, before_at: Instant::now(), skipped: 0 })
    }

    pub fn collect(&mut self, out: &mut dyn RowSink) -> std::io::Result<()> {
        let disks = parse_diskstats(self.diskstats.read()?);
        let seconds = self.before_at.elapsed().as_secs_f64();
        self.before_at = Instant::now();
        let mut rows = 0;
        for disk in disks.iter().filter(|disk| disk.used()) {
            // The number may have passed to another device; its counters then start anew.
            let Some(before) = self.before.get(&(disk.major, disk.minor)).filter(|before| before.name == disk.name) else {
                continue;
            };
            if rows == MAX_DISKS {
                self.skipped += 1;
                continue;
            }
            out.push(&iostat_row(before, disk, seconds));
            rows += 1;
        }
        self.before = by_number(disks);
        Ok(())
    }
}

fn by_number(disks: Vec<DiskStat>) -> HashMap<(u32, u32), DiskStat> {
    disks.into_iter().map(|disk| ((disk.major, disk.minor), disk)).collect()
}

fn iostat_row(before: &DiskStat, now: &DiskStat, seconds: f64) -> SystemIostat {
    let reads = grown(before.reads, now.reads);
    let writes = grown(before.writes, now.writes);
    let flushes = grown_between(before.flushes, now.flushes);
    let sectors_read = grown(before.sectors_read, now.sectors_read);
    let sectors_written = grown(before.sectors_written, now.sectors_written);
    let kilobytes = |sectors: Option<f64>| sectors.map(|sectors| sectors * BYTES_PER_SECTOR / 1024.0);
    let busy_ms = grown(before.busy_ms, now.busy_ms);
    let share_busy = busy_ms.and_then(|busy| percent(busy as f64 / 1000.0, seconds));
    SystemIostat {
        disk_name: now.name.clone(),
        rspeed: rate(reads, seconds),
        rspeed_kb: kilobytes(rate(sectors_read, seconds)),
        r_await: mean(grown(before.read_ms, now.read_ms), reads),
        rareq: kilobytes(mean(sectors_read, reads)),
        wspeed: rate(writes, seconds),
        wspeed_kb: kilobytes(rate(sectors_written, seconds)),
        w_await: mean(grown(before.write_ms, now.write_ms), writes),
        wareq: kilobytes(mean(sectors_written, writes)),
        aqu: grown(before.weighted_ms, now.weighted_ms).and_then(|weighted| rate(Some(weighted), seconds * 1000.0)),
        // The kernel advances its clock of busy time in steps, so a busy device may exceed the period by one of them.
        util: share_busy.map(|share| share.min(100.0)),
        inflight: Some(now.in_flight),
        fspeed: rate(flushes, seconds),
        f_await: mean(grown_between(before.flush_ms, now.flush_ms), flushes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iostat_formulas_hold_over_the_measured_time() {
        let before = DiskStat { name: "sda".into(), flushes: Some(1), flush_ms: Some(2), ..DiskStat::default() };
        let now = DiskStat {
            reads: 100,
            sectors_read: 800,
            read_ms: 50,
            writes: 10,
            sectors_written: 2000,
            write_ms: 200,
            in_flight: 3,
            busy_ms: 1000,
            weighted_ms: 4000,
            flushes: Some(3),
            flush_ms: Some(10),
            ..before.clone()
        };
        let row = iostat_row(&before, &now, 2.0);
        assert_eq!((row.rspeed, row.rspeed_kb, row.r_await, row.rareq), (Some(50.0), Some(200.0), Some(0.5), Some(4.0)));
        assert_eq!((row.wspeed, row.wspeed_kb, row.w_await, row.wareq), (Some(5.0), Some(500.0), Some(20.0), Some(100.0)));
        assert_eq!((row.aqu, row.util, row.inflight), (Some(2.0), Some(50.0), Some(3)));
        assert_eq!((row.fspeed, row.f_await), (Some(1.0), Some(4.0)));
    }

    #[test]
    fn without_requests_there_is_no_mean() {
        let disk = DiskStat { name: "sda".into(), reads: 5, ..DiskStat::default() };
        let row = iostat_row(&disk, &disk, 5.0);
        assert_eq!((row.r_await, row.rareq, row.rspeed, row.util), (None, None, Some(0.0), Some(0.0)));
    }
}
