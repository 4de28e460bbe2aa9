//! One PutMedia session: what may be sent when, what became of it, and when the session ends.
//!
//! Pure: `now` is the time since any moment that stays the same, `wall` what the calendar says. AWS takes one
//! connection per stream and times that ascend within it, so fragments go in the order of capture, and what was not
//! persisted when a session ends goes first in the next one.

use std::collections::VecDeque;
use std::time::Duration;

use fragment::WallTime;
use upload::{ErrorCode, FragmentKey};

use super::acks::{Ack, Kind};
use super::limits;

/// What may be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Send a fragment.
    Send,
    /// Send none before this.
    Wait(Duration),
    /// Send none before more acks are in.
    Acks,
    /// Send nothing more: the session has lasted long enough.
    Rotate,
}

/// What an ack means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// The first bytes of it are there.
    Buffering(FragmentKey),
    /// All of it is there.
    Received(FragmentKey),
    /// It is stored, under this number.
    Persisted(FragmentKey, String),
    /// It will never be taken.
    Rejected {
        /// Which.
        key: FragmentKey,
        /// Why, for programs.
        code: ErrorCode,
        /// Why, for people.
        message: String,
    },
    /// The session is over.
    Over(End),
}

/// How a session ended. What is not persisted is sent again in any case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// As it should: the next one may begin at once.
    Done,
    /// With an error, and the next one after a pause.
    Trouble(String),
}

/// The state of one session.
#[derive(Debug)]
pub(super) struct Session {
    /// When it has lasted long enough.
    ends: Duration,
    /// Whether the stream keeps what it gets. If not, nothing is ever persisted, and received is all there is.
    keeps: bool,
    sent: VecDeque<Sent>,
    bytes: u64,
    /// Fragments that were sent so far.
    count: u64,
    /// When the next fragment may be sent.
    next: Duration,
    heard: Duration,
    settled: bool,
}

#[derive(Debug)]
struct Sent {
    key: FragmentKey,
    timecode: u64,
    bytes: u64,
    at: Duration,
    received: bool,
    first: bool,
}

/// What an error of AWS says about the fragment.
enum Verdict {
    /// It can't be taken, now or later.
    Reject,
    /// It belongs into a session of its own.
    Separate,
    /// It is from the future, which passes.
    Early,
    /// Nothing: it is the stream, or AWS.
    Again,
}

impl Session {
    /// A session that begins now, with credentials that are good for so long.
    pub(super) fn new(now: Duration, credentials: Option<Duration>, keeps: bool) -> Self {
        let good = credentials.map_or(limits::SESSION_MAX, |good| good.saturating_sub(limits::CREDENTIALS_MARGIN));
        let lasts = good.clamp(limits::SESSION_MIN, limits::SESSION_MAX);
        Self {
            ends: now + lasts,
            keeps,
            sent: VecDeque::new(),
            bytes: 0,
            count: 0,
            next: now,
            heard: now,
            settled: false,
        }
    }

    /// What may be done now.
    pub(super) fn turn(&self, now: Duration) -> Turn {
        match () {
            () if now >= self.ends => Turn::Rotate,
            () if self.sent.len() >= limits::WINDOW_FRAGMENTS || self.bytes >= limits::WINDOW_BYTES => Turn::Acks,
            () if now < self.next => Turn::Wait(self.next),
            () => Turn::Send,
        }
    }

    /// The sending of a fragment begins.
    pub(super) fn begun(&mut self, now: Duration, key: FragmentKey, timecode: u64, bytes: u64) {
        let transfer = Duration::from_nanos(bytes.saturating_mul(1_000_000_000) / limits::BYTES_PER_SECOND);
        self.next = self.next.max(now) + transfer.max(limits::FRAGMENT_PAUSE);
        self.bytes += bytes;
        self.sent.push_back(Sent { key, timecode, bytes, at: now, received: false, first: self.count == 0 });
        self.count += 1;
    }

    /// Some of the fragment that is being sent was taken. On a slow line that can be all for minutes, and is no silence.
    pub(super) fn handle_progress(&mut self, now: Duration) {
        self.heard = now;
        if let Some(sending) = self.sent.back_mut() {
            sending.at = now;
        }
    }

    /// What an ack means. It may settle what was sent, or end the session.
    pub(super) fn handle_ack(&mut self, now: Duration, wall: WallTime, ack: Ack) -> Option<Told> {
        self.heard = now;
        let at = ack.timecode.and_then(|timecode| self.sent.iter().position(|sent| sent.timecode == timecode));
        match ack.kind {
            Kind::Idle | Kind::Unknown => None,
            Kind::Buffering => Some(Told::Buffering(self.sent[at?].key.clone())),
            Kind::Received if self.keeps => {
                let sent = &mut self.sent[at?];
                sent.received = true;
                Some(Told::Received(sent.key.clone()))
            }
            Kind::Received | Kind::Persisted => {
                let key = self.settle(at?).key;
                Some(Told::Persisted(key, ack.number.unwrap_or_default()))
            }
            Kind::Error { id, code } => Some(self.handle_error(wall, at, id, &code)),
        }
    }

    /// Whether what was sent is all settled.
    pub(super) fn is_settled(&self) -> bool {
        self.sent.is_empty()
    }

    /// Whether a fragment was settled in it: then a next session is not the same again.
    pub(super) fn has_settled(&self) -> bool {
        self.settled
    }

    /// When to look again: the end of the session, if that is still to come, or of waiting for acks.
    pub(super) fn poll_timeout(&self, now: Duration) -> Option<Duration> {
        let dead = self.sent.front().map(|oldest| {
            let silent = self.heard.max(oldest.at) + limits::SILENCE_MAX;
            silent.min(oldest.at + limits::PERSIST_MAX)
        });
        [Some(self.ends).filter(|&ends| ends > now), dead].into_iter().flatten().min()
    }

    /// Why the connection is of no use any more, if it is not.
    pub(super) fn handle_timeout(&self, now: Duration) -> Option<String> {
        let oldest = self.sent.front()?;
        let seconds = |since: Duration| now.saturating_sub(since).as_secs();
        if now >= self.heard.max(oldest.at) + limits::SILENCE_MAX {
            return Some(format!("no acknowledgement for {} seconds", seconds(self.heard.max(oldest.at))));
        }
        (now >= oldest.at + limits::PERSIST_MAX)
            .then(|| format!("a fragment that was sent {} seconds ago is not persisted", seconds(oldest.at)))
    }

    fn settle(&mut self, at: usize) -> Sent {
        let sent = self.sent.remove(at).expect("the caller has found it");
        self.bytes -= sent.bytes;
        self.settled = true;
        sent
    }

    fn handle_error(&mut self, wall: WallTime, at: Option<usize>, id: u32, code: &str) -> Told {
        // AWS reads in order: where it names no fragment, it was in the first that it had not received.
        let at = at.or_else(|| self.sent.iter().position(|sent| !sent.received));
        let message = format!("{code} ({id})");
        let trouble = || Told::Over(End::Trouble(format!("AWS ended the session: {message}{}", advice(id))));
        let Some(at) = at else { return trouble() };
        let (first, timecode) = (self.sent[at].first, self.sent[at].timecode);
        match verdict(id) {
            Verdict::Separate if !first => Told::Over(End::Done),
            Verdict::Early if i64::try_from(timecode).is_ok_and(|timecode| timecode > wall.as_millis()) => trouble(),
            Verdict::Again if id == 4003 => Told::Over(End::Done),
            Verdict::Again => trouble(),
            Verdict::Reject | Verdict::Separate | Verdict::Early => {
                let key = self.settle(at).key;
                Told::Rejected { key, code: ErrorCode::from_number(id), message: code.to_owned() }
            }
        }
    }
}

/// Where the fault lies. AWS's own producer gives up a fragment on most of these; one that waits on disk need not be lost
/// because a key is disabled for an hour.
fn verdict(id: u32) -> Verdict {
    match id {
        // Too large, too long, more tracks than one, no Matroska, tags, tracks and frames.
        4001 | 4002 | 4005 | 4006 | 4009..=4012 => Verdict::Reject,
        4004 => Verdict::Separate,
        4007 => Verdict::Early,
        _ => Verdict::Again,
    }
}

fn advice(id: u32) -> &'static str {
    match id {
        4007 => "; a fragment lies in AWS's future and waits",
        4008 | 4507 => "; the stream is gone or not active",
        4500..=4506 => "; see to the stream's KMS key, the fragments wait",
        _ => "",
    }
}

#[cfg(test)]
mod tests;
