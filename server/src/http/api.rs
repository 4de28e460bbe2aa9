//! The JSON API of the console: which streams there are, and how to play one.

use std::time::Duration;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State as Extract};
use fragment::{StreamName, WallTime};
use hls::timeline::Timeline;
use serde::{Deserialize, Serialize};

use super::console::LoggedIn;
use super::error::Problem;
use super::library::Stream;
use super::token::{Part, Token};
use super::{State, limits, now};

/// The answer to `GET /api/streams`.
#[derive(Serialize)]
pub(super) struct Streams {
    now: jiff::Timestamp,
    streams: Vec<Listed>,
}

#[derive(Serialize)]
struct Listed {
    name: String,
    /// The stream of the same camera whose smaller copy this is.
    sub_of: Option<String>,
    /// Whether video arrived within [`limits::LIVE_WITHIN`].
    live: bool,
    /// Whether a device that may send this stream is connected.
    connected: bool,
    /// The time of the first picture stored, and of the end of the last.
    first: Option<jiff::Timestamp>,
    last: Option<jiff::Timestamp>,
    /// Where the time of the last comes from: `unsynchronised` is not certain. design/time.md has the others.
    clock: Option<String>,
    fragments: u64,
    bytes: u64,
    retention_hours: u64,
}

/// `GET /api/streams`
pub(super) async fn streams(_: LoggedIn, Extract(state): Extract<State>) -> Result<Json<Streams>, Problem> {
    let now = now();
    let streams = state.library().list(now).await?.into_iter().map(|overview| Listed {
        live: overview.last_arrival.is_some_and(|arrival| now.since(arrival) < limits::LIVE_WITHIN),
        connected: state.0.presence.is_connected(&overview.name),
        first: overview.first.map(timestamp),
        last: overview.last.map(timestamp),
        clock: overview.last_quality.map(|quality| quality.to_string()),
        fragments: overview.fragments,
        bytes: overview.bytes,
        retention_hours: overview.retention.time().as_secs() / 3600,
        sub_of: overview.sub_of.map(|of| of.to_string()),
        name: overview.name.to_string(),
    });
    Ok(Json(Streams { now: timestamp(now), streams: streams.collect() }))
}

/// What `POST /api/streams/{name}/playback` asks for.
#[derive(Deserialize)]
pub(super) struct Wanted {
    #[serde(flatten)]
    mode: Mode,
    /// How long the URL shall work.
    expires_seconds: Option<u64>,
}

#[derive(Deserialize)]
#[serde(tag = "mode", rename_all = "lowercase")]
enum Mode {
    Live,
    Past { start: jiff::Timestamp, end: jiff::Timestamp },
}

/// Its answer.
#[derive(Serialize)]
pub(super) struct Playback {
    url: String,
    expires: jiff::Timestamp,
}

/// `POST /api/streams/{name}/playback`
pub(super) async fn playback(
    _: LoggedIn,
    Extract(state): Extract<State>,
    Path(name): Path<String>,
    wanted: Result<Json<Wanted>, JsonRejection>,
) -> Result<Json<Playback>, Problem> {
    let Json(wanted) = wanted.map_err(|rejection| Problem::BadRequest(rejection.body_text()))?;
    let now = now();
    let expiry = expiry(now, wanted.expires_seconds)?;
    let unknown = || Problem::UnknownStream(name.clone());
    let stream_name: StreamName = name.parse().map_err(|_| unknown())?;
    let stream = state.library().find(&stream_name).await?.ok_or_else(unknown)?;
    let (part, timeline) = match wanted.mode {
        Mode::Live => live(&state, &stream, now).await?,
        Mode::Past { start, end } => past(&state, &stream, start, end, now).await?,
    };
    let token = Token {
        stream: stream.id,
        expiry_seconds: u64::try_from(expiry.as_millis() / 1000).unwrap_or(0),
        target_duration_seconds: u16::try_from(timeline.target_duration_seconds()).unwrap_or(u16::MAX),
        part,
    };
    Ok(Json(Playback {
        url: format!("/hls/{}/{}", token.seal(state.sealer()), hls::playlist::MULTIVARIANT),
        expires: timestamp(expiry),
    }))
}

async fn live(state: &State, stream: &Stream, now: WallTime) -> Result<(Part, Timeline), Problem> {
    let timeline = state.library().live_timeline(stream, now).await?;
    let first = timeline.segments().first().map(|segment| segment.entry.number);
    let nothing = || Problem::NothingToPlay(format!("nothing to play yet: no video of \"{}\" is stored", stream.name));
    Ok((Part::Live { first: first.ok_or_else(nothing)? }, timeline))
}

async fn past(
    state: &State,
    stream: &Stream,
    start: jiff::Timestamp,
    end: jiff::Timestamp,
    now: WallTime,
) -> Result<(Part, Timeline), Problem> {
    let (start, end) = (wall_time(start)?, wall_time(end)?);
    if end <= start {
        return Err(Problem::BadRequest("the end of the range must be later than its start".to_owned()));
    }
    if end.since(start) > limits::PAST_RANGE_MAX {
        let hours = limits::PAST_RANGE_MAX.as_secs() / 3600;
        return Err(Problem::RangeTooLong(format!("a range of the past may be {hours} hours long; ask for less")));
    }
    let timeline = state.library().past_timeline(stream, start, end, now).await?;
    if timeline.is_empty() {
        let (start, end) = (timestamp(start), timestamp(end));
        return Err(Problem::NothingToPlay(format!(
            "nothing to play: no video of \"{}\" is stored from {start} to {end}",
            stream.name
        )));
    }
    Ok((Part::Past { start, end }, timeline))
}

fn expiry(now: WallTime, wanted_seconds: Option<u64>) -> Result<WallTime, Problem> {
    let max = limits::PLAYBACK_EXPIRY_MAX;
    let wanted = wanted_seconds.map_or(max, Duration::from_secs);
    if wanted.is_zero() || wanted > max {
        return Err(Problem::BadRequest(format!("expires_seconds must be from 1 to {}", max.as_secs())));
    }
    Ok(now + wanted)
}

pub(super) fn wall_time(timestamp: jiff::Timestamp) -> Result<WallTime, Problem> {
    let nanos = i64::try_from(timestamp.as_nanosecond());
    nanos.map(WallTime::from_nanos).map_err(|_| Problem::BadRequest(format!("{timestamp} is out of range")))
}

/// In whole milliseconds, which is all that scripts in browsers can tell apart.
fn timestamp(time: WallTime) -> jiff::Timestamp {
    jiff::Timestamp::from_millisecond(time.as_millis()).expect("an i64 of nanoseconds is within jiff's range")
}
