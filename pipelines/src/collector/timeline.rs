//! Running time of the pipeline to media time of the session.
//!
//! The session begins at its first picture. Each round of a looped file begins where the round before
//! ended, so that no track overlaps itself: the round's length is that of its longest track.

use std::time::Duration;

use fragment::{MediaTime, TrackKind};

/// The mapping, and how far each track has come.
#[derive(Default)]
pub(super) struct Timeline {
    /// The running time at which the session begins; the same for each round.
    origin: Option<i64>,
    /// What earlier rounds took.
    offset: i64,
    video: Option<Span>,
    audio: Option<Span>,
}

/// What a track has covered in this round, in running time.
#[derive(Clone, Copy)]
struct Span {
    start: i64,
    /// Where the last unit is shown.
    last: i64,
    /// Where the last unit ends, by its own duration.
    end: i64,
    units: i64,
}

impl Span {
    /// From the first unit's beginning to the last unit's end. Where files give the last unit no duration, or
    /// a token one of a millisecond, it gets the mean of the others.
    fn length(self) -> i64 {
        let before_last = self.last - self.start;
        let mean = before_last / (self.units - 1).max(1);
        (self.end - self.start).max(before_last + mean)
    }
}

impl Timeline {
    /// The session begins at `origin`.
    pub(super) fn begin(&mut self, origin: Option<i64>) {
        self.origin = self.origin.or(origin);
    }

    /// The media time of a running time, once the session has begun.
    pub(super) fn media(&self, running_time: i64) -> Option<MediaTime> {
        let nanos = running_time.saturating_sub(self.origin?).saturating_add(self.offset);
        Some(MediaTime::from_nanos(nanos))
    }

    /// The media time of a unit, which its track has now covered.
    pub(super) fn place(&mut self, kind: TrackKind, pts: i64, duration: Option<Duration>) -> MediaTime {
        let duration = duration.and_then(|duration| i64::try_from(duration.as_nanos()).ok()).unwrap_or(0);
        let end = pts.saturating_add(duration);
        let span = self.span(kind).get_or_insert(Span { start: pts, last: pts, end, units: 0 });
        span.start = span.start.min(pts);
        span.last = span.last.max(pts);
        span.end = span.end.max(end);
        span.units += 1;
        self.begin(Some(pts));
        self.media(pts).unwrap_or(MediaTime::ZERO)
    }

    /// The running time that a track has come to.
    pub(super) fn last(&mut self, kind: TrackKind) -> Option<i64> {
        self.span(kind).map(|span| span.end)
    }

    /// Ends a round. Says whether it had any length.
    pub(super) fn next_round(&mut self) -> bool {
        let length = [self.video.take(), self.audio.take()].into_iter().flatten().map(Span::length).max();
        self.offset = self.offset.saturating_add(length.unwrap_or(0));
        length.is_some_and(|length| length > 0)
    }

    fn span(&mut self, kind: TrackKind) -> &mut Option<Span> {
        match kind {
            TrackKind::Video => &mut self.video,
            TrackKind::Audio => &mut self.audio,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Option<Duration> = Some(Duration::from_nanos(40));

    #[test]
    fn a_session_begins_at_its_first_picture() {
        let mut timeline = Timeline::default();
        timeline.begin(Some(1000));
        assert_eq!(timeline.place(TrackKind::Audio, 990, FRAME), MediaTime::from_nanos(-10));
        assert_eq!(timeline.place(TrackKind::Video, 1000, FRAME), MediaTime::ZERO);
    }

    #[test]
    fn no_track_overlaps_itself_from_round_to_round() {
        let mut timeline = Timeline::default();
        timeline.begin(Some(0));
        timeline.place(TrackKind::Video, 0, FRAME);
        timeline.place(TrackKind::Audio, -10, Some(Duration::from_nanos(60)));
        assert!(timeline.next_round());
        assert_eq!(timeline.place(TrackKind::Audio, -10, FRAME), MediaTime::from_nanos(50));
        assert_eq!(timeline.place(TrackKind::Video, 0, FRAME), MediaTime::from_nanos(60));
    }

    #[test]
    fn a_last_unit_without_a_duration_is_shown_as_long_as_the_others() {
        let mut timeline = Timeline::default();
        timeline.begin(Some(0));
        for pts in [0, 30, 80] {
            timeline.place(TrackKind::Video, pts, None);
        }
        assert!(timeline.next_round());
        assert_eq!(timeline.place(TrackKind::Video, 0, None), MediaTime::from_nanos(120));
    }

    #[test]
    fn an_empty_round_has_no_length() {
        assert!(!Timeline::default().next_round());
    }
}
