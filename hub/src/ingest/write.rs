//! Remote write in: `POST /api/v1/write`, Prometheus remote write 1.0.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{FromRequest as _, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use gala_store::remote_write::WriteError;

use crate::gate::Unanswered;
use crate::server::WRITE_TIMEOUT;
use crate::state::HubState;

/// Takes a snappy-compressed `WriteRequest`. 204 when all of it is stored; 400 names the first series refused, the rest
/// is stored all the same.
pub async fn remote_write(State(hub): State<Arc<HubState>>, request: Request) -> Response {
    let headers = request.headers();
    if let Some(message) = content_type(headers).and_then(foreign_message) {
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, message).into_response();
    }
    let encoding = headers.get("content-encoding").and_then(|value| value.to_str().ok()).unwrap_or("snappy");
    if !encoding.eq_ignore_ascii_case("snappy") {
        let message = format!("content encoding {encoding:?} is not taken; remote write sends snappy");
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, message).into_response();
    }
    // Before the body is read: what waits holds no memory.
    let place = match hub.writes.place().await {
        Ok(place) => place,
        Err(busy) => return too_busy(busy),
    };
    let body = match tokio::time::timeout(WRITE_TIMEOUT, Bytes::from_request(request, &())).await {
        Ok(Ok(body)) => body,
        Ok(Err(rejection)) => return rejection.into_response(),
        Err(_) => return too_slow(),
    };
    let worker = hub.clone();
    let result = hub.writes.spawn(move || {
        let result = gala_store::remote_write::ingest(&worker.store, &body);
        drop(place);
        result
    });
    match result.await {
        Ok(Ok(ingested)) => match ingested.rejected.first() {
            None => StatusCode::NO_CONTENT.into_response(),
            Some(first) => {
                let (refused, taken) = (ingested.rejected.len(), ingested.samples);
                let message = format!("{refused} of {} samples were refused; first: {}", refused + taken, first.reason);
                (StatusCode::BAD_REQUEST, message).into_response()
            }
        },
        Ok(Err(error)) => write_error(&error),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "the write was interrupted; send it again").into_response(),
    }
}

/// One that trickles would hold its place for ever. Senders drop what a 408 answers.
fn too_slow() -> Response {
    let message = format!("the body did not come within {} s; send less at once", WRITE_TIMEOUT.as_secs());
    (StatusCode::SERVICE_UNAVAILABLE, message).into_response()
}

fn too_busy(busy: Unanswered) -> Response {
    let mut response = (StatusCode::SERVICE_UNAVAILABLE, busy.to_string()).into_response();
    if let Some(seconds) = busy.retry_after_s() {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// Prometheus's senders read plain text: 4xx means "drop it", 5xx "try again".
fn write_error(error: &WriteError) -> Response {
    let status = match error {
        WriteError::Malformed(_) => StatusCode::BAD_REQUEST,
        WriteError::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
        WriteError::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, error.to_string()).into_response()
}

/// The message that a 1.0 request is; without one named it is meant.
const MESSAGE: &str = "prometheus.WriteRequest";

fn content_type(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok())
}

/// Why a body of this type is not taken: senders of 2.0 fall back to 1.0 at 415 and nothing else.
fn foreign_message(content_type: &str) -> Option<String> {
    let parameters = content_type.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
    let named = parameters.filter(|(name, _)| name.trim().eq_ignore_ascii_case("proto"));
    let foreign = named.map(|(_, value)| value.trim().trim_matches('"')).find(|value| *value != MESSAGE)?;
    Some(format!("message {foreign:?} is not taken; send {MESSAGE}, which is remote write 1.0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_message_of_version_1_is_taken() {
        for taken in [
            "application/x-protobuf",
            "application/x-protobuf;proto=prometheus.WriteRequest",
            "application/x-protobuf; charset=utf-8; PROTO=\"prometheus.WriteRequest\"",
        ] {
            assert_eq!(foreign_message(taken), None, "{taken}");
        }
        for refused in ["application/x-protobuf;proto=io.prometheus.write.v2.Request", "application/x-protobuf; proto="] {
            assert!(foreign_message(refused).is_some_and(|text| text.contains(MESSAGE)), "{refused}");
        }
    }
}
