//! The agent's spool loses power, thousands of times, or its process ends.
//!
//! `SIM_RUNS=n` runs n seeds of each kind instead of a thousand, `SIM_SEED=n` begins with that seed. A failure
//! prints the seed and the end of the run's log.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use disk::Disk as _;
use fragment::{ClockQuality, FragmentId, Sequence, SessionId, WallTime};
use sim::spool_run::{Operation, Plan, Sync, run};
use sim::{Faults, VirtualDisk};
use spool::drops::{self, Reason};
use spool::{Spool, Start};
use upload::FragmentKey;

#[test]
fn the_same_seed_gives_the_same_log() {
    let mut lines = 0;
    for seed in 0..20 {
        for plan in [restarts(seed), Plan { failing_syncs: true, full_disk: true, ..cuts(seed) }] {
            let (first, second) = (run(&plan), run(&plan));
            assert_eq!(first.log, second.log, "seed {seed}");
            lines += first.log.digest().0;
        }
    }
    assert!(lines > 4000, "runs that do nothing show nothing: {lines}");
}

#[test]
fn other_seeds_give_other_logs() {
    assert_ne!(run(&cuts(1)).log.digest(), run(&cuts(2)).log.digest());
}

#[test]
fn no_power_cut_loses_doubles_or_changes_a_fragment_that_was_finished() {
    let counts = hold(cuts);
    assert!(counts.cuts >= 3 * runs(), "most of the cuts happen while the spool works: {counts:?}");
    assert!(counts.finished >= 5 * runs() && counts.ended_early >= runs() / 5, "{counts:?}");
    assert!(counts.dropped >= runs() / 10 && counts.refused > 0, "some spools were full: {counts:?}");
    assert!(counts.synced_later >= runs() / 2, "some synced at intervals: {counts:?}");
}

#[test]
fn nor_does_an_end_of_the_process_which_loses_nothing_that_was_appended() {
    let counts = hold(restarts);
    assert!(counts.kills >= runs() && counts.cuts >= runs(), "{counts:?}");
}

#[test]
fn nor_does_a_cut_after_a_sync_that_failed() {
    hold(|seed| Plan { failing_syncs: true, ..cuts(seed) });
}

#[test]
fn nor_does_one_on_a_disk_that_is_full_at_times() {
    hold(|seed| Plan { full_disk: true, ..restarts(seed) });
    hold(|seed| Plan { full_disk: true, failing_syncs: true, ..cuts(seed) });
}

#[test]
fn a_disk_that_takes_no_more_files_is_full_and_the_oldest_fragments_go() {
    let (disk, state) = (VirtualDisk::new(1), Path::new("state"));
    disk.create_folder(state).expect("nothing hinders it");
    // One is the list of drops.
    disk.set_faults(Faults { files_max: Some(1 + 10), ..Faults::default() });
    let spool = Spool::open_on(Arc::new(disk.clone()), state, 1 << 30).expect("it is empty");
    (0..25).for_each(|sequence| record(&spool, sequence));
    let counters = spool.counters();
    assert_eq!((counters.fragments, counters.drops.disk_full), (10, 15), "{counters:?}");
    let listed = drops::read(&disk, state).expect("the list is there");
    let [run] = &listed[..] else { panic!("{listed:#?}") };
    assert_eq!((run.reason, run.first, run.last), (Reason::DiskFull, Sequence(0), Sequence(14)));
}

#[test]
fn a_drop_that_a_run_listed_and_could_not_sync_is_synced_by_the_next_one() {
    // What of it a cut would take is drawn.
    for seed in 0..20 {
        let (disk, state) = (VirtualDisk::new(seed), Path::new("state"));
        disk.create_folder(state).expect("nothing hinders it");
        let spool = Spool::open_on(Arc::new(disk.clone()), state, 1 << 30).expect("it is empty");
        record(&spool, 0);
        spool.reject(&key(0)).expect("nothing hinders it");
        drop(spool);
        disk.cut();
        disk.restart();

        let spool = Spool::open_on(Arc::new(disk.clone()), state, 1 << 30).expect("nothing hinders it");
        record(&spool, 1);
        drop(spool);
        disk.cut();
        disk.cycle_power();
        let listed = drops::read(&disk, state).expect("the list is there");
        assert_eq!(
            listed.iter().map(|run| (run.reason, run.first)).collect::<Vec<_>>(),
            [(Reason::Rejected, Sequence(0))]
        );
    }
}

#[test]
fn without_the_sync_of_a_finished_fragment_something_is_lost() {
    loses_without(".frag", Operation::Finish);
}

#[test]
fn without_the_sync_of_the_folder_of_a_finished_fragment_something_is_lost() {
    loses_without("spool/front", Operation::Finish);
}

#[test]
fn without_the_sync_of_a_fragment_that_is_ended_early_something_is_lost() {
    loses_without(".frag", Operation::Repair);
}

#[test]
fn without_the_sync_of_the_folder_of_a_fragment_that_is_ended_early_something_is_lost() {
    loses_without("spool/front", Operation::Repair);
}

#[test]
fn without_the_sync_of_fragments_that_are_found_something_is_lost() {
    loses_without(".frag", Operation::Open);
}

#[test]
fn without_the_sync_of_their_folder_something_is_lost() {
    loses_without("spool/front", Operation::Open);
}

#[test]
fn without_the_sync_of_the_folder_of_rejected_ones_something_comes_back() {
    loses_without("state/rejected", Operation::Open);
}

#[test]
fn without_the_sync_of_the_folder_that_names_streams_something_is_lost() {
    loses_without("state/spool", Operation::Create);
}

#[test]
fn without_the_sync_of_the_folder_that_names_the_spool_something_is_lost() {
    loses_without("state", Operation::Open);
}

#[test]
fn without_the_sync_of_fragments_at_an_interval_something_is_lost() {
    loses_without(".frag", Operation::Tend);
}

#[test]
fn without_the_sync_of_their_folder_at_an_interval_something_is_lost() {
    loses_without("spool/front", Operation::Tend);
}

#[test]
fn without_the_sync_of_the_list_of_drops_a_drop_is_missing() {
    loses_without("state/drops", Operation::Finish);
}

fn record(spool: &Spool, sequence: u32) {
    let start = Start { monotonic: None, wall: WallTime::from_millis(0), quality: ClockQuality::Given };
    let mut writer = spool.create(key(sequence), start, Bytes::new()).expect("there is room, or the oldest makes it");
    writer.append(Duration::from_secs(2), &[Bytes::from_static(b"a unit")]).expect("there is room for bytes");
    writer.finish(Duration::from_secs(2)).expect("there is room for bytes");
}

fn key(sequence: u32) -> FragmentKey {
    let id = FragmentId { session: SessionId(7), sequence: Sequence(sequence) };
    FragmentKey { stream: "front".parse().expect("a good name"), id }
}

/// A power cut after a few rounds of work, a few times.
fn cuts(seed: u64) -> Plan {
    Plan { seed, cuts: 6, rounds: 30, ..Plan::default() }
}

/// The same, with the process alone ending at every other time.
fn restarts(seed: u64) -> Plan {
    Plan { restarts: true, ..cuts(seed) }
}

#[derive(Debug, Default)]
struct Counts {
    finished: u64,
    recovered: u64,
    ended_early: u64,
    cuts: u64,
    kills: u64,
    dropped: u64,
    refused: u64,
    synced_later: u64,
}

/// Runs many seeds, of which none may break a promise; answers what happened in them.
fn hold(plan: impl Fn(u64) -> Plan) -> Counts {
    let mut counts = Counts::default();
    for seed in first_seed()..first_seed() + runs() {
        let outcome = run(&plan(seed));
        if let Some(violation) = &outcome.violation {
            panic!("seed {seed}: {violation}\n{}", outcome.log);
        }
        counts.finished += outcome.finished;
        counts.recovered += outcome.recovered;
        counts.ended_early += outcome.ended_early;
        counts.cuts += u64::from(outcome.cuts);
        counts.kills += u64::from(outcome.kills);
        counts.dropped += outcome.dropped;
        counts.refused += outcome.refused;
        counts.synced_later += outcome.synced_later;
    }
    println!("{} runs: {counts:?}", runs());
    counts
}

/// A simulation that does not find what a missing sync loses would prove nothing.
fn loses_without(of: &'static str, during: Operation) {
    let broken = |seed| run(&Plan { without: Some(Sync { of, during }), ..restarts(seed) });
    let found = (0..2000).find_map(|seed| broken(seed).violation.map(|violation| (seed, violation)));
    let (seed, violation) = found.expect("a missing sync loses something");
    println!("without the sync of {of} in {during:?}, seed {seed}: {violation}");
}

fn runs() -> u64 {
    setting("SIM_RUNS").unwrap_or(1000)
}

fn first_seed() -> u64 {
    setting("SIM_SEED").unwrap_or(0)
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}
