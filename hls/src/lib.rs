//! How stored fragments are played: the timeline, HLS playlists, and CMAF bytes.
//!
//! One fragment becomes one media segment. This crate decides what a playlist says and turns a
//! fragment's access units into fragmented MP4; it performs no I/O, reads no clock, and does not know
//! where fragments are kept. Times are wall times given by the caller.
//!
//! Start reading at [`timeline::Timeline`] (fragments become segments with their discontinuities),
//! [`playlist`] (segments become text), and [`cmaf`] and [`ts`] (access units become bytes). [`session`] has the same for the sessions
//! of Kinesis Video Streams, as HLS and as DASH.

pub mod clip;
pub mod cmaf;
pub mod error;
pub mod limits;
pub mod playlist;
pub mod session;
pub mod timeline;
pub mod ts;

mod date;
mod placement;

pub use error::{ClipError, InitError, SegmentError};
