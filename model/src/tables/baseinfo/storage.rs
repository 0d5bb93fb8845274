//! Tables of probe `baseinfo`: disks and file systems.

use crate::Table;

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
