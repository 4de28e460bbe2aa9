//! The same as the measurement, of hours in place of weeks.

use super::*;

#[test]
fn hours_without_a_line_are_found_after_a_restart_and_sent_once_oldest_first_with_live_before_them() {
    let state = tempfile::tempdir().unwrap();
    let mut device = Device::new(open(state.path(), 1 << 40, true).unwrap(), 2);
    device.capture(HOUR).unwrap();
    let stopped = device.stop();
    let mut device = stopped.start(open(state.path(), 1 << 40, true).unwrap());
    device.capture(HOUR / 4).unwrap();
    let backlog = device.spool.counters().fragments;
    assert_eq!(backlog, 2 * 3600 / 2 * 5 / 4);

    let mut connection = catch_up::Connection::new(&device, 4);
    connection.run(&mut device, HOUR / 12).unwrap();
    let sent = connection.sent;
    let of_live = 2 * device::FRAGMENT_BYTES * 150;
    assert!(sent.live_bytes.abs_diff(of_live) < of_live / 50, "all that is captured is sent at once: {sent:?}");
    assert!(
        sent.backlog_bytes.abs_diff(3 * of_live) < of_live / 10,
        "and the rest of the line is the backlog's: {sent:?}"
    );
    assert!(!connection.is_done());

    connection.run(&mut device, HOUR).unwrap();
    connection.check(backlog).unwrap();
    let caught_up = connection.caught_up().unwrap().as_secs();
    assert!((1450..1550).contains(&caught_up), "a third of 75 minutes: {caught_up} s");
    assert!(device.spool.counters().fragments <= 4, "what is being captured, and what is on its way");
}

#[test]
fn what_a_quota_drops_is_listed_without_a_gap_in_a_line_for_each_session() {
    let state = tempfile::tempdir().unwrap();
    let mut device = Device::new(open(state.path(), 200_000, true).unwrap(), 3);
    device.capture(HOUR / 2).unwrap();
    let listed = drops::read(&::disk::OsDisk, state.path()).unwrap();
    device.check_drops(&listed).unwrap();
    assert_eq!(listed.len(), 3);
    assert!(device.spool.counters().bytes < 201_000 && device.spool.counters().dropped > 1000);
}

#[test]
fn the_index_takes_little_more_than_its_records_and_does_not_grow_where_the_oldest_go() {
    let state = tempfile::tempdir().unwrap();
    let mut device = Device::new(open(state.path(), 500_000, true).unwrap(), 4);
    let mut most = 0;
    for _ in 0..4 {
        device.capture(HOUR / 4).unwrap();
        let counters = device.spool.counters();
        assert!(counters.index_bytes < counters.fragments * 36 + 4 * 2 * 256, "{counters:?}");
        most = most.max(counters.fragments);
    }
    let counters = device.spool.counters();
    assert!(counters.fragments + 8 >= most && counters.dropped > 3000, "{counters:?}, and {most} at most");
}
