//! The run folder: PID file with its lock, so that one agent at a time works with one folder. It goes at the end.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

const PID_FILE: &str = "gala-gopher.pid";

#[derive(Debug, thiserror::Error)]
pub enum RunFolderError {
    #[error("run folder {folder} is held by pid {pid}: stop that agent or choose another folder with --run-dir")]
    Held { folder: PathBuf, pid: String },
    #[error("run folder {folder} cannot be used ({source}): choose another one with --run-dir")]
    Unusable { folder: PathBuf, source: std::io::Error },
}

/// Held while it lives.
#[derive(Debug)]
pub struct RunFolder {
    folder: PathBuf,
    /// The lock; closed after the file is removed, so that a successor never locks a file that is going.
    _file: File,
    made: bool,
}

impl RunFolder {
    pub fn acquire(folder: &Path) -> Result<Self, RunFolderError> {
        let unusable = |source| RunFolderError::Unusable { folder: folder.to_owned(), source };
        let made = !folder.exists();
        fs::create_dir_all(folder).map_err(unusable)?;
        let path = folder.join(PID_FILE);
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o640).open(&path).map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                let _ = file.read_to_string(&mut pid);
                let pid = if pid.trim().is_empty() { "unknown".to_owned() } else { pid.trim().to_owned() };
                return Err(RunFolderError::Held { folder: folder.to_owned(), pid });
            }
            Err(TryLockError::Error(source)) => return Err(unusable(source)),
        }
        file.set_len(0).map_err(unusable)?;
        write!(file, "{}", std::process::id()).map_err(unusable)?;
        Ok(Self { folder: folder.to_owned(), _file: file, made })
    }

    pub fn path(&self) -> &Path {
        &self.folder
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.folder.join(PID_FILE));
        if self.made {
            // Only if nobody else put something there.
            let _ = fs::remove_dir(&self.folder);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_refused_with_the_pid_of_the_first() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("run");
        let first = RunFolder::acquire(&folder).unwrap();
        let error = RunFolder::acquire(&folder).unwrap_err().to_string();
        assert!(error.contains(&format!("pid {}", std::process::id())), "{error}");
        drop(first);
        assert!(!folder.exists(), "the folder goes at the end");
        RunFolder::acquire(&folder).unwrap();
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let error = RunFolder::acquire(Path::new("/proc/gala")).unwrap_err().to_string();
        assert!(error.contains("/proc/gala") && error.contains("--run-dir"), "{error}");
    }

    #[test]
    fn a_stale_pid_file_is_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(PID_FILE), "999999").unwrap();
        let held = RunFolder::acquire(folder.path()).unwrap();
        assert_eq!(fs::read_to_string(held.path().join(PID_FILE)).unwrap(), std::process::id().to_string());
    }
}
