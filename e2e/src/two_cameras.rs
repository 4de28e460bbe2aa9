//! The stage that most tests of watching need: a server, two cameras, and an agent that records both.

use std::time::Duration;

use tempfile::TempDir;

use crate::{Agent, Camera, Server, Source, until};

/// A server with two cameras, whose first fragments are stored.
#[derive(Debug)]
pub struct TwoCameras {
    /// The server.
    pub server: Server,
    _agent: Agent,
    _cameras: [Camera; 2],
    // The last to go: the others have their files in it.
    _folder: TempDir,
}

impl TwoCameras {
    /// One with sound, and one with B-frames and without.
    pub const STREAMS: [&str; 2] = ["yard", "door"];

    /// Starts everything, and waits until each camera has four fragments.
    pub fn start() -> TwoCameras {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let server = Server::start(folder.path());
        let cameras = ["h264-aac.mp4", "h264-bframes.mp4"].map(|clip| Camera::start(clip, folder.path()));
        let sources = cameras.each_ref().map(|camera| Source::Rtsp(camera.url()));
        let sources: Vec<_> = TwoCameras::STREAMS.into_iter().zip(sources).collect();
        let agent = Agent::start(&folder.path().join("agent"), &server, &sources);
        for stream in TwoCameras::STREAMS {
            until(&format!("{stream} has a few fragments"), Duration::from_secs(60), || {
                server.try_everything(stream).filter(|playlist| playlist.segments.len() >= 4)
            });
        }
        TwoCameras { server, _agent: agent, _cameras: cameras, _folder: folder }
    }
}
