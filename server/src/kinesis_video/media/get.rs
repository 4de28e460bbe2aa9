//! GetMedia: the fragments of a stream from a place on, and those that come, until none comes for a while.
//!
//! What is stored is read as fast as the client takes it, and what comes is sent when it has been stored. The index tells of
//! each fragment that this server stores, so nobody looks at the disk to see whether there is one; only for what other servers
//! of the same store have taken is the catalog asked, once a second.

use archive::{Archive, Stored};
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use fragment::{FragmentNumber, WallTime, mkv};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::access_keys::Access;
use crate::kinesis_video::chunk::{CONTENT_TYPE, Chunk, ChunkError};
use crate::kinesis_video::feed::{self, Gone, Sink};
use crate::kinesis_video::members::Members;
use crate::kinesis_video::operation::{Call, Operation};
use crate::kinesis_video::reading_quotas::Place;
use crate::kinesis_video::refusal::Refusal;
use crate::kinesis_video::selector::{Origin, containing};
use crate::kinesis_video::streams::StreamReference;
use crate::kinesis_video::{fragment_number, rules};
use crate::{limits, storage};

pub(super) struct GetMedia {
    stream: StreamReference,
    start: Start,
}

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    /// With the newest fragment.
    Now,
    /// With the oldest.
    Earliest,
    /// With the one behind this.
    After(FragmentNumber),
    /// With the one that holds this time, or else the next.
    At(Origin, WallTime),
}

/// The words for them, without what they need beside.
#[derive(Clone, Copy)]
enum Kind {
    Now,
    Earliest,
    FragmentNumber,
    Timestamp(Origin),
    ContinuationToken,
}

const KINDS: [(&str, Kind); 6] = [
    ("FRAGMENT_NUMBER", Kind::FragmentNumber),
    ("SERVER_TIMESTAMP", Kind::Timestamp(Origin::Server)),
    ("PRODUCER_TIMESTAMP", Kind::Timestamp(Origin::Producer)),
    ("NOW", Kind::Now),
    ("EARLIEST", Kind::Earliest),
    ("CONTINUATION_TOKEN", Kind::ContinuationToken),
];

impl Operation for GetMedia {
    const NAME: &'static str = "GetMedia";
    const PATH: &'static str = "/getMedia";
    const ACCESS: Access = Access::Watch;
    type Answer = Response;

    fn read(members: &Members<'_>) -> Result<Self, Refusal> {
        let stream = StreamReference::read(members)?;
        let selector = members.required("StartSelector", members.structure("StartSelector")?)?;
        Ok(Self { stream, start: Start::read(&selector)? })
    }

    async fn carry_out(self, call: Call) -> Result<Response, Refusal> {
        let outgoing = call.service.outgoing.clone();
        let session = call.blocking(move |call| Session::begin(call, &self)).await?;
        let body = feed::body(&outgoing, |sink| session.run(sink));
        Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], body).into_response())
    }
}

impl Start {
    fn read(selector: &Members<'_>) -> Result<Self, Refusal> {
        let after = selector.text("AfterFragmentNumber", &rules::FRAGMENT_NUMBER)?;
        let time = selector.timestamp("StartTimestamp")?;
        let token = selector.text("ContinuationToken", &rules::CONTINUATION_TOKEN)?;
        let kind = selector.required("StartSelectorType", selector.choice("StartSelectorType", &KINDS)?)?;
        Ok(match kind {
            Kind::Now => Self::Now,
            Kind::Earliest => Self::Earliest,
            Kind::FragmentNumber => {
                let after = selector.required("AfterFragmentNumber", after)?;
                Self::After(fragment_number::read(after, "startSelector.afterFragmentNumber")?)
            }
            Kind::Timestamp(origin) => Self::At(origin, selector.required("StartTimestamp", time)?),
            Kind::ContinuationToken => {
                let token = selector.required("ContinuationToken", token)?;
                Self::After(fragment_number::read(token, "startSelector.continuationToken")?)
            }
        })
    }

    /// The number from which on fragments are wanted. Blocks.
    fn find(self, archive: &Archive, stream: u64, now: WallTime) -> Result<FragmentNumber, Refusal> {
        let newest = archive.newest(stream)?;
        let (origin, time) = match self {
            Self::Now => return Ok(newest.unwrap_or(FragmentNumber(0))),
            Self::Earliest => return Ok(FragmentNumber(0)),
            Self::After(number) => return Ok(behind(number)),
            Self::At(origin, time) => (origin, time),
        };
        if let Some(found) = containing(archive, stream, (origin, time), now)? {
            return Ok(found.number);
        }
        if origin == Origin::Server {
            return Ok(FragmentNumber::at(time));
        }
        let (zero, ever) = (FragmentNumber(0), WallTime::from_nanos(i64::MAX));
        let following = archive.starting(stream, (time, zero)..(ever, zero), 1, now)?;
        // What begins later is still to come.
        Ok(following.first().map(|stored| stored.number).or(newest.map(behind)).unwrap_or(zero))
    }
}

fn behind(number: FragmentNumber) -> FragmentNumber {
    FragmentNumber(number.0.saturating_add(1))
}

/// One client that is sent a stream.
struct Session {
    call: Call,
    stream: u64,
    next: FragmentNumber,
    stored: watch::Receiver<Option<FragmentNumber>>,
    checked: Instant,
    _place: Place,
}

/// Why no more is sent.
enum End {
    /// Nobody takes it, or nothing more is to be had.
    Quiet,
    /// A fragment can't be had.
    Failed(ChunkError),
}

impl From<Gone> for End {
    fn from(_: Gone) -> Self {
        Self::Quiet
    }
}

impl Session {
    /// Blocks.
    fn begin(call: &Call, asked: &GetMedia) -> Result<Self, Refusal> {
        let stream = call.find(&asked.stream)?.id;
        let archive = &call.service.archive;
        let next = asked.start.find(archive, stream, storage::now())?;
        let place = call.service.get_media.take(stream).map_err(Refusal::TooManyConnections)?;
        let stored = archive.watch(stream);
        Ok(Self { call: call.clone(), stream, next, stored, checked: Instant::now(), _place: place })
    }

    async fn run(mut self, sink: Sink) {
        if let Err(End::Failed(error)) = self.send_all(&sink).await {
            let id = error.id.to_string();
            let tags = [("AWS_KINESISVIDEO_ERROR_CODE", error.code), ("AWS_KINESISVIDEO_ERROR_ID", &id)];
            let _ = sink.send(mkv::tags_alone(&tags)).await;
        }
    }

    async fn send_all(&mut self, sink: &Sink) -> Result<(), End> {
        let mut deadline = self.deadline();
        loop {
            // What is stored from here on changes it again.
            self.stored.borrow_and_update();
            let page = self.page().await?;
            for stored in &page {
                self.send(stored, sink).await?;
                self.next = behind(stored.number);
                self.check().await?;
            }
            if page.is_empty() {
                self.wait(deadline, sink).await?;
                self.check().await?;
            } else {
                deadline = self.deadline();
            }
        }
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.call.service.quotas.get_media_wait
    }

    async fn page(&self) -> Result<Vec<Stored>, End> {
        let (stream, range) = (self.stream, self.next..FragmentNumber(u64::MAX));
        let page = self.blocking(move |call| {
            let found = call.service.archive.numbered(stream, range, limits::GET_MEDIA_PAGE, storage::now());
            found.map_err(|error| ChunkError::internal(&error))
        });
        page.await
    }

    /// Sends a fragment; one that is gone or damaged is left out, so that those behind it can be had.
    async fn send(&self, stored: &Stored, sink: &Sink) -> Result<(), End> {
        let room = sink.room(stored.bytes).await?;
        let (stream, fragment) = (self.stream, stored.clone());
        let read = self.blocking(move |call| framed(call, stream, &fragment));
        match read.await {
            Ok(pieces) => Ok(sink.send_all(pieces, room).await?),
            Err(End::Failed(error)) if error.is_for_good => Ok(()),
            Err(end) => Err(end),
        }
    }

    /// Waits for the next fragment, which may be there already.
    async fn wait(&mut self, deadline: Instant, sink: &Sink) -> Result<(), End> {
        let elsewhere = async {
            if self.call.service.is_shared {
                tokio::time::sleep(limits::PEERS_INTERVAL).await;
            } else {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            // It fails when the stream is deleted.
            stored = self.stored.changed() => stored.map_err(|_| End::Quiet),
            () = elsewhere => Ok(()),
            () = tokio::time::sleep_until(deadline) => Err(End::Quiet),
            () = sink.gone() => Err(End::Quiet),
            () = self.call.service.stop.cancelled() => Err(End::Quiet),
        }
    }

    /// Now and then: whether the server goes on, and the key is still good.
    async fn check(&mut self) -> Result<(), End> {
        if self.call.service.stop.is_cancelled() {
            return Err(End::Quiet);
        }
        if self.checked.elapsed() < limits::KEY_CHECK_INTERVAL {
            return Ok(());
        }
        self.checked = Instant::now();
        // Temporary keys, which have a token, are good for sending alone.
        let key = self.call.service.keys.credentials(&self.call.identity.access_key, None, storage::now()).await;
        key.map_or(Err(End::Quiet), |_| Ok(()))
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Call) -> Result<T, ChunkError> + Send + 'static,
    ) -> Result<T, End> {
        let call = self.call.clone();
        let worked = tokio::task::spawn_blocking(move || work(&call)).await;
        worked.map_err(|error| End::Failed(ChunkError::internal(&error)))?.map_err(End::Failed)
    }
}

/// A fragment with its tags. Blocks.
fn framed(call: &Call, stream: u64, stored: &Stored) -> Result<Vec<Bytes>, ChunkError> {
    let archive = &call.service.archive;
    let chunk = Chunk::read(archive, &call.service.damage, stream, stored)?;
    let newest = archive.newest(stream).map_err(|error| ChunkError::internal(&error))?;
    // Numbers are microseconds.
    let behind = newest.map_or(0, |newest| newest.0.saturating_sub(stored.number.0) / 1000).to_string();
    let tags = [
        ("AWS_KINESISVIDEO_MILLIS_BEHIND_NOW", behind.as_str()),
        ("AWS_KINESISVIDEO_CONTINUATION_TOKEN", &chunk.number),
    ];
    Ok(chunk.framed(&[], &tags))
}
