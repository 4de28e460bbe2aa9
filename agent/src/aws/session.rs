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
mod tests {
    use fragment::{FragmentId, Sequence, SessionId};
    use proptest::prelude::*;

    use super::*;

    const WALL: WallTime = WallTime::from_millis(1_000_000);

    #[test]
    fn a_fragment_leaves_only_when_it_is_persisted() {
        let mut session = with(3);
        assert_eq!(tell(&mut session, Kind::Buffering, Some(100)), Some(Told::Buffering(key(0))));
        assert_eq!(tell(&mut session, Kind::Received, Some(100)), Some(Told::Received(key(0))));
        assert!(!session.has_settled());
        // Acks of neighbours interleave.
        assert_eq!(tell(&mut session, Kind::Persisted, Some(101)), Some(Told::Persisted(key(1), "9".to_owned())));
        assert_eq!(tell(&mut session, Kind::Persisted, Some(101)), None, "an ack that comes twice says nothing new");
        assert_eq!(tell(&mut session, Kind::Persisted, Some(100)), Some(Told::Persisted(key(0), "9".to_owned())));
        assert_eq!(tell(&mut session, Kind::Idle, None), None);
        assert_eq!(tell(&mut session, Kind::Persisted, Some(777)), None);
        assert!(session.has_settled() && !session.is_settled());
    }

    #[test]
    fn a_stream_that_keeps_nothing_has_received_for_its_last_word() {
        let mut session = Session::new(Duration::ZERO, None, false);
        session.begun(Duration::ZERO, key(0), 100, 1);
        assert_eq!(tell(&mut session, Kind::Received, Some(100)), Some(Told::Persisted(key(0), "9".to_owned())));
        assert!(session.is_settled());
    }

    #[test]
    fn a_fragment_that_aws_can_not_take_is_rejected_and_no_other() {
        for id in [4001, 4002, 4005, 4006, 4009, 4010, 4011, 4012] {
            let mut session = with(3);
            let told = tell(&mut session, error(id), Some(101)).unwrap();
            assert!(
                matches!(&told, Told::Rejected { key: k, code, .. } if *k == key(1) && code.number() == id),
                "{told:?}"
            );
        }
    }

    #[test]
    fn what_is_no_fault_of_the_fragment_is_sent_again() {
        for id in [4000, 4008, 4500, 4501, 4502, 4503, 4504, 4505, 4506, 4507, 5000, 5001, 9999, 0] {
            let told = tell(&mut with(3), error(id), Some(100)).unwrap();
            assert!(matches!(told, Told::Over(End::Trouble(_))), "{id}: {told:?}");
        }
        assert_eq!(tell(&mut with(3), error(4003), Some(100)), Some(Told::Over(End::Done)));
    }

    #[test]
    fn an_error_that_names_no_fragment_is_that_of_the_first_that_was_not_received() {
        let mut session = with(3);
        tell(&mut session, Kind::Received, Some(100));
        let told = tell(&mut session, error(4006), None).unwrap();
        assert!(matches!(told, Told::Rejected { key: k, .. } if k == key(1)));
    }

    #[test]
    fn a_fragment_out_of_order_gets_a_session_of_its_own_before_it_is_given_up() {
        assert_eq!(tell(&mut with(3), error(4004), Some(101)), Some(Told::Over(End::Done)));
        assert!(matches!(tell(&mut with(3), error(4004), Some(100)), Some(Told::Rejected { .. })));
    }

    #[test]
    fn a_fragment_from_the_future_waits_and_one_from_elsewhere_is_rejected() {
        let mut session = Session::new(Duration::ZERO, None, true);
        session.begun(Duration::ZERO, key(0), 1_000_001, 1);
        assert!(matches!(tell(&mut session, error(4007), Some(1_000_001)), Some(Told::Over(End::Trouble(_)))));
        assert!(matches!(tell(&mut with(1), error(4007), Some(100)), Some(Told::Rejected { .. })));
    }

    #[test]
    fn a_session_ends_before_aws_ends_it_and_before_its_credentials_do() {
        let at = |credentials: Option<u64>| {
            let session = Session::new(Duration::from_secs(9), credentials.map(Duration::from_secs), true);
            session.poll_timeout(Duration::ZERO).unwrap().as_secs() - 9
        };
        assert_eq!(at(None), 40 * 60);
        assert_eq!(at(Some(3600)), 40 * 60);
        assert_eq!(at(Some(900)), 660);
        assert_eq!(at(Some(10)), 30, "credentials that have all but expired cost no session each moment");
        let session = Session::new(Duration::ZERO, Some(Duration::from_secs(900)), true);
        assert_eq!(session.turn(Duration::from_secs(659)), Turn::Send);
        let over = Duration::from_secs(660);
        assert_eq!((session.turn(over), session.poll_timeout(over)), (Turn::Rotate, None));
    }

    #[test]
    fn silence_ends_a_session_only_while_acks_are_owed() {
        let session = Session::new(Duration::ZERO, None, true);
        assert_eq!(session.handle_timeout(Duration::from_secs(1000)), None);
        let mut session = with(1);
        let dead = session.poll_timeout(Duration::ZERO).unwrap();
        assert_eq!(dead, limits::SILENCE_MAX);
        assert!(session.handle_timeout(dead).is_some_and(|why| why.contains("60 seconds")));
        session.handle_ack(Duration::from_secs(50), WALL, ack(Kind::Idle, None));
        assert_eq!(session.handle_timeout(dead), None, "it was heard");
        for second in (60..300).step_by(50) {
            session.handle_ack(Duration::from_secs(second), WALL, ack(Kind::Idle, None));
        }
        assert!(session.handle_timeout(limits::PERSIST_MAX).is_some_and(|why| why.contains("not persisted")));
    }

    proptest! {
        #[test]
        fn never_more_is_sent_than_aws_takes(sizes in prop::collection::vec(1u64..20_000_000, 1..200), step_ms in 1u64..400) {
            let mut session = Session::new(Duration::ZERO, None, true);
            let (mut now, mut sent) = (Duration::ZERO, Vec::new());
            for (n, bytes) in sizes.into_iter().enumerate() {
                let n = n as u64;
                while session.turn(now) != Turn::Send {
                    // A server that acks at once: only the pace is left.
                    prop_assert!(matches!(session.turn(now), Turn::Wait(_)));
                    now += Duration::from_millis(step_ms);
                }
                session.begun(now, key(0), n, bytes);
                session.handle_ack(now, WALL, ack(Kind::Persisted, Some(n)));
                sent.push((now, bytes));
            }
            for (n, (at, _)) in sent.iter().enumerate() {
                let second: Vec<_> = sent[n..].iter().take_while(|(t, _)| *t < *at + Duration::from_secs(1)).collect();
                prop_assert!(second.len() <= 5, "{} fragments in a second", second.len());
                // The last one may be larger than what is left of the second.
                let bytes: u64 = second[..second.len() - 1].iter().map(|(_, bytes)| bytes).sum();
                prop_assert!(bytes <= limits::BYTES_PER_SECOND, "{bytes} bytes in a second");
            }
        }

        #[test]
        fn what_is_not_acknowledged_is_bounded(sizes in prop::collection::vec(1u64..60_000_000, 1..300)) {
            let mut session = Session::new(Duration::ZERO, None, true);
            let (mut now, mut count, mut before) = (Duration::ZERO, 0, 0);
            for (n, bytes) in sizes.into_iter().enumerate() {
                if let Turn::Wait(until) = session.turn(now) {
                    now = until;
                }
                if session.turn(now) != Turn::Send {
                    break;
                }
                prop_assert!(before < limits::WINDOW_BYTES);
                session.begun(now, key(0), n as u64, bytes);
                before += bytes;
                count += 1;
            }
            prop_assert!(count <= limits::WINDOW_FRAGMENTS);
        }
    }

    /// A session in which so many fragments were sent, with the timecodes 100, 101 and so on.
    fn with(fragments: u32) -> Session {
        let mut session = Session::new(Duration::ZERO, None, true);
        for n in 0..fragments {
            session.begun(Duration::ZERO, key(n), 100 + u64::from(n), 1);
        }
        session
    }

    fn tell(session: &mut Session, kind: Kind, timecode: Option<u64>) -> Option<Told> {
        session.handle_ack(Duration::ZERO, WALL, ack(kind, timecode))
    }

    fn ack(kind: Kind, timecode: Option<u64>) -> Ack {
        Ack { kind, timecode, number: Some("9".to_owned()) }
    }

    fn error(id: u32) -> Kind {
        Kind::Error { id, code: "WHY".to_owned() }
    }

    fn key(n: u32) -> FragmentKey {
        let id = FragmentId { session: SessionId(7), sequence: Sequence(n) };
        FragmentKey { stream: "front".parse().unwrap(), id }
    }
}
