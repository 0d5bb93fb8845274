//! `query`, `query_range`, `query_exemplars`, `format_query`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use gala_store::SeriesRead;
use gala_store::promql::{self, Answer, Options, QueryError};

use super::PromState;
use super::answer::{Refusal, Timings, bad_parameter, cut, query_answer, size_of, success, success_of};
use super::params::Params;
use super::time;

/// More points than this per series are refused; clients choose a wider step then.
const MAX_POINTS: i64 = 11_000;

type Result<T> = std::result::Result<T, Refusal>;

pub async fn instant(State(state): State<PromState>, params: Params) -> Response {
    answer(instant_query(state, params).await)
}

pub async fn range(State(state): State<PromState>, params: Params) -> Response {
    answer(range_query(state, params).await)
}

fn answer(result: Result<Response>) -> Response {
    result.unwrap_or_else(IntoResponse::into_response)
}

async fn instant_query(state: PromState, params: Params) -> Result<Response> {
    let limit = params.limit()?;
    let at_ms = params.moment_or("time", time::now_ms())?;
    let job = Job::new(&state, &params)?;
    let query = params.get("query").to_string();
    job.run(state, limit, move |read, options| promql::instant(read, &query, at_ms, options)).await
}

async fn range_query(state: PromState, params: Params) -> Result<Response> {
    let limit = params.limit()?;
    let (start, end) = (params.moment("start")?, params.moment("end")?);
    if end < start {
        return Err(bad_parameter("end", "end timestamp must not be before start time"));
    }
    let step_ns = params.duration("step")?;
    let step_ms = step_ns / 1_000_000;
    if step_ms <= 0 {
        return Err(bad_parameter(
            "step",
            "zero or negative query resolution step widths are not accepted. Try a positive integer",
        ));
    }
    if end.saturating_sub(start) / step_ms > MAX_POINTS {
        let message =
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)";
        return Err(Refusal::bad_data(message));
    }
    let job = Job::new(&state, &params)?;
    let query = params.get("query").to_string();
    job.run(state, limit, move |read, options| promql::range(read, &query, start, end, step_ms, options)).await
}

/// A query's own limits.
struct Job {
    timeout: Duration,
    lookback_ms: i64,
    /// Whether what it takes is to be told.
    with_stats: bool,
}

/// Stops the query when the request is dropped.
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Job {
    fn new(state: &PromState, params: &Params) -> Result<Self> {
        let timeout = params.timeout()?.map_or(state.limits.timeout, |wanted| wanted.min(state.limits.timeout));
        let lookback_ms = params.lookback()?.unwrap_or(state.limits.lookback.as_millis() as i64);
        Ok(Self { timeout, lookback_ms, with_stats: !params.get("stats").is_empty() })
    }

    async fn run(
        self,
        state: PromState,
        limit: usize,
        evaluate: impl FnOnce(&dyn SeriesRead, &Options) -> std::result::Result<Answer, QueryError> + Send + 'static,
    ) -> Result<Response> {
        let asked = Instant::now();
        let place = state.gate.place().await?;
        let stop = StopOnDrop(Arc::new(AtomicBool::new(false)));
        let (flag, room, gate) = (stop.0.clone(), state.room.clone(), state.gate.clone());
        let done = gate.spawn(move || {
            let begun = Instant::now();
            let options = Options {
                lookback_ms: self.lookback_ms,
                max_samples: state.limits.max_samples,
                deadline: Some(begun + self.timeout),
                cancel: Some(&flag),
            };
            let mut answer = evaluate(&*state.read, &options)?;
            cut(&mut answer, limit);
            let timings = Timings { queued: begun - asked, evaluated: begun.elapsed() };
            Ok::<_, Refusal>((answer, Some(timings).filter(|_| self.with_stats), place))
        });
        let unexpected = |error| Refusal::internal(format!("the query ended unexpectedly: {error}"));
        let (answer, timings, place) = done.await.map_err(unexpected)??;
        drop(stop);
        let held = room.take(size_of(&answer)).await?;
        // A large answer takes its time to be written, which is work too.
        let written = gate.spawn(move || {
            let response = query_answer(&answer, timings, held);
            drop(place);
            response
        });
        written.await.map_err(unexpected)
    }
}

/// There are no exemplars; the query must be one all the same.
pub async fn exemplars(params: Params) -> Response {
    let check = || -> Result<()> {
        let range = params.time_range()?;
        if range.to_ms < range.from_ms {
            return Err(bad_parameter("end", "end timestamp must not be before start timestamp"));
        }
        promql::parse(params.get("query")).map(|_| ()).map_err(|error| bad_parameter("query", error))
    };
    answer(check().map(|()| success("[]", &[], &[])))
}

pub async fn format(State(state): State<PromState>, params: Params) -> Response {
    let formatted = state.gate.run(move || promql::parse(params.get("query")).map(|expr| promql::pretty(&expr))).await;
    match formatted {
        Ok(Ok(text)) => success_of(&text, &[]),
        Ok(Err(error)) => bad_parameter("query", error).into_response(),
        Err(unanswered) => Refusal::from(unanswered).into_response(),
    }
}
