//! Takes a fragment's stream apart as it arrives, in any split, without copying the payload.
//!
//! The order of a stream is a chain of states, and each state knows how many bytes it waits for. Only
//! the small parts (magic, lengths, header, trailer) are collected; payload goes out in the pieces it
//! came in. Length and checksum are held against the trailer here, so that whoever sees
//! [`Received::Trailer`] has had the whole fragment.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};

use crate::wire::{self, MessageError};
use crate::{ErrorCode, FragmentHeader, Trailer, limits};

/// A part of a fragment's stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// Which fragment this is. Comes first.
    Header(FragmentHeader),
    /// The next bytes of the Matroska document.
    Media(Bytes),
    /// It is whole, and its length and checksum are right. Comes last.
    Trailer(Trailer),
}

/// Why a fragment's stream was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiveError {
    /// It does not begin as a fragment stream does.
    #[error("a fragment stream begins with {expected:02x?}, this one with {found:02x?}", expected = wire::FRAGMENT_MAGIC)]
    Magic {
        /// The four bytes found.
        found: [u8; 4],
    },
    /// The header can't be read.
    #[error("the fragment's header: {0}")]
    Header(MessageError),
    /// The trailer can't be read.
    #[error("the fragment's trailer: {0}")]
    Trailer(MessageError),
    /// It has more payload than is allowed.
    #[error("the fragment is larger than the {max} bytes allowed")]
    TooLarge {
        /// The limit.
        max: u64,
    },
    /// The stream ended early.
    #[error("the stream ended after {bytes} payload bytes, before the fragment's trailer")]
    Truncated {
        /// Payload bytes that had arrived.
        bytes: u64,
    },
    /// The payload is longer or shorter than the trailer says.
    #[error("{found} payload bytes arrived, the trailer says {expected}")]
    Length {
        /// By the trailer.
        expected: u64,
        /// In fact.
        found: u64,
    },
    /// The payload is not what the device sent.
    #[error("the payload's CRC-32C is {found:08x}, the trailer says {expected:08x}")]
    Checksum {
        /// By the trailer.
        expected: u32,
        /// In fact.
        found: u32,
    },
    /// Bytes follow the trailer.
    #[error("bytes follow the fragment's trailer")]
    Excess,
}

impl ReceiveError {
    /// The code that an ack carries for it.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Magic { .. } | Self::Header(_) | Self::Trailer(_) | Self::Excess => ErrorCode::MalformedUpload,
            Self::TooLarge { .. } => ErrorCode::FragmentTooLarge,
            Self::Truncated { .. } => ErrorCode::Truncated,
            Self::Length { .. } | Self::Checksum { .. } => ErrorCode::ChecksumMismatch,
        }
    }
}

/// The server's end of one fragment stream.
#[derive(Debug)]
pub struct FragmentReceiver {
    input: VecDeque<Bytes>,
    /// The collected bytes of the small part that is being read.
    part: BytesMut,
    state: State,
    bytes: u64,
    bytes_max: u64,
    crc32c: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Magic,
    Header,
    ChunkHead,
    Chunk { left: u32 },
    Trailer,
    Done,
}

impl FragmentReceiver {
    /// The receiver of a new stream that takes fragments of up to `bytes_max` bytes.
    pub fn new(bytes_max: u64) -> Self {
        Self { input: VecDeque::new(), part: BytesMut::new(), state: State::Magic, bytes: 0, bytes_max, crc32c: 0 }
    }

    /// Takes the next bytes of the stream. Drain [`Self::pull`] before the next push: what waits here
    /// is not bounded by anything else.
    pub fn push(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.input.push_back(bytes);
        }
    }

    /// The next part, or `None` when more bytes are needed. After an error the stream is of no use.
    pub fn pull(&mut self) -> Result<Option<Received>, ReceiveError> {
        loop {
            match self.state {
                State::Magic => {
                    let Some(found) = self.take_array() else {
                        return Ok(None);
                    };
                    if found != wire::FRAGMENT_MAGIC {
                        return Err(ReceiveError::Magic { found });
                    }
                    self.state = State::Header;
                }
                State::Header => {
                    let message = self.take_message(limits::HEADER_BYTES_MAX).map_err(ReceiveError::Header)?;
                    let Some(message) = message else {
                        return Ok(None);
                    };
                    self.state = State::ChunkHead;
                    return Ok(Some(Received::Header(FragmentHeader::decode(message).map_err(ReceiveError::Header)?)));
                }
                State::ChunkHead => {
                    let Some(head) = self.take_array() else {
                        return Ok(None);
                    };
                    self.state = self.begin_chunk(u32::from_be_bytes(head))?;
                }
                State::Chunk { left } => {
                    let Some(piece) = self.take_piece(left) else {
                        return Ok(None);
                    };
                    return Ok(Some(Received::Media(piece)));
                }
                State::Trailer => {
                    let message = self.take_message(limits::TRAILER_BYTES_MAX).map_err(ReceiveError::Trailer)?;
                    let Some(message) = message else {
                        return Ok(None);
                    };
                    let trailer = Trailer::decode(message).map_err(ReceiveError::Trailer)?;
                    self.check(&trailer)?;
                    self.state = State::Done;
                    return Ok(Some(Received::Trailer(trailer)));
                }
                State::Done => {
                    return if self.input.is_empty() { Ok(None) } else { Err(ReceiveError::Excess) };
                }
            }
        }
    }

    /// The stream has ended: was it whole?
    pub fn finish(self) -> Result<(), ReceiveError> {
        match self.state {
            State::Done => Ok(()),
            _ => Err(ReceiveError::Truncated { bytes: self.bytes }),
        }
    }

    /// Payload bytes that have come out so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn begin_chunk(&self, length: u32) -> Result<State, ReceiveError> {
        if length == 0 {
            return Ok(State::Trailer);
        }
        // Refused by its announced length: a hostile length costs no memory and no waiting.
        if self.bytes + u64::from(length) > self.bytes_max {
            return Err(ReceiveError::TooLarge { max: self.bytes_max });
        }
        Ok(State::Chunk { left: length })
    }

    fn take_piece(&mut self, left: u32) -> Option<Bytes> {
        let front = self.input.front_mut()?;
        let length = front.len().min(left as usize);
        let piece = front.split_to(length);
        if front.is_empty() {
            self.input.pop_front();
        }
        self.bytes += length as u64;
        self.crc32c = crc32c::crc32c_append(self.crc32c, &piece);
        let left = left - u32::try_from(length).expect("a piece is at most the u32 that was left");
        self.state = if left == 0 { State::ChunkHead } else { State::Chunk { left } };
        Some(piece)
    }

    fn check(&self, trailer: &Trailer) -> Result<(), ReceiveError> {
        if trailer.bytes != self.bytes {
            return Err(ReceiveError::Length { expected: trailer.bytes, found: self.bytes });
        }
        if trailer.crc32c != self.crc32c {
            return Err(ReceiveError::Checksum { expected: trailer.crc32c, found: self.crc32c });
        }
        Ok(())
    }

    fn take_array(&mut self) -> Option<[u8; 4]> {
        self.collect(4).then(|| {
            let mut array = [0; 4];
            self.part.copy_to_slice(&mut array);
            array
        })
    }

    fn take_message(&mut self, max: usize) -> Result<Option<Bytes>, MessageError> {
        loop {
            match wire::peek_length(&self.part, max)? {
                None => {
                    if !self.collect(self.part.len() + 1) {
                        return Ok(None);
                    }
                }
                Some((length, prefix)) => {
                    if !self.collect(prefix + length) {
                        return Ok(None);
                    }
                    self.part.advance(prefix);
                    return Ok(Some(self.part.split_to(length).freeze()));
                }
            }
        }
    }

    /// Collects until `part` holds `wanted` bytes; says whether it does.
    fn collect(&mut self, wanted: usize) -> bool {
        while self.part.len() < wanted {
            let Some(front) = self.input.front_mut() else {
                return false;
            };
            let length = front.len().min(wanted - self.part.len());
            self.part.extend_from_slice(&front.split_to(length));
            if front.is_empty() {
                self.input.pop_front();
            }
        }
        true
    }
}
