//! GetImages: pictures of stored video at even distances of time.

use std::time::Duration;

use archive::ReadError;
use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use fragment::{FragmentNumber, WallTime};
use serde::Serialize;
use tokio::time::{Instant, timeout};

use super::sampling::{Sampling, Span, Step};
use crate::access_keys::Access;
use crate::http::outgoing::Room;
use crate::kinesis_video::members::Members;
use crate::kinesis_video::operation::{Call, Operation};
use crate::kinesis_video::pictures::{Clock, read_clock, read_format};
use crate::kinesis_video::refusal::Refusal;
use crate::kinesis_video::rules;
use crate::kinesis_video::streams::{StreamReference, seconds};
use crate::pictures::{Format, Order, Size, StudioError};
use crate::{limits, storage};

pub(super) struct GetImages {
    stream: StreamReference,
    clock: Clock,
    sampling: Sampling,
    format: Format,
    size: Size,
    /// The first time of this page.
    from: WallTime,
    page: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Page {
    images: Vec<Image>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Image {
    time_stamp: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ImageError>,
    /// In base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    image_content: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum ImageError {
    /// Nothing is stored of that time.
    NoMedia,
    /// What is stored gives no picture: it has none, or none that can be decoded.
    MediaError,
}

/// The interval where none is told; AWS does not say which it takes.
const INTERVAL_DEFAULT_MS: u32 = 3000;

impl Operation for GetImages {
    const NAME: &'static str = "GetImages";
    const PATH: &'static str = "/getImages";
    const ACCESS: Access = Access::Watch;
    type Answer = Response;

    fn read(members: &Members<'_>) -> Result<Self, Refusal> {
        let stream = StreamReference::read(members)?;
        let clock = members.required("ImageSelectorType", read_clock(members)?)?;
        let start = members.required("StartTimestamp", members.timestamp("StartTimestamp")?)?;
        let end = members.required("EndTimestamp", members.timestamp("EndTimestamp")?)?;
        if end < start || end.since(start) > limits::IMAGES_RANGE_MAX {
            let most = limits::IMAGES_RANGE_MAX.as_secs();
            let rule = format!("endTimestamp must be 0 to {most} seconds after startTimestamp");
            return Err(Refusal::InvalidArgument(rule));
        }
        let interval = members.integer("SamplingInterval", limits::IMAGES_INTERVAL_MIN_MS..=i32::MAX as u32)?;
        let interval = Duration::from_millis(interval.unwrap_or(INTERVAL_DEFAULT_MS).into());
        let sampling = Sampling { start, end, interval };
        let width = members.integer("WidthPixels", 1..=3840)?;
        let height = members.integer("HeightPixels", 1..=2160)?;
        if width.is_some() && height.is_none() {
            return Err(Refusal::InvalidArgument("widthPixels needs heightPixels beside it".to_owned()));
        }
        let page =
            members.integer("MaxResults", 1..=100)?.unwrap_or(limits::IMAGES_PER_PAGE).min(limits::IMAGES_PER_PAGE);
        let token = members.text("NextToken", &rules::ARCHIVED_MEDIA_TOKEN)?;
        Ok(Self {
            stream,
            clock,
            sampling,
            format: read_format(members)?,
            size: Size { width, height },
            from: token.map_or(Ok(start), |token| from_token(token, sampling))?,
            page: page as usize,
        })
    }

    async fn carry_out(self, call: Call) -> Result<Response, Refusal> {
        let begun = Instant::now();
        let service = call.service.clone();
        if !service.studio.is_there() {
            let reason = "its program for pictures, millrace-images, is not installed";
            return Err(Refusal::NotThere { operation: Self::NAME, reason });
        }
        let (steps, page) = (self.page + 1, self.page);
        let (stream, clock, sampling, from) = (self.stream.clone(), self.clock, self.sampling, self.from);
        let (stream, mut plan) = call
            .clone()
            .blocking(move |call| {
                let stream = call.find_retained(&stream)?.id;
                let times: Vec<WallTime> = sampling.times_from(from).take(steps).collect();
                Ok((stream, sampling.plan(times.iter().copied(), &spans(call, stream, clock, sampling)?)))
            })
            .await?;
        let mut next = plan.get(page).map(|step| step.at);
        plan.truncate(page);

        let room = timeout(limits::PICTURE_WORKER_WAIT, service.images_out.room(limits::IMAGES_ANSWER_BYTES_MAX)).await;
        let room =
            room.map_err(|_| Refusal::LimitExceeded("Too many images are on their way; try again later.".to_owned()))?;
        let mut worker = service.studio.worker().await?;
        let (mut images, mut bytes) = (Vec::new(), 0);
        for steps in plan.chunk_by(|a, b| number(a).is_some() && number(a) == number(b)) {
            let is_enough = bytes >= limits::IMAGES_PAGE_BYTES || begun.elapsed() >= limits::IMAGES_TIME;
            if is_enough && !images.is_empty() {
                next = Some(steps[0].at);
                break;
            }
            let Some(number) = number(&steps[0]) else {
                images.extend(steps.iter().map(|step| Image::missing(step.at, ImageError::NoMedia)));
                continue;
            };
            let Some(document) = read(&call, stream, number).await? else {
                images.extend(steps.iter().map(|step| Image::missing(step.at, ImageError::NoMedia)));
                continue;
            };
            let after = steps.iter().filter_map(|step| step.seen).map(|(_, after)| after);
            let at_ns = after.map(|after| u64::try_from(after.as_nanos()).unwrap_or(u64::MAX)).collect();
            let order = Order { format: self.format, size: self.size, at_ns };
            let made = match document {
                Stored::Whole(document) => worker.pictures(&order, &document, limits::IMAGES_PAGE_BYTES - bytes).await,
                Stored::Damaged => Ok(vec![None; steps.len()]),
            };
            let made = made.or_else(|error| match error {
                // It is this fragment that it failed at.
                StudioError::Failed(_) | StudioError::Slow => {
                    tracing::warn!(stream, %number, %error, "no pictures can be made of a fragment");
                    Ok(vec![None; steps.len()])
                }
                error => Err(error),
            })?;
            let left = steps.get(made.len()).map(|step| step.at);
            for (step, picture) in steps.iter().zip(made) {
                bytes += picture.as_ref().map_or(0, Bytes::len);
                images.push(picture.map_or_else(
                    || Image::missing(step.at, ImageError::MediaError),
                    |picture| Image::made(step.at, &picture),
                ));
            }
            if left.is_some() {
                next = left;
                break;
            }
        }
        Ok(Page { images, next_token: next.map(to_token) }.respond(room))
    }
}

impl Page {
    /// The answer, which has its room until it is sent.
    fn respond(self, room: Room) -> Response {
        let body = serde_json::to_vec(&self).expect("a page is plain JSON");
        ([(header::CONTENT_TYPE, "application/json")], Body::from(room.hold(body.into()))).into_response()
    }
}

impl Image {
    fn missing(at: WallTime, error: ImageError) -> Self {
        Self { time_stamp: seconds(at), error: Some(error), image_content: None }
    }

    fn made(at: WallTime, picture: &Bytes) -> Self {
        Self { time_stamp: seconds(at), error: None, image_content: Some(STANDARD.encode(picture)) }
    }
}

/// The bytes of a fragment.
enum Stored {
    Whole(Bytes),
    Damaged,
}

impl From<StudioError> for Refusal {
    fn from(error: StudioError) -> Self {
        match error {
            StudioError::Busy => Self::LimitExceeded(error.to_string()),
            error => Self::Internal(error.to_string()),
        }
    }
}

fn number(step: &Step) -> Option<FragmentNumber> {
    step.seen.map(|(number, _)| number)
}

/// When the fragments begin and end that can be seen in a range. Blocks.
fn spans(call: &Call, stream: u64, clock: Clock, sampling: Sampling) -> Result<Vec<Span>, Refusal> {
    let (archive, now) = (&call.service.archive, storage::now());
    let Sampling { start, end, .. } = sampling;
    // The end is excluded, and the start belongs to the range in any case.
    let end = end.max(start + Duration::from_nanos(1));
    let found = match clock {
        Clock::Producer => archive.range(stream, start..end, limits::IMAGES_FRAGMENTS_MAX, now)?,
        Clock::Server => {
            let from = start - fragment::limits::FRAGMENT_DURATION_MAX;
            archive.arrived(stream, from..end, limits::IMAGES_FRAGMENTS_MAX, now)?
        }
    };
    let begins = |stored: &archive::Stored| match clock {
        Clock::Producer => stored.start,
        Clock::Server => stored.arrived,
    };
    let span =
        |stored: archive::Stored| Span { number: stored.number, start: begins(&stored), duration: stored.duration };
    let mut spans: Vec<Span> = found.into_iter().map(span).collect();
    spans.sort_by_key(|span| span.start);
    Ok(spans)
}

async fn read(call: &Call, stream: u64, number: FragmentNumber) -> Result<Option<Stored>, Refusal> {
    call.clone()
        .blocking(move |call| match call.service.archive.read(stream, number) {
            Ok(document) => Ok(document.map(Stored::Whole)),
            Err(ReadError::Vault(error)) if error.is_damage() => Ok(Some(Stored::Damaged)),
            Err(error) => Err(Refusal::Internal(error.to_string())),
        })
        .await
}

/// The time at which the next page begins, in the form of tokens.
fn to_token(at: WallTime) -> String {
    STANDARD.encode(at.as_nanos().to_string())
}

fn from_token(token: &str, sampling: Sampling) -> Result<WallTime, Refusal> {
    let nanos = STANDARD.decode(token).ok().and_then(|text| String::from_utf8(text).ok()?.parse().ok());
    let at = nanos.map(WallTime::from_nanos).and_then(|at| sampling.times_from(at).next());
    at.ok_or_else(|| Refusal::InvalidArgument("nextToken is not one of this call's".to_owned()))
}
