//! What happens to a fragment after it is persisted, where its producer asks for it by tags: somebody is notified, images are made.
//!
//! ```text
//! message.rs      what is said of a fragment; no I/O
//! webhook.rs      posts it to a web address
//! images.rs       makes images and puts them into a folder or a bucket
//! ```
//!
//! Nothing here holds up an ack: whoever has stored a fragment says so and goes on. Few deliveries run at a time and a bounded
//! number waits; what comes on top of that is given up, counted and logged. Each is tried several times. None is remembered over
//! a restart: as at AWS, fragments are the record, and these are hints.

mod images;
mod message;
mod webhook;

use std::fmt::Display;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use archive::{Archive, Stream};
use fragment::mkv::Tag;
use fragment::{FragmentNumber, WallTime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

use super::streams::{Attributes, attributes_of};
use crate::pictures::Studio;
use crate::{limits, storage, telemetry};

/// A fragment that is on disk.
#[derive(Clone, Debug)]
pub(super) struct Persisted {
    pub(super) stream: Stream,
    pub(super) number: FragmentNumber,
    pub(super) start: WallTime,
    pub(super) arrived: WallTime,
    pub(super) duration: Duration,
    pub(super) tags: Vec<Tag>,
}

impl Persisted {
    /// The room that it takes while it waits.
    fn places(&self) -> u32 {
        let bytes: usize = self.tags.iter().map(|tag| tag.name.len() + tag.value.len()).sum();
        u32::try_from(bytes.div_ceil(limits::DELIVERY_TAG_BYTES)).unwrap_or(u32::MAX).max(1)
    }
}

/// Why a delivery failed.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
struct DeliveryError {
    why: String,
    /// Whether trying again may help.
    passes: bool,
}

impl DeliveryError {
    fn passing(why: &dyn Display) -> Self {
        Self { why: why.to_string(), passes: true }
    }

    fn lasting(why: &dyn Display) -> Self {
        Self { why: why.to_string(), passes: false }
    }
}

/// Who delivers. Cheap to clone.
#[derive(Clone)]
pub(super) struct Deliveries(Arc<Inner>);

struct Inner {
    archive: Archive,
    studio: Studio,
    /// Where folders for images lie, if there may be any.
    folder: Option<PathBuf>,
    /// Room for those that wait or run.
    waiting: Arc<Semaphore>,
    running: Semaphore,
    /// Before the first repetition; it doubles.
    pause: Duration,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Notification,
    Images,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Notification => "notification",
            Self::Images => "images",
        }
    }
}

impl Deliveries {
    pub(super) fn new(archive: Archive, studio: Studio, folder: Option<PathBuf>) -> Self {
        Self(Arc::new(Inner {
            archive,
            studio,
            folder,
            waiting: Arc::new(Semaphore::new(limits::DELIVERIES_WAITING_MAX)),
            running: Semaphore::new(limits::DELIVERIES_RUNNING_MAX),
            pause: limits::DELIVERY_PAUSE,
        }))
    }

    /// Whether folders for images may be named.
    pub(super) fn has_folder(&self) -> bool {
        self.0.folder.is_some()
    }

    /// Does what the producer of a fragment asks for. Returns at once.
    pub(super) fn note(&self, persisted: &Persisted) {
        for (kind, tag) in [(Kind::Notification, message::NOTIFY), (Kind::Images, message::MAKE_IMAGES)] {
            if !message::asks(&persisted.tags, tag) {
                continue;
            }
            match self.0.waiting.clone().try_acquire_many_owned(persisted.places()) {
                Ok(room) => drop(tokio::spawn(self.clone().deliver(kind, persisted.clone(), room))),
                Err(_) => {
                    telemetry::delivered(kind.name(), "given up");
                    let (stream, number) = (&persisted.stream.name, persisted.number);
                    tracing::warn!(%stream, %number, kind = kind.name(), "too many deliveries wait; this one is given up");
                }
            }
        }
    }

    async fn deliver(self, kind: Kind, persisted: Persisted, _room: OwnedSemaphorePermit) {
        let _place = self.0.running.acquire().await.expect("the semaphore is never closed");
        let outcome = match kind {
            Kind::Notification => self.notify(&persisted).await,
            Kind::Images => self.make_images(&persisted).await,
        };
        match outcome {
            Ok(true) => telemetry::delivered(kind.name(), "delivered"),
            // Nobody wants it.
            Ok(false) => {}
            Err(error) => {
                telemetry::delivered(kind.name(), "failed");
                let (stream, number) = (&persisted.stream.name, persisted.number);
                tracing::warn!(%stream, %number, kind = kind.name(), %error, "what a producer asked for was not delivered");
            }
        }
    }

    /// Whether somebody was to be notified, and was.
    async fn notify(&self, persisted: &Persisted) -> Result<bool, DeliveryError> {
        let Some(notification) = self.attributes(persisted).await?.notification.filter(|wanted| wanted.is_enabled)
        else {
            return Ok(false);
        };
        // The same in all attempts, by which a receiver knows one that it has had.
        let body = message::notification(persisted, &super::request_id(), storage::now());
        let body = bytes::Bytes::from(body);
        self.attempt(|| webhook::post(&notification.uri, body.clone())).await?;
        Ok(true)
    }

    async fn attributes(&self, persisted: &Persisted) -> Result<Attributes, DeliveryError> {
        let (archive, stream) = (self.0.archive.clone(), persisted.stream.clone());
        let read = tokio::task::spawn_blocking(move || attributes_of(&archive, &stream));
        let read = read.await.map_err(|error| DeliveryError::passing(&error))?;
        read.map_err(|error| DeliveryError::passing(&error))
    }

    /// Tries until it succeeds, can't, or was tried often enough.
    async fn attempt<T, F: Future<Output = Result<T, DeliveryError>>>(
        &self,
        work: impl Fn() -> F,
    ) -> Result<T, DeliveryError> {
        let mut pause = self.0.pause;
        for _ in 1..limits::DELIVERY_ATTEMPTS {
            match timeout(limits::DELIVERY_WAIT, work()).await {
                Ok(Ok(done)) => return Ok(done),
                Ok(Err(error)) if !error.passes => return Err(error),
                Ok(Err(_)) | Err(_) => sleep(pause).await,
            }
            pause *= 2;
        }
        let last = timeout(limits::DELIVERY_WAIT, work()).await;
        last.unwrap_or_else(|_| Err(DeliveryError::passing(&"no answer came in time")))
    }
}

#[cfg(test)]
mod tests;
