//! Reads a fragment's payload out of its spool file, checked, while it may still be growing. What it gains meanwhile comes
//! from memory, where it is still there (tail.rs).

use std::collections::VecDeque;
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use disk::{Disk, File};

use crate::file::{self, Header, InOrder, ReadError, Record};
use crate::limits;
use crate::tail::{Tail, Tails};

/// Some pieces of sound are read at a time. Most of a picture goes past the buffer, to where it is to be.
const BUFFER_BYTES: usize = 8 * 1024;

/// Gives a fragment's bytes in order. It keeps the file open, so that a fragment which leaves the spool
/// while it is being sent can be sent to its end.
pub struct Reader {
    header: Header,
    records: Records,
    /// Where the next chunk begins in the payload.
    at: u64,
    /// What has been read of the file and not been asked for yet.
    ahead: VecDeque<Bytes>,
    tail: Option<Arc<Tail>>,
    /// Where the tail is asked for when reading begins.
    tails: Option<Arc<Tails>>,
}

impl Reader {
    pub(crate) fn open(disk: &dyn Disk, path: &Path) -> Result<Self, ReadError> {
        let file = disk.open(path)?;
        let mut from = BufReader::with_capacity(limits::HEADER_BYTES_MAX, InOrder::new(file.clone(), 0));
        file::read_magic(&mut from)?;
        let Record::Header(header) = file::read_record(&mut from)? else {
            return Err(ReadError::Damaged("its first record is not a header"));
        };
        let records = Records { file, at: place(&from), buffered: None };
        Ok(Self { header, records, at: 0, ahead: VecDeque::new(), tail: None, tails: None })
    }

    /// The same of a fragment that may be among those which are being captured.
    pub(crate) fn along(self, tails: Arc<Tails>) -> Self {
        Self { tails: Some(tails), ..self }
    }

    /// What the file begins with.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The next `bytes` payload bytes, which the spool has said to hold.
    pub fn read(&mut self, bytes: usize) -> Result<VecDeque<Bytes>, ReadError> {
        // Not before: who only wants the header is not to be followed.
        if let Some(tails) = self.tails.take() {
            self.tail = tails.follow(self.header.ordinal);
        }
        let mut pieces = VecDeque::new();
        let mut missing = bytes;
        while missing > 0 {
            let Some(first) = self.ahead.front_mut() else {
                self.ahead = self.next_chunk()?;
                continue;
            };
            let piece = first.split_to(missing.min(first.len()));
            if first.is_empty() {
                self.ahead.pop_front();
            }
            missing -= piece.len();
            pieces.push_back(piece);
        }
        Ok(pieces)
    }

    fn next_chunk(&mut self) -> Result<VecDeque<Bytes>, ReadError> {
        let pieces = match self.tail.as_ref().and_then(|tail| tail.take(self.at)) {
            Some(pieces) => {
                self.records.pass((file::CHUNK_HEAD_BYTES + pieces.iter().map(Bytes::len).sum::<usize>()) as u64);
                VecDeque::from(pieces)
            }
            None => match self.records.next()? {
                Record::Chunk { payload, .. } => VecDeque::from([payload]),
                _ => return Err(ReadError::Damaged("it ends before its length")),
            },
        };
        self.at += pieces.iter().map(|piece| piece.len() as u64).sum::<u64>();
        Ok(pieces)
    }
}

/// The records of a file, one after the other.
struct Records {
    file: Arc<dyn File>,
    /// Where the next one begins.
    at: u64,
    /// Since something was read there, and nothing passed over.
    buffered: Option<BufReader<InOrder>>,
}

impl Records {
    fn next(&mut self) -> Result<Record, ReadError> {
        let buffered = || BufReader::with_capacity(BUFFER_BYTES, InOrder::new(self.file.clone(), self.at));
        let from = self.buffered.get_or_insert_with(buffered);
        let record = file::read_record(from)?;
        self.at = place(from);
        Ok(record)
    }

    /// Leaves out the next record, which has so many bytes.
    fn pass(&mut self, bytes: u64) {
        self.at += bytes;
        self.buffered = None;
    }
}

/// Where the next byte of it lies in the file.
fn place(from: &BufReader<InOrder>) -> u64 {
    from.get_ref().place() - from.buffer().len() as u64
}
