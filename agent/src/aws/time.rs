//! What time it is by AWS.
//!
//! A signature is good for a quarter of an hour, and a device that booted in 1970 could never make one. So the first
//! answer of AWS, even a refusal, says what time to sign with: its `Date`, carried on by the monotonic clock.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_smithy_async::time::TimeSource;
use fragment::WallTime;

use crate::clock::Clock;

/// The device's clock until AWS has said better. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct ServerClock {
    clock: Clock,
    wall_of_boot: Arc<Mutex<Option<WallTime>>>,
}

impl ServerClock {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, wall_of_boot: Arc::default() }
    }

    /// Takes the `Date` of an answer that has just come, and says what time that is.
    pub(super) fn handle_date(&self, date: &str) -> Option<WallTime> {
        let date = httpdate::parse_http_date(date).ok()?;
        // It is cut to the second: half a second later is nearest.
        let wall = from_system(date) + Duration::from_millis(500);
        *self.wall_of_boot.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(wall - self.clock.monotonic().since_boot);
        Some(wall)
    }

    /// Now.
    pub(super) fn wall(&self) -> WallTime {
        let known = *self.wall_of_boot.lock().unwrap_or_else(PoisonError::into_inner);
        known.map_or_else(|| self.clock.now().wall, |boot| boot + self.clock.monotonic().since_boot)
    }
}

impl TimeSource for ServerClock {
    fn now(&self) -> SystemTime {
        to_system(self.wall())
    }
}

pub(super) fn to_system(wall: WallTime) -> SystemTime {
    SystemTime::UNIX_EPOCH + wall.since(WallTime::from_nanos(0))
}

pub(super) fn from_system(time: SystemTime) -> WallTime {
    WallTime::from_nanos(0) + time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_of_an_answer_is_the_time_from_then_on() {
        let clock = ServerClock::new(Clock::open().unwrap());
        let device = clock.wall();
        assert!(clock.handle_date("nonsense").is_none());
        assert!(clock.wall() >= device);
        let said = clock.handle_date("Tue, 01 Jan 2030 00:00:00 GMT").unwrap();
        assert_eq!(said, WallTime::from_millis(1_893_456_000_500));
        assert!(clock.wall() >= said && to_system(clock.wall()) >= to_system(said));
        assert_eq!(from_system(to_system(said)), said);
    }
}
