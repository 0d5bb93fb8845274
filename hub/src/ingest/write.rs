//! Remote write in: `POST /api/v1/write`, Prometheus remote write 1.0.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use gala_store::remote_write::WriteError;

use crate::api::error::ApiError;
use crate::state::HubState;

/// Takes a snappy-compressed `WriteRequest`. 204 when all of it is stored; 400 names the first series refused, the rest
/// is stored all the same.
pub async fn remote_write(State(hub): State<Arc<HubState>>, headers: HeaderMap, body: Bytes) -> Response {
    let encoding = headers.get("content-encoding").and_then(|value| value.to_str().ok()).unwrap_or("snappy");
    if !encoding.eq_ignore_ascii_case("snappy") {
        let message = format!("content encoding {encoding:?} is not taken; remote write sends snappy");
        return ApiError::status(StatusCode::UNSUPPORTED_MEDIA_TYPE, message).into_response();
    }
    let worker = hub.clone();
    let result = tokio::task::spawn_blocking(move || gala_store::remote_write::ingest(&worker.store, &body)).await;
    match result {
        Ok(Ok(ingested)) if ingested.rejected.is_empty() => StatusCode::NO_CONTENT.into_response(),
        Ok(Ok(ingested)) => {
            let first = &ingested.rejected[0];
            let message = format!(
                "{} of {} samples were refused; first: {}",
                ingested.rejected.len(),
                ingested.rejected.len() + ingested.samples,
                first.reason
            );
            (StatusCode::BAD_REQUEST, message).into_response()
        }
        Ok(Err(error)) => write_error(&error),
        Err(_) => ApiError::status(StatusCode::INTERNAL_SERVER_ERROR, "the write was interrupted; send it again").into_response(),
    }
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
