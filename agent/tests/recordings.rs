//! Cameras that only record, over QUIC, against a server that a test drives.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

#[expect(dead_code, reason = "other tests use the rest of it")]
#[expect(clippy::unwrap_used, reason = "what fails here fails the test")]
mod server;

use std::path::Path;
use std::time::Duration;

use agent::config::{Config, Uplink as Rules};
use agent::uplink::Notice;
use agent::wanted::{self, Range};
use bytes::Bytes;
use fragment::{ClockQuality, FragmentId, Sequence, SessionId, WallTime};
use server::{Server, Uplink};
use spool::{Spool, Start};
use upload::FragmentKey;

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_stays_on_the_device_until_its_range_is_wanted_and_then_leaves_it_once() {
    let (server, state) = (Server::start(), tempfile::tempdir().unwrap());
    server.enrol_for_long(state.path());
    let spool = Spool::open(state.path(), 1 << 30).unwrap();
    for sequence in 0..10 {
        record(&spool, "yard", sequence);
    }
    let rules = rules("mode = \"record\"");
    let mut uplink = Uplink::start_with(&server, state.path(), &spool, None, rules);
    let mut line = server.upload().await;
    uplink.until(|notice| matches!(notice, Notice::Connected { .. }).then_some(())).await;
    let early = tokio::time::timeout(Duration::from_secs(2), line.fragment()).await;
    assert!(early.is_err(), "no one has asked for it");

    wanted::want(state.path(), &range("yard", 4, 6)).unwrap();
    let mut arrived = vec![line.store().await.0, line.store().await.0];
    arrived.sort();
    assert_eq!(arrived, [key("yard", 4), key("yard", 5)]);
    until(|| wanted::list(state.path()).unwrap().is_empty()).await;
    let more = tokio::time::timeout(Duration::from_secs(2), line.fragment()).await;
    assert!(more.is_err(), "only what was asked for is sent, and once");
    until(|| !spool.holds(&key("yard", 4)) && !spool.holds(&key("yard", 5))).await;
    assert_eq!(spool.counters().fragments, 8);
    uplink.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wish_outlives_the_agent_that_was_to_fulfil_it() {
    let (server, state) = (Server::start(), tempfile::tempdir().unwrap());
    server.enrol_for_long(state.path());
    let spool = Spool::open(state.path(), 1 << 30).unwrap();
    record(&spool, "yard", 0);
    wanted::prepare(state.path()).unwrap();
    wanted::want(state.path(), &range("yard", 0, 1)).unwrap();
    let first = Uplink::start_with(&server, state.path(), &spool, None, rules("mode = \"record\""));
    let mut line = server.upload().await;
    line.fragment().await;
    first.stop().await;

    let second = Uplink::start_with(&server, state.path(), &spool, None, rules("mode = \"record\""));
    assert_eq!(server.upload().await.store().await.0, key("yard", 0));
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn backlog_waits_for_its_hours_by_the_servers_time_and_live_does_not() {
    let (server, state) = (Server::start(), tempfile::tempdir().unwrap());
    server.enrol_for_long(state.path());
    let spool = Spool::open(state.path(), 1 << 30).unwrap();
    record(&spool, "yard", 0);
    // Hours that are not now, whatever the time is: those of six hours ago.
    let now = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC);
    let hour = (now.hour() + 18) % 24;
    let rules = rules(&format!("backlog_hours = [\"{hour:02}:00-{hour:02}:59\"]\ntime_zone = \"UTC\""));
    let uplink = Uplink::start_with(&server, state.path(), &spool, None, rules);
    let mut line = server.upload().await;
    let early = tokio::time::timeout(Duration::from_secs(2), line.fragment()).await;
    assert!(early.is_err(), "it is not the hour of the backlog");
    record(&spool, "yard", 1);
    assert_eq!(line.store().await.0, key("yard", 1), "what is captured now goes at any hour");
    uplink.stop().await;
    assert!(spool.holds(&key("yard", 0)));
}

async fn until(mut happened: impl FnMut() -> bool) {
    server::within(async {
        while !happened() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

fn rules(text: &str) -> Rules {
    let text = format!("[server]\naddress = \"localhost:1\"\n[uplink]\n{text}\n");
    Config::parse(&text, Path::new("/")).unwrap().uplink
}

/// A fragment of a second that begins at the second of its number.
fn record(spool: &Spool, stream: &str, sequence: u32) {
    let wall = WallTime::from_millis(i64::from(sequence) * 1000);
    let start = Start { monotonic: None, wall, quality: ClockQuality::Given };
    let mut writer = spool.create(key(stream, sequence), start, Bytes::from_static(b"</fragment>")).unwrap();
    writer.append(Duration::from_millis(900), &[Bytes::from_static(b"media")]).unwrap();
    writer.finish(Duration::from_secs(1)).unwrap();
}

fn range(stream: &str, from: i64, to: i64) -> Range {
    let time = |secs: i64| WallTime::from_millis(secs * 1000);
    Range::new(stream.parse().unwrap(), time(from), time(to))
}

fn key(stream: &str, sequence: u32) -> FragmentKey {
    let id = FragmentId { session: SessionId(7), sequence: Sequence(sequence) };
    FragmentKey { stream: stream.parse().unwrap(), id }
}
