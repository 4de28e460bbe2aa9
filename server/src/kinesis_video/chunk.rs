//! A stored fragment as it is sent: what AWS calls a chunk, a Matroska document of its own with tags that say which fragment it is.
//!
//! ```text
//! EBML header, Segment, Info, Tracks, the fragment's own tags
//! AWS_KINESISVIDEO_FRAGMENT_NUMBER, …_SERVER_TIMESTAMP, …_PRODUCER_TIMESTAMP, and what an operation adds
//! Cluster
//! what an operation adds behind it
//! ```

use archive::{Archive, ReadError, Stored};
use bytes::Bytes;
use fragment::{FragmentNumber, WallTime, mkv};
use upload::ErrorCode;

use super::fragment_number;
use crate::http::damage::Damage;
use crate::storage::key_code;
use crate::telemetry;

/// What AWS says that chunks are, although they hold more than WebM allows.
pub(super) const CONTENT_TYPE: &str = "video/webm";

pub(super) const FRAGMENT_NUMBER: &str = "AWS_KINESISVIDEO_FRAGMENT_NUMBER";
pub(super) const SERVER_TIMESTAMP: &str = "AWS_KINESISVIDEO_SERVER_TIMESTAMP";
pub(super) const PRODUCER_TIMESTAMP: &str = "AWS_KINESISVIDEO_PRODUCER_TIMESTAMP";

/// A fragment that was read.
pub(super) struct Chunk {
    parts: mkv::Parts,
    pub(super) number: String,
    pub(super) server_timestamp: String,
    pub(super) producer_timestamp: String,
}

/// Why a fragment can't be had, by AWS's number and name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(super) struct ChunkError {
    pub(super) id: u32,
    pub(super) code: &'static str,
    pub(super) message: String,
    /// Whether it is the same at the next attempt.
    pub(super) is_for_good: bool,
}

impl ChunkError {
    /// There is no such fragment, or no more.
    pub(super) fn not_found() -> Self {
        let message = "The fragment is not in the stream: it has expired, or there never was one.".to_owned();
        Self { id: 4000, code: "FRAGMENT_NOT_FOUND", message, is_for_good: true }
    }

    /// The server failed, and its log says why.
    pub(super) fn internal(error: &dyn std::error::Error) -> Self {
        tracing::error!(%error, "a fragment can't be read for a client of the AWS API");
        Self::of(ErrorCode::Internal, "The server failed; its log says why.".to_owned())
    }

    fn of(code: ErrorCode, message: String) -> Self {
        Self { id: code.number(), code: code.name(), message, is_for_good: false }
    }
}

/// Reads a fragment's stored bytes. Blocks.
pub(super) fn read(
    archive: &Archive,
    damage: &Damage,
    stream: u64,
    number: FragmentNumber,
) -> Result<Bytes, ChunkError> {
    match archive.read(stream, number) {
        Ok(Some(stored)) => Ok(stored),
        Ok(None) => Err(ChunkError::not_found()),
        Err(ReadError::Vault(error)) if error.is_damage() => {
            if damage.note(stream, number) {
                tracing::error!(%stream, %number, %error, "a fragment is damaged; it is left out from now on");
                telemetry::damaged();
            }
            Err(ChunkError::not_found())
        }
        Err(ReadError::Vault(vault::ReadError::Key { source, .. })) if source.refusal().is_some() => {
            Err(ChunkError::of(key_code(&source), source.to_string()))
        }
        Err(error) => Err(ChunkError::internal(&error)),
    }
}

impl Chunk {
    /// Reads a fragment. Blocks.
    pub(super) fn read(archive: &Archive, damage: &Damage, stream: u64, stored: &Stored) -> Result<Self, ChunkError> {
        let document = read(archive, damage, stream, stored.number)?;
        let parts =
            mkv::parts(&document).map_err(|error| ChunkError { is_for_good: true, ..ChunkError::internal(&error) })?;
        Ok(Self {
            parts,
            number: fragment_number::format(stored.number),
            server_timestamp: timestamp(stored.arrived),
            producer_timestamp: timestamp(stored.start),
        })
    }

    /// The document with AWS's tags and these, in pieces.
    pub(super) fn framed(&self, before: &[(&str, &str)], behind: &[(&str, &str)]) -> Vec<Bytes> {
        let mut tags = vec![
            (FRAGMENT_NUMBER, self.number.as_str()),
            (SERVER_TIMESTAMP, &self.server_timestamp),
            (PRODUCER_TIMESTAMP, &self.producer_timestamp),
        ];
        tags.extend_from_slice(before);
        self.parts.framed(&tags, behind)
    }
}

/// Seconds since 1970 with three decimals.
fn timestamp(time: WallTime) -> String {
    let millis = time.as_millis();
    format!("{}.{:03}", millis.div_euclid(1000), millis.rem_euclid(1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_seconds_with_three_decimals() {
        assert_eq!(timestamp(WallTime::from_millis(1_511_852_109_126)), "1511852109.126");
        assert_eq!(timestamp(WallTime::from_millis(1_511_852_109_006)), "1511852109.006");
        assert_eq!(timestamp(WallTime::from_nanos(1_511_852_109_999_999_999)), "1511852109.999");
    }
}
