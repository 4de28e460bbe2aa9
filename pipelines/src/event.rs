//! What a pipeline tells.

use std::time::Instant;

use fragment::{AccessUnit, MediaTime, TrackKind, Tracks, WallTime};

use crate::Error;
use crate::loss::Loss;

/// One thing that a pipeline tells. After [`Event::EndOfStream`] or [`Event::Failed`] nothing follows.
#[derive(Clone, Debug)]
pub enum Event {
    /// The tracks of the units that follow. Comes before the first unit, and again when the source
    /// changes its coding, which media time does not restart for.
    Tracks(Tracks),
    /// One access unit. Media time counts from the first picture of the pipeline.
    Unit(AccessUnit),
    /// Media time held against another clock: repeated, since clocks drift.
    Clock(ClockReading),
    /// Packets of a track were lost on the way, in front of what comes next.
    Lost(TrackKind, Loss),
    /// The source is at its end.
    EndOfStream,
    /// The source failed.
    Failed(Error),
}

/// Another clock held against media time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockReading {
    /// The camera's calendar, from its RTCP sender reports.
    Camera {
        /// A moment in media time.
        media: MediaTime,
        /// The same moment by the camera's calendar, which may be wrong.
        wall: WallTime,
    },
    /// The unit that follows came later than it was captured, by what camera and network took: told of the first unit, of
    /// the first of each second, and of each that is less late than those of its second before.
    Arrival {
        /// The unit's media time.
        media: MediaTime,
        /// When it came.
        at: Instant,
    },
}
