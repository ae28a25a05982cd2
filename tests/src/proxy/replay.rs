//! One frame to one node, on a connection of its own.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::frame::{Request, reply_codes};
use super::framer::WHOLE_LIMIT;
use super::trap::verdict;

/// Sends the frame and reads the reply.
pub(super) fn send(request: &Request, frame: &[u8], node: SocketAddr, limit: Duration) -> Result<i16> {
    let end = Instant::now() + limit;
    let mut stream = TcpStream::connect_timeout(&node, limit)?;
    stream.set_write_timeout(Some(limit))?;
    stream.write_all(frame)?;
    let mut reply = vec![0; 4];
    read(&mut stream, &mut reply, end)?;
    let size = i32::from_be_bytes(reply.as_slice().try_into()?);
    let size = usize::try_from(size).ok().filter(|size| *size <= WHOLE_LIMIT);
    let mut body = vec![0; size.context("a reply of Kafka")?];
    read(&mut stream, &mut body, end)?;
    reply.extend(body);
    let codes = reply_codes(request.api, request.version, &reply)
        .with_context(|| format!("read the reply to {} v{}", request.api, request.version))?;
    Ok(verdict(&codes))
}

fn read(stream: &mut TcpStream, mut buffer: &mut [u8], end: Instant) -> Result<()> {
    while !buffer.is_empty() {
        let left = end.saturating_duration_since(Instant::now());
        ensure!(!left.is_zero(), "no reply in time");
        stream.set_read_timeout(Some(left))?;
        let count = stream.read(buffer)?;
        ensure!(count > 0, "the node closed the connection");
        buffer = buffer.get_mut(count..).unwrap_or_default();
    }
    Ok(())
}
