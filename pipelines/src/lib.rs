//! Everything that knows GStreamer: sources in, access units out.
//!
//! A [`Source`] says where video comes from: [`rtsp`], [`mod@file`], [`test_pattern`],
//! [`v4l2`] or [`libcamera`]. [`Pipeline::start`] runs it and answers with a [`Handle`] to stop it by and a
//! [`Receiver`] of [`Event`]s: first the tracks, then their access units in decoding order.
//!
//! H.264, H.265 and AAC pass as they came; other audio becomes AAC; raw and JPEG pictures are encoded with the
//! best encoder that the machine has. This crate does not cut fragments, does not reconnect and does
//! not know wall time beyond what a camera says of its own: those are the agent's.
//!
//! ```no_run
//! # async fn example() {
//! let source = pipelines::file::Source::new("clip.mp4");
//! let (handle, mut events) = pipelines::Pipeline::start(source);
//! while let Some(event) = events.recv().await {
//!     println!("{event:?}");
//! }
//! handle.stop();
//! # }
//! ```

mod branch;
mod bus;
mod collector;
mod encoder;
mod error;
mod event;
mod g726;
mod launch;
mod limits;
mod loss;
mod pipeline;
mod queue;
mod sender_clock;
mod state;
mod teardown;

pub mod file;
pub mod libcamera;
pub mod rtsp;
pub mod still;
pub mod stored;
pub mod test_pattern;
pub mod v4l2;

pub use error::Error;
pub use event::{ClockReading, Event};
pub use loss::Loss;
pub use pipeline::{Handle, Pipeline};
pub use state::State;

/// The receiving end of a pipeline's events.
pub type Receiver<T> = queue::Receiver<T>;

/// Where video comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// A network camera.
    Rtsp(rtsp::Source),
    /// A video file.
    File(file::Source),
    /// A generated picture and tone.
    TestPattern(test_pattern::Source),
    /// A camera that Video4Linux offers.
    V4l2(v4l2::Source),
    /// A camera that libcamera offers.
    Libcamera(libcamera::Source),
}

impl Source {
    /// What is opened, in words that hold no credentials.
    pub fn label(&self) -> String {
        match self {
            Self::Rtsp(source) => source.label(),
            Self::File(source) => source.label(),
            Self::TestPattern(_) => "the test pattern".to_owned(),
            Self::V4l2(source) => source.label(),
            Self::Libcamera(source) => source.label(),
        }
    }

    /// What `error` means for this source.
    fn explain(&self, error: Error, verdict: &rtsp::Verdict) -> Error {
        match self {
            Self::Rtsp(source) => source.explain(error, verdict),
            _ => error,
        }
    }

    /// The pipeline to run.
    fn launch(&self, encoders: &encoder::Encoders) -> Result<launch::Launch, Error> {
        match self {
            Self::Rtsp(source) => source.launch(),
            Self::File(source) => source.launch(),
            Self::TestPattern(source) => source.launch(encoders),
            Self::V4l2(source) => source.launch(encoders),
            Self::Libcamera(source) => source.launch(encoders),
        }
    }
}
