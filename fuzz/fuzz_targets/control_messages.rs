//! Any bytes as what one end of the control stream, or of an enrolment, says. What can be read must be said
//! again in the same words.
#![no_main]

use libfuzzer_sys::fuzz_target;
use upload::join::{JoinReply, JoinRequest};
use upload::wire::MessageReader;
use upload::{FromAgent, FromServer, limits};

fuzz_target!(|data: &[u8]| {
    let mut reader = MessageReader::new();
    reader.push(data);
    while let Ok(Some(message)) = reader.pull(limits::MESSAGE_BYTES_MAX) {
        if let Ok(said) = FromAgent::decode(message.clone()) {
            assert_eq!(FromAgent::decode(body(&said.encode())).as_ref(), Ok(&said));
        }
        if let Ok(said) = FromServer::decode(message.clone()) {
            assert_eq!(FromServer::decode(body(&said.encode())).as_ref(), Ok(&said));
        }
        if let Ok(said) = JoinRequest::decode(message.clone()) {
            // Holds a secret, so it has no Debug.
            assert!(JoinRequest::decode(body(&said.encode())).as_ref() == Ok(&said));
        }
        if let Ok(said) = JoinReply::decode(message) {
            assert_eq!(JoinReply::decode(body(&said.encode())).as_ref(), Ok(&said));
        }
    }
});

/// A message without the length in front.
fn body(framed: &[u8]) -> bytes::Bytes {
    let mut reader = MessageReader::new();
    reader.push(framed);
    reader.pull(usize::MAX).expect("our own framing").expect("a whole message")
}
