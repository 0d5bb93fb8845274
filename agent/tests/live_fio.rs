//! Block requests as fio counts and times them. Alone in its program: while one more program is attached to a tracepoint, or leaves
//! it, the kernel now and then passes an event by those that are there already, so that a test that starts a probe of its own beside
//! this one costs it some completions. What a test before this one attached leaves some time after its end.
#![allow(clippy::print_stderr)]

use std::process::{Command, Stdio};
use std::time::Duration;

use gala_agent::probes;

use harness::*;
use loop_disk::Disk;

#[path = "live_host/harness.rs"]
#[allow(dead_code)] // what only the other tests of a host need
mod harness;
#[path = "live_host/loop_disk.rs"]
#[allow(dead_code)]
mod loop_disk;
#[path = "common/wait.rs"]
#[allow(dead_code)]
mod wait;

/// What fio counted and timed at the disk, one request at a time, and its process.
struct FioRun {
    tgid: String,
    requests: f64,
    bytes: f64,
    mean_completion_ns: f64,
}

impl FioRun {
    /// Ends after 2000 requests of 4 KiB. Its job is a thread, so that the requests are its own process's, and one that no
    /// other keeps from a CPU: what fio waits for after a request is done is not the disk's.
    fn at(disk: &Disk, op: &str) -> Option<Self> {
        run("fio", &["--version"])?;
        let child = Command::new("chrt")
            .args(["-f", "1", "fio"])
            .args(["--output-format=json", "--thread", "--name=gala", "--ioengine=psync", "--direct=1", "--bs=4k"])
            .args(["--io_size=8000k", &format!("--rw=rand{op}"), &format!("--filename={}", disk.device())])
            .stdout(Stdio::piped())
            .spawn();
        let child = child.expect("chrt is part of util-linux");
        let tgid = child.id().to_string();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "fio failed: {}", String::from_utf8_lossy(&output.stdout));
        let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let number = |field: &str| told.pointer(&format!("/jobs/0/{op}/{field}")).and_then(serde_json::Value::as_f64).unwrap();
        let (requests, bytes) = (number("total_ios"), number("io_bytes"));
        Some(Self { tgid, requests, bytes, mean_completion_ns: number("clat_ns/mean") })
    }
}

/// Waits until no program of another agent watches completions any more. One that stays, as that of an agent that runs here,
/// costs nothing but this wait.
fn others_are_gone() {
    let is_one = |program: libbpf_rs::query::ProgramInfo| program.name == "io_complete";
    wait::poll(|| (!libbpf_rs::query::ProgInfoIter::default().any(is_one)).then_some(()));
}

#[test]
fn requests_bytes_and_latency_of_a_disk_are_those_that_fio_tells() {
    if !is_root() {
        return skip("making a disk needs root");
    }
    others_are_gone();
    let mut probe = probes::io::start(&settings()).unwrap();
    if !works(&*probe, "block_rq_complete") {
        return;
    }
    if run("chrt", &["-f", "1", "true"]).is_none() {
        return skip("no process can be put before the others here");
    }
    let Some(disk) = Disk::create(false) else { return skip("a loop device cannot be made here") };
    for op in ["write", "read"] {
        collect(&mut *probe, Duration::ZERO);
        let Some(fio) = FioRun::at(&disk, op) else { return skip("fio is not installed") };
        let rows = collect(&mut *probe, Duration::from_secs(1));

        let of_fio = [("tgid", fio.tgid.as_str()), ("disk_name", disk.name()), ("submitter", "process")];
        let owned = |field: &str| rows.sum("proc_block", &of_fio, field).unwrap();
        let (requests, bytes, spent_ns) =
            (owned(&format!("block_{op}s")), owned(&format!("block_{op}_bytes")), owned("block_latency_sum"));
        assert_eq!(requests, fio.requests, "{op}s against fio's; losses: {:?}", probe.losses());
        assert_eq!(bytes / requests, fio.bytes / fio.requests);
        let all = rows.all("io_histogram", &[("disk_name", disk.name()), ("op", op)])[0];
        let all_requests = all.number("requests").unwrap();
        // A device manager may look for a partition table once its writer is gone; nobody else writes.
        let others = if op == "read" { 64.0 } else { 0.0 };
        assert!((requests..=requests + others).contains(&all_requests), "{all_requests} {op}s, {requests} by fio");
        let histogram = all.histogram("latency_req_histo").expect("a distribution");
        assert!(histogram.count() as f64 == all_requests && histogram.sum as f64 >= spent_ns, "its own are among all");

        // Ours runs from the submission to the completion inside the call that fio times: never more. What only fio's holds is
        // the way into the kernel and its wake-up after the completion; the request itself is a wake-up too, that of the loop
        // device's worker, and its work: at least the other half.
        let (ours, theirs) = (spent_ns / requests, fio.mean_completion_ns);
        eprintln!("{requests} {op}s: {ours:.0} ns in the mean, {} of {theirs:.0} by fio", fio.requests);
        assert!(spent_ns <= theirs * fio.requests && ours >= theirs / 2.0, "{op}: {ours} ns in the mean, {theirs} by fio");
    }
}
