//! Deliveries to a receiver on this machine, and into a folder.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Mutex;

use archive::{Fragment, Retention};
use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use fragment::{ClockQuality, FragmentId, Sequence, SessionId};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use vault::Keyring;

use super::*;
use crate::kinesis_video::control::{ImageGeneration, Notification};
use crate::kinesis_video::fragment_number;
use crate::kinesis_video::pictures::Clock;
use crate::kinesis_video::streams::stored;
use crate::pictures::{Format, Size};

#[tokio::test]
async fn a_receiver_is_notified_in_the_envelope_of_sns_and_tried_again_until_it_is_there() {
    let receiver = Receiver::start(&[503, 500, 200]).await;
    let stage = Stage::new("exit 1", &receiver.url);
    let persisted = stage.persisted(&[(message::NOTIFY, ""), ("camera", "front"), ("zone", "7")]).await;
    stage.deliveries.note(&persisted);
    let messages = receiver.messages(3).await;
    assert!(messages.windows(2).all(|pair| pair[0] == pair[1]), "a repetition is known as one");
    let envelope: Value = serde_json::from_str(&messages[2]).unwrap();
    assert_eq!(envelope["Subject"], "Kinesis Video Streams Notification");
    assert_eq!(envelope["MessageId"].as_str().unwrap().len(), 36);
    let message: Value = serde_json::from_str(envelope["Message"].as_str().unwrap()).unwrap();
    let expected = serde_json::json!({
        "StreamArn": stage.stream.arn(),
        "FragmentNumber": fragment_number::format(persisted.number),
        "FragmentStartServerTimestamp": 1_790_000_001_000_i64,
        "FragmentStartProducerTimestamp": 1_790_000_000_000_i64,
        "NotificationType": "PERSISTED",
        "NotificationPayload": { "camera": "front", "zone": "7" },
    });
    assert_eq!(message, expected);
}

#[tokio::test]
async fn what_a_receiver_refuses_for_good_is_not_sent_again() {
    let receiver = Receiver::start(&[404, 200]).await;
    let stage = Stage::new("exit 1", &receiver.url);
    let persisted = stage.persisted(&[(message::NOTIFY, "")]).await;
    let refused = stage.deliveries.notify(&persisted).await.unwrap_err();
    assert_eq!((refused.why.as_str(), refused.passes), ("404 Not Found", false));
    assert_eq!(receiver.messages(1).await.len(), 1);
}

#[tokio::test]
async fn a_receiver_that_never_answers_well_is_given_up() {
    let receiver = Receiver::start(&[503; 20]).await;
    let stage = Stage::new("exit 1", &receiver.url);
    let persisted = stage.persisted(&[(message::NOTIFY, "")]).await;
    assert!(stage.deliveries.notify(&persisted).await.is_err());
    assert_eq!(receiver.messages(1).await.len(), limits::DELIVERY_ATTEMPTS as usize);
}

#[tokio::test]
async fn nobody_is_told_of_fragments_without_the_tag_or_while_it_is_disabled() {
    let receiver = Receiver::start(&[200; 20]).await;
    let mut stage = Stage::new("exit 1", &receiver.url);
    stage.deliveries.note(&stage.persisted(&[("camera", "front")]).await);
    stage.change(|attributes| attributes.notification.as_mut().unwrap().is_enabled = false);
    assert!(!stage.deliveries.notify(&stage.persisted(&[(message::NOTIFY, "")]).await).await.unwrap());
    stage.change(|attributes| attributes.notification = None);
    assert!(!stage.deliveries.notify(&stage.persisted(&[(message::NOTIFY, "")]).await).await.unwrap());
    assert!(receiver.received.lock().unwrap().is_empty());
}

#[tokio::test]
async fn images_lie_in_the_folder_by_the_names_of_aws_with_what_is_said_of_them() {
    // Two pictures of a fragment of one second.
    let stage = Stage::new("printf '\\0\\0\\0\\3abc\\0\\0\\0\\3def'; cat >/dev/null", "http://127.0.0.1:9");
    let tags = [(message::MAKE_IMAGES, ""), ("AWS_KINESISVIDEO_IMAGE_PREFIX", "../yard/a b"), ("camera", "front")];
    let persisted = stage.persisted(&tags).await;
    assert!(stage.deliveries.make_images(&persisted).await.unwrap());
    let folder = stage.folder.path().join("images/pictures/yard");
    let mut names: Vec<String> =
        fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    let begins = ["a_b_000000000000_front_1790000000000_", "a_b_000000000000_front_1790000000500_"];
    assert_eq!(names.len(), 4, "{names:?}");
    for (names, (begin, content)) in names.chunks(2).zip(begins.iter().zip([b"abc", b"def"])) {
        assert!(names.iter().all(|name| name.starts_with(begin)), "{names:?}");
        assert!(names[0].ends_with(".jpg") && names[1].ends_with(".json"), "{names:?}");
        assert_eq!(fs::read(folder.join(&names[0])).unwrap(), content);
    }
    let said: Value = serde_json::from_slice(&fs::read(folder.join(&names[3])).unwrap()).unwrap();
    assert_eq!(said["aws_kinesisvideo_producer_timestamp"], "1790000000500");
    assert_eq!(said["aws_kinesisvideo_server_timestamp"], "1790000001500");
    assert_eq!(said["aws_kinesisvideo_fragment_number"], fragment_number::format(persisted.number));
    assert_eq!(said["camera"], "front");
}

#[tokio::test]
async fn whoever_stores_fragments_never_waits_and_what_is_too_much_is_given_up() {
    let receiver = Receiver::start(&[200; 20]).await;
    let stage = Stage::new("exit 1", &receiver.url);
    let persisted = stage.persisted(&[(message::NOTIFY, "")]).await;
    let all =
        stage.deliveries.0.running.acquire_many(u32::try_from(limits::DELIVERIES_RUNNING_MAX).unwrap()).await.unwrap();
    for _ in 0..limits::DELIVERIES_WAITING_MAX + 5 {
        stage.deliveries.note(&persisted);
    }
    assert_eq!(stage.deliveries.0.waiting.available_permits(), 0);
    drop(all);
    let answered = || receiver.received.lock().unwrap().len();
    while stage.deliveries.0.waiting.available_permits() < limits::DELIVERIES_WAITING_MAX {
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(answered(), limits::DELIVERIES_WAITING_MAX);
}

#[tokio::test]
async fn what_has_many_tags_takes_more_room_while_it_waits() {
    let stage = Stage::new("exit 1", "http://127.0.0.1:9");
    let _all =
        stage.deliveries.0.running.acquire_many(u32::try_from(limits::DELIVERIES_RUNNING_MAX).unwrap()).await.unwrap();
    let long = "a".repeat(10 * limits::DELIVERY_TAG_BYTES);
    stage.deliveries.note(&stage.persisted(&[(message::NOTIFY, ""), ("long", &long)]).await);
    assert_eq!(stage.deliveries.0.waiting.available_permits(), limits::DELIVERIES_WAITING_MAX - 11);
}

/// A stream that wants to be told of, and images to be made of.
struct Stage {
    deliveries: Deliveries,
    stream: Stream,
    folder: TempDir,
}

impl Stage {
    fn new(studio: &str, webhook: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let keyring = Keyring::of_vault(folder.path()).unwrap();
        let archive = Archive::open(folder.path(), Arc::new(keyring)).unwrap();
        let stream = archive.create_stream(&"front".parse().unwrap(), Retention::DEFAULT, storage::now()).unwrap();
        let program = folder.path().join("program");
        fs::write(&program, format!("#!/bin/sh\n{studio}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let deliveries = Deliveries(Arc::new(Inner {
            archive,
            studio: Studio::with(Some(program)),
            folder: Some(folder.path().join("images")),
            waiting: Arc::new(Semaphore::new(limits::DELIVERIES_WAITING_MAX)),
            running: Semaphore::new(limits::DELIVERIES_RUNNING_MAX),
            pause: Duration::from_millis(5),
        }));
        let mut stage = Self { deliveries, stream, folder };
        let image_generation = ImageGeneration {
            is_enabled: true,
            clock: Clock::Producer,
            uri: "folder://pictures".to_owned(),
            region: "us-east-1".to_owned(),
            interval_ms: 500,
            format: Format::Jpeg { quality: 80 },
            size: Size::default(),
        };
        stage.change(|attributes| {
            attributes.image_generation = Some(image_generation.clone());
            attributes.notification = Some(Notification { is_enabled: true, uri: webhook.to_owned() });
        });
        stage
    }

    fn change(&mut self, change: impl Fn(&mut Attributes)) {
        let archive = &self.deliveries.0.archive;
        let mut attributes = attributes_of(archive, &self.stream).unwrap();
        change(&mut attributes);
        let Stream { id, revision, retention, .. } = self.stream;
        self.stream = archive.update_stream(id, revision, retention, &stored(&attributes)).unwrap();
    }

    /// A fragment of a second with these tags.
    async fn persisted(&self, tags: &[(&str, &str)]) -> Persisted {
        let start = WallTime::from_millis(1_790_000_000_000);
        let (arrived, duration) = (start + Duration::from_secs(1), Duration::from_secs(1));
        let fragment = Fragment {
            id: FragmentId { session: SessionId(fastrand::u64(..)), sequence: Sequence(1) },
            start,
            quality: ClockQuality::Given,
            duration,
            tracks_fingerprint: 7,
            independent: true,
            codecs: Vec::new(),
            arrived: storage::now(),
            payload: (&b"a document"[..]).into(),
        };
        let number = self.deliveries.0.archive.store(self.stream.id, fragment).await.unwrap().number;
        let tag = |(name, value): &(&str, &str)| Tag { name: (*name).to_owned(), value: (*value).to_owned() };
        Persisted {
            stream: self.stream.clone(),
            number,
            start,
            arrived,
            duration,
            tags: tags.iter().map(tag).collect(),
        }
    }
}

/// A web server that answers with these statuses, one after the other.
struct Receiver {
    url: String,
    received: Arc<Mutex<Vec<String>>>,
}

impl Receiver {
    async fn start(statuses: &[u16]) -> Self {
        let (statuses, received) = (statuses.to_vec(), Arc::new(Mutex::new(Vec::new())));
        let noted: Arc<Mutex<Vec<String>>> = received.clone();
        let answer = async move |body: String| {
            let mut noted = noted.lock().unwrap();
            noted.push(body);
            let status = statuses.get(noted.len() - 1).or(statuses.last()).unwrap();
            StatusCode::from_u16(*status).unwrap()
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook?a=b", listener.local_addr().unwrap());
        let router = Router::new().route("/hook", post(answer));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, received }
    }

    /// So many messages at least, once they are there.
    async fn messages(&self, count: usize) -> Vec<String> {
        for _ in 0..1000 {
            let received = self.received.lock().unwrap().clone();
            if received.len() >= count {
                return received;
            }
            sleep(Duration::from_millis(10)).await;
        }
        panic!("no {count} messages came");
    }
}
