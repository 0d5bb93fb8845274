//! Control groups that withhold something from a process, version 1 or 2, whichever the host has.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::host::Lane;
use crate::undo::Undo;

const ROOT: &str = "/sys/fs/cgroup";
/// A group that was just emptied can be busy for a moment.
const TRIES: u32 = 40;
const PAUSE: Duration = Duration::from_millis(50);

/// What is withheld.
#[derive(Clone, Copy)]
pub enum Controller {
    Io,
    Cpu,
}

impl Controller {
    /// Its name in version 1 and in version 2.
    const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Io => ("blkio", "io"),
            Self::Cpu => ("cpu", "cpu"),
        }
    }
}

pub struct Group {
    controller: Controller,
    /// Where the groups of this controller begin.
    root: PathBuf,
    dir: PathBuf,
    is_first_version: bool,
}

impl Group {
    /// Makes the group; gone with `undo`.
    pub fn new(controller: Controller, lane: Lane, undo: &mut Undo) -> Result<Self> {
        let (first, second) = controller.names();
        let hierarchy = Path::new(ROOT).join(first);
        let is_first_version = hierarchy.is_dir();
        let root = if is_first_version { hierarchy } else { PathBuf::from(ROOT) };
        if !is_first_version {
            enable(&root, second, undo)?;
        }
        let dir = root.join(lane.name());
        std::fs::create_dir_all(&dir).with_context(|| format!("control group {}", dir.display()))?;
        let made = dir.clone();
        undo.call_later(move || remove(&made));
        Ok(Self { controller, root, dir, is_first_version })
    }

    /// Moves a process in; `undo` moves it back to where it was.
    pub fn add(&self, pid: u32, undo: &mut Undo) -> Result<()> {
        let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).context("control groups of the process")?;
        let controller = if self.is_first_version { self.controller.names().0 } else { "" };
        let home = home(&groups, controller).context("the process is in no such control group")?;
        let home = self.root.join(home.trim_start_matches('/')).join("cgroup.procs");
        std::fs::write(self.dir.join("cgroup.procs"), pid.to_string()).with_context(|| self.dir.display().to_string())?;
        undo.call_later(move || {
            if Path::new(&format!("/proc/{pid}")).exists() {
                std::fs::write(&home, pid.to_string()).with_context(|| home.display().to_string())?;
            }
            Ok(())
        });
        Ok(())
    }

    /// At most so many writes per second on a device (`major:minor`).
    pub fn limit_writes(&self, device: &str, per_second: u64) -> Result<()> {
        self.set(
            "blkio.throttle.write_iops_device",
            format!("{device} {per_second}"),
            "io.max",
            format!("{device} wiops={per_second}"),
        )
    }

    /// At most so much time on a processor in each period, in microseconds.
    pub fn limit_cpu(&self, quota: u64, period: u64) -> Result<()> {
        if self.is_first_version {
            std::fs::write(self.dir.join("cpu.cfs_period_us"), period.to_string()).context("cpu.cfs_period_us")?;
        }
        self.set("cpu.cfs_quota_us", quota.to_string(), "cpu.max", format!("{quota} {period}"))
    }

    fn set(&self, first: &str, first_text: String, second: &str, second_text: String) -> Result<()> {
        let (file, text) = if self.is_first_version { (first, first_text) } else { (second, second_text) };
        std::fs::write(self.dir.join(file), text).with_context(|| self.dir.join(file).display().to_string())
    }
}

/// Lets children of the root of version 2 use a controller.
fn enable(root: &Path, controller: &str, undo: &mut Undo) -> Result<()> {
    let has = |file: &str| {
        let text = std::fs::read_to_string(root.join(file)).unwrap_or_default();
        text.split_whitespace().any(|word| word == controller)
    };
    if !has("cgroup.controllers") {
        bail!("no version of control groups offers the controller {controller} here");
    }
    let switches = root.join("cgroup.subtree_control");
    if !has("cgroup.subtree_control") {
        std::fs::write(&switches, format!("+{controller}")).with_context(|| switches.display().to_string())?;
        let off = format!("-{controller}");
        undo.call_later(move || std::fs::write(&switches, off).with_context(|| switches.display().to_string()));
    }
    Ok(())
}

/// The group of a process below a controller's root, from `/proc/PID/cgroup`; an empty controller is version 2.
fn home<'a>(groups: &'a str, controller: &str) -> Option<&'a str> {
    groups.lines().find_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        controllers.split(',').any(|name| name == controller).then_some(path)
    })
}

fn remove(dir: &Path) -> Result<()> {
    for _ in 1..TRIES {
        match std::fs::remove_dir(dir) {
            Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => std::thread::sleep(PAUSE),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            outcome => return outcome.with_context(|| format!("control group {}", dir.display())),
        }
    }
    std::fs::remove_dir(dir).with_context(|| format!("control group {}", dir.display()))
}

/// Removes the groups that a killed lab left; answers which.
pub fn sweep(name: &str) -> Vec<String> {
    let places = ["blkio", "cpu", ""];
    let dirs = places.iter().map(|place| Path::new(ROOT).join(place).join(name)).filter(|dir| dir.is_dir());
    dirs.filter(|dir| remove(dir).is_ok()).map(|dir| format!("control group {}", dir.display())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_a_process_came_from_is_read_in_both_versions() {
        // Debian 12 as a service; a host of version 1 with joined controllers.
        assert_eq!(home("0::/system.slice/ssh.service\n", ""), Some("/system.slice/ssh.service"));
        let first = "12:cpu,cpuacct:/user.slice\n5:blkio:/\n1:name=systemd:/user.slice\n0::/user.slice/session-1.scope\n";
        assert_eq!(home(first, "cpu"), Some("/user.slice"));
        assert_eq!(home(first, "blkio"), Some("/"));
        assert_eq!(home(first, "io"), None);
    }
}
