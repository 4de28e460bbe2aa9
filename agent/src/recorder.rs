//! Turns one camera's access units into spooled fragments: cutter → Matroska → spool.
//!
//! It knows no GStreamer and no network. A session is one uninterrupted run of media time; each start
//! of a camera, change of its coding and jump in its time begins a new one. Where it lies in time is the
//! [`Timekeeper`](crate::timekeeper::Timekeeper)'s to say.

mod left_out;
mod time;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fragment::cutter::{Cutter, Event, FinishReason, Settings};
use fragment::{
    AccessUnit, FragmentId, MediaTime, MonotonicTime, Sequence, SessionId, StreamName, Tracks, WallTime, mkv,
};
use spool::{Spool, Start};
use upload::FragmentKey;

use crate::clock::Clock;
use crate::limits;
use crate::scribe::Scribe;
use crate::service::Pulse;
use crate::timekeeper::{Believed, Reading, later};

use left_out::LeftOut;
use time::Time;

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
    /// Units of video among them that came before a key frame. The list of drops has them.
    pub left_out: u64,
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
    /// Pictures before the key frame that begins the session.
    left_out: Option<LeftOut>,
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

struct Open {
    id: FragmentId,
    start: MediaTime,
    at: Start,
    /// Header and Cluster go to disk with the first block, so that no file holds only them.
    preamble: Vec<Bytes>,
    elapsed: Duration,
}

impl Recorder {
    /// A recorder of `stream` into `spool`, which goes on behind what an earlier run, or an earlier recorder of this one, left there.
    pub fn new(stream: StreamName, spool: Spool, time: TimeSource, settings: Settings) -> Self {
        let last_end = spool.newest_of(&stream).map(|(start, duration)| later(start, duration));
        let scribe = match time {
            TimeSource::Arrival(_) => Scribe::hurried(spool),
            TimeSource::Given(_) => Scribe::waiting(spool),
        };
        let time = Time::new(time, last_end);
        Self {
            stream,
            scribe,
            time,
            settings,
            coding: None,
            session: None,
            open: None,
            left_out: None,
            begun: Box::new(|_| {}),
            recorded: Recorded::default(),
        }
    }

    /// Goes by this calendar. Before the first unit.
    #[must_use]
    pub fn believing(mut self, believed: Believed) -> Self {
        if let Some(keeper) = self.time.keeper() {
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

    /// The fragment that is being recorded.
    pub fn open(&self) -> Option<FragmentId> {
        self.open.as_ref().map(|open| open.id)
    }

    /// Moved by the thread that writes.
    pub fn scribe_pulse(&self) -> Arc<Pulse> {
        self.scribe.pulse()
    }

    /// What was recorded so far.
    pub fn recorded(&self) -> Recorded {
        self.recorded
    }

    /// The unit of `media` arrived at `at`. Comes before the unit.
    pub fn arrived(&mut self, media: MediaTime, at: MonotonicTime) {
        if let Some(keeper) = self.time.keeper() {
            keeper.arrived(media, at);
        }
    }

    /// The camera's calendar said `wall` at `media`.
    pub fn camera_said(&mut self, media: MediaTime, wall: WallTime) {
        self.time.camera_said(&self.stream, media, wall);
    }

    /// How the camera's time stands.
    pub fn clock_reading(&self) -> Reading {
        self.time.reading()
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
            Lead::Waiting(_) => self.leave_out(&unit),
            Lead::Over => self.push(unit),
        }
    }

    /// The source ended: completes the last fragment.
    pub fn end(&mut self) {
        self.finish();
        if let Some(keeper) = self.time.keeper() {
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
        self.list_left_out(None);
        self.session_ended();
    }

    fn session_ended(&mut self) {
        self.session = None;
        if let Some(keeper) = self.time.keeper() {
            keeper.session_ended();
        }
    }

    fn push(&mut self, unit: AccessUnit) {
        let session_due = self.time.keeper().is_some_and(|keeper| keeper.session_due());
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
                Event::LeftOut(unit) => self.leave_out(&unit),
                Event::SessionEnded(reason) => {
                    tracing::warn!(stream = %self.stream, ?reason, "media time jumped: a new session begins");
                    self.session = None;
                    if let Some(keeper) = self.time.keeper() {
                        keeper.jumped();
                    }
                }
            }
        }
    }

    fn start_fragment(&mut self, sequence: Sequence, start: MediaTime) {
        let session = *self.session.get_or_insert_with(new_session);
        let at = self.time.start(&self.stream, start);
        self.list_left_out(Some((start, at)));
        let Some(coding) = &mut self.coding else {
            return;
        };
        let key = FragmentKey { stream: self.stream.clone(), id: FragmentId { session, sequence } };
        let preamble = vec![coding.writer.header(), coding.writer.cluster(start)];
        let closing = coding.writer.clone().end(&[]);
        if self.scribe.begin(key.clone(), at, closing) {
            (self.begun)(&key);
        }
        self.open = Some(Open { id: key.id, start, at, preamble, elapsed: Duration::ZERO });
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

/// Random by the operating system, so that two devices of one kind never choose alike.
fn new_session() -> SessionId {
    let mut bytes = [0; 8];
    match aws_lc_rs::rand::fill(&mut bytes) {
        Ok(()) => SessionId(u64::from_be_bytes(bytes)),
        Err(_) => SessionId(fastrand::u64(..)),
    }
}
