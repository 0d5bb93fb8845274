//! Start and end of the hub: what is opened in which order, the threads, the listener.

use std::collections::{HashMap, VecDeque};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use gala_analysis::topology::{self, Topology};
use gala_model::incident::RootCause;
use gala_model::{Event, ObservationSink};
use gala_store::{SeriesWrite, Store, StoreOptions, Upkeep};
use parking_lot::{Mutex, RwLock};
use tower_http::compression::CompressionLayer;
use tower_http::timeout::RequestBodyTimeoutLayer;

use crate::anomalies::AnomalyLog;
use crate::api::error::ApiError;
use crate::api::levels::UsualP99;
use crate::asked::AskedBook;
use crate::documents::{DocumentError, Documents, Shelf};
use crate::engine::{self, Engine};
use crate::gate::{Gate, Rank, THREAD_PATIENCE};
use crate::history;
use crate::ingest::local::LocalIngest;
use crate::listener::Listener;
use crate::prom::About;
use crate::safety::{Guard, guard};
use crate::state::{AgentView, HubState, Progress, incidents_of};
use crate::stream::Stream;
use crate::{api, prom, ui};

/// Bodies above this are refused.
const MAX_BODY_BYTES: usize = 16 << 20;

/// A body that stands still for so long is given up.
const BODY_PATIENCE: Duration = Duration::from_secs(30);

/// Threads for work that blocks outside of the gates: the two that serve connections, and what changes settings.
const MAX_BLOCKING_THREADS: usize = 10;
/// Maps put together at once, and how long one waits for a place and for the answer.
const MAPS: usize = 8;
const MAP_TIMEOUT: Duration = Duration::from_secs(10);
/// What pages list and draw from the store at once, and how long one waits for the answer.
const PAGES: usize = 8;
const PAGE_TIMEOUT: Duration = Duration::from_secs(60);
/// Writes of other hosts taken at once: each may hold 16 MiB and what it unpacks to; and how long one may take to come.
const WRITES: usize = 8;
pub(crate) const WRITE_TIMEOUT: Duration = Duration::from_secs(60);
/// Changes of people that wait for the disk at once.
const CHANGES: usize = 4;

/// How a hub runs.
#[derive(Clone, Debug)]
pub struct HubConfig {
    /// Store, documents, models.
    pub data_dir: PathBuf,
    pub listen: SocketAddr,
    /// Where somebody else has that port, a free one will do.
    pub any_port: bool,
    pub retention: Duration,
    pub store_bytes: u64,
    pub topology: topology::Config,
    pub build: Build,
}

/// What program this is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Build {
    /// Version, commit and date, as `--version` prints them.
    pub full: &'static str,
    pub version: &'static str,
    pub commit: &'static str,
    pub date: &'static str,
}

#[derive(Debug, thiserror::Error)]
pub enum HubError {
    #[error("store in {dir}: {reason}")]
    Store { dir: String, reason: String },
    #[error(transparent)]
    Documents(#[from] DocumentError),
    #[error("web interface cannot listen on {address} ({source}): choose another address with --listen")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
    #[error("{what} cannot change while the hub runs; restart it")]
    NeedsRestart { what: &'static str },
}

/// A running hub.
pub struct Hub {
    state: Arc<HubState>,
    engine: Engine,
    runtime: Option<tokio::runtime::Runtime>,
    address: SocketAddr,
    shutdown: Option<tokio::sync::oneshot::Sender<()>>,
    upkeep: Upkeep,
    sink: Arc<LocalIngest>,
    config: Mutex<HubConfig>,
}

impl Hub {
    /// Opens everything and serves. Returns once the port is open.
    pub fn start(config: HubConfig) -> Result<Self, HubError> {
        let listener = bind(&config)?;
        let state = open(&config)?;
        let address = listener.local_addr().map_err(HubError::Thread)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .max_blocking_threads(MAX_BLOCKING_THREADS)
            .thread_keep_alive(THREAD_PATIENCE)
            .thread_name("gala-hub")
            .enable_all()
            .build()
            .map_err(HubError::Thread)?;
        let (shutdown, asked) = tokio::sync::oneshot::channel::<()>();
        let app = application(state.clone(), address.ip().is_loopback());
        runtime.spawn(async move {
            let served = match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => {
                    axum::serve(Listener::new(listener), app).with_graceful_shutdown(async { drop(asked.await) }).await
                }
                Err(error) => Err(error),
            };
            if let Err(error) = served {
                tracing::error!(%error, "the HTTP server ended");
            }
        });
        let engine = Engine::start(state.clone(), period(&config)).map_err(HubError::Thread)?;
        let upkeep = Upkeep::start(state.store.clone())
            .map_err(|error| HubError::Store { dir: config.data_dir.display().to_string(), reason: error.to_string() })?;
        let sink = Arc::new(LocalIngest::new(state.store.clone(), on_event(&state), state.refused.clone()));
        tracing::info!(%address, data = %config.data_dir.display(), "hub is ready");
        let config = Mutex::new(config);
        Ok(Self { state, engine, runtime: Some(runtime), address, shutdown: Some(shutdown), upkeep, sink, config })
    }

    /// Where it listens; tells the port when asked for port 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the agent of this process puts what it sees.
    pub fn sink(&self) -> Arc<dyn ObservationSink> {
        self.sink.clone()
    }

    /// Lets the API tell of the agent of this process.
    pub fn set_agent(&self, agent: Arc<dyn AgentView>) {
        *self.state.agent.write() = Some(agent);
    }

    /// Whether a running hub can take a configuration.
    pub fn can_take(&self, new: &HubConfig) -> Result<(), HubError> {
        let old = self.config.lock();
        let fixed = [
            ("listen", old.listen != new.listen),
            ("data", old.data_dir != new.data_dir),
            ("[topology]", old.topology != new.topology),
        ];
        match fixed.into_iter().find(|(_, differs)| *differs) {
            Some((what, _)) => Err(HubError::NeedsRestart { what }),
            None => Ok(()),
        }
    }

    /// Takes a new configuration, or none of it.
    pub fn reload(&self, new: HubConfig) -> Result<(), HubError> {
        self.can_take(&new)?;
        self.state.store.set_limits(new.retention, new.store_bytes);
        self.state.about.write().retention = retention_text(&new);
        *self.config.lock() = new;
        Ok(())
    }

    /// Notes that the configuration was read again, and whether it was taken.
    pub fn note_configuration(&self, is_taken: bool) {
        let mut about = self.state.about.write();
        about.configuration_refused = !is_taken;
        if is_taken {
            about.configured_ms = gala_store::now_ms();
        }
    }

    /// How long ago the analysis showed that it goes on. It looks for work several times a second, and shows nothing while
    /// a step lasts; a step over a large store may last many seconds, minutes mean that it hangs.
    pub fn analysis_age(&self) -> Duration {
        self.state.turned.lock().elapsed()
    }

    pub fn state(&self) -> &Arc<HubState> {
        &self.state
    }

    /// Ends everything in order; what was acknowledged is on disk afterwards.
    pub fn stop(mut self) {
        // First too: a part that hangs may have the program ended before the last line.
        if let Err(error) = self.state.store.sync() {
            tracing::warn!(%error, "the newest samples are not on disk yet; they are written again at the end");
        }
        self.shutdown.take();
        self.engine.stop();
        drop(self.upkeep);
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_millis(300));
        }
        if let Err(error) = self.state.store.sync() {
            tracing::error!(%error, "the newest samples may not be on disk");
        }
    }
}

fn bind(config: &HubConfig) -> Result<std::net::TcpListener, HubError> {
    let bound = std::net::TcpListener::bind(config.listen).or_else(|error| match error.kind() {
        ErrorKind::AddrInUse if config.any_port => std::net::TcpListener::bind((config.listen.ip(), 0)),
        _ => Err(error),
    });
    let listener = bound.and_then(|listener| listener.set_nonblocking(true).map(|()| listener));
    listener.map_err(|source| HubError::Listen { address: config.listen, source })
}

pub(crate) fn open(config: &HubConfig) -> Result<Arc<HubState>, HubError> {
    let store_error = |reason: String| HubError::Store { dir: config.data_dir.display().to_string(), reason };
    let mut options = StoreOptions::new(config.data_dir.join("store"));
    options.retention = config.retention;
    options.max_bytes = config.store_bytes;
    let store = Store::open(options).map_err(|error| store_error(error.to_string()))?;
    for damage in store.damage() {
        tracing::warn!(file = %damage.file, offset = damage.offset, reason = %damage.reason, "a damaged part of the store was set aside");
    }
    let documents = Documents::open(&config.data_dir)?;
    let detector = engine::detector(&documents);
    let detected = RwLock::new(incidents_of(&detector, &[]));
    let explanations: HashMap<String, RootCause> = documents.all(Shelf::Explanations).into_iter().collect();
    let mut topology = Topology::new(config.topology.clone());
    history::load(&documents, topology.history_mut());
    let anomalies = RwLock::new(AnomalyLog::load(&documents));
    let asked = Mutex::new(AskedBook::load(&documents));
    let rules = RwLock::new(api::rules::load(&documents));
    let now = RwLock::new(Arc::new(topology.history().at(gala_store::now_ms())));
    Ok(Arc::new(HubState {
        store: Arc::new(store),
        documents,
        topology: RwLock::new(topology),
        now,
        past: Mutex::default(),
        detector: Mutex::new(detector),
        detected,
        long_tick: Mutex::default(),
        explanations: RwLock::new(explanations),
        rules,
        asked,
        anomalies,
        usual_p99: UsualP99::default(),
        progress: Mutex::new(Progress::default()),
        turned: Mutex::new(Instant::now()),
        topology_period: period(config),
        events: Mutex::new(VecDeque::new()),
        stream: Stream::default(),
        agent: RwLock::new(None),
        refused: Arc::new(AtomicU64::new(0)),
        queries: prom::QueryLimits::default().gate(),
        maps: Gate::new(MAPS, Rank::Pages, MAP_TIMEOUT, MAP_TIMEOUT),
        pages: Gate::new(PAGES, Rank::Pages, MAP_TIMEOUT, PAGE_TIMEOUT),
        writes: Gate::new(WRITES, Rank::First, MAP_TIMEOUT, WRITE_TIMEOUT),
        changes: Gate::new(CHANGES, Rank::First, MAP_TIMEOUT, WRITE_TIMEOUT),
        version: config.build.full,
        about: Arc::new(RwLock::new(about(config))),
        started: Instant::now(),
    }))
}

/// Time between two topology cycles.
fn period(config: &HubConfig) -> Duration {
    Duration::from_millis(config.topology.period_ms.max(1).unsigned_abs())
}

fn about(config: &HubConfig) -> About {
    let now_ms = gala_store::now_ms();
    About {
        version: config.build.version.to_owned(),
        revision: config.build.commit.to_owned(),
        build_date: config.build.date.to_owned(),
        started_ms: now_ms,
        retention: retention_text(config),
        configured_ms: now_ms,
        configuration_refused: false,
    }
}

/// `7d or 2GiB`: the largest units that say it exactly.
fn retention_text(config: &HubConfig) -> String {
    let exact = |value: u64, units: &[(u64, &str)]| {
        let (size, name) = units.iter().find(|(size, _)| value.is_multiple_of(*size)).copied().unwrap_or((1, ""));
        format!("{}{name}", value / size)
    };
    let time = exact(config.retention.as_secs(), &[(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")]);
    let bytes = exact(config.store_bytes, &[(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1, "B")]);
    format!("{time} or {bytes}")
}

async fn no_such_call() -> ApiError {
    ApiError::not_found("no such call; `GET /api/v1/openapi.json` lists them all")
}

async fn no_such_method(uri: Uri) -> Response {
    let (status, message) = (StatusCode::METHOD_NOT_ALLOWED, "this call does not take that method");
    if prom::is_prometheus(uri.path()) {
        prom::refused(status, message)
    } else {
        ApiError::status(status, message).into_response()
    }
}

fn application(state: Arc<HubState>, loopback_only: bool) -> Router {
    let prometheus = prom::router(state.prom_state());
    // What watches and scrapes a Prometheus asks these.
    let watched = Router::new()
        .route("/-/healthy", get(api::health::healthy))
        .route("/-/ready", get(api::health::ready))
        .route("/-/{*rest}", any(no_such_call))
        .route("/metrics", get(api::health::own_metrics))
        .route("/federate", any(no_such_call))
        .method_not_allowed_fallback(no_such_method)
        .with_state(state.clone());
    let api = Router::new()
        .merge(api::router().with_state(state))
        .merge(prometheus)
        .fallback(no_such_call)
        .method_not_allowed_fallback(no_such_method);
    let served = Router::new()
        .merge(watched)
        .nest("/api/v1", api)
        .route("/api/v1/", any(no_such_call))
        .route("/api/{*rest}", any(no_such_call))
        .fallback(ui::serve)
        .layer(CompressionLayer::new())
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(RequestBodyTimeoutLayer::new(BODY_PATIENCE));
    // Around the router and not its calls: it asks the router which calls there are.
    Router::new().fallback_service(served).layer(axum::middleware::from_fn_with_state(Arc::new(Guard { loopback_only }), guard))
}

/// Events of the agent: kept for the entity they speak of; an exit ends the process in the topology at once.
fn on_event(state: &Arc<HubState>) -> Arc<dyn Fn(&Event) + Send + Sync> {
    let state = state.clone();
    Arc::new(move |event: &Event| state.take_event(event))
}
