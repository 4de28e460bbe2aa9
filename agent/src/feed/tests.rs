//! What reaches the sender, over a real spool and a server that acknowledges all.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use fragment::{ClockQuality, FragmentId, Sequence, SessionId, WallTime};
use spool::{Spool, Start, Writer};
use upload::{Ack, AckKind, Action, FragmentKey, FromServer, Priority, Sender, Welcome, limits};

use super::Feed;

/// More than is told ahead, twice over: what comes after that has to be asked for.
const BACKLOG: u32 = 200;
const _: () = assert!(BACKLOG as usize > 2 * limits::BACKLOG_LOOKAHEAD);

#[test]
fn all_of_the_backlog_is_sent_oldest_first_while_nothing_is_captured() {
    let mut world = World::new(BACKLOG);
    let mut opened = Vec::new();
    while let Some(action) = world.next() {
        if let Action::Open { key, .. } = &action {
            opened.push(key.clone());
        }
        world.carry_out(action);
    }
    assert_eq!(opened, (0..BACKLOG).map(key).collect::<Vec<_>>());
    assert_eq!(world.spool.next(None), None, "the spool is not empty");
}

#[test]
fn the_backlog_fills_the_servers_window_before_any_of_it_is_acknowledged() {
    let mut world = World::new(BACKLOG);
    world.window(BACKLOG * 4);
    let opened = std::iter::from_fn(|| world.next())
        .inspect(|action| assert!(!matches!(action, Action::Persisted { .. })))
        .filter(|action| matches!(action, Action::Open { .. }))
        .count();
    assert_eq!(opened, BACKLOG as usize);
}

#[test]
fn what_is_captured_during_the_connection_is_live_and_goes_first() {
    let mut world = World::new(BACKLOG);
    let mut writer = create(&world.spool, BACKLOG);
    writer.append(Duration::from_millis(40), &[Bytes::from_static(b"a unit")]).unwrap();
    assert_eq!(world.next(), Some(Action::Open { key: key(BACKLOG), priority: Priority::Live }));
}

#[test]
fn what_was_unfinished_when_the_connection_began_is_live_too() {
    let state = tempfile::tempdir().unwrap();
    let spool = Spool::open(state.path(), 1 << 30).unwrap();
    let mut writer = create(&spool, 0);
    writer.append(Duration::from_millis(40), &[Bytes::from_static(b"a unit")]).unwrap();
    let mut sender = Sender::new(1);
    let mut feed = Feed::new(&spool, &mut sender);
    welcome(&mut sender, 8);
    let first = feed.poll_action(&spool, &mut sender, Duration::ZERO);
    assert_eq!(first, Some(Action::Open { key: key(0), priority: Priority::Live }));
}

#[test]
fn a_fragment_that_left_the_spool_is_not_sent() {
    let mut world = World::new(1);
    world.spool.reject(&key(0)).unwrap();
    assert_eq!(world.next(), None);
}

#[test]
fn a_fragment_that_was_repaired_is_sent_as_it_is_now() {
    let mut world = World::new(1);
    while world.next().is_some() {}
    world.spool.repair(&key(0));
    world.feed.again(&world.spool, &mut world.sender, &key(0));
    let trailer = world.spool.next(None).unwrap().1.trailer.unwrap();
    let actions: Vec<_> = std::iter::from_fn(|| world.next()).collect();
    assert!(actions.contains(&Action::Finish { key: key(0), trailer }), "{actions:?}");
}

/// A spool, its feed and its sender, and a server that stores what it is sent.
struct World {
    _state: tempfile::TempDir,
    spool: Spool,
    sender: Sender,
    feed: Feed,
    acks: VecDeque<FragmentKey>,
}

impl World {
    /// Connected, with so many fragments of backlog.
    fn new(backlog: u32) -> Self {
        let state = tempfile::tempdir().unwrap();
        let spool = Spool::open(state.path(), 1 << 30).unwrap();
        for sequence in 0..backlog {
            let mut writer = create(&spool, sequence);
            writer.append(Duration::from_millis(40), &[Bytes::from_static(b"a unit")]).unwrap();
            writer.finish(Duration::from_millis(40)).unwrap();
        }
        let mut sender = Sender::new(1);
        let feed = Feed::new(&spool, &mut sender);
        welcome(&mut sender, 8);
        Self { _state: state, spool, sender, feed, acks: VecDeque::new() }
    }

    fn window(&mut self, fragments: u32) {
        welcome(&mut self.sender, fragments);
    }

    /// The next action; an ack comes in only when there is nothing else to do.
    fn next(&mut self) -> Option<Action> {
        loop {
            let action = self.feed.poll_action(&self.spool, &mut self.sender, Duration::ZERO);
            if let Some(Action::Write { key, .. }) = &action {
                self.sender.handle_written(key);
            }
            if action.is_some() {
                return action;
            }
            let key = self.acks.pop_front()?;
            let ack = FromServer::Ack(Ack { key, kind: AckKind::Persisted, number: None });
            self.sender.handle_control(Duration::ZERO, &ack.encode()).unwrap();
        }
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Finish { key, .. } => self.acks.push_back(key),
            Action::Persisted { key, .. } => self.spool.remove(&self.spool.release(&key).unwrap()),
            _ => {}
        }
    }
}

fn welcome(sender: &mut Sender, fragments_in_flight: u32) {
    let welcome = FromServer::Welcome(Welcome {
        server_time: WallTime::from_millis(0),
        fragments_in_flight,
        bytes_in_flight: 1 << 30,
        fragment_bytes: 1 << 20,
        fragment_duration: Duration::from_secs(20),
        device: "test".to_owned(),
        certificate_expires: WallTime::from_millis(0),
    });
    sender.handle_control(Duration::ZERO, &welcome.encode()).unwrap();
}

fn create(spool: &Spool, sequence: u32) -> Writer {
    let start = Start { monotonic: None, wall: WallTime::from_millis(1), quality: ClockQuality::Given };
    spool.create(key(sequence), start, Bytes::from_static(b"</fragment>")).unwrap()
}

fn key(sequence: u32) -> FragmentKey {
    let id = FragmentId { session: SessionId(7), sequence: Sequence(sequence) };
    FragmentKey { stream: "front".parse().unwrap(), id }
}
