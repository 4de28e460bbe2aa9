//! When the units of one camera were captured: decided here, from what the clocks showed, without reading one.
//!
//! A camera counts media time by a crystal of its own. What is known of it are arrivals, each late by what the network
//! and the camera took, and the camera's sender reports. The least delay of the last minute tells where media time
//! lies on the device's monotonic clock; a session begins there and then follows it, in steps between two fragments that no
//! viewer sees. Samples are never stretched, no session ends because of drift, and the next fragment begins where the
//! one before ends. design/time.md has the bounds.

mod camera_clock;
mod envelope;
mod follower;
mod session;

use std::time::Duration;

use fragment::{ClockQuality, MediaTime, MonotonicTime, WallTime};
use serde::Deserialize;
use spool::Start;

use crate::clock::Instant;
use crate::limits;

use camera_clock::CameraClock;
pub use camera_clock::News;
use envelope::Envelope;
use session::Session;

/// Whose calendar a camera's fragments go by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Believed {
    /// The device's; the camera's is watched.
    #[default]
    Device,
    /// The camera's, by its sender reports.
    Camera,
}

/// The state of a camera's time, for display.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// How far the wall time of the present session can be trusted at its capture.
    pub quality: ClockQuality,
    /// How far the next fragments will be moved, since the arrivals say so. Milliseconds.
    pub correction_ms: i64,
    /// By how much the camera counts faster than the device, in millionths.
    pub drift_ppm: Option<i64>,
    /// How far the camera's calendar is ahead of the device's, where the device's is synchronised. Milliseconds.
    pub camera_ahead_ms: Option<i64>,
}

/// Places the sessions of one camera in time.
#[derive(Debug)]
pub struct Timekeeper {
    believed: Believed,
    arrivals: Envelope,
    /// The last arrival: where media time zero lies by it, and its media time.
    latest: Option<(MediaTime, i64)>,
    camera: CameraClock,
    /// Where media time zero lies by the camera's calendar, as its last report said.
    reported: Option<i64>,
    session: Option<Session>,
    session_due: bool,
    /// The device's clocks when they were last looked at.
    device: Option<Instant>,
    /// Where the last fragment ended, so that nothing overlaps it.
    last_end: Option<Start>,
}

impl Timekeeper {
    /// One that goes on behind `last_end`, where an earlier run of the agent stopped.
    pub fn new(believed: Believed, last_end: Option<Start>) -> Self {
        Self {
            believed,
            arrivals: Envelope::default(),
            latest: None,
            camera: CameraClock::default(),
            reported: None,
            session: None,
            session_due: false,
            device: None,
            last_end,
        }
    }

    /// Goes by this calendar from the next session on.
    pub fn believe(&mut self, believed: Believed) {
        self.believed = believed;
    }

    /// Whether the camera's calendar is the one that counts.
    pub fn goes_by_camera(&self) -> bool {
        self.believed == Believed::Camera
    }

    /// The unit of media time `media` arrived at `at`.
    pub fn arrived(&mut self, media: MediaTime, at: MonotonicTime) {
        let zero = signed(at.since_boot) - media.as_nanos();
        self.latest = Some((media, zero));
        self.arrivals.note(zero, at.since_boot);
    }

    /// A sender report said that the camera's calendar showed `wall` at `media`. Answers what is worth a word.
    pub fn camera_said(&mut self, media: MediaTime, wall: WallTime) -> Option<News> {
        let zero = self.session.as_ref().map(Session::zero).or(self.arrivals.least())?;
        let reported = wall.as_nanos().saturating_sub(media.as_nanos());
        let (news, steady) = self.camera.note(reported.saturating_sub(zero));
        if steady {
            self.reported = Some(reported);
        }
        if self.believed == Believed::Camera && steady {
            let other_calendar = self.session.as_ref().is_some_and(|session| !session.goes_by_camera());
            self.session_due |= other_calendar || matches!(news, Some(News::Set { .. }));
        }
        news
    }

    /// Whether a new session should begin at the next key frame, since it has to move too far.
    pub fn session_due(&self) -> bool {
        self.session_due
    }

    /// When the fragment from `media` on begins. Begins a session if there is none. `now` is when its first unit came here.
    pub fn start(&mut self, media: MediaTime, now: Instant) -> Start {
        self.device = Some(now);
        if let Some(session) = &self.session {
            return session.start(media);
        }
        self.session_due = false;
        let session = self.begin(media, now);
        let start = session.start(media);
        self.session = Some(session);
        start
    }

    /// When `media` is, by what is known now. Begins nothing.
    pub fn look(&self, media: MediaTime, now: Instant) -> Start {
        self.session.unwrap_or_else(|| self.begin(media, now)).start(media)
    }

    /// The session that would begin at `media`.
    fn begin(&self, media: MediaTime, now: Instant) -> Session {
        let zero = self.zero_of(media).unwrap_or_else(|| signed(now.monotonic.since_boot) - media.as_nanos());
        let camera = match self.believed {
            Believed::Camera => self.reported.or(self.camera.ahead().map(|ahead| ahead.saturating_add(zero))),
            Believed::Device => None,
        };
        Session::begin(now, zero, camera, media, self.last_end)
    }

    /// The fragment that began at `start` ended at `media`, after `duration` by the camera's clock. Answers how long it
    /// lasted by the calendar: up to where the next one begins, if there is one.
    pub fn end(&mut self, start: Start, media: MediaTime, duration: Duration, continues: bool) -> Duration {
        let Some(session) = self.session.as_mut().filter(|_| continues) else {
            self.last_end = Some(later(start, duration));
            return duration;
        };
        session.follow(self.arrivals.least(), self.reported, duration);
        let next = session.start(media);
        self.last_end = Some(next);
        next.wall.since(start.wall).min(fragment::limits::FRAGMENT_DURATION_MAX)
    }

    /// Media time jumped, or its coding changed.
    pub fn session_ended(&mut self) {
        self.session = None;
    }

    /// Media time jumped: arrivals from before say nothing of what follows.
    pub fn jumped(&mut self) {
        self.session = None;
        self.arrivals = Envelope::default();
        self.reported = None;
    }

    /// The source ended: media time begins anew.
    pub fn source_ended(&mut self) {
        self.session = None;
        self.arrivals = Envelope::default();
        self.latest = None;
        self.reported = None;
    }

    /// How it stands.
    pub fn reading(&self) -> Reading {
        let Some(session) = &self.session else { return Reading::default() };
        let device = self.device.filter(|device| device.quality >= ClockQuality::Synchronised);
        let ahead = device.zip(self.camera.ahead()).map(|(device, ahead)| ahead - device.wall_of_boot().as_nanos());
        Reading {
            quality: session.quality(),
            correction_ms: session.correction(self.arrivals.least(), self.reported) / 1_000_000,
            drift_ppm: self.arrivals.drift_ppm(),
            camera_ahead_ms: ahead.map(|ahead| ahead / 1_000_000),
        }
    }

    /// Where media time zero lies by arrivals, for a session that begins at `media`. One from long before the session may lie
    /// on the other side of a jump.
    fn zero_of(&self, media: MediaTime) -> Option<i64> {
        let (latest, zero) = self.latest?;
        let apart = latest.since(media).max(media.since(latest));
        if apart > limits::ARRIVAL_NEAR {
            return None;
        }
        Some(self.arrivals.least().map_or(zero, |least| least.min(zero)))
    }
}

/// An instant after `start`, by all its clocks.
pub fn later(start: Start, by: Duration) -> Start {
    let moved = |at: MonotonicTime| MonotonicTime { since_boot: at.since_boot.saturating_add(by), ..at };
    Start { monotonic: start.monotonic.map(moved), wall: start.wall + by, ..start }
}

fn signed(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}
