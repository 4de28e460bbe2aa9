//! Sealing a batch in pieces: while one is being written, the next is sealed on a thread beside.

use std::collections::HashMap;
use std::sync::mpsc;
use std::thread;

use super::batch::Work;
use crate::data_keys::SealingKey;
use crate::frame::FrameHeader;
use crate::id::KeyScope;
use crate::keys::DataKey;
use crate::segment_store::SegmentName;

/// The size from which a piece takes no further frame. Large enough that a write costs little beside its bytes, and that
/// what needs one piece only, without a thread (20 µs to start), is sealed in 100 µs; small enough to lie in a core's
/// cache until it is written.
const PIECE_BYTES: usize = 512 << 10;

/// Sealed frames that lie side by side in one segment.
pub(super) struct Sealed<'a> {
    pub(super) segment: SegmentName,
    /// Where in the segment.
    pub(super) offset: u32,
    pub(super) bytes: &'a [u8],
}

/// The same before they are sealed.
struct Piece<'a> {
    segment: SegmentName,
    offset: u32,
    frames: Vec<Frame<'a>>,
    out: &'a mut [u8],
}

struct Frame<'a> {
    header: FrameHeader,
    key: &'a DataKey,
    payload: &'a [u8],
}

/// Seals all works, which have their places, into `buffer`, and gives them to `write` piece by piece, in their order,
/// until it fails.
pub(super) fn in_pieces<E>(
    works: &[Work],
    keys: &HashMap<KeyScope, SealingKey>,
    buffer: &mut Vec<u8>,
    mut write: impl FnMut(Sealed<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let total: usize = works.iter().map(|work| work.frame_bytes() as usize).sum();
    if buffer.len() < total {
        buffer.resize(total, 0);
    }
    let mut pieces = cut(works, keys, buffer);
    if pieces.len() == 1 {
        return pieces.pop().map(Piece::seal).map_or(Ok(()), write);
    }
    let (sender, sealed) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(move || {
            for piece in pieces {
                // Nobody waits for it once a write has failed.
                if sender.send(piece.seal()).is_err() {
                    return;
                }
            }
        });
        sealed.into_iter().try_for_each(&mut write)
    })
}

/// Cuts the works into pieces, each with its part of the buffer.
fn cut<'a>(works: &'a [Work], keys: &'a HashMap<KeyScope, SealingKey>, mut buffer: &'a mut [u8]) -> Vec<Piece<'a>> {
    let goes_on = |a: &Work, b: &Work| a.segment() == b.segment();
    let mut pieces = Vec::new();
    for run in works.chunk_by(goes_on) {
        let mut rest = run;
        while let Some(first) = rest.first() {
            let (count, bytes) = piece_of(rest);
            let (frames, after) = rest.split_at(count);
            let (out, left) = std::mem::take(&mut buffer).split_at_mut(bytes);
            (rest, buffer) = (after, left);
            let frames = frames.iter().map(|work| Frame::of(work, keys)).collect();
            pieces.push(Piece { segment: first.segment(), offset: first.offset(), frames, out });
        }
    }
    pieces
}

/// How many of these works make a piece, and its bytes.
fn piece_of(works: &[Work]) -> (usize, usize) {
    let mut bytes = 0;
    for (at, work) in works.iter().enumerate() {
        bytes += work.frame_bytes() as usize;
        if bytes >= PIECE_BYTES {
            return (at + 1, bytes);
        }
    }
    (works.len(), bytes)
}

impl<'a> Frame<'a> {
    fn of(work: &'a Work, keys: &'a HashMap<KeyScope, SealingKey>) -> Self {
        let SealingKey { id, key } = keys.get(&work.key_scope()).expect("step 4 has the key of every work");
        Self { header: work.header(*id), key, payload: &work.entry.payload }
    }
}

impl<'a> Piece<'a> {
    fn seal(self) -> Sealed<'a> {
        let Self { segment, offset, frames, out } = self;
        let mut rest = &mut *out;
        for Frame { header, key, payload } in frames {
            let (frame, after) = rest.split_at_mut(header.frame_bytes());
            header.seal(key, payload, frame);
            rest = after;
        }
        Sealed { segment, offset, bytes: out }
    }
}
