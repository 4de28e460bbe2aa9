//! Segments: append-only runs of frames that expire together.
//!
//! ```text
//! [magic "MRSEGMT": 7][version "1": 1][segment id: 8][expiry slot: 4][reserved: 8][crc32c: 4]  then frames
//! ```
//!
//! Nothing is found by this header: a frame says itself what it is and where it belongs, so that damage here costs no
//! frame. It is for a check to look at ([`check_header`]), and for whoever finds a file without a name.
//!
//! A segment is written by the process that created it and by no other: after a restart new segments are
//! begun, because half a nonce is the segment's id and a torn tail may hold a frame that was never
//! acknowledged.

use std::io;

use crate::entropy::Entropy;
use crate::error::HeaderError;
use crate::id::{ExpirySlot, SegmentId};
use crate::keys::random_number;
use crate::limits;
use crate::segment_store::{SegmentName, SegmentStore, SegmentWriter, SyncError};

pub(crate) const HEADER_BYTES: u32 = 32;
const MAGIC: &[u8; 7] = b"MRSEGMT";
const VERSION: u8 = b'1';

/// A segment that this process appends to.
pub(crate) struct Appender {
    name: SegmentName,
    writer: Box<dyn SegmentWriter>,
    /// The end of what was placed.
    end: u32,
    /// The end of what is committed: nothing beyond it was ever acknowledged.
    committed: u32,
    next_ordinal: u32,
}

/// Where a frame goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) offset: u32,
    pub(crate) ordinal: u32,
}

impl Appender {
    /// Creates a segment with a random id. Its name is durable only after [`SegmentStore::sync_names`].
    pub(crate) fn create(store: &dyn SegmentStore, expiry: ExpirySlot, entropy: &dyn Entropy) -> io::Result<Self> {
        let name = SegmentName { expiry, id: SegmentId(random_number(entropy).map_err(io::Error::other)?) };
        let mut writer = store.create(name)?;
        let begun = writer.reserve(u64::from(HEADER_BYTES)).and_then(|()| writer.write_at(&header(name), 0));
        if let Err(error) = begun {
            // Nothing refers to it; an empty file left behind would be swept after its slot.
            let _ = writer.close(None);
            return Err(error);
        }
        Ok(Self { name, writer, end: HEADER_BYTES, committed: 0, next_ordinal: 0 })
    }

    pub(crate) fn name(&self) -> SegmentName {
        self.name
    }

    /// The place of the next frame, or `None` if the segment is full. Its ordinal is spent even if the
    /// frame is never written.
    pub(crate) fn place(&mut self, frame_bytes: u32) -> Option<Place> {
        let end = self.end.checked_add(frame_bytes)?;
        let full = end > limits::SEGMENT_BYTES_MAX && self.end > HEADER_BYTES;
        if full || (self.committed > 0 && !self.writer.goes_on()) {
            return None;
        }
        let place = Place { offset: self.end, ordinal: self.next_ordinal };
        self.next_ordinal = self.next_ordinal.checked_add(1)?;
        self.end = end;
        Some(place)
    }

    /// Writes the run of frames that was placed at `offset`.
    pub(crate) fn write(&mut self, frames: &[u8], offset: u32) -> io::Result<()> {
        self.writer.reserve(u64::from(self.end))?;
        self.writer.write_at(frames, u64::from(offset))
    }

    /// Makes everything written durable.
    pub(crate) fn sync(&mut self) -> Result<(), SyncError> {
        self.writer.sync()
    }

    /// Everything placed is now acknowledged.
    pub(crate) fn committed(&mut self) {
        self.committed = self.end;
    }

    /// Cuts what lies beyond the last acknowledged frame; removes a segment that has none.
    pub(crate) fn close(self) {
        let end = (self.committed > 0).then_some(u64::from(self.committed));
        if let Err(error) = self.writer.close(end) {
            tracing::warn!(segment = %self.name.id, %error, "a segment could not be cut to its length");
        }
    }
}

fn header(name: SegmentName) -> [u8; HEADER_BYTES as usize] {
    let mut out = [0; HEADER_BYTES as usize];
    out[..7].copy_from_slice(MAGIC);
    out[7] = VERSION;
    out[8..16].copy_from_slice(&name.id.0.to_be_bytes());
    out[16..20].copy_from_slice(&name.expiry.0.to_be_bytes());
    let crc = crc32c::crc32c(&out[..28]);
    out[28..].copy_from_slice(&crc.to_be_bytes());
    out
}

/// Whether `stored`, the beginning of the segment `name`, is what was written there.
pub(crate) fn check_header(stored: &[u8], name: SegmentName) -> Result<(), HeaderError> {
    let (stored, _) = stored.split_first_chunk::<{ HEADER_BYTES as usize }>().ok_or(HeaderError::Short)?;
    let (fields, crc) = stored.split_at(28);
    if !fields.starts_with(MAGIC) {
        return Err(HeaderError::Magic);
    }
    if crc32c::crc32c(fields).to_be_bytes() != crc {
        return Err(HeaderError::Checksum);
    }
    if fields[7] != VERSION {
        return Err(HeaderError::Version(fields[7]));
    }
    if *stored != header(name) {
        return Err(HeaderError::Name);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::entropy::OsEntropy;
    use crate::segment_store::LocalSegments;
    use disk::OsDisk;

    #[test]
    fn a_segment_is_full_at_its_limit_but_takes_any_single_frame() {
        let (_vault, store) = store();
        let mut segment = Appender::create(&store, ExpirySlot(9), &OsEntropy).unwrap();
        assert_eq!(segment.place(limits::SEGMENT_BYTES_MAX).unwrap().offset, HEADER_BYTES);
        assert!(segment.place(1).is_none());
    }

    #[test]
    fn a_closed_segment_has_the_length_of_what_was_committed() {
        let (_vault, store) = store();
        let mut segment = Appender::create(&store, ExpirySlot(9), &OsEntropy).unwrap();
        let name = segment.name();
        let place = segment.place(100).unwrap();
        segment.write(&[1; 100], place.offset).unwrap();
        assert_eq!(store.len(name).unwrap(), limits::PREALLOCATE_BYTES);
        segment.committed();
        segment.place(50).unwrap();
        segment.close();
        assert_eq!(store.len(name).unwrap(), u64::from(HEADER_BYTES) + 100);
    }

    #[test]
    fn every_flipped_bit_and_every_missing_byte_of_a_header_is_noticed() {
        let sound = header(name());
        assert_eq!(check_header(&sound, name()), Ok(()));
        for bit in 0..sound.len() * 8 {
            let mut bad = sound;
            bad[bit / 8] ^= 1 << (bit % 8);
            let error = if bit < 7 * 8 { HeaderError::Magic } else { HeaderError::Checksum };
            assert_eq!(check_header(&bad, name()), Err(error), "bit {bit}");
        }
        for len in 0..sound.len() {
            assert_eq!(check_header(&sound[..len], name()), Err(HeaderError::Short), "{len}");
        }
    }

    #[test]
    fn a_header_of_another_segment_or_of_a_later_version_is_told_by_name() {
        let other = SegmentName { expiry: ExpirySlot(10), ..name() };
        assert_eq!(check_header(&header(other), name()), Err(HeaderError::Name));
        let mut later = header(name());
        later[7] = b'2';
        let crc = crc32c::crc32c(&later[..28]);
        later[28..].copy_from_slice(&crc.to_be_bytes());
        assert_eq!(check_header(&later, name()), Err(HeaderError::Version(b'2')));
    }

    fn name() -> SegmentName {
        SegmentName { expiry: ExpirySlot(9), id: SegmentId(0x1122_3344_5566_7788) }
    }

    fn store() -> (tempfile::TempDir, LocalSegments) {
        let vault = tempfile::tempdir().unwrap();
        let store = LocalSegments::open(Arc::new(OsDisk), vault.path()).unwrap();
        (vault, store)
    }
}
