//! Pictures in front of the key frame that begins a session: of no fragment, and so many of such a time.

use std::time::Duration;

use fragment::cutter::Settings;
use fragment::{MediaTime, WallTime};

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
