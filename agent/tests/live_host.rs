//! Probes `baseinfo`, `proc` and `io` on this kernel, each figure against another source: `/proc`, control groups, sysfs, our own
//! count of what we did. Needs root and BPF; what is missing is said and skipped.
#![allow(clippy::print_stderr)]

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use gala_agent::kernel::HookState;
use gala_agent::probes::{self, ErasedRow, Probe, ProbeSettings, RowSink, Tick};
use gala_model::value::LabelSink;
use gala_model::{Event, Histogram, Value};

use wait::{poll, wait_for};

#[path = "common/wait.rs"]
mod wait;

/// Every row as names and values.
#[derive(Default)]
struct Rows {
    rows: Vec<Row>,
    events: Vec<Event>,
}

struct Row {
    table: &'static str,
    labels: HashMap<&'static str, String>,
    values: HashMap<&'static str, Value>,
}

struct Labels<'a>(&'a mut HashMap<&'static str, String>);

impl LabelSink for Labels<'_> {
    fn label(&mut self, name: &'static str, text: &str) {
        self.0.insert(name, text.to_owned());
    }
}

impl RowSink for Rows {
    fn push_row(&mut self, row: &dyn ErasedRow) {
        let (mut labels, mut values) = (HashMap::new(), Vec::new());
        row.labels(&mut Labels(&mut labels));
        row.values(&mut values);
        let values = row.def().metrics().map(|field| field.name).zip(values).collect();
        self.rows.push(Row { table: row.def().name, labels, values });
    }

    fn push_event(&mut self, event: Event) {
        self.events.push(event);
    }
}

impl Row {
    fn has(&self, wanted: &[(&str, &str)]) -> bool {
        wanted.iter().all(|(name, text)| self.labels.get(name).is_some_and(|label| label == text))
    }

    fn number(&self, field: &str) -> Option<f64> {
        match self.values.get(field) {
            Some(Value::Number(number)) => Some(*number),
            _ => None,
        }
    }

    fn histogram(&self, field: &str) -> Option<&Histogram> {
        match self.values.get(field) {
            Some(Value::Histogram(histogram)) => Some(histogram),
            _ => None,
        }
    }
}

impl Rows {
    fn all(&self, table: &str, labels: &[(&str, &str)]) -> Vec<&Row> {
        self.rows.iter().filter(|row| row.table == table && row.has(labels)).collect()
    }

    /// A field summed over the rows that match; `None` when none has it.
    fn sum(&self, table: &str, labels: &[(&str, &str)], field: &str) -> Option<f64> {
        self.all(table, labels).iter().filter_map(|row| row.number(field)).reduce(|sum, value| sum + value)
    }
}

fn settings() -> ProbeSettings {
    ProbeSettings {
        report_period: Duration::from_secs(5),
        sample_period: Duration::from_secs(1),
        sub_probes: Vec::new(),
        report_client_port: false,
        processes: None,
    }
}

/// Collects once, `elapsed` after the last time.
fn collect(probe: &mut dyn Probe, elapsed: Duration) -> Rows {
    let mut rows = Rows::default();
    probe.collect(Tick { at_ms: 1, elapsed }, &mut rows).unwrap();
    rows
}

fn skip(reason: &str) {
    eprintln!("skipped: {reason}");
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether a hook works; if not, why the test is skipped. A program of ours that the verifier refuses is no reason to skip.
fn works(probe: &dyn Probe, hook: &str) -> bool {
    let report = probe.hooks().into_iter().find(|report| report.hook == hook).expect("the probe names this hook");
    assert!(!report.reason.contains("program load failed: -EACCES"), "{hook}: {}", report.reason);
    if report.state == HookState::Off {
        skip(&format!("{hook}: {}", report.reason));
    }
    report.state != HookState::Off
}

/// A child that burns one CPU until it is dropped.
struct Burner(Child);

impl Burner {
    fn on_cpu(cpu: &str) -> Self {
        Self::with_weight(cpu, "0")
    }

    /// A negative niceness makes it the one that others wait for, on a busy machine too.
    fn with_weight(cpu: &str, niceness: &str) -> Self {
        let mut command = Command::new("nice");
        command.args(["-n", niceness, "taskset", "-c", cpu, "sh", "-c", "while :; do :; done"]).stdout(Stdio::null());
        Self(command.spawn().expect("taskset is part of util-linux"))
    }

    fn pid(&self) -> String {
        self.0.id().to_string()
    }

    /// CPU time and run delay so far, as the kernel prints them.
    fn schedstat(&self) -> (f64, f64) {
        let text = fs::read_to_string(format!("/proc/{}/schedstat", self.pid())).unwrap();
        let mut numbers = text.split_whitespace().map(|number| number.parse::<f64>().unwrap());
        (numbers.next().unwrap(), numbers.next().unwrap())
    }
}

impl Drop for Burner {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a command; `None` with a word when it is missing or fails.
fn run(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    if !output.status.success() {
        eprintln!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim());
        return None;
    }
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A disk made of a file, with a mounted ext4 on it where wanted.
struct Disk {
    device: String,
    mounted: Option<PathBuf>,
    _folder: tempfile::TempDir,
}

impl Disk {
    fn create(file_system: bool) -> Option<Self> {
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

    fn name(&self) -> &str {
        self.device.trim_start_matches("/dev/")
    }

    /// Columns of the disk's own statistics: 0 reads, 2 sectors read, 4 writes, 6 sectors written.
    fn stat(&self) -> Vec<u64> {
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

/// Collects until `done` says so; what was collected last.
fn collect_until(probe: &mut dyn Probe, what: &str, mut done: impl FnMut(&Rows) -> bool) -> Rows {
    let mut last = Instant::now();
    let found = poll(|| {
        let elapsed = last.elapsed();
        last = Instant::now();
        Some(collect(probe, elapsed)).filter(|rows| done(rows))
    });
    found.unwrap_or_else(|| panic!("{what} did not come within 30 s"))
}

#[test]
fn processes_that_share_a_cpu_wait_for_each_other_by_name_and_amount() {
    let mut probe = probes::proc::start(&settings()).unwrap();
    if !works(&*probe, "sched_switch") {
        return;
    }
    let (victim, hog) = (Burner::on_cpu("0"), Burner::with_weight("0", "-15"));
    // Both run a while, so that the kernel side knows them and what comes is steady.
    collect_until(&mut *probe, "a row of both", |rows| {
        [&victim, &hog].iter().all(|burner| !rows.all("proc_sched", &[("tgid", &burner.pid())]).is_empty())
    });
    // The kernel's own count is read around both collections, so that ours must lie between two differences.
    let outer_start = victim.schedstat();
    collect(&mut *probe, Duration::ZERO);
    let (inner_start, started) = (victim.schedstat(), Instant::now());
    wait_for("the victim waited for a second", || victim.schedstat().1 - inner_start.1 > 1e9);
    let inner_end = victim.schedstat();
    let rows = collect(&mut *probe, started.elapsed());
    let outer_end = victim.schedstat();

    let victim_pid = victim.pid();
    let row = rows.all("proc_sched", &[("tgid", &victim_pid)])[0];
    let (cpu, delay) = (row.number("cpu_ns").unwrap(), row.number("run_delay_ns").unwrap());
    let cpu_bounds = inner_end.0 - inner_start.0..=outer_end.0 - outer_start.0;
    assert!(cpu_bounds.contains(&cpu), "CPU time {cpu} against schedstat {cpu_bounds:?}");
    let delay_bounds = inner_end.1 - inner_start.1..=outer_end.1 - outer_start.1;
    assert!(delay_bounds.contains(&delay), "run delay {delay} against schedstat {delay_bounds:?}");
    assert!(row.number("run_delay_max_ns").unwrap() > 100_000.0);

    let blamed = rows.sum("proc_preempt", &[("tgid", &victim_pid), ("by_tgid", &hog.pid())], "preempted_ns").unwrap_or(0.0);
    let all = rows.sum("proc_preempt", &[("tgid", &victim_pid)], "preempted_ns").unwrap_or(0.0);
    assert!(blamed > 0.1 * delay, "the hog got {blamed} of {delay} ns");
    assert!(all <= delay * 1.1 + 30e6, "{all} ns charged of {delay} waited");
    let worst = rows.all("proc_preempt", &[("tgid", &victim_pid)])[0];
    assert!(worst.has(&[("by_tgid", &hog.pid())]), "the hog comes first: {:?}", worst.labels);
}

#[test]
fn a_killed_process_is_told_at_the_next_report() {
    let mut probe = probes::proc::start(&settings()).unwrap();
    if !works(&*probe, "sched_process_exit") {
        return;
    }
    let mut burner = Burner::on_cpu("0");
    let pid = burner.pid();
    collect_until(&mut *probe, "a row of the burner", |rows| !rows.all("proc_sched", &[("tgid", &pid)]).is_empty());
    burner.0.kill().unwrap();
    burner.0.wait().unwrap();
    let rows = collect(&mut *probe, Duration::from_secs(1));
    let event = rows.events.iter().find(|event| event.kind == "exit" && event.entity_id == pid).expect("an exit event");
    assert!(event.labels.contains(&("signal".into(), "9".into())), "{event:?}");
    assert!(rows.all("proc_sched", &[("tgid", &pid)]).is_empty(), "a dead process has no row");
}

#[test]
fn every_fsync_call_is_counted_with_its_time() {
    if !is_root() {
        return skip("making a disk needs root");
    }
    let mut probe = probes::proc::start(&settings()).unwrap();
    if !works(&*probe, "vfs_fsync_range") {
        return;
    }
    let Some(disk) = Disk::create(true) else { return skip("a loop device with ext4 cannot be made here") };
    let pid = std::process::id().to_string();
    let mut file = fs::File::create(disk.mounted.as_ref().unwrap().join("file")).unwrap();
    collect(&mut *probe, Duration::ZERO);
    let mut own_ns = 0;
    for _ in 0..25 {
        file.write_all(&[7; 4096]).unwrap();
        let started = Instant::now();
        file.sync_data().unwrap();
        own_ns += started.elapsed().as_nanos() as u64;
    }
    let rows = collect(&mut *probe, Duration::from_secs(1));
    let row = rows.all("proc_syscall_io", &[("tgid", &pid)])[0];
    assert_eq!(row.number("fsync_count"), Some(25.0));
    let sum = row.number("fsync_sum_ns").unwrap();
    assert!(sum <= own_ns as f64 && sum > own_ns as f64 * 0.5, "{sum} ns against {own_ns} by our own clock");
    assert!(row.number("ns_fsync").unwrap() <= sum);
    let asleep = rows.sum("proc_sched", &[("tgid", &pid)], "wait_fsync_ns").unwrap();
    assert!(asleep > 0.0, "the calls slept");
}

#[test]
fn a_process_that_hangs_in_a_write_shows_it_while_it_hangs() {
    if !is_root() {
        return skip("making a disk needs root");
    }
    let mut probe = probes::proc::start(&settings()).unwrap();
    if !works(&*probe, "sched_switch") {
        return;
    }
    let Some(disk) = Disk::create(true) else { return skip("a loop device with ext4 cannot be made here") };
    let point = disk.mounted.clone().unwrap();
    let frozen = Frozen::freeze(&point);
    let Some(frozen) = frozen else { return skip("fsfreeze does not work here") };
    let file = point.join("file");
    let started = Instant::now();
    let writer = Command::new("dd")
        .args(["if=/dev/zero", "bs=4k", "count=1", &format!("of={}", file.display())])
        .stderr(Stdio::null())
        .spawn();
    let mut writer = writer.expect("dd is part of coreutils");
    let pid = writer.id().to_string();
    let field = |rows: &Rows, field| rows.sum("proc_sched", &[("tgid", &pid)], field).unwrap_or(0.0);
    let mut waited = 0.0;
    collect_until(&mut *probe, "a wait of a second while it lasts", |rows| {
        waited += field(rows, "wait_block_ns") + field(rows, "wait_io_ns");
        field(rows, "threads_blocked") == 1.0 && waited >= 1e9
    });
    assert!(waited <= started.elapsed().as_nanos() as f64, "{waited} ns of the time that it hung");
    drop(frozen);
    writer.wait().unwrap();
}

/// A frozen file system; thaws when dropped.
struct Frozen<'a>(&'a Path);

impl<'a> Frozen<'a> {
    fn freeze(point: &'a Path) -> Option<Self> {
        run("fsfreeze", &["-f", point.to_str()?])?;
        Some(Self(point))
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        run("fsfreeze", &["-u", self.0.to_str().unwrap()]);
    }
}

#[test]
fn every_request_of_a_disk_is_counted_and_has_its_owner() {
    if !is_root() {
        return skip("making a disk needs root");
    }
    let mut probe = probes::io::start(&settings()).unwrap();
    if !works(&*probe, "block_rq_complete") {
        return;
    }
    let Some(disk) = Disk::create(false) else { return skip("a loop device cannot be made here") };
    let name = disk.name().to_owned();
    collect(&mut *probe, Duration::ZERO);
    let before = disk.stat();
    let mut device = fs::OpenOptions::new().write(true).custom_flags(libc::O_DIRECT).open(&disk.device).unwrap();
    let buffer = aligned_block();
    let started = Instant::now();
    for _ in 0..200 {
        device.write_all(buffer.0.as_slice()).unwrap();
    }
    let own_ns = started.elapsed().as_nanos() as f64;
    let rows = collect(&mut *probe, Duration::from_secs(1));
    let after = disk.stat();

    let labels = [("disk_name", name.as_str())];
    let writes = rows.all("io_histogram", &[("disk_name", &name), ("op", "write")])[0];
    assert_eq!(writes.number("requests"), Some((after[4] - before[4]) as f64), "against the disk's own statistics");
    assert_eq!(writes.number("requests"), Some(200.0));
    assert_eq!(rows.sum("io_count", &labels, "write_bytes"), Some(200.0 * 4096.0));
    assert_eq!(writes.number("bytes"), Some((after[6] - before[6]) as f64 * 512.0));
    let histogram = writes.histogram("latency_req").expect("a distribution");
    assert_eq!(histogram.count(), 200);
    assert!((histogram.sum as f64) < own_ns, "one by one, requests take no longer than the loop around them");

    let latency = rows.all("io_latency", &labels)[0];
    let part = |field: &str| latency.number(field).unwrap();
    assert_eq!(part("latency_driver_sum") + part("latency_device_sum"), part("latency_req_sum"));
    let pid = std::process::id().to_string();
    let mine = [("tgid", pid.as_str()), ("disk_name", name.as_str()), ("submitter", "process")];
    assert_eq!(rows.sum("proc_block", &mine, "block_writes"), Some(200.0));
    assert_eq!(rows.sum("proc_block", &mine, "block_write_bytes"), Some(200.0 * 4096.0));
}

#[test]
fn syncs_held_back_by_a_limit_of_a_control_group_show_at_their_disk() {
    if !is_root() {
        return skip("making a disk needs root");
    }
    let mut probe = probes::io::start(&settings()).unwrap();
    if !works(&*probe, "vfs_fsync_range") {
        return;
    }
    let Some(disk) = Disk::create(true) else { return skip("a file system cannot be made here") };
    let Some(group) = Group::of_controller("blkio", "gala-live-disk", "blkio.throttle.write_iops_device", "io.max") else {
        return skip("no control group that limits I/O can be made here");
    };
    let number = fs::read_to_string(format!("/sys/block/{}/dev", disk.name())).unwrap();
    let limit = if group.unified { format!("{} wiops=20", number.trim()) } else { format!("{} 20", number.trim()) };
    group.write(if group.unified { "io.max" } else { "blkio.throttle.write_iops_device" }, &limit);
    collect(&mut *probe, Duration::ZERO);
    let point = disk.mounted.as_ref().unwrap();
    let script = format!(
        "echo $$ > {}/cgroup.procs; for n in 1 2 3 4 5 6 7 8; do dd if=/dev/zero of={}/f$n bs=4096 count=1 conv=fsync 2>/dev/null; done",
        group.folder.display(),
        point.display(),
    );
    let started = Instant::now();
    assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success());
    let own_ns = started.elapsed().as_nanos() as f64;
    let rows = collect(&mut *probe, Duration::from_secs(1));
    let row = rows.all("io_sync", &[("disk_name", disk.name())])[0];
    let histogram = row.histogram("latency_sync").expect("syncs");
    assert_eq!((histogram.count(), row.number("sync_pending")), (8, Some(0.0)));
    let synced_ns = histogram.sum as f64;
    assert!(synced_ns > 0.3 * own_ns && synced_ns < own_ns, "{synced_ns} ns in syncs of {own_ns} ns");
}

/// A page at an address that direct I/O takes.
#[repr(align(4096))]
struct Page([u8; 4096]);

fn aligned_block() -> Box<Page> {
    Box::new(Page([7; 4096]))
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

/// A control group of either version.
struct Group {
    folder: PathBuf,
    unified: bool,
}

impl Group {
    fn create(name: &str) -> Option<Self> {
        Self::of_controller("cpu", name, "cpu.cfs_quota_us", "cpu.max")
    }

    /// A group whose controller has the named file of version 1 or 2.
    fn of_controller(controller: &str, name: &str, file_v1: &str, file_v2: &str) -> Option<Self> {
        let v1 = Path::new("/sys/fs/cgroup").join(controller);
        let unified = !v1.join("cgroup.procs").exists();
        let folder = if unified { Path::new("/sys/fs/cgroup").join(name) } else { v1.join(name) };
        fs::create_dir_all(&folder).ok()?;
        let group = Self { folder, unified };
        group.folder.join(if unified { file_v2 } else { file_v1 }).exists().then_some(group)
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.folder.join(file), text).unwrap();
    }

    fn limit_to_a_fifth(&self) {
        if self.unified {
            fs::write(self.folder.join("cpu.max"), "20000 100000").unwrap();
        } else {
            fs::write(self.folder.join("cpu.cfs_period_us"), "100000").unwrap();
            fs::write(self.folder.join("cpu.cfs_quota_us"), "20000").unwrap();
        }
    }

    fn add(&self, pid: &str) {
        fs::write(self.folder.join("cgroup.procs"), pid).unwrap();
    }

    fn throttled_ns(&self) -> f64 {
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

/// Time of all CPUs, used or not, since boot.
fn cpu_ticks() -> u64 {
    let text = fs::read_to_string("/proc/stat").unwrap();
    let all = text.lines().next().unwrap().split_whitespace().skip(1);
    all.map(|number| number.parse::<u64>().unwrap()).sum()
}

#[test]
fn the_first_report_holds_nothing_from_before_the_start() {
    let started = Instant::now();
    let mut probe = probes::baseinfo::start(&settings()).unwrap();
    let at_start = cpu_ticks();
    wait_for("the kernel counts some CPU time", || cpu_ticks() > at_start + 20);
    let rows = collect(&mut *probe, started.elapsed());
    let limit_ms = started.elapsed().as_secs_f64() * 1000.0 + 100.0;
    let cpus = rows.all("system_cpu", &[]);
    assert!(!cpus.is_empty());
    for cpu in cpus {
        let parts = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"];
        let used: f64 = parts.iter().filter_map(|part| cpu.number(&format!("{part}_msec"))).sum();
        assert!(used <= limit_ms, "{used} ms of a CPU in {limit_ms} ms");
    }
    let uptime: f64 = fs::read_to_string("/proc/uptime").unwrap().split_whitespace().next().unwrap().parse().unwrap();
    let switches = rows.sum("host_tasks", &[], "context_switches").unwrap();
    let since_boot: f64 =
        fs::read_to_string("/proc/stat").unwrap().lines().find_map(|line| line.strip_prefix("ctxt ")?.parse().ok()).unwrap();
    assert!(uptime < 10.0 || switches < since_boot / 2.0);
}

#[test]
fn protocol_and_memory_figures_are_those_of_proc() {
    let read = |name: &str| {
        let text = fs::read_to_string("/proc/net/snmp").unwrap();
        let mut lines = text.lines().filter(|line| line.starts_with("Tcp:"));
        let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
        let column = names.split_whitespace().position(|column| column == name).unwrap();
        values.split_whitespace().nth(column).unwrap().parse::<f64>().unwrap()
    };
    let outer = (read("ActiveOpens"), read("InSegs"));
    let mut probe = probes::baseinfo::start(&settings()).unwrap();
    let inner = (read("ActiveOpens"), read("InSegs"));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    for _ in 0..20 {
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let _server = listener.accept().unwrap();
        drop(client);
    }
    let inner_end = (read("ActiveOpens"), read("InSegs"));
    let rows = collect(&mut *probe, Duration::from_secs(1));
    let outer_end = (read("ActiveOpens"), read("InSegs"));
    let opens = rows.sum("system_tcp", &[], "tcp_active_opens").unwrap();
    assert!(opens >= 20.0 && opens >= inner_end.0 - inner.0 && opens <= outer_end.0 - outer.0, "{opens}");
    let segments = rows.sum("system_tcp", &[], "tcp_in_segs").unwrap();
    assert!(segments >= inner_end.1 - inner.1 && segments <= outer_end.1 - outer.1, "{segments}");

    let meminfo = fs::read_to_string("/proc/meminfo").unwrap();
    let total: f64 =
        meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse().ok()).unwrap();
    assert_eq!(rows.sum("system_meminfo", &[], "total_kB"), Some(total));
    let root = rows.all("system_df", &[("MountOn", "/")]);
    assert_eq!(root.len(), 1, "the root file system is shown once");
}

#[test]
fn a_process_is_reported_with_what_it_holds() {
    let mut probe = probes::baseinfo::start(&settings()).unwrap();
    let pid = std::process::id().to_string();
    let files: Vec<fs::File> = (0..50).map(|_| fs::File::open("/dev/null").unwrap()).collect();
    let ballast = vec![1u8; 32 << 20];
    let spin = Instant::now();
    while spin.elapsed() < Duration::from_millis(200) {
        std::hint::black_box(&ballast);
    }
    let rows = collect(&mut *probe, Duration::from_secs(1));
    let row = rows.all("system_proc", &[("tgid", &pid)])[0];
    let open = fs::read_dir("/proc/self/fd").unwrap().count() as f64;
    let shown = row.number("fd_count").unwrap();
    assert!((shown - open).abs() <= 20.0 && shown >= files.len() as f64, "{shown} open files against {open}");
    let status = fs::read_to_string("/proc/self/statm").unwrap();
    let resident = status.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() * rustix::param::page_size() as f64;
    let size = row.number("pm_size").unwrap();
    assert!((size - resident).abs() < 8e6, "{size} bytes resident against {resident}");
    assert!(row.number("cpu_util").unwrap() > 0.0);
    assert!(rows.sum("host_processes", &[], "processes").unwrap() >= 1.0);
}
