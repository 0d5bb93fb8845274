//! Block devices: how long each request took, in the queue and in the device, what failed, who asked for it.
//!
//! The kernel side (`io.bpf.c`) counts every request into one record per disk, kind and CPU; once a period this side switches it to
//! the other of two sets of records and takes the filled one out.

use std::path::Path;

use ahash::HashMap;
use anyhow::{Context, Result};
use gala_model::tables::io::{IoCount, IoErr, IoHistogram, IoLatency, ProcBlock};
use gala_model::{Event, Severity};
use libbpf_rs::{MapCore, MapFlags, MapHandle};

use self::layout::{Config, Counters, Key, OP_NAMES, OP_READ, OP_WRITE, OPS, Owner, OwnerKey, Stats};
use super::{Loss, Probe, ProbeSettings, RowSink, Tick};
use crate::kernel::load::{self, Loaded};
use crate::kernel::{Capabilities, HookReport, HookSpec, ObjectSpec, Release, Rung, Step, plain};

mod layout;
mod syncs;

const fn step(programs: &'static [&'static str]) -> Step {
    Step { rung: Rung::TpBtf, programs, lacks: "" }
}

/// What the probe hooks.
pub const SPEC: ObjectSpec = ObjectSpec {
    probe: "io",
    object: crate::bpf_object!("io"),
    hooks: &[
        HookSpec { hook: "block_bio_queue", ladder: &[step(&["io_submit"])] },
        HookSpec {
            hook: "block_io_start",
            ladder: &[
                step(&["io_start"]),
                Step {
                    rung: Rung::TpBtf,
                    programs: &["io_insert"],
                    lacks: "the wait for a free request is not seen, the owner is who inserted the request",
                },
            ],
        },
        HookSpec { hook: "block_rq_issue", ladder: &[step(&["io_issue"])] },
        HookSpec { hook: "block_rq_complete", ladder: &[step(&["io_complete"])] },
        HookSpec {
            hook: "vfs_fsync_range",
            ladder: &[
                Step {
                    rung: Rung::Fexit,
                    programs: &[
                        "sync_enter",
                        "sync_exit",
                        "fsync_call_enter",
                        "fsync_call_exit",
                        "fdatasync_call_enter",
                        "fdatasync_call_exit",
                    ],
                    lacks: "",
                },
                Step {
                    rung: Rung::TpBtf,
                    programs: &["ext4_sync_enter", "ext4_sync_exit"],
                    lacks: "syncs of files are timed on ext4 only",
                },
            ],
        },
    ],
};

/// The same without syncs of files, which are the last hook: for when nobody asked how long anything takes.
const WITHOUT_SYNCS: ObjectSpec = ObjectSpec { hooks: SPEC.hooks.split_at(SPEC.hooks.len() - 1).0, ..SPEC };

const TRACE: &str = "io_trace";

/// Rows of single processes; those that waited longest come first.
const MAX_OWNER_ROWS: usize = 64;
/// Owners taken from the kernel in one call.
const BATCH: u32 = 256;

/// A disk by number.
type Disk = (u32, u32);

pub fn start(settings: &ProbeSettings) -> Result<Box<dyn Probe>> {
    Ok(Box::new(Io::start(settings)))
}

struct Io {
    loaded: Loaded,
    stats: Option<MapHandle>,
    owners: Option<MapHandle>,
    syncs: syncs::Syncs,
    generation: Option<MapHandle>,
    counters: Option<MapHandle>,
    current: u32,
    settings: ProbeSettings,
    /// Disks that did something since the start: they are reported in quiet periods too.
    disks: HashMap<Disk, String>,
    owners_left_out: u64,
}

impl Io {
    fn start(settings: &ProbeSettings) -> Self {
        let queue_first = Capabilities::probe().release < Release { major: 5, minor: 11 };
        let config = Config { queue_first: u32::from(queue_first) };
        let spec = if settings.is_on(TRACE) { SPEC } else { WITHOUT_SYNCS };
        let loaded = load::load(&spec, |open| load::set_config(open, plain::bytes(&config)));
        Self {
            stats: loaded.map("stats").ok(),
            owners: loaded.map("owners").ok(),
            syncs: syncs::Syncs::of(&loaded),
            generation: loaded.map(".bss.generation").ok(),
            counters: loaded.map(".bss.counters").ok(),
            loaded,
            current: 0,
            settings: settings.clone(),
            disks: HashMap::default(),
            owners_left_out: 0,
        }
    }

    /// What each disk did in the period, by kind.
    fn take_stats(&mut self) -> Result<HashMap<Disk, [Stats; OPS]>> {
        let mut disks: HashMap<Disk, [Stats; OPS]> = HashMap::default();
        let (Some(stats), Some(generation)) = (&self.stats, &self.generation) else { return Ok(disks) };
        let filled = self.current;
        self.current ^= 1;
        generation
            .update(plain::bytes(&0u32), plain::bytes(&self.current), MapFlags::ANY)
            .context("switching the counters of block devices failed")?;
        let keys: Vec<Vec<u8>> = stats.keys().collect();
        for bytes in keys {
            let Some(key) = plain::read::<Key>(&bytes).filter(|key| key.generation == filled) else { continue };
            let per_cpu = stats.lookup_percpu(&bytes, MapFlags::ANY)?.unwrap_or_default();
            let kinds = disks.entry((key.major, key.first_minor)).or_default();
            if let Some(kind) = kinds.get_mut(key.op as usize) {
                per_cpu.iter().filter_map(|bytes| plain::read::<Stats>(bytes)).for_each(|one| kind.add(&one));
            }
            stats.delete(&bytes)?;
        }
        Ok(disks)
    }

    fn push_disk(&self, disk: Disk, kinds: &[Stats; OPS], seconds: f64, at_ms: i64, out: &mut dyn RowSink) {
        let name = self.disks.get(&disk).cloned().unwrap_or_default();
        let (major, first_minor) = disk;
        let mut all = Stats::default();
        kinds.iter().for_each(|kind| all.add(kind));
        let any = |value: u64| (all.timed > 0).then_some(value);
        let pairs = |value: u64| (all.timed > 1).then_some(value);
        if self.settings.is_on(TRACE) {
            out.push(&IoLatency {
                major,
                first_minor,
                blk_name: name.clone(),
                disk_name: name.clone(),
                latency_req_max: any(all.total.max_ns),
                latency_req_last: any(all.total.last_ns),
                latency_req_sum: all.total.sum_ns,
                latency_req_jitter: pairs(all.total.jitter_ns),
                count_latency_req: all.timed,
                latency_driver_max: any(all.queue.max_ns),
                latency_driver_last: any(all.queue.last_ns),
                latency_driver_sum: all.queue.sum_ns,
                latency_driver_jitter: pairs(all.queue.jitter_ns),
                count_latency_driver: all.timed,
                latency_device_max: any(all.device.max_ns),
                latency_device_last: any(all.device.last_ns),
                latency_device_sum: all.device.sum_ns,
                latency_device_jitter: pairs(all.device.jitter_ns),
                count_latency_device: all.timed,
                queue_depth: (seconds > 0.0).then(|| all.total.sum_ns as f64 / 1e9 / seconds),
            });
            for (op, kind) in OP_NAMES.iter().zip(kinds).filter(|(_, kind)| kind.requests > 0) {
                out.push(&IoHistogram {
                    major,
                    first_minor,
                    blk_name: name.clone(),
                    disk_name: name.clone(),
                    op,
                    requests: kind.requests,
                    bytes: kind.bytes,
                    latency_req_histo: kind.total_histogram(),
                    latency_device_histo: kind.device_histogram(),
                });
            }
        }
        if self.settings.is_on("io_count") {
            out.push(&IoCount {
                major,
                first_minor,
                blk_name: name.clone(),
                disk_name: name.clone(),
                read_bytes: kinds[OP_READ as usize].bytes,
                write_bytes: kinds[OP_WRITE as usize].bytes,
            });
        }
        if self.settings.is_on("io_err") {
            let (err_code, err_count) = (all.last_error, all.errors);
            if err_count > 0 {
                out.push_event(error_event(disk, &name, err_code, err_count, at_ms));
            }
            // Without errors too: the first one is then a rise, and no series that nothing is known of.
            out.push(&IoErr { major, first_minor, blk_name: name.clone(), disk_name: name, err_code, err_count });
        }
    }

    fn push_owners(&mut self, out: &mut dyn RowSink) -> Result<()> {
        let Some(map) = self.owners.take() else { return Ok(()) };
        let mut owners: Vec<(OwnerKey, Owner)> = Vec::new();
        let taken = map.lookup_and_delete_batch(BATCH, MapFlags::ANY, MapFlags::ANY).map(|rows| {
            owners.extend(rows.filter_map(|(key, value)| Some((plain::read(&key)?, plain::read(&value)?))));
        });
        self.owners = Some(map);
        taken.context("reading who asked for block I/O failed")?;
        owners.sort_by_key(|(key, owner)| (std::cmp::Reverse(owner.sum_ns), key.tgid));
        self.owners_left_out += owners.len().saturating_sub(MAX_OWNER_ROWS) as u64;
        for (key, owner) in owners.into_iter().take(MAX_OWNER_ROWS) {
            out.push(&ProcBlock {
                tgid: key.tgid,
                disk_name: self.disks.get(&(key.major, key.first_minor)).cloned().unwrap_or_default(),
                submitter: if key.kernel == 0 { "process" } else { "kernel" },
                block_reads: owner.reads,
                block_writes: owner.writes,
                block_read_bytes: owner.read_bytes,
                block_write_bytes: owner.write_bytes,
                block_latency_sum: owner.sum_ns,
                block_latency_max: owner.max_ns,
                block_errors: owner.errors,
            });
        }
        Ok(())
    }
}

/// Name of a disk by its number; the numbers themselves where it is gone.
fn disk_name((major, minor): Disk) -> String {
    let link = std::fs::read_link(Path::new("/sys/dev/block").join(format!("{major}:{minor}")));
    let name = link.ok().and_then(|target| Some(target.file_name()?.to_string_lossy().into_owned()));
    name.unwrap_or_else(|| format!("{major}:{minor}"))
}

fn error_event((major, minor): Disk, name: &str, code: u64, count: u64, at_ms: i64) -> Event {
    let labels = [("major", major.to_string()), ("first_minor", minor.to_string()), ("disk_name", name.to_owned())];
    Event {
        at_ms,
        entity_id: format!("{major}_{minor}"),
        entity_type: "block".to_owned(),
        metric: format!("{}block_err_code", gala_model::PREFIX),
        kind: "io_error".to_owned(),
        severity: Severity::Warn,
        body: format!("{count} requests of disk {name} failed, the last one with code {code}"),
        labels: labels.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
    }
}

impl Probe for Io {
    fn name(&self) -> &'static str {
        "io"
    }

    fn collect(&mut self, tick: Tick, out: &mut dyn RowSink) -> Result<()> {
        let filled = self.current;
        let mut taken = self.take_stats()?;
        let synced = self.syncs.take(filled)?;
        for disk in taken.keys().chain(synced.keys()) {
            self.disks.entry(*disk).or_insert_with(|| disk_name(*disk));
        }
        // Numbers of loop devices and the like pass on: a quiet disk that is gone is forgotten, a new name is taken up.
        self.disks.retain(|disk, name| taken.contains_key(disk) || disk_name(*disk) == *name);
        let mut disks: Vec<Disk> = self.disks.keys().copied().collect();
        disks.sort_unstable();
        for disk in disks {
            let kinds = taken.remove(&disk).unwrap_or_default();
            self.push_disk(disk, &kinds, tick.elapsed.as_secs_f64(), tick.at_ms, out);
            if let Some(one) = synced.get(&disk).filter(|_| self.settings.is_on(TRACE)) {
                out.push(&one.row(disk, &self.disks[&disk]));
            }
        }
        // Each sub-probe has a part of them.
        self.push_owners(out)?;
        Ok(())
    }

    fn reconfigure(&mut self, settings: &ProbeSettings) -> bool {
        let same_hooks = settings.is_on(TRACE) == self.settings.is_on(TRACE);
        if same_hooks {
            self.settings = settings.clone();
        }
        same_hooks
    }

    fn hooks(&self) -> Vec<HookReport> {
        self.loaded.hooks.clone()
    }

    fn losses(&self) -> Vec<Loss> {
        let read = |map: &MapHandle| plain::read::<Counters>(&map.lookup(plain::bytes(&0u32), MapFlags::ANY).ok()??);
        let counters = self.counters.as_ref().and_then(read).unwrap_or_default();
        [
            ("io.requests.lost", "requests beyond the cap were not timed", counters.requests_lost),
            ("io.disks.lost", "requests of disks beyond the cap were not counted", counters.stats_lost),
            ("io.owners.lost", "requests of processes beyond the cap were not charged", counters.owners_lost),
            (
                "io.submissions.lost",
                "times before the request was made were not seen: too many submissions at once",
                counters.bios_lost,
            ),
            ("io.syncs.lost", "syncs of files beyond the cap were not timed", counters.syncs_lost),
            ("io.owners.left_out", "processes beyond the cap were not reported in a period", self.owners_left_out),
        ]
        .into_iter()
        .filter(|(_, _, count)| *count > 0)
        .map(|(key, what, count)| Loss { key, what: what.to_owned(), count })
        .collect()
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

    #[test]
    fn kinds_and_cpus_are_added_up_and_the_last_request_is_the_latest() {
        let mut all = Stats::default();
        let mut early = Stats { requests: 2, timed: 2, last_at: 5, ..Stats::default() };
        early.total = layout::Times { sum_ns: 30, max_ns: 20, last_ns: 10, jitter_ns: 10 };
        early.total_counts[0] = 2;
        let mut late = Stats { requests: 1, timed: 1, last_at: 9, errors: 1, last_error: 10, ..Stats::default() };
        late.total = layout::Times { sum_ns: 7, max_ns: 7, last_ns: 7, jitter_ns: 0 };
        late.total_counts[1] = 1;
        all.add(&late);
        all.add(&early);
        assert_eq!((all.requests, all.total.sum_ns, all.total.max_ns, all.total.last_ns), (3, 37, 20, 7));
        assert_eq!((all.errors, all.last_error), (1, 10));
        let histogram = all.total_histogram().unwrap();
        assert_eq!((histogram.count(), histogram.sum, histogram.max), (3, 37, 20));
        assert!(all.device_histogram().is_none());
    }

    #[test]
    fn a_hundred_busy_disks_have_room_in_both_periods() {
        let object = libbpf_rs::ObjectBuilder::default().open_memory(SPEC.object).unwrap();
        let room = |name: &str| object.maps().find(|map| map.name() == name).unwrap().max_entries();
        assert!(room("stats") >= 100 * OPS as u32 * 2);
        assert!(room("sync_stats") >= 100 * 2);
    }

    #[test]
    fn without_times_it_is_the_syncs_that_are_not_hooked() {
        let left_out = SPEC.hooks.iter().skip(WITHOUT_SYNCS.hooks.len()).map(|hook| hook.hook);
        assert_eq!(left_out.collect::<Vec<_>>(), ["vfs_fsync_range"]);
    }

    #[test]
    fn a_failed_disk_is_named_in_the_event() {
        let event = error_event((8, 0), "sda", 10, 3, 1);
        assert_eq!((event.entity_id.as_str(), event.kind.as_str()), ("8_0", "io_error"));
        assert_eq!(event.metric, "gala_gopher_block_err_code");
        assert!(event.body.contains("sda"));
    }

    #[test]
    fn a_disk_without_a_name_is_called_by_its_numbers() {
        assert_eq!(disk_name((4000, 7)), "4000:7");
    }
}
