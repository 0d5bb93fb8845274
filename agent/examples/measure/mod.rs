//! What the measuring examples share: a `gala` of its own, what it uses, a Redis, a steady client. Costs are read from outside
//! (clocks of the process, the kernel's own run times of its BPF programs, `fdinfo` of its maps), not asked of the program.
#![allow(dead_code)] // Each example uses its part.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use gala_agent::budget::THREAD_PREFIX;
use gala_agent::control::catalogue::PROBES;
use gala_agent::kernel::RunTimeWindow;
use libbpf_rs::libbpf_sys;
use libbpf_rs::query::ProgInfoIter;

/// Report period of the probes, as by default.
const PERIOD: Duration = Duration::from_secs(5);

/// A child that is killed at the end.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a quiet child.
pub fn spawn(command: &mut Command) -> Result<Running> {
    start(command.stderr(Stdio::null()))
}

fn start(command: &mut Command) -> Result<Running> {
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
    Ok(Running(child.with_context(|| format!("{} cannot be started", command.get_program().display()))?))
}

/// A program of the release build, or the one the environment names.
fn built(variable: &str, name: &str) -> PathBuf {
    let target = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/release").join(name);
    std::env::var_os(variable).map_or_else(target, PathBuf::from)
}

pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Body of the answer to a GET, when its status is 200.
pub fn get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.split(' ').nth(1).is_some_and(|status| status == "200").then(|| body.to_owned())
}

/// Waits until `look` finds something.
pub fn within<T>(patience: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> Result<T> {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        ensure!(begun.elapsed() < patience, "{what} did not happen within {} s", patience.as_secs());
        sleep(Duration::from_millis(50));
    }
}

/// A `gala` with ports and folders of its own.
pub struct Gala {
    process: Running,
    _folder: tempfile::TempDir,
    pub started: Instant,
    pub hub_port: u16,
    pub metrics_port: u16,
    rest_port: u16,
}

impl Gala {
    /// `command`: `agent` or `up`.
    pub fn start(command: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let empty = folder.path().join("empty.toml");
        fs::write(&empty, "")?;
        let (hub_port, metrics_port, rest_port) = (free_port()?, free_port()?, free_port()?);
        let mut gala = Command::new(built("GALA", "gala"));
        gala.arg(command).arg("--config").arg(empty).arg("--data").arg(folder.path().join("data"));
        gala.arg("--run-dir").arg(folder.path().join("run"));
        gala.args(["--log", "warn", "--metrics-listen", &format!("127.0.0.1:{metrics_port}")]);
        gala.args(["--rest-listen", &format!("127.0.0.1:{rest_port}")]);
        if command == "up" {
            gala.args(["--listen", &format!("127.0.0.1:{hub_port}")]);
        }
        let started = Instant::now();
        Ok(Self { process: self::start(&mut gala)?, _folder: folder, started, hub_port, metrics_port, rest_port })
    }

    pub fn pid(&self) -> u32 {
        self.process.0.id()
    }

    pub fn has_metrics(&self) -> Option<()> {
        get(self.metrics_port, "/metrics")?.lines().any(|line| line.starts_with("gala_gopher_")).then_some(())
    }

    /// Waits until every probe that runs unasked does.
    pub fn ready(&self) -> Result<()> {
        let is_running = |name: &str| get(self.rest_port, &format!("/{name}")).is_some_and(|text| text.contains("running"));
        let unasked = PROBES.iter().filter(|probe| probe.unasked.is_some());
        within(Duration::from_secs(60), "the start of all probes", || {
            unasked.clone().all(|probe| is_running(probe.name)).then_some(())
        })
    }

    /// Resident memory in bytes.
    pub fn resident(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        Ok(line.split_whitespace().next().context("no VmRSS")?.parse::<u64>()? * 1024)
    }

    /// Bytes the kernel holds for its BPF maps.
    pub fn maps(&self) -> Result<u64> {
        let files = self.files()?;
        let sizes: BTreeMap<u64, u64> =
            files.iter().filter_map(|text| Some((field(text, "map_id:")?, field(text, "memlock:")?))).collect();
        Ok(sizes.values().sum())
    }

    /// Texts of `/proc/PID/fdinfo/*`.
    fn files(&self) -> Result<Vec<String>> {
        let entries = fs::read_dir(format!("/proc/{}/fdinfo", self.pid()))?.flatten();
        Ok(entries.filter_map(|entry| fs::read_to_string(entry.path()).ok()).collect())
    }

    /// CPU seconds of the process, ended threads included.
    fn process_cpu(&self) -> Result<f64> {
        cpu_clock(self.pid())
    }

    /// CPU seconds of the agent's threads.
    fn agent_cpu(&self) -> Result<f64> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid()))?.flatten();
        let ours = tasks
            .map(|task| task.path())
            .filter(|task| fs::read_to_string(task.join("comm")).is_ok_and(|name| name.starts_with(THREAD_PREFIX)));
        let nanos =
            |task: PathBuf| fs::read_to_string(task.join("schedstat")).ok()?.split_whitespace().next()?.parse::<f64>().ok();
        Ok(ours.filter_map(nanos).sum::<f64>() / 1e9)
    }

    fn programs(&self) -> Result<BTreeSet<u32>> {
        Ok(self.files()?.iter().filter_map(|text| field(text, "prog_id:")).map(|id| id as u32).collect())
    }
}

fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.trim().parse().ok()
}

/// CPU seconds of a process by its own clock, to the nanosecond.
#[allow(unsafe_code)]
fn cpu_clock(pid: u32) -> Result<f64> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let mut clock = 0;
    // SAFETY: both calls fill a plain value that lives through the call.
    let done = unsafe {
        libc::clock_getcpuclockid(pid as libc::pid_t, &raw mut clock) == 0 && libc::clock_gettime(clock, &raw mut time) == 0
    };
    ensure!(done, "the CPU clock of process {pid} cannot be read");
    Ok(time.tv_sec as f64 + time.tv_nsec as f64 / 1e9)
}

/// What a `gala` used in a stretch of time, in seconds of CPU.
#[derive(Clone, Debug, Default)]
pub struct Cost {
    pub seconds: f64,
    pub process: f64,
    pub agent: f64,
    pub bpf: f64,
    pub bpf_runs: u64,
    /// Runs and nanoseconds of each program.
    pub programs: BTreeMap<String, (u64, u64)>,
}

impl Cost {
    /// Share of one core in percent.
    pub fn percent(&self, cpu: f64) -> f64 {
        cpu / self.seconds * 100.0
    }
}

struct Reading {
    at: Instant,
    process: f64,
    agent: f64,
    programs: BTreeMap<u32, (String, u64, u64)>,
}

impl Reading {
    fn take(gala: &Gala) -> Result<Self> {
        let wanted = gala.programs()?;
        let ours = ProgInfoIter::default().filter(|program| wanted.contains(&program.id));
        let programs =
            ours.map(|info| (info.id, (info.name.to_string_lossy().into_owned(), info.run_cnt, info.run_time_ns))).collect();
        Ok(Self { at: Instant::now(), process: gala.process_cpu()?, agent: gala.agent_cpu()?, programs })
    }
}

/// Measures a stretch that lies between two reports and holds whole periods. The kernel measures BPF run time meanwhile, which
/// costs 20 to 70 ns a run (`measuring_ns`) and is part of the run times.
pub fn measure(gala: &Gala, periods: u32) -> Result<Cost> {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let into_period = Duration::from_nanos((since_epoch.as_nanos() % PERIOD.as_nanos()) as u64);
    sleep((PERIOD + PERIOD / 2 - into_period).min(PERIOD));
    let counting = RunTimeWindow::open(Vec::new()).context("measuring BPF run time needs root and Linux 5.8")?;
    let before = Reading::take(gala)?;
    sleep(PERIOD * periods);
    let after = Reading::take(gala)?;
    drop(counting);
    let mut cost = Cost {
        seconds: (after.at - before.at).as_secs_f64(),
        process: after.process - before.process,
        agent: after.agent - before.agent,
        ..Cost::default()
    };
    for (id, (name, runs, nanos)) in after.programs {
        let (_, runs_before, nanos_before) = before.programs.get(&id).cloned().unwrap_or_default();
        let sum = cost.programs.entry(name).or_default();
        sum.0 += runs - runs_before;
        sum.1 += nanos - nanos_before;
    }
    cost.bpf_runs = cost.programs.values().map(|(runs, _)| runs).sum();
    cost.bpf = cost.programs.values().map(|(_, nanos)| *nanos as f64 / 1e9).sum();
    Ok(cost)
}

/// Nanoseconds that an empty program seems to run: what the kernel's measuring adds to each run time, at least.
#[allow(unsafe_code)]
pub fn measuring_ns() -> Result<f64> {
    const RUNS: u32 = 100_000;
    let exit = libbpf_sys::bpf_insn { code: (libbpf_sys::BPF_JMP | libbpf_sys::BPF_EXIT) as u8, ..Default::default() };
    // r0 = 0
    let zero = libbpf_sys::bpf_insn { code: (libbpf_sys::BPF_ALU64 | libbpf_sys::BPF_MOV) as u8, ..Default::default() };
    let (program, frame) = ([zero, exit], [0u8; 64]);
    // SAFETY: name, license and program live through the call; a good descriptor is ours alone.
    let fd = unsafe {
        let (kind, length) = (libbpf_sys::BPF_PROG_TYPE_SOCKET_FILTER, program.len() as u64);
        let fd =
            libbpf_sys::bpf_prog_load(kind, c"empty".as_ptr(), c"GPL".as_ptr(), program.as_ptr(), length, std::ptr::null_mut());
        ensure!(fd >= 0, "an empty BPF program does not load: {}", std::io::Error::from_raw_os_error(-fd));
        OwnedFd::from_raw_fd(fd)
    };
    let window = RunTimeWindow::open(vec![(String::new(), fd.as_raw_fd())])?;
    let mut options = libbpf_sys::bpf_test_run_opts {
        sz: size_of::<libbpf_sys::bpf_test_run_opts>() as u64,
        data_in: frame.as_ptr().cast(),
        data_size_in: frame.len() as u32,
        repeat: RUNS as i32,
        ..Default::default()
    };
    // SAFETY: options and the frame they point to live through the call.
    let result = unsafe { libbpf_sys::bpf_prog_test_run_opts(fd.as_raw_fd(), &raw mut options) };
    ensure!(result == 0, "an empty BPF program does not run: {}", std::io::Error::from_raw_os_error(-result));
    let cost = window.read();
    let runs = cost.first().map_or(0, |cost| cost.runs);
    ensure!(runs > 0, "the kernel did not count the runs of an empty BPF program");
    Ok(cost[0].run_ns as f64 / runs as f64)
}

/// A Redis that keeps everything in memory, on the first processor.
pub struct Redis {
    pub process: Running,
    pub port: u16,
}

impl Redis {
    pub fn start() -> Result<Self> {
        let port = free_port()?;
        let mut command = Command::new("taskset");
        command.args(["-c", "0", "redis-server", "--port", &port.to_string(), "--save", ""]);
        let process = spawn(&mut command)?;
        within(Duration::from_secs(10), "redis-server listening", || TcpStream::connect(("127.0.0.1", port)).ok())?;
        Ok(Self { process, port })
    }

    pub fn is_installed() -> bool {
        Command::new("redis-server").arg("--version").output().is_ok()
    }

    /// GET and SET it served, by its own count.
    pub fn served(&self) -> Result<u64> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.write_all(b"INFO commandstats\r\nQUIT\r\n")?;
        let lines = BufReader::new(stream).lines().map_while(Result::ok);
        let calls = |line: String| line.split("calls=").nth(1)?.split(',').next()?.parse::<u64>().ok();
        let ours = lines.filter(|line| line.starts_with("cmdstat_get:") || line.starts_with("cmdstat_set:"));
        Ok(ours.filter_map(calls).sum())
    }
}

/// The lab's client at a steady rate, on the second processor where there is one.
pub fn client(port: u16, connections: u32, rate: u32) -> Result<Running> {
    let lab = built("GALA_LAB", "gala-lab");
    if !lab.exists() {
        bail!("{} is missing; make build makes it", lab.display());
    }
    let processor = if std::thread::available_parallelism().is_ok_and(|count| count.get() > 1) { "1" } else { "0" };
    let mut command = Command::new("taskset");
    command.args(["-c", processor]).arg(lab).args(["client", &format!("127.0.0.1:{port}")]);
    spawn(command.args(["--connections", &connections.to_string(), "--rate", &rate.to_string()]))
}
