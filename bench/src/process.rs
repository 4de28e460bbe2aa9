//! What `/proc` says of a process.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;

/// Resident memory of a process in bytes.
pub(crate) fn resident(pid: u32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("the process has ended")?;
    let kib: u64 = line.split_whitespace().nth(1).context("VmRSS without a value")?.parse()?;
    Ok(kib * 1024)
}

/// The most memory that a process has while this lives, looked at four times a second.
pub(crate) struct Peak {
    stop: mpsc::Sender<()>,
    watcher: JoinHandle<u64>,
}

impl Peak {
    /// Begins to look.
    pub(crate) fn watch(pid: u32) -> Peak {
        let (stop, stopped) = mpsc::channel();
        let watcher = std::thread::spawn(move || {
            let mut most = 0;
            loop {
                most = most.max(resident(pid).unwrap_or(0));
                if stopped.recv_timeout(Duration::from_millis(250)) != Err(RecvTimeoutError::Timeout) {
                    return most;
                }
            }
        });
        Peak { stop, watcher }
    }

    /// Ends, and tells the most bytes that were resident.
    pub(crate) fn end(self) -> u64 {
        drop(self.stop);
        self.watcher.join().expect("looking does not panic")
    }
}

/// CPU time that a process has used so far, user and system.
pub(crate) fn cpu(pid: u32) -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The command's name may hold blanks: fields are counted after its closing bracket.
    let fields: Vec<&str> = stat.rsplit_once(')').context("malformed stat")?.1.split_whitespace().collect();
    let ticks = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    Ok(Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second()))
}
