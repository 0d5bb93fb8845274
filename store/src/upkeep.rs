//! Upkeep of an open store: moving the head into blocks, merging small blocks, letting old ones go, and a thread that
//! does all that.

use crate::block::{Block, BlockReader, BlockWriter, read::block_name};
use crate::chunk::Chunk;
use crate::store::now_ms;
use crate::wal::{self, io_error};
use crate::{Labels, Sample, Store, StoreError, TimeRange};
use parking_lot::{Condvar, Mutex};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Samples in the head at which it becomes a block: bounds the head's memory and the time to read the log after a crash.
pub const FLUSH_SAMPLES: u64 = 2_000_000;
/// At twice that a writer waits for the block itself; at four times (no block can be written) writes are refused.
pub const WAIT_SAMPLES: u64 = 2 * FLUSH_SAMPLES;
pub const REFUSE_SAMPLES: u64 = 4 * FLUSH_SAMPLES;
const FLUSH_LOG_BYTES: u64 = 48 << 20;
/// However few samples came, after this time they become a block.
const FLUSH_EVERY: Duration = Duration::from_secs(1_800);
/// When a burst is over, its samples need not wait in the log, where they take several times the space.
const QUIET_AFTER: Duration = Duration::from_secs(20);
const QUIET_MIN_SAMPLES: u64 = 100_000;
/// So many neighbours in one window are merged before it is over.
const CROWD: usize = 4;
/// A series nothing was written to for so long leaves the head.
const EXPIRE_AFTER_MS: i64 = 3_600_000;
/// Blocks are merged within windows of these lengths once a window is over.
const WINDOWS_MS: [i64; 2] = [2 * 3_600_000, 12 * 3_600_000];
/// A merged block holds at most so many samples.
const MAX_MERGED_SAMPLES: u64 = 64_000_000;
/// Late samples of a window are waited for this long before it is merged.
const WINDOW_GRACE_MS: i64 = 60_000;

/// Where upkeep stands; the lock makes it one at a time.
pub(crate) struct Progress {
    /// Oldest log segment not yet in a block.
    pub first_segment: u64,
    /// Segments whose samples are frozen in the head, waiting to be written.
    pub frozen: Option<(u64, u64)>,
    pub last_flush: Instant,
    /// When, and at how many samples ever appended, the pace of writing was last looked at.
    pub pace: (Instant, u64),
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
        if self.wal.is_none() {
            return Ok(UpkeepReport::default());
        }
        let outcome = self.round();
        *self.upkeep_failure.lock() = outcome.as_ref().err().map(ToString::to_string);
        outcome
    }

    fn round(&self) -> Result<UpkeepReport, StoreError> {
        let mut report = UpkeepReport::default();
        if self.write_failure.lock().is_some() {
            crate::SeriesWrite::sync(self)?;
        }
        let now = now_ms();
        report.dropped_blocks = self.drop_old(now)?;
        if self.is_flush_due() {
            report.flushed = self.flush()?;
            self.expire(now);
        }
        while let Some(run) = self.mergeable(now) {
            report.merged_blocks += self.merge(&run)?;
        }
        self.dictionary.lock().save(&self.options.dir)?;
        Ok(report)
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
        progress.frozen.is_some()
            || open >= FLUSH_SAMPLES
            || quiet
            || (open > 0 && (log_bytes >= FLUSH_LOG_BYTES || progress.last_flush.elapsed() >= FLUSH_EVERY))
    }

    /// Writes everything in the head into a block and drops the log it came from. False if there was nothing.
    pub fn flush(&self) -> Result<bool, StoreError> {
        let Some(log) = &self.wal else { return Ok(false) };
        let mut progress = self.progress.lock();
        let (from, to) = match progress.frozen {
            Some(range) => range,
            None => {
                let mut head = self.head.write();
                if head.open_samples == 0 {
                    return Ok(false);
                }
                let finished = self.note_write(log.rotate())?;
                head.freeze();
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
        drop(progress);
        self.drop_log(to)?;
        Ok(true)
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

    fn change_blocks(&self, change: impl FnOnce(&mut Vec<Arc<Block>>)) {
        let mut blocks = self.blocks.write();
        let mut list = Vec::clone(&blocks);
        change(&mut list);
        list.sort_by_key(|block| block.from_segment);
        *blocks = Arc::new(list);
    }

    fn expire(&self, now: i64) {
        let mut head = self.head.write();
        let before = head.counters.expired_series;
        head.expire(now - EXPIRE_AFTER_MS);
        if head.counters.expired_series != before {
            self.epoch.fetch_add(1, std::sync::atomic::Ordering::AcqRel);
        }
    }

    /// Deletes blocks beyond the retention, and the oldest ones while all files take more than allowed.
    fn drop_old(&self, now: i64) -> Result<usize, StoreError> {
        let cutoff = now.saturating_sub(self.retention_ms());
        let blocks = self.blocks.read().clone();
        let log_bytes = self.log_bytes();
        let mut total: u64 = log_bytes + blocks.iter().map(|block| block.file_bytes).sum::<u64>();
        let mut oldest_first: Vec<&Arc<Block>> = blocks.iter().collect();
        oldest_first.sort_by_key(|block| block.footer.max_t_ms);
        let mut doomed = Vec::new();
        for block in oldest_first {
            if block.footer.max_t_ms < cutoff || total > self.max_bytes() {
                total -= block.file_bytes;
                doomed.push(block.clone());
            }
        }
        if doomed.is_empty() {
            return Ok(0);
        }
        self.change_blocks(|list| list.retain(|block| !doomed.iter().any(|gone| Arc::ptr_eq(gone, block))));
        self.head.write().block_tails.retain(|_, newest| *newest >= cutoff);
        for block in &doomed {
            std::fs::remove_file(&block.path).map_err(|error| io_error("delete", &block.path, &error))?;
        }
        Ok(doomed.len())
    }

    /// The next run of neighbouring blocks worth merging.
    fn mergeable(&self, now: i64) -> Option<Vec<Arc<Block>>> {
        let blocks = self.blocks.read().clone();
        WINDOWS_MS.into_iter().find_map(|window| {
            let over = |block: &Block| (block.footer.max_t_ms.div_euclid(window) + 1) * window + WINDOW_GRACE_MS <= now;
            let mut at = 0;
            while at < blocks.len() {
                let first = &blocks[at];
                let number = first.footer.max_t_ms.div_euclid(window);
                let mut samples = 0;
                let length = blocks[at..]
                    .iter()
                    .take_while(|block| {
                        samples += block.footer.samples;
                        block.footer.max_t_ms.div_euclid(window) == number && samples <= MAX_MERGED_SAMPLES
                    })
                    .count();
                let run = &blocks[at..at + length.max(1)];
                let largest = run.iter().map(|block| block.footer.samples).max().unwrap_or(0);
                let all: u64 = run.iter().map(|block| block.footer.samples).sum();
                // A large block is not rewritten for a few samples more.
                let worth = match over(first) {
                    true => run.len() >= 2 && (all - largest) * 8 >= largest,
                    false => run.len() >= CROWD && (all - largest) * 2 >= largest,
                };
                if worth {
                    return Some(run.to_vec());
                }
                at += length.max(1);
            }
            None
        })
    }

    /// Merges neighbouring blocks into one; returns how many there were.
    pub(crate) fn merge(&self, run: &[Arc<Block>]) -> Result<usize, StoreError> {
        let (Some(first), Some(last)) = (run.first(), run.last()) else { return Ok(0) };
        let path = self.blocks_dir().join(block_name(first.from_segment, last.to_segment));
        let cutoff = now_ms().saturating_sub(self.retention_ms());
        let _one_at_a_time = self.progress.lock();
        if !self.write_merged(run, &path, cutoff)? {
            self.change_blocks(|list| list.retain(|block| !run.iter().any(|gone| Arc::ptr_eq(gone, block))));
        } else {
            let merged = open_own(&path, self)?;
            self.change_blocks(|list| {
                list.retain(|block| !run.iter().any(|gone| Arc::ptr_eq(gone, block)));
                list.push(merged);
            });
        }
        for block in run.iter().filter(|block| block.path != path) {
            std::fs::remove_file(&block.path).map_err(|error| io_error("delete", &block.path, &error))?;
        }
        Ok(run.len())
    }

    /// Streams all series of the run, in label order, into one block. False if nothing was left to write.
    fn write_merged(&self, run: &[Arc<Block>], path: &Path, cutoff: i64) -> Result<bool, StoreError> {
        let mut sources = Vec::new();
        for block in run {
            match block.index(&self.hasher) {
                Ok(index) => sources.push((block, index, 0u32)),
                Err(error) => self.report_damage(block, &error),
            }
            block.forget_index();
        }
        let mut readers: Vec<BlockReader<'_>> = sources.iter().map(|(block, index, _)| BlockReader::new(block, index)).collect();
        let mut next: Vec<Option<Labels>> =
            sources.iter().map(|(_, index, _)| (index.series_count() > 0).then(|| index.labels(0))).collect();
        let mut positions = vec![0u32; sources.len()];
        let range = TimeRange { from_ms: cutoff, to_ms: i64::MAX };
        let write_error = |error: std::io::Error| io_error("write block", path, &error);
        let mut writer = BlockWriter::create(path).map_err(write_error)?;
        let mut samples: Vec<Sample> = Vec::new();
        while let Some(labels) = next.iter().flatten().min().cloned() {
            samples.clear();
            for (source, (block, index, _)) in sources.iter().enumerate() {
                if next[source].as_ref() != Some(&labels) {
                    continue;
                }
                let start = samples.len();
                for column in index.columns(positions[source]) {
                    if let Err(error) = readers[source].column(column, range, &mut samples) {
                        self.report_damage(block, &error);
                    }
                }
                keep_ascending(&mut samples, start);
                positions[source] += 1;
                let position = positions[source];
                next[source] = ((position as usize) < index.series_count()).then(|| index.labels(position));
            }
            writer.series(&labels, &samples).map_err(write_error)?;
        }
        if writer.is_empty() {
            return Ok(false);
        }
        writer.finish().map_err(write_error)?;
        Ok(true)
    }

    /// Merges everything there is into as few blocks as the size cap allows; for `gala store compact`.
    pub fn compact(&self) -> Result<usize, StoreError> {
        self.flush()?;
        let blocks = self.blocks.read().clone();
        let mut merged = 0;
        let mut at = 0;
        while at < blocks.len() {
            let mut samples = 0;
            let fits = |block: &&Arc<Block>| {
                samples += block.footer.samples;
                samples <= MAX_MERGED_SAMPLES
            };
            let length = blocks[at..].iter().take_while(fits).count().max(1);
            if length > 1 {
                merged += self.merge(&blocks[at..at + length])?;
            }
            at += length;
        }
        Ok(merged)
    }
}

/// Blocks of one series follow each other in time; should a damaged file break that, order wins.
fn keep_ascending(samples: &mut Vec<Sample>, start: usize) {
    let Some(last) = start.checked_sub(1).map(|index| samples[index].t_ms) else { return };
    if samples.get(start).is_some_and(|first| first.t_ms <= last) {
        let late: Vec<Sample> = samples.drain(start..).filter(|sample| sample.t_ms > last).collect();
        samples.extend(late);
    }
}

fn open_own(path: &Path, store: &Store) -> Result<Arc<Block>, StoreError> {
    let (block, _) = Block::open(path, &store.hasher).map_err(|error| {
        StoreError::Io(format!("block {} was written but cannot be read back: {}", path.display(), error.reason))
    })?;
    Ok(Arc::new(block))
}

/// A thread that keeps a store in order until dropped.
pub struct Upkeep {
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Upkeep {
    /// Looks once a second whether there is something to do.
    pub fn start(store: Arc<Store>) -> Result<Self, StoreError> {
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let shared = stop.clone();
        let thread = std::thread::Builder::new()
            .name("store-upkeep".into())
            .spawn(move || {
                let (stopped, wake) = &*shared;
                let mut last_error = None;
                loop {
                    {
                        let mut stopped = stopped.lock();
                        if !*stopped {
                            wake.wait_for(&mut stopped, Duration::from_secs(1));
                        }
                        if *stopped {
                            return;
                        }
                    }
                    let error = store.tick().err().map(|error| error.to_string());
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
        *self.stop.0.lock() = true;
        self.stop.1.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
