//! Connections: so many at once, and none that stands still for minutes. Each costs memory and a file, whoever opened it.
//! Where all places are taken, connections that wait for nothing make room.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use gala_model::request_head::RequestHead;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};

/// A browser opens six, an agent one; files of the process are scarcer than memory: many systems give 1,024.
const MAX_CONNECTIONS: usize = 512;
/// Connections that wait to be accepted: the library's 128 are too few for many that come at once, and those dropped come
/// again a second later.
const BACKLOG: i32 = 1_024;
/// A query may take a minute, and as long may lie between two requests; streams say something every 15 s.
const MAX_QUIET: Duration = Duration::from_secs(120);
/// Where room is needed, one that has not asked anything yet ends after this, and one that has after that: a stream is never
/// quiet for so long.
const FIRST_PATIENCE: Duration = Duration::from_secs(1);
const NEXT_PATIENCE: Duration = Duration::from_secs(20);
/// A look at whether there are such.
const LOOK: Duration = Duration::from_millis(100);

/// What the listener knows of a connection.
struct Visit {
    /// A request is under way: its head is here, and nothing of its answer has gone.
    busy: bool,
    /// There was one before.
    asked: bool,
    /// It has to make room.
    closed: bool,
    touched: Instant,
    waker: Option<Waker>,
}

type Visits = Arc<Mutex<Vec<Arc<Mutex<Visit>>>>>;

/// Accepts connections while there is room; the others wait in the kernel's queue.
pub struct Listener {
    inner: TcpListener,
    places: Arc<Semaphore>,
    visits: Visits,
    quiet: Duration,
}

impl Listener {
    pub fn new(inner: TcpListener) -> Self {
        if let Err(error) = rustix::net::listen(&inner, BACKLOG) {
            tracing::warn!(%error, "many connections at once may have to come twice");
        }
        Self::with(inner, MAX_CONNECTIONS, MAX_QUIET)
    }

    fn with(inner: TcpListener, most: usize, quiet: Duration) -> Self {
        Self { inner, places: Arc::new(Semaphore::new(most)), visits: Visits::default(), quiet }
    }

    async fn place(&self) -> Option<OwnedSemaphorePermit> {
        loop {
            let waited = tokio::time::timeout(LOOK, self.places.clone().acquire_owned()).await;
            match waited {
                // It is never closed.
                Ok(place) => return place.ok(),
                Err(_) => self.make_room(Instant::now()),
            }
        }
    }

    fn make_room(&self, now: Instant) {
        for visit in &*self.visits.lock() {
            let mut visit = visit.lock();
            let patience = if visit.asked { NEXT_PATIENCE } else { FIRST_PATIENCE };
            if !visit.busy && now.saturating_duration_since(visit.touched) >= patience {
                visit.closed = true;
                if let Some(waker) = visit.waker.take() {
                    waker.wake();
                }
            }
        }
    }
}

impl axum::serve::Listener for Listener {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let place = self.place().await;
        let (stream, address) = axum::serve::Listener::accept(&mut self.inner).await;
        // Answers are written whole; waiting for more of them gains nothing.
        let _ = stream.set_nodelay(true);
        let end = Box::pin(tokio::time::sleep(self.quiet));
        let visit = Visit { busy: false, asked: false, closed: false, touched: Instant::now(), waker: None };
        let visit = Arc::new(Mutex::new(visit));
        self.visits.lock().push(visit.clone());
        let (visits, head) = (self.visits.clone(), RequestHead::default());
        (Connection { stream, quiet: self.quiet, end, visit, visits, head, _place: place }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }
}

/// A connection that ends by itself when nothing goes over it, and gives its place back with its end.
pub struct Connection {
    stream: TcpStream,
    quiet: Duration,
    end: Pin<Box<Sleep>>,
    visit: Arc<Mutex<Visit>>,
    visits: Visits,
    head: RequestHead,
    _place: Option<OwnedSemaphorePermit>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.visits.lock().retain(|visit| !Arc::ptr_eq(visit, &self.visit));
    }
}

impl Connection {
    /// Puts the end off when something happened, and ends it when that was due.
    fn watched<T>(&mut self, context: &mut Context<'_>, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.end.as_mut().reset(Instant::now() + self.quiet);
            return outcome;
        }
        {
            let mut visit = self.visit.lock();
            if visit.closed {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, "it made room for another")));
            }
            visit.waker = Some(context.waker().clone());
        }
        self.end.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    /// A head that comes in drops is no request yet.
    fn heard(&mut self, bytes: &[u8]) {
        let mut visit = self.visit.lock();
        if !visit.busy && self.head.take(bytes) {
            (visit.busy, visit.asked, visit.touched) = (true, true, Instant::now());
        }
    }

    fn written(&mut self, context: &mut Context<'_>, begin: &[u8], outcome: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        // What only tells a sender to go on is no answer.
        if outcome.is_ready() && !begin.starts_with(b"HTTP/1.1 100 ") {
            let mut visit = self.visit.lock();
            (visit.busy, visit.touched) = (false, Instant::now());
        }
        self.watched(context, outcome)
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let own = self.get_mut();
        let before = buffer.filled().len();
        let outcome = Pin::new(&mut own.stream).poll_read(context, buffer);
        if let Some(bytes) = buffer.filled().get(before..) {
            own.heard(bytes);
        }
        own.watched(context, outcome)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let own = self.get_mut();
        let outcome = Pin::new(&mut own.stream).poll_write(context, bytes);
        own.written(context, bytes, outcome)
    }

    fn poll_write_vectored(self: Pin<&mut Self>, context: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let own = self.get_mut();
        let outcome = Pin::new(&mut own.stream).poll_write_vectored(context, parts);
        own.written(context, parts.first().map_or(&[][..], |part| part), outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use axum::serve::Listener as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    async fn listener(most: usize, quiet: Duration) -> Listener {
        Listener::with(TcpListener::bind("127.0.0.1:0").await.unwrap(), most, quiet)
    }

    #[tokio::test]
    async fn a_connection_that_stands_still_ends_and_one_that_speaks_does_not() {
        let mut listener = listener(2, Duration::from_millis(1)).await;
        let address = listener.local_addr().unwrap();
        let _silent = TcpStream::connect(address).await.unwrap();
        let (mut served, _) = listener.accept().await;
        let error = served.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(served);
        listener.quiet = Duration::from_secs(3_600);
        let mut speaking = TcpStream::connect(address).await.unwrap();
        let (mut served, _) = listener.accept().await;
        let before = served.end.deadline();
        // The runtime's clock counts milliseconds.
        tokio::time::sleep(Duration::from_millis(2)).await;
        speaking.write_all(b"x").await.unwrap();
        assert_eq!(served.read_u8().await.unwrap(), b'x');
        assert!(served.end.deadline() > before);
    }

    #[tokio::test]
    async fn many_may_come_at_once() {
        let bound = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        bound.set_nonblocking(true).unwrap();
        let listener = Listener::new(TcpListener::from_std(bound).unwrap());
        let address = axum::serve::Listener::local_addr(&listener).unwrap();
        // Nobody accepts them yet.
        let come = || std::net::TcpStream::connect_timeout(&address, Duration::from_secs(30));
        let waiting: Vec<_> = (0..256).map(|_| come().unwrap()).collect();
        assert_eq!(waiting.len(), 256);
    }

    #[tokio::test]
    async fn places_come_back_with_the_end_of_connections() {
        let mut listener = listener(1, Duration::from_secs(3_600)).await;
        let address = listener.local_addr().unwrap();
        let (_first, _second) = (TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap());
        let (served, _) = listener.accept().await;
        assert_eq!(listener.places.available_permits(), 0, "the second waits");
        drop(served);
        listener.accept().await;
    }

    #[tokio::test]
    async fn who_asks_nothing_makes_room_and_who_waits_for_an_answer_does_not() {
        let mut listener = listener(2, Duration::from_secs(3_600)).await;
        let address = listener.local_addr().unwrap();
        let mut asking = TcpStream::connect(address).await.unwrap();
        let (mut served, _) = listener.accept().await;
        asking.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let mut head = [0; 18];
        served.read_exact(&mut head).await.unwrap();
        let mut dripping = TcpStream::connect(address).await.unwrap();
        let (mut silent, _) = listener.accept().await;
        dripping.write_all(b"GET / HTTP").await.unwrap();
        let ended = tokio::spawn(async move { while silent.read_u8().await.is_ok() {} });
        let _next = TcpStream::connect(address).await.unwrap();
        listener.accept().await;
        ended.await.unwrap();
        assert!(!served.visit.lock().closed);
    }
}
