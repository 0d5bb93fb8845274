//! The long-running commands: start in order, tell systemd, wait for a signal, end in order.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use gala_agent::budget::Limits;
use gala_agent::control::file::FileConfig;
use gala_agent::control::lock::{NotLocked, lock};
use gala_agent::control::run_folder::RunFolder;
use gala_agent::runtime::ports::why_not;
use gala_agent::{Agent, AgentConfig, AgentHandle};
use gala_hub::{Hub, HubConfig, HubError};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tracing_subscriber::EnvFilter;

use crate::options::{AgentOptions, Common, HubOptions, LogFormat, address, bytes, duration, interval, log_filter, number, pick};
use crate::view::AgentPages;

/// Time between two topology cycles when the agent is in the same process.
const LOCAL_TOPOLOGY_PERIOD: Duration = Duration::from_secs(10);
/// And when metrics come from elsewhere.
const REMOTE_TOPOLOGY_PERIOD: Duration = Duration::from_secs(60);

/// The first collection is done within a second or two; systemd is not left waiting for one that hangs.
const READY_PATIENCE: Duration = Duration::from_secs(20);
/// A look at whether it is done.
const READY_LOOK: Duration = Duration::from_millis(100);

/// systemd is told this often that we live (`WatchdogSec=30`), unless a part stood still for longer than any of its steps.
const WATCHDOG_EVERY: Duration = Duration::from_secs(10);
const STANDSTILL: Duration = Duration::from_secs(120);

/// The end takes no longer, whatever hangs: what was acknowledged is on disk, and hooks go with the process.
const LONGEST_END: Duration = Duration::from_millis(1900);

/// A hub and an agent may be neighbours in one data folder, two of a kind may not.
const HUB_LOCK: &str = "lock";
const AGENT_LOCK: &str = "agent.lock";

/// `gala up`
pub fn up(common: Common, options: AgentOptions, hub_options: HubOptions) -> Result<ExitCode> {
    let file = common.file()?;
    let logging = start_logging(&common, &file)?;
    let signals = Signals::catch()?;
    let agent_config = up_agent_config(&common, &options, &file)?;
    let hub_config = up_hub_config(&common, &hub_options, &file)?;
    // The agent's lock comes first: of two starts on one host the second must touch nothing.
    let run_folder = hold_run_folder(&agent_config)?;
    signals.clear_at_any_end(&run_folder);
    let locks = (lock_data(&hub_config.data_dir, HUB_LOCK)?, lock_data(&agent_config.state_dir, AGENT_LOCK)?);
    let hub = start_hub(hub_config)?;
    let agent = match Agent::start_in(run_folder, agent_config, hub.sink()) {
        Ok(agent) => Arc::new(agent),
        Err(error) => {
            hub.stop();
            return Err(error.into());
        }
    };
    hub.set_agent(Arc::new(AgentPages::new(agent.clone())));
    announce(Some(&hub), Some(&agent));
    let take = |file: &FileConfig| {
        let new_hub = up_hub_config(&common, &hub_options, file)?;
        let new_agent = up_agent_config(&common, &options, file)?;
        hub.can_take(&new_hub)?;
        agent.reload(new_agent)?;
        Ok(hub.reload(new_hub)?)
    };
    let life = Life {
        is_ready: &|| agent.is_ready(),
        standstill: &|| hub.analysis_age().max(sampling_age(&agent)),
        take: &take,
        note: &|taken| hub.note_configuration(taken),
    };
    wait(&signals, &common, &logging, &life);
    agent.stop();
    hub.stop();
    drop(locks);
    Ok(ExitCode::SUCCESS)
}

/// `gala agent`
pub fn agent(common: Common, options: AgentOptions, hub: Option<String>) -> Result<ExitCode> {
    let file = common.file()?;
    let configure = |file: &FileConfig| -> Result<AgentConfig> {
        let mut config = agent_config(&common, &options, file)?;
        config.hub = hub.clone().or_else(|| file.option("hub").map(str::to_owned));
        // Without a hub the exporter is all there is of it.
        config.metrics_required |= config.hub.is_none();
        Ok(config)
    };
    let config = configure(&file)?;
    let logging = start_logging(&common, &file)?;
    let signals = Signals::catch()?;
    let run_folder = hold_run_folder(&config)?;
    signals.clear_at_any_end(&run_folder);
    let lock = lock_data(&config.state_dir, AGENT_LOCK)?;
    let agent = Agent::start_in(run_folder, config, Arc::new(gala_agent::sinks::Discard))?;
    announce(None, Some(&agent));
    let life = Life {
        is_ready: &|| agent.is_ready(),
        standstill: &|| sampling_age(&agent),
        take: &|file| Ok(agent.reload(configure(file)?)?),
        note: &|_| {},
    };
    wait(&signals, &common, &logging, &life);
    agent.stop();
    drop(lock);
    Ok(ExitCode::SUCCESS)
}

/// `gala hub`
pub fn hub(common: Common, options: HubOptions) -> Result<ExitCode> {
    let file = common.file()?;
    let logging = start_logging(&common, &file)?;
    let signals = Signals::catch()?;
    let config = hub_config(&common, &options, &file, REMOTE_TOPOLOGY_PERIOD)?;
    let lock = lock_data(&config.data_dir, HUB_LOCK)?;
    let hub = start_hub(config)?;
    announce(Some(&hub), None);
    let life = Life {
        is_ready: &|| true,
        standstill: &|| hub.analysis_age(),
        take: &|file| Ok(hub.reload(hub_config(&common, &options, file, REMOTE_TOPOLOGY_PERIOD)?)?),
        note: &|taken| hub.note_configuration(taken),
    };
    wait(&signals, &common, &logging, &life);
    hub.stop();
    drop(lock);
    Ok(ExitCode::SUCCESS)
}

/// Since when the agent's sampling thread stands still.
fn sampling_age(agent: &AgentHandle) -> Duration {
    let age_ms = gala_agent::ledger::now_ms() - agent.last_turn_ms();
    Duration::from_millis(u64::try_from(age_ms).unwrap_or_default())
}

/// The agent beside a hub, which is something to give up for a port too.
fn up_agent_config(common: &Common, options: &AgentOptions, file: &FileConfig) -> Result<AgentConfig> {
    Ok(AgentConfig { alone: false, ..agent_config(common, options, file)? })
}

/// The hub beside an agent: a port nobody chose is no reason to show nothing.
fn up_hub_config(common: &Common, options: &HubOptions, file: &FileConfig) -> Result<HubConfig> {
    // Nobody reads where a service went: its port is where everybody looks for it.
    let is_service = std::env::var_os("NOTIFY_SOCKET").is_some();
    let is_chosen = is_service || options.listen.is_some() || file.option("listen").is_some();
    Ok(HubConfig { any_port: !is_chosen, ..hub_config(common, options, file, LOCAL_TOPOLOGY_PERIOD)? })
}

/// A port that is taken is told with its holder.
fn start_hub(config: HubConfig) -> Result<Hub> {
    let wanted = config.listen;
    let hub = Hub::start(config).map_err(|error| match error {
        HubError::Listen { address, source } => {
            let reason = why_not(address, &source);
            anyhow!("the web interface cannot listen on {address} ({reason}): choose another address with --listen")
        }
        other => other.into(),
    })?;
    let address = hub.address();
    if wanted.port() != 0 && address != wanted {
        let reason = why_not(wanted, &std::io::ErrorKind::AddrInUse.into());
        tracing::warn!(
            "the web interface cannot listen on {wanted} ({reason}): it is at http://{address}/ now; choose another address with --listen"
        );
    }
    Ok(hub)
}

/// Values of the command line and the environment were found right when they were read: what is wrong here stands in the file,
/// so messages name its key.
pub fn agent_config(common: &Common, options: &AgentOptions, file: &FileConfig) -> Result<AgentConfig> {
    let text = |given: &'_ Option<String>, name: &str, default: &str| pick(given.as_deref(), file, name, default).to_owned();
    // A port nobody chose is no reason to give up the rest.
    let is_chosen = |given: &Option<String>, name: &str| given.is_some() || file.option(name).is_some();
    let percent = number("budget_cpu", &text(&options.budget_cpu, "budget_cpu", "2"))?;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as f64;
    let limits = Limits {
        // A share of a small machine is too little to work with: never less than a tenth of one core.
        cpu_cores: (percent / 100.0 * cores).max(0.1),
        memory_bytes: bytes("budget_memory", &text(&options.budget_memory, "budget_memory", "80MiB"))?,
    };
    let mut config = AgentConfig {
        metrics_listen: address("metrics_listen", &text(&options.metrics_listen, "metrics_listen", "127.0.0.1:8888"))?,
        rest_listen: address("rest_listen", &text(&options.rest_listen, "rest_listen", "127.0.0.1:9999"))?,
        metrics_required: is_chosen(&options.metrics_listen, "metrics_listen"),
        rest_required: is_chosen(&options.rest_listen, "rest_listen"),
        interval: interval("interval", &text(&options.interval, "interval", "5"))?,
        limits,
        run_dir: common.run_dir(file)?,
        run_dir_given: common.names_run_dir(file),
        state_dir: common.data_dir(file)?,
        run_unasked: file.probes.is_empty() && !file.is_upstreams,
        probes: file.probes.clone(),
        probes_changed: file.changed,
        notes: file.notes.clone(),
        keep: common.keeps_configuration(file),
        ..AgentConfig::default()
    };
    config.style.bucket_series = options.metrics_buckets || file.option("metrics_buckets") == Some("true");
    Ok(config)
}

pub fn hub_config(common: &Common, options: &HubOptions, file: &FileConfig, topology_period: Duration) -> Result<HubConfig> {
    let text = |given: &'_ Option<String>, name: &str, default: &str| pick(given.as_deref(), file, name, default).to_owned();
    let listen = text(&options.listen, "listen", "127.0.0.1:7070");
    let Some(listen) = address("listen", &listen)? else { bail!("--listen off: a hub without a port is of no use") };
    let is_on = |given: bool, name: &str| given || file.option(name) == Some("true");
    let may_be_open = is_on(options.insecure, "insecure") && is_on(options.no_auth, "no_auth");
    if !listen.ip().is_loopback() && !may_be_open {
        bail!("--listen {listen} is open to the network; this version serves others only with both --insecure and --no-auth");
    }
    Ok(HubConfig {
        data_dir: common.data_dir(file)?,
        listen,
        any_port: false,
        retention: duration("retention", &text(&options.retention, "retention", "7d"))?,
        store_bytes: bytes("store_size", &text(&options.store_size, "store_size", "2GiB"))?,
        topology: crate::topology::config(file, topology_period)?,
        build: crate::BUILD,
    })
}

/// Where the run folder lies in the data folder, it is that one which cannot be made.
fn hold_run_folder(config: &AgentConfig) -> Result<RunFolder> {
    if config.run_dir.starts_with(&config.state_dir) {
        make_data(&config.state_dir)?;
    }
    Ok(RunFolder::acquire(&config.run_dir, config.run_dir_given)?)
}

/// Makes the data folder, for its owner only.
fn make_data(dir: &Path) -> Result<()> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|error| anyhow!("data folder {} cannot be made ({error}): choose another one with --data", dir.display()))
}

/// Makes the data folder and locks it; the lock ends with the value.
fn lock_data(dir: &Path, name: &str) -> Result<std::fs::File> {
    make_data(dir)?;
    let dir_name = dir.display();
    lock(&dir.join(name), 0o600).map_err(|problem| match problem {
        NotLocked::Held(pid) => {
            anyhow!("data folder {dir_name} is in use by process {pid}; stop that one or choose another folder with --data")
        }
        NotLocked::Unusable(error) => anyhow!("data folder {dir_name} cannot be used ({error}): choose another one with --data"),
    })
}

/// Changes what is logged while the program runs.
type Logging = tracing_subscriber::reload::Handle<EnvFilter, tracing_subscriber::Registry>;

pub fn configured_filter(common: &Common, file: &FileConfig) -> Result<EnvFilter> {
    log_filter("log", pick(common.log.as_deref(), file, "log", "info"))
}

fn start_logging(common: &Common, file: &FileConfig) -> Result<Logging> {
    use std::io::IsTerminal as _;
    use tracing_subscriber::layer::SubscriberExt as _;
    use tracing_subscriber::util::SubscriberInitExt as _;
    let (filter, logging) = tracing_subscriber::reload::Layer::new(configured_filter(common, file)?);
    let json = match common.log_format {
        Some(format) => matches!(format, LogFormat::Json),
        None => file.option("log_format") == Some("json"),
    };
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    let registry = tracing_subscriber::registry().with(filter);
    let started = match json {
        true => registry.with(lines.json()).try_init(),
        false => registry.with(lines.with_ansi(std::io::stderr().is_terminal())).try_init(),
    };
    started.context("logging cannot start")?;
    Ok(logging)
}

/// Says where to look.
fn announce(hub: Option<&Hub>, agent: Option<&AgentHandle>) {
    if let Some(hub) = hub {
        tracing::info!("web interface  http://{}/", hub.address());
    }
    if let Some(agent) = agent {
        if let Some(address) = agent.metrics_address() {
            tracing::info!("metrics        http://{address}/metrics");
        }
        if let Some(address) = agent.rest_address() {
            tracing::info!("agent REST     http://{address}/");
        }
    }
}

/// Outside of systemd there is nobody to tell.
fn notify(states: &[sd_notify::NotifyState]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd could not be told");
    }
}

/// What a running command is asked, and told.
struct Life<'a> {
    /// The first collection is done.
    is_ready: &'a dyn Fn() -> bool,
    /// For how long the part that works least has not shown that it goes on.
    standstill: &'a dyn Fn() -> Duration,
    /// Takes a configuration as a whole or not at all.
    take: &'a dyn Fn(&FileConfig) -> Result<()>,
    /// Hears whether it was taken.
    note: &'a dyn Fn(bool),
}

impl Life<'_> {
    /// Tells systemd that we serve, once we do.
    async fn tell_ready(&self) {
        let waited = tokio::time::timeout(READY_PATIENCE, async {
            while !(self.is_ready)() {
                tokio::time::sleep(READY_LOOK).await;
            }
        });
        if waited.await.is_err() {
            tracing::warn!("the first collection is not done after {} s", READY_PATIENCE.as_secs());
        }
        notify(&[sd_notify::NotifyState::Ready]);
    }

    /// A part that hangs is for systemd to end: what it still gets done is not what people rely on.
    fn tell_alive(&self) {
        let age = (self.standstill)();
        if age < STANDSTILL {
            notify(&[sd_notify::NotifyState::Watchdog]);
        } else {
            tracing::error!("a part has stood still for {} s; the watchdog is not told that all is well", age.as_secs());
        }
    }

    /// Reads the configuration again and keeps the old one if the new is wrong.
    fn reload(&self, common: &Common, logging: &Logging) {
        notify(&[sd_notify::NotifyState::Reloading]);
        let outcome = common.file().and_then(|file| {
            let filter = configured_filter(common, &file)?;
            (self.take)(&file)?;
            logging.reload(filter).context("the log level cannot be changed")
        });
        (self.note)(outcome.is_ok());
        match outcome {
            Ok(()) => tracing::info!("configuration is read again"),
            Err(error) => tracing::error!("the new configuration is refused, the old one stays: {error:#}"),
        }
        notify(&[sd_notify::NotifyState::Ready]);
    }
}

/// Caught from the first moment on, in a thread of their own: what comes while the program starts is obeyed once it has, and the
/// time of the end runs from the signal on.
struct Signals {
    /// What waits for them does so on it.
    waiting: tokio::runtime::Runtime,
    end: Arc<Notify>,
    reload: Arc<Notify>,
    clearing: Arc<OnceLock<Clearing>>,
}

/// What is done before the program ends without its parts.
type Clearing = Box<dyn Fn() + Send + Sync>;

impl Signals {
    fn catch() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("signal handling")?;
        let entered = runtime.enter();
        let [terminate, interrupt, hangup] =
            [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()].map(|kind| signal(kind).context("signals"));
        let (mut terminate, mut interrupt, mut hangup) = (terminate?, interrupt?, hangup?);
        drop(entered);
        let (end, reload) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let clearing = Arc::new(OnceLock::<Clearing>::new());
        let waiting = tokio::runtime::Builder::new_current_thread().enable_time().build().context("signal handling")?;
        let signals = Self { waiting, end: end.clone(), reload: reload.clone(), clearing: clearing.clone() };
        let watch = move || {
            runtime.block_on(async {
                loop {
                    tokio::select! {
                        biased;
                        _ = terminate.recv() => break,
                        _ = interrupt.recv() => break,
                        _ = hangup.recv() => reload.notify_one(),
                    }
                }
            });
            tracing::info!("stopping");
            notify(&[sd_notify::NotifyState::Stopping]);
            end.notify_one();
            std::thread::sleep(LONGEST_END);
            tracing::warn!("a part does not stop; the program ends without it");
            if let Some(clear) = clearing.get() {
                clear();
            }
            std::process::exit(0);
        };
        std::thread::Builder::new().name("gala-signals".to_owned()).spawn(watch).context("signal handling")?;
        Ok(signals)
    }

    /// The run folder goes also where the end does not wait for the agent, which holds it.
    fn clear_at_any_end(&self, folder: &RunFolder) {
        let _ = self.clearing.set(Box::new(folder.clearing()));
    }
}

/// Until SIGTERM or SIGINT; SIGHUP reads the configuration again.
fn wait(signals: &Signals, common: &Common, logging: &Logging, life: &Life<'_>) {
    signals.waiting.block_on(async {
        let mut watchdog = tokio::time::interval(WATCHDOG_EVERY);
        let mut ready = std::pin::pin!(life.tell_ready());
        let mut is_told = false;
        loop {
            tokio::select! {
                biased;
                () = signals.end.notified() => break,
                () = &mut ready, if !is_told => is_told = true,
                _ = watchdog.tick() => life.tell_alive(),
                () = signals.reload.notified() => life.reload(common, logging),
            }
        }
    });
}
