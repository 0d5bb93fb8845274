//! Tables of probe `baseinfo`: interfaces and protocols.

use crate::Table;

/// One network interface in the report period
#[derive(Table, Clone, Debug, Default)]
#[table(name = "nic", entity = "nic", probe = "baseinfo")]
pub struct Nic {
    /// Interface name; physical ones first, others up to a cap
    #[key]
    pub dev_name: String,
    /// Operational state of the interface (up, down, ...)
    #[label]
    pub status: String,
    /// Bytes received in the period
    #[gauge(unit = "bytes", per_period, sub = "nic")]
    pub rx_bytes: Option<u64>,
    /// Packets received in the period
    #[gauge(unit = "packets", per_period, sub = "nic")]
    pub rx_packets: Option<u64>,
    /// Receive errors in the period
    #[gauge(unit = "packets", per_period, bad = "up", sub = "nic")]
    pub rx_errs: Option<u64>,
    /// Received packets dropped in the period
    #[gauge(unit = "packets", per_period, bad = "up", sub = "nic")]
    pub rx_dropped: Option<u64>,
    /// Bytes sent in the period
    #[gauge(unit = "bytes", per_period, sub = "nic")]
    pub tx_bytes: Option<u64>,
    /// Packets sent in the period
    #[gauge(unit = "packets", per_period, sub = "nic")]
    pub tx_packets: Option<u64>,
    /// Transmit errors in the period
    #[gauge(unit = "packets", per_period, bad = "up", sub = "nic")]
    pub tx_errs: Option<u64>,
    /// Packets dropped on transmit in the period
    #[gauge(unit = "packets", per_period, bad = "up", sub = "nic")]
    pub tx_dropped: Option<u64>,
    /// Receive throughput
    #[gauge(name = "rxspeed_KB", unit = "KiB/s", level, sub = "nic")]
    pub rxspeed_kb: Option<f64>,
    /// Transmit throughput
    #[gauge(name = "txspeed_KB", unit = "KiB/s", level, sub = "nic")]
    pub txspeed_kb: Option<f64>,
    /// Packets dropped by the root qdisc in the period
    #[gauge(unit = "packets", per_period, bad = "up", sub = "nic")]
    pub tc_sent_drop: Option<u64>,
    /// Overlimit hits of the root qdisc in the period
    #[gauge(unit = "count", per_period, bad = "up", sub = "nic")]
    pub tc_sent_overlimits: Option<u64>,
    /// Data waiting in the root qdisc (the byte figure of "backlog", although named a count)
    #[gauge(unit = "bytes", level, bad = "up", sub = "nic")]
    pub tc_backlog: Option<u64>,
    /// Packets ECN-marked by the qdisc
    #[gauge(unit = "packets", cumulative, sub = "nic")]
    pub tc_ecn_mark: Option<u64>,
    /// Multicast packets received in the period
    #[gauge(unit = "packets", per_period, sub = "nic")]
    pub multicast: Option<u64>,
    /// Collisions on transmit in the period
    #[gauge(unit = "count", per_period, bad = "up", sub = "nic")]
    pub collisions: Option<u64>,
    /// Packets lost in the period because a ring of the interface was full, both directions
    #[gauge(unit = "packets", per_period, bad = "up", sub = "nic")]
    pub fifo_errs: Option<u64>,
    /// Times the link went up or down in the period
    #[gauge(unit = "count", per_period, bad = "up", sub = "nic")]
    pub carrier_changes: Option<u64>,
}

/// TCP of the agent's network namespace in the report period
#[derive(Table, Clone, Debug, Default)]
#[table(name = "system_tcp", entity = "net", probe = "baseinfo")]
pub struct SystemTcp {
    /// Name of the data source; constant "/proc/net/snmp"
    #[key]
    pub origin: &'static str,
    /// TCP connections in ESTABLISHED or CLOSE_WAIT
    #[gauge(unit = "count", level, sub = "net")]
    pub tcp_curr_estab: Option<u64>,
    /// TCP segments received in the period
    #[gauge(unit = "segments", per_period, sub = "net")]
    pub tcp_in_segs: Option<u64>,
    /// TCP segments sent in the period
    #[gauge(unit = "segments", per_period, sub = "net")]
    pub tcp_out_segs: Option<u64>,
    /// TCP segments retransmitted in the period
    #[gauge(unit = "segments", per_period, bad = "up", sub = "net")]
    pub tcp_retrans_segs: Option<u64>,
    /// Damaged TCP segments received in the period
    #[gauge(unit = "segments", per_period, bad = "up", sub = "net")]
    pub tcp_in_errs: Option<u64>,
    /// Connections opened by connect in the period
    #[gauge(unit = "count", per_period, sub = "net")]
    pub tcp_active_opens: Option<u64>,
    /// Connections opened by a peer in the period
    #[gauge(unit = "count", per_period, sub = "net")]
    pub tcp_passive_opens: Option<u64>,
    /// Connections that failed to open in the period
    #[gauge(unit = "count", per_period, bad = "up", sub = "net")]
    pub tcp_attempt_fails: Option<u64>,
    /// Established connections reset in the period
    #[gauge(unit = "count", per_period, bad = "up", sub = "net")]
    pub tcp_estab_resets: Option<u64>,
    /// Resets sent in the period
    #[gauge(unit = "segments", per_period, bad = "up", sub = "net")]
    pub tcp_out_rsts: Option<u64>,
}

/// UDP of the agent's network namespace in the report period
#[derive(Table, Clone, Debug, Default)]
#[table(name = "system_udp", entity = "net", probe = "baseinfo")]
pub struct SystemUdp {
    /// Name of the data source; constant "/proc/net/snmp"
    #[key]
    pub origin: &'static str,
    /// UDP datagrams received in the period
    #[gauge(unit = "datagrams", per_period, sub = "net")]
    pub udp_indata_grams: Option<u64>,
    /// UDP datagrams sent in the period
    #[gauge(unit = "datagrams", per_period, sub = "net")]
    pub udp_outdata_grams: Option<u64>,
    /// Datagrams in the period for a port without a socket
    #[gauge(unit = "datagrams", per_period, bad = "up", sub = "net")]
    pub udp_no_ports: Option<u64>,
    /// Datagrams received in the period that could not be delivered
    #[gauge(unit = "datagrams", per_period, bad = "up", sub = "net")]
    pub udp_in_errors: Option<u64>,
    /// Datagrams dropped in the period because the receive buffer was full
    #[gauge(unit = "datagrams", per_period, bad = "up", sub = "net")]
    pub udp_rcvbuf_errors: Option<u64>,
    /// Datagrams not sent in the period because the send buffer was full
    #[gauge(unit = "datagrams", per_period, bad = "up", sub = "net")]
    pub udp_sndbuf_errors: Option<u64>,
    /// Datagrams with a wrong checksum in the period
    #[gauge(unit = "datagrams", per_period, bad = "up", sub = "net")]
    pub udp_in_csum_errors: Option<u64>,
}

/// Trouble of TCP that only the extended counters show, in the report period
#[derive(Table, Clone, Debug, Default)]
#[table(name = "net_tcpext", entity = "net", probe = "baseinfo")]
pub struct NetTcpext {
    /// Name of the data source; constant "/proc/net/netstat"
    #[key]
    pub origin: &'static str,
    /// Connections dropped because a listener's accept queue was full
    #[gauge(unit = "count", per_period, bad = "up", sub = "net")]
    pub tcp_listen_overflows: Option<u64>,
    /// Connection requests dropped by listeners, for whatever reason
    #[gauge(unit = "count", per_period, bad = "up", sub = "net")]
    pub tcp_listen_drops: Option<u64>,
    /// Connection requests dropped because the queue of half-open connections was full
    #[gauge(unit = "count", per_period, bad = "up", sub = "net")]
    pub tcp_req_queue_drops: Option<u64>,
    /// Connection requests answered by cookies because the queue of half-open connections was full
    #[gauge(unit = "count", per_period, bad = "up", sub = "net")]
    pub tcp_req_queue_cookies: Option<u64>,
    /// Retransmission timeouts
    #[gauge(unit = "count", per_period, bad = "up", sub = "net")]
    pub tcp_timeouts: Option<u64>,
    /// Segments lost again after their retransmission
    #[gauge(unit = "segments", per_period, bad = "up", sub = "net")]
    pub tcp_lost_retransmits: Option<u64>,
    /// Retransmissions in fast recovery
    #[gauge(unit = "segments", per_period, bad = "up", sub = "net")]
    pub tcp_fast_retransmits: Option<u64>,
    /// Retransmissions after a timeout
    #[gauge(unit = "segments", per_period, bad = "up", sub = "net")]
    pub tcp_slow_start_retransmits: Option<u64>,
    /// Retransmitted connection requests and answers to them
    #[gauge(unit = "segments", per_period, bad = "up", sub = "net")]
    pub tcp_syn_retransmits: Option<u64>,
    /// Tail loss probes sent
    #[gauge(unit = "segments", per_period, sub = "net")]
    pub tcp_loss_probes: Option<u64>,
    /// Times a socket's receive queue was pruned for lack of buffer
    #[gauge(unit = "count", per_period, bad = "up", sub = "net")]
    pub tcp_prunes: Option<u64>,
    /// Segments dropped because the socket's backlog was full
    #[gauge(unit = "segments", per_period, bad = "up", sub = "net")]
    pub tcp_backlog_drops: Option<u64>,
    /// Segments dropped because the receive queue was full
    #[gauge(unit = "segments", per_period, bad = "up", sub = "net")]
    pub tcp_rcvq_drops: Option<u64>,
    /// Segments dropped because the receive window was closed
    #[gauge(unit = "segments", per_period, bad = "up", sub = "net")]
    pub tcp_zero_window_drops: Option<u64>,
    /// Connections aborted because of timeouts
    #[gauge(unit = "count", per_period, bad = "up", sub = "net")]
    pub tcp_abort_on_timeout: Option<u64>,
    /// Connections aborted because TCP ran out of memory
    #[gauge(unit = "count", per_period, bad = "up", sub = "net")]
    pub tcp_abort_on_memory: Option<u64>,
    /// Times TCP came under memory pressure
    #[gauge(unit = "count", per_period, bad = "up", sub = "net")]
    pub tcp_memory_pressures: Option<u64>,
}

/// Sockets of the agent's network namespace at the time of the report
#[derive(Table, Clone, Debug, Default)]
#[table(name = "net_sockstat", entity = "net", probe = "baseinfo")]
pub struct NetSockstat {
    /// Name of the data source; constant "/proc/net/sockstat"
    #[key]
    pub origin: &'static str,
    /// TCP sockets that are not closed
    #[gauge(unit = "count", level, bad = "up", sub = "net")]
    pub tcp_in_use: Option<u64>,
    /// TCP sockets without a process
    #[gauge(unit = "count", level, bad = "up", sub = "net")]
    pub tcp_orphans: Option<u64>,
    /// TCP connections in TIME_WAIT
    #[gauge(unit = "count", level, sub = "net")]
    pub tcp_time_wait: Option<u64>,
    /// Memory of all TCP buffers
    #[gauge(unit = "kB", level, bad = "up", sub = "net")]
    pub tcp_memory_kb: Option<u64>,
    /// UDP sockets
    #[gauge(unit = "count", level, sub = "net")]
    pub udp_in_use: Option<u64>,
    /// Tracked connections; missing without connection tracking
    #[gauge(unit = "count", level, sub = "net")]
    pub conntrack_entries: Option<u64>,
    /// Share of the connection tracking table in use
    #[gauge(unit = "%", level, bad = "up", sub = "net")]
    pub conntrack_used_per: Option<f64>,
}
