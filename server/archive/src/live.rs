//! The live playlist's counters: which fragment gets which place in it.
//!
//! A fragment is *live* if it begins after everything live before it. What arrives later than that, the
//! backlog of an outage, fills its gap in the archive and gets no place: a live playlist, once given
//! out, can only grow at its end. Places are given in the order of commit and stored with the fragment,
//! so that every client at every refresh sees the same numbers, also after a restart.

use std::time::Duration;

use fragment::{FragmentId, WallTime};

use crate::limits;

/// The place of a fragment in its stream's live playlist, fixed when it was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LivePosition {
    /// Fragments before it.
    pub media_sequence: u64,
    /// Discontinuities before it, one directly before it included.
    pub discontinuity_sequence: u64,
}

/// The newest live fragment of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) position: LivePosition,
    pub(crate) link: Link,
}

/// What decides whether two fragments can be played as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) id: FragmentId,
    pub(crate) start: WallTime,
    pub(crate) duration: Duration,
    pub(crate) tracks_fingerprint: u64,
}

impl Link {
    fn continues(&self, before: &Link) -> bool {
        let end = before.start + before.duration;
        self.id.follows(before.id)
            && self.tracks_fingerprint == before.tracks_fingerprint
            && self.start.since(end).max(end.since(self.start)) <= limits::SEAM_MAX
    }
}

/// The live position of `next` after `head`, or `None` if it is late or its clock can't be right.
pub(crate) fn place(head: Option<&Head>, next: &Link, arrived: WallTime) -> Option<LivePosition> {
    if next.start.since(arrived) > limits::LIVE_AHEAD_MAX {
        return None;
    }
    let Some(head) = head else {
        return Some(LivePosition { media_sequence: 0, discontinuity_sequence: 0 });
    };
    if next.start <= head.link.start {
        return None;
    }
    let seam = u64::from(!next.continues(&head.link));
    Some(LivePosition {
        media_sequence: head.position.media_sequence + 1,
        discontinuity_sequence: head.position.discontinuity_sequence + seam,
    })
}

#[cfg(test)]
mod tests {
    use fragment::{Sequence, SessionId};

    use super::*;

    #[test]
    fn fragments_that_follow_each_other_count_up_without_discontinuity() {
        let first = link(1, 0, 0);
        let head = head(place(None, &first, at(0)), first);
        assert_eq!(place(Some(&head), &link(1, 1, 2), at(2)), position(1, 0));
    }

    #[test]
    fn a_lost_fragment_a_new_session_and_new_tracks_are_discontinuities() {
        let first = link(1, 0, 0);
        let head = head(position(7, 3), first);
        assert_eq!(place(Some(&head), &link(1, 2, 4), at(4)), position(8, 4));
        assert_eq!(place(Some(&head), &link(2, 0, 2), at(2)), position(8, 4));
        let recoded = Link { tracks_fingerprint: 99, ..link(1, 1, 2) };
        assert_eq!(place(Some(&head), &recoded, at(2)), position(8, 4));
    }

    #[test]
    fn a_late_fragment_gets_no_place() {
        let head = head(position(7, 3), link(1, 5, 10));
        assert_eq!(place(Some(&head), &link(1, 4, 8), at(11)), None);
        assert_eq!(place(Some(&head), &link(2, 0, 10), at(11)), None);
    }

    #[test]
    fn a_fragment_from_the_far_future_does_not_take_the_head() {
        let next = link(1, 0, 90_000);
        assert_eq!(place(None, &next, at(0)), None);
        assert_eq!(place(None, &next, at(4_000)), position(0, 0));
    }

    fn link(session: u64, sequence: u32, start_secs: i64) -> Link {
        Link {
            id: FragmentId { session: SessionId(session), sequence: Sequence(sequence) },
            start: at(start_secs),
            duration: Duration::from_secs(2),
            tracks_fingerprint: 1,
        }
    }

    fn head(position: Option<LivePosition>, link: Link) -> Head {
        Head { position: position.unwrap(), link }
    }

    fn position(media_sequence: u64, discontinuity_sequence: u64) -> Option<LivePosition> {
        Some(LivePosition { media_sequence, discontinuity_sequence })
    }

    fn at(secs: i64) -> WallTime {
        WallTime::from_millis(secs * 1000)
    }
}
