//! Which fragments a clip has.

use std::time::Duration;

use archive::{Archive, Stored};
use fragment::{FragmentNumber, WallTime};

use crate::kinesis_video::reading_quotas::ReadQuotas;
use crate::kinesis_video::refusal::Refusal;
use crate::kinesis_video::selector::{FragmentSelector, Origin, Place, containing};
use crate::storage;

/// A fragment of a clip: what is kept of it for as long as the clip is made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Listed {
    pub(super) number: FragmentNumber,
    /// When it begins, by the producer's time.
    pub(super) start: WallTime,
    pub(super) duration: Duration,
    pub(super) bytes: u64,
}

/// Fragments that are taken from the index at once.
const PAGE: usize = 1000;

/// The fragments of a clip in its order, as many as it may have. Blocks.
pub(super) fn list(
    archive: &Archive,
    stream: u64,
    selector: &FragmentSelector,
    holds_start: bool,
    quotas: ReadQuotas,
) -> Result<Vec<Listed>, Refusal> {
    let mut list = List { quotas, found: Vec::new(), bytes: 0 };
    let now = storage::now();
    if holds_start && let Some(first) = containing(archive, stream, (selector.origin, selector.range.start), now)? {
        list.take(&first, selector.origin);
    }
    let mut from = None;
    loop {
        let page = selector.page(archive, stream, from, PAGE, now)?;
        let Some(last) = page.last() else { return Ok(list.found) };
        from = Some(Place::behind(last));
        for stored in &page {
            if !list.take(stored, selector.origin) {
                return Ok(list.found);
            }
        }
    }
}

struct List {
    quotas: ReadQuotas,
    found: Vec<Listed>,
    bytes: u64,
}

impl List {
    /// Takes the next fragment, unless there is room for no more. Of those with the same start the last one counts.
    fn take(&mut self, stored: &Stored, origin: Origin) -> bool {
        let is_again = |last: &Listed| match origin {
            Origin::Producer => last.start.as_millis() == stored.start.as_millis(),
            Origin::Server => last.number == stored.number,
        };
        if self.found.last().is_some_and(is_again)
            && let Some(earlier) = self.found.pop()
        {
            self.bytes -= earlier.bytes;
        }
        let total = self.bytes + stored.bytes;
        if self.found.len() >= self.quotas.clip_fragments || total > self.quotas.clip_bytes {
            return false;
        }
        self.bytes = total;
        let &Stored { number, start, duration, bytes, .. } = stored;
        self.found.push(Listed { number, start, duration, bytes });
        true
    }
}
