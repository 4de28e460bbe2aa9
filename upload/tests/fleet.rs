//! What server and device say about the device survives its bytes, and stays within its limits.

#![expect(clippy::unwrap_used, reason = "a helper of tests")]

use std::time::Duration;

use bytes::Bytes;
use fragment::WallTime;
use proptest::prelude::*;
use upload::fleet::{
    CameraReport, ClockReport, Command, CommandKind, CommandPart, CommandResult, Configuration, ConfigurationReport,
    ConfigurationState, Confirmation, Fetched, MachineReport, SpoolReport, Status, Throttling,
};
use upload::wire::MessageReader;
use upload::{FromAgent, FromServer, limits};

proptest! {
    #[test]
    fn a_status_survives_its_bytes(cameras in prop::collection::vec(camera(), 0..20), spool in spool(), machine in machine(), time: i64) {
        let status = Status {
            cameras_total: 300,
            cameras_up: 7,
            cameras,
            spool,
            clock: ClockReport { device_time_ns: time, quality: "synchronised".to_owned() },
            machine,
        };
        let message = FromAgent::Status(Box::new(status));
        prop_assert_eq!(FromAgent::decode(unframed(&message.encode())), Ok(message));
    }

    #[test]
    fn commands_and_their_results_survive_their_bytes(id: u64, kind in kind(), part in part()) {
        let command = FromServer::Command(Command { id, kind });
        prop_assert_eq!(FromServer::decode(unframed(&command.encode())), Ok(command));
        let result = FromAgent::Result(CommandResult { id, part });
        prop_assert_eq!(FromAgent::decode(unframed(&result.encode())), Ok(result));
    }

    #[test]
    fn configurations_and_their_reports_survive_their_bytes(version: u64, toml in ".{0,900}", state in state(), problems in prop::collection::vec(".{0,80}", 0..5)) {
        let given = FromServer::Configuration(Configuration { version, toml });
        prop_assert_eq!(FromServer::decode(unframed(&given.encode())), Ok(given));
        let confirmed = FromServer::Confirmation(Confirmation { version });
        prop_assert_eq!(FromServer::decode(unframed(&confirmed.encode())), Ok(confirmed));
        let report = FromAgent::Configuration(ConfigurationReport { version, state, problems });
        prop_assert_eq!(FromAgent::decode(unframed(&report.encode())), Ok(report));
    }

    #[test]
    fn what_is_fetched_survives_its_bytes(fragments: u64, bytes: u64, millis: u64, more: bool) {
        let fetched = Fetched { fragments, bytes, duration: Duration::from_millis(millis), more };
        prop_assert_eq!(Fetched::decode(fetched.encode()), Some(fetched));
    }

    #[test]
    fn a_result_in_pieces_is_the_answer(bytes in prop::collection::vec(any::<u8>(), 0..100_000)) {
        let parts = CommandResult::parts(3, Ok(bytes.clone().into()));
        let mut joined = Vec::new();
        for (i, part) in parts.iter().enumerate() {
            let sent = FromAgent::Result(part.clone()).encode();
            prop_assert!(sent.len() <= limits::MESSAGE_BYTES_MAX);
            match &part.part {
                CommandPart::Piece(piece) => joined.extend_from_slice(piece),
                end => prop_assert!(*end == CommandPart::Done && i == parts.len() - 1),
            }
        }
        prop_assert_eq!(joined, bytes);
    }
}

#[test]
fn a_command_that_this_version_does_not_know_keeps_its_id() {
    // 3: Command { 1: 7, 900: {} }, from a later version.
    let bytes = Bytes::from_static(&[0x1a, 0x05, 0x08, 0x07, 0xa2, 0x38, 0x00]);
    let told = FromServer::decode(bytes).unwrap();
    assert_eq!(told, FromServer::Command(Command { id: 7, kind: CommandKind::Unknown }));
}

#[test]
fn a_fetch_has_a_number_of_its_own_that_agents_from_before_pass_over() {
    let command = Command {
        id: 7,
        kind: CommandKind::Fetch {
            stream: "yard".to_owned(),
            from: WallTime::from_nanos(1),
            to: WallTime::from_nanos(2),
        },
    };
    let bytes = unframed(&FromServer::Command(command).encode());
    // 3: Command { 1: 7, 5: { 1: "yard", 2: 1, 3: 2 } }, where sint64 doubles what is positive.
    let expected = [0x1a, 0x0e, 0x08, 0x07, 0x2a, 0x0a, 0x0a, 0x04, b'y', b'a', b'r', b'd', 0x10, 0x02, 0x18, 0x04];
    assert_eq!(bytes[..], expected);
}

#[test]
fn the_status_of_more_cameras_than_fit_tells_those_that_are_down() {
    let camera = |i: usize| CameraReport {
        stream: format!("{i:0>200}"),
        up: i != 400,
        last_failure: "x".repeat(5000),
        ..CameraReport::default()
    };
    let status = Status { cameras: (0..500).map(camera).collect(), cameras_total: 500, ..Status::default() }.fitted();
    assert!(status.cameras.len() > 50 && !status.cameras[0].up, "{} cameras", status.cameras.len());
    let sent = FromAgent::Status(Box::new(status)).encode();
    assert!(sent.len() <= limits::MESSAGE_BYTES_MAX, "{} bytes", sent.len());
}

#[test]
fn long_reports_are_cut_to_what_a_message_carries() {
    let problems = vec!["ä".repeat(3000); 100];
    let report = ConfigurationReport { version: 1, state: ConfigurationState::Refused, problems };
    let sent = FromAgent::Configuration(report).encode();
    assert!(sent.len() <= limits::MESSAGE_BYTES_MAX, "{} bytes", sent.len());
    let Ok(FromAgent::Configuration(report)) = FromAgent::decode(unframed(&sent)) else { panic!("a report") };
    assert_eq!(report.problems.len(), limits::PROBLEMS_MAX);
}

#[test]
fn the_bits_of_a_throttled_board_are_said_in_words() {
    assert_eq!(Throttling(0).words(), Vec::<&str>::new());
    assert_eq!(
        Throttling(0x50005).words(),
        ["under-voltage now", "throttled now", "under-voltage since boot", "throttled since boot"]
    );
    assert_eq!(Throttling(0x8).words(), ["at the soft temperature limit now"]);
}

#[test]
fn no_configuration_shows_in_debug_output() {
    let given = FromServer::Configuration(Configuration { version: 1, toml: "password = \"hush\"".to_owned() });
    assert!(!format!("{given:?}").contains("hush"));
}

fn unframed(message: &Bytes) -> Bytes {
    let mut reader = MessageReader::new();
    reader.push(message);
    reader.pull(limits::MESSAGE_BYTES_MAX).unwrap().expect("a whole message")
}

fn camera() -> impl Strategy<Value = CameraReport> {
    (".{0,40}", any::<bool>(), any::<u32>(), any::<u64>(), any::<u64>(), ".{0,40}", any::<u64>()).prop_map(
        |(stream, up, milli_fps, bits_per_second, failures, last_failure, pictures)| CameraReport {
            stream,
            up,
            milli_fps,
            bits_per_second,
            failures,
            last_failure,
            pictures,
        },
    )
}

fn spool() -> impl Strategy<Value = SpoolReport> {
    (any::<u64>(), any::<u64>(), prop::option::of(any::<i64>()), any::<u64>()).prop_map(
        |(bytes, fragments, oldest_unsent_ns, dropped)| SpoolReport {
            bytes,
            fragments,
            oldest_unsent_ns,
            dropped,
            lost: dropped / 2,
            bytes_max: bytes / 3,
            rejected: 1,
            held_bytes: bytes / 4,
            held_fragments: fragments / 2,
            kept_bytes: bytes / 5,
            kept_fragments: fragments / 3,
            stopped: dropped % 2 == 1,
            ranges_wanted: u32::try_from(fragments % 300).unwrap(),
        },
    )
}

fn machine() -> impl Strategy<Value = MachineReport> {
    (any::<u64>(), any::<u32>(), prop::option::of(any::<i32>()), prop::option::of(any::<u32>())).prop_map(
        |(bytes, load_milli, milli_celsius, throttling)| MachineReport {
            uptime_seconds: bytes,
            load_milli,
            memory_total: bytes / 2,
            memory_available: bytes / 3,
            disk_total: bytes / 4,
            disk_free: bytes / 5,
            milli_celsius,
            throttling: throttling.map(Throttling),
            agent_memory: bytes / 6,
        },
    )
}

fn kind() -> impl Strategy<Value = CommandKind> {
    prop_oneof![
        Just(CommandKind::Ping),
        Just(CommandKind::Unknown),
        ".{0,40}".prop_map(|stream| CommandKind::RestartCamera { stream }),
        (".{0,40}", any::<u32>()).prop_map(|(stream, width_max)| CommandKind::Snapshot { stream, width_max }),
        (".{0,40}", any::<i64>(), any::<i64>()).prop_map(|(stream, from, to)| CommandKind::Fetch {
            stream,
            from: WallTime::from_nanos(from),
            to: WallTime::from_nanos(to),
        }),
    ]
}

fn part() -> impl Strategy<Value = CommandPart> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..500).prop_map(|bytes| CommandPart::Piece(bytes.into())),
        Just(CommandPart::Done),
        ".{0,60}".prop_map(CommandPart::Failed),
    ]
}

fn state() -> impl Strategy<Value = ConfigurationState> {
    prop_oneof![
        Just(ConfigurationState::Kept),
        Just(ConfigurationState::Trying),
        Just(ConfigurationState::Refused),
        Just(ConfigurationState::RolledBack),
    ]
}
