//! Processes: who waits for whom, how they end, what they hold.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use gala_agent::probes;

use crate::harness::*;
use crate::wait::wait_for;

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

/// How often a thread went to sleep of itself, by its `status`.
fn voluntary_switches(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.and_then(|count| count.trim().parse().ok()).unwrap_or_default()
}

#[test]
fn every_sleep_is_in_the_distribution_of_its_period() {
    let mut probe = probes::proc::start(&settings()).unwrap();
    if !works(&*probe, "sched_switch") {
        return;
    }
    let Ok(sleeper) = Command::new("python3").args(["-c", "import time\nwhile True: time.sleep(0.0001)"]).spawn() else {
        return skip("python3 is not installed");
    };
    let sleeper = Burner(sleeper);
    let status = format!("/proc/{}/status", sleeper.pid());
    let switches = || voluntary_switches(&fs::read_to_string(&status).unwrap());
    let begun = switches();
    // Many more than in the period.
    wait_for("it sleeps", || switches() > begun + 2000);
    collect(&mut *probe, Duration::from_secs(1));
    let before = switches();
    wait_for("400 sleeps", || switches() >= before + 400);
    // One may go on.
    let over = switches() - before - 1;
    let rows = collect(&mut *probe, Duration::from_secs(1));
    let row = rows.all("sli_cpu_node_histogram", &[])[0];
    let counted = |field| row.histogram(field).map_or(0, |histogram| histogram.count());
    let (sleeps, arrivals) = (counted("cpu_sleep_histo"), counted("cpu_rundelay_histo"));
    assert!(sleeps >= over && arrivals >= over, "{sleeps} sleeps and {arrivals} arrivals, {over} of them known");
    let threads = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| fs::read_dir(entry.path().join("task")).ok());
    let statuses = threads.flatten().flatten().filter_map(|task| fs::read_to_string(task.path().join("status")).ok());
    let of_all_time: u64 = statuses.map(|status| voluntary_switches(&status)).sum();
    assert!(sleeps < of_all_time / 2, "{sleeps} of {of_all_time} since the threads began");
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

#[test]
fn a_process_that_only_sleeps_is_told_of() {
    let mut probe = probes::baseinfo::start(&settings()).unwrap();
    let sleeper = Burner(Command::new("sleep").arg("60").spawn().unwrap());
    let pid = sleeper.pid();
    // It never runs again from here on.
    wait_for("it sleeps", || fs::read_to_string(format!("/proc/{pid}/status")).unwrap().contains("State:\tS"));
    let rows = collect_until(&mut *probe, "a sign of its life", |rows| !rows.all("system_proc", &[("tgid", &pid)]).is_empty());
    assert_eq!(rows.all("system_proc", &[("tgid", &pid)])[0].number("num_threads"), Some(1.0));
}
