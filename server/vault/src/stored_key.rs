//! A data key as it is stored: wrapped, with everything that is needed to unwrap it.
//!
//! ```text
//! [magic "MRKEY001": 8][owner: 8][epoch: 4][key id: 8]
//! [resource bytes (r): 2][resource: r][wrapped bytes (w): 2][wrapped key: w][crc32c: 4]
//! ```
//!
//! The checksum tells damage from a wrong master key; what protects the key is that its service
//! authenticates name and resource with it.

use crate::id::{KeyName, u32_at};
use crate::keys::{KeyContext, WrappedKey};

const MAGIC: &[u8; 8] = b"MRKEY001";
const NAME_BYTES: usize = 20;

/// A wrapped key and its context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredKey {
    pub(crate) context: KeyContext,
    pub(crate) wrapped: WrappedKey,
}

impl StoredKey {
    /// The stored form.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&encode_name(self.context.name));
        for part in [self.context.resource.as_bytes(), &self.wrapped.0] {
            let len = u16::try_from(part.len()).expect("resources and wrapped keys have a few kilobytes at most");
            out.extend_from_slice(&len.to_be_bytes());
            out.extend_from_slice(part);
        }
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_be_bytes());
        out
    }

    /// What was stored as the key `name`; `None` if it is damaged or another key.
    pub(crate) fn decode(stored: &[u8], name: KeyName) -> Option<Self> {
        let (body, _) = stored.split_at_checked(stored.len().checked_sub(4)?)?;
        if crc32c::crc32c(body) != u32_at(stored, body.len()) {
            return None;
        }
        let rest = body.strip_prefix(MAGIC)?.strip_prefix(&encode_name(name))?;
        let (resource, rest) = split_part(rest)?;
        let (wrapped, rest) = split_part(rest)?;
        let resource = String::from_utf8(resource.to_vec()).ok()?;
        rest.is_empty().then(|| Self { context: KeyContext { name, resource }, wrapped: WrappedKey(wrapped.to_vec()) })
    }
}

fn encode_name(name: KeyName) -> [u8; NAME_BYTES] {
    let mut out = [0; NAME_BYTES];
    out[..8].copy_from_slice(&name.owner.to_u64().to_be_bytes());
    out[8..12].copy_from_slice(&name.epoch.0.to_be_bytes());
    out[12..].copy_from_slice(&name.id.0.to_be_bytes());
    out
}

/// A part with its length before it, and what comes after.
fn split_part(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::id::{KeyEpoch, KeyId, OwnerId};

    proptest! {
        #[test]
        fn a_key_is_read_as_it_was_stored_and_under_its_own_name_only(
            resource: String, wrapped: Vec<u8>, owner: u64, epoch: u32, id: u64,
        ) {
            let name = KeyName { owner: OwnerId::from_u64(owner), epoch: KeyEpoch(epoch), id: KeyId(id) };
            let key = StoredKey { context: KeyContext { name, resource }, wrapped: WrappedKey(wrapped) };
            prop_assert_eq!(StoredKey::decode(&key.encode(), name), Some(key.clone()));
            let other = KeyName { id: KeyId(id ^ 1), ..name };
            prop_assert_eq!(StoredKey::decode(&key.encode(), other), None);
        }

        #[test]
        fn any_bytes_decode_or_are_refused(bytes: Vec<u8>) {
            let _ = StoredKey::decode(&bytes, KeyName::ROOT);
        }
    }

    #[test]
    fn every_flipped_bit_and_every_shortened_key_is_noticed() {
        let context = KeyContext { name: KeyName::ROOT, resource: "the vault".to_owned() };
        let stored = StoredKey { context, wrapped: WrappedKey(vec![7; 40]) }.encode();
        for bit in 0..stored.len() * 8 {
            let mut bad = stored.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(StoredKey::decode(&bad, KeyName::ROOT), None, "bit {bit}");
        }
        for len in 0..stored.len() {
            assert_eq!(StoredKey::decode(&stored[..len], KeyName::ROOT), None, "{len}");
        }
    }
}
