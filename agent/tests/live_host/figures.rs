//! Figures of the whole host.

use std::fs;
use std::net::{TcpListener, TcpStream, UdpSocket};
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

/// Two interfaces joined to each other; both go when the first is deleted.
struct Pair(&'static str);

impl Pair {
    fn create(name: &'static str) -> Option<Self> {
        let peer = format!("{name}-peer");
        run("ip", &["link", "add", name, "type", "veth", "peer", "name", &peer])?;
        let pair = Self(name);
        run("ip", &["address", "add", "198.51.100.1/24", "dev", name])?;
        run("ip", &["link", "set", name, "up"])?;
        run("ip", &["link", "set", &peer, "up"])?;
        run("ip", &["neighbour", "add", "198.51.100.2", "lladdr", "02:00:00:00:00:01", "dev", name, "nud", "permanent"])?;
        Some(pair)
    }

    /// `Sent 0 bytes 0 pkt (dropped 12, overlimits 3 requeues 0)`: dropped and overlimits as `tc` counts them.
    fn queue(&self) -> (f64, f64) {
        let text = run("tc", &["-s", "qdisc", "show", "dev", self.0]).unwrap();
        let after = |name: &str| {
            let rest = text.split(name).nth(1).unwrap();
            rest.split([',', ' ']).find_map(|word| word.parse().ok()).unwrap()
        };
        (after("dropped "), after("overlimits "))
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        run("ip", &["link", "delete", self.0]);
    }
}

#[test]
fn what_the_queue_of_an_interface_drops_is_what_tc_counts() {
    if !is_root() {
        return skip("making an interface needs root");
    }
    let Some(pair) = Pair::create("gala-queue") else { return skip("a pair of interfaces cannot be made here") };
    let mut probe = probes::baseinfo::start(&settings()).unwrap();
    let socket = UdpSocket::bind("198.51.100.1:0").unwrap();
    let send = || (0..50).for_each(|_| drop(socket.send_to(&[7; 1000], "198.51.100.2:9")));
    let row = |rows: &Rows, field: &str| rows.sum("nic", &[("dev_name", pair.0)], field);
    let rows = collect(&mut *probe, Duration::from_secs(1));
    assert_eq!(row(&rows, "tc_sent_drop"), Some(0.0));
    let limit = ["qdisc", "add", "dev", pair.0, "root", "tbf", "rate", "8kbit", "burst", "2000", "limit", "4000"];
    if run("tc", &limit).is_none() {
        return skip("this kernel has no queue that drops");
    }
    let mut told = (0.0, 0.0);
    for _ in 0..2 {
        send();
        let before = pair.queue();
        let rows = collect(&mut *probe, Duration::from_secs(1));
        let after = pair.queue();
        let (drops, overlimits) = (row(&rows, "tc_sent_drop").unwrap(), row(&rows, "tc_sent_overlimits").unwrap());
        told = (told.0 + drops, told.1 + overlimits);
        assert!(drops >= 40.0, "{drops}");
        assert!(told.0 >= before.0 && told.0 <= after.0, "{told:?}, {before:?} to {after:?}");
        assert!(told.1 >= before.1 && told.1 <= after.1, "{told:?}, {before:?} to {after:?}");
        assert!(row(&rows, "tc_backlog").unwrap() > 1000.0, "some wait");
    }
}
