//! What stands before the Clusters: the EBML header, Info and Tracks.

use std::time::Duration;

use bytes::Bytes;

use crate::codec::{InvalidConfig, aac, h264, h265};
use crate::{Codec, Track, TrackKind, TrackNumber, Tracks};

use super::ebml::Element;
use super::elements::Id;
use super::error::{Error, ErrorKind};

/// The Matroska version that a document may require of its reader. Versions up to 4 add nothing
/// that changes how blocks are read.
const DOC_TYPE_READ_VERSION_MAX: u64 = 4;

/// Checks that the EBML header announces what this reader can read.
pub(super) fn check_ebml(header: Element<'_>) -> Result<(), Error> {
    let mut doc_type_seen = false;
    for child in header.children() {
        let child = child?;
        let most = |max, expected| match child.unsigned()? {
            value if value > max => Err(child.invalid(expected)),
            _ => Ok(()),
        };
        match child.id {
            Id::EBML_READ_VERSION => most(1, "an EBML version of at most 1")?,
            Id::EBML_MAX_ID_LENGTH => most(4, "ids of at most 4 bytes")?,
            Id::EBML_MAX_SIZE_LENGTH => most(8, "sizes of at most 8 bytes")?,
            Id::DOC_TYPE_READ_VERSION => most(DOC_TYPE_READ_VERSION_MAX, "a Matroska version of at most 4")?,
            Id::DOC_TYPE => {
                let found = child.text();
                if found != "matroska" && found != "webm" {
                    return Err(ErrorKind::DocType { found }.at(child.offset));
                }
                doc_type_seen = true;
            }
            _ => {}
        }
    }
    if doc_type_seen { Ok(()) } else { Err(header.missing(Id::DOC_TYPE)) }
}

/// What Info says that matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// The nanoseconds that a timestamp counts.
    pub timestamp_scale: u32,
    /// The title, if there is one.
    pub title: Option<String>,
    /// The program that wrote the document.
    pub writing_app: Option<String>,
}

impl Default for Info {
    fn default() -> Self {
        Self { timestamp_scale: 1_000_000, title: None, writing_app: None }
    }
}

pub(super) fn read_info(info: Element<'_>) -> Result<Info, Error> {
    let mut read = Info::default();
    for child in info.children() {
        let child = child?;
        match child.id {
            Id::TIMESTAMP_SCALE => {
                read.timestamp_scale = u32::try_from(child.unsigned()?)
                    .ok()
                    .filter(|&scale| scale > 0)
                    .ok_or_else(|| child.invalid("1 to 2^32 - 1 nanoseconds"))?;
            }
            Id::TITLE => read.title = Some(child.text()),
            Id::WRITING_APP => read.writing_app = Some(child.text()),
            _ => {}
        }
    }
    Ok(read)
}

/// The tracks of a document, with what only the reader of blocks needs.
#[derive(Clone, Debug)]
pub(super) struct Declared {
    pub(super) tracks: Tracks,
    /// Bit n is set for track n.
    video: u128,
    /// Likewise.
    audio: u128,
    /// Likewise: subtitles and the like, whose blocks are passed over.
    ignored: u128,
    default_durations: Vec<(TrackNumber, Duration)>,
}

/// What a block's track number refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reference {
    Video,
    /// Its packets are all keys, whether or not the muxer says so: matroskamux does not.
    Audio,
    Ignored,
    Undeclared,
}

impl Declared {
    #[inline]
    pub(super) fn reference(&self, number: TrackNumber) -> Reference {
        let bit = 1u128 << number.get();
        match () {
            () if self.video & bit != 0 => Reference::Video,
            () if self.audio & bit != 0 => Reference::Audio,
            () if self.ignored & bit != 0 => Reference::Ignored,
            () => Reference::Undeclared,
        }
    }

    #[inline]
    pub(super) fn default_duration(&self, number: TrackNumber) -> Option<Duration> {
        self.default_durations.iter().find(|(of, _)| *of == number).map(|&(_, duration)| duration)
    }
}

/// What a CodecPrivate that can't be read is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BrokenCodecs {
    Refused,
    Taken,
}

pub(super) fn read_tracks(element: Element<'_>, broken: BrokenCodecs) -> Result<Declared, Error> {
    let mut tracks = Vec::new();
    let (mut video, mut audio, mut ignored) = (0u128, 0u128, 0u128);
    let mut default_durations = Vec::new();
    for child in element.children() {
        let child = child?;
        if child.id != Id::TRACK_ENTRY {
            continue;
        }
        let entry = Entry::read(child)?;
        let bit = 1u128 << entry.number.get();
        let Some(kind) = entry.kind else {
            ignored |= bit;
            continue;
        };
        match kind {
            TrackKind::Video => video |= bit,
            TrackKind::Audio => audio |= bit,
        }
        if entry.default_duration > 0 {
            default_durations.push((entry.number, Duration::from_nanos(entry.default_duration)));
        }
        tracks.push(Track { number: entry.number, codec: entry.codec(kind, child, broken)? });
    }
    let tracks = Tracks::new(tracks).map_err(|error| ErrorKind::from(error).at(element.offset))?;
    Ok(Declared { tracks, video, audio, ignored, default_durations })
}

/// One TrackEntry, not yet interpreted.
struct Entry {
    number: TrackNumber,
    /// `None` for what is neither video nor audio.
    kind: Option<TrackKind>,
    codec_id: String,
    private: Bytes,
    default_duration: u64,
}

impl Entry {
    fn read(element: Element<'_>) -> Result<Self, Error> {
        let (mut number, mut kind, mut codec_id) = (None, None, None);
        let (mut private, mut default_duration, mut encoded) = (Bytes::new(), 0, false);
        for child in element.children() {
            let child = child?;
            match child.id {
                Id::TRACK_NUMBER => {
                    let valid = TrackNumber::new(child.unsigned()?);
                    number = Some(valid.ok_or_else(|| child.invalid("a track number from 1 to 127"))?);
                }
                Id::TRACK_TYPE => kind = Some(child.unsigned()?),
                Id::CODEC_ID => codec_id = Some(child.text()),
                // Copied: a few bytes that live as long as the stream, out of a buffer that need not.
                Id::CODEC_PRIVATE => private = Bytes::copy_from_slice(child.data),
                Id::DEFAULT_DURATION => default_duration = child.unsigned()?,
                Id::CONTENT_ENCODINGS => encoded = true,
                _ => {}
            }
        }
        let number = number.ok_or_else(|| element.missing(Id::TRACK_NUMBER))?;
        let kind = match kind.ok_or_else(|| element.missing(Id::TRACK_TYPE))? {
            1 => Some(TrackKind::Video),
            2 => Some(TrackKind::Audio),
            _ => None,
        };
        if encoded && kind.is_some() {
            return Err(ErrorKind::ContentEncodings { track: number.get().into() }.at(element.offset));
        }
        let codec_id = codec_id.ok_or_else(|| element.missing(Id::CODEC_ID))?;
        Ok(Self { number, kind, codec_id, private, default_duration })
    }

    /// The typed codec. Takes the ids that Matroska registers and those that Kinesis Video Streams
    /// documents. Without a configuration record, as producers of Annex B send it, the codec is
    /// `Other`: it can be stored but not played. So it is with a broken record, where that is taken.
    fn codec(&self, kind: TrackKind, element: Element<'_>, broken: BrokenCodecs) -> Result<Codec, Error> {
        let private = self.private.clone();
        let other = || Codec::Other { id: self.codec_id.clone(), private: private.clone(), kind };
        if private.is_empty() || is_annex_b(&private) {
            return Ok(other());
        }
        let parsed: Result<Codec, InvalidConfig> = match (kind, self.codec_id.as_str()) {
            (TrackKind::Video, "V_MPEG4/ISO/AVC" | "V_MPEG/ISO/AVC") => {
                h264::Config::parse(private.clone()).map(Codec::H264)
            }
            (TrackKind::Video, "V_MPEGH/ISO/HEVC" | "V_MPEG/ISO/HEVC") => {
                h265::Config::parse(private.clone()).map(Codec::H265)
            }
            (TrackKind::Audio, id) if id == "A_AAC" || id.starts_with("A_AAC/") => {
                aac::Config::parse(private.clone()).map(Codec::Aac)
            }
            _ => Ok(other()),
        };
        match parsed {
            Err(_) if broken == BrokenCodecs::Taken => Ok(other()),
            parsed => parsed.map_err(|source| {
                let (track, codec_id) = (self.number.get().into(), self.codec_id.clone());
                ErrorKind::Codec { track, codec_id, source }.at(element.offset)
            }),
        }
    }
}

fn is_annex_b(private: &[u8]) -> bool {
    private.starts_with(&[0, 0, 1]) || private.starts_with(&[0, 0, 0, 1])
}
