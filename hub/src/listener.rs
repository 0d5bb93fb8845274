//! Connections: so many at once, and none that stands still for minutes. Each costs memory and a file, whoever opened it.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

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

/// Accepts connections while there is room; the others wait in the kernel's queue.
pub struct Listener {
    inner: TcpListener,
    places: Arc<Semaphore>,
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
        Self { inner, places: Arc::new(Semaphore::new(most)), quiet }
    }
}

impl axum::serve::Listener for Listener {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        // It is never closed.
        let place = self.places.clone().acquire_owned().await.ok();
        let (stream, address) = axum::serve::Listener::accept(&mut self.inner).await;
        // Answers are written whole; waiting for more of them gains nothing.
        let _ = stream.set_nodelay(true);
        let end = Box::pin(tokio::time::sleep(self.quiet));
        (Connection { stream, quiet: self.quiet, end, _place: place }, address)
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
    _place: Option<OwnedSemaphorePermit>,
}

impl Connection {
    /// Puts the end off when something happened, and ends it when that was due.
    fn watched<T>(&mut self, context: &mut Context<'_>, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.end.as_mut().reset(Instant::now() + self.quiet);
            return outcome;
        }
        self.end.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let own = self.get_mut();
        let outcome = Pin::new(&mut own.stream).poll_read(context, buffer);
        own.watched(context, outcome)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let own = self.get_mut();
        let outcome = Pin::new(&mut own.stream).poll_write(context, bytes);
        own.watched(context, outcome)
    }

    fn poll_write_vectored(self: Pin<&mut Self>, context: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let own = self.get_mut();
        let outcome = Pin::new(&mut own.stream).poll_write_vectored(context, parts);
        own.watched(context, outcome)
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
}
