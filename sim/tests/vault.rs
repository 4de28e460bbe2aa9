//! The vault loses power, thousands of times.
//!
//! `SIM_RUNS=n` runs n seeds of each kind instead of a few hundred, `SIM_SEED=n` begins with that seed. A failure
//! prints the seed and the end of the run's log.

use sim::vault_run::{Counts, Plan, Violation, run};

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
    let found = hold(cuts);
    assert!(found.cuts >= 2 * runs(), "most of the cuts happen while the vault works: {found:?}");
    assert!(found.kills >= runs(), "now and then the process ends alone: {found:?}");
    assert!(found.stored >= 6 * runs(), "{found:?}");
}

#[test]
fn what_is_dead_is_deleted_and_what_was_destroyed_stays_unreadable() {
    let Found { counts, .. } = hold(cuts);
    assert!(counts.destroyed >= runs() / 4, "{counts:?}");
    assert!(counts.unreadable >= runs() / 4, "frames of destroyed owners were tried: {counts:?}");
    assert!(counts.swept >= 2 * runs() && counts.deleted >= runs(), "{counts:?}");
}

#[test]
fn nor_does_one_after_a_sync_that_failed() {
    let Found { counts, .. } = hold(|seed| Plan { failing_syncs: true, ..cuts(seed) });
    assert!(counts.failed_syncs >= runs() / 2, "syncs fail: {counts:?}");
    assert!(counts.poisoned >= runs() / 2, "writes are refused from then on: {counts:?}");
    assert!(counts.healed >= runs() / 4, "the vault stores again when it is opened again: {counts:?}");
}

#[test]
fn nor_does_one_on_a_disk_that_is_full_at_times() {
    let Found { counts, .. } = hold(|seed| Plan { full_disk: true, failing_syncs: seed % 2 == 0, ..cuts(seed) });
    assert!(counts.full >= runs() / 2, "the disk is full: {counts:?}");
    assert!(counts.resumed >= runs() / 4, "what was refused is stored as soon as there is room: {counts:?}");
}

#[test]
fn nor_does_one_on_a_disk_that_is_slow() {
    hold(|seed| Plan { slow_disk: true, full_disk: seed % 3 == 0, ..cuts(seed) });
}

#[test]
fn a_bit_that_flips_in_a_segment_costs_one_entry_at_most_and_is_told() {
    let Found { counts, .. } = hold(|seed| Plan { flipped_bit: true, ..cuts(seed) });
    assert!(counts.damaged >= runs() / 4, "bits flip in what is stored: {counts:?}");
}

#[test]
fn nor_does_one_lose_the_keyring_in_its_rotations_too() {
    let Found { counts, .. } = hold(keyring);
    assert!(counts.rotated >= runs() / 5, "{counts:?}");
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

#[test]
fn without_the_sync_of_the_vaults_folder_the_segments_or_keys_are_lost() {
    loses("vault", cuts, |violation| matches!(violation, Violation::Unreadable(..)));
}

#[test]
fn without_the_sync_of_the_folder_that_the_vault_lies_in_it_is_lost() {
    loses_without(".");
}

#[test]
fn without_the_sync_of_the_keys_folder_a_destroyed_key_comes_back() {
    loses("vault/keys", cuts, |violation| matches!(violation, Violation::NotDestroyed(_)));
}

#[test]
fn without_the_sync_of_the_keyring_it_is_lost() {
    loses(".keyring.new", keyring, |violation| matches!(violation, Violation::Closed(why) if why.contains("keyring")));
}

#[test]
fn without_the_sync_of_the_keyrings_folder_it_or_a_rotation_is_lost() {
    loses("vault", keyring, |violation| matches!(violation, Violation::Closed(why) if why.contains("keyring")));
}

/// A power cut after a few rounds of work, a few times.
fn cuts(seed: u64) -> Plan {
    Plan { seed, cuts: 5, rounds: 8, ..Plan::default() }
}

fn keyring(seed: u64) -> Plan {
    Plan { keyring: true, ..cuts(seed) }
}

/// What many runs came upon.
#[derive(Debug, Default)]
struct Found {
    stored: u64,
    cuts: u64,
    kills: u64,
    frames: u64,
    counts: Counts,
}

/// Runs many seeds, of which none may break a promise.
fn hold(plan: impl Fn(u64) -> Plan) -> Found {
    let mut found = Found::default();
    for seed in first_seed()..first_seed() + runs() {
        let outcome = run(&plan(seed));
        if let Some(violation) = &outcome.violation {
            panic!("seed {seed}: {violation}\n{}", outcome.log);
        }
        found.stored += outcome.stored;
        found.cuts += u64::from(outcome.cuts);
        found.kills += u64::from(outcome.kills);
        found.frames += outcome.frames as u64;
        found.counts += outcome.counts;
    }
    println!("{} runs: {found:?}", runs());
    assert!(found.frames >= found.stored / 2, "frames are recognised in what was written");
    found
}

/// A simulation that does not find what a missing sync loses would prove nothing.
fn loses_without(path: &'static str) {
    loses(path, cuts, |_| true);
}

/// The same, of a kind of run, where it has to be lost in a certain way.
fn loses(path: &'static str, plan: impl Fn(u64) -> Plan, so: impl Fn(&Violation) -> bool) {
    let broken = |seed| run(&Plan { without_syncs_of: Some(path), ..plan(seed) });
    let found = (0..1000).find_map(|seed| broken(seed).violation.filter(&so).map(|violation| (seed, violation)));
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
