//! Limits of control groups and how often they were felt: quota of CPU time, limit of memory. Both versions
//! (Documentation/admin-guide/cgroup-v1/memory.rst, Documentation/scheduler/sched-bwc.rst, Documentation/admin-guide/cgroup-v2.rst).

use std::fs;
use std::path::{Path, PathBuf};

use ahash::HashMap;
use gala_model::tables::proc::ProcCgroup;

use crate::probes::RowSink;
use crate::procfs::counter::{grown_between, percent};
use crate::procfs::read_number;
use crate::procfs::text::{fields, lines, lossy, number};

/// Processes looked at in one period.
const MAX_PROCESSES: usize = 256;
/// A limit of this size or more is none: version 1 writes "no limit" as a number near 2^63.
const NO_LIMIT: u64 = 1 << 60;

/// Where the controllers are mounted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Mounts {
    cpu: Option<PathBuf>,
    memory: Option<PathBuf>,
    unified: Option<PathBuf>,
}

impl Mounts {
    fn parse(mounts: &[u8]) -> Self {
        let mut found = Self::default();
        for line in lines(mounts) {
            let columns: Vec<&[u8]> = fields(line).collect();
            let [_, target, kind, options, ..] = columns[..] else { continue };
            let has = |name: &[u8]| options.split(|byte| *byte == b',').any(|option| option == name);
            let target = || Some(PathBuf::from(lossy(target)));
            match kind {
                b"cgroup2" => found.unified = target(),
                b"cgroup" if has(b"cpu") => found.cpu = target(),
                b"cgroup" if has(b"memory") => found.memory = target(),
                _ => {}
            }
        }
        found
    }

    /// Folders of a process's groups (CPU, memory) and the CPU group's path; `None` in the root group of both.
    fn groups(&self, proc_cgroup: &[u8]) -> Option<(String, PathBuf, PathBuf)> {
        let path = |wanted: &str| {
            lines(proc_cgroup).find_map(|line| {
                let mut parts = line.splitn(3, |byte| *byte == b':').skip(1);
                let (controllers, path) = (parts.next()?, parts.next()?);
                let matches = if wanted.is_empty() {
                    controllers.is_empty()
                } else {
                    controllers.split(|byte| *byte == b',').any(|controller| controller == wanted.as_bytes())
                };
                matches.then(|| lossy(path))
            })
        };
        let unified = path("").unwrap_or_default();
        let of = |mount: &Option<PathBuf>, wanted: &str| match (mount, path(wanted)) {
            (Some(mount), Some(path)) => Some((mount.clone(), path)),
            _ => self.unified.clone().map(|mount| (mount, unified.clone())),
        };
        let (cpu_mount, cpu_path) = of(&self.cpu, "cpu")?;
        let (memory_mount, memory_path) = of(&self.memory, "memory")?;
        if cpu_path.len() <= 1 && memory_path.len() <= 1 {
            return None;
        }
        let join = |mount: PathBuf, path: &str| mount.join(path.trim_start_matches('/'));
        let name = if cpu_path.len() > 1 { cpu_path.clone() } else { memory_path.clone() };
        Some((name, join(cpu_mount, &cpu_path), join(memory_mount, &memory_path)))
    }
}

/// One group's counters and limits.
#[derive(Clone, Debug, Default, PartialEq)]
struct Reading {
    throttled_ns: Option<u64>,
    throttled_count: Option<u64>,
    quota_cores: Option<f64>,
    memory_used: Option<u64>,
    memory_limit: Option<u64>,
    oom_kills: Option<u64>,
    limit_hits: Option<u64>,
}

#[derive(Default)]
pub(super) struct Groups {
    mounts: Option<Mounts>,
    before: HashMap<(PathBuf, PathBuf), Reading>,
    /// For how long the group of a process was held back in the period, ns.
    pub throttled: HashMap<u32, u64>,
}

impl Groups {
    /// A row for each process whose group has a limit.
    pub fn push(&mut self, processes: impl Iterator<Item = u32>, out: &mut dyn RowSink) {
        let mounts = self.mounts.get_or_insert_with(|| Mounts::parse(&fs::read("/proc/self/mounts").unwrap_or_default())).clone();
        let mut now: HashMap<(PathBuf, PathBuf), Reading> = HashMap::default();
        self.throttled.clear();
        for tgid in processes.take(MAX_PROCESSES) {
            let Ok(membership) = fs::read(format!("/proc/{tgid}/cgroup")) else { continue };
            let Some((cgroup, cpu, memory)) = mounts.groups(&membership) else { continue };
            let key = (cpu, memory);
            let reading = now.entry(key.clone()).or_insert_with(|| Reading::of(&mounts, &key.0, &key.1));
            if reading.quota_cores.is_none() && reading.memory_limit.is_none() {
                continue;
            }
            if let Some(before) = self.before.get(&key) {
                let row = row(tgid, cgroup, before, reading);
                if let Some(throttled_ns) = row.throttled_ns.filter(|ns| *ns > 0) {
                    self.throttled.insert(tgid, throttled_ns);
                }
                out.push(&row);
            }
        }
        self.before = now;
    }
}

impl Reading {
    fn of(mounts: &Mounts, cpu: &Path, memory: &Path) -> Self {
        let mut reading = Self::default();
        // A quota may stand at a group above, which then throttles all below.
        let roots = [mounts.cpu.as_deref(), mounts.unified.as_deref()];
        let mut folder = Some(cpu);
        while let Some(current) = folder.filter(|folder| !roots.contains(&Some(folder))) {
            reading.quota_cores = quota(current);
            if reading.quota_cores.is_some() {
                (reading.throttled_ns, reading.throttled_count) =
                    parse_throttling(&fs::read(current.join("cpu.stat")).unwrap_or_default());
                break;
            }
            folder = current.parent();
        }
        let limit = |name: &str| read_number(&memory.join(name)).filter(|limit| *limit < NO_LIMIT);
        let text = |name: &str| fs::read(memory.join(name)).unwrap_or_default();
        if let Some(limit) = limit("memory.max") {
            let events = text("memory.events");
            reading.memory_limit = Some(limit);
            reading.memory_used = read_number(&memory.join("memory.current"));
            reading.oom_kills = value_of(&events, "oom_kill");
            reading.limit_hits = value_of(&events, "max");
        } else if let Some(limit) = limit("memory.limit_in_bytes") {
            reading.memory_limit = Some(limit);
            reading.memory_used = read_number(&memory.join("memory.usage_in_bytes"));
            reading.oom_kills = value_of(&text("memory.oom_control"), "oom_kill");
            reading.limit_hits = read_number(&memory.join("memory.failcnt"));
        }
        reading
    }
}

/// CPUs that the group's quota allows; `None` without one.
fn quota(folder: &Path) -> Option<f64> {
    if let Ok(text) = fs::read(folder.join("cpu.max")) {
        let mut columns = fields(&text).map(number);
        let (quota, period) = (columns.next()??, columns.next()??);
        return (period > 0).then(|| quota as f64 / period as f64);
    }
    // No quota is -1, which is no unsigned number.
    let quota = read_number(&folder.join("cpu.cfs_quota_us"))?;
    let period = read_number(&folder.join("cpu.cfs_period_us")).filter(|period| *period > 0)?;
    Some(quota as f64 / period as f64)
}

/// Throttled time in ns and number of throttled periods from `cpu.stat` of either version.
fn parse_throttling(text: &[u8]) -> (Option<u64>, Option<u64>) {
    let time = value_of(text, "throttled_time").or_else(|| value_of(text, "throttled_usec").map(|us| us * 1000));
    (time, value_of(text, "nr_throttled"))
}

fn value_of(text: &[u8], name: &str) -> Option<u64> {
    lines(text).find_map(|line| {
        let mut columns = fields(line);
        (columns.next()? == name.as_bytes()).then(|| columns.next().and_then(number))?
    })
}

fn row(tgid: u32, cgroup: String, before: &Reading, now: &Reading) -> ProcCgroup {
    ProcCgroup {
        tgid,
        cgroup,
        throttled_ns: grown_between(before.throttled_ns, now.throttled_ns),
        throttled_count: grown_between(before.throttled_count, now.throttled_count),
        quota_cores: now.quota_cores,
        memory_limit_used_per: now.memory_used.zip(now.memory_limit).and_then(|(used, limit)| percent(used as f64, limit as f64)),
        memory_oom_kills: grown_between(before.oom_kills, now.oom_kills),
        memory_limit_hits: grown_between(before.limit_hits, now.limit_hits),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &[u8] = b"tmpfs /sys/fs/cgroup tmpfs rw 0 0
cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,relatime,cpu,cpuacct 0 0
cgroup /sys/fs/cgroup/cpuset cgroup rw,relatime,cpuset 0 0
cgroup /sys/fs/cgroup/memory cgroup rw,relatime,memory 0 0
cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0
";

    #[test]
    fn groups_of_version_1_are_found_by_controller() {
        let mounts = Mounts::parse(HYBRID);
        let (name, cpu, memory) = mounts.groups(b"4:memory:/m\n3:cpuset:/\n1:cpu,cpuacct:/docker/abc\n0::/\n").unwrap();
        assert_eq!(name, "/docker/abc");
        assert_eq!(cpu, Path::new("/sys/fs/cgroup/cpu,cpuacct/docker/abc"));
        assert_eq!(memory, Path::new("/sys/fs/cgroup/memory/m"));
        assert!(mounts.groups(b"4:memory:/\n1:cpu,cpuacct:/\n0::/x\n").is_none(), "the controllers' root has no limits");
    }

    #[test]
    fn groups_of_version_2_have_one_path() {
        let mounts = Mounts::parse(b"cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n");
        let (name, cpu, memory) = mounts.groups(b"0::/system.slice/redis.service\n").unwrap();
        assert_eq!(name, "/system.slice/redis.service");
        assert_eq!((&cpu, &memory), (&memory, &cpu));
    }

    #[test]
    fn throttling_is_in_nanoseconds_in_both_versions() {
        assert_eq!(parse_throttling(b"nr_periods 100\nnr_throttled 7\nthrottled_time 123456\n"), (Some(123_456), Some(7)));
        assert_eq!(parse_throttling(b"usage_usec 5\nnr_periods 1\nnr_throttled 3\nthrottled_usec 9\n"), (Some(9000), Some(3)));
        assert_eq!(parse_throttling(b"usage_usec 5\n"), (None, None));
    }

    #[test]
    fn a_quota_of_a_group_above_counts() {
        let root = tempfile::tempdir().unwrap();
        let child = root.path().join("pod/container");
        fs::create_dir_all(&child).unwrap();
        fs::write(root.path().join("pod/cpu.max"), "50000 100000\n").unwrap();
        fs::write(root.path().join("pod/cpu.stat"), "nr_throttled 4\nthrottled_usec 10\n").unwrap();
        fs::write(child.join("cpu.max"), "max 100000\n").unwrap();
        fs::write(child.join("memory.max"), "1048576\n").unwrap();
        fs::write(child.join("memory.current"), "524288\n").unwrap();
        fs::write(child.join("memory.events"), "low 0\nhigh 0\nmax 3\noom 1\noom_kill 1\n").unwrap();
        let mounts = Mounts { unified: Some(root.path().to_owned()), ..Mounts::default() };
        let reading = Reading::of(&mounts, &child, &child);
        assert_eq!((reading.quota_cores, reading.throttled_ns, reading.throttled_count), (Some(0.5), Some(10_000), Some(4)));
        assert_eq!((reading.limit_hits, reading.oom_kills), (Some(3), Some(1)));
        let row = row(1, "/c".into(), &reading, &reading);
        assert_eq!((row.memory_limit_used_per, row.throttled_ns), (Some(50.0), Some(0)));
    }
}
