//! Identities: of owners, segments, key epochs, expiry slots and the places of frames.

use std::fmt;

/// Which kind of data an owner belongs to, so that the vault finds the [`Owner`](crate::Owner) that
/// understands its index entries. Stored in the top byte of an [`OwnerId`]; never renumbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Domain(u8);

impl Domain {
    /// Video streams.
    pub const ARCHIVE: Self = Self(1);
    /// Shards of data streams.
    pub const SHARDLOG: Self = Self(2);

    /// The domain with this number. For tests and for crates to come.
    pub const fn new(number: u8) -> Self {
        Self(number)
    }
}

/// Who a frame belongs to: the unit of keys and of deletion. `[domain: 1][number: 7]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OwnerId(u64);

impl OwnerId {
    /// The largest number within a domain.
    pub const NUMBER_MAX: u64 = (1 << 56) - 1;

    /// The vault itself, in domain 0: its root key is filed under this owner.
    pub(crate) const ROOT: Self = Self(0);

    /// Owner `number` of `domain`; `None` if the number needs more than 56 bits.
    pub const fn new(domain: Domain, number: u64) -> Option<Self> {
        if number > Self::NUMBER_MAX {
            return None;
        }
        Some(Self(((domain.0 as u64) << 56) | number))
    }

    /// The domain that the owner belongs to.
    pub fn domain(self) -> Domain {
        Domain(self.0.to_be_bytes()[0])
    }

    /// The number within the domain.
    pub fn number(self) -> u64 {
        self.0 & Self::NUMBER_MAX
    }

    pub(crate) fn to_u64(self) -> u64 {
        self.0
    }

    pub(crate) fn from_u64(id: u64) -> Self {
        Self(id)
    }
}

impl fmt::Display for OwnerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The slot of two minutes after which a frame may be deleted, counted from 1970-01-01T00Z: a frame with
/// expiry slot `s` is kept until slot `s` has passed. The length is what expired bytes may linger at most,
/// against one file per slot and retention in use: 5,040 files for a week of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExpirySlot(pub u32);

impl ExpirySlot {
    /// The length of a slot.
    pub const SECONDS: u32 = 120;

    const PER_DAY: u32 = 86_400 / Self::SECONDS;

    /// The slot that `unix_secs` lies in.
    pub fn containing(unix_secs: u64) -> Self {
        Self(u32::try_from(unix_secs / u64::from(Self::SECONDS)).unwrap_or(u32::MAX))
    }

    /// When the slot has passed, in seconds since 1970.
    pub fn end_secs(self) -> u64 {
        (u64::from(self.0) + 1) * u64::from(Self::SECONDS)
    }

    /// The epoch of the data key that seals frames of this expiry.
    pub fn epoch(self) -> KeyEpoch {
        KeyEpoch(self.0 / Self::PER_DAY)
    }
}

/// The day of expiry that a data key serves. Keys are epoched by the day on which their frames expire,
/// not on which they were written, so that a key's end is known when it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyEpoch(pub u32);

/// A data key's random number. Random, so that servers that share one store make keys without asking
/// each other; with owner and epoch, a key's whole name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub u64);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The name of a data key, written `<owner: 16 hex>-<epoch: 8 hex>-<id: 16 hex>`. An owner has at least
/// one key for each epoch, and more when one has sealed as much as it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyName {
    /// Whose frames it seals.
    pub owner: OwnerId,
    /// Of which day of expiry.
    pub epoch: KeyEpoch,
    /// Which of the keys of that owner and day.
    pub id: KeyId,
}

impl KeyName {
    /// The vault's root key: it seals no frame and is the source of derived keys.
    pub(crate) const ROOT: Self = Self { owner: OwnerId::ROOT, epoch: KeyEpoch(u32::MAX), id: KeyId(0) };

    /// The name written so; `None` if it is no key's name.
    pub(crate) fn parse(written: &str) -> Option<Self> {
        let mut parts = written.split('-');
        let (owner, epoch, id) = (parts.next()?, parts.next()?, parts.next()?);
        let hex = |digits: &str, count| if digits.len() == count { u64::from_str_radix(digits, 16).ok() } else { None };
        let name = Self {
            owner: OwnerId(hex(owner, 16)?),
            epoch: KeyEpoch(u32::try_from(hex(epoch, 8)?).ok()?),
            id: KeyId(hex(id, 16)?),
        };
        // The one way to write it, without signs and capitals.
        (name.to_string() == written).then_some(name)
    }

    /// What the key is for, whichever of several it is.
    pub(crate) fn scope(self) -> KeyScope {
        KeyScope { owner: self.owner, epoch: self.epoch }
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:08x}-{}", self.owner, self.epoch.0, self.id)
    }
}

/// The frames that may share a key: those of one owner that expire on one day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct KeyScope {
    pub(crate) owner: OwnerId,
    pub(crate) epoch: KeyEpoch,
}

impl KeyScope {
    pub(crate) fn key(self, id: KeyId) -> KeyName {
        KeyName { owner: self.owner, epoch: self.epoch, id }
    }
}

/// A segment's random number. Half of every nonce in it, so it is never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId(pub u64);

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Where a frame lies. Stored by owners in their rows as 20 bytes, big-endian:
/// `[expiry slot: 4][segment: 8][offset: 4][frame bytes: 4]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location {
    /// The expiry slot of the segment, a part of its name.
    pub expiry: ExpirySlot,
    /// The segment.
    pub segment: SegmentId,
    /// Where in the segment the frame begins.
    pub offset: u32,
    /// How long the whole frame is.
    pub bytes: u32,
}

impl Location {
    /// The length of the stored form.
    pub const ENCODED_BYTES: usize = 20;

    /// The stored form.
    pub fn encode(self) -> [u8; Self::ENCODED_BYTES] {
        let mut out = [0; Self::ENCODED_BYTES];
        out[..4].copy_from_slice(&self.expiry.0.to_be_bytes());
        out[4..12].copy_from_slice(&self.segment.0.to_be_bytes());
        out[12..16].copy_from_slice(&self.offset.to_be_bytes());
        out[16..].copy_from_slice(&self.bytes.to_be_bytes());
        out
    }

    /// The location of a stored form; `None` if it has another length.
    pub fn decode(stored: &[u8]) -> Option<Self> {
        let stored: &[u8; Self::ENCODED_BYTES] = stored.try_into().ok()?;
        Some(Self {
            expiry: ExpirySlot(u32_at(stored, 0)),
            segment: SegmentId(u64_at(stored, 4)),
            offset: u32_at(stored, 12),
            bytes: u32_at(stored, 16),
        })
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "segment {:08}-{} at byte {}", self.expiry.0, self.segment, self.offset)
    }
}

/// The big-endian number at `at`, which the caller knows to lie inside `bytes`.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_be_bytes(word)
}

/// The big-endian number at `at`, which the caller knows to lie inside `bytes`.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_be_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_survives_its_stored_form() {
        let location = Location { expiry: ExpirySlot(7), segment: SegmentId(u64::MAX - 1), offset: 3, bytes: 9 };
        assert_eq!(Location::decode(&location.encode()), Some(location));
        assert_eq!(Location::decode(&location.encode()[1..]), None);
    }

    #[test]
    fn an_owner_keeps_its_domain_and_number() {
        let owner = OwnerId::new(Domain::ARCHIVE, 42).unwrap();
        assert_eq!((owner.domain(), owner.number()), (Domain::ARCHIVE, 42));
        assert_eq!(OwnerId::new(Domain::ARCHIVE, 1 << 56), None);
    }

    #[test]
    fn a_key_is_found_by_its_written_name_only() {
        let name = KeyName { owner: OwnerId(7), epoch: KeyEpoch(20_000), id: KeyId(u64::MAX - 1) };
        assert_eq!(name.to_string(), "0000000000000007-00004e20-fffffffffffffffe");
        assert_eq!(KeyName::parse(&name.to_string()), Some(name));
        assert_eq!(KeyName::parse(&KeyName::ROOT.to_string()), Some(KeyName::ROOT));
        let upper = name.to_string().to_uppercase();
        let others =
            ["", "7-4e20-1", &upper, "0000000000000007-00004e20", "+000000000000007-00004e20-fffffffffffffffe"];
        for other in others {
            assert_eq!(KeyName::parse(other), None, "{other}");
        }
        assert_eq!(KeyName::parse(&format!("{name}-1")), None);
    }

    #[test]
    fn a_key_epoch_is_the_day_of_expiry() {
        assert_eq!(ExpirySlot::containing(86_400 * 3 - 1).epoch(), KeyEpoch(2));
        assert_eq!(ExpirySlot::containing(86_400 * 3).epoch(), KeyEpoch(3));
    }
}
