//! Streams: a name, an age, a retention.
//!
//! `row: [version 1: 1][state: 1][created ns: 8][retention seconds: 4][name]`; state 0 is active, 1 is being
//! deleted.

use std::time::Duration;

use bytes::Bytes;
use fragment::{FragmentNumber, StreamName, WallTime};

use crate::error::StreamError;
use crate::limits;

const VERSION: u8 = 1;

/// The place that a server of one's own says it is in. Data keys keep the ARN that they were made with, so
/// this can become a setting without losing what is stored.
const REGION: &str = "us-east-1";
const ACCOUNT: &str = "000000000000";

/// How long a stream's fragments are kept after their arrival: 1 hour to 7 days, in whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Retention(Duration);

impl Retention {
    /// The retention of a stream that was created without one.
    pub const DEFAULT: Self = Self(limits::RETENTION_DEFAULT);

    /// Checks and takes a retention.
    pub fn new(retention: Duration) -> Result<Self, StreamError> {
        if !(limits::RETENTION_MIN..=limits::RETENTION_MAX).contains(&retention) {
            return Err(StreamError::Retention(retention));
        }
        Ok(Self(Duration::from_secs(retention.as_secs())))
    }

    /// As a duration.
    pub fn get(self) -> Duration {
        self.0
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
    /// How long its fragments are kept.
    pub retention: Retention,
}

impl Stream {
    /// The number below which fragments have expired at `now`: numbers are times of arrival, so that a
    /// changed retention holds at once for what is stored.
    pub(crate) fn first_kept(&self, now: WallTime) -> FragmentNumber {
        number_at(now - self.retention.get())
    }

    /// Its ARN, as Kinesis Video Streams writes them: by it others know the stream.
    pub fn arn(&self) -> String {
        let (name, created) = (&self.name, self.created.as_millis());
        format!("arn:aws:kinesisvideo:{REGION}:{ACCOUNT}:stream/{name}/{created}")
    }

    pub(crate) fn encode(&self, state: State) -> Bytes {
        let mut out = vec![VERSION, state as u8];
        out.extend_from_slice(&self.created.as_nanos().to_be_bytes());
        let secs = u32::try_from(self.retention.get().as_secs()).expect("at most 7 days");
        out.extend_from_slice(&secs.to_be_bytes());
        out.extend_from_slice(self.name.as_str().as_bytes());
        out.into()
    }

    pub(crate) fn decode(id: u64, row: &[u8]) -> Option<(Self, State)> {
        let (&[version, state], rest) = row.split_first_chunk::<2>()?;
        let (created, rest) = rest.split_first_chunk::<8>()?;
        let (secs, name) = rest.split_first_chunk::<4>()?;
        let state = match (version, state) {
            (VERSION, 0) => State::Active,
            (VERSION, 1) => State::Deleting,
            _ => return None,
        };
        let stream = Self {
            id,
            name: std::str::from_utf8(name).ok()?.parse().ok()?,
            created: WallTime::from_nanos(i64::from_be_bytes(*created)),
            retention: Retention::new(Duration::from_secs(u64::from(u32::from_be_bytes(*secs)))).ok()?,
        };
        Some((stream, state))
    }
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

/// The number of a fragment that arrives at `time` and needs no raising.
pub(crate) fn number_at(time: WallTime) -> FragmentNumber {
    FragmentNumber(u64::try_from(time.as_nanos() / 1000).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_recognised_by_its_arn() {
        let created = WallTime::from_millis(1_790_000_000_123);
        let name: StreamName = "front.door_1".parse().unwrap();
        let stream = Stream { id: 5, name: name.clone(), created, retention: Retention::DEFAULT };
        assert_eq!(parse_arn(&stream.arn()), Some((name, created)));
        for other in ["vault", "arn:aws:kinesis:r:a:stream/x", "arn:aws:kinesisvideo:r:a:channel/x/1", ""] {
            assert_eq!(parse_arn(other), None, "{other}");
        }
    }

    #[test]
    fn a_stream_survives_its_row() {
        let stream = Stream {
            id: 5,
            name: "front".parse().unwrap(),
            created: WallTime::from_millis(77),
            retention: Retention::new(Duration::from_secs(7200)).unwrap(),
        };
        for state in [State::Active, State::Deleting] {
            assert_eq!(Stream::decode(5, &stream.encode(state)), Some((stream.clone(), state)));
        }
        assert_eq!(Stream::decode(5, b""), None);
    }

    #[test]
    fn an_arn_names_stream_and_creation_time_as_kinesis_video_does() {
        let stream = Stream {
            id: 5,
            name: "front".parse().unwrap(),
            created: WallTime::from_millis(1_551_924_009_774),
            retention: Retention::DEFAULT,
        };
        assert_eq!(stream.arn(), "arn:aws:kinesisvideo:us-east-1:000000000000:stream/front/1551924009774");
    }

    #[test]
    fn a_retention_lies_between_an_hour_and_a_week() {
        assert!(Retention::new(Duration::from_secs(3599)).is_err());
        assert!(Retention::new(Duration::from_secs(3600)).is_ok());
        assert!(Retention::new(Duration::from_secs(168 * 3600)).is_ok());
        assert!(Retention::new(Duration::from_secs(168 * 3600 + 1)).is_err());
    }
}
