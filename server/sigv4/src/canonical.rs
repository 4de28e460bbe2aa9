//! The canonical request: the one text that both ends make of a request, and whose hash is signed.
//!
//! ```text
//! POST
//! /createStream                          the path as it came, without dot segments, encoded once more
//!                                        the query, decoded, encoded and sorted
//! content-type:application/json          the headers that are signed, in their order
//! host:127.0.0.1:8080
//!
//! content-type;host                      their names
//! e3b0c442…                              the hash of the body
//! ```

use crate::error::VerifyError;

/// A request as it came, with nothing decoded.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// Its method.
    pub method: &'a str,
    /// Its path, as it stood in the request line.
    pub path: &'a str,
    /// What came behind the question mark; empty if there was none.
    pub query: &'a str,
    /// Its headers in the order in which they came, their names in lower case.
    pub headers: Vec<(&'a str, &'a [u8])>,
}

impl Request<'_> {
    /// The only value of a header, if it is text. Two headers of one name are none.
    pub(crate) fn header(&self, wanted: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(name, _)| *name == wanted);
        let (_, value) = values.next()?;
        if values.next().is_some() {
            return None;
        }
        std::str::from_utf8(value).ok().map(str::trim)
    }

    /// The query's names and values, decoded.
    pub(crate) fn parameters(&self) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
        self.query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        })
    }
}

/// The canonical request for these signed headers and this hash of the body. The parameter that carries a signature is
/// left out.
pub fn canonical_request(request: &Request<'_>, signed: &[&str], body_hash: &str) -> Result<Vec<u8>, VerifyError> {
    let mut text = Vec::with_capacity(512);
    text.extend_from_slice(request.method.as_bytes());
    text.push(b'\n');
    text.extend_from_slice(path(request.path).as_bytes());
    text.push(b'\n');
    text.extend_from_slice(query(request).as_bytes());
    text.push(b'\n');
    for wanted in signed {
        let values: Vec<&[u8]> =
            request.headers.iter().filter(|(name, _)| name == wanted).map(|(_, value)| *value).collect();
        if values.is_empty() {
            return Err(VerifyError::HeaderGone((*wanted).to_owned()));
        }
        text.extend_from_slice(wanted.as_bytes());
        text.push(b':');
        for (at, value) in values.into_iter().enumerate() {
            if at > 0 {
                text.push(b',');
            }
            push_squeezed(&mut text, value);
        }
        text.push(b'\n');
    }
    text.push(b'\n');
    text.extend_from_slice(signed.join(";").as_bytes());
    text.push(b'\n');
    text.extend_from_slice(body_hash.as_bytes());
    Ok(text)
}

/// The path without empty and dot segments, every byte that is not unreserved encoded: what came encoded is so twice.
fn path(path: &str) -> String {
    let mut segments = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            segment => segments.push(segment),
        }
    }
    let mut canonical = String::from("/");
    for (at, segment) in segments.iter().enumerate() {
        if at > 0 {
            canonical.push('/');
        }
        encode(&mut canonical, segment.as_bytes());
    }
    if path.ends_with('/') && !segments.is_empty() {
        canonical.push('/');
    }
    canonical
}

fn query(request: &Request<'_>) -> String {
    let encoded = |bytes: Vec<u8>| {
        let mut text = String::new();
        encode(&mut text, &bytes);
        text
    };
    let mut pairs: Vec<(String, String)> = request
        .parameters()
        .filter(|(name, _)| name != b"X-Amz-Signature")
        .map(|(name, value)| (encoded(name), encoded(value)))
        .collect();
    pairs.sort_unstable();
    let pairs: Vec<String> = pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join("&")
}

/// A header's value without spaces around it, and with single ones inside.
fn push_squeezed(text: &mut Vec<u8>, value: &[u8]) {
    let words = value.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty());
    for (at, word) in words.enumerate() {
        if at > 0 {
            text.push(b' ');
        }
        text.extend_from_slice(word);
    }
}

fn encode(text: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            text.push(char::from(byte));
        } else {
            text.push('%');
            text.push(char::from(DIGITS[usize::from(byte >> 4)]));
            text.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
}

/// A percent sign that begins no escape stands for itself.
fn decode(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let escape = (byte == b'%').then(|| bytes.get(at + 1..at + 3)).flatten();
        match escape.and_then(|digits| Some(digit(digits[0])? << 4 | digit(digits[1])?)) {
            Some(escaped) => {
                decoded.push(escaped);
                at += 3;
            }
            None => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    decoded
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_path_loses_empty_and_dot_segments_and_is_encoded_once_more() {
        for (came, canonical) in [
            ("", "/"),
            ("/", "/"),
            ("//", "/"),
            ("/describeStream", "/describeStream"),
            ("//putMedia", "/putMedia"),
            ("/a/./b/../c/", "/a/c/"),
            ("/..", "/"),
            ("/tags/arn%3Aaws", "/tags/arn%253Aaws"),
            ("/ö", "/%C3%B6"),
        ] {
            assert_eq!(path(came), canonical, "{came}");
        }
    }

    #[test]
    fn a_query_is_sorted_and_written_in_one_way() {
        for (came, canonical) in [
            ("", ""),
            ("b=2&a=1", "a=1&b=2"),
            ("a=2&a=1", "a=1&a=2"),
            ("flag", "flag="),
            ("a=%3a%2F&b=c%20d", "a=%3A%2F&b=c%20d"),
            ("a=1%&b=%zz", "a=1%25&b=%25zz"),
            ("X-Amz-Signature=00&z=&&", "z="),
        ] {
            assert_eq!(query(&request("/", came)), canonical, "{came}");
        }
    }

    #[test]
    fn headers_are_squeezed_and_joined() {
        let headers: Vec<(&str, &[u8])> = vec![("host", b" x "), ("my", b"  a   b\tc "), ("my", b"d"), ("other", b"1")];
        let request = Request { headers, ..request("/", "") };
        let text = canonical_request(&request, &["host", "my"], "hash").unwrap();
        assert_eq!(String::from_utf8(text).unwrap(), "POST\n/\n\nhost:x\nmy:a b c,d\n\nhost;my\nhash");
        let gone = canonical_request(&request, &["connection", "host"], "hash");
        assert_eq!(gone, Err(VerifyError::HeaderGone("connection".to_owned())));
    }

    proptest! {
        #[test]
        fn a_canonical_path_and_query_are_so_for_ever(path_in in "[/a-z.%]{0,20}", query_in in "[a-c=&%2F ]{0,20}") {
            let canonical = query(&request("/", &query_in));
            prop_assert_eq!(query(&request("/", &canonical)), canonical);
            let canonical = path(&path_in);
            prop_assert!(canonical.starts_with('/') && !canonical.contains("//"));
        }
    }

    fn request<'a>(path: &'a str, query: &'a str) -> Request<'a> {
        Request { method: "POST", path, query, headers: Vec::new() }
    }
}
