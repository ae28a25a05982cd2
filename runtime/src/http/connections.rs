//! Accepts connections, but no more than [`CONNECTIONS_MAX`] at a time, and hangs up on those
//! that say nothing for [`IDLE_MAX`].

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};

/// Scrapers, probes and a few people looking; further ones wait.
const CONNECTIONS_MAX: usize = 64;

/// Longer than the usual scrape interval of 15 to 60 s, so that a scraper keeps its connection.
const IDLE_MAX: Duration = Duration::from_secs(75);

pub(super) struct Connections {
    listener: TcpListener,
    permits: Arc<Semaphore>,
    idle_max: Duration,
}

impl Connections {
    pub(super) fn new(listener: TcpListener) -> Self {
        Self::limited(listener, CONNECTIONS_MAX, IDLE_MAX)
    }

    pub(super) fn limited(listener: TcpListener, connections_max: usize, idle_max: Duration) -> Self {
        Self {
            listener,
            permits: Arc::new(Semaphore::new(connections_max)),
            idle_max,
        }
    }
}

impl Listener for Connections {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        // Only a closed semaphore refuses, and nobody closes this one.
        let permit = Arc::clone(&self.permits).acquire_owned().await.ok();
        let (stream, peer) = Listener::accept(&mut self.listener).await;
        let idle = Box::pin(sleep(self.idle_max));
        (
            Connection {
                stream,
                idle,
                idle_max: self.idle_max,
                _permit: permit,
            },
            peer,
        )
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that counts against the limit until it is dropped.
pub(super) struct Connection {
    stream: TcpStream,
    /// Ends when nothing was read or written for `idle_max`.
    idle: Pin<Box<Sleep>>,
    idle_max: Duration,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Connection {
    /// Passes a result through; what is pending may only be so until the connection has been
    /// idle for too long.
    fn watch<T>(&mut self, context: &mut Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            let until = Instant::now() + self.idle_max;
            self.idle.as_mut().reset(until);
            return result;
        }
        self.idle
            .as_mut()
            .poll(context)
            .map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.watch(context, result)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch(context, result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net;

    use axum::Router;
    use axum::routing::get;

    use super::*;

    /// A server that takes one connection at a time and hangs up after `idle_max`.
    fn serve_one(idle_max: Duration) -> (tokio::runtime::Runtime, SocketAddr) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Connections::limited(listener, 1, idle_max);
        let router = Router::new().route("/", get(async || "here"));
        runtime.spawn(axum::serve(connections, router).into_future());
        (runtime, address)
    }

    fn ask(stream: &mut net::TcpStream) {
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .unwrap();
    }

    #[test]
    fn a_connection_beyond_the_limit_waits_for_one_to_end() {
        let (_runtime, address) = serve_one(Duration::from_mins(1));
        let first = net::TcpStream::connect(address).unwrap();
        let mut second = net::TcpStream::connect(address).unwrap();
        second.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        ask(&mut second);
        assert!(second.read(&mut [0; 1]).is_err(), "answered beyond the limit");
        drop(first);
        second.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut answer = String::new();
        second.read_to_string(&mut answer).unwrap();
        assert!(answer.ends_with("here"), "{answer}");
    }

    #[test]
    fn a_silent_connection_is_hung_up_on() {
        let (_runtime, address) = serve_one(Duration::from_millis(50));
        let mut silent = net::TcpStream::connect(address).unwrap();
        silent.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut rest = Vec::new();
        assert_eq!(silent.read_to_end(&mut rest).unwrap(), 0);
    }
}
