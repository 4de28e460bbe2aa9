//! A process that ends with the test that started it, however that ends.

use std::fs;
use std::process::Command;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use rustix::process::{Pid, Signal, kill_process};

/// A started process, held by a thread: the kernel ends it with the thread that started it (`setpriv --pdeathsig`), and a
/// test's own thread may end while another test still uses the service.
pub(crate) struct Kept {
    pid: Pid,
    stop: mpsc::Sender<()>,
    keeper: JoinHandle<()>,
}

impl Kept {
    /// Starts it; `signal` asks it to end.
    pub(crate) fn start(mut command: Command, signal: Signal) -> Self {
        let (stop, stopped) = mpsc::channel::<()>();
        let (started, pid) = mpsc::channel();
        let keeper = thread::spawn(move || {
            let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
            let pid = Pid::from_child(&child);
            // Whoever starts it waits below.
            let _ = started.send(pid);
            // Ends with an error when the other end is dropped.
            let _ = stopped.recv();
            let _ = kill_process(pid, signal);
            let _ = child.wait();
        });
        Self { pid: pid.recv().expect("it starts"), stop, keeper }
    }

    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// Whether it has not ended by itself.
    pub(crate) fn is_running(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid.as_raw_nonzero())).unwrap_or_default();
        // The state stands behind the name in parentheses; one that has ended stays until it is waited for.
        stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
    }

    /// Ends it, and waits until it has.
    pub(crate) fn end(self) {
        drop(self.stop);
        let _ = self.keeper.join();
    }
}
