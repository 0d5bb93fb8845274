//! The agent as one object: starts its threads, answers questions about itself, stops everything again.
//!
//! Threads: `gala-agent-sample` ticks the probes, `gala-agent-http` serves exporter and REST on a runtime of its own (a hub
//! in the same process has another), `gala-agent-push` writes to a hub elsewhere, `gala-agent-start` loads the first probes
//! and ends.

pub mod about;
mod connections;
pub mod enrich;
pub mod metrics;
pub mod ports;
pub mod sampler;
mod serve;
pub mod status;
pub mod thresholds;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::Sender;
use gala_model::ObservationSink;
use gala_model::exposition::Style;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::budget::{Accountant, BudgetReport, Limits, THREAD_PREFIX};
use crate::control::catalogue::PROBES;
use crate::control::file::Note;
pub use crate::control::run_folder::default_run_dir;
use crate::control::run_folder::{RunFolder, RunFolderError};
use crate::control::saved::SavedFile;
use crate::control::{Control, Refusal, reload};
use crate::identity::Identity;
use crate::kernel::Capabilities;
use crate::ledger::{Ledger, LedgerLine, now_ms};
use crate::sinks::exporter;
use crate::sinks::latest::{DEFAULT_MAX_ROWS, Latest};
use crate::sinks::push::Push;
use about::About;
pub use about::AgentStatus;
use enrich::Enricher;
use ports::Port;
use sampler::{Command, Sampler};
use serve::Servers;
use status::{ProbeStatus, Pulse};

/// How long `stop` waits for a thread; a probe that hangs must not keep the program.
const STOP_PATIENCE: Duration = Duration::from_millis(1400);

/// What the last push may take beyond that.
const LAST_PUSH: Duration = Duration::from_millis(400);

/// What an agent is started with.
#[derive(Clone, Debug)]
pub struct AgentConfig {
    /// `None` turns the exporter off; port 0 picks a free one.
    pub metrics_listen: Option<SocketAddr>,
    pub rest_listen: Option<SocketAddr>,
    /// Whether the agent starts without the port when it is taken: for an address nobody chose.
    pub metrics_required: bool,
    pub rest_required: bool,
    /// Report period of the probes that run unasked.
    pub interval: Duration,
    pub limits: Limits,
    pub run_dir: PathBuf,
    /// Somebody named it: it stays at the end if it was there.
    pub run_dir_given: bool,
    /// Kept state of the agent; made when missing.
    pub state_dir: PathBuf,
    /// Whether probes run that nobody asked for.
    pub run_unasked: bool,
    /// Configured probes, each as the object of a PUT.
    pub probes: BTreeMap<String, serde_json::Map<String, serde_json::Value>>,
    /// When the file that configures them was changed: what was configured by REST before gives way to it.
    pub probes_changed: Option<SystemTime>,
    /// What the configuration asks for in vain.
    pub notes: Vec<Note>,
    /// Whether what is configured by REST is kept in the state folder.
    pub keep: bool,
    /// Where a hub takes remote write, e.g. `http://hub:7070`.
    pub hub: Option<String>,
    /// Nothing else runs in this process: the whole process is the agent's cost.
    pub alone: bool,
    pub style: Style,
    pub max_rows: usize,
}

impl Default for AgentConfig {
    fn default() -> Self {
        Self {
            metrics_listen: Some(SocketAddr::from(([127, 0, 0, 1], 8888))),
            rest_listen: Some(SocketAddr::from(([127, 0, 0, 1], 9999))),
            metrics_required: true,
            rest_required: true,
            interval: Duration::from_secs(5),
            limits: Limits::default(),
            run_dir: default_run_dir(Path::new("/var/lib/gala")),
            run_dir_given: false,
            state_dir: PathBuf::from("/var/lib/gala"),
            run_unasked: true,
            probes: BTreeMap::new(),
            probes_changed: None,
            notes: Vec::new(),
            keep: true,
            hub: None,
            alone: true,
            style: Style::default(),
            max_rows: DEFAULT_MAX_ROWS,
        }
    }
}

impl AgentConfig {
    /// What it says of the probes.
    fn said(&self) -> reload::Said<'_> {
        reload::Said { sections: &self.probes, run_unasked: self.run_unasked, interval: self.interval }
    }

    /// Whether a hub can be pushed to at this address; nothing is asked there.
    pub fn check_hub(url: &str) -> Result<(), AgentError> {
        let checked = crate::sinks::push::address(url);
        checked.map(drop).map_err(|reason| AgentError::Hub { url: url.to_owned(), reason })
    }
}

/// Why events of an agent alone go nowhere.
const NO_EVENTS: &str = "an agent without a hub has nowhere to put events; `gala up` has one in the same process";

#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error(transparent)]
    RunFolder(#[from] RunFolderError),
    #[error("{what} cannot listen on {address} ({reason}): choose another address with {option}, or `off`")]
    Listen { what: &'static str, address: SocketAddr, option: &'static str, reason: String },
    #[error("state folder {folder} cannot be made ({source}): choose another one with --data")]
    State { folder: PathBuf, source: std::io::Error },
    #[error("configuration of probe {probe}: {message}")]
    Probe { probe: String, message: String },
    #[error("hub {url} is no address to push to: {reason}; give one like http://127.0.0.1:7070")]
    Hub { url: String, reason: String },
    #[error("{what} cannot change while the agent runs: restart it")]
    NeedsRestart { what: &'static str },
    #[error("thread {name} cannot be started ({source})")]
    Thread { name: &'static str, source: std::io::Error },
}

pub struct Agent;

impl Agent {
    /// Locks the run folder and starts in it.
    pub fn start(config: AgentConfig, sink: Arc<dyn ObservationSink>) -> Result<AgentHandle, AgentError> {
        let run_folder = RunFolder::acquire(&config.run_dir, config.run_dir_given)?;
        Self::start_in(run_folder, config, sink)
    }

    /// Opens the ports, then starts the probes in the background; `sink` gets everything that is observed.
    pub fn start_in(
        run_folder: RunFolder,
        config: AgentConfig,
        sink: Arc<dyn ObservationSink>,
    ) -> Result<AgentHandle, AgentError> {
        make_private(&config.state_dir)?;
        let ledger = Ledger::default();
        note_blindness(&ledger);
        note_in_vain(&ledger, &config.notes);
        let latest = Arc::new(Latest::new(config.max_rows));
        let statuses = Arc::new(Mutex::new(BTreeMap::new()));
        let budget = Arc::new(Mutex::new(BudgetReport::default()));
        let (commands, received) = crossbeam_channel::unbounded();
        let saved = config.keep.then(|| SavedFile::new(&config.state_dir));
        let events_lost = (config.alone && config.hub.is_none()).then_some(NO_EVENTS);
        let control = Control::new(commands.clone(), Arc::clone(&statuses), ledger.clone(), saved, config.interval, events_lost);
        let control = Arc::new(control);
        declare_probes(&control, &ledger, &config);
        let mut closed = Vec::new();
        let exporter = Port {
            place: "exporter",
            what: "the metric exporter",
            option: "--metrics-listen",
            address: config.metrics_listen,
            required: config.metrics_required,
        };
        let exporter = exporter.open(&ledger, &mut closed)?;
        let rest = Port {
            place: "rest",
            what: "the REST API",
            option: "--rest-listen",
            address: config.rest_listen,
            required: config.rest_required,
        };
        let rest = rest.open(&ledger, &mut closed)?;
        let command_socket = open_commands(run_folder.path(), &ledger);

        let mut sinks = vec![sink];
        let push = config.hub.as_deref().map(|url| {
            let push = Push::new(url, ledger.clone());
            push.map_err(|reason| AgentError::Hub { url: url.to_owned(), reason })
        });
        let push = push.transpose()?;
        sinks.extend(push.clone().map(|push| push as Arc<dyn ObservationSink>));
        let identity = Identity::new(Path::new("/proc"), &config.state_dir, Instant::now());
        let machine_id = Arc::clone(identity.machine_id());
        let enricher = Enricher::new(identity, Arc::clone(&latest), ledger.clone());
        let accountant = Accountant::new(config.limits, config.alone, Arc::clone(&budget));
        let pulse = Arc::new(Pulse::default());
        pulse.turn(now_ms());
        let sampler =
            Sampler::new(received, enricher, sinks, Arc::clone(&statuses), ledger.clone(), accountant, Arc::clone(&pulse));
        let sampling = spawn("gala-agent-sample", move || sampler.run())?;

        let about = About {
            started: Instant::now(),
            machine_id,
            metrics_listen: address_of(&exporter),
            rest_listen: address_of(&rest),
            closed: closed.into(),
            latest,
            statuses,
            budget,
            ledger: ledger.clone(),
            pulse: Arc::clone(&pulse),
        };
        let (stop_http, stopped) = oneshot::channel();
        // In one process with a hub, that one serves them.
        let own = config.alone.then(|| about.clone());
        let source = exporter::Source { latest: Arc::clone(&about.latest), style: config.style, own };
        let servers =
            Servers { exporter, rest, commands: command_socket, source, control: Arc::clone(&control), ledger: ledger.clone() };
        let serving = spawn("gala-agent-http", move || servers.run(stopped))?;

        let (stop_push, push_stopped) = oneshot::channel();
        let pushing = push.map(|push| spawn("gala-agent-push", move || push.run(push_stopped))).transpose()?;

        let starting = {
            let control = Arc::clone(&control);
            spawn("gala-agent-start", move || {
                control.start_wanted();
                // Where nothing runs there is no first report to wait for.
                if !PROBES.iter().any(|entry| control.is_running(entry.name)) {
                    pulse.set_ready();
                }
            })?
        };
        Ok(AgentHandle {
            about,
            commands,
            control,
            config: Mutex::new(config),
            threads: Mutex::new(Some(Threads { stop_http, stop_push, sampling, serving, starting, pushing })),
            _run_folder: run_folder,
        })
    }
}

/// What was saved wins, unless the configuration file is newer, which then wins for the probes it names. Without either,
/// what runs unasked. What only the file asked for ends with its section.
fn declare_probes(control: &Control, ledger: &Ledger, config: &AgentConfig) {
    let mut saved = control.load_saved();
    let file_is_newer = |written: SystemTime| config.probes_changed.is_some_and(|changed| changed > written);
    let mut left_to_file = config.probes.clone();
    let complain = |name: &str, what: &str, refusal: &Refusal| {
        ledger.add(&format!("probe.{name}"), what, &refusal.to_string(), 1);
        tracing::warn!("probe {name}: {what} is not taken: {refusal}");
    };
    if let Some(saved) = &mut saved {
        let newer = file_is_newer(saved.written);
        saved.probes.retain(|name, probe| {
            let is_named = config.probes.contains_key(name);
            let is_void = if is_named { newer && !probe.unasked } else { probe.from_file };
            if is_void {
                control.forget_kept(name);
            }
            !is_void
        });
        for (name, probe) in saved.probes.iter().filter(|(_, probe)| !probe.unasked) {
            left_to_file.remove(name);
            if let Err(refusal) = control.restore(name, probe) {
                complain(name, "its saved configuration", &refusal);
            }
        }
    }
    if config.run_unasked {
        // One that is not kept is new since, or was not known yet.
        let kept = |name: &str| saved.as_ref().and_then(|saved| saved.probes.get(name));
        control.want_unasked(|name| kept(name).is_none_or(|probe| probe.unasked));
    }
    for (name, section) in &left_to_file {
        if let Err(refusal) = control.configure(name, section) {
            complain(name, "its section of the configuration file", &refusal);
        }
    }
}

struct Threads {
    stop_http: oneshot::Sender<()>,
    stop_push: oneshot::Sender<()>,
    sampling: JoinHandle<()>,
    serving: JoinHandle<()>,
    starting: JoinHandle<()>,
    pushing: Option<JoinHandle<()>>,
}

/// A running agent. Dropping it stops the agent.
pub struct AgentHandle {
    about: About,
    commands: Sender<Command>,
    control: Arc<Control>,
    config: Mutex<AgentConfig>,
    threads: Mutex<Option<Threads>>,
    _run_folder: RunFolder,
}

impl AgentHandle {
    pub fn status(&self) -> AgentStatus {
        self.about.status()
    }

    /// Every probe upstream knows, in its order.
    pub fn probes(&self) -> Vec<ProbeStatus> {
        self.about.probes()
    }

    pub fn ledger(&self) -> Vec<LedgerLine> {
        self.about.ledger.lines()
    }

    pub fn budget(&self) -> BudgetReport {
        self.about.budget.lock().clone()
    }

    /// What the exporter answers of what is observed.
    pub fn exposition(&self) -> String {
        exporter::text(&self.about.latest, self.config.lock().style)
    }

    /// The agent's own metrics, Prometheus text, prefix `gala_agent_`.
    pub fn metrics_text(&self) -> String {
        self.about.metrics_text(metrics::Form::Described)
    }

    /// Ports are open and a first report was collected.
    pub fn is_ready(&self) -> bool {
        self.about.is_ready()
    }

    pub fn machine_id(&self) -> &str {
        &self.about.machine_id
    }

    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.about.metrics_listen
    }

    pub fn rest_address(&self) -> Option<SocketAddr> {
        self.about.rest_listen
    }

    pub fn control(&self) -> &Control {
        &self.control
    }

    /// When the sampling thread last went round, milliseconds since 1970; it does at least once a second.
    pub fn last_turn_ms(&self) -> i64 {
        self.about.pulse.turned_ms()
    }

    /// Takes what may change while running: the configured probes and the period of those that run unasked. What needs a
    /// restart is refused by name, a section that is wrong too, and nothing changes then.
    pub fn reload(&self, new: AgentConfig) -> Result<(), AgentError> {
        let mut old = self.config.lock();
        let fixed = [
            ("metrics_listen", old.metrics_listen != new.metrics_listen),
            ("metrics_buckets", old.style.bucket_series != new.style.bucket_series),
            ("rest_listen", old.rest_listen != new.rest_listen),
            ("run_dir", old.run_dir != new.run_dir),
            ("data", old.state_dir != new.state_dir),
            ("hub", old.hub != new.hub),
            ("budget_cpu or budget_memory", old.limits != new.limits),
        ];
        if let Some((what, _)) = fixed.iter().find(|(_, differs)| *differs) {
            return Err(AgentError::NeedsRestart { what });
        }
        let plan = self.control.plan(old.said(), new.said());
        let plan = plan.map_err(|(probe, message)| AgentError::Probe { probe, message })?;
        self.control.carry_out(plan);
        note_in_vain(&self.about.ledger, &new.notes);
        *old = new;
        Ok(())
    }

    /// Stops probes, ports and threads; returns within two seconds.
    pub fn stop(&self) {
        let Some(threads) = self.threads.lock().take() else { return };
        let _ = threads.stop_http.send(());
        self.control.end();
        let deadline = Instant::now() + STOP_PATIENCE;
        let started = join_until(threads.starting, deadline);
        let _ = self.commands.send(Command::Stop);
        let sampled = join_until(threads.sampling, deadline);
        let served = join_until(threads.serving, deadline);
        // Last, so that the last reports are sent.
        let _ = threads.stop_push.send(());
        let pushed = threads.pushing.is_none_or(|thread| join_until(thread, deadline + LAST_PUSH));
        if !(started && sampled && served && pushed) {
            tracing::warn!("a probe does not stop; its hooks go when the process ends");
        }
    }
}

impl Drop for AgentHandle {
    fn drop(&mut self) {
        self.stop();
    }
}

fn join_until(thread: JoinHandle<()>, deadline: Instant) -> bool {
    while !thread.is_finished() {
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    thread.join().is_ok()
}

fn spawn(name: &'static str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, AgentError> {
    debug_assert!(name.starts_with(THREAD_PREFIX), "the budget finds our threads by name");
    std::thread::Builder::new().name(name.to_owned()).spawn(run).map_err(|source| AgentError::Thread { name, source })
}

fn make_private(folder: &Path) -> Result<(), AgentError> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|source| AgentError::State { folder: folder.to_owned(), source })
}

/// What counts is the rights and not the user: root in a container lacks some, a service may have them without root. With all
/// of them the kernel may still not do.
fn note_blindness(ledger: &Ledger) {
    let missing = crate::doctor::own_missing_rights();
    let (what, reason) = if !missing.is_empty() {
        let missing = missing.join(", ");
        let fix = "start as root, in a container with these rights, or give them to the program";
        ("kernel events, and files of other users' processes", format!("rights are missing ({missing}): {fix}"))
    } else if let Some(reason) = Capabilities::probe().obstacle() {
        ("kernel events", reason)
    } else {
        return;
    };
    ledger.add("agent", what, &reason, 1);
    tracing::warn!("degraded: {reason}; `gala doctor` tells what still works");
}

/// Upstream's clients find it in the run folder; without it the REST API is still there.
fn open_commands(folder: &Path, ledger: &Ledger) -> Option<std::os::unix::net::UnixListener> {
    let opened = crate::control::socket::open(folder);
    if let Err(error) = &opened {
        let reason = format!("it cannot be opened in {} ({error}): choose another folder with --run-dir", folder.display());
        tracing::warn!("the command socket is off: {reason}");
        ledger.add("control", "the command socket", &reason, 1);
    }
    opened.ok()
}

/// What the configuration asks for and this version does not do.
fn note_in_vain(ledger: &Ledger, notes: &[Note]) {
    ledger.clear_place("configuration");
    for Note { what, reason } in notes {
        ledger.add("configuration", what, reason, 1);
        tracing::warn!("not supported here: {what}: {reason}");
    }
}

fn address_of(listener: &Option<std::net::TcpListener>) -> Option<SocketAddr> {
    listener.as_ref().and_then(|listener| listener.local_addr().ok())
}
