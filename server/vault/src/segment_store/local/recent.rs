//! What of the segments is kept in the system's page cache: the live edge, and no more.
//!
//! Left alone, the kernel keeps everything that was ever written until memory is short, which on a recorder is always
//! soon. Then each page that is written has to be taken from somewhere else, or, on a virtual machine, from its host: that made
//! writing three times slower than the disk. Pages that are given back are the next ones to be written.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use disk::File;

use super::SegmentName;
use crate::limits;

/// Pieces that adjoin are noted as one up to this size, so that many small commits make few pieces.
const PIECE_BYTES_MAX: u64 = 4 << 20;

/// Pieces that are noted. Each may hold a file open: streams that give little fill many segments with 256 MiB, and a
/// process has 1,024 descriptors unless somebody raises that.
const PIECES_MAX: usize = 128;

/// What was written and synced last, oldest first.
#[derive(Default)]
pub(super) struct Recent(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    pieces: VecDeque<Piece>,
    bytes: u64,
}

struct Piece {
    segment: SegmentName,
    file: Arc<dyn File>,
    range: Range<u64>,
}

impl Recent {
    /// Notes a range that is on disk.
    pub(super) fn note(&self, segment: SegmentName, file: &Arc<dyn File>, range: Range<u64>) {
        let mut inner = self.inner();
        inner.bytes += range.end - range.start;
        match inner.pieces.back_mut() {
            Some(last) if last.goes_on(segment, &range) => last.range.end = range.end,
            _ => inner.pieces.push_back(Piece { segment, file: file.clone(), range }),
        }
    }

    /// Lets go of the oldest ranges that are too many. Takes a third of a millisecond for half a megabyte.
    pub(super) fn trim(&self) {
        let mut inner = self.inner();
        while (inner.bytes > limits::PAGES_KEPT_BYTES || inner.pieces.len() > PIECES_MAX)
            && let Some(Piece { file, range, .. }) = inner.pieces.pop_front()
        {
            let bytes = range.end - range.start;
            inner.bytes -= bytes;
            file.forget(range.start, bytes);
        }
    }

    /// Closes a segment's file: one that is held open keeps its space when it is removed.
    pub(super) fn close(&self, segment: SegmentName) {
        let mut inner = self.inner();
        let Inner { pieces, bytes } = &mut *inner;
        pieces.retain(|piece| {
            let stays = piece.segment != segment;
            if !stays {
                *bytes -= piece.range.end - piece.range.start;
            }
            stays
        });
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Piece {
    fn goes_on(&self, segment: SegmentName, range: &Range<u64>) -> bool {
        self.segment == segment && self.range.end == range.start && range.end - self.range.start <= PIECE_BYTES_MAX
    }
}

#[cfg(test)]
mod tests {
    use disk::testing::{FileOver, Nothing};

    use super::*;
    use crate::id::{ExpirySlot, SegmentId};

    #[test]
    fn what_was_written_last_is_kept_and_everything_before_is_forgotten_once() {
        let (recent, file) = (Recent::default(), Arc::new(Forgetful::default()));
        let shared: Arc<dyn File> = file.clone();
        let step = 1 << 20;
        let all = limits::PAGES_KEPT_BYTES * 3;
        for from in (0..all).step_by(step) {
            recent.note(SEGMENT, &shared, from..from + step as u64);
            recent.trim();
        }
        let forgotten = file.0.lock().unwrap().clone();
        let mut end = 0;
        for range in &forgotten {
            assert_eq!(range.start, end, "in order, without a gap");
            end = range.end;
        }
        assert!(all - end <= limits::PAGES_KEPT_BYTES && all - end > limits::PAGES_KEPT_BYTES - PIECE_BYTES_MAX);
    }

    #[test]
    fn many_small_commits_are_few_pieces() {
        let (recent, file) = (Recent::default(), Arc::new(Forgetful::default()) as Arc<dyn File>);
        for from in (0..1 << 20).step_by(64) {
            recent.note(SEGMENT, &file, from..from + 64);
        }
        assert_eq!(recent.0.lock().unwrap().pieces.len(), 1);
    }

    #[test]
    fn many_small_segments_do_not_hold_many_files_open() {
        let (recent, file) = (Recent::default(), Arc::new(Forgetful::default()));
        for id in 0..1000 {
            let segment = SegmentName { id: SegmentId(id), ..SEGMENT };
            recent.note(segment, &(file.clone() as Arc<dyn File>), 0..100);
            recent.trim();
        }
        assert_eq!(Arc::strong_count(&file), 1 + PIECES_MAX);
        assert_eq!(file.0.lock().unwrap().len(), 1000 - PIECES_MAX);
    }

    #[test]
    fn a_file_that_is_removed_is_let_go_of() {
        let (recent, file) = (Recent::default(), Arc::new(Forgetful::default()));
        recent.note(SEGMENT, &(file.clone() as Arc<dyn File>), 0..100);
        recent.close(SEGMENT);
        assert_eq!((Arc::strong_count(&file), recent.inner().bytes), (1, 0));
    }

    const SEGMENT: SegmentName = SegmentName { expiry: ExpirySlot(1), id: SegmentId(1) };

    /// Keeps nothing but what it was told to forget.
    #[derive(Default)]
    struct Forgetful(Mutex<Vec<Range<u64>>>);

    impl FileOver for Forgetful {
        fn under(&self) -> &dyn File {
            &Nothing
        }

        fn forget(&self, from: u64, bytes: u64) {
            self.0.lock().unwrap().push(from..from + bytes);
        }
    }
}
