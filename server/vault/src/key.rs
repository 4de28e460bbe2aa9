//! Catalog keys: `[space: 1][the space's own key]`.
//!
//! The catalog is one ordered key space, divided by its first byte among those who use it. What lies
//! within a space is for its user to say, in an enum of its own: the vault knows neither streams nor devices.

use bytes::Bytes;

/// Who a part of the key space belongs to. Stored; never renumbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Space {
    /// The vault's own rows.
    Vault = 0,
    /// Video streams and their fragment index.
    Archive = 1,
    /// Data streams, shards and records.
    Shardlog = 2,
    /// The server's rows: devices, access keys, settings.
    Server = 3,
}

/// A key of the catalog. Keys order by their bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Bytes);

impl Key {
    /// Before all keys.
    pub(crate) const FIRST: Self = Self(Bytes::new());

    /// The key `rest` of `space`.
    pub fn new(space: Space, rest: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(1 + rest.len());
        bytes.push(space as u8);
        bytes.extend_from_slice(rest);
        Self(bytes.into())
    }

    /// The key without its space, as its user wrote it.
    pub fn rest(&self) -> &[u8] {
        self.0.get(1..).unwrap_or_default()
    }

    /// All bytes of the key.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The key of these bytes, as [`Key::as_bytes`] gave them. Only a catalog backend has stored keys.
    pub fn from_stored(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// The first key after every key that begins with this one; `None` if there is none.
    pub(crate) fn after_prefix(&self) -> Option<Self> {
        let mut end = self.0.to_vec();
        while let Some(last) = end.pop() {
            if last < u8::MAX {
                end.push(last + 1);
                return Some(Self(end.into()));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_space_ends_before_the_next_begins() {
        let last = Key::new(Space::Archive, &[0xff; 40]);
        assert!(last < Key::new(Space::Shardlog, b""));
        assert_eq!(Key::new(Space::Archive, b"x").rest(), b"x");
    }

    #[test]
    fn the_end_of_a_prefix_lies_after_all_its_keys() {
        let end = Key::new(Space::Archive, &[1, 0xff, 0xff]).after_prefix().unwrap();
        assert_eq!(end, Key::new(Space::Archive, &[2]));
        assert_eq!(Key(Bytes::from_static(&[0xff, 0xff])).after_prefix(), None);
    }
}
