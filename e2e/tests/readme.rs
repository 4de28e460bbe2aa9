//! The lines of the README that a newcomer pastes, run as they stand.
//!
//! Only what differs between two people is put in their place: `cargo` does nothing, as the binaries are built,
//! and the two programs are started through wrappers that exchange the ports, and the camera's address, for free ones.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use e2e::{Camera, Server, binary, root, until};
use rustix::process::{Pid, Signal, kill_process_group};

const HEADING: &str = "## Your first own camera";

#[test]
fn the_first_own_camera_plays_after_the_lines_of_the_readme() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let lines = block_below(HEADING);
    assert!(lines.contains("rtsp://192.168.1.20/stream1"), "the camera's address in the README has changed:\n{lines}");
    let camera = Camera::start_with("h264-aac.mp4", folder.path(), &["--user", "me", "--password", "secret"]);
    let server = Server::of_others(&folder.path().join("millrace-data"));
    wrap(folder.path(), &server, &camera);

    let mut pasted = Pasted::start(folder.path(), &lines);

    until("the camera of the README plays", Duration::from_secs(60), || {
        assert!(pasted.runs(), "the lines end too early:\n{}", pasted.output());
        // The server has yet to write the key that this asks with.
        server.data().join("console.key").exists().then_some(())?;
        server.try_everything("garden").filter(|playlist| playlist.segments.len() >= 2)
    });
}

/// The first fenced block below a heading.
fn block_below(heading: &str) -> String {
    let readme = fs::read_to_string(root().join("README.md")).expect("the README is readable");
    let section = readme.split_once(heading).expect("the README has this heading").1;
    section.split("```\n").nth(1).expect("a block follows the heading").to_owned()
}

/// Puts what the lines call where they call it.
fn wrap(folder: &Path, server: &Server, camera: &Camera) {
    let (http, quic) = (server.http_address(), server.upload_address());
    let millrace = format!(
        "case \"$*\" in *serve*) more='--http {http}' ;; esac\n\
         exec {} $(echo \"$@\" | sed 's/0.0.0.0:8443/{quic}/') $more\n",
        binary("millrace").display()
    );
    let agent = format!(
        "sed -i 's|127.0.0.1:8443|{quic}|; s|rtsp://192.168.1.20/stream1|{}|' agent.toml\nexec {} \"$@\"\n",
        camera.url(),
        binary("millrace-agent").display()
    );
    for (path, body) in
        [("bin/cargo", ""), ("target/release/millrace", &millrace), ("target/release/millrace-agent", &agent)]
    {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().expect("it lies in a folder")).expect("a folder can be made");
        fs::write(&path, format!("#!/bin/sh\n{body}")).expect("a wrapper can be written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a wrapper can be made executable");
    }
}

/// A shell with lines pasted into it, and all that they started: ends with its handle.
struct Pasted {
    shell: Child,
    log: std::path::PathBuf,
}

impl Pasted {
    fn start(folder: &Path, lines: &str) -> Pasted {
        let log = folder.join("pasted.log");
        let file = fs::File::create(&log).expect("the log can be written");
        let path = std::env::var("PATH").unwrap_or_default();
        let shell = Command::new("bash")
            .args(["-c", lines])
            .current_dir(folder)
            .env("PATH", format!("{}:{path}", folder.join("bin").display()))
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a file handle can be doubled"))
            .stderr(file)
            // The server that the lines leave in the background is of the same group.
            .process_group(0)
            .spawn()
            .expect("bash can be run");
        Pasted { shell, log }
    }

    /// The last line runs the agent, which does not end by itself.
    fn runs(&mut self) -> bool {
        matches!(self.shell.try_wait(), Ok(None))
    }

    fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }
}

impl Drop for Pasted {
    fn drop(&mut self) {
        let _ = kill_process_group(Pid::from_child(&self.shell), Signal::KILL);
        let _ = self.shell.wait();
        if std::thread::panicking() {
            eprintln!("--- what the pasted lines printed ---\n{}", self.output());
        }
    }
}
