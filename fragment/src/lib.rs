//! What a fragment is: identities, time, tracks, codec data, and Matroska bytes in both directions.
//!
//! A *fragment* is a run of access units that begins at a key frame and can be decoded alone (unless
//! the camera's key frames lie further apart than a fragment may last), stored as one self-contained
//! Matroska document with one Cluster. This crate describes and converts
//! fragments; it performs no I/O, starts no task and reads no clock.
//!
//! Start reading at [`AccessUnit`] and [`cutter::Cutter`] (access units become fragments),
//! [`mkv::Writer`] (fragments become bytes) and [`mkv::Reader`] (bytes become blocks again).

pub mod codec;
pub mod cutter;
pub mod id;
pub mod limits;
pub mod mkv;
pub mod time;
pub mod track;
pub mod unit;

pub use id::{FragmentId, FragmentNumber, Sequence, SessionId, StreamName};
pub use time::{BootId, ClockQuality, MediaTime, MonotonicTime, WallTime};
pub use track::{Codec, Track, TrackKind, TrackNumber, Tracks};
pub use unit::AccessUnit;
