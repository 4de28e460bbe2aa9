//! Turns one camera's access units into spooled fragments: cutter → Matroska → spool.
//!
//! It knows no GStreamer and no network. A session is one uninterrupted run of media time; each start
//! of a camera, change of its coding and jump in its time begins a new one. Where it lies in time is the
//! [`Timekeeper`]'s to say.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use fragment::cutter::{Cutter, Event, FinishReason, Settings};
use fragment::{
    AccessUnit, ClockQuality, FragmentId, MediaTime, MonotonicTime, Sequence, SessionId, StreamName, Tracks, WallTime,
    mkv,
};
use spool::{Spool, Start};
use upload::FragmentKey;

use crate::clock::{Clock, Instant};
use crate::limits;
use crate::scribe::Scribe;
use crate::timekeeper::{Believed, News, Reading, Timekeeper, later};

/// Where the fragments' times come from.
#[derive(Clone, Copy, Debug)]
pub enum TimeSource {
    /// Units arrive as they are captured: the device's clocks tell.
    Arrival(Clock),
    /// A file: its first unit has this time.
    Given(WallTime),
}

/// What was recorded, for display.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// Units of video.
    pub pictures: u64,
    /// Units of any kind that belong to no fragment.
    pub dropped: u64,
}

/// Records one stream.
pub struct Recorder {
    stream: StreamName,
    scribe: Scribe,
    time: Time,
    settings: Settings,
    coding: Option<Coding>,
    session: Option<SessionId>,
    open: Option<Open>,
    /// Called with each fragment that was begun.
    begun: Box<dyn FnMut(&FragmentKey) + Send>,
    recorded: Recorded,
}

/// What depends on the tracks.
struct Coding {
    video: Option<fragment::TrackNumber>,
    cutter: Cutter,
    writer: mkv::Writer,
    lead: Lead,
}

/// Audio that came before the first picture. The cutter begins at a picture, and files often have a
/// little audio in front of it, which belongs to it.
enum Lead {
    Waiting(VecDeque<AccessUnit>),
    Over,
}

/// What places fragments in time.
enum Time {
    Captured {
        clock: Clock,
        keeper: Box<Timekeeper>,
        last_looked: Option<Instant>,
    },
    /// A file: each session begins where the one before ended.
    Given {
        next: WallTime,
    },
}

struct Open {
    start: MediaTime,
    at: Start,
    /// Header and Cluster go to disk with the first block, so that no file holds only them.
    preamble: Vec<Bytes>,
    elapsed: Duration,
}

impl Recorder {
    /// A recorder of `stream` into `spool`, which goes on behind what an earlier run left there.
    pub fn new(stream: StreamName, spool: Spool, time: TimeSource, settings: Settings) -> Self {
        let (scribe, time) = match time {
            TimeSource::Arrival(clock) => {
                let last_end = spool.last_of_earlier_run(&stream).map(|(start, duration)| later(start, duration));
                let keeper = Box::new(Timekeeper::new(Believed::Device, last_end));
                (Scribe::hurried(spool), Time::Captured { clock, keeper, last_looked: None })
            }
            TimeSource::Given(start) => (Scribe::waiting(spool), Time::Given { next: start }),
        };
        Self {
            stream,
            scribe,
            time,
            settings,
            coding: None,
            session: None,
            open: None,
            begun: Box::new(|_| {}),
            recorded: Recorded::default(),
        }
    }

    /// Goes by this calendar. Before the first unit.
    #[must_use]
    pub fn believing(mut self, believed: Believed) -> Self {
        if let Time::Captured { keeper, .. } = &mut self.time {
            keeper.believe(believed);
        }
        self
    }

    /// Calls `begun` with each fragment that begins.
    #[must_use]
    pub fn on_begun(self, begun: impl FnMut(&FragmentKey) + Send + 'static) -> Self {
        Self { begun: Box::new(begun), ..self }
    }

    /// The stream that it records.
    pub fn stream(&self) -> &StreamName {
        &self.stream
    }

    /// What was recorded so far.
    pub fn recorded(&self) -> Recorded {
        self.recorded
    }

    /// The unit of `media` arrived at `at`. Comes before the unit.
    pub fn arrived(&mut self, media: MediaTime, at: MonotonicTime) {
        if let Time::Captured { keeper, .. } = &mut self.time {
            keeper.arrived(media, at);
        }
    }

    /// The camera's calendar said `wall` at `media`.
    pub fn camera_said(&mut self, media: MediaTime, wall: WallTime) {
        let Time::Captured { keeper, .. } = &mut self.time else {
            return;
        };
        let news = keeper.camera_said(media, wall);
        let (used, ahead) = (keeper.goes_by_camera(), keeper.reading().camera_ahead_ms);
        let stream = &self.stream;
        match news {
            None => {}
            Some(News::First) => {
                tracing::info!(%stream, used, ahead_ms = ahead, "the camera tells a time of its own");
            }
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

    /// How the camera's time stands.
    pub fn clock_reading(&self) -> Reading {
        match &self.time {
            Time::Captured { keeper, .. } => keeper.reading(),
            Time::Given { .. } => Reading::default(),
        }
    }

    /// The tracks of the units that follow. A camera that starts again or codes otherwise tells anew.
    pub fn tracks(&mut self, tracks: &Tracks) {
        self.finish();
        let video = tracks.video().map(|track| track.number);
        self.coding = Some(Coding {
            video,
            cutter: Cutter::new(self.settings, tracks.clone()),
            writer: mkv::Writer::new(tracks),
            lead: if video.is_some() { Lead::Waiting(VecDeque::new()) } else { Lead::Over },
        });
    }

    /// One unit, as it arrives.
    pub fn unit(&mut self, unit: AccessUnit) {
        let Some(coding) = &mut self.coding else {
            self.recorded.dropped += 1;
            return;
        };
        let is_video = coding.video == Some(unit.track);
        self.recorded.pictures += u64::from(is_video);
        match &mut coding.lead {
            Lead::Waiting(held) if !is_video => {
                if held.len() == limits::AUDIO_HELD_MAX {
                    held.pop_front();
                    self.recorded.dropped += 1;
                }
                held.push_back(unit);
            }
            Lead::Waiting(held) if unit.key => {
                let held = std::mem::take(held);
                coding.lead = Lead::Over;
                let from = unit.pts - limits::AUDIO_LEAD_MAX;
                self.push(unit);
                for unit in held {
                    if unit.pts >= from {
                        self.push(unit);
                    } else {
                        self.recorded.dropped += 1;
                    }
                }
            }
            Lead::Waiting(_) => self.recorded.dropped += 1,
            Lead::Over => self.push(unit),
        }
    }

    /// The source ended: completes the last fragment.
    pub fn end(&mut self) {
        self.finish();
        if let Time::Captured { keeper, .. } = &mut self.time {
            keeper.source_ended();
        }
    }

    fn finish(&mut self) {
        self.finish_session();
        self.coding = None;
        self.open = None;
        self.scribe.leave();
    }

    /// Completes the fragment and the session. Units after this begin the next one.
    fn finish_session(&mut self) {
        if let Some(coding) = &mut self.coding {
            coding.cutter.finish();
            self.drain();
        }
        self.session_ended();
    }

    fn session_ended(&mut self) {
        self.session = None;
        if let Time::Captured { keeper, .. } = &mut self.time {
            keeper.session_ended();
        }
    }

    fn push(&mut self, unit: AccessUnit) {
        let session_due = matches!(&self.time, Time::Captured { keeper, .. } if keeper.session_due());
        if session_due && unit.key && self.coding.as_ref().is_some_and(|coding| coding.leads(&unit)) {
            self.finish_session();
        }
        let Some(coding) = &mut self.coding else {
            return;
        };
        if let Err(error) = coding.cutter.push(unit) {
            self.recorded.dropped += 1;
            tracing::warn!(stream = %self.stream, %error, "a unit was not taken");
        }
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(event) = self.coding.as_mut().and_then(|coding| coding.cutter.poll()) {
            match event {
                Event::Started { sequence, start } => self.start_fragment(sequence, start),
                Event::Unit(unit) => self.write(&unit),
                Event::Finished { duration, reason } => self.finish_fragment(duration, reason),
                Event::SessionEnded(reason) => {
                    tracing::warn!(stream = %self.stream, ?reason, "media time jumped: a new session begins");
                    self.session = None;
                    if let Time::Captured { keeper, .. } = &mut self.time {
                        keeper.jumped();
                    }
                }
            }
        }
    }

    fn start_fragment(&mut self, sequence: Sequence, start: MediaTime) {
        let session = *self.session.get_or_insert_with(new_session);
        let at = self.time.start(&self.stream, start);
        let Some(coding) = &mut self.coding else {
            return;
        };
        let key = FragmentKey { stream: self.stream.clone(), id: FragmentId { session, sequence } };
        let preamble = vec![coding.writer.header(), coding.writer.cluster(start)];
        let closing = coding.writer.clone().end(&[]);
        if self.scribe.begin(key.clone(), at, closing) {
            (self.begun)(&key);
        }
        self.open = Some(Open { start, at, preamble, elapsed: Duration::ZERO });
    }

    fn write(&mut self, unit: &AccessUnit) {
        let (Some(open), Some(coding)) = (&mut self.open, &mut self.coding) else {
            return;
        };
        let (head, payload) = match coding.writer.block(unit) {
            Ok(block) => block,
            Err(error) => {
                self.recorded.dropped += 1;
                tracing::warn!(stream = %self.stream, %error, "a unit can't be written");
                return;
            }
        };
        open.elapsed = open.elapsed.max(unit.pts.since(open.start) + unit.duration.unwrap_or_default());
        let mut pieces = std::mem::take(&mut open.preamble);
        pieces.extend([head, payload]);
        self.scribe.append(open.elapsed, pieces);
    }

    fn finish_fragment(&mut self, duration: Duration, reason: FinishReason) {
        let Some(open) = self.open.take() else {
            return;
        };
        let continues = !matches!(reason, FinishReason::Jump | FinishReason::EndOfStream);
        let duration = self.time.end(open.at, open.start + duration, duration, continues);
        self.scribe.finish(duration);
    }
}

impl Coding {
    /// Whether fragments begin with units of this track.
    fn leads(&self, unit: &AccessUnit) -> bool {
        self.video.is_none_or(|video| video == unit.track)
    }
}

impl Time {
    /// When the fragment from `media` on begins.
    fn start(&mut self, stream: &StreamName, media: MediaTime) -> Start {
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

    /// How long the fragment from `start` to `media` lasts.
    fn end(&mut self, start: Start, media: MediaTime, duration: Duration, continues: bool) -> Duration {
        match self {
            Self::Captured { keeper, .. } => keeper.end(start, media, duration, continues),
            Self::Given { next } => {
                *next = start.wall + duration;
                duration
            }
        }
    }
}

/// Random by the operating system, so that two devices of one kind never choose alike.
fn new_session() -> SessionId {
    let mut bytes = [0; 8];
    match aws_lc_rs::rand::fill(&mut bytes) {
        Ok(()) => SessionId(u64::from_be_bytes(bytes)),
        Err(_) => SessionId(fastrand::u64(..)),
    }
}
