//! The fleet on a real vault, with devices that say what a test wants said.

use std::sync::Arc;

use archive::Archive;
use upload::fleet::{Command, CommandPart, CommandResult, SpoolReport, Status};
use vault::{Direction, Key, KeyRange, Space};

use super::*;

#[tokio::test]
async fn a_device_is_given_the_newest_configuration_once_it_has_said_what_it_has() {
    let stage = Stage::new();
    stage.push("a = 1");
    stage.push("a = 2");
    let (seat, mut said) = stage.connect();
    assert!(said.try_recv().is_err(), "an agent from before would not know what to do with it");
    seat.hear(report(0, ConfigurationState::Kept)).await;
    assert_eq!(said.recv().await, Some(given(2, "a = 2")));
    seat.hear(report(2, ConfigurationState::Trying)).await;
    assert_eq!(said.recv().await, Some(FromServer::Confirmation(Confirmation { version: 2 })));
    seat.hear(report(2, ConfigurationState::Kept)).await;
    assert!(said.try_recv().is_err());
    let shown = stage.show().configuration;
    assert_eq!((shown.newest, shown.kept, shown.on_trial), (2, 2, None));
}

#[tokio::test]
async fn what_a_device_has_refused_is_not_given_to_it_again() {
    let stage = Stage::new();
    stage.push("a = 1");
    let (seat, mut said) = stage.connect();
    seat.hear(report(1, ConfigurationState::RolledBack)).await;
    seat.hear(report(0, ConfigurationState::Kept)).await;
    assert!(said.try_recv().is_err());
    assert_eq!(stage.show().configuration.failed.unwrap().state, ConfigurationState::RolledBack);
    let version = stage.push("a = 2");
    seat.offer(version).await;
    assert_eq!(said.recv().await, Some(given(2, "a = 2")));
}

#[tokio::test]
async fn a_version_that_this_store_does_not_have_is_not_confirmed() {
    let stage = Stage::new();
    let (seat, mut said) = stage.connect();
    seat.hear(report(9, ConfigurationState::Trying)).await;
    assert!(said.try_recv().is_err());
}

#[test]
fn configurations_are_sealed_kept_for_a_while_and_told_with_who_pushed_them() {
    let stage = Stage::new();
    for i in 0..limits::CONFIGURATIONS_KEPT + 5 {
        stage.push(&format!("password = \"correct-horse-{i}\""));
    }
    let configurations = stage.fleet.configurations();
    let history = configurations.history(&cam()).unwrap();
    assert_eq!(history.len() as u64, limits::CONFIGURATIONS_KEPT);
    let last = history.last().unwrap();
    assert_eq!((last.version, last.by.as_str()), (limits::CONFIGURATIONS_KEPT + 5, "me"));
    assert!(configurations.get(&cam(), 5).unwrap().is_none());
    assert!(configurations.get(&cam(), 6).unwrap().unwrap().toml.contains("correct-horse-5"));
    let range = KeyRange::prefix(Key::new(Space::Server, b""));
    let catalog = stage.archive.vault().catalog().clone();
    let rows = catalog.scan(&range, Direction::Ascending, 1000).unwrap();
    assert!(rows.len() > 20);
    for row in rows {
        assert!(!row.value.windows(7).any(|window| window == b"correct"), "a row holds the text");
    }
}

#[test]
fn what_can_not_be_pushed_is_told() {
    let stage = Stage::new();
    let push = |name: &str, toml: &str| {
        let name: DeviceName = name.parse().unwrap();
        stage.fleet.configurations().push(&name, toml, "me", now()).unwrap_err()
    };
    assert!(matches!(push("cam", "a = "), ConfigureError::NotToml(_)));
    let large = format!("# {}", "x".repeat(upload::limits::CONFIGURATION_BYTES_MAX));
    assert!(matches!(push("cam", &large), ConfigureError::TooLarge(_)));
    assert!(matches!(push("nobody", "a = 1"), ConfigureError::Device(DeviceError::Unknown(_))));
    assert_eq!(stage.show().configuration.newest, 0);
}

#[tokio::test]
async fn a_command_is_answered_by_the_device_that_it_is_for() {
    let stage = Stage::new();
    let (seat, mut said) = stage.connect();
    seat.hear(report(0, ConfigurationState::Kept)).await;
    let device = async {
        let Some(FromServer::Command(Command { id, kind: CommandKind::Ping })) = said.recv().await else {
            panic!("a ping")
        };
        seat.hear(FromAgent::Result(CommandResult { id, part: CommandPart::Failed("no".to_owned()) })).await;
    };
    let cam = cam();
    let ping = stage.fleet.command(&cam, CommandKind::Ping);
    let (answer, ()) = tokio::join!(ping, device);
    assert_eq!(answer.unwrap_err().to_string(), "the device cam says: no");
}

#[tokio::test]
async fn a_device_is_asked_for_a_range_and_says_what_of_it_there_is() {
    let stage = Stage::new();
    let (seat, mut said) = stage.connect();
    seat.hear(report(0, ConfigurationState::Kept)).await;
    let (from, to) = (WallTime::from_millis(1000), WallTime::from_millis(3000));
    let fetched = Fetched { fragments: 2, bytes: 700, duration: Duration::from_secs(2), more: true };
    let answers = [Ok(fetched.encode()), Ok(Bytes::from_static(b"\xff")), Err("there is nothing".to_owned())];
    let device = async {
        for answer in answers {
            let Some(FromServer::Command(Command { id, kind })) = said.recv().await else { panic!("a command") };
            assert_eq!(kind, CommandKind::Fetch { stream: "yard".to_owned(), from, to });
            for part in CommandResult::parts(id, answer) {
                seat.hear(FromAgent::Result(part)).await;
            }
        }
    };
    let operator = async {
        let cam = cam();
        let fetch = || stage.fleet.fetch(&cam, "yard".to_owned(), from, to);
        assert_eq!(fetch().await.unwrap(), FetchView { fragments: 2, bytes: 700, milliseconds: 2000, more: true });
        assert!(matches!(fetch().await, Err(CommandError::Unreadable(_))));
        assert_eq!(fetch().await.unwrap_err().to_string(), "the device cam says: there is nothing");
        let empty = stage.fleet.fetch(&cam, "yard".to_owned(), to, to).await;
        assert!(matches!(empty, Err(CommandError::EmptyRange)), "the device is not asked: {empty:?}");
    };
    tokio::join!(operator, device);
}

#[tokio::test]
async fn a_device_that_does_not_answer_is_given_up() {
    let stage = Stage::new();
    let (seat, _said) = stage.connect();
    seat.hear(report(0, ConfigurationState::Kept)).await;
    let answer = stage.fleet.command_within(Duration::from_millis(50), &cam(), CommandKind::Ping).await;
    assert!(matches!(answer, Err(CommandError::NoAnswer(..))), "{answer:?}");
}

#[tokio::test]
async fn the_last_that_is_known_of_a_device_outlives_its_connection() {
    let stage = Stage::new();
    let (seat, _said) = stage.connect();
    let spool = SpoolReport { bytes: 7, ..SpoolReport::default() };
    seat.hear(FromAgent::Status(Box::new(Status { spool, ..Status::default() }))).await;
    assert_eq!(stage.show().connection, Whereabouts::Here);
    seat.leave().await;
    let shown = stage.show();
    assert_eq!((shown.connection, shown.status.unwrap().spool.bytes), (Whereabouts::Offline, 7));
    let answer = stage.fleet.command(&cam(), CommandKind::Ping).await;
    assert!(answer.unwrap_err().to_string().contains("last seen"));
}

struct Stage {
    fleet: Fleet,
    archive: Archive,
    _folder: tempfile::TempDir,
}

impl Stage {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vault");
        let keyring = vault::Keyring::of_vault(&path).unwrap();
        let archive = Archive::open(&path, Arc::new(keyring)).unwrap();
        let devices = Devices::new(archive.vault().catalog().clone());
        devices.add(&cam(), &[], &[7; 32], now(), limits::TOKEN_VALIDITY).unwrap();
        let fleet = Fleet::of_vault(archive.vault(), devices, false);
        fleet.serves_at("here:1");
        Self { fleet, archive, _folder: folder }
    }

    fn push(&self, toml: &str) -> u64 {
        self.fleet.configurations().push(&cam(), toml, "me", now()).unwrap()
    }

    fn show(&self) -> DeviceView {
        self.fleet.show(&cam()).unwrap()
    }

    fn connect(&self) -> (Seat, mpsc::Receiver<FromServer>) {
        let hello = Hello {
            agent_version: "1".to_owned(),
            device_time: now(),
            clock_quality: fragment::ClockQuality::Synchronised,
            sub_streams: Vec::new(),
        };
        self.fleet.connect(&cam(), ([127, 0, 0, 1], 1).into(), &hello)
    }
}

fn cam() -> DeviceName {
    "cam".parse().unwrap()
}

fn report(version: u64, state: ConfigurationState) -> FromAgent {
    FromAgent::Configuration(ConfigurationReport { version, state, problems: Vec::new() })
}

fn given(version: u64, toml: &str) -> FromServer {
    FromServer::Configuration(Configuration { version, toml: toml.to_owned() })
}
