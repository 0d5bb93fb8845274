//! The structures of `socket.h` on this side.
#![allow(unsafe_code)]

use std::net::IpAddr;

use gala_model::Histogram;
use gala_model::tables::socket::ESTABLISH_EDGES_NS;

use crate::kernel::Plain;
use crate::kernel::plain::address;

const EDGES: usize = 7;
const BUCKETS: usize = EDGES + 1;

#[derive(Clone, Copy)]
#[repr(C)]
pub struct Config {
    edges: [u64; EDGES],
}

impl Config {
    pub fn new() -> Self {
        let mut edges = [0; EDGES];
        edges.copy_from_slice(ESTABLISH_EDGES_NS);
        Self { edges }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Key {
    pub tgid: u32,
    pub net: u32,
    pub server_port: u16,
    pub family: u16,
    pub role: u16,
    _pad: u16,
    client: [u8; 16],
    server: [u8; 16],
}

pub const ROLE_CLIENT: u16 = 1;

impl Key {
    /// The same ends as another process has them, in whichever namespace.
    pub fn of(&self, tgid: u32) -> Self {
        Self { tgid, net: 0, ..*self }
    }

    pub fn client_ip(&self) -> IpAddr {
        address(self.family, self.client)
    }

    pub fn server_ip(&self) -> IpAddr {
        address(self.family, self.server)
    }
}

#[derive(Clone, Copy, Default)]
#[repr(C)]
pub struct Endpoint {
    pub comm: [u8; 16],
    latency_sum: u64,
    latency_max: u64,
    latency: [u32; BUCKETS],
    pub opened: u32,
    pub failed: u32,
    pub refused: u32,
    pub timed_out: u32,
    pub retransmitted: u32,
    pub unreachable: u32,
    pub synacks: u32,
    pub repeated: u32,
    pub repeated_opened: u32,
    pub drops: u32,
    pub queue: u32,
    pub queue_limit: u32,
    pub requests: u32,
    pub repeated_waiting: u32,
    _pad: u32,
}

impl Endpoint {
    /// Adds what another row of a client counted.
    pub fn add(&mut self, other: &Endpoint) {
        self.comm = other.comm;
        self.latency_sum += other.latency_sum;
        self.latency_max = self.latency_max.max(other.latency_max);
        let counts = self.latency.iter_mut().zip(other.latency);
        let sums = [
            (&mut self.opened, other.opened),
            (&mut self.failed, other.failed),
            (&mut self.refused, other.refused),
            (&mut self.timed_out, other.timed_out),
            (&mut self.retransmitted, other.retransmitted),
            (&mut self.unreachable, other.unreachable),
        ];
        for (mine, theirs) in counts.chain(sums) {
            *mine = mine.saturating_add(theirs);
        }
    }

    pub fn establish_latency(&self) -> Histogram {
        if self.latency.iter().all(|count| *count == 0) {
            return Histogram::default();
        }
        let counts = self.latency.iter().map(|count| u64::from(*count)).collect();
        Histogram { edges: ESTABLISH_EDGES_NS, counts, sum: self.latency_sum, max: self.latency_max }
    }
}

/// What the walk over all descriptors is told.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Phase {
    /// Its number.
    pub walk: u32,
    /// Whether listeners are to be looked at as they are met.
    pub look: u32,
}

#[derive(Clone, Copy, Default)]
#[repr(C)]
pub struct Counters {
    pub endpoints_lost: u64,
    pub owners_lost: u64,
}

const _: () = {
    assert!(size_of::<Config>() == 56);
    assert!(size_of::<Key>() == 48);
    assert!(size_of::<Endpoint>() == 128);
    assert!(size_of::<Phase>() == 8);
    assert!(ESTABLISH_EDGES_NS.len() == EDGES);
};

// SAFETY: integers only, no padding (sizes asserted above).
unsafe impl Plain for Config {}
// SAFETY: as above.
unsafe impl Plain for Key {}
// SAFETY: as above.
unsafe impl Plain for Endpoint {}
// SAFETY: as above.
unsafe impl Plain for Phase {}
// SAFETY: as above.
unsafe impl Plain for Counters {}
