//! The configuration as it is written: every key optional, nothing checked but names and types.

use std::path::{Path, PathBuf};

use ::spool::{Settings, WhenFull};
use fragment::StreamName;
use serde::Deserialize;

use super::{Camera, Problems, aws, camera, fleet, metrics, spool, uplink};
use crate::{identity, limits};

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
    spool: spool::Raw,
    #[serde(default)]
    metrics: metrics::Raw,
    #[serde(default)]
    uplink: uplink::Raw,
    #[serde(default)]
    pub(super) fleet: fleet::Raw,
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

impl Config {
    /// The same, with this server's address if none is written.
    pub(super) fn or_at(mut self, server: Option<&str>) -> Self {
        self.server.address = self.server.address.or_else(|| server.map(str::to_owned));
        self
    }

    /// The settings, and what is wrong with them.
    pub(super) fn resolve(self, folder: &Path, problems: &mut Problems) -> Option<super::Config> {
        let state = folder.join(self.state.unwrap_or_else(|| STATE_DEFAULT.into()));
        let (server, aws) = match aws::resolve(self.destination.as_deref(), self.aws, problems) {
            aws::Destination::Millrace => (self.server.resolve(folder, &state, problems), None),
            aws::Destination::Aws(aws) => {
                aws::refuse_server(&self.server.given(), problems);
                let modes = self.camera.iter().enumerate().flat_map(|(i, raw)| raw.modes(i));
                let has_modes = modes.into_iter().any(|of| of.mode.is_some() || of.upload_hours.is_some());
                aws::refuse_rules(!self.uplink.is_empty(), has_modes, problems);
                // Nobody asks for it.
                (Some(super::Server { address: String::new(), token: None }), aws)
            }
        };
        let spool = self.spool.resolve(problems);
        let metrics = self.metrics.resolve(problems);
        let modes = self.camera.iter().enumerate().flat_map(|(i, raw)| raw.modes(i)).collect();
        let uplink = self.uplink.resolve(modes, problems);
        refuse_standstill(&spool, &uplink, problems);
        self.fleet.resolve(problems);
        let cameras = resolve_cameras(self.camera, folder, problems);
        if let Some(aws) = &aws {
            aws::check_names(aws, &cameras, problems);
        }
        Some(super::Config { state, server: server?, aws, spool, metrics, uplink, cameras })
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

    fn resolve(self, folder: &Path, state: &Path, problems: &mut Problems) -> Option<super::Server> {
        let address = match self.address.or_else(|| identity::server(state)) {
            Some(address) => match super::Server::check_address(&address) {
                Ok(()) => Some(address),
                Err(problem) => {
                    problems.push(problem);
                    None
                }
            },
            None => {
                problems.push(
                    "server.address is missing: write [server] and below it address = \"video.example.org:8443\", or \
                     type the `millrace-agent join` that `millrace device add NAME` prints on the server"
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
                    problems.unreadable(format!("server.token_file {} can't be read: {error}", file.display()));
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

/// What is never sent by itself and never dropped would fill the spool once, and nothing would be recorded ever after.
fn refuse_standstill(spool: &Settings, uplink: &super::Uplink, problems: &mut Problems) {
    if spool.when_full != WhenFull::StopRecording || spool.age_max.is_some() {
        return;
    }
    let streams: Vec<_> = uplink.rules.only_on_request().into_iter().map(|stream| format!("\"{stream}\"")).collect();
    if !streams.is_empty() {
        problems.push(format!(
            "spool.when_full is \"stop-recording\", and nothing uploads or drops what is recorded of {}: once the spool is \
             full, recording would stop for ever. Set spool.age_max, or upload_hours, or when_full = \"drop-oldest\"",
            streams.join(", ")
        ));
    }
}

fn resolve_cameras(raw: Vec<camera::Raw>, folder: &Path, problems: &mut Problems) -> Vec<Camera> {
    let mut cameras: Vec<Camera> = Vec::new();
    let mut take = |raw: camera::Raw, place: &str, sub_of: Option<StreamName>| match (raw.stream(), raw.resolve(folder))
    {
        (_, Ok(camera)) if cameras.iter().any(|before| before.stream == camera.stream) => {
            problems.push(format!("{place}: another camera has this stream; give each its own"));
            None
        }
        (_, Ok(camera)) => {
            let stream = camera.stream.clone();
            cameras.push(Camera { sub_of, ..camera });
            Some(stream)
        }
        (stream, Err(found)) => {
            problems.found(place, stream, found);
            None
        }
    };
    let mut of_subs = Problems::default();
    for (i, mut raw) in raw.into_iter().enumerate() {
        let place = raw.place(i);
        let mut found = Problems::default();
        let sub = raw.take_sub(&mut found);
        of_subs.found(&place, None, found);
        let main = take(raw, &place, None);
        if let Some(sub) = sub {
            take(sub, &format!("{place}, sub"), main);
        }
    }
    problems.append(of_subs);
    if cameras.len() > limits::CAMERAS_MAX {
        problems.push(format!("{} streams, but one agent takes at most {}", cameras.len(), limits::CAMERAS_MAX));
    }
    cameras
}
