//! The commands of an operator, as they are typed.

#![expect(clippy::unwrap_used, reason = "a failure of a helper is a failure of the test")]

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal};

/// On ports of its own.
const SERVE: &[&str] = &["serve", "--http", "127.0.0.1:0", "--quic", "127.0.0.1:0"];

/// Long enough for a process that does not wait to have ended, on most runs: what is shown must hold on all.
const MOMENT: Duration = Duration::from_millis(300);

// --- Check and repair

#[test]
fn a_check_says_that_all_is_well_beside_a_running_server_and_without_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Running::serve(folder.path());
    server.wait_until_it_serves();
    let beside = millrace(folder.path(), &["check"]).output().unwrap();
    drop(server);
    let alone = millrace(folder.path(), &["check"]).output().unwrap();
    for checked in [beside, alone] {
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
        assert!(String::from_utf8_lossy(&checked.stdout).contains("agree"));
    }
}

#[test]
fn an_index_is_not_rebuilt_under_a_running_server() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Running::serve(folder.path());
    server.wait_until_it_serves();
    let refused = millrace(folder.path(), &["rebuild-index"]).output().unwrap();
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("in use"), "{refused:?}");
}

#[test]
fn devices_survive_a_rebuilt_index_while_the_old_catalog_can_be_read() {
    let folder = tempfile::tempdir().unwrap();
    assert!(millrace(folder.path(), &["device", "add", "garden"]).output().unwrap().status.success());
    let rebuilt = millrace(folder.path(), &["rebuild-index"]).output().unwrap();
    let said = String::from_utf8_lossy(&rebuilt.stdout).into_owned();
    assert!(rebuilt.status.success() && said.contains("Devices are known as before"), "{rebuilt:?}");
    let listed = millrace(folder.path(), &["device", "list"]).output().unwrap();
    assert!(String::from_utf8_lossy(&listed.stdout).contains("garden"));

    fs::remove_dir_all(folder.path().join("vault/catalog")).unwrap();
    let rebuilt = millrace(folder.path(), &["rebuild-index"]).output().unwrap();
    assert!(String::from_utf8_lossy(&rebuilt.stdout).contains("join anew"), "{rebuilt:?}");
}

// --- Access keys

#[test]
fn an_access_key_is_made_listed_without_its_secret_and_taken_away() {
    let folder = tempfile::tempdir().unwrap();
    let made = succeeds(folder.path(), &["access-key", "create", "--role", "viewer", "--stream", "garden-*"]);
    let value = |name: &str| made.lines().find_map(|line| line.strip_prefix(name)).unwrap().to_owned();
    let (id, secret) = (value("export AWS_ACCESS_KEY_ID="), value("export AWS_SECRET_ACCESS_KEY="));
    let list = || succeeds(folder.path(), &["access-key", "list"]);
    assert!(list().contains(&id) && !list().contains(&secret), "{}", list());
    assert!(list().contains("viewer   enabled") && list().contains("garden-*"), "{}", list());
    succeeds(folder.path(), &["access-key", "disable", &id]);
    assert!(list().contains("viewer   disabled"), "{}", list());
    succeeds(folder.path(), &["access-key", "enable", &id]);
    succeeds(folder.path(), &["rebuild-index"]);
    assert!(list().contains("viewer   enabled"), "it survives a rebuilt index: {}", list());
    succeeds(folder.path(), &["access-key", "delete", &id]);
    assert!(!list().contains(&id), "{}", list());
    let error = fails(folder.path(), &["access-key", "disable", &id]);
    assert!(error.contains("millrace access-key list"), "{error}");
    let error = fails(folder.path(), &["access-key", "create", "--stream", "a b"]);
    assert!(error.contains("no pattern of stream names"), "{error}");
}

// --- Commands beside a server that starts

#[test]
fn an_index_that_is_damaged_or_lost_is_told_and_devices_are_taken_over_from_what_can_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let vault = folder.path().join("vault");
    succeeds(folder.path(), &["device", "add", "porch"]);
    let whole = fs::read(vault.join("catalog/0.jnl")).unwrap();
    let end = whole.iter().rposition(|byte| *byte != 0).unwrap();
    succeeds(folder.path(), &["device", "add", "yard"]);
    succeeds(folder.path(), &["device", "add", "door"]);
    let mut damaged = fs::read(vault.join("catalog/0.jnl")).unwrap();
    damaged[end + 30] ^= 1;
    fs::write(vault.join("catalog/0.jnl"), damaged).unwrap();

    for arguments in [SERVE, &["check"], &["device", "list"]] {
        let error = fails(folder.path(), arguments);
        assert!(error.contains("0.jnl") && error.contains("millrace rebuild-index"), "{error}");
    }
    let said = succeeds(folder.path(), &["rebuild-index"]);
    assert!(said.contains("may be undone"), "{said}");
    let devices = succeeds(folder.path(), &["device", "list"]);
    assert!(devices.contains("porch") && !devices.contains("door"), "{devices}");

    fs::remove_dir_all(vault.join("catalog")).unwrap();
    let error = fails(folder.path(), SERVE);
    assert!(error.contains("millrace rebuild-index"), "{error}");
}

#[test]
fn a_device_can_be_added_at_the_instant_at_which_the_server_starts() {
    for _ in 0..5 {
        let folder = tempfile::tempdir().unwrap();
        let mut server = Running::serve(folder.path());
        let added = millrace(folder.path(), &["device", "add", "garden"]).output().unwrap();
        let said = String::from_utf8_lossy(&added.stderr).into_owned();
        assert!(added.status.success(), "{said}");
        server.wait_until_it_serves();
        let listed = millrace(folder.path(), &["device", "list"]).output().unwrap();
        assert!(String::from_utf8_lossy(&listed.stdout).contains("garden"));
    }
}

#[test]
fn a_server_waits_for_a_command_that_has_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let lock = lock(folder.path());
    let mut server = Running::serve(folder.path());
    thread::sleep(MOMENT);
    assert!(server.runs(), "it waits");
    drop(lock);
    server.wait_until_it_serves();
}

#[test]
fn a_command_waits_for_a_server_that_has_the_folder_and_does_not_answer_yet() {
    let folder = tempfile::tempdir().unwrap();
    let lock = lock(folder.path());
    let mut command = millrace(folder.path(), &["device", "add", "garden"]);
    let mut command = Running(command.stdout(Stdio::null()).spawn().unwrap());
    thread::sleep(MOMENT);
    assert!(command.runs(), "it waits");
    drop(lock);
    assert!(command.0.wait().unwrap().success());
}

#[test]
fn a_second_server_on_the_same_folder_is_refused_while_the_first_one_serves() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = Running::serve(folder.path());
    first.wait_until_it_serves();
    let second = millrace(folder.path(), SERVE).output().unwrap();
    assert!(!second.status.success());
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(said.contains("in use by another millrace"), "{said}");
}

// --- Where master keys come from

#[test]
fn a_keyring_and_a_passphrase_among_systemds_credentials_are_used_and_never_changed() {
    let place = tempfile::tempdir().unwrap();
    let credentials = Credentials::new(place.path(), "correct horse");
    let keyring = fs::read(credentials.0.join("millrace.keyring")).unwrap();
    let data = place.path().join("data");

    let mut server = Running(credentials.millrace(&data, SERVE).stdout(Stdio::piped()).spawn().unwrap());
    server.wait_until_it_serves();
    succeeds(&data, &["stream", "create", "yard"]);
    drop(server);
    assert!(!data.join("vault/master.keyring").exists(), "another keyring was made");
    let listed = credentials.millrace(&data, &["stream", "list"]).env("MILLRACE_PASSPHRASE", "wrong").output().unwrap();
    assert!(listed.status.success(), "a credential comes before a variable: {listed:?}");
    assert!(String::from_utf8_lossy(&listed.stdout).contains("yard"));
    for change in [&["key", "rotate"][..], &["key", "disable", &credentials.master(&data)]] {
        let refused = credentials.millrace(&data, change).output().unwrap();
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains("can't be changed where it lies"), "{said}");
    }
    assert!(fs::read(credentials.0.join("millrace.keyring")).unwrap() == keyring, "the credential was changed");
    assert!(fails(&data, &["stream", "list"]).contains("is missing"), "without the credential");
}

#[test]
fn a_passphrase_in_the_environment_opens_a_keyring_and_another_does_not() {
    let place = tempfile::tempdir().unwrap();
    let credentials = Credentials::new(place.path(), "correct horse");
    fs::remove_file(credentials.0.join("millrace.passphrase")).unwrap();
    let data = place.path().join("data");
    let with = |passphrase: &str| {
        let mut command = credentials.millrace(&data, &["stream", "create", "yard"]);
        command.env("MILLRACE_PASSPHRASE", passphrase).output().unwrap()
    };
    let without = credentials.millrace(&data, &["stream", "create", "yard"]).output().unwrap();
    for refused in [without, with("wrong horse")] {
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains("passphrase") && !said.contains("horse"), "{said}");
    }
    let created = with("correct horse");
    assert!(created.status.success(), "{created:?}");
}

// --- Keys stay in memory

#[test]
fn a_server_that_crashes_leaves_no_core_dump() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("sh");
    command.arg("-c").arg("ulimit -c \"$(ulimit -H -c)\"; exec \"$@\"").arg("sh");
    command.arg(env!("CARGO_BIN_EXE_millrace")).arg("--data").arg(folder.path()).args(SERVE);
    command.current_dir(folder.path()).stdout(Stdio::piped()).env("RUST_LOG", "off");
    let mut server = Running(command.spawn().unwrap());
    server.wait_until_it_serves();
    let limits = fs::read_to_string(format!("/proc/{}/limits", server.0.id())).unwrap();
    let core: Vec<_> =
        limits.lines().find(|line| line.starts_with("Max core file size")).unwrap().split_whitespace().collect();
    assert_eq!(core[4..6], ["0", "0"], "{limits}");
    rustix::process::kill_process(Pid::from_child(&server.0), Signal::ABORT).unwrap();
    assert!(!server.0.wait().unwrap().core_dumped());
}

// --- Backup

#[test]
fn a_backup_of_a_running_server_is_restored_with_its_master_key_and_with_no_other() {
    let place = tempfile::tempdir().unwrap();
    let data = |name: &str| place.path().join(name);
    let backup = data("backup");
    let (then, now) = (data("then"), data("now"));
    fs::create_dir(&then).unwrap();
    let mut server = Running::serve(&then);
    server.wait_until_it_serves();
    succeeds(&then, &["stream", "create", "yard", "--retention", "2h"]);
    succeeds(&then, &["device", "add", "garden"]);
    let said = succeeds(&then, &["backup", backup.to_str().unwrap()]);
    assert!(said.contains("Nothing in it can be read without its master key"), "{said}");
    let keys = succeeds(&then, &["key", "list"]);
    let master = keys.lines().nth(1).unwrap().split_whitespace().next().unwrap();
    assert!(said.contains(master), "{said}");
    assert!(fails(&then, &["backup", backup.to_str().unwrap()]).contains("already"));
    drop(server);

    let restore = ["restore", backup.to_str().unwrap()];
    for folder in ["now", "wrong"] {
        fs::create_dir(data(folder)).unwrap();
    }
    let said = fails(&now, &restore);
    assert!(said.contains("no keyring") && said.contains(master), "{said}");
    // Another vault's keyring is refused, and leaves nothing that looks like data.
    succeeds(&data("wrong"), &["stream", "list"]);
    let other = data("wrong/vault/master.keyring");
    let said = fails(&now, &[&["--keyring", other.to_str().unwrap()][..], &restore].concat());
    assert!(said.contains("do not open this backup") && said.contains(master), "{said}");
    assert!(!now.join("vault").exists() && !now.join("vault.restoring").exists());

    fs::create_dir(now.join("vault")).unwrap();
    fs::copy(then.join("vault/master.keyring"), now.join("vault/master.keyring")).unwrap();
    succeeds(&now, &restore);
    for list in [["stream", "list"], ["device", "list"]] {
        assert_eq!(succeeds(&now, &list), succeeds(&then, &list));
    }
    assert_eq!(fs::read(now.join("ca/ca.pem")).unwrap(), fs::read(then.join("ca/ca.pem")).unwrap());
    assert!(succeeds(&now, &["check"]).contains("agree"));
    assert!(fails(&now, &restore).contains("holds a vault already"));
}

#[test]
fn a_backup_that_was_broken_off_is_not_restored_and_none_shows_a_key() {
    let place = tempfile::tempdir().unwrap();
    let (then, backup) = (place.path().join("then"), place.path().join("backup"));
    fs::create_dir(&then).unwrap();
    succeeds(&then, &["stream", "create", "yard"]);
    succeeds(&then, &["backup", backup.to_str().unwrap()]);
    let keyring = fs::read(then.join("vault/master.keyring")).unwrap();
    for file in files(&backup) {
        let bytes = fs::read(&file).unwrap();
        assert!(!bytes.windows(11).any(|text| text == b"PRIVATE KEY"), "{}", file.display());
        // The key itself is the end of its entry, before the checksum.
        assert!(
            !bytes.windows(32).any(|key| key == &keyring[keyring.len() - 36..keyring.len() - 4]),
            "{}",
            file.display()
        );
    }
    fs::remove_file(backup.join("backup.json")).unwrap();
    let now = place.path().join("now");
    fs::create_dir(&now).unwrap();
    assert!(fails(&now, &["restore", backup.to_str().unwrap()]).contains("no whole backup"));
}

// --- Streams and devices

#[test]
fn a_stream_is_created_listed_described_updated_and_deleted_beside_a_running_server_and_without_one() {
    for served in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let server = served.then(|| {
            let mut server = Running::serve(folder.path());
            server.wait_until_it_serves();
            server
        });
        let stream = |arguments: &[&str]| succeeds(folder.path(), &[&["stream"], arguments].concat());

        stream(&["create", "yard", "--retention", "2h"]);
        stream(&["create", "door"]);
        for (name, retention) in [("yard", "2h"), ("door", "1day")] {
            assert_eq!(row(&stream(&["list"]), name)[1], retention);
            assert_eq!(row(&stream(&["describe", name]), name)[1], retention);
        }
        stream(&["update", "yard", "--retention", "7d"]);
        assert_eq!(row(&stream(&["describe", "yard"]), "yard")[1..], ["7days", "0", "0", "-", "-", "-"]);
        stream(&["update", "yard", "--max-size", "2GiB"]);
        assert_eq!(row(&stream(&["describe", "yard"]), "yard")[1..], ["7days", "0", "0", "-", "-", "2.0", "GiB"]);
        stream(&["update", "yard", "--max-size", "none", "--retention", "3h"]);
        assert_eq!(row(&stream(&["describe", "yard"]), "yard")[1..], ["3h", "0", "0", "-", "-", "-"]);
        stream(&["delete", "yard"]);
        assert!(!stream(&["list"]).contains("yard"));
        assert!(fails(folder.path(), &["stream", "describe", "yard"]).contains("does not exist"));
        drop(server);
        assert_eq!(row(&stream(&["list"]), "door")[1], "1day", "it outlives the process that made it");
    }
}

#[test]
fn what_can_not_be_done_with_a_stream_is_said_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    succeeds(folder.path(), &["stream", "create", "yard"]);
    let before = succeeds(folder.path(), &["stream", "list"]);
    for (arguments, why) in [
        (&["create", "yard"][..], "exists"),
        (&["create", "back yard"], "name"),
        (&["create", "door", "--retention", "59m"], "1 hour"),
        (&["create", "door", "--retention", "8d"], "168 h"),
        (&["update", "yard", "--retention", "8d"], "168 h"),
        (&["update", "door", "--retention", "2h"], "does not exist"),
        (&["update", "yard"], "--retention"),
        (&["update", "yard", "--max-size", "63MiB"], "67108864 are the least"),
        (&["create", "door", "--max-size", "much"], "much"),
        (&["delete", "door"], "does not exist"),
    ] {
        let said = fails(folder.path(), &[&["stream"], arguments].concat());
        assert!(said.contains(why), "{arguments:?}: {said}");
    }
    assert_eq!(succeeds(folder.path(), &["stream", "list"]), before);
}

#[test]
fn devices_are_listed_with_their_state_and_streams() {
    let folder = tempfile::tempdir().unwrap();
    succeeds(folder.path(), &["device", "add", "garden", "--stream", "yard", "--stream", "door"]);
    succeeds(folder.path(), &["device", "add", "attic"]);
    let listed = succeeds(folder.path(), &["device", "list"]);
    assert!(row(&listed, "garden").ends_with(&["yard,door".to_owned()]), "{listed}");
    assert!(row(&listed, "attic").ends_with(&["any".to_owned()]), "{listed}");
    assert_eq!(row(&listed, "attic")[1], "waiting");
    succeeds(folder.path(), &["device", "revoke", "attic"]);
    assert_eq!(row(&succeeds(folder.path(), &["device", "list"]), "attic")[1], "revoked");
    assert!(fails(folder.path(), &["device", "revoke", "cellar"]).contains("cellar"));
}

#[test]
fn logs_are_objects_of_json_if_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let mut command = millrace(folder.path(), &[SERVE, &["--log-json"]].concat());
    command.env("RUST_LOG", "info").stderr(File::create(&log).unwrap());
    let mut server = Running(command.stdout(Stdio::piped()).spawn().unwrap());
    server.wait_until_it_serves();
    // It stops in order, so that its last line is a whole one.
    rustix::process::kill_process(Pid::from_child(&server.0), Signal::TERM).unwrap();
    assert!(server.0.wait().unwrap().success());
    let log = fs::read_to_string(log).unwrap();
    let lines: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let runs = lines.iter().find(|line| line["fields"]["message"] == "the server runs");
    assert!(runs.is_some_and(|line| line["level"] == "INFO" && line["fields"]["http"].is_string()), "{log}");
}

// --- Helpers

/// All files in a folder and those below it.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// What a command prints that does what it should.
fn succeeds(folder: &Path, arguments: &[&str]) -> String {
    let output = millrace(folder, arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What a command says that can't do what it should.
fn fails(folder: &Path, arguments: &[&str]) -> String {
    let output = millrace(folder, arguments).output().unwrap();
    assert!(!output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr).unwrap()
}

/// The columns of the line of a table that begins with `name`.
fn row(table: &str, name: &str) -> Vec<String> {
    let columns = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let found = table.lines().map(columns).find(|columns| columns.first().is_some_and(|first| first == name));
    found.unwrap_or_else(|| panic!("no line of {name} in\n{table}"))
}

/// A folder as systemd makes it for a service, with a keyring and its passphrase: readable by a group too.
struct Credentials(PathBuf);

impl Credentials {
    fn new(place: &Path, passphrase: &str) -> Self {
        let folder = place.join("credentials");
        fs::create_dir(&folder).unwrap();
        let keyring = folder.join("millrace.keyring");
        let mut made = millrace(&place.join("maker"), &["--keyring", keyring.to_str().unwrap(), "stream", "list"]);
        assert!(made.env("MILLRACE_PASSPHRASE", passphrase).output().unwrap().status.success());
        fs::write(folder.join("millrace.passphrase"), format!("{passphrase}\n")).unwrap();
        for file in files(&folder) {
            fs::set_permissions(file, fs::Permissions::from_mode(0o440)).unwrap();
        }
        Self(folder)
    }

    fn millrace(&self, data: &Path, arguments: &[&str]) -> Command {
        let mut command = millrace(data, arguments);
        command.env("CREDENTIALS_DIRECTORY", &self.0);
        command
    }

    /// The id of the master key.
    fn master(&self, data: &Path) -> String {
        let listed = self.millrace(data, &["key", "list"]).output().unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        listed.lines().nth(1).unwrap().split_whitespace().next().unwrap().to_owned()
    }
}

/// A child that ends with its handle.
struct Running(Child);

impl Running {
    fn serve(folder: &Path) -> Self {
        let mut command = millrace(folder, SERVE);
        Self(command.stdout(Stdio::piped()).env("RUST_LOG", "off").spawn().unwrap())
    }

    fn runs(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }

    /// It says where to watch when it serves, and nothing more when it ends.
    fn wait_until_it_serves(&mut self) {
        let stdout = self.0.stdout.take().unwrap();
        let found = BufReader::new(stdout).lines().map_while(Result::ok).any(|line| line.starts_with("Watch: "));
        assert!(found, "the server ended with {:?}", self.0.wait());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn millrace(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
    command.arg("--data").arg(folder).args(arguments);
    command
}

/// The data folder's lock, as another process would hold it.
fn lock(folder: &Path) -> File {
    fs::create_dir_all(folder).unwrap();
    let file = File::create(folder.join("lock")).unwrap();
    file.lock().unwrap();
    file
}
