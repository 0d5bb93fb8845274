//! The REST API: `GET` and `PUT` of `/<probe>`, answers in upstream's form. A body is kept only as far as it may be taken, and
//! few are at a time.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_stream::StreamExt;

use super::request::MAX_BODY;
use super::{Answer, Control};

/// Upstream cuts paths here.
const MAX_PATH: usize = 63;

/// A body too long is passed over up to here before it is refused, so that the client gets to read why.
const MAX_PASSED: usize = 8 * MAX_BODY;

/// Bodies held at a time, and those among them that are made values of, which takes some twenty times their room.
const MAX_BODIES: usize = 8;
const MAX_PUTS: usize = 2;

/// A body has to be here within this; so has the turn of a request.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Clone)]
struct Shared {
    control: Arc<Control>,
    bodies: Arc<Semaphore>,
    turns: Arc<Semaphore>,
}

pub fn router(control: Arc<Control>) -> Router {
    let [bodies, turns] = [MAX_BODIES, MAX_PUTS].map(|most| Arc::new(Semaphore::new(most)));
    Router::new().fallback(answer).with_state(Shared { control, bodies, turns })
}

async fn answer(State(shared): State<Shared>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let name = probe_name(parts.uri.path());
    let answer = match parts.method {
        Method::GET => shared.control.get(&name),
        Method::PUT => put(shared, name, &parts.headers, body).await.unwrap_or_else(|refused| refused),
        _ => Answer::failed(405, "method not allowed"),
    };
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, [(header::CONTENT_TYPE, "application/json")], Body::from(answer.body)).into_response();
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static("GET, PUT"));
    }
    if !answer.warning.is_empty()
        && let Ok(warning) = header::HeaderValue::from_str(&format!("299 gala \"{}\"", answer.warning))
    {
        response.headers_mut().insert(header::WARNING, warning);
    }
    response
}

async fn put(shared: Shared, name: String, headers: &HeaderMap, body: Body) -> Result<Answer, Answer> {
    let text_of = |name| headers.get(name).and_then(|value| value.to_str().ok());
    // Scripts have no origin; a page of the web that reaches us by a name of its own has one.
    if headers.contains_key(header::ORIGIN) {
        return Err(Answer::failed(403, "requests of web pages are refused: leave out the header Origin"));
    }
    let announced = text_of(header::CONTENT_LENGTH).and_then(|length| length.parse::<usize>().ok());
    // Who asks before sending is told at once.
    if announced.is_some_and(|length| length > MAX_BODY) && text_of(header::EXPECT).is_some() {
        return Err(too_long());
    }
    let _room = turn(&shared.bodies).await?;
    let bytes = tokio::time::timeout(PATIENCE, read(body, announced.unwrap_or_default())).await;
    let bytes = bytes.map_err(|_| Answer::failed(408, "the body did not come within 10 s"))??;
    let turn = turn(&shared.turns).await?;
    // Starting and stopping block.
    let done = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        shared.control.put(&name, &bytes)
    });
    done.await.map_err(|_| Answer::failed(500, "the request could not be processed; see the agent's log"))
}

async fn turn(turns: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Answer> {
    let turn = tokio::time::timeout(PATIENCE, Arc::clone(turns).acquire_owned()).await;
    let Ok(Ok(turn)) = turn else { return Err(Answer::failed(503, "too many requests at a time: try again")) };
    Ok(turn)
}

/// The whole body; of one that is too long nothing is kept.
async fn read(body: Body, announced: usize) -> Result<Vec<u8>, Answer> {
    let mut pieces = body.into_data_stream();
    let (mut kept, mut length) = (Vec::new(), 0);
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|_| Answer::failed(400, "the body broke off"))?;
        length += piece.len();
        if length > MAX_PASSED {
            break;
        }
        if length.max(announced) > MAX_BODY {
            kept = Vec::new();
        } else {
            kept.extend_from_slice(&piece);
        }
    }
    if length > MAX_BODY { Err(too_long()) } else { Ok(kept) }
}

fn too_long() -> Answer {
    Answer::failed(400, &format!("put data size exceeds {MAX_BODY}"))
}

/// The path without its slash, at most 63 characters; never percent-decoded.
fn probe_name(path: &str) -> String {
    path.strip_prefix('/').unwrap_or(path).chars().take(MAX_PATH).collect()
}
