//! A stream of bytes, cut into frames: whole ones where somebody wants to look into
//! them, pieces of the others as they come.
//!
//! The pieces put together are the stream, byte for byte. A stream that is no
//! sequence of Kafka's frames goes through unread.

/// What is kept of a frame at most. A larger one passes in parts.
pub const WHOLE_LIMIT: usize = 8 << 20;

const SIZE: usize = 4;
/// Size, API key, version, correlation id.
const REQUEST_HEAD: usize = 12;
/// Size, correlation id.
const REPLY_HEAD: usize = 8;

/// A stretch of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// A whole frame.
    Whole(Vec<u8>),
    Part {
        bytes: Vec<u8>,
        /// The correlation id, in the first part of a frame.
        opens: Option<i32>,
        /// Whether the frame ends here.
        closes: bool,
    },
    /// Bytes of a stream that could not be followed.
    Raw(Vec<u8>),
}

impl Piece {
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Whole(bytes) | Self::Part { bytes, .. } | Self::Raw(bytes) => bytes,
        }
    }

    /// Whether another frame could be put in behind this piece.
    pub fn ends_frame(&self) -> bool {
        match self {
            Self::Whole(_) => true,
            Self::Part { closes, .. } => *closes,
            Self::Raw(_) => false,
        }
    }
}

/// Cuts one direction of one connection.
pub struct Framer {
    head_bytes: usize,
    state: State,
}

enum State {
    /// Before the end of a frame's head.
    Head(Vec<u8>),
    /// In a frame that is kept, so many bytes before its end.
    Whole(Vec<u8>, usize),
    /// In a frame that is not.
    Part(usize),
    Lost,
}

impl Framer {
    pub fn requests() -> Self {
        Self::new(REQUEST_HEAD)
    }

    pub fn replies() -> Self {
        Self::new(REPLY_HEAD)
    }

    fn new(head_bytes: usize) -> Self {
        Self {
            head_bytes,
            state: State::Head(Vec::new()),
        }
    }

    /// Takes the next bytes. `whole` tells of a correlation id whether the frame is
    /// wanted in one piece.
    pub fn push(&mut self, mut bytes: &[u8], whole: impl Fn(i32) -> bool) -> Vec<Piece> {
        let mut pieces = Vec::new();
        while !bytes.is_empty() {
            let (piece, rest) = self.step(bytes, &whole);
            pieces.extend(piece);
            bytes = rest;
        }
        pieces
    }

    fn step<'a>(&mut self, bytes: &'a [u8], whole: &impl Fn(i32) -> bool) -> (Option<Piece>, &'a [u8]) {
        match &mut self.state {
            State::Head(head) => {
                let rest = fill(head, self.head_bytes - head.len(), bytes);
                if head.len() < self.head_bytes {
                    return (None, rest);
                }
                let head = std::mem::take(head);
                (self.open(head, whole), rest)
            }
            State::Whole(frame, missing) => {
                let before = frame.len();
                let rest = fill(frame, *missing, bytes);
                *missing -= frame.len() - before;
                if *missing > 0 {
                    return (None, rest);
                }
                let frame = std::mem::take(frame);
                self.state = State::Head(Vec::new());
                (Some(Piece::Whole(frame)), rest)
            }
            State::Part(missing) => {
                let mut part = Vec::new();
                let rest = fill(&mut part, *missing, bytes);
                *missing -= part.len();
                let closes = *missing == 0;
                if closes {
                    self.state = State::Head(Vec::new());
                }
                let piece = Piece::Part {
                    bytes: part,
                    opens: None,
                    closes,
                };
                (Some(piece), rest)
            }
            State::Lost => (Some(Piece::Raw(bytes.to_vec())), &[]),
        }
    }

    /// Decides by the head how the frame passes.
    fn open(&mut self, mut head: Vec<u8>, whole: &impl Fn(i32) -> bool) -> Option<Piece> {
        let frame_bytes = number(&head, 0)
            .and_then(|size| usize::try_from(size).ok())
            .map(|size| size + SIZE)
            .filter(|size| *size >= head.len());
        let (Some(frame_bytes), Some(correlation)) = (frame_bytes, number(&head, head.len() - SIZE)) else {
            self.state = State::Lost;
            return Some(Piece::Raw(head));
        };
        let missing = frame_bytes - head.len();
        let kept = frame_bytes <= WHOLE_LIMIT && whole(correlation);
        if kept && missing > 0 {
            head.reserve_exact(missing);
            self.state = State::Whole(head, missing);
            return None;
        }
        if missing > 0 {
            self.state = State::Part(missing);
        }
        Some(if kept {
            Piece::Whole(head)
        } else {
            Piece::Part {
                bytes: head,
                opens: Some(correlation),
                closes: missing == 0,
            }
        })
    }
}

/// Moves up to `count` bytes, and gives the rest back.
fn fill<'a>(buffer: &mut Vec<u8>, count: usize, bytes: &'a [u8]) -> &'a [u8] {
    let (taken, rest) = bytes.split_at_checked(count).unwrap_or((bytes, &[]));
    buffer.extend_from_slice(taken);
    rest
}

fn number(bytes: &[u8], at: usize) -> Option<i32> {
    let four = bytes.get(at..at.checked_add(SIZE)?)?;
    four.try_into().ok().map(i32::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(correlation: i32, body: &[u8]) -> Vec<u8> {
        let mut frame = i32::try_from(body.len() + SIZE).unwrap().to_be_bytes().to_vec();
        frame.extend(correlation.to_be_bytes());
        frame.extend(body);
        frame
    }

    proptest! {
        #[test]
        fn the_pieces_are_the_stream(
            bodies in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..50), 1..12),
            chunks in proptest::collection::vec(1_usize..30, 1..20),
        ) {
            let frames: Vec<_> = (0..).zip(&bodies).map(|(n, body)| frame(n, body)).collect();
            let stream = frames.concat();
            let mut framer = Framer::replies();
            let mut pieces = Vec::new();
            let mut rest = stream.as_slice();
            for length in chunks.into_iter().cycle() {
                let (chunk, later) = rest.split_at(length.min(rest.len()));
                pieces.extend(framer.push(chunk, |correlation| correlation % 2 == 0));
                rest = later;
                if rest.is_empty() {
                    break;
                }
            }
            let joined: Vec<u8> = pieces.iter().flat_map(|piece| piece.bytes().to_vec()).collect();
            prop_assert_eq!(joined, stream);
            let whole: Vec<_> = pieces
                .iter()
                .filter_map(|piece| match piece {
                    Piece::Whole(bytes) => Some(bytes.clone()),
                    _ => None,
                })
                .collect();
            let wanted: Vec<_> = frames.iter().step_by(2).cloned().collect();
            prop_assert_eq!(whole, wanted);
            let closed = pieces.iter().filter(|piece| piece.ends_frame()).count();
            prop_assert_eq!(closed, frames.len());
        }

        #[test]
        fn what_is_not_kafka_passes_too(
            stream in proptest::collection::vec(any::<u8>(), 20..200),
            chunk in 1_usize..30,
        ) {
            let mut framer = Framer::requests();
            let mut bytes = vec![0xff; 4];
            bytes.extend(stream);
            let pieces: Vec<_> = bytes.chunks(chunk).flat_map(|part| framer.push(part, |_| true)).collect();
            let joined: Vec<u8> = pieces.iter().flat_map(|piece| piece.bytes().to_vec()).collect();
            prop_assert_eq!(joined, bytes);
        }
    }

    #[test]
    fn a_frame_above_the_limit_passes_in_parts() {
        let mut framer = Framer::replies();
        let large = frame(0, &vec![7; WHOLE_LIMIT]);
        let pieces = framer.push(&large, |_| true);
        assert!(matches!(pieces.first(), Some(Piece::Part { opens: Some(0), .. })));
        assert!(pieces.last().unwrap().ends_frame());
    }
}
