//! The embedded store: writing, and what it says of itself. Opening is in `open`, reading in `query`, upkeep in `upkeep`.

use crate::block::Block;
use crate::head::{Bounds, Head};
use crate::metadata::Dictionary;
use crate::open::Loaded;
use crate::refusals::Refusals;
use crate::remote_write;
use crate::upkeep::{Progress, REFUSE_SAMPLES, WAIT_SAMPLES};
use crate::wal::{self, Wal};
use crate::{Appended, Labels, SeriesRef, SeriesWrite, StoreError};
use ahash::RandomState;
use parking_lot::{Mutex, RwLock};
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Folder; created 0700 if absent.
    pub dir: PathBuf,
    /// Samples older than this are refused, and blocks that hold only such are deleted. `Duration::MAX` keeps all.
    pub retention: Duration,
    /// Bytes of all files; the oldest blocks go first.
    pub max_bytes: u64,
    /// Series that report at the same time.
    pub max_series: usize,
    /// How far in the future a sample may lie.
    pub max_ahead: Duration,
    /// Samples nobody waits for reach the disk within this time: what a crash may cost, and how often upkeep wakes the disk.
    pub sync_every: Duration,
}

impl StoreOptions {
    /// Seven days, 2 GiB, one million series, ten minutes ahead, to disk every five seconds.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            retention: Duration::from_secs(7 * 86_400),
            max_bytes: 2 << 30,
            max_series: 1_000_000,
            max_ahead: Duration::from_secs(600),
            sync_every: Duration::from_secs(5),
        }
    }
}

/// A part of the store's files that could not be read.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Damage {
    /// Relative to the data folder.
    pub file: String,
    pub offset: u64,
    pub bytes: u64,
    pub reason: String,
    /// Where the unreadable bytes were put, relative to the data folder.
    pub set_aside: Option<String>,
}

/// Whether the store does its work.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Health {
    pub ok: bool,
    /// What is wrong and what helps; absent while all is well.
    pub reason: Option<String>,
}

/// Sizes and counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Stats {
    /// Series in the head: those that report now.
    pub series: u64,
    /// Samples kept, all of them.
    pub samples: u64,
    pub blocks: u64,
    /// All files of the store.
    pub disk_bytes: u64,
    pub log_bytes: u64,
    pub oldest_ms: Option<i64>,
    pub newest_ms: Option<i64>,
    /// Since opening:
    pub appended_total: u64,
    pub duplicates_total: u64,
    pub rejected_total: u64,
    pub refused_series_total: u64,
    pub expired_series_total: u64,
    pub refused_metadata_total: u64,
    /// Samples read from the log when opened.
    pub replayed: u64,
    pub damaged_parts: u64,
}

/// The store. Share it in an `Arc`; all calls take `&self`.
pub struct Store {
    pub(crate) options: StoreOptions,
    /// Lock order: progress, head, blocks.
    pub(crate) progress: Mutex<Progress>,
    pub(crate) head: RwLock<Head>,
    /// Ascending by log segment, so the samples of a series ascend over the list.
    pub(crate) blocks: RwLock<Arc<Vec<Arc<Block>>>>,
    /// Without one, nothing is written: the store is in memory or open for reading only.
    pub(crate) wal: Option<Wal>,
    /// Segments of blocks that are on disk but could not be read when opened. No merged block may take their place.
    pub(crate) unread: Vec<(u64, u64)>,
    pub(crate) damage: Mutex<Vec<Damage>>,
    pub(crate) remote_write: Mutex<remote_write::Cache>,
    pub(crate) dictionary: Mutex<Dictionary>,
    pub(crate) hasher: RandomState,
    /// Changes whenever references expire.
    pub(crate) epoch: AtomicU64,
    /// Why the last write to the log failed, until one succeeds.
    pub(crate) write_failure: Mutex<Option<String>>,
    pub(crate) upkeep_failure: Mutex<Option<String>>,
    refusals: Mutex<Refusals>,
    /// Reads of blocks that failed though the files may be whole.
    failed_reads: Mutex<Refusals>,
    /// The head holds samples that the log does not.
    pub(crate) is_unlogged: AtomicBool,
    /// When upkeep wrote the log out last.
    pub(crate) last_sync: Mutex<Instant>,
    retention_ms: AtomicI64,
    max_bytes: AtomicU64,
    replayed: u64,
    /// Held for the store's life; the lock goes with it.
    pub(crate) _lock: Option<File>,
}

/// Milliseconds since 1970 by the system clock.
pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_millis() as i64)
}

pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl Store {
    /// A store without files and without retention: for offline work and tests.
    pub fn in_memory() -> Self {
        let mut options = StoreOptions::new("");
        options.retention = Duration::MAX;
        options.max_ahead = Duration::MAX;
        let loaded = Loaded::empty(options.max_series);
        Self::with(options, loaded)
    }

    /// Without log and lock, which an owner adds.
    pub(crate) fn with(options: StoreOptions, loaded: Loaded) -> Self {
        let now = Instant::now();
        Self {
            retention_ms: AtomicI64::new(millis(options.retention)),
            max_bytes: AtomicU64::new(options.max_bytes),
            options,
            progress: Mutex::new(Progress::new(loaded.first_segment, now)),
            head: RwLock::new(loaded.head),
            blocks: RwLock::new(Arc::new(loaded.blocks)),
            wal: None,
            unread: loaded.unread,
            damage: Mutex::new(loaded.damage),
            remote_write: Mutex::default(),
            dictionary: Mutex::new(loaded.dictionary),
            hasher: loaded.hasher,
            epoch: AtomicU64::new(0),
            write_failure: Mutex::default(),
            upkeep_failure: Mutex::default(),
            refusals: Mutex::default(),
            failed_reads: Mutex::default(),
            is_unlogged: AtomicBool::new(false),
            last_sync: Mutex::new(now),
            replayed: loaded.replayed,
            _lock: None,
        }
    }

    pub(crate) fn blocks_dir(&self) -> PathBuf {
        self.options.dir.join("blocks")
    }

    /// How long and how much is kept from now on; what is beyond goes with the next upkeep.
    pub fn set_limits(&self, retention: Duration, max_bytes: u64) {
        self.retention_ms.store(millis(retention), Ordering::Relaxed);
        self.max_bytes.store(max_bytes, Ordering::Relaxed);
    }

    pub(crate) fn retention_ms(&self) -> i64 {
        self.retention_ms.load(Ordering::Relaxed)
    }

    pub(crate) fn max_bytes(&self) -> u64 {
        self.max_bytes.load(Ordering::Relaxed)
    }

    /// What could not be read when the store was opened or since.
    pub fn damage(&self) -> Vec<Damage> {
        self.damage.lock().clone()
    }

    /// Changes whenever series references expire (an hour after the last sample); who caches references forgets them then.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    pub fn health(&self) -> Health {
        let failure = self.write_failure.lock().clone().or_else(|| self.upkeep_failure.lock().clone());
        let refused = || {
            let mut refusals = self.refusals.lock();
            let (count, first) = refusals.of_last_minute(Instant::now())?;
            Some(format!("{count} samples of this host were refused in the last minute; first: {first}"))
        };
        let unread = || {
            let mut reads = self.failed_reads.lock();
            let (count, first) = reads.of_last_minute(Instant::now())?;
            Some(format!("{count} reads of stored blocks failed in the last minute; first: {first}"))
        };
        let damage = self.damage.lock();
        let reason = failure.or_else(refused).or_else(unread).or_else(|| {
            let first = damage.first()?;
            Some(format!(
                "{} damaged parts were set aside, the first in {} at byte {}: {}",
                damage.len(),
                first.file,
                first.offset,
                first.reason
            ))
        });
        Health { ok: reason.is_none(), reason }
    }

    fn is_in_memory(&self) -> bool {
        self.options.dir.as_os_str().is_empty()
    }

    pub(crate) fn log_bytes(&self) -> u64 {
        let dir = self.options.dir.join("wal");
        let size = |number: &u64| std::fs::metadata(wal::segment_path(&dir, *number)).map_or(0, |metadata| metadata.len());
        if self.is_in_memory() { 0 } else { wal::segments(&dir).unwrap_or_default().iter().map(size).sum() }
    }

    pub fn stats(&self) -> Stats {
        let log_bytes = self.log_bytes();
        let blocks = self.blocks.read().clone();
        let head = self.head.read();
        let in_head: u64 =
            head.iter().map(|series| (series.open.len() + series.frozen.as_ref().map_or(0, |chunk| chunk.len())) as u64).sum();
        let spans = blocks.iter().map(|block| (block.footer.min_t_ms, block.footer.max_t_ms)).chain(head.range());
        let span = spans.reduce(|left, right| (left.0.min(right.0), left.1.max(right.1)));
        Stats {
            series: head.len() as u64,
            samples: in_head + blocks.iter().map(|block| block.footer.samples).sum::<u64>(),
            blocks: blocks.len() as u64,
            disk_bytes: log_bytes + blocks.iter().map(|block| block.file_bytes).sum::<u64>(),
            log_bytes,
            oldest_ms: span.map(|span| span.0),
            newest_ms: span.map(|span| span.1),
            appended_total: head.counters.appended,
            duplicates_total: head.counters.duplicates,
            rejected_total: head.counters.rejected,
            refused_series_total: head.counters.refused_series,
            expired_series_total: head.counters.expired_series,
            refused_metadata_total: self.dictionary.lock().refused,
            replayed: self.replayed,
            damaged_parts: self.damage.lock().len() as u64,
        }
    }

    fn bounds(&self) -> Bounds {
        let now_ms = now_ms();
        Bounds {
            now_ms,
            oldest_ms: now_ms.saturating_sub(self.retention_ms()),
            newest_ms: now_ms.saturating_add(millis(self.options.max_ahead)),
        }
    }

    pub(crate) fn note_write<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        *self.write_failure.lock() = result.as_ref().err().map(ToString::to_string);
        result
    }

    /// Appends unless references expired since `epoch` was read: then `None`, nothing was taken.
    pub fn append_in_epoch(&self, samples: &[(SeriesRef, i64, f64)], epoch: u64) -> Result<Option<Appended>, StoreError> {
        let bounds = self.bounds();
        self.make_room()?;
        let mut appended = Appended::default();
        let much_waits = {
            let mut head = self.head.write();
            if self.epoch() != epoch {
                return Ok(None);
            }
            match &self.wal {
                Some(wal) => wal.append(|log| appended = head.append(samples, bounds, Some(log))),
                None => {
                    appended = head.append(samples, bounds, None);
                    false
                }
            }
        };
        if much_waits {
            self.sync()?;
        }
        Ok(Some(appended))
    }

    /// Appends samples nobody waits for, such as those of this process. Never waits for the disk: upkeep writes them out, and
    /// while the disk takes nothing they are kept in memory, as many as memory may hold. `None` as in `append_in_epoch`.
    /// What is refused is told by `health`.
    pub fn append_best_effort(&self, samples: &[(SeriesRef, i64, f64)], epoch: u64) -> Result<Option<Appended>, StoreError> {
        let bounds = self.bounds();
        let mut appended = Appended::default();
        {
            let mut head = self.head.write();
            if self.epoch() != epoch {
                return Ok(None);
            }
            if head.open_samples >= REFUSE_SAMPLES {
                drop(head);
                return Err(self.refuse(samples.len()));
            }
            match &self.wal {
                Some(log) if log.backlog() < wal::BUFFER_LIMIT_BYTES as u64 => {
                    log.append(|out| appended = head.append(samples, bounds, Some(out)));
                }
                log => {
                    appended = head.append(samples, bounds, None);
                    if log.is_some() {
                        self.is_unlogged.store(true, Ordering::Relaxed);
                    }
                }
            }
        }
        if let Some(first) = appended.rejected.first() {
            self.note_refused(appended.rejected.len(), &first.reason);
        }
        Ok(Some(appended))
    }

    fn refuse(&self, count: usize) -> StoreError {
        let failure = self.write_failure.lock().clone().or_else(|| self.upkeep_failure.lock().clone());
        let why = failure.unwrap_or_else(|| "no block could be written yet".into());
        let reason = format!("memory holds {REFUSE_SAMPLES} samples that wait for the disk and takes no more: {why}");
        self.note_refused(count, &reason);
        StoreError::Io(reason)
    }

    /// Counts a read that failed and may succeed when tried again; `health` tells it for a minute.
    pub(crate) fn note_failed_read(&self, reason: &str) {
        if self.failed_reads.lock().add(Instant::now(), 1, reason) {
            tracing::warn!(reason, "a block cannot be read");
        }
    }

    /// Counts samples that were refused and whose sender is told nothing; `health` tells them for a minute.
    pub fn note_refused(&self, count: usize, reason: &str) {
        if self.refusals.lock().add(Instant::now(), count as u64, reason) {
            tracing::warn!(count, reason, "samples of this host are refused");
        }
    }

    /// Nothing is taken that cannot be kept: what waits must reach the disk first, and the head must not grow for ever.
    fn make_room(&self) -> Result<(), StoreError> {
        let Some(wal) = &self.wal else { return Ok(()) };
        if wal.backlog() >= wal::BUFFER_LIMIT_BYTES as u64 || self.write_failure.lock().is_some() {
            self.sync()?;
        }
        let open = self.head.read().open_samples;
        if open >= WAIT_SAMPLES {
            let flushed = self.flush_again();
            if open >= REFUSE_SAMPLES {
                flushed?;
            }
        }
        Ok(())
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if self.wal.is_some() {
            let mut saved = self.sync().and_then(|()| self.dictionary.lock().save(&self.options.dir));
            if self.is_unlogged.load(Ordering::Relaxed) {
                // What the log does not hold would go with the memory.
                saved = self.flush().map(|_| ()).and(saved);
            }
            if let Err(error) = saved {
                tracing::warn!("closing the store: {error}");
            }
        }
    }
}

impl SeriesWrite for Store {
    fn resolve(&self, labels: &Labels) -> Result<SeriesRef, StoreError> {
        if let Some(known) = self.head.read().find(labels) {
            return Ok(known);
        }
        self.head.write().resolve(labels)
    }

    fn append(&self, samples: &[(SeriesRef, i64, f64)]) -> Result<Appended, StoreError> {
        loop {
            // Expired references are refused one by one inside, so any epoch is right here.
            if let Some(appended) = self.append_in_epoch(samples, self.epoch())? {
                return Ok(appended);
            }
        }
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.note_write(self.wal.as_ref().map_or(Ok(()), Wal::sync))
    }
}
