//! One session at work: fragments go out of the spool, acks come in, and what they say is done.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use spool::Entry;
use tokio::task::block_in_place;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use upload::{ErrorCode, FragmentKey};

use super::acks::Acks;
use super::body::{Body, BodyError, Fragment};
use super::line::Line;
use super::put_media::PutMedia;
use super::queue::Queue;
use super::session::{End, Session, Told, Turn};
use super::{Shared, keys, limits};
use crate::uplink::Notice;

/// A session at work.
pub(super) struct Exchange<'a> {
    line: &'a Line,
    put: PutMedia,
    pub(super) session: Session,
    body: Body,
    acks: Acks,
    queue: Queue,
    /// What is left to be handed over of the fragment that is being sent.
    outgoing: VecDeque<Bytes>,
    end: Ending,
}

/// How far our end of the session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// It is open.
    Open,
    /// No fragment is to follow.
    Due,
    /// The body has its end, or has no reader any more.
    Done,
}

/// Why a fragment of the spool can't be sent.
enum Unsendable {
    Unreadable,
    Body(BodyError),
}

impl<'a> Exchange<'a> {
    pub(super) fn new(line: &'a Line, put: PutMedia, session: Session) -> Self {
        Self {
            line,
            put,
            session,
            body: Body::default(),
            acks: Acks::default(),
            queue: line.queue(),
            outgoing: VecDeque::new(),
            end: Ending::Open,
        }
    }

    /// Until the session's end. An error is what to say of it.
    pub(super) async fn drive(&mut self, stop: &CancellationToken) -> Result<(), String> {
        loop {
            let now = self.line.shared.now();
            if let Some(why) = self.session.handle_timeout(now) {
                return Err(why);
            }
            if self.end == Ending::Done && self.session.is_settled() {
                return self.close().await;
            }
            let next = if self.outgoing.is_empty() && self.end == Ending::Open { self.load() } else { None };
            let look = [next, self.session.poll_timeout(now)].into_iter().flatten().min();
            let open = self.end == Ending::Open;
            let has_piece = !self.outgoing.is_empty() && self.end != Ending::Done || self.end == Ending::Due;
            let (outlet, inlet) = self.put.halves();
            let mut stopped = false;
            let heard = tokio::select! {
                heard = inlet.next() => Some(heard),
                room = outlet.room(), if has_piece => {
                    match (room, self.outgoing.pop_front()) {
                        (Some(room), Some(piece)) => {
                            room.send(piece);
                            self.session.handle_progress(self.line.shared.now());
                        }
                        (Some(room), None) => {
                            room.end();
                            self.end = Ending::Done;
                        }
                        // Why, the acks say, or their end.
                        (None, _) => self.end = Ending::Done,
                    }
                    None
                }
                () = sleep_until(&self.line.shared, look) => None,
                () = self.line.wake.notified(), if open => None,
                () = stop.cancelled() => {
                    stopped = true;
                    None
                }
            };
            if stopped {
                return self.close().await;
            }
            match heard {
                None => {}
                Some(Ok(Some(bytes))) => {
                    if let Some(ended) = self.hear(&bytes)? {
                        return ended;
                    }
                }
                Some(Ok(None)) => return self.closed(None),
                Some(Err(error)) => return self.closed(Some(keys::chain(&error))),
            }
        }
    }

    /// Loads the next fragment, if one may go now. Gives when to try again, if that is a matter of time.
    fn load(&mut self) -> Option<Duration> {
        loop {
            let now = self.line.shared.now();
            match self.session.turn(now) {
                Turn::Send => {}
                Turn::Wait(until) => return Some(until),
                Turn::Acks => return None,
                Turn::Rotate => {
                    self.end = Ending::Due;
                    return None;
                }
            }
            let (ordinal, entry) = block_in_place(|| self.queue.next())?;
            let fragment = match block_in_place(|| self.read(&entry)) {
                Ok(fragment) => fragment,
                Err(Unsendable::Unreadable) => {
                    self.repair(ordinal, &entry);
                    continue;
                }
                Err(Unsendable::Body(error)) => {
                    self.reject(&entry.key, ErrorCode::InvalidMkv, &error.to_string());
                    continue;
                }
            };
            if let Err(misfit) = self.body.fits(&fragment) {
                tracing::debug!(fragment = %entry.key, ?misfit, "a fragment needs another session");
                self.end = Ending::Due;
                return None;
            }
            match self.body.write(&fragment) {
                Ok(pieces) => {
                    self.outgoing.extend(pieces);
                    self.session.begun(now, entry.key, fragment.timecode(), entry.bytes);
                    self.queue.pass(ordinal);
                    return None;
                }
                Err(error) => self.reject(&entry.key, ErrorCode::InvalidMkv, &error.to_string()),
            }
        }
    }

    fn read(&self, entry: &Entry) -> Result<Fragment, Unsendable> {
        let shared = &self.line.shared;
        let unreadable = |error: spool::ReadError| {
            tracing::warn!(fragment = %entry.key, %error, "a fragment can't be read back");
            Unsendable::Unreadable
        };
        let mut reader = shared.spool.read(&entry.key).map_err(unreadable)?;
        let header = reader.header();
        let (start, _) = shared.calendar().resolve(entry.key.id, header.start, shared.spool.is_own(header));
        let bytes = usize::try_from(entry.bytes).map_err(|_| Unsendable::Unreadable)?;
        let pieces: Vec<Bytes> = reader.read(bytes).map_err(unreadable)?.into();
        Fragment::read(pieces.concat().into(), start).map_err(Unsendable::Body)
    }

    /// Takes acks. `Some`: the session is over.
    fn hear(&mut self, bytes: &[u8]) -> Result<Option<Result<(), String>>, String> {
        self.acks.push(bytes);
        let mut over = None;
        while let Some(ack) = self.acks.next().map_err(|error| error.to_string())? {
            let (now, wall) = (self.line.shared.now(), self.line.shared.clock.wall());
            let Some(told) = self.session.handle_ack(now, wall, ack) else { continue };
            match told {
                Told::Buffering(key) => self.tell(&Notice::Buffering(key)),
                Told::Received(key) => self.tell(&Notice::Received(key)),
                Told::Persisted(key, number) => self.persisted(&key, &number),
                Told::Rejected { key, code, message } => {
                    self.reject(&key, code, &message);
                    over = Some(Ok(()));
                }
                Told::Over(End::Done) => over = Some(Ok(())),
                Told::Over(End::Trouble(why)) => over = Some(Err(why)),
            }
        }
        Ok(over)
    }

    /// The answer has ended.
    fn closed(&self, why: Option<String>) -> Result<(), String> {
        if self.session.is_settled() {
            return Ok(());
        }
        let why = why.unwrap_or_else(|| "it closed the connection".to_owned());
        Err(format!("AWS ended the session before all was persisted: {why}"))
    }

    /// Ends the session in order, if it is between two fragments: what was sent may still be acknowledged.
    async fn close(&mut self) -> Result<(), String> {
        if !self.outgoing.is_empty() {
            return Ok(());
        }
        let closing = async {
            if self.end != Ending::Done
                && let Some(room) = self.put.halves().0.room().await
            {
                room.end();
            }
            while let Ok(Some(bytes)) = self.put.halves().1.next().await {
                if self.hear(&bytes)?.is_some() {
                    break;
                }
            }
            Ok(())
        };
        tokio::time::timeout(limits::CLOSE_WAIT_MAX, closing).await.unwrap_or(Ok(()))
    }

    /// A fragment leaves the spool after it was told why, so that whoever finds it gone without a word knows that it is lost.
    fn persisted(&self, key: &FragmentKey, number: &str) {
        let shared = &self.line.shared;
        tracing::debug!(target: "millrace_agent", stream = %key.stream, fragment = %key.id, number, "persisted at AWS");
        self.tell(&Notice::Persisted(key.clone(), None));
        if let Some(path) = shared.spool.release(key) {
            let spool = shared.spool.clone();
            shared.removals.spawn_blocking(move || spool.remove(&path));
        }
    }

    fn reject(&self, key: &FragmentKey, code: ErrorCode, message: &str) {
        tracing::error!(fragment = %key, %code, message, "AWS can't take a fragment; it is put aside");
        self.tell(&Notice::Rejected { key: key.clone(), code, message: message.to_owned() });
        if let Err(error) = self.line.shared.spool.reject(key) {
            tracing::warn!(fragment = %key, %error, "a refused fragment can't be moved aside");
        }
    }

    fn repair(&mut self, ordinal: u64, entry: &Entry) {
        let spool = &self.line.shared.spool;
        // A full spool may have dropped it a moment ago.
        if spool.holds(&entry.key) {
            block_in_place(|| spool.repair(&entry.key));
        }
        if !spool.holds(&entry.key) {
            self.tell(&Notice::Lost(entry.key.clone()));
        } else if spool.entry(ordinal).is_some_and(|repaired| repaired.bytes == entry.bytes) {
            // Nothing was wrong with the file itself: the next session tries again.
            self.queue.pass(ordinal);
        }
    }

    fn tell(&self, notice: &Notice) {
        (self.line.shared.observer)(notice);
    }
}

/// Waits until a moment, counted as the session counts; for ever, if there is none.
async fn sleep_until(shared: &Shared, at: Option<Duration>) {
    match at {
        Some(at) => tokio::time::sleep_until(Instant::from_std(shared.began + at)).await,
        None => std::future::pending().await,
    }
}
