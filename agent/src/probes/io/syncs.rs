//! How long syncs of files take per disk: what a service that makes its writes durable feels of the disk, whatever holds
//! them up. Those still under way count with their age, so a disk that hangs shows while it hangs.

use ahash::HashMap;
use anyhow::Result;
use gala_model::tables::io::IoSync;
use libbpf_rs::{MapCore, MapFlags, MapHandle};

use super::Disk;
use super::layout::{Key, Sync, SyncStats};
use crate::kernel::load::Loaded;
use crate::kernel::plain;

/// The kernel side's counts and the syncs under way.
pub struct Syncs {
    stats: Option<MapHandle>,
    pending: Option<MapHandle>,
}

/// What syncs on one disk did in a period.
#[derive(Default)]
pub struct Synced {
    ended: SyncStats,
    pending: u64,
    oldest_ns: u64,
}

impl Syncs {
    pub fn of(loaded: &Loaded) -> Self {
        Self { stats: loaded.map("sync_stats").ok(), pending: loaded.map("syncs").ok() }
    }

    /// Takes the counts of the period that was just switched off.
    pub fn take(&self, filled: u32) -> Result<HashMap<Disk, Synced>> {
        let mut disks: HashMap<Disk, Synced> = HashMap::default();
        let (Some(stats), Some(pending)) = (&self.stats, &self.pending) else { return Ok(disks) };
        let keys: Vec<Vec<u8>> = stats.keys().collect();
        for bytes in keys {
            let Some(key) = plain::read::<Key>(&bytes).filter(|key| key.generation == filled) else { continue };
            if let Some(ended) = stats.lookup(&bytes, MapFlags::ANY)?.and_then(|value| plain::read(&value)) {
                disks.entry((key.major, key.first_minor)).or_default().ended = ended;
            }
            stats.delete(&bytes)?;
        }
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let now_ns = now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64;
        for thread in pending.keys() {
            // One that ended meanwhile is counted in the next period.
            let Some(sync) = pending.lookup(&thread, MapFlags::ANY)?.and_then(|value| plain::read::<Sync>(&value)) else {
                continue;
            };
            let disk = disks.entry((sync.major, sync.first_minor)).or_default();
            disk.pending += 1;
            disk.oldest_ns = disk.oldest_ns.max(now_ns.saturating_sub(sync.start_ns));
        }
        Ok(disks)
    }
}

impl Synced {
    pub fn row(&self, (major, first_minor): Disk, name: &str) -> IoSync {
        IoSync {
            major,
            first_minor,
            blk_name: name.to_owned(),
            disk_name: name.to_owned(),
            sync_count: self.ended.count(),
            sync_pending: self.pending,
            sync_oldest: self.oldest_ns,
            latency_sync: self.ended.histogram(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sync_that_hangs_shows_before_it_ends() {
        let row = Synced { pending: 2, oldest_ns: 7_000_000_000, ..Synced::default() }.row((7, 0), "loop0");
        assert_eq!((row.sync_count, row.sync_pending, row.sync_oldest), (0, 2, 7_000_000_000));
        assert!(row.latency_sync.is_none());
    }
}
