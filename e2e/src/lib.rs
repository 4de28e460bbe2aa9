//! The product seen from outside: the real binaries as child processes, on free ports, in temporary folders.
//!
//! The library is the stage: [`Server`], [`Agent`] and [`Camera`] own a child process each and end it when dropped;
//! [`Playlist`] and [`frames`] look at what the server plays. The tests lie in `tests/`, those that need a
//! browser in `browser/`. Nothing here knows how the product works inside.
//!
//! The binaries are taken from the folder that the test itself was built into:
//! `cargo build --workspace --bins` comes first, as `make test` does.

mod agent;
mod calendar;
mod camera;
pub mod frames;
pub mod keys;
mod kinesis_video;
pub mod kms;
mod link;
mod network;
mod playlist;
mod process;
mod producer;
mod python;
mod server;
mod small_disk;
mod spool;
pub mod stored;
mod two_cameras;
mod wait;

use std::path::{Path, PathBuf};
use std::process::Command;

pub use agent::{Agent, Persisted, Source};
pub use calendar::Calendar;
pub use camera::{Camera, free_port};
pub use kinesis_video::{Arrived, KinesisVideo};
pub use link::Link;
pub use network::{Line, Network};
pub use playlist::{Playlist, Segment};
pub use process::{Process, binary};
pub use producer::{AccessKey, Media, Producer, Timecodes, of_kind, tags};
pub use python::{python, python_tool};
pub use server::{Answer, Playback, Server};
pub use small_disk::SmallDisk;
pub use spool::Spooled;
pub use two_cameras::TwoCameras;
pub use wait::{until, within};

/// A clip of `samples/clips`.
pub fn clip(name: &str) -> PathBuf {
    let path = root().join("samples/clips").join(name);
    assert!(path.exists(), "there is no clip {}", path.display());
    path
}

/// The root of the repository.
pub fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().expect("e2e lies one folder below the root").to_owned()
}

/// A clip of 7 MB/s: nothing is as hard to code as noise.
pub fn noise(folder: &Path) -> PathBuf {
    let clip = folder.join("noise.mkv");
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", "640x360", "-r", "25"]);
    command.args(["-i", "/dev/urandom", "-t", "4", "-c:v", "libx264", "-preset", "ultrafast", "-qp", "22"]);
    command.args(["-g", "25", "-bf", "0"]).arg(&clip);
    assert!(command.status().expect("ffmpeg can be run").success(), "ffmpeg can't make a clip");
    clip
}
