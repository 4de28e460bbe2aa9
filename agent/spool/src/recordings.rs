//! A look at what lies in a spool, from outside: beside a running agent, or without one.
//!
//! Nothing is locked and nothing is changed. What leaves meanwhile is left out, and what is still being captured
//! is told as such.

use std::io;
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use disk::{Disk, OsDisk};
use fragment::StreamName;
use upload::Trailer;

use crate::file::{Header, ReadError};
use crate::reader::Reader;
use crate::recovery;

/// A fragment on the device's disk.
#[derive(Debug)]
pub struct Recording {
    /// Which, and when it began.
    pub header: Header,
    /// Known once it is whole.
    pub trailer: Option<Trailer>,
    /// The size of its file.
    pub file_bytes: u64,
    /// Whether the server has it.
    pub is_persisted: bool,
    path: PathBuf,
}

/// The streams that have a folder in the spool of a state folder.
pub fn streams(state: &Path) -> io::Result<Vec<StreamName>> {
    let names = match OsDisk.list(&state.join("spool")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        listed => listed?,
    };
    let mut streams: Vec<StreamName> = names.iter().filter_map(|name| name.parse().ok()).collect();
    streams.sort();
    Ok(streams)
}

/// What is there of a stream, in the order of capture.
pub fn of(state: &Path, stream: &StreamName) -> io::Result<Vec<Recording>> {
    let folder = state.join("spool").join(stream.as_str());
    let names = match OsDisk.list(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        listed => listed?,
    };
    let mut found: Vec<Recording> = names.iter().filter_map(|name| look(&folder.join(name))).collect();
    found.sort_by_key(|recording| recording.header.ordinal);
    // One that was renamed meanwhile may have been seen under both names.
    found.dedup_by(|a, b| a.header.key == b.header.key);
    Ok(found)
}

impl Recording {
    /// The document of a whole fragment, checked.
    pub fn read(&self) -> Result<Bytes, ReadError> {
        let mut reader = match Reader::open(&OsDisk, &self.path) {
            // It may have been persisted meanwhile, and is kept.
            Err(ReadError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
                Reader::open(&OsDisk, &self.path.with_extension(recovery::KEPT))?
            }
            opened => opened?,
        };
        let bytes = self.trailer.map_or(0, |trailer| usize::try_from(trailer.bytes).unwrap_or(usize::MAX));
        let pieces = reader.read(bytes)?;
        let mut payload = BytesMut::with_capacity(bytes.min(fragment::limits::FRAGMENT_BYTES_MAX));
        pieces.iter().for_each(|piece| payload.extend_from_slice(piece));
        Ok(payload.freeze())
    }
}

fn look(path: &Path) -> Option<Recording> {
    let end = path.extension()?;
    let is_persisted = end == recovery::KEPT;
    if !is_persisted && end != recovery::WAITING {
        return None;
    }
    match recovery::ends(&OsDisk, path) {
        Ok((header, trailer, file_bytes)) => {
            Some(Recording { header: header?, trailer, file_bytes, is_persisted, path: path.to_owned() })
        }
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!(path = %path.display(), %error, "a recording can't be read");
            }
            None
        }
    }
}
