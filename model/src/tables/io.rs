//! Tables of probe `io`: what block devices did. Upstream samples one request in some seconds; here every request counts.

use crate::Table;
use crate::value::Histogram;

/// Upper edges of request times in nanoseconds: powers of two from 16 us to 8.6 s
pub const LATENCY_EDGES_NS: &[u64] = &[
    1 << 14,
    1 << 15,
    1 << 16,
    1 << 17,
    1 << 18,
    1 << 19,
    1 << 20,
    1 << 21,
    1 << 22,
    1 << 23,
    1 << 24,
    1 << 25,
    1 << 26,
    1 << 27,
    1 << 28,
    1 << 29,
    1 << 30,
    1 << 31,
    1 << 32,
    1 << 33,
];

/// Times of the requests of a disk that succeeded in the period
#[derive(Table, Clone, Debug, Default)]
#[table(name = "io_latency", entity = "block", probe = "io")]
pub struct IoLatency {
    /// Major number of the block device
    #[key]
    pub major: u32,
    /// First minor number
    #[key]
    pub first_minor: u32,
    /// Device name
    #[label]
    pub blk_name: String,
    /// Name of the whole disk
    #[label]
    pub disk_name: String,
    /// Largest time in the block layer from submission to completion
    #[gauge(unit = "ns", per_period, bad = "up", sub = "io_trace")]
    pub latency_req_max: Option<u64>,
    /// Time in the block layer of the last request
    #[gauge(unit = "ns", per_period, bad = "up", sub = "io_trace")]
    pub latency_req_last: Option<u64>,
    /// Sum of the times in the block layer
    #[gauge(unit = "ns", per_period, sub = "io_trace")]
    pub latency_req_sum: u64,
    /// Largest difference between two consecutive requests in the block layer
    #[gauge(unit = "ns", per_period, bad = "up", sub = "io_trace")]
    pub latency_req_jitter: Option<u64>,
    /// Number of requests
    #[gauge(unit = "count", per_period, sub = "io_trace")]
    pub count_latency_req: u64,
    /// Largest time from submission to hand-over to the driver: limits of control groups, merging, scheduling, waiting for a slot
    #[gauge(unit = "ns", per_period, bad = "up", sub = "io_trace")]
    pub latency_driver_max: Option<u64>,
    /// Time before hand-over of the last request
    #[gauge(unit = "ns", per_period, bad = "up", sub = "io_trace")]
    pub latency_driver_last: Option<u64>,
    /// Sum of the times before hand-over
    #[gauge(unit = "ns", per_period, bad = "up", sub = "io_trace")]
    pub latency_driver_sum: u64,
    /// Largest difference between two consecutive requests before hand-over
    #[gauge(unit = "ns", per_period, bad = "up", sub = "io_trace")]
    pub latency_driver_jitter: Option<u64>,
    /// Number of requests
    #[gauge(unit = "count", per_period, sub = "io_trace")]
    pub count_latency_driver: u64,
    /// Largest time in driver and device
    #[gauge(unit = "ns", per_period, bad = "up", sub = "io_trace")]
    pub latency_device_max: Option<u64>,
    /// Time in driver and device of the last request
    #[gauge(unit = "ns", per_period, bad = "up", sub = "io_trace")]
    pub latency_device_last: Option<u64>,
    /// Sum of the times in driver and device
    #[gauge(unit = "ns", per_period, sub = "io_trace")]
    pub latency_device_sum: u64,
    /// Largest difference between two consecutive requests in driver and device
    #[gauge(unit = "ns", per_period, bad = "up", sub = "io_trace")]
    pub latency_device_jitter: Option<u64>,
    /// Number of requests
    #[gauge(unit = "count", per_period, sub = "io_trace")]
    pub count_latency_device: u64,
    /// Mean number of requests between start and completion: sum of their times over the period
    #[gauge(unit = "requests", level, bad = "up", sub = "io_trace")]
    pub queue_depth: Option<f64>,
}

/// Distribution of the times of a disk's requests by kind in the period
// `latency_req` would export the names of `latency_req_sum` and `latency_req_max` above once more.
#[derive(Table, Clone, Debug, Default)]
#[table(name = "io_histogram", entity = "block", probe = "io")]
pub struct IoHistogram {
    /// Major number of the block device
    #[key]
    pub major: u32,
    /// First minor number
    #[key]
    pub first_minor: u32,
    /// Device name
    #[label]
    pub blk_name: String,
    /// Name of the whole disk
    #[label]
    pub disk_name: String,
    /// `read`, `write`, `flush` or `other` (discard, zone management)
    #[label]
    pub op: &'static str,
    /// Requests that ended, failed ones included
    #[gauge(unit = "count", per_period, sub = "io_trace")]
    pub requests: u64,
    /// Bytes moved
    #[gauge(unit = "bytes", per_period, sub = "io_trace")]
    pub bytes: u64,
    /// From submission to completion, limits of control groups included
    #[histogram(unit = "ns", per_period, bad = "up", sub = "io_trace")]
    pub latency_req_histo: Option<Histogram>,
    /// In driver and device
    #[histogram(unit = "ns", per_period, bad = "up", sub = "io_trace")]
    pub latency_device_histo: Option<Histogram>,
}

/// Syncs of files (`fsync`, `fdatasync`) on a disk in the period, whatever held them up: the device, the file system, a limit
/// of a control group
#[derive(Table, Clone, Debug, Default)]
#[table(name = "io_sync", entity = "block", probe = "io")]
pub struct IoSync {
    /// Major number of the block device
    #[key]
    pub major: u32,
    /// First minor number
    #[key]
    pub first_minor: u32,
    /// Device name
    #[label]
    pub blk_name: String,
    /// Name of the whole disk
    #[label]
    pub disk_name: String,
    /// Syncs that ended
    #[gauge(unit = "count", per_period, sub = "io_trace")]
    pub sync_count: u64,
    /// Syncs under way at the end of the period
    #[gauge(unit = "count", level, bad = "up", sub = "io_trace")]
    pub sync_pending: u64,
    /// Age of the oldest of them
    #[gauge(unit = "ns", level, bad = "up", sub = "io_trace")]
    pub sync_oldest: u64,
    /// Time of a sync
    #[histogram(unit = "ns", per_period, bad = "up", sub = "io_trace")]
    pub latency_sync: Option<Histogram>,
}

/// Requests of a disk that failed in the period
#[derive(Table, Clone, Debug, Default)]
#[table(name = "io_err", entity = "block", probe = "io")]
pub struct IoErr {
    /// Major number of the block device
    #[key]
    pub major: u32,
    /// First minor number
    #[key]
    pub first_minor: u32,
    /// Device name
    #[label]
    pub blk_name: String,
    /// Name of the whole disk
    #[label]
    pub disk_name: String,
    /// Block layer status of the last request that failed in the period (`BLK_STS_*`; an error number before 5.16), 0 when
    /// none did
    #[gauge(level, bad = "up", sub = "io_err")]
    pub err_code: u64,
    /// Requests that failed
    #[gauge(unit = "count", per_period, bad = "up", sub = "io_err")]
    pub err_count: u64,
}

/// Bytes a disk moved in the period
#[derive(Table, Clone, Debug, Default)]
#[table(name = "io_count", entity = "block", probe = "io")]
pub struct IoCount {
    /// Major number of the block device
    #[key]
    pub major: u32,
    /// First minor number
    #[key]
    pub first_minor: u32,
    /// Device name
    #[label]
    pub blk_name: String,
    /// Name of the whole disk
    #[label]
    pub disk_name: String,
    /// Bytes of read requests that ended
    #[gauge(unit = "bytes", per_period, sub = "io_count")]
    pub read_bytes: u64,
    /// Bytes of write requests that ended
    #[gauge(unit = "bytes", per_period, sub = "io_count")]
    pub write_bytes: u64,
}

/// What a process asked of a disk, as far as its requests ended in the period. Writes of cached pages are asked for by the
/// kernel thread that writes them back, later and for many processes at once: they stand at that thread
#[derive(Table, Clone, Debug, Default)]
#[table(name = "proc_block", entity = "proc", probe = "io")]
pub struct ProcBlock {
    /// Process that submitted the requests
    #[key]
    pub tgid: u32,
    /// Device name of the disk
    #[label]
    pub disk_name: String,
    /// What submitted: `process` or `kernel` (writeback, journal)
    #[label]
    pub submitter: &'static str,
    /// Read requests
    #[gauge(unit = "count", per_period, sub = "io_count")]
    pub block_reads: u64,
    /// Write and flush requests
    #[gauge(unit = "count", per_period, sub = "io_count")]
    pub block_writes: u64,
    /// Bytes read
    #[gauge(unit = "bytes", per_period, sub = "io_count")]
    pub block_read_bytes: u64,
    /// Bytes written
    #[gauge(unit = "bytes", per_period, sub = "io_count")]
    pub block_write_bytes: u64,
    /// Sum of the times of these requests
    #[gauge(unit = "ns", per_period, bad = "up", sub = "io_trace")]
    pub block_latency_sum: u64,
    /// Longest of these requests
    #[gauge(unit = "ns", per_period, bad = "up", sub = "io_trace")]
    pub block_latency_max: u64,
    /// Requests that failed
    #[gauge(unit = "count", per_period, bad = "up", sub = "io_err")]
    pub block_errors: u64,
}
