//! Reads what an earlier run left behind, and ends files where they were torn.
//!
//! A file with its trailer is whole and is taken as it is: its chunks are checked when they are sent.
//! One without was cut off by a crash. It is shortened to its last whole chunk, and its closing bytes
//! and trailer are written behind it: a shorter fragment, but a valid one. Order of the steps: (1) cut,
//! (2) append, (3) sync the file, (4) sync the folder. A crash between them leaves a file that is torn
//! again, and is recovered again.
//!
//! What the index says to be whole is on disk, as it is after [`crate::Writer::finish`]. After a crash of the
//! process alone that takes a sync: of what was torn, of the newest whole fragment of each stream, whose end may
//! have been on its way to the disk, of the last ones of all, which may have waited to be synced together, and of the folders.
//! The older ones were synced before their successors began. The same syncs make removals last, so that ordinals, which go on behind the newest one that is
//! found, are never those of a fragment that comes back.

use std::collections::BTreeSet;
use std::io::{self, BufReader, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use disk::{Disk, File};
use upload::Trailer;

use crate::file::{self, Header, InOrder, ReadError, Record, TRAILER_RECORD_BYTES};
use crate::index::{Counters, Index};
use crate::limits;

/// How a spool file's name ends: a fragment that waits, and one that the server has.
pub(crate) const WAITING: &str = "frag";
pub(crate) const KEPT: &str = "kept";

/// What a file turned out to be.
#[derive(Debug)]
pub(crate) enum Recovered {
    /// It has its trailer.
    Whole(Whole),
    /// It was ended at its last whole chunk.
    Shortened(Whole),
    /// Nothing of it can be played: not one whole chunk.
    Empty,
    /// It is torn and could not be ended, for want of space perhaps. It stays as it is for the next start.
    Torn(Header, io::Error),
}

/// A file with its trailer.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) header: Header,
    pub(crate) trailer: Trailer,
    pub(crate) file_bytes: u64,
}

/// Recovers everything in the spool's folder. What left it before, also for the folder of rejected ones, does not
/// come back from then on.
pub(crate) fn load(disk: &dyn Disk, folder: &Path, rejected: &Path) -> io::Result<Index> {
    let mut index = Index::default();
    let mut found = Vec::new();
    let mut shortened = 0u64;
    // The last whole ones, which a process that synced at intervals may have left in memory.
    let mut last = BTreeSet::new();
    let mut folders = Vec::new();
    for stream in disk.list(folder)? {
        let stream = folder.join(stream);
        let names = match disk.list(&stream) {
            Ok(names) => names,
            Err(error) if error.kind() == ErrorKind::NotADirectory => continue,
            Err(error) => return Err(error),
        };
        let ends_with = |end: &'static str| {
            let stream = &stream;
            names.iter().map(|name| stream.join(name)).filter(move |path| path.extension().is_some_and(|it| it == end))
        };
        let mut newest: Option<(u64, PathBuf)> = None;
        let mut unsynced = Vec::new();
        for path in ends_with(KEPT) {
            // The server has it: what is not whole has no use.
            match ends(disk, &path) {
                Ok((Some(header), Some(trailer), file_bytes)) => {
                    found.push((Whole { header, trailer, file_bytes }, true));
                }
                Ok(_) => remove(disk, &path),
                Err(error) => tracing::error!(path = %path.display(), %error, "a recording can't be read"),
            }
        }
        for path in ends_with(WAITING) {
            match recover(disk, &path) {
                Ok(Recovered::Whole(whole)) => {
                    if newest.as_ref().is_none_or(|(ordinal, _)| *ordinal < whole.header.ordinal) {
                        newest = Some((whole.header.ordinal, path.clone()));
                    }
                    last.insert((whole.header.ordinal, path));
                    if last.len() > limits::UNSYNCED_FRAGMENTS_MAX {
                        last.pop_first();
                    }
                    found.push((whole, false));
                }
                Ok(Recovered::Shortened(whole)) => {
                    shortened += 1;
                    unsynced.push(path);
                    found.push((whole, false));
                }
                Ok(Recovered::Empty) => remove(disk, &path),
                Ok(Recovered::Torn(header, error)) => {
                    tracing::error!(path = %path.display(), %error, "a torn spool file can't be ended; the next start tries again");
                    index.pass_over(header.ordinal);
                    // By the time that it can be ended it may have successors.
                    unsynced.push(path);
                }
                Err(error) => tracing::error!(path = %path.display(), %error, "a spool file can't be recovered"),
            }
        }
        // Of a stream that gives little it may not be among the last ones.
        unsynced.extend(newest.filter(|newest| !last.contains(newest)).map(|(_, path)| path));
        unsynced.iter().for_each(|path| sync(disk, path));
        folders.push(stream);
    }
    last.iter().for_each(|(_, path)| sync(disk, path));
    folders.iter().for_each(|folder| sync_folder(disk, folder));
    sync_folder(disk, rejected);
    found.sort_by_key(|(whole, _)| order(&whole.header));
    for (Whole { header, trailer, file_bytes }, is_kept) in found {
        index.insert_recovered(header, trailer, file_bytes, is_kept);
    }
    let Counters { fragments, bytes, .. } = index.counters();
    if fragments > 0 {
        tracing::info!(fragments, bytes, shortened, "found fragments of an earlier run in the spool");
    }
    Ok(index)
}

/// The order of capture. Ordinals are alike only where a removal was lost, together with what a failed disk forgot.
fn order(header: &Header) -> (u64, i64) {
    (header.ordinal, header.start.wall.as_nanos())
}

/// Recovers one file, by a look at its two ends where that is enough.
fn recover(disk: &dyn Disk, path: &Path) -> io::Result<Recovered> {
    let file = disk.open_to_cut(path)?;
    let file_bytes = file.len()?;
    let Some(header) = read_header(&file)? else {
        return Ok(Recovered::Empty);
    };
    match read_trailer(&file, file_bytes)? {
        Some(trailer) => Ok(Recovered::Whole(Whole { header, trailer, file_bytes })),
        None => shorten(&file, header),
    }
}

/// Looks at the two ends of a file, and changes nothing: its header, its trailer, and how large it is.
pub(crate) fn ends(disk: &dyn Disk, path: &Path) -> io::Result<(Option<Header>, Option<Trailer>, u64)> {
    let file = disk.open(path)?;
    let file_bytes = file.len()?;
    Ok((read_header(&file)?, read_trailer(&file, file_bytes)?, file_bytes))
}

/// Reads every record and ends the file at the last one that is whole. What is left is on disk on return.
pub(crate) fn repair(disk: &dyn Disk, path: &Path) -> io::Result<Recovered> {
    let file = disk.open_to_cut(path)?;
    let Some(header) = read_header(&file)? else {
        return Ok(Recovered::Empty);
    };
    let repaired = shorten(&file, header)?;
    if let Recovered::Shortened(_) = repaired {
        file.sync()?;
        disk.sync_folder(disk::folder_of(path))?;
    }
    Ok(repaired)
}

/// Removes a spool file. One that can't be removed is recovered at the next start and sent again, and so is one whose
/// removal the power cut off: it is not synced, since the server knows what it has.
pub(crate) fn remove(disk: &dyn Disk, path: &Path) {
    if let Err(error) = disk.remove(path)
        && error.kind() != ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "a spool file can't be removed");
    }
}

/// A disk that fails here holds up neither capture nor upload: what it has is still in memory, and is sent.
fn sync(disk: &dyn Disk, path: &Path) {
    if let Err(error) = disk.open(path).and_then(|file| file.sync()) {
        tracing::error!(path = %path.display(), %error, "a spool file can't be synced to disk");
    }
}

fn sync_folder(disk: &dyn Disk, path: &Path) {
    if let Err(error) = disk.sync_folder(path)
        && error.kind() != ErrorKind::NotFound
    {
        tracing::error!(path = %path.display(), %error, "a folder of the spool can't be synced to disk");
    }
}

fn read_header(file: &Arc<dyn File>) -> io::Result<Option<Header>> {
    let mut from = BufReader::with_capacity(4096, InOrder::new(file.clone(), 0));
    match file::read_magic(&mut from).and_then(|()| file::read_record(&mut from)) {
        Ok(Record::Header(header)) => Ok(Some(header)),
        Ok(_) | Err(ReadError::Damaged(_)) => Ok(None),
        Err(ReadError::Io(error)) => Err(error),
    }
}

fn read_trailer(file: &Arc<dyn File>, file_bytes: u64) -> io::Result<Option<Trailer>> {
    let Some(at) = file_bytes.checked_sub(TRAILER_RECORD_BYTES as u64) else {
        return Ok(None);
    };
    match file::read_record(&mut InOrder::new(file.clone(), at)) {
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

fn shorten(file: &Arc<dyn File>, header: Header) -> io::Result<Recovered> {
    let Some(extent) = whole_chunks(file, &header)? else {
        return Ok(Recovered::Empty);
    };
    let mut trailer = Trailer { duration: extent.elapsed, bytes: extent.bytes, crc32c: extent.crc32c };
    let mut tail = Vec::new();
    if !extent.closed && !header.closing.is_empty() {
        tail.extend_from_slice(&file::encode_chunk(extent.elapsed, std::slice::from_ref(&header.closing)));
        trailer.bytes += header.closing.len() as u64;
        trailer.crc32c = crc32c::crc32c_append(trailer.crc32c, &header.closing);
    }
    tail.extend_from_slice(&file::encode_trailer(&trailer));
    if let Err(error) = file.set_len(extent.end).and_then(|()| file.write_at(&tail, extent.end)) {
        return Ok(Recovered::Torn(header, error));
    }
    Ok(Recovered::Shortened(Whole { header, trailer, file_bytes: extent.end + tail.len() as u64 }))
}

fn whole_chunks(file: &Arc<dyn File>, header: &Header) -> io::Result<Option<Extent>> {
    let mut at = file::encode_header(header).len() as u64;
    let mut from = BufReader::with_capacity(256 * 1024, InOrder::new(file.clone(), at));
    let mut extent: Option<Extent> = None;
    loop {
        match file::read_record(&mut from) {
            Ok(Record::Chunk { elapsed, payload }) => {
                at += (file::RECORD_HEAD_BYTES + 8 + payload.len()) as u64;
                let (bytes, crc32c) = extent.map_or((0, 0), |extent| (extent.bytes, extent.crc32c));
                let closed = payload == header.closing;
                extent = Some(Extent {
                    end: at,
                    elapsed,
                    bytes: bytes + payload.len() as u64,
                    crc32c: crc32c::crc32c_append(crc32c, &payload),
                    closed,
                });
                // What is behind its end was cut off by a recovery whose cut did not reach the disk.
                if closed {
                    return Ok(extent);
                }
            }
            Ok(_) | Err(ReadError::Damaged(_)) => return Ok(extent),
            Err(ReadError::Io(error)) => return Err(error),
        }
    }
}
