//! Any bytes as the body of PutMedia. The first byte says in pieces of what size; what comes out must not depend on it, what is kept
//! is bounded, and each fragment that comes out is a document that can be read again.
#![no_main]

use std::time::Duration;

use bytes::Bytes;
use fragment::mkv;
use libfuzzer_sys::fuzz_target;
use upload::put_media::{Error, Event, Limits, Splitter, Timecodes};

/// Small, so that the limit is within a fuzzer's reach.
const LIMITS: Limits = Limits { fragment_bytes_max: 4096, tags_max: 3, ..Limits::AWS };

fuzz_target!(|data: &[u8]| {
    let Some((&piece, body)) = data.split_first() else { return };
    let whole = split(body, usize::MAX);
    let pieces = split(body, usize::from(piece).max(1));
    assert_eq!(whole, pieces);
    for event in whole.0 {
        let Event::Whole(fragment) = event else { continue };
        assert!(fragment.document.len() <= LIMITS.fragment_bytes_max);
        assert!(fragment.duration > Duration::ZERO && fragment.duration <= LIMITS.fragment_duration_max);
        let document = mkv::document(fragment.document).expect("what is stored can be read");
        assert_eq!(document.tracks, fragment.tracks);
        assert!(document.complete && !document.units.is_empty());
    }
});

fn split(body: &[u8], piece: usize) -> (Vec<Event>, Option<Error>) {
    let mut splitter = Splitter::new(LIMITS, Timecodes::Absolute);
    let mut events = Vec::new();
    for piece in body.chunks(piece.min(body.len().max(1))) {
        splitter.push(Bytes::copy_from_slice(piece));
        if let Err(error) = drain(&mut splitter, &mut events) {
            return (events, Some(error));
        }
    }
    splitter.finish();
    let error = drain(&mut splitter, &mut events).err();
    (events, error)
}

fn drain(splitter: &mut Splitter, events: &mut Vec<Event>) -> Result<(), Error> {
    while let Some(event) = splitter.next()? {
        events.push(event);
    }
    Ok(())
}
