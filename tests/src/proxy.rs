//! A TCP proxy in front of a Kafka node: a network that can be made to fail, and that
//! says what passed.
//!
//! It reads just enough of Kafka's protocol to aim: which request this is, whose, and
//! with which error codes it was answered. It never changes a byte of what passes; a
//! trap can answer one request itself, in the node's place. What holds:
//! the order of a direction is kept; everything that is kept is bounded; a reply that
//! was counted reached the client's socket, a request that was counted reached the node's.
//!
//! Partial frames at the end of a connection are dropped, as a node would.

mod connection;
mod counts;
mod flow;
mod frame;
mod framer;
mod queue;
mod replay;
mod trap;
mod wire;

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Result, anyhow};
use tokio::runtime::{Builder, Runtime};
use tokio::select;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;

pub use counts::{ApiCounts, Counts};
pub use flow::Flow;
pub use frame::{Api, Request};
pub use trap::{Action, Caught, Trap, Trapped};
pub use wire::Wire;

/// More than the clients of a test have. Further ones are refused.
const CONNECTIONS_LIMIT: usize = 1000;
const THREADS: usize = 2;
/// When no connection can be accepted, as with too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A port that is taken already, so that its address can be told to a node that does
/// not yet run. Clients that come before [`Proxy::start`] wait.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Listens at a free port.
    pub fn bind() -> Result<Self> {
        let socket = TcpListener::bind("127.0.0.1:0")?;
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        Ok(Self { socket, address })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// A proxy in front of one node. Dropping it ends it and its connections.
pub struct Proxy {
    address: SocketAddr,
    line: Arc<Line>,
    accepting: JoinHandle<()>,
}

/// What the connections of a proxy share.
struct Line {
    target: SocketAddr,
    wire: Arc<Wire>,
    requests: watch::Sender<Flow>,
    replies: watch::Sender<Flow>,
    /// Every change resets all connections.
    cut: watch::Sender<()>,
    refuses: AtomicBool,
    held_bytes: Arc<AtomicUsize>,
    connections: AtomicUsize,
    refused: AtomicU64,
    cuts: AtomicU64,
    stalls: AtomicU64,
}

impl Proxy {
    /// Serves what comes to `listener` with the node at `target`. It need not run yet:
    /// as long as it does not, connections are reset.
    pub fn start(listener: Listener, target: SocketAddr, wire: Arc<Wire>) -> Result<Self> {
        let line = Arc::new(Line {
            target,
            wire,
            requests: watch::Sender::new(Flow::Pass),
            replies: watch::Sender::new(Flow::Pass),
            cut: watch::Sender::new(()),
            refuses: AtomicBool::new(false),
            held_bytes: Arc::default(),
            connections: AtomicUsize::default(),
            refused: AtomicU64::default(),
            cuts: AtomicU64::default(),
            stalls: AtomicU64::default(),
        });
        let runtime = runtime()?;
        let _inside = runtime.enter();
        let socket = tokio::net::TcpListener::from_std(listener.socket)?;
        Ok(Self {
            address: listener.address,
            accepting: runtime.spawn(accept(socket, Arc::clone(&line))),
            line,
        })
    }

    /// Where clients find it.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The node behind it: the direct address.
    pub fn node(&self) -> SocketAddr {
        self.line.target
    }

    /// Sets how requests go from now on, those under way included.
    pub fn requests(&self, flow: Flow) {
        self.line.requests.send_replace(flow);
    }

    /// Sets how replies go from now on, those under way included.
    pub fn replies(&self, flow: Flow) {
        self.line.replies.send_replace(flow);
    }

    /// Nothing passes, in either direction; connections stay, and new ones hang.
    pub fn isolate(&self) {
        self.requests(Flow::Hold);
        self.replies(Flow::Hold);
    }

    /// Resets all connections, and new ones at once.
    pub fn refuse(&self) {
        self.line.refuses.store(true, Ordering::SeqCst);
        self.cut();
    }

    /// Resets all present connections; what they hold is lost.
    pub fn cut(&self) {
        self.line.cut.send_replace(());
    }

    /// Everything passes again.
    pub fn heal(&self) {
        self.line.refuses.store(false, Ordering::SeqCst);
        self.requests(Flow::Pass);
        self.replies(Flow::Pass);
    }

    /// Bytes that it has read and not delivered.
    pub fn held_bytes(&self) -> usize {
        self.line.held_bytes.load(Ordering::Relaxed)
    }

    /// Present connections.
    pub fn connections(&self) -> usize {
        self.line.connections.load(Ordering::Relaxed)
    }

    /// How many connections were reset so far, by [`Proxy::cut`] or a trap.
    pub fn cuts(&self) -> u64 {
        self.line.cuts.load(Ordering::Relaxed)
    }

    /// How many connections were refused so far.
    pub fn refused(&self) -> u64 {
        self.line.refused.load(Ordering::Relaxed)
    }

    /// How many chunks were lost so far under [`Flow::Lossy`].
    pub fn stalls(&self) -> u64 {
        self.line.stalls.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// The threads of all proxies of this process.
fn runtime() -> Result<&'static Runtime> {
    static RUNTIME: OnceLock<Result<Runtime, String>> = OnceLock::new();
    let built = RUNTIME.get_or_init(|| {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(THREADS).thread_name("proxy").enable_all();
        builder.build().map_err(|error| error.to_string())
    });
    built
        .as_ref()
        .map_err(|reason| anyhow!("start the proxies: {reason}"))
}

async fn accept(socket: tokio::net::TcpListener, line: Arc<Line>) {
    let mut connections = JoinSet::new();
    let mut number = 0;
    loop {
        let accepted = select! {
            accepted = socket.accept() => accepted,
            Some(_) = connections.join_next() => {
                line.connections.store(connections.len(), Ordering::Relaxed);
                continue;
            }
        };
        let Ok((client, _)) = accepted else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        // Before the question whether it is wanted, so that no refusal goes past it.
        let cut = line.cut.subscribe();
        if line.refuses.load(Ordering::SeqCst) || connections.len() >= CONNECTIONS_LIMIT {
            line.refused.fetch_add(1, Ordering::Relaxed);
            connection::reset(client);
            continue;
        }
        number += 1;
        let line_of_it = Arc::clone(&line);
        connections.spawn(async move { connection::serve(client, &line_of_it, cut, number).await });
        line.connections.store(connections.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
