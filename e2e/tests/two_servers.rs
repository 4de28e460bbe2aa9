//! Two servers on one PostgreSQL and one S3: they take writes for the same streams at the same time, serve each other's
//! archive, and are killed at random without losing anything that they acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use e2e::{Agent, Persisted, Server, Source, stored, until};
use services::{Postgres, S3};

const STREAMS: &[(&str, &str)] = &[("yard", "h264-aac.mp4"), ("door", "h264-vfr.mkv")];

/// KILLS=n for another number, as in `make torture`.
fn rounds() -> usize {
    std::env::var("KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(8)
}

/// What the servers share.
struct Place {
    folder: tempfile::TempDir,
    postgres: Postgres,
    s3: S3,
    bucket: String,
}

impl Place {
    fn new() -> Self {
        let s3 = S3::start();
        let bucket = format!("{}/millrace", s3.bucket());
        Self { folder: tempfile::tempdir().expect("a temporary folder"), postgres: Postgres::start(), s3, bucket }
    }

    fn folder(&self, name: &str) -> PathBuf {
        let folder = self.folder.path().join(name);
        std::fs::create_dir_all(&folder).expect("a folder can be made");
        folder
    }

    /// A server with a data folder of its own.
    fn server(&self, name: &str) -> Server {
        let keyring = self.folder.path().join("keyring");
        let (postgres, endpoint) = (self.postgres.url(), self.s3.endpoint());
        let keyring = keyring.to_str().expect("a path in UTF-8");
        let arguments =
            ["--catalog", &postgres, "--store", &self.bucket, "--store-endpoint", &endpoint, "--keyring", keyring];
        Server::start_with(&self.folder(name), &arguments, S3::ENVIRONMENT)
    }
}

#[test]
fn two_servers_that_are_killed_at_random_lose_and_double_nothing() {
    let place = Place::new();
    let mut servers = [place.server("one"), place.server("two")];
    // Each enrolled at one server, and uploading to the other: the CA is that of both.
    let agents = [("left", 0, 1), ("right", 1, 0)].map(|(name, enrolled, uploads)| {
        let sources: Vec<_> = STREAMS.iter().map(|(stream, clip)| (*stream, Source::Loop(clip))).collect();
        let address = servers[uploads].upload_address();
        Agent::start_at(&place.folder(name), &servers[enrolled], &address, &sources)
    });
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    eprintln!("SEED={seed}");
    let mut chance = fastrand::Rng::with_seed(seed);
    let mut read = BTreeMap::new();
    for _ in 0..rounds() {
        for agent in &agents {
            let before = agent.persisted().len();
            until("both servers store what is captured", Duration::from_secs(60), || {
                (agent.persisted().len() > before).then_some(())
            });
        }
        thread::sleep(Duration::from_millis(chance.u64(0..1500)));
        let victim = chance.usize(0..2);
        servers[victim].kill();
        // The other one has everything meanwhile. All is listed, and of what was read before a part is read again.
        check(&servers[1 - victim], &agents, &mut read, |_| chance.u8(..20) == 0);
        servers[victim].restart();
    }
    // An outage of the store is waited out, and so is one of the database.
    for outage in [true, false] {
        if outage {
            place.s3.kill();
        } else {
            place.postgres.kill();
        }
        thread::sleep(Duration::from_secs(3));
        if outage {
            place.s3.resume();
        } else {
            place.postgres.resume();
        }
        for agent in &agents {
            let before = agent.persisted().len();
            until("both servers store again", Duration::from_secs(90), || {
                (agent.persisted().len() > before).then_some(())
            });
        }
    }
    let mut agents = agents;
    agents.iter_mut().for_each(stored::settle);
    for server in &servers {
        check(server, &agents, &mut read, |_| true);
        for (stream, _) in STREAMS {
            stored::once(server, stream, &agents.each_ref());
        }
        let said = server.admin(&["check"]);
        assert!(said.contains("agree"), "{said}");
    }
    let listed = servers.each_ref().map(|server| server.admin(&["stream", "list"]));
    assert_eq!(listed[0], listed[1]);
}

#[test]
fn what_one_server_is_told_holds_for_the_other() {
    let place = Place::new();
    let one = place.server("one");
    let stranger = ["--catalog", &place.postgres.url(), "--store", &place.bucket]
        .map(str::to_owned)
        .into_iter()
        .chain(["--store-endpoint".to_owned(), place.s3.endpoint()])
        .collect::<Vec<_>>();
    let stranger: Vec<&str> = stranger.iter().map(String::as_str).collect();
    let elsewhere = Server::of_others(&place.folder("stranger"));
    let (started, said) = elsewhere.try_start_with(&stranger, S3::ENVIRONMENT);
    assert!(!started && said.contains("copy it from another server"), "{said}");

    let two = place.server("two");
    let agent = Agent::enrolled(&place.folder("agent"), &one);
    let uploaded = agent.once(&e2e::clip("h264-aac.mp4"), "yard");
    assert!(uploaded.status.success(), "{}", String::from_utf8_lossy(&uploaded.stderr));
    until("the other server plays it", Duration::from_secs(5), || two.try_everything("yard"));
    two.admin(&["stream", "update", "yard", "--retention", "2h"]);
    until("its retention is known", Duration::from_secs(5), || {
        one.admin(&["stream", "list"]).contains("2h").then_some(())
    });
    two.admin(&["device", "revoke", "e2e-agent"]);
    let checked = agent.check();
    let said = String::from_utf8_lossy(&[checked.stdout, checked.stderr].concat()).into_owned();
    assert!(!checked.status.success() && said.contains("revoked"), "{said}");
    two.admin(&["stream", "delete", "yard"]);
    until("it is gone", Duration::from_secs(5), || one.try_everything("yard").is_none().then_some(()));
    let (done, said) = one.try_admin(&["key", "rotate"]);
    assert!(!done && said.contains("--kms-key"), "{said}");
    let (done, said) = one.try_admin(&["backup", "/tmp/not-made"]);
    assert!(!done && said.contains("snapshots of the database"), "{said}");
}

/// Everything that any agent was acknowledged is there once, and can be read: the same bytes from each server, each time.
/// What was read before is read again if `again` says so.
fn check(
    server: &Server,
    agents: &[Agent; 2],
    read: &mut BTreeMap<(String, u64), Vec<u8>>,
    mut again: impl FnMut(u64) -> bool,
) {
    let acknowledged: BTreeSet<Persisted> = agents.iter().flat_map(Agent::persisted).collect();
    for (stream, _) in STREAMS {
        let listed = server.everything(stream).segments;
        let segments: BTreeMap<_, _> = listed.iter().map(|segment| (segment.number(), segment)).collect();
        assert_eq!(segments.len(), listed.len(), "{stream}: a fragment is listed twice");
        let mut ids = BTreeMap::new();
        for Persisted { number, id, .. } in acknowledged.iter().filter(|fragment| fragment.stream == *stream) {
            assert_eq!(*ids.entry(id).or_insert(*number), *number, "{stream}/{id} is stored twice");
            let segment = segments.get(number);
            let segment = segment.unwrap_or_else(|| panic!("{stream}/{id} ({number}) was acknowledged and is gone"));
            if read.contains_key(&((*stream).to_owned(), *number)) && !again(*number) {
                continue;
            }
            let bytes = server.segment(segment);
            let first = read.entry(((*stream).to_owned(), *number)).or_insert_with(|| bytes.clone());
            assert!(*first == bytes, "{stream}/{id} ({number}) is not what it was");
        }
        let numbers: BTreeSet<u64> = ids.values().copied().collect();
        assert_eq!(numbers.len(), ids.len(), "{stream}: two fragments have one number");
    }
}

#[test]
fn a_device_of_one_server_is_seen_and_configured_from_the_other() {
    let place = Place::new();
    let (one, two) = (place.server("one"), place.server("two"));
    let sources = [("yard", Source::Loop("h264-aac.mp4"))];
    let _agent = Agent::start_at(&place.folder("agent"), &one, &two.upload_address(), &sources);
    let shown = |server: &Server| -> serde_json::Value {
        serde_json::from_str(&server.admin(&["device", "show", "e2e-agent", "--json"])).expect("it is JSON")
    };
    let minute = Duration::from_secs(60);
    until("it is connected", minute, || (shown(&two)["connection"] == "here").then_some(()));
    until("the other server sees it", minute, || (shown(&one)["connection"] == "elsewhere").then_some(()));
    let (done, said) = one.try_admin(&["device", "ping", "e2e-agent"]);
    assert!(!done && said.contains(&format!("connected to the server at {}", two.upload_address())), "{said}");
    let file = place.folder.path().join("pushed.toml");
    std::fs::write(&file, "[[camera]]\nstream = \"gate\"\ntest_pattern = true\n").expect("a file can be written");
    one.admin(&["device", "configure", "e2e-agent", "--file", &file.to_string_lossy()]);
    until("it is kept", minute, || (shown(&one)["configuration"]["kept"] == 1).then_some(()));
}
