//! Tables of probe `ksli`: requests of Redis.
//!
//! `rtt_nsec` and `max_rtt_nsec` are of one connection; the rest is of all connections of a process together (`ins_id` 0)
//! and grows for ever.

use std::net::IpAddr;
use std::sync::Arc;

use crate::Table;
use crate::value::Histogram;

/// Upper bounds of the latency histogram, nanoseconds.
pub const LATENCY_EDGES_NS: &[u64] = &[
    10_000,
    20_000,
    50_000,
    100_000,
    200_000,
    300_000,
    500_000,
    750_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    20_000_000,
    50_000_000,
    100_000_000,
    200_000_000,
    500_000_000,
    1_000_000_000,
    3_000_000_000,
    10_000_000_000,
];

/// One timed request of a connection
#[derive(Table, Clone, Debug)]
#[table(name = "redis_sli", entity = "sli", probe = "ksli")]
pub struct RedisSli {
    /// Process of the server
    #[key]
    pub tgid: u32,
    /// Descriptor of the connection
    #[key]
    pub ins_id: u32,
    /// Application
    #[key]
    pub app: &'static str,
    /// Command
    #[key]
    pub method: Arc<str>,
    /// Server address
    #[label]
    pub server_ip: IpAddr,
    /// Server port
    #[label]
    pub server_port: u16,
    /// Client address
    #[label]
    pub client_ip: IpAddr,
    /// Client port
    #[label]
    pub client_port: u16,
    /// Arrival of a request to acknowledgement of the answer, the first of the period
    #[gauge(unit = "ns", level)]
    pub rtt_nsec: u64,
}

/// Slowest request of a connection
#[derive(Table, Clone, Debug)]
#[table(name = "redis_max_sli", entity = "sli", probe = "ksli")]
pub struct RedisMaxSli {
    /// Process of the server
    #[key]
    pub tgid: u32,
    /// Descriptor of the connection
    #[key]
    pub ins_id: u32,
    /// Application
    #[key]
    pub app: &'static str,
    /// Command
    #[key]
    pub method: Arc<str>,
    /// Server address
    #[label]
    pub server_ip: IpAddr,
    /// Server port
    #[label]
    pub server_port: u16,
    /// Client address
    #[label]
    pub client_ip: IpAddr,
    /// Client port
    #[label]
    pub client_port: u16,
    /// Longest time from arrival of a request to acknowledgement of the answer
    #[gauge(unit = "ns", per_period)]
    pub max_rtt_nsec: u64,
}

/// Requests of one kind over all connections of a server process
#[derive(Table, Clone, Debug)]
#[table(name = "sli", entity = "sli", probe = "ksli")]
pub struct Sli {
    /// Process of the server
    #[key]
    pub tgid: u32,
    /// 0: all connections together
    #[key]
    pub ins_id: u32,
    /// Application
    #[key]
    pub app: &'static str,
    /// Command
    #[key]
    pub method: Arc<str>,
    /// Server address
    #[label]
    pub server_ip: IpAddr,
    /// Server port
    #[label]
    pub server_port: u16,
    /// Requests answered
    #[counter(unit = "requests", cumulative)]
    pub requests_total: u64,
    /// Requests answered with an error
    #[counter(unit = "requests", cumulative, bad = "up")]
    pub errors_total: Option<u64>,
    /// Arrival of the request to acknowledgement of the answer
    #[histogram(unit = "ns", cumulative, bad = "up")]
    pub latency_nsec: Histogram,
    /// Arrival of the request to its reading by the application, summed
    #[counter(unit = "ns", cumulative, bad = "up")]
    pub sched_nsec_sum: u64,
    /// Requests behind the sum of `sched_nsec`
    #[counter(unit = "requests", cumulative)]
    pub sched_nsec_count: u64,
    /// Reading of the request to writing of the answer, summed
    #[counter(unit = "ns", cumulative, bad = "up")]
    pub proc_nsec_sum: u64,
    /// Requests behind the sum of `proc_nsec`
    #[counter(unit = "requests", cumulative)]
    pub proc_nsec_count: u64,
    /// Writing of the answer to its acknowledgement, a client's delayed acknowledgement included, summed
    #[counter(unit = "ns", cumulative)]
    pub send_nsec_sum: u64,
    /// Requests behind the sum of `send_nsec`
    #[counter(unit = "requests", cumulative)]
    pub send_nsec_count: u64,
    /// For how long the oldest request has been waiting for its answer at the end of the period; 0 below 0.1 s
    #[gauge(unit = "ns", level, bad = "up")]
    pub oldest_nsec: u64,
}
