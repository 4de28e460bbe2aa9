//! Any bytes into the Matroska reader. The first byte says in pieces of what size; the events must
//! not depend on it, and what the reader keeps must not exceed what it was given.
#![no_main]

use bytes::Bytes;
use fragment::mkv::{Error, Event, Limits, Payload, Reader};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&piece, document)) = data.split_first() else { return };
    let whole = read(document, usize::MAX);
    let pieces = read(document, usize::from(piece).max(1));
    assert_eq!(whole, pieces);
});

fn read(document: &[u8], piece: usize) -> (Vec<Event>, Option<Error>) {
    let mut reader = Reader::new(Limits::default());
    let mut events = Vec::new();
    let error = feed(&mut reader, document, piece, &mut events).err();
    for event in &mut events {
        if let Event::Block(block) = event {
            block.data = Payload::from(std::mem::take(&mut block.data).into_bytes());
        }
    }
    (events, error)
}

fn feed(reader: &mut Reader, document: &[u8], piece: usize, events: &mut Vec<Event>) -> Result<(), Error> {
    for piece in document.chunks(piece.min(document.len().max(1))) {
        reader.push(Bytes::copy_from_slice(piece));
        while let Some(event) = reader.next()? {
            events.push(event);
        }
        assert!(reader.buffered() <= document.len());
    }
    reader.finish()?;
    while let Some(event) = reader.next()? {
        events.push(event);
    }
    Ok(())
}
