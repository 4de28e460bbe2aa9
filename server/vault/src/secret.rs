//! Small secrets of the server: keys derived from the vault's root key, and texts sealed under them.
//!
//! `sealed text: [version 1: 1][nonce: 12][ciphertext][tag: 16]`, the label authenticated. Nonces are random,
//! which AES-GCM allows for 2^32 texts of one label.

use aws_lc_rs::aead::{Aad, Nonce};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use zeroize::Zeroizing;

use crate::error::{KeyError, SecretError};
use crate::keys::{DataKey, random};

const VERSION: u8 = 1;
const NONCE_BYTES: usize = 12;

struct Bytes32;

impl KeyType for Bytes32 {
    fn len(&self) -> usize {
        32
    }
}

/// The key of `label`: the same for every start of the same vault, unrelated to that of other labels.
pub(crate) fn derive(root: &DataKey, label: &str) -> Zeroizing<[u8; 32]> {
    let salt = Salt::new(HKDF_SHA256, b"millrace derived key 1");
    let mut derived = Zeroizing::new([0; 32]);
    salt.extract(root.secret())
        .expand(&[label.as_bytes()], Bytes32)
        .and_then(|okm| okm.fill(&mut *derived))
        .expect("HKDF-SHA256 gives up to 8160 bytes");
    derived
}

/// Seals a text under the key of `label`.
pub(crate) fn seal(root: &DataKey, label: &str, text: &[u8]) -> Result<Vec<u8>, KeyError> {
    let mut nonce = [0; NONCE_BYTES];
    random(&mut nonce)?;
    let mut body = text.to_vec();
    DataKey::new(&derive(root, label))
        .aead()
        .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(label), &mut body)
        .expect("AES-GCM seals any text");
    let mut sealed = vec![VERSION];
    sealed.extend_from_slice(&nonce);
    sealed.append(&mut body);
    Ok(sealed)
}

/// Opens a text sealed under the same label.
pub(crate) fn open(root: &DataKey, label: &str, sealed: &[u8]) -> Result<Vec<u8>, SecretError> {
    let rest = sealed.strip_prefix(&[VERSION]).ok_or(SecretError::Foreign)?;
    let (nonce, body) = rest.split_first_chunk::<NONCE_BYTES>().ok_or(SecretError::Foreign)?;
    let mut body = body.to_vec();
    let text = DataKey::new(&derive(root, label))
        .aead()
        .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(label), &mut body)
        .map_err(|_| SecretError::Foreign)?;
    Ok(text.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_text_opens_under_its_label_and_root_only() {
        let root = DataKey::random().unwrap();
        let sealed = seal(&root, "playback", b"front door").unwrap();
        assert_eq!(open(&root, "playback", &sealed).unwrap(), b"front door");
        assert_eq!(open(&root, "cookie", &sealed), Err(SecretError::Foreign));
        assert_eq!(open(&DataKey::random().unwrap(), "playback", &sealed), Err(SecretError::Foreign));
    }

    #[test]
    fn a_changed_or_shortened_text_does_not_open() {
        let root = DataKey::random().unwrap();
        let sealed = seal(&root, "playback", b"front door").unwrap();
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(open(&root, "playback", &changed), Err(SecretError::Foreign));
            assert_eq!(open(&root, "playback", &sealed[..at]), Err(SecretError::Foreign));
        }
    }
}
