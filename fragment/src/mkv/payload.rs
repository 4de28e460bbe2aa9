//! The bytes of a frame, in as many pieces as they came in.

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

/// A frame's bytes as slices of what was pushed into the reader: one piece, unless the frame lay
/// across pushed pieces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Payload(SmallVec<[Bytes; 1]>);

impl Payload {
    pub(super) fn push(&mut self, piece: Bytes) {
        self.0.push(piece);
    }

    /// The number of bytes.
    pub fn len(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    /// Whether there is no byte.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Bytes::is_empty)
    }

    /// The pieces in order.
    pub fn pieces(&self) -> &[Bytes] {
        &self.0
    }

    /// The bytes in one piece. Copies only where there are several.
    pub fn into_bytes(mut self) -> Bytes {
        match self.0.len() {
            0 => Bytes::new(),
            1 => self.0.remove(0),
            _ => {
                let mut joined = BytesMut::with_capacity(self.len());
                self.0.iter().for_each(|piece| joined.extend_from_slice(piece));
                joined.freeze()
            }
        }
    }
}

impl From<Bytes> for Payload {
    #[inline]
    fn from(bytes: Bytes) -> Self {
        Self(SmallVec::from_buf([bytes]))
    }
}
