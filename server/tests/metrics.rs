//! What `/metrics` tells of a server that works, and what counting costs one that nobody asks.
//!
//! The servers of one process share one recorder, so each test has streams of its own, and one of them alone
//! has connections.

#![expect(clippy::unwrap_used, reason = "the helpers of a test fail with it")]

#[expect(dead_code, reason = "these tests refuse little")]
mod device;

use std::time::{Duration, Instant};

use device::{PATIENCE, Stage, document, header, key, whole};
use peak_alloc::PeakAlloc;
use upload::{AckKind, ErrorCode};

/// Counts what the process holds: what the allocator keeps for later is none of the server's doing.
#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

#[tokio::test(flavor = "multi_thread")]
async fn metrics_tell_what_was_stored_what_was_refused_and_who_is_connected() {
    let stage = Stage::start().await;
    let mut device = stage.upload(&stage.enrolled("cam", &[]).await).await;
    for sequence in 0..3 {
        let key = key("counted", 1, sequence);
        device.send(&whole(&key, &document())).await;
        assert_eq!(device.end(&key).await, AckKind::Persisted);
    }
    let again = key("counted", 1, 0);
    device.send(&header(&again).encode()).await;
    assert_eq!(device.ack(&again).await, AckKind::Persisted);
    let malformed = key("counted", 1, 9);
    device.send(&whole(&malformed, &[0xff; 100])).await;
    assert_eq!(device.error(&malformed).await.0, ErrorCode::InvalidMkv);

    let bytes = (3 * document().len()).to_string();
    for (line, value) in [
        ("millrace_fragments_persisted_total{stream=\"counted\"}", "3"),
        ("millrace_bytes_persisted_total{stream=\"counted\"}", &bytes),
        ("millrace_fragments_duplicate_total{stream=\"counted\"}", "1"),
        ("millrace_fragments_refused_total{code=\"INVALID_MKV_DATA\"}", "1"),
        ("millrace_persist_seconds_bucket{le=\"+Inf\"}", "3"),
        ("millrace_connections", "1"),
        ("millrace_queued_bytes", "0"),
        ("millrace_vault_poisoned", "0"),
    ] {
        wait_for(&stage, line, value).await;
    }
    assert!((1..=3).contains(&value(&stage, "millrace_commits_total").await));
    assert!(value(&stage, "millrace_committed_bytes_total").await >= 3 * document().len() as u64);
    drop(device);
    wait_for(&stage, "millrace_connections", "0").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn samples_that_nobody_scrapes_leave_memory() {
    const SAMPLES: usize = 3_000_000;
    const BYTES: usize = SAMPLES * size_of::<(f64, Instant)>();
    let _stage = Stage::start().await;
    let before = ALLOCATED.current_usage();
    let samples = metrics::histogram!("millrace_test_seconds");
    let most = samples.clone();
    tokio::task::spawn_blocking(move || (0..SAMPLES).for_each(|_| most.record(0.001))).await.unwrap();
    let fold = async || {
        while ALLOCATED.current_usage() > before + BYTES / 2 {
            // What was folded is freed by whoever records next.
            samples.record(0.001);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, fold()).await.unwrap_or_else(|_| {
        let grown = ALLOCATED.current_usage().saturating_sub(before);
        panic!("{SAMPLES} samples of {BYTES} bytes still take {grown}")
    });
}

/// What a line of `/metrics` tells now.
async fn value(stage: &Stage, name: &str) -> u64 {
    let text = scrape(stage).await;
    let line = text.lines().find(|line| line.split(' ').next() == Some(name)).unwrap();
    line.split(' ').nth(1).unwrap().parse().unwrap()
}

async fn scrape(stage: &Stage) -> String {
    let url = format!("http://{}/metrics", stage.server.http());
    let get = move || ureq::get(&url).call().unwrap().body_mut().read_to_string().unwrap();
    tokio::task::spawn_blocking(get).await.unwrap()
}

/// Waits until a line of `/metrics` has this value: the ack leaves before the counting ends.
async fn wait_for(stage: &Stage, name: &str, value: &str) {
    let wanted = format!("{name} {value}");
    let ask = async || {
        loop {
            if scrape(stage).await.lines().any(|line| line == wanted) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, ask()).await.unwrap_or_else(|_| panic!("{wanted:?} is not among the metrics"));
}
