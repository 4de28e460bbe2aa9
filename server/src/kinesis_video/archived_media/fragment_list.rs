//! GetMediaForFragmentList: the fragments of these numbers, one after another in the order that they were asked for.
//!
//! The model and AWS's own library for readers disagree about the tags, so both spellings are written. A fragment that can't be had is
//! told in its place, and those behind it follow.

use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use fragment::{FragmentNumber, mkv};

use crate::access_keys::Access;
use crate::kinesis_video::chunk::{self, CONTENT_TYPE, Chunk, ChunkError};
use crate::kinesis_video::feed::{self, Gone, Sink};
use crate::kinesis_video::members::Members;
use crate::kinesis_video::operation::{Call, Operation};
use crate::kinesis_video::refusal::Refusal;
use crate::kinesis_video::streams::StreamReference;
use crate::kinesis_video::{fragment_number, rules};
use crate::{limits, storage};

pub(super) struct GetMediaForFragmentList {
    stream: StreamReference,
    fragments: Vec<FragmentNumber>,
}

impl Operation for GetMediaForFragmentList {
    const NAME: &'static str = "GetMediaForFragmentList";
    const PATH: &'static str = "/getMediaForFragmentList";
    const ACCESS: Access = Access::Watch;
    type Answer = Response;

    fn read(members: &Members<'_>) -> Result<Self, Refusal> {
        let stream = StreamReference::read(members)?;
        let fragments = members.list("Fragments", &rules::FRAGMENT_NUMBER, 1..=limits::FRAGMENT_LIST_MAX)?;
        let fragments = members.required("Fragments", fragments)?.into_iter();
        let fragments = fragments.map(|number| fragment_number::read(number, "fragments")).collect::<Result<_, _>>()?;
        Ok(Self { stream, fragments })
    }

    async fn carry_out(self, call: Call) -> Result<Response, Refusal> {
        let service = call.service.clone();
        let found = call.clone().blocking(move |call| {
            let stream = call.find(&self.stream)?.id;
            Ok((stream, call.service.fragment_lists.take(stream).map_err(Refusal::TooManyConnections)?))
        });
        let (stream, place) = found.await?;
        let body = feed::body(&service.outgoing, |sink| async move {
            for number in self.fragments {
                if send(&call, stream, number, &sink).await.is_err() {
                    break;
                }
            }
            drop(place);
        });
        Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], body).into_response())
    }
}

async fn send(call: &Call, stream: u64, number: FragmentNumber, sink: &Sink) -> Result<(), Gone> {
    let stored = blocking(call, move |call| {
        let stored = call.service.archive.fragment(stream, number, storage::now());
        stored.map_err(|error| ChunkError::internal(&error))?.ok_or_else(ChunkError::not_found)
    });
    let stored = match stored.await {
        Ok(stored) => stored,
        Err(error) => return sink.send(told(number, &error)).await,
    };
    let room = sink.room(stored.bytes).await?;
    let read = blocking(call, move |call| {
        let chunk = Chunk::read(&call.service.archive, &call.service.damage, stream, &stored)?;
        let modelled = [
            ("AWS_KINESISVIDEO_SERVER_SIDE_TIMESTAMP", chunk.server_timestamp.as_str()),
            ("AWS_KINESISVIDEO_PRODUCER_SIDE_TIMESTAMP", &chunk.producer_timestamp),
        ];
        Ok(chunk.framed(&modelled, &[]))
    });
    match read.await {
        Ok(pieces) => sink.send_all(pieces, room).await,
        Err(error) => sink.send(told(number, &error)).await,
    }
}

/// A document in the place of a fragment that can't be had.
fn told(number: FragmentNumber, error: &ChunkError) -> Bytes {
    let (number, id) = (fragment_number::format(number), error.id.to_string());
    mkv::tags_alone(&[
        (chunk::FRAGMENT_NUMBER, &number),
        ("AWS_KINESISVIDEO_EXCEPTION_ERROR_CODE", &id),
        ("AWS_KINESISVIDEO_EXCEPTION_MESSAGE", &error.message),
        ("AWS_KINESISVIDEO_ERROR_CODE", error.code),
        ("AWS_KINESISVIDEO_ERROR_ID", &id),
    ])
}

async fn blocking<T: Send + 'static>(
    call: &Call,
    work: impl FnOnce(&Call) -> Result<T, ChunkError> + Send + 'static,
) -> Result<T, ChunkError> {
    let call = call.clone();
    let worked = tokio::task::spawn_blocking(move || work(&call)).await;
    worked.map_err(|error| ChunkError::internal(&error))?
}
