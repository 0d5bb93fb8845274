//! The embedded store: opening, writing, reading. Upkeep (blocks, retention, compaction) is in `upkeep`.

use crate::head::{Bounds, Head, HeadReplay};
use crate::wal::{self, Wal, io_error};
use crate::{Appended, Labels, Matcher, Sample, Series, SeriesRead, SeriesRef, SeriesWrite, StoreError, TimeRange};
use ahash::RandomState;
use parking_lot::{Mutex, RwLock};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

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
    pub file: String,
    pub offset: u64,
    pub bytes: u64,
    pub reason: String,
    /// Where the unreadable bytes were put.
    pub set_aside: Option<String>,
}

/// The store. Cheap calls; share it in an `Arc`.
pub struct Store {
    pub(crate) options: StoreOptions,
    pub(crate) head: RwLock<Head>,
    pub(crate) wal: Option<Wal>,
    pub(crate) damage: Mutex<Vec<Damage>>,
    /// Why the last write to disk failed, until one succeeds.
    pub(crate) write_failure: Mutex<Option<String>>,
    /// Held for the store's life; the lock goes with it.
    _lock: Option<File>,
}

/// Milliseconds since 1970 by the system clock.
pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_millis() as i64)
}

impl Store {
    /// Opens or creates a store: takes the folder's lock, reads the log, starts a new log segment.
    pub fn open(options: StoreOptions) -> Result<Self, StoreError> {
        let dir = options.dir.clone();
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&dir)
            .map_err(|error| io_error("create the data folder", &dir, &error))?;
        let lock = take_lock(&dir)?;
        let wal_dir = dir.join("wal");
        DirBuilder::new().recursive(true).mode(0o700).create(&wal_dir).map_err(|error| io_error("create", &wal_dir, &error))?;
        let mut head = Head::new(options.max_series, RandomState::new());
        let mut damage = Vec::new();
        let segments = wal::segments(&wal_dir).map_err(|error| io_error("list", &wal_dir, &error))?;
        for &number in &segments {
            replay_segment(&dir, &wal::segment_path(&wal_dir, number), &mut head, &mut damage)?;
        }
        let next = segments.last().copied().unwrap_or(0) + 1;
        head.segment = next as u32;
        let wal = Wal::create(&wal_dir, next)?;
        Ok(Self {
            options,
            head: RwLock::new(head),
            wal: Some(wal),
            damage: Mutex::new(damage),
            write_failure: Mutex::new(None),
            _lock: Some(lock),
        })
    }

    /// A store without files, without retention: for offline work and tests.
    pub fn in_memory() -> Self {
        let mut options = StoreOptions::new("");
        options.retention = Duration::MAX;
        options.max_ahead = Duration::MAX;
        let head = RwLock::new(Head::new(options.max_series, RandomState::new()));
        Self { options, head, wal: None, damage: Mutex::default(), write_failure: Mutex::default(), _lock: None }
    }

    /// What could not be read when the store was opened or since.
    pub fn damage(&self) -> Vec<Damage> {
        self.damage.lock().clone()
    }

    fn bounds(&self) -> Bounds {
        let now = now_ms();
        let millis = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Bounds {
            oldest_ms: now.saturating_sub(millis(self.options.retention)),
            newest_ms: now.saturating_add(millis(self.options.max_ahead)),
        }
    }

    fn note_write<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        *self.write_failure.lock() = result.as_ref().err().map(ToString::to_string);
        result
    }
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
    // The pid only informs; a full disk must not keep the store from opening for reading.
    let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(std::process::id().to_string().as_bytes()));
    Ok(file)
}

fn replay_segment(dir: &Path, path: &Path, head: &mut Head, damage: &mut Vec<Damage>) -> Result<(), StoreError> {
    let bytes = std::fs::read(path).map_err(|error| io_error("read the log", path, &error))?;
    let file = path.file_name().map(|name| format!("wal/{}", name.to_string_lossy())).unwrap_or_default();
    let mut replay = HeadReplay::new(head);
    let bad = wal::replay(&bytes, &mut replay);
    let orphans = replay.orphans;
    for run in bad {
        if run.torn_tail {
            tracing::info!(file, offset = run.offset, bytes = run.length, "cut an unfinished record off the end of the log");
            if let Ok(handle) = OpenOptions::new().write(true).open(path) {
                let _ = handle.set_len(run.offset as u64);
            }
            continue;
        }
        let reason = match orphans {
            0 => "log records failed their check".to_owned(),
            count => format!("log records failed their check; {count} samples of series described there are lost"),
        };
        let content = &bytes[run.offset..run.offset + run.length];
        damage.push(set_aside(dir, &file, run.offset as u64, content, reason));
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

impl SeriesWrite for Store {
    fn resolve(&self, labels: &Labels) -> Result<SeriesRef, StoreError> {
        if let Some(known) = self.head.read().find(labels) {
            return Ok(known);
        }
        self.head.write().resolve(labels)
    }

    fn append(&self, samples: &[(SeriesRef, i64, f64)]) -> Result<Appended, StoreError> {
        let bounds = self.bounds();
        let Some(wal) = &self.wal else { return Ok(self.head.write().append(samples, bounds, None)) };
        if wal.backlog() >= wal::BUFFER_LIMIT_BYTES as u64 || self.write_failure.lock().is_some() {
            // Nothing is taken that cannot be kept: first what waits must reach the disk.
            self.sync()?;
        }
        let mut appended = Appended::default();
        let much_waits = {
            let mut head = self.head.write();
            wal.append(|log| appended = head.append(samples, bounds, Some(log)))
        };
        if much_waits {
            self.sync()?;
        }
        Ok(appended)
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.note_write(self.wal.as_ref().map_or(Ok(()), Wal::sync))
    }
}

impl SeriesRead for Store {
    fn select(&self, matchers: &[Matcher], range: TimeRange, max_samples: usize) -> Result<Vec<Series>, StoreError> {
        let head = self.head.read();
        let mut found = Vec::new();
        let mut total = 0;
        for slot in head.postings.select(matchers) {
            let Some(series) = head.get(slot) else { continue };
            let mut samples: Vec<Sample> = Vec::new();
            series.read(range, &mut samples);
            total += samples.len();
            if total > max_samples {
                return Err(StoreError::TooManySamples { limit: max_samples });
            }
            if !samples.is_empty() {
                found.push(Series { labels: series.labels.clone(), samples });
            }
        }
        drop(head);
        found.sort_by(|left, right| left.labels.cmp(&right.labels));
        Ok(found)
    }

    fn series(&self, matchers: &[Matcher], range: TimeRange) -> Result<Vec<Labels>, StoreError> {
        let head = self.head.read();
        let mut found: Vec<Labels> = head
            .postings
            .select(matchers)
            .into_iter()
            .filter_map(|slot| head.get(slot))
            .filter(|series| series.has_samples(range))
            .map(|series| series.labels.clone())
            .collect();
        drop(head);
        found.sort();
        Ok(found)
    }

    fn label_names(&self, matchers: &[Matcher], range: TimeRange) -> Result<Vec<String>, StoreError> {
        let found = self.series(matchers, range)?;
        let names: std::collections::BTreeSet<&str> = found.iter().flat_map(Labels::iter).map(|(name, _)| name).collect();
        Ok(names.into_iter().map(str::to_owned).collect())
    }

    fn label_values(&self, name: &str, matchers: &[Matcher], range: TimeRange) -> Result<Vec<String>, StoreError> {
        let found = self.series(matchers, range)?;
        let values: std::collections::BTreeSet<&str> = found.iter().filter_map(|labels| labels.get(name)).collect();
        Ok(values.into_iter().map(str::to_owned).collect())
    }
}
