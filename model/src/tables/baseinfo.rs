//! Tables of probe `baseinfo`: the system view of a host, from `/proc` and a few calls. Field names are upstream's, odd ones
//! included; fields and tables that upstream lacks stand last.

use crate::Table;

/// One processor in the report period
#[derive(Table, Clone, Debug, Default)]
#[table(name = "system_cpu", entity = "cpu", probe = "baseinfo")]
pub struct SystemCpu {
    /// CPU index as printed after "cpu" in the kernel statistics; one record per CPU
    #[key]
    pub cpu: String,
    /// RCU softirqs handled by this CPU during the report period
    #[gauge(unit = "count", per_period, sub = "cpu")]
    pub rcu: Option<u64>,
    /// Timer softirqs handled by this CPU during the report period
    #[gauge(unit = "count", per_period, sub = "cpu")]
    pub timer: Option<u64>,
    /// Scheduler softirqs handled by this CPU during the report period
    #[gauge(unit = "count", per_period, sub = "cpu")]
    pub sched: Option<u64>,
    /// Network receive softirqs handled by this CPU during the report period
    #[gauge(unit = "count", per_period, sub = "cpu")]
    pub net_rx: Option<u64>,
    /// Time this CPU ran normal-priority user code (nice time not included)
    #[gauge(unit = "ms", per_period, sub = "cpu")]
    pub user_msec: Option<f64>,
    /// Time this CPU ran niced (low-priority) user code
    #[gauge(unit = "ms", per_period, sub = "cpu")]
    pub nice_msec: Option<f64>,
    /// Time this CPU ran in kernel mode
    #[gauge(unit = "ms", per_period, sub = "cpu")]
    pub system_msec: Option<f64>,
    /// Time this CPU was idle
    #[gauge(unit = "ms", per_period, sub = "cpu")]
    pub idle_msec: Option<f64>,
    /// Idle time of this CPU with an I/O outstanding
    #[gauge(unit = "ms", per_period, bad = "up", sub = "cpu")]
    pub iowait_msec: Option<f64>,
    /// Time this CPU served hard interrupts
    #[gauge(unit = "ms", per_period, sub = "cpu")]
    pub irq_msec: Option<f64>,
    /// Time this CPU served soft interrupts
    #[gauge(unit = "ms", per_period, sub = "cpu")]
    pub softirq_msec: Option<f64>,
    /// Time taken from this virtual CPU by the hypervisor
    #[gauge(unit = "ms", per_period, bad = "up", sub = "cpu")]
    pub steal_msec: Option<f64>,
    /// Packets this CPU dropped because its input backlog queue was full
    #[gauge(unit = "packets", per_period, bad = "up", sub = "cpu")]
    pub backlog_drops: Option<u64>,
    /// Times this CPU was woken by an inter-processor interrupt to process packets (RPS)
    #[gauge(unit = "count", per_period, sub = "cpu")]
    pub rps_count: Option<u64>,
    /// Utilisation of this CPU: (user+nice+system+irq+softirq+steal) / (those + idle + iowait) x 100
    #[gauge(unit = "%", level, bad = "up", sub = "cpu")]
    pub util_per: Option<f64>,
    /// Current clock of this CPU
    #[gauge(unit = "MHz", level, sub = "cpu")]
    pub mhz: Option<f64>,
    /// Time this CPU ran guests of a hypervisor (part of user and nice time)
    #[gauge(unit = "ms", per_period, sub = "cpu")]
    pub guest_msec: Option<f64>,
    /// Packets this CPU took from interfaces
    #[gauge(unit = "packets", per_period, sub = "cpu")]
    pub softnet_processed: Option<u64>,
    /// Times this CPU left packets waiting because its budget of packets or time was used up
    #[gauge(unit = "count", per_period, bad = "up", sub = "cpu")]
    pub softnet_squeezed: Option<u64>,
}

/// All processors together
#[derive(Table, Clone, Debug, Default)]
#[table(name = "system_cpu_util", entity = "cpu", probe = "baseinfo")]
pub struct SystemCpuUtil {
    /// Constant text "cpu" (whole machine)
    #[key]
    pub cpu: &'static str,
    /// Utilisation of all CPUs together, same formula as util_per
    #[gauge(unit = "%", level, bad = "up", sub = "cpu")]
    pub total_used_per: Option<f64>,
}

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

/// Load and service of one block device in the report period
#[derive(Table, Clone, Debug, Default)]
#[table(name = "system_iostat", entity = "disk", probe = "baseinfo")]
pub struct SystemIostat {
    /// Block device name (disk or partition)
    #[key]
    pub disk_name: String,
    /// Read requests completed per second
    #[gauge(unit = "reads/s", level, sub = "disk")]
    pub rspeed: Option<f64>,
    /// Data read per second (sectors x 512 / 1024)
    #[gauge(name = "rspeed_kB", unit = "kB/s", level, sub = "disk")]
    pub rspeed_kb: Option<f64>,
    /// Mean time of a completed read, queueing included
    #[gauge(unit = "ms", level, bad = "up", sub = "disk")]
    pub r_await: Option<f64>,
    /// Mean size of a read request
    #[gauge(unit = "kB", level, sub = "disk")]
    pub rareq: Option<f64>,
    /// Write requests completed per second
    #[gauge(unit = "writes/s", level, sub = "disk")]
    pub wspeed: Option<f64>,
    /// Data written per second
    #[gauge(name = "wspeed_kB", unit = "kB/s", level, sub = "disk")]
    pub wspeed_kb: Option<f64>,
    /// Mean time of a completed write, queueing included
    #[gauge(unit = "ms", level, bad = "up", sub = "disk")]
    pub w_await: Option<f64>,
    /// Mean size of a write request
    #[gauge(unit = "kB", level, sub = "disk")]
    pub wareq: Option<f64>,
    /// Mean number of requests in flight
    #[gauge(unit = "requests", level, bad = "up", sub = "disk")]
    pub aqu: Option<f64>,
    /// Share of the period in which the device had at least one request in flight
    #[gauge(unit = "%", level, bad = "up", sub = "disk")]
    pub util: Option<f64>,
    /// Requests in flight at the time of the report
    #[gauge(unit = "requests", level, bad = "up", sub = "disk")]
    pub inflight: Option<u64>,
    /// Cache flushes completed per second; missing before kernel 5.5
    #[gauge(unit = "flushes/s", level, sub = "disk")]
    pub fspeed: Option<f64>,
    /// Mean time of a completed cache flush
    #[gauge(unit = "ms", level, bad = "up", sub = "disk")]
    pub f_await: Option<f64>,
}

/// One mounted file system with storage of its own
#[derive(Table, Clone, Debug, Default)]
#[table(name = "system_df", entity = "fs", probe = "baseinfo")]
pub struct SystemDf {
    /// Mount point
    #[key(name = "MountOn")]
    pub mount_on: String,
    /// First mount option (rw or ro)
    #[label(name = "MountStatus")]
    pub mount_status: String,
    /// Source device of the mount
    #[label(name = "Fsname")]
    pub fsname: String,
    /// File-system type
    #[label(name = "Fstype")]
    pub fstype: String,
    /// Number of inodes
    #[label(name = "Inodes")]
    pub inodes: String,
    /// Inodes in use
    #[gauge(name = "IUsed", unit = "count", level, sub = "fs")]
    pub iused: Option<u64>,
    /// Inodes free
    #[gauge(name = "IFree", unit = "count", level, bad = "down", sub = "fs")]
    pub ifree: Option<u64>,
    /// Inodes in use, per cent
    #[gauge(name = "IUsePer", unit = "%", level, bad = "up", sub = "fs")]
    pub iuse_per: Option<f64>,
    /// Size of the file system in 1 KiB blocks
    #[label(name = "Blocks")]
    pub blocks: String,
    /// Space in use in 1 KiB blocks
    #[gauge(name = "Used", unit = "kB", level, sub = "fs")]
    pub used: Option<u64>,
    /// Space available in 1 KiB blocks
    #[gauge(name = "Free", unit = "kB", level, bad = "down", sub = "fs")]
    pub free: Option<u64>,
    /// Space in use, per cent
    #[gauge(name = "UsePer", unit = "%", level, bad = "up", sub = "fs")]
    pub use_per: Option<f64>,
}

/// One network interface in the report period
#[derive(Table, Clone, Debug, Default)]
#[table(name = "nic", entity = "nic", probe = "baseinfo")]
pub struct Nic {
    /// Interface name; physical ones first, others up to a cap
    #[key]
    pub dev_name: String,
    /// Operational state of the interface (up, down, ...)
    #[label]
    pub status: String,
    /// Bytes received in the period
    #[gauge(unit = "bytes", per_period, sub = "nic")]
    pub rx_bytes: Option<u64>,
    /// Packets received in the period
    #[gauge(unit = "packets", per_period, sub = "nic")]
    pub rx_packets: Option<u64>,
    /// Receive errors in the period
    #[gauge(unit = "packets", per_period, bad = "up", sub = "nic")]
    pub rx_errs: Option<u64>,
    /// Received packets dropped in the period
    #[gauge(unit = "packets", per_period, bad = "up", sub = "nic")]
    pub rx_dropped: Option<u64>,
    /// Bytes sent in the period
    #[gauge(unit = "bytes", per_period, sub = "nic")]
    pub tx_bytes: Option<u64>,
    /// Packets sent in the period
    #[gauge(unit = "packets", per_period, sub = "nic")]
    pub tx_packets: Option<u64>,
    /// Transmit errors in the period
    #[gauge(unit = "packets", per_period, bad = "up", sub = "nic")]
    pub tx_errs: Option<u64>,
    /// Packets dropped on transmit in the period
    #[gauge(unit = "packets", per_period, bad = "up", sub = "nic")]
    pub tx_dropped: Option<u64>,
    /// Receive throughput
    #[gauge(name = "rxspeed_KB", unit = "KiB/s", level, sub = "nic")]
    pub rxspeed_kb: Option<f64>,
    /// Transmit throughput
    #[gauge(name = "txspeed_KB", unit = "KiB/s", level, sub = "nic")]
    pub txspeed_kb: Option<f64>,
    /// Packets dropped by the root qdisc in the period
    #[gauge(unit = "packets", per_period, bad = "up", sub = "nic")]
    pub tc_sent_drop: Option<u64>,
    /// Overlimit hits of the root qdisc in the period
    #[gauge(unit = "count", per_period, bad = "up", sub = "nic")]
    pub tc_sent_overlimits: Option<u64>,
    /// Data waiting in the root qdisc (the byte figure of "backlog", although named a count)
    #[gauge(unit = "bytes", level, bad = "up", sub = "nic")]
    pub tc_backlog: Option<u64>,
    /// Packets ECN-marked by the qdisc
    #[gauge(unit = "packets", cumulative, sub = "nic")]
    pub tc_ecn_mark: Option<u64>,
    /// Multicast packets received in the period
    #[gauge(unit = "packets", per_period, sub = "nic")]
    pub multicast: Option<u64>,
    /// Collisions on transmit in the period
    #[gauge(unit = "count", per_period, bad = "up", sub = "nic")]
    pub collisions: Option<u64>,
    /// Packets lost in the period because a ring of the interface was full, both directions
    #[gauge(unit = "packets", per_period, bad = "up", sub = "nic")]
    pub fifo_errs: Option<u64>,
    /// Times the link went up or down in the period
    #[gauge(unit = "count", per_period, bad = "up", sub = "nic")]
    pub carrier_changes: Option<u64>,
}

/// TCP of the agent's network namespace in the report period
#[derive(Table, Clone, Debug, Default)]
#[table(name = "system_tcp", entity = "net", probe = "baseinfo")]
pub struct SystemTcp {
    /// Name of the data source; constant "/proc/net/snmp"
    #[key]
    pub origin: &'static str,
    /// TCP connections in ESTABLISHED or CLOSE_WAIT
    #[gauge(unit = "count", level, sub = "net")]
    pub tcp_curr_estab: Option<u64>,
    /// TCP segments received in the period
    #[gauge(unit = "segments", per_period, sub = "net")]
    pub tcp_in_segs: Option<u64>,
    /// TCP segments sent in the period
    #[gauge(unit = "segments", per_period, sub = "net")]
    pub tcp_out_segs: Option<u64>,
    /// TCP segments retransmitted in the period
    #[gauge(unit = "segments", per_period, bad = "up", sub = "net")]
    pub tcp_retrans_segs: Option<u64>,
    /// Damaged TCP segments received in the period
    #[gauge(unit = "segments", per_period, bad = "up", sub = "net")]
    pub tcp_in_errs: Option<u64>,
    /// Connections opened by connect in the period
    #[gauge(unit = "count", per_period, sub = "net")]
    pub tcp_active_opens: Option<u64>,
    /// Connections opened by a peer in the period
    #[gauge(unit = "count", per_period, sub = "net")]
    pub tcp_passive_opens: Option<u64>,
    /// Connections that failed to open in the period
    #[gauge(unit = "count", per_period, bad = "up", sub = "net")]
    pub tcp_attempt_fails: Option<u64>,
    /// Established connections reset in the period
    #[gauge(unit = "count", per_period, bad = "up", sub = "net")]
    pub tcp_estab_resets: Option<u64>,
    /// Resets sent in the period
    #[gauge(unit = "segments", per_period, bad = "up", sub = "net")]
    pub tcp_out_rsts: Option<u64>,
}

/// UDP of the agent's network namespace in the report period
#[derive(Table, Clone, Debug, Default)]
#[table(name = "system_udp", entity = "net", probe = "baseinfo")]
pub struct SystemUdp {
    /// Name of the data source; constant "/proc/net/snmp"
    #[key]
    pub origin: &'static str,
    /// UDP datagrams received in the period
    #[gauge(unit = "datagrams", per_period, sub = "net")]
    pub udp_indata_grams: Option<u64>,
    /// UDP datagrams sent in the period
    #[gauge(unit = "datagrams", per_period, sub = "net")]
    pub udp_outdata_grams: Option<u64>,
    /// Datagrams in the period for a port without a socket
    #[gauge(unit = "datagrams", per_period, bad = "up", sub = "net")]
    pub udp_no_ports: Option<u64>,
    /// Datagrams received in the period that could not be delivered
    #[gauge(unit = "datagrams", per_period, bad = "up", sub = "net")]
    pub udp_in_errors: Option<u64>,
    /// Datagrams dropped in the period because the receive buffer was full
    #[gauge(unit = "datagrams", per_period, bad = "up", sub = "net")]
    pub udp_rcvbuf_errors: Option<u64>,
    /// Datagrams not sent in the period because the send buffer was full
    #[gauge(unit = "datagrams", per_period, bad = "up", sub = "net")]
    pub udp_sndbuf_errors: Option<u64>,
    /// Datagrams with a wrong checksum in the period
    #[gauge(unit = "datagrams", per_period, bad = "up", sub = "net")]
    pub udp_in_csum_errors: Option<u64>,
}

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

/// Stalls of the whole host (`/proc/pressure`): share of the report period in which tasks waited for a resource
#[derive(Table, Clone, Debug, Default)]
#[table(name = "host_pressure", entity = "host", probe = "baseinfo")]
pub struct HostPressure {
    /// Host name
    #[label]
    pub hostname: String,
    /// Share of the period in which at least one task waited for a CPU
    #[gauge(unit = "%", level, bad = "up", sub = "host")]
    pub psi_cpu_some: Option<f64>,
    /// Share of the period in which at least one task waited for memory
    #[gauge(unit = "%", level, bad = "up", sub = "host")]
    pub psi_memory_some: Option<f64>,
    /// Share of the period in which every busy task waited for memory
    #[gauge(unit = "%", level, bad = "up", sub = "host")]
    pub psi_memory_full: Option<f64>,
    /// Share of the period in which at least one task waited for I/O
    #[gauge(unit = "%", level, bad = "up", sub = "host")]
    pub psi_io_some: Option<f64>,
    /// Share of the period in which every busy task waited for I/O
    #[gauge(unit = "%", level, bad = "up", sub = "host")]
    pub psi_io_full: Option<f64>,
}

/// Load and tasks of the whole host
#[derive(Table, Clone, Debug, Default)]
#[table(name = "host_tasks", entity = "host", probe = "baseinfo")]
pub struct HostTasks {
    /// Host name
    #[label]
    pub hostname: String,
    /// Load average of one minute: tasks running, waiting for a CPU or blocked
    #[gauge(level, bad = "up", sub = "host")]
    pub load1: Option<f64>,
    /// Load average of five minutes
    #[gauge(level, sub = "host")]
    pub load5: Option<f64>,
    /// Load average of fifteen minutes
    #[gauge(level, sub = "host")]
    pub load15: Option<f64>,
    /// Threads on the host
    #[gauge(unit = "count", level, bad = "up", sub = "host")]
    pub threads: Option<u64>,
    /// Threads running or waiting for a CPU at the time of the report
    #[gauge(unit = "count", level, bad = "up", sub = "host")]
    pub threads_running: Option<u64>,
    /// Threads blocked in uninterruptible I/O at the time of the report
    #[gauge(unit = "count", level, bad = "up", sub = "host")]
    pub threads_blocked: Option<u64>,
    /// Processes and threads created in the period
    #[gauge(unit = "count", per_period, sub = "host")]
    pub forks: Option<u64>,
    /// Context switches in the period
    #[gauge(unit = "count", per_period, sub = "host")]
    pub context_switches: Option<u64>,
    /// Hard interrupts in the period
    #[gauge(unit = "count", per_period, sub = "host")]
    pub interrupts: Option<u64>,
    /// Open files of the whole host
    #[gauge(unit = "count", level, bad = "up", sub = "host")]
    pub files_open: Option<u64>,
    /// Share of the host's limit of open files in use
    #[gauge(unit = "%", level, bad = "up", sub = "host")]
    pub files_used_per: Option<f64>,
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

/// Trouble of TCP that only the extended counters show, in the report period
#[derive(Table, Clone, Debug, Default)]
#[table(name = "net_tcpext", entity = "net", probe = "baseinfo")]
pub struct NetTcpext {
    /// Name of the data source; constant "/proc/net/netstat"
    #[key]
    pub origin: &'static str,
    /// Connections dropped because a listener's accept queue was full
    #[gauge(unit = "count", per_period, bad = "up", sub = "net")]
    pub tcp_listen_overflows: Option<u64>,
    /// Connection requests dropped by listeners, for whatever reason
    #[gauge(unit = "count", per_period, bad = "up", sub = "net")]
    pub tcp_listen_drops: Option<u64>,
    /// Connection requests dropped because the queue of half-open connections was full
    #[gauge(unit = "count", per_period, bad = "up", sub = "net")]
    pub tcp_req_queue_drops: Option<u64>,
    /// Connection requests answered by cookies because the queue of half-open connections was full
    #[gauge(unit = "count", per_period, bad = "up", sub = "net")]
    pub tcp_req_queue_cookies: Option<u64>,
    /// Retransmission timeouts
    #[gauge(unit = "count", per_period, bad = "up", sub = "net")]
    pub tcp_timeouts: Option<u64>,
    /// Segments lost again after their retransmission
    #[gauge(unit = "segments", per_period, bad = "up", sub = "net")]
    pub tcp_lost_retransmits: Option<u64>,
    /// Retransmissions in fast recovery
    #[gauge(unit = "segments", per_period, bad = "up", sub = "net")]
    pub tcp_fast_retransmits: Option<u64>,
    /// Retransmissions after a timeout
    #[gauge(unit = "segments", per_period, bad = "up", sub = "net")]
    pub tcp_slow_start_retransmits: Option<u64>,
    /// Retransmitted connection requests and answers to them
    #[gauge(unit = "segments", per_period, bad = "up", sub = "net")]
    pub tcp_syn_retransmits: Option<u64>,
    /// Tail loss probes sent
    #[gauge(unit = "segments", per_period, sub = "net")]
    pub tcp_loss_probes: Option<u64>,
    /// Times a socket's receive queue was pruned for lack of buffer
    #[gauge(unit = "count", per_period, bad = "up", sub = "net")]
    pub tcp_prunes: Option<u64>,
    /// Segments dropped because the socket's backlog was full
    #[gauge(unit = "segments", per_period, bad = "up", sub = "net")]
    pub tcp_backlog_drops: Option<u64>,
    /// Segments dropped because the receive queue was full
    #[gauge(unit = "segments", per_period, bad = "up", sub = "net")]
    pub tcp_rcvq_drops: Option<u64>,
    /// Segments dropped because the receive window was closed
    #[gauge(unit = "segments", per_period, bad = "up", sub = "net")]
    pub tcp_zero_window_drops: Option<u64>,
    /// Connections aborted because of timeouts
    #[gauge(unit = "count", per_period, bad = "up", sub = "net")]
    pub tcp_abort_on_timeout: Option<u64>,
    /// Connections aborted because TCP ran out of memory
    #[gauge(unit = "count", per_period, bad = "up", sub = "net")]
    pub tcp_abort_on_memory: Option<u64>,
    /// Times TCP came under memory pressure
    #[gauge(unit = "count", per_period, bad = "up", sub = "net")]
    pub tcp_memory_pressures: Option<u64>,
}

/// Sockets of the agent's network namespace at the time of the report
#[derive(Table, Clone, Debug, Default)]
#[table(name = "net_sockstat", entity = "net", probe = "baseinfo")]
pub struct NetSockstat {
    /// Name of the data source; constant "/proc/net/sockstat"
    #[key]
    pub origin: &'static str,
    /// TCP sockets that are not closed
    #[gauge(unit = "count", level, bad = "up", sub = "net")]
    pub tcp_in_use: Option<u64>,
    /// TCP sockets without a process
    #[gauge(unit = "count", level, bad = "up", sub = "net")]
    pub tcp_orphans: Option<u64>,
    /// TCP connections in TIME_WAIT
    #[gauge(unit = "count", level, sub = "net")]
    pub tcp_time_wait: Option<u64>,
    /// Memory of all TCP buffers
    #[gauge(unit = "kB", level, bad = "up", sub = "net")]
    pub tcp_memory_kb: Option<u64>,
    /// UDP sockets
    #[gauge(unit = "count", level, sub = "net")]
    pub udp_in_use: Option<u64>,
    /// Tracked connections; missing without connection tracking
    #[gauge(unit = "count", level, sub = "net")]
    pub conntrack_entries: Option<u64>,
    /// Share of the connection tracking table in use
    #[gauge(unit = "%", level, bad = "up", sub = "net")]
    pub conntrack_used_per: Option<f64>,
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
