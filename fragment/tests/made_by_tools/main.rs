//! The reader on files that other programs make while the test runs, each frame compared with what
//! ffprobe finds in the same file. Needs ffmpeg, mkvmerge and gst-launch-1.0.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, and its helpers with it")]

mod ffmpeg;
mod gstreamer;
mod mkvmerge;
mod probe;
mod rewritten;
mod tool;
