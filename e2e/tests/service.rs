//! The programs under a service manager, which a socket of the test plays: what `device add` prints is typed, and
//! both say when they are ready and that they are alive.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use e2e::{Server, binary, root, until};

const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_device_joins_by_the_line_that_device_add_prints_and_runs_without_server_or_token() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(folder.path());
    let config = configuration(folder.path(), "");
    join(&server, folder.path(), &config);
    configuration(folder.path(), "[[camera]]\nstream = \"test\"\ntest_pattern = true\nfragment_seconds = 1.0\n");

    let manager = Manager::listen(folder.path());
    let mut agent = e2e::Process::start(
        "millrace-agent",
        manager.under("millrace-agent").args(["run", "--config"]).arg(&config),
        &folder.path().join("agent.log"),
    );
    let mut said = Vec::new();
    until("the agent is ready, connected and alive", PATIENCE, || {
        assert!(agent.is_running(), "{}", agent.output());
        said.extend(manager.hear());
        let has = |what: &str| said.iter().any(|line: &String| line.starts_with(what));
        (has("READY=1") && has("WATCHDOG=1") && has("STATUS=connected · cameras 1/1")).then_some(())
    });
    until("its video plays", PATIENCE, || server.try_everything("test").filter(|list| !list.segments.is_empty()));
    assert!(agent.stop().success());
    assert!(manager.hear().contains(&"STOPPING=1".to_owned()));
}

#[test]
fn an_agent_that_nobody_has_set_up_says_what_to_do_and_asks_not_to_be_started_again() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // The configuration of the package, as it is installed.
    let packaged = std::fs::read_to_string(root().join("packaging/agent.toml")).expect("it is there");
    let config = configuration(folder.path(), &packaged);
    let manager = Manager::listen(folder.path());

    let output =
        manager.under("millrace-agent").args(["run", "--config"]).arg(&config).output().expect("it can be run");

    let said = manager.hear().join("\n");
    assert_eq!(output.status.code(), Some(78), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("STATUS=") && said.contains("millrace-agent join") && !said.contains("READY=1"), "{said}");
    let unit = std::fs::read_to_string(root().join("packaging/debian/millrace-agent.service")).expect("it is there");
    assert!(unit.contains("\nRestartPreventExitStatus=78\n"));
}

#[test]
fn an_agent_that_has_joined_and_has_no_camera_asks_for_one() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(folder.path());
    let config = configuration(folder.path(), "");
    let printed = join(&server, folder.path(), &config);
    assert!(printed.contains("give it a camera"), "{printed}");
    let manager = Manager::listen(folder.path());
    let output =
        manager.under("millrace-agent").args(["run", "--config"]).arg(&config).output().expect("it can be run");
    assert_eq!(output.status.code(), Some(78));
    let said = manager.hear().join("\n");
    assert!(said.contains("STATUS=the configuration has no camera"), "{said}");
}

#[test]
fn a_server_is_ready_when_it_answers_and_alive_while_it_commits() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::of_others(&folder.path().join("data"));
    let manager = Manager::listen(folder.path());
    let mut command = manager.under("millrace");
    command.arg("--data").arg(server.data()).args(["serve", "--http", &server.http_address()]);
    command.args(["--quic", &server.upload_address()]).env("WATCHDOG_USEC", "3000000");
    let mut process = e2e::Process::start("millrace", &mut command, &folder.path().join("server.log"));
    let mut said = Vec::new();
    until("the server is ready, and alive twice", PATIENCE, || {
        assert!(process.is_running(), "{}", process.output());
        said.extend(manager.hear());
        if said.contains(&"READY=1".to_owned()) {
            assert_eq!(server.get_as_stranger("/healthz").status, 200, "ready means that it answers");
        }
        (said.iter().filter(|line| *line == "WATCHDOG=1").count() >= 2).then_some(())
    });
    assert!(said.iter().any(|line| line.starts_with("STATUS=browsers on 127.0.0.1:")), "{said:?}");
    assert!(process.stop().success());
}

/// Types the line that `device add` prints, at a configuration of the test's own; gives back what it answers.
fn join(server: &Server, folder: &Path, config: &Path) -> String {
    let printed = server.admin(&["device", "add", "porch"]);
    let line = printed.lines().find(|line| line.starts_with("millrace-agent join "));
    let words = line.unwrap_or_else(|| panic!("nothing to type:\n{printed}")).split_whitespace().skip(1);
    let output = Command::new(binary("millrace-agent")).args(words).arg("--config").arg(config).output();
    let output = output.expect("millrace-agent can be run");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(folder.join("state/cert.pem").exists());
    said
}

fn configuration(folder: &Path, more: &str) -> std::path::PathBuf {
    let path = folder.join("agent.toml");
    std::fs::write(&path, format!("state = {:?}\n{more}", folder.join("state"))).expect("it can be written");
    path
}

/// A service manager's end of sd_notify(3).
struct Manager {
    socket: UnixDatagram,
    path: std::path::PathBuf,
}

impl Manager {
    fn listen(folder: &Path) -> Manager {
        let path = folder.join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket can be made");
        socket.set_nonblocking(true).expect("it can be asked without waiting");
        Manager { socket, path }
    }

    /// One of our programs, told where to report.
    fn under(&self, program: &str) -> Command {
        let mut command = Command::new(binary(program));
        command.env("NOTIFY_SOCKET", &self.path);
        command
    }

    /// What was reported since the last call, line by line.
    fn hear(&self) -> Vec<String> {
        let (mut lines, mut buffer) = (Vec::new(), [0; 4096]);
        while let Ok(bytes) = self.socket.recv(&mut buffer) {
            lines.extend(String::from_utf8_lossy(&buffer[..bytes]).lines().map(str::to_owned));
        }
        lines
    }
}
