//! Who waits for a Redis and who does not: servers that are stopped or busy, clients that try again, clients that want no
//! answers. Against the running kernel and a real server; needs root and `redis-server`.
#![allow(clippy::print_stderr)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Child;
use std::time::{Duration, Instant};

use gala_agent::kernel::Capabilities;
use gala_agent::probes::{Probe, sli};

use harness::{Rows, collect, run, settings, skip};
use wait::{poll, wait_for};

#[allow(dead_code)]
#[path = "live_host/harness.rs"]
mod harness;
#[path = "common/redis.rs"]
mod redis;
#[path = "common/wait.rs"]
mod wait;

/// Longer than a wait has to last to be told.
const LONG: Duration = Duration::from_millis(400);

const GET: &[u8] = b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n";
const SET: &[u8] = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n";

/// A Redis without persistence on a free port.
struct Redis {
    server: Child,
    port: u16,
}

impl Redis {
    /// `None` with a word where it cannot be watched here.
    fn start() -> Option<Self> {
        if let Some(reason) = Capabilities::probe().obstacle() {
            skip(&reason);
            return None;
        }
        let Some((server, port)) = redis::start(&["--enable-debug-command", "yes"]) else {
            skip("redis-server is not installed");
            return None;
        };
        Some(Self { server, port })
    }

    fn connect(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port)).expect("connecting works")
    }

    fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.server), signal).expect("the server lives");
    }

    /// Of one command at this server.
    fn number(&self, rows: &Rows, method: &str, field: &str) -> Option<f64> {
        let (pid, port) = (self.server.id().to_string(), self.port.to_string());
        rows.sum("sli", &[("tgid", &pid), ("server_port", &port), ("method", method)], field)
    }

    /// The rows in which so many requests of a command are counted.
    fn counted(&self, probe: &mut dyn Probe, method: &str, wanted: f64) -> Rows {
        let mut counted = None;
        let rows = poll(|| {
            let rows = collect(probe, Duration::ZERO);
            counted = self.number(&rows, method, "requests_total");
            counted.is_some_and(|counted| counted >= wanted).then_some(rows)
        });
        rows.unwrap_or_else(|| panic!("of {wanted} requests of {method} {counted:?} are counted"))
    }

    /// Whether somebody is told to wait at this server, whatever for.
    fn anybody_waits(&self, probe: &mut dyn Probe) -> bool {
        let pid = self.server.id().to_string();
        collect(probe, Duration::ZERO).sum("sli", &[("tgid", &pid)], "oldest_nsec").is_some_and(|ns| ns > 0.0)
    }

    fn wait_is_told(&self, probe: &mut dyn Probe, method: &str) {
        let told = poll(|| {
            let rows = collect(probe, Duration::ZERO);
            self.number(&rows, method, "oldest_nsec").filter(|ns| *ns >= 100e6)
        });
        assert!(told.is_some(), "{method} waits");
    }

    fn nobody_waits_for_long(&self, probe: &mut dyn Probe) {
        let begun = Instant::now();
        wait_for("a while", || {
            assert!(!self.anybody_waits(probe));
            begun.elapsed() > LONG
        });
    }

    /// Waits until the server has executed so many commands of the kind.
    fn executed(&self, command: &str, calls: usize) {
        let stats = format!("cmdstat_{command}:calls={calls},");
        wait_for("the commands are executed", || {
            let mut stream = self.connect();
            stream.write_all(b"*2\r\n$4\r\nINFO\r\n$12\r\ncommandstats\r\n*1\r\n$4\r\nQUIT\r\n").expect("writing works");
            let mut text = String::new();
            stream.read_to_string(&mut text).is_ok() && text.contains(&stats)
        });
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// Asks and reads the answer.
fn ask(stream: &mut TcpStream, request: &[u8]) {
    stream.write_all(request).expect("writing works");
    assert!(stream.read(&mut [0; 4096]).expect("reading works") > 0);
}

fn reply(mode: &str) -> Vec<u8> {
    format!("*3\r\n$6\r\nclient\r\n$5\r\nReply\r\n${}\r\n{mode}\r\n", mode.len()).into_bytes()
}

#[test]
fn clients_that_try_again_at_a_stopped_server_wait_though_nobody_accepted_them() {
    let Some(redis) = Redis::start() else { return };
    let mut probe = sli::Sli::start(&settings());
    ask(&mut redis.connect(), GET);
    let answered = poll(|| redis.number(&collect(&mut probe, Duration::ZERO), "GET", "requests_total").filter(|n| *n > 0.0));
    assert_eq!(answered, Some(1.0));
    redis.signal(rustix::process::Signal::STOP);
    let (mut again, mut new) = (redis.connect(), redis.connect());
    again.write_all(GET).expect("writing works");
    // A command that this server never answered has a row too.
    new.write_all(b"*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n").expect("writing works");
    redis.wait_is_told(&mut probe, "GET");
    redis.wait_is_told(&mut probe, "HELLO");
    assert_eq!(redis.number(&collect(&mut probe, Duration::ZERO), "HELLO", "requests_total"), Some(0.0));
    redis.signal(rustix::process::Signal::CONT);
    assert!(again.read(&mut [0; 64]).expect("reading works") > 0);
    assert!(new.read(&mut [0; 64]).expect("reading works") > 0);
    assert!(poll(|| (!redis.anybody_waits(&mut probe)).then_some(())).is_some(), "nobody waits any more");
}

#[test]
fn clients_that_want_no_answers_wait_for_none_and_are_not_timed() {
    let Some(redis) = Redis::start() else { return };
    let mut probe = sli::Sli::start(&settings());
    let mut quiet = redis.connect();
    quiet.write_all(&[reply("OFF"), SET.to_vec(), SET.to_vec()].concat()).expect("writing works");
    redis.executed("set", 2);
    redis.nobody_waits_for_long(&mut probe);
    ask(&mut quiet, &reply("ON"));
    let counted = poll(|| {
        // What was acknowledged is counted.
        ask(&mut quiet, GET);
        let rows = collect(&mut probe, Duration::ZERO);
        let counted = redis.number(&rows, "CLIENT", "requests_total").filter(|n| *n >= 4.0)?;
        Some((counted, redis.number(&rows, "CLIENT", "sched_nsec_count"), redis.number(&rows, "GET", "sched_nsec_count")))
    });
    let (counted, timed, gets) = counted.expect("they are counted");
    assert_eq!((counted, timed), (4.0, Some(0.0)));
    assert!(gets.is_none_or(|gets| gets >= 1.0), "what is answered again is timed again");
}

#[test]
fn clients_that_asked_for_no_answers_before_the_probe_came_are_known_by_their_server_reading_on() {
    let Some(redis) = Redis::start() else { return };
    let mut quiet = redis.connect();
    quiet.write_all(&reply("OFF")).expect("writing works");
    redis.executed("client|reply", 1);
    let mut probe = sli::Sli::start(&settings());
    for calls in 1..=3 {
        quiet.write_all(SET).expect("writing works");
        redis.executed("set", calls);
    }
    redis.nobody_waits_for_long(&mut probe);
}

#[test]
fn a_busy_server_makes_its_clients_wait_whether_it_read_their_commands_or_not() {
    let Some(redis) = Redis::start() else { return };
    let mut probe = sli::Sli::start(&settings());
    let (mut busy, mut other, mut quiet) = (redis.connect(), redis.connect(), redis.connect());
    ask(&mut busy, GET);
    ask(&mut other, GET);
    quiet.write_all(&[reply("OFF"), SET.to_vec()].concat()).expect("writing works");
    redis.executed("set", 1);
    busy.write_all(b"*3\r\n$5\r\nDEBUG\r\n$5\r\nSLEEP\r\n$2\r\n60\r\n").expect("writing works");
    redis.wait_is_told(&mut probe, "DEBUG");
    // Read is only the first one; these wait unread.
    other.write_all(GET).expect("writing works");
    busy.write_all(SET).expect("writing works");
    busy.write_all(SET).expect("writing works");
    redis.wait_is_told(&mut probe, "GET");
    // What stands behind it is not the oldest.
    redis.wait_is_told(&mut probe, "DEBUG");
    let behind = redis.number(&collect(&mut probe, Duration::ZERO), "SET", "oldest_nsec").unwrap_or_default();
    assert_eq!(behind, 0.0);
}

/// The command with its arguments.
fn command(words: &[&str]) -> Vec<u8> {
    let arguments: String = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())).collect();
    format!("*{}\r\n{arguments}", words.len()).into_bytes()
}

/// Reads as many lines.
fn read_lines(stream: &mut TcpStream, lines: usize) {
    let mut left = lines;
    let mut byte = [0];
    while left > 0 {
        stream.read_exact(&mut byte).expect("reading works");
        left -= usize::from(byte[0] == b'\n');
    }
}

#[test]
fn a_slow_command_on_a_connection_in_use_is_processing_and_not_waiting() {
    let Some(redis) = Redis::start() else { return };
    let mut probe = sli::Sli::start(&settings());
    let mut stream = redis.connect();
    // A connection in use acknowledges late: after 40 ms, while the command is processed.
    for _ in 0..20 {
        ask(&mut stream, GET);
    }
    let (mut asked, mut before) = (0.0, 0.0);
    let read_at_once = poll(|| {
        ask(&mut stream, &command(&["DEBUG", "SLEEP", "0.15"]));
        ask(&mut stream, GET);
        asked += 1.0;
        let rows = poll(|| {
            let rows = collect(&mut probe, Duration::ZERO);
            redis.number(&rows, "DEBUG", "sched_nsec_count").is_some_and(|timed| timed >= asked).then_some(rows)
        })?;
        let waiting = redis.number(&rows, "DEBUG", "sched_nsec_sum")?;
        let processing = redis.number(&rows, "DEBUG", "proc_nsec_sum")?;
        assert!(waiting + processing >= asked * 150e6, "{waiting} and {processing} ns");
        let waited = waiting - before;
        before = waiting;
        (waited < 25e6).then_some(())
    });
    assert!(read_at_once.is_some(), "the server slept after it had read the command, but {before} ns went by before");
}

#[test]
fn commands_that_only_begin_like_those_that_wait_are_timed() {
    let Some(redis) = Redis::start() else { return };
    let mut probe = sli::Sli::start(&settings());
    let mut stream = redis.connect();
    ask(&mut stream, &command(&["PSETEX", "k", "100000", "v"]));
    ask(&mut stream, &command(&["WATCH", "k"]));
    ask(&mut stream, &command(&["SUBSTR", "k", "0", "1"]));
    ask(&mut stream, &command(&["BLPOP", "nothing", "0.01"]));
    ask(&mut stream, GET);
    let rows = redis.counted(&mut probe, "BLPOP", 1.0);
    let timed = ["PSETEX", "WATCH", "SUBSTR", "BLPOP"].map(|method| redis.number(&rows, method, "sched_nsec_count"));
    assert_eq!(timed, [Some(1.0), Some(1.0), Some(1.0), Some(0.0)]);
}

#[test]
fn what_waits_behind_a_command_that_waits_on_purpose_is_not_slow() {
    let Some(redis) = Redis::start() else { return };
    let mut probe = sli::Sli::start(&settings());
    let (mut stream, mut other) = (redis.connect(), redis.connect());
    ask(&mut stream, GET);
    stream.write_all(&[command(&["BLPOP", "list", "0"]), GET.to_vec()].concat()).expect("writing works");
    redis.nobody_waits_for_long(&mut probe);
    ask(&mut other, &command(&["RPUSH", "list", "v"]));
    read_lines(&mut stream, 6);
    ask(&mut stream, SET);
    let rows = redis.counted(&mut probe, "GET", 3.0);
    assert_eq!(redis.number(&rows, "GET", "sched_nsec_count"), Some(1.0), "the one that waited for nothing");
}

#[test]
fn a_slow_command_does_not_slow_those_that_come_meanwhile_on_its_connection() {
    let Some(redis) = Redis::start() else { return };
    let mut probe = sli::Sli::start(&settings());
    let mut stream = redis.connect();
    ask(&mut stream, GET);
    stream.write_all(&command(&["DEBUG", "SLEEP", "0.4"])).expect("writing works");
    redis.wait_is_told(&mut probe, "DEBUG");
    stream.write_all(GET).expect("writing works");
    read_lines(&mut stream, 2);
    ask(&mut stream, SET);
    let rows = redis.counted(&mut probe, "GET", 2.0);
    let of = |method, field| redis.number(&rows, method, field).unwrap_or_default();
    assert_eq!((of("DEBUG", "requests_total"), of("DEBUG", "sched_nsec_count")), (1.0, 1.0));
    assert!(of("DEBUG", "proc_nsec_sum") >= 350e6, "{} ns", of("DEBUG", "proc_nsec_sum"));
    assert!(of("GET", "proc_nsec_sum") < 200e6, "{} ns", of("GET", "proc_nsec_sum"));
    assert!(of("GET", "sched_nsec_sum") >= 100e6, "it waited for the other: {} ns", of("GET", "sched_nsec_sum"));
}

#[test]
fn a_slow_command_is_told_apart_from_one_behind_it_that_comes_in_two_packets() {
    let Some(redis) = Redis::start() else { return };
    let mut probe = sli::Sli::start(&settings());
    let mut stream = redis.connect();
    stream.set_nodelay(true).expect("an option");
    ask(&mut stream, GET);
    stream.write_all(&command(&["DEBUG", "SLEEP", "0.4"])).expect("writing works");
    redis.wait_is_told(&mut probe, "DEBUG");
    let (start, rest) = SET.split_at(20);
    stream.write_all(start).expect("writing works");
    stream.write_all(rest).expect("writing works");
    read_lines(&mut stream, 2);
    // The second time its rest comes when the slow one is over.
    stream.write_all(&command(&["DEBUG", "SLEEP", "0.4"])).expect("writing works");
    redis.wait_is_told(&mut probe, "DEBUG");
    stream.write_all(start).expect("writing works");
    read_lines(&mut stream, 1);
    ask(&mut stream, rest);
    ask(&mut stream, GET);
    let rows = redis.counted(&mut probe, "SET", 2.0);
    let of = |method, field| redis.number(&rows, method, field).unwrap_or_default();
    assert_eq!((of("DEBUG", "requests_total"), of("SET", "requests_total")), (2.0, 2.0));
    assert!(of("DEBUG", "proc_nsec_sum") >= 700e6, "{} ns", of("DEBUG", "proc_nsec_sum"));
    assert!(of("SET", "proc_nsec_sum") < 200e6, "{} ns", of("SET", "proc_nsec_sum"));
}

#[test]
fn what_waits_at_a_stopped_server_behind_a_command_that_waits_on_purpose_is_as_old_as_itself() {
    let Some(redis) = Redis::start() else { return };
    let mut probe = sli::Sli::start(&settings());
    let mut stream = redis.connect();
    ask(&mut stream, GET);
    stream.write_all(&command(&["BLPOP", "list", "0"])).expect("writing works");
    redis.nobody_waits_for_long(&mut probe);
    redis.signal(rustix::process::Signal::STOP);
    let asked = Instant::now();
    stream.write_all(GET).expect("writing works");
    let told = poll(|| {
        let rows = collect(&mut probe, Duration::ZERO);
        let oldest = redis.number(&rows, "GET", "oldest_nsec").filter(|ns| *ns > 0.0)?;
        Some((oldest, asked.elapsed().as_nanos() as f64))
    });
    let (oldest, most) = told.expect("GET waits");
    assert!(oldest <= most, "{oldest} ns, but it was asked {most} ns ago");
}

#[test]
fn after_bytes_that_make_no_sense_only_an_array_is_a_command() {
    let Some(redis) = Redis::start() else { return };
    let mut probe = sli::Sli::start(&settings());
    let mut stream = redis.connect();
    ask(&mut stream, GET);
    ask(&mut stream, b"ping\r\n");
    ask(&mut stream, b"\x01 is no command\r\n");
    ask(&mut stream, b"secrets of users\r\n");
    ask(&mut stream, GET);
    ask(&mut stream, SET);
    let rows = redis.counted(&mut probe, "GET", 2.0);
    assert_eq!(redis.number(&rows, "PING", "requests_total"), Some(1.0), "a line of text at its place is one");
    assert_eq!(redis.number(&rows, "SECRETS", "requests_total"), None);
}

#[test]
fn a_connection_met_in_the_middle_of_a_large_value_is_taken_up_behind_it() {
    let Some(redis) = Redis::start() else { return };
    let mut stream = redis.connect();
    ask(&mut stream, GET);
    static PIECE: [u8; 65536] = [b'x'; 65536];
    const PIECES: usize = 20;
    stream
        .write_all(format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${}\r\n", 2 * PIECES * PIECE.len()).as_bytes())
        .expect("writing works");
    for _ in 0..PIECES {
        stream.write_all(&PIECE).expect("writing works");
    }
    let mut probe = sli::Sli::start(&settings());
    for _ in 0..PIECES {
        stream.write_all(&PIECE).expect("writing works");
    }
    ask(&mut stream, b"\r\n");
    ask(&mut stream, &command(&["STRLEN", "k"]));
    ask(&mut stream, SET);
    redis.counted(&mut probe, "STRLEN", 1.0);
}

#[test]
fn words_that_are_no_commands_do_not_keep_those_that_are_from_being_counted() {
    let Some(redis) = Redis::start() else { return };
    let mut probe = sli::Sli::start(&settings());
    let mut stream = redis.connect();
    ask(&mut stream, GET);
    // More than the kernel side has room for, in reports' worth of them.
    for report in 0..8 {
        for word in 0..200 {
            ask(&mut stream, &command(&[&format!("W{report}X{word}")]));
        }
        collect(&mut probe, Duration::ZERO);
    }
    let rows = collect(&mut probe, Duration::ZERO);
    assert!(rows.all("sli", &[]).len() <= 256 + 64);
    ask(&mut stream, &command(&["ECHO", "x"]));
    ask(&mut stream, GET);
    redis.counted(&mut probe, "ECHO", 1.0);
}

#[test]
fn a_command_asked_for_often_is_counted_in_one_sum_before_and_after_it_got_its_place() {
    const BATCHES: usize = 150;
    // Older kernels follow some fifty commands of one read.
    const BATCH: usize = 40;
    let Some(redis) = Redis::start() else { return };
    let mut probe = sli::Sli::start(&settings());
    let mut stream = redis.connect();
    let mut ask_for_many = || {
        for _ in 0..BATCHES {
            stream.write_all(&GET.repeat(BATCH)).expect("writing works");
            // Nil, five bytes each.
            stream.read_exact(&mut [0; 5 * BATCH]).expect("reading works");
        }
    };
    // It gets its place with the report that tells of the first ones.
    for round in 1..=3 {
        ask_for_many();
        let wanted = (round * BATCHES * BATCH) as f64;
        let rows = redis.counted(&mut probe, "GET", wanted);
        assert_eq!(redis.number(&rows, "GET", "requests_total"), Some(wanted));
        let row = rows.all("sli", &[("tgid", &redis.server.id().to_string()), ("method", "GET")])[0];
        assert_eq!(row.histogram("latency_nsec").expect("a distribution").count() as f64, wanted);
    }
}

#[test]
fn commands_of_every_shape_are_counted_once() {
    let Some(redis) = Redis::start() else { return };
    let mut probe = sli::Sli::start(&settings());
    let mut stream = redis.connect();
    stream.set_nodelay(true).expect("an option that exists");
    let long = "v".repeat(150);
    ask(&mut stream, SET);
    // The rest of a command where one of the same shape lay before.
    for piece in [8, 20, SET.len() - 1] {
        stream.write_all(&SET[..piece]).expect("writing works");
        std::thread::yield_now();
        ask(&mut stream, &SET[piece..]);
    }
    ask(&mut stream, &command(&["SET", "k", &long]));
    ask(&mut stream, &command(&["SET", "k", "$1\r\nv\r\n*2\r\n$3\r\nGET\r\n"]));
    // Names of seven and eight letters, eight and nine arguments.
    ask(&mut stream, &command(&["PERSIST", "k"]));
    ask(&mut stream, &command(&["GETRANGE", "k", "0", "1"]));
    ask(&mut stream, &command(&["DEL", "1", "2", "3", "4", "5", "6", "7"]));
    ask(&mut stream, &command(&["MSET", "1", "2", "3", "4", "5", "6", "7", "8"]));
    ask(&mut stream, &command(&["PING"]));
    // One and a half, and the other half.
    let echo = command(&["ECHO", "x"]);
    ask(&mut stream, &[echo.as_slice(), &echo[..12]].concat());
    ask(&mut stream, &echo[12..]);
    ask(&mut stream, b"TIME\r\n");
    ask(&mut stream, &command(&["STRLEN", "k"]));
    let rows = redis.counted(&mut probe, "STRLEN", 1.0);
    let expected = [("SET", 6), ("PERSIST", 1), ("GETRANGE", 1), ("DEL", 1), ("MSET", 1), ("PING", 1), ("ECHO", 2), ("TIME", 1)];
    for (method, count) in expected {
        assert_eq!(redis.number(&rows, method, "requests_total"), Some(f64::from(count)), "{method}");
    }
    assert_eq!(redis.number(&rows, "GET", "requests_total"), None, "a value is no command");
}

/// The mean latency that `redis-benchmark` tells of its GETs, ns; `None` with a word where it tells none.
fn benchmark_gets(redis: &Redis, clients: u32, requests: u32) -> Option<f64> {
    let [port, clients, requests] = [redis.port.into(), clients, requests].map(|number: u32| number.to_string());
    if run("redis-benchmark", &["--version"]).is_none() {
        skip("redis-benchmark is not installed");
        return None;
    }
    // One that no other process keeps from a CPU: its own wait for one is in its figure, not in ours.
    let arguments = ["-f", "1", "redis-benchmark", "--csv", "-t", "get", "-p", &port, "-c", &clients, "-n", &requests];
    let Some(text) = run("chrt", &arguments) else {
        skip("no process can be put before the others here");
        return None;
    };
    let mut lines = text.lines().map(|line| line.split(',').map(|word| word.trim_matches('"')));
    let column = lines.next().and_then(|mut names| names.position(|name| name == "avg_latency_ms"));
    let Some(column) = column else {
        skip("this redis-benchmark tells no mean latency (from 6.2 on it does)");
        return None;
    };
    let told = lines.find_map(|mut words| words.next().filter(|test| *test == "GET").and_then(|_| words.nth(column - 1)));
    Some(told.and_then(|mean_ms| mean_ms.parse::<f64>().ok()).expect("a mean") * 1e6)
}

#[test]
fn count_and_mean_latency_are_those_that_redis_benchmark_tells() {
    const REQUESTS: u32 = 20_000;
    // Theirs sorts into steps of 8 us and tells their middles, and our way back is the connection's shortest, the client's
    // quickest turn included: that much more than theirs ours may be.
    const STEP_NS: f64 = 8e3;
    // What only theirs holds: the client's write and its wake-up, with several clients also its turns for the others' answers,
    // for one thread serves them all. Of theirs ours was 0.7 and more with one client, 0.4 and more with eight on an idle
    // machine; on a busy one the server waits for a CPU, and both come near each other.
    for (clients, share) in [(1, 0.5), (8, 0.3)] {
        let Some(redis) = Redis::start() else { return };
        let mut probe = sli::Sli::start(&settings());
        let Some(theirs) = benchmark_gets(&redis, clients, REQUESTS) else { return };
        let rows = redis.counted(&mut probe, "GET", REQUESTS.into());
        let row = rows.all("sli", &[("tgid", &redis.server.id().to_string()), ("method", "GET")])[0];
        assert_eq!(row.number("requests_total"), Some(REQUESTS.into()));
        let latency = row.histogram("latency_nsec").expect("a distribution");
        assert_eq!(latency.count(), u64::from(REQUESTS));
        let ours = latency.sum as f64 / latency.count() as f64;
        eprintln!("{clients} clients: {ours:.0} ns in the mean, {theirs:.0} by redis-benchmark");
        assert!(
            ours <= theirs + STEP_NS && ours >= theirs * share,
            "{clients} clients: {ours} ns in the mean, {theirs} by redis-benchmark"
        );
    }
}
