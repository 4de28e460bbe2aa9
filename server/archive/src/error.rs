//! What can go wrong: one enum per operation.

use std::time::Duration;

use fragment::StreamName;
use vault::{CatalogError, CommitError, PutError};

use crate::limits;

/// Why an archive can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its vault can't be opened.
    #[error(transparent)]
    Vault(#[from] vault::OpenError),
    /// Its streams can't be read.
    #[error(transparent)]
    Query(#[from] QueryError),
}

/// Why a question can't be answered.
#[derive(Clone, Debug, thiserror::Error)]
pub enum QueryError {
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// A row is not what this program writes.
    #[error("the archive's {0} row is damaged or from a newer version")]
    Damaged(&'static str),
}

/// Why a fragment's bytes can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Its row can't be read.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// Its frame can't be read.
    #[error(transparent)]
    Vault(#[from] vault::ReadError),
}

/// Why a fragment was not stored.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no such stream.
    #[error("the stream does not exist")]
    NoStream,
    /// It is larger than a fragment may be.
    #[error("the fragment has {bytes} bytes; at most {max} are allowed", max = fragment::limits::FRAGMENT_BYTES_MAX)]
    TooLarge {
        /// How large it is.
        bytes: usize,
    },
    /// It is longer than a fragment may be.
    #[error("the fragment lasts {0:?}; at most {max:?} are allowed", max = fragment::limits::FRAGMENT_DURATION_MAX)]
    TooLong(Duration),
    /// Its codec strings are longer than any that exist.
    #[error("the fragment's codec strings have more than {max} bytes", max = limits::CODECS_BYTES_MAX)]
    Codecs,
    /// The vault did not take it.
    #[error(transparent)]
    Vault(PutError),
    /// The fragment is stored already, but its row is damaged.
    #[error(transparent)]
    Query(#[from] QueryError),
}

impl StoreError {
    /// Whether the same fragment may be stored if it is sent again later.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Vault(error) => error.retryable(),
            Self::NoStream | Self::TooLarge { .. } | Self::TooLong(_) | Self::Codecs | Self::Query(_) => false,
        }
    }
}

/// Why a check could not go on. What it had found stands.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// A segment can't be read at all.
    #[error("the segments can't be read: {0}")]
    Segments(#[from] std::io::Error),
    /// The catalog can't be read: it can be made again out of the segments.
    #[error(transparent)]
    Query(#[from] QueryError),
}

impl From<CatalogError> for CheckError {
    fn from(error: CatalogError) -> Self {
        Self::Query(QueryError::Catalog(error))
    }
}

/// Why the index could not be rebuilt. It can be begun anew with an empty catalog.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// There is a catalog with streams.
    #[error("the catalog has streams; an index is rebuilt only into an empty one")]
    NotEmpty,
    /// A segment can't be read at all.
    #[error("the segments can't be read: {0}")]
    Segments(#[from] std::io::Error),
    /// The keys can't be read.
    #[error("the data keys can't be read: {0}")]
    Keys(#[from] vault::KeyError),
    /// The new catalog can't be written.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The new catalog can't be read.
    #[error(transparent)]
    Query(#[from] QueryError),
}

impl From<CatalogError> for RebuildError {
    fn from(error: CatalogError) -> Self {
        Self::Query(QueryError::Catalog(error))
    }
}

/// Why a stream can't be created, changed or deleted.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The name is taken.
    #[error("a stream named {0} exists already")]
    Exists(StreamName),
    /// There is no such stream.
    #[error("the stream does not exist")]
    NotFound,
    /// There are as many streams as there may be.
    #[error("there are {max} streams, as many as there may be", max = limits::STREAMS_MAX)]
    TooMany,
    /// It was changed since it was looked at.
    #[error("the stream was changed meanwhile")]
    Changed,
    /// Its attributes are too large.
    #[error("a stream's attributes take {0} bytes; {max} are the most", max = limits::ATTRIBUTES_BYTES_MAX)]
    Attributes(usize),
    /// The retention is out of any range.
    #[error("a retention of {0:?} is not between 1 hour and 10 years, nor 0 for a stream that is live only")]
    Retention(Duration),
    /// The retention is longer than this server keeps anything.
    #[error(
        "a retention of {} h is longer than the {} h that this server keeps anything; millrace --max-retention changes that",
        asked.as_secs() / 3600,
        ceiling.as_secs() / 3600
    )]
    Ceiling {
        /// What was asked for.
        asked: Duration,
        /// The longest that may be.
        ceiling: Duration,
    },
    /// The bound of bytes is too small.
    #[error("a stream can't be kept to {0} bytes; {min} are the least", min = limits::RETENTION_BYTES_MIN)]
    RetentionBytes(u64),
    /// The catalog did not take the change.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The catalog could not be read.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The stream's keys could not be destroyed.
    #[error("the stream's keys can't be destroyed: {0}")]
    Keys(#[from] vault::KeyError),
    /// That the retention was raised could not be noted.
    #[error("the retention is as it was, since that it is raised can't be written: {0}")]
    Note(PutError),
    /// What was given up could not be deleted, so that giving up more makes no room.
    #[error("what was given up can't be deleted, as the log says in detail; nothing more is given up")]
    Stuck,
    /// What had expired could not be deleted.
    #[error(transparent)]
    Sweep(#[from] vault::SweepError),
}

impl From<CatalogError> for StreamError {
    fn from(error: CatalogError) -> Self {
        Self::Query(QueryError::Catalog(error))
    }
}
