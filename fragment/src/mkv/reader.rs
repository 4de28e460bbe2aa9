//! A push parser for Matroska.
//!
//! The elements form three nested levels: Segment, Cluster, BlockGroup. The reader keeps one record
//! per open level instead of a stack, because nothing else is ever open: the small headers (EBML,
//! Info, Tracks, Tags) are taken whole, and everything unknown is passed over without being kept.
//!
//! What it takes: unknown sizes of Segment and Cluster (ended by the next element that belongs above
//! them, or by the end of the input), sizes of any length, SimpleBlocks and BlockGroups, all lacings,
//! Void and CRC-32 anywhere (checksums are not verified: transport and storage have their own),
//! several documents in a row. Memory is bounded by the limits, whatever sizes the input claims:
//! an element above its limit is refused by its header, before any of it is kept.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use crate::{MediaTime, TrackNumber, Tracks};

use super::block::{Head, Lacing, read_lacing};
use super::ebml::{Element, HEADER_BYTES_MAX, Header, write_element};
use super::elements::Id;
use super::error::{Error, ErrorKind};
use super::event::{Block, Event, Info, Limits};
use super::headers::{BrokenCodecs, Declared, Reference, check_ebml, read_info, read_tracks};
use super::input::Input;
use super::level::{Cluster, Group, Level};
use super::payload::Payload;
use super::tags;

/// The reader. After an error every call gives the same error.
#[derive(Debug)]
pub struct Reader {
    limits: Limits,
    input: Input,
    level: Level,
    /// Bytes of an element that are still to be passed over.
    skip: Skip,
    /// Frames of a laced block that were not yet handed out.
    frames: VecDeque<Block>,
    /// The scale of the Segment in nanoseconds.
    scale: i64,
    declared: Option<Declared>,
    /// Info and Tracks of the Segment, as they came.
    preamble: Preamble,
    broken_codecs: BrokenCodecs,
    finished: bool,
    failed: Option<Error>,
}

/// Whole elements; empty where there was none.
#[derive(Debug, Default)]
pub(super) struct Preamble {
    pub(super) info: Vec<u8>,
    pub(super) tracks: Vec<u8>,
}

#[derive(Debug)]
struct Skip {
    element: Id,
    left: u64,
}

/// What a block's head means in its Cluster and track.
#[derive(Clone, Copy, Debug)]
struct Place {
    pts: MediaTime,
    duration: Option<Duration>,
    always_key: bool,
}

/// What one step did.
enum Step {
    Emit(Event),
    Continue,
    NeedMore,
}

impl Reader {
    /// A reader at the start of its input.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            input: Input::default(),
            level: Level::Start,
            skip: Skip { element: Id::VOID, left: 0 },
            frames: VecDeque::new(),
            scale: i64::from(Info::default().timestamp_scale),
            declared: None,
            preamble: Preamble::default(),
            broken_codecs: BrokenCodecs::Refused,
            finished: false,
            failed: None,
        }
    }

    /// The same, but a track whose CodecPrivate can't be read is no error: its codec is [`Other`](crate::Codec::Other),
    /// which can be stored and not played.
    #[must_use]
    pub fn with_broken_codecs(self) -> Self {
        Self { broken_codecs: BrokenCodecs::Taken, ..self }
    }

    /// Takes the next bytes of the input. Call [`Self::next`] until it gives `None` before pushing
    /// more: what is pushed is kept until it is read.
    pub fn push(&mut self, bytes: Bytes) {
        debug_assert!(!self.finished, "nothing is pushed after the end of the input");
        self.input.push(bytes);
    }

    /// The next event; `None` when more bytes are needed.
    #[expect(clippy::should_implement_trait, reason = "None is not the end: more comes after the next push")]
    pub fn next(&mut self) -> Result<Option<Event>, Error> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        if let Some(block) = self.frames.pop_front() {
            return Ok(Some(Event::Block(block)));
        }
        loop {
            match self.step() {
                Ok(Step::Emit(event)) => return Ok(Some(event)),
                Ok(Step::Continue) => {}
                Ok(Step::NeedMore) => return Ok(None),
                Err(error) => {
                    self.failed = Some(error.clone());
                    return Err(error);
                }
            }
        }
    }

    /// Declares the end of the input, after [`Self::next`] gave `None`. An error when it ended
    /// inside an element. Afterwards `next` gives the end of a Cluster of unknown size.
    pub fn finish(&mut self) -> Result<(), Error> {
        self.finished = true;
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.check_complete().inspect_err(|error| self.failed = Some(error.clone()))
    }

    /// The bytes that were pushed and are kept because their element is not complete.
    pub fn buffered(&self) -> usize {
        self.input.len()
    }

    /// The offset of the next byte to be read, counted from the first byte pushed.
    pub fn offset(&self) -> u64 {
        self.input.offset()
    }

    pub(super) fn tracks(&self) -> Option<&Tracks> {
        self.declared.as_ref().map(|declared| &declared.tracks)
    }

    pub(super) fn preamble(&self) -> &Preamble {
        &self.preamble
    }

    /// The nanoseconds that a timestamp of the Segment counts.
    pub(super) fn scale(&self) -> i64 {
        self.scale
    }

    #[inline]
    fn step(&mut self) -> Result<Step, Error> {
        if self.skip.left > 0 {
            self.skip.left -= self.input.skip(self.skip.left);
            if self.skip.left > 0 {
                return Ok(Step::NeedMore);
            }
        }
        let offset = self.input.offset();
        if self.level.end().is_some_and(|end| end <= offset) {
            return self.close();
        }
        let header = self.input.peek(|bytes| Header::read(bytes, offset))?;
        let Some(header) = header else {
            return Ok(if self.finished && self.level.may_end_unsaid() { self.close_unsaid() } else { Step::NeedMore });
        };
        if self.level.is_ended_by(header.id) {
            return self.close();
        }
        self.check_bounds(header)?;
        match &self.level {
            Level::Start | Level::Document => self.step_document(header),
            Level::Segment { .. } => self.step_segment(header),
            Level::Cluster(_) => self.step_cluster(header),
            Level::Group(_) => self.step_group(header),
        }
    }

    fn step_document(&mut self, header: Header) -> Result<Step, Error> {
        let offset = self.input.offset();
        match (header.id, &self.level) {
            (Id::EBML, _) => {
                let Some((start, data)) = self.take_whole(header, self.limits.header_bytes_max)? else {
                    return Ok(Step::NeedMore);
                };
                check_ebml(Element { id: header.id, offset: start, data: &data })?;
                self.level = Level::Document;
                self.declared = None;
                self.preamble = Preamble::default();
                self.scale = i64::from(Info::default().timestamp_scale);
                Ok(Step::Emit(Event::Ebml))
            }
            (Id::SEGMENT, Level::Document) => {
                self.input.skip(header.length as u64);
                let end = header.size.map(|size| self.input.offset().saturating_add(size));
                self.level = Level::Segment { end };
                self.declared = None;
                Ok(Step::Emit(Event::Segment))
            }
            (Id::VOID | Id::CRC_32, Level::Document) => self.pass_over(header),
            (found, Level::Start) => Err(ErrorKind::Unexpected { expected: "an EBML header", found }.at(offset)),
            (found, _) => Err(ErrorKind::Unexpected { expected: "a Segment or an EBML header", found }.at(offset)),
        }
    }

    fn step_segment(&mut self, header: Header) -> Result<Step, Error> {
        match header.id {
            Id::INFO => {
                let Some((offset, data)) = self.take_whole(header, self.limits.header_bytes_max)? else {
                    return Ok(Step::NeedMore);
                };
                let info = read_info(Element { id: header.id, offset, data: &data })?;
                self.preamble.info = element(header.id, &data);
                self.scale = i64::from(info.timestamp_scale);
                Ok(Step::Emit(Event::Info(info)))
            }
            Id::TRACKS if self.declared.is_some() => {
                let expected = "no second Tracks in a Segment";
                Err(ErrorKind::Unexpected { expected, found: header.id }.at(self.input.offset()))
            }
            Id::TRACKS => {
                let Some((offset, data)) = self.take_whole(header, self.limits.header_bytes_max)? else {
                    return Ok(Step::NeedMore);
                };
                let declared = read_tracks(Element { id: header.id, offset, data: &data }, self.broken_codecs)?;
                self.preamble.tracks = element(header.id, &data);
                let tracks = declared.tracks.clone();
                self.declared = Some(declared);
                Ok(Step::Emit(Event::Tracks(tracks)))
            }
            Id::TAGS => {
                let Some((offset, data)) = self.take_whole(header, self.limits.tags_bytes_max)? else {
                    return Ok(Step::NeedMore);
                };
                Ok(Step::Emit(Event::Tags(tags::read(Element { id: header.id, offset, data: &data })?)))
            }
            Id::CLUSTER => {
                self.input.skip(header.length as u64);
                let end = header.size.map(|size| self.input.offset().saturating_add(size));
                let segment_end = self.level.end();
                self.level = Level::Cluster(Cluster { segment_end, end, timestamp: None });
                Ok(Step::Continue)
            }
            _ => self.pass_over(header),
        }
    }

    #[inline]
    fn step_cluster(&mut self, header: Header) -> Result<Step, Error> {
        let Level::Cluster(cluster) = self.level else { unreachable!("the caller has matched the level") };
        match header.id {
            Id::SIMPLE_BLOCK => {
                let Some(size) = self.await_whole(header, self.limits.block_bytes_max)? else {
                    return Ok(Step::NeedMore);
                };
                self.simple_block(cluster, size)
            }
            Id::BLOCK_GROUP => {
                let size = header.size.ok_or_else(|| self.unknown_size(header))?;
                self.input.skip(header.length as u64);
                let end = self.input.offset().saturating_add(size);
                self.level = Level::Group(Box::new(Group {
                    cluster,
                    end,
                    head: None,
                    frames: VecDeque::new(),
                    duration: None,
                    has_reference: false,
                }));
                Ok(Step::Continue)
            }
            Id::TIMESTAMP => {
                let Some((offset, value)) = self.take_unsigned(header)? else { return Ok(Step::NeedMore) };
                let timestamp = i64::try_from(value).map_err(|_| ErrorKind::TimeRange.at(offset))?;
                let nanos = timestamp.checked_mul(self.scale).ok_or(ErrorKind::TimeRange.at(offset))?;
                self.level = Level::Cluster(Cluster { timestamp: Some(timestamp), ..cluster });
                Ok(Step::Emit(Event::Cluster { time: MediaTime::from_nanos(nanos) }))
            }
            _ => self.pass_over(header),
        }
    }

    fn step_group(&mut self, header: Header) -> Result<Step, Error> {
        match header.id {
            Id::BLOCK => {
                let Some(mut size) = self.await_whole(header, self.limits.block_bytes_max)? else {
                    return Ok(Step::NeedMore);
                };
                let offset = self.input.offset();
                let head = Head::read(&mut self.input, header.id, &mut size)?;
                let sizes = read_lacing(&mut self.input, head.lacing, size)?;
                let frames = sizes.into_iter().map(|size| self.input.take(size)).collect();
                let group = self.group();
                group.head = Some((head, offset));
                group.frames = frames;
            }
            Id::BLOCK_DURATION => {
                let Some((_, value)) = self.take_unsigned(header)? else { return Ok(Step::NeedMore) };
                self.group().duration = Some(value);
            }
            Id::REFERENCE_BLOCK => {
                self.group().has_reference = true;
                return self.pass_over(header);
            }
            _ => return self.pass_over(header),
        }
        Ok(Step::Continue)
    }

    #[inline]
    fn simple_block(&mut self, cluster: Cluster, mut size: usize) -> Result<Step, Error> {
        let offset = self.input.offset();
        let head = Head::read(&mut self.input, Id::SIMPLE_BLOCK, &mut size)?;
        let Some(place) = self.place(cluster, head, offset)? else {
            self.input.skip(size as u64);
            return Ok(Step::Continue);
        };
        let key = head.key || place.always_key;
        if head.lacing == Lacing::None {
            let data = self.input.take(size);
            let Place { pts, duration, .. } = place;
            return Ok(Step::Emit(Event::Block(Block { track: head.track, pts, duration, key, data })));
        }
        let sizes = read_lacing(&mut self.input, head.lacing, size)?;
        let frames = sizes.into_iter().map(|size| self.input.take(size)).collect();
        Ok(self.emit_laced(head.track, key, place, frames))
    }

    /// Hands out the frames of a BlockGroup, now that its duration and references are known.
    fn emit_group(&mut self, group: Group) -> Result<Step, Error> {
        let Some((head, offset)) = group.head else {
            return Err(ErrorKind::Missing { missing: Id::BLOCK, parent: Id::BLOCK_GROUP }.at(self.input.offset()));
        };
        let Some(place) = self.place(group.cluster, head, offset)? else {
            return Ok(Step::Continue);
        };
        let count = u32::try_from(group.frames.len()).unwrap_or(u32::MAX).max(1);
        let scale = self.scale.unsigned_abs();
        let whole = group.duration.map(|duration| Duration::from_nanos(duration.saturating_mul(scale)));
        let key = !group.has_reference || place.always_key;
        let duration = whole.map(|duration| duration / count).or(place.duration);
        Ok(self.emit_laced(head.track, key, Place { duration, ..place }, group.frames))
    }

    /// Emits the first frame and keeps the others.
    fn emit_laced(&mut self, track: TrackNumber, key: bool, place: Place, frames: VecDeque<Payload>) -> Step {
        let Place { mut pts, duration, .. } = place;
        for data in frames {
            self.frames.push_back(Block { track, pts, duration, key, data });
            pts = pts + duration.unwrap_or_default();
        }
        self.frames.pop_front().map_or(Step::Continue, |block| Step::Emit(Event::Block(block)))
    }

    /// What a block's head means; `None` if its track is ignored.
    #[inline]
    fn place(&self, cluster: Cluster, head: Head, offset: u64) -> Result<Option<Place>, Error> {
        let undeclared = || ErrorKind::UndeclaredTrack { track: head.track.get().into() }.at(offset);
        let declared = self.declared.as_ref().ok_or_else(undeclared)?;
        let always_key = match declared.reference(head.track) {
            Reference::Video => false,
            Reference::Audio => true,
            Reference::Ignored => return Ok(None),
            Reference::Undeclared => return Err(undeclared()),
        };
        let timestamp = cluster.timestamp.ok_or(
            ErrorKind::Unexpected { expected: "the Cluster's Timestamp before its blocks", found: Id::SIMPLE_BLOCK }
                .at(offset),
        )?;
        let nanos = timestamp
            .checked_add(i64::from(head.relative))
            .and_then(|time| time.checked_mul(self.scale))
            .ok_or(ErrorKind::TimeRange.at(offset))?;
        let (pts, duration) = (MediaTime::from_nanos(nanos), declared.default_duration(head.track));
        Ok(Some(Place { pts, duration, always_key }))
    }

    /// Closes the innermost level.
    fn close(&mut self) -> Result<Step, Error> {
        match std::mem::replace(&mut self.level, Level::Document) {
            Level::Start | Level::Document | Level::Segment { .. } => Ok(Step::Continue),
            Level::Cluster(cluster) => {
                let offset = self.input.offset();
                let sized = cluster.end.or(cluster.segment_end).is_some_and(|end| end <= offset);
                self.level = Level::Segment { end: cluster.segment_end };
                match cluster.timestamp {
                    Some(_) => Ok(Step::Emit(Event::ClusterEnd { sized })),
                    None => {
                        let kind = ErrorKind::Missing { missing: Id::TIMESTAMP, parent: Id::CLUSTER };
                        Err(kind.at(self.input.offset()))
                    }
                }
            }
            Level::Group(group) => {
                self.level = Level::Cluster(group.cluster);
                self.emit_group(*group)
            }
        }
    }

    /// Closes a Cluster or Segment of unknown size at the end of the input.
    fn close_unsaid(&mut self) -> Step {
        match std::mem::replace(&mut self.level, Level::Document) {
            Level::Cluster(cluster) => {
                self.level = Level::Segment { end: cluster.segment_end };
                // A Cluster that was cut off before its Timestamp was never announced.
                match cluster.timestamp {
                    Some(_) => Step::Emit(Event::ClusterEnd { sized: false }),
                    None => Step::Continue,
                }
            }
            _ => Step::NeedMore,
        }
    }

    /// Refuses an element that reaches beyond its parent.
    #[inline]
    fn check_bounds(&self, header: Header) -> Result<(), Error> {
        let Some(parent_end) = self.level.end() else { return Ok(()) };
        let offset = self.input.offset();
        let end = (offset + header.length as u64).saturating_add(header.size.unwrap_or(0));
        if end > parent_end {
            return Err(ErrorKind::PastParent { element: header.id, end, parent_end }.at(offset));
        }
        Ok(())
    }

    /// The size of an element that is taken whole, once all of it is there; its header is consumed then.
    #[inline]
    fn await_whole(&mut self, header: Header, max: usize) -> Result<Option<usize>, Error> {
        let size = header.size.ok_or_else(|| self.unknown_size(header))?;
        let Some(length) = usize::try_from(size).ok().filter(|&length| length <= max) else {
            return Err(ErrorKind::TooLarge { element: header.id, size, max: max as u64 }.at(self.input.offset()));
        };
        if self.input.len() < header.length + length {
            return Ok(None);
        }
        self.input.skip(header.length as u64);
        Ok(Some(length))
    }

    /// An element's bytes in one piece, and where they start.
    fn take_whole(&mut self, header: Header, max: usize) -> Result<Option<(u64, Bytes)>, Error> {
        let Some(length) = self.await_whole(header, max)? else { return Ok(None) };
        let offset = self.input.offset();
        Ok(Some((offset, self.input.take(length).into_bytes())))
    }

    fn take_unsigned(&mut self, header: Header) -> Result<Option<(u64, u64)>, Error> {
        let Some((offset, data)) = self.take_whole(header, self.limits.header_bytes_max)? else { return Ok(None) };
        Ok(Some((offset, Element { id: header.id, offset, data: &data }.unsigned()?)))
    }

    /// Passes over an element without keeping it, whatever its size.
    fn pass_over(&mut self, header: Header) -> Result<Step, Error> {
        let left = header.size.ok_or_else(|| self.unknown_size(header))?;
        self.input.skip(header.length as u64);
        self.skip = Skip { element: header.id, left };
        Ok(Step::Continue)
    }

    fn unknown_size(&self, header: Header) -> Error {
        ErrorKind::UnknownSize { element: header.id }.at(self.input.offset())
    }

    fn group(&mut self) -> &mut Group {
        let Level::Group(group) = &mut self.level else { unreachable!("the caller has matched the level") };
        group
    }

    /// Whether the input may end here.
    fn check_complete(&self) -> Result<(), Error> {
        let offset = self.input.offset();
        if self.skip.left > 0 {
            return Err(ErrorKind::Truncated { element: self.skip.element }.at(offset));
        }
        if self.input.len() > 0 {
            let header = self.input.peek(|bytes| Header::read(bytes, offset))?;
            let kind = header.map_or(ErrorKind::TruncatedHeader, |h| ErrorKind::Truncated { element: h.id });
            return Err(kind.at(offset));
        }
        let open = match &self.level {
            Level::Start | Level::Document => None,
            Level::Segment { end } => end.map(|_| Id::SEGMENT),
            Level::Cluster(Cluster { end: Some(_), .. }) => Some(Id::CLUSTER),
            Level::Cluster(cluster) => cluster.segment_end.map(|_| Id::SEGMENT),
            Level::Group(_) => Some(Id::BLOCK_GROUP),
        };
        open.map_or(Ok(()), |element| Err(ErrorKind::Truncated { element }.at(offset)))
    }
}

/// An element as its bytes.
fn element(id: Id, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() + HEADER_BYTES_MAX);
    write_element(&mut out, id, data);
    out
}
