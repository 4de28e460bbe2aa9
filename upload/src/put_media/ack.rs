//! What a producer is told, as AWS writes it and its SDKs read it: not as the documentation says.
//!
//! ```text
//! {"EventType":"BUFFERING","FragmentTimecode":1613136724987,"FragmentNumber":"9134…"}\r\n
//! {"EventType":"ERROR","FragmentTimecode":1613136726987,"FragmentNumber":"9134…","ErrorId":4002,"ErrorCode":"MAX_…"}\r\n
//! ```

use std::fmt;

use crate::ErrorCode;

/// One ack. Its text is a line, of less than 1024 characters, which is what AWS's C SDK takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ack<'a> {
    /// The first bytes of a fragment are there.
    Buffering {
        /// Its Cluster's Timestamp, as the producer counts.
        timecode: u64,
        /// Its number.
        number: &'a str,
    },
    /// All of it is there.
    Received {
        /// Its Cluster's Timestamp.
        timecode: u64,
        /// Its number.
        number: &'a str,
    },
    /// It is on disk.
    Persisted {
        /// Its Cluster's Timestamp.
        timecode: u64,
        /// Its number.
        number: &'a str,
    },
    /// Nothing comes; the session is alive.
    Idle,
    /// A fragment or the session is refused, and this is the last ack.
    Error {
        /// Why. Codes that AWS does not have are told as those that come nearest.
        code: ErrorCode,
        /// The Cluster's Timestamp, if it is about a fragment. AWS writes -1 where it is not, which its own C SDK can't read.
        timecode: Option<u64>,
        /// The fragment's number.
        number: Option<&'a str>,
    },
}

impl fmt::Display for Ack<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fragment = |kind: &str, timecode: u64, number: &str| {
            write!(f, r#"{{"EventType":"{kind}","FragmentTimecode":{timecode},"FragmentNumber":"{number}"}}"#)
        };
        match *self {
            Self::Buffering { timecode, number } => fragment("BUFFERING", timecode, number)?,
            Self::Received { timecode, number } => fragment("RECEIVED", timecode, number)?,
            Self::Persisted { timecode, number } => fragment("PERSISTED", timecode, number)?,
            Self::Idle => f.write_str(r#"{"EventType":"IDLE"}"#)?,
            Self::Error { code, timecode, number } => {
                f.write_str(r#"{"EventType":"ERROR""#)?;
                timecode.map_or(Ok(()), |timecode| write!(f, r#","FragmentTimecode":{timecode}"#))?;
                number.map_or(Ok(()), |number| write!(f, r#","FragmentNumber":"{number}""#))?;
                let code = at_aws(code);
                write!(f, r#","ErrorId":{},"ErrorCode":"{}"}}"#, code.number(), code.name())?;
            }
        }
        f.write_str("\r\n")
    }
}

/// The code of AWS's that comes nearest: SDKs take one that they don't know for a fault of their own.
fn at_aws(code: ErrorCode) -> ErrorCode {
    match code {
        ErrorCode::Overloaded | ErrorCode::ChecksumMismatch => ErrorCode::Archival,
        ErrorCode::StreamNotPermitted => ErrorCode::StreamNotActive,
        ErrorCode::MalformedUpload => ErrorCode::InvalidMkv,
        ErrorCode::Unknown(_) => ErrorCode::Internal,
        code => code,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NUMBER: &str = "91343852333182522497921856555094773623291269982";

    #[test]
    fn acks_are_written_as_they_were_seen_on_the_wire() {
        let (timecode, number) = (1_613_136_724_987, NUMBER);
        assert_eq!(
            Ack::Buffering { timecode, number }.to_string(),
            format!(r#"{{"EventType":"BUFFERING","FragmentTimecode":1613136724987,"FragmentNumber":"{NUMBER}"}}"#)
                + "\r\n"
        );
        assert!(Ack::Received { timecode, number }.to_string().contains(r#""EventType":"RECEIVED","#));
        assert!(Ack::Persisted { timecode, number }.to_string().contains(r#""EventType":"PERSISTED","#));
        assert_eq!(Ack::Idle.to_string(), "{\"EventType\":\"IDLE\"}\r\n");
        let error = Ack::Error { code: ErrorCode::FragmentTooLong, timecode: Some(7), number: Some(NUMBER) };
        assert_eq!(
            error.to_string(),
            format!(
                r#"{{"EventType":"ERROR","FragmentTimecode":7,"FragmentNumber":"{NUMBER}","ErrorId":4002,"ErrorCode":"MAX_FRAGMENT_DURATION_REACHED"}}"#
            ) + "\r\n"
        );
        let error = Ack::Error { code: ErrorCode::InvalidMkv, timecode: None, number: None };
        assert_eq!(
            error.to_string(),
            "{\"EventType\":\"ERROR\",\"ErrorId\":4006,\"ErrorCode\":\"INVALID_MKV_DATA\"}\r\n"
        );
    }

    #[test]
    fn every_code_is_told_by_a_number_that_aws_has() {
        for &code in ErrorCode::ALL.iter().chain(&[ErrorCode::Unknown(6999)]) {
            assert!(at_aws(code).number() < 6000, "{code}");
        }
        assert_eq!(at_aws(ErrorCode::Overloaded).is_retryable(), ErrorCode::Overloaded.is_retryable());
    }
}
