//! A fragment's index entry, as its frame and its row carry it.
//!
//! ```text
//! [version 1: 1][number: 8][session: 8][sequence: 4][start ns: 8][duration ns: 8][clock quality: 1]
//! [tracks fingerprint: 8][arrived ns: 8][payload bytes: 4][flags: 1][media sequence: 8]
//! [discontinuity sequence: 8][codecs bytes (n): 2][codecs, separated by commas: n]
//! ```
//!
//! Of the flags, 1 says that the fragment has a live position (else the two sequences mean nothing) and 2 that
//! it can be decoded alone. Later versions add fields at the end under a new version number.

use std::time::Duration;

use bytes::Bytes;
use fragment::{ClockQuality, FragmentId, FragmentNumber, Sequence, SessionId, WallTime};
use vault::Location;

use crate::live::{Head, Link, LivePosition};

const VERSION: u8 = 1;
const FIXED_BYTES: usize = 77;
const LIVE: u8 = 1;
const INDEPENDENT: u8 = 2;

/// A stored fragment, without its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its number in the stream: its time of arrival in microseconds, raised where needed to ascend.
    pub number: FragmentNumber,
    /// The identity chosen at capture.
    pub id: FragmentId,
    /// When it begins, by the producer's time.
    pub start: WallTime,
    /// How long it is.
    pub duration: Duration,
    /// How far `start` can be trusted.
    pub quality: ClockQuality,
    /// Equal for fragments whose tracks are the same.
    pub tracks_fingerprint: u64,
    /// Whether it can be decoded without the fragment before it: it begins with a key frame.
    pub independent: bool,
    /// When the server received it.
    pub arrived: WallTime,
    /// The length of its bytes.
    pub bytes: u64,
    /// Its place in the live playlist; late fragments have none.
    pub live: Option<LivePosition>,
    /// The RFC 6381 strings of its tracks.
    pub codecs: Vec<String>,
}

impl Stored {
    /// When it ends.
    pub fn end(&self) -> WallTime {
        self.start + self.duration
    }

    /// Its mean rate.
    pub fn bits_per_second(&self) -> u64 {
        let millis = u64::try_from(self.duration.as_millis()).unwrap_or(u64::MAX).max(1);
        self.bytes.saturating_mul(8000) / millis
    }

    pub(crate) fn link(&self) -> Link {
        Link { id: self.id, start: self.start, duration: self.duration, tracks_fingerprint: self.tracks_fingerprint }
    }

    pub(crate) fn head(&self) -> Option<Head> {
        self.live.map(|position| Head { position, link: self.link() })
    }

    pub(crate) fn encode(&self) -> Bytes {
        let codecs = self.codecs.join(",");
        let mut out = Vec::with_capacity(FIXED_BYTES + codecs.len());
        out.push(VERSION);
        out.extend_from_slice(&self.number.0.to_be_bytes());
        out.extend_from_slice(&self.id.session.0.to_be_bytes());
        out.extend_from_slice(&self.id.sequence.0.to_be_bytes());
        out.extend_from_slice(&self.start.as_nanos().to_be_bytes());
        let duration = u64::try_from(self.duration.as_nanos()).unwrap_or(u64::MAX);
        out.extend_from_slice(&duration.to_be_bytes());
        out.push(self.quality.to_wire());
        out.extend_from_slice(&self.tracks_fingerprint.to_be_bytes());
        out.extend_from_slice(&self.arrived.as_nanos().to_be_bytes());
        let bytes = u32::try_from(self.bytes).expect("a fragment's size is checked when it is stored");
        out.extend_from_slice(&bytes.to_be_bytes());
        let live = self.live.unwrap_or(LivePosition { media_sequence: 0, discontinuity_sequence: 0 });
        out.push(if self.live.is_some() { LIVE } else { 0 } | if self.independent { INDEPENDENT } else { 0 });
        out.extend_from_slice(&live.media_sequence.to_be_bytes());
        out.extend_from_slice(&live.discontinuity_sequence.to_be_bytes());
        let len = u16::try_from(codecs.len()).expect("codec strings are checked when a fragment is stored");
        out.extend_from_slice(&len.to_be_bytes());
        debug_assert_eq!(out.len(), FIXED_BYTES, "the layout above");
        out.extend_from_slice(codecs.as_bytes());
        out.into()
    }

    /// The entry of a stored form; `None` if it is damaged or from a newer version.
    pub(crate) fn decode(stored: &[u8]) -> Option<Self> {
        let mut rest = Rest(stored);
        if rest.take::<1>()? != [VERSION] {
            return None;
        }
        let number = FragmentNumber(rest.u64()?);
        let session = SessionId(rest.u64()?);
        let sequence = Sequence(rest.u32()?);
        let start = WallTime::from_nanos(rest.i64()?);
        let duration = Duration::from_nanos(rest.u64()?);
        let quality = ClockQuality::from_wire(rest.take::<1>()?[0]);
        let tracks_fingerprint = rest.u64()?;
        let arrived = WallTime::from_nanos(rest.i64()?);
        let bytes = u64::from(rest.u32()?);
        let [flags] = rest.take::<1>()?;
        let position = LivePosition { media_sequence: rest.u64()?, discontinuity_sequence: rest.u64()? };
        let len = usize::from(u16::from_be_bytes(rest.take()?));
        let codecs = std::str::from_utf8(rest.0.get(..len)?).ok()?;
        Some(Self {
            number,
            id: FragmentId { session, sequence },
            start,
            duration,
            quality,
            tracks_fingerprint,
            independent: flags & INDEPENDENT != 0,
            arrived,
            bytes,
            live: (flags & LIVE != 0).then_some(position),
            codecs: codecs.split(',').filter(|codec| !codec.is_empty()).map(str::to_owned).collect(),
        })
    }

    /// The value of its row by number: `[location: 20][index entry]`.
    pub(crate) fn decode_row(value: &[u8]) -> Option<(Location, Self)> {
        let (location, entry) = value.split_at_checked(Location::ENCODED_BYTES)?;
        Some((Location::decode(location)?, Self::decode(entry)?))
    }
}

/// What is left of a stored form while it is read.
pub(crate) struct Rest<'a>(pub(crate) &'a [u8]);

impl Rest<'_> {
    pub(crate) fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }

    pub(crate) fn i64(&mut self) -> Option<i64> {
        self.take().map(i64::from_be_bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_entry_survives_its_stored_form(
            number: u64, session: u64, sequence: u32, start: i64, nanos: u64, fingerprint: u64, independent: bool,
            arrived: i64, bytes: u32, live: Option<(u64, u64)>, codecs in proptest::collection::vec("[a-z0-9.]{1,20}", 0..4),
        ) {
            let stored = Stored {
                number: FragmentNumber(number),
                id: FragmentId { session: SessionId(session), sequence: Sequence(sequence) },
                start: WallTime::from_nanos(start),
                duration: Duration::from_nanos(nanos),
                quality: ClockQuality::SenderReport,
                tracks_fingerprint: fingerprint,
                independent,
                arrived: WallTime::from_nanos(arrived),
                bytes: u64::from(bytes),
                live: live.map(|(media_sequence, discontinuity_sequence)| LivePosition {
                    media_sequence,
                    discontinuity_sequence,
                }),
                codecs,
            };
            let encoded = stored.encode();
            prop_assert_eq!(Stored::decode(&encoded), Some(stored));
            for len in 0..encoded.len() {
                prop_assert_eq!(Stored::decode(&encoded[..len]), None);
            }
        }

        #[test]
        fn any_bytes_decode_or_are_refused(bytes: Vec<u8>) {
            let _ = Stored::decode_row(&bytes);
        }
    }

    #[test]
    fn a_newer_version_is_refused() {
        let mut encoded = vec![2];
        encoded.resize(FIXED_BYTES, 0);
        assert_eq!(Stored::decode(&encoded), None);
    }
}
