//! The thread that serves exporter, REST API and command socket and keeps probes alive, on a runtime of its own.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio::sync::oneshot;

use super::connections::Limited;
use crate::control::{Control, rest, socket};
use crate::ledger::Ledger;
use crate::sinks::exporter;

const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// What is served to others.
pub struct Servers {
    pub exporter: Option<std::net::TcpListener>,
    pub rest: Option<std::net::TcpListener>,
    pub commands: Option<std::os::unix::net::UnixListener>,
    pub source: exporter::Source,
    pub control: Arc<Control>,
    pub ledger: Ledger,
}

impl Servers {
    /// Until told to stop.
    pub fn run(self, stopped: oneshot::Receiver<()>) {
        let built = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .thread_name("gala-agent-work")
            .max_blocking_threads(8)
            .build();
        let runtime = match built {
            Ok(runtime) => runtime,
            Err(error) => {
                tracing::error!("exporter and REST API are off: {error}");
                return;
            }
        };
        runtime.block_on(async move {
            let limited = |listener: Option<std::net::TcpListener>, place| {
                let listener = listener.and_then(|listener| TcpListener::from_std(listener).ok());
                listener.map(|listener| Limited::new(listener, place, self.ledger.clone()))
            };
            if let Some(listener) = self.commands.and_then(|listener| UnixListener::from_std(listener).ok()) {
                tokio::spawn(socket::serve(listener, Arc::clone(&self.control), self.source.clone()));
            }
            if let Some(listener) = limited(self.exporter, "exporter") {
                tokio::spawn(async move { axum::serve(listener, exporter::router(self.source)).await });
            }
            if let Some(listener) = limited(self.rest, "rest") {
                let router = rest::router(Arc::clone(&self.control));
                tokio::spawn(async move { axum::serve(listener, router).await });
            }
            let control = self.control;
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(KEEP_ALIVE).await;
                    let control = Arc::clone(&control);
                    let _ = tokio::task::spawn_blocking(move || {
                        control.start_wanted();
                        control.save_again();
                    })
                    .await;
                }
            });
            let _ = stopped.await;
        });
        runtime.shutdown_background();
    }
}
