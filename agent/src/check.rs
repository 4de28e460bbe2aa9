//! `millrace-agent check`: what is wrong with the configuration, a camera or the server, in words.

use std::path::Path;
use std::time::Duration;

use crate::clock::Clock;
use crate::config::{Aws, Camera, Config, Local};
use crate::enrol::{self, Standing};
use crate::fleet::store::Store;
use crate::{run, trust, uplink};

/// How long a camera may take to show its tracks: a slow one sends a key frame each 10 s.
const CAMERA_MAX: Duration = Duration::from_secs(20);

/// Checks all of it, says a line for each thing as soon as it is known, and answers whether all is well.
pub async fn check(config: &Config, mut say: impl FnMut(&str)) -> bool {
    say(&format!(
        "ok    configuration: {} camera(s), spool of {} MiB in {}",
        config.cameras.len(),
        config.spool.bytes_max >> 20,
        config.state.display()
    ));
    let mut well = true;
    let mut found = |what: &str, outcome: Result<String, String>| {
        well &= outcome.is_ok();
        match outcome {
            Ok(detail) => say(&format!("ok    {what}: {detail}")),
            Err(problem) => say(&format!("WRONG {what}: {problem}")),
        }
    };
    found("state folder", state(&config.state));
    match &config.aws {
        None => found("server", server(config).await),
        Some(aws) => found("AWS", self::aws(aws, config.cameras.first()).await),
    }
    for camera in &config.cameras {
        found(&format!("camera {}", camera.stream), self::camera(camera).await);
    }
    well
}

/// What the agent works by: the file, with what the server has pushed to the device of this state folder on top, which is said.
pub fn effective(local: &Local, state: &Path, mut say: impl FnMut(&str)) -> Config {
    let own = || local.config().clone();
    let Ok(store) = Store::open(state) else { return own() };
    match run::on_top(local, &store) {
        None => own(),
        Some((version, Ok(config))) => {
            say(&format!("ok    version {version} that the server has pushed counts on top of this file"));
            config
        }
        Some((version, Err(problems))) => {
            say(&format!("WRONG version {version} that the server has pushed: {}", problems.join("; ")));
            own()
        }
    }
}

fn state(path: &Path) -> Result<String, String> {
    // Not locked: a running agent is no fault here.
    std::fs::create_dir_all(path)
        .and_then(|()| std::fs::write(path.join("check"), b""))
        .and_then(|()| std::fs::remove_file(path.join("check")))
        .map(|()| "can be written".to_owned())
        .map_err(|error| format!("{} can't be written: {error}; set `state` to a folder of this user", path.display()))
}

/// A device that has joined says hello, since only the answer tells whether the server still wants it. A token
/// is good once, so it is not used up here.
async fn server(config: &Config) -> Result<String, String> {
    fn words(error: impl std::fmt::Display) -> String {
        error.to_string()
    }
    let address = &config.server.address;
    match enrol::standing(&config.state, config.server.token.as_ref()).map_err(words)? {
        Standing::Joined(identity) => {
            let now = Clock::open().map_err(words)?.now();
            let tls = trust::upload(&identity).map_err(words)?;
            let device = uplink::probe_upload(address, tls, now).await.map_err(words)?;
            Ok(format!("{address} lets this device in as {device}"))
        }
        Standing::Joins(token, _) => {
            let tls = trust::join(token.ca_sha256).map_err(words)?;
            uplink::probe(address, tls).await.map_err(words)?;
            Ok(format!("{address} is the one that the join token is from; the token is used at the next start"))
        }
    }
}

#[cfg(feature = "aws")]
async fn aws(aws: &Aws, camera: Option<&Camera>) -> Result<String, String> {
    let clock = Clock::open().map_err(|error| error.to_string())?;
    Box::pin(crate::aws::probe(aws, clock, camera.map(|camera| &camera.stream))).await
}

#[cfg(not(feature = "aws"))]
#[expect(clippy::unused_async, reason = "the same signature as with the feature")]
async fn aws(_: &Aws, _: Option<&Camera>) -> Result<String, String> {
    Err("this agent was built without it".to_owned())
}

#[cfg(feature = "capture")]
async fn camera(camera: &Camera) -> Result<String, String> {
    use pipelines::{Event, Pipeline};

    let source = tokio::task::block_in_place(|| crate::capture::pipeline(&camera.source));
    let source = source.map_err(|error| error.to_string())?;
    let (handle, mut events) = Pipeline::start(source);
    let tracks = async {
        loop {
            match events.recv().await {
                Some(Event::Tracks(tracks)) => return Ok(tracks),
                Some(Event::Failed(error)) => return Err(error.to_string()),
                Some(Event::EndOfStream) | None => return Err("it ended before it gave anything".to_owned()),
                Some(Event::Unit(_) | Event::Clock(_) | Event::Lost(..)) => {}
            }
        }
    };
    let tracks = tokio::time::timeout(CAMERA_MAX, tracks)
        .await
        .unwrap_or_else(|_| Err(format!("it gave no video within {} seconds", CAMERA_MAX.as_secs())));
    tokio::task::block_in_place(|| handle.stop());
    Ok(crate::watchdog::describe(&tracks?))
}

#[cfg(not(feature = "capture"))]
#[expect(clippy::unused_async, reason = "the same signature as with the feature")]
async fn camera(_: &Camera) -> Result<String, String> {
    Err(format!("this agent was built without capture; it can't look for {} seconds", CAMERA_MAX.as_secs()))
}
