//! Reads the acks of a PutMedia session out of its bytes, in any split.
//!
//! ```text
//! {"EventType":"PERSISTED","FragmentTimecode":1613136724987,"FragmentNumber":"9134..."}\r\n
//! {"EventType":"ERROR","FragmentTimecode":1613136726987,"FragmentNumber":"9134...","ErrorId":4002,"ErrorCode":"MAX_..."}
//! ```
//!
//! Objects one after another, with or without space between them. AWS's documentation writes other names than its
//! servers do, and a wrapper around the object; both are taken.

use serde_json::{Map, Value};

use super::limits;

/// One ack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ack {
    pub(super) kind: Kind,
    /// The Timestamp of the fragment's Cluster, where it is known.
    pub(super) timecode: Option<u64>,
    /// AWS's number for the fragment.
    pub(super) number: Option<String>,
}

/// What an ack says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The first bytes of the fragment are there.
    Buffering,
    /// All of it is there.
    Received,
    /// It is stored.
    Persisted,
    /// No data comes; the session is alive.
    Idle,
    /// The fragment or the stream is refused, and the session ends.
    Error {
        /// The number of the reason; 0 where none was given.
        id: u32,
        /// Its name.
        code: String,
    },
    /// Something newer than this agent.
    Unknown,
}

/// What came is no ack.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what came back is no acknowledgement: {0}")]
pub(super) struct AckError(String);

/// Takes bytes, gives acks.
#[derive(Debug, Default)]
pub(super) struct Acks {
    bytes: Vec<u8>,
}

impl Acks {
    /// Takes the next bytes. Call [`Self::next`] until it gives `None` before the next push.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next ack; `None` when more bytes are needed.
    pub(super) fn next(&mut self) -> Result<Option<Ack>, AckError> {
        let mut values = serde_json::Deserializer::from_slice(&self.bytes).into_iter::<Value>();
        match values.next() {
            None => Ok(None),
            Some(Ok(value)) => {
                let end = values.byte_offset();
                self.bytes.drain(..end);
                parse(&value).map(Some)
            }
            Some(Err(error)) if error.is_eof() && self.bytes.len() <= limits::ACK_BYTES_MAX => Ok(None),
            Some(Err(error)) => Err(AckError(error.to_string())),
        }
    }
}

fn parse(value: &Value) -> Result<Ack, AckError> {
    let object = value.as_object().ok_or_else(|| AckError(format!("{value} is no object")))?;
    let object = object.get("Acknowledgement").and_then(Value::as_object).unwrap_or(object);
    let text = |names: &[&str]| field(object, names).and_then(Value::as_str).map(str::to_owned);
    let kind = match text(&["EventType", "AckEventType"]).unwrap_or_default().as_str() {
        "BUFFERING" => Kind::Buffering,
        "RECEIVED" => Kind::Received,
        "PERSISTED" => Kind::Persisted,
        "IDLE" => Kind::Idle,
        "ERROR" => {
            let id = field(object, &["ErrorId"]).and_then(number).and_then(|id| u32::try_from(id).ok());
            Kind::Error { id: id.unwrap_or(0), code: text(&["ErrorCode"]).unwrap_or_else(|| "UNKNOWN".to_owned()) }
        }
        _ => Kind::Unknown,
    };
    Ok(Ack {
        kind,
        // -1 where AWS does not know it.
        timecode: field(object, &["FragmentTimecode", "FragmentTimeCode"]).and_then(number),
        number: text(&["FragmentNumber"]).filter(|number| !number.is_empty()),
    })
}

fn field<'a>(object: &'a Map<String, Value>, names: &[&str]) -> Option<&'a Value> {
    names.iter().find_map(|name| object.get(*name))
}

fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: &str = concat!(
        "{\"EventType\":\"BUFFERING\",\"FragmentTimecode\":1613136724987,\"FragmentNumber\":\"913\"}\r\n",
        "{\"EventType\":\"RECEIVED\",\"FragmentTimecode\":1613136724987,\"FragmentNumber\":\"913\"}\r\n",
        "{\"EventType\":\"PERSISTED\",\"FragmentTimecode\":1613136724987,\"FragmentNumber\":\"913\"}",
        "{\"EventType\":\"IDLE\"}\n\n",
        "{\"EventType\":\"ERROR\",\"FragmentTimecode\":-1,\"FragmentNumber\":\"\",\"ErrorId\":4006,\"ErrorCode\":\"INVALID_MKV_DATA\"}",
    );

    #[test]
    fn acks_are_read_in_every_split_of_their_bytes() {
        let whole = read(&[SESSION.as_bytes()]).unwrap();
        assert_eq!(whole.len(), 5);
        assert_eq!((whole[2].kind.clone(), whole[2].timecode), (Kind::Persisted, Some(1_613_136_724_987)));
        assert_eq!(whole[4].kind, Kind::Error { id: 4006, code: "INVALID_MKV_DATA".to_owned() });
        assert_eq!((whole[4].timecode, whole[4].number.clone()), (None, None));
        for at in 0..SESSION.len() {
            let (a, b) = SESSION.as_bytes().split_at(at);
            assert_eq!(read(&[a, b]).unwrap(), whole, "split at {at}");
        }
    }

    #[test]
    fn the_names_of_the_documentation_are_taken_too() {
        let documented = br#"{"Acknowledgement":{"AckEventType":"RECEIVED","FragmentTimeCode":"7","New":[1]}}"#;
        let ack = Ack { kind: Kind::Received, timecode: Some(7), number: None };
        assert_eq!(read(&[documented]), Ok(vec![ack]));
        assert_eq!(read(&[br#"{"EventType":"LATER"}"#]).unwrap()[0].kind, Kind::Unknown);
    }

    #[test]
    fn what_is_no_ack_is_an_error_and_never_kept_without_end() {
        assert!(read(&[b"<html>"]).is_err());
        assert!(read(&[b"[1]"]).is_err());
        assert!(read(&[b"{\"a\":\"", &vec![b'x'; limits::ACK_BYTES_MAX]]).is_err());
    }

    fn read(pieces: &[&[u8]]) -> Result<Vec<Ack>, AckError> {
        let (mut acks, mut found) = (Acks::default(), Vec::new());
        for piece in pieces {
            acks.push(piece);
            while let Some(ack) = acks.next()? {
                found.push(ack);
            }
        }
        Ok(found)
    }
}
