//! Logs and metrics: what is counted, under which names.
//!
//! ```text
//! millrace_connections                               open connections of devices
//! millrace_producers                                 sessions of PutMedia
//! millrace_device_connected{device}                  1 while a device is connected to this server, 0 afterwards
//! millrace_device_cameras{device,state}              its cameras, up and down, by its last status
//! millrace_device_spool_bytes{device}                what waits on its disk
//! millrace_device_oldest_unsent_seconds{device}      the age of the oldest of it
//! millrace_device_held_bytes{device}                 recordings there that wait for their hours or until they are fetched
//! millrace_device_kept_bytes{device}                 what is uploaded and stays there for a while
//! millrace_device_recording_stopped{device}          1 while it records nothing because its spool is full
//! millrace_device_dropped_fragments{device}          fragments that it dropped for lack of room since its agent's start
//! millrace_device_celsius{device}                    its temperature, where it tells one
//! millrace_fragments_persisted_total{stream}         fragments stored
//! millrace_bytes_persisted_total{stream}             their payload
//! millrace_persist_seconds                           from a fragment's last byte to its PERSISTED (histogram)
//! millrace_fragments_duplicate_total{stream}         fragments that came again
//! millrace_fragments_refused_total{code}             fragments refused
//! millrace_fragments_expired_total                   rows that retention has deleted
//! millrace_fragments_damaged_total                   fragments that were found damaged when they were read
//! millrace_index_damaged_total                       reads of the index that met damage: `millrace rebuild-index` makes it anew
//! millrace_fragments_given_up_total                  rows deleted before their time, to keep disk space free
//! millrace_bytes_deleted_total                       bytes of files that retention has deleted
//! millrace_commits_total                             group commits of the vault: one sync of a segment for each
//! millrace_committed_bytes_total                     payload in them
//! millrace_sync_milliseconds_total                   time in these syncs: near 1000 in each second, the disk is the limit
//! millrace_queued_bytes                              payload that waits for the disk; grows while it is slow
//! millrace_free_bytes                                space left where the vault lies
//! millrace_vault_poisoned                            1 from a failed sync to the next start, while writes are refused
//! ```

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use fragment::StreamName;
use metrics::{counter, gauge, histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tokio_util::sync::CancellationToken;
use upload::ErrorCode;
use upload::fleet::Status;
use vault::Health;

use crate::limits;

/// Seconds from the last byte of a fragment to its PERSISTED ack, by upper ends of buckets: a commit takes
/// between a fifth of a millisecond and, on a bad day, seconds.
const PERSIST_BUCKETS: &[f64] = &[0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0];

/// Writes structured logs to stderr, filtered by RUST_LOG. A second call does nothing.
pub(crate) fn start_logs(json: bool) {
    // The catalog's engine tells of every file that it opens.
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| {
        tracing_subscriber::EnvFilter::new("info,fjall=warn,lsm_tree=warn,object_store=warn,tokio_postgres=warn")
    });
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Fails only when logs were started before, as in tests.
    let _ = if json { logs.json().try_init() } else { logs.try_init() };
}

/// What renders the metrics of this process: there is one recorder, whatever the number of servers in it.
static METRICS: Mutex<Option<PrometheusHandle>> = Mutex::new(None);

/// Counts from now on; the handle renders what was counted.
pub(crate) fn start_metrics() -> Result<PrometheusHandle, BuildError> {
    // Held until the recorder stands: of two servers that start at the same instant, the second waits for the first's.
    let mut started = METRICS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(started) = &*started {
        return Ok(started.clone());
    }
    let builder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Full("millrace_persist_seconds".to_owned()), PERSIST_BUCKETS)?;
    let recorder = builder.build_recorder();
    let handle = started.insert(recorder.handle()).clone();
    if metrics::set_global_recorder(recorder).is_err() {
        tracing::warn!("something else in this process counts already; /metrics stays empty");
    }
    Ok(handle)
}

/// Folds samples of histograms into their buckets, which otherwise only a scrape does: without one, every
/// sample would stay in memory. Runs until it is told to stop.
pub(crate) async fn fold_samples(metrics: PrometheusHandle, stop: CancellationToken) {
    let mut interval = tokio::time::interval(limits::SAMPLES_INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = interval.tick() => metrics.run_upkeep(),
        }
    }
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

/// A device's connection, counted from its first packet until this is dropped.
pub(crate) struct OpenConnection(());

impl OpenConnection {
    pub(crate) fn new() -> Self {
        gauge!("millrace_connections").increment(1.0);
        Self(())
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        gauge!("millrace_connections").decrement(1.0);
    }
}

/// A session of PutMedia, until this is dropped.
pub(crate) struct OpenProducer(());

impl OpenProducer {
    pub(crate) fn new() -> Self {
        gauge!("millrace_producers").increment(1.0);
        Self(())
    }
}

impl Drop for OpenProducer {
    fn drop(&mut self) {
        gauge!("millrace_producers").decrement(1.0);
    }
}

/// A device has come or gone. Operators name devices, so there are as many labels as they have added.
pub(crate) fn device_connected(device: &str, connected: bool) {
    gauge!("millrace_device_connected", "device" => device.to_owned()).set(if connected { 1.0 } else { 0.0 });
}

/// How a device is, as it says.
pub(crate) fn device_status(device: &str, status: &Status) {
    let set = |name: &'static str, value: f64| gauge!(name, "device" => device.to_owned()).set(value);
    let down = status.cameras_total.saturating_sub(status.cameras_up);
    for (state, cameras) in [("up", status.cameras_up), ("down", down)] {
        gauge!("millrace_device_cameras", "device" => device.to_owned(), "state" => state).set(f64::from(cameras));
    }
    let oldest = status.spool.oldest_unsent_ns.map_or(0, |at| status.clock.device_time_ns.saturating_sub(at));
    set("millrace_device_spool_bytes", status.spool.bytes as f64);
    set("millrace_device_held_bytes", status.spool.held_bytes as f64);
    set("millrace_device_kept_bytes", status.spool.kept_bytes as f64);
    set("millrace_device_recording_stopped", f64::from(u8::from(status.spool.stopped)));
    set("millrace_device_oldest_unsent_seconds", (oldest as f64 / 1e9).max(0.0));
    set("millrace_device_dropped_fragments", status.spool.dropped as f64);
    if let Some(milli_celsius) = status.machine.milli_celsius {
        set("millrace_device_celsius", f64::from(milli_celsius) / 1000.0);
    }
}

/// A fragment was found damaged when it was read.
pub(crate) fn damaged() {
    counter!("millrace_fragments_damaged_total").increment(1);
}

/// A notification, or images, that a producer asked for, and what became of it.
pub(crate) fn delivered(kind: &'static str, outcome: &'static str) {
    counter!("millrace_deliveries_total", "kind" => kind, "outcome" => outcome).increment(1);
}

/// What was given up before its time to make room.
pub(crate) fn given_up(rows: u64, bytes: u64) {
    counter!("millrace_fragments_given_up_total").increment(rows);
    counter!("millrace_bytes_deleted_total").increment(bytes);
}

/// What retention has deleted.
pub(crate) fn expired(rows: u64, bytes: u64) {
    counter!("millrace_fragments_expired_total").increment(rows);
    counter!("millrace_bytes_deleted_total").increment(bytes);
}

/// How the vault is doing, said anew for each scrape.
pub(crate) fn vault(health: &Health) {
    counter!("millrace_commits_total").absolute(health.commits);
    counter!("millrace_committed_bytes_total").absolute(health.payload_bytes);
    counter!("millrace_sync_milliseconds_total").absolute(health.sync_time.as_millis().try_into().unwrap_or(u64::MAX));
    counter!("millrace_index_damaged_total").absolute(health.catalog_damaged);
    gauge!("millrace_queued_bytes").set(health.queued_bytes as f64);
    gauge!("millrace_vault_poisoned").set(if health.poisoned.is_some() { 1.0 } else { 0.0 });
    if let Some(free) = health.free_bytes {
        gauge!("millrace_free_bytes").set(free as f64);
    }
}
