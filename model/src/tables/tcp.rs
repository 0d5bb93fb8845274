//! Tables of probe `tcp`.
//!
//! The edges of the histograms stand here alone; the probe hands them to the kernel at load.

use std::net::IpAddr;
use std::sync::Arc;

use crate::Table;
use crate::value::Histogram;

/// Round trips, microseconds: the fine steps of a local network, then up to what a person waits for.
pub const RTT_EDGES_US: &[u64] = &[50, 100, 200, 500, 1_000, 5_000, 20_000, 100_000, 1_000_000];
/// Windows and queues, bytes.
pub const WINDOW_EDGES_BYTES: &[u64] = &[1_000, 10_000, 100_000, 1_000_000, 10_000_000];
/// Congestion window and reordering, segments.
pub const SEGMENT_EDGES: &[u64] = &[1, 3, 10, 30, 100, 1_000, 10_000, 100_000];
/// Timers, milliseconds.
pub const TIMEOUT_EDGES_MS: &[u64] = &[40, 100, 250, 1_000, 5_000, 10_000, 20_000, 40_000, 80_000];
/// Socket buffers, bytes.
pub const BUFFER_EDGES_BYTES: &[u64] = &[131_072, 262_144, 524_288, 1_048_576, 2_097_152, 4_194_304, 8_388_608, 16_777_216];

/// Connections of a process with one peer
#[derive(Table, Clone, Debug)]
#[table(name = "tcp_metric", entity = "tcp_link", probe = "tcp")]
pub struct TcpMetric {
    /// Process that owns the connection
    #[key]
    pub tgid: u32,
    /// Command name of the process
    #[key]
    pub comm: Arc<str>,
    /// Side of the connection at this machine
    #[key]
    pub role: &'static str,
    /// Address of the connecting side
    #[key]
    pub client_ip: IpAddr,
    /// Client address that a load balancer put into a TCP option
    #[key]
    pub toa_client_ip: Option<IpAddr>,
    /// Address of the accepting side
    #[key]
    pub server_ip: IpAddr,
    /// Port of the connecting side, 0 unless asked for
    #[key]
    pub client_port: u16,
    /// Port of the accepting side
    #[key]
    pub server_port: u16,
    /// Address family number (2 is IPv4, 10 is IPv6)
    #[key]
    pub protocol: u16,
    /// Bytes delivered to the application
    #[gauge(unit = "bytes", per_period, sub = "tcp_stats")]
    pub rx_bytes: u64,
    /// Bytes TCP took from the application
    #[gauge(unit = "bytes", per_period, sub = "tcp_stats")]
    pub tx_bytes: u64,
    /// Segments received
    #[gauge(unit = "segments", per_period, sub = "tcp_stats")]
    pub segs_in: u64,
    /// Segments sent
    #[gauge(unit = "segments", per_period, sub = "tcp_stats")]
    pub segs_out: u64,
    /// Smoothed round-trip time
    #[histogram(unit = "us", per_period, bad = "up", sub = "tcp_rtt")]
    pub srtt: Histogram,
    /// Round-trip time as the receiving side estimates it
    #[histogram(unit = "us", per_period, sub = "tcp_rtt")]
    pub rcv_rtt: Histogram,
    /// Congestion window
    #[histogram(unit = "segments", per_period, sub = "tcp_windows")]
    pub snd_cwnd: Histogram,
    /// Bytes queued and not yet sent
    #[histogram(unit = "bytes", per_period, bad = "up", sub = "tcp_windows")]
    pub notsent_bytes: Histogram,
    /// Bytes sent and not yet acknowledged
    #[histogram(unit = "bytes", per_period, sub = "tcp_windows")]
    pub notack_bytes: Histogram,
    /// Reordering the connection allows for
    #[histogram(unit = "segments", per_period, sub = "tcp_windows")]
    pub reordering: Histogram,
    /// Window the peer advertised
    #[histogram(unit = "bytes", per_period, sub = "tcp_windows")]
    pub snd_wnd: Histogram,
    /// Window this side advertised
    #[histogram(unit = "bytes", per_period, sub = "tcp_windows")]
    pub rcv_wnd: Histogram,
    /// Part of the peer's window that is still free
    #[histogram(unit = "bytes", per_period, sub = "tcp_windows")]
    pub avl_snd_wnd: Histogram,
    /// Samples whose receive window was zero
    #[gauge(unit = "count", per_period, bad = "up", sub = "tcp_windows")]
    pub zero_rcv_wnd_count: Option<u32>,
    /// Samples whose send window was zero
    #[gauge(unit = "count", per_period, bad = "up", sub = "tcp_windows")]
    pub zero_snd_wnd_count: Option<u32>,
    /// Share of samples whose receive window was zero
    #[gauge(unit = "ratio", per_period, bad = "up", sub = "tcp_windows")]
    pub zero_win_rx_ratio: Option<f64>,
    /// Share of samples whose send window was zero
    #[gauge(unit = "ratio", per_period, bad = "up", sub = "tcp_windows")]
    pub zero_win_tx_ratio: Option<f64>,
    /// Retransmission timeout
    #[histogram(unit = "ms", per_period, bad = "up", sub = "tcp_rate")]
    pub rto: Histogram,
    /// Delayed-acknowledgement timeout
    #[histogram(unit = "ms", per_period, sub = "tcp_rate")]
    pub ato: Histogram,
    /// Round trip of the handshake as the accepting side saw it
    #[histogram(unit = "us", per_period, bad = "up", sub = "tcp_srtt")]
    pub syn_srtt: Histogram,
    /// Largest handshake round trip
    #[gauge(unit = "us", per_period, bad = "up", sub = "tcp_srtt")]
    pub syn_srtt_max: Option<u64>,
    /// Receive buffer limit
    #[histogram(unit = "bytes", per_period, sub = "tcp_sockbuf")]
    pub sk_rcvbuf: Histogram,
    /// Send buffer limit
    #[histogram(unit = "bytes", per_period, sub = "tcp_sockbuf")]
    pub sk_sndbuf: Histogram,
    /// Segments retransmitted
    #[gauge(unit = "segments", per_period, bad = "up", sub = "tcp_abnormal")]
    pub retran_packets: u32,
    /// Packets dropped because the socket's backlog was full
    #[gauge(unit = "packets", per_period, bad = "up", sub = "tcp_abnormal")]
    pub backlog_drops: Option<u32>,
    /// Packets the socket dropped
    #[gauge(unit = "packets", per_period, bad = "up", sub = "tcp_abnormal")]
    pub sk_drops: Option<u32>,
    /// Segments that congestion control took for lost
    #[gauge(unit = "segments", per_period, bad = "up", sub = "tcp_abnormal")]
    pub lost_out: Option<u32>,
    /// Most segments outstanding that the peer had acknowledged out of order
    #[gauge(unit = "segments", per_period, bad = "up", sub = "tcp_abnormal")]
    pub sacked_out: u32,
    /// Packets a socket filter rejected
    #[gauge(unit = "packets", per_period, bad = "up", sub = "tcp_abnormal")]
    pub filter_drops: Option<u32>,
    /// Connections ended by a timeout
    #[gauge(unit = "count", per_period, bad = "up", sub = "tcp_abnormal")]
    pub tmout_count: Option<u32>,
    /// Times the memory limit of the socket was exceeded
    #[gauge(unit = "count", per_period, bad = "up", sub = "tcp_abnormal")]
    pub snd_buf_limit_count: Option<u32>,
    /// Segments dropped for want of receive memory
    #[gauge(unit = "count", per_period, bad = "up", sub = "tcp_abnormal")]
    pub rmem_scheduls: Option<u32>,
    /// Times TCP ran out of memory for the socket
    #[gauge(unit = "count", per_period, bad = "up", sub = "tcp_abnormal")]
    pub tcp_oom: Option<u32>,
    /// Resets sent
    #[gauge(unit = "segments", per_period, bad = "up", sub = "tcp_abnormal")]
    pub send_rsts: Option<u32>,
    /// Resets received
    #[gauge(unit = "segments", per_period, bad = "up", sub = "tcp_abnormal")]
    pub receive_rsts: Option<u32>,
    /// Segments retransmitted over segments sent
    #[gauge(unit = "ratio", per_period, bad = "up", sub = "tcp_abnormal")]
    pub retrans_ratio: Option<f64>,
}
