//! Tables of probe `baseinfo`: the host itself and its processes.

use crate::Table;

/// Facts of the host
#[derive(Table, Clone, Debug, Default)]
#[table(name = "system_os", entity = "host", probe = "baseinfo")]
pub struct SystemOs {
    /// Distribution name and version
    #[key]
    pub os_version: String,
    /// Host name
    #[label]
    pub hostname: String,
    /// Kernel release
    #[label]
    pub kversion: String,
    /// Number of CPUs
    #[label]
    pub cpu_num: String,
    /// Installed memory
    #[label(name = "memory_MB")]
    pub memory_mb: String,
    /// Addresses of interfaces that are up and not loopback, separated by blanks
    #[label]
    pub ip_addr: String,
    /// "vm" or "pm"
    #[label]
    pub host_type: String,
    /// Clock ticks per second of the time fields in /proc
    #[label]
    pub clock_ticks: String,
    /// Boot time as seconds since the epoch
    #[label]
    pub os_btime: String,
    /// Constant 1 so that the labels can be scraped
    #[gauge(level, sub = "host")]
    pub value: u64,
}

/// Processes of the whole host at the time of the report
#[derive(Table, Clone, Debug, Default)]
#[table(name = "host_processes", entity = "host", probe = "baseinfo")]
pub struct HostProcesses {
    /// Host name
    #[label]
    pub hostname: String,
    /// Processes, kernel threads not counted
    #[gauge(unit = "count", level, bad = "up", sub = "proc")]
    pub processes: u64,
    /// Processes that ended and that their parent has not noticed
    #[gauge(unit = "count", level, bad = "up", sub = "proc")]
    pub zombies: u64,
    /// Threads in uninterruptible sleep
    #[gauge(unit = "count", level, bad = "up", sub = "proc")]
    pub threads_uninterruptible: u64,
}

/// What one process used in the report period and holds at its end
#[derive(Table, Clone, Debug, Default)]
#[table(name = "system_proc", entity = "proc", probe = "baseinfo")]
pub struct SystemProc {
    /// Process id
    #[key]
    pub tgid: u32,
    /// Process group id
    #[label]
    pub pgid: u32,
    /// Parent process id
    #[label]
    pub ppid: u32,
    /// Open file descriptors
    #[gauge(unit = "count", level, bad = "up", sub = "proc")]
    pub fd_count: Option<u64>,
    /// Share of the open-files soft limit still unused
    #[gauge(unit = "%", level, bad = "down", sub = "proc")]
    pub fd_free_per: Option<f64>,
    /// Bytes returned to the process by read-like calls in the period
    #[gauge(unit = "bytes", per_period, sub = "proc")]
    pub rchar_bytes: Option<u64>,
    /// Bytes handed to the kernel by write-like calls in the period
    #[gauge(unit = "bytes", per_period, sub = "proc")]
    pub wchar_bytes: Option<u64>,
    /// Read-like calls in the period
    #[gauge(unit = "count", per_period, sub = "proc")]
    pub syscr_count: Option<u64>,
    /// Write-like calls in the period
    #[gauge(unit = "count", per_period, sub = "proc")]
    pub syscw_count: Option<u64>,
    /// Bytes actually fetched from storage in the period
    #[gauge(unit = "bytes", per_period, sub = "proc")]
    pub read_bytes: Option<u64>,
    /// Bytes sent towards storage (pages dirtied) in the period
    #[gauge(unit = "bytes", per_period, sub = "proc")]
    pub write_bytes: Option<u64>,
    /// Dirtied bytes that never reached storage because the file was truncated or removed
    #[gauge(unit = "bytes", per_period, sub = "proc")]
    pub cancelled_write_bytes: Option<u64>,
    /// Shared clean resident pages
    #[gauge(unit = "kB", level, sub = "proc")]
    pub shared_clean_size: Option<u64>,
    /// Shared dirty resident pages
    #[gauge(unit = "kB", level, sub = "proc")]
    pub shared_dirty_size: Option<u64>,
    /// Private clean resident pages
    #[gauge(unit = "kB", level, sub = "proc")]
    pub private_clean_size: Option<u64>,
    /// Private dirty resident pages
    #[gauge(unit = "kB", level, sub = "proc")]
    pub private_dirty_size: Option<u64>,
    /// Resident pages marked as recently accessed
    #[gauge(unit = "kB", level, sub = "proc")]
    pub referenced_size: Option<u64>,
    /// Pages released lazily (MADV_FREE) and not yet reclaimed
    #[gauge(unit = "kB", level, sub = "proc")]
    pub lazyfree_size: Option<u64>,
    /// Anonymous memory of the process now in swap
    #[gauge(unit = "kB", level, bad = "up", sub = "proc")]
    pub swap_data_size: Option<u64>,
    /// Proportional share of swapped memory
    #[gauge(unit = "kB", level, sub = "proc")]
    pub swap_data_pss_size: Option<u64>,
    /// Page faults served without disk access in the period
    #[gauge(unit = "count", per_period, sub = "proc")]
    pub minor_pagefault_count: Option<u64>,
    /// Page faults that needed disk access in the period
    #[gauge(unit = "count", per_period, bad = "up", sub = "proc")]
    pub major_pagefault_count: Option<u64>,
    /// User-mode CPU time in the period
    #[gauge(unit = "jiffies", per_period, sub = "proc")]
    pub utime_jiffies: Option<u64>,
    /// Kernel-mode CPU time in the period
    #[gauge(unit = "jiffies", per_period, sub = "proc")]
    pub stime_jiffies: Option<u64>,
    /// User-mode CPU time of reaped children in the period
    #[gauge(unit = "jiffies", per_period, sub = "proc")]
    pub cutime_jiffies: Option<u64>,
    /// Kernel-mode CPU time of reaped children in the period
    #[gauge(unit = "jiffies", per_period, sub = "proc")]
    pub cstime_jiffies: Option<u64>,
    /// Kernel scheduling priority
    #[gauge(level, sub = "proc")]
    pub priority: Option<i64>,
    /// Nice value
    #[gauge(level, sub = "proc")]
    pub nice: Option<i64>,
    /// Threads in the process
    #[gauge(unit = "count", level, bad = "up", sub = "proc")]
    pub num_threads: Option<u64>,
    /// Virtual address space
    #[gauge(unit = "bytes", level, sub = "proc")]
    pub vm_size: Option<u64>,
    /// Resident memory: rss pages x page size
    #[gauge(unit = "bytes", level, bad = "up", sub = "proc")]
    pub pm_size: Option<u64>,
    /// Resident pages / physical pages of the machine x 100
    #[gauge(unit = "%", level, bad = "up", sub = "proc")]
    pub pm_util: Option<f64>,
    /// CPU on which the process last ran
    #[gauge(level, sub = "proc")]
    pub cpu: Option<u64>,
    /// CPU time used in the period / (period x clock ticks) x 100; may exceed 100 with several threads
    #[gauge(unit = "%", level, bad = "up", sub = "proc")]
    pub cpu_util: Option<f64>,
    /// Same for user-mode time without guest time
    #[gauge(unit = "%", level, bad = "up", sub = "proc")]
    pub cpu_user_util: Option<f64>,
    /// Same for kernel-mode time
    #[gauge(unit = "%", level, bad = "up", sub = "proc")]
    pub cpu_system_util: Option<f64>,
}
