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
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use disk::{Disk, File};
use upload::Trailer;

use crate::file::{self, Header, InOrder, ReadError, Record, TRAILER_RECORD_BYTES};
use crate::index::{Counters, Doubled, Index};
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
    let mut load = Load::new(disk);
    let mut folders = Vec::new();
    for stream in disk.list(folder)? {
        let stream = folder.join(stream);
        match disk.list(&stream) {
            Ok(names) => load.take_folder(&stream, names),
            Err(error) if error.kind() == ErrorKind::NotADirectory => continue,
            Err(error) => return Err(error),
        }
        folders.push(stream);
    }
    load.last.iter().for_each(|(_, path)| sync(disk, path));
    folders.iter().for_each(|folder| sync_folder(disk, folder));
    sync_folder(disk, rejected);
    let Load { mut index, doubled, shortened, .. } = load;
    index.make_places(doubled);
    let Counters { fragments, bytes, .. } = index.counters();
    if fragments > 0 {
        tracing::info!(fragments, bytes, shortened, "found fragments of an earlier run in the spool");
    }
    Ok(index)
}

/// What was found so far. Of a file nothing is held but what the index holds.
struct Load<'a> {
    disk: &'a dyn Disk,
    index: Index,
    doubled: Vec<Doubled>,
    /// The last whole ones, which a process that synced at intervals may have left in memory.
    last: BTreeSet<(u64, PathBuf)>,
    shortened: u64,
}

/// The two ends of a file: its header, its trailer, and how large it is.
type Ends = (Option<Header>, Option<Trailer>, u64);

impl<'a> Load<'a> {
    fn new(disk: &'a dyn Disk) -> Self {
        Self { disk, index: Index::default(), doubled: Vec::new(), last: BTreeSet::new(), shortened: 0 }
    }

    /// Takes in what lies in the folder of a stream.
    fn take_folder(&mut self, stream: &Path, mut names: Vec<String>) {
        // By their names, fragments of a session come in their order, and as the index holds them in the least memory.
        names.sort_unstable();
        let mut newest: Option<(u64, PathBuf)> = None;
        let mut unsynced = Vec::new();
        look_at_all(self.disk, stream, &names, |path, ends| {
            if path.extension().is_some_and(|end| end == KEPT) {
                self.take_kept(&path, ends);
            } else {
                self.take_waiting(path, ends, &mut newest, &mut unsynced);
            }
        });
        // Of a stream that gives little it may not be among the last ones.
        unsynced.extend(newest.filter(|newest| !self.last.contains(newest)).map(|(_, path)| path));
        unsynced.iter().for_each(|path| sync(self.disk, path));
    }

    fn take_kept(&mut self, path: &Path, ends: io::Result<Ends>) {
        match ends {
            Ok((Some(header), Some(trailer), file_bytes)) => self.insert(Whole { header, trailer, file_bytes }, true),
            // The server has it: what is not whole has no use.
            Ok(_) => remove(self.disk, path),
            Err(error) => tracing::error!(path = %path.display(), %error, "a recording can't be read"),
        }
    }

    fn take_waiting(
        &mut self,
        path: PathBuf,
        ends: io::Result<Ends>,
        newest: &mut Option<(u64, PathBuf)>,
        unsynced: &mut Vec<PathBuf>,
    ) {
        let recovered = match ends {
            Ok((Some(header), Some(trailer), file_bytes)) => {
                Ok(Recovered::Whole(Whole { header, trailer, file_bytes }))
            }
            Ok(_) => recover(self.disk, &path),
            Err(error) => Err(error),
        };
        match recovered {
            Ok(Recovered::Whole(whole)) => {
                let place = whole.header.ordinal;
                if newest.as_ref().is_none_or(|(ordinal, _)| *ordinal < place) {
                    *newest = Some((place, path.clone()));
                }
                self.last.insert((place, path));
                if self.last.len() > limits::UNSYNCED_FRAGMENTS_MAX {
                    self.last.pop_first();
                }
                self.insert(whole, false);
            }
            Ok(Recovered::Shortened(whole)) => {
                self.shortened += 1;
                unsynced.push(path);
                self.insert(whole, false);
            }
            Ok(Recovered::Empty) => remove(self.disk, &path),
            Ok(Recovered::Torn(header, error)) => {
                tracing::error!(path = %path.display(), %error, "a torn spool file can't be ended; the next start tries again");
                self.index.pass_over(header.ordinal);
                // By the time that it can be ended it may have successors.
                unsynced.push(path);
            }
            Err(error) => tracing::error!(path = %path.display(), %error, "a spool file can't be recovered"),
        }
    }

    fn insert(&mut self, whole: Whole, is_kept: bool) {
        let Whole { header, trailer, file_bytes } = whole;
        self.doubled.extend(self.index.insert_recovered(header, trailer, file_bytes, is_kept));
    }
}

/// Looks at the ends of all files that may be fragments. Of many, several at once, in no order: a disk that has to go to each of
/// them has more to choose from.
fn look_at_all(disk: &dyn Disk, folder: &Path, names: &[String], mut take: impl FnMut(PathBuf, io::Result<Ends>)) {
    let look = |name: &String| {
        let path = folder.join(name);
        let is_ours = path.extension().is_some_and(|end| end == WAITING || end == KEPT);
        is_ours.then(|| {
            let ends = ends(disk, &path);
            (path, ends)
        })
    };
    if names.len() < limits::FILES_LOOKED_AT_TOGETHER {
        names.iter().filter_map(look).for_each(|(path, ends)| take(path, ends));
        return;
    }
    let pieces: Vec<_> = names.chunks(limits::FILES_LOOKED_AT_TOGETHER).collect();
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        let (give, looked) = mpsc::sync_channel(limits::LOOKING_THREADS);
        for _ in 0..limits::LOOKING_THREADS {
            let (give, pieces, next, look) = (give.clone(), &pieces, &next, &look);
            scope.spawn(move || {
                while let Some(piece) = pieces.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if give.send(piece.iter().filter_map(look).collect::<Vec<_>>()).is_err() {
                        return;
                    }
                }
            });
        }
        drop(give);
        looked.into_iter().flatten().for_each(|(path, ends)| take(path, ends));
    });
}

/// Recovers one file, by a look at its two ends where that is enough.
fn recover(disk: &dyn Disk, path: &Path) -> io::Result<Recovered> {
    let file = disk.open_to_cut(path)?;
    let file_bytes = length(&*file)?;
    let Some(header) = read_header(&file)? else {
        return Ok(Recovered::Empty);
    };
    match read_trailer(&file, file_bytes)? {
        Some(trailer) => Ok(Recovered::Whole(Whole { header, trailer, file_bytes })),
        None => shorten(&file, header),
    }
}

/// Looks at the two ends of a file, and changes nothing: its header, its trailer, and how large it is.
pub(crate) fn ends(disk: &dyn Disk, path: &Path) -> io::Result<Ends> {
    let file = disk.open(path)?;
    let file_bytes = length(&*file)?;
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

/// No fragment is nearly as large as the index can say, and no other file is to be taken for one.
fn length(file: &dyn File) -> io::Result<u64> {
    let bytes = file.len()?;
    if bytes > u32::MAX.into() {
        return Err(io::Error::new(ErrorKind::InvalidData, "it is larger than any fragment"));
    }
    Ok(bytes)
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
        Ok(Record::Trailer(trailer)) if trailer.bytes < file_bytes => Ok(Some(trailer)),
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
