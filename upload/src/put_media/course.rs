//! When the frames of a track lie, from one fragment to the next.

use std::time::Duration;

use fragment::mkv::Block;
use fragment::{MediaTime, TrackNumber};

/// A track's frames in the present fragment, and the last of the one before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Course {
    pub(super) track: TrackNumber,
    /// The latest of the fragment before.
    pub(super) before: Option<MediaTime>,
    /// The latest of the present one, if it has any.
    pub(super) latest: Option<MediaTime>,
    earliest: MediaTime,
    frames: u32,
    /// How long the latest is shown, where that is told.
    shown: Option<Duration>,
}

impl Course {
    pub(super) fn new(track: TrackNumber) -> Self {
        Self { track, before: None, latest: None, earliest: MediaTime::ZERO, frames: 0, shown: None }
    }

    /// Takes the next frame.
    pub(super) fn take(&mut self, block: &Block) {
        if self.latest.is_none_or(|latest| block.pts >= latest) {
            (self.latest, self.shown) = (Some(block.pts), block.duration);
        }
        self.earliest = if self.frames == 0 { block.pts } else { self.earliest.min(block.pts) };
        self.frames += 1;
    }

    /// When the last frame ends: a frame lasts as long as it says, or as the others did.
    pub(super) fn end(&self) -> Option<MediaTime> {
        let latest = self.latest?;
        let between = (self.frames > 1).then(|| latest.since(self.earliest) / (self.frames - 1));
        let since_before = || self.before.map(|before| self.earliest.since(before));
        Some(latest + self.shown.or(between).or_else(since_before).unwrap_or_default())
    }

    /// The fragment has ended.
    pub(super) fn turn(&mut self) {
        *self = Self { before: self.before.max(self.latest), ..Self::new(self.track) };
    }
}
