//! A file that one process at a time holds; its pid stands in it, for whoever comes second.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Error, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

/// A holder that removes its file at the end may do so between our opening and locking it; more than once is no accident.
const TRIES: usize = 8;

/// Why a file could not be locked.
#[derive(Debug)]
pub enum NotLocked {
    /// By the process of this pid; `unknown` where it could not write it.
    Held(String),
    Unusable(Error),
}

/// Makes the file where it is missing and locks it; the lock ends with the value. A link is not followed.
pub fn lock(path: &Path, mode: u32) -> Result<File, NotLocked> {
    for _ in 0..TRIES {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(mode);
        let file = options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed()).open(path);
        let mut file = file.map_err(NotLocked::Unusable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(NotLocked::Held(holder(&mut file))),
            Err(TryLockError::Error(error)) => return Err(NotLocked::Unusable(error)),
        }
        if !is_in_place(&file, path) {
            continue;
        }
        // The pid only informs: a full disk must not keep anybody from starting.
        let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| write!(file, "{}", std::process::id()));
        return Ok(file);
    }
    Err(NotLocked::Unusable(Error::other("somebody removes it all the time")))
}

fn holder(file: &mut File) -> String {
    let mut pid = String::new();
    let _ = file.read_to_string(&mut pid);
    let pid = pid.trim();
    if pid.is_empty() { "unknown".to_owned() } else { pid.to_owned() }
}

/// Whether the path still leads to what was opened.
fn is_in_place(file: &File, path: &Path) -> bool {
    let name = |about: std::fs::Metadata| (about.dev(), about.ino());
    let (opened, there) = (file.metadata().map(name), std::fs::symlink_metadata(path).map(name));
    opened.ok().zip(there.ok()).is_some_and(|(opened, there)| opened == there)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_went_meanwhile_is_no_lock() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let gone = lock(&path, 0o600).unwrap();
        assert!(is_in_place(&gone, &path));
        std::fs::remove_file(&path).unwrap();
        assert!(!is_in_place(&gone, &path));
        let next = lock(&path, 0o600).unwrap();
        assert!(is_in_place(&next, &path) && !is_in_place(&gone, &path));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), std::process::id().to_string());
    }

    #[test]
    fn a_pid_that_cannot_be_written_keeps_nobody_from_starting() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let _first = lock(&path, 0o600).unwrap();
        std::fs::write(&path, "").unwrap();
        assert!(matches!(lock(&path, 0o600), Err(NotLocked::Held(pid)) if pid == "unknown"));
    }
}
