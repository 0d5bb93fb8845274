//! Memory: `/proc/meminfo`, `/proc/vmstat`, `/proc/sys/fs/dentry-state`, `/proc/vmallocinfo`
//! (Documentation/filesystems/proc.rst, Documentation/admin-guide/sysctl/fs.rst). Keys are looked up by name: their order and number differ between kernels.

use super::text::{fields, lines, number};

/// `/proc/meminfo` in kB; what this kernel does not print is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemInfo {
    pub total: Option<u64>,
    pub free: Option<u64>,
    pub available: Option<u64>,
    pub buffers: Option<u64>,
    pub cached: Option<u64>,
    pub active: Option<u64>,
    pub inactive: Option<u64>,
    pub active_anon: Option<u64>,
    pub inactive_anon: Option<u64>,
    pub active_file: Option<u64>,
    pub inactive_file: Option<u64>,
    pub mlocked: Option<u64>,
    pub swap_total: Option<u64>,
    pub swap_free: Option<u64>,
    pub dirty: Option<u64>,
    pub writeback: Option<u64>,
    pub shmem: Option<u64>,
    pub slab: Option<u64>,
    pub slab_reclaimable: Option<u64>,
    pub slab_unreclaimable: Option<u64>,
    pub kernel_stack: Option<u64>,
    pub page_tables: Option<u64>,
    pub vmalloc_used: Option<u64>,
    /// Number, not kB.
    pub huge_pages_total: Option<u64>,
    pub huge_page_size: Option<u64>,
}

impl MemInfo {
    pub fn parse(text: &[u8]) -> Self {
        let mut info = Self::default();
        for line in lines(text) {
            let mut columns = fields(line);
            let (Some(name), value) = (columns.next(), columns.next().and_then(number)) else { continue };
            let slot = match name {
                b"MemTotal:" => &mut info.total,
                b"MemFree:" => &mut info.free,
                b"MemAvailable:" => &mut info.available,
                b"Buffers:" => &mut info.buffers,
                b"Cached:" => &mut info.cached,
                b"Active:" => &mut info.active,
                b"Inactive:" => &mut info.inactive,
                b"Active(anon):" => &mut info.active_anon,
                b"Inactive(anon):" => &mut info.inactive_anon,
                b"Active(file):" => &mut info.active_file,
                b"Inactive(file):" => &mut info.inactive_file,
                b"Mlocked:" => &mut info.mlocked,
                b"SwapTotal:" => &mut info.swap_total,
                b"SwapFree:" => &mut info.swap_free,
                b"Dirty:" => &mut info.dirty,
                b"Writeback:" => &mut info.writeback,
                b"Shmem:" => &mut info.shmem,
                b"Slab:" => &mut info.slab,
                b"SReclaimable:" => &mut info.slab_reclaimable,
                b"SUnreclaim:" => &mut info.slab_unreclaimable,
                b"KernelStack:" => &mut info.kernel_stack,
                b"PageTables:" => &mut info.page_tables,
                b"VmallocUsed:" => &mut info.vmalloc_used,
                b"HugePages_Total:" => &mut info.huge_pages_total,
                b"Hugepagesize:" => &mut info.huge_page_size,
                _ => continue,
            };
            *slot = value;
        }
        info
    }

    /// Share of memory in use without buffers and page cache, in per cent.
    pub fn utilisation(&self) -> Option<f64> {
        let total = self.total?;
        let unused = self.free? + self.buffers.unwrap_or(0) + self.cached.unwrap_or(0);
        super::counter::percent(total.saturating_sub(unused) as f64, total as f64)
    }

    /// Share of swap in use in per cent; 0 without swap.
    pub fn swap_utilisation(&self) -> Option<f64> {
        let (total, free) = (self.swap_total?, self.swap_free?);
        Some(super::counter::percent(total.saturating_sub(free) as f64, total as f64).unwrap_or(0.0))
    }
}

/// The counters of `/proc/vmstat` that we report, since boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VmStat {
    pub faults: Option<u64>,
    pub major_faults: Option<u64>,
    pub swap_in: Option<u64>,
    pub swap_out: Option<u64>,
    pub alloc_stalls: Option<u64>,
    pub compact_stalls: Option<u64>,
    pub scan_direct: Option<u64>,
    pub scan_kswapd: Option<u64>,
    pub refault_file: Option<u64>,
    pub oom_kills: Option<u64>,
}

impl VmStat {
    pub fn parse(text: &[u8]) -> Self {
        let mut stat = Self::default();
        for line in lines(text) {
            let mut columns = fields(line);
            let (Some(name), Some(value)) = (columns.next(), columns.next().and_then(number)) else { continue };
            let slot = match name {
                b"pgfault" => &mut stat.faults,
                b"pgmajfault" => &mut stat.major_faults,
                b"pswpin" => &mut stat.swap_in,
                b"pswpout" => &mut stat.swap_out,
                b"compact_stall" => &mut stat.compact_stalls,
                b"pgscan_direct" => &mut stat.scan_direct,
                b"pgscan_kswapd" => &mut stat.scan_kswapd,
                // One counter until 5.8, split by kind of memory since.
                b"workingset_refault" | b"workingset_refault_file" => &mut stat.refault_file,
                b"oom_kill" => &mut stat.oom_kills,
                _ if name.starts_with(b"allocstall") => &mut stat.alloc_stalls,
                _ => continue,
            };
            *slot = Some(slot.unwrap_or(0) + value);
        }
        stat
    }
}

/// `/proc/sys/fs/dentry-state`: entries, unused entries, age limit in seconds.
pub fn parse_dentry_state(text: &[u8]) -> (Option<u64>, Option<u64>, Option<u64>) {
    let mut columns = fields(text).map(number);
    let mut next = || columns.next().flatten();
    (next(), next(), next())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMINFO: &[u8] = b"MemTotal:       24684092 kB
MemFree:        23211292 kB
MemAvailable:   24192564 kB
Buffers:           10644 kB
Cached:          1115120 kB
SwapCached:            0 kB
Active:           288144 kB
Active(anon):       1044 kB
SwapTotal:          1000 kB
SwapFree:            250 kB
HugePages_Total:       4
Hugepagesize:       2048 kB
";

    #[test]
    fn meminfo_is_read_by_name_and_what_is_missing_stays_missing() {
        let info = MemInfo::parse(MEMINFO);
        assert_eq!((info.total, info.cached, info.active_anon), (Some(24_684_092), Some(1_115_120), Some(1044)));
        assert_eq!((info.huge_pages_total, info.slab), (Some(4), None));
        assert_eq!(info.swap_utilisation(), Some(75.0));
        let used = 24_684_092.0 - 23_211_292.0 - 10_644.0 - 1_115_120.0;
        assert!((info.utilisation().unwrap() - used / 24_684_092.0 * 100.0).abs() < 1e-9);
    }

    #[test]
    fn a_host_without_swap_uses_none_of_it() {
        assert_eq!(MemInfo::parse(b"SwapTotal: 0 kB\nSwapFree: 0 kB\n").swap_utilisation(), Some(0.0));
    }

    #[test]
    fn allocation_stalls_are_summed_over_the_zones() {
        let stat = VmStat::parse(b"allocstall_dma 1\nallocstall_normal 2\nallocstall_movable 3\noom_kill 4\npgscan_direct 9\n");
        assert_eq!((stat.alloc_stalls, stat.oom_kills, stat.scan_direct, stat.swap_in), (Some(6), Some(4), Some(9), None));
        assert_eq!(VmStat::parse(b"allocstall 5\n").alloc_stalls, Some(5), "kernels before 4.8 do not split it");
    }

    #[test]
    fn dentry_state_has_its_first_three_columns() {
        assert_eq!(parse_dentry_state(b"61204\t45530\t45\t0\t6120\t0\n"), (Some(61204), Some(45530), Some(45)));
    }
}
