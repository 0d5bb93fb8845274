//! Connections of the exporter and of the REST API: so many at a time and none for ever, for descriptors are few and the
//! agent's memory is counted. Over the limit, one that waits for nothing makes room; else the new one is refused.

use std::collections::VecDeque;
use std::future::Future;
use std::io::{Error, ErrorKind, IoSlice, Result, Write};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use axum::serve::Listener;
use gala_model::request_head::RequestHead;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, Sleep};

use crate::ledger::Ledger;

/// Open at a time, of each server: scrapers and scripts are a handful.
pub const MAX_OPEN: usize = 64;

/// A request is whole and answered, an answer taken, the next request begun within this. Longer than people scrape apart.
const PATIENCE: Duration = Duration::from_secs(90);

/// One that was silent for so long may make room.
const SILENCE_MS: u64 = 1000;

const REFUSAL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

type Open = Arc<Mutex<VecDeque<Arc<Slot>>>>;

/// What the listener knows of a connection.
struct Slot {
    /// No request is under way: none has begun, or not all of its head is here.
    idle: AtomicBool,
    /// It has to make room.
    closed: AtomicBool,
    /// When something passed last, milliseconds since the listener began.
    touched_ms: AtomicU64,
    waker: Mutex<Option<Waker>>,
}

/// A listener that admits so many.
pub struct Limited {
    listener: TcpListener,
    place: &'static str,
    ledger: Ledger,
    open: Open,
    began: Instant,
}

impl Limited {
    /// `place` names the server in the ledger.
    pub fn new(listener: TcpListener, place: &'static str, ledger: Ledger) -> Self {
        Self { listener, place, ledger, open: Open::default(), began: Instant::now() }
    }

    fn admit(&self) -> Option<Arc<Slot>> {
        let now_ms = self.began.elapsed().as_millis() as u64;
        let mut open = self.open.lock();
        if open.len() >= MAX_OPEN {
            let is_silent = |slot: &Arc<Slot>| {
                slot.idle.load(Ordering::Acquire) && slot.touched_ms.load(Ordering::Acquire) + SILENCE_MS <= now_ms
            };
            let at = open.iter().position(is_silent)?;
            let gone = open.remove(at)?;
            gone.closed.store(true, Ordering::Release);
            if let Some(waker) = gone.waker.lock().take() {
                waker.wake();
            }
        }
        let slot = Arc::new(Slot {
            idle: AtomicBool::new(true),
            closed: AtomicBool::new(false),
            touched_ms: AtomicU64::new(now_ms),
            waker: Mutex::new(None),
        });
        open.push_back(Arc::clone(&slot));
        Some(slot)
    }

    fn refuse(&self, stream: TcpStream) {
        let reason = format!("{MAX_OPEN} connections are open and each has a request under way; others are refused (503)");
        self.ledger.add(self.place, "connections refused", &reason, 1);
        if let Ok(mut stream) = stream.into_std() {
            // Who does not hear it is refused all the same.
            let _ = stream.write_all(REFUSAL);
        }
    }
}

impl Listener for Limited {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            let (stream, address) = Listener::accept(&mut self.listener).await;
            let Some(slot) = self.admit() else {
                self.refuse(stream);
                continue;
            };
            let deadline = Box::pin(tokio::time::sleep(PATIENCE));
            let (open, began, head) = (Arc::clone(&self.open), self.began, RequestHead::default());
            return (Connection { stream, slot, open, began, deadline, head }, address);
        }
    }

    fn local_addr(&self) -> Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// An admitted connection.
pub struct Connection {
    stream: TcpStream,
    slot: Arc<Slot>,
    open: Open,
    began: Instant,
    deadline: Pin<Box<Sleep>>,
    head: RequestHead,
}

impl Connection {
    /// A head that comes in drops is no request yet, and makes room as one that says nothing does.
    fn heard(&mut self, bytes: &[u8]) {
        if !self.slot.idle.load(Ordering::Acquire) {
            return;
        }
        let was_begun = self.head.has_begun();
        if self.head.take(bytes) {
            self.touch(false);
        } else if self.head.has_begun() && !was_begun {
            self.touch(true);
        }
    }

    fn touch(&mut self, idle: bool) {
        self.slot.touched_ms.store(self.began.elapsed().as_millis() as u64, Ordering::Release);
        let was_idle = self.slot.idle.swap(idle, Ordering::AcqRel);
        // The bytes of a request do not lengthen its time, or a drop now and then would hold the place.
        if idle || was_idle {
            self.deadline.as_mut().reset(Instant::now() + PATIENCE);
        }
    }

    /// Whether a wait may go on.
    fn wait<T>(&mut self, context: &mut Context<'_>) -> Poll<Result<T>> {
        *self.slot.waker.lock() = Some(context.waker().clone());
        if self.slot.closed.load(Ordering::Acquire) {
            return Poll::Ready(Err(Error::new(ErrorKind::ConnectionAborted, "it made room for another")));
        }
        match self.deadline.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }

    fn written(&mut self, outcome: Poll<Result<usize>>, context: &mut Context<'_>) -> Poll<Result<usize>> {
        match outcome {
            Poll::Pending => self.wait(context),
            Poll::Ready(done) => {
                self.touch(true);
                Poll::Ready(done)
            }
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.open.lock().retain(|slot| !Arc::ptr_eq(slot, &self.slot));
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        let before = buffer.filled().len();
        match Pin::new(&mut self.stream).poll_read(context, buffer) {
            Poll::Pending => self.wait(context),
            Poll::Ready(done) => {
                if let Some(bytes) = buffer.filled().get(before..).filter(|bytes| !bytes.is_empty()) {
                    self.heard(bytes);
                }
                Poll::Ready(done)
            }
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(outcome, context)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.written(outcome, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
