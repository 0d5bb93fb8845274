//! The stage: a network namespace for the client behind a veth pair, and a small disk of its own on a loop device.
//!
//! All that a lab makes bears the name of its lane, so that labs can run beside each other, and what a killed one left is found
//! and removed by its warden, else by the next.

use std::net::Ipv4Addr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::groups;
use crate::undo::{Undo, run};

const DISK_MIB: u64 = 256;
/// The kernel removes a namespace's links a moment after the namespace.
const GONE_PATIENCE: Duration = Duration::from_secs(10);
/// A lab that was killed is cleaned up after by its warden, which holds the lane meanwhile.
pub const LANE_PATIENCE: Duration = Duration::from_secs(5);

/// Names and addresses of one lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lane(u8);

impl Lane {
    /// `number` up to 99.
    pub const fn new(number: u8) -> Self {
        Self(number)
    }

    pub const fn number(self) -> u8 {
        self.0
    }

    /// Of the namespace, the control groups and the folder.
    pub fn name(self) -> String {
        if self.0 == 0 { "gala-lab".into() } else { format!("gala-lab-{}", self.0) }
    }

    pub fn server_link(self) -> String {
        format!("galalab{}s", self.0)
    }

    fn client_link(self) -> String {
        format!("galalab{}c", self.0)
    }

    /// In a range nobody routes (RFC 5737's would be refused by some firewalls; this is inside 198.18.0.0/15, for benchmarks).
    pub const fn server_ip(self) -> Ipv4Addr {
        Ipv4Addr::new(198, 18, 77 + self.0, 1)
    }

    const fn client_ip(self) -> Ipv4Addr {
        Ipv4Addr::new(198, 18, 77 + self.0, 2)
    }

    pub fn dir(self) -> PathBuf {
        std::env::temp_dir().join(self.name())
    }

    /// Makes the folder; one that is there already is somebody else's.
    pub fn make_dir(self, undo: &mut Undo) -> Result<PathBuf> {
        let dir = self.dir();
        std::fs::DirBuilder::new().mode(0o700).create(&dir).with_context(|| dir.display().to_string())?;
        undo.remove_later(dir.clone());
        Ok(dir)
    }

    /// Holds the lane for as long as the answer lives, a kill included; waits so long for whoever holds it.
    pub fn claim(self, patience: Duration) -> Result<UnixListener> {
        let address = SocketAddr::from_abstract_name(self.name()).context("name of the lane")?;
        let begun = Instant::now();
        loop {
            match UnixListener::bind_addr(&address) {
                Err(_) if begun.elapsed() < patience => std::thread::sleep(Duration::from_millis(50)),
                outcome => {
                    let taken = || format!("another lab holds lane {}; give this one another with --lane", self.0);
                    return outcome.with_context(taken);
                }
            }
        }
    }

    /// The words that run a command beside the client.
    pub fn inside<'a>(namespace: &'a str, words: &[&'a str]) -> Vec<&'a str> {
        [&["ip", "netns", "exec", namespace], words].concat()
    }
}

/// Removes what an earlier lab of this lane left when it was killed; answers what that was.
pub fn sweep(lane: Lane) -> Vec<String> {
    let (name, link, dir) = (lane.name(), lane.server_link(), lane.dir());
    let mut removed = Vec::new();
    if has_namespace(&name) && run(&["ip", "netns", "del", &name]).is_ok() {
        removed.push(format!("network namespace {name}"));
    }
    if Path::new("/sys/class/net").join(&link).exists() {
        // With the namespace it goes by itself, a moment later.
        let _ = run(&["ip", "link", "del", &link]);
        removed.push(format!("link {link}"));
    }
    let mount = dir.join("disk").display().to_string();
    let is_mounted = |mounts: String| mounts.lines().any(|line| line.split(' ').nth(1) == Some(&mount));
    while std::fs::read_to_string("/proc/self/mounts").is_ok_and(is_mounted) && run(&["umount", "-l", &mount]).is_ok() {
        removed.push(format!("mount {mount}"));
    }
    let image = dir.join("disk.img").display().to_string();
    for device in run(&["losetup", "-n", "-O", "NAME", "-j", &image]).unwrap_or_default().lines() {
        if run(&["losetup", "-d", device.trim()]).is_ok() {
            removed.push(format!("loop device {}", device.trim()));
        }
    }
    if dir.symlink_metadata().is_ok() && std::fs::remove_dir_all(&dir).is_ok() {
        removed.push(format!("folder {}", dir.display()));
    }
    removed.extend(groups::sweep(&name));
    removed
}

fn has_namespace(name: &str) -> bool {
    let list = run(&["ip", "netns", "list"]).unwrap_or_default();
    list.lines().any(|line| line.split_whitespace().next() == Some(name))
}

/// The client's namespace; gone with `undo`.
pub fn namespace(lane: Lane, undo: &mut Undo) -> Result<()> {
    let (name, server_link, client_link) = (lane.name(), lane.server_link(), lane.client_link());
    let begun = Instant::now();
    while Path::new("/sys/class/net").join(&server_link).exists() {
        if begun.elapsed() > GONE_PATIENCE {
            bail!("a link {server_link} exists and does not go; remove it with `ip link del {server_link}`");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    run(&["ip", "netns", "add", &name])?;
    undo.run_later(&["ip", "netns", "del", &name]);
    run(&["ip", "link", "add", &server_link, "type", "veth", "peer", "name", &client_link, "netns", &name])?;
    undo.run_later(&["ip", "link", "del", &server_link]);
    run(&["ip", "addr", "add", &format!("{}/30", lane.server_ip()), "dev", &server_link])?;
    run(&["ip", "link", "set", &server_link, "up"])?;
    in_namespace(lane, &["ip", "addr", "add", &format!("{}/30", lane.client_ip()), "dev", &client_link])?;
    in_namespace(lane, &["ip", "link", "set", &client_link, "up"])?;
    in_namespace(lane, &["ip", "link", "set", "lo", "up"])?;
    // One lost packet shall be one segment, not 64 KiB of them.
    let offloads = ["tso", "off", "gso", "off", "gro", "off"];
    run(&[&["ethtool", "-K", &server_link], &offloads[..]].concat())?;
    in_namespace(lane, &[&["ethtool", "-K", &client_link], &offloads[..]].concat())?;
    Ok(())
}

pub fn in_namespace(lane: Lane, command: &[&str]) -> Result<String> {
    run(&Lane::inside(&lane.name(), command))
}

/// A file system on a loop device.
#[derive(Debug)]
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

/// The last processor that this program may run on.
pub fn last_processor() -> Result<usize> {
    let allowed = rustix::thread::sched_getaffinity(None).context("processors that may be used")?;
    (0..rustix::thread::CpuSet::MAX_CPU).rev().find(|cpu| allowed.is_set(*cpu)).context("no processor may be used")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_share_no_name_and_fit_the_kernels_limits() {
        let (first, last) = (Lane::new(0), Lane::new(99));
        assert_ne!(first.name(), last.name());
        assert_ne!(first.server_ip(), last.server_ip());
        assert!(last.server_link().len() <= 15 && last.client_link().len() <= 15, "names of links have 15 characters");
    }

    #[test]
    fn a_lane_is_held_once_and_free_again_when_its_holder_is_gone() {
        let lane = Lane::new(98);
        let held = lane.claim(Duration::ZERO).unwrap();
        assert!(format!("{:#}", lane.claim(Duration::ZERO).unwrap_err()).starts_with("another lab holds lane 98"));
        drop(held);
        lane.claim(Duration::ZERO).unwrap();
    }
}
