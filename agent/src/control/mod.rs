//! Configuration and life of the probes: what the REST API, the start and a reload change. A request works on a copy; the
//! probe starts and stops in the requester's thread, so neither collection nor requests for other probes wait for it.

pub mod answer;
mod begin;
pub mod catalogue;
pub mod config;
pub mod file;
pub mod libconfig;
pub mod lock;
pub mod params;
pub mod range;
pub mod reload;
pub mod request;
pub mod rest;
pub mod run_folder;
pub mod saved;
pub mod socket;
pub mod upstream;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::Sender;
use parking_lot::Mutex;
use serde_json::{Map, Value};

use crate::ledger::Ledger;
use crate::runtime::sampler::{Command, RunSpec, drop_caught, panic_text};
use crate::runtime::status::{ProbeState, ProbeStatus};
pub use answer::{Answer, Refusal};
use catalogue::{PROBES, ProbeEntry};
use config::ProbeConfig;
use params::Situation;
use request::Wish;
use saved::{SavedFile, SavedProbe};

/// The sampling thread answers within this, unless a probe hangs in a report.
const SAMPLER_PATIENCE: Duration = Duration::from_secs(10);

/// A probe may take this long to let go of its hooks; then it goes on by itself.
const STOP_GRACE: Duration = Duration::from_secs(10);

#[derive(Default)]
struct Entry {
    config: ProbeConfig,
    /// A PUT named it, or it was started unasked: GET shows everything.
    addressed: bool,
    /// Nobody but the agent configured it.
    unasked: bool,
    /// The configuration file did, and nobody since.
    from_file: bool,
    /// It is to run: keep-alive starts it again when it broke.
    wanted: bool,
}

pub struct Control {
    entries: Mutex<BTreeMap<&'static str, Entry>>,
    /// One request per probe at a time.
    gates: BTreeMap<&'static str, Mutex<()>>,
    commands: Sender<Command>,
    statuses: Arc<Mutex<BTreeMap<&'static str, ProbeStatus>>>,
    ledger: Ledger,
    versions: AtomicU64,
    /// Where the configuration is kept over a restart; one writer at a time.
    saved: Option<Mutex<SavedFile>>,
    /// What was kept and cannot be in force here, such as that of a later version: it stays kept.
    pending: Mutex<BTreeMap<String, SavedProbe>>,
    /// Report period of the probes that run unasked.
    interval: Mutex<Duration>,
    /// The last changes could not be kept.
    is_unsaved: AtomicBool,
    /// Why nobody hears of events; `None` where somebody does.
    events_lost: Option<&'static str>,
    /// The agent stops: nothing is started any more that nobody waits for.
    is_ending: AtomicBool,
}

const UNSUPPORTED: &str = "not supported in the current version";

/// What is not seen when the configuration cannot be kept or taken back.
const KEPT: &str = "configuration over a restart";

impl Control {
    pub fn new(
        commands: Sender<Command>,
        statuses: Arc<Mutex<BTreeMap<&'static str, ProbeStatus>>>,
        ledger: Ledger,
        saved: Option<SavedFile>,
        interval: Duration,
        events_lost: Option<&'static str>,
    ) -> Self {
        let mut known = statuses.lock();
        for entry in &PROBES {
            let mut status = ProbeStatus::stopped(entry.name);
            if entry.start.is_none() {
                status.state = ProbeState::Unsupported;
                status.reason = UNSUPPORTED.to_owned();
            }
            known.insert(entry.name, status);
        }
        drop(known);
        Self {
            entries: Mutex::new(PROBES.iter().map(|entry| (entry.name, Entry::default())).collect()),
            gates: PROBES.iter().map(|entry| (entry.name, Mutex::new(()))).collect(),
            commands,
            statuses,
            ledger,
            versions: AtomicU64::new(0),
            saved: saved.map(Mutex::new),
            pending: Mutex::default(),
            interval: Mutex::new(interval),
            is_unsaved: AtomicBool::new(false),
            events_lost,
            is_ending: AtomicBool::new(false),
        }
    }

    fn situation(&self, running: bool) -> Situation {
        Situation::new(running, *self.interval.lock())
    }

    pub fn get(&self, name: &str) -> Answer {
        let Some(entry) = catalogue::find(name) else { return Answer::not_found() };
        let entries = self.entries.lock();
        let known = &entries[entry.name];
        let body =
            if known.addressed { known.config.answer(entry, self.is_running(entry.name)).to_string() } else { "{}".to_owned() };
        Answer { status: 200, body: body + "\n", warning: String::new() }
    }

    /// A PUT; what it changes is kept over a restart.
    pub fn put(&self, name: &str, body: &[u8]) -> Answer {
        if name.is_empty() {
            return Answer::not_found();
        }
        self.put_parsed(name, || request::parse_body(body))
    }

    /// The same with nothing before the object.
    pub fn put_json(&self, name: &str, json: &[u8]) -> Answer {
        self.put_parsed(name, || request::parse_json(json))
    }

    fn put_parsed(&self, name: &str, parsed: impl FnOnce() -> Result<Map<String, Value>, Refusal>) -> Answer {
        let entry = match known(name) {
            Ok(entry) => entry,
            Err(refusal) => return Answer::refused(&refusal),
        };
        match parsed().and_then(|object| self.ask(entry, &object)) {
            Ok(()) => {
                self.save();
                Answer::success(self.without_effect(entry))
            }
            Err(refusal) => {
                self.address(entry);
                Answer::refused(&refusal)
            }
        }
    }

    /// After any PUT, a refused one too, GET shows everything.
    fn address(&self, entry: &ProbeEntry) {
        if let Some(known) = self.entries.lock().get_mut(entry.name) {
            known.addressed = true;
        }
    }

    /// Does what the object of a PUT asks.
    fn ask(&self, entry: &'static ProbeEntry, object: &Map<String, Value>) -> Result<(), Refusal> {
        let _gate = self.gates[entry.name].lock();
        self.address(entry);
        let before = self.entries.lock()[entry.name].config.clone();
        let running = self.is_running(entry.name);
        let (config, wish) = draft(entry, object, before.clone(), self.situation(running))?;
        if let Err(refusal) = self.take_effect(entry, config, &before, wish, running) {
            // It goes on as it was, now or at the next keep-alive.
            if running && !self.is_running(entry.name) {
                let _ = self.start(entry, &before);
            }
            return Err(refusal);
        }
        if let Some(known) = self.entries.lock().get_mut(entry.name) {
            (known.unasked, known.from_file) = (false, false);
        }
        self.pending.lock().remove(entry.name);
        Ok(())
    }

    /// Runs, changes or stops the probe, then keeps the configuration.
    fn take_effect(
        &self,
        entry: &'static ProbeEntry,
        config: ProbeConfig,
        before: &ProbeConfig,
        wish: Wish,
        running: bool,
    ) -> Result<(), Refusal> {
        match (wish, running) {
            // One that broke stands as broken until then.
            (Wish::Stopped, _) if running || self.has_failed(entry.name) => self.stop(entry.name),
            (Wish::Running, false) => self.start(entry, &config)?,
            (Wish::Running | Wish::AsItIs, true) if config != *before => self.change(entry, &config)?,
            _ => {}
        }
        let mut entries = self.entries.lock();
        let known = entries.entry(entry.name).or_default();
        self.note_unused(entry, &config);
        known.config = config;
        match wish {
            Wish::Running => known.wanted = true,
            Wish::Stopped => known.wanted = false,
            Wish::AsItIs => {}
        }
        Ok(())
    }

    /// What a probe is configured to do and does not in this version.
    fn without_effect(&self, entry: &ProbeEntry) -> String {
        let entries = self.entries.lock();
        let config = &entries[entry.name].config;
        let names: Vec<&str> = config.unfilled(entry).chain(config.unused(entry.name)).collect();
        if names.is_empty() { String::new() } else { format!("without effect in this version: {}", names.join(", ")) }
    }

    /// Some parameters ask for what we never do, or not yet; they are accepted and said so.
    fn note_unused(&self, entry: &ProbeEntry, config: &ProbeConfig) {
        let place = format!("probe.{}", entry.name);
        let unused: Vec<&str> = config.unused(entry.name).collect();
        let reason = format!("this version of the probe has no use for {}; they are kept and change nothing", unused.join(", "));
        self.ledger.set(&place, "parameters without effect", &reason, unused.len() as u64);
        let unfilled: Vec<&str> = config.unfilled(entry).collect();
        let reason = format!("this version of the probe reports nothing for {}", unfilled.join(", "));
        self.ledger.set(&place, "sub-probes without effect", &reason, unfilled.len() as u64);
        if config.params.get("cluster_ip_backend").and_then(Value::as_i64) == Some(2) {
            self.ledger.add(
                &place,
                "cluster_ip_backend=2",
                "it would insert a TCP option into others' packets, which is never done: addresses of services stay as they are",
                1,
            );
        } else {
            self.ledger.clear(&place, "cluster_ip_backend=2");
        }
        let lost = self.events_lost.filter(|_| config.reports_events());
        self.ledger.set(&place, "events of report_event", lost.unwrap_or_default(), u64::from(lost.is_some()));
    }

    fn spec(&self, entry: &'static ProbeEntry, config: &ProbeConfig) -> Option<RunSpec> {
        // Room between versions: a range counts up by itself when what it resolves to changes.
        let version = self.versions.fetch_add(1, Ordering::Relaxed) << 32;
        Some(RunSpec {
            name: entry.name,
            sub_probes: entry.sub_probes.iter().copied().filter(|name| entry.fills(name)).collect(),
            start: entry.start?,
            settings: config.settings(entry),
            range: config.range(entry),
            context: config.context(version),
        })
    }

    fn start(&self, entry: &'static ProbeEntry, config: &ProbeConfig) -> Result<(), Refusal> {
        let spec = self.spec(entry, config).ok_or(UNSUPPORTED)?;
        let started = catch_unwind(AssertUnwindSafe(|| (spec.start)(&spec.settings)));
        let reason = match started {
            Ok(Ok(probe)) => {
                self.ledger.clear(&format!("probe.{}", entry.name), "everything this probe sees");
                // `state` must be `running` for whoever asks after our answer.
                self.statuses.lock().insert(entry.name, ProbeStatus::started(entry.name, &*probe));
                let sent = self.commands.send(Command::Install(Box::new(spec), probe));
                return sent.map_err(|_| Refusal::NotStarted("the agent is stopping".to_owned()));
            }
            Ok(Err(error)) => format!("{error:#}"),
            Err(panic) => panic_text(&*panic),
        };
        let mut statuses = self.statuses.lock();
        let status = statuses.entry(entry.name).or_insert_with(|| ProbeStatus::stopped(entry.name));
        status.state = ProbeState::Failed;
        status.reason.clone_from(&reason);
        self.ledger.add(&format!("probe.{}", entry.name), "everything this probe sees", &reason, 1);
        Err(Refusal::NotStarted(reason))
    }

    fn stop(&self, name: &'static str) {
        let (answer, answered) = crossbeam_channel::bounded(1);
        if self.commands.send(Command::Remove(name, answer)).is_err() {
            return;
        }
        let probe = match answered.recv_timeout(SAMPLER_PATIENCE) {
            Ok(Some(probe)) => probe,
            Ok(None) => return,
            Err(_) => {
                let reason = "a report has hung for 10 s; it stops when that is over";
                return self.ledger.add(&format!("probe.{name}"), "stop", reason, 1);
            }
        };
        // Letting go of hooks may wait for the kernel; a request does not wait for ever.
        let (done, is_done) = crossbeam_channel::bounded::<()>(1);
        let dropping = std::thread::Builder::new().name("gala-agent-stop".to_owned()).spawn(move || {
            drop_caught(probe);
            let _ = done.send(());
        });
        if dropping.is_ok() && is_done.recv_timeout(STOP_GRACE).is_err() {
            self.ledger.add(&format!("probe.{name}"), "stop", "its hooks are still being removed after 10 s", 1);
        }
    }

    fn change(&self, entry: &'static ProbeEntry, config: &ProbeConfig) -> Result<(), Refusal> {
        let Some(spec) = self.spec(entry, config) else { return Ok(()) };
        let (answer, answered) = crossbeam_channel::bounded(1);
        let sent = self.commands.send(Command::Change(Box::new(spec), answer));
        if sent.is_ok() && answered.recv_timeout(SAMPLER_PATIENCE).unwrap_or(false) {
            return Ok(());
        }
        self.stop(entry.name);
        self.start(entry, config)
    }

    pub fn is_running(&self, name: &str) -> bool {
        self.statuses.lock().get(name).is_some_and(|status| status.state.is_running())
    }

    fn has_failed(&self, name: &str) -> bool {
        self.statuses.lock().get(name).is_some_and(|status| status.state == ProbeState::Failed)
    }

    fn save(&self) {
        let Some(file) = &self.saved else { return };
        let file = file.lock();
        let entries = self.entries.lock();
        let known = PROBES.iter().map(|entry| (entry, &entries[entry.name]));
        // A refused request leaves a probe addressed and otherwise as it was.
        let configured = known.filter(|(_, known)| known.wanted || known.config != ProbeConfig::default());
        let probes = configured.map(|(entry, known)| {
            let config = saved::as_request(&known.config, entry, known.wanted);
            (entry.name.to_owned(), SavedProbe { unasked: known.unasked, from_file: known.from_file, config })
        });
        let mut probes: BTreeMap<String, SavedProbe> = probes.collect();
        drop(entries);
        for (name, kept) in self.pending.lock().iter() {
            probes.entry(name.clone()).or_insert_with(|| kept.clone());
        }
        let stored = file.store(probes);
        self.is_unsaved.store(stored.is_err(), Ordering::Relaxed);
        match stored {
            Ok(()) => self.ledger.clear("control", KEPT),
            Err(error) => {
                let reason =
                    format!("{} cannot be written ({error}): a restart will not know the last changes", file.path().display());
                self.ledger.add("control", KEPT, &reason, 1);
                tracing::warn!("{reason}");
            }
        }
    }

    /// Keeps what could not be kept, once there is room again.
    pub fn save_again(&self) {
        if self.is_unsaved.load(Ordering::Relaxed) {
            self.save();
        }
    }

    /// As a PUT, also in that it is kept.
    pub fn set(&self, name: &str, config: &Map<String, Value>) -> Result<(), Refusal> {
        self.ask(known(name)?, config)?;
        self.save();
        Ok(())
    }
}

fn known(name: &str) -> Result<&'static ProbeEntry, Refusal> {
    let names = || PROBES.each_ref().map(|entry| entry.name).join(", ");
    catalogue::find(name).ok_or_else(|| Refusal::wrong(format!("invalid probe name {name}"), format!("known are {}", names())))
}

/// What the object of a PUT makes of a configuration and asks of the probe's life, or what is wrong with it.
fn draft(
    entry: &ProbeEntry,
    object: &Map<String, Value>,
    mut config: ProbeConfig,
    situation: Situation,
) -> Result<(ProbeConfig, Wish), Refusal> {
    if entry.start.is_none() {
        return Err(UNSUPPORTED.into());
    }
    let wish = request::apply(object, entry, &mut config, situation)?;
    Ok((config, wish))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_that_broke_and_is_stopped_is_stopped() {
        let (commands, received) = crossbeam_channel::unbounded();
        let control = Control::new(commands, Arc::default(), Ledger::default(), None, Duration::from_secs(5), None);
        control.statuses.lock().insert("ksli", ProbeStatus { state: ProbeState::Failed, ..ProbeStatus::stopped("ksli") });
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let Ok(Command::Remove(name, answer)) = received.recv() else { panic!("it is not told to stop") };
                control.statuses.lock().insert(name, ProbeStatus::stopped(name));
                answer.send(None).unwrap();
            });
            assert_eq!(control.put("ksli", br#"{"state":"stopped"}"#), Answer::success(String::new()));
        });
        assert_eq!(control.statuses.lock()["ksli"].state, ProbeState::Stopped);
    }

    #[test]
    fn an_answer_sent_back_that_says_stopped_keeps_a_probe_from_being_started_again() {
        let (commands, received) = crossbeam_channel::unbounded();
        let control = Control::new(commands, Arc::default(), Ledger::default(), None, Duration::from_secs(5), None);
        let config = ProbeConfig { sub_probes: vec!["host"], ..ProbeConfig::default() };
        control.entries.lock().insert("baseinfo", Entry { config, wanted: true, addressed: true, ..Entry::default() });
        let answer = control.get("baseinfo").body;
        assert!(answer.contains("\"state\":\"stopped\""), "{answer}");
        assert_eq!(control.put("baseinfo", answer.as_bytes()), Answer::success(String::new()));
        control.start_wanted();
        assert!(received.is_empty(), "it was started");
    }

    #[test]
    fn what_is_stopped_while_its_start_waits_for_its_turn_stays_stopped() {
        let (commands, received) = crossbeam_channel::unbounded();
        let control = Control::new(commands, Arc::default(), Ledger::default(), None, Duration::from_secs(5), None);
        let set_wanted = |wanted| {
            let config = ProbeConfig { sub_probes: vec!["host"], ..ProbeConfig::default() };
            control.entries.lock().insert("baseinfo", Entry { config, wanted, ..Entry::default() });
        };
        set_wanted(true);
        let request = control.gates["baseinfo"].lock();
        std::thread::scope(|scope| {
            let (send, begun) = crossbeam_channel::bounded(1);
            let control = &control;
            scope.spawn(move || {
                let _ = send.send(rustix::thread::gettid());
                control.start_wanted();
            });
            let stat = format!("/proc/self/task/{}/stat", begun.recv().unwrap().as_raw_nonzero());
            // Asleep it waits for the gate, and nothing else there sleeps.
            while !std::fs::read_to_string(&stat).unwrap().contains(") S ") {
                std::thread::yield_now();
            }
            set_wanted(false);
            drop(request);
        });
        assert!(received.is_empty(), "it was started again");
        set_wanted(true);
        control.start_wanted();
        assert_eq!(received.len(), 1, "what is to run and does not is started");
    }

    #[test]
    fn nothing_is_started_any_more_once_the_agent_stops() {
        let (commands, received) = crossbeam_channel::unbounded();
        let control = Control::new(commands, Arc::default(), Ledger::default(), None, Duration::from_secs(5), None);
        control.want_unasked(|name| name == "baseinfo");
        control.end();
        control.start_wanted();
        assert!(received.is_empty(), "it was started");
    }

    #[test]
    fn a_section_that_says_nothing_of_the_state_leaves_a_probe_that_runs_unasked_to_run() {
        let (commands, _received) = crossbeam_channel::unbounded();
        let control = Control::new(commands, Arc::default(), Ledger::default(), None, Duration::from_secs(5), None);
        let section = |text: &str| serde_json::from_str::<Map<String, Value>>(text).unwrap();
        let is_wanted = |text: &str| {
            control.configure("baseinfo", &section(text)).unwrap();
            control.entries.lock()["baseinfo"].wanted
        };
        let silent = r#"{"params":{"report_period":7}}"#;
        assert!(!is_wanted(silent), "nobody asked for it");
        control.entries.lock().insert("baseinfo", Entry::default());
        control.want_unasked(|name| name == "baseinfo");
        assert!(is_wanted(silent));
        assert!(!is_wanted(r#"{"state":"stopped"}"#));
    }
}
