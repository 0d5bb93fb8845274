//! Opening a store: to own it, or to look at it beside whoever owns it. What cannot be read is set aside and named.

use crate::block::{Block, BlockIndex, ReadError, read::parse_name};
use crate::head::{Head, HeadReplay};
use crate::metadata::Dictionary;
use crate::store::{Damage, now_ms};
use crate::wal::{self, Wal, io_error};
use crate::{Store, StoreError, StoreOptions};
use ahash::RandomState;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Looks at a folder before it is found that its files change faster than they can be opened.
const ATTEMPTS: usize = 10;

/// What the files of a folder hold.
pub(crate) struct Loaded {
    pub head: Head,
    pub blocks: Vec<Arc<Block>>,
    /// Segments of blocks that are there but could not be read now.
    pub unread: Vec<(u64, u64)>,
    pub damage: Vec<Damage>,
    pub dictionary: Dictionary,
    pub first_segment: u64,
    pub replayed: u64,
    pub hasher: RandomState,
}

impl Loaded {
    pub fn empty(max_series: usize) -> Self {
        let hasher = RandomState::new();
        Self {
            head: Head::new(max_series, hasher.clone()),
            blocks: Vec::new(),
            unread: Vec::new(),
            damage: Vec::new(),
            dictionary: Dictionary::default(),
            first_segment: 1,
            replayed: 0,
            hasher,
        }
    }

    fn add_block(&mut self, block: Block, index: &BlockIndex) {
        for series in 0..index.series_count() as u32 {
            if let Some(newest) = index.last_t_ms(series) {
                let tail = self.head.block_tails.entry(index.fingerprint(series)).or_insert(newest);
                *tail = newest.max(*tail);
            }
        }
        self.head.bound_tails(now_ms());
        self.blocks.push(Arc::new(block));
    }

    fn in_block(&self, segment: u64) -> bool {
        self.blocks.iter().any(|block| (block.from_segment..=block.to_segment).contains(&segment))
    }

    fn covers(&self, from: u64, to: u64) -> bool {
        self.blocks.iter().any(|block| block.from_segment <= from && to <= block.to_segment)
    }
}

impl Store {
    /// Opens or creates a store: takes the folder's lock, checks the blocks' indexes, reads the log, starts a new log
    /// segment. Damaged parts are set aside, see [`Store::damage`]. A full disk does not keep it from opening.
    pub fn open(options: StoreOptions) -> Result<Self, StoreError> {
        let dir = options.dir.clone();
        create_dir(&dir)?;
        let lock = take_lock(&dir)?;
        let (wal_dir, blocks_dir) = (dir.join("wal"), dir.join("blocks"));
        create_dir(&wal_dir)?;
        create_dir(&blocks_dir)?;
        let mut loaded = Loaded::empty(options.max_series);
        let highest_block = open_blocks(&dir, &mut loaded)?;
        let mut segments = wal::segments(&wal_dir).map_err(|error| io_error("list", &wal_dir, &error))?;
        let next = segments.last().copied().unwrap_or(0).max(highest_block) + 1;
        // A crash between writing a block and deleting its log leaves both. One that cannot be deleted now is not read either.
        segments.retain(|&number| {
            let is_in_block = loaded.in_block(number);
            if is_in_block {
                let _ = std::fs::remove_file(wal::segment_path(&wal_dir, number));
            }
            !is_in_block
        });
        let damage_in_blocks = loaded.damage.len();
        for &number in &segments {
            replay_segment(&dir, &wal::segment_path(&wal_dir, number), &mut loaded)?;
        }
        loaded.head.segment = next as u32;
        loaded.dictionary = Dictionary::load(&dir).unwrap_or_else(|reason| {
            let content = std::fs::read(dir.join("metadata.json")).unwrap_or_default();
            loaded.damage.push(set_aside(&dir, "metadata.json", 0, &content, reason));
            Dictionary::default()
        });
        let log_is_damaged = loaded.damage.len() > damage_in_blocks;
        loaded.first_segment = segments.first().copied().unwrap_or(next);
        let mut store = Self::with(options, loaded);
        store._lock = Some(lock);
        store.wal = Some(store.start_log(Wal::new(&wal_dir, next))?);
        if log_is_damaged && let Err(error) = store.flush() {
            // What is readable moves into a block, so that the damaged segment need not be read again; not now, then later.
            tracing::warn!("{error}");
        }
        Ok(store)
    }

    /// Creates the log's segment. On a full disk what need not be kept goes first; if that does not help, upkeep tries again.
    fn start_log(&self, log: Wal) -> Result<Wal, StoreError> {
        let is_full = |error: &std::io::Error| matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
        let words = |error| io_error("start a log segment in", &self.options.dir.join("wal"), &error);
        match log.start() {
            Ok(()) => return Ok(log),
            Err(error) if is_full(&error) => {}
            Err(error) => return Err(words(error)),
        }
        if let Err(error) = self.drop_old(now_ms()) {
            tracing::warn!("{error}");
        }
        if let Err(error) = log.start() {
            let error = words(error);
            tracing::warn!("{error}");
            *self.write_failure.lock() = Some(error.to_string());
        }
        Ok(log)
    }

    /// Opens what a folder holds for reading alone: nothing on disk changes, no lock is taken, so it works beside a running
    /// hub and on a file system that takes no writes. Samples not yet in the log are not seen.
    pub fn open_read_only(dir: &Path) -> Result<Self, StoreError> {
        unchanged(dir, Self::read_folder)
    }

    /// `None` if a block went while it was looked at.
    fn read_folder(dir: &Path) -> Result<Option<Self>, StoreError> {
        let mut options = StoreOptions::new(dir);
        (options.retention, options.max_bytes) = (Duration::MAX, u64::MAX);
        let mut loaded = Loaded::empty(options.max_series);
        // The log first: what moves into a block meanwhile is then found in both, and taken once.
        let logs = read_logs(dir)?;
        for (from, to, path) in block_files(dir)?.blocks {
            if loaded.covers(from, to) {
                continue;
            }
            match Block::open(&path, &loaded.hasher) {
                Ok((block, index)) => loaded.add_block(block, &index),
                Err(error) if error.io == Some(ErrorKind::NotFound) => return Ok(None),
                Err(error) => {
                    tracing::warn!(block = %path.display(), offset = error.offset, reason = error.reason, "not readable");
                    loaded.damage.push(damage_of(&path, error, None));
                }
            }
        }
        for (number, path, bytes) in logs {
            if loaded.in_block(number) {
                continue;
            }
            let (bad, reason) = replay_bytes(&bytes, &mut loaded);
            for run in bad.into_iter().filter(|run| !run.torn_tail) {
                let (offset, bytes) = (run.offset as u64, run.length as u64);
                tracing::warn!(log = %path.display(), offset, bytes, reason, "not readable");
                loaded.damage.push(Damage {
                    file: name_in("wal", &path),
                    offset,
                    bytes,
                    reason: reason.clone(),
                    set_aside: None,
                });
            }
        }
        loaded.dictionary = Dictionary::load(dir).unwrap_or_default();
        Ok(Some(Self::with(options, loaded)))
    }
}

/// Looks at the files of a folder nobody holds still, until no file went while it was looked at.
pub(crate) fn unchanged<T>(dir: &Path, look: impl Fn(&Path) -> Result<Option<T>, StoreError>) -> Result<T, StoreError> {
    require_store(dir)?;
    for _ in 0..ATTEMPTS {
        if let Some(seen) = look(dir)? {
            return Ok(seen);
        }
    }
    Err(StoreError::Io(format!("the files of {} change faster than they can be opened; try again", dir.display())))
}

/// All log segments: number, path, content. One that goes meanwhile is in a block by then.
pub(crate) fn read_logs(dir: &Path) -> Result<Vec<(u64, PathBuf, Vec<u8>)>, StoreError> {
    let wal_dir = dir.join("wal");
    let mut logs = Vec::new();
    for number in wal::segments(&wal_dir).map_err(|error| io_error("list", &wal_dir, &error))? {
        let path = wal::segment_path(&wal_dir, number);
        match std::fs::read(&path) {
            Ok(bytes) => logs.push((number, path, bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(io_error("read the log", &path, &error)),
        }
    }
    Ok(logs)
}

/// Names in the folder of blocks.
pub(crate) struct BlockFiles {
    /// First and last segment, path. A merged block comes before those it was made of, which a crash may have left.
    pub blocks: Vec<(u64, u64, PathBuf)>,
    /// Files that were not finished.
    pub leftovers: Vec<PathBuf>,
}

pub(crate) fn block_files(dir: &Path) -> Result<BlockFiles, StoreError> {
    let blocks_dir = dir.join("blocks");
    let list_error = |error: std::io::Error| io_error("list", &blocks_dir, &error);
    let mut files = BlockFiles { blocks: Vec::new(), leftovers: Vec::new() };
    for entry in std::fs::read_dir(&blocks_dir).map_err(list_error)? {
        let path = entry.map_err(list_error)?.path();
        if let Some((from, to)) = parse_name(&path) {
            files.blocks.push((from, to, path));
        } else if path.extension().is_some_and(|extension| extension == "tmp") {
            files.leftovers.push(path);
        }
    }
    files.blocks.sort_by_key(|(from, to, _)| (*from, std::cmp::Reverse(*to)));
    Ok(files)
}

/// Opens all blocks, fills the head's memory of newest times, deletes leftovers. The highest segment any name shows.
fn open_blocks(dir: &Path, loaded: &mut Loaded) -> Result<u64, StoreError> {
    let files = block_files(dir)?;
    for path in files.leftovers {
        let _ = std::fs::remove_file(&path);
    }
    let highest = files.blocks.iter().map(|(_, to, _)| *to).max().unwrap_or(0);
    for (from, to, path) in files.blocks {
        if loaded.covers(from, to) {
            let _ = std::fs::remove_file(&path);
            continue;
        }
        match Block::open(&path, &loaded.hasher) {
            Ok((block, index)) => loaded.add_block(block, &index),
            Err(error) if error.io.is_some() => {
                tracing::warn!(block = %path.display(), reason = error.reason, "could not be read, left where it is");
                loaded.unread.push((from, to));
                loaded.damage.push(damage_of(&path, error, None));
            }
            Err(error) => loaded.damage.push(set_block_aside(dir, &path, error)),
        }
    }
    Ok(highest)
}

fn name_in(folder: &str, path: &Path) -> String {
    path.file_name().map(|name| format!("{folder}/{}", name.to_string_lossy())).unwrap_or_default()
}

fn damage_of(path: &Path, error: ReadError, set_aside: Option<String>) -> Damage {
    Damage { file: name_in("blocks", path), offset: error.offset, bytes: error.bytes, reason: error.reason, set_aside }
}

/// Moves a whole block into the folder `damaged`.
pub(crate) fn set_block_aside(dir: &Path, path: &Path, error: ReadError) -> Damage {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let target = format!("damaged/blocks-{name}");
    let moved = create_dir(&dir.join("damaged")).is_ok() && std::fs::rename(path, dir.join(&target)).is_ok();
    tracing::warn!(block = name, offset = error.offset, reason = error.reason, "a damaged block was set aside");
    damage_of(path, error, moved.then_some(target))
}

/// Reads a log segment into the head; also what to say of the bytes that are no record.
fn replay_bytes(bytes: &[u8], loaded: &mut Loaded) -> (Vec<wal::BadBytes>, String) {
    let mut replay = HeadReplay::new(&mut loaded.head);
    let bad = wal::replay(bytes, &mut replay);
    let reason = match replay.orphans {
        0 => "log records fail their check".to_owned(),
        count => format!("log records fail their check; {count} samples of series described there are lost"),
    };
    loaded.replayed += replay.samples;
    (bad, reason)
}

fn replay_segment(dir: &Path, path: &Path, loaded: &mut Loaded) -> Result<(), StoreError> {
    let bytes = std::fs::read(path).map_err(|error| io_error("read the log", path, &error))?;
    let file = name_in("wal", path);
    let (bad, reason) = replay_bytes(&bytes, loaded);
    for run in bad {
        if run.torn_tail {
            tracing::info!(file, offset = run.offset, bytes = run.length, "cut an unfinished record off the end of the log");
            if let Ok(handle) = OpenOptions::new().write(true).open(path) {
                let _ = handle.set_len(run.offset as u64);
            }
            continue;
        }
        let content = &bytes[run.offset..run.offset + run.length];
        loaded.damage.push(set_aside(dir, &file, run.offset as u64, content, reason.clone()));
    }
    Ok(())
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

fn create_dir(path: &Path) -> Result<(), StoreError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| io_error("create the folder", path, &error))
}

fn require_store(dir: &Path) -> Result<(), StoreError> {
    if dir.join("wal").is_dir() && dir.join("blocks").is_dir() {
        return Ok(());
    }
    Err(StoreError::BadRequest(format!(
        "{} is not a store: it has no wal and blocks folders; name the store folder inside the data folder",
        dir.display()
    )))
}

/// Takes the lock of a folder that must be a store already.
pub(crate) fn lock_existing(dir: &Path) -> Result<File, StoreError> {
    require_store(dir)?;
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
