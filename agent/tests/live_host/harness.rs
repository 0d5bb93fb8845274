//! Rows as they come from a probe, and what the tests burn, run and wait for.

use std::collections::HashMap;
use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use gala_agent::control::catalogue::PROBES;
use gala_agent::kernel::HookState;
use gala_agent::probes::{ErasedRow, Probe, ProbeSettings, RowSink, Tick};
use gala_model::value::LabelSink;
use gala_model::{Event, Histogram, Value};

use crate::wait::poll;

/// Every row as names and values.
#[derive(Default)]
pub struct Rows {
    pub rows: Vec<Row>,
    pub events: Vec<Event>,
}

pub struct Row {
    table: &'static str,
    pub labels: HashMap<&'static str, String>,
    values: HashMap<&'static str, Value>,
}

pub struct Labels<'a>(&'a mut HashMap<&'static str, String>);

impl LabelSink for Labels<'_> {
    fn label(&mut self, name: &'static str, text: &str) {
        self.0.insert(name, text.to_owned());
    }
}

impl RowSink for Rows {
    fn push_row(&mut self, row: &dyn ErasedRow) {
        let (mut labels, mut values) = (HashMap::new(), Vec::new());
        row.labels(&mut Labels(&mut labels));
        row.values(&mut values);
        let values = row.def().metrics().map(|field| field.name).zip(values).collect();
        self.rows.push(Row { table: row.def().name, labels, values });
    }

    fn push_event(&mut self, event: Event) {
        self.events.push(event);
    }
}

impl Row {
    pub fn has(&self, wanted: &[(&str, &str)]) -> bool {
        wanted.iter().all(|(name, text)| self.labels.get(name).is_some_and(|label| label == text))
    }

    pub fn number(&self, field: &str) -> Option<f64> {
        match self.values.get(field) {
            Some(Value::Number(number)) => Some(*number),
            _ => None,
        }
    }

    pub fn histogram(&self, field: &str) -> Option<&Histogram> {
        match self.values.get(field) {
            Some(Value::Histogram(histogram)) => Some(histogram),
            _ => None,
        }
    }
}

impl Rows {
    pub fn all(&self, table: &str, labels: &[(&str, &str)]) -> Vec<&Row> {
        self.rows.iter().filter(|row| row.table == table && row.has(labels)).collect()
    }

    /// A field summed over the rows that match; `None` when none has it.
    pub fn sum(&self, table: &str, labels: &[(&str, &str)], field: &str) -> Option<f64> {
        self.all(table, labels).iter().filter_map(|row| row.number(field)).reduce(|sum, value| sum + value)
    }
}

/// Every sub-probe of every probe is on.
pub fn settings() -> ProbeSettings {
    ProbeSettings {
        report_period: Duration::from_secs(5),
        sample_period: Duration::from_secs(1),
        sub_probes: PROBES.iter().flat_map(|entry| entry.sub_probes).map(|name| (*name).to_owned()).collect(),
        report_client_port: false,
        processes: None,
    }
}

/// Collects once, `elapsed` after the last time.
pub fn collect(probe: &mut dyn Probe, elapsed: Duration) -> Rows {
    let mut rows = Rows::default();
    probe.collect(Tick { at_ms: 1, elapsed }, &mut rows).unwrap();
    rows
}

pub fn skip(reason: &str) {
    eprintln!("skipped: {reason}");
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether a hook works; if not, why the test is skipped. A program of ours that the verifier refuses is no reason to skip.
pub fn works(probe: &dyn Probe, hook: &str) -> bool {
    let report = probe.hooks().into_iter().find(|report| report.hook == hook).expect("the probe names this hook");
    assert!(!report.reason.contains("program load failed: -EACCES"), "{hook}: {}", report.reason);
    if report.state == HookState::Off {
        skip(&format!("{hook}: {}", report.reason));
    }
    report.state != HookState::Off
}

/// A child that burns one CPU until it is dropped.
pub struct Burner(pub Child);

impl Burner {
    pub fn on_cpu(cpu: &str) -> Self {
        Self::with_weight(cpu, "0")
    }

    /// A negative niceness makes it the one that others wait for, on a busy machine too.
    pub fn with_weight(cpu: &str, niceness: &str) -> Self {
        let mut command = Command::new("nice");
        command.args(["-n", niceness, "taskset", "-c", cpu, "sh", "-c", "while :; do :; done"]).stdout(Stdio::null());
        Self(command.spawn().expect("taskset is part of util-linux"))
    }

    pub fn pid(&self) -> String {
        self.0.id().to_string()
    }

    /// CPU time and run delay so far, as the kernel prints them.
    pub fn schedstat(&self) -> (f64, f64) {
        let text = fs::read_to_string(format!("/proc/{}/schedstat", self.pid())).unwrap();
        let mut numbers = text.split_whitespace().map(|number| number.parse::<f64>().unwrap());
        (numbers.next().unwrap(), numbers.next().unwrap())
    }
}

impl Drop for Burner {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a command; `None` with a word when it is missing or fails.
pub fn run(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    if !output.status.success() {
        eprintln!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim());
        return None;
    }
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Collects until `done` says so; what was collected last.
pub fn collect_until(probe: &mut dyn Probe, what: &str, mut done: impl FnMut(&Rows) -> bool) -> Rows {
    let mut last = Instant::now();
    let found = poll(|| {
        let elapsed = last.elapsed();
        last = Instant::now();
        Some(collect(probe, elapsed)).filter(|rows| done(rows))
    });
    found.unwrap_or_else(|| panic!("{what} did not come within 30 s"))
}
