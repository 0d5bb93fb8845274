//! What watching Redis costs: `cargo run --release -p gala-agent --example sli_cost [SECONDS]`.
//!
//! Runs a Redis under ten closed-loop clients and prints, for each of our programs, runs and nanoseconds, and what that makes
//! per request and of one core at 30,000 requests a second. The kernel's own measuring is part of each run (an empty program
//! shows as some 75 ns).
#![allow(clippy::print_stdout)]

use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use gala_agent::kernel::RunTimeWindow;
use gala_agent::probes::{ErasedRow, Probe, ProbeSettings, RowSink, Tick, sli};

const PORT: &str = "6398";
const RATE: f64 = 30_000.0;

/// Adds up the requests of all rows.
#[derive(Default)]
struct Requests(f64);

impl RowSink for Requests {
    fn push_row(&mut self, row: &dyn ErasedRow) {
        let mut values = Vec::new();
        row.values(&mut values);
        for (field, value) in row.def().metrics().zip(values) {
            if let (true, gala_model::Value::Number(number)) = (field.name == "requests_total", value) {
                self.0 += number;
            }
        }
    }

    fn push_event(&mut self, _event: gala_model::Event) {}
}

/// A child that is killed at the end.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(program: &str, arguments: &[&str]) -> Result<Running> {
    let child = Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    Ok(Running(child.with_context(|| format!("starting {program} failed"))?))
}

/// CPU time of this process so far.
fn own_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn main() -> Result<()> {
    let seconds = std::env::args().nth(1).map_or(Ok(5), |text| text.parse())?;
    let period = Duration::from_secs(5);
    let settings = ProbeSettings {
        report_period: period,
        sample_period: period,
        sub_probes: Vec::new(),
        report_client_port: false,
        processes: None,
    };
    let server = start("redis-server", &["--port", PORT, "--save", ""])?;
    sleep(Duration::from_millis(500));
    let mut probe = sli::Sli::start(&settings);
    let load = start("redis-benchmark", &["-p", PORT, "-c", "10", "-n", "1000000000", "-t", "get"])?;
    sleep(Duration::from_secs(1));

    let collect = |probe: &mut sli::Sli| -> Result<f64> {
        let mut requests = Requests::default();
        probe.collect(Tick { at_ms: 0, elapsed: period }, &mut requests)?;
        Ok(requests.0)
    };
    let before = collect(&mut probe)?;
    let window = RunTimeWindow::open(probe.program_fds()).context("measuring BPF run time is not possible here")?;
    let (begin, cpu) = (Instant::now(), own_cpu());
    sleep(Duration::from_secs(seconds));
    let costs = window.read();
    let requests = collect(&mut probe)? - before;
    let (elapsed, cpu) = (begin.elapsed(), own_cpu() - cpu);
    drop((load, server));

    ensure!(requests > 0.0, "no request was seen");
    for cost in costs.iter().filter(|cost| cost.runs > 0) {
        println!("{:12} {:9} runs, {:5} ns each", cost.program, cost.runs, cost.run_ns / cost.runs);
    }
    let per_request = costs.iter().map(|cost| cost.run_ns).sum::<u64>() as f64 / requests;
    println!("{:.0} requests/s", requests / elapsed.as_secs_f64());
    println!("BPF {per_request:.0} ns a request: {:.2} % of one core at {RATE:.0} requests/s", per_request * RATE / 1e7);
    println!("agent {:.3} % of one core", cpu.as_secs_f64() / elapsed.as_secs_f64() * 100.0);
    println!("maps {} KiB", probe.map_bytes() / 1024);
    Ok(())
}
