//! One stream's way to AWS: session after session, for ever.
//!
//! A session is opened when there is a whole fragment to send. What can't be sent stays in the spool.

use std::sync::Arc;

use aws_credential_types::Credentials;
use fragment::StreamName;
use tokio::sync::Notify;
use tokio::task::block_in_place;
use tokio_util::sync::CancellationToken;

use super::control::Control;
use super::error::OpenError;
use super::exchange::Exchange;
use super::put_media::PutMedia;
use super::queue::Queue;
use super::request::Target;
use super::session::Session;
use super::{Shared, keys};
use crate::backoff::Backoff;

/// One stream.
pub(super) struct Line {
    pub(super) shared: Arc<Shared>,
    pub(super) stream: StreamName,
    /// Its name at AWS.
    pub(super) name: String,
    /// Something changed in the spool.
    pub(super) wake: Arc<Notify>,
}

impl Line {
    /// Uploads until `stop`.
    pub(super) async fn run(self, stop: CancellationToken) {
        let mut backoff = Backoff::new(fastrand::u64(..));
        loop {
            let opening = async {
                self.work().await;
                self.open().await
            };
            let Some(opened) = stop.run_until_cancelled(opening).await else { return };
            let (settled, ended) = match opened {
                Ok((put, session)) => {
                    self.shared.links.up(&self.stream);
                    let mut exchange = Exchange::new(&self, put, session);
                    let ended = exchange.drive(&stop).await;
                    (exchange.session.has_settled(), ended)
                }
                Err(error) => (false, Err(error.to_string())),
            };
            if settled {
                backoff.recovered();
            }
            let pause = match ended {
                _ if stop.is_cancelled() => return,
                Ok(()) if settled => continue,
                Ok(()) => backoff.pause(),
                Err(why) => {
                    let pause = backoff.pause();
                    self.shared.links.down(&self.stream, why, pause);
                    pause
                }
            };
            if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return;
            }
        }
    }

    /// Waits for a whole fragment.
    async fn work(&self) {
        let mut queue = self.queue();
        while block_in_place(|| queue.next()).is_none() {
            self.shared.links.rest(&self.stream);
            self.wake.notified().await;
        }
    }

    pub(super) fn queue(&self) -> Queue {
        Queue::new(self.shared.spool.clone(), self.stream.clone())
    }

    async fn open(&self) -> Result<(PutMedia, Session), OpenError> {
        let shared = &*self.shared;
        let credentials = shared.keys.at(shared.clock.wall()).await?;
        let opened = self.open_with(&credentials).await;
        if let Err(error) = &opened
            && error.is_of_the_credentials()
        {
            shared.keys.refused(&credentials).await;
        }
        opened
    }

    async fn open_with(&self, credentials: &Credentials) -> Result<(PutMedia, Session), OpenError> {
        let shared = &*self.shared;
        let place =
            Control::new(&shared.sdk, &shared.aws, &shared.clock, credentials.clone()).place(&self.name).await?;
        let target = Target {
            endpoint: &place.endpoint,
            region: &shared.aws.region,
            stream: &self.name,
            credentials,
            now: shared.clock.wall(),
        };
        let (opened, date) = PutMedia::open(&shared.tls, &target).await;
        if let Some(date) = date {
            shared.note_date(&date);
        }
        let put = opened?;
        if !place.keeps {
            tracing::warn!(stream = self.name, "this stream has a retention of 0 hours: AWS keeps nothing of it");
        }
        tracing::info!(stream = self.name, endpoint = place.endpoint, "a session with AWS begins");
        let lasts = keys::lasts(credentials, shared.clock.wall());
        Ok((put, Session::new(shared.now(), lasts, place.keeps)))
    }
}
