//! The structures of `tcp.h` on this side.
#![allow(unsafe_code)]

use std::net::IpAddr;

use gala_model::Histogram;
use gala_model::tables::tcp::{BUFFER_EDGES_BYTES, RTT_EDGES_US, SEGMENT_EDGES, TIMEOUT_EDGES_MS, WINDOW_EDGES_BYTES};

use crate::kernel::Plain;
use crate::kernel::plain::address;

const EDGES: usize = 9;
const BUCKETS: usize = EDGES + 1;
/// Edges by scale, in the order of `enum tcp_scale`.
const SCALES: [&[u64]; 5] = [RTT_EDGES_US, WINDOW_EDGES_BYTES, SEGMENT_EDGES, TIMEOUT_EDGES_MS, BUFFER_EDGES_BYTES];
pub const HISTOGRAMS: usize = 14;

/// A histogram and its edges, in the order of `enum tcp_histogram_id`.
#[derive(Clone, Copy)]
#[repr(usize)]
pub enum Kept {
    Srtt,
    RcvRtt,
    SynSrtt,
    SndCwnd,
    Reordering,
    Notsent,
    Notack,
    SndWnd,
    RcvWnd,
    AvlSndWnd,
    Rto,
    Ato,
    Rcvbuf,
    Sndbuf,
}

impl Kept {
    const fn edges(self) -> &'static [u64] {
        match self {
            Self::Srtt | Self::RcvRtt | Self::SynSrtt => RTT_EDGES_US,
            Self::SndCwnd | Self::Reordering => SEGMENT_EDGES,
            Self::Notsent | Self::Notack | Self::SndWnd | Self::RcvWnd | Self::AvlSndWnd => WINDOW_EDGES_BYTES,
            Self::Rto | Self::Ato => TIMEOUT_EDGES_MS,
            Self::Rcvbuf | Self::Sndbuf => BUFFER_EDGES_BYTES,
        }
    }
}

/// Sub-probes whose histograms need not be filled, by the bits of `enum tcp_part`.
pub const PARTS: [(&str, u32); 4] = [("tcp_rtt", 1), ("tcp_windows", 2), ("tcp_rate", 4), ("tcp_sockbuf", 8)];

#[derive(Clone, Copy)]
#[repr(C)]
pub struct Config {
    edges: [[u32; EDGES]; SCALES.len()],
    pub hz: u32,
    pub reason_backlog: u32,
    pub reason_filter: u32,
    pub reason_memory: u32,
    pub keep_client_port: u32,
}

impl Config {
    /// With the edges of the tables and all else zero.
    pub fn new() -> Self {
        let mut edges = [[u32::MAX; EDGES]; SCALES.len()];
        for (kept, declared) in edges.iter_mut().zip(SCALES) {
            for (to, from) in kept.iter_mut().zip(declared) {
                *to = u32::try_from(*from).unwrap_or(u32::MAX);
            }
        }
        Self { edges, hz: 0, reason_backlog: 0, reason_filter: 0, reason_memory: 0, keep_client_port: 0 }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Key {
    pub tgid: u32,
    pub client_port: u16,
    pub server_port: u16,
    pub family: u16,
    pub role: u16,
    pub client: [u8; 16],
    pub server: [u8; 16],
}

pub const ROLE_CLIENT: u16 = 1;
pub const ROLE_SERVER: u16 = 2;

impl Key {
    pub fn client_ip(&self) -> IpAddr {
        address(self.family, self.client)
    }

    pub fn server_ip(&self) -> IpAddr {
        address(self.family, self.server)
    }
}

#[derive(Clone, Copy, Default)]
#[repr(C)]
struct Counts {
    sum: u64,
    max: u64,
    counts: [u32; BUCKETS],
}

#[derive(Clone, Copy, Default)]
#[repr(C)]
pub struct Events {
    pub send_rsts: u32,
    pub receive_rsts: u32,
    pub timeouts: u32,
    pub backlog_drops: u32,
    pub filter_drops: u32,
    pub memory_failures: u32,
    pub buffer_limits: u32,
    pub oom: u32,
}

#[derive(Clone, Copy, Default)]
#[repr(C)]
pub struct Link {
    pub comm: [u8; 16],
    pub rx_bytes: u64,
    pub tx_bytes: u64,
    pub segs_in: u64,
    pub segs_out: u64,
    pub retrans: u32,
    pub lost: u32,
    pub sacked_max: u32,
    pub drops: u32,
    pub samples: u32,
    pub zero_rcv_wnd: u32,
    pub zero_snd_wnd: u32,
    pub sockets: u32,
    pub events: Events,
    histograms: [Counts; HISTOGRAMS],
}

impl Link {
    /// Adds what another row counted.
    pub fn add(&mut self, other: &Link) {
        self.comm = other.comm;
        self.rx_bytes += other.rx_bytes;
        self.tx_bytes += other.tx_bytes;
        self.segs_in += other.segs_in;
        self.segs_out += other.segs_out;
        self.sacked_max = self.sacked_max.max(other.sacked_max);
        let sums = [
            (&mut self.retrans, other.retrans),
            (&mut self.lost, other.lost),
            (&mut self.drops, other.drops),
            (&mut self.samples, other.samples),
            (&mut self.zero_rcv_wnd, other.zero_rcv_wnd),
            (&mut self.zero_snd_wnd, other.zero_snd_wnd),
            (&mut self.sockets, other.sockets),
            (&mut self.events.send_rsts, other.events.send_rsts),
            (&mut self.events.receive_rsts, other.events.receive_rsts),
            (&mut self.events.timeouts, other.events.timeouts),
            (&mut self.events.backlog_drops, other.events.backlog_drops),
            (&mut self.events.filter_drops, other.events.filter_drops),
            (&mut self.events.memory_failures, other.events.memory_failures),
            (&mut self.events.buffer_limits, other.events.buffer_limits),
            (&mut self.events.oom, other.events.oom),
        ];
        for (mine, theirs) in sums {
            *mine = mine.saturating_add(theirs);
        }
        for (mine, theirs) in self.histograms.iter_mut().zip(&other.histograms) {
            mine.sum += theirs.sum;
            mine.max = mine.max.max(theirs.max);
            for (mine, theirs) in mine.counts.iter_mut().zip(&theirs.counts) {
                *mine = mine.saturating_add(*theirs);
            }
        }
    }

    /// Counts a value as the kernel side does.
    pub fn record(&mut self, kept: Kept, value: u64) {
        let to = &mut self.histograms[kept as usize];
        to.counts[kept.edges().partition_point(|edge| *edge < value)] += 1;
        to.sum += value;
        to.max = to.max.max(value);
    }

    /// The histogram over its table's edges; without counts when nothing was sampled.
    pub fn histogram(&self, kept: Kept) -> Histogram {
        let from = &self.histograms[kept as usize];
        if from.counts.iter().all(|count| *count == 0) {
            return Histogram::default();
        }
        let edges = kept.edges();
        // Scales with fewer edges are padded with edges nothing exceeds: what is beyond the last real edge lies in that bucket.
        let counts = from.counts[..=edges.len()].iter().map(|count| u64::from(*count)).collect();
        Histogram { edges, counts, sum: from.sum, max: from.max }
    }
}

/// What the walk over all descriptors is told.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Phase {
    pub adopt_connections: u32,
    /// Its number.
    pub walk: u32,
    /// This network namespace where connections are to be accounted as they are met, else 0.
    pub own_net: u32,
    /// Sockets of this network namespace that the walk met.
    pub met: u32,
    /// Sockets that only the table of connections holds and of which there is nothing to account.
    pub passed_over: u32,
}

#[derive(Clone, Copy, Default)]
#[repr(C)]
pub struct Counters {
    pub links_lost: u64,
    pub records_lost: u64,
    pub guessed: u64,
    pub walked: u64,
}

const _: () = {
    assert!(size_of::<Config>() == 200);
    assert!(size_of::<Phase>() == 20);
    assert!(size_of::<Key>() == 44);
    assert!(size_of::<Counts>() == 56);
    assert!(size_of::<Link>() == 112 + 56 * HISTOGRAMS);
    assert!(Kept::Sndbuf as usize + 1 == HISTOGRAMS);
};

// SAFETY: integers only, no padding (sizes asserted above).
unsafe impl Plain for Config {}
// SAFETY: as above.
unsafe impl Plain for Key {}
// SAFETY: as above.
unsafe impl Plain for Link {}
// SAFETY: as above.
unsafe impl Plain for Phase {}
// SAFETY: as above.
unsafe impl Plain for Counters {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_beyond_the_last_edge_is_kept() {
        let mut link = Link::default();
        link.histograms[Kept::Notsent as usize] =
            Counts { sum: 20_000_000, max: 20_000_000, counts: [0, 0, 0, 0, 0, 1, 0, 0, 0, 0] };
        let histogram = link.histogram(Kept::Notsent);
        assert_eq!(histogram.counts, [0, 0, 0, 0, 0, 1]);
        assert_eq!(histogram.count(), 1);
    }

    #[test]
    fn rows_add_up() {
        let (mut sum, mut other) = (Link::default(), Link { tx_bytes: 7, retrans: 2, sacked_max: 3, ..Link::default() });
        other.record(Kept::Srtt, 40);
        sum.add(&other);
        sum.add(&other);
        assert_eq!((sum.tx_bytes, sum.retrans, sum.sacked_max), (14, 4, 3));
        let srtt = sum.histogram(Kept::Srtt);
        assert_eq!((srtt.count(), srtt.sum, srtt.max), (2, 80, 40));
    }

    #[test]
    fn nothing_sampled_is_no_histogram() {
        assert!(Link::default().histogram(Kept::Srtt).counts.is_empty());
    }

    #[test]
    fn short_scales_are_padded_with_edges_nothing_exceeds() {
        let config = Config::new();
        assert_eq!(config.edges[1], [1_000, 10_000, 100_000, 1_000_000, 10_000_000, u32::MAX, u32::MAX, u32::MAX, u32::MAX]);
    }

    #[test]
    fn addresses_are_read_by_family() {
        let mut key = Key { tgid: 1, client_port: 0, server_port: 80, family: 2, role: 1, client: [0; 16], server: [0; 16] };
        key.client[..4].copy_from_slice(&[10, 0, 0, 1]);
        key.server[15] = 1;
        assert_eq!(key.client_ip().to_string(), "10.0.0.1");
        key.family = 10;
        assert_eq!(key.server_ip().to_string(), "::1");
    }
}
