//! The metric exporter: `GET /` and `GET /metrics` answer the latest record of every series in text form. Scrapes are
//! independent of each other; a large one is rendered piece by piece as the reader takes it.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use gala_model::exposition::{Style, Writer};

use super::latest::{Cursor, Latest};
use crate::ledger::now_ms;

/// Text rendered at once; the collection waits for the lock no longer than this takes (some 0.2 ms).
const PIECE: usize = 256 * 1024;

/// Room for the row that crosses the target.
const SLACK: usize = 16 * 1024;

pub fn router(latest: Arc<Latest>, style: Style) -> Router {
    Router::new().fallback(answer).with_state((latest, style))
}

async fn answer(State((latest, style)): State<(Arc<Latest>, Style)>, request: Request) -> Response {
    if request.method() != Method::GET {
        return StatusCode::NOT_IMPLEMENTED.into_response();
    }
    if !matches!(request.uri().path(), "/" | "/metrics") {
        return StatusCode::NOT_FOUND.into_response();
    }
    ([(header::CONTENT_TYPE, "text/plain")], body(latest, style)).into_response()
}

fn body(latest: Arc<Latest>, style: Style) -> Body {
    let mut pieces = Pieces { latest, writer: Writer::new(style), cursor: Cursor::default(), at_ms: now_ms(), done: false };
    let first = pieces.next().unwrap_or_default();
    if pieces.done {
        return Body::from(first);
    }
    let all = std::iter::once(first).chain(pieces).map(Ok::<Bytes, std::convert::Infallible>);
    Body::from_stream(tokio_stream::iter(all))
}

struct Pieces {
    latest: Arc<Latest>,
    writer: Writer,
    cursor: Cursor,
    at_ms: i64,
    done: bool,
}

impl Iterator for Pieces {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.done {
            return None;
        }
        let mut out = Vec::with_capacity(PIECE + SLACK);
        self.done = !self.latest.render(&mut self.cursor, self.at_ms, &mut self.writer, PIECE, &mut out);
        Some(Bytes::from(out))
    }
}

/// The whole text at once, for `gala ctl metrics` and tests.
pub fn text(latest: &Latest, style: Style) -> String {
    let (mut out, mut cursor) = (Vec::new(), Cursor::default());
    latest.render(&mut cursor, now_ms(), &mut Writer::new(style), usize::MAX, &mut out);
    String::from_utf8(out).unwrap_or_default()
}
