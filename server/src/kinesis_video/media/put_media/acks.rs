//! Where acks go: into the body of the answer, each as a chunk of its own.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Bytes;
use hyper::body::{Body, Frame};
use tokio::sync::mpsc;
use upload::put_media::Ack;

use crate::limits;

/// The session's end. The answer ends when all of it are gone.
#[derive(Clone)]
pub(super) struct Acks {
    /// Whether the producer wants any but errors.
    wanted: bool,
    told: mpsc::Sender<Bytes>,
}

/// The body of the answer.
pub(super) struct Told(mpsc::Receiver<Bytes>);

/// Both ends.
pub(super) fn channel(wanted: bool) -> (Acks, Told) {
    let (told, queue) = mpsc::channel(limits::PRODUCER_ACKS_QUEUED_MAX);
    (Acks { wanted, told }, Told(queue))
}

impl Acks {
    /// Tells the producer, and waits if it takes nothing. A producer that is gone is told nothing more.
    pub(super) async fn tell(&self, ack: Ack<'_>) {
        if self.wanted || matches!(ack, Ack::Error { .. }) {
            let _ = self.told.send(ack.to_string().into()).await;
        }
    }
}

impl Body for Told {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|ack| ack.map(|ack| Ok(Frame::data(ack))))
    }
}
