//! Responses that are made while they are sent.
//!
//! A task of the response's own makes them piece by piece, one piece ahead of what the connection has taken. It ends when its client
//! has gone. So a slow client holds two or three fragments in memory, and all of them together what [`Outgoing`] has room for.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use hyper::body::Frame;
use tokio::sync::mpsc;

use crate::http::outgoing::{Outgoing, Room};

/// Why a response ends before it is whole. The client sees the connection break off.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct BrokenOff(String);

/// Nobody takes the response any more.
#[derive(Debug)]
pub(super) struct Gone;

/// Where the pieces of a response go.
pub(super) struct Sink {
    pieces: mpsc::Sender<Result<Bytes, BrokenOff>>,
    outgoing: Outgoing,
}

/// The body that a task fills.
pub(super) fn body<F>(outgoing: &Outgoing, fill: impl FnOnce(Sink) -> F) -> Body
where
    F: Future<Output = ()> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(fill(Sink { pieces: sender, outgoing: outgoing.clone() }));
    Body::new(Feed(receiver))
}

impl Sink {
    /// Sends the next piece, when the one before has been taken.
    pub(super) async fn send(&self, piece: Bytes) -> Result<(), Gone> {
        self.pieces.send(Ok(piece)).await.map_err(|_| Gone)
    }

    /// Sends the pieces of something that has this room.
    pub(super) async fn send_all(&self, mut pieces: Vec<Bytes>, room: Room) -> Result<(), Gone> {
        let last = pieces.pop().unwrap_or_default();
        for piece in pieces {
            self.send(piece).await?;
        }
        self.send(room.hold(last)).await
    }

    /// Waits until there is room for so many bytes. To be asked for before they are read.
    pub(super) async fn room(&self, bytes: u64) -> Result<Room, Gone> {
        tokio::select! {
            room = self.outgoing.room(bytes) => Ok(room),
            () = self.pieces.closed() => Err(Gone),
        }
    }

    /// Comes when nobody takes the response any more.
    pub(super) async fn gone(&self) {
        self.pieces.closed().await;
    }

    /// Ends the response in a way that nobody takes for its end.
    pub(super) async fn break_off(self, reason: String) {
        let _ = self.pieces.send(Err(BrokenOff(reason))).await;
    }
}

struct Feed(mpsc::Receiver<Result<Bytes, BrokenOff>>);

impl hyper::body::Body for Feed {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use axum::body::to_bytes;
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn pieces_come_in_order_and_no_more_than_one_ahead() {
        let made = Arc::new(AtomicUsize::new(0));
        let counted = made.clone();
        let mut body = body(&outgoing(), |sink| async move {
            for piece in 0..10_u8 {
                counted.fetch_add(1, Ordering::SeqCst);
                if sink.send(vec![piece].into()).await.is_err() {
                    return;
                }
            }
        });
        for expected in 0..10_u8 {
            tokio::time::sleep(Duration::from_millis(5)).await;
            // One is in the channel, one waits to be, and one is being taken.
            assert!(made.load(Ordering::SeqCst) <= usize::from(expected) + 2);
            assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), vec![expected]);
        }
        assert!(body.frame().await.is_none());
    }

    #[tokio::test]
    async fn the_task_ends_when_its_client_goes() {
        let (ended, end) = tokio::sync::oneshot::channel();
        let outgoing = outgoing();
        let body = body(&outgoing, |sink| async move {
            let _all = sink.room(1 << 20).await.unwrap();
            assert!(sink.room(1).await.is_err(), "there is no more");
            sink.gone().await;
            ended.send(()).unwrap();
        });
        tokio::task::yield_now().await;
        drop(body);
        tokio::time::timeout(Duration::from_secs(10), end).await.unwrap().unwrap();
        assert_eq!(outgoing.free_bytes(), 1 << 20);
    }

    #[tokio::test]
    async fn what_breaks_off_does_not_look_whole() {
        let body = body(&outgoing(), |sink| async move {
            sink.send(Bytes::from_static(b"half")).await.unwrap();
            sink.break_off("the rest is gone".to_owned()).await;
        });
        assert!(to_bytes(body, 100).await.is_err());
    }

    fn outgoing() -> Outgoing {
        Outgoing::new(1 << 20)
    }
}
