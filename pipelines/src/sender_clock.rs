//! The camera's own clock, out of its RTCP sender reports.
//!
//! A sender report says which RTP timestamp belongs to which wall time. The jitter buffer knows which running
//! time belongs to which RTP timestamp, and tells both together in its signal `handle-sync`:
//!
//! ```text
//! running time = base-time + (sr-ext-rtptime − base-rtptime) / clock-rate
//! sender report: [V P RC: 1][200: 1][length: 2][SSRC: 4][NTP seconds since 1900: 4][NTP fraction: 4]…
//! ```

use fragment::WallTime;
use gst::prelude::*;

/// From 1900, where NTP counts from, to 1970.
const NTP_TO_UNIX_SECONDS: i64 = 2_208_988_800;

const NANOS: i64 = 1_000_000_000;

/// Calls `tell` with a running time in nanoseconds and its wall time, at each sender report that `rtspsrc` gets.
pub(crate) fn listen(rtspsrc: &gst::Element, tell: impl Fn(i64, WallTime) + Clone + Send + Sync + 'static) {
    rtspsrc.connect("new-manager", false, move |values| {
        let manager = values.get(1)?.get::<gst::Element>().ok()?;
        let tell = tell.clone();
        manager.connect("new-jitterbuffer", false, move |values| {
            let buffer = values.get(1)?.get::<gst::Element>().ok()?;
            let tell = tell.clone();
            buffer.connect("handle-sync", false, move |values| {
                // Sound and picture are put in step by this much, which the structure does not know of.
                let shift = values.first()?.get::<gst::Element>().ok()?.property::<i64>("ts-offset");
                let sync = values.get(1)?.get::<gst::Structure>().ok()?;
                if let Some((running_time, wall)) = reading(&sync) {
                    tell(running_time.saturating_add(shift), wall);
                }
                None
            });
            None
        });
        None
    });
}

fn reading(sync: &gst::StructureRef) -> Option<(i64, WallTime)> {
    let number = |name| sync.get::<u64>(name).ok().and_then(|number| i64::try_from(number).ok());
    let rate = sync.get::<u32>("clock-rate").ok().filter(|rate| *rate > 0)?;
    let ticks = number("sr-ext-rtptime")?.checked_sub(number("base-rtptime")?)?;
    let nanos = i128::from(ticks) * i128::from(NANOS) / i128::from(rate);
    let running_time = number("base-time")?.checked_add(i64::try_from(nanos).ok()?)?;
    let report = sync.get::<gst::Buffer>("sr-buffer").ok()?;
    let map = report.map_readable().ok()?;
    Some((running_time, wall_time(&map)?))
}

/// The wall time in a sender report; `None` from a camera that has no clock and says zero.
fn wall_time(report: &[u8]) -> Option<WallTime> {
    let word = |at: usize| report.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes);
    if report.get(1) != Some(&200) {
        return None;
    }
    let seconds = word(8).filter(|seconds| *seconds > 0)?;
    let fraction = (u64::from(word(12)?) * 1_000_000_000) >> 32;
    let nanos = i64::try_from(fraction).ok()?;
    Some(WallTime::from_nanos((i64::from(seconds) - NTP_TO_UNIX_SECONDS) * NANOS + nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_report_tells_the_wall_time() {
        let mut report = vec![0x80, 200, 0, 6, 1, 2, 3, 4];
        report.extend(3_913_056_000u32.to_be_bytes()); // 2024-01-01T00:00:00Z
        report.extend(0x8000_0000u32.to_be_bytes());
        assert_eq!(wall_time(&report), Some(WallTime::from_millis(1_704_067_200_500)));
    }

    #[test]
    fn a_camera_without_a_clock_tells_nothing() {
        assert_eq!(wall_time(&[0x80, 200, 0, 6, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 1]), None);
        assert_eq!(wall_time(&[0x80, 200, 0]), None);
        assert_eq!(wall_time(&[0x80, 201, 0, 6, 1, 2, 3, 4, 9, 0, 0, 0, 0, 0, 0, 1]), None);
    }
}
