//! Requests of Redis: how many, how many failed, how long each stage took.
//!
//! The kernel side (`sli.bpf.c`) follows each server-side connection and adds up per process, port and command; this side
//! reads the sums and, once a period, lets it print the connections.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use ahash::HashMap;
use anyhow::{Context, Result};
use gala_model::Histogram;
use gala_model::tables::sli::{RedisMaxSli, RedisSli, Sli as SliRow};
use libbpf_rs::{MapCore, MapFlags, MapHandle};

use self::layout::{Config, Connection, Counters, Key, Requests, method};
use self::places::{OFTEN, Places};
use super::{Loss, Probe, ProbeSettings, RowSink, Tick};
use crate::kernel::load::{self, Loaded, Walker};
use crate::kernel::plain::address;
use crate::kernel::{HookReport, HookSpec, ObjectSpec, Rung, Step, plain};

mod layout;
mod places;

const fn step(rung: Rung, programs: &'static [&'static str]) -> Step {
    Step { rung, programs, lacks: "" }
}

const PROBE: &str = "ksli";

const FILES: HookSpec = HookSpec { hook: "task_file", ladder: &[step(Rung::Iterator, &["sli_files"])] };

/// What the probe hooks: with records at sockets, and for older kernels and kprobes with records by address (`records.h`).
/// Requests are followed in the packets where programs may read them, else in what the application reads.
pub const OBJECTS: &[ObjectSpec] = &[
    ObjectSpec {
        probe: PROBE,
        object: crate::bpf_object!("sli"),
        hooks: &[
            HookSpec {
                hook: "tcp_probe",
                ladder: &[
                    step(Rung::TpBtf, &["sli_packet"]),
                    step(Rung::Fexit, &["sli_read_enters", "sli_copied", "sli_arrival"]),
                ],
            },
            HookSpec {
                hook: "tcp_sendmsg_locked",
                ladder: &[step(Rung::TpBtf, &["sli_write"]), step(Rung::Fexit, &["sli_write_enters"])],
            },
            HookSpec { hook: "inet_sock_set_state", ladder: &[step(Rung::TpBtf, &["sli_state"])] },
            FILES,
            HookSpec {
                hook: "bpf_sk_storage_map",
                ladder: &[
                    step(Rung::Iterator, &["sli_walk"]),
                    Step { rung: Rung::Iterator, programs: &["sli_walk_own"], lacks: OWN_NAMESPACE },
                ],
            },
        ],
    },
    ObjectSpec {
        probe: PROBE,
        object: crate::bpf_object!("sli.by_address"),
        hooks: &[
            HookSpec {
                hook: "tcp_probe",
                ladder: &[
                    first_commands(Rung::Fexit, &["sli_read_enters", "sli_copied", "sli_arrival"]),
                    first_commands(Rung::Kprobe, &["sli_read_called", "sli_copied", "sli_arrival"]),
                ],
            },
            HookSpec {
                hook: "tcp_sendmsg_locked",
                ladder: &[step(Rung::Fexit, &["sli_write_enters"]), step(Rung::Kprobe, &["sli_write_called"])],
            },
            HookSpec { hook: "inet_sock_set_state", ladder: &[step(Rung::TpBtf, &["sli_state", "sli_gone"])] },
            FILES,
            HookSpec {
                hook: "bpf_sk_storage_map",
                ladder: &[Step { rung: Rung::Iterator, programs: &["sli_walk"], lacks: OWN_NAMESPACE }],
            },
        ],
    },
];

/// What the walk over the agent's own network namespace does not meet.
const OWN_NAMESPACE: &str = "single connections of other network namespaces have no row";

/// A rung that follows a read no further than a loop can be verified.
const fn first_commands(rung: Rung, programs: &'static [&'static str]) -> Step {
    Step { rung, programs, lacks: "of many commands read at once some fifty are counted" }
}

const APP: &str = "REDIS";
/// Rows of single connections in one period; further ones are left to the sums.
const MAX_CONNECTIONS: usize = 256;
/// Rows of commands that wait and were never answered before.
const MAX_FIRST_WAITS: usize = 64;
/// Rows of commands in one period, those asked for most. A client may send any word for a command.
const MAX_METHODS: usize = 256;
/// Commands counted in the kernel that are left alone. Of more, so that there is room for new ones (of 1024), those go that
/// nobody asked for since the last report.
const KEPT_METHODS: usize = 768;
/// Texts of commands remembered.
const MAX_NAMES: usize = 2048;

/// The oldest request of a kind that waits for its answer.
#[derive(Clone, Copy)]
struct Wait {
    ns: u64,
    server: [u8; 16],
}

pub struct Sli {
    loaded: Loaded,
    walker: Option<Walker>,
    files: Option<Walker>,
    methods: Option<MapHandle>,
    places: Option<Places>,
    counters: Option<MapHandle>,
    settings: ProbeSettings,
    seen: Counters,
    connections_left_out: u64,
    methods_left_out: u64,
    /// Requests of each command at the last report.
    asked: HashMap<Key, u64>,
    /// Oldest request without an answer by process, port and command, of the period being collected.
    oldest: HashMap<Key, Wait>,
    names: HashMap<[u8; 12], Arc<str>>,
    printed: Vec<u8>,
}

impl Sli {
    /// Attaches the hooks and takes up the connections that exist. Never fails: what does not work is in [`Probe::hooks`].
    pub fn start(settings: &ProbeSettings) -> Self {
        let config = Config::new();
        let loaded = load::load_best(OBJECTS, |open| load::set_config(open, plain::bytes(&config)));
        let probe = Self {
            walker: loaded.iterator("sli_walk", Some("conns")).or_else(|_| loaded.iterator("sli_walk_own", None)).ok(),
            files: loaded.iterator("sli_files", None).ok(),
            methods: loaded.map("methods").ok(),
            places: Places::of(&loaded).ok(),
            counters: loaded.map(".bss.counters").ok(),
            loaded,
            settings: settings.clone(),
            seen: Counters::default(),
            connections_left_out: 0,
            methods_left_out: 0,
            asked: HashMap::default(),
            oldest: HashMap::default(),
            names: HashMap::default(),
            printed: Vec::new(),
        };
        if let Err(error) = probe.adopt_existing() {
            tracing::warn!("connections older than the agent are not timed: {error:#}");
        }
        probe
    }

    /// First the listeners, then, their ports being known, the connections.
    fn adopt_existing(&self) -> Result<()> {
        let Some(files) = &self.files else { return Ok(()) };
        let phase = self.loaded.map(".bss.phase")?;
        files.run(|_| ())?;
        phase.update(plain::bytes(&0u32), plain::bytes(&1u32), MapFlags::ANY).context("switching to connections failed")?;
        files.run(|_| ())
    }

    fn wanted(&self, tgid: u32) -> bool {
        tgid != 0 && self.settings.processes.as_ref().is_none_or(|wanted| wanted.contains(&tgid))
    }

    fn name(&mut self, bytes: [u8; 12]) -> Arc<str> {
        if self.names.len() >= MAX_NAMES {
            self.names.clear();
        }
        self.names.entry(bytes).or_insert_with(|| method(bytes).into()).clone()
    }

    fn push_sums(&mut self, out: &mut dyn RowSink) -> Result<()> {
        let Some(map) = self.methods.take() else { return Ok(()) };
        let pushed = self.push_sums_of(&map, out);
        self.methods = Some(map);
        pushed
    }

    fn push_sums_of(&mut self, map: &MapHandle, out: &mut dyn RowSink) -> Result<()> {
        let mut counted = HashSet::new();
        let mut gone = Vec::new();
        let mut rows: Vec<(Key, Requests)> = Vec::new();
        let mut living: HashMap<u32, bool> = HashMap::default();
        for bytes in map.keys() {
            let Some(key) = plain::read::<Key>(&bytes) else { continue };
            if !*living.entry(key.tgid).or_insert_with(|| exists(key.tgid)) {
                gone.push(key);
            } else if let Some(mut sums) = sums_of(map, &bytes)? {
                if let Some(places) = &self.places
                    && let Some(at_its_place) = places.sums_of(&key)?
                {
                    sums.add(&at_its_place);
                }
                counted.insert(key);
                rows.push((key, sums));
            }
        }
        gone.extend(in_the_way(&rows, &self.asked));
        if let Some(places) = &mut self.places {
            for key in often_asked(&rows, &self.asked) {
                places.give(key)?;
            }
            gone.iter().try_for_each(|key| places.take_back(key))?;
        }
        for key in gone {
            // Somebody else's removal is as good.
            let _ = map.delete(plain::bytes(&key));
        }
        self.asked = rows.iter().map(|(key, sums)| (*key, sums.requests)).collect();
        rows.retain(|(key, _)| self.wanted(key.tgid));
        rows.sort_by_key(|(key, sums)| (std::cmp::Reverse(sums.requests), *key));
        self.methods_left_out += rows.len().saturating_sub(MAX_METHODS) as u64;
        for (key, sums) in rows.iter().take(MAX_METHODS) {
            out.push(&self.sums_row(key, sums));
        }
        for (key, server) in first_waits(&self.oldest, &counted) {
            if self.wanted(key.tgid) && exists(key.tgid) {
                out.push(&self.sums_row(&key, &Requests::none(server)));
            }
        }
        Ok(())
    }

    fn sums_row(&mut self, key: &Key, sums: &Requests) -> SliRow {
        let histogram: Histogram = sums.histogram();
        SliRow {
            tgid: key.tgid,
            ins_id: 0,
            app: APP,
            method: self.name(key.method),
            server_ip: address(key.family, sums.server),
            server_port: key.server_port,
            requests_total: sums.requests,
            errors_total: Some(sums.errors),
            latency_nsec: histogram,
            sched_nsec_sum: sums.sched_sum,
            sched_nsec_count: sums.timed,
            proc_nsec_sum: sums.proc_sum,
            proc_nsec_count: sums.timed,
            send_nsec_sum: sums.send_sum,
            send_nsec_count: sums.acknowledged,
            oldest_nsec: self.oldest.get(key).map_or(0, |wait| wait.ns),
        }
    }

    fn push_connections(&mut self, out: &mut dyn RowSink) -> Result<()> {
        let Some(walker) = self.walker.take() else { return Ok(()) };
        let mut printed = std::mem::take(&mut self.printed);
        printed.clear();
        let walked = walker.run(|bytes| printed.extend_from_slice(bytes)).context("walking the connections failed");
        self.walker = Some(walker);
        let rows = || printed.chunks_exact(size_of::<Connection>()).filter_map(plain::read::<Connection>);
        self.oldest.clear();
        for connection in rows().filter(|connection| connection.oldest > 0) {
            let wait = self.oldest.entry(connection.key()).or_insert(Wait { ns: 0, server: connection.server });
            wait.ns = connection.oldest.max(wait.ns);
        }
        let mut rows = rows().filter(|connection| connection.latency_first > 0);
        for connection in rows.by_ref().take(MAX_CONNECTIONS) {
            if self.wanted(connection.tgid) {
                self.push_connection(&connection, out);
            }
        }
        self.connections_left_out += rows.count() as u64;
        self.printed = printed;
        walked
    }

    fn push_connection(&mut self, connection: &Connection, out: &mut dyn RowSink) {
        let ins_id = connection.fd.unsigned_abs();
        let method = self.name(connection.method);
        let server_ip = address(connection.family, connection.server);
        let client_ip = address(connection.family, connection.client);
        out.push(&RedisSli {
            tgid: connection.tgid,
            ins_id,
            app: APP,
            method: method.clone(),
            server_ip,
            server_port: connection.server_port,
            client_ip,
            client_port: connection.client_port,
            rtt_nsec: connection.latency_first,
        });
        out.push(&RedisMaxSli {
            tgid: connection.tgid,
            ins_id,
            app: APP,
            method,
            server_ip,
            server_port: connection.server_port,
            client_ip,
            client_port: connection.client_port,
            max_rtt_nsec: connection.latency_max,
        });
    }

    fn read_counters(&self) -> Result<Counters> {
        let Some(map) = &self.counters else { return Ok(Counters::default()) };
        let value = map.lookup(plain::bytes(&0u32), MapFlags::ANY)?.unwrap_or_default();
        plain::read(&value).context("the counters of the sli object have another size")
    }
}

fn exists(tgid: u32) -> bool {
    Path::new("/proc").join(tgid.to_string()).exists()
}

/// Commands that wait and have no sums, for none was answered yet, the longest first: whose, and the server's address. Bytes
/// that nobody has read (a command without a name) are a request where the process's other connections speak Redis.
fn first_waits(oldest: &HashMap<Key, Wait>, counted: &HashSet<Key>) -> Vec<(Key, [u8; 16])> {
    let speaks = |key: &Key| counted.iter().any(|known| (known.tgid, known.server_port) == (key.tgid, key.server_port));
    let mut waits: Vec<(&Key, &Wait)> = oldest.iter().filter(|(key, _)| !counted.contains(*key)).collect();
    waits.retain(|(key, _)| key.is_named() || speaks(key));
    waits.sort_by_key(|(key, wait)| (std::cmp::Reverse(wait.ns), **key));
    waits.into_iter().take(MAX_FIRST_WAITS).map(|(key, wait)| (*key, wait.server)).collect()
}

/// Commands that make room for others, those asked for least first.
fn in_the_way(rows: &[(Key, Requests)], before: &HashMap<Key, u64>) -> Vec<Key> {
    let idle = rows.iter().filter(|(key, sums)| before.get(key) == Some(&sums.requests));
    let mut idle: Vec<(u64, Key)> = idle.map(|(key, sums)| (sums.requests, *key)).collect();
    idle.sort_unstable();
    idle.truncate(rows.len().saturating_sub(KEPT_METHODS));
    idle.into_iter().map(|(_, key)| key).collect()
}

/// Commands asked for often since the last report.
fn often_asked(rows: &[(Key, Requests)], before: &HashMap<Key, u64>) -> Vec<Key> {
    let since = |key: &Key, sums: &Requests| sums.requests.saturating_sub(before.get(key).copied().unwrap_or(0));
    rows.iter().filter(|(key, sums)| since(key, sums) >= OFTEN).map(|(key, _)| *key).collect()
}

/// What all processors counted under a key; `None` when it went meanwhile.
fn sums_of(map: &MapHandle, key: &[u8]) -> Result<Option<Requests>> {
    let values = map.lookup_percpu(key, MapFlags::ANY).context("reading the sums of the ksli probe failed")?;
    Ok(values.map(|values| {
        let mut sums = Requests::default();
        values.iter().filter_map(|value| plain::read(value)).for_each(|value| sums.add(&value));
        sums
    }))
}

impl Probe for Sli {
    fn name(&self) -> &'static str {
        PROBE
    }

    fn collect(&mut self, _tick: Tick, out: &mut dyn RowSink) -> Result<()> {
        // Who waits for an answer is read off the connections and told with the sums.
        self.push_connections(out)?;
        self.push_sums(out)?;
        let now = self.read_counters()?;
        let unnamed = now.unnamed > self.seen.unnamed;
        self.seen = now;
        if unnamed && let Some(files) = &self.files {
            files.run(|_| ()).context("looking for the descriptors of connections failed")?;
        }
        Ok(())
    }

    fn reconfigure(&mut self, settings: &ProbeSettings) -> bool {
        self.settings = settings.clone();
        true
    }

    fn hooks(&self) -> Vec<HookReport> {
        self.loaded.hooks.clone()
    }

    fn losses(&self) -> Vec<Loss> {
        let lost = |key, what: &str, count| Loss { key, what: what.to_owned(), count };
        vec![
            lost("ksli.methods.lost", "requests of commands beyond the limit were not counted", self.seen.methods_lost),
            lost("ksli.methods.left_out", "commands beyond the limit of one period have no row", self.methods_left_out),
            lost("ksli.stream.gaps", "bytes that arrived out of order were not followed", self.seen.gaps),
            lost("ksli.stream.broken", "pieces of a stream made no sense as commands", self.seen.broken),
            lost("ksli.connections.lost", "connections the kernel had no memory to follow", self.seen.conns_lost),
            lost(
                "ksli.connections.left_out",
                "connections beyond the limit of one period have no row",
                self.connections_left_out,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn key(tgid: u32, method: &[u8]) -> Key {
        let mut name = [0; 12];
        name[..method.len()].copy_from_slice(method);
        Key { tgid, server_port: 6379, family: 2, method: name }
    }

    #[test]
    fn a_command_that_waits_before_any_was_answered_has_a_row() {
        let wait = |ns| Wait { ns, server: [1; 16] };
        let oldest = HashMap::from_iter([(key(7, b"GET"), wait(5)), (key(7, b"HELLO"), wait(9)), (key(8, b"AUTH"), wait(9))]);
        let counted = HashSet::from([key(7, b"GET")]);
        let rows: Vec<Key> = first_waits(&oldest, &counted).into_iter().map(|(key, _)| key).collect();
        assert_eq!(rows, [key(7, b"HELLO"), key(8, b"AUTH")]);
    }

    #[test]
    fn unread_bytes_are_a_request_where_the_process_speaks_redis() {
        let wait = Wait { ns: 5, server: [1; 16] };
        let oldest = HashMap::from_iter([(key(7, b""), wait), (key(8, b""), wait)]);
        let rows = first_waits(&oldest, &HashSet::from([key(7, b"GET")]));
        assert_eq!(rows, [(key(7, b""), [1; 16])]);
    }

    #[test]
    fn commands_that_nobody_asks_for_any_more_make_room() {
        let row = |number: u32| {
            let mut sums = Requests::none([1; 16]);
            sums.requests = u64::from(number) + 1;
            (key(number, b"GET"), sums)
        };
        let rows: Vec<(Key, Requests)> = (0..KEPT_METHODS as u32 + 2).map(row).collect();
        let mut before: HashMap<Key, u64> = rows.iter().map(|(key, sums)| (*key, sums.requests)).collect();
        assert_eq!(in_the_way(&rows[2..], &before), []);
        before.insert(rows[0].0, 0);
        assert_eq!(in_the_way(&rows, &before), [rows[1].0, rows[2].0], "the first one was asked for since");
    }

    #[test]
    fn a_command_is_asked_for_often_by_what_came_since_the_last_report() {
        let row = |requests| {
            let mut sums = Requests::none([1; 16]);
            sums.requests = requests;
            (key(7, b"GET"), sums)
        };
        let before = HashMap::from_iter([(key(7, b"GET"), 1_000_000)]);
        assert_eq!(often_asked(&[row(1_000_000 + OFTEN - 1)], &before), []);
        assert_eq!(often_asked(&[row(1_000_000 + OFTEN)], &before), [key(7, b"GET")]);
        assert_eq!(often_asked(&[row(OFTEN)], &HashMap::default()), [key(7, b"GET")]);
    }

    #[test]
    fn rows_of_commands_never_answered_are_few() {
        let oldest = (0..1000).map(|tgid| (key(tgid, b"GET"), Wait { ns: u64::from(tgid), server: [1; 16] })).collect();
        let rows = first_waits(&oldest, &HashSet::new());
        assert_eq!((rows.len(), rows[0].0.tgid), (MAX_FIRST_WAITS, 999));
    }
}
