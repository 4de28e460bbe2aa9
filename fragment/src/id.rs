//! Identities: of streams, capture sessions and fragments.
//!
//! A fragment has two names. [`FragmentId`] is chosen on the device at capture and makes a resend
//! recognisable. [`FragmentNumber`] is given by the server on arrival and orders a stream's
//! fragments by arrival, as Kinesis Video Streams' fragment numbers do.

use std::fmt;
use std::str::FromStr;

use crate::{WallTime, limits};

/// The name of a stream: 1 to 256 of `a-z A-Z 0-9 _ . -`, the rule of Kinesis Video Streams.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamName(String);

/// Why a text is not a stream name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is not a stream name: use 1 to 256 letters, digits, '_', '.' or '-'")]
pub struct InvalidStreamName {
    name: String,
}

impl StreamName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for StreamName {
    type Err = InvalidStreamName;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        // "." and ".." are names by KVS' rule, but no one wants them as a folder or in an URL.
        if name.is_empty()
            || name.len() > limits::STREAM_NAME_BYTES_MAX
            || !name.chars().all(allowed)
            || name.chars().all(|c| c == '.')
        {
            return Err(InvalidStreamName { name: name.chars().take(300).collect() });
        }
        Ok(Self(name.to_owned()))
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One uninterrupted run of capture of one stream, a random number chosen when it begins.
/// Within it, media time has one origin and fragments follow each other without a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The place of a fragment in its session, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(pub u32);

impl Sequence {
    /// The sequence of the fragment that follows.
    pub fn next(self) -> Self {
        Self(self.0.checked_add(1).expect("a session ends before 2^32 fragments"))
    }
}

/// A fragment's identity within its stream, chosen at capture. Written `session-sequence`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FragmentId {
    /// The capture session that the fragment belongs to.
    pub session: SessionId,
    /// Its place in that session.
    pub sequence: Sequence,
}

impl FragmentId {
    /// Whether this fragment directly continues `before`, so that no gap lies between them.
    pub fn follows(self, before: FragmentId) -> bool {
        self.session == before.session && before.sequence.0.checked_add(1) == Some(self.sequence.0)
    }
}

impl fmt::Display for FragmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:010}", self.session, self.sequence.0)
    }
}

/// Why a text is not a fragment id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a fragment id is 16 hexadecimal digits, '-' and 10 decimal digits")]
pub struct InvalidFragmentId;

impl FromStr for FragmentId {
    type Err = InvalidFragmentId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (session, sequence) = text.split_once('-').ok_or(InvalidFragmentId)?;
        let digits = |part: &str, n: usize| part.len() == n && part.chars().all(|c| c.is_ascii_hexdigit());
        if !digits(session, 16) || !digits(sequence, 10) {
            return Err(InvalidFragmentId);
        }
        Ok(Self {
            session: SessionId(u64::from_str_radix(session, 16).map_err(|_| InvalidFragmentId)?),
            sequence: Sequence(sequence.parse().map_err(|_| InvalidFragmentId)?),
        })
    }
}

/// A fragment's number in its stream, given by the server: the microseconds since the epoch at its
/// arrival, raised where needed so that numbers of a stream ascend strictly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FragmentNumber(pub u64);

impl FragmentNumber {
    /// The number of a fragment that arrives at this time and needs no raising.
    pub fn at(arrived: WallTime) -> Self {
        Self(u64::try_from(arrived.as_nanos() / 1000).unwrap_or(0))
    }
}

impl fmt::Display for FragmentNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stream_names_follow_the_rule_of_kvs() {
        for good in ["a", "Front_door.2-main", &"x".repeat(256)] {
            assert!(good.parse::<StreamName>().is_ok(), "{good}");
        }
        for bad in ["", "a b", "a/b", "ü", "..", &"x".repeat(257)] {
            assert!(bad.parse::<StreamName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_fragment_id_survives_its_text_form() {
        let id = FragmentId { session: SessionId(0xdead_beef), sequence: Sequence(u32::MAX) };
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!("x-1".parse::<FragmentId>(), Err(InvalidFragmentId));
        assert_eq!("00000000deadbeef-+000000001".parse::<FragmentId>(), Err(InvalidFragmentId));
    }

    #[test]
    fn only_the_next_sequence_of_the_same_session_follows() {
        let id = |session, sequence| FragmentId { session: SessionId(session), sequence: Sequence(sequence) };
        assert!(id(1, 5).follows(id(1, 4)));
        assert!(!id(1, 5).follows(id(2, 4)));
        assert!(!id(1, 6).follows(id(1, 4)));
        assert!(!id(1, 0).follows(id(1, u32::MAX)));
    }
}
