//! The simulated camera: `rtsp-camera` of samples/ as a process.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::process::{Process, binary};
use crate::wait::until;

/// A camera that serves a clip in a loop.
#[derive(Debug)]
pub struct Camera {
    port: u16,
    control_port: u16,
    _process: Process,
}

impl Camera {
    /// Starts a camera that shows `clip`; its log goes to `folder`.
    pub fn start(clip: &str, folder: &Path) -> Camera {
        Camera::start_with(clip, folder, &[])
    }

    /// Starts a camera with more arguments: those of `rtsp-camera`.
    pub fn start_with(clip: &str, folder: &Path, arguments: &[&str]) -> Camera {
        let (port, control_port) = (free_port(), free_port());
        let mut command = Command::new(binary("rtsp-camera"));
        command.arg("--clip").arg(crate::clip(clip));
        command.args(["--port", &port.to_string(), "--control-port", &control_port.to_string()]).args(arguments);
        let process = Process::start("rtsp-camera", &mut command, &folder.join(format!("camera-{port}.log")));
        until("the camera listens", Duration::from_secs(10), || TcpStream::connect(("127.0.0.1", port)).ok());
        Camera { port, control_port, _process: process }
    }

    /// Has it do what samples/README.md lists.
    pub fn tell(&self, command: &str) {
        let mut control = TcpStream::connect(("127.0.0.1", self.control_port)).expect("the camera takes commands");
        writeln!(control, "{command}").expect("the camera listens");
        let mut answer = String::new();
        BufReader::new(control).read_line(&mut answer).expect("the camera answers");
        assert_eq!(answer.trim(), "ok", "{command}");
    }

    /// Where the agent finds it.
    pub fn url(&self) -> String {
        format!("rtsp://127.0.0.1:{}/cam", self.port)
    }
}

/// A TCP port that was free a moment ago.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    listener.local_addr().expect("a bound socket has an address").port()
}
