//! Endpoints: listeners and what they turn away, connections opened and why opening failed.

use std::net::IpAddr;
use std::sync::Arc;

use ahash::HashMap;
use anyhow::{Context, Result};
use gala_model::tables::socket::EndpointTcp;
use libbpf_rs::{MapCore, MapFlags, MapHandle};

use self::layout::{Config, Counters, Endpoint, Key, Phase, ROLE_CLIENT};
use self::overflow::{Overflows, Totals, Waiting};
use self::requests::Requests;
use super::ended::Ended;
use super::held::{self, InUse};
use super::orphans::Orphans;
use super::{Loss, Probe, ProbeSettings, RowSink, Tick};
use crate::kernel::load::{self, Loaded, Walker};
use crate::kernel::{HookReport, HookSpec, ObjectSpec, Rung, Step, plain};

mod layout;
mod overflow;
mod requests;

const fn step(rung: Rung, programs: &'static [&'static str]) -> Step {
    Step { rung, programs, lacks: "" }
}

const PROBE: &str = "socket";
/// The walk that meets the agent's own network namespace only, for what the walk over descriptors did not meet.
const WALK_OWN: &str = "socket_walk_own";
/// The sub-probe that all hooks are for.
const TCP: &str = "tcp_socket";

const SYNACK: HookSpec = HookSpec { hook: "tcp_retransmit_synack", ladder: &[step(Rung::TpBtf, &["socket_synack"])] };
const DROPPED: &str = "kfree_skb";
const BY_REASON: Step = step(Rung::TpBtf, &["socket_dropped"]);
const BY_NEIGHBOUR: Step = step(Rung::Fexit, &["socket_arp_failed", "socket_ndisc_failed"]);
const CALLED_BY_NEIGHBOUR: Step = step(Rung::Kprobe, &["socket_arp_fails", "socket_ndisc_fails"]);
const FILES: HookSpec = HookSpec { hook: "task_file", ladder: &[step(Rung::Iterator, &["socket_files"])] };

/// What the probe hooks: with records at sockets, and for older kernels with records by address (`records.h`).
pub const OBJECTS: &[ObjectSpec] = &[
    ObjectSpec {
        probe: PROBE,
        object: crate::bpf_object!("socket"),
        hooks: &[
            HookSpec { hook: "inet_sock_set_state", ladder: &[step(Rung::TpBtf, &["socket_state"])] },
            SYNACK,
            HookSpec { hook: DROPPED, ladder: &[BY_REASON, BY_NEIGHBOUR] },
            HookSpec {
                hook: "bpf_sk_storage_map",
                ladder: &[step(Rung::Iterator, &["socket_walk"]), step(Rung::Iterator, &[WALK_OWN])],
            },
            FILES,
        ],
    },
    ObjectSpec {
        probe: PROBE,
        object: crate::bpf_object!("socket.by_address"),
        hooks: &[
            HookSpec { hook: "inet_sock_set_state", ladder: &[step(Rung::TpBtf, &["socket_state", "socket_gone"])] },
            SYNACK,
            HookSpec { hook: DROPPED, ladder: &[BY_REASON, BY_NEIGHBOUR, CALLED_BY_NEIGHBOUR] },
            HookSpec {
                hook: "bpf_sk_storage_map",
                ladder: &[Step {
                    rung: Rung::Iterator,
                    programs: &["socket_walk"],
                    lacks: "queues and drops of listeners in other network namespaces are not seen",
                }],
            },
            FILES,
        ],
    },
];

/// Most rows of one period; further endpoints are counted as lost.
pub const MAX_ENDPOINTS: u32 = 5120;
const BATCH: u32 = 256;

pub struct Socket {
    loaded: Loaded,
    walker: Option<Walker>,
    files: Option<Walker>,
    /// Walks of `files` so far.
    walks: u32,
    /// Whether `walker` meets this network namespace only.
    own_only: bool,
    in_use: InUse,
    endpoints: Option<MapHandle>,
    counters: Option<MapHandle>,
    settings: ProbeSettings,
    overflows: Overflows,
    requests: Requests,
    ended: Ended<(Key, [u8; 16])>,
    orphans: Orphans,
    seen: Counters,
}

impl Socket {
    /// Attaches the hooks and takes up the listeners that exist. Never fails: what does not work is in [`Probe::hooks`].
    pub fn start(settings: &ProbeSettings) -> Self {
        let config = Config::new();
        let objects = if settings.is_on(TCP) { OBJECTS } else { &[] };
        let loaded = load::load_best(objects, |open| {
            load::set_config(open, plain::bytes(&config))?;
            load::set_max_entries(open, "endpoints", MAX_ENDPOINTS)
        });
        let everywhere = loaded.iterator("socket_walk", Some("owners")).ok();
        let own = if everywhere.is_none() { loaded.iterator(WALK_OWN, None).ok() } else { None };
        let mut probe = Self {
            files: loaded.iterator("socket_files", None).ok(),
            walks: 0,
            own_only: own.is_some(),
            walker: everywhere.or(own),
            in_use: InUse::default(),
            endpoints: loaded.map("endpoints").ok(),
            counters: loaded.map(".bss.counters").ok(),
            loaded,
            settings: settings.clone(),
            overflows: Overflows::default(),
            requests: Requests::default(),
            ended: Ended::default(),
            orphans: Orphans::default(),
            seen: Counters::default(),
        };
        if let Err(error) = probe.walk_descriptors(false) {
            tracing::warn!("listeners older than the agent are not seen: {error:#}");
        }
        probe
    }

    /// Looks who holds listeners, and at these where asked.
    fn walk_descriptors(&mut self, look: bool) -> Result<()> {
        if self.loaded.object().is_none() {
            return Ok(());
        }
        self.walks += 1;
        let phase = Phase { walk: self.walks, look: look.into() };
        self.loaded.map(".bss.phase")?.update(plain::bytes(&0u32), plain::bytes(&phase), MapFlags::ANY)?;
        let Some(files) = &self.files else { return Ok(()) };
        files.run(|_| ()).context("looking for the owners of listeners failed")
    }

    /// Looks at all listeners.
    fn walk(&mut self, at_ms: i64) -> Result<()> {
        if self.own_only {
            self.walk_descriptors(true)?;
            if self.files.is_some() && held::are_all(at_ms, self.in_use.count()) {
                return Ok(());
            }
        }
        let Some(walker) = &self.walker else { return Ok(()) };
        let walked = if self.own_only { walker.run_until_printed() } else { walker.run(|_| ()) };
        walked.context("walking the listeners failed")
    }

    fn take(&self) -> Result<Vec<(Key, Endpoint)>> {
        let Some(map) = &self.endpoints else { return Ok(Vec::new()) };
        let rows = map.lookup_and_delete_batch(BATCH, MapFlags::ANY, MapFlags::ANY);
        let rows = rows.context("taking the rows of the socket probe from the kernel failed")?;
        Ok(rows.filter_map(|(key, value)| Some((plain::read(&key)?, plain::read(&value)?))).collect())
    }

    fn row(&self, key: &Key, endpoint: &Endpoint, comm: Arc<str>, listening: &Listening) -> EndpointTcp {
        let client = key.role == ROLE_CLIENT;
        let active = |value: u32| client.then_some(value);
        let passive = |value: u32| (!client).then_some(value);
        let repeats = |value: Option<u32>| value.filter(|_| !client && self.loaded.works(SYNACK.hook));
        let overflows = listening.overflows;
        EndpointTcp {
            tgid: key.tgid,
            comm,
            role: if client { "client" } else { "server" },
            client_ip: key.client_ip(),
            toa_client_ip: None::<IpAddr>,
            server_ip: key.server_ip(),
            server_port: key.server_port,
            protocol: key.family,
            multi: 0,
            listendrop: passive(endpoint.drops),
            accept_overflow: overflows.and_then(|totals| passive(overflow::part(endpoint.drops, totals))),
            syn_overflow: overflows.and_then(|totals| passive(listening.waiting.share(totals.syn_overflows, endpoint))),
            syn_queue: passive(endpoint.requests),
            accept_queue: passive(endpoint.queue),
            accept_queue_limit: passive(endpoint.queue_limit),
            passive_open: passive(endpoint.opened),
            passive_open_failed: passive(endpoint.failed),
            retran_synacks: repeats(Some(endpoint.retransmitted)),
            req_drops: repeats(listening.given_up),
            synack_sent: repeats(Some(endpoint.synacks)),
            retran_syn: active(endpoint.retransmitted),
            active_open: active(endpoint.opened),
            active_open_failed: active(endpoint.failed),
            active_open_refused: active(endpoint.refused),
            active_open_timeout: active(endpoint.timed_out),
            syn_sent: active(endpoint.opened + endpoint.failed + endpoint.retransmitted),
            syn_drop: active(endpoint.unreachable).filter(|_| self.loaded.works(DROPPED)),
            estab_latency: endpoint.establish_latency(),
        }
    }

    fn read_counters(&self) -> Result<Counters> {
        let Some(map) = &self.counters else { return Ok(Counters::default()) };
        let value = map.lookup(plain::bytes(&0u32), MapFlags::ANY)?.unwrap_or_default();
        plain::read(&value).context("the counters of the socket object have another size")
    }
}

/// What a row needs to know of listeners beyond its own: of its namespace and of earlier periods.
#[derive(Default)]
struct Listening {
    overflows: Option<Totals>,
    waiting: Waiting,
    given_up: Option<u32>,
}

impl Probe for Socket {
    fn name(&self) -> &'static str {
        PROBE
    }

    fn collect(&mut self, tick: Tick, out: &mut dyn RowSink) -> Result<()> {
        self.walk(tick.at_ms)?;
        self.seen = self.read_counters()?;
        let rows = self.take()?;
        let listeners = rows.iter().filter(|(key, _)| key.role != ROLE_CLIENT);
        let namespaces: HashMap<u32, u32> = listeners.map(|(key, _)| (key.net, key.tgid)).collect();
        let overflows = self.overflows.since_last(&namespaces);
        let mut waiting: HashMap<u32, Waiting> = HashMap::default();
        for (key, endpoint) in &rows {
            waiting.entry(key.net).or_default().add(endpoint);
        }
        let given_up = self.requests.given_up(rows.iter().filter(|(key, _)| key.role != ROLE_CLIENT));
        let mut names: HashMap<u32, (Arc<str>, bool)> = HashMap::default();
        let processes = self.settings.processes.as_ref();
        let is_wanted = |key: &Key| key.tgid != 0 && processes.is_none_or(|wanted| wanted.contains(&key.tgid));
        self.ended.next_report(tick.at_ms);
        let mut told: Vec<(Key, Endpoint)> = Vec::with_capacity(rows.len());
        let mut of_ended: HashMap<Key, Endpoint> = HashMap::default();
        // Who holds now what an ended server left may be wanted.
        for (key, endpoint) in rows.into_iter().filter(|(key, _)| is_wanted(key) || key.role != ROLE_CLIENT) {
            let kind = || (key.of(0), endpoint.comm);
            match (key.role == ROLE_CLIENT).then(|| self.ended.stand_in(key.tgid, kind)).flatten() {
                Some(tgid) => of_ended.entry(key.of(tgid)).or_default().add(&endpoint),
                None => told.push((key, endpoint)),
            }
        }
        told.extend(of_ended);
        for (key, endpoint) in told {
            let name = names.entry(key.tgid).or_insert_with(|| super::process_name(key.tgid, &endpoint.comm));
            let (comm, is_gone) = name.clone();
            if is_gone && key.role != ROLE_CLIENT {
                self.orphans.note(key.tgid);
            }
            if !is_wanted(&key) {
                continue;
            }
            let listening = Listening {
                overflows: overflows.get(&key.net).copied(),
                waiting: waiting.get(&key.net).copied().unwrap_or_default(),
                given_up: given_up.get(&key).copied(),
            };
            out.push(&self.row(&key, &endpoint, comm, &listening));
        }
        if self.orphans.are_new() {
            // Who was not met in two walks is gone.
            self.walk_descriptors(false)?;
            self.walk_descriptors(false)?;
        }
        Ok(())
    }

    fn reconfigure(&mut self, settings: &ProbeSettings) -> bool {
        let same_hooks = settings.is_on(TCP) == self.settings.is_on(TCP);
        if same_hooks {
            self.settings = settings.clone();
        }
        same_hooks
    }

    fn hooks(&self) -> Vec<HookReport> {
        self.loaded.hooks.clone()
    }

    fn losses(&self) -> Vec<Loss> {
        let lost = |key, what: &str, count| Loss { key, what: what.to_owned(), count };
        vec![
            lost("socket.endpoints.lost", "endpoints beyond the limit of one period were left out", self.seen.endpoints_lost),
            lost(
                "socket.owners.lost",
                "sockets the kernel had no memory to keep a record at were left out",
                self.seen.owners_lost,
            ),
        ]
    }

    fn program_fds(&self) -> Vec<(String, i32)> {
        self.loaded.program_fds()
    }

    fn map_bytes(&self) -> u64 {
        self.loaded.map_bytes()
    }
}
