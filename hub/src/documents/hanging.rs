//! For tests: a document file on a disk that takes nothing while somebody holds it up.

use std::path::Path;
use std::time::Duration;

use parking_lot::Mutex;
use redb::backends::FileBackend;
use redb::{Database, DatabaseError, StorageBackend};

use super::Documents;
use super::file::File;

/// While it is held the disk hangs. One test at a time has such a disk.
pub static DISK: Mutex<()> = Mutex::new(());

#[derive(Debug)]
struct HangingDisk(FileBackend);

impl StorageBackend for HangingDisk {
    fn len(&self) -> std::io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> std::io::Result<()> {
        drop(DISK.lock());
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.0.write(offset, data)
    }
}

fn open(path: &Path, is_checked: bool) -> Result<Database, DatabaseError> {
    let file = std::fs::File::options().read(true).write(true).create(true).truncate(false).open(path).expect("open");
    Database::builder().set_check_integrity_on_open(is_checked).create_with_backend(HangingDisk(FileBackend::new(file)?))
}

/// Documents on such a disk.
pub fn documents(dir: &Path) -> Documents {
    Documents { file: File::open_with(dir, open, Duration::ZERO).expect("open") }
}
