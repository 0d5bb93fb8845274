//! The structures of `io.h` on this side.
#![allow(unsafe_code)]

use gala_model::Histogram;
use gala_model::tables::io::LATENCY_EDGES_NS;

use crate::kernel::Plain;

const BUCKETS: usize = 21;
pub const OPS: usize = 4;
pub const OP_READ: u32 = 0;
pub const OP_WRITE: u32 = 1;
/// Kinds of requests in the order of `enum io_op`.
pub const OP_NAMES: [&str; OPS] = ["read", "write", "flush", "other"];

const _: () = assert!(LATENCY_EDGES_NS.len() + 1 == BUCKETS);

#[derive(Clone, Copy)]
#[repr(C)]
pub struct Config {
    pub queue_first: u32,
}

#[derive(Clone, Copy)]
#[repr(C)]
pub struct Key {
    pub major: u32,
    pub first_minor: u32,
    pub op: u32,
    pub generation: u32,
}

#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Times {
    pub sum_ns: u64,
    pub max_ns: u64,
    pub last_ns: u64,
    pub jitter_ns: u64,
}

#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Stats {
    pub requests: u64,
    pub timed: u64,
    pub bytes: u64,
    pub errors: u64,
    pub last_error: u64,
    pub last_at: u64,
    pub total: Times,
    pub queue: Times,
    pub device: Times,
    pub total_counts: [u64; BUCKETS],
    pub device_counts: [u64; BUCKETS],
}

/// A thread's sync of a file that has not ended.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Sync {
    pub start_ns: u64,
    pub major: u32,
    pub first_minor: u32,
}

#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct SyncStats {
    pub sum_ns: u64,
    pub max_ns: u64,
    pub counts: [u64; BUCKETS],
}

#[derive(Clone, Copy)]
#[repr(C)]
pub struct OwnerKey {
    pub major: u32,
    pub first_minor: u32,
    pub tgid: u32,
    pub kernel: u32,
}

#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Owner {
    pub reads: u64,
    pub writes: u64,
    pub read_bytes: u64,
    pub write_bytes: u64,
    pub sum_ns: u64,
    pub max_ns: u64,
    pub errors: u64,
}

#[derive(Clone, Copy, Default)]
#[repr(C)]
pub struct Counters {
    pub requests_lost: u64,
    pub stats_lost: u64,
    pub owners_lost: u64,
    pub bios_lost: u64,
    pub syncs_lost: u64,
}

const _: () = assert!(size_of::<Stats>() == 480);
const _: () = assert!(size_of::<Owner>() == 56);
const _: () = assert!(size_of::<Sync>() == 16);
const _: () = assert!(size_of::<SyncStats>() == 184);
const _: () = assert!(size_of::<Key>() == 16);

// SAFETY: integers only, no padding (the sizes above are the sums of the fields).
unsafe impl Plain for Config {}
// SAFETY: as above.
unsafe impl Plain for Key {}
// SAFETY: as above.
unsafe impl Plain for Stats {}
// SAFETY: as above.
unsafe impl Plain for Sync {}
// SAFETY: as above.
unsafe impl Plain for SyncStats {}
// SAFETY: as above.
unsafe impl Plain for OwnerKey {}
// SAFETY: as above.
unsafe impl Plain for Owner {}
// SAFETY: as above.
unsafe impl Plain for Counters {}

impl Times {
    /// `later`: whether the other one's last request ended after ours.
    fn add(&mut self, other: &Self, later: bool) {
        self.sum_ns += other.sum_ns;
        self.max_ns = self.max_ns.max(other.max_ns);
        self.jitter_ns = self.jitter_ns.max(other.jitter_ns);
        if later {
            self.last_ns = other.last_ns;
        }
    }
}

impl Stats {
    /// Adds another CPU's or kind's count of the same period.
    pub fn add(&mut self, other: &Self) {
        let later = other.timed > 0 && other.last_at >= self.last_at;
        self.total.add(&other.total, later);
        self.queue.add(&other.queue, later);
        self.device.add(&other.device, later);
        self.requests += other.requests;
        self.timed += other.timed;
        self.bytes += other.bytes;
        self.errors += other.errors;
        if other.errors > 0 {
            self.last_error = other.last_error;
        }
        self.last_at = self.last_at.max(other.last_at);
        for bucket in 0..BUCKETS {
            self.total_counts[bucket] += other.total_counts[bucket];
            self.device_counts[bucket] += other.device_counts[bucket];
        }
    }

    pub fn total_histogram(&self) -> Option<Histogram> {
        histogram(&self.total_counts, &self.total)
    }

    pub fn device_histogram(&self) -> Option<Histogram> {
        histogram(&self.device_counts, &self.device)
    }
}

impl SyncStats {
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    pub fn histogram(&self) -> Option<Histogram> {
        histogram(&self.counts, &Times { sum_ns: self.sum_ns, max_ns: self.max_ns, ..Times::default() })
    }
}

fn histogram(counts: &[u64; BUCKETS], times: &Times) -> Option<Histogram> {
    let any = counts.iter().any(|count| *count > 0);
    any.then(|| Histogram { edges: LATENCY_EDGES_NS, counts: counts.to_vec(), sum: times.sum_ns, max: times.max_ns })
}
