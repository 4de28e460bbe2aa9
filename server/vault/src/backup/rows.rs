//! The rows of a catalog in a file.
//!
//! ```text
//! [magic "MRROWS01": 8] row row ... [0: 4][rows: 8][crc32c: 4]
//! row  [key bytes: 4][value bytes: 4][key][value]
//! ```
//!
//! Big-endian; no key is empty. The checksum is of all before it.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::failed;
use crate::catalog::Row;
use crate::error::BackupError;
use crate::key::Key;
use crate::limits;

const MAGIC: &[u8; 8] = b"MRROWS01";

pub(super) struct RowsWriter {
    path: PathBuf,
    file: BufWriter<File>,
    crc: u32,
    rows: u64,
}

impl RowsWriter {
    pub(super) fn create(path: &Path) -> Result<Self, BackupError> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let file = BufWriter::new(file.map_err(|e| failed("create", path, e))?);
        let mut writer = Self { path: path.to_owned(), file, crc: 0, rows: 0 };
        writer.put(MAGIC)?;
        Ok(writer)
    }

    pub(super) fn write(&mut self, row: &Row) -> Result<(), BackupError> {
        let (key, value) = (row.key.as_bytes(), &row.value);
        for len in [key.len(), value.len()] {
            self.put(&u32::try_from(len).expect("rows are some kilobytes").to_be_bytes())?;
        }
        self.put(key)?;
        self.put(value)?;
        self.rows += 1;
        Ok(())
    }

    /// Ends and syncs the file; answers how many rows it has.
    pub(super) fn finish(mut self) -> Result<u64, BackupError> {
        self.put(&[0; 4])?;
        self.put(&self.rows.to_be_bytes())?;
        self.put(&self.crc.to_be_bytes())?;
        let written = self.file.into_inner().map_err(io::IntoInnerError::into_error);
        written.and_then(|file| file.sync_all()).map_err(|e| failed("write", &self.path, e))?;
        Ok(self.rows)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), BackupError> {
        self.crc = crc32c::crc32c_append(self.crc, bytes);
        self.file.write_all(bytes).map_err(|e| failed("write", &self.path, e))
    }
}

pub(super) struct RowsReader {
    path: PathBuf,
    file: BufReader<File>,
    crc: u32,
    rows: u64,
}

impl RowsReader {
    pub(super) fn open(path: &Path) -> Result<Self, BackupError> {
        let file = BufReader::new(File::open(path).map_err(|e| failed("open", path, e))?);
        let mut reader = Self { path: path.to_owned(), file, crc: 0, rows: 0 };
        if reader.take::<8>()? != *MAGIC {
            return Err(reader.damaged("it does not begin as rows of a catalog do"));
        }
        Ok(reader)
    }

    /// The next row; `None` after the last, when the whole file has proved to be sound.
    pub(super) fn read(&mut self) -> Result<Option<Row>, BackupError> {
        let key_len = u32::from_be_bytes(self.take()?) as usize;
        if key_len == 0 {
            return self.end().map(|()| None);
        }
        let value_len = u32::from_be_bytes(self.take()?) as usize;
        if key_len.max(value_len) > limits::ROW_BYTES_MAX {
            return Err(self.damaged("a row is longer than rows are"));
        }
        let (key, value) = (self.take_long(key_len)?, self.take_long(value_len)?);
        self.rows += 1;
        Ok(Some(Row { key: Key::from_stored(key.into()), value: value.into() }))
    }

    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    fn end(&mut self) -> Result<(), BackupError> {
        let rows = u64::from_be_bytes(self.take()?);
        let crc = self.crc;
        if rows != self.rows || u32::from_be_bytes(self.take()?) != crc {
            return Err(self.damaged("its checksum is another one"));
        }
        Ok(())
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], BackupError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn take_long(&mut self, len: usize) -> Result<Vec<u8>, BackupError> {
        let mut bytes = vec![0; len];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), BackupError> {
        match self.file.read_exact(bytes) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(self.damaged("its end is missing"));
            }
            Err(error) => return Err(failed("read", &self.path, error)),
        }
        self.crc = crc32c::crc32c_append(self.crc, bytes);
        Ok(())
    }

    fn damaged(&self, what: &'static str) -> BackupError {
        BackupError::Damaged { path: self.path.clone(), what }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_and_a_flipped_bit_or_a_missing_end_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows");
        let row = |i: u8| Row { key: Key::from_stored(vec![1, i].into()), value: vec![i; usize::from(i)].into() };
        let mut writer = RowsWriter::create(&path).unwrap();
        for i in 0..20 {
            writer.write(&row(i)).unwrap();
        }
        assert_eq!(writer.finish().unwrap(), 20);
        assert_eq!(all(&path).unwrap(), (0..20).map(row).collect::<Vec<_>>());

        let sound = std::fs::read(&path).unwrap();
        for at in 0..sound.len() {
            let mut damaged = sound.clone();
            damaged[at] ^= 0x10;
            std::fs::write(&path, &damaged).unwrap();
            assert!(matches!(all(&path), Err(BackupError::Damaged { .. })), "byte {at}");
            std::fs::write(&path, &sound[..at]).unwrap();
            assert!(matches!(all(&path), Err(BackupError::Damaged { .. })), "{at} bytes");
        }
    }

    fn all(path: &Path) -> Result<Vec<Row>, BackupError> {
        let mut reader = RowsReader::open(path)?;
        let mut rows = Vec::new();
        while let Some(row) = reader.read()? {
            rows.push(row);
        }
        Ok(rows)
    }
}
