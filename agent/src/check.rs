//! `millrace-agent check`: what is wrong with the configuration, a camera or the server, in words.

use std::path::Path;
use std::time::Duration;

use fragment::{Codec, Track};

use crate::config::{Camera, Config};
use crate::identity::Identity;
use crate::{trust, uplink};

/// How long a camera may take to show its tracks: a slow one sends a key frame each 10 s.
const CAMERA_MAX: Duration = Duration::from_secs(20);

/// Checks all of it, prints a line for each thing, and answers whether all is well.
pub async fn check(config: &Config) -> bool {
    println!(
        "ok    configuration: {} camera(s), spool of {} MiB in {}",
        config.cameras.len(),
        config.spool_bytes_max >> 20,
        config.state.display()
    );
    let mut well = say("state folder", &state(&config.state));
    well &= say("server", &server(config).await);
    for camera in &config.cameras {
        well &= say(&format!("camera {}", camera.stream), &self::camera(camera).await);
    }
    well
}

fn say(what: &str, outcome: &Result<String, String>) -> bool {
    match outcome {
        Ok(detail) => println!("ok    {what}: {detail}"),
        Err(problem) => println!("WRONG {what}: {problem}"),
    }
    outcome.is_ok()
}

fn state(path: &Path) -> Result<String, String> {
    // Not locked: a running agent is no fault here.
    std::fs::create_dir_all(path)
        .and_then(|()| std::fs::write(path.join("check"), b""))
        .and_then(|()| std::fs::remove_file(path.join("check")))
        .map(|()| "can be written".to_owned())
        .map_err(|error| format!("{} can't be written: {error}; set `state` to a folder of this user", path.display()))
}

async fn server(config: &Config) -> Result<String, String> {
    let address = &config.server.address;
    let tls = match (Identity::load(&config.state).map_err(|error| error.to_string())?, &config.server.token) {
        (Some(identity), _) => trust::upload(&identity),
        (None, Some(token)) => trust::join(token.ca_sha256),
        (None, None) => return Err(crate::enrol::EnrolError::NoToken.to_string()),
    };
    let tls = tls.map_err(|error| error.to_string())?;
    uplink::probe(address, tls).await.map_err(|error| error.to_string())?;
    Ok(format!("{address} answers and is the right one"))
}

#[cfg(feature = "capture")]
async fn camera(camera: &Camera) -> Result<String, String> {
    use pipelines::{Event, Pipeline};

    let (handle, mut events) = Pipeline::start(crate::capture::pipeline(&camera.source));
    let tracks = async {
        loop {
            match events.recv().await {
                Some(Event::Tracks(tracks)) => return Ok(tracks),
                Some(Event::Failed(error)) => return Err(error.to_string()),
                Some(Event::EndOfStream) | None => return Err("it ended before it gave anything".to_owned()),
                Some(Event::Unit(_) | Event::Clock(_)) => {}
            }
        }
    };
    let tracks = tokio::time::timeout(CAMERA_MAX, tracks)
        .await
        .unwrap_or_else(|_| Err(format!("it gave no video within {} seconds", CAMERA_MAX.as_secs())));
    tokio::task::block_in_place(|| handle.stop());
    Ok(tracks?.iter().map(describe).collect::<Vec<_>>().join(", "))
}

#[cfg(not(feature = "capture"))]
#[expect(clippy::unused_async, reason = "the same signature as with the feature")]
async fn camera(_: &Camera) -> Result<String, String> {
    Err(format!("this agent was built without capture; it can't look for {} seconds", CAMERA_MAX.as_secs()))
}

#[cfg_attr(not(feature = "capture"), expect(dead_code, reason = "there is no camera to describe"))]
fn describe(track: &Track) -> String {
    match &track.codec {
        Codec::H264(config) => format!("H.264 {}×{}", config.width(), config.height()),
        Codec::H265(config) => format!("H.265 {}×{}", config.width(), config.height()),
        Codec::Aac(config) => format!("AAC {} Hz, {} channel(s)", config.sampling_frequency(), config.channels()),
        Codec::Other { id, .. } => id.clone(),
    }
}
