//! `millrace-agent discover`: which ONVIF cameras there are, what they stream, and what to write into the
//! configuration for them.

mod password;
mod toml;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use onvif::address::Place;
use onvif::client::LookUpError;
use onvif::discovery::Found;
use onvif::network::SearchError;
use onvif::{Camera, Credentials, Profile, Wanted, client, network};
use serde::Serialize;

pub use password::ask;

/// What to look for.
#[derive(Debug)]
pub struct Request {
    /// What the cameras let in.
    pub credentials: Option<Credentials>,
    /// The file that the password is from, for the configuration.
    pub password_file: Option<PathBuf>,
    /// One camera, instead of all in the local networks.
    pub address: Option<Place>,
    /// How long to listen for answers.
    pub time: Duration,
}

/// A camera that was found.
#[derive(Debug)]
pub struct Report {
    /// What the configuration calls it by: the name that it keeps, or the address that the user gave.
    pub place: String,
    /// Where it is.
    pub host: String,
    /// What it called itself when it was called.
    pub label: Option<String>,
    /// What it said, or why it said nothing.
    pub outcome: Result<Camera, String>,
}

/// Looks for cameras. Blocks.
pub fn discover(request: &Request) -> Result<Vec<Report>, SearchError> {
    let credentials = || request.credentials.clone();
    if let Some(place) = &request.address {
        let shown = match place {
            Place::Host(host) => host.to_string(),
            Place::Service(host, port) => format!("{host}:{port}"),
            Place::Name(name) => name.clone(),
        };
        let outcome = client::look_up(place, credentials()).map_err(|error| error.to_string());
        return Ok(vec![Report { place: shown.clone(), host: shown, label: None, outcome }]);
    }
    let found = network::search(request.time, |_| false)?;
    let reports = Mutex::new(Vec::new());
    let next = AtomicUsize::new(0);
    // Some at a time: one that answers slowly holds up no other.
    thread::scope(|scope| {
        for _ in 0..onvif::limits::CONVERSATIONS_MAX.min(found.len()) {
            scope.spawn(|| {
                while let Some(camera) = found.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let report = ask_found(camera, credentials());
                    reports.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(report);
                }
            });
        }
    });
    let mut reports = reports.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    reports.sort_by(|a: &Report, b| (&a.host, &a.place).cmp(&(&b.host, &b.place)));
    Ok(reports)
}

fn ask_found(Found { name, host, service, label }: &Found, credentials: Option<Credentials>) -> Report {
    let outcome = client::ask(host.clone(), service.clone(), credentials).map_err(|error| error.to_string());
    Report { place: name.clone(), host: host.to_string(), label: label.clone(), outcome }
}

/// The reports for people: a table, and below it what to write into the configuration.
pub fn table(reports: &[Report], request: &Request) -> String {
    let mut text = String::new();
    for report in reports {
        let camera = report.outcome.as_ref().ok();
        let _ = writeln!(text, "{}  {}  {}", report.host, title(report), report.place);
        match &report.outcome {
            Ok(camera) => camera.profiles.iter().for_each(|profile| {
                let _ = writeln!(text, "    {}", line(profile));
            }),
            Err(why) => {
                let _ = writeln!(text, "    {why}{}", advice(why, request));
            }
        }
        if let Some(ahead) = camera.map(|camera| camera.clock_ahead.as_secs()).filter(|ahead| ahead.abs() > 5) {
            let _ = writeln!(text, "    its clock is {} s {}", ahead.abs(), if ahead > 0 { "ahead" } else { "behind" });
        }
    }
    let blocks = toml::blocks(reports, request);
    if !blocks.is_empty() {
        let _ = write!(text, "\nFor the configuration:\n\n{blocks}");
    }
    text
}

/// The reports for programs.
pub fn json(reports: &[Report], request: &Request) -> String {
    #[derive(Serialize)]
    struct Found<'a> {
        address: &'a str,
        onvif: &'a str,
        maker: Option<&'a str>,
        model: Option<&'a str>,
        clock_ahead_seconds: Option<i64>,
        error: Option<&'a str>,
        profiles: Vec<Stream<'a>>,
        toml: Option<String>,
    }
    #[derive(Serialize)]
    struct Stream<'a> {
        token: &'a str,
        name: Option<&'a str>,
        codec: Option<&'a str>,
        width: Option<u32>,
        height: Option<u32>,
        fps: Option<u32>,
        audio: Option<&'a str>,
        url: Option<&'a str>,
    }
    let found: Vec<Found<'_>> = reports
        .iter()
        .map(|report| {
            let camera = report.outcome.as_ref().ok();
            let profiles = camera.map(|camera| camera.profiles.as_slice()).unwrap_or_default();
            Found {
                address: &report.host,
                onvif: &report.place,
                maker: camera.and_then(|camera| camera.maker.as_deref()),
                model: camera.and_then(|camera| camera.model.as_deref()),
                clock_ahead_seconds: camera.map(|camera| camera.clock_ahead.as_secs()),
                error: report.outcome.as_ref().err().map(String::as_str),
                profiles: profiles
                    .iter()
                    .map(|profile| Stream {
                        token: &profile.token,
                        name: profile.name.as_deref(),
                        codec: profile.codec.as_deref(),
                        width: profile.resolution.map(|size| size.0),
                        height: profile.resolution.map(|size| size.1),
                        fps: profile.fps,
                        audio: profile.audio.as_deref(),
                        url: profile.url.as_deref(),
                    })
                    .collect(),
                toml: toml::block(report, request, &mut Vec::new()),
            }
        })
        .collect();
    serde_json::to_string_pretty(&found).expect("texts and numbers are JSON") + "\n"
}

/// Why it is not known where a camera streams.
#[derive(Debug, thiserror::Error)]
pub enum NoStream {
    /// It can't be asked.
    #[error(transparent)]
    LookUp(#[from] LookUpError),
    /// It has another.
    #[error("the camera has no {wanted}; its profiles are: {profiles}")]
    NoProfile {
        /// What it was asked for.
        wanted: String,
        /// What it has.
        profiles: String,
    },
    /// It keeps it to itself.
    #[error("the camera does not say where it streams its profile {0}")]
    NoAddress(String),
}

/// Where the profile of a camera that is `wanted` is streamed now.
pub fn stream_of(place: &Place, wanted: &Wanted, credentials: Option<Credentials>) -> Result<String, NoStream> {
    let camera = client::look_up(place, credentials)?;
    let Some(profile) = wanted.of(&camera.profiles) else {
        let tokens: Vec<&str> = camera.profiles.iter().map(|profile| profile.token.as_str()).collect();
        let wanted = match wanted {
            Wanted::Main => "stream",
            Wanted::Sub => "sub stream",
            Wanted::Token(token) => token.as_str(),
        };
        return Err(NoStream::NoProfile { wanted: wanted.to_owned(), profiles: tokens.join(", ") });
    };
    profile.url.clone().ok_or_else(|| NoStream::NoAddress(profile.token.clone()))
}

/// Maker and model, as far as they are known.
fn title(report: &Report) -> String {
    let camera = report.outcome.as_ref().ok();
    let words = camera.map(|camera| [camera.maker.as_deref(), camera.model.as_deref()]).unwrap_or_default();
    let words: Vec<&str> = words.into_iter().flatten().collect();
    if words.is_empty() { report.label.clone().unwrap_or_else(|| "a camera".to_owned()) } else { words.join(" ") }
}

fn line(profile: &Profile) -> String {
    let mut words = vec![profile.token.clone()];
    words.extend(profile.codec.clone());
    words.extend(profile.resolution.map(|(width, height)| format!("{width}×{height}")));
    words.extend(profile.fps.map(|fps| format!("{fps} fps")));
    words.extend(profile.audio.as_ref().map(|audio| format!("sound {audio}")));
    words.push(profile.url.clone().unwrap_or_else(|| "not streamed".to_owned()));
    words.join("  ")
}

fn advice(why: &str, request: &Request) -> &'static str {
    if why.contains("refused the user name") && request.credentials.is_none() {
        "; give --user NAME and --ask or --password-file FILE"
    } else {
        ""
    }
}
