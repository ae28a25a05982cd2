//! One connection through a proxy: read, queue, gate, and on to the other side, in
//! both directions.
//!
//! Frames are looked into and traps spring behind the gate: what was held by a
//! [`Flow`](super::Flow) has not passed.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio::{select, try_join};

use super::Line;
use super::flow::{Closed, Gate};
use super::frame::{Request, refusal, reply_codes};
use super::framer::{Framer, Piece};
use super::queue::{Entrance, Item, queue};
use super::trap::{Action, Caught, Fate, Late};
use super::wire::What;

const CHUNK_BYTES: usize = 64 << 10;
/// Far above what a client has in flight.
const PENDING_LIMIT: usize = 10_000;
/// Held requests of one connection that are on their way back into it.
const LATE_LIMIT: usize = 16;
/// Refusals of one connection that wait for their turn.
const REFUSALS_LIMIT: usize = 16;

/// Why a connection is over.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// One side closed it.
    Closed,
    /// The node could not be reached.
    Unreachable,
    /// It was cut.
    Cut,
}

impl From<Closed> for End {
    fn from(_: Closed) -> Self {
        Self::Closed
    }
}

/// A request whose reply has not come.
struct Pending {
    request: Arc<Request>,
    trap: Option<(Action, Arc<Fate>)>,
}

/// A reply in the node's name.
struct Refusal {
    request: Arc<Request>,
    frame: Vec<u8>,
    fate: Arc<Fate>,
    /// What was asked before it, and is answered before it.
    before: HashSet<i32>,
}

pub(super) struct Connection<'a> {
    line: &'a Line,
    number: u64,
    pending: Mutex<HashMap<i32, Pending>>,
    back: mpsc::Sender<Late>,
}

/// Serves a client until its connection is over.
pub(super) async fn serve(mut client: TcpStream, line: &Line, mut cut: watch::Receiver<()>, number: u64) {
    let mut node = None;
    let (back, late) = mpsc::channel(LATE_LIMIT);
    let connection = Connection {
        line,
        number,
        pending: Mutex::default(),
        back,
    };
    let end = select! {
        end = connection.run(&mut client, &mut node, late) => end,
        _ = cut.changed() => End::Cut,
    };
    if end == End::Cut {
        line.cuts.fetch_add(1, Ordering::Relaxed);
    }
    if end != End::Closed {
        reset(client);
        node.into_iter().for_each(reset);
    }
}

/// Closes a connection as if the other side had gone.
pub(super) fn reset(stream: TcpStream) {
    // It fails only where the connection is broken already.
    stream.set_zero_linger().ok();
    drop(stream);
}

impl Connection<'_> {
    async fn run(
        &self,
        client: &mut TcpStream,
        node: &mut Option<TcpStream>,
        late: mpsc::Receiver<Late>,
    ) -> End {
        client.set_nodelay(true).ok();
        let (client_read, client_write) = client.split();
        let (entrance, requests) = queue(&self.line.held_bytes);
        let client_gone = AtomicBool::new(false);
        let read_requests = async {
            read(client_read, Framer::requests(), |_| true, entrance).await;
            client_gone.store(true, Ordering::Relaxed);
            Ok(())
        };
        let rest = async {
            let mut gate = Gate::new(self.line.requests.subscribe(), self.number);
            gate.opened().await?;
            // It gave up before there was a way: nothing of it ever got through.
            if client_gone.load(Ordering::Relaxed) {
                return Err(End::Closed);
            }
            // Another seed than the other direction has.
            let mut reply_gate = Gate::new(self.line.replies.subscribe(), !self.number);
            let Ok(dialled) = TcpStream::connect(self.line.target).await else {
                reply_gate.opened().await?;
                return Err(End::Unreachable);
            };
            let node = node.insert(dialled);
            node.set_nodelay(true).ok();
            let (node_read, node_write) = node.split();
            let (entrance, replies) = queue(&self.line.held_bytes);
            let (refuse, refusals) = mpsc::channel(REFUSALS_LIMIT);
            let read_replies = async {
                read(node_read, Framer::replies(), |id| self.wants(id), entrance).await;
                Ok(())
            };
            try_join!(
                self.write_requests(requests, late, gate, node_write, refuse),
                read_replies,
                self.write_replies(replies, refusals, reply_gate, client_write),
            )
        };
        match try_join!(read_requests, rest) {
            Err(end) => end,
            Ok(_) => End::Closed,
        }
    }

    /// Ends when the client has, or the node: then the replies end, too.
    async fn write_requests(
        &self,
        mut items: mpsc::Receiver<Item>,
        mut late: mpsc::Receiver<Late>,
        mut gate: Gate,
        mut node: WriteHalf<'_>,
        refuse: mpsc::Sender<Refusal>,
    ) -> Result<(), End> {
        let mut between_frames = true;
        loop {
            let item = select! {
                Some(late) = late.recv(), if between_frames => {
                    gate.pass(Instant::now()).await?;
                    let trap = Some((Action::HoldRequest { cut: false }, late.fate));
                    if self.send(late.request, trap, &late.frame, &mut node).await.is_err() {
                        return Ok(());
                    }
                    continue;
                }
                item = items.recv() => item,
            };
            let arrived = item.as_ref().map_or_else(Instant::now, |item| item.arrived);
            self.count_stall(gate.pass(arrived).await?);
            let Some(item) = item else {
                node.shutdown().await.ok();
                return Ok(());
            };
            between_frames = item.piece.ends_frame();
            let written = match &item.piece {
                Piece::Whole(frame) => self.request(frame, &mut node, &refuse).await?,
                piece => {
                    if matches!(piece, Piece::Part { opens: Some(_), .. } | Piece::Raw(_)) {
                        self.line.wire.note_undecoded();
                    }
                    node.write_all(piece.bytes()).await
                }
            };
            if written.is_err() {
                return Ok(());
            }
        }
    }

    /// Sends a whole request on, unless it is caught.
    async fn request(
        &self,
        frame: &[u8],
        node: &mut WriteHalf<'_>,
        refuse: &mpsc::Sender<Refusal>,
    ) -> Result<io::Result<()>, End> {
        let Some(request) = Request::read(frame).map(Arc::new) else {
            self.line.wire.note_undecoded();
            return Ok(node.write_all(frame).await);
        };
        let Some((action, trap)) = self.line.wire.spring(&request) else {
            return Ok(self.send(request, None, frame, node).await);
        };
        let fate = Arc::new(Fate::default());
        let caught = Caught {
            request: Arc::clone(&request),
            frame: frame.to_vec(),
            node: self.line.target,
            action,
            fate: Arc::clone(&fate),
            back: self.back.clone(),
        };
        if let Action::HoldRequest { cut } = action {
            self.note(&request, What::Held);
            // Nobody waits any more: then it is forgotten, like one that is dropped.
            trap.send(caught).ok();
            return if cut { Err(End::Cut) } else { Ok(Ok(())) };
        }
        if let Action::Answer(code) = action {
            let Some(frame) = refusal(&request, frame, code) else {
                self.line.wire.note_undecoded();
                return Ok(self.send(request, None, frame, node).await);
            };
            let before = self.lock_pending().keys().copied().collect();
            self.note(&request, What::Refused);
            let refused = Refusal {
                request,
                frame,
                fate,
                before,
            };
            // If nobody writes replies any more, the connection is about to end.
            refuse.send(refused).await.ok();
            trap.send(caught).ok();
            return Ok(Ok(()));
        }
        let written = self.send(request, Some((action, fate)), frame, node).await;
        trap.send(caught).ok();
        Ok(written)
    }

    async fn send(
        &self,
        request: Arc<Request>,
        trap: Option<(Action, Arc<Fate>)>,
        frame: &[u8],
        node: &mut WriteHalf<'_>,
    ) -> io::Result<()> {
        {
            let pending = Pending {
                request: Arc::clone(&request),
                trap,
            };
            let mut all = self.lock_pending();
            if all.len() < PENDING_LIMIT {
                all.insert(request.correlation, pending);
            } else {
                self.line.wire.note_undecoded();
            }
        }
        node.write_all(frame).await?;
        self.note(&request, What::Sent);
        Ok(())
    }

    /// Ends with the connection.
    async fn write_replies(
        &self,
        mut items: mpsc::Receiver<Item>,
        mut refusals: mpsc::Receiver<Refusal>,
        mut gate: Gate,
        mut client: WriteHalf<'_>,
    ) -> Result<(), End> {
        let mut client_gone = false;
        let mut between_frames = true;
        let mut waiting: Option<Refusal> = None;
        loop {
            if between_frames && let Some(refusal) = waiting.take_if(|refusal| self.is_turn_of(refusal)) {
                gate.pass(Instant::now()).await?;
                client_gone = client_gone || self.refuse(refusal, &mut client).await.is_err();
                continue;
            }
            // A refusal was put here before what was asked behind it went to the node: so it is
            // taken out before the answer to that.
            let item = select! {
                biased;
                Some(refusal) = refusals.recv(), if waiting.is_none() => {
                    waiting = Some(refusal);
                    continue;
                }
                item = items.recv() => item,
            };
            let Some(item) = item else {
                break;
            };
            between_frames = item.piece.ends_frame();
            self.count_stall(gate.pass(item.arrived).await?);
            let (correlation, frame) = match &item.piece {
                Piece::Whole(frame) => (correlation(frame), Some(frame.as_slice())),
                Piece::Part { opens, .. } => (*opens, None),
                Piece::Raw(_) => (None, None),
            };
            let reply = match correlation {
                Some(correlation) => self.reply(correlation, frame, item.arrived).await?,
                None => None,
            };
            // The node goes on although nobody listens: requests may still be on their way to it.
            client_gone = client_gone || client.write_all(item.piece.bytes()).await.is_err();
            if let Some((request, codes)) = reply.filter(|_| !client_gone) {
                self.note(&request, What::Replied(codes));
            }
        }
        gate.pass(Instant::now()).await?;
        client.shutdown().await.ok();
        Err(End::Closed)
    }

    fn is_turn_of(&self, refusal: &Refusal) -> bool {
        let pending = self.lock_pending();
        !refusal.before.iter().any(|before| pending.contains_key(before))
    }

    async fn refuse(&self, refusal: Refusal, client: &mut WriteHalf<'_>) -> io::Result<()> {
        client.write_all(&refusal.frame).await?;
        let Request { api, version, .. } = *refusal.request;
        let codes = reply_codes(api, version, &refusal.frame).unwrap_or_default();
        self.note(&refusal.request, What::Replied(codes.clone()));
        refusal.fate.answer(codes);
        Ok(())
    }

    /// What is answered by a reply, once it may go on.
    async fn reply(
        &self,
        correlation: i32,
        frame: Option<&[u8]>,
        arrived: Instant,
    ) -> Result<Option<(Arc<Request>, Vec<i16>)>, End> {
        let pending = self.lock_pending().remove(&correlation);
        let Some(Pending { request, trap }) = pending else {
            return Ok(None);
        };
        let codes = frame.and_then(|frame| reply_codes(request.api, request.version, frame));
        let codes = codes.unwrap_or_default();
        if let Some((action, fate)) = trap {
            fate.answer(codes.clone());
            match action {
                Action::HoldRequest { .. } | Action::Answer(_) => {}
                Action::CutBeforeReply => {
                    self.note(&request, What::ReplyCut(codes));
                    return Err(End::Cut);
                }
                Action::DelayReply(delay) => sleep_until(arrived + delay).await,
                Action::HoldReply => fate.released.notified().await,
            }
        }
        Ok(Some((request, codes)))
    }

    /// Whether a reply is to be looked into.
    fn wants(&self, correlation: i32) -> bool {
        self.lock_pending()
            .get(&correlation)
            .is_some_and(|pending| pending.request.api.is_watched())
    }

    fn lock_pending(&self) -> MutexGuard<'_, HashMap<i32, Pending>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, request: &Arc<Request>, what: What) {
        let node: SocketAddr = self.line.target;
        self.line.wire.note(node, request, what);
    }

    fn count_stall(&self, stalled: bool) {
        self.line.stalls.fetch_add(u64::from(stalled), Ordering::Relaxed);
    }
}

/// Reads until the sender has ended, in whichever way.
async fn read(mut from: ReadHalf<'_>, mut framer: Framer, whole: impl Fn(i32) -> bool, entrance: Entrance) {
    let mut chunk = vec![0; CHUNK_BYTES];
    while let Ok(count @ 1..) = from.read(&mut chunk).await {
        let arrived = Instant::now();
        for piece in framer.push(chunk.get(..count).unwrap_or_default(), &whole) {
            if !entrance.put(piece, arrived).await {
                return;
            }
        }
    }
}

/// The correlation id of a whole reply.
fn correlation(frame: &[u8]) -> Option<i32> {
    frame.get(4..8)?.try_into().ok().map(i32::from_be_bytes)
}
