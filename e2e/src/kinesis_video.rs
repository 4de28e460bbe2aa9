//! A stand-in for Kinesis Video Streams: `python/kinesis_video.py` as a process. It verifies signatures by botocore's signer and
//! holds what comes to AWS's rules.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::camera::free_port;
use crate::process::Process;
use crate::python::python_tool;
use crate::wait::until;

/// The stand-in.
pub struct KinesisVideo {
    folder: PathBuf,
    port: u16,
    tls_port: Option<u16>,
    _process: Process,
}

/// A fragment that arrived and is stored.
#[derive(Clone, Debug)]
pub struct Arrived {
    /// Its time: that of its Cluster, in ms since 1970.
    pub timecode: u64,
    /// The time of its first frame, likewise.
    pub first: u64,
    /// The time of its last frame.
    pub last: u64,
    /// Whether the agent was told that it is persisted.
    pub acked: bool,
    /// It, as a document of its own.
    pub file: PathBuf,
}

impl KinesisVideo {
    /// Credentials that it takes, for ever.
    pub const CREDENTIALS: &'static [(&'static str, &'static str)] =
        &[("AWS_ACCESS_KEY_ID", "AKIDSTATIC"), ("AWS_SECRET_ACCESS_KEY", "static-secret")];

    /// Starts one that has no stream. What it gets goes to `folder`.
    pub fn start(folder: &Path) -> KinesisVideo {
        KinesisVideo::start_on(folder, None)
    }

    /// Starts one that is reached over TLS, as AWS is.
    pub fn start_with_tls(folder: &Path) -> KinesisVideo {
        KinesisVideo::start_on(folder, Some(free_port()))
    }

    fn start_on(folder: &Path, tls_port: Option<u16>) -> KinesisVideo {
        let (port, folder) = (free_port(), folder.join("aws"));
        let mut command = Command::new(python_tool("python"));
        command.arg(crate::root().join("e2e/python/kinesis_video.py"));
        command.args(["--port", &port.to_string()]).arg("--folder").arg(&folder);
        if let Some(tls_port) = tls_port {
            command.args(["--tls-port", &tls_port.to_string()]);
        }
        let log = folder.with_extension("log");
        let mut process = Process::start("kinesis_video.py", &mut command, &log);
        until("the stand-in for AWS answers", Duration::from_secs(60), || {
            assert!(process.is_running(), "it ended at its start:\n{}", process.output());
            // A connection alone says nothing: one to a port that is not listened on yet may meet itself.
            ureq::get(format!("http://127.0.0.1:{port}/_seen")).call().ok()
        });
        KinesisVideo { folder, port, tls_port, _process: process }
    }

    /// Where an agent finds it.
    pub fn endpoint(&self) -> String {
        self.tls_port.map_or_else(|| self.backstage(), |port| format!("https://127.0.0.1:{port}"))
    }

    /// The certificate that it is trusted by.
    pub fn ca(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// Where a container's credentials are found: they are good for an hour, or until it is told otherwise.
    pub fn credentials_address(&self) -> String {
        format!("{}/_credentials", self.backstage())
    }

    /// Tells it how to behave from now on; its file says what it understands.
    pub fn tell(&self, what: &Value) {
        let answer = ureq::post(format!("{}/_tell", self.backstage())).send(what.to_string());
        answer.unwrap_or_else(|error| panic!("the stand-in for AWS does not listen: {error}"));
    }

    /// All that it saw.
    pub fn seen(&self) -> Value {
        let answer = ureq::get(format!("{}/_seen", self.backstage())).call();
        let text =
            answer.expect("the stand-in for AWS answers").body_mut().with_config().limit(1 << 30).read_to_string();
        serde_json::from_str(&text.expect("it answers in text")).expect("it answers in JSON")
    }

    /// The codes with which calls of a path were refused.
    pub fn refusals(&self, path: &str) -> Vec<String> {
        let seen = self.seen();
        let calls = seen["calls"].as_array().expect("calls are a list").iter();
        calls.filter(|call| call["path"] == path).filter_map(|call| Some(call["code"].as_str()?.to_owned())).collect()
    }

    /// The fragments of a stream, in the order of their arrival.
    pub fn arrived(&self, stream: &str) -> Vec<Arrived> {
        let seen = self.seen();
        let fragments = seen["fragments"].as_array().expect("fragments are a list").iter();
        fragments
            .filter(|fragment| fragment["stream"] == stream)
            .map(|fragment| {
                let number = |name: &str| fragment[name].as_u64().expect("a time after 1970");
                let file = format!("{}.mkv", fragment["number"].as_str().expect("its number"));
                Arrived {
                    timecode: number("timecode"),
                    first: number("first"),
                    last: number("last"),
                    acked: fragment["acked"] == true,
                    file: self.folder.join(stream).join(file),
                }
            })
            .collect()
    }

    fn backstage(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}
