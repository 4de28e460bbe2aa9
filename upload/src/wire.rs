//! The bytes of the upload protocol, and the framing that its messages share.
//!
//! QUIC connection, ALPN [`UPLOAD_ALPN`], TLS server name [`SERVER_NAME`], client certificate required:
//!
//! ```text
//! control stream: the first bidirectional stream, opened by the device
//!   device → server   message*      the first is Hello
//!   server → device   message*      the first is Welcome, the answer to Hello
//!
//!   message           [length: varint][protobuf]        at most 64 KiB; control.rs has the fields
//!
//! fragment stream: one unidirectional stream per fragment, opened by the device after Welcome
//!   [magic: 4 = "MRF" 0x01]         the last byte is the version of this layout
//!   [length: varint][header: protobuf FragmentHeader]
//!   chunk*                          [length: u32 big endian, not 0][bytes]
//!   [0: u32]                        no further chunk
//!   [length: varint][trailer: protobuf Trailer]
//!   FIN
//! ```
//!
//! The chunks' bytes, joined, are the fragment: one self-contained Matroska document. How it is cut
//! into chunks means nothing. A stream that ends before its trailer was truncated; there is no
//! fragment in it. The length goes in front of chunks, not of the fragment, because a fragment is sent
//! while it is captured and its length is not known yet.
//!
//! Enrolment is a connection of its own, ALPN [`JOIN_ALPN`], without a client certificate (or with the
//! present one, to renew it):
//!
//! ```text
//! first bidirectional stream:  device → server  [length: varint][JoinRequest] FIN
//!                              server → device  [length: varint][JoinReply] FIN
//! ```

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::limits;

/// The application protocol of uploads.
pub const UPLOAD_ALPN: &[u8] = b"millrace-upload/1";

/// The application protocol of enrolment.
pub const JOIN_ALPN: &[u8] = b"millrace-join/1";

/// The name in every server's certificate. It is fixed because trust comes from the private CA whose
/// hash is in the join token; the server's address may change.
pub const SERVER_NAME: &str = "millrace";

/// What a fragment stream begins with: three letters and the version.
pub const FRAGMENT_MAGIC: [u8; 4] = *b"MRF\x01";

/// The chunk length that says that no chunk follows.
pub const LAST_CHUNK: [u8; 4] = [0; 4];

/// Why a message could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// The length in front is above the limit.
    #[error("a message of {bytes} bytes, but at most {max} are allowed")]
    TooLong {
        /// The length that the message claims.
        bytes: u64,
        /// The limit.
        max: usize,
    },
    /// The length is not a varint.
    #[error("the length of a message is not a varint")]
    BadLength,
    /// The bytes are not the protobuf message.
    #[error("a message can't be decoded: {0}")]
    Undecodable(String),
    /// A field holds what it may not.
    #[error("the field {field} of a message is not valid: {why}")]
    BadField {
        /// Its name.
        field: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

impl From<prost::DecodeError> for MessageError {
    fn from(error: prost::DecodeError) -> Self {
        Self::Undecodable(error.to_string())
    }
}

/// Collects bytes until whole length-delimited messages are there. Holds at most one message.
#[derive(Debug, Default)]
pub struct MessageReader {
    buffer: BytesMut,
}

impl MessageReader {
    /// An empty reader.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes bytes in any split.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message's protobuf bytes. Call until `None` after each push.
    pub fn pull(&mut self, max: usize) -> Result<Option<Bytes>, MessageError> {
        let Some((length, prefix)) = peek_length(&self.buffer, max)? else {
            return Ok(None);
        };
        if self.buffer.len() < prefix + length {
            return Ok(None);
        }
        self.buffer.advance(prefix);
        Ok(Some(self.buffer.split_to(length).freeze()))
    }

    /// Whether bytes of an unfinished message are waiting.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }
}

/// The head of a chunk of `bytes` bytes.
pub fn chunk_head(bytes: usize) -> [u8; 4] {
    let bytes = u32::try_from(bytes).expect("a chunk is smaller than a fragment, which is at most 50 MiB");
    debug_assert_ne!(bytes, 0, "an empty chunk would end the fragment");
    bytes.to_be_bytes()
}

/// A message with its length in front.
pub(crate) fn delimited(message: &impl prost::Message) -> Bytes {
    let mut out = BytesMut::with_capacity(message.encoded_len() + 5);
    put_delimited(message, &mut out);
    out.freeze()
}

/// The same, behind what `out` holds.
pub(crate) fn put_delimited(message: &impl prost::Message, out: &mut BytesMut) {
    debug_assert!(message.encoded_len() <= limits::MESSAGE_BYTES_MAX, "messages are bounded when made");
    prost::encoding::encode_varint(message.encoded_len() as u64, out);
    message.encode_raw_into(out);
}

/// The length in front of a message and how many bytes it takes, once they are all there.
pub(crate) fn peek_length(buffer: &[u8], max: usize) -> Result<Option<(usize, usize)>, MessageError> {
    let mut length = 0u64;
    for (i, byte) in buffer.iter().take(5).enumerate() {
        length |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return match usize::try_from(length) {
                Ok(length) if length <= max => Ok(Some((length, i + 1))),
                _ => Err(MessageError::TooLong { bytes: length, max }),
            };
        }
    }
    if buffer.len() >= 5 { Err(MessageError::BadLength) } else { Ok(None) }
}

/// Encodes into a growing buffer, where prost's own method could only fail for lack of room.
trait EncodeInto {
    fn encode_raw_into(&self, out: &mut BytesMut);
}

impl<M: prost::Message> EncodeInto for M {
    fn encode_raw_into(&self, out: &mut BytesMut) {
        out.reserve(self.encoded_len());
        self.encode(&mut (&mut *out).limit(usize::MAX)).expect("a growing buffer has room");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, PartialEq, prost::Message)]
    struct Text {
        #[prost(string, tag = "1")]
        text: String,
    }

    proptest! {
        #[test]
        fn messages_come_out_whole_from_any_split(texts in prop::collection::vec(".{0,200}", 0..8), split in 1usize..40) {
            let mut bytes = BytesMut::new();
            for text in &texts {
                put_delimited(&Text { text: text.clone() }, &mut bytes);
            }
            let mut reader = MessageReader::new();
            let mut got = Vec::new();
            for piece in bytes.chunks(split) {
                reader.push(piece);
                while let Some(message) = reader.pull(limits::MESSAGE_BYTES_MAX).unwrap() {
                    got.push(<Text as prost::Message>::decode(message).unwrap().text);
                }
            }
            prop_assert_eq!(got, texts);
            prop_assert!(reader.is_empty());
        }
    }

    #[test]
    fn a_hostile_length_is_refused_before_its_bytes_arrive() {
        let mut reader = MessageReader::new();
        reader.push(&[0xff, 0xff, 0xff, 0x7f]);
        assert!(matches!(reader.pull(1000), Err(MessageError::TooLong { max: 1000, .. })));
        let mut reader = MessageReader::new();
        reader.push(&[0xff; 5]);
        assert_eq!(reader.pull(1000), Err(MessageError::BadLength));
    }
}
