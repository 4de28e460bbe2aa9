//! Segments as objects: `segments/<expiry slot: 8 digits>-<segment id: 16 hex>.seg` in a bucket.
//!
//! An object is written once and whole, so each batch makes its own: it gathers in memory and is stored when it is
//! synced. That its name is random and new makes it harmless to store it twice, and if the answer is lost, nothing
//! refers to it.

use std::io;

use bytes::Bytes;

use super::{SegmentFile, SegmentName, SegmentStore, SegmentWriter, SyncError, file_name, parse_name};
use crate::objects::Objects;

const FOLDER: &str = "segments";

/// The segments in a bucket.
pub struct ObjectSegments(Objects);

impl ObjectSegments {
    /// Those in this one.
    pub fn new(objects: Objects) -> Self {
        Self(objects)
    }
}

impl SegmentStore for ObjectSegments {
    fn create(&self, name: SegmentName) -> io::Result<Box<dyn SegmentWriter>> {
        Ok(Box::new(ObjectWriter { objects: self.0.clone(), name, written: Vec::new(), state: State::Open }))
    }

    fn sync_names(&self) -> io::Result<()> {
        Ok(())
    }

    fn read_at(&self, name: SegmentName, out: &mut [u8], offset: u64) -> io::Result<usize> {
        let range = offset..offset + out.len() as u64;
        let found = self.0.get_range(FOLDER, &file_name(name), range)?;
        let len = found.len().min(out.len());
        out[..len].copy_from_slice(&found[..len]);
        Ok(len)
    }

    fn list(&self) -> io::Result<Vec<SegmentFile>> {
        let listed = self.0.list(FOLDER)?.into_iter();
        let mut listed: Vec<_> = listed
            .filter_map(|object| Some(SegmentFile { name: parse_name(&object.name)?, bytes: object.bytes }))
            .collect();
        listed.sort_unstable();
        Ok(listed)
    }

    fn len(&self, name: SegmentName) -> io::Result<u64> {
        self.0.len(FOLDER, &file_name(name))
    }

    fn remove(&self, name: SegmentName) -> io::Result<()> {
        self.0.delete(FOLDER, &file_name(name))
    }

    fn free_bytes(&self) -> io::Result<Option<u64>> {
        Ok(None)
    }
}

/// An object that comes into being.
struct ObjectWriter {
    objects: Objects,
    name: SegmentName,
    written: Vec<u8>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// It is there.
    Stored,
    /// It may be there.
    Unclear,
}

impl SegmentWriter for ObjectWriter {
    fn reserve(&mut self, _end: u64) -> io::Result<()> {
        Ok(())
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        if start == self.written.len() {
            self.written.extend_from_slice(bytes);
            return Ok(());
        }
        let end = start + bytes.len();
        if self.written.len() < end {
            self.written.resize(end, 0);
        }
        self.written[start..end].copy_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self) -> Result<(), SyncError> {
        let bytes = Bytes::from(std::mem::take(&mut self.written));
        let stored = self.objects.put(FOLDER, &file_name(self.name), bytes);
        self.state = if stored.is_ok() { State::Stored } else { State::Unclear };
        stored.map_err(SyncError::NotStored)
    }

    fn goes_on(&self) -> bool {
        false
    }

    fn close(self: Box<Self>, end: Option<u64>) -> io::Result<()> {
        if end.is_some() || self.state == State::Open {
            Ok(())
        } else {
            self.objects.delete(FOLDER, &file_name(self.name))
        }
    }
}
