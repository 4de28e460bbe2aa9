//! Appends to the spool file of one fragment while it is captured.

use std::io::{self, IoSlice};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use disk::File;
use upload::Trailer;

use super::{Spool, recovery};
use crate::checksum::append_to_each;
use crate::file::{self, ChunkHead, Header};
use crate::limits;

/// A fragment that is being captured. Dropped before [`Self::finish`], it is ended at its last whole
/// chunk, as after a crash. One that the disk did not take in whole is no fragment: it leaves the spool, and its file is
/// removed.
pub struct Writer {
    spool: Spool,
    header: Header,
    path: PathBuf,
    file: Arc<dyn File>,
    /// Where the next record goes.
    end: u64,
    /// Of the payload.
    bytes: u64,
    crc32c: u32,
    elapsed: Duration,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Finished,
    /// It is not to be there.
    Discarded,
}

impl Writer {
    pub(crate) fn create(spool: Spool, header: Header, path: PathBuf) -> io::Result<Self> {
        let file = spool.shared.disk.create(&path)?;
        let record = file::encode_header(&header);
        if let Err(error) = file.write_at(&record, 0) {
            // A full disk must not gather a file for each fragment that it has no room for.
            spool.remove_file(&path);
            return Err(error);
        }
        let end = record.len() as u64;
        spool.shared.tails.begin(header.ordinal);
        Ok(Self { spool, header, path, file, end, bytes: 0, crc32c: 0, elapsed: Duration::ZERO, state: State::Open })
    }

    /// Appends whole Matroska elements. With them the fragment plays for `elapsed`.
    pub fn append(&mut self, elapsed: Duration, pieces: &[Bytes]) -> io::Result<()> {
        let bytes = pieces.iter().map(|piece| piece.len() as u64).sum();
        let head = ChunkHead::new(elapsed, bytes);
        let [checksum, crc32c] = append_to_each([head.crc32c(), self.crc32c], pieces);
        let head = head.with(checksum);
        let record: Vec<IoSlice<'_>> =
            std::iter::once(&head[..]).chain(pieces.iter().map(Bytes::as_ref)).map(IoSlice::new).collect();
        let record_bytes = self.write(&record)?;
        self.spool.shared.tails.push(self.header.ordinal, self.bytes, pieces);
        self.bytes += bytes;
        self.crc32c = crc32c;
        self.elapsed = self.elapsed.max(elapsed);
        self.spool.note_grown(self.header.ordinal, self.bytes, record_bytes);
        Ok(())
    }

    /// Ends the fragment: (1) closing bytes and trailer, (2) sync the file, (3) sync the folder that names it. When this
    /// returns it is on disk, unless syncs are made at intervals.
    pub fn finish(mut self, duration: Duration) -> io::Result<Trailer> {
        let closing = self.header.closing.clone();
        self.append(duration, std::slice::from_ref(&closing))?;
        let trailer = Trailer { duration, bytes: self.bytes, crc32c: self.crc32c };
        let record_bytes = self.write(&[IoSlice::new(&file::encode_trailer(&trailer))])?;
        if self.spool.syncs_each() {
            self.file.sync()?;
            self.spool.shared.disk.sync_folder(disk::folder_of(&self.path))?;
        }
        self.state = State::Finished;
        self.spool.note_finished(&self.header, trailer, record_bytes);
        self.spool.note_unsynced(self.header.ordinal);
        Ok(trailer)
    }

    /// Gives it up: nothing of it is to stay.
    pub fn discard(mut self) {
        self.state = State::Discarded;
    }

    /// Writes a record; answers its size. On a disk that is full, others make way as far as they are to.
    fn write(&mut self, record: &[IoSlice<'_>]) -> io::Result<u64> {
        let mut written = self.file.write_pieces_at(record, self.end);
        for _ in 0..limits::DROPS_PER_WRITE_MAX {
            match &written {
                Err(error) if disk::is_full(error) && self.spool.give_way() => {
                    written = self.file.write_pieces_at(record, self.end);
                }
                _ => break,
            }
        }
        if written.is_err() {
            self.state = State::Discarded;
        }
        written?;
        let bytes = record.iter().map(|piece| piece.len() as u64).sum();
        self.end += bytes;
        Ok(bytes)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.spool.shared.tails.end(self.header.ordinal);
        match self.state {
            State::Finished => {}
            State::Open => {
                let repaired = recovery::repair(&*self.spool.shared.disk, &self.path);
                self.spool.note_repaired(&self.header.key, &self.path, repaired);
            }
            State::Discarded => {
                self.spool.remove_file(&self.path);
                self.spool.forget(&self.header.key);
            }
        }
    }
}
