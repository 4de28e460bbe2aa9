//! Reading frames: one positioned read, verified and opened in the memory that it was read into.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};

use crate::data_keys::DataKeys;
use crate::error::ReadError;
use crate::frame::{self, FrameHeader};
use crate::id::Location;
use crate::limits;
use crate::segment::{Folder, Name};

/// Reads frames of all segments, with the last used files kept open.
pub(crate) struct Reader {
    folder: Folder,
    keys: Arc<DataKeys>,
    files: Mutex<Files>,
}

#[derive(Default)]
struct Files {
    open: HashMap<Name, (u64, Arc<File>)>,
    uses: u64,
}

impl Reader {
    pub(crate) fn new(folder: Folder, keys: Arc<DataKeys>) -> Self {
        Self { folder, keys, files: Mutex::default() }
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

    /// Lets go of a file that was deleted, so that its space is freed.
    pub(crate) fn forget(&self, name: Name) {
        self.files().open.remove(&name);
    }

    fn bytes_at(&self, location: Location) -> Result<BytesMut, ReadError> {
        let len = location.bytes as usize;
        if len > frame::frame_bytes(limits::INDEX_BYTES_MAX, limits::PAYLOAD_BYTES_MAX) {
            return Err(ReadError::Damaged { location, what: "its row states an impossible length" });
        }
        let file = self.file(location)?;
        let mut frame = BytesMut::zeroed(len);
        match file.read_exact_at(&mut frame, u64::from(location.offset)) {
            Ok(()) => Ok(frame),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                Err(ReadError::Damaged { location, what: "the file ends before it does" })
            }
            Err(source) => Err(ReadError::Io { location, source }),
        }
    }

    fn file(&self, location: Location) -> Result<Arc<File>, ReadError> {
        let name = Name { expiry: location.expiry, id: location.segment };
        if let Some(file) = self.files().find(name) {
            return Ok(file);
        }
        match File::open(self.folder.path_of(name)) {
            Ok(file) => Ok(self.files().keep(name, Arc::new(file))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Err(ReadError::Missing(location)),
            Err(source) => Err(ReadError::Io { location, source }),
        }
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Files {
    fn find(&mut self, name: Name) -> Option<Arc<File>> {
        self.uses += 1;
        let (used, file) = self.open.get_mut(&name)?;
        *used = self.uses;
        Some(file.clone())
    }

    fn keep(&mut self, name: Name, file: Arc<File>) -> Arc<File> {
        if self.open.len() >= limits::READ_FILES_MAX {
            let oldest = self.open.iter().min_by_key(|(_, (used, _))| *used).map(|(name, _)| *name);
            if let Some(oldest) = oldest {
                self.open.remove(&oldest);
            }
        }
        self.open.insert(name, (self.uses, file.clone()));
        file
    }
}
