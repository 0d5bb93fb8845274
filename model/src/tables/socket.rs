//! Tables of probe `socket`.

use std::net::IpAddr;
use std::sync::Arc;

use crate::Table;
use crate::value::Histogram;

/// Upper bounds of the time to establish a connection, nanoseconds.
pub const ESTABLISH_EDGES_NS: &[u64] =
    &[3_000_000, 10_000_000, 50_000_000, 100_000_000, 500_000_000, 1_000_000_000, 10_000_000_000];

/// Opening connections: a listener, or what a process opens to one server port
#[derive(Table, Clone, Debug)]
#[table(name = "endpoint_tcp", entity = "endpoint_tcp", probe = "socket")]
pub struct EndpointTcp {
    /// Process that listens or connects
    #[key]
    pub tgid: u32,
    /// Command name of the process
    #[key]
    pub comm: Arc<str>,
    /// Side of the connections at this machine
    #[key]
    pub role: &'static str,
    /// Address of the connecting side; unspecified at a listener
    #[key]
    pub client_ip: IpAddr,
    /// Client address that a load balancer put into a TCP option
    #[key]
    pub toa_client_ip: Option<IpAddr>,
    /// Address of the accepting side
    #[key]
    pub server_ip: IpAddr,
    /// Port of the accepting side
    #[key]
    pub server_port: u16,
    /// Address family number (2 is IPv4, 10 is IPv6)
    #[key]
    pub protocol: u16,
    /// Whether `tgid` is a process group: 0, for a listener is told under the process that opened it or holds it now
    #[label]
    pub multi: u16,
    /// Connection requests the listener dropped
    #[gauge(unit = "count", per_period, bad = "up", sub = "tcp_socket")]
    pub listendrop: Option<u32>,
    /// Requests dropped because the accept queue was full
    #[gauge(unit = "count", per_period, bad = "up", sub = "tcp_socket")]
    pub accept_overflow: Option<u32>,
    /// Requests that found the queue of half-open connections full
    #[gauge(unit = "count", per_period, bad = "up", sub = "tcp_socket")]
    pub syn_overflow: Option<u32>,
    /// Half-open connections, waiting for the last step of their handshake
    #[gauge(unit = "count", level, sub = "tcp_socket")]
    pub syn_queue: Option<u32>,
    /// Connections waiting to be accepted
    #[gauge(unit = "count", level, bad = "up", sub = "tcp_socket")]
    pub accept_queue: Option<u32>,
    /// Connections that may wait to be accepted
    #[gauge(unit = "count", level, sub = "tcp_socket")]
    pub accept_queue_limit: Option<u32>,
    /// Connections accepted
    #[gauge(unit = "count", per_period, sub = "tcp_socket")]
    pub passive_open: Option<u32>,
    /// Accepted connections that never became established
    #[gauge(unit = "count", per_period, bad = "up", sub = "tcp_socket")]
    pub passive_open_failed: Option<u32>,
    /// SYN/ACKs sent again
    #[gauge(unit = "count", per_period, bad = "up", sub = "tcp_socket")]
    pub retran_synacks: Option<u32>,
    /// Requests given up: their SYN/ACK was sent again and nothing came of it
    #[gauge(unit = "count", per_period, bad = "up", sub = "tcp_socket")]
    pub req_drops: Option<u32>,
    /// SYN/ACKs sent, those of requests that ended within a second left out
    #[gauge(unit = "count", per_period, sub = "tcp_socket")]
    pub synack_sent: Option<u32>,
    /// SYNs sent again
    #[gauge(unit = "count", per_period, bad = "up", sub = "tcp_socket")]
    pub retran_syn: Option<u32>,
    /// Connections opened
    #[gauge(unit = "count", per_period, sub = "tcp_socket")]
    pub active_open: Option<u32>,
    /// Opens that failed
    #[gauge(unit = "count", per_period, bad = "up", sub = "tcp_socket")]
    pub active_open_failed: Option<u32>,
    /// Opens the peer refused
    #[gauge(unit = "count", per_period, bad = "up", sub = "tcp_socket")]
    pub active_open_refused: Option<u32>,
    /// Opens nobody answered
    #[gauge(unit = "count", per_period, bad = "up", sub = "tcp_socket")]
    pub active_open_timeout: Option<u32>,
    /// SYNs of finished opens
    #[gauge(unit = "count", per_period, sub = "tcp_socket")]
    pub syn_sent: Option<u32>,
    /// SYNs that never left this machine: the next hop could not be resolved
    #[gauge(unit = "count", per_period, bad = "up", sub = "tcp_socket")]
    pub syn_drop: Option<u32>,
    /// From the SYN, or at a listener its answer, to the established connection
    #[histogram(unit = "ns", per_period, bad = "up", sub = "tcp_socket")]
    pub estab_latency: Histogram,
}
