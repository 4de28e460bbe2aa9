//! Streams: a name, an age, a retention.
//!
//! ```text
//! row, version 1  [1][state: 1][created ns: 8][retention seconds: 4][name]
//! row, version 2  [2][state: 1][created ns: 8][retention seconds: 4][retention bytes: 8][kept from: 8][name]
//! row, version 3  as version 2, with [length: 2][sub of] before the name
//! row, version 4  as version 3, with [revision: 8] before the length
//! ```
//!
//! State 0 is active, 1 is being deleted; 0 bytes are no bound; 0 seconds are a stream that is live only; a stream that is a
//! sub stream of none has a length of 0. A row is written in the lowest version that holds what it has to say, from 2 on, so
//! that older servers read it. Version 1 is read and not written.

use std::num::NonZeroU64;
use std::time::Duration;

use bytes::Bytes;
use fragment::{FragmentNumber, StreamName, WallTime};

use crate::error::StreamError;
use crate::limits;

const VERSION: u8 = 2;
const VERSION_SUB: u8 = 3;
const VERSION_REVISED: u8 = 4;

/// The place that a server of one's own says it is in. Data keys keep the ARN that they were made with, so
/// this can become a setting without losing what is stored.
const REGION: &str = "us-east-1";
const ACCOUNT: &str = "000000000000";

/// How long a stream's fragments are kept after their arrival, 1 hour to 10 years, in whole seconds, or 0 where it is live
/// only; and how many bytes of them at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Retention {
    time: Duration,
    bytes: Option<NonZeroU64>,
}

impl Retention {
    /// The retention of a stream that was created without one.
    pub const DEFAULT: Self = Self { time: limits::RETENTION_DEFAULT, bytes: None };

    /// That of a stream which is for those who watch it now: [`limits::LIVE_ONLY_KEPT`], so that they don't lose it.
    pub const LIVE_ONLY: Self = Self { time: Duration::ZERO, bytes: None };

    /// Checks and takes a time; zero is [`Retention::LIVE_ONLY`]. Bytes have no bound.
    pub fn new(time: Duration) -> Result<Self, StreamError> {
        if time.is_zero() {
            return Ok(Self::LIVE_ONLY);
        }
        if !(limits::RETENTION_MIN..=limits::RETENTION_MAX).contains(&time) {
            return Err(StreamError::Retention(time));
        }
        Ok(Self { time: Duration::from_secs(time.as_secs()), bytes: None })
    }

    /// With a bound for the bytes, or with none.
    pub fn with_bytes(self, bytes: Option<u64>) -> Result<Self, StreamError> {
        if let Some(bytes) = bytes.filter(|bytes| *bytes < limits::RETENTION_BYTES_MIN) {
            return Err(StreamError::RetentionBytes(bytes));
        }
        Ok(Self { bytes: bytes.and_then(NonZeroU64::new), ..self })
    }

    /// No longer than this.
    pub(crate) fn at_most(self, time: Duration) -> Self {
        Self { time: self.time.min(time), ..self }
    }

    /// How long; zero if it is live only.
    pub fn time(self) -> Duration {
        self.time
    }

    /// How many bytes at most, if that is bounded: the oldest go first.
    pub fn bytes(self) -> Option<u64> {
        self.bytes.map(NonZeroU64::get)
    }
}

/// A stream of fragments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// Its number, never given to another stream.
    pub id: u64,
    /// Its name, unique among streams.
    pub name: StreamName,
    /// When it was created.
    pub created: WallTime,
    /// How long its fragments are to be kept. The server's ceiling may be lower.
    pub retention: Retention,
    /// The longest that this server keeps anything.
    pub(crate) ceiling: Duration,
    /// Fragments with a lower number were given up, whatever the retention says by now.
    pub(crate) kept_from: FragmentNumber,
    /// The stream of the same camera whose smaller copy this is. It may not exist.
    pub sub_of: Option<StreamName>,
    /// How often its retention or its attributes were changed.
    pub revision: u64,
}

impl Stream {
    /// How long its fragments are kept here.
    pub fn kept_for(&self) -> Duration {
        let time = self.retention.time();
        if time.is_zero() { limits::LIVE_ONLY_KEPT } else { time.min(self.ceiling) }
    }

    /// The number below which fragments have expired at `now`: numbers are times of arrival, so that a
    /// changed retention holds at once for what is stored.
    pub(crate) fn first_kept(&self, now: WallTime) -> FragmentNumber {
        number_at(now - self.kept_for()).max(self.kept_from)
    }

    /// Its ARN, as Kinesis Video Streams writes them: by it others know the stream.
    pub fn arn(&self) -> String {
        let (name, created) = (&self.name, self.created.as_millis());
        format!("arn:aws:kinesisvideo:{REGION}:{ACCOUNT}:stream/{name}/{created}")
    }

    /// The ARN of the key that it is sealed under, as far as AWS's clients are told: the one that is managed for them.
    pub fn default_key_arn(&self) -> String {
        format!("arn:aws:kms:{REGION}:{ACCOUNT}:alias/aws/kinesisvideo")
    }

    pub(crate) fn encode(&self, state: State) -> Bytes {
        let version = match (self.revision, &self.sub_of) {
            (0, None) => VERSION,
            (0, Some(_)) => VERSION_SUB,
            (1.., _) => VERSION_REVISED,
        };
        let mut out = vec![version, state as u8];
        out.extend_from_slice(&self.created.as_nanos().to_be_bytes());
        let secs = u32::try_from(self.retention.time().as_secs()).expect("at most 10 years");
        out.extend_from_slice(&secs.to_be_bytes());
        out.extend_from_slice(&self.retention.bytes().unwrap_or(0).to_be_bytes());
        out.extend_from_slice(&self.kept_from.0.to_be_bytes());
        if version == VERSION_REVISED {
            out.extend_from_slice(&self.revision.to_be_bytes());
        }
        if version >= VERSION_SUB {
            let sub_of = self.sub_of.as_ref().map_or("", StreamName::as_str);
            let length = u16::try_from(sub_of.len()).expect("a stream's name is short");
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(sub_of.as_bytes());
        }
        out.extend_from_slice(self.name.as_str().as_bytes());
        out.into()
    }

    pub(crate) fn decode(id: u64, row: &[u8], ceiling: Duration) -> Option<(Self, State)> {
        let (&[version, state], rest) = row.split_first_chunk::<2>()?;
        let (created, rest) = rest.split_first_chunk::<8>()?;
        let (secs, rest) = rest.split_first_chunk::<4>()?;
        let (bytes, kept_from, rest) = match version {
            1 => (0, 0, rest),
            VERSION..=VERSION_REVISED => {
                let (bytes, rest) = rest.split_first_chunk::<8>()?;
                let (kept_from, rest) = rest.split_first_chunk::<8>()?;
                (u64::from_be_bytes(*bytes), u64::from_be_bytes(*kept_from), rest)
            }
            _ => return None,
        };
        let (revision, rest) = if version == VERSION_REVISED {
            let (revision, rest) = rest.split_first_chunk::<8>()?;
            (u64::from_be_bytes(*revision), rest)
        } else {
            (0, rest)
        };
        let (sub_of, name) = if version >= VERSION_SUB { length_and_name(rest)? } else { (None, rest) };
        let state = match state {
            0 => State::Active,
            1 => State::Deleting,
            _ => return None,
        };
        let retention = Retention::new(Duration::from_secs(u64::from(u32::from_be_bytes(*secs)))).ok()?;
        let stream = Self {
            id,
            name: std::str::from_utf8(name).ok()?.parse().ok()?,
            created: WallTime::from_nanos(i64::from_be_bytes(*created)),
            retention: retention.with_bytes(Some(bytes).filter(|bytes| *bytes > 0)).ok()?,
            ceiling,
            kept_from: FragmentNumber(kept_from),
            sub_of,
            revision,
        };
        Some((stream, state))
    }
}

/// A name with its length before it, which may be 0, and what follows.
fn length_and_name(bytes: &[u8]) -> Option<(Option<StreamName>, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    let (name, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
    let name = if name.is_empty() { None } else { Some(std::str::from_utf8(name).ok()?.parse().ok()?) };
    Some((name, rest))
}

/// The name and the time of creation in a stream's ARN, whatever its region and account.
pub(crate) fn parse_arn(arn: &str) -> Option<(StreamName, WallTime)> {
    let resource = arn.strip_prefix("arn:aws:kinesisvideo:")?.splitn(3, ':').nth(2)?;
    let (name, created) = resource.strip_prefix("stream/")?.rsplit_once('/')?;
    Some((name.parse().ok()?, WallTime::from_millis(created.parse().ok()?)))
}

/// Where a stream is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum State {
    Active = 0,
    Deleting = 1,
}

/// The number of a fragment that arrives at `time` and needs no raising: those that arrive later have a higher one.
pub fn number_at(time: WallTime) -> FragmentNumber {
    FragmentNumber(u64::try_from(time.as_nanos() / 1000).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_recognised_by_its_arn() {
        let created = WallTime::from_millis(1_790_000_000_123);
        let name: StreamName = "front.door_1".parse().unwrap();
        let stream = Stream { name: name.clone(), created, ..front() };
        assert_eq!(parse_arn(&stream.arn()), Some((name, created)));
        for other in ["vault", "arn:aws:kinesis:r:a:stream/x", "arn:aws:kinesisvideo:r:a:channel/x/1", ""] {
            assert_eq!(parse_arn(other), None, "{other}");
        }
    }

    #[test]
    fn a_stream_survives_its_row() {
        let retention = Retention::new(Duration::from_secs(7200)).unwrap();
        let kept_from = FragmentNumber(1_790_000_000_000_123);
        for bytes in [None, Some(64 << 20)] {
            let stream = Stream { retention: retention.with_bytes(bytes).unwrap(), kept_from, ..front() };
            for state in [State::Active, State::Deleting] {
                assert_eq!(decode(&stream.encode(state)), Some((stream.clone(), state)));
                let sub = Stream { sub_of: Some("back".parse().unwrap()), ..stream.clone() };
                assert_eq!(decode(&sub.encode(state)), Some((sub.clone(), state)));
                for revised in [stream.clone(), sub] {
                    let revised = Stream { revision: 3, ..revised };
                    assert_eq!(decode(&revised.encode(state)), Some((revised, state)));
                }
            }
        }
        assert_eq!(decode(b""), None);
    }

    #[test]
    fn a_row_of_version_1_is_read() {
        let row = b"\x01\x00\0\0\0\0\x04\x96\xed\x40\x00\x01\x51\x80front";
        assert_eq!(decode(row), Some((front(), State::Active)));
    }

    #[test]
    fn an_arn_names_stream_and_creation_time_as_kinesis_video_does() {
        let stream = Stream { created: WallTime::from_millis(1_551_924_009_774), ..front() };
        assert_eq!(stream.arn(), "arn:aws:kinesisvideo:us-east-1:000000000000:stream/front/1551924009774");
    }

    #[test]
    fn a_retention_lies_between_an_hour_and_ten_years() {
        assert!(Retention::new(Duration::from_secs(3599)).is_err());
        assert!(Retention::new(Duration::from_secs(3600)).is_ok());
        assert!(Retention::new(Duration::from_secs(87_600 * 3600)).is_ok());
        assert!(Retention::new(Duration::from_secs(87_600 * 3600 + 1)).is_err());
    }

    #[test]
    fn a_stream_that_is_live_only_is_kept_for_some_minutes_whatever_the_ceiling() {
        let live = Stream { retention: Retention::new(Duration::ZERO).unwrap(), ..front() };
        assert_eq!((live.retention, live.kept_for()), (Retention::LIVE_ONLY, limits::LIVE_ONLY_KEPT));
        assert_eq!(decode(&live.encode(State::Active)), Some((live, State::Active)));
    }

    #[test]
    fn a_bound_in_bytes_has_room_for_some_fragments() {
        assert!(Retention::DEFAULT.with_bytes(Some((64 << 20) - 1)).is_err());
        assert_eq!(Retention::DEFAULT.with_bytes(Some(64 << 20)).unwrap().bytes(), Some(64 << 20));
        assert_eq!(Retention::DEFAULT.with_bytes(None).unwrap(), Retention::DEFAULT);
    }

    fn decode(row: &[u8]) -> Option<(Stream, State)> {
        Stream::decode(5, row, limits::RETENTION_CEILING_DEFAULT)
    }

    fn front() -> Stream {
        Stream {
            id: 5,
            name: "front".parse().unwrap(),
            created: WallTime::from_millis(77),
            retention: Retention::DEFAULT,
            ceiling: limits::RETENTION_CEILING_DEFAULT,
            kept_from: FragmentNumber(0),
            sub_of: None,
            revision: 0,
        }
    }
}
