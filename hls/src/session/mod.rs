//! Sessions of playback as Kinesis Video Streams has them: HLS with a playlist for each track, or as MPEG-TS, and DASH.
//!
//! ```text
//! itinerary.rs   which fragments a session shows, from when on, and how they are counted
//! playlist.rs    that as HLS
//! manifest.rs    that as DASH
//! resource.rs    the names of what playlists and manifests refer to
//! ```
//!
//! Whatever is counted is counted from the session's first fragment on, so that it can be counted again by whoever knows that.

pub mod itinerary;
pub mod manifest;
pub mod playlist;
pub mod resource;

pub use itinerary::{Discontinuities, Itinerary, Pace, Plan, Shown, Stop};
pub use resource::Resource;
