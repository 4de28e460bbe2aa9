//! Logs and metrics: what is counted, under which names.

use std::time::Duration;

use fragment::StreamName;
use metrics::{counter, gauge, histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use upload::ErrorCode;

/// Seconds from the last byte of a fragment to its PERSISTED ack, by upper ends of buckets: a commit takes
/// between a fifth of a millisecond and, on a bad day, seconds.
const PERSIST_BUCKETS: &[f64] = &[0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0];

/// Writes structured logs to stderr, filtered by RUST_LOG. A second call does nothing.
pub(crate) fn start_logs(json: bool) {
    // The catalog's engine tells of every file that it opens.
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info,fjall=warn,lsm_tree=warn"));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Fails only when logs were started before, as in tests.
    let _ = if json { logs.json().try_init() } else { logs.try_init() };
}

/// Counts from now on; the handle renders what was counted. The recorder is the process's, so a second server
/// in the same process, as in tests, has a handle of its own that stays empty.
pub(crate) fn start_metrics() -> Result<PrometheusHandle, BuildError> {
    let builder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Full("millrace_persist_seconds".to_owned()), PERSIST_BUCKETS)?;
    let recorder = builder.build_recorder();
    let handle = recorder.handle();
    let _ = metrics::set_global_recorder(recorder);
    Ok(handle)
}

/// A fragment was stored.
pub(crate) fn persisted(stream: &StreamName, bytes: usize, took: Duration) {
    counter!("millrace_fragments_persisted_total", "stream" => stream.to_string()).increment(1);
    counter!("millrace_bytes_persisted_total", "stream" => stream.to_string()).increment(bytes as u64);
    histogram!("millrace_persist_seconds").record(took.as_secs_f64());
}

/// A fragment came that was stored before.
pub(crate) fn duplicate(stream: &StreamName) {
    counter!("millrace_fragments_duplicate_total", "stream" => stream.to_string()).increment(1);
}

/// A fragment was refused.
pub(crate) fn refused(code: ErrorCode) {
    counter!("millrace_fragments_refused_total", "code" => code.name()).increment(1);
}

/// Connections that are open.
pub(crate) fn connections(open: usize) {
    gauge!("millrace_connections").set(f64::from(u32::try_from(open).unwrap_or(u32::MAX)));
}

/// What retention has deleted.
pub(crate) fn expired(rows: u64, bytes: u64) {
    counter!("millrace_fragments_expired_total").increment(rows);
    counter!("millrace_bytes_deleted_total").increment(bytes);
}
