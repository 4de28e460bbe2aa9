//! GetClip: a range of a stream as one MP4.
//!
//! The fragments are read twice, since the tables of the whole file stand before its media: once to make the tables, which are all
//! that is kept, and again to send the media. For a long clip the first takes longer than clients wait for an answer; such a one is
//! answered before its tables are made, and the time is filled with boxes that mean nothing.
//!
//! As at AWS a clip has the fragments that begin within the range, and of those that begin at the same time the last that arrived.
//! Our extension: with the header `x-millrace-clip-start: containing` it begins with the fragment that contains the start.

mod fragments;
mod plan;

use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use fragment::{FragmentNumber, mkv};
use hls::clip;
use tokio::time::{sleep, timeout};

use crate::access_keys::Access;
use crate::kinesis_video::Service;
use crate::kinesis_video::chunk;
use crate::kinesis_video::feed::{self, Gone, Sink};
use crate::kinesis_video::members::Members;
use crate::kinesis_video::operation::{Call, Operation};
use crate::kinesis_video::refusal::Refusal;
use crate::kinesis_video::selector::FragmentSelector;
use crate::kinesis_video::streams::StreamReference;
use crate::{limits, storage};
use plan::{Plan, Planning};

/// The header of our extension, and its one value.
const START: &str = "x-millrace-clip-start";
const CONTAINING: &str = "containing";

const CONTENT_TYPE: &str = "video/mp4";

pub(super) struct GetClip {
    stream: StreamReference,
    selector: FragmentSelector,
}

impl Operation for GetClip {
    const NAME: &'static str = "GetClip";
    const PATH: &'static str = "/getClip";
    const ACCESS: Access = Access::Watch;
    type Answer = Response;

    fn read(members: &Members<'_>) -> Result<Self, Refusal> {
        let stream = StreamReference::read(members)?;
        let selector = members.required("ClipFragmentSelector", members.structure("ClipFragmentSelector")?)?;
        let selector = FragmentSelector::read(&selector)?;
        selector.check_for_playback(storage::now())?;
        Ok(Self { stream, selector })
    }

    async fn carry_out(self, call: Call) -> Result<Response, Refusal> {
        let holds_start = holds_start(&call.headers)?;
        let service = call.service.clone();
        let listed = call.blocking(move |call| {
            let stream = call.find(&self.stream)?;
            if stream.retention.time().is_zero() {
                return Err(Refusal::NoDataRetention);
            }
            let service = &call.service;
            let list = fragments::list(&service.archive, stream.id, &self.selector, holds_start, service.quotas)?;
            if list.is_empty() { Err(Refusal::NoFragments) } else { Ok((stream.id, list)) }
        });
        let (stream, listed) = listed.await?;
        let mut planning = Planning::start(service.clone(), stream, listed);
        let outgoing = service.outgoing.clone();
        let body = match timeout(limits::CLIP_ANSWER_WAIT, planning.plan()).await {
            Ok(plan) => {
                let plan = plan?;
                feed::body(&outgoing, |sink| send(service, stream, plan, 0, sink))
            }
            Err(_) => feed::body(&outgoing, |sink| send_when_planned(service, stream, planning, sink)),
        };
        Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], body).into_response())
    }
}

/// Whether a clip is to begin with the fragment that contains its start.
fn holds_start(headers: &HeaderMap) -> Result<bool, Refusal> {
    match headers.get(START) {
        None => Ok(false),
        Some(value) if value == CONTAINING => Ok(true),
        Some(_) => Err(Refusal::InvalidArgument(format!("the header {START} can only be \"{CONTAINING}\""))),
    }
}

/// Sends a clip of which `sent` bytes are out already.
async fn send(service: Service, stream: u64, plan: Plan, sent: u64, sink: Sink) {
    if let Err(End::BrokenOff(reason)) = send_all(&service, stream, plan, sent, &sink).await {
        tracing::warn!(%stream, %reason, "a clip breaks off");
        sink.break_off(reason).await;
    }
}

/// The same, when its tables are made.
async fn send_when_planned(service: Service, stream: u64, mut planning: Planning, sink: Sink) {
    if sink.send(Bytes::from_static(clip::FILE_TYPE)).await.is_err() {
        return;
    }
    let mut sent = clip::FILE_TYPE.len() as u64;
    let plan = loop {
        tokio::select! {
            plan = planning.plan() => break plan,
            () = sink.gone() => return,
            () = sleep(limits::CLIP_SIGN_INTERVAL) => {
                if sink.send(Bytes::from_static(clip::PADDING)).await.is_err() {
                    return;
                }
                sent += clip::PADDING.len() as u64;
            }
        }
    };
    match plan {
        Ok(plan) => send(service, stream, plan, sent, sink).await,
        Err(refusal) => sink.break_off(refusal.to_string()).await,
    }
}

/// Why a clip ends before its time.
enum End {
    Gone,
    BrokenOff(String),
}

impl From<Gone> for End {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

async fn send_all(service: &Service, stream: u64, plan: Plan, sent: u64, sink: &Sink) -> Result<(), End> {
    let Plan { clip, fragments, place } = plan;
    let before = if sent == 0 { clip::FILE_TYPE } else { b"" };
    let sent = sent + before.len() as u64;
    let head = tokio::task::spawn_blocking(move || clip.head(sent)).await;
    let head = head.map_err(|error| broken_off(&error))?.map_err(|error| broken_off(&error))?;
    sink.send(Bytes::from_static(before)).await?;
    drop(place);
    let room = sink.room(head.len() as u64).await?;
    sink.send(room.hold(head)).await?;
    for planned in fragments {
        let room = sink.room(planned.media_bytes).await?;
        let service = service.clone();
        let read = tokio::task::spawn_blocking(move || media(&service, stream, planned.number)).await;
        let media = read.map_err(|error| broken_off(&error))??;
        // The tables say how much it is.
        if media.len() as u64 != planned.media_bytes {
            return Err(End::BrokenOff(format!("fragment {} is not what it was", planned.number)));
        }
        sink.send(room.hold(media)).await?;
    }
    Ok(())
}

/// The samples of a fragment. Blocks.
fn media(service: &Service, stream: u64, number: FragmentNumber) -> Result<Bytes, End> {
    let stored = chunk::read(&service.archive, &service.damage, stream, number);
    let document = mkv::document(stored.map_err(|error| broken_off(&error))?);
    let document = document.map_err(|error| broken_off(&error))?;
    Ok(clip::media(&document.tracks, &document.units))
}

fn broken_off(error: &dyn std::error::Error) -> End {
    End::BrokenOff(error.to_string())
}
