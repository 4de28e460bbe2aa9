//! GetMedia.

use std::pin::pin;
use std::time::{Duration, SystemTime};

use archive::{Fragment, Stream};
use axum::body::{Body, BodyDataStream};
use axum::http::{Method, Request, StatusCode};
use bytes::Bytes;
use fragment::mkv::{self, Event, Reader, Tag};
use fragment::{ClockQuality, FragmentId, FragmentNumber, Sequence, SessionId, WallTime};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::time::timeout;
use tower::ServiceExt as _;

use super::{HOST, Key, Server};
use crate::access_keys::Role;
use crate::kinesis_video::{ReadQuotas, fragment_number};
use crate::storage;

/// One group of pictures with its sound, muxed by ffmpeg.
pub(super) const FRAGMENT: &[u8] = include_bytes!("../../http/tests/fragment.mkv");
pub(super) const SECOND: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(20);
pub(super) const SHORT: ReadQuotas = ReadQuotas { get_media_wait: Duration::from_millis(200), ..ReadQuotas::AWS };

#[tokio::test]
async fn each_fragment_is_a_document_of_its_own_with_the_tags_of_aws_around_its_cluster() {
    let server = Server::with_quotas(SHORT);
    let viewer = server.key(Role::Viewer, &["yard"]);
    let begin = WallTime::from_millis(1_790_000_000_120);
    let numbers = server.store_written("yard", &[begin, begin + SECOND], &[tag("place", "yard")]).await;
    let answer = server.get_media(&viewer, json!({ "StartSelectorType": "EARLIEST" })).await;
    assert_eq!((answer.status, &answer.headers["content-type"]), (StatusCode::OK, &"video/webm".parse().unwrap()));
    let documents = split(&answer.media);
    assert_eq!(documents.len(), 2);
    let stored = mkv::document(Bytes::from_static(FRAGMENT)).unwrap();
    for (i, (document, number)) in documents.iter().zip(&numbers).enumerate() {
        let events = events(document);
        let kinds: Vec<_> = events.iter().filter(|event| !matches!(event, Event::Block(_))).collect();
        let [
            Event::Ebml,
            Event::Segment,
            Event::Info(_),
            Event::Tracks(_),
            Event::Tags(own),
            Event::Tags(before),
            rest @ ..,
        ] = &kinds[..]
        else {
            panic!("{kinds:?}")
        };
        let [Event::Cluster { .. }, _, Event::Tags(behind)] = rest else { panic!("{kinds:?}") };
        assert_eq!(own[..], [tag("place", "yard")]);
        let arrived = server.archive.fragment(1, *number, storage::now()).unwrap().unwrap().arrived.as_millis();
        let number = fragment_number::format(*number);
        let [_, _, _] = &before[..] else { panic!("{before:?}") };
        assert_eq!(before[0], tag("AWS_KINESISVIDEO_FRAGMENT_NUMBER", &number));
        let arrived = format!("{}.{:03}", arrived / 1000, arrived % 1000);
        assert_eq!(before[1], tag("AWS_KINESISVIDEO_SERVER_TIMESTAMP", &arrived));
        assert_eq!(before[2], tag("AWS_KINESISVIDEO_PRODUCER_TIMESTAMP", &format!("179000000{i}.120")));
        let [behind_now, token] = &behind[..] else { panic!("{behind:?}") };
        assert_eq!(behind_now.name, "AWS_KINESISVIDEO_MILLIS_BEHIND_NOW");
        assert_eq!(behind_now.value.parse::<u64>().unwrap() == 0, i == 1, "{behind_now:?}");
        assert_eq!(token, &tag("AWS_KINESISVIDEO_CONTINUATION_TOKEN", &number));
        let sent = mkv::document(document.clone()).unwrap();
        assert_eq!((&sent.tracks, sent.start), (&stored.tracks, stored.start));
        assert!(
            sent.units
                .iter()
                .zip(&stored.units)
                .all(|(sent, stored)| (sent.pts, &sent.data) == (stored.pts, &stored.data))
        );
        assert_eq!(sent.units.len(), stored.units.len());
    }
}

#[tokio::test]
async fn it_begins_where_the_selector_says() {
    let server = Server::with_quotas(SHORT);
    let viewer = server.key(Role::Viewer, &[]);
    let now = storage::now();
    // Captured an hour before they arrived, with a hole between the second and the third.
    let begin = WallTime::from_millis(now.as_millis() - 3_600_000);
    let starts = [begin, begin + SECOND, begin + SECOND * 10];
    let numbers = server.store_arriving("yard", &starts, now - SECOND * 60).await;
    let [first, second, third] = numbers[..] else { panic!("{numbers:?}") };
    let all = [first, second, third];
    let seconds = |time: WallTime| json!(time.as_millis() as f64 / 1000.0);
    let by_number = |number| fragment_number::format(number);
    let producer = |time| json!({ "StartSelectorType": "PRODUCER_TIMESTAMP", "StartTimestamp": seconds(time) });
    let arriving = |time| json!({ "StartSelectorType": "SERVER_TIMESTAMP", "StartTimestamp": seconds(time) });
    let millisecond = Duration::from_millis(1);
    for (selector, expected) in [
        (json!({ "StartSelectorType": "NOW" }), &all[2..]),
        (json!({ "StartSelectorType": "EARLIEST" }), &all[..]),
        (json!({ "StartSelectorType": "FRAGMENT_NUMBER", "AfterFragmentNumber": by_number(first) }), &all[1..]),
        (
            json!({ "StartSelectorType": "FRAGMENT_NUMBER", "AfterFragmentNumber": by_number(FragmentNumber(5)) }),
            &all[..],
        ),
        (json!({ "StartSelectorType": "CONTINUATION_TOKEN", "ContinuationToken": by_number(second) }), &all[2..]),
        (json!({ "StartSelectorType": "CONTINUATION_TOKEN", "ContinuationToken": by_number(third) }), &all[3..]),
        (producer(begin - SECOND), &all[..]),
        (producer(begin), &all[..]),
        (producer(begin + SECOND - millisecond), &all[..]),
        (producer(begin + SECOND), &all[1..]),
        (producer(begin + SECOND * 2), &all[2..]),
        (producer(begin + SECOND * 10 + millisecond), &all[2..]),
        (producer(begin + SECOND * 11), &all[3..]),
        (arriving(now - SECOND * 600), &all[..]),
        (arriving(now - SECOND * 60), &all[..]),
        (arriving(now - SECOND * 59 - millisecond), &all[..]),
        (arriving(now - SECOND * 59), &all[1..]),
        (arriving(now - SECOND * 57), &all[3..]),
    ] {
        let answer = server.get_media(&viewer, selector.clone()).await;
        assert_eq!(answer.status, StatusCode::OK, "{selector}: {}", answer.body);
        assert_eq!(fragment_numbers(&answer.media), expected, "{selector}");
    }
}

#[tokio::test]
async fn what_comes_while_it_is_read_is_sent_at_once() {
    let quotas = ReadQuotas { get_media_wait: PATIENCE, ..SHORT };
    let server = Server::with_quotas(quotas);
    let viewer = server.key(Role::Viewer, &[]);
    server.archive.find_or_create_stream(&"yard".parse().unwrap(), storage::now()).unwrap();
    let mut live = server.open_media(&viewer, json!({ "StartSelectorType": "NOW" })).await;
    for _ in 0..3 {
        let numbers = server.store("yard", &[storage::now()]).await;
        assert_eq!(live.next_fragment().await, Some(numbers[0]));
    }
    server.archive.delete_stream(1).await.unwrap();
    assert_eq!(live.next_fragment().await, None, "it ends with the stream");
}

#[tokio::test]
async fn it_ends_when_the_server_stops_and_when_its_key_is_disabled() {
    let server = Server::with_quotas(ReadQuotas { get_media_wait: PATIENCE, ..SHORT });
    let (viewer, other) = (server.key(Role::Viewer, &[]), server.key(Role::Viewer, &[]));
    server.store("yard", &[storage::now()]).await;
    let mut stopped = server.open_media(&viewer, json!({ "StartSelectorType": "NOW" })).await;
    let mut disabled = server.open_media(&other, json!({ "StartSelectorType": "NOW" })).await;
    assert!(stopped.next_fragment().await.is_some() && disabled.next_fragment().await.is_some());
    server.keys.disable(&other.id, storage::now()).unwrap();
    tokio::time::sleep(SECOND + Duration::from_millis(100)).await;
    server.store("yard", &[storage::now()]).await;
    assert!(stopped.next_fragment().await.is_some());
    disabled.next_fragment().await;
    assert_eq!(disabled.next_fragment().await, None);
    server.stop.cancel();
    assert_eq!(stopped.next_fragment().await, None);
}

#[tokio::test]
async fn a_stream_is_read_by_so_many_at_once() {
    let server = Server::with_quotas(ReadQuotas { get_media_wait: PATIENCE, ..SHORT });
    let viewer = server.key(Role::Viewer, &[]);
    server.store("yard", &[storage::now()]).await;
    server.store("gate", &[storage::now()]).await;
    let now = || json!({ "StartSelectorType": "NOW" });
    let mut readers = Vec::new();
    for _ in 0..ReadQuotas::AWS.get_media {
        readers.push(server.open_media(&viewer, now()).await);
    }
    let refused = server.get_media(&viewer, now()).await;
    refused.is_refused(StatusCode::BAD_REQUEST, "ConnectionLimitExceededException");
    readers.pop();
    // Its place is free when its task has seen that it is gone.
    let free = async {
        loop {
            if let Ok(reader) = server.try_open_media(&viewer, now()).await {
                break reader;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, free).await.unwrap();
}

#[tokio::test]
async fn a_damaged_fragment_is_left_out() {
    let server = Server::with_quotas(SHORT);
    let viewer = server.key(Role::Viewer, &[]);
    let numbers = server.store("yard", &[storage::now(), storage::now(), storage::now()]).await;
    server.damage_the_middle();
    let answer = server.get_media(&viewer, json!({ "StartSelectorType": "EARLIEST" })).await;
    assert_eq!(fragment_numbers(&answer.media), [numbers[0], numbers[2]]);
}

#[tokio::test]
async fn what_can_not_be_asked_is_told() {
    let server = Server::new();
    let viewer = server.key(Role::Viewer, &["yard"]);
    server.store("yard", &[storage::now()]).await;
    let aws = "91343852333182522497921856555094773623291269982";
    for (selector, said) in [
        (json!({}), "startSelector.startSelectorType"),
        (json!({ "StartSelectorType": "LATER" }), "startSelector.startSelectorType"),
        (json!({ "StartSelectorType": "FRAGMENT_NUMBER" }), "startSelector.afterFragmentNumber"),
        (
            json!({ "StartSelectorType": "FRAGMENT_NUMBER", "AfterFragmentNumber": aws }),
            "startSelector.afterFragmentNumber",
        ),
        (json!({ "StartSelectorType": "SERVER_TIMESTAMP" }), "startSelector.startTimestamp"),
        (
            json!({ "StartSelectorType": "PRODUCER_TIMESTAMP", "StartTimestamp": "noon" }),
            "startSelector.startTimestamp",
        ),
        (json!({ "StartSelectorType": "CONTINUATION_TOKEN" }), "startSelector.continuationToken"),
        (
            json!({ "StartSelectorType": "CONTINUATION_TOKEN", "ContinuationToken": "a b" }),
            "startSelector.continuationToken",
        ),
        (
            json!({ "StartSelectorType": "CONTINUATION_TOKEN", "ContinuationToken": "abc" }),
            "startSelector.continuationToken",
        ),
    ] {
        let refused = server.get_media(&viewer, selector.clone()).await;
        refused.is_refused(StatusCode::BAD_REQUEST, "InvalidArgumentException");
        assert!(refused.message().contains(said), "{selector}: {}", refused.message());
    }
    let now = json!({ "StartSelectorType": "NOW" });
    let absent = json!({ "StreamName": "gate", "StartSelector": now });
    let admin = server.key(Role::Admin, &[]);
    server.call(&admin, "/getMedia", &absent).await.is_refused(StatusCode::NOT_FOUND, "ResourceNotFoundException");
    server.call(&viewer, "/getMedia", &absent).await.is_refused(StatusCode::FORBIDDEN, "AccessDeniedException");
    let producer = server.key(Role::Producer, &[]);
    let refused = server.get_media(&producer, now).await;
    refused.is_refused(StatusCode::FORBIDDEN, "AccessDeniedException");
}

/// A response while it comes.
struct Live {
    body: BodyDataStream,
    reader: Reader,
}

impl Live {
    /// The number of the next fragment, once all of it is there.
    async fn next_fragment(&mut self) -> Option<FragmentNumber> {
        let mut number = None;
        loop {
            while let Some(event) = self.reader.next().unwrap() {
                let Event::Tags(tags) = event else { continue };
                number = number.or(number_in(&tags));
                if tags.iter().any(|tag| tag.name == "AWS_KINESISVIDEO_CONTINUATION_TOKEN") {
                    return number;
                }
            }
            let mut body = pin!(&mut self.body);
            let frame = timeout(PATIENCE, body.frame()).await.expect("it goes on or ends")?;
            self.reader.push(frame.unwrap().into_data().unwrap());
        }
    }
}

impl Server {
    /// Stores fragments of a second each, which begin at these times and arrive now.
    pub(super) async fn store(&self, stream: &str, starts: &[WallTime]) -> Vec<FragmentNumber> {
        let mut numbers = Vec::new();
        for start in starts {
            numbers.push(self.store_one(&self.stream(stream), *start, storage::now(), FRAGMENT).await);
        }
        numbers
    }

    /// The same, written as our agent writes them, with tags.
    pub(super) async fn store_written(&self, stream: &str, starts: &[WallTime], tags: &[Tag]) -> Vec<FragmentNumber> {
        let document = mkv::document(Bytes::from_static(FRAGMENT)).unwrap();
        let mut writer = mkv::Writer::new(&document.tracks);
        let mut written = [writer.header(), writer.cluster(document.start.unwrap())].concat();
        for unit in &document.units {
            let (head, data) = writer.block(unit).unwrap();
            written.extend([head, data].concat());
        }
        written.extend(writer.end(tags));
        let mut numbers = Vec::new();
        for start in starts {
            numbers.push(self.store_one(&self.stream(stream), *start, storage::now(), &written).await);
        }
        numbers
    }

    /// The same, which arrive from then on, one each second.
    pub(super) async fn store_arriving(
        &self,
        stream: &str,
        starts: &[WallTime],
        first: WallTime,
    ) -> Vec<FragmentNumber> {
        let mut numbers = Vec::new();
        for (start, at) in starts.iter().zip(0..) {
            numbers.push(self.store_one(&self.stream(stream), *start, first + SECOND * at, FRAGMENT).await);
        }
        numbers
    }

    pub(super) fn stream(&self, name: &str) -> Stream {
        self.archive.find_or_create_stream(&name.parse().unwrap(), storage::now()).unwrap()
    }

    pub(super) async fn store_one(
        &self,
        stream: &Stream,
        start: WallTime,
        arrived: WallTime,
        payload: &[u8],
    ) -> FragmentNumber {
        let fragment = Fragment {
            id: FragmentId { session: SessionId(fastrand::u64(..)), sequence: Sequence(0) },
            start,
            quality: ClockQuality::Given,
            duration: SECOND,
            tracks_fingerprint: 7,
            independent: true,
            codecs: vec!["avc1.64000a".into(), "mp4a.40.2".into()],
            arrived,
            payload: Bytes::copy_from_slice(payload),
        };
        self.archive.store(stream.id, fragment).await.unwrap().number
    }

    async fn get_media(&self, key: &Key, selector: Value) -> super::Answer {
        self.call(key, "/getMedia", &json!({ "StreamName": "yard", "StartSelector": selector })).await
    }

    async fn open_media(&self, key: &Key, selector: Value) -> Live {
        self.try_open_media(key, selector).await.unwrap()
    }

    async fn try_open_media(&self, key: &Key, selector: Value) -> Result<Live, StatusCode> {
        let body = json!({ "StreamName": "yard", "StartSelector": selector }).to_string();
        let mut request = Request::builder().method(Method::POST).uri("/getMedia").header("host", HOST);
        for (name, value) in key.signed("/getMedia", body.as_bytes(), SystemTime::now()) {
            request = request.header(name, value);
        }
        let response = self.router.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
        if response.status() != StatusCode::OK {
            return Err(response.status());
        }
        Ok(Live { body: response.into_body().into_data_stream(), reader: Reader::new(mkv::Limits::default()) })
    }

    /// Flips a bit in the middle of the one segment's second fragment.
    pub(super) fn damage_the_middle(&self) {
        let mut files =
            std::fs::read_dir(self.folder.path().join("segments")).unwrap().map(|file| file.unwrap().path());
        let (path, None) = (files.next().unwrap(), files.next()) else { panic!("one segment") };
        let mut bytes = std::fs::read(&path).unwrap();
        // A header, and around each payload some hundred bytes.
        let frame = FRAGMENT.len() + 200;
        bytes[32 + frame + frame / 2] ^= 1;
        std::fs::write(path, bytes).unwrap();
    }
}

/// The documents in what was sent: each begins with the id of its EBML header.
pub(super) fn split(media: &Bytes) -> Vec<Bytes> {
    let id = [0x1a, 0x45, 0xdf, 0xa3];
    let mut begins: Vec<_> = (0..media.len()).filter(|at| media[*at..].starts_with(&id)).collect();
    begins.push(media.len());
    begins.windows(2).map(|pair| media.slice(pair[0]..pair[1])).collect()
}

pub(super) fn events(document: &Bytes) -> Vec<Event> {
    let mut reader = Reader::new(mkv::Limits::default());
    reader.push(document.clone());
    let mut events = Vec::new();
    while let Some(event) = reader.next().unwrap() {
        events.push(event);
    }
    events
}

pub(super) fn tags(document: &Bytes) -> Vec<Tag> {
    let tags = |event| if let Event::Tags(tags) = event { tags } else { Vec::new() };
    events(document).into_iter().flat_map(tags).collect()
}

/// The numbers of the fragments that were sent.
pub(super) fn fragment_numbers(media: &Bytes) -> Vec<FragmentNumber> {
    split(media).iter().map(|document| number_in(&tags(document)).unwrap()).collect()
}

fn number_in(tags: &[Tag]) -> Option<FragmentNumber> {
    let number = tags.iter().find(|tag| tag.name == "AWS_KINESISVIDEO_FRAGMENT_NUMBER")?;
    Some(fragment_number::parse(&number.value).unwrap())
}

pub(super) fn tag(name: &str, value: &str) -> Tag {
    Tag { name: name.to_owned(), value: value.to_owned() }
}
