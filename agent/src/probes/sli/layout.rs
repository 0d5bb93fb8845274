//! The structures of `sli.h` on this side.
#![allow(unsafe_code)]

use gala_model::Histogram;
use gala_model::tables::sli::LATENCY_EDGES_NS;

use crate::kernel::Plain;

const EDGES: usize = 20;
const BUCKETS: usize = EDGES + 1;
/// Edges as the kernel side searches them: a power of two.
const PADDED: usize = 32;
const METHOD: usize = 12;
pub const PLACES: usize = 16;

#[derive(Clone, Copy)]
#[repr(C)]
pub struct Config {
    edges: [u64; PADDED],
}

impl Config {
    pub fn new() -> Self {
        let mut edges = [u64::MAX; PADDED];
        edges[..EDGES].copy_from_slice(LATENCY_EDGES_NS);
        Self { edges }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C)]
pub struct Key {
    pub tgid: u32,
    pub server_port: u16,
    pub family: u16,
    pub method: [u8; METHOD],
}

#[derive(Clone, Copy)]
#[repr(C)]
pub struct Place {
    pub key: Key,
    pub taken: u32,
}

impl Place {
    pub const FREE: Self = Self { key: Key { tgid: 0, server_port: 0, family: 0, method: [0; METHOD] }, taken: 0 };

    pub fn is_free(&self) -> bool {
        self.taken == 0
    }
}

#[derive(Clone, Copy, Default)]
#[repr(C)]
pub struct Requests {
    pub server: [u8; 16],
    pub requests: u64,
    pub errors: u64,
    pub latency_sum: u64,
    pub latency_max: u64,
    pub sched_sum: u64,
    pub proc_sum: u64,
    pub timed: u64,
    pub send_sum: u64,
    pub acknowledged: u64,
    buckets: [u64; BUCKETS],
}

impl Requests {
    /// Of a server that answered none.
    pub fn none(server: [u8; 16]) -> Self {
        Self { server, ..Self::default() }
    }

    /// Adds what another processor counted.
    pub fn add(&mut self, other: &Self) {
        if self.server == [0; 16] {
            self.server = other.server;
        }
        self.requests += other.requests;
        self.errors += other.errors;
        self.latency_sum += other.latency_sum;
        self.latency_max = self.latency_max.max(other.latency_max);
        self.sched_sum += other.sched_sum;
        self.proc_sum += other.proc_sum;
        self.timed += other.timed;
        self.send_sum += other.send_sum;
        self.acknowledged += other.acknowledged;
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
    }

    pub fn histogram(&self) -> Histogram {
        if self.timed == 0 {
            return Histogram::default();
        }
        Histogram { edges: LATENCY_EDGES_NS, counts: self.buckets.to_vec(), sum: self.latency_sum, max: self.latency_max }
    }
}

#[derive(Clone, Copy)]
#[repr(C)]
pub struct Connection {
    pub tgid: u32,
    /// -1 while it is not known; then only `oldest` is told.
    pub fd: i32,
    pub server_port: u16,
    pub client_port: u16,
    pub family: u16,
    _pad: u16,
    pub server: [u8; 16],
    pub client: [u8; 16],
    pub method: [u8; METHOD],
    _pad2: u32,
    pub latency_first: u64,
    pub latency_max: u64,
    pub oldest: u64,
}

impl Key {
    /// Whether the kernel side read the command's name.
    pub fn is_named(&self) -> bool {
        self.method[0] != 0
    }
}

impl Connection {
    /// What its requests count under.
    pub fn key(&self) -> Key {
        Key { tgid: self.tgid, server_port: self.server_port, family: self.family, method: self.method }
    }
}

#[derive(Clone, Copy, Default)]
#[repr(C)]
pub struct Counters {
    pub methods_lost: u64,
    pub gaps: u64,
    pub broken: u64,
    pub conns_lost: u64,
    pub unnamed: u64,
}

/// The command's name; a command whose name the kernel side could not read is `?`.
pub fn method(bytes: [u8; METHOD]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(METHOD);
    if end == 0 { "?".to_owned() } else { String::from_utf8_lossy(&bytes[..end]).into_owned() }
}

const _: () = {
    assert!(size_of::<Config>() == 256);
    assert!(size_of::<Key>() == 20);
    assert!(size_of::<Place>() == 24);
    assert!(size_of::<Requests>() == 256);
    assert!(size_of::<Connection>() == 88);
    assert!(LATENCY_EDGES_NS.len() == EDGES);
};

// SAFETY: integers only, no padding (sizes asserted above).
unsafe impl Plain for Config {}
// SAFETY: as above.
unsafe impl Plain for Key {}
// SAFETY: as above.
unsafe impl Plain for [Place; PLACES] {}
// SAFETY: as above.
unsafe impl Plain for Requests {}
// SAFETY: as above.
unsafe impl Plain for Connection {}
// SAFETY: as above.
unsafe impl Plain for Counters {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_ends_at_its_first_zero() {
        assert_eq!(method(*b"GET\0\0\0\0\0\0\0\0\0"), "GET");
        assert_eq!(method(*b"ZRANGEBYSCO\0"), "ZRANGEBYSCO");
        assert_eq!(method([0; 12]), "?");
    }

    #[test]
    fn processors_add_up() {
        let mut one = Requests { requests: 2, timed: 2, latency_sum: 10, latency_max: 7, ..Requests::default() };
        one.buckets[0] = 2;
        let other = Requests { server: [9; 16], requests: 1, timed: 1, latency_sum: 50_000, latency_max: 50_000, ..one };
        one.add(&other);
        assert_eq!((one.requests, one.timed, one.latency_sum, one.latency_max), (3, 3, 50_010, 50_000));
        assert_eq!((one.server, one.histogram().counts[0]), ([9; 16], 4));
    }

    #[test]
    fn a_bucket_counts_on_beyond_32_bits() {
        let mut one = Requests { timed: 1 << 32, ..Requests::default() };
        one.buckets[3] = u64::from(u32::MAX);
        let other = Requests { timed: 1, ..one };
        one.add(&other);
        assert_eq!((one.histogram().counts[3], one.histogram().count()), (0x1_ffff_fffe, 0x1_ffff_fffe));
    }

    #[test]
    fn nothing_timed_is_no_histogram() {
        assert!(Requests::default().histogram().counts.is_empty());
    }
}
