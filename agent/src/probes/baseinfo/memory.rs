//! Memory of the host and its paging.

use gala_model::tables::baseinfo::{MemVmstat, SystemDentry, SystemMeminfo};

use crate::probes::RowSink;
use crate::procfs::counter::grown_between;
use crate::procfs::memory::{MemInfo, VmStat, parse_dentry_state};
use crate::procfs::{ProcFile, read_optional};

pub(super) struct Memory {
    meminfo: ProcFile,
    vmstat: Option<ProcFile>,
    dentry: Option<ProcFile>,
    before: VmStat,
}

impl Memory {
    pub fn start() -> std::io::Result<Self> {
        let mut vmstat = ProcFile::optional("/proc/vmstat");
        let before = read_optional(&mut vmstat).map(VmStat::parse).unwrap_or_default();
        Ok(Self {
            meminfo: ProcFile::open("/proc/meminfo")?,
            vmstat,
            dentry: ProcFile::optional("/proc/sys/fs/dentry-state"),
            before,
        })
    }

    pub fn collect(&mut self, out: &mut dyn RowSink) -> std::io::Result<()> {
        let info = MemInfo::parse(self.meminfo.read()?);
        out.push(&meminfo_row(&info));
        if let Some(state) = read_optional(&mut self.dentry) {
            let (dentry, unused_dentry, age_limit) = parse_dentry_state(state);
            out.push(&SystemDentry { infos: "fs.dentry-state", dentry, unused_dentry, age_limit });
        }
        if let Some(text) = read_optional(&mut self.vmstat) {
            let now = VmStat::parse(text);
            out.push(&vmstat_row(&self.before, &now, &info));
            self.before = now;
        }
        Ok(())
    }
}

fn meminfo_row(info: &MemInfo) -> SystemMeminfo {
    SystemMeminfo {
        infos: "/proc/meminfo",
        total_kb: info.total,
        free_kb: info.free,
        available_kb: info.available,
        util: info.utilisation(),
        buffers_kb: info.buffers,
        cache_kb: info.cached,
        active_kb: info.active,
        inactive_kb: info.inactive,
        swap_total_kb: info.swap_total,
        swap_free_kb: info.swap_free,
        swap_util: info.swap_utilisation(),
        slab_kb: info.slab,
        sreclaimable_kb: info.slab_reclaimable,
        unreclaim_kb: info.slab_unreclaimable,
        page_kb: info.page_tables,
        // Always 0 between 4.4 and 5.2, where the kernel had stopped counting.
        vmalloc_kb: info.vmalloc_used.filter(|used| *used > 0),
        stack_kb: info.kernel_stack,
        active_anon_kb: info.active_anon,
        inactive_anon_kb: info.inactive_anon,
        active_file_kb: info.active_file,
        inactive_file_kb: info.inactive_file,
        mlocked: info.mlocked,
        big_page_kb: info.huge_pages_total.zip(info.huge_page_size).map(|(pages, size)| pages * size),
        shmem_kb: info.shmem,
    }
}

fn vmstat_row(before: &VmStat, now: &VmStat, info: &MemInfo) -> MemVmstat {
    MemVmstat {
        infos: "/proc/vmstat",
        major_faults: grown_between(before.major_faults, now.major_faults),
        faults: grown_between(before.faults, now.faults),
        swap_in: grown_between(before.swap_in, now.swap_in),
        swap_out: grown_between(before.swap_out, now.swap_out),
        alloc_stalls: grown_between(before.alloc_stalls, now.alloc_stalls),
        compact_stalls: grown_between(before.compact_stalls, now.compact_stalls),
        scan_direct: grown_between(before.scan_direct, now.scan_direct),
        scan_kswapd: grown_between(before.scan_kswapd, now.scan_kswapd),
        refault_file: grown_between(before.refault_file, now.refault_file),
        oom_kills: grown_between(before.oom_kills, now.oom_kills),
        dirty_kb: info.dirty,
        writeback_kb: info.writeback,
    }
}
