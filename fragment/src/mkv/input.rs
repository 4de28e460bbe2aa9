//! The bytes that were pushed and not yet consumed, with their offset in the whole input.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};

use crate::limits;

use super::ebml::HEADER_BYTES_MAX;
use super::payload::Payload;

/// A queue of pieces: `front`, then `middle`, then `tail`. Payloads leave it as slices of the pieces.
#[derive(Debug, Default)]
pub(super) struct Input {
    front: Bytes,
    middle: VecDeque<Bytes>,
    /// Small pieces joined; see [`limits::PIECE_BYTES_MIN`].
    tail: BytesMut,
    len: usize,
    offset: u64,
}

impl Input {
    pub(super) fn push(&mut self, piece: Bytes) {
        self.len += piece.len();
        if piece.len() < limits::PIECE_BYTES_MIN {
            self.tail.extend_from_slice(&piece);
            if self.tail.len() >= limits::PIECE_BYTES_MIN {
                self.flush_tail();
            }
        } else {
            self.flush_tail();
            self.middle.push_back(piece);
        }
        self.refill();
    }

    /// The bytes that are there.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The offset of the next byte.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Calls `read` with the next bytes, at least [`HEADER_BYTES_MAX`] if that many are there.
    #[inline]
    pub(super) fn peek<T>(&self, read: impl FnOnce(&[u8]) -> T) -> T {
        if self.front.len() >= HEADER_BYTES_MAX || self.front.len() == self.len {
            return read(&self.front);
        }
        let mut joined = [0; HEADER_BYTES_MAX];
        let mut filled = 0;
        let pieces = std::iter::once(&self.front[..]).chain(self.middle.iter().map(|piece| &piece[..]));
        for piece in pieces.chain(std::iter::once(&self.tail[..])) {
            let count = piece.len().min(HEADER_BYTES_MAX - filled);
            joined[filled..filled + count].copy_from_slice(&piece[..count]);
            filled += count;
            if filled == HEADER_BYTES_MAX {
                break;
            }
        }
        read(&joined[..filled])
    }

    /// Passes over up to `count` bytes and tells how many.
    pub(super) fn skip(&mut self, count: u64) -> u64 {
        let skipped = usize::try_from(count).unwrap_or(usize::MAX).min(self.len);
        let mut left = skipped;
        while left > 0 {
            let step = left.min(self.front.len());
            self.advance(step);
            left -= step;
        }
        skipped as u64
    }

    /// Takes `count` bytes, which must be there.
    #[inline]
    pub(super) fn take(&mut self, count: usize) -> Payload {
        assert!(count <= self.len, "the caller has checked that the bytes are there");
        if count <= self.front.len() {
            let piece = self.front.slice(..count);
            self.advance(count);
            return Payload::from(piece);
        }
        let mut payload = Payload::default();
        let mut left = count;
        while left > 0 {
            let step = left.min(self.front.len());
            payload.push(self.front.slice(..step));
            self.advance(step);
            left -= step;
        }
        payload
    }

    /// Takes one byte, which must be there.
    pub(super) fn take_byte(&mut self) -> u8 {
        let byte = self.front[0];
        self.advance(1);
        byte
    }

    /// Passes over bytes of the front piece.
    #[inline]
    fn advance(&mut self, count: usize) {
        self.front.advance(count);
        self.len -= count;
        self.offset += count as u64;
        if self.front.is_empty() {
            self.refill();
        }
    }

    /// Keeps the front filled while anything is there, so that the other methods may rely on it.
    fn refill(&mut self) {
        if self.front.is_empty() {
            self.front = match self.middle.pop_front() {
                Some(piece) => piece,
                None => self.tail.split().freeze(),
            };
        }
    }

    fn flush_tail(&mut self) {
        if !self.tail.is_empty() {
            self.middle.push_back(self.tail.split().freeze());
        }
    }
}
