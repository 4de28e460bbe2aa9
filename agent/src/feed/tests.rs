//! What reaches the sender, over a real spool and a server that acknowledges all.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use disk::testing::Nothing;
use fragment::{ClockQuality, FragmentId, Sequence, SessionId, WallTime};
use spool::{Spool, Start, Writer};
use upload::{Ack, AckKind, Action, FragmentKey, FromServer, Priority, Sender, Welcome, limits};

use super::Feed;
use crate::hours::Hours;
use crate::limits::STEPS_MAX;
use crate::plan::{Plan, Rules};
use crate::wanted::Range;

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
    let mut plan = Plan::new(Rules::default());
    let mut feed = Feed::new(&spool, &mut sender, &plan);
    welcome(&mut sender, 8);
    let first = feed.poll_action(&spool, &mut sender, &mut plan, &mut |_| None, Duration::ZERO);
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

#[test]
fn outside_its_hours_no_backlog_is_sent_and_live_is() {
    let mut world = World::with_rules(BACKLOG, Rules::new(hours("22:00-06:00"), None));
    assert_eq!(world.next(), None, "no time is known yet");
    world.at(12, &[]);
    let mut writer = create(&world.spool, BACKLOG);
    writer.append(Duration::from_millis(40), &[Bytes::from_static(b"a unit")]).unwrap();
    assert_eq!(world.opened(), [key(BACKLOG)]);
    world.at(22, &[]);
    assert_eq!(world.opened().len(), BACKLOG as usize);
}

#[test]
fn what_is_under_way_when_the_hours_end_is_taken_back_and_sent_whole_when_they_begin_again() {
    let mut world = World::with_rules(BACKLOG, Rules::new(hours("22:00-06:00"), None));
    world.at(5, &[]);
    let Some(Action::Open { key: first, .. }) = world.next() else { panic!("nothing is opened") };
    world.at(6, &[]);
    assert_eq!(world.next(), Some(Action::Reset { key: first.clone() }));
    assert_eq!(world.next(), None);
    world.at(22, &[]);
    let opened = world.opened();
    assert_eq!(opened, (0..BACKLOG).map(key).collect::<Vec<_>>(), "{first} once more, and the others once");
}

#[test]
fn live_is_not_taken_back_when_the_hours_of_the_backlog_end() {
    let mut world = World::with_rules(0, Rules::new(hours("22:00-06:00"), None));
    world.at(5, &[]);
    let mut writer = create(&world.spool, 0);
    writer.append(Duration::from_millis(40), &[Bytes::from_static(b"a unit")]).unwrap();
    assert_eq!(world.opened(), [key(0)]);
    world.at(6, &[]);
    assert_eq!(world.opened(), [], "and it is not begun anew");
    assert_eq!(world.next(), None, "nor reset");
}

#[test]
fn what_was_captured_to_its_end_before_it_could_be_begun_is_backlog_and_keeps_the_hours() {
    let mut world = World::with_rules(0, Rules::new(hours("22:00-06:00"), None));
    world.at(12, &[]);
    // The server has no room for another one.
    world.window(1);
    let mut writers: Vec<_> = (0..2).map(|sequence| create(&world.spool, sequence)).collect();
    assert_eq!(world.next(), Some(Action::Open { key: key(0), priority: Priority::Live }));
    assert_eq!(world.next(), None);
    writers.pop().unwrap().finish(Duration::from_secs(1)).unwrap();
    assert_eq!(world.next(), None);
    writers.pop().unwrap().finish(Duration::from_secs(1)).unwrap();
    assert_eq!(world.opened(), [], "live is written to its end, and nothing else is begun");
    world.at(23, &[]);
    assert_eq!(world.opened(), [key(1)]);
}

#[test]
fn recordings_stay_until_their_hours_and_are_told_as_they_end_within_them() {
    let mut world = World::with_rules(3, Rules::new(Hours::always(), Some(hours("02:00-05:00"))));
    world.at(1, &[]);
    let writer = create(&world.spool, 3);
    assert_eq!(world.opened(), []);
    world.at(2, &[]);
    assert_eq!(world.opened(), (0..3).map(key).collect::<Vec<_>>());
    writer.finish(Duration::from_secs(1)).unwrap();
    assert_eq!(world.opened(), [key(3)], "it has ended");
    let writer = create(&world.spool, 4);
    world.at(5, &[]);
    writer.finish(Duration::from_secs(1)).unwrap();
    assert_eq!(world.opened(), []);
}

#[test]
fn a_range_that_is_wanted_is_sent_at_any_hour_and_nothing_around_it() {
    let mut world = World::with_rules(BACKLOG, Rules::new(hours("22:00-06:00"), Some(Hours::never())));
    // Each fragment begins at the second of its number, and plays for 40 ms.
    world.at(12, &[range(100_020, 103_000)]);
    assert!(!world.feed.is_done(&key(0).stream));
    assert_eq!(world.opened(), (100..103).map(key).collect::<Vec<_>>());
    assert!(world.feed.is_done(&key(0).stream));
    world.at(12, &[]);
    assert_eq!(world.opened(), []);
}

#[test]
fn a_wanted_range_that_is_still_captured_is_done_when_all_of_it_is_sent() {
    let mut world = World::with_rules(0, Rules::new(Hours::always(), Some(Hours::never())));
    world.at(0, &[range(0, 2000)]);
    let first = create(&world.spool, 0);
    assert_eq!(world.opened(), []);
    assert!(!world.feed.is_done(&key(0).stream), "it is not whole yet");
    first.finish(Duration::from_secs(1)).unwrap();
    assert_eq!(world.opened(), [key(0)]);
    create(&world.spool, 1).finish(Duration::from_secs(1)).unwrap();
    create(&world.spool, 2).finish(Duration::from_secs(1)).unwrap();
    assert_eq!(world.opened(), [key(1)]);
    let _still_captured = create(&world.spool, 3);
    assert_eq!(world.opened(), []);
    assert!(world.feed.is_done(&key(0).stream), "what is captured now lies behind the range");
    assert_eq!(world.plan.past(), []);
    world.at(1, &[range(0, 2000)]);
    assert_eq!(world.plan.past(), [range(0, 2000)]);
}

#[test]
fn a_session_that_is_wanted_is_sent_at_any_hour_and_no_other() {
    let mut world = World::with_rules(BACKLOG, Rules::new(hours("22:00-06:00"), Some(Hours::never())));
    let other = FragmentKey { id: FragmentId { session: SessionId(8), sequence: Sequence(0) }, ..key(0) };
    world.record(other.clone());
    world.at_with(12, &[], &[other.id.session]);
    assert_eq!(world.opened(), std::slice::from_ref(&other));
    world.at_with(12, &[], &[other.id.session]);
    assert_eq!(world.opened(), [], "once");
    world.at_with(12, &[], &[SessionId(7)]);
    assert_eq!(world.opened().len(), BACKLOG as usize);
}

#[test]
fn a_week_of_recordings_that_no_one_wants_costs_the_sender_nothing() {
    let mut world = World::with_rules(BACKLOG, Rules::new(Hours::always(), Some(Hours::never())));
    world.at(12, &[]);
    assert_eq!(world.opened(), []);
    assert!(world.feed.told.is_empty());
    assert_eq!(world.sender.backlog_wanted(), limits::BACKLOG_LOOKAHEAD);
}

#[test]
fn what_is_captured_across_the_beginning_of_a_range_belongs_to_it_once_it_is_whole() {
    let mut world = World::new(0);
    let mut writer = create(&world.spool, 0);
    writer.append(Duration::from_millis(40), &[Bytes::from_static(b"a unit")]).unwrap();
    world.at(12, &[range(20, 60)]);
    world.opened();
    assert!(!world.feed.is_done(&key(0).stream), "it may come to lie in the range");
    writer.finish(Duration::from_millis(40)).unwrap();
    assert!(world.next().is_some() && world.feed.told.values().all(|told| told.wanted));
    world.opened();
    assert!(world.feed.is_done(&key(0).stream) && world.spool.next(None).is_none());
    // And one that ends before it does not.
    let mut writer = create(&world.spool, 1);
    writer.append(Duration::from_millis(40), &[Bytes::from_static(b"a unit")]).unwrap();
    world.at(12, &[range(1500, 1600)]);
    world.opened();
    writer.finish(Duration::from_millis(40)).unwrap();
    assert!(world.next().is_some() && !world.feed.told.values().any(|told| told.wanted));
}

#[test]
fn a_week_of_recordings_is_passed_over_a_step_at_a_time_with_what_is_wanted_and_what_is_open_behind_it() {
    let spool = Spool::open_on(Arc::new(Nothing), Path::new("state"), u64::MAX / 2).unwrap();
    let record = |stream: &str, sequence| {
        let key = FragmentKey { stream: stream.parse().unwrap(), ..key(sequence) };
        let start = Start { monotonic: None, wall: WallTime::from_millis(1), quality: ClockQuality::Given };
        let mut writer = spool.create(key, start, Bytes::new()).unwrap();
        writer.append(Duration::from_millis(40), &[Bytes::from_static(b"a unit")]).unwrap();
        writer.finish(Duration::from_millis(40)).unwrap();
    };
    let steps = u32::try_from(STEPS_MAX).unwrap();
    (0..3 * steps).for_each(|sequence| record("held", sequence));
    record("front", 0);
    let mut rules = Rules::default();
    rules.set("held".parse().unwrap(), Some(Hours::never()));
    for wanted in [vec![], vec![range(0, 10)]] {
        let (mut sender, mut plan) = (Sender::new(1), Plan::new(rules.clone()));
        let mut feed = Feed::new(&spool, &mut sender, &plan);
        welcome(&mut sender, 8);
        plan.turn(WallTime::from_millis(0), wanted, Vec::new());
        let mut starts = |_: &FragmentKey| Some(WallTime::from_millis(0));
        let mut polls = 0;
        while feed.is_behind(&plan) || polls == 0 {
            polls += 1;
            let action = feed.poll_action(&spool, &mut sender, &mut plan, &mut starts, Duration::ZERO);
            assert_eq!(action.is_some(), polls == 4, "{action:?}");
            let far = polls * u64::from(steps);
            assert!(feed.backlog.max(feed.wanted).is_none_or(|place| place < far), "{feed:?}");
            assert!(polls < 10);
        }
        assert_eq!(polls, 4);
        assert!(feed.told.values().all(|told| told.key == key(0) && told.wanted == plan.wants()));
    }
}

/// A spool, its feed and its sender, and a server that stores what it is sent.
struct World {
    _state: tempfile::TempDir,
    spool: Spool,
    sender: Sender,
    feed: Feed,
    plan: Plan,
    acks: VecDeque<FragmentKey>,
}

impl World {
    /// Connected, with so many fragments of backlog.
    fn new(backlog: u32) -> Self {
        Self::with_rules(backlog, Rules::default())
    }

    fn with_rules(backlog: u32, rules: Rules) -> Self {
        let state = tempfile::tempdir().unwrap();
        let spool = Spool::open(state.path(), 1 << 30).unwrap();
        for sequence in 0..backlog {
            let mut writer = create(&spool, sequence);
            writer.append(Duration::from_millis(40), &[Bytes::from_static(b"a unit")]).unwrap();
            writer.finish(Duration::from_millis(40)).unwrap();
        }
        let mut sender = Sender::new(1);
        let plan = Plan::new(rules);
        let feed = Feed::new(&spool, &mut sender, &plan);
        welcome(&mut sender, 8);
        Self { _state: state, spool, sender, feed, plan, acks: VecDeque::new() }
    }

    fn record(&self, key: FragmentKey) {
        let start = Start { monotonic: None, wall: WallTime::from_millis(1), quality: ClockQuality::Given };
        let mut writer = self.spool.create(key, start, Bytes::from_static(b"</fragment>")).unwrap();
        writer.append(Duration::from_millis(40), &[Bytes::from_static(b"a unit")]).unwrap();
        writer.finish(Duration::from_millis(40)).unwrap();
    }

    fn window(&mut self, fragments: u32) {
        welcome(&mut self.sender, fragments);
    }

    /// It is this hour of 1970-01-01, and these ranges are wanted.
    fn at(&mut self, hour: i64, wanted: &[Range]) {
        self.at_with(hour, wanted, &[]);
    }

    /// The same, and these sessions are wanted as a whole.
    fn at_with(&mut self, hour: i64, wanted: &[Range], sessions: &[SessionId]) {
        if self.plan.turn(WallTime::from_millis(hour * 3_600_000), wanted.to_vec(), sessions.to_vec()) {
            self.feed.turn(&mut self.sender, &mut self.plan);
        }
    }

    /// What is begun until there is nothing to do any more.
    fn opened(&mut self) -> Vec<FragmentKey> {
        let mut opened = Vec::new();
        // Much is looked through in several steps.
        for _ in 0..BACKLOG {
            while let Some(action) = self.next() {
                if let Action::Open { key, .. } = &action {
                    opened.push(key.clone());
                }
                self.carry_out(action);
            }
        }
        opened
    }

    /// The next action; an ack comes in only when there is nothing else to do.
    fn next(&mut self) -> Option<Action> {
        loop {
            let starts = &mut |key: &FragmentKey| Some(WallTime::from_millis(i64::from(key.id.sequence.0) * 1000));
            let Self { spool, sender, feed, plan, .. } = self;
            let action = feed.poll_action(spool, sender, plan, starts, Duration::ZERO);
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

fn hours(text: &str) -> Hours {
    Hours::parse(&[text.to_owned()], jiff::tz::TimeZone::UTC).unwrap()
}

fn range(from: i64, to: i64) -> Range {
    Range::new(key(0).stream, WallTime::from_millis(from), WallTime::from_millis(to))
}

fn create(spool: &Spool, sequence: u32) -> Writer {
    let start = Start { monotonic: None, wall: WallTime::from_millis(1), quality: ClockQuality::Given };
    spool.create(key(sequence), start, Bytes::from_static(b"</fragment>")).unwrap()
}

fn key(sequence: u32) -> FragmentKey {
    let id = FragmentId { session: SessionId(7), sequence: Sequence(sequence) };
    FragmentKey { stream: "front".parse().unwrap(), id }
}
