//! One fragment under way: a task that owns its QUIC stream and its reader.

use bytes::Bytes;
use quinn::{Connection, SendStream, VarInt, WriteError};
use spool::Reader;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use upload::wire::chunk_head;
use upload::{FragmentKey, Priority, Trailer};

/// The loop's end of a lane.
pub(super) struct Lane {
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) cancel: CancellationToken,
}

pub(super) enum Command {
    Write(usize),
    Finish(Trailer),
}

pub(super) enum Report {
    Written(FragmentKey),
    Stopped(FragmentKey),
    Damaged(FragmentKey),
}

/// The task's end of a lane.
pub(super) struct Work {
    pub(super) key: FragmentKey,
    pub(super) connection: Connection,
    pub(super) header: Bytes,
    pub(super) rank: Priority,
    /// Of its QUIC stream.
    pub(super) stream_priority: i32,
    pub(super) reader: Reader,
    pub(super) queue: mpsc::Receiver<Command>,
    pub(super) reports: mpsc::Sender<Report>,
}

/// Why a lane ended before its fragment.
enum LaneError {
    /// The connection is gone, which the loop notices by itself.
    Gone,
    Stopped,
    Damaged,
}

impl Work {
    pub(super) async fn run(mut self, cancel: CancellationToken) {
        let reports = self.reports.clone();
        let key = self.key.clone();
        let opened = tokio::select! {
            opened = self.connection.open_uni() => opened,
            () = cancel.cancelled() => return,
        };
        let Ok(mut stream) = opened else {
            return;
        };
        let sent = tokio::select! {
            sent = self.send(&mut stream) => sent,
            () = cancel.cancelled() => Err(LaneError::Gone),
        };
        let report = match sent {
            Ok(()) => return,
            Err(LaneError::Gone) => None,
            Err(LaneError::Stopped) => Some(Report::Stopped(key)),
            Err(LaneError::Damaged) => Some(Report::Damaged(key)),
        };
        // Dropping would finish the stream, as if this had been all of it.
        let _ = stream.reset(VarInt::from_u32(0));
        if let Some(report) = report {
            let _ = reports.send(report).await;
        }
    }

    async fn send(&mut self, stream: &mut SendStream) -> Result<(), LaneError> {
        let _ = stream.set_priority(self.stream_priority);
        stream.write_all(&self.header).await?;
        while let Some(command) = self.queue.recv().await {
            match command {
                Command::Write(bytes) => {
                    let mut pieces = self.read(bytes)?;
                    stream.write_all_chunks(&mut pieces).await?;
                    self.reports.send(Report::Written(self.key.clone())).await.map_err(|_| LaneError::Gone)?;
                }
                Command::Finish(trailer) => {
                    stream.write_all(&trailer.encode()).await?;
                    let _ = stream.finish();
                    return Ok(());
                }
            }
        }
        Err(LaneError::Gone)
    }

    /// One chunk: its head and its bytes. What is live was written a moment ago and is in memory, or in the page cache; only
    /// backlog waits for the disk, and other tasks must not wait with it. Handing them to another thread costs
    /// more than a cached read, so it is done for backlog alone.
    fn read(&mut self, bytes: usize) -> Result<Vec<Bytes>, LaneError> {
        let pieces = match self.rank {
            Priority::Live => self.reader.read(bytes),
            Priority::Backlog => tokio::task::block_in_place(|| self.reader.read(bytes)),
        };
        let pieces = pieces.map_err(|error| {
            tracing::warn!(fragment = %self.key, %error, "a fragment can't be read back");
            LaneError::Damaged
        })?;
        let mut chunk = Vec::with_capacity(pieces.len() + 1);
        chunk.push(Bytes::copy_from_slice(&chunk_head(bytes)));
        chunk.extend(pieces);
        Ok(chunk)
    }
}

impl From<WriteError> for LaneError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Stopped(_) => Self::Stopped,
            _ => Self::Gone,
        }
    }
}

/// Live before backlog, and within each the older first: fragments that are sent side by side at one rank
/// would all end late, and out of order.
pub(super) fn stream_priority(priority: Priority, rank: u64) -> i32 {
    const RANKS: i32 = 1 << 29;
    let rank = i32::try_from(rank).unwrap_or(RANKS).min(RANKS - 1);
    priority.quic() * RANKS - rank
}
