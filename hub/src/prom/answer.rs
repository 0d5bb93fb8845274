//! Answers as Prometheus writes them: the envelope, errors with their types and status codes, values and times.

use std::fmt::Write;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use gala_store::promql::{Answer, Cost, QueryError, QueryValue, format_plain, format_value};
use gala_store::{Labels, StoreError};

use crate::gate::Unanswered;
use crate::room::Held;

/// Nginx's code for a client that has gone, used by Prometheus.
const CLIENT_CLOSED: u16 = 499;

/// Why there is no result.
#[derive(Debug)]
pub struct Refusal {
    kind: &'static str,
    message: String,
    status: StatusCode,
    retry_after_s: Option<u32>,
}

impl Refusal {
    fn new(kind: &'static str, status: StatusCode, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), status, retry_after_s: None }
    }

    pub fn bad_data(message: impl Into<String>) -> Self {
        Self::new("bad_data", StatusCode::BAD_REQUEST, message)
    }

    pub fn execution(message: impl Into<String>) -> Self {
        Self::new("execution", StatusCode::UNPROCESSABLE_ENTITY, message)
    }

    pub fn internal(message: impl Into<String>) -> Self {
        Self::new("internal", StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    pub fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }
}

pub fn bad_parameter(name: &str, reason: impl std::fmt::Display) -> Refusal {
    Refusal::bad_data(format!("invalid parameter {name:?}: {reason}"))
}

/// An answer to what is refused before a call sees it.
pub fn refused(status: StatusCode, message: impl Into<String>) -> Response {
    Refusal::bad_data(message).with_status(status).into_response()
}

impl From<Unanswered> for Refusal {
    fn from(unanswered: Unanswered) -> Self {
        let message = unanswered.to_string();
        match unanswered {
            Unanswered::Busy { .. } | Unanswered::Full { .. } => Self {
                retry_after_s: unanswered.retry_after_s(),
                ..Self::new("unavailable", StatusCode::SERVICE_UNAVAILABLE, message)
            },
            Unanswered::Late { .. } => Self::new("timeout", StatusCode::SERVICE_UNAVAILABLE, message),
            Unanswered::Broken => Self::internal(message),
        }
    }
}

impl From<QueryError> for Refusal {
    fn from(error: QueryError) -> Self {
        let message = error.to_string();
        match error {
            QueryError::Parse(_) | QueryError::Invalid(_) => bad_parameter("query", message),
            QueryError::Execution(_) | QueryError::TooManySamples { .. } => Self::execution(message),
            QueryError::Timeout => Self::new("timeout", StatusCode::SERVICE_UNAVAILABLE, message),
            QueryError::Canceled => {
                let status = StatusCode::from_u16(CLIENT_CLOSED).unwrap_or(StatusCode::BAD_REQUEST);
                Self::new("canceled", status, message)
            }
            QueryError::Storage(_) => Self::internal(message),
        }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::BadRequest(message) => Self::bad_data(message),
            StoreError::TooManySamples { .. } => Self::execution(error.to_string()),
            StoreError::Io(message) => Self::internal(message),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = serde_json::json!({"status": "error", "errorType": self.kind, "error": self.message});
        let mut response = json(self.status, body.to_string());
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

fn json(status: StatusCode, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// `data` is JSON already.
pub fn success(data: &str, warnings: &[String], infos: &[String]) -> Response {
    let mut body = String::with_capacity(data.len() + 64);
    body.push_str(OPENING);
    body.push_str(data);
    close(&mut body, warnings, infos);
    json(StatusCode::OK, body)
}

const OPENING: &str = "{\"status\":\"success\",\"data\":";

fn close(body: &mut String, warnings: &[String], infos: &[String]) {
    for (name, list) in [("warnings", warnings), ("infos", infos)] {
        if !list.is_empty() {
            let _ = write!(body, ",\"{name}\":{}", serde_json::json!(list));
        }
    }
    body.push('}');
}

pub fn success_of(data: &impl serde::Serialize, warnings: &[String]) -> Response {
    match serde_json::to_string(data) {
        Ok(data) => success(&data, warnings, &[]),
        Err(error) => Refusal::internal(format!("the answer cannot be written: {error}")).into_response(),
    }
}

pub const TRUNCATED: &str = "results truncated due to limit";

/// How long a query waited for its place and then took.
#[derive(Clone, Copy, Debug)]
pub struct Timings {
    pub queued: Duration,
    pub evaluated: Duration,
}

/// At most so many series of an answer, where there is a limit.
pub fn cut(answer: &mut Answer, limit: usize) {
    let count = match &answer.value {
        QueryValue::Vector(samples) => samples.len(),
        QueryValue::Matrix(series) => series.len(),
        _ => 0,
    };
    if limit > 0 && count > limit {
        match &mut answer.value {
            QueryValue::Vector(samples) => samples.truncate(limit),
            QueryValue::Matrix(series) => series.truncate(limit),
            _ => {}
        }
        answer.warnings.push(TRUNCATED.into());
    }
}

/// About so many bytes an answer has when it is written.
pub fn size_of(answer: &Answer) -> usize {
    // A time in milliseconds and sixteen digits.
    const POINT: usize = 40;
    const SERIES: usize = 40;
    let of_labels = |labels: &Labels| -> usize { labels.iter().map(|(name, value)| name.len() + value.len() + 6).sum() };
    match &answer.value {
        QueryValue::Vector(samples) => samples.iter().map(|sample| SERIES + POINT + of_labels(&sample.labels)).sum(),
        QueryValue::Matrix(series) => series.iter().map(|one| SERIES + POINT * one.samples.len() + of_labels(&one.labels)).sum(),
        QueryValue::Scalar(_) => POINT,
        QueryValue::Text { text, .. } => POINT + text.len(),
    }
}

/// The answer to a query, in its room; with timings, what it took.
pub fn query_answer(answer: &Answer, timings: Option<Timings>, room: Held) -> Response {
    let mut body = String::with_capacity(size_of(answer) + 256);
    body.push_str(OPENING);
    push_data(&mut body, &answer.value);
    if let Some(timings) = timings {
        body.truncate(body.len() - 1);
        let _ = write!(body, ",\"stats\":{}}}", stats(timings, answer.cost));
    }
    close(&mut body, &answer.warnings, &answer.infos);
    json(StatusCode::OK, room.body(body))
}

/// The members of Prometheus's that are measured here.
fn stats(timings: Timings, cost: Cost) -> serde_json::Value {
    let (queued, evaluated) = (timings.queued.as_secs_f64(), timings.evaluated.as_secs_f64());
    serde_json::json!({
        "timings": {"evalTotalTime": evaluated, "execQueueTime": queued, "execTotalTime": queued + evaluated},
        "samples": {"totalQueryableSamples": cost.read, "peakSamples": cost.peak},
    })
}

fn push_data(out: &mut String, value: &QueryValue) {
    let open = |out: &mut String, kind: &str| {
        let _ = write!(out, "{{\"resultType\":\"{kind}\",\"result\":");
    };
    match value {
        QueryValue::Scalar(sample) => {
            open(out, "scalar");
            // Unlike the values of series, a number never has an exponent.
            push_point(out, sample.t_ms, &format_plain(sample.value));
        }
        QueryValue::Text { t_ms, text } => {
            open(out, "string");
            out.push('[');
            push_time(out, *t_ms);
            let _ = write!(out, ",{}]", serde_json::json!(text));
        }
        QueryValue::Vector(samples) => {
            open(out, "vector");
            push_list(out, samples, |out, sample| {
                out.push_str("{\"metric\":");
                push_labels(out, &sample.labels);
                out.push_str(",\"value\":");
                push_point(out, sample.t_ms, &format_value(sample.value));
                out.push('}');
            });
        }
        QueryValue::Matrix(series) => {
            open(out, "matrix");
            push_list(out, series, |out, series| {
                out.push_str("{\"metric\":");
                push_labels(out, &series.labels);
                out.push_str(",\"values\":");
                push_list(out, &series.samples, |out, sample| push_point(out, sample.t_ms, &format_value(sample.value)));
                out.push('}');
            });
        }
    }
    out.push('}');
}

pub fn push_list<T>(out: &mut String, items: &[T], mut push: impl FnMut(&mut String, &T)) {
    out.push('[');
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        push(out, item);
    }
    out.push(']');
}

pub fn push_text(out: &mut String, text: &str) {
    let plain = text.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\');
    if plain {
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else {
        let _ = write!(out, "{}", serde_json::json!(text));
    }
}

pub fn push_labels(out: &mut String, labels: &Labels) {
    out.push('{');
    for (index, (name, value)) in labels.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        push_text(out, name);
        out.push(':');
        push_text(out, value);
    }
    out.push('}');
}

/// Seconds, with three decimals where there are milliseconds.
fn push_time(out: &mut String, t_ms: i64) {
    if t_ms < 0 {
        out.push('-');
    }
    let size = t_ms.unsigned_abs();
    let _ = write!(out, "{}", size / 1000);
    if !size.is_multiple_of(1000) {
        let _ = write!(out, ".{:03}", size % 1000);
    }
}

fn push_point(out: &mut String, t_ms: i64, value: &str) {
    out.push('[');
    push_time(out, t_ms);
    out.push_str(",\"");
    out.push_str(value);
    out.push_str("\"]");
}
