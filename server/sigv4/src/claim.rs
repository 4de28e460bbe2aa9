//! What a request says about who has signed it. Nothing of it is proven before it is verified.
//!
//! ```text
//! Authorization: AWS4-HMAC-SHA256 Credential=<key>/<day>/<region>/<service>/aws4_request, SignedHeaders=a;b, Signature=<hex>
//! X-Amz-Date: <time>
//! X-Amz-Security-Token: <token>                           with temporary keys; need not be signed
//!
//! ?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=…&X-Amz-Date=…&X-Amz-Expires=<seconds>
//!  &X-Amz-SignedHeaders=…&X-Amz-Security-Token=…&X-Amz-Signature=<hex>
//! ```

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use crate::canonical::Request;
use crate::error::ReadError;
use crate::{limits, time};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const TERMINATOR: &str = "aws4_request";

/// Where a signature stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the header `Authorization`: good for some minutes around its time.
    Header,
    /// In the query of an address that was signed beforehand: good for so long from its time on.
    Query {
        /// How long.
        expires: Duration,
    },
}

/// What a request claims.
#[derive(Clone, PartialEq, Eq)]
pub struct Claim {
    pub(crate) access_key: String,
    pub(crate) scope: Scope,
    pub(crate) signed_headers: Vec<String>,
    pub(crate) signature: [u8; 32],
    pub(crate) time: SystemTime,
    /// As it was written, which is how it is signed.
    pub(crate) time_text: String,
    pub(crate) place: Place,
    session_token: Option<String>,
}

/// What the signing key was made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scope {
    pub(crate) day: String,
    pub(crate) region: String,
    pub(crate) service: String,
}

impl Claim {
    /// Reads what a request claims.
    pub fn read(request: &Request<'_>) -> Result<Self, ReadError> {
        let in_query = request.parameters().any(|(name, _)| name == b"X-Amz-Signature" || name == b"X-Amz-Algorithm");
        let in_header = request.headers.iter().any(|(name, _)| *name == "authorization");
        match (in_header, in_query) {
            (true, false) => Self::of_header(request),
            (false, true) => Self::of_query(request),
            (true, true) => Err(incomplete("it stands in the Authorization header and in the query: send one of them")),
            (false, false) => Err(ReadError::Missing),
        }
    }

    /// The id of the access key.
    pub fn access_key(&self) -> &str {
        &self.access_key
    }

    /// The token that belongs to a temporary key.
    pub fn session_token(&self) -> Option<&str> {
        self.session_token.as_deref()
    }

    /// The region that it was signed for.
    pub fn region(&self) -> &str {
        &self.scope.region
    }

    /// Where the signature stands.
    pub fn place(&self) -> Place {
        self.place
    }

    fn of_header(request: &Request<'_>) -> Result<Self, ReadError> {
        let authorization = request
            .header("authorization")
            .ok_or_else(|| incomplete("there must be one Authorization header, of printable characters"))?;
        let (algorithm, rest) = authorization.split_once(' ').unwrap_or((authorization, ""));
        check_algorithm(algorithm)?;
        let mut parts = BTreeMap::new();
        for part in rest.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (name, value) = part
                .split_once('=')
                .ok_or_else(|| incomplete("its parts are written as Name=value, with commas between"))?;
            if parts.insert(name, value).is_some() {
                return Err(incomplete(&format!("{name} stands in it twice")));
            }
        }
        let part = |name: &str| parts.get(name).copied().ok_or_else(|| incomplete(&format!("{name} is missing")));
        let time_text = request
            .header("x-amz-date")
            .ok_or_else(|| incomplete("the header X-Amz-Date is missing, or there are two"))?;
        Self::assemble(
            Texts {
                credential: part("Credential")?,
                signed_headers: part("SignedHeaders")?,
                signature: part("Signature")?,
                time: time_text,
                session_token: request.header("x-amz-security-token"),
            },
            Place::Header,
        )
    }

    fn of_query(request: &Request<'_>) -> Result<Self, ReadError> {
        let mut parts = BTreeMap::new();
        for (name, value) in request.parameters().filter(|(name, _)| name.starts_with(b"X-Amz-")) {
            let text = |bytes| String::from_utf8(bytes).map_err(|_| incomplete("its parts in the query are not UTF-8"));
            let (name, value) = (text(name)?, text(value)?);
            if let Some((name, _)) = parts.remove_entry(&name) {
                return Err(incomplete(&format!("{name} stands in the query twice")));
            }
            parts.insert(name, value);
        }
        let part = |name: &str| {
            parts.get(name).map(String::as_str).ok_or_else(|| incomplete(&format!("{name} is missing in the query")))
        };
        check_algorithm(part("X-Amz-Algorithm")?)?;
        let expires = part("X-Amz-Expires")?.parse().ok().map(Duration::from_secs);
        let expires = expires.filter(|time| !time.is_zero() && *time <= limits::EXPIRES_MAX).ok_or_else(|| {
            incomplete(&format!("X-Amz-Expires must be from 1 to {} seconds", limits::EXPIRES_MAX.as_secs()))
        })?;
        Self::assemble(
            Texts {
                credential: part("X-Amz-Credential")?,
                signed_headers: part("X-Amz-SignedHeaders")?,
                signature: part("X-Amz-Signature")?,
                time: part("X-Amz-Date")?,
                session_token: parts.get("X-Amz-Security-Token").map(String::as_str),
            },
            Place::Query { expires },
        )
    }

    fn assemble(texts: Texts<'_>, place: Place) -> Result<Self, ReadError> {
        let time =
            time::parse(texts.time).ok_or_else(|| incomplete("its date must be written as in 20260301T120000Z"))?;
        let (access_key, scope) = credential(texts.credential)?;
        if !texts.time.starts_with(&scope.day) {
            return Err(incomplete("the day in the credential is another one than that of the date"));
        }
        if texts.session_token.is_some_and(|token| token.len() > limits::SESSION_TOKEN_BYTES_MAX) {
            return Err(incomplete(&format!("a session token has at most {} bytes", limits::SESSION_TOKEN_BYTES_MAX)));
        }
        Ok(Self {
            access_key,
            scope,
            signed_headers: signed_headers(texts.signed_headers)?,
            signature: signature(texts.signature)?,
            time,
            time_text: texts.time.to_owned(),
            place,
            // An empty header is how some clients send none.
            session_token: texts.session_token.filter(|token| !token.is_empty()).map(str::to_owned),
        })
    }
}

/// A token lets in whoever has it, and the signature may be used for some minutes.
impl std::fmt::Debug for Claim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Claim")
            .field("access_key", &self.access_key)
            .field("time", &self.time_text)
            .finish_non_exhaustive()
    }
}

impl Scope {
    /// What is signed along with the time.
    pub(crate) fn text(&self) -> String {
        format!("{}/{}/{}/{TERMINATOR}", self.day, self.region, self.service)
    }

    /// The steps from a secret to the key that signs.
    pub(crate) fn steps(&self) -> [&str; 4] {
        [&self.day, &self.region, &self.service, TERMINATOR]
    }
}

/// The parts of a claim, wherever they stood.
#[derive(Clone, Copy)]
struct Texts<'a> {
    credential: &'a str,
    signed_headers: &'a str,
    signature: &'a str,
    time: &'a str,
    session_token: Option<&'a str>,
}

fn incomplete(what: &str) -> ReadError {
    ReadError::Incomplete(what.to_owned())
}

fn check_algorithm(algorithm: &str) -> Result<(), ReadError> {
    if algorithm == ALGORITHM { Ok(()) } else { Err(ReadError::Algorithm(algorithm.chars().take(64).collect())) }
}

fn credential(text: &str) -> Result<(String, Scope), ReadError> {
    let wrong = || incomplete("its credential must be written as key/day/region/service/aws4_request");
    let mut parts = text.split('/');
    let mut part = || parts.next().filter(|part| !part.is_empty()).map(str::to_owned).ok_or_else(wrong);
    let (access_key, day, region, service, terminator) = (part()?, part()?, part()?, part()?, part()?);
    if parts.next().is_some()
        || terminator != TERMINATOR
        || day.len() != 8
        || access_key.len() > limits::ACCESS_KEY_CHARS_MAX
        || !access_key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    {
        return Err(wrong());
    }
    Ok((access_key, Scope { day, region, service }))
}

fn signed_headers(text: &str) -> Result<Vec<String>, ReadError> {
    let names: Vec<String> = text.split(';').map(str::to_owned).collect();
    let is_name =
        |name: &String| !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic() && !b.is_ascii_uppercase());
    if names.len() > limits::SIGNED_HEADERS_MAX || !names.iter().all(is_name) || !names.is_sorted_by(|a, b| a < b) {
        return Err(incomplete(
            "the signed headers must be named in lower case, in order, each once, with semicolons between",
        ));
    }
    if !names.iter().any(|name| name == "host") {
        return Err(incomplete("the header Host must be signed"));
    }
    Ok(names)
}

fn signature(text: &str) -> Result<[u8; 32], ReadError> {
    let wrong = || incomplete("a signature is 64 hexadecimal digits in lower case");
    let digits: &[u8; 64] = text.as_bytes().try_into().map_err(|_| wrong())?;
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut signature = [0; 32];
    for (byte, pair) in signature.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0]).zip(digit(pair[1])).map(|(high, low)| high << 4 | low).ok_or_else(wrong)?;
    }
    Ok(signature)
}
