//! The configuration as it is written: every key optional, nothing checked but names and types.

use std::path::{Path, PathBuf};

use bytesize::ByteSize;
use serde::Deserialize;

use super::{Camera, aws, camera};
use crate::limits;

const STATE_DEFAULT: &str = "/var/lib/millrace-agent";

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    state: Option<PathBuf>,
    destination: Option<String>,
    aws: Option<aws::Raw>,
    #[serde(default)]
    server: Server,
    #[serde(default)]
    spool: Spool,
    #[serde(default)]
    camera: Vec<camera::Raw>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Server {
    address: Option<String>,
    token: Option<String>,
    token_file: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Spool {
    bytes_max: Option<String>,
}

impl Config {
    /// The settings, and what is wrong with them.
    pub(super) fn resolve(self, folder: &Path, problems: &mut Vec<String>) -> Option<super::Config> {
        let (server, aws) = match aws::resolve(self.destination.as_deref(), self.aws, problems) {
            aws::Destination::Millrace => (self.server.resolve(folder, problems), None),
            aws::Destination::Aws(aws) => {
                aws::refuse_server(&self.server.given(), problems);
                // Nobody asks for it.
                (Some(super::Server { address: String::new(), token: None }), aws)
            }
        };
        let spool_bytes_max = self.spool.resolve(problems);
        let cameras = resolve_cameras(self.camera, folder, problems);
        if let Some(aws) = &aws {
            aws::check_names(aws, &cameras, problems);
        }
        Some(super::Config {
            state: folder.join(self.state.unwrap_or_else(|| STATE_DEFAULT.into())),
            server: server?,
            aws,
            spool_bytes_max,
            cameras,
        })
    }
}

impl Server {
    /// The keys that are there.
    fn given(&self) -> Vec<&'static str> {
        let keys = [
            ("address", self.address.is_some()),
            ("token", self.token.is_some()),
            ("token_file", self.token_file.is_some()),
        ];
        keys.into_iter().filter_map(|(key, given)| given.then_some(key)).collect()
    }

    fn resolve(self, folder: &Path, problems: &mut Vec<String>) -> Option<super::Server> {
        let address = match self.address {
            Some(address) => match super::Server::check_address(&address) {
                Ok(()) => Some(address),
                Err(problem) => {
                    problems.push(problem);
                    None
                }
            },
            None => {
                problems.push(
                    "server.address is missing: write [server] and below it address = \"video.example.org:8443\""
                        .to_owned(),
                );
                None
            }
        };
        let text = match (self.token, self.token_file) {
            (Some(_), Some(_)) => {
                problems.push("server has both token and token_file: keep one of them".to_owned());
                None
            }
            (Some(token), None) => Some(token),
            // The file may be gone once the device has joined; then it needs no token.
            (None, Some(file)) => match std::fs::read_to_string(folder.join(&file)) {
                Ok(text) => Some(text),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
                Err(error) => {
                    problems.push(format!("server.token_file {} can't be read: {error}", file.display()));
                    None
                }
            },
            (None, None) => None,
        };
        let token =
            text.and_then(|text| text.parse().map_err(|error| problems.push(format!("server.token: {error}"))).ok());
        Some(super::Server { address: address?, token })
    }
}

impl Spool {
    fn resolve(self, problems: &mut Vec<String>) -> u64 {
        let Some(text) = self.bytes_max else {
            return limits::SPOOL_BYTES_DEFAULT;
        };
        match text.trim().parse().ok().map(|size: ByteSize| size.as_u64()) {
            Some(bytes) if bytes >= limits::SPOOL_BYTES_MIN => bytes,
            Some(_) => {
                problems.push(format!(
                    "spool.bytes_max is {text:?}: the least is {} MiB, room for two large fragments",
                    limits::SPOOL_BYTES_MIN >> 20
                ));
                limits::SPOOL_BYTES_DEFAULT
            }
            None => {
                problems.push(format!(
                    "spool.bytes_max is {text:?}: write a number and a unit, as in bytes_max = \"8 GiB\""
                ));
                limits::SPOOL_BYTES_DEFAULT
            }
        }
    }
}

fn resolve_cameras(raw: Vec<camera::Raw>, folder: &Path, problems: &mut Vec<String>) -> Vec<Camera> {
    if raw.len() > limits::CAMERAS_MAX {
        problems.push(format!("{} cameras, but one agent takes at most {}", raw.len(), limits::CAMERAS_MAX));
        return Vec::new();
    }
    let mut cameras: Vec<Camera> = Vec::new();
    for (i, raw) in raw.into_iter().enumerate() {
        let place = raw.place(i);
        match raw.resolve(folder) {
            Ok(camera) if cameras.iter().any(|before| before.stream == camera.stream) => {
                problems.push(format!("{place}: another camera has this stream; give each its own"));
            }
            Ok(camera) => cameras.push(camera),
            Err(found) => problems.extend(found.into_iter().map(|problem| format!("{place}: {problem}"))),
        }
    }
    cameras
}
