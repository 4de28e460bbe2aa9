//! Sessions without a connection.

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

#[test]
fn a_fragment_that_takes_minutes_on_a_slow_line_is_no_silence() {
    let mut session = with(1);
    for second in (0..=400).step_by(50) {
        assert_eq!(session.handle_timeout(Duration::from_secs(second)), None);
        session.handle_progress(Duration::from_secs(second));
    }
    assert!(session.handle_timeout(Duration::from_secs(460)).is_some());
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
