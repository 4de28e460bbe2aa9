//! A small runtime for a client of another service, whose callers block.
//!
//! They may themselves be in an async runtime, which they must not enter: the work runs on threads of its own, and the
//! calling one waits on a channel for the answer.

use std::io;
use std::sync::mpsc;

use tokio::runtime::{self, Runtime};

/// Threads that move bytes to and from the service. The work is small, but with one thread a large answer would
/// hold up a small one.
const THREADS: usize = 2;

/// The runtime.
pub(crate) struct Threads(Option<Runtime>);

impl Threads {
    /// Starts them under this name.
    pub(crate) fn start(name: &str) -> io::Result<Self> {
        let mut builder = runtime::Builder::new_multi_thread();
        builder.worker_threads(THREADS).thread_name(name).enable_all().build().map(Some).map(Self)
    }

    /// Runs work to its end on these threads while the calling one waits.
    pub(crate) fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        let (answer, answered) = mpsc::sync_channel(1);
        self.spawn(async move {
            // Whoever asked waits below.
            let _ = answer.send(work.await);
        });
        answered.recv().expect("the runtime lives as long as this and its work does not panic")
    }

    /// Begins work that nobody waits for.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.0.as_ref().expect("taken only when dropped").spawn(work);
    }
}

impl Drop for Threads {
    /// Without waiting: it may be an async runtime's thread that drops this, and those can't wait.
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
