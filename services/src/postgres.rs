//! A PostgreSQL server, from Debian's package: on a socket in a folder that is removed with it, with fsync on, and asked
//! to answer commits early, which the catalog must not let it do.

use std::ffi::OsString;
use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, geteuid, kill_process};
use tempfile::TempDir;

use crate::process::Kept;

const USUAL_PORT: u16 = 5432;

/// A server. Stopped when dropped, and by the kernel if the test's process dies.
pub struct Postgres {
    folder: TempDir,
    /// Of the socket's name; of TCP too, if it is not the usual one.
    port: u16,
    running: Mutex<Option<Kept>>,
}

impl Postgres {
    /// The server that tests share which do it no harm.
    pub fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Postgres>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let server = Arc::new(Self::start());
            *shared = Arc::downgrade(&server);
            server
        })
    }

    /// A server that can be reached by its socket only.
    pub fn start() -> Self {
        Self::start_on(USUAL_PORT)
    }

    /// A server that listens on a free port of this machine too.
    pub fn start_on_tcp() -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        Self::start_on(free.port())
    }

    fn start_on(port: u16) -> Self {
        let folder = tempfile::tempdir().unwrap();
        if geteuid().is_root() {
            give_to_postgres(folder.path());
        }
        let options =
            ["--username=millrace", "--auth=trust", "--no-locale", "--encoding=UTF8", "--no-sync", "--pgdata"];
        let made = as_postgres("initdb").args(options).arg(folder.path().join("data")).output().unwrap();
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let server = Self { folder, port, running: Mutex::default() };
        server.resume();
        server
    }

    /// The folder of its socket, among others.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The port in its socket's name.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Starts it, after a stop or a kill, and waits until it takes connections.
    pub fn resume(&self) {
        let mut running = self.running.lock().unwrap();
        loop {
            let started = self.spawn();
            if self.is_ready(&started) {
                *running = Some(started);
                return;
            }
            // Killed processes may not have let go of their memory yet.
            started.end();
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Stops it as an operator would, breaking connections.
    pub fn stop(&self) {
        if let Some(running) = self.running.lock().unwrap().take() {
            running.end();
        }
    }

    /// Kills all its processes at once: nothing is written any more, and memory is gone.
    pub fn kill(&self) {
        if let Some(running) = self.running.lock().unwrap().take() {
            // The parent first, so that it does not see its children go and start others.
            let children = children_of(running.pid());
            let _ = kill_process(running.pid(), Signal::KILL);
            for child in children {
                let _ = kill_process(child, Signal::KILL);
            }
            running.end();
        }
    }

    /// Where it is.
    pub fn url(&self) -> String {
        let host = self.folder().display().to_string().replace('/', "%2F");
        format!("postgres://millrace@{host}:{}/postgres", self.port)
    }

    /// Runs a statement and answers its first column.
    pub fn sql(&self, statement: &str) -> String {
        let output = Command::new("psql")
            .args([
                "-X",
                "-q",
                "-A",
                "-t",
                "-v",
                "ON_ERROR_STOP=1",
                "-U",
                "millrace",
                "-d",
                "postgres",
                "-c",
                statement,
            ])
            .args(self.place())
            .output()
            .unwrap();
        assert!(output.status.success(), "{statement}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Where its own tools find it.
    fn place(&self) -> [OsString; 4] {
        ["-h".into(), self.folder().into(), "-p".into(), self.port.to_string().into()]
    }

    fn spawn(&self) -> Kept {
        let folder = self.folder().to_owned();
        let mut command = as_postgres("postgres");
        command.arg("-D").arg(folder.join("data"));
        let settings = [
            format!("unix_socket_directories={}", folder.display()),
            format!("listen_addresses={}", if self.port == USUAL_PORT { "" } else { "127.0.0.1" }),
            format!("port={}", self.port),
            "fsync=on".to_owned(),
            "synchronous_commit=off".to_owned(),
            "wal_writer_delay=10s".to_owned(),
            "max_connections=300".to_owned(),
            "shared_buffers=32MB".to_owned(),
        ];
        for setting in settings {
            command.args(["-c".to_owned(), setting]);
        }
        let log = File::options().create(true).append(true).open(folder.join("log")).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Kept::start(command, Signal::INT)
    }

    /// Waits until it takes connections; false if it ended instead.
    fn is_ready(&self, running: &Kept) -> bool {
        let ready = || {
            let tool = binaries().join("pg_isready");
            Command::new(tool).arg("-q").args(self.place()).status().unwrap().success()
        };
        while !ready() {
            if !running.is_running() {
                return false;
            }
            thread::sleep(Duration::from_millis(20));
        }
        true
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A command of the server's. PostgreSQL refuses to run as root.
fn as_postgres(name: &str) -> Command {
    let mut command = Command::new("setpriv");
    // When the thread that started it ends, the kernel interrupts it, which stops a server.
    command.args(["--pdeathsig", "INT"]);
    if geteuid().is_root() {
        command.args(["--reuid", "postgres", "--regid", "postgres", "--clear-groups"]);
    }
    // Not the caller's folder, which may be closed to that user.
    command.current_dir("/");
    command.arg(binaries().join(name));
    command
}

fn binaries() -> PathBuf {
    let installed = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let folders = installed.map(|version| version.path().join("bin")).filter(|bin| bin.join("initdb").exists());
    folders.max().expect("PostgreSQL is not installed: run scripts/setup.sh test")
}

/// Makes the user `postgres` the owner of a file or folder.
pub fn give_to_postgres(path: &Path) {
    let id = |option| {
        let output = Command::new("id").args([option, "postgres"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().parse().ok()
    };
    chown(path, id("-u"), id("-g")).unwrap();
}

fn children_of(pid: Pid) -> Vec<Pid> {
    let path = format!("/proc/{0}/task/{0}/children", pid.as_raw_nonzero());
    let list = fs::read_to_string(path).unwrap();
    list.split_whitespace().filter_map(|child| Pid::from_raw(child.parse().unwrap())).collect()
}
