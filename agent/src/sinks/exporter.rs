//! The metric exporter: `GET /` and `GET /metrics` answer the latest record of every series in text form. Scrapes are
//! independent of each other; a large one is rendered piece by piece as the reader takes it. An agent alone adds what it
//! costs and what it lost (`gala_agent_`), for nobody else serves that.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use gala_model::exposition::{Style, Writer};

use super::latest::{Cursor, Latest};
use crate::ledger::now_ms;
use crate::runtime::about::About;
use crate::runtime::metrics::Form;

/// Text rendered at once; the collection waits for the lock no longer than this takes (some 0.2 ms).
const PIECE: usize = 256 * 1024;

/// Of the text in one piece, for it is kept whole.
const MAX_WHOLE: usize = 16 << 20;

/// Room for the row that crosses the target.
const SLACK: usize = 16 * 1024;

/// What is answered.
#[derive(Clone)]
pub struct Source {
    pub latest: Arc<Latest>,
    pub style: Style,
    /// Whose own metrics come last.
    pub own: Option<About>,
}

pub fn router(source: Source) -> Router {
    Router::new().fallback(answer).with_state(source)
}

async fn answer(State(source): State<Source>, request: Request) -> Response {
    if request.method() != Method::GET {
        return (StatusCode::NOT_IMPLEMENTED, "only GET is answered here\n").into_response();
    }
    if !matches!(request.uri().path(), "/" | "/metrics") {
        return (StatusCode::NOT_FOUND, "nothing is here: metrics are at /metrics\n").into_response();
    }
    ([(header::CONTENT_TYPE, "text/plain")], body(source)).into_response()
}

/// What a scrape answers, in one piece; cut between two rows where it is longer than anybody reads at a terminal.
pub fn whole(source: Source) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in Pieces::new(source) {
        out.extend_from_slice(&piece);
        if out.len() >= MAX_WHOLE {
            break;
        }
    }
    out
}

fn body(source: Source) -> Body {
    let mut pieces = Pieces::new(source);
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
    own: Option<About>,
}

impl Pieces {
    fn new(source: Source) -> Self {
        let writer = Writer::new(source.style);
        Self { latest: source.latest, writer, cursor: Cursor::default(), at_ms: now_ms(), done: false, own: source.own }
    }
}

impl Iterator for Pieces {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.done {
            return None;
        }
        let mut out = Vec::with_capacity(PIECE + SLACK);
        self.done = !self.latest.render(&mut self.cursor, self.at_ms, &mut self.writer, PIECE, &mut out);
        if self.done
            && let Some(own) = &self.own
        {
            out.extend_from_slice(own.metrics_text(Form::Bare).as_bytes());
        }
        Some(Bytes::from(out))
    }
}

/// The whole text at once, for `gala ctl metrics` and tests.
pub fn text(latest: &Latest, style: Style) -> String {
    let (mut out, mut cursor) = (Vec::new(), Cursor::default());
    latest.render(&mut cursor, now_ms(), &mut Writer::new(style), usize::MAX, &mut out);
    String::from_utf8(out).unwrap_or_default()
}
