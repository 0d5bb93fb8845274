//! The file under the documents. It is opened with the checksums of its pages verified; a damaged one is set aside, and what
//! can still be read of it is carried over. After an error of the disk the database refuses everything, so it is closed
//! then and opened again later; nothing of this keeps the hub from running.

use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use redb::{Database, DatabaseError, ReadOnlyDatabase, ReadOnlyTable, ReadableDatabase, ReadableTable, TableError};
use serde::de::IgnoredAny;

use super::{DocumentError, Shelf};
use crate::watch::message_of;

const NAME: &str = "documents.redb";
const ASIDE: &str = "documents.redb.damaged";
/// Memory for pages. Every commit puts what it wrote among them, so that they fill up within the hour whatever is read;
/// what is read again and again is kept by the rooms themselves, and the kernel has the rest.
const CACHE_BYTES: usize = 4 << 20;
/// A closed file is tried again this often.
const RETRY: Duration = Duration::from_secs(10);
/// Rows carried over of one shelf of a damaged file at most: links between its pages may lead in a circle.
const MAX_SALVAGED: usize = 1_000_000;

/// How a file is opened; the flag asks for its checksums to be verified first.
pub type Opener = fn(&Path, bool) -> Result<Database, DatabaseError>;

pub type Row = (String, Vec<u8>);

/// Why something did not work.
#[derive(Debug)]
enum Failure {
    /// Another process has it.
    Busy,
    /// The disk is full or does not answer; it may again.
    Disk(String),
    /// What stands in the file is wrong.
    Damaged(String),
    /// The request is wrong.
    Refused(String),
}

pub struct File {
    path: PathBuf,
    aside: PathBuf,
    opener: Opener,
    retry: Duration,
    handle: RwLock<Handle>,
    /// Apart from the handle, so that who asks waits for no disk.
    trouble: Mutex<Trouble>,
}

struct Handle {
    /// `None` while it is closed because of an error.
    database: Option<Database>,
    /// Changes with each opening and closing.
    generation: u64,
    tried: Instant,
}

#[derive(Default)]
struct Trouble {
    /// Why it is closed.
    closed: Option<String>,
    /// What was lost since the start.
    lost: Option<String>,
}

fn open_file(path: &Path, is_checked: bool) -> Result<Database, DatabaseError> {
    Database::builder().set_cache_size(CACHE_BYTES).set_check_integrity_on_open(is_checked).create(path)
}

impl File {
    /// Fails only where another process holds the file; of all else `trouble` tells.
    pub fn open(dir: &Path) -> Result<Self, DocumentError> {
        Self::open_with(dir, open_file, RETRY)
    }

    pub fn open_with(dir: &Path, opener: Opener, retry: Duration) -> Result<Self, DocumentError> {
        let file = Self {
            path: dir.join(NAME),
            aside: dir.join(ASIDE),
            opener,
            retry,
            handle: RwLock::new(Handle { database: None, generation: 0, tried: Instant::now() }),
            trouble: Mutex::default(),
        };
        let opened = file.reopen(&mut file.handle.write());
        match opened {
            Err(Failure::Busy) => {
                let reason = "another process holds it; stop that one first".to_owned();
                Err(DocumentError::Open { path: file.path.display().to_string(), reason })
            }
            _ => Ok(file),
        }
    }

    /// What is wrong with it, and what was lost.
    pub fn trouble(&self) -> Option<String> {
        let trouble = self.trouble.lock();
        let closed = trouble.closed.as_ref().map(|reason| format!("documents can be neither read nor saved: {reason}"));
        let parts: Vec<String> = closed.into_iter().chain(trouble.lost.clone()).collect();
        (!parts.is_empty()).then(|| parts.join("; "))
    }

    /// Does something with the database, which is opened again before if that is due, and closed if it failed.
    pub fn access<T>(&self, work: impl FnOnce(&Database) -> Result<T, redb::Error>) -> Result<T, String> {
        let is_due = |handle: &Handle| handle.database.is_none() && handle.tried.elapsed() >= self.retry;
        if is_due(&self.handle.read()) {
            let mut handle = self.handle.write();
            if is_due(&handle) {
                // Why it stays closed is told below.
                let _ = self.reopen(&mut handle);
            }
        }
        let handle = self.handle.read();
        let Some(database) = &handle.database else {
            return Err(self.trouble.lock().closed.clone().unwrap_or_else(|| "the file is closed".to_owned()));
        };
        let outcome = guarded(|| work(database));
        let generation = handle.generation;
        drop(handle);
        outcome.map_err(|failure| match failure {
            Failure::Refused(reason) => reason,
            failure => {
                let reason = failure.reason();
                self.close(generation, &reason);
                reason
            }
        })
    }

    fn close(&self, generation: u64, reason: &str) {
        let mut handle = self.handle.write();
        // Others may have met the same error and be further already.
        if handle.generation == generation {
            tracing::warn!(file = %self.path.display(), %reason, "the document file is closed; it is tried again");
            let database = handle.database.take();
            let _ = guarded(|| {
                drop(database);
                Ok(())
            });
            handle.generation += 1;
            handle.tried = Instant::now();
            self.trouble.lock().closed = Some(reason.to_owned());
        }
    }

    fn reopen(&self, handle: &mut Handle) -> Result<(), Failure> {
        let opened = self.open_now();
        handle.generation += 1;
        handle.tried = Instant::now();
        match opened {
            Ok(database) => {
                handle.database = Some(database);
                if self.trouble.lock().closed.take().is_some() {
                    tracing::info!(file = %self.path.display(), "the document file is open again");
                }
                Ok(())
            }
            Err(failure) => {
                let reason = failure.reason();
                tracing::warn!(file = %self.path.display(), %reason, "the document file cannot be opened; it is tried again");
                self.trouble.lock().closed = Some(reason);
                Err(failure)
            }
        }
    }

    fn open_now(&self) -> Result<Database, Failure> {
        let plainly = || {
            let database = (self.opener)(&self.path, false)?;
            Shelf::ALL.into_iter().try_for_each(|shelf| rows(&database, shelf, MAX_SALVAGED).map(|_| ()))?;
            Ok(database)
        };
        let opened = match guarded(|| Ok((self.opener)(&self.path, true)?)) {
            // To verify it is to write a little, too: what is full can still be read.
            Err(Failure::Disk(_)) => guarded(plainly),
            opened => opened,
        };
        match opened {
            Err(Failure::Damaged(reason) | Failure::Refused(reason)) => self.begin_anew(&reason),
            opened => opened,
        }
    }

    /// What the file held can be learnt again, the series cannot: the hub goes on with a new one.
    fn begin_anew(&self, reason: &str) -> Result<Database, Failure> {
        let (path, aside) = (self.path.display(), self.aside.display());
        tracing::warn!(file = %path, %aside, %reason, "document file is damaged; set aside");
        std::fs::rename(&self.path, &self.aside).map_err(|error| Failure::Disk(format!("{reason}; {error}")))?;
        // If not now, then later, with all it holds: a rename needs no space.
        let database =
            guarded(|| Ok((self.opener)(&self.path, false)?)).inspect_err(|_| drop(std::fs::rename(&self.aside, &self.path)))?;
        let lost = self.carry_over(&database);
        if lost.is_empty() {
            tracing::warn!("nothing of the damaged document file is lost");
            return Ok(database);
        }
        let lost = format!("lost is {}", lost.join(", "));
        tracing::warn!(%lost, "what could be read of the damaged document file is carried over");
        self.trouble.lock().lost = Some(format!("the document file was damaged and is set aside as {ASIDE}; {lost}"));
        Ok(database)
    }

    /// Answers the shelves that cannot be read.
    fn carry_over(&self, new: &Database) -> Vec<&'static str> {
        let old = guarded(|| Ok(ReadOnlyDatabase::open(&self.aside)?));
        let is_carried = |shelf: Shelf| {
            let Ok(old) = &old else { return false };
            let carried = guarded(|| rows(old, shelf, MAX_SALVAGED)).and_then(|found| {
                let is_whole = |(_, value): &&Row| serde_json::from_slice::<IgnoredAny>(value).is_ok();
                guarded(|| put(new, shelf, found.iter().filter(is_whole)))
            });
            carried.is_ok()
        };
        Shelf::ALL.into_iter().filter(|shelf| !is_carried(*shelf)).map(Shelf::name).collect()
    }
}

impl Failure {
    fn reason(&self) -> String {
        match self {
            Self::Busy => "another process holds it".to_owned(),
            Self::Disk(reason) | Self::Damaged(reason) | Self::Refused(reason) => reason.clone(),
        }
    }
}

impl From<redb::Error> for Failure {
    fn from(error: redb::Error) -> Self {
        let reason = error.to_string();
        match error {
            redb::Error::DatabaseAlreadyOpen => Self::Busy,
            redb::Error::Io(cause) if matches!(cause.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof) => {
                Self::Damaged(reason)
            }
            redb::Error::Io(_)
            | redb::Error::Backend(_)
            | redb::Error::PreviousIo
            | redb::Error::DatabaseClosed
            | redb::Error::LockPoisoned(_) => Self::Disk(reason),
            redb::Error::Corrupted(_) | redb::Error::RepairAborted | redb::Error::UpgradeRequired(_) => Self::Damaged(reason),
            _ => Self::Refused(reason),
        }
    }
}

/// The database trusts its pages and panics on some that are wrong.
fn guarded<T>(work: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, Failure> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(outcome) => outcome.map_err(Failure::from),
        Err(panic) => Err(Failure::Damaged(format!("its pages contradict each other: {}", message_of(&*panic)))),
    }
}

/// A shelf that nothing was put into yet is no table yet.
pub fn table(
    database: &impl ReadableDatabase,
    shelf: Shelf,
) -> Result<Option<ReadOnlyTable<&'static str, &'static [u8]>>, redb::Error> {
    match database.begin_read()?.open_table(shelf.definition()) {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Rows of a shelf in key order, at most so many.
pub fn rows(database: &impl ReadableDatabase, shelf: Shelf, most: usize) -> Result<Vec<Row>, redb::Error> {
    let Some(table) = table(database, shelf)? else { return Ok(Vec::new()) };
    let owned = table.iter()?.map(|row| row.map(|(key, value)| (key.value().to_owned(), value.value().to_vec())));
    owned.take(most).map(|row| row.map_err(Into::into)).collect()
}

fn put<'a>(database: &Database, shelf: Shelf, rows: impl Iterator<Item = &'a Row>) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut table = transaction.open_table(shelf.definition())?;
        for (key, value) in rows {
            table.insert(key.as_str(), value.as_slice())?;
        }
    }
    transaction.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use redb::StorageBackend;
    use redb::backends::FileBackend;

    use super::*;
    use crate::documents::Documents;

    /// Whether the disk of the one test that has it is full.
    static IS_FULL: AtomicBool = AtomicBool::new(false);

    #[derive(Debug)]
    struct FullDisk(FileBackend);

    fn space() -> std::io::Result<()> {
        if IS_FULL.load(Ordering::Relaxed) { Err(ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    impl StorageBackend for FullDisk {
        fn len(&self) -> std::io::Result<u64> {
            self.0.len()
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
            self.0.read(offset, out)
        }

        fn set_len(&self, len: u64) -> std::io::Result<()> {
            space().and_then(|()| self.0.set_len(len))
        }

        fn sync_data(&self) -> std::io::Result<()> {
            space().and_then(|()| self.0.sync_data())
        }

        fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
            space().and_then(|()| self.0.write(offset, data))
        }
    }

    fn open_full(path: &Path, is_checked: bool) -> Result<Database, DatabaseError> {
        let file = std::fs::File::options().read(true).write(true).create(true).truncate(false).open(path).unwrap();
        Database::builder().set_check_integrity_on_open(is_checked).create_with_backend(FullDisk(FileBackend::new(file)?))
    }

    fn documents(dir: &Path) -> Documents {
        Documents { file: File::open_with(dir, open_full, Duration::ZERO).unwrap() }
    }

    #[test]
    fn a_full_disk_closes_the_file_only_for_as_long_as_it_is_full() {
        let dir = tempfile::tempdir().unwrap();
        let kept = documents(dir.path());
        kept.put(Shelf::Feedback, "a", &1).unwrap();
        assert_eq!(kept.trouble(), None);
        IS_FULL.store(true, Ordering::Relaxed);
        for _ in 0..2 {
            let error = kept.put(Shelf::Feedback, "b", &2).unwrap_err().to_string();
            assert!(error.contains("storage"), "{error}");
            assert!(kept.trouble().is_some_and(|text| text.contains("neither read nor saved")));
        }
        IS_FULL.store(false, Ordering::Relaxed);
        kept.put(Shelf::Feedback, "c", &3).unwrap();
        assert_eq!(kept.trouble(), None);
        let rows = kept.all::<i32>(Shelf::Feedback);
        assert_eq!(rows, [("a".to_owned(), 1), ("c".to_owned(), 3)]);
        drop(kept);

        IS_FULL.store(true, Ordering::Relaxed);
        let started = documents(dir.path());
        assert!(started.trouble().is_some(), "it starts all the same, and says so");
        assert!(started.put(Shelf::Feedback, "d", &4).is_err());
        IS_FULL.store(false, Ordering::Relaxed);
        started.put(Shelf::Feedback, "e", &5).unwrap();
        assert_eq!(started.all::<i32>(Shelf::Feedback).len(), 3);
    }

    #[test]
    fn a_damaged_page_costs_its_shelf_and_not_the_others() {
        let dir = tempfile::tempdir().unwrap();
        let kept = Documents::open(dir.path()).unwrap();
        let marker = "here stands what is to be damaged ".repeat(20);
        for n in 0..200 {
            kept.put(Shelf::Asked, &format!("{n:03}"), &marker).unwrap();
            kept.put(Shelf::Feedback, &format!("{n:03}"), &n).unwrap();
        }
        drop(kept);
        let path = dir.path().join(NAME);
        let mut bytes = std::fs::read(&path).unwrap();
        let page = 4096;
        for at in (0..bytes.len()).step_by(page) {
            let end = (at + page).min(bytes.len());
            if bytes[at..end].windows(20).any(|text| text == &marker.as_bytes()[..20]) {
                bytes[at..end].fill(0xff);
            }
        }
        std::fs::write(&path, bytes).unwrap();
        let kept = Documents::open(dir.path()).unwrap();
        assert_eq!(kept.all::<String>(Shelf::Asked), []);
        assert_eq!(kept.all::<i32>(Shelf::Feedback).len(), 200);
        let trouble = kept.trouble().unwrap();
        assert!(trouble.contains(ASIDE) && trouble.ends_with("lost is asked"), "{trouble}");
        assert!(dir.path().join(ASIDE).exists());
        kept.put(Shelf::Asked, "new", &"text").unwrap();
    }
}
