//! A child process whose output is kept in a file and which does not outlive its handle.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::wait::until;

/// The path of one of our binaries, beside the test that runs.
pub fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a process knows its own path");
    let folder = test.ancestors().find(|folder| folder.join(name).is_file());
    folder.map(|folder| folder.join(name)).unwrap_or_else(|| {
        panic!("there is no {name} above {}: run `cargo build --workspace --bins` first", test.display())
    })
}

/// A running child. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with both outputs appended to `log`.
    pub fn start(name: &str, command: &mut Command, log: &Path) -> Process {
        let file = OpenOptions::new().create(true).append(true).open(log).expect("the log can be written");
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a file handle can be doubled"))
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        Process { name: name.to_owned(), child, log: log.to_owned() }
    }

    /// Everything that it, and those before it with the same log, have printed.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The number of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// kill -9: no chance to tidy up.
    pub fn kill(mut self) {
        self.end_now();
    }

    /// Asks it to stop, and waits until it has.
    pub fn stop(mut self) -> ExitStatus {
        if let Some(pid) = Pid::from_raw(i32::try_from(self.child.id()).expect("a process id is small")) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let what = format!("{} stops after SIGTERM; it printed:\n{}", self.name, tail(&self.output()));
        until(&what, Duration::from_secs(20), || self.child.try_wait().ok().flatten())
    }

    fn end_now(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end_now();
        if std::thread::panicking() {
            eprintln!("--- the last that {} printed ---\n{}", self.name, tail(&self.output()));
        }
    }
}

/// The last lines of a log: as many as one likes to read below a failed test.
fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}
