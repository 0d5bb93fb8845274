//! The network and Redis probes against the running kernel: real servers, real faults, numbers checked against `ss`, the
//! server's own counts and `/proc/net/netstat`. Needs root; `ip`, `ss`, `iptables`, `redis-server` where a test uses them.
#![allow(clippy::print_stdout)]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use gala_agent::control::catalogue::PROBES;
use gala_agent::kernel::Capabilities;
use gala_agent::probes::{ErasedRow, Probe, ProbeSettings, RowSink, Tick, sli, socket, tcp};
use gala_model::Value;
use gala_model::value::LabelSink;

use wait::{poll, wait_for};

#[path = "common/redis.rs"]
mod redis;
#[path = "common/wait.rs"]
mod wait;

/// Rows of one or more periods: labels and numbers by name; numbers of the same row add up, histograms as `<name>_count`.
#[derive(Default)]
struct Rows(BTreeMap<String, BTreeMap<&'static str, f64>>);

struct Text(String);

impl LabelSink for Text {
    fn label(&mut self, name: &'static str, text: &str) {
        self.0.push_str(&format!("{name}={text} "));
    }
}

impl RowSink for Rows {
    fn push_row(&mut self, row: &dyn ErasedRow) {
        let mut labels = Text(format!("{} ", row.def().name));
        row.labels(&mut labels);
        let mut values = Vec::new();
        row.values(&mut values);
        let numbers = self.0.entry(labels.0).or_default();
        for (field, value) in row.def().metrics().zip(values) {
            let number = match value {
                Value::Number(number) => number,
                Value::Histogram(histogram) => histogram.count() as f64,
                Value::Missing => continue,
            };
            *numbers.entry(field.name).or_default() += number;
        }
    }

    fn push_event(&mut self, _event: gala_model::Event) {}
}

impl Rows {
    /// The rows whose labels hold all parts, added up.
    fn sum(&self, parts: &[&str], field: &str) -> Option<f64> {
        let matching = self.0.iter().filter(|(labels, _)| parts.iter().all(|part| labels.contains(part)));
        matching.filter_map(|(_, numbers)| numbers.get(field)).copied().reduce(|a, b| a + b)
    }
}

/// Every sub-probe of every probe is on.
fn settings() -> ProbeSettings {
    ProbeSettings {
        report_period: Duration::from_secs(5),
        sample_period: Duration::from_secs(5),
        sub_probes: PROBES.iter().flat_map(|entry| entry.sub_probes).map(|name| (*name).to_owned()).collect(),
        report_client_port: false,
        processes: None,
    }
}

fn collect(probe: &mut dyn Probe, rows: &mut Rows) {
    let tick = Tick { at_ms: 0, elapsed: Duration::from_secs(1) };
    probe.collect(tick, rows).expect("collecting works");
}

/// Collects until the rows show it; what `wanted` answers.
fn collect_until<T>(probe: &mut dyn Probe, rows: &mut Rows, wanted: impl Fn(&Rows) -> Option<T>) -> Option<T> {
    let found = poll(|| {
        collect(probe, rows);
        wanted(rows)
    });
    if found.is_none() {
        println!("{:#?}", rows.0);
    }
    found
}

fn skipped(reason: &str) -> bool {
    println!("skipped: {reason}");
    true
}

/// Whether the test cannot run here: BPF is not allowed or a program is missing.
fn lacks(programs: &[&str]) -> bool {
    if let Some(reason) = Capabilities::probe().obstacle() {
        return skipped(&reason);
    }
    let missing = |program: &&&str| Command::new("which").arg(program).stdout(Stdio::null()).status().is_ok_and(|s| !s.success());
    programs.iter().find(missing).is_some_and(|program| skipped(&format!("{program} is not installed")))
}

fn run(line: &str) -> String {
    let output = Command::new("sh").args(["-c", line]).output().expect("sh runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A child that is killed at the end of the test.
struct Running(Child);

impl Running {
    fn start(line: &str) -> Self {
        let mut words = line.split_whitespace();
        let mut command = Command::new(words.next().expect("a program"));
        Self(command.args(words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program starts"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A Redis without persistence on a free port.
struct Redis {
    server: Running,
    port: u16,
}

impl Redis {
    fn start() -> Self {
        let options = ["--bind", "0.0.0.0", "--protected-mode", "no"];
        let (server, port) = redis::start(&options).expect("redis-server starts");
        Self { server: Running(server), port }
    }

    fn signal(&self, name: &str) {
        run(&format!("kill -{name} {}", self.server.0.id()));
    }
}

/// A network namespace with one end of a veth pair; gone at the end of the test.
struct Namespace {
    name: String,
    number: u8,
}

impl Namespace {
    fn new(number: u8) -> Self {
        let name = format!("galatest{number}");
        let (host, guest) = (format!("galat{number}a"), format!("galat{number}b"));
        run(&format!(
            "ip netns add {name}; ip link add {host} type veth peer name {guest} netns {name}; \
             ip addr add 10.213.{number}.1/24 dev {host}; ip link set {host} up; ip -n {name} link set lo up; \
             ip -n {name} addr add 10.213.{number}.2/24 dev {guest}; ip -n {name} link set {guest} up"
        ));
        Self { name, number }
    }

    fn host_address(&self) -> String {
        format!("10.213.{}.1", self.number)
    }

    fn exec(&self, line: &str) -> Running {
        Running::start(&format!("ip netns exec {} {line}", self.name))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        run(&format!("ip link del galat{}a; ip netns del {}", self.number, self.name));
    }
}

/// One connection with both ends here.
fn pair() -> (TcpStream, TcpStream, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let client = TcpStream::connect(("127.0.0.1", port)).expect("connecting works");
    let (server, _) = listener.accept().expect("accepting works");
    (client, server, port)
}

fn transfer(from: &mut TcpStream, to: &mut TcpStream, bytes: usize) {
    let chunk = vec![7; 1000];
    let mut back = vec![0; 1000];
    for _ in 0..bytes / 1000 {
        from.write_all(&chunk).expect("writing works");
        to.read_exact(&mut back).expect("reading works");
    }
}

#[test]
fn bytes_of_a_connection_are_counted_once_at_each_end() {
    if lacks(&[]) {
        return;
    }
    let mut probe = tcp::Tcp::start(&settings());
    let (mut client, mut server, port) = pair();
    let port = format!("server_port={port} ");
    transfer(&mut client, &mut server, 50_000);
    let mut rows = Rows::default();
    let own = format!("tgid={} ", std::process::id());
    let parts = |role| [own.as_str(), port.as_str(), role];
    let seen =
        collect_until(&mut probe, &mut rows, |rows| rows.sum(&parts("role=server"), "rx_bytes").filter(|b| *b >= 50_000.0));
    assert_eq!(seen, Some(50_000.0));
    assert_eq!(rows.sum(&parts("role=client"), "tx_bytes"), Some(50_000.0));
    // What is closed before the next report counts too, and the ends of the streams are no bytes.
    transfer(&mut server, &mut client, 20_000);
    drop((client, server));
    let seen =
        collect_until(&mut probe, &mut rows, |rows| rows.sum(&parts("role=client"), "rx_bytes").filter(|b| *b >= 20_000.0));
    assert_eq!(seen, Some(20_000.0));
    assert_eq!(rows.sum(&parts("role=server"), "tx_bytes"), Some(20_000.0));
    assert_eq!(rows.sum(&parts("role=server"), "rx_bytes"), Some(50_000.0));
    assert!(rows.sum(&parts("role=server"), "syn_srtt").is_some_and(|count| count >= 1.0));
}

#[test]
fn a_connection_that_no_descriptor_holds_is_counted_too() {
    if lacks(&[]) {
        return;
    }
    let mut probe = tcp::Tcp::start(&settings());
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let mut client = TcpStream::connect(("127.0.0.1", port)).expect("connecting works");
    client.write_all(&[7; 5000]).expect("writing works");
    let (own, port) = (format!("tgid={} ", std::process::id()), format!("server_port={port} "));
    let parts = [own.as_str(), port.as_str(), "role=server"];
    let mut rows = Rows::default();
    let seen = collect_until(&mut probe, &mut rows, |rows| rows.sum(&parts, "segs_in").filter(|segments| *segments > 0.0));
    assert!(seen.is_some(), "nobody accepted it yet");
    assert_eq!(rows.sum(&parts, "rx_bytes"), Some(0.0), "nobody read from it yet");
    let (mut server, _) = listener.accept().expect("accepting works");
    server.read_exact(&mut [0; 5000]).expect("reading works");
    let seen = collect_until(&mut probe, &mut rows, |rows| rows.sum(&parts, "rx_bytes").filter(|bytes| *bytes > 0.0));
    assert_eq!(seen, Some(5000.0));
}

#[test]
fn histograms_of_sub_probes_that_are_off_are_not_filled() {
    if lacks(&[]) {
        return;
    }
    let only = |names: &[&str]| ProbeSettings { sub_probes: names.iter().map(|name| (*name).to_owned()).collect(), ..settings() };
    let mut probe = tcp::Tcp::start(&only(&["tcp_stats", "tcp_rtt"]));
    let (mut client, mut server, port) = pair();
    let port = format!("server_port={port} ");
    let mut count = |probe: &mut tcp::Tcp, expected: [bool; 4]| {
        transfer(&mut client, &mut server, 10_000);
        let mut rows = Rows::default();
        let seen = collect_until(probe, &mut rows, |rows| rows.sum(&[&port], "rx_bytes").filter(|bytes| *bytes > 0.0));
        assert!(seen.is_some());
        let filled = ["srtt", "snd_wnd", "rto", "sk_sndbuf"].map(|field| rows.sum(&[&port], field).is_some());
        assert_eq!(filled, expected);
    };
    count(&mut probe, [true, false, false, false]);
    assert!(probe.reconfigure(&only(&["tcp_stats", "tcp_windows", "tcp_rate"])), "without a new start");
    count(&mut probe, [false, true, true, false]);
    assert!(probe.reconfigure(&settings()));
    count(&mut probe, [true; 4]);
}

#[test]
fn a_connection_older_than_the_probe_is_taken_up_with_owner_and_role() {
    if lacks(&["ss"]) {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let mut client = TcpStream::connect(("127.0.0.1", port)).expect("connecting works");
    let (mut server, _) = listener.accept().expect("accepting works");
    transfer(&mut client, &mut server, 10_000);
    let mut probe = tcp::Tcp::start(&settings());
    transfer(&mut client, &mut server, 30_000);
    let mut rows = Rows::default();
    let parts = [format!("tgid={} ", std::process::id()), "role=server".to_owned(), format!("server_port={port} ")];
    let parts = [parts[0].as_str(), parts[1].as_str(), parts[2].as_str()];
    let seen = collect_until(&mut probe, &mut rows, |rows| rows.sum(&parts, "rx_bytes").filter(|bytes| *bytes > 0.0));
    assert_eq!(seen, Some(30_000.0));
    let oracle = run(&format!("ss -tinH state established sport = :{port}"));
    assert!(oracle.contains("bytes_received:40000"), "{oracle}");
    assert_eq!(rows.sum(&parts, "srtt"), Some(1.0), "one connection, one sample");
}

#[test]
fn lost_packets_between_namespaces_are_counted_as_ss_counts_them() {
    if lacks(&["ip", "iptables", "ss", "redis-server", "redis-benchmark"]) {
        return;
    }
    let namespace = Namespace::new(71);
    let redis = Redis::start();
    let address = namespace.host_address();
    let mut probe = tcp::Tcp::start(&settings());
    let load = format!("redis-benchmark -h {address} -p {} -c 3 -n 100000000 -d 2000 -t set", redis.port);
    let rule = format!("INPUT -i galat71a -p tcp --dport {} -m statistic --mode random --probability 0.02 -j DROP", redis.port);
    run(&format!("iptables -I {rule}"));
    let client = namespace.exec(&load);
    let mut rows = Rows::default();
    let port = format!("server_port={} ", redis.port);
    let parts = ["role=client", port.as_str(), "client_ip=10.213.71.2"];
    let lost = collect_until(&mut probe, &mut rows, |rows| rows.sum(&parts, "retran_packets").filter(|count| *count >= 20.0));
    run(&format!("iptables -D {rule}"));
    assert!(lost.is_some(), "retransmissions are seen");
    // Standing connections: their totals are what the rows add up to, but for what comes in between.
    let before = rows.sum(&parts, "retran_packets").unwrap_or_default();
    let oracle = run(&format!("ip netns exec {} ss -tinH dport = :{}", namespace.name, redis.port));
    collect(&mut probe, &mut rows);
    let after = rows.sum(&parts, "retran_packets").unwrap_or_default();
    let totals =
        oracle.split_whitespace().filter_map(|word| word.strip_prefix("retrans:")?.split('/').nth(1)?.parse::<f64>().ok());
    let total: f64 = totals.sum();
    assert!(before <= total && total <= after, "ss counts {total}, the rows went from {before} to {after}");
    drop(client);
}

#[test]
fn a_reset_is_counted_at_the_end_that_sent_it() {
    if lacks(&[]) {
        return;
    }
    let mut probe = tcp::Tcp::start(&settings());
    let (mut client, server, port) = pair();
    // Closing with unread bytes resets.
    client.write_all(b"nobody reads this").expect("writing works");
    wait_for("bytes at the server", || server.peek(&mut [0; 1]).is_ok_and(|length| length > 0));
    drop(server);
    let port = format!("server_port={port} ");
    let mut rows = Rows::default();
    let seen = collect_until(&mut probe, &mut rows, |rows| rows.sum(&["role=server", &port], "send_rsts").filter(|n| *n > 0.0));
    assert_eq!(seen, Some(1.0));
    drop(client);
    let seen =
        collect_until(&mut probe, &mut rows, |rows| rows.sum(&["role=client", &port], "receive_rsts").filter(|n| *n > 0.0));
    assert_eq!(seen, Some(1.0));
}

#[test]
fn a_full_accept_queue_is_counted_at_its_listener_as_the_kernel_counts_it() {
    if lacks(&["nstat", "python3"]) {
        return;
    }
    let overflows =
        || run("nstat -asz TcpExtListenOverflows | awk '/Overflows/{print $2}'").trim().parse::<f64>().unwrap_or_default();
    let before = overflows();
    let script = "import socket,time\nl=socket.socket()\nl.bind(('127.0.0.1',0))\nl.listen(1)\nprint(l.getsockname()[1],flush=True)\ntime.sleep(60)";
    let mut listener = Command::new("python3").args(["-c", script]).stdout(Stdio::piped()).spawn().expect("python3 runs");
    let mut text = [0; 6];
    let length = listener.stdout.as_mut().map_or(0, |out| out.read(&mut text).unwrap_or(0));
    let port: u16 = String::from_utf8_lossy(&text[..length]).trim().parse().expect("a port");
    let listener = Running(listener);
    let mut probe = socket::Socket::start(&settings());
    let mut rows = Rows::default();
    collect(&mut probe, &mut rows);
    let address = ([127, 0, 0, 1], port).into();
    let clients: Vec<_> =
        (0..6).map(|_| std::thread::spawn(move || TcpStream::connect_timeout(&address, Duration::from_millis(300)))).collect();
    let kept: Vec<_> = clients.into_iter().filter_map(|client| client.join().expect("no panic").ok()).collect();
    let parts = [format!("server_port={port} "), "role=server".to_owned()];
    let parts = [parts[0].as_str(), parts[1].as_str()];
    // One that comes again between the walk, which reads the drops, and the end of the report is among those of the next.
    let seen = collect_until(&mut probe, &mut rows, |rows| {
        let overflows = rows.sum(&parts, "accept_overflow").filter(|n| *n >= 4.0);
        overflows.filter(|_| rows.sum(&parts, "listendrop") >= overflows)
    });
    assert!(seen.is_some(), "overflows are seen, and each as a drop");
    let counted = rows.sum(&parts, "accept_overflow").unwrap_or_default();
    assert!(counted <= overflows() - before, "{counted} of {}", overflows() - before);
    drop((kept, listener));
}

#[test]
fn a_refused_connection_is_a_failed_open_of_the_process_that_tried() {
    if lacks(&[]) {
        return;
    }
    let mut probe = socket::Socket::start(&settings());
    // Nobody listens there, and no other test is given it as a free one.
    let port = 1;
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    let parts = [format!("tgid={} ", std::process::id()), format!("server_port={port} ")];
    let parts = [parts[0].as_str(), parts[1].as_str(), "role=client"];
    let mut rows = Rows::default();
    let seen = collect_until(&mut probe, &mut rows, |rows| rows.sum(&parts, "active_open_failed"));
    assert_eq!(seen, Some(1.0));
    assert_eq!(rows.sum(&parts, "active_open_refused"), Some(1.0));
    assert_eq!(rows.sum(&parts, "active_open_timeout"), Some(0.0));
}

#[test]
fn a_refused_connection_carries_no_bytes() {
    if lacks(&[]) {
        return;
    }
    let mut probe = tcp::Tcp::start(&settings());
    let port = 2;
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    let parts = [format!("tgid={} ", std::process::id()), format!("server_port={port} ")];
    let parts = [parts[0].as_str(), parts[1].as_str(), "role=client"];
    let mut rows = Rows::default();
    let seen = collect_until(&mut probe, &mut rows, |rows| rows.sum(&parts, "segs_out"));
    assert_eq!((seen, rows.sum(&parts, "tx_bytes"), rows.sum(&parts, "rx_bytes")), (Some(1.0), Some(0.0), Some(0.0)));
}

/// Ends what it leaves behind.
struct Left(rustix::process::Pid);

impl Drop for Left {
    fn drop(&mut self) {
        let _ = rustix::process::kill_process(self.0, rustix::process::Signal::KILL);
    }
}

/// A daemon as nginx is one: it listens, starts the child that goes on with the listener, and ends. Its child and the port.
fn daemon() -> (Left, u16) {
    let script = "import os,socket\nl=socket.socket()\nl.bind(('127.0.0.1',0))\nl.listen(8)\n\
                  child=os.fork()\nif child: print(child,l.getsockname()[1],flush=True)\nelse:\n os.closerange(0,3)\n while 1: l.accept()[0].close()";
    let output = Command::new("python3").args(["-c", script]).output().expect("python3 runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut numbers = text.split_whitespace().filter_map(|word| word.parse::<i32>().ok());
    let child = numbers.next().and_then(rustix::process::Pid::from_raw).expect("a child");
    (Left(child), numbers.next().and_then(|port| port.try_into().ok()).expect("a port"))
}

#[test]
fn what_a_daemon_listens_for_is_its_childs_when_it_has_left_its_listener_to_it() {
    if lacks(&["python3"]) {
        return;
    }
    let probes: [&mut dyn Probe; 2] = [&mut tcp::Tcp::start(&settings()), &mut socket::Socket::start(&settings())];
    let (child, port) = daemon();
    let parts = [format!("tgid={} ", child.0.as_raw_nonzero()), format!("server_port={port} "), "role=server".to_owned()];
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    for (probe, field) in probes.into_iter().zip(["segs_in", "passive_open"]) {
        let mut rows = Rows::default();
        let seen = poll(|| {
            drop(TcpStream::connect(("127.0.0.1", port)).expect("the child accepts"));
            collect(probe, &mut rows);
            rows.sum(&parts, field).filter(|number| *number > 0.0)
        });
        assert!(seen.is_some(), "{field}: {:#?}", rows.0);
    }
}

/// A listener in the namespace that accepts nobody, with this backlog; its port.
fn listener_in(namespace: &Namespace, backlog: u32) -> (Running, u16) {
    let script = format!(
        "import socket,time\nl=socket.socket()\nl.bind(('0.0.0.0',0))\nl.listen({backlog})\nprint(l.getsockname()[1],flush=True)\ntime.sleep(60)"
    );
    let arguments = ["netns", "exec", &namespace.name, "python3", "-c", &script];
    let mut listener = Command::new("ip").args(arguments).stdout(Stdio::piped()).spawn().expect("ip runs");
    let mut text = [0; 6];
    let length = listener.stdout.as_mut().map_or(0, |out| out.read(&mut text).unwrap_or(0));
    let port = String::from_utf8_lossy(&text[..length]).trim().parse().expect("a port");
    (Running(listener), port)
}

/// Connects that hear no answer, side by side; how many were tried.
fn unanswered(address: std::net::SocketAddr, clients: usize) {
    let try_once = move || TcpStream::connect_timeout(&address, Duration::from_millis(300)).is_err();
    let tried: Vec<_> = (0..clients).map(|_| std::thread::spawn(try_once)).collect();
    assert!(tried.into_iter().all(|client| client.join().expect("no panic")), "nobody gets through");
}

#[test]
fn requests_that_are_never_completed_are_seen_waiting_repeated_and_given_up() {
    if lacks(&["ip", "iptables", "python3"]) {
        return;
    }
    let namespace = Namespace::new(72);
    run("ip netns exec galatest72 sysctl -qw net.ipv4.tcp_synack_retries=1 net.ipv4.tcp_syncookies=1");
    let (roomy, small) = (listener_in(&namespace, 128), listener_in(&namespace, 1));
    let mut probe = socket::Socket::start(&settings());
    let mut rows = Rows::default();
    collect(&mut probe, &mut rows);
    let rule = "INPUT -i galat72a -p tcp --tcp-flags SYN,ACK SYN,ACK -j DROP";
    run(&format!("iptables -I {rule}"));
    unanswered(([10, 213, 72, 2], roomy.1).into(), 4);
    unanswered(([10, 213, 72, 2], small.1).into(), 6);
    let mut waiting = Rows::default();
    collect(&mut probe, &mut waiting);
    run(&format!("iptables -D {rule}"));
    let at = |port: u16| [format!("server_port={port} "), "role=server".to_owned()];
    let (roomy_at, small_at) = (at(roomy.1), at(small.1));
    let roomy_at = [roomy_at[0].as_str(), roomy_at[1].as_str()];
    let small_at = [small_at[0].as_str(), small_at[1].as_str()];
    assert_eq!(waiting.sum(&roomy_at, "syn_queue"), Some(4.0));
    // A full queue answers by cookies and keeps nothing of the request.
    let kept = waiting.sum(&small_at, "syn_queue").unwrap_or_default();
    assert!((1.0..=3.0).contains(&kept), "{kept} with a backlog of 1");
    assert_eq!(waiting.sum(&small_at, "syn_overflow"), Some(6.0 - kept));
    assert_eq!(waiting.sum(&roomy_at, "syn_overflow"), Some(0.0));
    let seen = collect_until(&mut probe, &mut rows, |rows| rows.sum(&roomy_at, "req_drops").filter(|count| *count >= 4.0));
    assert_eq!(seen, Some(4.0));
    assert_eq!(rows.sum(&roomy_at, "retran_synacks"), Some(4.0), "one repeat each");
    assert_eq!(rows.sum(&roomy_at, "synack_sent"), Some(8.0));
    collect(&mut probe, &mut rows);
    assert_eq!(rows.sum(&roomy_at, "req_drops"), Some(4.0), "counted once");
}

#[test]
fn a_syn_without_a_neighbour_to_go_to_is_counted_where_it_was_sent() {
    if lacks(&["ip"]) {
        return;
    }
    let _namespace = Namespace::new(73);
    let mut probe = socket::Socket::start(&settings());
    let nobody = std::thread::spawn(|| TcpStream::connect_timeout(&([10, 213, 73, 77], 80).into(), Duration::from_secs(10)));
    let parts = [format!("tgid={} ", std::process::id()), "server_ip=10.213.73.77 ".to_owned()];
    let parts = [parts[0].as_str(), parts[1].as_str(), "role=client"];
    let mut rows = Rows::default();
    let seen = collect_until(&mut probe, &mut rows, |rows| rows.sum(&parts, "syn_drop").filter(|count| *count >= 1.0));
    assert!(seen.is_some(), "the SYN is seen to be dropped");
    assert!(nobody.join().expect("no panic").is_err());
}

#[test]
fn a_connection_whose_peer_vanishes_is_told_to_have_timed_out() {
    if lacks(&["ip", "python3"]) {
        return;
    }
    let namespace = Namespace::new(75);
    let (_listener, port) = listener_in(&namespace, 5);
    let mut probe = tcp::Tcp::start(&settings());
    let mut client = TcpStream::connect(("10.213.75.2", port)).expect("connecting works");
    rustix::net::sockopt::set_tcp_user_timeout(&client, 5000).expect("an option");
    // Nobody answers for the address any more: the way's word, not the timer's, is what the connection ends with.
    run(&format!("ip -n {} link set galat75b arp off; ip neigh flush dev galat75a", namespace.name));
    client.write_all(b"lost").expect("writing works");
    let (tgid, port) = (format!("tgid={} ", std::process::id()), format!("server_port={port} "));
    let mut rows = Rows::default();
    let parts = ["role=client", tgid.as_str(), port.as_str()];
    let ended = collect_until(&mut probe, &mut rows, |rows| rows.sum(&parts, "tmout_count").filter(|count| *count > 0.0));
    assert_eq!(ended, Some(1.0));
    assert_eq!(client.read(&mut [0; 8]).map_err(|error| error.raw_os_error()), Err(Some(libc::EHOSTUNREACH)));
}

#[test]
fn a_connection_that_asks_to_be_told_of_errors_of_its_way_has_not_timed_out_by_them() {
    if lacks(&["ip", "python3"]) {
        return;
    }
    let namespace = Namespace::new(76);
    let (_listener, port) = listener_in(&namespace, 5);
    let mut probe = tcp::Tcp::start(&settings());
    // IP_RECVERR; it sends once told that the way is cut, then asks SO_ERROR until that holds something.
    let script = format!(
        "import socket,time\ns=socket.socket()\ns.setsockopt(0,11,1)\ns.connect(('10.213.76.2',{port}))\nprint('open',flush=True)\ninput()\ns.send(b'lost')\nwhile not s.getsockopt(1,4): time.sleep(0.05)\nprint('told',flush=True)\ntime.sleep(60)"
    );
    let mut client =
        Command::new("python3").args(["-c", &script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python3 runs");
    let (mut out, mut told) = (client.stdout.take().expect("a pipe"), client.stdin.take().expect("a pipe"));
    let client = Running(client);
    out.read_exact(&mut [0; 5]).expect("it is connected");
    run(&format!("ip -n {} link set galat76b arp off; ip neigh flush dev galat76a", namespace.name));
    told.write_all(b"cut\n").expect("it listens");
    out.read_exact(&mut [0; 5]).expect("it is told");
    let (tgid, port) = (format!("tgid={} ", client.0.id()), format!("server_port={port} "));
    let mut rows = Rows::default();
    let parts = ["role=client", tgid.as_str(), port.as_str()];
    collect(&mut probe, &mut rows);
    assert!(rows.sum(&parts, "retran_packets").is_some_and(|packets| packets > 0.0), "its way is cut");
    assert_eq!(rows.sum(&parts, "tmout_count"), Some(0.0));
}

/// Commands the server says it executed, by `INFO commandstats`.
fn executed(port: u16, command: &str) -> f64 {
    let stats = run(&format!("redis-cli -p {port} info commandstats"));
    let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
    line.and_then(|rest| rest.split(',').next()?.parse().ok()).unwrap_or_default()
}

/// Of one server's command. Totals are cumulative: only the last report counts.
fn totals(probe: &mut dyn Probe, port: u16, method: &str, field: &'static str, wanted: f64) -> f64 {
    let mut total = 0.0;
    poll(|| {
        let mut rows = Rows::default();
        collect(probe, &mut rows);
        total = rows.sum(&["sli ", &format!("method={method} "), &format!("server_port={port} ")], field).unwrap_or_default();
        (total >= wanted).then_some(())
    });
    total
}

#[test]
fn every_request_is_counted_once_alone_pipelined_and_cut_into_pieces() {
    if lacks(&["redis-server", "redis-benchmark", "redis-cli"]) {
        return;
    }
    let redis = Redis::start();
    let port = redis.port;
    let mut probe = sli::Sli::start(&settings());
    run(&format!("redis-benchmark -p {port} -c 5 -n 3000 -t get -q"));
    assert_eq!(totals(&mut probe, port, "GET", "requests_total", 3000.0), executed(port, "get"));
    run(&format!("redis-benchmark -p {port} -c 3 -n 4000 -P 50 -d 300 -t lpush -q"));
    assert_eq!(totals(&mut probe, port, "LPUSH", "requests_total", 4000.0), executed(port, "lpush"));
    run(&format!("redis-benchmark -p {port} -c 2 -n 200 -d 200000 -t set -q"));
    assert_eq!(totals(&mut probe, port, "SET", "requests_total", 200.0), executed(port, "set"));
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("connecting works");
    stream.set_nodelay(true).expect("an option");
    for byte in b"*2\r\n$4\r\nincr\r\n$12\r\ncut to bytes\r\n" {
        stream.write_all(&[*byte]).expect("writing works");
    }
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).expect("reading works");
    drop(stream);
    assert_eq!((&answer, totals(&mut probe, port, "INCR", "requests_total", 1.0)), (b":1\r\n", 1.0));
}

#[test]
fn what_is_not_followed_of_connections_to_others_is_no_gap() {
    if lacks(&["python3"]) {
        return;
    }
    const CONNECTIONS: u64 = 300;
    // TCP_DEFER_ACCEPT: the first data ends the handshake.
    let script = "import socket\nl=socket.socket()\nl.setsockopt(6,9,5)\nl.bind(('127.0.0.1',0))\nl.listen(5)\nprint('%5d'%l.getsockname()[1],flush=True)\nwhile True:\n c=l.accept()[0]\n while c.recv(99): c.send(b'heard')";
    let mut probe = sli::Sli::start(&settings());
    let mut server = Command::new("python3").args(["-c", script]).stdout(Stdio::piped()).spawn().expect("python3 runs");
    let mut text = [0; 5];
    server.stdout.as_mut().expect("a pipe").read_exact(&mut text).expect("a port");
    let _server = Running(server);
    let port: u16 = String::from_utf8_lossy(&text).trim().parse().expect("a port");
    for _ in 0..CONNECTIONS {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("connecting works");
        for _ in 0..3 {
            stream.write_all(b"\x01 speaks another language").expect("writing works");
            assert!(stream.read(&mut [0; 64]).expect("reading works") > 0);
        }
    }
    collect(&mut probe, &mut Rows::default());
    let gaps = probe.losses().iter().find(|loss| loss.key == "ksli.stream.gaps").map(|loss| loss.count);
    // Servers of other tests may have some.
    assert!(gaps.is_some_and(|gaps| gaps < CONNECTIONS / 2), "{gaps:?} gaps");
}

#[test]
fn an_error_answer_is_counted_and_timed() {
    if lacks(&["redis-server", "redis-cli"]) {
        return;
    }
    let redis = Redis::start();
    let port = redis.port;
    let mut probe = sli::Sli::start(&settings());
    run(&format!("redis-cli -p {port} incr n; redis-cli -p {port} lpush n 1"));
    assert_eq!(totals(&mut probe, port, "LPUSH", "errors_total", 1.0), 1.0);
    assert_eq!(totals(&mut probe, port, "LPUSH", "latency_nsec", 1.0), 1.0);
    assert_eq!(totals(&mut probe, port, "INCR", "requests_total", 1.0), 1.0);
    assert_eq!(totals(&mut probe, port, "INCR", "errors_total", 0.0), 0.0);
}

#[test]
fn a_slow_command_shows_in_the_stage_of_processing() {
    if lacks(&["redis-server", "redis-cli"]) {
        return;
    }
    let redis = Redis::start();
    let port = redis.port;
    let mut probe = sli::Sli::start(&settings());
    run(&format!("redis-cli -p {port} debug sleep 0.2; redis-cli -p {port} config set enable-debug-command yes"));
    run(&format!(
        "redis-cli -p {port} eval \"local t=redis.call('time') repeat local n=redis.call('time') until (n[1]-t[1])*1000000+n[2]-t[2] > 200000\" 0"
    ));
    let processing = totals(&mut probe, port, "EVAL", "proc_nsec_sum", 200e6);
    assert!(processing >= 200e6, "{processing} ns");
    let waiting = totals(&mut probe, port, "EVAL", "sched_nsec_sum", 0.0);
    assert!(waiting < processing, "{waiting} ns before reading, {processing} ns after");
}

#[test]
fn a_request_that_a_stopped_server_does_not_answer_is_told_with_its_age() {
    if lacks(&["redis-server", "redis-cli"]) {
        return;
    }
    let redis = Redis::start();
    let port = redis.port;
    let mut probe = sli::Sli::start(&settings());
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("connecting works");
    let mut answer = [0; 64];
    stream.write_all(b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n").expect("writing works");
    assert!(stream.read(&mut answer).expect("reading works") > 0);
    assert_eq!(totals(&mut probe, port, "GET", "oldest_nsec", 0.0), 0.0);
    redis.signal("STOP");
    stream.write_all(b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n").expect("writing works");
    let oldest = totals(&mut probe, port, "GET", "oldest_nsec", 100e6);
    redis.signal("CONT");
    assert!(oldest >= 100e6, "{oldest} ns");
    assert!(stream.read(&mut answer).expect("reading works") > 0);
    let is_answered = poll(|| {
        let mut rows = Rows::default();
        collect(&mut probe, &mut rows);
        (rows.sum(&["sli ", "method=GET ", &format!("server_port={port} ")], "oldest_nsec") == Some(0.0)).then_some(())
    });
    assert!(is_answered.is_some(), "nothing waits any more");
}
