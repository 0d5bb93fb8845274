//! The faults, how each is made and healed, and what a right answer is.

use anyhow::Result;
use clap::ValueEnum;

use crate::host::{self, Disk, IoGroup, in_namespace};
use crate::redis::{Redis, own};
use crate::undo::Undo;

/// What the slow disk takes; the server writes its log more often than that.
const SLOW_WRITES_PER_SECOND: u64 = 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Fault {
    /// A noisy neighbour on the server's processor
    Cpu,
    /// A tenth of the packets to the client is lost
    Loss,
    /// The disk under the server's log takes few writes a second
    Disk,
    /// A neighbour syncs to the same disk all the time
    Fsync,
    /// More connections come at once than the server's queue holds
    Listen,
}

impl Fault {
    pub const ALL: [Self; 5] = [Self::Cpu, Self::Loss, Self::Disk, Self::Fsync, Self::Listen];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Loss => "loss",
            Self::Disk => "disk",
            Self::Fsync => "fsync",
            Self::Listen => "listen",
        }
    }

    /// Whether the server must write its log to the lab's own disk.
    pub const fn needs_disk(self) -> bool {
        matches!(self, Self::Disk | Self::Fsync)
    }

    /// Categories that name this fault.
    const fn categories(self) -> &'static [&'static str] {
        match self {
            Self::Cpu => &["S1"],
            Self::Loss | Self::Listen => &["S4"],
            Self::Disk => &["S3", "H1"],
            Self::Fsync => &["S3"],
        }
    }

    /// Whether a first cause is the truth: the entity at fault and its category.
    pub fn is_right(self, truth: &Truth, entity_id: &str, entity_type: &str, category: &str) -> bool {
        let is_process = |pid: u32| entity_type == "proc" && entity_id.ends_with(&format!("_proc_{pid}"));
        let of_server = entity_id.contains(&format!("_{}_", truth.server)) || entity_id.ends_with(&format!("_{}", truth.server));
        let entity = match self {
            Self::Cpu => truth.culprits.iter().any(|pid| is_process(*pid)) || entity_id.ends_with(&format!("_cpu_{}", truth.cpu)),
            Self::Loss => matches!(entity_type, "tcp_link" | "nic" | "net"),
            Self::Disk => matches!(entity_type, "disk" | "block"),
            Self::Fsync => truth.culprits.iter().any(|pid| is_process(*pid)) || matches!(entity_type, "disk" | "block"),
            Self::Listen => (entity_type == "endpoint_tcp" && of_server) || entity_type == "net",
        };
        entity && self.categories().contains(&category)
    }
}

/// What is really wrong.
#[derive(Debug)]
pub struct Truth {
    pub server: u32,
    pub cpu: usize,
    /// Processes that do the harm.
    pub culprits: Vec<u32>,
}

/// Makes the fault; what is started ends with `undo`.
pub fn inject(fault: Fault, redis: &Redis, disk: Option<&Disk>, undo: &mut Undo) -> Result<Truth> {
    let mut truth = Truth { server: redis.pid, cpu: redis.cpu, culprits: Vec::new() };
    let cpu = redis.cpu.to_string();
    let address = redis.address.to_string();
    match fault {
        Fault::Cpu => {
            for _ in 0..2 {
                let child = own(&["burn", "--cpu", &cpu], false)?;
                truth.culprits.push(child.id());
                undo.kill_later(child);
            }
        }
        Fault::Loss => {
            // On the receiving side: a drop at the sender would be told to it as an error.
            let rule = ["INPUT", "-p", "tcp", "-m", "statistic", "--mode", "random", "--probability", "0.1", "-j", "DROP"];
            let mut add = vec!["iptables", "-I"];
            add.extend_from_slice(&rule);
            in_namespace(&add)?;
            let mut remove = vec!["ip", "netns", "exec", host::NAMESPACE, "iptables", "-D"];
            remove.extend_from_slice(&rule);
            undo.run_later(&remove);
        }
        Fault::Disk => {
            let disk = disk.ok_or_else(|| anyhow::anyhow!("this fault needs the lab's disk"))?;
            let group = IoGroup::new(undo)?;
            group.add(redis.pid)?;
            group.limit_writes(&host::device_number(&disk.device)?, Some(SLOW_WRITES_PER_SECOND))?;
            undo.run_later(&["sh", "-c", &format!("echo {} > {}", redis.pid, root_group())]);
        }
        Fault::Fsync => {
            let disk = disk.ok_or_else(|| anyhow::anyhow!("this fault needs the lab's disk"))?;
            let child = own(&["fsync-flood", &disk.mount.display().to_string()], false)?;
            truth.culprits.push(child.id());
            undo.kill_later(child);
        }
        Fault::Listen => {
            let child = own(&["connect-flood", &address, "--cpu", &cpu], false)?;
            truth.culprits.push(child.id());
            undo.kill_later(child);
        }
    }
    Ok(truth)
}

/// Where a process goes when it leaves the lab's control group.
fn root_group() -> &'static str {
    if std::path::Path::new("/sys/fs/cgroup/blkio").is_dir() {
        "/sys/fs/cgroup/blkio/cgroup.procs"
    } else {
        "/sys/fs/cgroup/cgroup.procs"
    }
}
