//! Figures of the whole host.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use gala_agent::probes;

use crate::harness::*;
use crate::wait::wait_for;

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
