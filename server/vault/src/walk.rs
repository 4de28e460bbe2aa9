//! Walking a segment: every frame that can be found in a file, without any key.
//!
//! After damage the walk looks for the next frame by its signature, so that one bad header loses one
//! frame. What follows the last frame (the torn tail of a crash, space laid out ahead) is no damage.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::frame::{self, FIXED_BYTES, FrameHeader};
use crate::id::{Location, SegmentId};
use crate::limits;
use crate::segment::{HEADER_BYTES, Name};

/// How much is read at once when looking for a signature: large enough to be quick, small on the stack of memory.
const SEARCH_BYTES: usize = 256 << 10;

/// What a walk comes upon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Walked {
    /// A frame with a sound header. Whether its payload is sound shows when it is read.
    Frame(FrameHeader, Location),
    /// Bytes between frames that are none.
    Damaged {
        /// Where they begin.
        offset: u64,
        /// How many they are.
        bytes: u64,
    },
}

/// An iterator over the frames of a segment file.
pub struct Walk {
    file: File,
    name: Name,
    offset: u64,
    end: u64,
}

impl Walk {
    pub(crate) fn open(path: &Path, name: Name) -> io::Result<Self> {
        let file = File::open(path)?;
        let end = file.metadata()?.len();
        Ok(Self { file, name, offset: u64::from(HEADER_BYTES), end })
    }

    fn step(&mut self) -> io::Result<Option<Walked>> {
        if let Some(header) = self.header_at(self.offset)? {
            return Ok(Some(self.pass(header)));
        }
        let damage = self.offset;
        let Some(found) = self.search(damage + 1)? else {
            self.offset = self.end;
            return Ok(None);
        };
        self.offset = found;
        Ok(Some(Walked::Damaged { offset: damage, bytes: found - damage }))
    }

    fn pass(&mut self, header: FrameHeader) -> Walked {
        let bytes = header.frame_bytes();
        let location = Location {
            expiry: self.name.expiry,
            segment: self.name.id,
            offset: u32::try_from(self.offset).unwrap_or(u32::MAX),
            bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
        };
        self.offset += bytes as u64;
        Walked::Frame(header, location)
    }

    /// The header at `offset`, if a whole frame of this segment can begin there.
    fn header_at(&self, offset: u64) -> io::Result<Option<FrameHeader>> {
        let mut head = [0; FIXED_BYTES + limits::INDEX_BYTES_MAX + 4];
        let len = self.read_at(&mut head, offset)?;
        let fits =
            |header: &FrameHeader| header.segment == self.name.id && offset + header.frame_bytes() as u64 <= self.end;
        Ok(FrameHeader::decode(&head[..len]).ok().filter(fits))
    }

    /// The next place at or after `from` where a whole frame begins.
    fn search(&self, mut from: u64) -> io::Result<Option<u64>> {
        let signature = frame::signature(self.name.id);
        let mut window = vec![0; SEARCH_BYTES];
        while from < self.end {
            let len = self.read_at(&mut window, from)?;
            for at in find_all(&window[..len], &signature) {
                let found = from + at as u64;
                if self.header_at(found)?.is_some() {
                    return Ok(Some(found));
                }
            }
            if len < window.len() {
                break;
            }
            // A signature may lie across two windows.
            from += (len - (signature.len() - 1)) as u64;
        }
        Ok(None)
    }

    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut len = 0;
        while len < out.len() {
            match self.file.read_at(&mut out[len..], offset + len as u64) {
                Ok(0) => break,
                Ok(n) => len += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(len)
    }
}

impl Iterator for Walk {
    type Item = io::Result<Walked>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.offset >= self.end {
            return None;
        }
        let step = self.step();
        if step.is_err() {
            self.offset = self.end;
        }
        step.transpose()
    }
}

/// The segments of a vault as a checker names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentFile {
    pub(crate) name: Name,
    /// The file's length.
    pub bytes: u64,
}

impl SegmentFile {
    /// The segment's id.
    pub fn id(&self) -> SegmentId {
        self.name.id
    }

    /// The hour after which it may be deleted.
    pub fn expiry(&self) -> crate::id::ExpiryHour {
        self.name.expiry
    }
}

fn find_all<'a>(window: &'a [u8], signature: &'a [u8; 12]) -> impl Iterator<Item = usize> + 'a {
    window
        .windows(signature.len())
        .enumerate()
        .filter(move |(_, bytes)| bytes[0] == signature[0] && *bytes == signature)
        .map(|(at, _)| at)
}
