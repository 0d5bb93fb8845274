//! TCP connections: who talks to whom, how fast, what was lost.
//!
//! The kernel side (`tcp.bpf.c`) keeps a record at each socket and adds up one row per process, peer and server port; once a
//! period this side lets it walk all sockets and takes the rows out.

use std::net::IpAddr;
use std::sync::Arc;

use ahash::HashMap;
use anyhow::{Context, Result};
use gala_model::tables::tcp::TcpMetric;
use libbpf_rs::{MapCore, MapFlags, MapHandle};

use self::diag::Diag;
use self::layout::{Config, Counters, Kept, Key, Link, PARTS, Phase, ROLE_CLIENT, ROLE_SERVER};
use super::ended::Ended;
use super::held::{self, InUse};
use super::orphans::Orphans;
use super::{Loss, Probe, ProbeSettings, RowSink, Tick};
use crate::kernel::load::{self, Loaded, Walker};
use crate::kernel::{HookReport, HookSpec, KernelNames, ObjectSpec, Rung, Step, plain};

mod diag;
mod layout;

const fn step(rung: Rung, programs: &'static [&'static str]) -> Step {
    Step { rung, programs, lacks: "" }
}

/// A rung of the drops that knows those of a full backlog only.
const fn backlog_only(programs: &'static [&'static str]) -> Step {
    Step { rung: Rung::Fexit, programs, lacks: "drops by filters and for want of memory are not told apart" }
}

const PROBE: &str = "tcp";
/// The walk that meets the agent's own network namespace only, for what the walk over descriptors did not meet.
const WALK_OWN: &str = "tcp_walk_own";

const BY_DIAGNOSIS: Step = Step {
    rung: Rung::Netlink,
    programs: &[],
    lacks: "connections of other network namespaces, of other users and shorter than a period are not seen",
};

const OWNERS: HookSpec = HookSpec { hook: "task_file", ladder: &[step(Rung::Iterator, &["tcp_owners"])] };
const SEND_RESET: HookSpec = HookSpec { hook: "tcp_send_reset", ladder: &[step(Rung::TpBtf, &["tcp_send_reset"])] };
const RECEIVE_RESET: HookSpec = HookSpec { hook: "tcp_receive_reset", ladder: &[step(Rung::TpBtf, &["tcp_receive_reset"])] };
/// The tracepoint came with 5.15; before, only the end of a connection that timed out tells.
const ERRORS: HookSpec = HookSpec {
    hook: "inet_sk_error_report",
    ladder: &[step(Rung::TpBtf, &["tcp_error_report", "tcp_cut_off"]), step(Rung::TpBtf, &["tcp_timed_out"])],
};
const BUFFER_LIMIT: HookSpec = HookSpec { hook: "sock_exceed_buf_limit", ladder: &[step(Rung::TpBtf, &["tcp_buffer_limit"])] };
const DROPS: HookSpec = HookSpec {
    hook: "kfree_skb",
    // The function has a reason among its arguments since 5.18: older kernels refuse the first of both.
    ladder: &[step(Rung::TpBtf, &["tcp_drop"]), backlog_only(&["tcp_backlog_exit"]), backlog_only(&["tcp_backlog_exit_old"])],
};
const OUT_OF_MEMORY: HookSpec = HookSpec { hook: "tcp_check_oom", ladder: &[step(Rung::Fexit, &["tcp_oom_exit"])] };

/// What the probe hooks: with records at sockets, and for older kernels with records by address (`records.h`).
pub const OBJECTS: &[ObjectSpec] = &[
    ObjectSpec {
        probe: PROBE,
        object: crate::bpf_object!("tcp"),
        hooks: &[
            HookSpec {
                hook: "connections",
                ladder: &[
                    step(Rung::Iterator, &["tcp_set_state", "tcp_walk"]),
                    step(Rung::Iterator, &["tcp_set_state", WALK_OWN]),
                    BY_DIAGNOSIS,
                ],
            },
            OWNERS,
            SEND_RESET,
            RECEIVE_RESET,
            ERRORS,
            BUFFER_LIMIT,
            DROPS,
            OUT_OF_MEMORY,
        ],
    },
    ObjectSpec {
        probe: PROBE,
        object: crate::bpf_object!("tcp.by_address"),
        hooks: &[
            HookSpec {
                hook: "connections",
                ladder: &[
                    Step {
                        rung: Rung::Iterator,
                        programs: &["tcp_set_state", "tcp_walk", "tcp_gone"],
                        lacks: "connections of other network namespaces are seen when they end",
                    },
                    BY_DIAGNOSIS,
                ],
            },
            OWNERS,
            SEND_RESET,
            RECEIVE_RESET,
            ERRORS,
            BUFFER_LIMIT,
            DROPS,
            OUT_OF_MEMORY,
        ],
    },
];

/// Most rows of one period; further links are counted as lost.
pub const MAX_LINKS: u32 = 4096;
/// Reports for which the walk over the table of connections may be left out: what it passed over may have changed by then.
const MAX_SPARED: u32 = 12;
/// Rows taken from the kernel in one call.
const BATCH: u32 = 256;

pub struct Tcp {
    loaded: Loaded,
    walker: Option<Walker>,
    /// Takes the walker's place where that cannot be had.
    diag: Diag,
    owners: Option<Walker>,
    /// Walks of `owners` so far.
    walks: u32,
    /// This network namespace where `walker` meets no other one, else 0.
    own_net: u32,
    in_use: InUse,
    /// Sockets that `walker` passed over when it last ran, and reports since then.
    passed_over: u64,
    spared: u32,
    links: Option<MapHandle>,
    counters: Option<MapHandle>,
    settings: ProbeSettings,
    seen: Counters,
    /// Rows of processes that ended before they were found.
    unowned: u64,
    names: HashMap<u32, (Arc<str>, bool)>,
    ended: Ended<(Key, [u8; 16])>,
    orphans: Orphans,
}

impl Tcp {
    /// Attaches the hooks and takes up the connections that exist. Never fails: what does not work is in [`Probe::hooks`].
    pub fn start(settings: &ProbeSettings) -> Self {
        let config = configuration(settings);
        let loaded = load::load_best(OBJECTS, |open| {
            load::set_config(open, plain::bytes(&config))?;
            load::set_max_entries(open, "links", MAX_LINKS)
        });
        let everywhere = loaded.iterator("tcp_walk", Some("socks")).ok();
        let own = if everywhere.is_none() { loaded.iterator(WALK_OWN, None).ok() } else { None };
        let own_net = if own.is_some() { super::own_network_namespace() } else { 0 };
        let mut probe = Self {
            walker: everywhere.or(own),
            own_net,
            in_use: InUse::default(),
            passed_over: 0,
            spared: 0,
            diag: Diag::default(),
            owners: loaded.iterator("tcp_owners", None).ok(),
            walks: 0,
            links: loaded.map("links").ok(),
            counters: loaded.map(".bss.counters").ok(),
            loaded,
            settings: settings.clone(),
            seen: Counters::default(),
            unowned: 0,
            names: HashMap::default(),
            ended: Ended::default(),
            orphans: Orphans::default(),
        };
        if let Err(error) = probe.adopt_existing() {
            tracing::warn!("connections older than the agent are not seen: {error:#}");
        }
        probe.leave_out();
        probe
    }

    /// Tells the kernel side which histograms nobody asks for. Where that fails they are filled for nothing.
    fn leave_out(&self) {
        let off = PARTS.iter().filter(|(name, _)| !self.settings.is_on(name)).fold(0u32, |off, (_, part)| off | part);
        if let Ok(map) = self.loaded.map(".bss.left_out")
            && let Err(error) = map.update(plain::bytes(&0u32), plain::bytes(&off), MapFlags::ANY)
        {
            tracing::debug!("histograms of sub-probes that are off are filled all the same: {error}");
        }
    }

    /// First the listeners, then, their ports being known, the connections.
    fn adopt_existing(&mut self) -> Result<()> {
        self.look_for_owners(false, 0)?;
        self.look_for_owners(true, 0)?;
        Ok(())
    }

    /// Walks over all descriptors; takes up connections that nobody knew where asked. With the number of this network namespace
    /// connections are accounted, too, and it answers how many sockets were met here.
    fn look_for_owners(&mut self, adopt: bool, own_net: u32) -> Result<u64> {
        if self.loaded.object().is_none() {
            return Ok(0);
        }
        self.walks += 1;
        let phase = Phase { adopt_connections: adopt.into(), walk: self.walks, own_net, met: 0, passed_over: 0 };
        let map = self.loaded.map(".bss.phase")?;
        map.update(plain::bytes(&0u32), plain::bytes(&phase), MapFlags::ANY)?;
        let Some(owners) = &self.owners else { return Ok(0) };
        owners.run(|_| ()).context("looking for the owners of sockets failed")?;
        Ok(self.phase()?.met.into())
    }

    fn phase(&self) -> Result<Phase> {
        let phase = self.loaded.map(".bss.phase")?.lookup(plain::bytes(&0u32), MapFlags::ANY)?.unwrap_or_default();
        plain::read(&phase).context("the phase of the tcp object has another size")
    }

    /// Accounts all connections.
    fn walk(&mut self, at_ms: i64) -> Result<()> {
        let Some(walker) = &self.walker else { return Ok(()) };
        if self.own_net == 0 {
            return walker.run(|_| ()).context("walking the sockets failed");
        }
        let met = self.look_for_owners(true, self.own_net)?;
        held::tell(at_ms, met);
        let are_all = self.in_use.count().is_some_and(|in_use| in_use <= met + self.passed_over);
        if are_all && self.spared < MAX_SPARED {
            self.spared += 1;
            return Ok(());
        }
        self.spared = 0;
        self.walker.iter().try_for_each(|walker| walker.run(|_| ())).context("walking the sockets failed")?;
        self.passed_over = self.phase()?.passed_over.into();
        Ok(())
    }

    fn read_counters(&self) -> Result<Counters> {
        let Some(map) = &self.counters else { return Ok(Counters::default()) };
        let value = map.lookup(plain::bytes(&0u32), MapFlags::ANY)?.unwrap_or_default();
        plain::read(&value).context("the counters of the tcp object have another size")
    }

    fn take_rows(&mut self, at_ms: i64, out: &mut dyn RowSink) -> Result<()> {
        let Some(map) = self.links.take() else { return Ok(()) };
        self.ended.next_report(at_ms);
        let mut of_ended: HashMap<Key, Box<Link>> = HashMap::default();
        let taken = map.lookup_and_delete_batch(BATCH, MapFlags::ANY, MapFlags::ANY).map(|rows| {
            for (key, value) in rows {
                let (Some(key), Some(link)) = (plain::read::<Key>(&key), plain::read::<Link>(&value)) else { continue };
                let kind = || (Key { tgid: 0, ..key }, link.comm);
                let is_client = key.tgid != 0 && key.role == ROLE_CLIENT && self.is_wanted(key.tgid);
                match is_client.then(|| self.ended.stand_in(key.tgid, kind)).flatten() {
                    Some(tgid) => of_ended.entry(Key { tgid, ..key }).or_default().add(&link),
                    None => self.push(&key, &link, out),
                }
            }
        });
        self.links = Some(map);
        of_ended.iter().for_each(|(key, link)| self.tell(key, link, out));
        taken.context("taking the rows of the tcp probe from the kernel failed")
    }

    fn push(&mut self, key: &Key, link: &Link, out: &mut dyn RowSink) {
        if key.tgid == 0 {
            self.unowned += 1;
            return;
        }
        if self.is_wanted(key.tgid) {
            self.tell(key, link, out);
        } else if key.role == ROLE_SERVER {
            // Who holds now what an ended server left may be wanted.
            self.name_of(key, link);
        }
    }

    /// Notes servers that are gone.
    fn name_of(&mut self, key: &Key, link: &Link) -> Arc<str> {
        let name = self.names.entry(key.tgid).or_insert_with(|| super::process_name(key.tgid, &link.comm));
        let (comm, is_gone) = name.clone();
        if is_gone && key.role == ROLE_SERVER {
            self.orphans.note(key.tgid);
        }
        comm
    }

    fn is_wanted(&self, tgid: u32) -> bool {
        self.settings.processes.as_ref().is_none_or(|wanted| wanted.contains(&tgid))
    }

    fn tell(&mut self, key: &Key, link: &Link, out: &mut dyn RowSink) {
        let comm = self.name_of(key, link);
        if let Some(row) = row(key, link, comm, &self.loaded) {
            out.push(&row);
        }
    }
}

fn configuration(settings: &ProbeSettings) -> Config {
    let mut config = Config::new();
    let names = KernelNames::load();
    let reason = |name: &str| names.as_ref().and_then(|names| names.enumerator("skb_drop_reason", name)).unwrap_or(0);
    config.hz = crate::kernel::jiffies_per_second();
    config.reason_backlog = reason("SKB_DROP_REASON_SOCKET_BACKLOG");
    config.reason_filter = reason("SKB_DROP_REASON_SOCKET_FILTER");
    config.reason_memory = reason("SKB_DROP_REASON_PROTO_MEM");
    config.keep_client_port = u32::from(settings.report_client_port);
    config
}

fn ratio(part: u32, whole: u64) -> Option<f64> {
    (whole > 0).then(|| f64::from(part) / whole as f64)
}

fn row(key: &Key, link: &Link, comm: Arc<str>, loaded: &Loaded) -> Option<TcpMetric> {
    let role = match key.role {
        ROLE_CLIENT => "client",
        ROLE_SERVER => "server",
        _ => return None,
    };
    let drop_rung = loaded.rung("kfree_skb");
    let walked = loaded.rung("connections") == Some(Rung::Iterator);
    let drops = |value: u32| (walked && drop_rung == Some(Rung::TpBtf)).then_some(value);
    let seen = |hook: &str, value: u32| (walked && loaded.works(hook)).then_some(value);
    let syn_srtt = link.histogram(Kept::SynSrtt);
    Some(TcpMetric {
        tgid: key.tgid,
        comm,
        role,
        client_ip: key.client_ip(),
        toa_client_ip: None::<IpAddr>,
        server_ip: key.server_ip(),
        client_port: key.client_port,
        server_port: key.server_port,
        protocol: key.family,
        rx_bytes: link.rx_bytes,
        tx_bytes: link.tx_bytes,
        segs_in: link.segs_in,
        segs_out: link.segs_out,
        srtt: link.histogram(Kept::Srtt),
        rcv_rtt: link.histogram(Kept::RcvRtt),
        snd_cwnd: link.histogram(Kept::SndCwnd),
        notsent_bytes: link.histogram(Kept::Notsent),
        notack_bytes: link.histogram(Kept::Notack),
        reordering: link.histogram(Kept::Reordering),
        snd_wnd: link.histogram(Kept::SndWnd),
        rcv_wnd: link.histogram(Kept::RcvWnd),
        avl_snd_wnd: link.histogram(Kept::AvlSndWnd),
        zero_rcv_wnd_count: walked.then_some(link.zero_rcv_wnd),
        zero_snd_wnd_count: walked.then_some(link.zero_snd_wnd),
        zero_win_rx_ratio: ratio(link.zero_rcv_wnd, link.samples.into()).filter(|_| walked),
        zero_win_tx_ratio: ratio(link.zero_snd_wnd, link.samples.into()).filter(|_| walked),
        rto: link.histogram(Kept::Rto),
        ato: link.histogram(Kept::Ato),
        syn_srtt_max: (!syn_srtt.counts.is_empty()).then_some(syn_srtt.max),
        syn_srtt,
        sk_rcvbuf: link.histogram(Kept::Rcvbuf),
        sk_sndbuf: link.histogram(Kept::Sndbuf),
        retran_packets: link.retrans,
        backlog_drops: seen("kfree_skb", link.events.backlog_drops),
        sk_drops: walked.then_some(link.drops),
        lost_out: walked.then_some(link.lost),
        sacked_out: link.sacked_max,
        filter_drops: drops(link.events.filter_drops),
        tmout_count: seen("inet_sk_error_report", link.events.timeouts),
        snd_buf_limit_count: seen("sock_exceed_buf_limit", link.events.buffer_limits),
        rmem_scheduls: drops(link.events.memory_failures),
        tcp_oom: seen("tcp_check_oom", link.events.oom),
        send_rsts: seen("tcp_send_reset", link.events.send_rsts),
        receive_rsts: seen("tcp_receive_reset", link.events.receive_rsts),
        retrans_ratio: ratio(link.retrans, link.segs_out),
    })
}

impl Probe for Tcp {
    fn name(&self) -> &'static str {
        PROBE
    }

    fn collect(&mut self, tick: Tick, out: &mut dyn RowSink) -> Result<()> {
        self.names.clear();
        if self.walker.is_none() {
            for (key, link) in self.diag.collect(self.settings.report_client_port)? {
                self.push(&key, &link, out);
            }
            return Ok(());
        }
        self.walk(tick.at_ms)?;
        let now = self.read_counters()?;
        let guessed = now.guessed > self.seen.guessed;
        self.seen = now;
        self.take_rows(tick.at_ms, out)?;
        let orphans = self.orphans.are_new();
        if (guessed && self.own_net == 0) || orphans {
            self.look_for_owners(true, 0)?;
        }
        if orphans {
            // Who was not met in two walks is gone.
            self.look_for_owners(true, 0)?;
        }
        Ok(())
    }

    fn reconfigure(&mut self, settings: &ProbeSettings) -> bool {
        let same_kernel_side = settings.report_client_port == self.settings.report_client_port;
        if same_kernel_side {
            self.settings = settings.clone();
            self.leave_out();
        }
        same_kernel_side
    }

    fn hooks(&self) -> Vec<HookReport> {
        self.loaded.hooks.clone()
    }

    fn losses(&self) -> Vec<Loss> {
        let lost = |key, what: &str, count| Loss { key, what: what.to_owned(), count };
        vec![
            lost("tcp.links.lost", "links beyond the limit of one period were left out", self.seen.links_lost),
            lost(
                "tcp.records.lost",
                "sockets the kernel had no memory to keep a record at were left out",
                self.seen.records_lost,
            ),
            lost("tcp.links.unowned", "rows whose process could not be found were left out", self.unowned),
        ]
    }

    fn program_fds(&self) -> Vec<(String, i32)> {
        self.loaded.program_fds()
    }

    fn map_bytes(&self) -> u64 {
        self.loaded.map_bytes()
    }
}
