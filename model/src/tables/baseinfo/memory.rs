//! Tables of probe `baseinfo`: memory of the host.

use crate::Table;

/// Memory of the host at the time of the report
#[derive(Table, Clone, Debug, Default)]
#[table(name = "system_meminfo", entity = "mem", probe = "baseinfo")]
pub struct SystemMeminfo {
    /// Name of the data source; constant "/proc/meminfo"
    #[key]
    pub infos: &'static str,
    /// Memory managed by the kernel
    #[gauge(name = "total_kB", unit = "kB", level, sub = "mem")]
    pub total_kb: Option<u64>,
    /// Unused physical memory
    #[gauge(name = "free_kB", unit = "kB", level, sub = "mem")]
    pub free_kb: Option<u64>,
    /// Estimate of memory that can be given to new programs without swapping
    #[gauge(name = "available_kB", unit = "kB", level, bad = "down", sub = "mem")]
    pub available_kb: Option<u64>,
    /// (MemTotal - MemFree - Buffers - Cached) / MemTotal x 100
    #[gauge(unit = "%", level, bad = "up", sub = "mem")]
    pub util: Option<f64>,
    /// Memory held by block-device buffers
    #[gauge(name = "buffers_kB", unit = "kB", level, sub = "mem")]
    pub buffers_kb: Option<u64>,
    /// Memory held by the page cache
    #[gauge(name = "cache_kB", unit = "kB", level, sub = "mem")]
    pub cache_kb: Option<u64>,
    /// Recently used page-cache and anonymous memory
    #[gauge(name = "active_kB", unit = "kB", level, sub = "mem")]
    pub active_kb: Option<u64>,
    /// Less recently used memory, first candidate for reclaim
    #[gauge(name = "inactive_kB", unit = "kB", level, sub = "mem")]
    pub inactive_kb: Option<u64>,
    /// Swap space configured
    #[gauge(name = "swap_total_kB", unit = "kB", level, sub = "mem")]
    pub swap_total_kb: Option<u64>,
    /// Swap space not in use
    #[gauge(name = "swap_free_kB", unit = "kB", level, bad = "down", sub = "mem")]
    pub swap_free_kb: Option<u64>,
    /// (SwapTotal - SwapFree) / SwapTotal x 100; 0 when no swap
    #[gauge(unit = "%", level, bad = "up", sub = "mem")]
    pub swap_util: Option<f64>,
    /// Kernel slab allocations
    #[gauge(name = "slab_kB", unit = "kB", level, sub = "mem")]
    pub slab_kb: Option<u64>,
    /// Part of slab that can be reclaimed
    #[gauge(name = "SReclaimable_kB", unit = "kB", level, sub = "mem")]
    pub sreclaimable_kb: Option<u64>,
    /// Part of slab that cannot be reclaimed
    #[gauge(name = "Unreclaim_kB", unit = "kB", level, sub = "mem")]
    pub unreclaim_kb: Option<u64>,
    /// Memory used by page tables
    #[gauge(name = "page_kB", unit = "kB", level, sub = "mem")]
    pub page_kb: Option<u64>,
    /// Total size of the areas created by vmalloc
    #[gauge(name = "vmalloc_kB", unit = "kB", level, sub = "mem")]
    pub vmalloc_kb: Option<u64>,
    /// Memory used by kernel stacks of threads
    #[gauge(name = "stack_kB", unit = "kB", level, sub = "mem")]
    pub stack_kb: Option<u64>,
    /// Recently used anonymous memory
    #[gauge(name = "active_anon_kB", unit = "kB", level, sub = "mem")]
    pub active_anon_kb: Option<u64>,
    /// Less recently used anonymous memory
    #[gauge(name = "inactive_anon_kB", unit = "kB", level, sub = "mem")]
    pub inactive_anon_kb: Option<u64>,
    /// Recently used file cache
    #[gauge(name = "active_file_kB", unit = "kB", level, sub = "mem")]
    pub active_file_kb: Option<u64>,
    /// Less recently used file cache
    #[gauge(name = "inactive_file_kB", unit = "kB", level, sub = "mem")]
    pub inactive_file_kb: Option<u64>,
    /// Memory locked by user programs
    #[gauge(unit = "kB", level, sub = "mem")]
    pub mlocked: Option<u64>,
    /// Size of the huge-page pool: HugePages_Total x Hugepagesize
    #[gauge(name = "big_page_kB", unit = "kB", level, sub = "mem")]
    pub big_page_kb: Option<u64>,
    /// Shared memory and tmpfs pages
    #[gauge(name = "shmem_kB", unit = "kB", level, sub = "mem")]
    pub shmem_kb: Option<u64>,
}

/// Directory entry cache
#[derive(Table, Clone, Debug, Default)]
#[table(name = "system_dentry", entity = "mem", probe = "baseinfo")]
pub struct SystemDentry {
    /// Name of the data source; constant "fs.dentry-state"
    #[key]
    pub infos: &'static str,
    /// Directory-entry objects allocated
    #[gauge(unit = "count", level, sub = "mem")]
    pub dentry: Option<u64>,
    /// Directory-entry objects not in use
    #[gauge(unit = "count", level, sub = "mem")]
    pub unused_dentry: Option<u64>,
    /// Age after which entries may be reclaimed under memory pressure
    #[gauge(unit = "s", level, sub = "mem")]
    pub age_limit: Option<u64>,
}

/// Paging, reclaim and writeback of the whole host in the report period
#[derive(Table, Clone, Debug, Default)]
#[table(name = "mem_vmstat", entity = "mem", probe = "baseinfo")]
pub struct MemVmstat {
    /// Name of the data source; constant "/proc/vmstat"
    #[key]
    pub infos: &'static str,
    /// Page faults that needed storage
    #[gauge(unit = "count", per_period, bad = "up", sub = "mem")]
    pub major_faults: Option<u64>,
    /// Page faults of all kinds
    #[gauge(unit = "count", per_period, sub = "mem")]
    pub faults: Option<u64>,
    /// Pages read from swap
    #[gauge(unit = "pages", per_period, bad = "up", sub = "mem")]
    pub swap_in: Option<u64>,
    /// Pages written to swap
    #[gauge(unit = "pages", per_period, bad = "up", sub = "mem")]
    pub swap_out: Option<u64>,
    /// Times an allocation had to reclaim memory itself
    #[gauge(unit = "count", per_period, bad = "up", sub = "mem")]
    pub alloc_stalls: Option<u64>,
    /// Times an allocation had to compact memory itself
    #[gauge(unit = "count", per_period, bad = "up", sub = "mem")]
    pub compact_stalls: Option<u64>,
    /// Pages looked at by reclaim in the context of an allocation
    #[gauge(unit = "pages", per_period, bad = "up", sub = "mem")]
    pub scan_direct: Option<u64>,
    /// Pages looked at by the background reclaimer
    #[gauge(unit = "pages", per_period, bad = "up", sub = "mem")]
    pub scan_kswapd: Option<u64>,
    /// File pages read again soon after their eviction
    #[gauge(unit = "pages", per_period, bad = "up", sub = "mem")]
    pub refault_file: Option<u64>,
    /// Processes killed because memory ran out
    #[gauge(unit = "count", per_period, bad = "up", sub = "mem")]
    pub oom_kills: Option<u64>,
    /// Memory that waits to be written to storage
    #[gauge(unit = "kB", level, bad = "up", sub = "mem")]
    pub dirty_kb: Option<u64>,
    /// Memory being written to storage
    #[gauge(unit = "kB", level, bad = "up", sub = "mem")]
    pub writeback_kb: Option<u64>,
}
