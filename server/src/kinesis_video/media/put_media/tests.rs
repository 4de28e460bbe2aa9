//! Sessions over TCP, as far as they need a hand on the server. What producers see of it is in `e2e/python/conformance`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use archive::{Archive, Retention, Stored};
use aws_credential_types::Credentials;
use aws_sigv4::http_request::{PayloadChecksumKind, SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use fragment::{StreamName, WallTime, mkv};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use vault::Keyring;

use super::Receiving;
use crate::access_keys::{AccessKeys, Created, Role};
use crate::budget::Budget;
use crate::config::Limits;
use crate::devices::Devices;
use crate::enrolled::Enrolled;
use crate::fleet::Fleet;
use crate::http::listener::{self, Patience};
use crate::http::outgoing::Outgoing;
use crate::kinesis_video::{Parts, Service, fragment_number, router};
use crate::limits::{self, Profile};
use crate::presence::Presences;
use crate::storage;

const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_producer_that_waits_to_be_told_to_continue_is_told_so_and_answered_before_its_body() {
    let server = Server::start(Profile::OWN).await;
    let mut producer = server.connect(&["Expect: 100-continue"]).await;
    let head = producer.read_until("\r\n\r\nHTTP/1.1 200 OK\r\n").await;
    assert!(head.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"), "{head}");
    let head = producer.read_until("\r\n\r\n").await.to_lowercase();
    for line in ["transfer-encoding: chunked", "connection: keep-alive", "x-amzn-requestid: ", "date: "] {
        assert!(head.contains(line), "{line} is missing in {head}");
    }
}

#[tokio::test]
async fn each_ack_is_a_chunk_and_has_the_number_that_the_fragment_is_stored_under() {
    let server = Server::start(Profile::OWN).await;
    let mut producer = server.connect(&[]).await;
    let start = millis() - 60_000;
    let body =
        [head(), fragment(start, b"one"), fragment(start + 1000, b"two"), fragment(start + 2000, b"three")].concat();
    producer.send(&body).await;
    producer.end().await;
    let answer = producer.read_until("\r\n0\r\n\r\n").await;
    let (_, chunks) = answer.split_once("\r\n\r\n").unwrap();
    let lines: Vec<&str> = chunks.split("\r\n").filter(|line| !line.is_empty()).collect();
    let (sizes, acks): (Vec<&str>, Vec<&str>) = lines.iter().partition(|line| !line.starts_with('{'));
    assert_eq!((sizes.len(), acks.len()), (10, 9), "a chunk for each: {answer}");

    let stored = server.stored().await;
    assert_eq!(stored.len(), 3);
    for (at, stored) in stored.iter().enumerate() {
        let number = fragment_number::format(stored.number);
        assert_eq!(acks.iter().filter(|ack| ack.contains(&number)).count(), 3, "fragment {at}: {number}");
        assert_eq!(stored.start, WallTime::from_millis(start + 1000 * i64::try_from(at).unwrap()));
        assert!(stored.independent);
    }
    assert!(stored.windows(2).all(|pair| pair[1].id.follows(pair[0].id)));
    let documents = stored.iter().map(|stored| server.archive.read(1, stored.number).unwrap().unwrap());
    let frames: Vec<_> = documents.map(|bytes| mkv::document(bytes).unwrap().units.remove(0).data).collect();
    assert_eq!(frames, [&b"one"[..], b"two", b"three"]);
}

#[tokio::test]
async fn a_session_that_is_too_old_ends_with_an_error_that_names_the_fragment_under_way() {
    let server = Server::start(Profile { session_max: Duration::from_millis(300), ..Profile::AWS }).await;
    let mut producer = server.connect(&[]).await;
    let start = millis() - 60_000;
    producer.send(&[head(), fragment(start, b"one"), fragment(start + 1000, b"two")].concat()).await;
    let acks = acks_in(&producer.read_until("\r\n0\r\n\r\n").await);
    let kinds: Vec<_> = acks.iter().map(|ack| ack["EventType"].as_str().unwrap()).collect();
    assert_eq!(kinds.iter().filter(|kind| **kind == "PERSISTED").count(), 1, "{kinds:?}");
    let error = acks.last().unwrap();
    assert_eq!((&error["ErrorId"], &error["FragmentTimecode"]), (&4003.into(), &(start + 1000).into()));
    assert_eq!(error["FragmentNumber"], number_of(&acks, start + 1000));
}

#[tokio::test]
async fn a_stream_that_goes_ends_the_session_and_is_not_made_anew() {
    let server = Server::start(Profile::OWN).await;
    let mut producer = server.connect(&[]).await;
    let start = millis() - 60_000;
    producer.send(&[head(), fragment(start, b"one"), fragment(start + 1000, b"two")].concat()).await;
    producer.read_until("PERSISTED").await;
    server.archive.delete_stream(1).await.unwrap();
    producer.send(&fragment(start + 2000, b"three")).await;
    let acks = acks_in(&producer.read_until("\r\n0\r\n\r\n").await);
    assert_eq!(acks.last().unwrap()["ErrorCode"], "STREAM_NOT_ACTIVE");
    assert_eq!(server.archive.find_stream(&name()).unwrap(), None);
}

#[tokio::test]
async fn a_key_that_is_disabled_ends_sessions_that_were_begun_with_it() {
    let server = Server::start(Profile::OWN).await;
    let mut producer = server.connect(&[]).await;
    let start = millis() - 60_000;
    producer.send(&[head(), fragment(start, b"one"), fragment(start + 1000, b"two")].concat()).await;
    producer.read_until("PERSISTED").await;
    server.keys.disable(&server.key.id, storage::now()).unwrap();
    producer.send(&fragment(start + 2000, b"three")).await;
    let rest = producer.read_until("\r\n0\r\n\r\n").await;
    assert!(!rest.contains("ERROR"), "it may come again with another: {rest}");
    assert_eq!(server.stored().await.len(), 2, "what was whole");
}

#[tokio::test]
async fn a_session_ends_without_an_error_when_the_device_whose_temporary_key_it_has_is_revoked() {
    let server = Server::start(Profile::OWN).await;
    let cam = Enrolled::new(&server.archive, &["front"], storage::now());
    let device = cam.devices.admit(&cam.certificate).unwrap();
    let temporary = server.keys.grant(&device, &cam.certificate, storage::now()).unwrap();
    let key = Created { id: temporary.id, secret: temporary.secret };
    let mut producer = server.connect_as(&key, &[&format!("x-amz-security-token: {}", temporary.token)]).await;
    let start = millis() - 60_000;
    producer.send(&[head(), fragment(start, b"one"), fragment(start + 1000, b"two")].concat()).await;
    producer.read_until("PERSISTED").await;
    cam.devices.revoke(&cam.name, storage::now()).unwrap();
    producer.send(&fragment(start + 2000, b"three")).await;
    let rest = producer.read_until("\r\n0\r\n\r\n").await;
    assert!(!rest.contains("ERROR"), "{rest}");
    assert_eq!(server.stored().await.len(), 2, "what was whole");
}

#[tokio::test]
async fn a_stop_ends_sessions_when_what_was_whole_is_stored_and_told() {
    let server = Server::start(Profile::OWN).await;
    let mut producer = server.connect(&[]).await;
    let start = millis() - 60_000;
    producer.send(&[head(), fragment(start, b"one"), fragment(start + 1000, b"two")].concat()).await;
    producer.read_until("RECEIVED").await;
    server.stop.cancel();
    let rest = producer.read_until("\r\n0\r\n\r\n").await;
    assert!(rest.contains("PERSISTED"), "{rest}");
    timeout(PATIENCE, server.task).await.expect("it stops").unwrap();
}

#[tokio::test]
async fn a_newer_session_ends_an_older_one_after_a_while() {
    let server = Server::start(Profile::AWS).await;
    let mut older = server.connect(&[]).await;
    older.send(&head()).await;
    older.read_until("200 OK").await;
    let mut newer = server.connect(&[]).await;
    newer.send(&[head(), fragment(millis() - 1000, b"one")].concat()).await;
    newer.read_until("BUFFERING").await;
    let began = std::time::Instant::now();
    older.read_until("\r\n0\r\n\r\n").await;
    assert!(began.elapsed() < limits::PRODUCERS_OVERLAP_MAX + Duration::from_secs(5));
    newer.end().await;
    newer.read_until("PERSISTED").await;
}

#[tokio::test]
async fn fragments_wait_for_room_and_are_put_off_if_there_is_none() {
    let budget = Budget::new(limits::RESERVATION_STEP);
    let server = Server::with_budget(Profile::OWN, budget.clone()).await;
    let mut producer = server.connect(&[]).await;
    let mut taken = budget.share(limits::RESERVATION_STEP, PATIENCE).reservation();
    taken.hold(1).await.unwrap();
    producer.send(&[head(), fragment(millis() - 1000, b"one")].concat()).await;
    producer.read_until("BUFFERING").await;
    drop(taken);
    producer.end().await;
    producer.read_until("PERSISTED").await;

    let mut taken = budget.share(limits::RESERVATION_STEP, PATIENCE).reservation();
    taken.hold(1).await.unwrap();
    let mut producer = server.connect(&[]).await;
    producer.send(&[head(), fragment(millis() - 1000, b"one")].concat()).await;
    let acks = acks_in(&producer.read_until("\r\n0\r\n\r\n").await);
    assert_eq!(acks.last().unwrap()["ErrorCode"], "ARCHIVAL_ERROR", "which producers send again");
}

#[tokio::test]
async fn who_may_not_send_to_a_stream_or_has_not_signed_is_refused() {
    let server = Server::start(Profile::OWN).await;
    let viewer = server.new_key(Role::Viewer, &[]);
    let other = server.new_key(Role::Producer, &["yard*"]);
    for (key, status, error) in [
        (viewer, "403", "AccessDeniedException"),
        (other, "403", "AccessDeniedException"),
        (Created { id: server.key.id.clone(), secret: "wrong".to_owned().into() }, "403", "SignatureDoesNotMatch"),
    ] {
        let mut producer = server.connect_as(&key, &[]).await;
        let answer = producer.read_until("\"}").await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.contains(error), "{answer}");
    }
}

// --- The server

struct Server {
    address: SocketAddr,
    archive: Archive,
    keys: AccessKeys,
    key: Created,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
    _folder: TempDir,
}

impl Server {
    async fn start(profile: Profile) -> Self {
        Self::with_budget(profile, Budget::new(limits::INTAKE_BYTES_MAX)).await
    }

    async fn with_budget(profile: Profile, budget: Budget) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let keyring = Keyring::of_vault(folder.path()).unwrap();
        let archive = Archive::open(folder.path(), Arc::new(keyring)).unwrap();
        archive.create_stream(&name(), Retention::DEFAULT, storage::now()).unwrap();
        let stop = CancellationToken::new();
        let profile = Box::leak(Box::new(profile));
        let receiving = Receiving::new(profile, budget, Presences::default(), stop.clone());
        let service = Service::new(Parts {
            archive: archive.clone(),
            is_shared: false,
            fleet: Fleet::of_vault(archive.vault(), Devices::new(archive.vault().catalog().clone()), false),
            public_url: "http://127.0.0.1".to_owned(),
            outgoing: Outgoing::new(64 << 20),
            damage: Arc::default(),
            limits: Limits::Own,
            images: None,
            playback: crate::http::tests::state(&archive, "the console key"),
            receiving,
            stop: stop.clone(),
        });
        let keys = AccessKeys::new(archive.vault().clone());
        let key = keys.create(Role::Producer, Vec::new(), storage::now()).unwrap();
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let task = tokio::spawn(listener::serve(socket, router(service), Patience::default(), stop.clone()));
        Self { address, archive, keys, key, stop, task, _folder: folder }
    }

    fn new_key(&self, role: Role, streams: &[&str]) -> Created {
        let streams = streams.iter().map(|pattern| pattern.parse().unwrap()).collect();
        self.keys.create(role, streams, storage::now()).unwrap()
    }

    async fn connect(&self, headers: &[&str]) -> Producer {
        self.connect_as(&self.key, headers).await
    }

    async fn connect_as(&self, key: &Created, headers: &[&str]) -> Producer {
        let host = self.address.to_string();
        let mut lines = vec![
            "POST /putMedia HTTP/1.1".to_owned(),
            format!("Host: {host}"),
            "Transfer-Encoding: chunked".to_owned(),
            "x-amzn-stream-name: front".to_owned(),
            "x-amzn-fragment-timecode-type: ABSOLUTE".to_owned(),
        ];
        lines.extend(headers.iter().copied().map(str::to_owned));
        lines.extend(signature(key, &host));
        let mut socket = TcpStream::connect(self.address).await.unwrap();
        socket.write_all(format!("{}\r\n\r\n", lines.join("\r\n")).as_bytes()).await.unwrap();
        Producer { socket, read: Vec::new() }
    }

    async fn stored(&self) -> Vec<Stored> {
        let all = WallTime::from_nanos(0)..storage::now() + Duration::from_secs(3600);
        self.archive.arrived(1, all, 100, storage::now()).unwrap()
    }
}

/// A connection that is written and read as bytes.
struct Producer {
    socket: TcpStream,
    read: Vec<u8>,
}

impl Producer {
    async fn send(&mut self, data: &[u8]) {
        let chunk = [format!("{:x}\r\n", data.len()).as_bytes(), data, b"\r\n"].concat();
        self.socket.write_all(&chunk).await.unwrap();
    }

    async fn end(&mut self) {
        self.socket.write_all(b"0\r\n\r\n").await.unwrap();
    }

    /// What comes up to and with this text.
    async fn read_until(&mut self, text: &str) -> String {
        let reading = async {
            loop {
                if let Some(at) = self.read.windows(text.len()).position(|window| window == text.as_bytes()) {
                    let rest = self.read.split_off(at + text.len());
                    return String::from_utf8(std::mem::replace(&mut self.read, rest)).unwrap();
                }
                let mut piece = [0; 4096];
                let count = self.socket.read(&mut piece).await.unwrap();
                let so_far = String::from_utf8_lossy(&self.read);
                assert!(count > 0, "the connection ended before {text:?}: {so_far}");
                self.read.extend_from_slice(&piece[..count]);
            }
        };
        timeout(PATIENCE, reading).await.unwrap_or_else(|_| panic!("{text:?} does not come"))
    }
}

fn signature(key: &Created, host: &str) -> Vec<String> {
    let identity = Credentials::new(&key.id, key.secret.as_str(), None, None, "a test").into();
    let mut settings = SigningSettings::default();
    settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    let parameters = v4::SigningParams::builder().identity(&identity).region("us-west-2").name("kinesisvideo");
    let parameters = parameters.time(SystemTime::now()).settings(settings).build().unwrap().into();
    let url = format!("http://{host}/putMedia");
    let signable = SignableRequest::new("POST", &url, std::iter::empty(), SignableBody::UnsignedPayload).unwrap();
    let (instructions, _) = sign(signable, &parameters).unwrap().into_parts();
    instructions.headers().map(|(name, value)| format!("{name}: {value}")).collect()
}

fn acks_in(answer: &str) -> Vec<Value> {
    answer.lines().filter(|line| line.starts_with('{')).map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn number_of(acks: &[Value], timecode: i64) -> Value {
    acks.iter().find(|ack| ack["FragmentTimecode"] == timecode).map_or(Value::Null, |ack| ack["FragmentNumber"].clone())
}

fn name() -> StreamName {
    "front".parse().unwrap()
}

fn millis() -> i64 {
    storage::now().as_millis()
}

// --- Matroska, with sizes of one byte

fn head() -> Vec<u8> {
    let entry = [element(&[0xd7], &[1]), element(&[0x83], &[1]), element(&[0x86], b"V_VP9")].concat();
    [
        element(&[0x1a, 0x45, 0xdf, 0xa3], &element(&[0x42, 0x82], b"matroska")),
        [0x18, 0x53, 0x80, 0x67, 0xff].to_vec(),
        element(&[0x16, 0x54, 0xae, 0x6b], &element(&[0xae], &entry)),
    ]
    .concat()
}

fn fragment(timecode: i64, frame: &[u8]) -> Vec<u8> {
    let block = element(&[0xa3], &[&[0x81, 0, 0, 0x80], frame].concat());
    [&[0x1f, 0x43, 0xb6, 0x75, 0xff][..], &element(&[0xe7], &timecode.to_be_bytes()), &block].concat()
}

fn element(id: &[u8], data: &[u8]) -> Vec<u8> {
    [id, &[0x80 | u8::try_from(data.len()).unwrap()], data].concat()
}
