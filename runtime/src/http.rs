//! The process as seen over HTTP: `/metrics`, `/healthz`, `/readyz`, and a page that lists
//! them.
//!
//! Invariants: nothing here can hold up a lane, since it runs on a thread of its own and only
//! reads; connections are limited in number and in idleness, so that scrapers gone wild take
//! no sockets from Kafka clients; while nobody asks, the thread sleeps.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use tokio::runtime::{self, Runtime};
use tokio::sync::oneshot;
use tracing::{info, warn};

use crate::health::Health;
use crate::telemetry::metrics::{CONTENT_TYPE, Metrics};

mod connections;

use connections::Connections;

/// How long answers under way may take once the server is told to stop.
const DRAIN_TIME: Duration = Duration::from_secs(1);

const INDEX: &str = "\
Strait

/metrics   metrics, as Prometheus scrapes them
/healthz   200 while the process lives
/readyz    200 if every lane of every pipeline does its work, else 503 and why
";

/// Why nothing listens.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("cannot listen for HTTP on {address}: {cause}; name another address with --http HOST:PORT")]
    Bind { address: String, cause: io::Error },
    #[error("cannot start the HTTP server: {0}")]
    Start(#[from] io::Error),
}

/// A running server. It stops when this is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Where it listens: the port that was given, or the one that the system chose for port 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Dropping the sender is the signal, and nobody is left to receive anything else.
        drop(self.stop.take());
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            warn!("the HTTP server ended in a panic");
        }
    }
}

/// Serves on `address`, such as `127.0.0.1:9600`, until the answer is dropped. It listens
/// when this returns.
pub fn serve(address: &str, metrics: Metrics, health: Health) -> Result<Server, ServeError> {
    let bind = || {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok((listener.local_addr()?, listener))
    };
    let (bound, listener) = bind().map_err(|cause| ServeError::Bind {
        address: address.to_owned(),
        cause,
    })?;
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let (stop, stopped) = oneshot::channel();
    let router = router(Shared { metrics, health });
    let thread = Builder::new()
        .name("strait-http".to_owned())
        .spawn(move || run(&runtime, listener, router, stopped))?;
    info!(address = %bound, "serving HTTP");
    Ok(Server {
        address: bound,
        stop: Some(stop),
        thread: Some(thread),
    })
}

fn run(runtime: &Runtime, listener: TcpListener, router: Router, stopped: oneshot::Receiver<()>) {
    let served = runtime.block_on(async {
        let listener = Connections::new(tokio::net::TcpListener::from_std(listener)?);
        let (drain, draining) = oneshot::channel::<()>();
        let stop = async {
            // An error is a dropped sender, which is how `Server` says stop.
            stopped.await.unwrap_or_default();
            drop(drain);
        };
        let give_up = async {
            draining.await.unwrap_or_default();
            tokio::time::sleep(DRAIN_TIME).await;
            Ok(())
        };
        tokio::select! {
            served = axum::serve(listener, router).with_graceful_shutdown(stop) => served,
            late = give_up => late,
        }
    });
    if let Err(failure) = served {
        let failure: io::Error = failure;
        warn!(error = %failure, "the HTTP server stopped");
    }
}

#[derive(Clone)]
struct Shared {
    metrics: Metrics,
    health: Health,
}

fn router(shared: Shared) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/metrics", get(metrics))
        .route("/healthz", get(alive))
        .route("/readyz", get(ready))
        .fallback(async || (StatusCode::NOT_FOUND, INDEX))
        .with_state(shared)
}

async fn index() -> &'static str {
    INDEX
}

async fn metrics(State(shared): State<Shared>) -> Response {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], shared.metrics.render()).into_response()
}

async fn alive() -> Response {
    Json(serde_json::json!({ "alive": true, "version": env!("CARGO_PKG_VERSION") })).into_response()
}

async fn ready(State(shared): State<Shared>) -> Response {
    let readiness = shared.health.readiness();
    let status = if readiness.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(readiness)).into_response()
}

#[cfg(test)]
mod tests;
