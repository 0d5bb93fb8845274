//! Each fault as it is made for real, looked at from outside: by the kernel and by the server itself. And that nothing of it
//! stays, however the lab ends. Needs root and Redis; what a host cannot do is said.
#![allow(clippy::print_stdout)] // says what it skips

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

const PATIENCE: Duration = Duration::from_secs(60);

/// A lane for each test, away from people's, and from those of a second run of these tests.
fn lane(test: u8) -> u8 {
    40 + (std::process::id() % 19) as u8 * 3 + test
}

/// Why nothing can be tested here, if so.
fn missing() -> Option<&'static str> {
    if !rustix::process::geteuid().is_root() {
        return Some("faults need root");
    }
    Command::new("redis-server").arg("--version").output().is_err().then_some("faults need redis-server")
}

/// A lab that holds a service, and perhaps a fault, until it is ended.
struct Lab {
    process: Child,
    out: BufReader<ChildStdout>,
    lane: u8,
    /// What it said so far.
    said: String,
}

impl Lab {
    fn start(lane: u8, fault: Option<&str>) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gala-lab"));
        command.args(["stage", "--lane", &lane.to_string()]);
        if let Some(fault) = fault {
            command.args(["--fault", fault]);
        }
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0).spawn().unwrap();
        let out = BufReader::new(process.stdout.take().unwrap());
        Self { process, out, lane, said: String::new() }
    }

    /// Reads until it is ready or has ended; whether it is ready.
    fn is_ready(&mut self) -> bool {
        loop {
            let before = self.said.len();
            if self.out.read_line(&mut self.said).unwrap() == 0 {
                return false;
            }
            if &self.said[before..] == "ready\n" {
                return true;
            }
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.process)
    }

    /// Kills it, and its warden first where that shall not clean up after it.
    fn kill(&mut self, with_warden: bool) {
        if with_warden {
            let warden = warden_of(self.process.id()).expect("a warden");
            kill_process(Pid::from_raw(warden).unwrap(), Signal::KILL).unwrap();
        }
        kill_process(self.pid(), Signal::KILL).unwrap();
        self.process.wait().unwrap();
        within("the server is gone", || !Path::new(&format!("/proc/{}", self.server())).exists());
    }

    /// The server's process id, as the lab tells it.
    fn server(&self) -> u32 {
        let line = self.said.lines().find_map(|line| line.strip_prefix("redis-server ")).expect("the server is told");
        line.split(' ').next().unwrap().parse().unwrap()
    }

    fn name(&self) -> String {
        format!("gala-lab-{}", self.lane)
    }

    fn link(&self) -> String {
        format!("galalab{}s", self.lane)
    }

    fn group(&self, controller: &str) -> PathBuf {
        let first = Path::new("/sys/fs/cgroup").join(controller);
        if first.is_dir() { first.join(self.name()) } else { Path::new("/sys/fs/cgroup").join(self.name()) }
    }

    /// The server's answer to a command, from this side of the link; empty where there is none.
    fn ask(&self, words: &[&str], port: u16) -> String {
        let address = SocketAddr::from(([198, 18, 77 + self.lane, 1], port));
        let mut text = format!("*{}\r\n", words.len());
        words.iter().for_each(|word| text.push_str(&format!("${}\r\n{word}\r\n", word.len())));
        let mut answer = String::new();
        if let Ok(mut stream) = TcpStream::connect(address) {
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let _ = stream.write_all(text.as_bytes()).and_then(|()| stream.write_all(b"*1\r\n$4\r\nQUIT\r\n"));
            let _ = stream.read_to_string(&mut answer);
        }
        answer
    }

    /// What is there of it still.
    fn left(&self) -> Vec<String> {
        let mut left = Vec::new();
        let namespaces = said(&["ip", "netns", "list"]);
        if namespaces.lines().any(|line| line.split(' ').next() == Some(&self.name())) {
            left.push("namespace".to_owned());
        }
        let dir = std::env::temp_dir().join(self.name());
        let paths = [Path::new("/sys/class/net").join(self.link()), self.group("blkio"), self.group("cpu"), dir.clone()];
        left.extend(paths.iter().filter(|path| path.exists()).map(|path| path.display().to_string()));
        left.extend(
            said(&["losetup", "-a"]).lines().filter(|line| line.contains(&format!("{}/", dir.display()))).map(str::to_owned),
        );
        left
    }

    /// Ends it as a person does who is impatient, and sees that nothing is left.
    fn end(mut self) {
        let server = self.server();
        kill_process_group(self.pid(), Signal::INT).unwrap();
        let _ = kill_process_group(self.pid(), Signal::INT);
        let status = self.process.wait().unwrap();
        assert!(status.success(), "{status}: {}", self.said);
        within("nothing is left", || self.left().is_empty());
        assert!(!Path::new(&format!("/proc/{server}")).exists(), "the server ended with the lab");
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // A test that failed.
        if self.process.try_wait().unwrap().is_none() {
            let _ = kill_process(self.pid(), Signal::TERM);
            let _ = self.process.wait();
        }
    }
}

/// The process among a lab's own that cleans up after it.
fn warden_of(lab: u32) -> Option<i32> {
    let children = std::fs::read_to_string(format!("/proc/{lab}/task/{lab}/children")).ok()?;
    let is_warden =
        |pid: &&str| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.contains("\0warden\0"));
    children.split_whitespace().find(is_warden)?.parse().ok()
}

fn said(words: &[&str]) -> String {
    let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn within(what: &str, mut look: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !look() {
        assert!(begun.elapsed() < PATIENCE, "not within {} s: {what}", PATIENCE.as_secs());
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Makes a fault, looks at it, and ends it.
fn fault(name: &str, look: impl FnOnce(&Lab)) {
    let mut lab = Lab::start(lane(0), Some(name));
    if !lab.is_ready() {
        println!("skipped: the fault {name} cannot be made on this kernel");
        assert!(["delay", "quota", "disk"].contains(&name), "{name}: {}", lab.said);
        within("nothing is left", || lab.left().is_empty());
        return;
    }
    look(&lab);
    lab.end();
}

#[test]
fn each_fault_is_what_it_says_and_leaves_nothing() {
    if let Some(why) = missing() {
        println!("skipped: {why}");
        return;
    }
    let state = |lab: &Lab| {
        let status = std::fs::read_to_string(format!("/proc/{}/status", lab.server())).unwrap_or_default();
        status.lines().find_map(|line| line.strip_prefix("State:\t")).unwrap_or("gone").to_owned()
    };
    fault("stop", |lab| assert!(state(lab).starts_with('T'), "{}", state(lab)));
    fault("hang", |lab| {
        // By the server's own clock; the first script only learns how long it must be.
        within("a script held the server for a second", || {
            let stats = lab.ask(&["INFO", "commandstats"], 16_379);
            let script = stats.lines().find(|line| line.starts_with("cmdstat_eval:")).unwrap_or_default();
            let spent = script.split("usec=").nth(1).and_then(|rest| rest.split(',').next()?.parse::<u64>().ok());
            assert!(!script.contains("failed_calls=") || script.contains("failed_calls=0"), "{script}");
            spent.is_some_and(|micros| micros > 1_000_000)
        });
    });
    fault("link", |lab| {
        let flags = said(&["ip", "link", "show", &lab.link()]);
        assert!(flags.contains("state DOWN"), "{flags}");
    });
    fault("quota", |lab| {
        within("the server is held back", || {
            let stat = std::fs::read_to_string(lab.group("cpu").join("cpu.stat")).unwrap();
            stat.lines().any(|line| line.strip_prefix("nr_throttled ").is_some_and(|count| count != "0"))
        });
    });
    fault("memory", |lab| {
        assert!(lab.ask(&["SET", "key", "value"], 16_379).starts_with("-OOM"), "writes are refused");
        assert!(lab.ask(&["PING"], 16_379).starts_with("+PONG"), "the server answers");
    });
    fault("delay", |lab| {
        let queues = said(&["tc", "qdisc", "show", "dev", &lab.link()]);
        assert!(queues.contains("netem"), "{queues}");
    });
    fault("kill", |lab| {
        assert_eq!(state(lab), "gone");
        assert_eq!(lab.ask(&["PING"], 16_379), "", "nobody listens");
    });
    fault("loss", |lab| {
        let rules = said(&["ip", "netns", "exec", &lab.name(), "iptables", "-S", "INPUT"]);
        assert!(rules.contains("DROP"), "{rules}");
    });
    fault("disk", |lab| {
        let members = std::fs::read_to_string(lab.group("blkio").join("cgroup.procs")).unwrap();
        assert!(members.lines().any(|pid| pid == lab.server().to_string()), "{members}");
        assert!(lab.ask(&["PING"], 16_380).starts_with("+PONG"));
    });
}

#[test]
fn what_a_killed_lab_made_goes_with_it_or_with_the_next() {
    if let Some(why) = missing() {
        println!("skipped: {why}");
        return;
    }
    let lane = lane(1);
    let mut killed = Lab::start(lane, Some("fsync"));
    assert!(killed.is_ready(), "{}", killed.said);
    let second = Command::new(env!("CARGO_BIN_EXE_gala-lab")).args(["stage", "--lane", &lane.to_string()]).output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&second.stdout).contains(&format!("another lab holds lane {lane}")), "{second:?}");
    killed.kill(false);
    within("nothing is left", || killed.left().is_empty());

    let mut killed = Lab::start(lane, Some("disk"));
    if !killed.is_ready() {
        println!("skipped: the fault disk cannot be made on this kernel");
        killed = Lab::start(lane, Some("fsync"));
        assert!(killed.is_ready(), "{}", killed.said);
    }
    assert!(!killed.said.contains("removed what"), "{}", killed.said);
    killed.kill(true);
    assert!(killed.left().contains(&"namespace".to_owned()), "{:?}", killed.left());

    let mut next = Lab::start(lane, None);
    assert!(next.is_ready(), "{}", next.said);
    for left in [format!("namespace gala-lab-{lane},"), "loop device".into(), format!("gala-lab-{lane}/disk"), "folder".into()] {
        assert!(next.said.contains(&left), "{left}: {}", next.said);
    }
    next.end();
}

#[test]
fn a_product_that_does_not_start_is_told_with_its_reason_and_all_is_removed() {
    if let Some(why) = missing() {
        println!("skipped: {why}");
        return;
    }
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let lane = lane(2).to_string();
    let demo = |gala: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gala-lab"));
        command.args(["demo", "--fault", "stop", "--lane", &lane, "--hub", &free, "--gala", gala]);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let said = demo("/bin/false");
    assert!(said.starts_with("demo: ") && said.contains("/bin/false up ended (exit status: 1)"), "{said}");
    let said = demo("/nowhere/gala");
    assert!(said.contains("/nowhere/gala cannot be started; is it installed?"), "{said}");
    assert!(!std::env::temp_dir().join(format!("gala-lab-{lane}")).exists());
    assert!(!Path::new(&format!("/sys/class/net/galalab{lane}s")).exists());
}
