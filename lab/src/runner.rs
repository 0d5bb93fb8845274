//! The demo for people and the series for `docs/accuracy.md`: let a service run, hurt it, see what the product says, heal.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use serde_json::Value;

use crate::harm::{inject, missing};
use crate::say;
use crate::scenario::{Fault, Series, Truth};
use crate::stage::{Number, Stage};
use crate::undo::Undo;
use crate::watch::{Hub, Product, STOP, end_on_signal, now_ms, wait_for, wait_until_warm};

/// Detection promises an incident within this time.
const DETECT_PATIENCE: Duration = Duration::from_secs(60);
const CLOSE_PATIENCE: Duration = Duration::from_secs(300);
/// What people are told to expect: until detection is warm, and per fault until it is found and closed.
pub const WARM_MINUTES: usize = 6;
const FAULT_MINUTES: usize = 2;

#[derive(Args)]
pub struct Demo {
    #[arg(long, value_enum, default_value_t = Fault::Cpu)]
    fault: Fault,
    #[command(flatten)]
    hub: Hub,
    #[command(flatten)]
    number: Number,
}

#[derive(Args)]
pub struct Accuracy {
    #[command(flatten)]
    hub: Hub,
    #[command(flatten)]
    number: Number,
    /// How often each fault is made
    #[arg(long, default_value_t = 3)]
    times: usize,
    #[arg(long, value_enum, default_value_t = Series::Five)]
    series: Series,
    /// These faults instead of a series
    #[arg(long, value_enum, num_args = 1.., conflicts_with = "series")]
    only: Vec<Fault>,
}

/// What came of one fault.
struct Outcome {
    /// Id of the incident that names the right cause, else of the first.
    incident: Option<String>,
    seen_after: Option<Duration>,
    right_after: Option<Duration>,
    cause: String,
    closed_after: Option<Duration>,
    /// What its incident said when that was closed, and whether it is right.
    at_end: (String, bool),
    /// Incidents that opened before the fault or beside its own, and never named the right cause.
    besides: usize,
}

impl Demo {
    pub fn run(self) -> Result<ExitCode> {
        say(&format!(
            "demo: a Redis with a steady client; {} minutes later, once detection knows what is usual for it, one fault:\n  {}: {}.\n\
             What the product says is shown here and in its interface; then the fault is healed. Some {} minutes in all; Ctrl-C ends \
             it at any time and removes what it made.",
            WARM_MINUTES,
            self.fault.name(),
            self.fault.means(),
            WARM_MINUTES + FAULT_MINUTES
        ));
        let mut undo = Undo::default();
        end_on_signal()?;
        let stages = self.number.build(&[self.fault], &mut undo)?;
        let stage = stages.of(self.fault)?;
        if let Some(why) = missing(self.fault, stage.lane) {
            bail!("the fault {} cannot be made here: {why}", self.fault.name());
        }
        let product = self.hub.reach(&stages, &mut undo)?;
        wait_until_warm(&product)?;
        let outcome = run_once(self.fault, stage, &product, now_ms())?;
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
    if product.is_ours() && incident.is_some() && std::io::stdin().is_terminal() {
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
        let faults = if self.only.is_empty() { self.series.faults() } else { self.only.clone() };
        let names: Vec<String> = faults.iter().map(|fault| fault.name()).collect();
        let replaced = faults.iter().filter(|fault| fault.replaces_server()).count() * self.times.saturating_sub(1);
        say(&format!(
            "accuracy: {} to a Redis with a steady client, each {}, healed and closed before the next. Some {} minutes, \
             {WARM_MINUTES} of them until detection knows what is usual; other work on this machine makes the figures worthless. \
             Ctrl-C ends it and tells what there is.",
            names.join(", "),
            if self.times == 1 { "once".to_owned() } else { format!("{} times", self.times) },
            WARM_MINUTES * (1 + replaced) + FAULT_MINUTES * faults.len() * self.times
        ));
        let mut undo = Undo::default();
        end_on_signal()?;
        let stages = self.number.build(&faults, &mut undo)?;
        let product = self.hub.reach(&stages, &mut undo)?;
        wait_until_warm(&product)?;
        let mut table = Table::default();
        let done = (|| {
            let (mut is_known, mut calm_since_ms) = (true, now_ms());
            for turn in 1..=self.times {
                for fault in &faults {
                    let stage = stages.of(*fault)?;
                    if let Some(why) = missing(*fault, stage.lane) {
                        say(&format!("\nskipped: {}: {why}", fault.name()));
                        table.skip(*fault, turn, &why);
                        continue;
                    }
                    if !std::mem::replace(&mut is_known, !fault.replaces_server()) {
                        wait_until_warm(&product)?;
                    }
                    table.add(*fault, turn, &run_once(*fault, stage, &product, calm_since_ms)?);
                    calm_since_ms = now_ms();
                }
            }
            Ok(())
        })();
        table.show();
        done.map(|()| if table.made > 0 && table.right == table.made { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// What came of all faults so far.
#[derive(Default)]
struct Table {
    lines: Vec<String>,
    made: usize,
    right: usize,
    right_at_end: usize,
    skipped: usize,
    besides: usize,
}

impl Table {
    fn add(&mut self, fault: Fault, turn: usize, outcome: &Outcome) {
        self.made += 1;
        self.right += usize::from(outcome.right_after.is_some());
        self.besides += outcome.besides;
        let (said, is_right) = &outcome.at_end;
        self.right_at_end += usize::from(*is_right);
        self.lines.push(format!(
            "| {} | {turn} | {} | {} | {} | {} | {} | {} |",
            fault.name(),
            seconds(outcome.seen_after),
            seconds(outcome.right_after),
            outcome.cause,
            if *is_right { "right" } else { said },
            if outcome.seen_after.is_some() { seconds(outcome.closed_after) } else { "-".to_owned() },
            outcome.besides
        ));
    }

    fn skip(&mut self, fault: Fault, turn: usize, why: &str) {
        self.skipped += 1;
        self.lines.push(format!("| {} | {turn} | skipped: {} | | | | | |", fault.name(), why.lines().next().unwrap_or("")));
    }

    fn show(&self) {
        say("\n| fault | run | incident after | right cause after | first cause | at its end | closed after | other incidents |");
        say("|---|---|---|---|---|---|---|---|");
        self.lines.iter().for_each(|line| say(line));
        let within = DETECT_PATIENCE.as_secs();
        let Self { right, made, right_at_end, besides, skipped, .. } = self;
        say(&format!(
            "{right} of {made} right within {within} s, {right_at_end} when they closed; {besides} other incidents, {skipped} skipped"
        ));
    }
}

fn seconds(time: Option<Duration>) -> String {
    time.map_or_else(|| "not".to_owned(), |time| format!("{:.0} s", time.as_secs_f64()))
}

/// A fault joins an incident that is open, so none may be; answers those that opened since a moment when all was well.
fn wait_until_calm(product: &Product, since_ms: i64) -> Result<Vec<String>> {
    let told =
        |incident: &Value| format!("{}; {}", incident["summary"]["en"].as_str().unwrap_or(""), cause_text(&incident["cause"]));
    let mut said = false;
    let calm = wait_for(CLOSE_PATIENCE, || {
        let incidents = product.incidents_since(0)?;
        let open = incidents.iter().find(|incident| incident["state"] == "open");
        if let Some(incident) = open.filter(|_| !said) {
            said = true;
            say(&format!("\nan incident is open, and a fault would join it; waiting for its end: {}", told(incident)));
        }
        Ok(open.is_none().then_some(()))
    })?;
    if calm.is_none() {
        say(&format!("  it is still open after {} s; what is found now may be said there", CLOSE_PATIENCE.as_secs()));
    }
    Ok(product.incidents_since(since_ms)?.iter().map(told).collect())
}

fn run_once(fault: Fault, stage: &Stage, product: &Product, calm_since_ms: i64) -> Result<Outcome> {
    let mut others = wait_until_calm(product, calm_since_ms)?;
    let before = others.len();
    let mut harm = Undo::default();
    say(&format!("\ninjecting {}: {}", fault.name(), fault.means()));
    let injected_ms = now_ms();
    let truths = inject(fault, stage, &mut harm)?;
    let since = || Duration::from_millis((now_ms() - injected_ms).max(0) as u64);
    let mut seen_after = None;
    let mut shown = None;
    let mut last_cause = "none".to_owned();
    let right_after = wait_for(DETECT_PATIENCE, || {
        let incidents = product.incidents_since(injected_ms)?;
        if let Some(first) = incidents.last().filter(|_| seen_after.is_none()) {
            seen_after = Some(since());
            shown = id_of(first);
            say(&format!("  {:>3.0} s  incident: {}", since().as_secs_f64(), first["summary"]["en"].as_str().unwrap_or("")));
        }
        for incident in incidents.iter().filter(|incident| incident["cause"].is_object()) {
            let text = cause_text(&incident["cause"]);
            if text != last_cause {
                say(&format!("  {:>3.0} s  first cause: {text}", since().as_secs_f64()));
                last_cause = text;
            }
        }
        let right = incidents.iter().find(|incident| is_right(&truths, &incident["cause"]));
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
    if harm.has_lost_one() {
        bail!("the fault {} ended by itself, so this run says nothing", fault.name());
    }
    harm.now();
    let healed_ms = now_ms();
    let mut at_end = ("none".to_owned(), false);
    let closed_after = wait_for(CLOSE_PATIENCE, || {
        let incidents = product.incidents_since(injected_ms)?;
        let is_other = |incident: &&Value| id_of(incident) != shown && !is_right(&truths, &incident["cause"]);
        others.truncate(before);
        others.extend(incidents.iter().filter(is_other).map(|incident| cause_text(&incident["cause"])));
        if let Some(own) = incidents.iter().find(|incident| id_of(incident) == shown) {
            at_end = (cause_text(&own["cause"]), is_right(&truths, &own["cause"]));
        }
        let open = incidents.iter().any(|incident| incident["state"] == "open");
        Ok((!open).then(|| Duration::from_millis((now_ms() - healed_ms).max(0) as u64)))
    })?;
    match closed_after {
        _ if seen_after.is_none() => {}
        Some(after) => say(&format!("  closed {:.0} s after healing", after.as_secs_f64())),
        None => say("  the incident is still open after 5 minutes"),
    }
    if right_after.is_some() && !at_end.1 {
        say(&format!("  in the end it named another cause: {}", at_end.0));
    }
    others.iter().for_each(|other| say(&format!("  another incident was opened: {other}")));
    Ok(Outcome { incident: shown, seen_after, right_after, cause: last_cause, closed_after, at_end, besides: others.len() })
}

fn id_of(incident: &Value) -> Option<String> {
    incident["id"].as_str().map(str::to_owned)
}

fn is_right(truths: &[Truth], cause: &Value) -> bool {
    let text = |name: &str| cause[name].as_str().unwrap_or("");
    cause.is_object() && truths.iter().any(|truth| truth.is_named(text("entity_id"), text("entity_type"), text("category")))
}

pub fn cause_text(cause: &Value) -> String {
    if !cause.is_object() {
        return "no cause".to_owned();
    }
    let text = |name: &str| cause[name].as_str().unwrap_or("");
    let probability = cause["probability"].as_f64().unwrap_or(0.0) * 100.0;
    format!("{} {} ({}, {probability:.0} %)", text("entity_type"), text("entity_name"), text("category"))
}
