//! fjall's lists of tables, examined before fjall believes them.
//!
//! A keyspace is a folder with a file `current`, which names the list of its tables that holds, with the list's checksum.
//! fjall writes that checksum and does not look at it: a flipped bit in a list hides rows, asks for gigabytes, or aborts the
//! process. It removes tables that no list names, and keyspaces without `current`. So both are looked at here, and the
//! table of contents at the end of each table that is named. What a table holds is under checksums that fjall verifies
//! as it reads.
//!
//! ```text
//! current   [list: 8][xxh3 of the list: 16][0]                                    little-endian, like all of these
//! list, table  ... [contents] ["SFA!"][1][0][xxh3 of the contents: 16][where they begin: 8][how long they are: 8]
//! contents  ["TOC!"][sections: 4] then for each [begin: 8][bytes: 8][bytes of the name: 2][name]
//! "tables" in a list  [levels: 1], each [runs: 1], each [tables: 4], each [id: 8][0][xxh3 of the table: 16][number: 8]
//! ```

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_128;

use super::reader::Reader;
use crate::error::CatalogError;
use crate::limits;

const TRAILER_BYTES: usize = 38;

/// Examines the keyspaces in a catalog's folder.
pub(super) fn examine(folder: &Path) -> Result<(), CatalogError> {
    let folder = folder.join("keyspaces");
    let keyspaces = names(&folder)?;
    let has_current = |keyspace: &PathBuf| keyspace.join("current").exists();
    // The first one names the others, and comes into being before them.
    let first = folder.join("0");
    if !has_current(&first) && keyspaces.iter().any(has_current) {
        return Err(CatalogError::damaged(&first.join("current"), "it is missing"));
    }
    for keyspace in &keyspaces {
        if has_current(keyspace) {
            examine_keyspace(keyspace)?;
        } else if !names(&keyspace.join("tables"))?.is_empty() {
            return Err(CatalogError::damaged(&keyspace.join("current"), "it is missing"));
        }
    }
    Ok(())
}

fn examine_keyspace(keyspace: &Path) -> Result<(), CatalogError> {
    let current = keyspace.join("current");
    let bytes = fs::read(&current).map_err(|e| CatalogError::io("read", &current, &e))?;
    let mut reader = Reader(&bytes);
    let (Some(id), Some(checksum)) = (reader.number::<8>(), reader.take(16)) else {
        return Err(CatalogError::damaged(&current, "it is cut short"));
    };
    let list = keyspace.join(format!("v{id}"));
    let bytes = fs::read(&list).map_err(|e| CatalogError::missing_or_io("read", &list, &e))?;
    if xxh3_128(&bytes).to_le_bytes() != checksum {
        return Err(CatalogError::damaged(&list, "its checksum is another"));
    }
    let tables = contents(&list)?
        .and_then(|contents| section(&contents, b"tables"))
        .and_then(|(begin, length)| tables(bytes.get(begin..begin.checked_add(length)?)?));
    for id in tables.ok_or_else(|| CatalogError::damaged(&list, "it is no list of tables"))? {
        let table = keyspace.join("tables").join(id.to_string());
        if contents(&table)?.is_none() {
            return Err(CatalogError::damaged(&table, "its table of contents is not what was written"));
        }
    }
    Ok(())
}

/// The contents of a list or table, if they are what was written.
fn contents(path: &Path) -> Result<Option<Vec<u8>>, CatalogError> {
    read_contents(path).map_err(|e| CatalogError::missing_or_io("read", path, &e))
}

fn read_contents(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = File::open(path)?;
    let Some(trailer_at) = file.metadata()?.len().checked_sub(TRAILER_BYTES as u64) else { return Ok(None) };
    let mut trailer = [0; TRAILER_BYTES];
    file.read_exact_at(&mut trailer, trailer_at)?;
    let Some((checksum, begin)) = read_trailer(&trailer) else { return Ok(None) };
    let length = trailer_at.checked_sub(begin).filter(|length| *length <= limits::CATALOG_CONTENTS_BYTES_MAX);
    let Some(length) = length.and_then(|length| usize::try_from(length).ok()) else { return Ok(None) };
    let mut contents = vec![0; length];
    file.read_exact_at(&mut contents, begin)?;
    Ok((xxh3_128(&contents).to_le_bytes() == checksum).then_some(contents))
}

fn read_trailer(trailer: &[u8]) -> Option<(&[u8], u64)> {
    let mut reader = Reader(trailer);
    (reader.take(6)? == b"SFA!\x01\x00").then_some(())?;
    Some((reader.take(16)?, reader.number::<8>()?))
}

/// Where a section begins and how long it is.
fn section(contents: &[u8], name: &[u8]) -> Option<(usize, usize)> {
    let mut reader = Reader(contents);
    (reader.take(4)? == b"TOC!").then_some(())?;
    for _ in 0..reader.number::<4>()? {
        let (begin, length) = (reader.size::<8>()?, reader.size::<8>()?);
        let name_bytes = reader.size::<2>()?;
        if reader.take(name_bytes)? == name {
            return Some((begin, length));
        }
    }
    None
}

/// The tables that a list names.
fn tables(section: &[u8]) -> Option<Vec<u64>> {
    let mut reader = Reader(section);
    let mut tables = Vec::new();
    for _level in 0..reader.number::<1>()? {
        for _run in 0..reader.number::<1>()? {
            for _table in 0..reader.number::<4>()? {
                tables.push(reader.number::<8>()?);
                let _checksum_and_number = reader.take(25)?;
            }
        }
    }
    Some(tables)
}

/// What lies in a folder; nothing, if it does not exist.
fn names(folder: &Path) -> Result<Vec<PathBuf>, CatalogError> {
    let listed = fs::read_dir(folder).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    match listed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        listed => listed.map_err(|e| CatalogError::io("list", folder, &e)),
    }
}
