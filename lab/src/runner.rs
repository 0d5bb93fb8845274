//! The demo for people and the series for `docs/accuracy.md`: let a service run, hurt it, see what the product says, heal.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::Value;

use crate::host::{self, Disk};
use crate::redis::{self, Redis};
use crate::say;
use crate::scenario::{Fault, Truth, inject};
use crate::undo::{Undo, spawn_logged};
use crate::watch::{Product, STOP, end_on_signal, now_ms, wait_for};

const PORT_MEMORY: u16 = 16_379;
const PORT_DISK: u16 = 16_380;
/// Detection promises an incident within this time.
const DETECT_PATIENCE: Duration = Duration::from_secs(60);
const CLOSE_PATIENCE: Duration = Duration::from_secs(300);
const UP_PATIENCE: Duration = Duration::from_secs(30);
const WARM_PATIENCE: Duration = Duration::from_secs(480);
/// The service's first reports are in by then, so that health knows of its KPIs.
const FIRST_LOOK_MS: i64 = 30_000;
/// Sixty reports of a KPI and a few more: no longer is to be waited from the first look on.
const WARM_AFTER_MS: i64 = 300_000;
/// Health tells when nine of ten KPIs will be warm, and those of the service began last.
const LAST_MS: i64 = 30_000;

#[derive(Args)]
pub struct Demo {
    #[arg(long, value_enum, default_value_t = Fault::Cpu)]
    fault: Fault,
    /// The program to start when no hub answers
    #[arg(long, value_name = "PROGRAM")]
    gala: PathBuf,
    #[arg(long, default_value = "127.0.0.1:7070", value_name = "ADDR:PORT")]
    hub: String,
}

#[derive(Args)]
pub struct Accuracy {
    #[arg(long, value_name = "PROGRAM")]
    gala: PathBuf,
    #[arg(long, default_value = "127.0.0.1:7070", value_name = "ADDR:PORT")]
    hub: String,
    /// How often each fault is made
    #[arg(long, default_value_t = 3)]
    times: usize,
    #[arg(long, value_enum)]
    only: Vec<Fault>,
}

/// The service under test with its client.
pub struct Stage {
    pub redis: Redis,
    disk: Option<Disk>,
}

/// What came of one fault.
struct Outcome {
    /// Id of the incident that names the right cause, else of the first.
    incident: Option<String>,
    seen_after: Option<Duration>,
    right_after: Option<Duration>,
    cause: String,
    closed_after: Option<Duration>,
}

impl Demo {
    pub fn run(self) -> Result<ExitCode> {
        let mut undo = Undo::default();
        let product = prepare(&self.gala, &self.hub, &mut undo)?;
        let stages = build_stages(&[self.fault], &mut undo)?;
        wait_until_warm(&product)?;
        let outcome = run_once(self.fault, &stages[0], &product)?;
        show(&product, outcome.incident.as_deref());
        let right = outcome.right_after.is_some();
        Ok(if right { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Says where the incident is to be seen, and leaves time for it while that is so.
fn show(product: &Product, incident: Option<&str>) {
    if let Some(id) = incident {
        say(&format!("the incident: http://{}/incidents/{id}", product.address));
    }
    if product.is_ours && incident.is_some() && std::io::stdin().is_terminal() {
        say("the interface ends with this program: press Enter when you have seen it");
        wait_for_enter();
    }
    say("cleaning up");
}

/// Ctrl-C serves too.
fn wait_for_enter() {
    let (send, entered) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_line(&mut String::new());
        let _ = send.send(());
    });
    while !STOP.load(Ordering::Relaxed) {
        if entered.recv_timeout(Duration::from_millis(200)) != Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            return;
        }
    }
}

impl Accuracy {
    pub fn run(self) -> Result<ExitCode> {
        let mut undo = Undo::default();
        let product = prepare(&self.gala, &self.hub, &mut undo)?;
        let faults: Vec<Fault> = if self.only.is_empty() { Fault::ALL.to_vec() } else { self.only.clone() };
        let stages = build_stages(&faults, &mut undo)?;
        wait_until_warm(&product)?;
        let mut table = vec![
            "| fault | run | incident after | right cause after | first cause | closed after |".to_owned(),
            "|---|---|---|---|---|---|".to_owned(),
        ];
        let mut right = 0;
        for turn in 1..=self.times {
            for (index, fault) in faults.iter().enumerate() {
                let outcome = run_once(*fault, &stages[index], &product)?;
                right += usize::from(outcome.right_after.is_some());
                table.push(format!(
                    "| {} | {turn} | {} | {} | {} | {} |",
                    fault.name(),
                    seconds(outcome.seen_after),
                    seconds(outcome.right_after),
                    outcome.cause,
                    seconds(outcome.closed_after)
                ));
            }
        }
        table.iter().for_each(|line| say(line));
        say(&format!("{right} of {} right within {} s", faults.len() * self.times, DETECT_PATIENCE.as_secs()));
        Ok(ExitCode::SUCCESS)
    }
}

fn seconds(time: Option<Duration>) -> String {
    time.map_or_else(|| "not".to_owned(), |time| format!("{:.0} s", time.as_secs_f64()))
}

pub fn prepare(gala: &Path, hub: &str, undo: &mut Undo) -> Result<Product> {
    if !rustix::process::geteuid().is_root() {
        bail!("faults need root: they make a network namespace, a small disk and control groups; run it with sudo");
    }
    end_on_signal()?;
    let mut product = Product { address: hub.to_owned(), is_ours: false };
    if product.get("/health").is_err() {
        say(&format!("starting {} up", gala.display()));
        product.is_ours = true;
        start_product(gala, &product, undo)?;
    } else {
        let up = wait_for(UP_PATIENCE, || Ok(product.is_up().then_some(())))?;
        up.with_context(|| format!("the hub at {hub} is still starting after {} s", UP_PATIENCE.as_secs()))?;
    }
    say(&format!("the interface is at http://{hub}/"));
    Ok(product)
}

/// Starts an instance that shares no file, socket or port with another one and leaves nothing behind; returns when it is up.
fn start_product(gala: &Path, product: &Product, undo: &mut Undo) -> Result<()> {
    let dir = std::env::temp_dir().join(format!("gala-lab-hub-{}", std::process::id()));
    let (data, run, log) = (dir.join("data").display().to_string(), dir.join("run").display().to_string(), dir.join("log"));
    for folder in [&data, &run] {
        std::fs::create_dir_all(folder).with_context(|| folder.clone())?;
    }
    undo.remove_later(dir);
    let (gala, hub) = (gala.display().to_string(), &product.address);
    let command =
        [&gala, "up", "--listen", hub, "--metrics-listen", "off", "--rest-listen", "off", "--data", &data, "--run-dir", &run];
    let mut child = spawn_logged(&command, &log)?;
    let up = wait_for(UP_PATIENCE, || {
        if let Some(status) = child.try_wait().context("the started program")? {
            bail!("{gala} up ended ({status}): {}", last_line(&log));
        }
        Ok(product.is_up().then_some(()))
    });
    undo.kill_later(child);
    up?.with_context(|| format!("no hub at {hub} after {} s; its last word: {}", UP_PATIENCE.as_secs(), last_line(&log)))
}

fn last_line(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing").to_owned()
}

/// One server without and one with a disk, as the faults need; both with a steady client.
pub fn build_stages(faults: &[Fault], undo: &mut Undo) -> Result<Vec<Stage>> {
    host::namespace(undo)?;
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut stages = Vec::new();
    let mut servers: Vec<(bool, Redis)> = Vec::new();
    for fault in faults {
        let with_disk = fault.needs_disk();
        let known = servers.iter().find(|(disk, _)| *disk == with_disk);
        if let Some((_, redis)) = known {
            let disk = stages.iter().find_map(|stage: &Stage| stage.disk.as_ref()).filter(|_| with_disk);
            let redis = Redis { pid: redis.pid, address: redis.address, cpu: redis.cpu };
            let disk = disk.map(|disk| Disk { mount: disk.mount.clone(), device: disk.device.clone() });
            stages.push(Stage { redis, disk });
            continue;
        }
        let disk = if with_disk { Some(lab_disk(undo)?) } else { None };
        let port = if with_disk { PORT_DISK } else { PORT_MEMORY };
        let redis = redis::start(port, cpus - 1, disk.as_ref().map(|disk| disk.mount.as_path()), undo)?;
        let address = redis.address.to_string();
        let rate = usual_rate(with_disk).to_string();
        undo.kill_later(redis::own(&["client", &address, "--rate", &rate], true)?);
        say(&format!("redis-server {} on {address}, processor {}, its client behind a veth pair", redis.pid, redis.cpu));
        servers.push((with_disk, Redis { pid: redis.pid, address: redis.address, cpu: redis.cpu }));
        stages.push(Stage { redis, disk });
    }
    Ok(stages)
}

/// Requests a second.
pub const fn usual_rate(with_disk: bool) -> u32 {
    if with_disk { 200 } else { 1000 }
}

fn lab_disk(undo: &mut Undo) -> Result<Disk> {
    let dir = std::env::temp_dir().join(format!("gala-lab-{}", std::process::id()));
    std::fs::create_dir_all(&dir).context("folder for the disk image")?;
    undo.remove_later(dir.clone());
    let disk = host::disk(&dir, undo)?;
    say(&format!("disk {} ({})", disk.device, host::device_number(&disk.device)?));
    Ok(disk)
}

/// Waits until what the service does is known to the detector, as health foretells it for the KPIs there are once the service
/// runs. Not until all are warm: where processes come and go all never are.
pub fn wait_until_warm(product: &Product) -> Result<()> {
    say("waiting until detection knows what is usual (a KPI is judged from its 60th sample, some 5 minutes)");
    let begun = now_ms();
    let (mut shown, mut until_ms) = (0, None);
    let warm = wait_for(WARM_PATIENCE, || {
        let (warm, total, at_ms) = product.warmth()?;
        let now = now_ms();
        if total == 0 || now < begun + FIRST_LOOK_MS {
            return Ok(None);
        }
        let foretold = |at_ms: i64| at_ms.clamp(now, now + WARM_AFTER_MS) + LAST_MS;
        // Absent when all are warm, and while the pace of none is known.
        let unknown = if warm < total { now + WARM_AFTER_MS + LAST_MS } else { now };
        let until = *until_ms.get_or_insert(at_ms.map_or(unknown, foretold));
        let passed = (now - begun) / 1000;
        if passed >= shown + 30 {
            shown = passed;
            say(&format!("  {passed} s: {warm} of {total} KPIs are warm, about {} s to go", ((until - now) / 1000).max(0)));
        }
        Ok((now >= until).then_some(()))
    })?;
    if warm.is_none() {
        say("  detection knows of no KPI; going on");
    }
    Ok(())
}

fn run_once(fault: Fault, stage: &Stage, product: &Product) -> Result<Outcome> {
    let mut harm = Undo::default();
    say(&format!("\ninjecting: {}", fault.name()));
    let injected_ms = now_ms();
    let truth = inject(fault, &stage.redis, stage.disk.as_ref(), &mut harm)?;
    let since = || Duration::from_millis((now_ms() - injected_ms).max(0) as u64);
    let mut seen_after = None;
    let mut shown = None;
    let mut last_cause = "none".to_owned();
    let right_after = wait_for(DETECT_PATIENCE, || {
        let incidents = product.incidents_since(injected_ms)?;
        if !incidents.is_empty() && seen_after.is_none() {
            seen_after = Some(since());
            shown = id_of(&incidents[0]);
            say(&format!(
                "  {:>3.0} s  incident: {}",
                since().as_secs_f64(),
                incidents[0]["summary"]["en"].as_str().unwrap_or("")
            ));
        }
        for incident in incidents.iter().filter(|incident| incident["cause"].is_object()) {
            let text = cause_text(&incident["cause"]);
            if text != last_cause {
                say(&format!("  {:>3.0} s  first cause: {text}", since().as_secs_f64()));
                last_cause = text;
            }
        }
        let right = incidents.iter().find(|incident| is_right(fault, &truth, &incident["cause"]));
        shown = right.and_then(id_of).or(shown.take());
        Ok(right.map(|_| since()))
    })?;
    if let Some(id) = &shown {
        say(&format!("  it is shown at http://{}/incidents/{id}", product.address));
    }
    say(match right_after {
        Some(_) => "  that is right; healing",
        None => "  the right cause was not named in time; healing",
    });
    harm.now();
    let healed_ms = now_ms();
    let closed_after = wait_for(CLOSE_PATIENCE, || {
        let open = product.incidents_since(injected_ms)?.iter().any(|incident| incident["state"] == "open");
        Ok((!open).then(|| Duration::from_millis((now_ms() - healed_ms).max(0) as u64)))
    })?;
    match closed_after {
        Some(after) => say(&format!("  closed {:.0} s after healing", after.as_secs_f64())),
        None => say("  the incident is still open after 5 minutes"),
    }
    Ok(Outcome { incident: shown, seen_after, right_after, cause: last_cause, closed_after })
}

fn id_of(incident: &Value) -> Option<String> {
    incident["id"].as_str().map(str::to_owned)
}

fn is_right(fault: Fault, truth: &Truth, cause: &Value) -> bool {
    let text = |name: &str| cause[name].as_str().unwrap_or("");
    cause.is_object() && fault.is_right(truth, text("entity_id"), text("entity_type"), text("category"))
}

pub fn cause_text(cause: &Value) -> String {
    let text = |name: &str| cause[name].as_str().unwrap_or("");
    let probability = cause["probability"].as_f64().unwrap_or(0.0) * 100.0;
    format!("{} {} ({}, {probability:.0} %)", text("entity_type"), text("entity_name"), text("category"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_said_last_is_shown() {
        let dir = std::env::temp_dir().join(format!("gala-lab-test-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let log = dir.join("log");
        assert_eq!(last_line(&log), "it said nothing");
        std::fs::write(&log, "one\ngala: port 7070 is taken\n\n").unwrap();
        assert_eq!(last_line(&log), "gala: port 7070 is taken");
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
