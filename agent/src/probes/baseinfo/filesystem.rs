//! Mounted file systems. A mount whose server is gone never answers, so remote ones are asked by a thread of their own whose
//! answers of the previous period are reported; local ones are asked directly.

use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use gala_model::tables::baseinfo::SystemDf;
use rustix::fs::{StatVfs, statvfs};

use crate::probes::RowSink;
use crate::procfs::ProcFile;
use crate::procfs::counter::percent;
use crate::procfs::mounts::{Mount, one_per_device, parse_mounts};

/// Mounts reported at most, in mount order.
const MAX_MOUNTS: usize = 256;

pub(super) struct FileSystems {
    mounts: ProcFile,
    remote: Option<Remote>,
    pub skipped: u64,
}

/// The thread that asks remote mounts. It is left behind if a mount hangs it for ever.
struct Remote {
    questions: Sender<Vec<Mount>>,
    answers: Receiver<Vec<(Mount, StatVfs)>>,
    waiting: bool,
    /// Periods without an answer.
    silent: u64,
}

impl FileSystems {
    pub fn start() -> std::io::Result<Self> {
        Ok(Self { mounts: ProcFile::open("/proc/self/mounts")?, remote: None, skipped: 0 })
    }

    /// Periods in which remote mounts did not answer.
    pub fn silent_periods(&self) -> u64 {
        self.remote.as_ref().map_or(0, |remote| remote.silent)
    }

    pub fn collect(&mut self, out: &mut dyn RowSink) -> std::io::Result<()> {
        let mut mounts = parse_mounts(self.mounts.read()?);
        let remote: Vec<Mount> = mounts.extract_if(.., |mount| mount.is_remote()).collect();
        mounts.retain(Mount::has_storage);
        one_per_device(&mut mounts);
        self.skipped += mounts.len().saturating_sub(MAX_MOUNTS) as u64;
        for mount in mounts.iter().take(MAX_MOUNTS) {
            if let Ok(size) = statvfs(Path::new(&mount.target)) {
                push(mount, &size, out);
            }
        }
        if !remote.is_empty() {
            self.remote.get_or_insert_with(Remote::start).ask(remote, out);
        }
        Ok(())
    }
}

impl Remote {
    fn start() -> Self {
        let (questions, asked) = channel::<Vec<Mount>>();
        let (answered, answers) = channel();
        // Without a thread the questions stay unanswered, which is counted.
        let _ = thread::Builder::new().name("gala-mounts".into()).spawn(move || {
            while let Ok(mounts) = asked.recv() {
                let sizes =
                    mounts.into_iter().filter_map(|mount| statvfs(Path::new(&mount.target)).ok().map(|size| (mount, size)));
                if answered.send(sizes.collect()).is_err() {
                    return;
                }
            }
        });
        Self { questions, answers, waiting: false, silent: 0 }
    }

    fn ask(&mut self, mut mounts: Vec<Mount>, out: &mut dyn RowSink) {
        while let Ok(sizes) = self.answers.try_recv() {
            self.waiting = false;
            for (mount, size) in &sizes {
                push(mount, size, out);
            }
        }
        if self.waiting {
            self.silent += 1;
            return;
        }
        mounts.truncate(MAX_MOUNTS);
        self.waiting = self.questions.send(mounts).is_ok();
    }
}

/// Files without a size of their own (an empty automount, a pseudo file system) are no storage.
fn push(mount: &Mount, size: &StatVfs, out: &mut dyn RowSink) {
    if size.f_blocks > 0 {
        out.push(&df_row(mount, size));
    }
}

/// The figures of df(1): used space counts what is kept for root, the share leaves it out.
fn df_row(mount: &Mount, size: &StatVfs) -> SystemDf {
    let kb = |blocks: u64| (u128::from(blocks) * u128::from(size.f_frsize) / 1024) as u64;
    let used = size.f_blocks.saturating_sub(size.f_bfree);
    let inodes_used = size.f_files.saturating_sub(size.f_ffree);
    SystemDf {
        mount_on: mount.target.clone(),
        mount_status: mount.access.clone(),
        fsname: mount.source.clone(),
        fstype: mount.kind.clone(),
        inodes: size.f_files.to_string(),
        iused: (size.f_files > 0).then_some(inodes_used),
        ifree: (size.f_files > 0).then_some(size.f_ffree),
        iuse_per: percent(inodes_used as f64, size.f_files as f64),
        blocks: kb(size.f_blocks).to_string(),
        used: Some(kb(used)),
        free: Some(kb(size.f_bavail)),
        use_per: percent(used as f64, (used + size.f_bavail) as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn space_kept_for_root_is_neither_free_nor_used() {
        let mount = parse_mounts(b"/dev/sda1 /home ext4 rw,relatime 0 0\n").remove(0);
        let mut size = statvfs("/").unwrap();
        size.f_frsize = 4096;
        (size.f_blocks, size.f_bfree, size.f_bavail) = (1000, 500, 400);
        (size.f_files, size.f_ffree) = (200, 150);
        let row = df_row(&mount, &size);
        assert_eq!((row.used, row.free, row.blocks.as_str()), (Some(2000), Some(1600), "4000"));
        assert!((row.use_per.unwrap() - 500.0 / 900.0 * 100.0).abs() < 1e-9);
        assert_eq!((row.iused, row.ifree, row.iuse_per), (Some(50), Some(150), Some(25.0)));
        assert_eq!((row.mount_on.as_str(), row.mount_status.as_str()), ("/home", "rw"));
    }

    #[test]
    fn a_file_system_without_inodes_has_no_inode_figures() {
        let mount = parse_mounts(b"/dev/sda1 /boot vfat rw 0 0\n").remove(0);
        let mut size = statvfs("/").unwrap();
        (size.f_files, size.f_ffree) = (0, 0);
        let row = df_row(&mount, &size);
        assert_eq!((row.iused, row.iuse_per), (None, None));
    }
}
