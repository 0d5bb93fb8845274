//! Prints what a probe sees: `cargo run -p gala-agent --example probe -- tcp 3`.
#![allow(clippy::print_stdout)]

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use gala_agent::control::catalogue::PROBES;
use gala_agent::probes::{self, ErasedRow, Probe, ProbeSettings, RowSink, Tick};
use gala_model::Value;
use gala_model::value::LabelSink;

struct Printer;

struct Labels(String);

impl LabelSink for Labels {
    fn label(&mut self, name: &'static str, text: &str) {
        if !text.is_empty() {
            self.0.push_str(&format!("{name}={text} "));
        }
    }
}

impl RowSink for Printer {
    fn push_row(&mut self, row: &dyn ErasedRow) {
        let mut labels = Labels(String::new());
        row.labels(&mut labels);
        let mut values = Vec::new();
        row.values(&mut values);
        println!("{} {}", row.def().name, labels.0);
        let shown = row.def().metrics().zip(values).filter_map(|(field, value)| match value {
            Value::Number(number) if number != 0.0 => Some(format!("{}={number}", field.name)),
            Value::Histogram(h) => Some(format!("{}:n={},p50={:.0},max={}", field.name, h.count(), h.quantile(0.5)?, h.max)),
            _ => None,
        });
        println!("    {}", shown.collect::<Vec<_>>().join(" "));
    }

    fn push_event(&mut self, event: gala_model::Event) {
        println!("event {event:?}");
    }
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_else(|| "tcp".to_owned());
    let periods: u32 = arguments.next().map_or(Ok(3), |text| text.parse())?;
    let period = Duration::from_secs(2);
    let settings = ProbeSettings {
        report_period: period,
        sample_period: period,
        sub_probes: PROBES.iter().flat_map(|entry| entry.sub_probes).map(|name| (*name).to_owned()).collect(),
        report_client_port: false,
        processes: None,
    };
    let mut probe: Box<dyn Probe> = match name.as_str() {
        "tcp" => Box::new(probes::tcp::Tcp::start(&settings)),
        "baseinfo" => probes::baseinfo::start(&settings)?,
        "io" => probes::io::start(&settings)?,
        "proc" => probes::proc::start(&settings)?,
        "ksli" => Box::new(probes::sli::Sli::start(&settings)),
        other => bail!("no probe {other}: baseinfo, io, ksli, proc, tcp"),
    };
    for hook in probe.hooks() {
        println!("{:24} {:?} {:?} {}", hook.hook, hook.state, hook.rung, hook.reason);
    }
    let mut last = Instant::now();
    for _ in 0..periods {
        let window = gala_agent::kernel::RunTimeWindow::open(probe.program_fds()).ok();
        sleep(period);
        let now = Instant::now();
        probe.collect(Tick { at_ms: 0, elapsed: now - last }, &mut Printer)?;
        println!("collect took {:?}, maps {} KiB", now.elapsed(), probe.map_bytes() / 1024);
        for cost in window.iter().flat_map(|window| window.read()).filter(|cost| cost.runs > 0) {
            println!("{:24} {:6} runs {:6} ns each", cost.program, cost.runs, cost.run_ns / cost.runs);
        }
        last = now;
    }
    println!("lost: {:?}", probe.losses());
    Ok(())
}
