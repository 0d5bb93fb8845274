//! `read`: Prometheus remote read, the samples of whole selectors as snappy-compressed protobuf. Streamed chunks are not
//! offered; clients fall back to samples.

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use gala_store::{MatchOp, Matcher, SeriesRead, TimeRange};
use prost::Message;

use super::PromState;
use super::answer::Refusal;

/// Requests that unpack to more than this are refused.
const MAX_UNPACKED: usize = 16 << 20;

#[derive(Clone, PartialEq, Message)]
pub struct ReadRequest {
    #[prost(message, repeated, tag = "1")]
    pub queries: Vec<Query>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Query {
    #[prost(int64, tag = "1")]
    pub start_timestamp_ms: i64,
    #[prost(int64, tag = "2")]
    pub end_timestamp_ms: i64,
    #[prost(message, repeated, tag = "3")]
    pub matchers: Vec<LabelMatcher>,
}

#[derive(Clone, PartialEq, Message)]
pub struct LabelMatcher {
    /// 0 equal, 1 not equal, 2 regular expression, 3 not that.
    #[prost(int32, tag = "1")]
    pub kind: i32,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(string, tag = "3")]
    pub value: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct ReadResponse {
    #[prost(message, repeated, tag = "1")]
    pub results: Vec<QueryResult>,
}

#[derive(Clone, PartialEq, Message)]
pub struct QueryResult {
    #[prost(message, repeated, tag = "1")]
    pub timeseries: Vec<TimeSeries>,
}

#[derive(Clone, PartialEq, Message)]
pub struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    pub samples: Vec<Sample>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Label {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub value: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct Sample {
    #[prost(double, tag = "1")]
    pub value: f64,
    #[prost(int64, tag = "2")]
    pub timestamp: i64,
}

pub async fn read(State(state): State<PromState>, body: Result<Bytes, BytesRejection>) -> Response {
    let body = match body {
        Ok(body) => body,
        Err(error) => {
            let message = format!("remote read: the body cannot be read: {}", error.body_text());
            return Refusal::bad_data(message).with_status(error.status()).into_response();
        }
    };
    let (read, most) = (state.read.clone(), state.limits.max_samples);
    let done = state.gate.run(move || unpack(&body).and_then(|request| answer(&*read, &request, most))).await;
    match done.map_err(Refusal::from).flatten() {
        Ok(packed) => {
            let mut response = Response::new(Body::from(packed));
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("snappy"));
            response
        }
        Err(refusal) => refusal.into_response(),
    }
}

fn unpack(body: &[u8]) -> Result<ReadRequest, Refusal> {
    let wrong = |what: &str, error: &dyn std::fmt::Display| Refusal::bad_data(format!("remote read: {what}: {error}"));
    let length = snap::raw::decompress_len(body).map_err(|error| wrong("the body is not snappy", &error))?;
    if length > MAX_UNPACKED {
        return Err(Refusal::bad_data(format!("remote read: the body unpacks to more than {} MiB", MAX_UNPACKED >> 20)));
    }
    let plain = snap::raw::Decoder::new().decompress_vec(body).map_err(|error| wrong("the body is not snappy", &error))?;
    ReadRequest::decode(plain.as_slice()).map_err(|error| wrong("the body is no read request", &error))
}

fn answer(read: &dyn SeriesRead, request: &ReadRequest, max_samples: usize) -> Result<Vec<u8>, Refusal> {
    let mut results = Vec::with_capacity(request.queries.len());
    let mut left = max_samples;
    for query in &request.queries {
        let matchers = query.matchers.iter().map(matcher).collect::<Result<Vec<_>, Refusal>>()?;
        let range = TimeRange { from_ms: query.start_timestamp_ms, to_ms: query.end_timestamp_ms };
        let series = read.select(&matchers, range, left)?;
        left -= series.iter().map(|one| one.samples.len()).sum::<usize>().min(left);
        let timeseries = series.into_iter().map(|one| TimeSeries {
            labels: one.labels.iter().map(|(name, value)| Label { name: name.into(), value: value.into() }).collect(),
            samples: one.samples.iter().map(|sample| Sample { value: sample.value, timestamp: sample.t_ms }).collect(),
        });
        results.push(QueryResult { timeseries: timeseries.collect() });
    }
    let plain = ReadResponse { results }.encode_to_vec();
    snap::raw::Encoder::new()
        .compress_vec(&plain)
        .map_err(|error| Refusal::internal(format!("the answer cannot be packed: {error}")))
}

fn matcher(matcher: &LabelMatcher) -> Result<Matcher, Refusal> {
    let op = match matcher.kind {
        0 => MatchOp::Equal,
        1 => MatchOp::NotEqual,
        2 => MatchOp::Regex,
        3 => MatchOp::NotRegex,
        other => return Err(Refusal::bad_data(format!("remote read: there is no matcher type {other}"))),
    };
    Ok(Matcher::new(&matcher.name, op, &matcher.value)?)
}
