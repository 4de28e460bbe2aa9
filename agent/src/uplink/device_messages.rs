//! What the device says on the control stream after its Hello: status, results, reports.
//!
//! A task of its own writes, so that a slow line holds up no ack. The stream stays open when nobody has anything to say
//! any more: its end would be the end of the session.

use quinn::SendStream;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use upload::FromAgent;

use crate::limits;

/// Takes over the stream, until the handle is dropped. What is put into the queue is said in order.
pub(super) fn start(mut stream: SendStream) -> (mpsc::Sender<FromAgent>, AbortOnDropHandle<()>) {
    let (say, mut queue) = mpsc::channel::<FromAgent>(limits::DEVICE_MESSAGES_MAX);
    let writer = tokio::spawn(async move {
        while let Some(message) = queue.recv().await {
            if stream.write_all(&message.encode()).await.is_err() {
                break;
            }
        }
        // Nobody is told by a connection that is gone: the queue ends with this task.
        drop(queue);
        std::future::pending::<()>().await;
    });
    (say, AbortOnDropHandle::new(writer))
}
