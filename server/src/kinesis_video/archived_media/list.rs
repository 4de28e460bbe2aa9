//! ListFragments: which fragments begin within a range of time, page by page.
//!
//! A page's token says what is listed and where to go on, so that nothing is kept between pages:
//!
//! ```text
//! [version 1: 1][stream: 8][origin: 1, 0 producer, 1 server][range: 8 + 8, ns][next place: start 8, ns; number 8]
//! ```
//!
//! Pages are in the order of producer time, or of arrival. The place is that behind the last fragment listed, so a fragment that was
//! there all the time is listed once, whatever comes and goes meanwhile. The token allows nothing: who shows it has signed,
//! and must be allowed to see the stream.

use archive::Stored;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fragment::{FragmentNumber, WallTime};
use serde::Serialize;

use crate::access_keys::Access;
use crate::kinesis_video::members::Members;
use crate::kinesis_video::operation::{Call, Operation};
use crate::kinesis_video::refusal::Refusal;
use crate::kinesis_video::selector::{FragmentSelector, Origin, Place};
use crate::kinesis_video::streams::StreamReference;
use crate::kinesis_video::{fragment_number, rules};
use crate::{limits, storage};

pub(super) struct ListFragments {
    stream: StreamReference,
    max: usize,
    from: From,
}

/// What is listed.
enum From {
    /// A range, from its beginning.
    Selector(FragmentSelector),
    /// What a page before has left.
    Token(Token),
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Page {
    fragments: Vec<Fragment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Fragment {
    fragment_number: String,
    fragment_size_in_bytes: u64,
    /// Seconds since 1970, as the other.
    producer_timestamp: f64,
    server_timestamp: f64,
    fragment_length_in_milliseconds: u64,
}

impl Operation for ListFragments {
    const NAME: &'static str = "ListFragments";
    const PATH: &'static str = "/listFragments";
    const ACCESS: Access = Access::Watch;
    type Answer = Page;

    fn read(members: &Members<'_>) -> Result<Self, Refusal> {
        let stream = StreamReference::read(members)?;
        let max = members.integer("MaxResults", 1..=limits::FRAGMENTS_LISTED_MAX)?.unwrap_or(limits::FRAGMENTS_LISTED);
        let token = members.text("NextToken", &rules::ARCHIVED_MEDIA_TOKEN)?.map(Token::read).transpose()?;
        let selector = members.structure("FragmentSelector")?.map(|selector| FragmentSelector::read(&selector));
        let from = match (token, selector.transpose()?) {
            (Some(token), _) => From::Token(token),
            (None, selector) => From::Selector(members.required("FragmentSelector", selector)?),
        };
        Ok(Self { stream, max: max as usize, from })
    }

    async fn carry_out(self, call: Call) -> Result<Page, Refusal> {
        call.blocking(move |call| {
            let stream = call.find(&self.stream)?.id;
            let (selector, from) = match self.from {
                From::Selector(selector) => (selector, None),
                From::Token(token) if token.stream == stream => (token.selector, Some(token.next)),
                From::Token(_) => return Err(not_given_out()),
            };
            // One more than is told: it says whether there are more.
            let mut found = selector.page(&call.service.archive, stream, from, self.max + 1, storage::now())?;
            let has_more = found.len() > self.max;
            found.truncate(self.max);
            let next = found.last().filter(|_| has_more).map(Place::behind);
            let next_token = next.map(|next| Token { stream, selector, next }.write());
            Ok(Page { fragments: found.iter().map(Fragment::of).collect(), next_token })
        })
        .await
    }
}

impl Fragment {
    fn of(stored: &Stored) -> Self {
        Self {
            fragment_number: fragment_number::format(stored.number),
            fragment_size_in_bytes: stored.bytes,
            producer_timestamp: seconds(stored.start),
            server_timestamp: seconds(stored.arrived),
            fragment_length_in_milliseconds: u64::try_from(stored.duration.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 are exact for 285,000 years")]
fn seconds(time: WallTime) -> f64 {
    time.as_millis() as f64 / 1000.0
}

/// Where a page goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Token {
    stream: u64,
    selector: FragmentSelector,
    next: Place,
}

const TOKEN_VERSION: u8 = 1;

impl Token {
    fn write(&self) -> String {
        let mut out = vec![TOKEN_VERSION];
        out.extend_from_slice(&self.stream.to_be_bytes());
        out.push(u8::from(self.selector.origin == Origin::Server));
        let range = &self.selector.range;
        for time in [range.start, range.end, self.next.start] {
            out.extend_from_slice(&time.as_nanos().to_be_bytes());
        }
        out.extend_from_slice(&self.next.number.0.to_be_bytes());
        STANDARD.encode(out)
    }

    fn read(token: &str) -> Result<Self, Refusal> {
        let bytes = STANDARD.decode(token).map_err(|_| not_given_out())?;
        Self::decode(&bytes).ok_or_else(not_given_out)
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (&[TOKEN_VERSION], rest) = bytes.split_first_chunk()? else { return None };
        let (stream, rest) = rest.split_first_chunk()?;
        let (&[origin], rest) = rest.split_first_chunk()?;
        let origin = match origin {
            0 => Origin::Producer,
            1 => Origin::Server,
            _ => return None,
        };
        let [start, end, next, number] = words(rest)?;
        let [start, end, next] = [start, end, next].map(|time| WallTime::from_nanos(time.cast_signed()));
        let next = Place { start: next, number: FragmentNumber(number) };
        Some(Self {
            stream: u64::from_be_bytes(*stream),
            selector: FragmentSelector { origin, range: start..end },
            next,
        })
    }
}

/// Exactly so many numbers.
fn words<const N: usize>(bytes: &[u8]) -> Option<[u64; N]> {
    let (words, rest) = bytes.as_chunks::<8>();
    let words: [[u8; 8]; N] = words.try_into().ok()?;
    rest.is_empty().then(|| words.map(u64::from_be_bytes))
}

fn not_given_out() -> Refusal {
    Refusal::InvalidArgument("nextToken is not one that this server gave out for this stream".to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_token_comes_back(stream: u64, start: i64, end: i64, next: i64, number: u64, of_server: bool) {
            let origin = if of_server { Origin::Server } else { Origin::Producer };
            let range = WallTime::from_nanos(start)..WallTime::from_nanos(end);
            let next = Place { start: WallTime::from_nanos(next), number: FragmentNumber(number) };
            let token = Token { stream, selector: FragmentSelector { origin, range }, next };
            let text = token.write();
            prop_assert!((rules::ARCHIVED_MEDIA_TOKEN.fits)(&text));
            prop_assert_eq!(Token::read(&text).unwrap(), token);
        }

        #[test]
        fn any_text_is_a_token_or_refused(bytes: Vec<u8>) {
            if let Ok(token) = Token::read(&STANDARD.encode(&bytes)) {
                prop_assert_eq!(STANDARD.decode(token.write()).unwrap(), bytes);
            }
        }
    }
}
