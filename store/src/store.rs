//! The embedded store: opening, writing, what it says of itself. Reading is in `query`, upkeep in `upkeep`.

use crate::block::{Block, read::parse_name};
use crate::head::{Bounds, Head, HeadReplay};
use crate::metadata::Dictionary;
use crate::remote_write;
use crate::upkeep::{Progress, REFUSE_SAMPLES, WAIT_SAMPLES};
use crate::wal::{self, Wal, io_error};
use crate::{Appended, Labels, SeriesRef, SeriesWrite, StoreError};
use ahash::RandomState;
use parking_lot::{Mutex, RwLock};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
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
}

impl StoreOptions {
    /// Seven days, 2 GiB, one million series, ten minutes ahead.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            retention: Duration::from_secs(7 * 86_400),
            max_bytes: 2 << 30,
            max_series: 1_000_000,
            max_ahead: Duration::from_secs(600),
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
    pub(crate) wal: Option<Wal>,
    pub(crate) damage: Mutex<Vec<Damage>>,
    pub(crate) remote_write: Mutex<remote_write::Cache>,
    pub(crate) dictionary: Mutex<Dictionary>,
    pub(crate) hasher: RandomState,
    /// Changes whenever references expire.
    pub(crate) epoch: AtomicU64,
    /// Why the last write to the log failed, until one succeeds.
    pub(crate) write_failure: Mutex<Option<String>>,
    pub(crate) upkeep_failure: Mutex<Option<String>>,
    retention_ms: AtomicI64,
    max_bytes: AtomicU64,
    replayed: u64,
    /// Held for the store's life; the lock goes with it.
    _lock: Option<File>,
}

/// Milliseconds since 1970 by the system clock.
pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_millis() as i64)
}

pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn create_dir(path: &Path) -> Result<(), StoreError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| io_error("create the folder", path, &error))
}

impl Store {
    /// Opens or creates a store: takes the folder's lock, checks the blocks' indexes, reads the log, starts a new log
    /// segment. Damaged parts are set aside, see [`Store::damage`].
    pub fn open(options: StoreOptions) -> Result<Self, StoreError> {
        let dir = options.dir.clone();
        create_dir(&dir)?;
        let lock = take_lock(&dir)?;
        let (wal_dir, blocks_dir) = (dir.join("wal"), dir.join("blocks"));
        create_dir(&wal_dir)?;
        create_dir(&blocks_dir)?;
        let hasher = RandomState::new();
        let mut head = Head::new(options.max_series, hasher.clone());
        let mut damage = Vec::new();
        let (blocks, highest_block) = open_blocks(&dir, &blocks_dir, &hasher, &mut head, &mut damage)?;
        let mut segments = wal::segments(&wal_dir).map_err(|error| io_error("list", &wal_dir, &error))?;
        let next = segments.last().copied().unwrap_or(0).max(highest_block) + 1;
        // A crash between writing a block and deleting its log leaves both.
        segments.retain(|&number| {
            let in_block = blocks.iter().any(|block| (block.from_segment..=block.to_segment).contains(&number));
            !(in_block && std::fs::remove_file(wal::segment_path(&wal_dir, number)).is_ok())
        });
        let damage_in_blocks = damage.len();
        let mut replayed = 0;
        for &number in &segments {
            replayed += replay_segment(&dir, &wal::segment_path(&wal_dir, number), &mut head, &mut damage)?;
        }
        head.segment = next as u32;
        let wal = Wal::create(&wal_dir, next)?;
        let dictionary = Dictionary::load(&dir).unwrap_or_else(|reason| {
            damage.push(set_aside(
                &dir,
                "metadata.json",
                0,
                &std::fs::read(dir.join("metadata.json")).unwrap_or_default(),
                reason,
            ));
            Dictionary::default()
        });
        let log_is_damaged = damage.len() > damage_in_blocks;
        let first_segment = segments.first().copied().unwrap_or(next);
        let mut store = Self::with(options, head, blocks, hasher, damage, dictionary, first_segment);
        store.wal = Some(wal);
        store.replayed = replayed;
        store._lock = Some(lock);
        if log_is_damaged && let Err(error) = store.flush() {
            // What is readable moves into a block, so that the damaged segment need not be read again; not now, then later.
            tracing::warn!("{error}");
        }
        Ok(store)
    }

    /// A store without files and without retention: for offline work and tests.
    pub fn in_memory() -> Self {
        let mut options = StoreOptions::new("");
        options.retention = Duration::MAX;
        options.max_ahead = Duration::MAX;
        let hasher = RandomState::new();
        let head = Head::new(options.max_series, hasher.clone());
        Self::with(options, head, Vec::new(), hasher, Vec::new(), Dictionary::default(), 1)
    }

    fn with(
        options: StoreOptions,
        head: Head,
        blocks: Vec<Arc<Block>>,
        hasher: RandomState,
        damage: Vec<Damage>,
        dictionary: Dictionary,
        first_segment: u64,
    ) -> Self {
        Self {
            retention_ms: AtomicI64::new(millis(options.retention)),
            max_bytes: AtomicU64::new(options.max_bytes),
            options,
            progress: Mutex::new(Progress { first_segment, frozen: None, last_flush: Instant::now(), pace: (Instant::now(), 0) }),
            head: RwLock::new(head),
            blocks: RwLock::new(Arc::new(blocks)),
            wal: None,
            damage: Mutex::new(damage),
            remote_write: Mutex::default(),
            dictionary: Mutex::new(dictionary),
            hasher,
            epoch: AtomicU64::new(0),
            write_failure: Mutex::default(),
            upkeep_failure: Mutex::default(),
            replayed: 0,
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
        let damage = self.damage.lock();
        let reason = failure.or_else(|| {
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

    pub(crate) fn log_bytes(&self) -> u64 {
        let dir = self.options.dir.join("wal");
        let size = |number: &u64| std::fs::metadata(wal::segment_path(&dir, *number)).map_or(0, |metadata| metadata.len());
        match &self.wal {
            Some(_) => wal::segments(&dir).unwrap_or_default().iter().map(size).sum(),
            None => 0,
        }
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

    /// Nothing is taken that cannot be kept: what waits must reach the disk first, and the head must not grow for ever.
    fn make_room(&self) -> Result<(), StoreError> {
        let Some(wal) = &self.wal else { return Ok(()) };
        if wal.backlog() >= wal::BUFFER_LIMIT_BYTES as u64 || self.write_failure.lock().is_some() {
            self.sync()?;
        }
        let open = self.head.read().open_samples;
        if open >= WAIT_SAMPLES {
            let flushed = self.flush();
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
            let saved = self.sync().and_then(|()| self.dictionary.lock().save(&self.options.dir));
            if let Err(error) = saved {
                tracing::warn!("closing the store: {error}");
            }
        }
    }
}

/// Takes the lock of a folder that must be a store already.
pub(crate) fn lock_existing(dir: &Path) -> Result<File, StoreError> {
    if !dir.join("wal").is_dir() || !dir.join("blocks").is_dir() {
        return Err(StoreError::BadRequest(format!(
            "{} is not a store: it has no wal and blocks folders; name the store folder inside the data folder",
            dir.display()
        )));
    }
    take_lock(dir)
}

fn take_lock(dir: &Path) -> Result<File, StoreError> {
    let path = dir.join("lock");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(|error| io_error("open", &path, &error))?;
    if file.try_lock().is_err() {
        let mut holder = String::new();
        let _ = file.read_to_string(&mut holder);
        let holder = holder.trim();
        let who = if holder.is_empty() { "another process".to_owned() } else { format!("process {holder}") };
        return Err(StoreError::Io(format!(
            "the data folder {} is held by {who}; stop it or choose another folder with --data",
            dir.display()
        )));
    }
    // The pid only informs; a full disk must not keep the store from opening.
    let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(std::process::id().to_string().as_bytes()));
    Ok(file)
}

/// Opens all blocks, fills the head's memory of newest times, deletes leftovers. Also the highest segment any name shows.
fn open_blocks(
    dir: &Path,
    blocks_dir: &Path,
    hasher: &RandomState,
    head: &mut Head,
    damage: &mut Vec<Damage>,
) -> Result<(Vec<Arc<Block>>, u64), StoreError> {
    let mut paths = Vec::new();
    let list_error = |error: std::io::Error| io_error("list", blocks_dir, &error);
    for entry in std::fs::read_dir(blocks_dir).map_err(list_error)? {
        let path = entry.map_err(list_error)?.path();
        if let Some((from, to)) = parse_name(&path) {
            paths.push((from, to, path));
        } else if path.extension().is_some_and(|extension| extension == "tmp") {
            let _ = std::fs::remove_file(&path);
        }
    }
    let highest = paths.iter().map(|(_, to, _)| *to).max().unwrap_or(0);
    // The widest first: a merged block stands for those it was made of, if a crash left them behind.
    paths.sort_by_key(|(from, to, _)| (*from, std::cmp::Reverse(*to)));
    let mut blocks: Vec<Arc<Block>> = Vec::new();
    for (from, to, path) in paths {
        if blocks.iter().any(|block| block.from_segment <= from && to <= block.to_segment) {
            let _ = std::fs::remove_file(&path);
            continue;
        }
        match Block::open(&path, hasher) {
            Ok((block, index)) => {
                for series in 0..index.series_count() as u32 {
                    if let Some(newest) = index.last_t_ms(series) {
                        let tail = head.block_tails.entry(index.fingerprint(series)).or_insert(newest);
                        *tail = newest.max(*tail);
                    }
                }
                blocks.push(Arc::new(block));
            }
            Err(error) => damage.push(set_block_aside(dir, &path, error)),
        }
    }
    Ok((blocks, highest))
}

fn set_block_aside(dir: &Path, path: &Path, error: crate::block::ReadError) -> Damage {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let target = format!("damaged/blocks-{name}");
    let moved = create_dir(&dir.join("damaged")).is_ok() && std::fs::rename(path, dir.join(&target)).is_ok();
    tracing::warn!(block = name, offset = error.offset, reason = error.reason, "a damaged block was set aside");
    Damage {
        file: format!("blocks/{name}"),
        offset: error.offset,
        bytes: error.bytes,
        reason: error.reason,
        set_aside: moved.then_some(target),
    }
}

fn replay_segment(dir: &Path, path: &Path, head: &mut Head, damage: &mut Vec<Damage>) -> Result<u64, StoreError> {
    let bytes = std::fs::read(path).map_err(|error| io_error("read the log", path, &error))?;
    let file = path.file_name().map(|name| format!("wal/{}", name.to_string_lossy())).unwrap_or_default();
    let mut replay = HeadReplay::new(head);
    let bad = wal::replay(&bytes, &mut replay);
    let (orphans, samples) = (replay.orphans, replay.samples);
    for run in bad {
        if run.torn_tail {
            tracing::info!(file, offset = run.offset, bytes = run.length, "cut an unfinished record off the end of the log");
            if let Ok(handle) = OpenOptions::new().write(true).open(path) {
                let _ = handle.set_len(run.offset as u64);
            }
            continue;
        }
        let reason = match orphans {
            0 => "log records fail their check".to_owned(),
            count => format!("log records fail their check; {count} samples of series described there are lost"),
        };
        let content = &bytes[run.offset..run.offset + run.length];
        damage.push(set_aside(dir, &file, run.offset as u64, content, reason));
    }
    Ok(samples)
}

/// Copies unreadable bytes into the folder `damaged`.
pub(crate) fn set_aside(dir: &Path, file: &str, offset: u64, content: &[u8], reason: String) -> Damage {
    let folder = dir.join("damaged");
    let name = format!("{}-at-{offset}", file.replace('/', "-"));
    let written = DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)
        .and_then(|()| OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(folder.join(&name)))
        .and_then(|mut out| out.write_all(content));
    tracing::warn!(file, offset, bytes = content.len(), reason, "a damaged part of the store was set aside");
    Damage {
        file: file.to_owned(),
        offset,
        bytes: content.len() as u64,
        reason,
        set_aside: written.ok().map(|()| format!("damaged/{name}")),
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
