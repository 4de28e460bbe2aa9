//! Pictures in front of the key frame that begins a session: of no fragment, and so many of such a time.

use std::time::Duration;

use fragment::cutter::Settings;
use fragment::{AccessUnit, FragmentId, MediaTime, Sequence, WallTime};
use spool::Start;
use spool::drops::Run;
use upload::FragmentKey;

use super::{Recorder, new_session};
use crate::limits;

/// How long a picture lasts that came alone: 25 a second.
const PICTURE: Duration = Duration::from_millis(40);

/// Pictures that came one behind the other.
#[derive(Debug)]
pub(super) struct LeftOut {
    first: MediaTime,
    last: MediaTime,
    pictures: u64,
}

impl Recorder {
    /// A unit of no fragment, since no key frame has come in this session.
    pub(super) fn leave_out(&mut self, unit: &AccessUnit) {
        self.recorded.dropped += 1;
        if !self.coding.as_ref().is_some_and(|coding| coding.leads(unit)) {
            return;
        }
        self.recorded.left_out += 1;
        match &self.left_out {
            Some(run) if !run.goes_on(unit.pts) => {
                self.list_left_out(None);
                // What follows is no part of the same run.
                self.session = None;
            }
            Some(run) if run.is_long() => self.list_left_out(None),
            _ => {}
        }
        match &mut self.left_out {
            Some(run) => run.take(unit.pts),
            None => self.left_out = Some(LeftOut::new(unit.pts)),
        }
    }

    /// Lists what was left out up to here. `known`: when a moment of its media time was.
    pub(super) fn list_left_out(&mut self, known: Option<(MediaTime, Start)>) {
        let Some(run) = self.left_out.take() else {
            return;
        };
        let session = *self.session.get_or_insert_with(new_session);
        let (media, at) = known.unwrap_or_else(|| (run.end(), self.time.look(run.end())));
        let key = FragmentKey { stream: self.stream.clone(), id: FragmentId { session, sequence: Sequence(0) } };
        let (start, duration, pictures) = (run.start(media, at.wall), run.duration(), run.pictures());
        tracing::warn!(stream = %self.stream, pictures, ?duration, "pictures before a key frame are left out");
        self.scribe.left_out(Run::before_key_frame(&key, start, duration, pictures));
    }
}

impl LeftOut {
    pub(super) fn new(first: MediaTime) -> Self {
        Self { first, last: first, pictures: 1 }
    }

    /// Whether a picture shown then follows them. As the cutter has it, a larger step is a jump.
    pub(super) fn goes_on(&self, pts: MediaTime) -> bool {
        pts.since(self.last).max(self.first.since(pts)) <= Settings::default().gap_max
    }

    /// Whether they are to be listed, though more may follow.
    pub(super) fn is_long(&self) -> bool {
        self.duration() >= limits::LEFT_OUT_MAX
    }

    pub(super) fn take(&mut self, pts: MediaTime) {
        // Pictures are not always sent in the order in which they are shown.
        self.first = self.first.min(pts);
        self.last = self.last.max(pts);
        self.pictures += 1;
    }

    pub(super) fn pictures(&self) -> u64 {
        self.pictures
    }

    /// From the first one to the end of the last.
    pub(super) fn duration(&self) -> Duration {
        self.end().since(self.first)
    }

    pub(super) fn end(&self) -> MediaTime {
        let steps = u32::try_from(self.pictures - 1).unwrap_or(u32::MAX);
        let step = self.last.since(self.first).checked_div(steps).unwrap_or(PICTURE);
        self.last + step
    }

    /// When the first was, if `media` was `at`.
    pub(super) fn start(&self, media: MediaTime, at: WallTime) -> WallTime {
        at - media.since(self.first) + self.first.since(media)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_in_any_order_are_one_run_and_their_time_goes_by_a_moment_that_is_known() {
        let mut run = LeftOut::new(MediaTime::from_millis(1_000));
        for millis in [1_120, 1_040, 1_080] {
            assert!(run.goes_on(MediaTime::from_millis(millis)) && !run.is_long());
            run.take(MediaTime::from_millis(millis));
        }
        assert_eq!((run.pictures(), run.duration()), (4, Duration::from_millis(160)));
        for (media, at) in [(1_160, 50_160), (900, 49_900)] {
            let start = run.start(MediaTime::from_millis(media), WallTime::from_millis(at));
            assert_eq!(start, WallTime::from_millis(50_000));
        }
    }

    #[test]
    fn a_jump_ends_a_run_and_so_does_its_length() {
        let mut run = LeftOut::new(MediaTime::ZERO);
        assert!(!run.goes_on(MediaTime::from_millis(60_000)));
        assert!(!run.goes_on(MediaTime::from_millis(-60_000)));
        (1..1499).for_each(|i| run.take(MediaTime::from_millis(40 * i)));
        assert!(!run.is_long());
        run.take(MediaTime::from_millis(40 * 1499));
        assert!(run.is_long(), "{run:?}");
    }
}
