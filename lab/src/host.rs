//! The stage: a network namespace for the client behind a veth pair, and a small disk of its own on a loop device.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::undo::{Undo, run};

/// Namespace of the client.
pub const NAMESPACE: &str = "gala-lab";
const SERVER_LINK: &str = "galalab0";
const CLIENT_LINK: &str = "galalab1";
/// A range nobody routes (RFC 5737 would be refused by some firewalls; this is inside 198.18.0.0/15, for benchmarks).
pub const SERVER_IP: Ipv4Addr = Ipv4Addr::new(198, 18, 77, 1);
pub const CLIENT_IP: Ipv4Addr = Ipv4Addr::new(198, 18, 77, 2);
const DISK_MIB: u64 = 256;

/// The client's namespace; gone with `undo`.
pub fn namespace(undo: &mut Undo) -> Result<()> {
    let exists = run(&["ip", "netns", "list"])?.lines().any(|line| line.split_whitespace().next() == Some(NAMESPACE));
    if exists {
        bail!(
            "network namespace {NAMESPACE} exists: another run is under way, or one was killed; remove it with `ip netns del {NAMESPACE}`"
        );
    }
    run(&["ip", "netns", "add", NAMESPACE])?;
    undo.run_later(&["ip", "netns", "del", NAMESPACE]);
    run(&["ip", "link", "add", SERVER_LINK, "type", "veth", "peer", "name", CLIENT_LINK, "netns", NAMESPACE])?;
    undo.run_later(&["ip", "link", "del", SERVER_LINK]);
    run(&["ip", "addr", "add", &format!("{SERVER_IP}/30"), "dev", SERVER_LINK])?;
    run(&["ip", "link", "set", SERVER_LINK, "up"])?;
    in_namespace(&["ip", "addr", "add", &format!("{CLIENT_IP}/30"), "dev", CLIENT_LINK])?;
    in_namespace(&["ip", "link", "set", CLIENT_LINK, "up"])?;
    in_namespace(&["ip", "link", "set", "lo", "up"])?;
    // One lost packet shall be one segment, not 64 KiB of them.
    for (namespace, link) in [(false, SERVER_LINK), (true, CLIENT_LINK)] {
        let command = ["ethtool", "-K", link, "tso", "off", "gso", "off", "gro", "off"];
        if namespace {
            in_namespace(&command)?
        } else {
            run(&command)?
        };
    }
    Ok(())
}

pub fn in_namespace(command: &[&str]) -> Result<String> {
    let mut words = vec!["ip", "netns", "exec", NAMESPACE];
    words.extend_from_slice(command);
    run(&words)
}

/// A file system on a loop device.
pub struct Disk {
    pub mount: PathBuf,
    /// `loop0`
    pub device: String,
}

/// Makes, mounts and later removes a small disk.
pub fn disk(dir: &Path, undo: &mut Undo) -> Result<Disk> {
    let image = dir.join("disk.img");
    let file = std::fs::File::create(&image).context("disk image")?;
    // Written out, not sparse: allocation on first write is no fault we mean.
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, DISK_MIB << 20).context("disk image")?;
    drop(file);
    let image_text = image.display().to_string();
    run(&["mkfs.ext4", "-q", "-F", &image_text])?;
    let device = run(&["losetup", "--find", "--show", &image_text])?;
    undo.run_later(&["losetup", "-d", &device]);
    let mount = dir.join("disk");
    std::fs::create_dir_all(&mount).context("mount point")?;
    let mount_text = mount.display().to_string();
    run(&["mount", &device, &mount_text])?;
    undo.run_later(&["umount", "-l", &mount_text]);
    let device = device.trim_start_matches("/dev/").to_owned();
    Ok(Disk { mount, device })
}

/// Device number of a block device, `major:minor`.
pub fn device_number(device: &str) -> Result<String> {
    let path = format!("/sys/class/block/{device}/dev");
    Ok(std::fs::read_to_string(&path).with_context(|| path)?.trim().to_owned())
}

/// A control group that can limit I/O, version 1 or 2.
pub struct IoGroup {
    dir: PathBuf,
    version: u8,
}

impl IoGroup {
    /// Makes the group; gone with `undo` once nobody is in it.
    pub fn new(undo: &mut Undo) -> Result<Self> {
        let (dir, version) = if Path::new("/sys/fs/cgroup/blkio").is_dir() {
            (PathBuf::from("/sys/fs/cgroup/blkio").join(NAMESPACE), 1)
        } else {
            // The controller must be on for children of the root; it usually is, set by systemd.
            let root = Path::new("/sys/fs/cgroup/cgroup.subtree_control");
            if !std::fs::read_to_string(root).unwrap_or_default().contains("io") {
                bail!("control group v2 without controller io for children of the root: a slow disk cannot be made here");
            }
            (PathBuf::from("/sys/fs/cgroup").join(NAMESPACE), 2)
        };
        std::fs::create_dir_all(&dir).with_context(|| format!("control group {}", dir.display()))?;
        undo.run_later(&["rmdir", &dir.display().to_string()]);
        Ok(Self { dir, version })
    }

    pub fn add(&self, pid: u32) -> Result<()> {
        std::fs::write(self.dir.join("cgroup.procs"), pid.to_string()).context("control group")
    }

    /// At most so many writes per second on a device; `None` lifts the limit.
    pub fn limit_writes(&self, device: &str, per_second: Option<u64>) -> Result<()> {
        let (file, text) = if self.version == 1 {
            ("blkio.throttle.write_iops_device", format!("{device} {}", per_second.unwrap_or(0)))
        } else {
            ("io.max", format!("{device} wiops={}", per_second.map_or_else(|| "max".to_owned(), |limit| limit.to_string())))
        };
        std::fs::write(self.dir.join(file), text).with_context(|| format!("limit of {device}"))
    }
}
