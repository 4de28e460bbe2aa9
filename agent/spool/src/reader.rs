//! Reads a fragment's payload out of its spool file, checked, while it may still be growing.

use std::collections::VecDeque;
use std::io::BufReader;
use std::path::Path;

use bytes::{Buf as _, Bytes};
use disk::Disk;

use crate::file::{self, Header, InOrder, ReadError, Record};

/// Gives a fragment's bytes in order. It keeps the file open, so that a fragment which leaves the spool
/// while it is being sent can be sent to its end.
pub struct Reader {
    header: Header,
    from: BufReader<InOrder>,
    /// What has been read of the file and not been asked for yet.
    ahead: Bytes,
}

impl Reader {
    pub(crate) fn open(disk: &dyn Disk, path: &Path) -> Result<Self, ReadError> {
        let mut from = BufReader::with_capacity(64 * 1024, InOrder::new(disk.open(path)?, 0));
        file::read_magic(&mut from)?;
        match file::read_record(&mut from)? {
            Record::Header(header) => Ok(Self { header, from, ahead: Bytes::new() }),
            _ => Err(ReadError::Damaged("its first record is not a header")),
        }
    }

    /// What the file begins with.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The next `bytes` payload bytes, which the spool has said to hold.
    pub fn read(&mut self, bytes: usize) -> Result<VecDeque<Bytes>, ReadError> {
        let mut pieces = VecDeque::new();
        let mut missing = bytes;
        while missing > 0 {
            if !self.ahead.has_remaining() {
                self.ahead = match file::read_record(&mut self.from)? {
                    Record::Chunk { payload, .. } => payload,
                    _ => return Err(ReadError::Damaged("it ends before its length")),
                };
            }
            let piece = self.ahead.split_to(missing.min(self.ahead.len()));
            missing -= piece.len();
            pieces.push_back(piece);
        }
        Ok(pieces)
    }
}
