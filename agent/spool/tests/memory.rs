//! What the spool takes of memory, by what is really allocated, over fragments that it is told to hold on a disk that holds nothing.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use disk::testing::Nothing;
use fragment::{BootId, ClockQuality, FragmentId, MonotonicTime, Sequence, SessionId, WallTime};
use peak_alloc::PeakAlloc;
use spool::{Counters, Settings, Spool, Start, limits};
use upload::FragmentKey;

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

/// One test, since what others allocate beside it would count.
#[test]
fn the_index_takes_what_it_says_and_no_more_than_its_bound() {
    let (took, counters) = hold(200_000, |i| (i % 4, i / 4 / 43_200));
    println!("4 cameras, a session a day: {took} bytes for {counters:?}");
    assert_eq!(counters.fragments, 200_000);
    assert!(took < 200_000 * 36, "{took} bytes for 200,000 fragments");
    assert!(took <= counters.index_bytes && counters.index_bytes < took * 11 / 10, "{took}: {counters:?}");

    // A camera that is lost with each fragment costs the most for each, and the oldest make room at the bound.
    let (took, counters) = hold(250_000, |i| (0, i));
    println!("a session for each fragment: {took} bytes for {counters:?}");
    assert!(counters.fragments > 100_000 && counters.fragments + counters.dropped == 250_000, "{counters:?}");
    assert!(took <= limits::INDEX_BYTES_MAX, "{took}: {counters:?}");
}

/// Lets a spool hold so many fragments of cameras and their sessions; answers what it allocated.
fn hold(fragments: u64, of: impl Fn(u64) -> (u64, u64)) -> (u64, Counters) {
    let before = ALLOCATED.current_usage();
    let spool = Spool::open_on(Arc::new(Nothing), Path::new("state"), Settings::from(u64::MAX / 2)).unwrap();
    for i in 0..fragments {
        let (camera, session) = of(i);
        let id = FragmentId { session: SessionId(session), sequence: Sequence(u32::try_from(i).unwrap()) };
        let key = FragmentKey { stream: format!("camera-{camera}").parse().unwrap(), id };
        let since_boot = Duration::from_millis(500 * i);
        let start = Start {
            monotonic: Some(MonotonicTime { boot: BootId(1), since_boot }),
            wall: WallTime::from_millis(1_700_000_000_000) + since_boot,
            quality: ClockQuality::Synchronised,
        };
        let mut writer = spool.create(key, start, Bytes::new()).unwrap();
        writer.append(Duration::from_secs(2), &[Bytes::from_static(b"a unit")]).unwrap();
        writer.finish(Duration::from_secs(2)).unwrap();
    }
    let took = ALLOCATED.current_usage().saturating_sub(before);
    (u64::try_from(took).unwrap(), spool.counters())
}
