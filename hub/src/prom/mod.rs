//! The Prometheus HTTP API: queries, series and labels, metadata, and the small answers dashboards ask for before them.
//! Formats, error texts and status codes are Prometheus's, so that its clients need no exception for us.
//!
//! Queries run on blocking threads, a bounded number at once; a query whose client has gone is stopped.

mod answer;
mod params;
mod query;
pub mod read;
mod series;
mod status;
mod time;
mod tree;

use std::sync::Arc;
use std::time::Duration;

pub use time::show as show_time;

use axum::Router;
use axum::routing::{get, post};
use gala_store::SeriesRead;
use parking_lot::RwLock;

pub use answer::refused;

use crate::gate::{Gate, Rank};
use crate::room::Room;

/// Answers to queries that are made and not sent yet, all together. The program itself takes as much.
const ANSWER_BYTES: usize = 128 << 20;
/// Who waits for room holds a place that pages need, too.
const ROOM_PATIENCE: Duration = Duration::from_secs(1);

/// What is known about a metric family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    pub family: String,
    /// counter, gauge, histogram, summary, info, stateset or unknown.
    pub kind: String,
    pub help: String,
    pub unit: String,
}

/// Where metadata comes from.
pub trait MetadataSource: Send + Sync {
    /// All families, or those of one metric name; the order is the order of the answer.
    fn metadata(&self, metric: Option<&str>) -> Vec<Metadata>;
}

/// Nothing is known about any metric.
impl MetadataSource for () {
    fn metadata(&self, _: Option<&str>) -> Vec<Metadata> {
        Vec::new()
    }
}

/// What queries may cost.
#[derive(Clone, Copy, Debug)]
pub struct QueryLimits {
    pub timeout: Duration,
    /// Samples one query may hold at once.
    pub max_samples: usize,
    /// Queries that run at once.
    pub concurrency: usize,
    /// How long a query waits for a place before it is refused.
    pub queue_timeout: Duration,
    /// How far back an instant selector looks.
    pub lookback: Duration,
}

impl QueryLimits {
    pub(crate) fn gate(&self) -> Gate {
        Gate::new(self.concurrency, Rank::Queries, self.queue_timeout, self.timeout)
    }
}

impl Default for QueryLimits {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(60),
            max_samples: 50_000_000,
            concurrency: 20,
            queue_timeout: Duration::from_secs(10),
            lookback: Duration::from_secs(300),
        }
    }
}

/// What the status answers say about this process; may change while it runs.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// Version of the program.
    pub version: String,
    pub revision: String,
    pub build_date: String,
    pub started_ms: i64,
    /// As configured, for example `7d or 2GiB`.
    pub retention: String,
    /// When the configuration in force was read, and whether a later one was refused.
    pub configured_ms: i64,
    pub configuration_refused: bool,
}

/// Everything the handlers share; cheap to clone.
#[derive(Clone)]
pub struct PromState {
    read: Arc<dyn SeriesRead>,
    metadata: Arc<dyn MetadataSource>,
    limits: QueryLimits,
    gate: Gate,
    room: Room,
    about: Arc<RwLock<About>>,
}

impl PromState {
    pub fn new(
        read: Arc<dyn SeriesRead>,
        metadata: Arc<dyn MetadataSource>,
        limits: QueryLimits,
        about: Arc<RwLock<About>>,
    ) -> Self {
        let room = Room::new(ANSWER_BYTES, limits.queue_timeout.min(ROOM_PATIENCE));
        Self { read, metadata, limits, gate: limits.gate(), room, about }
    }

    /// The same with places that others take, too.
    pub(crate) fn behind(self, gate: Gate) -> Self {
        Self { gate, ..self }
    }
}

/// Whether a call is Prometheus's, so that its errors are too.
pub fn is_prometheus(path: &str) -> bool {
    let path = path.strip_prefix("/api/v1").unwrap_or(path);
    PATHS.contains(&path) || path.starts_with("/label/") || path.starts_with("/status/")
}

const PATHS: [&str; 17] = [
    "/query",
    "/query_range",
    "/query_exemplars",
    "/format_query",
    "/parse_query",
    "/series",
    "/labels",
    "/metadata",
    "/read",
    "/write",
    "/rules",
    "/alerts",
    "/alertmanagers",
    "/targets",
    "/targets/metadata",
    "/scrape_pools",
    "/notifications",
];

/// All routes, relative to `/api/v1`.
pub fn router(state: PromState) -> Router {
    Router::new()
        .route("/query", get(query::instant).post(query::instant))
        .route("/query_range", get(query::range).post(query::range))
        .route("/query_exemplars", get(query::exemplars).post(query::exemplars))
        .route("/format_query", get(query::format).post(query::format))
        .route("/parse_query", get(tree::parse_query).post(tree::parse_query))
        .route("/series", get(series::series).post(series::series))
        .route("/labels", get(series::label_names).post(series::label_names))
        .route("/label/{name}/values", get(series::label_values))
        .route("/metadata", get(series::metadata))
        .route("/read", post(read::read))
        .route("/rules", get(status::rules))
        .route("/alerts", get(status::alerts))
        .route("/alertmanagers", get(status::alertmanagers))
        .route("/targets", get(status::targets))
        .route("/targets/metadata", get(status::none))
        .route("/scrape_pools", get(status::scrape_pools))
        .route("/notifications", get(status::none))
        .route("/status/buildinfo", get(status::buildinfo))
        .route("/status/runtimeinfo", get(status::runtimeinfo))
        .route("/status/flags", get(status::flags))
        .route("/status/config", get(status::config))
        .route("/status/tsdb", get(status::tsdb))
        .route("/status/walreplay", get(status::walreplay))
        .with_state(state)
}
