//! Disks, files and their syncs.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use gala_agent::probes;

use crate::groups::Group;
use crate::harness::*;
use crate::loop_disk::Disk;

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
    let mut file = fs::File::create(disk.mounted().join("file")).unwrap();
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
    let point = disk.mounted().to_owned();
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
    let mut device = fs::OpenOptions::new().write(true).custom_flags(libc::O_DIRECT).open(disk.device()).unwrap();
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
    let histogram = writes.histogram("latency_req_histo").expect("a distribution");
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
    let point = disk.mounted();
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
