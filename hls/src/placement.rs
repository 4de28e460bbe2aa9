//! Where the units of a segment lie in time.
//!
//! Matroska carries presentation times only. Decode times are the same times sorted: as many units are decoded by
//! then as shown. The last unit lasts until the fragment's end, so that segments of one session meet without a hole.

use std::time::Duration;

use fragment::{MediaTime, WallTime};

/// Where a segment lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The media time at which the fragment begins: that of its cluster.
    pub origin: MediaTime,
    /// The wall time at that moment.
    pub start: WallTime,
    /// The length of the fragment.
    pub duration: Duration,
    /// Ascends from segment to segment of a session.
    pub sequence_number: u32,
}

/// The decode times of video units, and the end of the last.
pub(crate) fn video_times(shown: &[i64], end: i64) -> Vec<i64> {
    let mut times = shown.to_vec();
    times.sort_unstable();
    let last = times.last().copied().unwrap_or(end);
    // A fragment's end before its last picture is a fault upstream: the picture then lasts as long as
    // the one before it.
    let before = times.len().checked_sub(2).map_or(1, |i| (last - times[i]).max(1));
    times.push(if end > last { end } else { last.saturating_add(before) });
    times
}

/// The decode times of audio units, and the end of the last: packets follow each other exactly,
/// since Matroska's milliseconds are coarser than the samples that they round. Only where packets were
/// lost is the one before the hole drawn out, for else sound would run ahead of the picture.
pub(crate) fn audio_times(shown: &[i64], packet: i64) -> Vec<i64> {
    let mut times = Vec::with_capacity(shown.len() + 1);
    let mut next = shown.first().copied().unwrap_or(0);
    for &at in shown {
        if at - next > packet {
            next = at;
        }
        times.push(next);
        next += packet;
    }
    times.push(next);
    times
}

/// Turns media time to ticks since 1970.
#[derive(Clone, Copy)]
pub(crate) struct Clock {
    pub(crate) placement: Placement,
    pub(crate) timescale: u32,
}

impl Clock {
    pub(crate) fn ticks(self, media: MediaTime) -> i64 {
        let Placement { origin, start, .. } = self.placement;
        let nanos = i128::from(start.as_nanos()) + i128::from(media.as_nanos()) - i128::from(origin.as_nanos());
        let ticks = (nanos * i128::from(self.timescale) + 500_000_000).div_euclid(1_000_000_000);
        // Only times centuries away saturate; they are refused as a jump or as before the epoch.
        i64::try_from(ticks).unwrap_or(if ticks > 0 { i64::MAX } else { i64::MIN })
    }
}
