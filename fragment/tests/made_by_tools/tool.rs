//! Runs a tool and insists that it succeeds.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A folder for the files of one test, gone with it.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

/// Runs `program` with the words of `arguments`, where `{}` stand for `paths` in their order.
pub(crate) fn run(program: &str, arguments: &str, paths: &[&Path]) -> String {
    let mut paths = paths.iter();
    let mut command = Command::new(program);
    for word in arguments.split_whitespace() {
        match word.split_once("{}") {
            Some((before, after)) => command.arg(format!("{before}{}{after}", paths.next().unwrap().display())),
            None => command.arg(word),
        };
    }
    let output = command.output().unwrap_or_else(|error| panic!("{program} must be installed: {error}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments}: {stderr}{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stdout).unwrap()
}

/// Two seconds of H.264 with B-frames and AAC, through `muxer` into `to`.
pub(crate) fn ffmpeg(codecs: &str, muxer: &str, to: &Path) {
    let arguments = format!(
        "-v error -y -f lavfi -i testsrc=size=318x178:rate=25:duration=2 -f lavfi -i sine=frequency=440:duration=2 \
         {codecs} -g 25 {muxer} {{}}"
    );
    run("ffmpeg", &arguments, &[to]);
}

pub(crate) const H264_AAC: &str = "-c:v libx264 -preset veryfast -pix_fmt yuv420p -bf 2 -c:a aac -b:a 64k";
pub(crate) const H265_AAC: &str =
    "-c:v libx265 -preset ultrafast -pix_fmt yuv420p -x265-params log-level=none -c:a aac -b:a 64k";
