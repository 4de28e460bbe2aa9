//! Rates and shares by themselves.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn what_is_larger_than_a_rate_goes_and_is_waited_for() {
    let mut pace = Pace::new(Allowance { backlog_rate_max: Some(1000), ..Allowance::default() });
    let now = SECOND;
    assert!(pace.writes_from(Priority::Backlog) <= now);
    pace.wrote(now, Priority::Backlog, 10_000);
    let from = pace.writes_from(Priority::Backlog);
    assert_eq!(from, now - limits::RATE_SLACK + 10 * SECOND);
    assert!(pace.writes_from(Priority::Live) <= now, "live has nothing to do with it");
}

#[test]
fn the_backlog_never_uses_up_what_live_may_take_of_all() {
    let mut pace = Pace::new(Allowance { rate_max: Some(1000), ..Allowance::default() });
    pace.wrote(SECOND, Priority::Backlog, 100_000);
    assert!(pace.writes_from(Priority::Live) <= SECOND);
    pace.wrote(SECOND, Priority::Live, 2000);
    assert!(pace.writes_from(Priority::Live) > SECOND, "live has a limit too");
}

#[test]
fn what_live_takes_of_all_is_not_there_for_the_backlog() {
    let mut pace = Pace::new(Allowance { rate_max: Some(1000), ..Allowance::default() });
    pace.wrote(SECOND, Priority::Live, 5000);
    assert_eq!(pace.writes_from(Priority::Backlog), SECOND - limits::RATE_SLACK + 5 * SECOND);
}

#[test]
fn a_low_rate_is_written_in_small_pieces() {
    let rate = |bytes| Pace::new(Allowance { backlog_rate_max: Some(bytes), ..Allowance::default() });
    assert_eq!(rate(100).piece(Priority::Backlog), limits::PIECE_BYTES_MIN);
    assert_eq!(rate(40_000).piece(Priority::Backlog), 10_000);
    assert_eq!(rate(1 << 30).piece(Priority::Backlog), limits::CHUNK_BYTES_MAX as u64);
    assert_eq!(rate(100).piece(Priority::Live), limits::CHUNK_BYTES_MAX as u64);
}

#[test]
fn a_burst_is_followed_by_the_pause_that_makes_it_its_share() {
    let mut pace = Pace::new(Allowance { backlog_share: Some(25), ..Allowance::default() });
    assert_eq!(pace.begins_from(SECOND), Some(Duration::ZERO));
    pace.began(SECOND, 1000);
    assert_eq!(pace.begins_from(SECOND), None, "nothing is known of the line yet");
    pace.ended(1000, true);
    assert_eq!(pace.begins_from(2 * SECOND), Some(5 * SECOND), "a second of four");
}

#[test]
fn what_live_sent_meanwhile_counts_as_the_lines_too() {
    let mut pace = Pace::new(Allowance { backlog_share: Some(50), ..Allowance::default() });
    assert_eq!(pace.begins_from(SECOND), Some(Duration::ZERO));
    pace.began(SECOND, 1000);
    pace.wrote(SECOND, Priority::Live, 1000);
    pace.ended(1000, true);
    // The line carries 2000 bytes a second, and half of that is what the backlog had.
    assert!(pace.begins_from(2 * SECOND).is_some_and(|from| from <= 2 * SECOND));
}

#[test]
fn a_fragment_that_was_taken_back_costs_no_pause() {
    let mut pace = Pace::new(Allowance { backlog_share: Some(1), ..Allowance::default() });
    assert_eq!(pace.begins_from(SECOND), Some(Duration::ZERO));
    pace.began(SECOND, 1000);
    pace.ended(1000, false);
    assert!(pace.begins_from(2 * SECOND).is_some_and(|from| from <= 2 * SECOND));
}
