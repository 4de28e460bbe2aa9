//! Mapped, remembered, followed.

use fragment::{MonotonicTime, Sequence};

use super::*;

const SERVER: WallTime = WallTime::from_millis(1_700_000_000_000);

#[test]
fn a_synchronised_clock_at_capture_is_believed() {
    let folder = tempfile::tempdir().unwrap();
    let mut calendar = Calendar::open(folder.path(), BootId(1));
    calendar.handle_server_time(instant(1, 50), SERVER).unwrap();
    let start = Start { quality: ClockQuality::Synchronised, ..captured(1, 10) };
    assert_eq!(calendar.resolve(id(1), start, true), (start.wall, ClockQuality::Synchronised));
}

#[test]
fn a_fragment_of_1970_gets_the_servers_time_through_the_monotonic_clock() {
    let folder = tempfile::tempdir().unwrap();
    let mut calendar = Calendar::open(folder.path(), BootId(1));
    assert_eq!(calendar.resolve(id(1), captured(1, 10), true).1, ClockQuality::Unsynchronised);
    calendar.handle_server_time(instant(1, 50), SERVER).unwrap();
    let expected = (SERVER - Duration::from_secs(40), ClockQuality::Server);
    assert_eq!(calendar.resolve(id(1), captured(1, 10), true), expected);
}

#[test]
fn a_session_keeps_its_mapping_when_the_servers_time_moves() {
    let folder = tempfile::tempdir().unwrap();
    let mut calendar = Calendar::open(folder.path(), BootId(1));
    calendar.handle_server_time(instant(1, 50), SERVER).unwrap();
    let before = calendar.resolve(id(1), captured(1, 10), true);
    calendar.handle_server_time(instant(1, 60), SERVER + Duration::from_secs(999)).unwrap();
    assert_eq!(calendar.resolve(id(1), captured(1, 10), true), before);
    assert_ne!(calendar.resolve(id(2), captured(1, 10), true), before);
}

#[test]
fn backlog_of_an_earlier_boot_keeps_what_that_boot_learned() {
    let folder = tempfile::tempdir().unwrap();
    Calendar::open(folder.path(), BootId(1)).handle_server_time(instant(1, 50), SERVER).unwrap();
    let mut calendar = Calendar::open(folder.path(), BootId(2));
    calendar.handle_server_time(instant(2, 5), SERVER + Duration::from_secs(3600)).unwrap();
    let expected = (SERVER - Duration::from_secs(40), ClockQuality::Server);
    assert_eq!(calendar.resolve(id(1), captured(1, 10), false), expected);
}

#[test]
fn a_clock_that_is_synchronised_before_any_server_is_met_maps_what_came_before() {
    let folder = tempfile::tempdir().unwrap();
    let mut calendar = Calendar::open(folder.path(), BootId(1));
    calendar.handle_clock(instant(1, 20)).unwrap();
    assert_eq!(calendar.resolve(id(1), captured(1, 10), true).1, ClockQuality::Unsynchronised);
    calendar.handle_clock(synchronised(1, 50, SERVER)).unwrap();
    let expected = (SERVER - Duration::from_secs(40), ClockQuality::Synchronised);
    assert_eq!(calendar.resolve(id(1), captured(1, 10), true), expected);
    // The power fails, and the server is met in the next boot.
    let mut calendar = Calendar::open(folder.path(), BootId(2));
    calendar.handle_server_time(instant(2, 5), SERVER + Duration::from_secs(3600)).unwrap();
    assert_eq!(calendar.resolve(id(1), captured(1, 10), false), expected);
}

#[test]
fn a_synchronised_clock_is_believed_before_the_server_and_so_is_one_that_was_set_by_hand_since() {
    let folder = tempfile::tempdir().unwrap();
    let mut calendar = Calendar::open(folder.path(), BootId(1));
    calendar.handle_server_time(synchronised(1, 50, SERVER), SERVER + Duration::from_secs(3)).unwrap();
    let expected = (SERVER - Duration::from_secs(40), ClockQuality::Synchronised);
    assert_eq!(calendar.resolve(id(1), captured(1, 10), true), expected);
    calendar.handle_server_time(instant(1, 60), SERVER + Duration::from_secs(99)).unwrap();
    assert_eq!(calendar.resolve(id(2), captured(1, 10), true), expected);
}

#[test]
fn a_long_session_follows_a_better_mapping_by_a_thousandth() {
    let folder = tempfile::tempdir().unwrap();
    let mut calendar = Calendar::open(folder.path(), BootId(1));
    calendar.handle_server_time(instant(1, 50), SERVER).unwrap();
    let zero = SERVER - Duration::from_secs(50);
    assert_eq!(calendar.resolve(id(1), captured(1, 60), true).0, zero + Duration::from_secs(60));
    calendar.handle_clock(synchronised(1, 70, SERVER + Duration::from_millis(22_000))).unwrap();
    let (wall, quality) = calendar.resolve(id(1), captured(1, 160), true);
    assert_eq!((wall, quality), (zero + Duration::from_millis(160_100), ClockQuality::Server));
    let (wall, quality) = (60..400).map(|i| calendar.resolve(id(1), captured(1, 10 * i), true)).last().unwrap();
    assert_eq!((wall, quality), (zero + Duration::from_secs(3990 + 2), ClockQuality::Synchronised));
}

#[test]
fn who_looks_at_a_fragment_is_told_the_same_and_moves_no_session() {
    let folder = tempfile::tempdir().unwrap();
    let mut calendar = Calendar::open(folder.path(), BootId(1));
    calendar.handle_server_time(instant(1, 50), SERVER).unwrap();
    let sent = calendar.resolve(id(1), captured(1, 60), true);
    calendar.handle_clock(synchronised(1, 70, SERVER + Duration::from_millis(22_000))).unwrap();
    // Far ahead of what is sent next, as one that is wanted may be.
    let seen = calendar.look(id(1), captured(1, 3600), true);
    assert_eq!(calendar.look(id(1), captured(1, 3600), true), seen, "a second look sees the same");
    let fresh = calendar.look(id(2), captured(1, 60), true);
    assert_eq!(calendar.resolve(id(1), captured(1, 60), true), sent);
    assert_eq!(calendar.resolve(id(1), captured(1, 70), true).0, sent.0 + Duration::from_millis(10_010));
    assert_eq!(calendar.resolve(id(2), captured(1, 60), true), fresh);
}

#[test]
fn the_time_now_is_told_by_the_best_that_this_boot_has_learned() {
    let folder = tempfile::tempdir().unwrap();
    let mut calendar = Calendar::open(folder.path(), BootId(1));
    assert_eq!(calendar.now(instant(1, 60)), instant(1, 60).wall);
    calendar.handle_server_time(instant(1, 50), SERVER).unwrap();
    let calendar = Calendar::open(folder.path(), BootId(1));
    assert_eq!(calendar.now(instant(1, 60)), SERVER + Duration::from_secs(10));
    let synchronised = synchronised(1, 60, SERVER + Duration::from_secs(99));
    assert_eq!(calendar.now(synchronised), synchronised.wall);
}

#[test]
fn a_server_that_disagrees_with_a_synchronised_clock_is_said_with_what_to_do() {
    let now = synchronised(1, 50, SERVER);
    assert_eq!(disagreement(now, SERVER + Duration::from_secs(4)), None, "a slow line");
    let said = disagreement(now, SERVER + Duration::from_secs(60)).unwrap();
    assert!(said.contains("60 s behind the server's") && said.contains("timedatectl"), "{said}");
    assert!(disagreement(now, SERVER - Duration::from_secs(60)).unwrap().contains("60 s ahead of"));
    assert_eq!(disagreement(instant(1, 50), SERVER), None, "a clock that claims nothing");
}

fn synchronised(boot: u128, secs: u64, wall: WallTime) -> Instant {
    Instant { monotonic: monotonic(boot, secs), wall, quality: ClockQuality::Synchronised }
}

fn id(session: u64) -> FragmentId {
    FragmentId { session: SessionId(session), sequence: Sequence(0) }
}

fn monotonic(boot: u128, secs: u64) -> MonotonicTime {
    MonotonicTime { boot: BootId(boot), since_boot: Duration::from_secs(secs) }
}

fn instant(boot: u128, secs: u64) -> Instant {
    let wall = WallTime::from_millis(0) + Duration::from_secs(secs);
    Instant { monotonic: monotonic(boot, secs), wall, quality: ClockQuality::Unsynchronised }
}

fn captured(boot: u128, secs: u64) -> Start {
    let Instant { monotonic, wall, quality } = instant(boot, secs);
    Start { monotonic: Some(monotonic), wall, quality }
}
