//! What a catalog on a server has to bear: connections that break at the worst moment, a server that is
//! killed, other processes on the same tables. What every catalog promises is in `catalog/tests.rs`.

mod proxy;
mod schema;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use self::proxy::{Proxy, Trap};
pub(crate) use self::schema::Schema;
use services::Postgres;

use super::*;
use crate::key::Space;

#[test]
fn a_commit_whose_answer_was_lost_is_found_and_not_made_twice() {
    let (schema, proxy) = proxied();
    let catalog = PostgresCatalog::open(&schema.url_by(proxy.folder())).unwrap();
    proxy.set(Trap::AfterCommit);
    // Made again, it would fail: the row is there.
    catalog.commit(fresh("a", "1")).unwrap();
    assert_eq!(value(&catalog, "a"), Some("1".into()));
}

#[test]
fn a_commit_that_did_not_reach_the_server_is_made_again() {
    let (schema, proxy) = proxied();
    let catalog = PostgresCatalog::open(&schema.url_by(proxy.folder())).unwrap();
    proxy.set(Trap::BeforeCommit);
    catalog.commit(fresh("a", "1")).unwrap();
    assert_eq!(value(&catalog, "a"), Some("1".into()));
}

#[test]
fn a_commit_that_is_still_under_way_is_waited_for() {
    let (schema, proxy) = proxied();
    let catalog = PostgresCatalog::open(&schema.url_by(proxy.folder())).unwrap();
    proxy.set(Trap::CommitLate);
    thread::scope(|scope| {
        let committing = scope.spawn(|| catalog.commit(fresh("a", "1")));
        // The catalog asks for the outcome, and the lane's row makes it wait.
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%lanes%'";
        while schema.server.sql(waiting) == "0" {}
        proxy.release();
        committing.join().unwrap().unwrap();
    });
    assert_eq!(value(&catalog, "a"), Some("1".into()));
}

#[test]
fn a_commit_that_comes_after_it_was_given_up_does_nothing() {
    let (schema, proxy) = proxied();
    let catalog = PostgresCatalog::open(&schema.url_by(proxy.folder())).unwrap();
    proxy.set(Trap::AllLate);
    catalog.commit(set("a", "first")).unwrap();
    catalog.commit(set("a", "second")).unwrap();
    proxy.release();
    assert_eq!(value(&catalog, "a"), Some("second".into()));
}

#[test]
fn an_outcome_that_cannot_be_learned_is_unknown_until_it_is_settled() {
    for (trap, outcome) in [(Trap::AfterCommit, Some("1".into())), (Trap::BeforeCommit, None)] {
        let (schema, proxy) = proxied();
        let catalog = PostgresCatalog::open_with(&schema.url_by(proxy.folder()), Duration::ZERO).unwrap();
        proxy.set_and_close(trap);
        let CommitError::Unknown(error) = catalog.commit(fresh("a", "1")).unwrap_err() else { panic!("{trap:?}") };
        assert!(error.retryable());
        assert!(catalog.settle().unwrap_err().retryable());
        // Nothing overtakes a commit that may yet appear.
        assert!(matches!(catalog.commit(set("b", "1")), Err(CommitError::NotCommitted(_))));
        proxy.reopen();
        thread::sleep(limits::CATALOG_CONNECT_PAUSE);
        catalog.settle().unwrap();
        assert_eq!(value(&catalog, "a"), outcome, "{trap:?}");
        catalog.commit(set("b", "1")).unwrap();
    }
}

#[test]
fn a_commit_settles_those_before_it_by_itself() {
    let (schema, proxy) = proxied();
    let catalog = PostgresCatalog::open_with(&schema.url_by(proxy.folder()), Duration::ZERO).unwrap();
    proxy.set_and_close(Trap::AllLate);
    assert!(matches!(catalog.commit(set("a", "first")), Err(CommitError::Unknown(_))));
    proxy.reopen();
    thread::sleep(limits::CATALOG_CONNECT_PAUSE);
    catalog.commit(set("a", "second")).unwrap();
    proxy.release();
    assert_eq!(value(&catalog, "a"), Some("second".into()));
}

#[test]
fn what_a_dead_process_left_unanswered_does_not_appear_under_its_successor() {
    let (schema, proxy) = proxied();
    let dying = PostgresCatalog::open_with(&schema.url_by(proxy.folder()), Duration::ZERO).unwrap();
    proxy.set_and_close(Trap::AllLate);
    assert!(matches!(dying.commit(set("a", "late")), Err(CommitError::Unknown(_))));
    drop(dying);
    let successor = schema.open();
    assert_eq!(value(&*successor, "a"), None);
    proxy.release();
    assert_eq!(value(&*successor, "a"), None);
}

#[test]
fn a_process_that_starts_does_not_disturb_those_that_run() {
    let schema = Schema::new();
    let first = schema.open();
    first.commit(set("a", "1")).unwrap();
    let second = schema.open();
    first.commit(set("b", "2")).unwrap();
    second.commit(set("c", "3")).unwrap();
    assert_eq!(rows(&*first), 3);
}

#[test]
fn processes_that_start_at_once_on_an_empty_database_all_find_their_tables() {
    let schema = Schema::new();
    thread::scope(|scope| {
        for n in 0..6 {
            let schema = &schema;
            scope.spawn(move || schema.open().commit(set(&format!("{n}"), "")).unwrap());
        }
    });
    assert_eq!(rows(&*schema.open()), 6);
}

#[test]
fn tables_of_a_later_version_are_refused() {
    let schema = Schema::new();
    drop(schema.open());
    schema.server.sql(&format!("UPDATE {}.millrace_format SET version = 2", schema.name));
    let error = PostgresCatalog::open(&schema.url()).err().expect("refused");
    assert!(!error.retryable());
    assert!(error.to_string().contains("format 2"), "{error}");
}

#[test]
fn a_server_that_is_away_is_said_to_be_and_missed_no_longer_than_it_is() {
    let server = Arc::new(Postgres::start());
    let schema = Schema::on(&server);
    let catalog = PostgresCatalog::open_with(&schema.url(), Duration::ZERO).unwrap();
    catalog.commit(set("a", "1")).unwrap();
    let snapshot = catalog.snapshot();
    server.stop();
    assert!(snapshot.get(&key("a")).unwrap_err().retryable());
    assert!(catalog.get(&key("a")).unwrap_err().retryable());
    assert!(catalog.snapshot().get(&key("a")).unwrap_err().retryable());
    let CommitError::NotCommitted(error) = catalog.commit(set("a", "2")).unwrap_err() else { panic!("unknown") };
    assert!(error.retryable());
    assert!(PostgresCatalog::open(&schema.url()).err().expect("refused").retryable());
    server.resume();
    thread::sleep(limits::CATALOG_CONNECT_PAUSE);
    assert!(snapshot.get(&key("a")).unwrap_err().retryable(), "a snapshot does not outlive its server");
    assert_eq!(value(&catalog, "a"), Some("1".into()));
    catalog.commit(set("a", "2")).unwrap();
}

#[test]
fn connections_that_broke_while_idle_are_not_noticed() {
    let server = Arc::new(Postgres::start());
    let schema = Schema::on(&server);
    let catalog = schema.open();
    catalog.commit(set("a", "1")).unwrap();
    assert_eq!(value(&*catalog, "a"), Some("1".into()));
    server.stop();
    server.resume();
    assert_eq!(value(&*catalog, "a"), Some("1".into()));
    assert_eq!(catalog.snapshot().get(&key("a")).unwrap().unwrap(), "1");
    catalog.commit(set("b", "1")).unwrap();
}

#[test]
fn what_was_answered_survives_a_server_that_is_killed_and_what_was_not_made_is_not_there() {
    const KILLS: usize = 4;
    let server = Arc::new(Postgres::start());
    let schema = Schema::on(&server);
    let patient = PostgresCatalog::open(&schema.url()).unwrap();
    let hasty = PostgresCatalog::open_with(&schema.url(), Duration::ZERO).unwrap();
    let over = AtomicBool::new(false);
    let reports = thread::scope(|scope| {
        let writers = [("p", &patient), ("q", &patient), ("h", &hasty)];
        let writing: Vec<_> =
            writers.into_iter().map(|(name, catalog)| scope.spawn(|| write_until(catalog, name, &over))).collect();
        for _ in 0..KILLS {
            thread::sleep(Duration::from_millis(400));
            server.kill();
            server.resume();
        }
        thread::sleep(Duration::from_millis(400));
        over.store(true, Ordering::SeqCst);
        writing.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    hasty.settle().unwrap();
    let found = all_rows(&patient);
    for report in reports {
        assert!(report.answered.len() > KILLS, "{report:?}");
        assert!(report.answered.is_subset(&found), "{:?} are lost", report.answered.difference(&found));
        assert!(report.failed.is_disjoint(&found), "{:?} appeared", report.failed.intersection(&found));
    }
}

#[test]
fn calls_from_async_code_block_and_do_not_panic() {
    let schema = Schema::new();
    let runtimes =
        [tokio::runtime::Builder::new_current_thread().build(), tokio::runtime::Builder::new_multi_thread().build()];
    for runtime in runtimes {
        runtime.unwrap().block_on(async {
            let catalog = schema.open();
            catalog.commit(set("a", "1")).unwrap();
            assert_eq!(value(&*catalog, "a"), Some("1".into()));
            let snapshot = catalog.snapshot();
            // The catalog's own threads end with the last of what uses them.
            drop(catalog);
            assert_eq!(snapshot.get(&key("a")).unwrap().unwrap(), "1");
        });
    }
}

#[test]
fn more_snapshots_than_connections_are_refused_and_can_be_taken_later() {
    let schema = Schema::new();
    let catalog = schema.open();
    let held: Vec<_> = (0..limits::CATALOG_READERS_MAX).map(|_| catalog.snapshot()).collect();
    assert!(catalog.snapshot().get(&key("a")).unwrap_err().retryable());
    drop(held);
    assert_eq!(catalog.snapshot().get(&key("a")), Ok(None));
}

#[test]
fn over_tls_the_server_is_verified_and_the_password_is_asked_for() {
    let server = Arc::new(Postgres::start_on_tcp());
    let authority = secure(&server);
    let schema = Schema::on(&server);
    server.sql(&format!("CREATE ROLE guarded LOGIN PASSWORD 'secret'; GRANT ALL ON SCHEMA {} TO guarded", schema.name));
    let port = server.port();
    let open = |user: &str, options: &str| {
        let search = format!("options=-csearch_path%3D{}", schema.name);
        PostgresCatalog::open(&format!("postgres://{user}@localhost:{port}/postgres?{search}&{options}"))
    };
    let verified = format!("sslmode=verify-full&sslrootcert={authority}");
    let catalog = open("guarded:secret", &verified).unwrap();
    catalog.commit(set("a", "1")).unwrap();
    assert_eq!(value(&catalog, "a"), Some("1".into()));

    let refused = |user, options: &str| open(user, options).err().expect("refused");
    let wrong = refused("guarded:wrong", &verified);
    assert!(!wrong.retryable() && !wrong.to_string().contains("wrong"), "{wrong}");
    // The system's own authorities have not signed it, and in the clear the server takes nobody.
    refused("guarded:secret", "sslmode=verify-full");
    assert!(!refused("guarded:secret", "sslmode=disable").retryable());
}

/// What became of a writer's commits.
#[derive(Debug, Default)]
struct Report {
    answered: BTreeSet<String>,
    failed: BTreeSet<String>,
}

fn write_until(catalog: &PostgresCatalog, name: &str, over: &AtomicBool) -> Report {
    let mut report = Report::default();
    for n in 0.. {
        if over.load(Ordering::SeqCst) {
            break;
        }
        let row = format!("{name} {n:06}");
        // On condition, so that a commit made twice would show.
        match catalog.commit(fresh(&row, "1")) {
            Ok(()) => drop(report.answered.insert(row)),
            Err(CommitError::NotCommitted(error)) => {
                assert!(error.retryable(), "{error}");
                report.failed.insert(row);
                thread::sleep(Duration::from_millis(10));
            }
            Err(CommitError::Unknown(error)) => assert!(error.retryable(), "{error}"),
            Err(error) => panic!("{row}: {error}"),
        }
    }
    report
}

/// Gives a server TLS for `localhost`, closes it to everybody without, and answers the file of the authority that signed its certificate.
fn secure(server: &Postgres) -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    let data = server.folder().join("data");
    for (name, pem) in [("server.crt", certificate.pem()), ("server.key", key.serialize_pem())] {
        let path = data.join(name);
        fs::write(&path, pem).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        if rustix::process::geteuid().is_root() {
            services::give_to_postgres(&path);
        }
    }
    fs::write(data.join("pg_hba.conf"), "local all millrace trust\nhostssl all all all scram-sha-256\n").unwrap();
    server.sql("ALTER SYSTEM SET ssl = on");
    server.stop();
    server.resume();
    data.join("server.crt").to_str().unwrap().to_owned()
}

fn proxied() -> (Schema, Proxy) {
    let schema = Schema::new();
    let proxy = Proxy::before(&schema.server);
    (schema, proxy)
}

fn key(name: &str) -> Key {
    Key::new(Space::Archive, name.as_bytes())
}

fn set(name: &str, value: &str) -> Batch {
    let mut batch = Batch::new();
    batch.insert(key(name), value.to_owned());
    batch
}

fn fresh(name: &str, value: &str) -> Batch {
    let mut batch = set(name, value);
    batch.require_absent(key(name));
    batch
}

fn value(catalog: &dyn Catalog, name: &str) -> Option<Bytes> {
    catalog.get(&key(name)).unwrap()
}

fn rows(catalog: &dyn Catalog) -> usize {
    catalog.scan(&KeyRange::prefix(key("")), Direction::Ascending, usize::MAX).unwrap().len()
}

fn all_rows(catalog: &dyn Catalog) -> BTreeSet<String> {
    let (mut range, mut found) = (KeyRange::prefix(key("")), BTreeSet::new());
    let snapshot = catalog.snapshot();
    loop {
        let page = snapshot.scan(&range, Direction::Ascending, 1000).unwrap();
        let Some(last) = page.last() else { return found };
        range = range.beyond(&last.key, Direction::Ascending);
        found.extend(page.iter().map(|row| String::from_utf8(row.key.rest().to_vec()).unwrap()));
    }
}
