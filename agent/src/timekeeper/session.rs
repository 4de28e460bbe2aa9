//! One session in time: media time on the monotonic clock, and on a calendar.

use std::time::Duration;

use fragment::{BootId, ClockQuality, MediaTime, MonotonicTime, WallTime};
use spool::Start;

use super::follower::Follower;
use crate::clock::Instant;
use crate::limits;

#[derive(Clone, Copy, Debug)]
pub(super) struct Session {
    boot: BootId,
    monotonic: Follower,
    calendar: Calendar,
}

/// The calendar that a session goes by.
#[derive(Clone, Copy, Debug)]
enum Calendar {
    /// The device's, as it was when the session began: whoever sets it later does not move the session.
    Device { wall_of_boot: WallTime, quality: ClockQuality },
    /// The camera's.
    Camera(Follower),
}

impl Session {
    /// Begins at `media`, with media time zero at `zero` of the monotonic clock and, where the camera is believed, at
    /// `camera` of its calendar; but not before `before`, if that is not far: arrival jitters.
    pub(super) fn begin(now: Instant, zero: i64, camera: Option<i64>, media: MediaTime, before: Option<Start>) -> Self {
        let boot = now.monotonic.boot;
        let mut session = Self {
            boot,
            monotonic: Follower::new(zero),
            calendar: Calendar::Device { wall_of_boot: now.wall_of_boot(), quality: now.quality },
        };
        let at = session.start(media);
        let near = |overlap: Duration| if overlap <= limits::OVERLAP_MAX { super::signed(overlap) } else { 0 };
        let overlap = before.and_then(|before| before.monotonic?.since(at.monotonic?));
        let overlap = overlap.map_or(0, near);
        session.monotonic = Follower::new(zero.saturating_add(overlap));
        if let Some(camera) = camera {
            let camera = Follower::new(camera);
            let before = before.filter(|before| before.quality == ClockQuality::SenderReport);
            let overlap = before.map_or(0, |before| near(before.wall.since(WallTime::from_nanos(camera.at(media)))));
            session.calendar = Calendar::Camera(Follower::new(camera.zero().saturating_add(overlap)));
        }
        session
    }

    /// When a fragment that begins at `media` begins.
    pub(super) fn start(&self, media: MediaTime) -> Start {
        let since_boot = Duration::from_nanos(u64::try_from(self.monotonic.at(media)).unwrap_or(0));
        let (wall, quality) = match self.calendar {
            Calendar::Device { wall_of_boot, quality } => (wall_of_boot + since_boot, quality),
            Calendar::Camera(wall) => (WallTime::from_nanos(wall.at(media)), ClockQuality::SenderReport),
        };
        Start { monotonic: Some(MonotonicTime { boot: self.boot, since_boot }), wall, quality }
    }

    /// Moves towards what is known now, at the end of a fragment of this length.
    pub(super) fn follow(&mut self, arrivals: Option<i64>, reported: Option<i64>, length: Duration) {
        if let Some(target) = arrivals {
            self.monotonic.follow(target, length);
        }
        if let (Calendar::Camera(wall), Some(target)) = (&mut self.calendar, reported) {
            wall.follow(target, length);
        }
    }

    /// How far it has to move yet.
    pub(super) fn correction(&self, arrivals: Option<i64>, reported: Option<i64>) -> i64 {
        match self.calendar {
            Calendar::Device { .. } => arrivals.map_or(0, |target| self.monotonic.behind(target)),
            Calendar::Camera(wall) => reported.map_or(0, |target| wall.behind(target)),
        }
    }

    pub(super) fn zero(&self) -> i64 {
        self.monotonic.zero()
    }

    pub(super) fn quality(&self) -> ClockQuality {
        self.start(MediaTime::ZERO).quality
    }

    pub(super) fn goes_by_camera(&self) -> bool {
        matches!(self.calendar, Calendar::Camera(_))
    }
}
