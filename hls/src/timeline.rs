//! The timeline: which segments follow each other, and where the player must start afresh.
//!
//! A player decodes across a seam between two segments only if the second continues the first: same
//! session, next sequence, same tracks, and no hole in time. Everywhere else the playlist must say so
//! with a discontinuity, for the decoder and the player's clock begin anew there.
//!
//! The live timeline takes the count of discontinuities from the archive, which has counted them in
//! the order of commit: the same number must be given to every client at every refresh, also after
//! the segment that caused it has left the window. A timeline of the past finds them itself, since late
//! fragments may have filled a hole in the meantime.

use std::time::Duration;

use fragment::{FragmentId, FragmentNumber, WallTime};

use crate::limits;

/// What the timeline needs to know of a stored fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The server's number, which names the segment.
    pub number: FragmentNumber,
    /// The identity given at capture.
    pub id: FragmentId,
    /// When the fragment begins, by the producer's time.
    pub start: WallTime,
    /// How long it is.
    pub duration: Duration,
    /// Equal for fragments whose tracks are the same.
    pub tracks_fingerprint: u64,
    /// Whether it can be decoded without the fragment before it.
    pub independent: bool,
    /// Its place in the live playlist; late fragments have none.
    pub live: Option<LivePosition>,
    /// Whether its bytes can't be had: players are told to pass over it.
    pub gap: bool,
}

impl Entry {
    /// When the fragment ends.
    pub fn end(&self) -> WallTime {
        self.start + self.duration
    }

    /// Whether a player can go on from `before` to this fragment as if they were one.
    pub fn continues(&self, before: &Entry) -> bool {
        self.id.follows(before.id)
            && self.tracks_fingerprint == before.tracks_fingerprint
            && distance(self.start, before.end()) <= limits::SEAM_MAX
    }
}

/// The place of a fragment in its stream's live playlist, fixed when it was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LivePosition {
    /// Segments before it, since the stream began.
    pub media_sequence: u64,
    /// Discontinuities up to and including the one before it, if there is one.
    pub discontinuity_sequence: u64,
}

/// One line of a playlist: a fragment, and whether a discontinuity lies before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The fragment.
    pub entry: Entry,
    /// Whether the player must start afresh here. Never set on the first of a timeline.
    pub discontinuity: bool,
}

/// Segments in the order in which they are played.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timeline {
    segments: Vec<Segment>,
    first: Option<LivePosition>,
}

impl Timeline {
    /// The live timeline: of the fragments with a live position, the last [`limits::LIVE_WINDOW`], at
    /// least [`limits::LIVE_SEGMENTS_MIN`] and at most [`limits::LIVE_SEGMENTS_MAX`] of them.
    pub fn live(entries: Vec<Entry>) -> Self {
        let mut placed: Vec<(LivePosition, Entry)> =
            entries.into_iter().filter_map(|entry| entry.live.map(|position| (position, entry))).collect();
        placed.sort_by_key(|(position, _)| position.media_sequence);
        let placed = placed.split_off(placed.len() - window(&placed));
        let first = placed.first().map(|(position, _)| *position);
        let mut before = first;
        let segments = placed
            .into_iter()
            .map(|(position, entry)| {
                let discontinuity = before.is_some_and(|b| b.discontinuity_sequence != position.discontinuity_sequence);
                before = Some(position);
                Segment { entry, discontinuity }
            })
            .collect();
        Self { segments, first }
    }

    /// A timeline of the past: all of the fragments, in the order of their start.
    pub fn past(mut entries: Vec<Entry>) -> Self {
        entries.sort_by_key(|entry| (entry.start, entry.number));
        let mut segments: Vec<Segment> = Vec::with_capacity(entries.len());
        for entry in entries {
            let discontinuity = segments.last().is_some_and(|before| !entry.continues(&before.entry));
            segments.push(Segment { entry, discontinuity });
        }
        Self { segments, first: None }
    }

    /// The segments in order.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Whether there is nothing to play.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// The live position of the first segment; a timeline of the past begins at zero.
    pub fn first(&self) -> LivePosition {
        self.first.unwrap_or(LivePosition { media_sequence: 0, discontinuity_sequence: 0 })
    }

    /// Whether a player can begin at every segment.
    pub fn is_independent(&self) -> bool {
        self.segments.iter().all(|segment| segment.entry.independent)
    }

    /// The whole seconds that no segment exceeds when rounded, as EXT-X-TARGETDURATION demands; at
    /// least 1.
    pub fn target_duration_seconds(&self) -> u64 {
        let longest = self.segments.iter().map(|segment| segment.entry.duration).max().unwrap_or_default();
        ((longest + Duration::from_millis(500)).as_secs()).max(1)
    }
}

/// How many of the last fragments make the live window.
fn window(placed: &[(LivePosition, Entry)]) -> usize {
    let mut shown = Duration::ZERO;
    let mut count = 0;
    for (_, entry) in placed.iter().rev().take(limits::LIVE_SEGMENTS_MAX) {
        if count >= limits::LIVE_SEGMENTS_MIN && shown >= limits::LIVE_WINDOW {
            break;
        }
        shown += entry.duration;
        count += 1;
    }
    count
}

/// The time between two instants, whichever is earlier.
fn distance(a: WallTime, b: WallTime) -> Duration {
    a.since(b).max(b.since(a))
}

#[cfg(test)]
mod tests {
    use super::*;
    use fragment::{Sequence, SessionId};

    #[test]
    fn fragments_of_one_session_without_a_hole_are_continuous() {
        let timeline = Timeline::past(vec![entry(0, 0), entry(1, 2000), entry(2, 4000)]);
        assert_eq!(discontinuities(&timeline), [false, false, false]);
    }

    #[test]
    fn a_missing_fragment_is_a_discontinuity() {
        let timeline = Timeline::past(vec![entry(0, 0), entry(2, 4000)]);
        assert_eq!(discontinuities(&timeline), [false, true]);
    }

    #[test]
    fn a_jump_of_the_clock_is_a_discontinuity_in_either_direction() {
        for start in [1500, 2500] {
            let timeline = Timeline::past(vec![entry(0, 0), entry(1, start)]);
            assert_eq!(discontinuities(&timeline), [false, true], "{start}");
        }
    }

    #[test]
    fn a_rounding_difference_is_none() {
        let timeline = Timeline::past(vec![entry(0, 0), entry(1, 2001), entry(2, 3999)]);
        assert_eq!(discontinuities(&timeline), [false, false, false]);
    }

    #[test]
    fn other_tracks_are_a_discontinuity() {
        let changed = Entry { tracks_fingerprint: 8, ..entry(1, 2000) };
        assert_eq!(discontinuities(&Timeline::past(vec![entry(0, 0), changed])), [false, true]);
    }

    #[test]
    fn a_late_fragment_closes_its_hole() {
        let timeline = Timeline::past(vec![entry(0, 0), entry(2, 4000), entry(1, 2000)]);
        assert_eq!(discontinuities(&timeline), [false, false, false]);
    }

    #[test]
    fn the_live_window_is_about_thirty_seconds() {
        let timeline = Timeline::live((0..40).map(|i| live(i, 0)).collect());
        assert_eq!(timeline.segments().len(), 15);
        assert_eq!(timeline.first(), LivePosition { media_sequence: 25, discontinuity_sequence: 0 });
    }

    #[test]
    fn the_live_window_has_three_segments_however_long() {
        let long = |i| Entry { duration: Duration::from_secs(20), ..live(i, 0) };
        assert_eq!(Timeline::live((0..9).map(long).collect()).segments().len(), 3);
    }

    #[test]
    fn the_live_window_is_bounded_however_short_its_segments() {
        let short = |i| Entry { duration: Duration::from_millis(1), ..live(i, 0) };
        assert_eq!(Timeline::live((0..900).map(short).collect()).segments().len(), limits::LIVE_SEGMENTS_MAX);
    }

    #[test]
    fn the_live_timeline_has_the_archives_discontinuities_and_no_late_fragment() {
        let late = Entry { live: None, ..entry(1, 2000) };
        let timeline = Timeline::live(vec![live(0, 4), late, live(2, 5), live(3, 5)]);
        assert_eq!(discontinuities(&timeline), [false, true, false]);
        assert_eq!(timeline.first().discontinuity_sequence, 4);
    }

    #[test]
    fn the_target_duration_is_the_longest_segment_rounded() {
        let of = |millis| {
            let entry = Entry { duration: Duration::from_millis(millis), ..entry(0, 0) };
            Timeline::past(vec![entry]).target_duration_seconds()
        };
        assert_eq!((of(100), of(2499), of(2500)), (1, 2, 3));
    }

    fn discontinuities(timeline: &Timeline) -> Vec<bool> {
        timeline.segments().iter().map(|segment| segment.discontinuity).collect()
    }

    fn live(sequence: u32, discontinuity_sequence: u64) -> Entry {
        let position = LivePosition { media_sequence: u64::from(sequence), discontinuity_sequence };
        Entry { live: Some(position), ..entry(sequence, i64::from(sequence) * 2000) }
    }

    fn entry(sequence: u32, start_ms: i64) -> Entry {
        Entry {
            number: FragmentNumber(u64::from(sequence)),
            id: FragmentId { session: SessionId(1), sequence: Sequence(sequence) },
            start: WallTime::from_millis(start_ms),
            duration: Duration::from_secs(2),
            tracks_fingerprint: 7,
            independent: true,
            live: None,
            gap: false,
        }
    }
}
