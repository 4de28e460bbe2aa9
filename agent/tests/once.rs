//! `once` against a server that a test drives: what it reads, what it waits for, when it ends.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

#[expect(dead_code, reason = "other tests use the rest of it")]
#[expect(clippy::unwrap_used, reason = "what fails here fails the test")]
mod server;

use std::path::Path;
use std::time::Duration;

use agent::config::{self, Config, Uplink};
use agent::once::{OnceError, Upload, once};
use agent::wanted;
use bytes::Bytes;
use fragment::{ClockQuality, FragmentId, Sequence, SessionId};
use server::{Server, within};
use spool::{Spool, Start};
use upload::{AckKind, ErrorCode, FragmentKey};

/// Half of it holds no more than two fragments of the clip, which has five.
const SMALL_SPOOL: u64 = 160 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_larger_than_the_spool_waits_for_the_server_and_arrives_whole() {
    let (server, state) = stage();
    let uploaded = tokio::spawn(once(config(&server, state.path(), SMALL_SPOOL), clip()));
    let mut line = server.upload().await;
    // Time enough to read the whole file, for one that would.
    line.store_slowly(5, Duration::from_millis(500)).await;
    within(uploaded).await.unwrap().unwrap();
    assert_eq!(Spool::open(state.path(), SMALL_SPOOL).unwrap().next(None), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_fails_when_the_server_refuses_a_fragment_for_good() {
    let (server, state) = stage();
    let uploaded = tokio::spawn(once(config(&server, state.path(), 1 << 30), clip()));
    let mut line = server.upload().await;
    for fragment in 0..5 {
        let incoming = line.fragment().await;
        let key = incoming.header.key.clone();
        incoming.rest().await;
        let refusal =
            AckKind::Error { code: ErrorCode::InvalidMkv, message: "for a test".to_owned(), retryable: false };
        line.ack(&key, if fragment == 2 { refusal } else { AckKind::Persisted }).await;
    }
    let error = within(uploaded).await.unwrap().unwrap_err();
    assert!(matches!(error, OnceError::Refused { refused: 1, fragments: 5 }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_fails_and_does_not_wait_for_ever_when_a_spool_file_is_gone_or_damaged() {
    let (server, state) = stage();
    let uploaded = tokio::spawn(once(config(&server, state.path(), 1 << 30), clip()));
    let (connection, _) = server.connection().await;
    let spool = state.path().join("spool/film");
    let mut files = within(spooled(&spool, 5)).await;
    files.sort();
    std::fs::remove_file(&files[1]).unwrap();
    std::fs::write(&files[3], b"MRSP").unwrap();
    let mut line = server::Line::welcome(connection, |_| {}).await;
    for _ in 0..3 {
        line.store().await;
    }
    let error = within(uploaded).await.unwrap().unwrap_err();
    assert!(matches!(error, OnceError::Lost(2)), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_left_in_the_spool_is_sent_by_the_next_run_also_where_recordings_wait_to_be_asked_for() {
    let (server, state) = stage();
    let interrupted = tokio::spawn(once(config(&server, state.path(), 1 << 30), clip()));
    // It is connected and not welcomed: nothing can be sent.
    let (connection, _) = server.connection().await;
    within(spooled(&state.path().join("spool/film"), 5)).await;
    interrupted.abort();
    assert!(interrupted.await.unwrap_err().is_cancelled());
    drop(connection);

    let spool = Spool::open(state.path(), 1 << 30).unwrap();
    record(&spool, "film");
    let text = "[server]\naddress = \"localhost:1\"\n[uplink]\nmode = \"record\"\n";
    let rules = Config::parse(text, Path::new("/")).unwrap().uplink;
    let run = server::Uplink::start_with(&server, state.path(), &spool, None, rules);
    let mut line = server.upload().await;
    for _ in 0..5 {
        line.store().await;
    }
    let more = tokio::time::timeout(Duration::from_secs(2), line.fragment()).await;
    assert!(more.is_err(), "what a camera has recorded of the same stream stays");
    run.stop().await;
    assert_eq!(wanted::sessions(state.path()).unwrap().len(), 1);
    wanted::tidy_sessions(state.path(), &spool);
    assert_eq!(wanted::sessions(state.path()).unwrap(), [], "the next start finds nothing of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_uploaded_whole_leaves_no_wish_behind() {
    let (server, state) = stage();
    let uploaded = tokio::spawn(once(config(&server, state.path(), 1 << 30), clip()));
    let mut line = server.upload().await;
    for _ in 0..4 {
        line.store().await;
    }
    assert_eq!(wanted::sessions(state.path()).unwrap().len(), 1);
    line.store().await;
    within(uploaded).await.unwrap().unwrap();
    assert_eq!(wanted::sessions(state.path()).unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_fails_when_the_spool_can_not_be_written() {
    let (server, state) = stage();
    std::fs::create_dir_all(state.path().join("spool")).unwrap();
    // No folder can be made where a file is.
    std::fs::write(state.path().join("spool/film"), b"").unwrap();
    // It may be over before the server has said a word.
    let uploaded = tokio::spawn(once(config(&server, state.path(), 1 << 30), clip()));
    let error = within(uploaded).await.unwrap().unwrap_err();
    assert!(matches!(error, OnceError::Lost(5)), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_does_not_wait_for_room_that_recordings_hold_until_they_are_asked_for() {
    let (server, state) = stage();
    let bytes_max = 16 << 10;
    let spool = Spool::open(state.path(), bytes_max).unwrap();
    for sequence in 0..9 {
        record_bytes(&spool, "garden", sequence, &[0; 1024]);
    }
    drop(spool);
    let text = "[server]\naddress = \"localhost:1\"\n[uplink]\nmode = \"record\"\n";
    let uplink = Config::parse(text, Path::new("/")).unwrap().uplink;
    let uploaded = tokio::spawn(once(Config { uplink, ..config(&server, state.path(), bytes_max) }, clip()));
    let error = within(uploaded).await.unwrap().unwrap_err();
    assert!(matches!(error, OnceError::NoRoom { fragments: 9, bytes } if bytes > 9 << 10), "{error}");
}

fn stage() -> (Server, tempfile::TempDir) {
    let (server, state) = (Server::start(), tempfile::tempdir().unwrap());
    server.enrol_for_long(state.path());
    (server, state)
}

/// A fragment that a camera has recorded.
fn record(spool: &Spool, stream: &str) {
    record_bytes(spool, stream, 0, b"media");
}

fn record_bytes(spool: &Spool, stream: &str, sequence: u32, media: &'static [u8]) {
    let id = FragmentId { session: SessionId(7), sequence: Sequence(sequence) };
    let start = Start { monotonic: None, wall: server::now(), quality: ClockQuality::Given };
    let key = FragmentKey { stream: stream.parse().unwrap(), id };
    let mut writer = spool.create(key, start, Bytes::from_static(b"</fragment>")).unwrap();
    writer.append(Duration::ZERO, &[Bytes::from_static(media)]).unwrap();
    writer.finish(Duration::from_secs(1)).unwrap();
}

fn config(server: &Server, state: &Path, spool_bytes_max: u64) -> Config {
    let server = config::Server { address: server.address(), token: None };
    let (spool, uplink) = (spool_bytes_max.into(), Uplink::default());
    Config { state: state.to_owned(), server, aws: None, spool, metrics: None, uplink, cameras: Vec::new() }
}

fn clip() -> Upload {
    Upload { file: samples::clip("h264-aac.mp4"), stream: "film".parse().unwrap(), start: Some(server::now()) }
}

/// The files of the spool, once there are so many and all are whole.
async fn spooled(folder: &Path, count: usize) -> Vec<std::path::PathBuf> {
    loop {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let Ok(files) = std::fs::read_dir(folder) else { continue };
        let files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        if files.len() == count && files.iter().all(|path| is_whole(path)) {
            return files;
        }
    }
}

/// Whether a spool file ends with a trailer record: kind, length, checksum and 20 bytes.
fn is_whole(path: &Path) -> bool {
    let bytes = std::fs::read(path).unwrap();
    bytes.len() > 29 && bytes[bytes.len() - 29] == b'T'
}
