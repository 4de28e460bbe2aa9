//! Everything that happens to a device in the field, at random, again and again: at the end each picture that the agent
//! could see is in the archive once and in order, or is in the list of what was dropped, with a reason.
//!
//! Cameras and agent are in a network of their own, with one line to the server. Needs root for that; without it the
//! test says so, and fails if MILLRACE_ROOT=1 promises it.

mod faults;
mod oracle;
mod stage;

use std::time::Duration;

use e2e::Network;

use faults::{Faults, happen};
use stage::{STREAMS, Stage};

/// So many kinds of fault there are.
const ONE_OF_EACH: usize = 12;

/// How many faults; FAULTS=n for another number, as in `make torture-edge`. Twelve are one of each kind.
fn number() -> usize {
    std::env::var("FAULTS").ok().and_then(|faults| faults.parse().ok()).unwrap_or(ONE_OF_EACH)
}

/// The short run is the same each time, as far as processes let it; a long one is another each time.
fn seed(faults: usize) -> u64 {
    if faults > ONE_OF_EACH { fastrand::u64(..) } else { 7 }
}

#[test]
fn whatever_happens_every_picture_arrives_once_and_in_order_or_is_said_to_be_dropped() {
    let network = match Network::try_new() {
        Ok(network) => network,
        Err(why) if std::env::var("MILLRACE_ROOT").is_ok_and(|promised| promised == "1") => panic!("{why}"),
        Err(why) => {
            eprintln!("skipped: a network of its own can't be laid here: {why}");
            return;
        }
    };
    let number = number();
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| seed(number));
    // In a long run the line is also cut for minutes.
    let cut_max = if number > 50 { Duration::from_secs(90) } else { Duration::from_secs(12) };
    eprintln!("SEED={seed} FAULTS={number}");
    let mut faults = Faults::new(seed, cut_max);
    let mut stage = Stage::new(network);
    for i in 0..number {
        faults.pause();
        stage.tend();
        let (fault, camera) = (faults.pick(), faults.camera(STREAMS.len()));
        stage.note(format!("{i}: {fault:?}, camera {camera}"));
        happen(&mut stage, fault, camera);
    }
    stage.settle();
    for (i, (stream, _)) in STREAMS.iter().enumerate() {
        let (seen, stored, dropped) = oracle::check(&stage, i);
        eprintln!("{stream}: {seen} pictures could be seen, {stored} are stored, {dropped} were dropped with a reason");
    }
}
