//! An S3 server: SeaweedFS, all of its parts in one process.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};
use tempfile::TempDir;

use crate::process::Kept;

/// How long a start may take on a busy machine.
const START: Duration = Duration::from_secs(90);

/// A server that takes any credentials. Killed when dropped, and by the kernel if the test's process dies.
pub struct S3 {
    folder: TempDir,
    ports: Ports,
    running: Mutex<Option<Kept>>,
}

/// Each part listens on a port, and 10,000 above it for the others.
struct Ports {
    master: u16,
    volume: u16,
    filer: u16,
    s3: u16,
}

impl S3 {
    /// The region and credentials of everyone here.
    pub const ENVIRONMENT: &[(&str, &str)] =
        &[("AWS_REGION", "us-east-1"), ("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")];

    /// The server that tests share which do it no harm.
    pub fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<S3>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let server = Arc::new(Self::start());
            *shared = Arc::downgrade(&server);
            server
        })
    }

    /// Starts one without buckets.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let ports = Ports { master: free_port(), volume: free_port(), filer: free_port(), s3: free_port() };
        let server = Self { folder, ports, running: Mutex::default() };
        server.resume();
        server
    }

    /// Where it is.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.s3)
    }

    /// Makes a bucket and answers its URL.
    pub fn bucket(&self) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("bucket-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let made = ureq::put(format!("{}/{name}", self.endpoint())).send_empty();
        assert!(made.is_ok(), "the bucket can't be made: {made:?}");
        format!("s3://{name}")
    }

    /// Deletes the bucket that this URL begins with.
    pub fn delete_bucket(&self, url: &str) {
        let name = url.trim_start_matches("s3://").split('/').next().unwrap_or_default();
        let deleted = ureq::delete(format!("{}/{name}", self.endpoint())).call();
        assert!(deleted.is_ok(), "the bucket can't be deleted: {deleted:?}");
    }

    /// Starts it, after a kill, and waits until it stores something.
    pub fn resume(&self) {
        let kept = Kept::start(self.command(), Signal::KILL);
        let deadline = Instant::now() + START;
        let probe = format!("{}/probe", self.endpoint());
        loop {
            // Refused if there is one.
            let _ = ureq::put(&probe).send_empty();
            if ureq::put(format!("{probe}/object")).send("stored").is_ok() {
                break;
            }
            assert!(kept.is_running() && Instant::now() < deadline, "SeaweedFS does not start:\n{}", self.log());
            thread::sleep(Duration::from_millis(100));
        }
        *self.running() = Some(kept);
    }

    /// kill -9.
    pub fn kill(&self) {
        if let Some(kept) = self.running().take() {
            let _ = kill_process(kept.pid(), Signal::KILL);
            kept.end();
        }
    }

    fn command(&self) -> Command {
        let (folder, ports) = (self.folder.path(), &self.ports);
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(weed());
        command.args(["-logtostderr", "server", "-s3", "-filer", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]);
        command.args(["-s3.port.iceberg=0", "-s3.port.lance=0"]);
        command.args(["-master.volumeSizeLimitMB=64", "-volume.max=200", "-master.telemetry=false"]);
        command.arg(format!("-master.port={}", ports.master)).arg(format!("-volume.port={}", ports.volume));
        command.arg(format!("-filer.port={}", ports.filer)).arg(format!("-s3.port={}", ports.s3));
        command.arg(format!("-dir={}", folder.display())).current_dir(folder);
        let log = File::options().create(true).append(true).open(log_of(folder)).expect("the log can be written");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        command
    }

    fn log(&self) -> String {
        std::fs::read_to_string(log_of(self.folder.path())).unwrap_or_default()
    }

    fn running(&self) -> std::sync::MutexGuard<'_, Option<Kept>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        self.kill();
    }
}

fn log_of(folder: &Path) -> PathBuf {
    folder.join("log")
}

/// A port that is free, as is the one 10,000 above it.
fn free_port() -> u16 {
    loop {
        let port = fastrand::u16(20_000..30_000);
        let free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if free(port) && free(port + 10_000) {
            return port;
        }
    }
}

/// SeaweedFS's program, where `scripts/setup.sh test` puts it.
fn weed() -> PathBuf {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home).expect("there is a home folder");
    let path = cache.join("millrace/python/bin/weed");
    assert!(path.exists(), "there is no {}: run `scripts/setup.sh test` first", path.display());
    path
}
