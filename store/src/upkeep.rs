//! Upkeep of an open store: letting old blocks go, writing the log out, moving the head into blocks, merging (in `merge`),
//! and a thread that does all that.

use crate::block::{Block, BlockWriter, read::block_name};
use crate::chunk::Chunk;
use crate::store::now_ms;
use crate::wal::{self, io_error};
use crate::{Labels, SeriesWrite, Store, StoreError};
use parking_lot::{Condvar, Mutex};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, UNIX_EPOCH};

/// Samples in the head at which it becomes a block: bounds the head's memory and the time to read the log after a crash.
pub const FLUSH_SAMPLES: u64 = 2_000_000;
/// At twice that a writer waits for the block itself; at four times (no block can be written) writes are refused.
pub const WAIT_SAMPLES: u64 = 2 * FLUSH_SAMPLES;
pub const REFUSE_SAMPLES: u64 = 4 * FLUSH_SAMPLES;
const FLUSH_LOG_BYTES: u64 = 48 << 20;
/// And no more than this part of the size cap: what is in the log cannot be dropped.
const FLUSH_LOG_PART: u64 = 4;
/// However few samples came, after this time they become a block.
const FLUSH_EVERY: Duration = Duration::from_secs(1_800);
/// When a burst is over, its samples need not wait in the log, where they take several times the space.
const QUIET_AFTER: Duration = Duration::from_secs(20);
const QUIET_MIN_SAMPLES: u64 = 100_000;
/// A series nothing was written to for so long leaves the head.
const EXPIRE_AFTER_MS: i64 = 3_600_000;
/// With so many series in the head, those that came and went are let go early: a host that starts programs all the time would
/// otherwise fill an hour of memory with them, at some 600 bytes each. A busy host reports some 5,000 that stay.
const CROWD_SERIES: usize = 30_000;
const CROWD_SILENT_MS: i64 = 180_000;
const CROWD_EVERY: Duration = Duration::from_secs(60);
/// After a merge failed it is not tried again for so long: it may read and write gigabytes before it fails.
const MERGE_AGAIN_AFTER: Duration = Duration::from_secs(60);
/// Nor is a block that could not be written, each attempt at which costs half a second of a core.
const FLUSH_AGAIN_AFTER: Duration = Duration::from_secs(10);

/// Where upkeep stands; the lock makes it one at a time.
pub(crate) struct Progress {
    /// Oldest log segment not yet in a block.
    pub first_segment: u64,
    /// Segments whose samples are frozen in the head, waiting to be written.
    pub frozen: Option<(u64, u64)>,
    pub last_flush: Instant,
    /// When the head was last looked through for series that came and went.
    pub last_crowd: Instant,
    /// When, and at how many samples ever appended, the pace of writing was last looked at.
    pub pace: (Instant, u64),
    /// When and why the last merge failed.
    pub merge_failure: Option<(Instant, String)>,
    /// When and why the last block could not be written.
    pub flush_failure: Option<(Instant, String)>,
}

impl Progress {
    pub fn new(first_segment: u64, now: Instant) -> Self {
        Self {
            first_segment,
            frozen: None,
            last_flush: now,
            last_crowd: now,
            pace: (now, 0),
            merge_failure: None,
            flush_failure: None,
        }
    }
}

/// What one round of upkeep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UpkeepReport {
    pub flushed: bool,
    pub merged_blocks: usize,
    pub dropped_blocks: usize,
}

impl Store {
    /// One round of upkeep; call it every few seconds, or let [`Upkeep`] do so. Errors are also told by `health`.
    pub fn tick(&self) -> Result<UpkeepReport, StoreError> {
        self.tick_until(&AtomicBool::new(false))
    }

    /// As `tick`; what takes long ends early, and undone, once `stop` is set.
    fn tick_until(&self, stop: &AtomicBool) -> Result<UpkeepReport, StoreError> {
        if self.wal.is_none() {
            return Ok(UpkeepReport::default());
        }
        let outcome = self.round(stop);
        *self.upkeep_failure.lock() = outcome.as_ref().err().map(ToString::to_string);
        outcome
    }

    fn round(&self, stop: &AtomicBool) -> Result<UpkeepReport, StoreError> {
        let now = now_ms();
        // First what makes room: on a full disk nothing else can succeed before.
        let dropped = self.drop_old(now);
        self.write_log_if_due()?;
        let mut report = UpkeepReport { dropped_blocks: dropped?, ..UpkeepReport::default() };
        if self.is_flush_due() {
            // What was dropped has made room.
            report.flushed = if report.dropped_blocks > 0 { self.flush() } else { self.flush_again() }?;
            self.expire(now, EXPIRE_AFTER_MS);
        }
        if self.is_crowd_due() {
            report.flushed |= self.let_crowd_go(now)?;
        }
        self.dictionary.lock().save(&self.options.dir)?;
        report.merged_blocks = self.merge_due(now, stop)?;
        Ok(report)
    }

    fn merge_due(&self, now: i64, stop: &AtomicBool) -> Result<usize, StoreError> {
        if let Some((at, reason)) = &self.progress.lock().merge_failure
            && at.elapsed() < MERGE_AGAIN_AFTER
        {
            return Err(StoreError::Io(reason.clone()));
        }
        let mut merged = 0;
        while !stop.load(Ordering::Relaxed)
            && let Some(run) = self.mergeable(now)
        {
            let outcome = self.merge(&run, stop);
            self.progress.lock().merge_failure = outcome.as_ref().err().map(|error| (Instant::now(), error.to_string()));
            merged += outcome?;
        }
        Ok(merged)
    }

    /// Writes the log out when the last write failed, when much waits, or when something waits for long.
    fn write_log_if_due(&self) -> Result<(), StoreError> {
        let Some(log) = &self.wal else { return Ok(()) };
        if self.write_failure.lock().is_some() || log.backlog() >= wal::BUFFER_BYTES as u64 {
            *self.last_sync.lock() = Instant::now();
            return self.sync();
        }
        self.write_log_if_late()
    }

    /// Writes the log out when something waits for long; also called in the middle of what takes long.
    pub(crate) fn write_log_if_late(&self) -> Result<(), StoreError> {
        {
            let mut last_sync = self.last_sync.lock();
            let waits = |log: &wal::Wal| log.backlog() > 0;
            if last_sync.elapsed() < self.options.sync_every || !self.wal.as_ref().is_some_and(waits) {
                return Ok(());
            }
            *last_sync = Instant::now();
        }
        self.sync()
    }

    fn is_crowd_due(&self) -> bool {
        let mut progress = self.progress.lock();
        let is_due = progress.last_crowd.elapsed() >= CROWD_EVERY && self.head.read().len() >= CROWD_SERIES;
        if is_due {
            progress.last_crowd = Instant::now();
        }
        is_due
    }

    /// Moves the head into a block and forgets the series that are silent, if they are many.
    fn let_crowd_go(&self, now: i64) -> Result<bool, StoreError> {
        if self.head.read().silent(now - CROWD_SILENT_MS) < CROWD_SERIES / 2 {
            return Ok(false);
        }
        let flushed = self.flush()?;
        self.expire(now, CROWD_SILENT_MS);
        Ok(flushed)
    }

    fn is_flush_due(&self) -> bool {
        let mut progress = self.progress.lock();
        let (open, appended) = {
            let head = self.head.read();
            (head.open_samples, head.counters.appended)
        };
        let mut quiet = false;
        if progress.pace.0.elapsed() >= QUIET_AFTER {
            quiet = open >= QUIET_MIN_SAMPLES && appended - progress.pace.1 < open / 20;
            progress.pace = (Instant::now(), appended);
        }
        let log_bytes = self.wal.as_ref().map_or(0, wal::Wal::bytes);
        let log_limit = FLUSH_LOG_BYTES.min(self.max_bytes() / FLUSH_LOG_PART);
        progress.frozen.is_some()
            || self.is_unlogged.load(Ordering::Relaxed)
            || open >= FLUSH_SAMPLES
            || quiet
            || (open > 0 && (log_bytes >= log_limit || progress.last_flush.elapsed() >= FLUSH_EVERY))
    }

    /// As `flush`, unless that failed just now: then again why.
    pub(crate) fn flush_again(&self) -> Result<bool, StoreError> {
        match &self.progress.lock().flush_failure {
            Some((at, reason)) if at.elapsed() < FLUSH_AGAIN_AFTER => return Err(StoreError::Io(reason.clone())),
            _ => {}
        }
        self.flush()
    }

    /// Writes everything in the head into a block and drops the log it came from. False if there was nothing.
    pub fn flush(&self) -> Result<bool, StoreError> {
        let Some(log) = &self.wal else { return Ok(false) };
        let mut progress = self.progress.lock();
        let flushed = self.write_head(log, &mut progress);
        progress.flush_failure = flushed.as_ref().err().map(|error| (Instant::now(), error.to_string()));
        drop(progress);
        let Some(to) = flushed? else { return Ok(false) };
        self.drop_log(to)?;
        Ok(true)
    }

    /// The last log segment that is in the block now; `None` if there was nothing to write.
    fn write_head(&self, log: &wal::Wal, progress: &mut Progress) -> Result<Option<u64>, StoreError> {
        let (from, to) = match progress.frozen {
            Some(range) => range,
            None => {
                let mut head = self.head.write();
                if head.open_samples == 0 {
                    return Ok(None);
                }
                let finished = self.note_write(log.rotate())?;
                head.freeze();
                self.is_unlogged.store(false, Ordering::Relaxed);
                head.segment = (finished + 1) as u32;
                let range = (progress.first_segment, finished);
                progress.frozen = Some(range);
                range
            }
        };
        let mut frozen: Vec<(Labels, Arc<Chunk>)> = {
            let head = self.head.read();
            head.iter().filter_map(|series| Some((series.labels.clone(), series.frozen.clone()?))).collect()
        };
        frozen.sort_by(|left, right| left.0.cmp(&right.0));
        let path = self.blocks_dir().join(block_name(from, to));
        let write = || {
            let mut writer = BlockWriter::create(&path)?;
            let mut samples = Vec::new();
            for (labels, chunk) in &frozen {
                samples.clear();
                samples.extend(chunk.iter());
                writer.series(labels, &samples)?;
            }
            writer.finish()
        };
        write().map_err(|error| io_error("write block", &path, &error))?;
        let block = open_own(&path, self)?;
        {
            let mut head = self.head.write();
            self.change_blocks(|blocks| blocks.push(block));
            head.thaw();
        }
        progress.frozen = None;
        progress.first_segment = to + 1;
        progress.last_flush = Instant::now();
        Ok(Some(to))
    }

    fn drop_log(&self, to: u64) -> Result<(), StoreError> {
        let dir = self.options.dir.join("wal");
        for number in wal::segments(&dir).map_err(|error| io_error("list", &dir, &error))? {
            if number <= to {
                let path = wal::segment_path(&dir, number);
                std::fs::remove_file(&path).map_err(|error| io_error("delete", &path, &error))?;
            }
        }
        Ok(())
    }

    pub(crate) fn change_blocks(&self, change: impl FnOnce(&mut Vec<Arc<Block>>)) {
        let mut blocks = self.blocks.write();
        let mut list = Vec::clone(&blocks);
        change(&mut list);
        list.sort_by_key(|block| block.from_segment);
        *blocks = Arc::new(list);
    }

    fn expire(&self, now: i64, silent_ms: i64) {
        let mut head = self.head.write();
        let before = head.counters.expired_series;
        head.expire(now - silent_ms);
        head.bound_tails(now);
        if head.counters.expired_series != before {
            self.epoch.fetch_add(1, std::sync::atomic::Ordering::AcqRel);
        }
    }

    /// Deletes blocks beyond the retention, and the oldest ones while all files take more than allowed. What was set aside
    /// counts too, and goes before anything that is still served.
    pub(crate) fn drop_old(&self, now: i64) -> Result<usize, StoreError> {
        let cutoff = now.saturating_sub(self.retention_ms());
        let blocks = self.blocks.read().clone();
        let aside = self.files_set_aside();
        let mut total: u64 = self.log_bytes()
            + blocks.iter().map(|block| block.file_bytes).sum::<u64>()
            + aside.iter().map(|(_, bytes, _)| bytes).sum::<u64>();
        let mut failure = Ok(());
        let mut remove = |path: &Path| {
            if let Err(error) = std::fs::remove_file(path)
                && failure.is_ok()
            {
                failure = Err(io_error("delete", path, &error));
            }
        };
        for (modified_ms, bytes, path) in &aside {
            if *modified_ms < cutoff || total > self.max_bytes() {
                total -= bytes;
                remove(path);
            }
        }
        let mut oldest_first: Vec<&Arc<Block>> = blocks.iter().collect();
        oldest_first.sort_by_key(|block| block.footer.max_t_ms);
        let mut doomed = Vec::new();
        for block in oldest_first {
            if block.footer.max_t_ms < cutoff || total > self.max_bytes() {
                total -= block.file_bytes;
                doomed.push(block.clone());
            }
        }
        if !doomed.is_empty() {
            self.change_blocks(|list| list.retain(|block| !doomed.iter().any(|gone| Arc::ptr_eq(gone, block))));
            self.head.write().block_tails.retain(|_, newest| *newest >= cutoff);
        }
        doomed.iter().for_each(|block| remove(&block.path));
        failure.map(|()| doomed.len())
    }

    /// When each file of the folder `damaged` was written, its size and path, oldest first.
    fn files_set_aside(&self) -> Vec<(i64, u64, PathBuf)> {
        let Ok(entries) = std::fs::read_dir(self.options.dir.join("damaged")) else { return Vec::new() };
        let known = |entry: std::fs::DirEntry| {
            let metadata = entry.metadata().ok().filter(std::fs::Metadata::is_file)?;
            let age = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
            Some((age.as_millis() as i64, metadata.len(), entry.path()))
        };
        let mut files: Vec<_> = entries.flatten().filter_map(known).collect();
        files.sort();
        files
    }
}

/// Opens a block just written.
pub(crate) fn open_own(path: &Path, store: &Store) -> Result<Arc<Block>, StoreError> {
    let (block, _) = Block::open(path, &store.hasher).map_err(|error| {
        StoreError::Io(format!("block {} was written but cannot be read back: {}", path.display(), error.reason))
    })?;
    Ok(Arc::new(block))
}

/// A thread that keeps a store in order until dropped.
pub struct Upkeep {
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Stop {
    is_set: AtomicBool,
    lock: Mutex<()>,
    wake: Condvar,
}

impl Upkeep {
    /// Looks once a second whether there is something to do.
    pub fn start(store: Arc<Store>) -> Result<Self, StoreError> {
        let stop = Arc::new(Stop::default());
        let shared = stop.clone();
        let thread = std::thread::Builder::new()
            .name("store-upkeep".into())
            .spawn(move || {
                let mut last_error = None;
                loop {
                    {
                        let mut waiting = shared.lock.lock();
                        if !shared.is_set.load(Ordering::Relaxed) {
                            shared.wake.wait_for(&mut waiting, Duration::from_secs(1));
                        }
                        if shared.is_set.load(Ordering::Relaxed) {
                            return;
                        }
                    }
                    let error = store.tick_until(&shared.is_set).err().map(|error| error.to_string());
                    // Said once when it begins, once when it ends.
                    if error != last_error {
                        match &error {
                            Some(text) => tracing::warn!("store upkeep: {text}"),
                            None => tracing::info!("store upkeep works again"),
                        }
                        last_error = error;
                    }
                }
            })
            .map_err(|error| StoreError::Io(format!("cannot start the store's upkeep thread: {error}")))?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Upkeep {
    fn drop(&mut self) {
        {
            let _waiting = self.stop.lock.lock();
            self.stop.is_set.store(true, Ordering::Relaxed);
        }
        self.stop.wake.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Matcher, SeriesRead, StoreOptions, TimeRange};

    #[test]
    fn a_crowd_of_series_that_came_and_went_leaves_the_head_and_stays_readable() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(StoreOptions::new(folder.path())).unwrap();
        let now = now_ms();
        let labels = |number: usize| Labels::new([("__name__", "up"), ("tgid", number.to_string().as_str())]);
        let batch: Vec<_> = (0..CROWD_SERIES / 2).map(|number| (store.resolve(&labels(number)).unwrap(), now, 1.0)).collect();
        store.append(&batch).unwrap();
        let heads = || store.head.read().len();
        assert!(!store.let_crowd_go(now).unwrap());
        assert_eq!(heads(), CROWD_SERIES / 2, "what was just written stays");
        assert!(store.let_crowd_go(now_ms() + CROWD_SILENT_MS + 2_000).unwrap());
        assert_eq!(heads(), 0);
        let found = store.select(&[Matcher::equal("tgid", "77")], TimeRange { from_ms: now - 1, to_ms: now }, 10).unwrap();
        assert_eq!(found.len(), 1);
        let again = store.resolve(&labels(77)).unwrap();
        assert_eq!(store.append(&[(again, now - 5, 1.0)]).unwrap().rejected.len(), 1, "its newest time is not forgotten");
    }

    #[test]
    fn a_block_that_cannot_be_written_is_said_and_not_tried_every_second() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(StoreOptions::new(folder.path())).unwrap();
        let series = store.resolve(&Labels::new([("__name__", "up")])).unwrap();
        store.append(&[(series, now_ms(), 1.0)]).unwrap();
        store.is_unlogged.store(true, Ordering::Relaxed);
        std::fs::remove_dir(store.blocks_dir()).unwrap();
        let reason = store.tick().unwrap_err().to_string();
        assert!(reason.contains("cannot write block"), "{reason}");
        std::fs::create_dir(store.blocks_dir()).unwrap();
        assert_eq!(store.tick().unwrap_err().to_string(), reason, "still waiting");
        assert_eq!(store.health().reason, Some(reason));
        assert!(store.flush().unwrap());
        assert!(!store.tick().unwrap().flushed);
        assert!(store.health().ok);
        assert_eq!(store.stats().samples, 1);
    }
}
