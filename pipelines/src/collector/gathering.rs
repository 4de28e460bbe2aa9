//! Units held back until the tracks are known.

use fragment::TrackKind;

use super::Timed;
use crate::limits;

/// The units that came so far.
#[derive(Default)]
pub(super) struct Gathering {
    /// Whether the source has announced every track.
    pub(super) complete: bool,
    units: Vec<Timed>,
    bytes: usize,
}

impl Gathering {
    pub(super) fn hold(&mut self, unit: Timed) {
        self.bytes += unit.data.len();
        self.units.push(unit);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.units.is_empty()
    }

    /// Whether a track that has not come by now is not worth waiting for.
    pub(super) fn is_long_enough(&self) -> bool {
        let (Some(first), Some(last)) = (self.units.first(), self.units.last()) else { return false };
        let length = last.pts.saturating_sub(first.pts);
        self.bytes > limits::GATHERING_BYTES_MAX || super::nanos(length) > limits::GATHERING_MAX
    }

    /// Where media time begins: at the first picture, or at the first sound if there is no picture.
    pub(super) fn origin(&self) -> Option<i64> {
        let picture = self.units.iter().find(|unit| unit.kind == TrackKind::Video);
        picture.or(self.units.first()).map(|unit| unit.pts)
    }

    pub(super) fn into_units(self) -> Vec<Timed> {
        self.units
    }
}
