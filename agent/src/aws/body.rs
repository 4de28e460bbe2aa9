//! Makes the body of one PutMedia session of fragments that are documents of their own.
//!
//! ```text
//! EBML header, Segment of unknown size, Info, Tracks      once
//! Cluster of unknown size                                 for each fragment
//!   Timestamp       wall time of its start, in ms
//!   SimpleBlock...
//! Tags              the fragment's, and AWS_KINESISVIDEO_END_OF_FRAGMENT, which has it stored before the next begins
//! ```
//!
//! What AWS demands of the fragments of one session is that they have the same tracks, a frame of each, and times that
//! ascend. What does not fit is no fault of the fragment: it needs another session. Nor may a frame of one lie within
//! the next, and packets of sound do, by one or two: they come when they come. `borders` moves their times.

use bytes::Bytes;
use fragment::mkv::{self, Tag, WriteError, Writer};
use fragment::{AccessUnit, MediaTime, Tracks, WallTime};

use super::{borders, limits};

const END_OF_FRAGMENT: &str = "AWS_KINESISVIDEO_END_OF_FRAGMENT";

/// Why a fragment can't be sent at all.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    /// It is no fragment.
    #[error("it is not the Matroska document that it should be: {0}")]
    Mkv(#[from] mkv::Error),
    /// It has no frame.
    #[error("it has no frame")]
    Empty,
    /// It can't be written.
    #[error("it can't be written anew: {0}")]
    Write(#[from] WriteError),
}

/// One fragment, with times by the calendar.
#[derive(Clone, Debug)]
pub(super) struct Fragment {
    /// Those that it has frames of.
    tracks: Tracks,
    start: MediaTime,
    units: Vec<AccessUnit>,
    tags: Vec<Tag>,
}

/// Why a fragment needs another session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Misfit {
    /// Its tracks are others.
    Tracks,
    /// It does not lie behind the one before.
    Time,
}

/// The body of one session.
#[derive(Debug, Default)]
pub(super) struct Body {
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    tracks: Tracks,
    writer: Writer,
    /// The Timestamp of the last Cluster.
    last: u64,
    /// The time of the latest frame.
    latest: MediaTime,
}

impl Fragment {
    /// Reads a stored fragment, which began at `start`.
    pub(super) fn read(document: Bytes, start: WallTime) -> Result<Self, BodyError> {
        let mkv::Document { tracks, start: began, mut units, mut tags, .. } = mkv::document(document)?;
        let began = began.ok_or(BodyError::Empty)?;
        let seen = |number| units.iter().any(|unit| unit.track == number);
        let tracks = tracks.iter().filter(|track| seen(track.number)).cloned().collect();
        let tracks = Tracks::new(tracks).map_err(|_| BodyError::Empty)?;
        for unit in &mut units {
            let offset = unit.pts.as_nanos().saturating_sub(began.as_nanos());
            unit.pts = MediaTime::from_nanos(start.as_nanos().saturating_add(offset));
        }
        // Names that begin so are AWS's own.
        tags.retain(|tag| !tag.name.starts_with("AWS"));
        tags.truncate(limits::TAGS_MAX);
        Ok(Self { tracks, start: MediaTime::from_nanos(start.as_nanos()), units, tags })
    }

    /// What acks call it: the Timestamp of its Cluster.
    pub(super) fn timecode(&self) -> u64 {
        let nanos = self.start.as_nanos().max(0).unsigned_abs();
        nanos.saturating_add(500_000) / 1_000_000
    }
}

impl Body {
    /// Whether the next fragment of this session can be this one.
    pub(super) fn fits(&self, fragment: &Fragment) -> Result<(), Misfit> {
        match &self.open {
            Some(open) if open.tracks != fragment.tracks => Err(Misfit::Tracks),
            Some(open) if fragment.timecode() <= open.last => Err(Misfit::Time),
            _ => Ok(()),
        }
    }

    /// The bytes of the next fragment, which fits.
    pub(super) fn write(&mut self, fragment: &Fragment) -> Result<Vec<Bytes>, BodyError> {
        let mut pieces = Vec::with_capacity(2 * fragment.units.len() + 3);
        let mut writer = match &self.open {
            Some(open) => open.writer.clone(),
            None => {
                let writer = Writer::new(&fragment.tracks).ending_with(END_OF_FRAGMENT);
                pieces.push(writer.header());
                writer
            }
        };
        pieces.push(writer.cluster(fragment.start));
        let mut units = fragment.units.clone();
        borders::part(&mut units, &fragment.tracks, self.open.as_ref().map(|open| open.latest));
        for unit in &units {
            let (head, data) = writer.block(unit)?;
            pieces.extend([head, data]);
        }
        pieces.push(writer.end(&fragment.tags));
        let latest = units.iter().map(|unit| unit.pts).max().unwrap_or(fragment.start);
        self.open = Some(Open { tracks: fragment.tracks.clone(), writer, last: fragment.timecode(), latest });
        Ok(pieces)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use fragment::mkv::{Event, Limits, Reader};
    use fragment::{Codec, Track, TrackKind, TrackNumber};

    use super::*;

    const START: WallTime = WallTime::from_millis(1_700_000_000_000);

    #[test]
    fn two_fragments_become_one_segment_with_times_by_the_calendar() {
        let mut body = Body::default();
        let mut bytes = Vec::new();
        for (n, media_ms) in [(0u64, 5_000), (1, 7_000)] {
            let start = START + Duration::from_secs(2 * n);
            let fragment = Fragment::read(stored(&[1, 2], media_ms), start).unwrap();
            assert_eq!(body.fits(&fragment), Ok(()));
            bytes.extend(body.write(&fragment).unwrap());
        }
        let events = events(bytes.concat().into());
        let count = |wanted: fn(&Event) -> bool| events.iter().filter(|event| wanted(event)).count();
        assert_eq!(count(|event| matches!(event, Event::Ebml | Event::Segment | Event::Tracks(_))), 3);
        let clusters: Vec<i64> = events
            .iter()
            .filter_map(|event| if let Event::Cluster { time } = event { Some(time.as_millis()) } else { None })
            .collect();
        assert_eq!(clusters, [1_700_000_000_000, 1_700_000_002_000]);
        let units: Vec<_> = events
            .iter()
            .filter_map(|event| if let Event::Block(block) = event { Some(block.clone()) } else { None })
            .map(|block| {
                (block.track.get(), block.pts.as_millis() - 1_700_000_000_000, block.key, block.data.into_bytes())
            })
            .collect();
        let unit = |track, at, key| (track, at, key, Bytes::from(vec![track; 9]));
        assert_eq!(units[..3], [unit(1, 0, true), unit(2, 10, true), unit(1, 40, false)]);
        assert_eq!(units[3], unit(1, 2_000, true));
        let tags: Vec<String> = events
            .iter()
            .filter_map(|event| if let Event::Tags(tags) = event { Some(tags.clone()) } else { None })
            .flatten()
            .map(|tag| tag.name)
            .collect();
        assert_eq!(tags, [END_OF_FRAGMENT, END_OF_FRAGMENT]);
    }

    #[test]
    fn a_track_without_a_frame_is_not_declared_and_so_needs_another_session() {
        let mut body = Body::default();
        body.write(&Fragment::read(stored(&[1, 2], 0), START).unwrap()).unwrap();
        let silent = Fragment::read(stored(&[1], 0), START + Duration::from_secs(2)).unwrap();
        assert_eq!(body.fits(&silent), Err(Misfit::Tracks));
        let document = mkv::document(Body::default().write(&silent).unwrap().concat().into()).unwrap();
        assert_eq!(document.tracks.iter().count(), 1);
    }

    #[test]
    fn a_fragment_that_does_not_lie_behind_the_one_before_needs_another_session() {
        let mut body = Body::default();
        body.write(&Fragment::read(stored(&[1], 0), START).unwrap()).unwrap();
        for (start, fits) in [
            (START, Err(Misfit::Time)),
            (START - Duration::from_secs(86_400), Err(Misfit::Time)),
            (START + Duration::from_millis(1), Ok(())),
        ] {
            assert_eq!(body.fits(&Fragment::read(stored(&[1], 0), start).unwrap()), fits);
        }
    }

    #[test]
    fn what_is_no_fragment_is_an_error() {
        assert!(matches!(Fragment::read(Bytes::from_static(b"nonsense"), START), Err(BodyError::Mkv(_))));
        assert!(matches!(Fragment::read(stored(&[], 0), START), Err(BodyError::Empty)));
    }

    /// A fragment as the spool holds it: two tracks, frames of those that are named.
    fn stored(with: &[u8], media_ms: i64) -> Bytes {
        let track = |number: TrackNumber, id: &str, kind| Track {
            number,
            codec: Codec::Other { id: id.to_owned(), private: Bytes::new(), kind },
        };
        let tracks = vec![
            track(TrackNumber::VIDEO, "V_VP9", TrackKind::Video),
            track(TrackNumber::AUDIO, "A_OPUS", TrackKind::Audio),
        ];
        let mut writer = Writer::new(&Tracks::new(tracks).unwrap());
        let mut out = vec![writer.header(), writer.cluster(MediaTime::from_millis(media_ms))];
        for (track, at, key) in [(1, 0, true), (2, 10, true), (1, 40, false)] {
            if !with.contains(&track) {
                continue;
            }
            let unit = AccessUnit {
                track: TrackNumber::new(track.into()).unwrap(),
                pts: MediaTime::from_millis(media_ms + at),
                duration: None,
                key,
                data: vec![track; 9].into(),
            };
            let (head, data) = writer.block(&unit).unwrap();
            out.extend([head, data]);
        }
        out.push(writer.end(&[]));
        out.concat().into()
    }

    fn events(bytes: Bytes) -> Vec<Event> {
        let mut reader = Reader::new(Limits::default());
        reader.push(bytes);
        let mut found = Vec::new();
        while let Some(event) = reader.next().unwrap() {
            found.push(event);
        }
        reader.finish().unwrap();
        found
    }
}
