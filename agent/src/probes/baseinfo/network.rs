//! Interfaces with their queues, and protocol counters, of the agent's network namespace.

use std::collections::HashMap;
use std::path::Path;
use std::time::Instant;

use gala_model::tables::baseinfo::{NetSockstat, NetTcpext, Nic, SystemTcp, SystemUdp};

use super::qdisc::{Queue, Queues, queues};
use crate::kernel::{HookReport, HookState, Rung};
use crate::probes::RowSink;
use crate::procfs::counter::{grown, percent, rate};
use crate::procfs::net::{Interface, Protocols, parse_interfaces, sockstat};
use crate::procfs::{ProcFile, read_number, read_optional};

/// Interfaces reported at most: physical ones first, then others in the kernel's order.
const MAX_INTERFACES: usize = 64;

/// What is remembered of an interface between two reports.
struct Known {
    counters: Interface,
    /// Number of the interface.
    index: u32,
    physical: bool,
    carrier_changes: Option<u64>,
    queue: Option<Queue>,
}

pub(super) struct Interfaces {
    dev: ProcFile,
    known: HashMap<String, Known>,
    before_at: Instant,
    /// Why the queues are not seen; empty when they are.
    queues_reason: String,
    pub skipped: u64,
}

impl Interfaces {
    pub fn start() -> std::io::Result<Self> {
        let mut dev = ProcFile::open("/proc/net/dev")?;
        let interfaces = parse_interfaces(dev.read()?);
        let mut this = Self { dev, known: HashMap::new(), before_at: Instant::now(), queues_reason: String::new(), skipped: 0 };
        let queues = this.queues();
        this.known = interfaces.into_iter().map(|one| (one.name.clone(), Known::new(one, &queues))).collect();
        Ok(this)
    }

    /// The queues; none where they cannot be seen, for the interfaces can.
    fn queues(&mut self) -> Queues {
        let queues = queues();
        self.queues_reason = queues.as_ref().err().map_or_else(String::new, |error| format!("{error:#}"));
        queues.unwrap_or_default()
    }

    pub fn queues_hook(&self) -> HookReport {
        let seen = self.queues_reason.is_empty();
        HookReport {
            probe: "baseinfo",
            hook: "qdisc".to_owned(),
            state: if seen { HookState::Full } else { HookState::Off },
            rung: seen.then_some(Rung::Netlink),
            ladder: vec![Rung::Netlink],
            reason: self.queues_reason.clone(),
        }
    }

    pub fn collect(&mut self, out: &mut dyn RowSink) -> std::io::Result<()> {
        let interfaces = parse_interfaces(self.dev.read()?);
        let queues = self.queues();
        let seconds = self.before_at.elapsed().as_secs_f64();
        self.before_at = Instant::now();
        let mut known = std::mem::take(&mut self.known);
        let mut others = Vec::new();
        let mut rows = 0;
        for counters in interfaces {
            let Some(mut before) = known.remove(&counters.name) else {
                self.known.insert(counters.name.clone(), Known::new(counters, &queues));
                continue;
            };
            if before.physical && rows < MAX_INTERFACES {
                rows += 1;
                out.push(&before.advance(counters.clone(), &queues, seconds));
            } else {
                others.push(counters.clone());
            }
            self.known.insert(counters.name.clone(), before);
        }
        for counters in others {
            let Some(before) = self.known.get_mut(&counters.name) else { continue };
            if rows < MAX_INTERFACES {
                rows += 1;
                out.push(&before.advance(counters, &queues, seconds));
            } else {
                self.skipped += 1;
            }
        }
        Ok(())
    }
}

impl Known {
    fn new(counters: Interface, queues: &Queues) -> Self {
        let physical = Path::new("/sys/class/net").join(&counters.name).join("device").exists();
        let carrier_changes = number_of(&counters.name, "carrier_changes");
        let mut this = Self { counters, index: 0, physical, carrier_changes, queue: None };
        this.queue = this.queue_now(queues).cloned();
        this
    }

    fn queue_now<'a>(&mut self, queues: &'a Queues) -> Option<&'a Queue> {
        // Made anew under its name it has another number.
        if !queues.contains_key(&self.index) {
            self.index = number_of(&self.counters.name, "ifindex").and_then(|index| index.try_into().ok()).unwrap_or(0);
        }
        queues.get(&self.index)
    }

    fn advance(&mut self, now: Interface, queues: &Queues, seconds: f64) -> Nic {
        let status = std::fs::read_to_string(format!("/sys/class/net/{}/operstate", now.name)).unwrap_or_default();
        let carrier = number_of(&now.name, "carrier_changes");
        let queue = self.queue_now(queues);
        let of_both = self.queue.as_ref().zip(queue);
        let before = &self.counters;
        let rx_bytes = grown(before.rx_bytes, now.rx_bytes);
        let tx_bytes = grown(before.tx_bytes, now.tx_bytes);
        let kib = |bytes: Option<u64>| rate(bytes, seconds).map(|bytes| bytes / 1024.0);
        let row = Nic {
            dev_name: now.name.clone(),
            status: status.trim().to_owned(),
            rx_bytes,
            rx_packets: grown(before.rx_packets, now.rx_packets),
            rx_errs: grown(before.rx_errors, now.rx_errors),
            rx_dropped: grown(before.rx_dropped, now.rx_dropped),
            tx_bytes,
            tx_packets: grown(before.tx_packets, now.tx_packets),
            tx_errs: grown(before.tx_errors, now.tx_errors),
            tx_dropped: grown(before.tx_dropped, now.tx_dropped),
            rxspeed_kb: kib(rx_bytes),
            txspeed_kb: kib(tx_bytes),
            tc_sent_drop: of_both.and_then(|(before, now)| now.drops_since(before)),
            tc_sent_overlimits: of_both.and_then(|(before, now)| now.overlimits_since(before)),
            tc_backlog: queue.map(|queue| queue.backlog_bytes.into()),
            tc_ecn_mark: queue.and_then(|queue| queue.ecn_marks),
            multicast: grown(before.multicast, now.multicast),
            collisions: grown(before.collisions, now.collisions),
            fifo_errs: grown(before.rx_fifo + before.tx_fifo, now.rx_fifo + now.tx_fifo),
            carrier_changes: self.carrier_changes.zip(carrier).and_then(|(before, now)| grown(before, now)),
        };
        self.counters = now;
        self.carrier_changes = carrier;
        self.queue = queue.cloned();
        row
    }
}

/// One of the numbers the kernel shows of an interface.
fn number_of(interface: &str, what: &str) -> Option<u64> {
    read_number(&Path::new("/sys/class/net").join(interface).join(what))
}

/// Counters by (protocol, name), in the order of [`COUNTERS`].
type Reading = Vec<Option<u64>>;

const COUNTERS: &[(&str, &str)] = &[
    ("Tcp:", "InSegs"),
    ("Tcp:", "OutSegs"),
    ("Tcp:", "RetransSegs"),
    ("Tcp:", "InErrs"),
    ("Tcp:", "ActiveOpens"),
    ("Tcp:", "PassiveOpens"),
    ("Tcp:", "AttemptFails"),
    ("Tcp:", "EstabResets"),
    ("Tcp:", "OutRsts"),
    ("Udp:", "InDatagrams"),
    ("Udp:", "OutDatagrams"),
    ("Udp:", "NoPorts"),
    ("Udp:", "InErrors"),
    ("Udp:", "RcvbufErrors"),
    ("Udp:", "SndbufErrors"),
    ("Udp:", "InCsumErrors"),
    ("TcpExt:", "ListenOverflows"),
    ("TcpExt:", "ListenDrops"),
    ("TcpExt:", "TCPReqQFullDrop"),
    ("TcpExt:", "TCPReqQFullDoCookies"),
    ("TcpExt:", "TCPTimeouts"),
    ("TcpExt:", "TCPLostRetransmit"),
    ("TcpExt:", "TCPFastRetrans"),
    ("TcpExt:", "TCPSlowStartRetrans"),
    ("TcpExt:", "TCPSynRetrans"),
    ("TcpExt:", "TCPLossProbes"),
    ("TcpExt:", "PruneCalled"),
    ("TcpExt:", "TCPBacklogDrop"),
    ("TcpExt:", "TCPRcvQDrop"),
    ("TcpExt:", "TCPZeroWindowDrop"),
    ("TcpExt:", "TCPAbortOnTimeout"),
    ("TcpExt:", "TCPAbortOnMemory"),
    ("TcpExt:", "TCPMemoryPressures"),
];

pub(super) struct Stack {
    snmp: ProcFile,
    netstat: Option<ProcFile>,
    sockstat: Option<ProcFile>,
    before: Reading,
    established: Option<u64>,
    page_kb: u64,
}

impl Stack {
    pub fn start() -> std::io::Result<Self> {
        let mut stack = Self {
            snmp: ProcFile::open("/proc/net/snmp")?,
            netstat: ProcFile::optional("/proc/net/netstat"),
            sockstat: ProcFile::optional("/proc/net/sockstat"),
            before: Vec::new(),
            established: None,
            page_kb: rustix::param::page_size() as u64 / 1024,
        };
        stack.before = stack.read()?;
        Ok(stack)
    }

    fn read(&mut self) -> std::io::Result<Reading> {
        let snmp = Protocols::parse(self.snmp.read()?);
        let netstat = Protocols::parse(read_optional(&mut self.netstat).unwrap_or_default());
        self.established = snmp.get("Tcp:", "CurrEstab");
        Ok(COUNTERS
            .iter()
            .map(|(prefix, name)| if *prefix == "TcpExt:" { netstat.get(prefix, name) } else { snmp.get(prefix, name) })
            .collect())
    }

    pub fn collect(&mut self, out: &mut dyn RowSink) -> std::io::Result<()> {
        let now = self.read()?;
        let delta = |prefix: &str, name: &str| {
            let index = COUNTERS.iter().position(|counter| *counter == (prefix, name))?;
            grown(self.before[index]?, now[index]?)
        };
        let (tcp, udp, ext) = (|name| delta("Tcp:", name), |name| delta("Udp:", name), |name| delta("TcpExt:", name));
        out.push(&SystemTcp {
            origin: "/proc/net/snmp",
            tcp_curr_estab: self.established,
            tcp_in_segs: tcp("InSegs"),
            tcp_out_segs: tcp("OutSegs"),
            tcp_retrans_segs: tcp("RetransSegs"),
            tcp_in_errs: tcp("InErrs"),
            tcp_active_opens: tcp("ActiveOpens"),
            tcp_passive_opens: tcp("PassiveOpens"),
            tcp_attempt_fails: tcp("AttemptFails"),
            tcp_estab_resets: tcp("EstabResets"),
            tcp_out_rsts: tcp("OutRsts"),
        });
        out.push(&SystemUdp {
            origin: "/proc/net/snmp",
            udp_indata_grams: udp("InDatagrams"),
            udp_outdata_grams: udp("OutDatagrams"),
            udp_no_ports: udp("NoPorts"),
            udp_in_errors: udp("InErrors"),
            udp_rcvbuf_errors: udp("RcvbufErrors"),
            udp_sndbuf_errors: udp("SndbufErrors"),
            udp_in_csum_errors: udp("InCsumErrors"),
        });
        if self.netstat.is_some() {
            out.push(&NetTcpext {
                origin: "/proc/net/netstat",
                tcp_listen_overflows: ext("ListenOverflows"),
                tcp_listen_drops: ext("ListenDrops"),
                tcp_req_queue_drops: ext("TCPReqQFullDrop"),
                tcp_req_queue_cookies: ext("TCPReqQFullDoCookies"),
                tcp_timeouts: ext("TCPTimeouts"),
                tcp_lost_retransmits: ext("TCPLostRetransmit"),
                tcp_fast_retransmits: ext("TCPFastRetrans"),
                tcp_slow_start_retransmits: ext("TCPSlowStartRetrans"),
                tcp_syn_retransmits: ext("TCPSynRetrans"),
                tcp_loss_probes: ext("TCPLossProbes"),
                tcp_prunes: ext("PruneCalled"),
                tcp_backlog_drops: ext("TCPBacklogDrop"),
                tcp_rcvq_drops: ext("TCPRcvQDrop"),
                tcp_zero_window_drops: ext("TCPZeroWindowDrop"),
                tcp_abort_on_timeout: ext("TCPAbortOnTimeout"),
                tcp_abort_on_memory: ext("TCPAbortOnMemory"),
                tcp_memory_pressures: ext("TCPMemoryPressures"),
            });
        }
        self.before = now;
        if let Some(row) = self.sockets() {
            out.push(&row);
        }
        Ok(())
    }

    fn sockets(&mut self) -> Option<NetSockstat> {
        let page_kb = self.page_kb;
        let text = read_optional(&mut self.sockstat)?;
        let conntrack = Path::new("/proc/sys/net/netfilter");
        let entries = read_number(&conntrack.join("nf_conntrack_count"));
        let limit = read_number(&conntrack.join("nf_conntrack_max"));
        Some(NetSockstat {
            origin: "/proc/net/sockstat",
            tcp_in_use: sockstat(text, "TCP:", "inuse"),
            tcp_orphans: sockstat(text, "TCP:", "orphan"),
            tcp_time_wait: sockstat(text, "TCP:", "tw"),
            tcp_memory_kb: sockstat(text, "TCP:", "mem").map(|pages| pages * page_kb),
            udp_in_use: sockstat(text, "UDP:", "inuse"),
            conntrack_entries: entries,
            conntrack_used_per: entries.zip(limit).and_then(|(entries, limit)| percent(entries as f64, limit as f64)),
        })
    }
}
