//! The service manager: readiness, a line of status, and the watchdog, by sd_notify(3).
//!
//! systemd restarts an agent that it has not heard from for `WatchdogSec`. What it hears must mean something, so
//! each part that can hang has a [`Pulse`], which it moves itself at every turn of its loop, and the agent reports
//! itself alive only while no pulse stands still. Without a service manager nothing of this does anything.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use sd_notify::NotifyState;
use tokio_util::task::AbortOnDropHandle;

use crate::limits;

/// What `run` ends with when a person has to do something first: the unit does not start it again.
pub const NEEDS_A_PERSON: u8 = 78;

/// Moved by the part that it belongs to, as long as that part works.
#[derive(Debug)]
pub struct Pulse {
    made: Instant,
    /// Milliseconds from `made` to the last beat, or [`Pulse::REST`].
    beat: AtomicU64,
}

impl Default for Pulse {
    fn default() -> Self {
        Self { made: Instant::now(), beat: AtomicU64::new(0) }
    }
}

impl Pulse {
    const REST: u64 = u64::MAX;

    /// Of a part that has nothing to do yet.
    pub fn at_rest() -> Self {
        Self { made: Instant::now(), beat: AtomicU64::new(Self::REST) }
    }

    /// The part works.
    pub fn beat(&self, now: Instant) {
        self.beat.store(self.millis(now), Relaxed);
    }

    /// The part has done all that it had to do, for now or for good.
    pub fn rest(&self) {
        self.beat.store(Self::REST, Relaxed);
    }

    /// Whether the part has nothing to do.
    pub(crate) fn rests(&self) -> bool {
        self.beat.load(Relaxed) == Self::REST
    }

    /// Whether the part hangs.
    pub fn stands_still(&self, now: Instant) -> bool {
        let silence = Duration::from_millis(self.millis(now).saturating_sub(self.beat.load(Relaxed)));
        silence > limits::PULSE_MAX
    }

    fn millis(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.made).as_millis()).unwrap_or(Self::REST - 1)
    }
}

/// All cameras and the uplink run.
pub fn ready() {
    notify(&[NotifyState::Ready]);
}

/// Feeds the watchdog while the agent starts again by itself, which reads the whole spool, until the handle is dropped.
pub fn starting_again() -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async {
        let mut ticks = tokio::time::interval(limits::TURN_MAX);
        for _ in 0..limits::START_MAX.as_secs() / limits::TURN_MAX.as_secs() {
            ticks.tick().await;
            notify(&[NotifyState::Watchdog]);
        }
    }))
}

/// The agent ends because it was asked to.
pub fn stopping() {
    notify(&[NotifyState::Stopping]);
}

/// A line for `systemctl status`.
pub fn say(line: &str) {
    // The message is made of lines: only the first of several would arrive whole.
    notify(&[NotifyState::Status(line.lines().next().unwrap_or_default())]);
}

fn notify(what: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(what) {
        tracing::debug!(%error, "the service manager can't be told");
    }
}

/// What the service manager was told last.
#[derive(Debug, Default)]
pub struct Report {
    said: Option<Instant>,
    complained: bool,
}

impl Report {
    /// Reports, once a second: the status, and that the agent is alive unless something hangs.
    pub fn tell(&mut self, now: Instant, line: &str, hangs: Option<&str>) {
        if self.is_due(now) {
            say(line);
        }
        match hangs {
            None => {
                self.complained = false;
                notify(&[NotifyState::Watchdog]);
            }
            Some(part) if !self.complained => {
                self.complained = true;
                tracing::error!(part, "it hangs; the watchdog, if there is one, will start the agent again");
            }
            Some(_) => {}
        }
    }

    fn is_due(&mut self, now: Instant) -> bool {
        let due = self.said.is_none_or(|said| now.saturating_duration_since(said) >= limits::STATUS_PAUSE);
        if due {
            self.said = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_hangs_once_its_pulse_has_stood_still_for_too_long() {
        let pulse = Pulse::default();
        let start = Instant::now();
        pulse.beat(start);
        assert!(!pulse.stands_still(start + limits::PULSE_MAX));
        assert!(pulse.stands_still(start + limits::PULSE_MAX + Duration::from_millis(2)));
        pulse.beat(start + limits::PULSE_MAX);
        assert!(!pulse.stands_still(start + limits::PULSE_MAX + Duration::from_secs(1)));
    }

    #[test]
    fn a_part_that_was_never_heard_of_hangs_too() {
        let pulse = Pulse::default();
        assert!(pulse.stands_still(Instant::now() + limits::PULSE_MAX + Duration::from_secs(1)));
    }

    #[test]
    fn a_part_that_is_done_or_waits_for_work_does_not_hang() {
        let pulse = Pulse::default();
        pulse.rest();
        for pulse in [pulse, Pulse::at_rest()] {
            assert!(!pulse.stands_still(Instant::now() + 100 * limits::PULSE_MAX));
        }
    }

    #[test]
    fn the_line_of_status_is_said_now_and_then() {
        let mut report = Report::default();
        let start = Instant::now();
        assert!(report.is_due(start));
        assert!(!report.is_due(start + limits::STATUS_PAUSE / 2));
        assert!(report.is_due(start + limits::STATUS_PAUSE));
    }
}
