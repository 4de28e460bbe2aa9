//! What the backlog takes of a simulated line: a queue that carries so many bytes a second, live first as QUIC has it,
//! with a round trip until an ack is back.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]
#![expect(clippy::cast_possible_truncation, reason = "a tick is some milliseconds, and a run some thousand fragments")]

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use fragment::{FragmentId, Sequence, SessionId, WallTime};
use upload::{Ack, AckKind, Action, Allowance, FragmentKey, FromServer, Priority, Sender, Trailer, Welcome};

const TICK: Duration = Duration::from_millis(5);

/// What QUIC takes before it lets a writer wait.
const BUFFER: u64 = 256 * 1024;

#[test]
fn the_backlog_keeps_to_its_share_of_the_line_whatever_the_line_is() {
    for seed in 0..12 {
        let mut random = fastrand::Rng::with_seed(seed);
        let line = random.u64(30_000..4_000_000);
        let share = [5, 25, 50, 80][random.usize(..4)];
        let mut world = World::new(line, Allowance { backlog_share: Some(share), ..Allowance::default() });
        world.round_trip = Duration::from_millis(random.u64(1..300));
        world.live_rate = if random.bool() { line / random.u64(4..20) } else { 0 };
        world.fragment_bytes = random.u64(20_000..600_000);
        world.run(Duration::from_secs(400));
        // A burst, or at least a fragment, may lie at the edge of a window.
        let window = 120;
        let granule = (2 * line).max(2 * world.fragment_bytes);
        let most = line * u64::from(share) * window / 100 + granule;
        assert!(
            world.most_of_backlog_in(window) <= most,
            "seed {seed}: {} of {most}",
            world.most_of_backlog_in(window)
        );
        let fair = line * u64::from(share) * 400 / 100;
        let least = fair / 2;
        assert!(world.backlog_carried() + granule >= least, "seed {seed}: only {} of {fair}", world.backlog_carried());
        world.everything_once();
    }
}

#[test]
fn a_rate_of_the_backlog_is_kept_in_each_second() {
    let mut world = World::new(2_000_000, Allowance { backlog_rate_max: Some(250_000), ..Allowance::default() });
    world.run(Duration::from_secs(60));
    assert!(world.most_of_backlog_in(1) <= 250_000 * 5 / 4 + 64 * 1024);
    assert!(world.backlog_carried() > 59 * 245_000, "{}", world.backlog_carried());
    world.everything_once();
}

#[test]
fn a_rate_of_all_is_kept_and_the_backlog_has_what_live_leaves() {
    let mut world = World::new(2_000_000, Allowance { rate_max: Some(250_000), ..Allowance::default() });
    world.live_rate = 100_000;
    world.run(Duration::from_secs(60));
    let backlog = world.backlog_carried();
    assert!((140_000 * 60..155_000 * 60).contains(&backlog), "{backlog}");
    assert!(world.live_delay_max <= Duration::from_millis(60), "{:?}", world.live_delay_max);
}

#[test]
fn live_is_as_early_with_a_backlog_as_without_whatever_is_allowed() {
    let mut delays = Vec::new();
    for (backlog, allowance) in [
        (false, Allowance::default()),
        (true, Allowance::default()),
        (true, Allowance { backlog_share: Some(50), ..Allowance::default() }),
        (true, Allowance { backlog_rate_max: Some(1000), ..Allowance::default() }),
        (true, Allowance { rate_max: Some(400_000), ..Allowance::default() }),
    ] {
        let mut world = World::new(500_000, allowance);
        world.live_rate = 200_000;
        world.endless = backlog;
        world.run(Duration::from_secs(60));
        delays.push(world.live_delay_max);
    }
    assert!(delays.iter().all(|delay| *delay <= delays[0] + 4 * TICK), "{delays:?}");
}

#[test]
fn nothing_stands_still_where_a_fragment_is_larger_than_a_day_of_the_rate() {
    let mut world = World::new(2_000_000, Allowance { backlog_rate_max: Some(5000), ..Allowance::default() });
    world.fragment_bytes = 600_000;
    world.run(Duration::from_secs(400));
    assert_eq!(world.stored.len(), 3, "400 seconds of 5000 bytes");
    world.everything_once();
}

#[test]
fn nothing_stands_still_where_live_is_more_than_the_line_or_the_rate_carries() {
    for (line, rate_max) in [(100_000, None), (2_000_000, Some(100_000))] {
        let mut world = World::new(line, Allowance { rate_max, backlog_share: Some(50), ..Allowance::default() });
        world.live_rate = 300_000;
        world.run(Duration::from_secs(300));
        assert!(world.live_carried() + world.backlog_carried() > 100_000 * 290, "the line is in use");
        // Everything arrives once the cameras are off.
        world.everything_once();
    }
}

#[test]
fn a_fragment_that_is_taken_back_is_reset_and_one_that_is_sent_is_kept() {
    let mut sender = Sender::new(1);
    welcome(&mut sender);
    let (sent, open) = (key(1, 0), key(1, 1));
    for k in [&sent, &open] {
        sender.opened(k.clone(), Priority::Backlog);
        sender.finished(k, Trailer { duration: Duration::from_secs(1), bytes: 10, crc32c: 0 });
    }
    while let Some(action) = sender.poll_action(Duration::ZERO) {
        if let Action::Write { key, .. } = action
            && key == sent
        {
            sender.handle_written(&key);
        }
    }
    assert!(!sender.withdraw(&sent));
    assert!(sender.withdraw(&open));
    assert_eq!(sender.poll_action(Duration::ZERO), Some(Action::Reset { key: open.clone() }));
    assert!(sender.knows(&sent) && !sender.knows(&open));
}

/// A device with a backlog and a camera, a line, and a server that stores what it gets.
struct World {
    sender: Sender,
    now: Duration,
    line: u64,
    round_trip: Duration,
    live_rate: u64,
    fragment_bytes: u64,
    /// Whether there is always more backlog.
    endless: bool,
    next_backlog: u32,
    next_live: u32,
    /// The fragment that the camera is in, and when each of its bytes so far was captured.
    capturing: Option<(FragmentKey, u64, Duration)>,
    /// On the line, in the order of priority and of writing.
    queues: BTreeMap<Priority, VecDeque<Piece>>,
    unwritten: VecDeque<(FragmentKey, Priority)>,
    priorities: BTreeMap<FragmentKey, Priority>,
    acks: VecDeque<(Duration, FragmentKey)>,
    stored: BTreeMap<FragmentKey, u32>,
    known: Vec<FragmentKey>,
    /// Bytes carried, for each tick: live, backlog.
    carried: Vec<(u64, u64)>,
    live_delay_max: Duration,
}

struct Piece {
    key: FragmentKey,
    bytes: u64,
    written: Duration,
    last: bool,
}

impl World {
    fn new(line: u64, allowance: Allowance) -> Self {
        let mut sender = Sender::with_allowance(1, allowance);
        welcome(&mut sender);
        Self {
            sender,
            now: Duration::ZERO,
            line,
            round_trip: Duration::from_millis(40),
            live_rate: 0,
            fragment_bytes: 100_000,
            endless: true,
            next_backlog: 0,
            next_live: 0,
            capturing: None,
            queues: BTreeMap::new(),
            unwritten: VecDeque::new(),
            priorities: BTreeMap::new(),
            acks: VecDeque::new(),
            stored: BTreeMap::new(),
            known: Vec::new(),
            carried: Vec::new(),
            live_delay_max: Duration::ZERO,
        }
    }

    /// Counts anew from here on.
    fn run(&mut self, time: Duration) {
        self.carried.clear();
        let end = self.now + time;
        while self.now < end {
            self.now += TICK;
            self.capture();
            while self.endless && self.sender.backlog_wanted() > 0 {
                let k = key(1, self.next_backlog);
                self.next_backlog += 1;
                self.sender.opened(k.clone(), Priority::Backlog);
                self.sender.finished(&k, trailer(self.fragment_bytes));
                self.known.push(k);
            }
            self.act();
            self.carry();
            while self.acks.front().is_some_and(|(at, _)| *at <= self.now) {
                let (_, k) = self.acks.pop_front().unwrap();
                for kind in [AckKind::Received, AckKind::Persisted] {
                    let ack = FromServer::Ack(Ack { key: k.clone(), kind, number: None });
                    self.sender.handle_control(self.now, &ack.encode()).unwrap();
                }
            }
            self.act();
        }
    }

    /// Fragments of a second, which grow with each tick.
    fn capture(&mut self) {
        let per_tick = self.live_rate * TICK.as_millis() as u64 / 1000;
        if self.live_rate == 0 && self.capturing.is_none() {
            return;
        }
        let (k, bytes, began) = self.capturing.take().unwrap_or_else(|| {
            let k = key(2, self.next_live);
            self.next_live += 1;
            self.sender.opened(k.clone(), Priority::Live);
            self.known.push(k.clone());
            (k, 0, self.now)
        });
        let bytes = bytes + per_tick.max(1);
        self.sender.grew(&k, bytes);
        if self.now - began >= Duration::from_secs(1) {
            self.sender.finished(&k, trailer(bytes));
        } else {
            self.capturing = Some((k, bytes, began));
        }
    }

    fn act(&mut self) {
        while let Some(action) = self.sender.poll_action(self.now) {
            match action {
                Action::Open { key, priority } => drop(self.priorities.insert(key, priority)),
                Action::Write { key, range } => {
                    let piece =
                        Piece { key: key.clone(), bytes: range.end - range.start, written: self.now, last: false };
                    let priority = self.priorities[&key];
                    self.queues.entry(priority).or_default().push_back(piece);
                    self.unwritten.push_back((key, priority));
                    self.take_writes();
                }
                Action::Finish { key, .. } => {
                    let priority = self.priorities[&key];
                    let piece = Piece { key, bytes: 0, written: self.now, last: true };
                    self.queues.entry(priority).or_default().push_back(piece);
                }
                Action::Persisted { key, .. } => *self.stored.entry(key).or_default() += 1,
                _ => {}
            }
        }
    }

    /// QUIC takes writes while its buffer has room; live is never kept out by backlog.
    fn take_writes(&mut self) {
        let waiting = |priority| -> u64 { self.queues.get(&priority).map_or(0, |q| q.iter().map(|p| p.bytes).sum()) };
        let room = [Priority::Live, Priority::Backlog].map(|priority| (priority, waiting(priority) <= BUFFER));
        let mut rest = VecDeque::new();
        for (key, priority) in self.unwritten.drain(..) {
            if room.contains(&(priority, true)) {
                self.sender.handle_written(&key);
            } else {
                rest.push_back((key, priority));
            }
        }
        self.unwritten = rest;
    }

    fn carry(&mut self) {
        let mut room = self.line * TICK.as_millis() as u64 / 1000;
        let mut carried = (0, 0);
        for (priority, queue) in &mut self.queues {
            while let Some(piece) = queue.front_mut() {
                if piece.last {
                    self.acks.push_back((self.now + self.round_trip, queue.pop_front().unwrap().key));
                    continue;
                }
                let bytes = piece.bytes.min(room);
                room -= bytes;
                piece.bytes -= bytes;
                match priority {
                    Priority::Live => carried.0 += bytes,
                    Priority::Backlog => carried.1 += bytes,
                }
                if piece.bytes > 0 {
                    break;
                }
                if *priority == Priority::Live {
                    self.live_delay_max = self.live_delay_max.max(self.now - piece.written);
                }
                queue.pop_front();
            }
        }
        self.carried.push(carried);
        self.take_writes();
    }

    fn live_carried(&self) -> u64 {
        self.carried.iter().map(|carried| carried.0).sum()
    }

    fn backlog_carried(&self) -> u64 {
        self.carried.iter().map(|carried| carried.1).sum()
    }

    /// The most backlog that was carried in any so many seconds.
    fn most_of_backlog_in(&self, seconds: u64) -> u64 {
        let ticks = usize::try_from(seconds * 1000 / TICK.as_millis() as u64).unwrap();
        let sum = |window: &[(u64, u64)]| window.iter().map(|carried| carried.1).sum();
        self.carried.windows(ticks.min(self.carried.len())).step_by(20).map(sum).max().unwrap()
    }

    /// Lets what is known arrive, and looks whether all of it did so once.
    fn everything_once(&mut self) {
        self.endless = false;
        self.live_rate = 0;
        for _ in 0..2000 {
            if self.known.is_empty() {
                break;
            }
            self.run(Duration::from_secs(20));
            self.known.retain(|k| self.sender.knows(k) || !self.stored.contains_key(k));
        }
        assert_eq!(self.known, Vec::new());
        assert!(self.stored.values().all(|&times| times == 1));
        assert_eq!(self.stored.len() as u32, self.next_backlog + self.next_live);
    }
}

fn welcome(sender: &mut Sender) {
    let welcome = FromServer::Welcome(Welcome {
        server_time: WallTime::from_millis(0),
        fragments_in_flight: 1024,
        bytes_in_flight: 64 << 20,
        fragment_bytes: 50 << 20,
        fragment_duration: Duration::from_secs(20),
        device: "test".to_owned(),
        certificate_expires: WallTime::from_millis(0),
    });
    sender.handle_control(Duration::ZERO, &welcome.encode()).unwrap();
}

fn key(session: u64, sequence: u32) -> FragmentKey {
    FragmentKey {
        stream: "front".parse().unwrap(),
        id: FragmentId { session: SessionId(session), sequence: Sequence(sequence) },
    }
}

fn trailer(bytes: u64) -> Trailer {
    Trailer { duration: Duration::from_secs(1), bytes, crc32c: 0 }
}
