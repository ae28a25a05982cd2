//! A toy node, and clients for it.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::super::frame::{Api, Request};
use super::super::{Listener, Proxy, Wire};
use super::build::Build;
use crate::wait;

pub const LIMIT: Duration = Duration::from_secs(10);

/// Answers every frame, `EndTxn` with the code that it was told, others with their body.
pub struct Node {
    pub address: SocketAddr,
    got: Arc<Mutex<Vec<Vec<u8>>>>,
    ended: Arc<Mutex<usize>>,
}

impl Node {
    pub fn start(code: i16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let node = Self {
            address: listener.local_addr().unwrap(),
            got: Arc::default(),
            ended: Arc::default(),
        };
        let (got, ended) = (Arc::clone(&node.got), Arc::clone(&node.ended));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, got, ended) = (stream.unwrap(), Arc::clone(&got), Arc::clone(&ended));
                thread::spawn(move || {
                    while let Some(frame) = read_frame(&mut stream) {
                        let answer = answer(&frame, code);
                        got.lock().unwrap().push(frame);
                        // The client may be gone.
                        stream.write_all(&answer).ok();
                    }
                    *ended.lock().unwrap() += 1;
                });
            }
        });
        node
    }

    /// The frames that reached it.
    pub fn got(&self) -> Vec<Vec<u8>> {
        self.got.lock().unwrap().clone()
    }

    pub fn wait_for(&self, count: usize) {
        wait::until_true("frames at the node", LIMIT, || Ok(self.got().len() >= count)).unwrap();
    }

    pub fn wait_ended(&self, count: usize) {
        wait::until_true("connections ended at the node", LIMIT, || {
            Ok(*self.ended.lock().unwrap() >= count)
        })
        .unwrap();
    }
}

/// What the node answers.
pub fn answer(frame: &[u8], code: i16) -> Vec<u8> {
    let request = Request::read(frame).unwrap();
    let reply = Build::default().i32(request.correlation);
    if request.api == Api::END_TXN {
        reply.i32(0).i16(code).frame()
    } else {
        reply.raw(&frame[12..]).frame()
    }
}

fn read_frame(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut frame = vec![0; 4];
    stream.read_exact(&mut frame).ok()?;
    let size = u32::from_be_bytes(frame.as_slice().try_into().unwrap());
    frame.resize(4 + usize::try_from(size).unwrap(), 0);
    stream.read_exact(&mut frame[4..]).ok()?;
    Some(frame)
}

/// A node, its proxy, and what passes.
pub struct Stage {
    pub node: Node,
    pub proxy: Proxy,
    pub wire: Arc<Wire>,
}

impl Stage {
    pub fn new(code: i16) -> Self {
        let (node, wire, listener) = (Node::start(code), Wire::new(), Listener::bind().unwrap());
        let proxy = Proxy::start(listener, node.address, Arc::clone(&wire)).unwrap();
        Self { node, proxy, wire }
    }

    pub fn client(&self) -> Client {
        let stream = TcpStream::connect(self.proxy.address()).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        Client(stream)
    }

    pub fn wait_held(&self, bytes: usize) {
        wait::until_true("bytes held", LIMIT, || Ok(self.proxy.held_bytes() >= bytes)).unwrap();
    }
}

pub struct Client(pub TcpStream);

impl Client {
    pub fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    pub fn receive(&mut self) -> Vec<u8> {
        read_frame(&mut self.0).expect("a reply")
    }

    /// Whether nothing comes for a while.
    pub fn is_silent(&mut self) -> bool {
        self.0.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let read = self.0.peek(&mut [0]);
        self.0.set_read_timeout(Some(LIMIT)).unwrap();
        read.is_err_and(|error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
    }

    pub fn is_reset(&mut self) -> bool {
        let read = self.0.read(&mut [0]);
        read.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset)
    }
}
