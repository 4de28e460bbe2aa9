//! What is asked, which stands in headers.

use axum::http::HeaderMap;
use fragment::WallTime;
use serde_json::{Map, Value};
use upload::put_media::Timecodes;

use crate::kinesis_video::members::Members;
use crate::kinesis_video::refusal::Refusal;
use crate::kinesis_video::rules::{Text, is_decimal};
use crate::kinesis_video::streams::StreamReference;

/// Headers, and the members that AWS calls them.
const MEMBERS: [(&str, &str); 5] = [
    ("x-amzn-stream-name", "StreamName"),
    ("x-amzn-stream-arn", "StreamARN"),
    ("x-amzn-fragment-timecode-type", "FragmentTimecodeType"),
    ("x-amzn-producer-start-timestamp", "ProducerStartTimestamp"),
    ("x-amzn-fragment-acknowledgment-required", "FragmentAcknowledgmentRequired"),
];

/// Seconds since 1970. The C SDK writes milliseconds behind the dot without zeros before them, so that 12 ms look like 120 ms:
/// nothing tells the two apart, and in ABSOLUTE sessions nobody asks.
const TIMESTAMP: Text = Text { length: 1..=40, pattern: r"[0-9]{1,10}(\.[0-9]+)?", fits: is_decimal };

/// Some fields of the head of a session.
#[derive(Debug)]
pub(super) struct PutMedia {
    pub(super) stream: StreamReference,
    pub(super) timecodes: Timecodes,
    pub(super) wants_acks: bool,
}

#[derive(Clone, Copy)]
enum TimecodeType {
    Absolute,
    Relative,
}

impl PutMedia {
    /// Reads what is asked.
    pub(super) fn read(headers: &HeaderMap) -> Result<Self, Refusal> {
        let members = members(headers);
        let members = Members::new(&members);
        let stream = StreamReference::read(&members)?;
        let kinds = [("ABSOLUTE", TimecodeType::Absolute), ("RELATIVE", TimecodeType::Relative)];
        let kind = members.choice("FragmentTimecodeType", &kinds)?;
        let kind = members.required("FragmentTimecodeType", kind)?;
        let start = members.text("ProducerStartTimestamp", &TIMESTAMP)?;
        let timecodes = match kind {
            TimecodeType::Absolute => Timecodes::Absolute,
            TimecodeType::Relative => Timecodes::Relative(time(members.required("ProducerStartTimestamp", start)?)),
        };
        let wants_acks = members.choice("FragmentAcknowledgmentRequired", &[("1", true), ("0", false)])?;
        Ok(Self { stream, timecodes, wants_acks: wants_acks.unwrap_or(true) })
    }
}

fn members(headers: &HeaderMap) -> Map<String, Value> {
    let member = |(header, name): (&str, &str)| {
        let text = String::from_utf8_lossy(headers.get(header)?.as_bytes()).into_owned();
        Some((name.to_owned(), Value::String(text)))
    };
    MEMBERS.into_iter().filter_map(member).collect()
}

/// The time that a decimal number of seconds means; what is finer than a nanosecond is cut off.
fn time(decimal: &str) -> WallTime {
    let (seconds, fraction) = decimal.split_once('.').unwrap_or((decimal, ""));
    let nanos: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let number = |digits: &str| digits.parse::<i64>().unwrap_or(0);
    WallTime::from_nanos(number(seconds).saturating_mul(1_000_000_000).saturating_add(number(&nanos)))
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn a_start_is_read_as_the_decimal_number_that_it_is() {
        for (text, nanos) in [
            ("1795396142", 1_795_396_142_000_000_000),
            ("1795396142.012", 1_795_396_142_012_000_000),
            ("1795396142.12", 1_795_396_142_120_000_000),
            ("1795396142.1234567891", 1_795_396_142_123_456_789),
            ("0", 0),
        ] {
            let asked = read(&[("x-amzn-producer-start-timestamp", text), RELATIVE, NAME]).unwrap();
            assert_eq!(asked.timecodes, Timecodes::Relative(WallTime::from_nanos(nanos)), "{text}");
        }
    }

    #[test]
    fn what_kvssink_sends_is_taken() {
        let asked = read(&[
            NAME,
            ("x-amzn-fragment-timecode-type", "ABSOLUTE"),
            ("x-amzn-producer-start-timestamp", "1795396142.12"),
            ("x-amzn-fragment-acknowledgment-required", "0"),
            ("content-type", "application/json"),
        ]);
        let asked = asked.unwrap();
        assert_eq!((asked.timecodes, asked.wants_acks), (Timecodes::Absolute, false));
        assert!(read(&[NAME, ("x-amzn-fragment-timecode-type", "ABSOLUTE")]).unwrap().wants_acks);
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let start = ("x-amzn-producer-start-timestamp", "1795396142.12");
        for (headers, member) in [
            (vec![RELATIVE, start], "streamName"),
            (vec![NAME, start], "fragmentTimecodeType"),
            (vec![NAME, RELATIVE], "producerStartTimestamp"),
            (vec![NAME, RELATIVE, ("x-amzn-producer-start-timestamp", "soon")], "producerStartTimestamp"),
            (vec![NAME, RELATIVE, ("x-amzn-producer-start-timestamp", "-1")], "producerStartTimestamp"),
            (vec![NAME, RELATIVE, ("x-amzn-producer-start-timestamp", "12345678901")], "producerStartTimestamp"),
            (vec![NAME, start, ("x-amzn-fragment-timecode-type", "absolute")], "fragmentTimecodeType"),
            (vec![("x-amzn-stream-name", "a b"), RELATIVE, start], "streamName"),
            (vec![("x-amzn-stream-arn", "arn"), RELATIVE, start], "streamARN"),
        ] {
            let refusal = read(&headers).unwrap_err().to_string();
            assert!(refusal.contains(member), "{headers:?}: {refusal}");
        }
    }

    const NAME: (&str, &str) = ("x-amzn-stream-name", "front");
    const RELATIVE: (&str, &str) = ("x-amzn-fragment-timecode-type", "RELATIVE");

    fn read(headers: &[(&'static str, &str)]) -> Result<PutMedia, Refusal> {
        let header = |&(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        };
        PutMedia::read(&headers.iter().map(header).collect())
    }
}
