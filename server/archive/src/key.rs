//! The archive's rows in the catalog. Numbers are big-endian, so that keys order as what they stand for.
//!
//! ```text
//! [1]                                        next stream's id
//! [2][stream: 8]                             a stream; stream.rs has its value
//! [3][stream: 8][number: 8]                  [location: 20][index entry]; also the index by arrival
//! [4][stream: 8][start: 8][number: 8]        empty: the index by producer time
//! [5][stream: 8][session: 8][sequence: 4]    [number: 8]: what makes a resend recognisable
//! [6][stream: 8]                             the end of a stream; tail.rs has its value
//! [7][stream: 8]                             how much of it was removed; tail.rs
//! [8][expiry slot: 4][segment id: 8]         [bytes: 8]: what a segment lost of its rows before its slot has passed
//! [9][stream: 8]                             what its users note of it, opaque here
//! ```
//!
//! A start is stored with its sign bit flipped, so that times before 1970 come first.

use fragment::{FragmentId, FragmentNumber, WallTime};
use vault::{ExpirySlot, Key, SegmentId, SegmentName, Space};

/// Every kind of row. The kinds' numbers are stored and never renumbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Row {
    /// The id that the next stream gets. Ids are never reused: keys and frames carry them.
    NextStream,
    /// A stream.
    Stream(u64),
    /// A fragment by its number.
    ByNumber(u64, FragmentNumber),
    /// A fragment by its producer time.
    ByTime(u64, WallTime, FragmentNumber),
    /// A fragment by its identity.
    ByIdentity(u64, FragmentId),
    /// The end of a stream.
    Tail(u64),
    /// How much was removed of a stream.
    Removed(u64),
    /// A segment that lost rows before its slot has passed.
    Thinned(SegmentName),
    /// What a stream's users note of it.
    Attributes(u64),
}

impl Row {
    pub(crate) fn key(self) -> Key {
        match self {
            Self::NextStream => build(1, &[]),
            Self::Stream(stream) => build(2, &[&stream.to_be_bytes()]),
            Self::ByNumber(stream, number) => build(3, &[&stream.to_be_bytes(), &number.0.to_be_bytes()]),
            Self::ByTime(stream, start, number) => {
                build(4, &[&stream.to_be_bytes(), &sortable(start), &number.0.to_be_bytes()])
            }
            Self::ByIdentity(stream, id) => {
                build(5, &[&stream.to_be_bytes(), &id.session.0.to_be_bytes(), &id.sequence.0.to_be_bytes()])
            }
            Self::Tail(stream) => build(6, &[&stream.to_be_bytes()]),
            Self::Removed(stream) => build(7, &[&stream.to_be_bytes()]),
            Self::Thinned(segment) => build(8, &[&segment.expiry.0.to_be_bytes(), &segment.id.0.to_be_bytes()]),
            Self::Attributes(stream) => build(9, &[&stream.to_be_bytes()]),
        }
    }
}

/// What all streams' keys begin with.
pub(crate) fn streams() -> Key {
    build(2, &[])
}

/// What all keys of a stream's fragments by number begin with.
pub(crate) fn numbers(stream: u64) -> Key {
    build(3, &[&stream.to_be_bytes()])
}

/// What all keys of a stream's fragments by producer time begin with.
pub(crate) fn times(stream: u64) -> Key {
    build(4, &[&stream.to_be_bytes()])
}

/// What all keys of a stream's fragments by identity begin with.
pub(crate) fn identities(stream: u64) -> Key {
    build(5, &[&stream.to_be_bytes()])
}

/// What the keys of all segments that lost rows begin with.
pub(crate) fn thinned() -> Key {
    build(8, &[])
}

/// The segment in the key of one that lost rows.
pub(crate) fn segment_of(key: &Key) -> Option<SegmentName> {
    let (expiry, id) = key.rest().strip_prefix(&[8])?.split_first_chunk()?;
    let id = SegmentId(u64::from_be_bytes(id.try_into().ok()?));
    Some(SegmentName { expiry: ExpirySlot(u32::from_be_bytes(*expiry)), id })
}

/// The number in a key by number.
pub(crate) fn number_of(key: &Key) -> Option<FragmentNumber> {
    let rest: &[u8; 16] = key.rest().strip_prefix(&[3])?.try_into().ok()?;
    rest[8..].try_into().map(u64::from_be_bytes).map(FragmentNumber).ok()
}

/// The stream's id in a stream's key.
pub(crate) fn stream_of(key: &Key) -> Option<u64> {
    let rest = key.rest().strip_prefix(&[2])?;
    Some(u64::from_be_bytes(rest.try_into().ok()?))
}

/// Start and number in a key of the index by producer time.
pub(crate) fn time_of(key: &Key) -> Option<(WallTime, FragmentNumber)> {
    let rest: &[u8; 24] = key.rest().strip_prefix(&[4])?.try_into().ok()?;
    let word = |at: usize| rest[at..at + 8].try_into().map(u64::from_be_bytes).ok();
    let start = (word(8)? ^ SIGN).cast_signed();
    Some((WallTime::from_nanos(start), FragmentNumber(word(16)?)))
}

const SIGN: u64 = 1 << 63;

fn sortable(time: WallTime) -> [u8; 8] {
    (time.as_nanos().cast_unsigned() ^ SIGN).to_be_bytes()
}

fn build(kind: u8, parts: &[&[u8]]) -> Key {
    let mut rest = vec![kind];
    for part in parts {
        rest.extend_from_slice(part);
    }
    Key::new(Space::Archive, &rest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn keys_by_time_order_as_times_and_give_them_back(a: i64, b: i64, number: u64) {
            let key = |nanos| Row::ByTime(7, WallTime::from_nanos(nanos), FragmentNumber(number)).key();
            prop_assert_eq!(key(a).cmp(&key(b)), a.cmp(&b));
            prop_assert_eq!(time_of(&key(a)), Some((WallTime::from_nanos(a), FragmentNumber(number))));
        }

        #[test]
        fn keys_by_number_order_as_numbers_within_their_stream(a: u64, b: u64, stream: u64) {
            let key = |n| Row::ByNumber(stream, FragmentNumber(n)).key();
            prop_assert_eq!(key(a).cmp(&key(b)), a.cmp(&b));
            prop_assert!(key(a).as_bytes().starts_with(numbers(stream).as_bytes()));
            prop_assert_eq!(stream_of(&Row::Stream(stream).key()), Some(stream));
        }
    }
}
