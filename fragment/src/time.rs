//! Three kinds of time that must not be mixed; design/time.md says why.
//!
//! - [`MediaTime`]: where an access unit lies in its capture session. Starts near zero, never jumps.
//! - [`WallTime`]: what a calendar says. May be unknown at capture and is mapped later.
//! - [`MonotonicTime`]: what the device's clock has counted since it booted, and which boot that was.
//!
//! Nothing here reads a clock: the caller passes time in.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

/// Nanoseconds since the start of the capture session. May be slightly negative for audio that
/// precedes the first video frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MediaTime(i64);

/// Nanoseconds since 1970-01-01T00:00:00Z, leap seconds not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WallTime(i64);

macro_rules! nanosecond_clock {
    ($name:ident) => {
        impl $name {
            /// From nanoseconds.
            pub const fn from_nanos(nanos: i64) -> Self {
                Self(nanos)
            }

            /// From milliseconds; saturates at the ends of the range (about 292 years).
            pub const fn from_millis(millis: i64) -> Self {
                Self(millis.saturating_mul(1_000_000))
            }

            /// In nanoseconds.
            pub const fn as_nanos(self) -> i64 {
                self.0
            }

            /// In whole milliseconds, rounded down.
            pub const fn as_millis(self) -> i64 {
                self.0.div_euclid(1_000_000)
            }

            /// The time from `earlier` to `self`, or zero if `earlier` is the later one.
            pub fn since(self, earlier: Self) -> Duration {
                Duration::from_nanos(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
            }
        }

        impl Add<Duration> for $name {
            type Output = Self;

            fn add(self, duration: Duration) -> Self {
                Self(self.0.saturating_add(nanos(duration)))
            }
        }

        impl Sub<Duration> for $name {
            type Output = Self;

            fn sub(self, duration: Duration) -> Self {
                Self(self.0.saturating_sub(nanos(duration)))
            }
        }
    };
}

nanosecond_clock!(MediaTime);
nanosecond_clock!(WallTime);

impl MediaTime {
    /// The origin of a session.
    pub const ZERO: Self = Self(0);
}

impl WallTime {
    /// The wall time of `media`, when media time zero happened at `self`.
    pub fn at(self, media: MediaTime) -> WallTime {
        Self(self.0.saturating_add(media.0))
    }
}

/// A duration in nanoseconds, saturated: no duration here comes near 292 years.
fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// Which boot of the device a monotonic time belongs to (`/proc/sys/kernel/random/boot_id`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BootId(pub u128);

/// The device's monotonic clock (`CLOCK_BOOTTIME`): comparable within one boot only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MonotonicTime {
    /// The boot that the count belongs to.
    pub boot: BootId,
    /// Time since that boot, sleep included.
    pub since_boot: Duration,
}

impl MonotonicTime {
    /// The time from `earlier` to `self`; `None` across boots or backwards.
    pub fn since(self, earlier: MonotonicTime) -> Option<Duration> {
        if self.boot != earlier.boot {
            return None;
        }
        self.since_boot.checked_sub(earlier.since_boot)
    }
}

/// How far a fragment's wall time can be trusted, worst first, so that quality can be compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClockQuality {
    /// The device's clock was not known to be right: it may have started in 1970.
    #[default]
    Unsynchronised,
    /// Mapped from the monotonic clock by the server's time at the upload.
    Server,
    /// The device's clock was synchronised (NTP or the like) at capture.
    Synchronised,
    /// From the camera's own RTCP sender reports.
    SenderReport,
    /// Given by the user, as when a file is uploaded with a start time.
    Given,
}

impl ClockQuality {
    /// The number that stands for this quality in stored and sent bytes. Never renumbered.
    pub fn to_wire(self) -> u8 {
        match self {
            Self::Unsynchronised => 0,
            Self::Server => 1,
            Self::Synchronised => 2,
            Self::SenderReport => 3,
            Self::Given => 4,
        }
    }

    /// The quality of a stored number. Unknown numbers, from a newer writer, promise nothing.
    pub fn from_wire(number: u8) -> Self {
        match number {
            1 => Self::Server,
            2 => Self::Synchronised,
            3 => Self::SenderReport,
            4 => Self::Given,
            _ => Self::Unsynchronised,
        }
    }
}

impl fmt::Display for ClockQuality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unsynchronised => "unsynchronised",
            Self::Server => "server",
            Self::Synchronised => "synchronised",
            Self::SenderReport => "sender-report",
            Self::Given => "given",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_round_down_on_both_sides_of_zero() {
        assert_eq!(MediaTime::from_nanos(1_999_999).as_millis(), 1);
        assert_eq!(MediaTime::from_nanos(-1).as_millis(), -1);
    }

    #[test]
    fn monotonic_times_of_different_boots_do_not_compare() {
        let at = |boot, secs| MonotonicTime { boot: BootId(boot), since_boot: Duration::from_secs(secs) };
        assert_eq!(at(1, 9).since(at(1, 4)), Some(Duration::from_secs(5)));
        assert_eq!(at(1, 4).since(at(1, 9)), None);
        assert_eq!(at(2, 9).since(at(1, 4)), None);
    }

    #[test]
    fn clock_quality_survives_its_wire_form() {
        use ClockQuality::*;
        for quality in [Unsynchronised, Server, Synchronised, SenderReport, Given] {
            assert_eq!(ClockQuality::from_wire(quality.to_wire()), quality);
        }
        assert_eq!(ClockQuality::from_wire(200), Unsynchronised);
    }
}
