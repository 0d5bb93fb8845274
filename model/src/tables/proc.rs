//! Tables of probe `proc`: what processes and threads wait for, how their calls and ends go. The first tables hold upstream's
//! fields; the others are ours. What a process uses is in `system_proc` of probe `baseinfo`.
//!
//! All times are measured at every switch of every user thread, not sampled. A process is the sum of its threads.

use crate::Table;
use crate::value::Histogram;

/// Upper edges of the host's distributions of time off CPU, in nanoseconds
pub const OFF_EDGES_NS: &[u64] = &[1_000_000, 5_000_000, 10_000_000, 100_000_000, 500_000_000, 1_000_000_000];

/// Longest times off CPU of a process's threads
#[derive(Table, Clone, Debug, Default)]
#[table(name = "proc_cpu", entity = "proc", probe = "proc")]
pub struct ProcCpu {
    /// Process id
    #[key]
    pub tgid: u32,
    /// Longest time a thread waited off CPU for I/O in the period
    #[gauge(unit = "ns", per_period, bad = "up", sub = "proc_offcpu")]
    pub iowait_ns: Option<u64>,
    /// Longest time a thread was off CPU in the period, idle waits included
    #[gauge(unit = "ns", per_period, sub = "proc_offcpu")]
    pub offcpu_ns: Option<u64>,
}

/// Calls of a process that wait for storage
#[derive(Table, Clone, Debug, Default)]
#[table(name = "proc_syscall_io", entity = "proc", probe = "proc")]
pub struct ProcSyscallIo {
    /// Process id
    #[key]
    pub tgid: u32,
    /// Longest fsync call of the process in the period
    #[gauge(unit = "ns", per_period, bad = "up", sub = "proc_io")]
    pub ns_fsync: Option<u64>,
    /// Calls of fsync and fdatasync that ended in the period
    #[gauge(unit = "count", per_period, sub = "proc_io")]
    pub fsync_count: Option<u64>,
    /// Time of these calls together
    #[gauge(unit = "ns", per_period, bad = "up", sub = "proc_io")]
    pub fsync_sum_ns: Option<u64>,
}

/// Memory reclaim that a process had to do itself
#[derive(Table, Clone, Debug, Default)]
#[table(name = "proc_page", entity = "proc", probe = "proc")]
pub struct ProcPage {
    /// Process id
    #[key]
    pub tgid: u32,
    /// Longest direct reclaim entered by the process in the period
    #[gauge(unit = "ns", per_period, bad = "up", sub = "proc_pagecache")]
    pub reclaim_ns: Option<u64>,
    /// Time of all direct reclaims of the process in the period
    #[gauge(unit = "ns", per_period, bad = "up", sub = "proc_pagecache")]
    pub reclaim_sum_ns: Option<u64>,
}

/// Where the time of a process's threads went in the period: running, waiting for a CPU, asleep for which reason
#[derive(Table, Clone, Debug, Default)]
#[table(name = "proc_sched", entity = "proc", probe = "proc")]
pub struct ProcSched {
    /// Process id
    #[key]
    pub tgid: u32,
    /// CPU time
    #[gauge(unit = "ns", per_period, sub = "proc_offcpu")]
    pub cpu_ns: Option<u64>,
    /// Time runnable threads waited for a CPU
    #[gauge(unit = "ns", per_period, bad = "up", sub = "proc_offcpu")]
    pub run_delay_ns: Option<u64>,
    /// Share of its runnable time that the process waited for a CPU: run delay / (run delay + CPU time) x 100
    #[gauge(unit = "%", level, bad = "up", sub = "proc_offcpu")]
    pub run_delay_per: Option<f64>,
    /// Longest wait of a thread for a CPU
    #[gauge(unit = "ns", per_period, bad = "up", sub = "proc_offcpu")]
    pub run_delay_max_ns: Option<u64>,
    /// Sleep in wait for storage (the kernel's iowait)
    #[gauge(unit = "ns", per_period, bad = "up", sub = "proc_offcpu")]
    pub wait_io_ns: Option<u64>,
    /// Uninterruptible sleep other than I/O wait: kernel locks, memory, frozen file systems
    #[gauge(unit = "ns", per_period, bad = "up", sub = "proc_offcpu")]
    pub wait_block_ns: Option<u64>,
    /// Sleep of any kind inside read calls, of files and of sockets
    #[gauge(unit = "ns", per_period, sub = "proc_offcpu")]
    pub wait_read_ns: Option<u64>,
    /// Sleep of any kind inside write calls
    #[gauge(unit = "ns", per_period, bad = "up", sub = "proc_offcpu")]
    pub wait_write_ns: Option<u64>,
    /// Sleep of any kind inside fsync, fdatasync, msync and sync calls
    #[gauge(unit = "ns", per_period, bad = "up", sub = "proc_offcpu")]
    pub wait_fsync_ns: Option<u64>,
    /// Sleep inside send, receive, connect and accept calls
    #[gauge(unit = "ns", per_period, sub = "proc_offcpu")]
    pub wait_net_ns: Option<u64>,
    /// Sleep inside futex calls: locks, condition variables, idle worker threads
    #[gauge(unit = "ns", per_period, sub = "proc_offcpu")]
    pub wait_futex_ns: Option<u64>,
    /// Sleep inside calls that wait for events, time or children: mostly idleness
    #[gauge(unit = "ns", per_period, sub = "proc_offcpu")]
    pub wait_events_ns: Option<u64>,
    /// Switches because a thread went to sleep
    #[gauge(unit = "count", per_period, sub = "proc_offcpu")]
    pub voluntary_switches: Option<u64>,
    /// Switches because another thread was to run
    #[gauge(unit = "count", per_period, bad = "up", sub = "proc_offcpu")]
    pub involuntary_switches: Option<u64>,
    /// Threads in uninterruptible sleep at the time of the report
    #[gauge(unit = "count", level, bad = "up", sub = "proc_offcpu")]
    pub threads_blocked: Option<u64>,
    /// Threads stopped by a signal or a debugger at the time of the report
    #[gauge(unit = "count", level, bad = "up", sub = "proc_offcpu")]
    pub threads_stopped: Option<u64>,
}

/// Who ran while a process waited for a CPU: one row for each of the processes that cost it most. `by_tgid` is the `tgid` of
/// the process that ran, so that the waiting process joins with its noisy neighbour; equal ids mean threads of one process
/// waiting for each other
#[derive(Table, Clone, Debug, Default)]
#[table(name = "proc_preempt", entity = "proc", probe = "proc")]
pub struct ProcPreempt {
    /// Process that waited
    #[key]
    pub tgid: u32,
    /// Process that ran
    #[label]
    pub by_tgid: u32,
    /// Name of the process that ran
    #[label]
    pub by_comm: String,
    /// What ran: `process` or `kernel` (a kernel thread)
    #[label]
    pub by_kind: &'static str,
    /// Time the process waited while the other one ran
    #[gauge(unit = "ns", per_period, bad = "up", sub = "proc_offcpu")]
    pub preempted_ns: u64,
    /// Waits of more than 0.1 ms that ended with the other process leaving the CPU
    #[gauge(unit = "count", per_period, bad = "up", sub = "proc_offcpu")]
    pub preempted_count: u64,
    /// Longest of these waits
    #[gauge(unit = "ns", per_period, bad = "up", sub = "proc_offcpu")]
    pub preempted_max_ns: u64,
    /// CPU on which it happened last
    #[gauge(level, sub = "proc_offcpu")]
    pub preempted_cpu: u32,
}

/// Limits of the control group of a process and how often they were felt; only for groups below the root
#[derive(Table, Clone, Debug, Default)]
#[table(name = "proc_cgroup", entity = "proc", probe = "proc")]
pub struct ProcCgroup {
    /// Process id
    #[key]
    pub tgid: u32,
    /// Path of the control group that limits its CPU time
    #[label]
    pub cgroup: String,
    /// Time the group was not allowed to run because its quota was used up
    #[gauge(unit = "ns", per_period, bad = "up", sub = "proc_offcpu")]
    pub throttled_ns: Option<u64>,
    /// Periods of the quota in which the group was stopped
    #[gauge(unit = "count", per_period, bad = "up", sub = "proc_offcpu")]
    pub throttled_count: Option<u64>,
    /// CPUs the quota allows; missing without a quota
    #[gauge(unit = "cores", level, sub = "proc_offcpu")]
    pub quota_cores: Option<f64>,
    /// Share of the memory limit in use; missing without a limit
    #[gauge(unit = "%", level, bad = "up", sub = "proc_pagecache")]
    pub memory_limit_used_per: Option<f64>,
    /// Processes of the group killed because its memory ran out
    #[gauge(unit = "count", per_period, bad = "up", sub = "proc_pagecache")]
    pub memory_oom_kills: Option<u64>,
    /// Times the group hit its memory limit and had to reclaim
    #[gauge(unit = "count", per_period, bad = "up", sub = "proc_pagecache")]
    pub memory_limit_hits: Option<u64>,
}

/// Busy or waiting threads of processes with several
#[derive(Table, Clone, Debug, Default)]
#[table(name = "thread_sched", entity = "thread", probe = "proc")]
pub struct ThreadSched {
    /// Thread id
    #[key]
    pub pid: u32,
    /// Process id
    #[label]
    pub tgid: u32,
    /// Name of the thread
    #[label]
    pub comm: String,
    /// CPU time in per cent of one CPU
    #[gauge(unit = "%", level, bad = "up", sub = "proc_offcpu")]
    pub cpu_util: Option<f64>,
    /// Time the runnable thread waited for a CPU
    #[gauge(unit = "ns", per_period, bad = "up", sub = "proc_offcpu")]
    pub run_delay_ns: Option<u64>,
    /// Sleep in wait for storage
    #[gauge(unit = "ns", per_period, bad = "up", sub = "proc_offcpu")]
    pub wait_io_ns: Option<u64>,
    /// Uninterruptible sleep other than I/O wait
    #[gauge(unit = "ns", per_period, bad = "up", sub = "proc_offcpu")]
    pub wait_block_ns: Option<u64>,
    /// Longest time off CPU, idle waits included
    #[gauge(unit = "ns", per_period, sub = "proc_offcpu")]
    pub off_cpu_ns: Option<u64>,
}

/// Time off CPU of all user threads of the host in the period
#[derive(Table, Clone, Debug, Default)]
#[table(name = "sli_cpu_node_gauge", entity = "sli_node", probe = "sli")]
pub struct SliCpuNodeGauge {
    /// Constant "-1"
    #[key]
    pub sli_node_key: &'static str,
    /// Sleep of free will
    #[gauge(unit = "ns", per_period, sub = "cpu")]
    pub cpu_sleep: Option<u64>,
    /// Sleep in wait for storage
    #[gauge(unit = "ns", per_period, bad = "up", sub = "cpu")]
    pub cpu_iowait: Option<u64>,
    /// Uninterruptible sleep other than I/O wait
    #[gauge(unit = "ns", per_period, bad = "up", sub = "cpu")]
    pub cpu_block: Option<u64>,
    /// Time between runnable and running
    #[gauge(unit = "ns", per_period, bad = "up", sub = "cpu")]
    pub cpu_rundelay: Option<u64>,
}

/// Distribution of the time off CPU of all user threads of the host in the period
#[derive(Table, Clone, Debug, Default)]
#[table(name = "sli_cpu_node_histogram", entity = "sli_node", probe = "sli")]
pub struct SliCpuNodeHistogram {
    /// Constant "-1"
    #[key]
    pub sli_node_key: &'static str,
    /// Sleeps of free will
    #[histogram(unit = "ns", per_period, sub = "cpu")]
    pub cpu_sleep_histo: Option<Histogram>,
    /// Sleeps in wait for storage
    #[histogram(unit = "ns", per_period, bad = "up", sub = "cpu")]
    pub cpu_iowait_histo: Option<Histogram>,
    /// Uninterruptible sleeps other than I/O wait
    #[histogram(unit = "ns", per_period, bad = "up", sub = "cpu")]
    pub cpu_block_histo: Option<Histogram>,
    /// Times between runnable and running
    #[histogram(unit = "ns", per_period, bad = "up", sub = "cpu")]
    pub cpu_rundelay_histo: Option<Histogram>,
}
