//! Cuts the document of a session into fragments.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use fragment::mkv::{self, Block, ErrorKind, Reader, Tag, WriteError, Writer};
use fragment::track::InvalidTracks;
use fragment::{MediaTime, Track, Tracks, WallTime};

use super::course::Course;
use super::limits::{Limits, Order};
use super::tags::{END_OF_FRAGMENT, Tags};
use crate::ErrorCode;

/// How far the next fragment may begin from where the frames of this one seem to end, and still be what ends it: a few frames of
/// a camera that is in no hurry.
const SEAM_MAX: Duration = Duration::from_millis(400);

/// The least that a fragment lasts: one of a single picture, of which nothing says how long it is shown.
const DURATION_MIN: Duration = Duration::from_millis(1);

/// What a producer's timecodes count from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timecodes {
    /// From 1970.
    Absolute,
    /// From this moment.
    Relative(WallTime),
}

/// What has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A fragment begins.
    Begun {
        /// Its Cluster's Timestamp, as the producer counts.
        timecode: u64,
        /// When it begins, by the producer's time.
        start: WallTime,
    },
    /// The fragment that has begun is whole.
    Whole(Fragment),
}

/// A fragment that is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Its Cluster's Timestamp, as the producer counts.
    pub timecode: u64,
    /// When it begins, by the producer's time.
    pub start: WallTime,
    /// How long it lasts.
    pub duration: Duration,
    /// Its tracks.
    pub tracks: Tracks,
    /// Whether it begins with a key frame of its leading track.
    pub independent: bool,
    /// It, as a document of its own: the session's Info and Tracks, its frames, its tags.
    pub document: Bytes,
    /// Its tags once more.
    pub tags: Vec<Tag>,
}

/// What is wrong with what came. Nothing of the session is taken after it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// As a number.
    pub code: ErrorCode,
    /// The Cluster's Timestamp, if it is about a fragment.
    pub timecode: Option<u64>,
    /// In words.
    pub message: String,
}

/// Takes a session's bytes, gives its fragments. What comes out does not depend on how the bytes were split.
#[derive(Debug)]
pub struct Splitter {
    limits: Limits,
    timecodes: Timecodes,
    reader: Reader,
    /// The nanoseconds that a timecode counts.
    scale: u64,
    documents: u32,
    tracks: Option<Tracks>,
    /// Made when it is needed, since Info and Tracks may come in any order.
    writer: Option<Writer>,
    courses: Vec<Course>,
    /// For the next fragment.
    tags: Tags,
    cluster: Option<Cluster>,
    last_timecode: Option<u64>,
    ready: VecDeque<Event>,
    failed: Option<Error>,
}

/// The fragment under way.
#[derive(Debug)]
struct Cluster {
    timecode: u64,
    time: MediaTime,
    start: WallTime,
    document: Vec<u8>,
    tags: Tags,
    /// Of the leading track; `None` before it has a frame.
    begins_with_key: Option<bool>,
    earliest: MediaTime,
    latest: MediaTime,
    /// All its frames are here; its tags may not be.
    has_ended: bool,
}

impl Splitter {
    /// A session of which nothing has come.
    pub fn new(limits: Limits, timecodes: Timecodes) -> Self {
        let of_reader = mkv::Limits { block_bytes_max: limits.fragment_bytes_max, ..mkv::Limits::default() };
        Self {
            limits,
            timecodes,
            // Whether a CodecPrivate is any good is told to those who want to play.
            reader: Reader::new(of_reader).with_broken_codecs(),
            scale: mkv::Info::default().timestamp_scale.into(),
            documents: 0,
            tracks: None,
            writer: None,
            courses: Vec::new(),
            tags: Tags::default(),
            cluster: None,
            last_timecode: None,
            ready: VecDeque::new(),
            failed: None,
        }
    }

    /// Takes the next bytes. Call [`Self::next`] until it gives `None` before pushing more.
    pub fn push(&mut self, bytes: Bytes) {
        self.reader.push(bytes);
    }

    /// What has come; `None` when more bytes are needed. After an error every call gives the same error.
    #[expect(clippy::should_implement_trait, reason = "None is not the end: more comes after the next push")]
    pub fn next(&mut self) -> Result<Option<Event>, Error> {
        while self.ready.is_empty() && self.failed.is_none() {
            match self.reader.next() {
                Ok(Some(event)) => self.failed = self.take(event).err(),
                Ok(None) => break,
                Err(error) => self.fail(&error),
            }
        }
        // What was whole before an error is given before it.
        match (self.ready.pop_front(), &self.failed) {
            (Some(event), _) => Ok(Some(event)),
            (None, Some(error)) => Err(error.clone()),
            (None, None) => Ok(None),
        }
    }

    /// Declares the end of the session, after [`Self::next`] gave `None`; call that again until it gives `None` or an error.
    pub fn finish(&mut self) {
        if let Err(error) = self.reader.finish() {
            return self.fail(&error);
        }
        while self.failed.is_none() {
            match self.reader.next() {
                Ok(Some(event)) => self.failed = self.take(event).err(),
                Ok(None) => return self.failed = self.complete(None).err(),
                Err(error) => self.fail(&error),
            }
        }
    }

    /// The bytes that are kept because their fragment is not whole.
    pub fn buffered(&self) -> usize {
        self.reader.buffered() + self.cluster.as_ref().map_or(0, |cluster| cluster.document.len())
    }

    /// The timecode of the fragment under way, if there is one.
    pub fn under_way(&self) -> Option<u64> {
        self.cluster.as_ref().map(|cluster| cluster.timecode)
    }

    fn take(&mut self, event: mkv::Event) -> Result<(), Error> {
        match event {
            mkv::Event::Ebml => {
                self.complete(None)?;
                self.documents += 1;
                if self.documents > 1 {
                    return Err(
                        self.error(ErrorCode::InvalidMkv, "a session holds one Segment, and here a second one begins")
                    );
                }
            }
            mkv::Event::Segment => {}
            mkv::Event::Info(info) => {
                self.scale = info.timestamp_scale.into();
                self.writer = None;
            }
            mkv::Event::Tracks(tracks) => {
                self.courses = tracks.iter().map(|track| Course::new(track.number)).collect();
                self.tracks = Some(tracks);
                self.writer = None;
            }
            mkv::Event::Tags(tags) => self.take_tags(tags)?,
            mkv::Event::Cluster { time } => {
                self.complete(Some(time))?;
                self.begin(time)?;
            }
            mkv::Event::Block(block) => self.take_block(&block)?,
            mkv::Event::ClusterEnd { sized } => {
                if let Some(cluster) = &mut self.cluster {
                    cluster.has_ended = true;
                }
                // Otherwise something follows, which may be its tags, or tell where it ends.
                if sized {
                    self.complete(None)?;
                }
            }
        }
        Ok(())
    }

    fn take_tags(&mut self, mut tags: Vec<Tag>) -> Result<(), Error> {
        let all = tags.len();
        tags.retain(|tag| tag.name != END_OF_FRAGMENT);
        if tags.len() == all {
            self.complete(None)?;
        }
        let of = self.cluster.as_mut().map_or(&mut self.tags, |cluster| &mut cluster.tags);
        of.add(tags, &self.limits).map_err(|why| self.error(ErrorCode::Metadata, why))?;
        self.complete(None)
    }

    fn begin(&mut self, time: MediaTime) -> Result<(), Error> {
        let timecode = time.as_nanos().unsigned_abs() / self.scale;
        let fail = |code, message: String| Err(Error { code, timecode: Some(timecode), message });
        if self.last_timecode.is_some_and(|last| timecode <= last) {
            let message = format!("a Cluster at {timecode} follows one at {}", self.last_timecode.unwrap_or_default());
            return fail(ErrorCode::OutOfOrder, message);
        }
        if self.writer.is_none() {
            self.writer = Writer::cutting(&self.reader);
        }
        let Some(writer) = &mut self.writer else {
            return fail(ErrorCode::InvalidMkv, "a Cluster comes before the Tracks".to_owned());
        };
        let start = match self.timecodes {
            Timecodes::Absolute => WallTime::from_nanos(time.as_nanos()),
            Timecodes::Relative(start) => start.at(time),
        };
        let document = [writer.header(), writer.cluster(time)].concat();
        self.cluster = Some(Cluster {
            timecode,
            time,
            start,
            document,
            tags: std::mem::take(&mut self.tags),
            begins_with_key: None,
            earliest: time,
            latest: time,
            has_ended: false,
        });
        self.last_timecode = Some(timecode);
        self.ready.push_back(Event::Begun { timecode, start });
        Ok(())
    }

    fn take_block(&mut self, block: &Block) -> Result<(), Error> {
        let (Some(cluster), Some(writer), Some(tracks)) = (&mut self.cluster, &mut self.writer, &self.tracks) else {
            return Err(self.error(ErrorCode::InvalidMkv, "a block comes before its Cluster's Timestamp"));
        };
        let timecode = Some(cluster.timecode);
        let fail = |code, message: String| Err(Error { code, timecode, message });
        let before = |course: &&Course| self.limits.order == Order::OfAllTracks || course.track == block.track;
        let before = self.courses.iter().filter(before).filter_map(|course| course.before).max();
        if before.is_some_and(|before| block.pts <= before) {
            let message = format!("a frame of track {} lies before the end of the fragment before", block.track);
            return fail(ErrorCode::OutOfOrder, message);
        }
        (cluster.earliest, cluster.latest) = (cluster.earliest.min(block.pts), cluster.latest.max(block.pts));
        let lasts = cluster.latest.since(cluster.earliest);
        if lasts > self.limits.fragment_duration_max {
            let message =
                format!("the fragment lasts {lasts:?}; at most {:?} are allowed", self.limits.fragment_duration_max);
            return fail(ErrorCode::FragmentTooLong, message);
        }
        if leading(tracks).is_none_or(|leading| leading.number == block.track) {
            cluster.begins_with_key.get_or_insert(block.key);
        }
        if let Some(course) = self.courses.iter_mut().find(|course| course.track == block.track) {
            course.take(block);
        }
        let head = match writer.block_head(block.track, block.pts, block.key, block.data.len()) {
            Ok(head) => head,
            Err(error @ WriteError::OutOfReach { .. }) => return fail(ErrorCode::FragmentTooLong, error.to_string()),
            Err(error) => return fail(ErrorCode::InvalidMkv, error.to_string()),
        };
        let bytes = cluster.document.len() + head.len() + block.data.len();
        if bytes > self.limits.fragment_bytes_max {
            let message = format!("the fragment has more than the {} bytes allowed", self.limits.fragment_bytes_max);
            return fail(ErrorCode::FragmentTooLarge, message);
        }
        cluster.document.extend_from_slice(&head);
        block.data.pieces().iter().for_each(|piece| cluster.document.extend_from_slice(piece));
        Ok(())
    }

    /// Gives the fragment away that has ended, if there is one; `next` is where another begins.
    fn complete(&mut self, next: Option<MediaTime>) -> Result<(), Error> {
        let Some(cluster) = self.cluster.take_if(|cluster| cluster.has_ended) else { return Ok(()) };
        let timecode = Some(cluster.timecode);
        let fail = |code, message: String| Err(Error { code, timecode, message });
        let (Some(writer), Some(tracks)) = (&mut self.writer, &self.tracks) else {
            return fail(ErrorCode::InvalidMkv, "the Tracks are missing".to_owned());
        };
        if let Some(course) = self.courses.iter().find(|course| course.latest.is_none()) {
            let message = format!("the fragment has no frame of track {}, which is declared", course.track);
            return fail(ErrorCode::FramesMissing, message);
        }
        let (mut document, tags) = (cluster.document, cluster.tags.into_all());
        document.extend_from_slice(&writer.end(&tags));
        if document.len() > self.limits.fragment_bytes_max {
            let message = format!("the fragment has more than the {} bytes allowed", self.limits.fragment_bytes_max);
            return fail(ErrorCode::FragmentTooLarge, message);
        }
        let leads = leading(tracks).map(|track| track.number);
        let frames_end = self.courses.iter().find(|course| Some(course.track) == leads).and_then(Course::end);
        let frames_end = frames_end.unwrap_or(cluster.latest).max(cluster.latest);
        let continues = |next: &MediaTime| *next > cluster.latest && next.since(frames_end) <= SEAM_MAX;
        let duration = next.filter(continues).unwrap_or(frames_end).since(cluster.time);
        self.courses.iter_mut().for_each(Course::turn);
        self.ready.push_back(Event::Whole(Fragment {
            timecode: cluster.timecode,
            start: cluster.start,
            duration: duration.clamp(DURATION_MIN, self.limits.fragment_duration_max),
            tracks: tracks.clone(),
            independent: cluster.begins_with_key.unwrap_or(false),
            document: document.into(),
            tags,
        }));
        Ok(())
    }

    /// What comes can't be read. A fragment whose frames were all here before is whole.
    fn fail(&mut self, error: &mkv::Error) {
        let completed = self.complete(None);
        self.failed = completed.err().or_else(|| Some(self.error(code_of(&error.kind), error.to_string())));
    }

    fn error(&self, code: ErrorCode, message: impl Into<String>) -> Error {
        Error { code, timecode: self.under_way(), message: message.into() }
    }
}

/// The track that decoding begins with.
fn leading(tracks: &Tracks) -> Option<&Track> {
    tracks.video().or_else(|| tracks.iter().next())
}

fn code_of(kind: &ErrorKind) -> ErrorCode {
    match kind {
        ErrorKind::Tracks(InvalidTracks::TooMany(_)) => ErrorCode::TooManyTracks,
        ErrorKind::UndeclaredTrack { .. } => ErrorCode::TrackMismatch,
        ErrorKind::TooLarge { element, .. } => match element.name() {
            Some("SimpleBlock" | "Block") => ErrorCode::FragmentTooLarge,
            Some("Tags") => ErrorCode::Metadata,
            _ => ErrorCode::InvalidMkv,
        },
        ErrorKind::TimeRange => ErrorCode::InvalidTimestamp,
        _ => ErrorCode::InvalidMkv,
    }
}
