//! Any bytes as a fragment's upload stream. The first byte says in pieces of what size; what comes out must
//! not depend on it, and only a stream that was received whole finishes well.
#![no_main]

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use upload::{FragmentHeader, FragmentReceiver, ReceiveError, Received, Trailer};

/// Small, so that the limit is within a fuzzer's reach.
const BYTES_MAX: u64 = 4096;

fuzz_target!(|data: &[u8]| {
    let Some((&piece, stream)) = data.split_first() else { return };
    let whole = receive(stream, usize::MAX);
    let pieces = receive(stream, usize::from(piece).max(1));
    assert_eq!(whole, pieces);
});

#[derive(Debug, Default, PartialEq)]
struct Outcome {
    header: Option<FragmentHeader>,
    media: BytesMut,
    trailer: Option<Trailer>,
    error: Option<ReceiveError>,
}

fn receive(stream: &[u8], piece: usize) -> Outcome {
    let mut receiver = FragmentReceiver::new(BYTES_MAX);
    let mut outcome = Outcome::default();
    outcome.error = feed(&mut receiver, stream, piece, &mut outcome).err();
    assert!(outcome.media.len() as u64 <= BYTES_MAX);
    if outcome.error.is_none() {
        outcome.error = receiver.finish().err();
        assert!(outcome.error.is_some() || outcome.trailer.is_some());
    }
    outcome
}

fn feed(
    receiver: &mut FragmentReceiver,
    stream: &[u8],
    piece: usize,
    outcome: &mut Outcome,
) -> Result<(), ReceiveError> {
    for piece in stream.chunks(piece.min(stream.len().max(1))) {
        receiver.push(Bytes::copy_from_slice(piece));
        while let Some(part) = receiver.pull()? {
            match part {
                Received::Header(header) => outcome.header = Some(header),
                Received::Media(media) => outcome.media.extend_from_slice(&media),
                Received::Trailer(trailer) => outcome.trailer = Some(trailer),
            }
        }
    }
    Ok(())
}
