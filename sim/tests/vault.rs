//! The vault loses power, thousands of times.
//!
//! `SIM_RUNS=n` runs n seeds of each kind instead of a few hundred, `SIM_SEED=n` begins with that seed. A failure
//! prints the seed and the end of the run's log.

use sim::vault_run::{Outcome, Plan, run};

#[test]
fn the_same_seed_gives_the_same_log() {
    let mut lines = 0;
    for seed in 0..20 {
        let plan = Plan { failing_syncs: true, full_disk: true, slow_disk: true, ..cuts(seed) };
        let (first, second) = (run(&plan), run(&plan));
        assert_eq!(first.log, second.log, "seed {seed}");
        lines += first.log.digest().0;
    }
    assert!(lines > 2000, "runs that do nothing show nothing: {lines}");
}

#[test]
fn other_seeds_give_other_logs() {
    assert_ne!(run(&cuts(1)).log.digest(), run(&cuts(2)).log.digest());
}

#[test]
fn no_power_cut_loses_doubles_or_changes_what_was_stored() {
    let (stored, cuts) = hold(cuts);
    assert!(cuts >= 3 * runs(), "most of the cuts happen while the vault works: {cuts}");
    assert!(stored >= 10 * runs(), "{stored}");
}

#[test]
fn nor_does_one_after_a_sync_that_failed() {
    hold(|seed| Plan { failing_syncs: true, ..cuts(seed) });
}

#[test]
fn nor_does_one_on_a_disk_that_is_full_at_times() {
    hold(|seed| Plan { full_disk: true, failing_syncs: seed % 2 == 0, ..cuts(seed) });
}

#[test]
fn nor_does_one_on_a_disk_that_is_slow() {
    hold(|seed| Plan { slow_disk: true, full_disk: seed % 3 == 0, ..cuts(seed) });
}

#[test]
fn without_the_sync_of_segments_something_is_lost() {
    loses_without(".seg");
}

#[test]
fn without_the_sync_of_the_segments_folder_something_is_lost() {
    loses_without("vault/segments");
}

#[test]
fn without_the_sync_of_key_files_something_is_lost() {
    loses_without(".tmp");
}

#[test]
fn without_the_sync_of_the_keys_folder_something_is_lost() {
    loses_without("vault/keys");
}

#[test]
fn without_the_sync_of_the_catalog_something_is_lost() {
    loses_without("vault/catalog");
}

/// A power cut after a few rounds of work, a few times.
fn cuts(seed: u64) -> Plan {
    Plan { seed, cuts: 5, rounds: 8, ..Plan::default() }
}

/// Runs many seeds, of which none may break a promise; answers how much was stored and how many cuts there were.
fn hold(plan: impl Fn(u64) -> Plan) -> (u64, u64) {
    let (mut stored, mut cuts, mut frames) = (0, 0, 0);
    for seed in first_seed()..first_seed() + runs() {
        let outcome = run(&plan(seed));
        if let Some(violation) = &outcome.violation {
            panic!("seed {seed}: {violation}\n{}", outcome.log);
        }
        stored += outcome.stored;
        cuts += u64::from(outcome.cuts);
        frames += outcome.frames;
    }
    println!("{} runs, {cuts} cuts at work, {stored} entries answered, {frames} frames written", runs());
    assert!(frames as u64 >= stored / 2, "frames are recognised in what was written");
    (stored, cuts)
}

/// A simulation that does not find what a missing sync loses would prove nothing.
fn loses_without(path: &'static str) {
    let broken = |seed| -> Outcome { run(&Plan { without_syncs_of: Some(path), ..cuts(seed) }) };
    let found = (0..200).find_map(|seed| broken(seed).violation.map(|violation| (seed, violation)));
    let (seed, violation) = found.expect("a missing sync loses something");
    println!("without syncs of {path}, seed {seed}: {violation}");
}

fn runs() -> u64 {
    setting("SIM_RUNS").unwrap_or(200)
}

fn first_seed() -> u64 {
    setting("SIM_SEED").unwrap_or(0)
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}
