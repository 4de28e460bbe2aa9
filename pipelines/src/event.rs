//! What a pipeline tells.

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
    /// The camera's own clock, from its RTCP sender reports: repeated, since clocks drift.
    Clock(ClockReading),
    /// Packets of a track were lost on the way, in front of what comes next.
    Lost(TrackKind, Loss),
    /// The source is at its end.
    EndOfStream,
    /// The source failed.
    Failed(Error),
}

/// The camera's clock held against media time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockReading {
    /// A moment in media time.
    pub media: MediaTime,
    /// The same moment by the camera's clock, which may be wrong.
    pub wall: WallTime,
}
