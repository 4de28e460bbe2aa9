//! What places a recorder's fragments in time: the device's clocks, read for the [`Timekeeper`], or what a person said.

use std::time::Duration;

use fragment::{ClockQuality, MediaTime, StreamName, WallTime};
use spool::Start;

use super::TimeSource;
use crate::clock::{Clock, Instant};
use crate::timekeeper::{Believed, News, Reading, Timekeeper};

pub(super) enum Time {
    /// Units come as they are captured.
    Captured { clock: Clock, keeper: Box<Timekeeper>, last_looked: Option<Instant> },
    /// A file: each session begins where the one before ended.
    Given { next: WallTime },
}

impl Time {
    pub(super) fn new(source: TimeSource, last_end: Option<Start>) -> Self {
        match source {
            TimeSource::Arrival(clock) => {
                let keeper = Box::new(Timekeeper::new(Believed::default(), last_end));
                Self::Captured { clock, keeper, last_looked: None }
            }
            TimeSource::Given(start) => Self::Given { next: start },
        }
    }

    pub(super) fn keeper(&mut self) -> Option<&mut Timekeeper> {
        match self {
            Self::Captured { keeper, .. } => Some(keeper),
            Self::Given { .. } => None,
        }
    }

    pub(super) fn reading(&self) -> Reading {
        match self {
            Self::Captured { keeper, .. } => keeper.reading(),
            Self::Given { .. } => Reading::default(),
        }
    }

    pub(super) fn camera_said(&mut self, stream: &StreamName, media: MediaTime, wall: WallTime) {
        let Some(keeper) = self.keeper() else {
            return;
        };
        let news = keeper.camera_said(media, wall);
        let (used, ahead_ms) = (keeper.goes_by_camera(), keeper.reading().camera_ahead_ms);
        match news {
            None => {}
            Some(News::First) => tracing::info!(%stream, used, ahead_ms, "the camera tells a time of its own"),
            Some(News::Set { by }) if used => {
                let by_ms = by / 1_000_000;
                tracing::warn!(%stream, by_ms, "the camera's clock was set, and is believed: a new session begins");
            }
            Some(News::Set { by }) => {
                let by_ms = by / 1_000_000;
                tracing::info!(%stream, by_ms, "the camera's clock was set; the recording goes by the device's");
            }
        }
    }

    /// When the fragment from `media` on begins.
    pub(super) fn start(&mut self, stream: &StreamName, media: MediaTime) -> Start {
        match self {
            Self::Captured { clock, keeper, last_looked } => {
                let now = clock.now();
                if let Some(by_ms) = last_looked.and_then(|before| now.set_since(before)) {
                    tracing::info!(%stream, by_ms, "the device's clock was set; what is being recorded keeps its time");
                }
                *last_looked = Some(now);
                keeper.start(media, now)
            }
            Self::Given { next } => Start { monotonic: None, wall: *next, quality: ClockQuality::Given },
        }
    }

    /// When `media` is, as far as is known, where no fragment begins.
    pub(super) fn look(&self, media: MediaTime) -> Start {
        match self {
            Self::Captured { clock, keeper, .. } => keeper.look(media, clock.now()),
            Self::Given { next } => Start { monotonic: None, wall: *next, quality: ClockQuality::Given },
        }
    }

    /// How long the fragment from `start` to `media` lasts.
    pub(super) fn end(&mut self, start: Start, media: MediaTime, duration: Duration, continues: bool) -> Duration {
        match self {
            Self::Captured { keeper, .. } => keeper.end(start, media, duration, continues),
            Self::Given { next } => {
                *next = start.wall + duration;
                duration
            }
        }
    }
}
