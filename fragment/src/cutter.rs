//! Cuts a stream of access units into fragments.
//!
//! A pure state machine: [`push`](Cutter::push) a unit, then [`poll`](Cutter::poll) until nothing comes.
//! It cuts at the first key frame that is a target duration after the fragment's start. Two hard
//! limits, of duration and of size, hold even when the camera sends no key frame for long: then a
//! fragment begins without one, because losing video would be worse, and the next key frame cuts
//! again at once. A jump in time ends the session: a fragment is never stretched over a gap.
//! design/fragment.md has the rules in one table.

use std::collections::VecDeque;
use std::time::Duration;

use smallvec::SmallVec;

use crate::{AccessUnit, MediaTime, Sequence, TrackNumber, Tracks, limits};

/// How long a single picture lasts when neither it nor its neighbours tell: 25 pictures a second.
const PICTURE_DURATION_FALLBACK: Duration = Duration::from_millis(40);

/// When to cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The duration to aim for; key frames decide what it comes to. A key frame a tenth early
    /// still cuts, so that a camera's jitter does not double a fragment.
    pub target: Duration,
    /// No fragment is longer, even without a key frame.
    pub duration_max: Duration,
    /// No fragment's units add up to more, even without a key frame.
    pub bytes_max: usize,
    /// A larger step between two units of a track, forwards or backwards, is a jump; of sound beside a picture,
    /// only one that leads away from the picture too.
    pub gap_max: Duration,
}

impl Default for Settings {
    /// Two seconds, as Kinesis Video Streams' producers have it.
    fn default() -> Self {
        Self {
            target: Duration::from_secs(2),
            duration_max: limits::FRAGMENT_DURATION_MAX,
            // Leaves room for headers and tags within the limit of the whole fragment.
            bytes_max: limits::FRAGMENT_BYTES_MAX - 2 * limits::HEADER_BYTES_MAX,
            // Longer than a slow time-lapse camera's step is not continuous video.
            gap_max: Duration::from_secs(5),
        }
    }
}

/// What the cutter decided, in the order in which it happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A fragment begins. Its first unit follows.
    Started {
        /// Its place in the session.
        sequence: Sequence,
        /// The presentation time of its first unit.
        start: MediaTime,
    },
    /// A unit of the fragment that was started last.
    Unit(AccessUnit),
    /// The fragment is complete.
    Finished {
        /// From its start to the start of the next one, or to the end of its last unit.
        duration: Duration,
        /// Why it ended.
        reason: FinishReason,
    },
    /// Media time jumped: what follows belongs to a new session, counted from sequence 0.
    SessionEnded(SessionEndReason),
    /// A unit of no fragment: it came before the session's first key frame, and can't be decoded.
    LeftOut(AccessUnit),
}

/// Why a fragment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// A key frame came after the target duration.
    KeyFrame,
    /// No key frame came within the hard limit of duration.
    DurationMax,
    /// No key frame came within the hard limit of size.
    BytesMax,
    /// Media time jumped.
    Jump,
    /// The source ended.
    EndOfStream,
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionEndReason {
    /// Media time stepped forwards by more than the gap allowed.
    JumpForwards,
    /// Media time stepped backwards by more than the gap allowed.
    JumpBackwards,
}

/// Why a unit was not taken. The cutter goes on as if it had not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// Its track is not among the tracks.
    #[error("a unit of track {0}, which is not declared")]
    UnknownTrack(TrackNumber),
    /// It alone exceeds the limit of a fragment.
    #[error("a unit of {bytes} bytes, but a fragment has at most {bytes_max}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
}

/// Access units in, fragments out.
#[derive(Debug)]
pub struct Cutter {
    settings: Settings,
    /// The first video track, or `None` where every unit is a place to cut.
    lead: Option<TrackNumber>,
    tracks: Tracks,
    timelines: SmallVec<[Timeline; limits::TRACKS_MAX]>,
    open: Option<Open>,
    sequence: Sequence,
    dropped: u64,
    events: VecDeque<Event>,
}

/// What is known of a track's time within the session.
#[derive(Debug)]
struct Timeline {
    number: TrackNumber,
    last: Option<MediaTime>,
}

/// The fragment being filled.
#[derive(Debug)]
struct Open {
    start: MediaTime,
    /// False after a hard limit: then the next key frame cuts, whatever the duration.
    begins_with_key: bool,
    bytes: usize,
    /// Units of the lead track, to estimate how long its last one lasts.
    lead_units: u32,
    lead_last: MediaTime,
    /// The latest end that a unit with a duration has.
    known_end: MediaTime,
}

impl Cutter {
    /// A cutter for these tracks. Settings beyond the limits of a fragment are lowered to them.
    pub fn new(settings: Settings, tracks: Tracks) -> Self {
        let timelines = tracks.iter().map(|track| Timeline { number: track.number, last: None }).collect();
        Self {
            settings: Settings {
                duration_max: settings.duration_max.min(limits::FRAGMENT_DURATION_MAX),
                bytes_max: settings.bytes_max.min(limits::FRAGMENT_BYTES_MAX),
                ..settings
            },
            lead: tracks.video().map(|track| track.number),
            tracks,
            timelines,
            open: None,
            sequence: Sequence(0),
            dropped: 0,
            events: VecDeque::new(),
        }
    }

    /// Takes the next unit. Drain [`Self::poll`] before the next call.
    pub fn push(&mut self, unit: AccessUnit) -> Result<(), PushError> {
        let Some(index) = self.timelines.iter().position(|track| track.number == unit.track) else {
            return Err(PushError::UnknownTrack(unit.track));
        };
        if unit.data.len() > self.settings.bytes_max {
            return Err(PushError::TooLarge { bytes: unit.data.len(), bytes_max: self.settings.bytes_max });
        }
        if let Some(reason) = self.jump(index, &unit) {
            if self.timelines[index].last.is_none() {
                // A track that joins at another time than the rest: left over from before a jump.
                self.dropped += 1;
                return Ok(());
            }
            self.end_session(reason);
        }
        let cuts = unit.key && self.lead.is_none_or(|lead| lead == unit.track);
        match self.finish_reason(&unit, cuts) {
            Some(reason) => {
                self.finish_fragment(Some(unit.pts), reason);
                self.start_fragment(&unit, cuts);
            }
            None if self.open.is_none() && cuts => self.start_fragment(&unit, true),
            None if self.open.is_none() => {
                self.dropped += 1;
                self.events.push_back(Event::LeftOut(unit));
                return Ok(());
            }
            None => {}
        }
        self.timelines[index].last = Some(unit.pts);
        let leads = self.lead.is_none_or(|lead| lead == unit.track);
        let open = self.open.as_mut().expect("a fragment was open or has just been started");
        open.add(&unit, leads);
        self.events.push_back(Event::Unit(unit));
        Ok(())
    }

    /// What happened, oldest first; `None` when the cutter needs another unit.
    pub fn poll(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Completes the last fragment: the source ended. Units after this begin a new session.
    pub fn finish(&mut self) {
        self.finish_fragment(None, FinishReason::EndOfStream);
        self.reset();
    }

    /// The tracks that it cuts.
    pub fn tracks(&self) -> &Tracks {
        &self.tracks
    }

    /// Units that belong to no fragment: before the first key frame, or left over from before a jump.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Whether `unit` lies too far from what came before it on its track, or else on any track. Sound that
    /// was silent for a while and returns where the picture is has not jumped: the lead track tells the time. Its own
    /// gap is a jump, whatever the sound did meanwhile.
    fn jump(&self, index: usize, unit: &AccessUnit) -> Option<SessionEndReason> {
        let latest = self.timelines.iter().filter_map(|track| track.last).max();
        let own = self.timelines[index].last;
        let before = own.or(latest)?;
        let leads = self.lead.is_none_or(|lead| lead == unit.track);
        let reached = if leads { before } else { latest.unwrap_or(before) };
        let too_early = self.open.as_ref().is_some_and(|open| open.start.since(unit.pts) > self.settings.duration_max);
        if before.since(unit.pts) > self.settings.gap_max || too_early {
            Some(SessionEndReason::JumpBackwards)
        } else if unit.pts.since(reached) > self.settings.gap_max {
            Some(SessionEndReason::JumpForwards)
        } else {
            None
        }
    }

    /// Why the open fragment must end before `unit`, if it must.
    fn finish_reason(&self, unit: &AccessUnit, cuts: bool) -> Option<FinishReason> {
        let open = self.open.as_ref()?;
        let elapsed = unit.pts.since(open.start);
        let target = self.settings.target - self.settings.target / 10;
        // A key frame at the very start, as a second slice sent apart, must not make an empty fragment.
        let key_frame_due = elapsed >= target || !open.begins_with_key;
        if cuts && key_frame_due && !elapsed.is_zero() {
            Some(FinishReason::KeyFrame)
        } else if elapsed >= self.settings.duration_max {
            Some(FinishReason::DurationMax)
        } else if open.bytes + unit.data.len() > self.settings.bytes_max {
            Some(FinishReason::BytesMax)
        } else {
            None
        }
    }

    fn start_fragment(&mut self, unit: &AccessUnit, begins_with_key: bool) {
        self.events.push_back(Event::Started { sequence: self.sequence, start: unit.pts });
        self.sequence = self.sequence.next();
        self.open = Some(Open {
            start: unit.pts,
            begins_with_key,
            bytes: 0,
            lead_units: 0,
            lead_last: unit.pts,
            known_end: unit.pts,
        });
    }

    fn finish_fragment(&mut self, next_start: Option<MediaTime>, reason: FinishReason) {
        if let Some(open) = self.open.take() {
            let end = next_start.unwrap_or_else(|| open.end());
            self.events.push_back(Event::Finished { duration: end.since(open.start), reason });
        }
    }

    fn end_session(&mut self, reason: SessionEndReason) {
        self.finish_fragment(None, FinishReason::Jump);
        self.events.push_back(Event::SessionEnded(reason));
        self.reset();
    }

    fn reset(&mut self) {
        self.sequence = Sequence(0);
        for track in &mut self.timelines {
            track.last = None;
        }
    }
}

impl Open {
    fn add(&mut self, unit: &AccessUnit, leads: bool) {
        self.bytes += unit.data.len();
        self.known_end = self.known_end.max(unit.pts + unit.duration.unwrap_or_default());
        if leads {
            self.lead_units += 1;
            self.lead_last = self.lead_last.max(unit.pts);
        }
    }

    /// Where the last unit ends, as far as can be told: by its duration, or the usual step.
    fn end(&self) -> MediaTime {
        let span = self.lead_last.since(self.start);
        let step = match self.lead_units {
            0 | 1 => PICTURE_DURATION_FALLBACK,
            units => span / (units - 1),
        };
        if self.known_end > self.lead_last { self.known_end } else { self.lead_last + step }
    }
}

#[cfg(test)]
mod tests;
