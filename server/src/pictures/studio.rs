//! Starts the processes that make pictures, few at a time, and gives them work.

use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::wire::{self, Order};
use crate::limits;

/// The program, which lies beside the server's.
const PROGRAM: &str = "millrace-images";

/// What of the environment such a process gets: where things lie, and no secret.
const ENVIRONMENT: [&str; 6] = ["PATH", "HOME", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR", "LD_LIBRARY_PATH", "TMPDIR"];

/// Why there are no pictures of a fragment, or of any.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StudioError {
    /// This server has no program for it.
    #[error("the program {PROGRAM} does not lie beside the server's")]
    Missing,
    /// Others have all places.
    #[error("{max} calls make pictures already; try again later", max = limits::PICTURE_WORKERS_MAX)]
    Busy,
    /// It can't be started.
    #[error("{PROGRAM} can't be started: {0}")]
    Start(io::Error),
    /// It crashed, or did not speak as it should.
    #[error("{PROGRAM} failed: {0}")]
    Failed(io::Error),
    /// It took too long, and was killed.
    #[error("{PROGRAM} took more than {} seconds", limits::PICTURES_WAIT.as_secs())]
    Slow,
}

/// How long is waited.
#[derive(Clone, Copy, Debug)]
struct Patience {
    /// For a place.
    place: Duration,
    /// For the pictures of one fragment.
    job: Duration,
}

/// Where pictures are made.
#[derive(Clone)]
pub(crate) struct Studio {
    program: Option<PathBuf>,
    patience: Patience,
    places: Arc<Semaphore>,
}

impl Studio {
    /// With the program beside this one, if it is there.
    pub(crate) fn new() -> Self {
        let beside = std::env::current_exe().ok().map(|own| own.with_file_name(PROGRAM));
        Self::with(beside.filter(|program| program.exists()))
    }

    /// With that program.
    pub(crate) fn with(program: Option<PathBuf>) -> Self {
        let patience = Patience { place: limits::PICTURE_WORKER_WAIT, job: limits::PICTURES_WAIT };
        Self { program, patience, places: Arc::new(Semaphore::new(limits::PICTURE_WORKERS_MAX)) }
    }

    /// Whether there is a program to make them.
    pub(crate) fn is_there(&self) -> bool {
        self.program.is_some()
    }

    /// A place for one caller, who waits for it a while.
    pub(crate) async fn worker(&self) -> Result<Worker, StudioError> {
        let program = self.program.clone().ok_or(StudioError::Missing)?;
        let place = timeout(self.patience.place, self.places.clone().acquire_owned()).await;
        let place = place.map_err(|_| StudioError::Busy)?.expect("the semaphore is never closed");
        Ok(Worker { program, patience: self.patience, process: None, _place: place })
    }
}

/// One caller's process. It is started for the first fragment, and anew after one that it failed at.
pub(crate) struct Worker {
    program: PathBuf,
    patience: Patience,
    process: Option<Process>,
    _place: OwnedSemaphorePermit,
}

/// It is killed when it is dropped.
struct Process {
    _child: Child,
    input: ChildStdin,
    output: ChildStdout,
}

impl Worker {
    /// One picture, or none, for each time of the order, until they come to so many bytes: for what is missing then it has to be
    /// asked again.
    pub(crate) async fn pictures(
        &mut self,
        order: &Order,
        document: &[u8],
        bytes_max: usize,
    ) -> Result<Vec<Option<Bytes>>, StudioError> {
        let mut process = match self.process.take() {
            Some(process) => process,
            None => Process::start(&self.program).map_err(StudioError::Start)?,
        };
        let made = timeout(self.patience.job, process.pictures(order, document, bytes_max)).await;
        let made = made.map_err(|_| StudioError::Slow)?.map_err(StudioError::Failed)?;
        // One that has more to say has no end that could be waited for.
        self.process = (made.len() == order.at_ns.len()).then_some(process);
        Ok(made)
    }
}

impl Process {
    fn start(program: &PathBuf) -> io::Result<Self> {
        let mut command = Command::new(program);
        let environment = ENVIRONMENT.iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
        command.env_clear().envs(environment).envs(std::env::vars_os().filter(is_of_gstreamer));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let mut child = command.spawn()?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let (input, output) = input.zip(output).expect("both are piped");
        Ok(Self { _child: child, input, output })
    }

    async fn pictures(&mut self, order: &Order, document: &[u8], bytes_max: usize) -> io::Result<Vec<Option<Bytes>>> {
        let text = serde_json::to_vec(order).expect("an order is plain JSON");
        let head = wire::job_head(&text, document).ok_or(io::ErrorKind::InvalidInput)?;
        self.input.write_all(&head).await?;
        self.input.write_all(&text).await?;
        self.input.write_all(document).await?;
        self.input.flush().await?;
        let (mut made, mut bytes) = (Vec::with_capacity(order.at_ns.len()), 0);
        for _ in &order.at_ns {
            if bytes >= bytes_max {
                break;
            }
            let length = self.output.read_u32().await? as usize;
            if length > limits::PICTURE_BYTES_MAX {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "it says that a picture is too large"));
            }
            let mut picture = vec![0; length];
            self.output.read_exact(&mut picture).await?;
            bytes += length;
            made.push((length > 0).then(|| picture.into()));
        }
        Ok(made)
    }
}

fn is_of_gstreamer((name, _): &(std::ffi::OsString, std::ffi::OsString)) -> bool {
    name.to_string_lossy().starts_with("GST_")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use tempfile::TempDir;

    use super::super::wire::{Format, Size};
    use super::*;

    #[tokio::test]
    async fn a_process_is_kept_between_fragments_and_started_anew_after_one_that_it_failed_at() {
        // Answers once with a picture of three bytes, and then crashes.
        let job = 8 + serde_json::to_vec(&order()).unwrap().len();
        let (studio, _folder) =
            studio(&format!("echo >>\"$0.started\"; head -c {job} >/dev/null; printf '\\0\\0\\0\\3abc'; exit 1"));
        let mut worker = studio.worker().await.unwrap();
        for _ in 0..2 {
            assert_eq!(worker.pictures(&order(), b"", 1000).await.unwrap(), [Some(Bytes::from_static(b"abc"))]);
            assert!(matches!(worker.pictures(&order(), b"", 1000).await, Err(StudioError::Failed(_))));
        }
        let started = fs::read_to_string(studio.program.unwrap().with_extension("started")).unwrap();
        assert_eq!(started.lines().count(), 2);
    }

    #[tokio::test]
    async fn a_process_that_hangs_is_killed() {
        let (mut studio, _folder) = studio("exec sleep 1000");
        studio.patience.job = Duration::from_millis(50);
        let mut worker = studio.worker().await.unwrap();
        assert!(matches!(worker.pictures(&order(), b"", 1000).await, Err(StudioError::Slow)));
        assert!(worker.process.is_none());
    }

    #[tokio::test]
    async fn a_process_that_announces_too_large_a_picture_has_failed() {
        let (studio, _folder) = studio("printf '\\377\\377\\377\\377'; cat >/dev/null");
        let mut worker = studio.worker().await.unwrap();
        assert!(matches!(worker.pictures(&order(), b"", 1000).await, Err(StudioError::Failed(_))));
    }

    #[tokio::test]
    async fn pictures_end_at_the_bytes_that_are_taken() {
        let (studio, _folder) = studio("printf '\\0\\0\\0\\3abc\\0\\0\\0\\3def\\0\\0\\0\\3ghi'; cat >/dev/null");
        let mut worker = studio.worker().await.unwrap();
        let three = Order { at_ns: vec![0, 1, 2], ..order() };
        let made = worker.pictures(&three, b"", 4).await.unwrap();
        assert_eq!(made, [Some(Bytes::from_static(b"abc")), Some(Bytes::from_static(b"def"))]);
        assert!(worker.process.is_none(), "what it still says is not taken for an answer to the next");
    }

    #[tokio::test]
    async fn the_process_sees_no_secret_of_the_servers_environment() {
        let (studio, _folder) = studio("env >\"$0.env\"");
        assert!(studio.worker().await.unwrap().pictures(&order(), b"", 1000).await.is_err());
        let seen = fs::read_to_string(studio.program.unwrap().with_extension("env")).unwrap();
        assert!(seen.contains("PATH=") && !seen.contains("CARGO"), "{seen}");
    }

    #[tokio::test]
    async fn there_are_few_at_a_time_and_who_finds_no_place_is_told() {
        let (mut studio, _folder) = studio("cat >/dev/null");
        studio.patience.place = Duration::from_millis(50);
        let mut workers = Vec::new();
        for _ in 0..limits::PICTURE_WORKERS_MAX {
            workers.push(studio.worker().await.unwrap());
        }
        assert!(matches!(studio.worker().await, Err(StudioError::Busy)));
        workers.pop();
        assert!(studio.worker().await.is_ok());
    }

    #[tokio::test]
    async fn without_a_program_there_are_none() {
        let studio = Studio::with(None);
        assert!(!studio.is_there() && matches!(studio.worker().await, Err(StudioError::Missing)));
    }

    fn order() -> Order {
        Order { format: Format::Png, size: Size::default(), at_ns: vec![0] }
    }

    /// With a shell script for a program.
    fn studio(script: &str) -> (Studio, TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("program");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        (Studio::with(Some(program)), folder)
    }
}
