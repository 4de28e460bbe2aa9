//! Sealing of what clients hold for us: playback tokens and console sessions.
//!
//! ```text
//! text   = base64url(bytes), without padding
//! bytes  = [nonce: 12][AES-256-GCM ciphertext: n][tag: 16]
//! ```
//!
//! The nonce is random. What a text is for is authenticated along with it, so that a console session
//! is no playback token.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::limits;

/// Seals and opens with one key.
pub(crate) struct Sealer(RandomizedNonceKey);

/// The text is not one that this key has sealed for this purpose.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotOurs;

impl Sealer {
    /// A sealer with this key.
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        Self(RandomizedNonceKey::new(&AES_256_GCM, key).expect("AES-256 keys have 32 bytes"))
    }

    /// Seals `plain` for `purpose`.
    pub(crate) fn seal(&self, purpose: &[u8], plain: &[u8]) -> String {
        let mut sealed = plain.to_vec();
        let nonce = self
            .0
            .seal_in_place_append_tag(Aad::from(purpose), &mut sealed)
            .expect("a token is far shorter than AES-GCM's limit");
        URL_SAFE_NO_PAD.encode([&nonce.as_ref()[..], &sealed].concat())
    }

    /// Opens a text that was sealed for `purpose`.
    pub(crate) fn open(&self, purpose: &[u8], text: &str) -> Result<Vec<u8>, NotOurs> {
        if text.len() > limits::TOKEN_CHARACTERS_MAX {
            return Err(NotOurs);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| NotOurs)?;
        let (nonce, sealed) = bytes.split_at_checked(NONCE_LEN).ok_or(NotOurs)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| NotOurs)?;
        let mut sealed = sealed.to_vec();
        let plain = self.0.open_in_place(nonce, Aad::from(purpose), &mut sealed).map_err(|_| NotOurs)?;
        Ok(plain.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_can_be_opened_for_the_same_purpose_only() {
        let sealer = Sealer::new(&[7; 32]);
        let text = sealer.seal(b"playback", b"front");
        assert_eq!(sealer.open(b"playback", &text), Ok(b"front".to_vec()));
        assert_eq!(sealer.open(b"console", &text), Err(NotOurs));
    }

    #[test]
    fn another_key_opens_nothing() {
        let text = Sealer::new(&[7; 32]).seal(b"playback", b"front");
        assert_eq!(Sealer::new(&[8; 32]).open(b"playback", &text), Err(NotOurs));
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let sealer = Sealer::new(&[7; 32]);
        let bytes = URL_SAFE_NO_PAD.decode(sealer.seal(b"playback", b"front")).unwrap();
        for i in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[i] ^= 1;
            assert_eq!(sealer.open(b"playback", &URL_SAFE_NO_PAD.encode(changed)), Err(NotOurs), "byte {i}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        let sealer = Sealer::new(&[7; 32]);
        for text in ["", "x", "AAAA", "not base64!", &"A".repeat(100_000)] {
            assert_eq!(sealer.open(b"playback", text), Err(NotOurs));
        }
    }
}
