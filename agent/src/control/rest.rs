//! The REST API: `GET` and `PUT` of `/<probe>`, answers in upstream's form.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::request::MAX_BODY;
use super::{Answer, Control};

/// Upstream cuts paths here.
const MAX_PATH: usize = 63;

/// A body too long is read up to here before it is refused, so that the client gets to read why.
const MAX_READ: usize = 8 * MAX_BODY;

pub fn router(control: Arc<Control>) -> Router {
    Router::new().fallback(answer).with_state(control)
}

async fn answer(State(control): State<Arc<Control>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let name = probe_name(parts.uri.path());
    let answer = match parts.method {
        Method::GET => control.get(&name),
        Method::PUT => match axum::body::to_bytes(body, MAX_READ).await {
            // Starting and stopping block.
            Ok(bytes) => tokio::task::spawn_blocking(move || control.put(&name, &bytes))
                .await
                .unwrap_or_else(|_| Answer::failed(500, "the request could not be processed; see the agent's log")),
            Err(_) => Answer::failed(400, &format!("put data size exceeds {MAX_BODY}")),
        },
        _ => Answer::failed(405, "method not allowed"),
    };
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [(header::CONTENT_TYPE, "application/json")], Body::from(answer.body)).into_response()
}

/// The path without its slash, at most 63 characters; never percent-decoded.
fn probe_name(path: &str) -> String {
    path.strip_prefix('/').unwrap_or(path).chars().take(MAX_PATH).collect()
}
