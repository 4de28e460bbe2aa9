//! Taking a pipeline down, within a deadline.
//!
//! A driver or a socket inside GStreamer can hang in its change of state. The change is made on a
//! thread of its own, so that only that thread hangs with it.

use std::sync::mpsc;
use std::thread;

use gst::prelude::*;

use crate::limits;

/// Takes `pipeline` to the state in which it holds no resources. Says whether it got there in time.
pub(crate) fn teardown(pipeline: gst::Pipeline) -> bool {
    let (done, finished) = mpsc::sync_channel(1);
    let name = pipeline.name();
    let down = thread::Builder::new().name("pipeline-teardown".to_owned()).spawn(move || {
        let change = pipeline.set_state(gst::State::Null);
        // The receiver may have given up waiting.
        let _ = done.send(change.is_ok());
    });
    let in_time = down.is_ok() && finished.recv_timeout(limits::TEARDOWN_MAX).unwrap_or(false);
    if !in_time {
        tracing::error!(pipeline = %name, "GStreamer did not stop the pipeline in time; its thread is left behind");
    }
    in_time
}
