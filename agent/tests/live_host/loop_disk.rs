//! A disk of a test's own, made of a file.

use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::run;

/// A disk made of a file, with a mounted ext4 on it where wanted.
pub struct Disk {
    device: String,
    mounted: Option<PathBuf>,
    _folder: tempfile::TempDir,
}

impl Disk {
    pub fn create(file_system: bool) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("image");
        fs::File::create(&image).unwrap().set_len(64 << 20).unwrap();
        let device = run("losetup", &["--find", "--show", "--direct-io=on", image.to_str()?])
            .or_else(|| run("losetup", &["--find", "--show", image.to_str()?]))?;
        let mut disk = Self { device, mounted: None, _folder: folder };
        if file_system {
            let point = disk._folder.path().join("mount");
            fs::create_dir(&point).unwrap();
            run("mkfs.ext4", &["-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", &disk.device])?;
            run("mount", &[&disk.device, point.to_str()?])?;
            disk.mounted = Some(point);
        }
        Some(disk)
    }

    pub fn device(&self) -> &str {
        &self.device
    }

    /// Where its file system is.
    pub fn mounted(&self) -> &Path {
        self.mounted.as_ref().expect("made with a file system")
    }

    pub fn name(&self) -> &str {
        self.device.trim_start_matches("/dev/")
    }

    /// Columns of the disk's own statistics: 0 reads, 2 sectors read, 4 writes, 6 sectors written.
    pub fn stat(&self) -> Vec<u64> {
        let text = fs::read_to_string(format!("/sys/block/{}/stat", self.name())).unwrap();
        text.split_whitespace().map(|number| number.parse().unwrap()).collect()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Some(point) = &self.mounted {
            run("umount", &[point.to_str().unwrap()]);
        }
        run("losetup", &["--detach", &self.device]);
    }
}
