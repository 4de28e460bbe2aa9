//! Reads a spool file that an earlier run left behind, and ends it where it was torn.
//!
//! A file with its trailer is whole and is taken as it is: its chunks are checked when they are sent.
//! One without was cut off by a crash. It is shortened to its last whole chunk, and its closing bytes
//! and trailer are written behind it: a shorter fragment, but a valid one. Order of the steps: truncate,
//! append, sync. A crash between them leaves a file that is torn again, and is recovered again.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::time::Duration;

use upload::Trailer;

use crate::file::{self, Header, ReadError, Record, TRAILER_RECORD_BYTES};

/// What a file turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Recovered {
    /// It has its trailer.
    Whole { header: Header, trailer: Trailer, file_bytes: u64 },
    /// It was ended at its last whole chunk.
    Shortened { header: Header, trailer: Trailer, file_bytes: u64 },
    /// Nothing of it can be played: not one whole chunk.
    Empty,
}

/// Recovers one file, by a look at its two ends where that is enough.
pub(crate) fn recover(path: &Path) -> io::Result<Recovered> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let file_bytes = file.metadata()?.len();
    let header = {
        let mut from = BufReader::with_capacity(4096, &file);
        match file::read_magic(&mut from).and_then(|()| file::read_record(&mut from)) {
            Ok(Record::Header(header)) => header,
            Ok(_) | Err(ReadError::Damaged(_)) => return Ok(Recovered::Empty),
            Err(ReadError::Io(error)) => return Err(error),
        }
    };
    match read_trailer(&mut file, file_bytes)? {
        Some(trailer) => Ok(Recovered::Whole { header, trailer, file_bytes }),
        None => shorten(&mut file, header),
    }
}

/// Reads every record and ends the file at the last one that is whole.
pub(crate) fn repair(path: &Path) -> io::Result<Recovered> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut from = BufReader::new(&file);
    match file::read_magic(&mut from).and_then(|()| file::read_record(&mut from)) {
        Ok(Record::Header(header)) => shorten(&mut file, header),
        Ok(_) | Err(ReadError::Damaged(_)) => Ok(Recovered::Empty),
        Err(ReadError::Io(error)) => Err(error),
    }
}

fn read_trailer(file: &mut File, file_bytes: u64) -> io::Result<Option<Trailer>> {
    let Some(at) = file_bytes.checked_sub(TRAILER_RECORD_BYTES as u64) else {
        return Ok(None);
    };
    file.seek(SeekFrom::Start(at))?;
    match file::read_record(&mut file.take(TRAILER_RECORD_BYTES as u64)) {
        Ok(Record::Trailer(trailer)) => Ok(Some(trailer)),
        Ok(_) | Err(ReadError::Damaged(_)) => Ok(None),
        Err(ReadError::Io(error)) => Err(error),
    }
}

/// What was found whole.
struct Extent {
    /// Where the last whole chunk ends in the file.
    end: u64,
    elapsed: Duration,
    bytes: u64,
    crc32c: u32,
    /// Whether that chunk is the closing one, so that only the trailer is missing.
    closed: bool,
}

fn shorten(file: &mut File, header: Header) -> io::Result<Recovered> {
    let Some(extent) = whole_chunks(file, &header)? else {
        return Ok(Recovered::Empty);
    };
    file.set_len(extent.end)?;
    file.seek(SeekFrom::Start(extent.end))?;
    let mut trailer = Trailer { duration: extent.elapsed, bytes: extent.bytes, crc32c: extent.crc32c };
    let mut tail = Vec::new();
    if !extent.closed && !header.closing.is_empty() {
        tail.extend_from_slice(&file::encode_chunk(extent.elapsed, std::slice::from_ref(&header.closing)));
        trailer.bytes += header.closing.len() as u64;
        trailer.crc32c = crc32c::crc32c_append(trailer.crc32c, &header.closing);
    }
    tail.extend_from_slice(&file::encode_trailer(&trailer));
    file.write_all(&tail)?;
    file.sync_data()?;
    Ok(Recovered::Shortened { header, trailer, file_bytes: extent.end + tail.len() as u64 })
}

fn whole_chunks(file: &mut File, header: &Header) -> io::Result<Option<Extent>> {
    let mut at = file::encode_header(header).len() as u64;
    file.seek(SeekFrom::Start(at))?;
    let mut from = BufReader::with_capacity(256 * 1024, &*file);
    let mut extent: Option<Extent> = None;
    loop {
        match file::read_record(&mut from) {
            Ok(Record::Chunk { elapsed, payload }) => {
                at += (file::RECORD_HEAD_BYTES + 8 + payload.len()) as u64;
                let (bytes, crc32c) = extent.map_or((0, 0), |extent| (extent.bytes, extent.crc32c));
                extent = Some(Extent {
                    end: at,
                    elapsed,
                    bytes: bytes + payload.len() as u64,
                    crc32c: crc32c::crc32c_append(crc32c, &payload),
                    closed: payload == header.closing,
                });
            }
            Ok(_) | Err(ReadError::Damaged(_)) => return Ok(extent),
            Err(ReadError::Io(error)) => return Err(error),
        }
    }
}
