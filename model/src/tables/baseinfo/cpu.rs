//! Tables of probe `baseinfo`: CPUs, pressure and scheduling of the host.

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
