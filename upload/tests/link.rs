//! Both ends on a simulated link that delays and reorders streams and loses the connection. The
//! server end forgets what it had begun at each loss, as a killed server does, and keeps what it
//! persisted. Same seed, same run.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use fragment::{ClockQuality, FragmentId, FragmentNumber, Sequence, SessionId, StreamName, WallTime};
use upload::{
    Ack, AckKind, Action, ErrorCode, FragmentHeader, FragmentKey, FragmentReceiver, FromServer, Priority, Received,
    Sender, Trailer, Welcome, limits, wire,
};

#[test]
fn everything_captured_arrives_once_whatever_the_link_does() {
    for seed in 0..60 {
        let mut world = World::new(seed);
        world.add_backlog("front", 40);
        world.add_backlog("back", 25);
        world.run();
        assert_eq!(world.server.stored, world.device.captured, "seed {seed}");
        assert!(world.device.spool.is_empty(), "seed {seed}: the spool was not freed");
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = |seed| {
        let mut world = World::new(seed);
        world.add_backlog("front", 30);
        world.run();
        world.log
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5), run(6));
}

#[test]
fn live_goes_before_backlog() {
    let mut sender = welcomed(8, 1 << 20);
    for sequence in 0..5 {
        sender.opened(key("front", 1, sequence), Priority::Backlog);
        sender.finished(&key("front", 1, sequence), trailer(&media(100)));
    }
    sender.opened(key("front", 2, 0), Priority::Live);
    let first = sender.poll_action(Duration::ZERO);
    assert_eq!(first, Some(Action::Open { key: key("front", 2, 0), priority: Priority::Live }));
}

#[test]
fn backlog_leaves_a_quarter_of_the_window_to_live() {
    let mut sender = welcomed(8, 1 << 20);
    for sequence in 0..20 {
        sender.opened(key("front", 1, sequence), Priority::Backlog);
        sender.finished(&key("front", 1, sequence), trailer(&media(10)));
    }
    assert_eq!(opened(&mut sender), 6);
    for stream in ["a", "b", "c"] {
        sender.opened(key(stream, 2, 0), Priority::Live);
    }
    assert_eq!(opened(&mut sender), 2);
}

#[test]
fn the_window_of_bytes_holds_backlog_back_but_lets_a_giant_go_alone() {
    let mut sender = welcomed(100, 1000);
    for sequence in 0..3 {
        sender.opened(key("front", 1, sequence), Priority::Backlog);
        sender.finished(&key("front", 1, sequence), trailer(&media(5000)));
    }
    assert_eq!(opened(&mut sender), 1);
    acknowledge(&mut sender, &key("front", 1, 0), AckKind::Persisted);
    assert_eq!(opened(&mut sender), 1);
}

#[test]
fn a_fragment_is_written_as_it_grows_one_chunk_at_a_time() {
    let mut sender = welcomed(8, 1 << 20);
    let k = key("front", 1, 0);
    sender.opened(k.clone(), Priority::Live);
    assert!(matches!(sender.poll_action(Duration::ZERO), Some(Action::Open { .. })));
    assert_eq!(sender.poll_action(Duration::ZERO), None);
    sender.grew(&k, 10);
    assert_eq!(sender.poll_action(Duration::ZERO), Some(Action::Write { key: k.clone(), range: 0..10 }));
    sender.grew(&k, 25);
    assert_eq!(sender.poll_action(Duration::ZERO), None, "the first chunk is still being written");
    sender.handle_written(&k);
    assert_eq!(sender.poll_action(Duration::ZERO), Some(Action::Write { key: k.clone(), range: 10..25 }));
    let end = trailer(&media(25));
    sender.finished(&k, end);
    assert_eq!(sender.poll_action(Duration::ZERO), None);
    sender.handle_written(&k);
    assert_eq!(sender.poll_action(Duration::ZERO), Some(Action::Finish { key: k, trailer: end }));
}

#[test]
fn a_duplicate_is_reset_and_freed_at_the_ack_that_answers_its_header() {
    let mut sender = welcomed(8, 1 << 20);
    let k = key("front", 1, 0);
    sender.opened(k.clone(), Priority::Live);
    sender.grew(&k, 10);
    sender.poll_action(Duration::ZERO);
    acknowledge(&mut sender, &k, AckKind::Persisted);
    assert_eq!(sender.poll_action(Duration::ZERO), Some(Action::Reset { key: k.clone() }));
    assert!(matches!(sender.poll_action(Duration::ZERO), Some(Action::Persisted { .. })));
    assert!(!sender.knows(&k));
}

#[test]
fn an_error_that_may_pass_is_tried_again_after_a_pause_that_grows() {
    let mut sender = welcomed(8, 1 << 20);
    let k = key("front", 1, 0);
    sender.opened(k.clone(), Priority::Backlog);
    sender.finished(&k, trailer(&media(10)));
    let mut now = Duration::ZERO;
    let mut pauses = Vec::new();
    for _ in 0..9 {
        while sender.poll_action(now).is_some() {
            sender.handle_written(&k);
        }
        acknowledge_at(&mut sender, now, &k, error(ErrorCode::Archival));
        let Some(Action::Postponed { pause, .. }) = sender.poll_action(now) else { panic!("not postponed") };
        assert_eq!(sender.poll_action(now), None, "it is paused");
        assert_eq!(sender.poll_timeout(), Some(now + pause));
        now += pause;
        pauses.push(pause);
    }
    assert!(pauses[0] >= limits::RETRY_PAUSE_MIN / 2 && pauses[0] <= limits::RETRY_PAUSE_MIN);
    assert!(pauses[3] > pauses[0]);
    assert!(pauses.iter().all(|&pause| pause <= limits::RETRY_PAUSE_MAX));
}

#[test]
fn an_error_that_will_not_pass_rejects_the_fragment_and_no_other() {
    let mut sender = welcomed(8, 1 << 20);
    for sequence in 0..2 {
        sender.opened(key("front", 1, sequence), Priority::Backlog);
        sender.finished(&key("front", 1, sequence), trailer(&media(10)));
    }
    while sender.poll_action(Duration::ZERO).is_some() {
        sender.handle_written(&key("front", 1, 0));
        sender.handle_written(&key("front", 1, 1));
    }
    acknowledge(&mut sender, &key("front", 1, 0), error(ErrorCode::InvalidMkv));
    let Some(Action::Rejected { code, .. }) = sender.poll_action(Duration::ZERO) else { panic!("not rejected") };
    assert_eq!(code, ErrorCode::InvalidMkv);
    assert!(sender.knows(&key("front", 1, 1)));
}

#[test]
fn a_silent_server_is_left_after_a_while() {
    let mut sender = welcomed(8, 1 << 20);
    let k = key("front", 1, 0);
    sender.opened(k.clone(), Priority::Backlog);
    sender.finished(&k, trailer(&media(10)));
    while sender.poll_action(Duration::ZERO).is_some() {
        sender.handle_written(&k);
    }
    assert_eq!(sender.poll_timeout(), Some(limits::ACK_WAIT_MAX));
    assert_eq!(sender.poll_action(limits::ACK_WAIT_MAX), Some(Action::Reconnect));
}

#[test]
fn live_waits_too_while_the_server_owes_acks_for_a_window_of_bytes() {
    let mut sender = welcomed(8, 1000);
    for sequence in 0..3 {
        let k = key("front", 1, sequence);
        sender.opened(k.clone(), Priority::Live);
        sender.grew(&k, 600);
        let begun = opened(&mut sender);
        sender.finished(&k, trailer(&media(600)));
        opened(&mut sender);
        assert_eq!(begun, usize::from(sequence < 2), "fragment {sequence}");
    }
    acknowledge(&mut sender, &key("front", 1, 0), AckKind::Persisted);
    sender.opened(key("front", 1, 3), Priority::Live);
    assert_eq!(opened(&mut sender), 1, "what is captured now goes first");
}

#[test]
fn a_live_fragment_that_was_refused_for_now_after_its_end_waits_for_the_window() {
    let mut sender = welcomed(8, 1000);
    let (refused, sent) = (key("front", 1, 0), key("front", 1, 1));
    for k in [&refused, &sent] {
        sender.opened(k.clone(), Priority::Live);
        sender.grew(k, 600);
        opened(&mut sender);
        sender.finished(k, trailer(&media(600)));
        opened(&mut sender);
    }
    acknowledge(&mut sender, &refused, error(ErrorCode::Overloaded));
    while sender.poll_action(Duration::ZERO).is_some() {}
    let later = limits::RETRY_PAUSE_MIN;
    assert_eq!(sender.poll_action(later), None, "the server has the other one to store first");
    acknowledge_at(&mut sender, later, &sent, AckKind::Persisted);
    assert!(matches!(sender.poll_action(later), Some(Action::Persisted { .. })));
    assert_eq!(sender.poll_action(later), Some(Action::Open { key: refused, priority: Priority::Backlog }));
}

#[test]
fn only_so_much_backlog_is_asked_for() {
    let mut sender = Sender::new(1);
    assert_eq!(sender.backlog_wanted(), limits::BACKLOG_LOOKAHEAD);
    for sequence in 0..u32::try_from(limits::BACKLOG_LOOKAHEAD).unwrap() {
        sender.opened(key("front", 1, sequence), Priority::Backlog);
    }
    assert_eq!(sender.backlog_wanted(), 0);
}

#[test]
fn fragments_that_are_refused_for_now_do_not_hold_up_those_behind_them() {
    let mut sender = welcomed(8, 1 << 20);
    for sequence in 0..100 {
        let k = key("front", 1, sequence);
        assert!(sender.backlog_wanted() > 0, "at {sequence}");
        refuse_for_now(&mut sender, &k);
    }
    let good = key("front", 2, 0);
    sender.opened(good.clone(), Priority::Backlog);
    sender.finished(&good, trailer(&media(10)));
    assert_eq!(sender.poll_action(Duration::ZERO), Some(Action::Open { key: good, priority: Priority::Backlog }));
}

#[test]
fn no_more_backlog_is_asked_for_when_a_server_refuses_all_of_it_for_now() {
    let mut sender = welcomed(8, 1 << 20);
    let asked = (0..).take_while(|&sequence| {
        refuse_for_now(&mut sender, &key("front", 1, sequence));
        sender.backlog_wanted() > 0
    });
    assert_eq!(asked.count(), limits::POSTPONED_MAX - 1);
}

/// A device, a link and a server.
struct World {
    random: fastrand::Rng,
    now: Duration,
    device: Device,
    /// While there is a connection; each has one of its own.
    sender: Option<Sender>,
    link: Link,
    server: Server,
    log: Vec<String>,
}

#[derive(Default)]
struct Device {
    spool: BTreeMap<FragmentKey, Vec<u8>>,
    captured: BTreeMap<FragmentKey, Vec<u8>>,
    /// The live fragment and how much of it is captured.
    live: Option<(FragmentKey, Vec<u8>)>,
    next_live: u32,
    /// What the present sender has not been told of, oldest first.
    backlog: VecDeque<FragmentKey>,
}

/// Bytes on the way, by when they arrive. Each stream keeps its own order; streams overtake each other.
#[derive(Default)]
struct Link {
    streams: BTreeMap<FragmentKey, VecDeque<(Duration, Option<Bytes>)>>,
    acks: VecDeque<(Duration, Bytes)>,
}

#[derive(Default)]
struct Server {
    receivers: HashMap<FragmentKey, (FragmentReceiver, Vec<u8>)>,
    stored: BTreeMap<FragmentKey, Vec<u8>>,
    committing: BTreeSet<(Duration, FragmentKey)>,
    complete: BTreeMap<FragmentKey, Vec<u8>>,
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            random: fastrand::Rng::with_seed(seed),
            now: Duration::ZERO,
            device: Device::default(),
            sender: None,
            link: Link::default(),
            server: Server::default(),
            log: Vec::new(),
        }
    }

    fn add_backlog(&mut self, stream: &str, count: u32) {
        for sequence in 0..count {
            let bytes: Vec<u8> = (0..self.random.usize(1..4000)).map(|_| self.random.u8(..)).collect();
            let k = key(stream, 1, sequence);
            self.device.captured.insert(k.clone(), bytes.clone());
            self.device.spool.insert(k, bytes);
        }
    }

    /// Runs for ten simulated minutes at most; live capture and losses end after one.
    fn run(&mut self) {
        while self.now < Duration::from_secs(600) {
            let busy = self.now < Duration::from_secs(60);
            if !busy && self.device.spool.is_empty() {
                break;
            }
            self.now += Duration::from_millis(20);
            self.capture(busy);
            if busy && self.sender.is_some() && self.random.u32(..100) == 0 {
                self.lose_connection();
            } else if self.sender.is_none() && self.random.u32(..20) == 0 {
                self.connect();
            }
            self.deliver();
            self.act();
        }
    }

    fn capture(&mut self, go_on: bool) {
        match &mut self.device.live {
            None if go_on => {
                let k = key("front", 2, self.device.next_live);
                self.device.next_live += 1;
                if let Some(sender) = &mut self.sender {
                    sender.opened(k.clone(), Priority::Live);
                }
                self.device.spool.insert(k.clone(), Vec::new());
                self.device.live = Some((k, Vec::new()));
            }
            None => {}
            Some((k, bytes)) => {
                bytes.extend((0..self.random.usize(1..300)).map(|_| self.random.u8(..)));
                self.device.spool.insert(k.clone(), bytes.clone());
                if let Some(sender) = &mut self.sender {
                    sender.grew(k, bytes.len() as u64);
                }
                if self.random.u32(..30) == 0 {
                    let (k, bytes) = self.device.live.take().unwrap();
                    if let Some(sender) = &mut self.sender {
                        sender.finished(&k, trailer(&bytes));
                    }
                    self.device.captured.insert(k, bytes);
                }
            }
        }
    }

    /// A new sender is told what the spool holds: what is being captured, and the rest as backlog.
    fn connect(&mut self) {
        self.log.push(format!("{:?} connect", self.now));
        let mut sender = Sender::new(self.random.u64(..));
        welcome(&mut sender, 8, 20_000);
        if let Some((k, bytes)) = &self.device.live {
            sender.opened(k.clone(), Priority::Live);
            sender.grew(k, bytes.len() as u64);
        }
        let live = self.device.live.as_ref().map(|(k, _)| k);
        self.device.backlog = self.device.spool.keys().filter(|k| Some(*k) != live).cloned().collect();
        self.sender = Some(sender);
    }

    fn lose_connection(&mut self) {
        self.log.push(format!("{:?} lost", self.now));
        self.sender = None;
        self.link = Link::default();
        self.server.receivers.clear();
        // A commit that is under way may be done or not: its ack is lost in both cases.
        let committing = std::mem::take(&mut self.server.committing);
        for (_, k) in committing {
            let bytes = self.server.complete.remove(&k).unwrap();
            if self.random.bool() {
                self.server.store(&k, &bytes);
            }
        }
    }

    /// The next action, with the sender told as much of the backlog as it wants.
    fn next_action(&mut self) -> Option<Action> {
        let sender = self.sender.as_mut()?;
        while sender.backlog_wanted() > 0
            && let Some(k) = self.device.backlog.pop_front()
        {
            sender.opened(k.clone(), Priority::Backlog);
            sender.finished(&k, trailer(&self.device.spool[&k]));
        }
        sender.poll_action(self.now)
    }

    fn act(&mut self) {
        while let Some(action) = self.next_action() {
            self.log.push(format!("{:?} {action:?}", self.now));
            match action {
                Action::Open { key, priority } => {
                    let header = header(&key, priority);
                    self.put(&key, Some(header.encode()));
                }
                Action::Write { key, range } => {
                    let range = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
                    let bytes = &self.device.spool[&key][range];
                    let mut chunk = BytesMut::new();
                    chunk.put_slice(&wire::chunk_head(bytes.len()));
                    chunk.put_slice(bytes);
                    self.put(&key, Some(chunk.freeze()));
                    self.sender.as_mut().expect("it has just said so").handle_written(&key);
                }
                Action::Finish { key, trailer } => {
                    self.put(&key, Some(trailer.encode()));
                    self.put(&key, None);
                }
                Action::Reset { key } => drop(self.link.streams.remove(&key)),
                Action::Persisted { key, .. } => {
                    assert!(self.server.stored.contains_key(&key), "freed before it was stored");
                    self.device.spool.remove(&key).expect("freed once");
                }
                Action::Rejected { key, code, .. } => panic!("{key} was rejected: {code}"),
                Action::Progress { .. } | Action::Postponed { .. } | Action::Told(_) => {}
                Action::Reconnect => self.lose_connection(),
            }
        }
    }

    fn put(&mut self, key: &FragmentKey, bytes: Option<Bytes>) {
        let delay = Duration::from_millis(self.random.u64(5..400));
        let stream = self.link.streams.entry(key.clone()).or_default();
        let at = stream.back().map_or(Duration::ZERO, |&(at, _)| at).max(self.now + delay);
        stream.push_back((at, bytes));
    }

    fn deliver(&mut self) {
        let now = self.now;
        let mut arrived = Vec::new();
        for (key, stream) in &mut self.link.streams {
            while stream.front().is_some_and(|&(at, _)| at <= now) {
                arrived.push((key.clone(), stream.pop_front().unwrap().1));
            }
        }
        for (key, bytes) in arrived {
            self.server_takes(&key, bytes);
        }
        while self.server.committing.first().is_some_and(|&(at, _)| at <= now) {
            let (_, key) = self.server.committing.pop_first().unwrap();
            let bytes = self.server.complete.remove(&key).unwrap();
            self.server.store(&key, &bytes);
            self.ack(&key, AckKind::Persisted);
        }
        while self.link.acks.front().is_some_and(|&(at, _)| at <= now) {
            let (_, bytes) = self.link.acks.pop_front().unwrap();
            let sender = self.sender.as_mut().expect("acks are lost with the connection");
            for piece in bytes.chunks(7) {
                sender.handle_control(now, piece).unwrap();
            }
        }
    }

    fn server_takes(&mut self, key: &FragmentKey, bytes: Option<Bytes>) {
        let Some(bytes) = bytes else {
            if let Some((receiver, media)) = self.server.receivers.remove(key) {
                receiver.finish().expect("the stream was whole");
                if self.random.u32(..10) == 0 {
                    return self.ack(key, error(ErrorCode::Archival));
                }
                self.ack(key, AckKind::Received);
                let at = self.now + Duration::from_millis(self.random.u64(1..100));
                self.server.complete.insert(key.clone(), media);
                self.server.committing.insert((at, key.clone()));
            }
            return;
        };
        if self.server.stored.contains_key(key) {
            self.server.receivers.remove(key);
            return self.ack(key, AckKind::Persisted);
        }
        let (receiver, media) =
            self.server.receivers.entry(key.clone()).or_insert_with(|| (FragmentReceiver::new(1 << 20), Vec::new()));
        receiver.push(bytes);
        while let Some(part) = receiver.pull().expect("the stream is well formed") {
            match part {
                Received::Header(header) => assert_eq!(&header.key, key),
                Received::Media(bytes) => media.extend_from_slice(&bytes),
                Received::Trailer(_) => {}
            }
        }
    }

    fn ack(&mut self, key: &FragmentKey, kind: AckKind) {
        let at = self.now + Duration::from_millis(self.random.u64(5..100));
        let at = self.link.acks.back().map_or(at, |&(last, _)| last.max(at));
        let ack = Ack { key: key.clone(), kind, number: Some(FragmentNumber(1)) };
        self.link.acks.push_back((at, FromServer::Ack(ack).encode()));
    }
}

impl Server {
    fn store(&mut self, key: &FragmentKey, bytes: &[u8]) {
        if let Some(before) = self.stored.insert(key.clone(), bytes.to_vec()) {
            assert_eq!(before, bytes, "{key} came twice and differed");
        }
    }
}

fn welcomed(fragments: u32, bytes: u64) -> Sender {
    let mut sender = Sender::new(1);
    welcome(&mut sender, fragments, bytes);
    sender
}

fn welcome(sender: &mut Sender, fragments: u32, bytes: u64) {
    let welcome = FromServer::Welcome(Welcome {
        server_time: WallTime::from_millis(0),
        fragments_in_flight: fragments,
        bytes_in_flight: bytes,
        fragment_bytes: 1 << 20,
        fragment_duration: Duration::from_secs(20),
        device: "test".to_owned(),
        certificate_expires: WallTime::from_millis(0),
    });
    sender.handle_control(Duration::ZERO, &welcome.encode()).unwrap();
}

/// How many fragments it opens when nothing is acknowledged.
fn opened(sender: &mut Sender) -> usize {
    let mut count = 0;
    while let Some(action) = sender.poll_action(Duration::ZERO) {
        match action {
            Action::Open { .. } => count += 1,
            Action::Write { key, .. } => sender.handle_written(&key),
            _ => {}
        }
    }
    count
}

/// Sends a fragment to its end, which the server has no room for now.
fn refuse_for_now(sender: &mut Sender, key: &FragmentKey) {
    sender.opened(key.clone(), Priority::Backlog);
    sender.finished(key, trailer(&media(10)));
    opened(sender);
    acknowledge(sender, key, error(ErrorCode::Archival));
    let postponed = sender.poll_action(Duration::ZERO);
    assert!(matches!(postponed, Some(Action::Postponed { .. })), "{postponed:?}");
}

fn acknowledge(sender: &mut Sender, key: &FragmentKey, kind: AckKind) {
    acknowledge_at(sender, Duration::ZERO, key, kind);
}

fn acknowledge_at(sender: &mut Sender, now: Duration, key: &FragmentKey, kind: AckKind) {
    let ack = FromServer::Ack(Ack { key: key.clone(), kind, number: None });
    sender.handle_control(now, &ack.encode()).unwrap();
}

fn error(code: ErrorCode) -> AckKind {
    AckKind::Error { code, message: "a test".to_owned(), retryable: code.is_retryable() }
}

fn key(stream: &str, session: u64, sequence: u32) -> FragmentKey {
    let stream: StreamName = stream.parse().unwrap();
    FragmentKey { stream, id: FragmentId { session: SessionId(session), sequence: Sequence(sequence) } }
}

fn header(key: &FragmentKey, priority: Priority) -> FragmentHeader {
    FragmentHeader {
        key: key.clone(),
        start: WallTime::from_millis(0),
        quality: ClockQuality::Given,
        monotonic: None,
        live: priority == Priority::Live,
    }
}

fn media(bytes: usize) -> Vec<u8> {
    vec![7; bytes]
}

fn trailer(media: &[u8]) -> Trailer {
    Trailer { duration: Duration::from_secs(2), bytes: media.len() as u64, crc32c: crc32c::crc32c(media) }
}
