//! Disks: `/proc/diskstats` (Documentation/admin-guide/iostats.rst).

use super::text::{fields, lines, lossy, number};

/// Counters of one block device since boot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiskStat {
    pub major: u32,
    pub minor: u32,
    pub name: String,
    pub reads: u64,
    pub sectors_read: u64,
    pub read_ms: u64,
    pub writes: u64,
    pub sectors_written: u64,
    pub write_ms: u64,
    pub in_flight: u64,
    pub busy_ms: u64,
    pub weighted_ms: u64,
    /// Since 5.5.
    pub flushes: Option<u64>,
    pub flush_ms: Option<u64>,
}

impl DiskStat {
    /// Whether the device ever did anything: loop, ram and zram devices without a file behind stay silent.
    pub fn used(&self) -> bool {
        self.reads + self.writes + self.flushes.unwrap_or(0) > 0
    }
}

/// Every device of `/proc/diskstats`. 4.18 added four columns for discards, 5.5 two for flushes.
pub fn parse_diskstats(text: &[u8]) -> Vec<DiskStat> {
    lines(text).filter_map(parse_line).collect()
}

fn parse_line(line: &[u8]) -> Option<DiskStat> {
    let mut columns = fields(line);
    let major = u32::try_from(number(columns.next()?)?).ok()?;
    let minor = u32::try_from(number(columns.next()?)?).ok()?;
    let name = lossy(columns.next()?);
    let counters: Vec<u64> = columns.map_while(number).collect();
    let at = |index: usize| counters.get(index).copied();
    Some(DiskStat {
        major,
        minor,
        name,
        reads: at(0)?,
        sectors_read: at(2)?,
        read_ms: at(3)?,
        writes: at(4)?,
        sectors_written: at(6)?,
        write_ms: at(7)?,
        in_flight: at(8)?,
        busy_ms: at(9)?,
        weighted_ms: at(10)?,
        flushes: at(15),
        flush_ms: at(16),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_of_all_kernels_are_understood() {
        let modern = b" 254       0 vda 65828 11643 5487178 44552 29279 93683 26397152 147196 0 25296 193517 9611 47 1832128 1557 2926 210\n";
        let disk = &parse_diskstats(modern)[0];
        assert_eq!((disk.major, disk.minor, disk.name.as_str()), (254, 0, "vda"));
        assert_eq!((disk.reads, disk.sectors_read, disk.read_ms), (65828, 5_487_178, 44552));
        assert_eq!((disk.writes, disk.write_ms, disk.busy_ms, disk.weighted_ms), (29279, 147_196, 25296, 193_517));
        assert_eq!((disk.flushes, disk.flush_ms), (Some(2926), Some(210)));

        let with_discard = b"   8       1 sda1 1 2 3 4 5 6 7 8 0 10 11 12 13 14 15\n";
        assert_eq!(parse_diskstats(with_discard)[0].flushes, None);
        let oldest = b"   8       0 sda 1 2 3 4 5 6 7 8 9 10 11\n";
        assert_eq!(parse_diskstats(oldest)[0].in_flight, 9);
    }

    #[test]
    fn a_cut_line_is_left_out() {
        assert!(parse_diskstats(b"   8       0 sda 1 2 3\n").is_empty());
    }

    #[test]
    fn unused_devices_are_told_apart() {
        let disks = parse_diskstats(b"   7       0 loop0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n   8 0 sda 1 0 0 0 0 0 0 0 0 0 0\n");
        assert_eq!(disks.iter().map(DiskStat::used).collect::<Vec<_>>(), [false, true]);
    }
}
