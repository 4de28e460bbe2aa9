//! The playback token: which stream, which part of it, and until when. It stands in the URL, so that
//! any player can use it, and any server with the same key can check it without keeping state.
//!
//! ```text
//! token = [version: 1 = 1][mode: 1][stream id: 8][expiry, s since 1970: 8][target duration, s: 2][first: 8][last: 8]
//! mode 1, live: first = the lowest fragment number that may be read; last = 0
//! mode 2, past: first, last = the range by producer time, ns since 1970, end excluded
//! ```
//!
//! Numbers are big-endian. Sealed by [`super::seal`].

use fragment::{FragmentNumber, WallTime};

use super::error::Problem;
use super::seal::Sealer;

const PURPOSE: &[u8] = b"millrace playback token";
const VERSION: u8 = 1;
const LIVE: u8 = 1;
const PAST: u8 = 2;

/// What a playback token grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    /// The stream that may be played.
    pub(crate) stream: u64,
    /// When the token ends, in whole seconds since 1970.
    pub(crate) expiry_seconds: u64,
    /// The target duration fixed when playback began, in seconds.
    pub(crate) target_duration_seconds: u16,
    /// Which part of the stream.
    pub(crate) part: Part,
}

/// Which part of a stream may be played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The live video from a fragment on.
    Live {
        /// The first fragment of the live window when playback began.
        first: FragmentNumber,
    },
    /// A range of the past, by the producer's time.
    Past {
        /// The beginning; the fragment that contains it belongs to the range.
        start: WallTime,
        /// The end, excluded.
        end: WallTime,
    },
}

impl Token {
    /// The token as it stands in a URL.
    pub(crate) fn seal(&self, sealer: &Sealer) -> String {
        let (mode, first, last) = match self.part {
            Part::Live { first } => (LIVE, first.0.to_be_bytes(), [0; 8]),
            Part::Past { start, end } => (PAST, start.as_nanos().to_be_bytes(), end.as_nanos().to_be_bytes()),
        };
        let mut plain = vec![VERSION, mode];
        plain.extend_from_slice(&self.stream.to_be_bytes());
        plain.extend_from_slice(&self.expiry_seconds.to_be_bytes());
        plain.extend_from_slice(&self.target_duration_seconds.to_be_bytes());
        plain.extend_from_slice(&first);
        plain.extend_from_slice(&last);
        sealer.seal(PURPOSE, &plain)
    }

    /// Opens a token out of a URL, and checks that it is still good.
    pub(crate) fn open(text: &str, sealer: &Sealer, now: WallTime) -> Result<Self, Problem> {
        let plain = sealer.open(PURPOSE, text).map_err(|_| Problem::InvalidToken)?;
        let token = parse(&plain).ok_or(Problem::InvalidToken)?;
        let now_seconds = u64::try_from(now.as_millis() / 1000).unwrap_or(0);
        if now_seconds >= token.expiry_seconds {
            return Err(Problem::ExpiredToken);
        }
        Ok(token)
    }
}

fn parse(plain: &[u8]) -> Option<Token> {
    let mut rest = plain;
    let [version, mode] = take(&mut rest)?;
    let stream = u64::from_be_bytes(take(&mut rest)?);
    let expiry_seconds = u64::from_be_bytes(take(&mut rest)?);
    let target_duration_seconds = u16::from_be_bytes(take(&mut rest)?);
    let (first, last) = (take(&mut rest)?, take(&mut rest)?);
    let part = match (version, mode) {
        (VERSION, LIVE) => Part::Live { first: FragmentNumber(u64::from_be_bytes(first)) },
        (VERSION, PAST) => Part::Past {
            start: WallTime::from_nanos(i64::from_be_bytes(first)),
            end: WallTime::from_nanos(i64::from_be_bytes(last)),
        },
        _ => return None,
    };
    rest.is_empty().then_some(Token { stream, expiry_seconds, target_duration_seconds, part })
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(*head)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE_EXPIRY: WallTime = WallTime::from_millis(999_999);
    const AT_EXPIRY: WallTime = WallTime::from_millis(1_000_000);

    #[test]
    fn a_token_survives_its_text_form() {
        let sealer = Sealer::new(&[1; 32]);
        let past = Part::Past { start: WallTime::from_nanos(-5), end: WallTime::from_nanos(i64::MAX) };
        for part in [Part::Live { first: FragmentNumber(u64::MAX) }, past] {
            let token = token(part);
            assert_eq!(Token::open(&token.seal(&sealer), &sealer, BEFORE_EXPIRY).unwrap(), token);
        }
    }

    #[test]
    fn a_token_ends_at_its_expiry() {
        let sealer = Sealer::new(&[1; 32]);
        let text = token(Part::Live { first: FragmentNumber(1) }).seal(&sealer);
        assert!(matches!(Token::open(&text, &sealer, AT_EXPIRY), Err(Problem::ExpiredToken)));
    }

    #[test]
    fn a_token_of_a_later_version_is_refused() {
        let sealer = Sealer::new(&[1; 32]);
        let text = sealer.seal(PURPOSE, &[&[2, LIVE][..], &[0xff; 34]].concat());
        assert!(matches!(Token::open(&text, &sealer, BEFORE_EXPIRY), Err(Problem::InvalidToken)));
    }

    fn token(part: Part) -> Token {
        Token { stream: 9, expiry_seconds: 1000, target_duration_seconds: 4, part }
    }
}
