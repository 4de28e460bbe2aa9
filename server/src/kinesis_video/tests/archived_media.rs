//! ListFragments, GetMediaForFragmentList and GetClip.

use std::io::Cursor;
use std::time::{Duration, SystemTime};

use archive::Retention;
use axum::http::{Method, StatusCode};
use bytes::Bytes;
use fragment::{FragmentNumber, TrackNumber, WallTime, mkv};
use serde_json::{Value, json};

use super::media::{FRAGMENT, SECOND, SHORT, fragment_numbers, split, tags};
use super::{Answer, Key, Server};
use crate::access_keys::Role;
use crate::kinesis_video::{ReadQuotas, fragment_number};
use crate::storage;

// --- ListFragments

#[tokio::test]
async fn fragments_are_listed_by_when_they_begin_both_ends_included() {
    let server = Server::new();
    let viewer = server.key(Role::Viewer, &["yard"]);
    let begin = WallTime::from_millis(1_790_000_000_000);
    let arrived = WallTime::from_millis(storage::now().as_millis() - 60_000);
    let starts = [0, 2, 4, 6].map(|secs| begin + SECOND * secs);
    let numbers = server.store_arriving("yard", &starts, arrived).await;
    let all = server.list(&viewer, &selector("PRODUCER_TIMESTAMP", begin, begin + SECOND * 6)).await;
    let listed = all.body["Fragments"].as_array().unwrap();
    assert_eq!(listed.len(), 4);
    assert_eq!(
        listed[1],
        json!({
            "FragmentNumber": fragment_number::format(numbers[1]),
            "FragmentSizeInBytes": FRAGMENT.len(),
            "ProducerTimestamp": 1_790_000_002.0,
            "ServerTimestamp": (arrived + SECOND).as_millis() as f64 / 1000.0,
            "FragmentLengthInMilliseconds": 1000,
        })
    );
    assert!(all.body.get("NextToken").is_none());
    let millisecond = Duration::from_millis(1);
    for (origin, from, to, expected) in [
        ("PRODUCER_TIMESTAMP", begin + SECOND, begin + SECOND * 4, 1..3),
        ("PRODUCER_TIMESTAMP", begin + SECOND * 2, begin + SECOND * 2, 1..2),
        ("PRODUCER_TIMESTAMP", begin + SECOND * 2 + millisecond, begin + SECOND * 4 - millisecond, 0..0),
        ("PRODUCER_TIMESTAMP", begin - SECOND * 9, begin - SECOND, 0..0),
        ("SERVER_TIMESTAMP", arrived, arrived + SECOND, 0..2),
        ("SERVER_TIMESTAMP", arrived + millisecond, arrived + SECOND * 3, 1..4),
        ("SERVER_TIMESTAMP", arrived - SECOND, arrived - millisecond, 0..0),
    ] {
        let found = server.list(&viewer, &selector(origin, from, to)).await;
        assert_eq!(numbers_in(&found.body), numbers[expected], "{origin} {from:?} to {to:?}");
    }
}

#[tokio::test]
async fn pages_miss_and_double_nothing_that_was_there_whatever_comes_meanwhile() {
    let server = Server::new();
    let viewer = server.key(Role::Viewer, &[]);
    let begin = WallTime::from_millis(storage::now().as_millis() - 600_000);
    // Some begin at the same time.
    let starts: Vec<_> = (0..11).map(|i| begin + SECOND * (i / 3)).collect();
    let there = server.store_arriving("yard", &starts, begin).await;
    for origin in ["PRODUCER_TIMESTAMP", "SERVER_TIMESTAMP"] {
        for size in [1, 2, 3, 5, 10, 11, 12] {
            let mut asked = selector(origin, begin, storage::now());
            asked["MaxResults"] = json!(size);
            let mut found = Vec::new();
            let mut pages = 0;
            loop {
                let page = server.list(&viewer, &asked).await;
                assert_eq!(page.status, StatusCode::OK, "{}", page.body);
                let numbers = numbers_in(&page.body);
                assert!(numbers.len() <= size);
                found.extend(numbers);
                pages += 1;
                let Some(token) = page.body.get("NextToken") else { break };
                asked = json!({ "StreamName": "yard", "NextToken": token, "MaxResults": size });
                if pages == 1 {
                    server.store("yard", &[begin - SECOND, begin + SECOND * 2, storage::now()]).await;
                }
            }
            let mut seen: Vec<_> = found.iter().filter(|number| there.contains(number)).copied().collect();
            seen.sort_unstable();
            assert_eq!(seen, there, "{origin}, {size} at a time");
            let mut all = found.clone();
            all.sort_unstable();
            all.dedup();
            assert_eq!(all.len(), found.len(), "{origin}, {size} at a time");
        }
    }
}

#[tokio::test]
async fn what_can_not_be_listed_is_told() {
    let server = Server::new();
    let viewer = server.key(Role::Viewer, &[]);
    let now = storage::now();
    server.store("yard", &[now, now + SECOND]).await;
    server.store("gate", &[now]).await;
    let mut asked = selector("PRODUCER_TIMESTAMP", now, now + SECOND);
    asked["MaxResults"] = json!(1);
    let token = server.list(&viewer, &asked).await.body["NextToken"].as_str().unwrap().to_owned();
    for (asked, said) in [
        (json!({ "StreamName": "yard" }), "fragmentSelector"),
        (selector("PRODUCER_TIMESTAMP", now, now - SECOND), "startTimestamp"),
        (json!({ "StreamName": "yard", "MaxResults": 0, "NextToken": token }), "maxResults"),
        (json!({ "StreamName": "yard", "MaxResults": 1001, "NextToken": token }), "maxResults"),
        (json!({ "StreamName": "yard", "NextToken": "a-b" }), "nextToken"),
        (json!({ "StreamName": "yard", "NextToken": "AAAA" }), "nextToken"),
        (json!({ "StreamName": "gate", "NextToken": token }), "nextToken"),
    ] {
        let refused = server.call(&viewer, "/listFragments", &asked).await;
        refused.is_refused(StatusCode::BAD_REQUEST, "InvalidArgumentException");
        assert!(refused.message().contains(said), "{asked}: {}", refused.message());
    }
}

// --- GetMediaForFragmentList

#[tokio::test]
async fn fragments_come_in_the_order_of_the_list_and_those_that_are_not_there_are_told_in_their_place() {
    let server = Server::new();
    let viewer = server.key(Role::Viewer, &["yard"]);
    let now = storage::now();
    let numbers = server.store_written("yard", &[now - SECOND * 2, now - SECOND], &[]).await;
    let absent = FragmentNumber(numbers[0].0 + 1);
    let wanted = [numbers[1], absent, numbers[0], numbers[1]];
    let texts = wanted.map(fragment_number::format);
    let asked = json!({ "StreamName": "yard", "Fragments": texts });
    let answer = server.call(&viewer, "/getMediaForFragmentList", &asked).await;
    assert_eq!((answer.status, &answer.headers["content-type"]), (StatusCode::OK, &"video/webm".parse().unwrap()));
    assert_eq!(fragment_numbers(&answer.media), wanted);
    let documents = split(&answer.media);
    let names = |document: &Bytes| tags(document).into_iter().map(|tag| tag.name).collect::<Vec<_>>();
    let of_fragment = [
        "FRAGMENT_NUMBER",
        "SERVER_TIMESTAMP",
        "PRODUCER_TIMESTAMP",
        "SERVER_SIDE_TIMESTAMP",
        "PRODUCER_SIDE_TIMESTAMP",
    ];
    assert_eq!(names(&documents[0]), of_fragment.map(|name| format!("AWS_KINESISVIDEO_{name}")));
    let of_error = ["FRAGMENT_NUMBER", "EXCEPTION_ERROR_CODE", "EXCEPTION_MESSAGE", "ERROR_CODE", "ERROR_ID"];
    assert_eq!(names(&documents[1]), of_error.map(|name| format!("AWS_KINESISVIDEO_{name}")));
    assert_eq!(tags(&documents[1])[1].value, "4000");
    let stored = mkv::document(Bytes::from_static(FRAGMENT)).unwrap();
    for at in [0, 2, 3] {
        let sent = mkv::document(documents[at].clone()).unwrap();
        assert!(sent.units.iter().map(|unit| &unit.data).eq(stored.units.iter().map(|unit| &unit.data)));
    }
}

#[tokio::test]
async fn a_list_has_one_to_a_thousand_numbers_of_ours() {
    let server = Server::new();
    let viewer = server.key(Role::Viewer, &[]);
    let number = fragment_number::format(server.store("yard", &[storage::now()]).await[0]);
    let call = async |fragments: Value| {
        let asked = json!({ "StreamName": "yard", "Fragments": fragments });
        server.call(&viewer, "/getMediaForFragmentList", &asked).await
    };
    let most = call(json!(vec![&number; 1000])).await;
    assert_eq!(split(&most.media).len(), 1000);
    for fragments in [Value::Null, json!([]), json!(vec![&number; 1001]), json!(["12"]), json!(["a"]), json!([12])] {
        let refused = call(fragments).await;
        refused.is_refused(StatusCode::BAD_REQUEST, "InvalidArgumentException");
        assert!(refused.message().contains("fragments"), "{}", refused.message());
    }
}

// --- GetClip

#[tokio::test]
async fn a_clip_is_an_mp4_of_the_fragments_that_begin_in_its_range() {
    let server = Server::new();
    let viewer = server.key(Role::Viewer, &["yard"]);
    let begin = WallTime::from_millis(storage::now().as_millis() - 60_000);
    server.store("yard", &[0, 1, 2, 3].map(|secs| begin + SECOND * secs)).await;
    let answer = server.clip(&viewer, "PRODUCER_TIMESTAMP", begin + SECOND, begin + SECOND * 2).await;
    assert_eq!((answer.status, &answer.headers["content-type"]), (StatusCode::OK, &"video/mp4".parse().unwrap()));
    let stored = mkv::document(Bytes::from_static(FRAGMENT)).unwrap();
    for track in [TrackNumber::VIDEO, TrackNumber::AUDIO] {
        let of_fragment: Vec<_> = stored.units.iter().filter(|unit| unit.track == track).collect();
        let samples = samples(&answer.media, track);
        assert_eq!(samples.len(), 2 * of_fragment.len());
        assert!(samples.iter().zip(of_fragment.iter().cycle()).all(|(sample, unit)| *sample == unit.data));
    }
}

#[tokio::test]
async fn a_clip_begins_with_the_fragment_that_contains_its_start_when_that_is_asked_for() {
    let server = Server::new();
    let viewer = server.key(Role::Viewer, &[]);
    let begin = WallTime::from_millis(storage::now().as_millis() - 60_000);
    server.store_arriving("yard", &[0, 1, 2].map(|secs| begin + SECOND * secs), begin).await;
    let half = Duration::from_millis(500);
    for origin in ["PRODUCER_TIMESTAMP", "SERVER_TIMESTAMP"] {
        for (start, by_default, containing) in [(begin + half, 2, 3), (begin, 3, 3), (begin + SECOND, 2, 2)] {
            let asked = clip_selector(origin, start, begin + SECOND * 2);
            let default = server.call(&viewer, "/getClip", &asked).await;
            let extended = server.call_with(&viewer, "/getClip", &asked, "x-millrace-clip-start", "containing").await;
            let fragments = |answer: &Answer| samples(&answer.media, TrackNumber::VIDEO).len() / PICTURES;
            assert_eq!((fragments(&default), fragments(&extended)), (by_default, containing), "{origin} {start:?}");
        }
    }
    let asked = clip_selector("PRODUCER_TIMESTAMP", begin, begin + SECOND);
    let refused = server.call_with(&viewer, "/getClip", &asked, "x-millrace-clip-start", "sometime").await;
    refused.is_refused(StatusCode::BAD_REQUEST, "InvalidArgumentException");
}

#[tokio::test]
async fn of_fragments_that_begin_at_the_same_time_the_last_is_in_the_clip() {
    let server = Server::new();
    let viewer = server.key(Role::Viewer, &[]);
    let begin = WallTime::from_millis(storage::now().as_millis() - 60_000);
    server.store_arriving("yard", &[begin, begin + SECOND, begin, begin + SECOND, begin], begin).await;
    let by_producer = server.clip(&viewer, "PRODUCER_TIMESTAMP", begin, begin + SECOND * 9).await;
    assert_eq!(samples(&by_producer.media, TrackNumber::VIDEO).len(), 2 * PICTURES);
    let by_arrival = server.clip(&viewer, "SERVER_TIMESTAMP", begin, begin + SECOND * 9).await;
    assert_eq!(samples(&by_arrival.media, TrackNumber::VIDEO).len(), 5 * PICTURES);
}

#[tokio::test]
async fn a_clip_ends_where_its_quota_does() {
    let begin = WallTime::from_millis(storage::now().as_millis() - 60_000);
    let bytes = FRAGMENT.len() as u64;
    for (quotas, expected) in [
        (ReadQuotas { clip_fragments: 3, ..SHORT }, 3),
        (ReadQuotas { clip_bytes: 2 * bytes, ..SHORT }, 2),
        (ReadQuotas { clip_bytes: 2 * bytes - 1, ..SHORT }, 1),
        (SHORT, 5),
    ] {
        let server = Server::with_quotas(quotas);
        let viewer = server.key(Role::Viewer, &[]);
        server.store("yard", &[0, 1, 2, 3, 4].map(|secs| begin + SECOND * secs)).await;
        let clip = server.clip(&viewer, "PRODUCER_TIMESTAMP", begin, begin + SECOND * 9).await;
        assert_eq!(samples(&clip.media, TrackNumber::VIDEO).len(), expected * PICTURES, "{quotas:?}");
    }
}

#[tokio::test]
async fn a_damaged_fragment_is_not_in_the_clip() {
    let server = Server::new();
    let viewer = server.key(Role::Viewer, &[]);
    let begin = WallTime::from_millis(storage::now().as_millis() - 60_000);
    server.store("yard", &[0, 1, 2].map(|secs| begin + SECOND * secs)).await;
    server.damage_the_middle();
    let clip = server.clip(&viewer, "PRODUCER_TIMESTAMP", begin, begin + SECOND * 9).await;
    assert_eq!(samples(&clip.media, TrackNumber::VIDEO).len(), 2 * PICTURES);
}

#[tokio::test]
async fn what_makes_no_clip_is_told_in_the_words_of_aws() {
    let server = Server::new();
    let viewer = server.key(Role::Viewer, &[]);
    let now = storage::now();
    let begin = now - SECOND * 60;
    server.store("yard", &[begin]).await;
    let far = server.clip(&viewer, "PRODUCER_TIMESTAMP", begin - SECOND * 20, begin - SECOND * 10).await;
    far.is_refused(StatusCode::NOT_FOUND, "ResourceNotFoundException");
    let backwards = server.clip(&viewer, "PRODUCER_TIMESTAMP", begin, begin).await;
    backwards.is_refused(StatusCode::BAD_REQUEST, "InvalidArgumentException");
    let long = server.clip(&viewer, "PRODUCER_TIMESTAMP", begin, begin + SECOND * 86_401).await;
    long.is_refused(StatusCode::BAD_REQUEST, "InvalidArgumentException");
    let future = server.clip(&viewer, "SERVER_TIMESTAMP", begin, now + SECOND * 60).await;
    future.is_refused(StatusCode::BAD_REQUEST, "InvalidArgumentException");

    let live_only = server.archive.create_stream(&"live".parse().unwrap(), Retention::LIVE_ONLY, now).unwrap();
    server.store_one(&live_only, begin, now, FRAGMENT).await;
    let mut asked = clip_selector("PRODUCER_TIMESTAMP", begin, now);
    asked["StreamName"] = json!("live");
    server.call(&viewer, "/getClip", &asked).await.is_refused(StatusCode::BAD_REQUEST, "NoDataRetentionException");

    let video = "V_MPEG4/ISO/AVC";
    for (name, payload, error) in [
        ("renamed", replaced(b"V_MPEG4/ISO/AVC", b"V_MPEGX/ISO/AVC"), ""),
        ("garbage", b"no Matroska at all".to_vec(), "InvalidMediaFrameException"),
        ("missing", document(video, b""), "MissingCodecPrivateDataException"),
        ("invalid", document(video, b"\0\0\0\x01\x67"), "InvalidCodecPrivateDataException"),
        ("unsupported", document("V_VP9", b""), "UnsupportedStreamMediaTypeException"),
    ] {
        server.store_one(&server.stream(name), begin, now, &payload).await;
        asked["StreamName"] = json!(name);
        let answer = server.call(&viewer, "/getClip", &asked).await;
        if error.is_empty() {
            // Its sound is left to be played.
            assert_eq!(answer.status, StatusCode::OK, "{name}: {}", answer.body);
        } else {
            answer.is_refused(StatusCode::BAD_REQUEST, error);
        }
    }
}

/// Pictures in the fragment that all tests store.
const PICTURES: usize = 27;

/// The samples of a track, by a reader that is not ours.
fn samples(clip: &Bytes, track: TrackNumber) -> Vec<Bytes> {
    let mut reader = mp4::Mp4Reader::read_header(Cursor::new(clip.clone()), clip.len() as u64).unwrap();
    let id = u32::from(track.get());
    let count = reader.sample_count(id).unwrap();
    (1..=count).map(|i| reader.read_sample(id, i).unwrap().unwrap().bytes).collect()
}

fn replaced(what: &[u8], by: &[u8]) -> Vec<u8> {
    let at = FRAGMENT.windows(what.len()).position(|window| window == what).unwrap();
    [&FRAGMENT[..at], by, &FRAGMENT[at + what.len()..]].concat()
}

/// A document with one block of a track that is coded so.
fn document(codec: &str, private: &[u8]) -> Vec<u8> {
    use fragment::{AccessUnit, Codec, MediaTime, Track, TrackKind, Tracks};
    let codec = Codec::Other { id: codec.to_owned(), private: Bytes::copy_from_slice(private), kind: TrackKind::Video };
    let mut writer = mkv::Writer::new(&Tracks::new(vec![Track { number: TrackNumber::VIDEO, codec }]).unwrap());
    let unit = AccessUnit {
        track: TrackNumber::VIDEO,
        pts: MediaTime::ZERO,
        duration: None,
        key: true,
        data: Bytes::from_static(b"picture"),
    };
    let (header, cluster) = (writer.header(), writer.cluster(MediaTime::ZERO));
    let (head, data) = writer.block(&unit).unwrap();
    [header, cluster, head, data, writer.end(&[])].concat()
}

fn selector(origin: &str, start: WallTime, end: WallTime) -> Value {
    json!({ "StreamName": "yard", "FragmentSelector": range(origin, start, end) })
}

fn clip_selector(origin: &str, start: WallTime, end: WallTime) -> Value {
    json!({ "StreamName": "yard", "ClipFragmentSelector": range(origin, start, end) })
}

fn range(origin: &str, start: WallTime, end: WallTime) -> Value {
    let seconds = |time: WallTime| time.as_millis() as f64 / 1000.0;
    json!({
        "FragmentSelectorType": origin,
        "TimestampRange": { "StartTimestamp": seconds(start), "EndTimestamp": seconds(end) },
    })
}

fn numbers_in(listed: &Value) -> Vec<FragmentNumber> {
    let fragments = listed["Fragments"].as_array().unwrap().iter();
    fragments.map(|fragment| fragment_number::parse(fragment["FragmentNumber"].as_str().unwrap()).unwrap()).collect()
}

impl Server {
    async fn list(&self, key: &Key, asked: &Value) -> Answer {
        self.call(key, "/listFragments", asked).await
    }

    async fn clip(&self, key: &Key, origin: &str, start: WallTime, end: WallTime) -> Answer {
        self.call(key, "/getClip", &clip_selector(origin, start, end)).await
    }

    async fn call_with(&self, key: &Key, path: &str, asked: &Value, header: &str, value: &str) -> Answer {
        let body = asked.to_string();
        let mut headers = key.signed(path, body.as_bytes(), SystemTime::now());
        headers.push((header.to_owned(), value.to_owned()));
        self.send(Method::POST, path, body.as_bytes(), &headers).await
    }
}
