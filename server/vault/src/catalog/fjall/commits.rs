//! How many commits the catalog has, and how many of them were answered.
//!
//! Each commit writes a row of its own number, so what the catalog has is known whatever became of its files. What was
//! answered is written beside the catalog when a commit is on disk, and not synced: it never says more than is on disk, and
//! is exact but for the seconds before a power cut. A catalog that has fewer commits than were answered is an older copy,
//! or has lost its end.
//!
//! ```text
//! row   [0xff] = [number: 8][fjall's next sequence number: 8]      big-endian; no key of anybody's begins so
//! file  [commits answered: 8][crc32c of them: 4]                   big-endian
//! ```

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

/// The key of the row, behind those of all spaces.
pub(super) const KEY: &[u8] = &[0xff];

/// What a commit says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Commit {
    /// Commits before it and itself.
    pub(super) number: u64,
    /// The sequence number that fjall would have given next when the commit began: its batch has this one or a little more.
    pub(super) next_sequence: u64,
}

impl Commit {
    pub(super) fn encode(self) -> [u8; 16] {
        let mut value = [0; 16];
        value[..8].copy_from_slice(&self.number.to_be_bytes());
        value[8..].copy_from_slice(&self.next_sequence.to_be_bytes());
        value
    }

    pub(super) fn decode(value: &[u8]) -> Option<Self> {
        let (number, next_sequence) = value.split_at_checked(8)?;
        let number = u64::from_be_bytes(number.try_into().ok()?);
        Some(Self { number, next_sequence: u64::from_be_bytes(next_sequence.try_into().ok()?) })
    }

    /// The commit of a row, if the row is one of a commit.
    pub(super) fn decode_row(key: &[u8], value: &[u8]) -> Option<Self> {
        if key == KEY { Self::decode(value) } else { None }
    }
}

/// The file that says how many commits were answered.
#[derive(Debug)]
pub(super) struct Answered {
    file: File,
    commits: u64,
}

impl Answered {
    /// Opens the file, which is made if there is none. One that is damaged says nothing.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        let mut bytes = [0; 12];
        let commits = match file.read_exact_at(&mut bytes, 0) {
            Ok(()) => decode(bytes),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => None,
            Err(error) => return Err(error),
        };
        if commits.is_none() && file.metadata()?.len() > 0 {
            tracing::warn!(path = %path.display(), "how many commits were answered can't be read, and is taken from the catalog");
        }
        Ok(Self { file, commits: commits.unwrap_or(0) })
    }

    /// How many were answered.
    pub(super) fn commits(&self) -> u64 {
        self.commits
    }

    /// So many commits are on disk and will be answered.
    pub(super) fn set(&mut self, commits: u64) {
        match self.file.write_all_at(&encode(commits), 0) {
            Ok(()) => self.commits = commits,
            // It says less than there is then, which is safe.
            Err(error) => tracing::debug!(%error, "the number of answered commits can't be written"),
        }
    }
}

fn encode(commits: u64) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[..8].copy_from_slice(&commits.to_be_bytes());
    let checksum = crc32c::crc32c(&bytes[..8]);
    bytes[8..].copy_from_slice(&checksum.to_be_bytes());
    bytes
}

fn decode(bytes: [u8; 12]) -> Option<u64> {
    let commits = u64::from_be_bytes(bytes[..8].try_into().expect("eight of twelve"));
    (encode(commits) == bytes).then_some(commits)
}
