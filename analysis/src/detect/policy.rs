//! How each kind of number is judged: how far from usual, for how long, from which sample on; and the rules that need
//! no history.

use gala_model::Severity;

/// What an anomaly of the number is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Users of a service feel it.
    App,
    /// The system under the services.
    Sys,
}

/// Which series are one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// All connections of a process.
    Process,
    /// Those of a process with one peer: of peers far and near a mean only tells how many of which there are.
    Peer,
    /// Those of all processes of one name: short-lived ones have no past of their own.
    Program,
    /// An interface that is there whether or not somebody runs.
    Wire,
}

/// How one kind of number is judged.
#[derive(Debug)]
pub struct Policy {
    pub class: Class,
    pub severity: Severity,
    /// Smallest excess over the usual that matters; times in ns, shares as ratio, counts per report.
    pub floor: f64,
    /// Smallest factor over the usual (both plus `floor`) that matters.
    pub factor: f64,
    /// Multiples of the usual spread.
    pub spreads: f64,
    /// So many of so many samples must stand out.
    pub needed: (u32, u32),
    /// First sample that is judged.
    pub from_sample: u32,
    /// A value that is bad whatever is usual, unless it always was.
    pub limit: Option<f64>,
    /// A value for which one sample is enough.
    pub at_once: Option<f64>,
    /// Fewest events under a mean or over a share that are worth judging.
    pub events: f64,
    /// A fall is bad, not a rise.
    pub falls: bool,
    /// More load explains more of it: a device that is asked for more takes longer.
    pub load_explains: f64,
    pub group: Group,
    /// Each part is a mean over the last few events already, which the load counts: few parts are enough.
    pub smoothed: bool,
    /// Below this share of the usual load a peer that idles explains up to `idle_explains` beyond `floor`.
    pub idle_below: f64,
    pub idle_explains: f64,
    /// Reported only in periods in which it happened; in others it is zero.
    pub absent_is_zero: bool,
    /// Samples further apart than this say nothing of each other.
    pub within_ms: i64,
    /// Longest time over which few events are put together.
    pub pool_ms: i64,
    /// Whether it tells of what creeps up, and of short stalls that come again and again.
    pub slow_ills: bool,
}

impl Policy {
    /// The worse of two values.
    pub fn worse(&self, left: f64, right: f64) -> f64 {
        if self.falls { left.min(right) } else { left.max(right) }
    }
}

const BASE: Policy = Policy {
    class: Class::Sys,
    severity: Severity::Warn,
    floor: 1.0,
    factor: 2.0,
    spreads: 6.0,
    needed: (3, 4),
    from_sample: 60,
    limit: None,
    at_once: None,
    events: 0.0,
    falls: false,
    load_explains: 0.0,
    group: Group::Process,
    smoothed: false,
    idle_below: 0.0,
    idle_explains: 0.0,
    absent_is_zero: false,
    within_ms: i64::MAX,
    pool_ms: 60_000,
    slow_ills: false,
};

/// A service of microseconds is slower by so much whenever its host does something else as well. One that is asked once a
/// minute is judged too, if late.
pub static REQUEST_LATENCY: Policy =
    Policy { floor: 150_000.0, factor: 1.6, events: 5.0, pool_ms: 300_000, slow_ills: true, ..REQUEST_LATENCY_BASE };
/// The slow tenth of the requests, and the slow hundredth, which wavers more and hurts fewer.
pub static REQUEST_P90: Policy = Policy { floor: 250_000.0, factor: 1.8, events: 20.0, ..REQUEST_LATENCY_BASE };
pub static REQUEST_P99: Policy =
    Policy { floor: 1_000_000.0, factor: 3.0, needed: (5, 6), events: 300.0, ..REQUEST_LATENCY_BASE };
const REQUEST_LATENCY_BASE: Policy = Policy { class: Class::App, spreads: 5.0, needed: (4, 5), load_explains: 0.4, ..BASE };
/// A request that waits for seconds: while nothing is answered, no latency is measured.
pub static UNANSWERED: Policy =
    Policy { floor: 2e9, factor: 3.0, needed: (2, 3), from_sample: 2, limit: Some(5e9), ..REQUEST_LATENCY_BASE };
pub static CONNECT_LATENCY: Policy = Policy { floor: 20e6, factor: 3.0, events: 2.0, load_explains: 0.4, ..BASE };
/// Attempts of a program to reach a server that fail, once some have not: what never worked is how this host lives.
/// Who is turned away asks again, often within the period, at worst after most of a minute. A restart is over sooner.
pub static CONNECT_FAILURES: Policy = Policy {
    severity: Severity::Error,
    floor: 0.4,
    factor: 2.0,
    needed: (3, 4),
    from_sample: 1,
    limit: Some(0.5),
    events: 3.0,
    group: Group::Program,
    absent_is_zero: true,
    within_ms: 200_000,
    ..BASE
};
/// Microseconds, as the end that opened the connection sees it: the peer's time to answer is in it, or the 40 ms after
/// which the peer acknowledges without an answer. Far fewer segments tell of a program that asks for heavier things, unless
/// the other end sees the same.
pub static ROUND_TRIP: Policy = Policy { idle_below: 0.15, idle_explains: 45_000.0, ..ROUND_TRIP_BASE };
/// As the accepting end sees it: a client that has nothing to ask acknowledges late, after up to 40 or 200 ms by its
/// system. So the less it asks, the longer the round trip looks, and only at the usual pace it means the way.
pub static ACCEPTED_ROUND_TRIP: Policy = Policy { idle_below: 0.7, idle_explains: 235_000.0, ..ROUND_TRIP_BASE };
const ROUND_TRIP_BASE: Policy = Policy {
    floor: 15_000.0,
    factor: 3.0,
    needed: (4, 5),
    // The kernel's mean has then forgotten nine tenths of what was before the report.
    events: 16.0,
    load_explains: 1.0,
    group: Group::Peer,
    smoothed: true,
    ..BASE
};
pub static REQUEST_ERRORS: Policy = Policy {
    class: Class::App,
    floor: 0.01,
    factor: 2.0,
    needed: (2, 3),
    from_sample: 12,
    limit: Some(0.02),
    events: 10.0,
    ..BASE
};
/// A device slower than ever without being asked for more; what its users feel is judged with them.
pub static DEVICE_LATENCY: Policy =
    Policy { floor: 20e6, factor: 4.0, spreads: 8.0, needed: (6, 8), events: 20.0, load_explains: 1.0, ..BASE };
pub static DEVICE_AWAIT: Policy = Policy { floor: 20.0, events: 0.0, needed: (8, 10), ..DEVICE_LATENCY_BASE };
const DEVICE_LATENCY_BASE: Policy = Policy { factor: 5.0, spreads: 8.0, load_explains: 1.0, ..BASE };
/// Nanoseconds of waiting for a CPU per report, summed over a container's threads.
pub static CONTAINER_STALL: Policy = Policy { class: Class::App, floor: 1e9, factor: 3.0, ..BASE };
pub static LISTEN_OVERFLOW: Policy = Policy {
    floor: 1.0,
    factor: 3.0,
    spreads: 3.0,
    needed: (2, 3),
    from_sample: 2,
    limit: Some(1.0),
    at_once: Some(20.0),
    ..BASE
};
pub static KILLED: Policy = KILLED_BASE;
pub static DEVICE_ERROR: Policy = Policy { from_sample: 1, absent_is_zero: true, ..KILLED_BASE };
const KILLED_BASE: Policy = Policy { severity: Severity::Error, from_sample: 2, limit: Some(1.0), at_once: Some(1.0), ..BASE };
/// A minute of an interface's life first: one that was just made goes up, which is no news.
pub static LINK_CHANGES: Policy = Policy { from_sample: 12, group: Group::Wire, ..KILLED_BASE };
/// A share of something finite, in percent.
pub static NEARLY_FULL: Policy = Policy {
    severity: Severity::Error,
    floor: 1.0,
    factor: 1.005,
    spreads: 2.0,
    needed: (2, 3),
    from_sample: 2,
    limit: Some(95.0),
    at_once: Some(99.5),
    ..BASE
};
pub static NEARLY_OUT_OF: Policy =
    Policy { floor: 1.0, factor: 1.5, needed: (2, 3), from_sample: 2, limit: Some(3.0), falls: true, ..BASE };
pub static MEMORY_PRESSURE: Policy =
    Policy { severity: Severity::Error, floor: 10.0, factor: 2.0, from_sample: 4, limit: Some(20.0), ..BASE };
pub static RETRANSMISSIONS: Policy =
    Policy { floor: 0.02, factor: 2.5, needed: (3, 4), from_sample: 12, limit: Some(0.03), events: 10.0, ..BASE };
pub static RESETS: Policy = Policy { floor: 250.0, factor: 5.0, from_sample: 12, limit: Some(500.0), ..BASE };
pub static DROPS: Policy = Policy { floor: 0.001, factor: 5.0, from_sample: 12, limit: Some(0.001), events: 20.0, ..BASE };

/// The rule for a number of its own.
pub fn number_rule(entity: &str, field: &str) -> Option<&'static Policy> {
    Some(match (entity, field) {
        ("endpoint_tcp" | "endpoint", "accept_overflow" | "syn_overflow" | "listendrop") => &LISTEN_OVERFLOW,
        ("net", "tcp_listen_overflows" | "tcp_listen_drops" | "tcp_req_queue_drops") => &LISTEN_OVERFLOW,
        ("mem", "oom_kills") | ("container", "oom_events_total") => &KILLED,
        ("proc", "bio_err_count") | ("block", "io_errors" | "err_count" | "errors") => &DEVICE_ERROR,
        ("fs", "UsePer" | "IUsePer") | ("host", "files_used_per") | ("net", "conntrack_used_per") => &NEARLY_FULL,
        ("proc", "fd_free_per") => &NEARLY_OUT_OF,
        ("host", "psi_memory_full") => &MEMORY_PRESSURE,
        ("tcp_link", "tcp_oom") | ("net", "tcp_abort_on_memory") => &KILLED,
        ("tcp_link", "send_rsts" | "receive_rsts") => &RESETS,
        ("disk", "r_await" | "w_await" | "f_await") => &DEVICE_AWAIT,
        ("nic", "carrier_changes") => &LINK_CHANGES,
        ("proc", "memory_oom_kills") => &KILLED,
        ("sli_container", "cpu_rundelay") => &CONTAINER_STALL,
        ("sli", "oldest_nsec") => &UNANSWERED,
        _ => return None,
    })
}

/// The rule for a number at one side of a connection.
pub fn at_side(policy: &'static Policy, role: Option<&str>) -> &'static Policy {
    if std::ptr::eq(policy, &ROUND_TRIP) && role == Some("server") { &ACCEPTED_ROUND_TRIP } else { policy }
}

/// The number of things asked for that explains a number of its own, where there is one.
pub fn load_of(entity: &str, field: &str) -> Option<&'static str> {
    Some(match (entity, field) {
        ("disk", "r_await") => "rspeed",
        ("disk", "w_await") => "wspeed",
        ("disk", "f_await") => "fspeed",
        ("tcp_link", "srtt") => "segs_out",
        _ => return None,
    })
}

/// The rule for a share, and what it is a share of: sets of names that add up, best first.
pub fn share_rule(entity: &str, field: &str) -> Option<(&'static Policy, &'static [&'static [&'static str]])> {
    Some(match (entity, field) {
        ("sli" | "l7" | "l7_api" | "sermant_l7" | "sermant_l7_api", "errors_total") => (&REQUEST_ERRORS, &[&["requests_total"]]),
        ("l7" | "l7_api" | "sermant_l7" | "sermant_l7_api", "err_count") => (&REQUEST_ERRORS, &[&["resp_count"], &["req_count"]]),
        ("endpoint_tcp" | "endpoint", "active_open_failed") => (&CONNECT_FAILURES, &[&["active_open", "active_open_failed"]]),
        ("tcp_link", "retran_packets") => (&RETRANSMISSIONS, &[&["segs_out"]]),
        ("net", "tcp_retrans_segs") => (&RETRANSMISSIONS, &[&["tcp_out_segs"]]),
        ("nic", "rx_dropped" | "rx_errs") => (&DROPS, &[&["rx_packets"]]),
        ("nic", "tx_dropped" | "tx_errs" | "tc_sent_drop") => (&DROPS, &[&["tx_packets"]]),
        _ => return None,
    })
}
