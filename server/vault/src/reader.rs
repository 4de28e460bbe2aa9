//! Reading frames: one positioned read, verified and opened in the memory that it was read into.

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::data_keys::DataKeys;
use crate::error::ReadError;
use crate::frame::{self, FrameHeader};
use crate::id::Location;
use crate::limits;
use crate::segment_store::{SegmentName, SegmentStore};

/// Reads frames of all segments.
pub(crate) struct Reader {
    segments: Arc<dyn SegmentStore>,
    keys: Arc<DataKeys>,
}

impl Reader {
    pub(crate) fn new(segments: Arc<dyn SegmentStore>, keys: Arc<DataKeys>) -> Self {
        Self { segments, keys }
    }

    /// The frame at `location`: its header and its payload in the clear. Blocks.
    pub(crate) fn read(&self, location: Location) -> Result<(FrameHeader, Bytes), ReadError> {
        let damaged = |what| ReadError::Damaged { location, what };
        let frame = self.bytes_at(location)?;
        let header = FrameHeader::decode(&frame).map_err(damaged)?;
        if header.segment != location.segment || header.expiry != location.expiry {
            return Err(damaged("it was written for another place"));
        }
        let key = self.keys.find(header.key_name()).map_err(|source| ReadError::Key { location, source })?;
        let payload = header.open(&key, frame).map_err(damaged)?;
        Ok((header, payload))
    }

    /// The header of the frame at `location`, without its payload. Blocks.
    pub(crate) fn examine(&self, location: Location) -> Result<FrameHeader, ReadError> {
        let damaged = |what| ReadError::Damaged { location, what };
        let head = (location.bytes as usize).min(frame::frame_bytes(limits::INDEX_BYTES_MAX, 0));
        let bytes = self.bytes_at(Location { bytes: u32::try_from(head).expect("some kilobytes"), ..location })?;
        let header = FrameHeader::decode(&bytes).map_err(damaged)?;
        if header.segment != location.segment || header.frame_bytes() != location.bytes as usize {
            return Err(damaged("it was written for another place"));
        }
        Ok(header)
    }

    fn bytes_at(&self, location: Location) -> Result<BytesMut, ReadError> {
        let len = location.bytes as usize;
        if len > frame::frame_bytes(limits::INDEX_BYTES_MAX, limits::PAYLOAD_BYTES_MAX) {
            return Err(ReadError::Damaged { location, what: "its row states an impossible length" });
        }
        let name = SegmentName::from(location);
        let mut frame = BytesMut::zeroed(len);
        match self.segments.read_at(name, &mut frame, u64::from(location.offset)) {
            Ok(read) if read == len => Ok(frame),
            Ok(_) => Err(ReadError::Damaged { location, what: "the segment ends before it does" }),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Err(ReadError::Missing(location)),
            Err(source) => Err(ReadError::Io { location, source }),
        }
    }
}
