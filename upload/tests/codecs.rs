//! Every message survives its bytes, in every split.

#![expect(clippy::unwrap_used, reason = "a helper of tests")]

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use fragment::{BootId, ClockQuality, FragmentId, FragmentNumber, MonotonicTime, Sequence, SessionId, WallTime};
use proptest::prelude::*;
use upload::join::{JoinCode, JoinReply, JoinRequest, Proof};
use upload::wire::MessageReader;
use upload::{
    Ack, AckKind, ErrorCode, FragmentHeader, FragmentKey, FragmentReceiver, FromAgent, FromServer, Hello, ReceiveError,
    Received, SubStream, Trailer, Welcome, limits, wire,
};

proptest! {
    #[test]
    fn a_fragment_survives_its_stream_in_any_chunks_and_any_split(
        header in header(),
        media in prop::collection::vec(any::<u8>(), 0..2000),
        chunk in 1usize..700,
        split in 1usize..300,
    ) {
        let (stream, trailer) = fragment_stream(&header, &media, chunk);
        let (parts, end) = receive(&stream, split);
        prop_assert_eq!(end, Ok(()));
        let Some(Received::Header(got)) = parts.first() else { panic!("no header") };
        prop_assert_eq!(got, &header);
        prop_assert_eq!(joined_media(&parts), media);
        prop_assert_eq!(parts.last(), Some(&Received::Trailer(trailer)));
    }

    #[test]
    fn acks_survive_their_bytes(key in key(), kind in kind(), number in prop::option::of(1u64..)) {
        let message = FromServer::Ack(Ack { key, kind, number: number.map(FragmentNumber) });
        prop_assert_eq!(FromServer::decode(unframed(&message.encode())), Ok(message));
    }

    #[test]
    fn the_greeting_survives_its_bytes(time: i64, quality in 0u8..5, text in "[ -~]{0,40}", window in 1u32.., bytes in 1u64..) {
        let hello = FromAgent::Hello(Hello {
            agent_version: text.clone(),
            device_time: WallTime::from_nanos(time),
            clock_quality: ClockQuality::from_wire(quality),
            sub_streams: vec![SubStream { stream: "front-sub".parse().unwrap(), of: "front".parse().unwrap() }],
        });
        prop_assert_eq!(FromAgent::decode(unframed(&hello.encode())), Ok(hello));
        let welcome = FromServer::Welcome(Welcome {
            server_time: WallTime::from_nanos(time),
            fragments_in_flight: window,
            bytes_in_flight: bytes,
            fragment_bytes: bytes / 2,
            fragment_duration: Duration::from_millis(u64::from(window)),
            device: text,
            certificate_expires: WallTime::from_nanos(time / 2),
        });
        prop_assert_eq!(FromServer::decode(unframed(&welcome.encode())), Ok(welcome));
    }

    #[test]
    fn enrolment_survives_its_bytes(secret in prop::option::of(any::<[u8; 32]>()), der in prop::collection::vec(any::<u8>(), 0..900), code in 0usize..JoinCode::ALL.len(), text in ".{0,60}") {
        let request = JoinRequest {
            proof: secret.map_or(Proof::Certificate, Proof::Secret),
            csr: der.clone().into(),
            agent_version: text.clone(),
        };
        prop_assert!(JoinRequest::decode(unframed(&request.encode())) == Ok(request));
        let granted = JoinReply::Granted { certificate: der.clone().into(), ca: der.into(), device: text.clone() };
        prop_assert_eq!(JoinReply::decode(unframed(&granted.encode())), Ok(granted));
        let refused = JoinReply::Refused { code: JoinCode::ALL[code], message: text };
        prop_assert_eq!(JoinReply::decode(unframed(&refused.encode())), Ok(refused));
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..600), magic: bool, split in 1usize..50) {
        let mut stream = if magic { wire::FRAGMENT_MAGIC.to_vec() } else { Vec::new() };
        stream.extend_from_slice(&bytes);
        let _ = receive(&stream, split);
        let bytes = Bytes::from(bytes);
        let _ = FromAgent::decode(bytes.clone());
        let _ = FromServer::decode(bytes.clone());
        let _ = JoinRequest::decode(bytes.clone());
        let _ = JoinReply::decode(bytes);
    }
}

#[test]
fn a_stream_that_breaks_off_anywhere_is_truncated_and_never_whole() {
    let (stream, _) = fragment_stream(&sample_header(), b"twelve bytes", 5);
    for cut in 0..stream.len() {
        let (parts, end) = receive(&stream[..cut], 7);
        assert!(matches!(end, Err(ReceiveError::Truncated { .. })), "cut at {cut}: {end:?}");
        assert!(!parts.iter().any(|part| matches!(part, Received::Trailer(_))), "cut at {cut}");
    }
}

#[test]
fn a_changed_payload_is_a_checksum_mismatch() {
    let (stream, _) = fragment_stream(&sample_header(), b"twelve bytes", 100);
    let at = stream.windows(6).position(|w| w == b"twelve").unwrap();
    let mut stream = stream.to_vec();
    stream[at] ^= 1;
    let error = receive(&stream, 9).1.unwrap_err();
    assert!(matches!(error, ReceiveError::Checksum { .. }));
    assert_eq!(error.code(), ErrorCode::ChecksumMismatch);
    assert!(error.code().is_retryable());
}

#[test]
fn an_oversized_fragment_is_refused_at_the_length_of_its_chunk() {
    let mut receiver = FragmentReceiver::new(1000);
    receiver.push(sample_header().encode());
    receiver.push(Bytes::copy_from_slice(&wire::chunk_head(1001)));
    assert!(matches!(receiver.pull(), Ok(Some(Received::Header(_)))));
    let error = receiver.pull().unwrap_err();
    assert_eq!(error, ReceiveError::TooLarge { max: 1000 });
    assert_eq!(error.code(), ErrorCode::FragmentTooLarge);
}

#[test]
fn another_protocol_is_refused_at_the_magic() {
    let error = receive(b"GET / HTTP/1.1", 14).1.unwrap_err();
    assert_eq!(error, ReceiveError::Magic { found: *b"GET " });
}

#[test]
fn bytes_after_the_trailer_are_refused() {
    let (stream, _) = fragment_stream(&sample_header(), b"x", 1);
    let mut stream = stream.to_vec();
    stream.push(0);
    assert_eq!(receive(&stream, 1000).1, Err(ReceiveError::Excess));
}

#[test]
fn the_payload_comes_out_in_the_memory_it_came_in() {
    let mut receiver = FragmentReceiver::new(1000);
    receiver.push(sample_header().encode());
    receiver.pull().unwrap();
    let mut piece = BytesMut::from(&wire::chunk_head(5)[..]);
    piece.extend_from_slice(b"media");
    let piece = piece.freeze();
    receiver.push(piece.clone());
    let Ok(Some(Received::Media(media))) = receiver.pull() else { panic!("no media") };
    assert_eq!(media.as_ptr(), piece[4..].as_ptr());
}

fn receive(stream: &[u8], split: usize) -> (Vec<Received>, Result<(), ReceiveError>) {
    let mut receiver = FragmentReceiver::new(1 << 20);
    let mut parts = Vec::new();
    for piece in stream.chunks(split) {
        receiver.push(Bytes::copy_from_slice(piece));
        loop {
            match receiver.pull() {
                Ok(Some(part)) => parts.push(part),
                Ok(None) => break,
                Err(error) => return (parts, Err(error)),
            }
        }
    }
    (parts, receiver.finish())
}

fn fragment_stream(header: &FragmentHeader, media: &[u8], chunk: usize) -> (Bytes, Trailer) {
    let trailer =
        Trailer { duration: Duration::from_millis(2000), bytes: media.len() as u64, crc32c: crc32c::crc32c(media) };
    let mut stream = BytesMut::from(&header.encode()[..]);
    for piece in media.chunks(chunk) {
        stream.extend_from_slice(&wire::chunk_head(piece.len()));
        stream.extend_from_slice(piece);
    }
    stream.extend_from_slice(&trailer.encode());
    (stream.freeze(), trailer)
}

fn joined_media(parts: &[Received]) -> Vec<u8> {
    let media = parts.iter().filter_map(|part| match part {
        Received::Media(bytes) => Some(bytes.to_vec()),
        _ => None,
    });
    media.collect::<Vec<_>>().concat()
}

fn unframed(message: &Bytes) -> Bytes {
    let mut reader = MessageReader::new();
    reader.push(message);
    reader.pull(limits::MESSAGE_BYTES_MAX).unwrap().expect("a whole message")
}

fn sample_header() -> FragmentHeader {
    FragmentHeader {
        key: FragmentKey {
            stream: "front".parse().unwrap(),
            id: FragmentId { session: SessionId(7), sequence: Sequence(3) },
        },
        start: WallTime::from_millis(1_700_000_000_000),
        quality: ClockQuality::Synchronised,
        monotonic: None,
        live: true,
    }
}

fn key() -> impl Strategy<Value = FragmentKey> {
    ("[a-zA-Z0-9_-]{1,60}", any::<u64>(), any::<u32>()).prop_map(|(stream, session, sequence)| FragmentKey {
        stream: stream.parse().unwrap(),
        id: FragmentId { session: SessionId(session), sequence: Sequence(sequence) },
    })
}

fn header() -> impl Strategy<Value = FragmentHeader> {
    let monotonic = prop::option::of(
        (any::<u128>(), any::<u64>())
            .prop_map(|(boot, nanos)| MonotonicTime { boot: BootId(boot), since_boot: Duration::from_nanos(nanos) }),
    );
    (key(), any::<i64>(), 0u8..5, monotonic, any::<bool>()).prop_map(|(key, start, quality, monotonic, live)| {
        FragmentHeader {
            key,
            start: WallTime::from_nanos(start),
            quality: ClockQuality::from_wire(quality),
            monotonic,
            live,
        }
    })
}

fn kind() -> impl Strategy<Value = AckKind> {
    prop_oneof![
        Just(AckKind::Buffering),
        Just(AckKind::Received),
        Just(AckKind::Persisted),
        (0..ErrorCode::ALL.len(), ".{0,60}", any::<bool>()).prop_map(|(code, message, retryable)| {
            AckKind::Error { code: ErrorCode::ALL[code], message, retryable }
        }),
    ]
}
