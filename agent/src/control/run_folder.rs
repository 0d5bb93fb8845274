//! The run folder: PID file with its lock, so that one agent at a time works with one folder, and the command socket. It goes
//! at the end. Others must not be able to put anything there, nor a link where the file belongs.

use std::fs::{self, DirBuilder, File};
use std::io::Error;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::lock::{NotLocked, lock};

const PID_FILE: &str = "gala-gopher.pid";

/// Upstream's command socket.
pub const SOCKET: &str = "gala_gopher_cmd.sock";

#[derive(Debug, thiserror::Error)]
pub enum RunFolderError {
    #[error("run folder {} is held by pid {pid}: stop that agent or choose another folder with --run-dir", folder.display())]
    Held { folder: PathBuf, pid: String },
    #[error("run folder {} cannot be used ({source}): choose another one with --run-dir", folder.display())]
    Unusable { folder: PathBuf, source: Error },
}

/// `/run/gala_gopher` for root, else below the user's own run folder, else in the data folder: never where everybody writes.
pub fn default_run_dir(data: &Path) -> PathBuf {
    if rustix::process::geteuid().is_root() {
        return PathBuf::from("/run/gala_gopher");
    }
    let of_user = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|folder| is_own(folder));
    of_user.map_or_else(|| data.join("run"), |folder| folder.join("gala_gopher"))
}

/// `su` hands on the variable of whoever called it: that folder is not ours.
fn is_own(folder: &Path) -> bool {
    fs::metadata(folder).is_ok_and(|about| about.is_dir() && about.uid() == rustix::process::geteuid().as_raw())
}

/// Held while it lives.
#[derive(Debug)]
pub struct RunFolder {
    folder: PathBuf,
    /// The lock; closed after the file is removed, so that a successor never locks a file that is going.
    _file: File,
    /// It goes at the end.
    own: bool,
}

impl RunFolder {
    /// Makes the folder when it is missing and locks it. One that was `given` and was there stays at the end.
    pub fn acquire(folder: &Path, given: bool) -> Result<Self, RunFolderError> {
        let unusable = |source| RunFolderError::Unusable { folder: folder.to_owned(), source };
        let made = !folder.exists();
        // Upstream's scripts and systemd's unit know the folder of root as readable for its group.
        let mode = if rustix::process::geteuid().is_root() { 0o750 } else { 0o700 };
        DirBuilder::new().recursive(true).mode(mode).create(folder).map_err(unusable)?;
        check_owner(folder).map_err(unusable)?;
        let file = lock(&folder.join(PID_FILE), 0o640).map_err(|problem| match problem {
            NotLocked::Held(pid) => RunFolderError::Held { folder: folder.to_owned(), pid },
            NotLocked::Unusable(source) => unusable(source),
        })?;
        Ok(Self { folder: folder.to_owned(), _file: file, own: made || !given })
    }

    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// What its end does but for the lock, which goes with the process: for a process that ends without waiting for its parts.
    pub fn clearing(&self) -> impl Fn() + Send + Sync + use<> {
        let (folder, own) = (self.folder.clone(), self.own);
        move || clear(&folder, own)
    }
}

/// Who else may write there could put the lock out of its place.
fn check_owner(folder: &Path) -> Result<(), Error> {
    let about = fs::symlink_metadata(folder)?;
    let own = rustix::process::geteuid().as_raw();
    if !about.is_dir() {
        return Err(Error::other("it is no folder but a link or a file"));
    }
    if about.uid() != own {
        return Err(Error::other(format!("it belongs to user {} and not to user {own}", about.uid())));
    }
    if about.mode() & 0o002 != 0 {
        return Err(Error::other("everybody may write there"));
    }
    Ok(())
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        clear(&self.folder, self.own);
    }
}

fn clear(folder: &Path, own: bool) {
    for file in [SOCKET, PID_FILE] {
        let _ = fs::remove_file(folder.join(file));
    }
    if own {
        // Only if nobody else put something there.
        let _ = fs::remove_dir(folder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_refused_with_the_pid_of_the_first() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("run");
        let first = RunFolder::acquire(&folder, false).unwrap();
        let error = RunFolder::acquire(&folder, false).unwrap_err().to_string();
        assert!(error.contains(&format!("pid {}", std::process::id())), "{error}");
        drop(first);
        assert!(!folder.exists(), "the folder goes at the end");
        RunFolder::acquire(&folder, false).unwrap();
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let error = RunFolder::acquire(Path::new("/proc/gala"), false).unwrap_err().to_string();
        assert!(error.contains("/proc/gala") && error.contains("--run-dir"), "{error}");
    }

    #[test]
    fn a_stale_pid_file_is_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(PID_FILE), "999999").unwrap();
        let held = RunFolder::acquire(folder.path(), true).unwrap();
        assert_eq!(fs::read_to_string(held.path().join(PID_FILE)).unwrap(), std::process::id().to_string());
    }

    #[test]
    fn what_a_killed_one_left_goes_at_the_next_end() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("run");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join(PID_FILE), "999999").unwrap();
        drop(std::os::unix::net::UnixListener::bind(folder.join(SOCKET)).unwrap());
        drop(RunFolder::acquire(&folder, false).unwrap());
        assert!(!folder.exists());
        fs::create_dir(&folder).unwrap();
        drop(RunFolder::acquire(&folder, true).unwrap());
        assert!(folder.exists(), "one that was named and was there belongs to somebody else");
    }

    #[test]
    fn a_process_that_ends_without_its_parts_leaves_nothing_either() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("run");
        let held = RunFolder::acquire(&folder, false).unwrap();
        drop(std::os::unix::net::UnixListener::bind(folder.join(SOCKET)).unwrap());
        held.clearing()();
        assert!(!folder.exists());
    }

    #[test]
    fn the_run_folder_of_somebody_else_is_not_ours() {
        let folder = tempfile::tempdir().unwrap();
        assert!(is_own(folder.path()));
        assert!(!is_own(&folder.path().join("missing")) && !is_own(Path::new("")));
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(folder.path(), Some(1), None).unwrap();
            assert!(!is_own(folder.path()));
        }
    }

    #[test]
    fn a_link_where_the_file_belongs_is_not_followed() {
        let parent = tempfile::tempdir().unwrap();
        let (folder, precious) = (parent.path().join("run"), parent.path().join("precious"));
        fs::create_dir(&folder).unwrap();
        fs::write(&precious, "precious").unwrap();
        std::os::unix::fs::symlink(&precious, folder.join(PID_FILE)).unwrap();
        assert!(RunFolder::acquire(&folder, true).is_err());
        assert_eq!(fs::read_to_string(&precious).unwrap(), "precious");
        let link = parent.path().join("link");
        std::os::unix::fs::symlink(&folder, &link).unwrap();
        let words = RunFolder::acquire(&link, true).unwrap_err().to_string();
        assert!(words.contains("no folder but a link"), "{words}");
    }

    #[test]
    fn a_folder_everybody_writes_to_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let words = RunFolder::acquire(folder.path(), true).unwrap_err().to_string();
        assert!(words.contains("everybody may write there") && words.contains("--run-dir"), "{words}");
    }
}
