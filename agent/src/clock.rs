//! The device's clocks: the one place that reads them.
//!
//! Capture is stamped by `CLOCK_BOOTTIME`, which no one can set and which counts through sleep. What the
//! calendar says is noted beside it, with whether the kernel holds it for synchronised.

use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fragment::{BootId, ClockQuality, MonotonicTime, WallTime};
use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::limits;

/// One instant, by all clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instant {
    /// By the monotonic clock.
    pub monotonic: MonotonicTime,
    /// By the calendar.
    pub wall: WallTime,
    /// Whether the calendar was right: [`ClockQuality::Synchronised`] or not.
    pub quality: ClockQuality,
}

impl Instant {
    /// What the calendar said when this boot began, by this instant.
    pub fn wall_of_boot(&self) -> WallTime {
        self.wall - self.monotonic.since_boot
    }

    /// By how many milliseconds someone has set the calendar since `before`, if anyone has.
    pub fn set_since(&self, before: Instant) -> Option<i64> {
        let by = self.wall_of_boot().as_nanos() - before.wall_of_boot().as_nanos();
        (u128::from(by.unsigned_abs()) > limits::DEVICE_STEP_MIN.as_nanos()).then_some(by / 1_000_000)
    }
}

/// Reads the clocks of this boot.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    boot: BootId,
}

impl Clock {
    /// The clocks of the running boot.
    pub fn open() -> io::Result<Self> {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
        let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
        let boot = u128::from_str_radix(&digits, 16)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, format!("boot id {text:?} is not a UUID")))?;
        Ok(Self { boot: BootId(boot) })
    }

    /// Which boot this is.
    pub fn boot(&self) -> BootId {
        self.boot
    }

    /// Now, by the monotonic clock.
    pub fn monotonic(&self) -> MonotonicTime {
        let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::Boottime);
        let since_boot = Duration::from_secs(tv_sec.unsigned_abs()) + Duration::from_nanos(tv_nsec.unsigned_abs());
        MonotonicTime { boot: self.boot, since_boot }
    }

    /// The same for an instant of the running process.
    pub fn monotonic_at(&self, instant: std::time::Instant) -> MonotonicTime {
        let now = self.monotonic();
        MonotonicTime { since_boot: now.since_boot.saturating_sub(instant.elapsed()), ..now }
    }

    /// Now, by all clocks.
    pub fn now(&self) -> Instant {
        let quality = if kernel_is_synchronised() { ClockQuality::Synchronised } else { ClockQuality::Unsynchronised };
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Instant { monotonic: self.monotonic(), wall: WallTime::from_nanos(0) + wall, quality }
    }
}

/// What NTP clients of all kinds tell the kernel, and the only place where they agree.
fn kernel_is_synchronised() -> bool {
    let (state, status) = adjtimex();
    state >= 0 && state != libc::TIME_ERROR && status & libc::STA_UNSYNC == 0
}

#[expect(unsafe_code, reason = "no safe crate in the workspace wraps adjtimex")]
fn adjtimex() -> (i32, i32) {
    // SAFETY: timex is plain numbers, for which zero is valid; modes = 0 only reads.
    unsafe {
        let mut timex: libc::timex = std::mem::zeroed();
        (libc::adjtimex(&raw mut timex), timex.status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_monotonic_clock_goes_forwards_within_one_boot() {
        let clock = Clock::open().unwrap();
        let before = clock.monotonic();
        assert!(clock.monotonic().since(before).is_some());
    }

    #[test]
    fn the_wall_time_of_the_boot_lies_behind_the_present() {
        let now = Clock::open().unwrap().now();
        assert!(now.wall_of_boot() < now.wall);
    }
}
