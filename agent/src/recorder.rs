//! Turns one camera's access units into spooled fragments: cutter → Matroska → spool.
//!
//! It knows no GStreamer and no network. A session is one uninterrupted run of media time; each start
//! of a camera, change of its coding and jump in its time begins a new one. Where a session's media
//! time zero lies by the monotonic clock is decided once, at its first unit, and kept.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use fragment::cutter::{Cutter, Event, Settings};
use fragment::{
    AccessUnit, ClockQuality, FragmentId, MediaTime, MonotonicTime, Sequence, SessionId, StreamName, Tracks, WallTime,
    mkv,
};
use spool::{Spool, Start};
use upload::FragmentKey;

use crate::clock::Clock;
use crate::limits;
use crate::scribe::Scribe;

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
    time: TimeSource,
    settings: Settings,
    coding: Option<Coding>,
    session: Option<Session>,
    open: Option<Open>,
    /// Where the last fragment ended, so that the next session does not overlap it.
    last_end: Option<Anchor>,
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

/// An instant by whichever clock the session goes by.
#[derive(Clone, Copy, Debug)]
enum Anchor {
    Monotonic { at: MonotonicTime, wall: WallTime, quality: ClockQuality },
    Wall(WallTime),
}

struct Session {
    id: SessionId,
    /// A moment of media time, and when it was.
    media: MediaTime,
    anchor: Anchor,
}

struct Open {
    start: MediaTime,
    at: Anchor,
    /// Header and Cluster go to disk with the first block, so that no file holds only them.
    preamble: Vec<Bytes>,
    elapsed: Duration,
}

impl Recorder {
    /// A recorder of `stream` into `spool`, which goes on behind what an earlier run left there.
    pub fn new(stream: StreamName, spool: Spool, time: TimeSource, settings: Settings) -> Self {
        let last_end = spool.last_of_earlier_run(&stream).map(|(start, duration)| Anchor::from(start).later(duration));
        let scribe = match time {
            TimeSource::Arrival(_) => Scribe::hurried(spool),
            TimeSource::Given(_) => Scribe::waiting(spool),
        };
        Self {
            stream,
            scribe,
            time,
            settings,
            coding: None,
            session: None,
            open: None,
            last_end: last_end.filter(|_| matches!(time, TimeSource::Arrival(_))),
            begun: Box::new(|_| {}),
            recorded: Recorded::default(),
        }
    }

    /// Calls `begun` with each fragment that begins.
    #[must_use]
    pub fn on_begun(self, begun: impl FnMut(&FragmentKey) + Send + 'static) -> Self {
        Self { begun: Box::new(begun), ..self }
    }

    /// What was recorded so far.
    pub fn recorded(&self) -> Recorded {
        self.recorded
    }

    /// The tracks of the units that follow. A camera that starts again or codes otherwise tells anew.
    pub fn tracks(&mut self, tracks: &Tracks) {
        self.end();
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
        if let Some(mut coding) = self.coding.take() {
            coding.cutter.finish();
            self.coding = Some(coding);
            self.drain();
            self.coding = None;
        }
        self.session = None;
        self.open = None;
        self.scribe.leave();
    }

    fn push(&mut self, unit: AccessUnit) {
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
                Event::Finished { duration, .. } => self.finish_fragment(duration),
                Event::SessionEnded(reason) => {
                    tracing::warn!(stream = %self.stream, ?reason, "media time jumped: a new session begins");
                    self.session = None;
                }
            }
        }
    }

    fn start_fragment(&mut self, sequence: Sequence, start: MediaTime) {
        if self.session.is_none() {
            self.session = Some(Session { id: new_session(), media: start, anchor: self.anchor() });
        }
        let (Some(session), Some(coding)) = (&self.session, &mut self.coding) else {
            return;
        };
        let at = session.anchor.moved(session.media, start);
        let key = FragmentKey { stream: self.stream.clone(), id: FragmentId { session: session.id, sequence } };
        let preamble = vec![coding.writer.header(), coding.writer.cluster(start)];
        let closing = coding.writer.clone().end(&[]);
        if self.scribe.begin(key.clone(), at.start(), closing) {
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

    fn finish_fragment(&mut self, duration: Duration) {
        let Some(open) = self.open.take() else {
            return;
        };
        self.last_end = Some(open.at.later(duration));
        self.scribe.finish(duration);
    }

    /// When the unit that has just come was captured: now, or right behind what came before.
    fn anchor(&self) -> Anchor {
        match (self.time, self.last_end) {
            (TimeSource::Arrival(clock), before) => {
                let now = clock.now();
                let anchor = Anchor::Monotonic { at: now.monotonic, wall: now.wall, quality: now.quality };
                let overlap = match before {
                    Some(Anchor::Monotonic { at, .. }) => at.since(now.monotonic).unwrap_or_default(),
                    _ => Duration::ZERO,
                };
                // Arrival jitters; a small overlap is that, and a large one is the camera's clock.
                if overlap <= limits::OVERLAP_MAX { anchor.later(overlap) } else { anchor }
            }
            (TimeSource::Given(_), Some(Anchor::Wall(end))) => Anchor::Wall(end),
            (TimeSource::Given(start), _) => Anchor::Wall(start),
        }
    }
}

impl From<Start> for Anchor {
    fn from(start: Start) -> Self {
        match start {
            Start { monotonic: Some(at), wall, quality } => Self::Monotonic { at, wall, quality },
            Start { monotonic: None, wall, .. } => Self::Wall(wall),
        }
    }
}

impl Anchor {
    fn later(self, by: Duration) -> Self {
        match self {
            Self::Monotonic { at, wall, quality } => Self::Monotonic {
                at: MonotonicTime { since_boot: at.since_boot.saturating_add(by), ..at },
                wall: wall + by,
                quality,
            },
            Self::Wall(wall) => Self::Wall(wall + by),
        }
    }

    /// The anchor of `to`, when `self` is that of `from`.
    fn moved(self, from: MediaTime, to: MediaTime) -> Self {
        // A session's fragments never lie before its first one.
        self.later(to.since(from))
    }

    fn start(self) -> Start {
        match self {
            Self::Monotonic { at, wall, quality } => Start { monotonic: Some(at), wall, quality },
            Self::Wall(wall) => Start { monotonic: None, wall, quality: ClockQuality::Given },
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
