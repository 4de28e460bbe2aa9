//! The join token: what `millrace device add` prints and the agent's configuration holds.
//!
//! ```text
//! mrj1_ base64url( [SHA-256 of the CA certificate (DER): 32][secret: 32] )      no padding
//! ```
//!
//! The hash lets the device know the server before it says the secret; the secret is good once.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

const PREFIX: &str = "mrj1_";

/// A join token. Its `Debug` form hides the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// SHA-256 of the server's CA certificate in DER.
    pub ca_sha256: [u8; 32],
    /// The one-time secret.
    pub secret: [u8; 32],
}

/// Why a text is not a join token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidToken {
    /// It does not begin like one.
    #[error("a join token begins with \"mrj1_\"; print a new one with `millrace device add`")]
    Prefix,
    /// Characters are missing, doubled or changed.
    #[error("the join token is damaged: copy all of it, it has 91 characters")]
    Damaged,
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&self.ca_sha256);
        bytes[32..].copy_from_slice(&self.secret);
        write!(f, "{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken").finish_non_exhaustive()
    }
}

impl FromStr for JoinToken {
    type Err = InvalidToken;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim().strip_prefix(PREFIX).ok_or(InvalidToken::Prefix)?;
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| InvalidToken::Damaged)?;
        let bytes: [u8; 64] = bytes.try_into().map_err(|_| InvalidToken::Damaged)?;
        let (mut ca_sha256, mut secret) = ([0; 32], [0; 32]);
        ca_sha256.copy_from_slice(&bytes[..32]);
        secret.copy_from_slice(&bytes[32..]);
        Ok(Self { ca_sha256, secret })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_its_text_form_and_hides_its_secret_from_logs() {
        let token = JoinToken { ca_sha256: [7; 32], secret: [0xfb; 32] };
        assert_eq!(token.to_string().len(), 91);
        assert_eq!(token.to_string().parse(), Ok(token.clone()));
        assert_eq!(format!("  {token}\n").parse(), Ok(token.clone()));
        assert!(!format!("{token:?}").contains("251"));
    }

    #[test]
    fn a_damaged_token_says_so() {
        assert_eq!("hello".parse::<JoinToken>(), Err(InvalidToken::Prefix));
        assert_eq!("mrj1_AAAA".parse::<JoinToken>(), Err(InvalidToken::Damaged));
        assert_eq!("mrj1_%".parse::<JoinToken>(), Err(InvalidToken::Damaged));
    }
}
