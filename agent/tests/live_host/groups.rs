//! Control groups: what their limits do to processes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use gala_agent::probes;

use crate::harness::*;
use crate::wait::wait_for;

/// A control group of either version.
pub struct Group {
    pub folder: PathBuf,
    pub unified: bool,
}

impl Group {
    pub fn create(name: &str) -> Option<Self> {
        Self::of_controller("cpu", name, "cpu.cfs_quota_us", "cpu.max")
    }

    /// A group whose controller has the named file of version 1 or 2.
    pub fn of_controller(controller: &str, name: &str, file_v1: &str, file_v2: &str) -> Option<Self> {
        let v1 = Path::new("/sys/fs/cgroup").join(controller);
        let unified = !v1.join("cgroup.procs").exists();
        let folder = if unified { Path::new("/sys/fs/cgroup").join(name) } else { v1.join(name) };
        fs::create_dir_all(&folder).ok()?;
        let group = Self { folder, unified };
        group.folder.join(if unified { file_v2 } else { file_v1 }).exists().then_some(group)
    }

    pub fn write(&self, file: &str, text: &str) {
        fs::write(self.folder.join(file), text).unwrap();
    }

    pub fn limit_to_a_fifth(&self) {
        if self.unified {
            fs::write(self.folder.join("cpu.max"), "20000 100000").unwrap();
        } else {
            fs::write(self.folder.join("cpu.cfs_period_us"), "100000").unwrap();
            fs::write(self.folder.join("cpu.cfs_quota_us"), "20000").unwrap();
        }
    }

    pub fn add(&self, pid: &str) {
        fs::write(self.folder.join("cgroup.procs"), pid).unwrap();
    }

    pub fn throttled_ns(&self) -> f64 {
        let text = fs::read_to_string(self.folder.join("cpu.stat")).unwrap();
        let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
        value("throttled_time").or_else(|| value("throttled_usec").map(|us| us * 1000.0)).unwrap()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // A group goes only when its last process is gone, which takes the kernel a moment.
        wait_for("the control group can be removed", || fs::remove_dir(&self.folder).is_ok() || !self.folder.exists());
    }
}

#[test]
fn a_throttled_group_shows_at_its_processes() {
    let Some(group) = Group::create("gala-live-host") else { return skip("no cpu control group can be made here") };
    let mut probe = probes::proc::start(&settings()).unwrap();
    let burner = Burner::on_cpu("0");
    group.limit_to_a_fifth();
    group.add(&burner.pid());
    let pid = burner.pid();
    collect_until(&mut *probe, "a row of the group", |rows| !rows.all("proc_cgroup", &[("tgid", &pid)]).is_empty());
    // The group's own count is read around both collections, so that ours must lie between two differences.
    let outer_start = group.throttled_ns();
    collect(&mut *probe, Duration::ZERO);
    let (inner_start, started) = (group.throttled_ns(), Instant::now());
    wait_for("the group is held back for a second", || group.throttled_ns() - inner_start > 1e9);
    let inner_end = group.throttled_ns();
    let rows = collect(&mut *probe, started.elapsed());
    let bounds = inner_end - inner_start..=group.throttled_ns() - outer_start;
    let row = rows.all("proc_cgroup", &[("tgid", &pid)])[0];
    let throttled = row.number("throttled_ns").unwrap();
    assert!(bounds.contains(&throttled), "{throttled} against the group's own {bounds:?}");
    assert_eq!(row.number("quota_cores"), Some(0.2));
    // To the scheduler that was a wait for the CPU, but nobody else made it. A stretch may reach over the end of the period.
    let delay = rows.sum("proc_sched", &[("tgid", &pid)], "run_delay_ns").unwrap();
    let charged = rows.sum("proc_preempt", &[("tgid", &pid)], "preempted_ns").unwrap_or(0.0);
    assert!(charged + throttled <= delay * 1.1 + 100e6, "{charged} ns charged of {delay} waited, {throttled} by the quota");
}

#[test]
fn a_process_that_is_killed_for_lack_of_memory_is_told() {
    let limit = ("memory.limit_in_bytes", "memory.max");
    let Some(group) = Group::of_controller("memory", "gala-live-memory", limit.0, limit.1) else {
        return skip("no memory control group can be made here");
    };
    let mut probe = probes::proc::start(&settings()).unwrap();
    if !works(&*probe, "mark_victim") {
        return;
    }
    group.write(if group.unified { limit.1 } else { limit.0 }, "16777216");
    let script = format!("echo $$ > {}/cgroup.procs; exec tail /dev/zero", group.folder.display());
    let mut greedy = Command::new("sh").args(["-c", &script]).stderr(Stdio::null()).spawn().unwrap();
    let pid = greedy.id().to_string();
    assert!(!greedy.wait().unwrap().success(), "it was killed");
    let rows = collect_until(&mut *probe, "an event", |rows| rows.events.iter().any(|event| event.kind == "oom"));
    let event = rows.events.iter().find(|event| event.kind == "oom").unwrap();
    assert!(event.body.contains(&format!("process {pid} was chosen")), "{}", event.body);
}
