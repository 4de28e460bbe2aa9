//! Clips with a readable frame counter, an RTSP camera simulator, example configurations.
//!
//! Tests and the demo take their video from here, so that what arrives at the far end can be held
//! against what was sent: [`clip`] finds a clip, [`barcode`] reads a frame's number from its picture,
//! [`rtsp::Camera`] serves a clip as a network camera would. Nothing in the product depends on this crate.

use std::path::{Path, PathBuf};

pub mod barcode;
pub mod rtsp;

/// The clips in `samples/clips`, as `make-clips.sh` makes them.
pub const CLIPS: [&str; 6] =
    ["h264-aac.mp4", "h264-aac.ts", "h264-bframes.mp4", "h264-g711.mkv", "h264-vfr.mkv", "h265-aac.mp4"];

/// What the camera of the first clip shows when its resolution was changed, and when its sensor is frozen.
pub const CLIPS_OF_FAULTS: [&str; 2] = ["h264-aac-large.mp4", "h264-aac-frozen.mp4"];

/// The path of the clip called `name`, such as `h264-aac.mp4`.
///
/// # Panics
///
/// If there is no such clip: a test that names one by mistake should stop.
pub fn clip(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("clips").join(name);
    assert!(
        path.is_file(),
        "there is no sample clip {name:?}; samples/make-clips.sh makes {CLIPS:?} and {CLIPS_OF_FAULTS:?}"
    );
    path
}

/// The example configurations of the agent, `samples/configs/*.toml`.
pub fn configs() -> std::io::Result<Vec<PathBuf>> {
    let mut configs = Vec::new();
    for entry in Path::new(env!("CARGO_MANIFEST_DIR")).join("configs").read_dir()? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            configs.push(path);
        }
    }
    configs.sort();
    Ok(configs)
}
