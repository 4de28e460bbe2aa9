//! Walking a segment: every frame that can be found in a file, without any key.
//!
//! After damage the walk looks for the next frame by its signature, so that one bad header loses one
//! frame. What follows the last frame (the torn tail of a crash, space laid out ahead) is no damage.

use std::io;
use std::sync::Arc;

use crate::error::HeaderError;
use crate::frame::{self, FIXED_BYTES, FrameHeader};
use crate::id::Location;
use crate::limits;
use crate::segment::{self, HEADER_BYTES};
use crate::segment_store::{SegmentName, SegmentStore};

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

/// An iterator over the frames of a segment.
pub struct Walk {
    store: Arc<dyn SegmentStore>,
    name: SegmentName,
    offset: u64,
    end: u64,
}

impl Walk {
    pub(crate) fn open(store: Arc<dyn SegmentStore>, name: SegmentName) -> io::Result<Self> {
        let end = store.len(name)?;
        Ok(Self { store, name, offset: u64::from(HEADER_BYTES), end })
    }

    /// Whether the segment's own header is sound. No frame depends on it, and a crash before the first sync may
    /// leave a segment without one.
    pub fn check_header(&self) -> io::Result<Result<(), HeaderError>> {
        let mut header = [0; HEADER_BYTES as usize];
        let len = self.store.read_at(self.name, &mut header, 0)?;
        Ok(segment::check_header(&header[..len], self.name))
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
        let len = self.store.read_at(self.name, &mut head, offset)?;
        let fits =
            |header: &FrameHeader| header.segment == self.name.id && offset + header.frame_bytes() as u64 <= self.end;
        Ok(FrameHeader::decode(&head[..len]).ok().filter(fits))
    }

    /// The next place at or after `from` where a whole frame begins.
    fn search(&self, mut from: u64) -> io::Result<Option<u64>> {
        let signature = frame::signature(self.name.id);
        let mut window = vec![0; SEARCH_BYTES];
        while from < self.end {
            let len = self.store.read_at(self.name, &mut window, from)?;
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

fn find_all<'a>(window: &'a [u8], signature: &'a [u8; 12]) -> impl Iterator<Item = usize> + 'a {
    window
        .windows(signature.len())
        .enumerate()
        .filter(move |(_, bytes)| bytes[0] == signature[0] && *bytes == signature)
        .map(|(at, _)| at)
}
