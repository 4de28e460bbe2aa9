//! The API as a client sees it, requests signed by AWS's own crate. What boto3 sees is in `e2e/python/conformance`.

mod archived_media;
mod media;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use archive::{Archive, Fragment, Index, Retention};
use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SessionTokenMode, SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use bytes::Bytes;
use disk::OsDisk;
use fragment::{ClockQuality, FragmentId, Sequence, SessionId, WallTime};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use vault::catalog::MemoryCatalog;
use vault::segment_store::LocalSegments;
use vault::{Keyring, MemoryKeys, OsEntropy, Parts, Vault};

use super::{CallRates, Parts as ServiceParts, Places, ReadQuotas, Receiving, Service, router};
use crate::access_keys::{AccessKeys, Created, Role, Temporary};
use crate::config::Limits;
use crate::devices::Devices;
use crate::enrolled::Enrolled;
use crate::fleet::Fleet;
use crate::http::outgoing::Outgoing;
use crate::pictures::Studio;
use crate::{limits, storage};

// --- Who calls

#[tokio::test]
async fn who_has_not_signed_is_told_so_in_the_way_of_aws() {
    let server = Server::new();
    let answer = server.send(Method::POST, "/describeStream", b"{}", &[]).await;
    answer.is_refused(StatusCode::FORBIDDEN, "MissingAuthenticationToken");
    assert_eq!(answer.headers["x-amzn-requestid"].len(), 36);
    assert_eq!(answer.headers["access-control-allow-origin"], "*");
}

#[tokio::test]
async fn a_wrong_secret_an_unknown_or_disabled_key_and_a_stray_token_are_refused() {
    let server = Server::new();
    let key = server.key(Role::Admin, &[]);
    let wrong = Key { secret: "wrong".to_owned(), ..key.clone() };
    server.call(&wrong, "/listStreams", &json!({})).await.is_refused(StatusCode::FORBIDDEN, "SignatureDoesNotMatch");
    let unknown = Key { id: "AKIDUNKNOWN".to_owned(), ..key.clone() };
    server.call(&unknown, "/listStreams", &json!({})).await.is_refused(StatusCode::FORBIDDEN, "InvalidClientTokenId");
    let tokened = Key { token: Some("token".to_owned()), ..key.clone() };
    server.call(&tokened, "/listStreams", &json!({})).await.is_refused(StatusCode::FORBIDDEN, "InvalidClientTokenId");
    assert_eq!(server.call(&key, "/listStreams", &json!({})).await.status, StatusCode::OK);
    server.keys.disable(&key.id, storage::now()).unwrap();
    server.call(&key, "/listStreams", &json!({})).await.is_refused(StatusCode::FORBIDDEN, "InvalidClientTokenId");
}

#[tokio::test]
async fn a_request_that_comes_late_or_is_changed_on_its_way_is_refused() {
    let server = Server::new();
    let key = server.key(Role::Admin, &[]);
    let hour = Duration::from_secs(3600);
    let late = key.signed("/listStreams", b"{}", SystemTime::now() - hour);
    let answer = server.send(Method::POST, "/listStreams", b"{}", &late).await;
    answer.is_refused(StatusCode::FORBIDDEN, "RequestExpired");
    assert!(answer.message().starts_with("Signature expired: "), "{}", answer.message());
    let early = key.signed("/listStreams", b"{}", SystemTime::now() + hour);
    let answer = server.send(Method::POST, "/listStreams", b"{}", &early).await;
    assert!(answer.message().starts_with("Signature not yet current: "), "{}", answer.message());

    let signed = key.signed("/listStreams", b"{}", SystemTime::now());
    let other_body = server.send(Method::POST, "/listStreams", b"{ }", &signed).await;
    other_body.is_refused(StatusCode::FORBIDDEN, "SignatureDoesNotMatch");
    let other_path = server.send(Method::POST, "/describeStream", b"{}", &signed).await;
    other_path.is_refused(StatusCode::FORBIDDEN, "SignatureDoesNotMatch");
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused() {
    let server = Server::new();
    let key = server.key(Role::Admin, &[]);
    let body = vec![b' '; limits::AWS_REQUEST_BYTES_MAX + 1];
    let signed = key.signed("/listStreams", &body, SystemTime::now());
    let answer = server.send(Method::POST, "/listStreams", &body, &signed).await;
    answer.is_refused(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLargeException");
}

#[tokio::test]
async fn a_device_calls_with_the_key_that_it_got_for_its_certificate_whether_the_token_is_signed_or_not() {
    let server = Server::new();
    let (cam, temporary) = server.temporary(storage::now());
    let key = Key { id: temporary.id, secret: temporary.secret.to_string(), token: Some(temporary.token) };
    let stream = json!({ "StreamName": "garden-1" });
    assert_eq!(server.call(&key, "/createStream", &stream).await.status, StatusCode::OK);
    let body = stream.to_string();
    let unsigned = key.signed_but_for_the_token("/describeStream", body.as_bytes(), SystemTime::now());
    let described = server.send(Method::POST, "/describeStream", body.as_bytes(), &unsigned).await;
    assert_eq!(described.status, StatusCode::OK, "{}", described.body);
    let other = json!({ "StreamName": "door" });
    server.call(&key, "/createStream", &other).await.is_refused(StatusCode::FORBIDDEN, "AccessDeniedException");

    let bare = Key { token: None, ..key.clone() };
    server.call(&bare, "/createStream", &stream).await.is_refused(StatusCode::FORBIDDEN, "InvalidClientTokenId");
    let wrong = Key { secret: "wrong".to_owned(), ..key.clone() };
    server.call(&wrong, "/createStream", &stream).await.is_refused(StatusCode::FORBIDDEN, "SignatureDoesNotMatch");
    cam.devices.revoke(&cam.name, storage::now()).unwrap();
    server.call(&key, "/describeStream", &stream).await.is_refused(StatusCode::FORBIDDEN, "InvalidClientTokenId");
}

#[tokio::test]
async fn a_temporary_key_that_is_over_is_refused_as_such() {
    let server = Server::new();
    let (_cam, temporary) = server.temporary(storage::now() - limits::TEMPORARY_KEY_VALIDITY);
    let key = Key { id: temporary.id, secret: temporary.secret.to_string(), token: Some(temporary.token) };
    let named = json!({ "StreamName": "garden-1" });
    server.call(&key, "/describeStream", &named).await.is_refused(StatusCode::FORBIDDEN, "ExpiredTokenException");
}

// --- What roles allow

#[tokio::test]
async fn a_producer_makes_and_tags_its_streams_and_no_others() {
    let server = Server::new();
    let producer = server.key(Role::Producer, &["garden-*"]);
    let stream = json!({ "StreamName": "garden-1" });
    assert_eq!(server.call(&producer, "/createStream", &stream).await.status, StatusCode::OK);
    assert_eq!(server.call(&producer, "/describeStream", &stream).await.status, StatusCode::OK);
    let tagged = json!({ "StreamName": "garden-1", "Tags": { "a": "b" } });
    assert_eq!(server.call(&producer, "/tagStream", &tagged).await.status, StatusCode::OK);
    let endpoint = json!({ "StreamName": "garden-1", "APIName": "PUT_MEDIA" });
    let endpoint = server.call(&producer, "/getDataEndpoint", &endpoint).await;
    assert_eq!(endpoint.body, json!({ "DataEndpoint": "https://video.example" }), "as it was told, whatever Host says");

    let other = json!({ "StreamName": "door" });
    let refused = server.call(&producer, "/createStream", &other).await;
    refused.is_refused(StatusCode::FORBIDDEN, "AccessDeniedException");
    assert!(refused.message().ends_with("kinesisvideo:CreateStream on resource: door"), "{}", refused.message());
    for (path, asked) in [("/describeStream", other), ("/listStreams", json!({})), ("/deleteStream", stream)] {
        server.call(&producer, path, &asked).await.is_refused(StatusCode::FORBIDDEN, "AccessDeniedException");
    }
}

#[tokio::test]
async fn a_viewer_sees_its_streams_and_changes_nothing() {
    let server = Server::new();
    for name in ["door", "garden-1", "garden-2"] {
        server.archive.create_stream(&name.parse().unwrap(), Retention::DEFAULT, storage::now()).unwrap();
    }
    let viewer = server.key(Role::Viewer, &["garden-*"]);
    let listed = server.call(&viewer, "/listStreams", &json!({})).await;
    let names: Vec<_> = listed.body["StreamInfoList"].as_array().unwrap().iter().map(|s| &s["StreamName"]).collect();
    assert_eq!(names, ["garden-1", "garden-2"]);
    for (path, asked) in [
        ("/createStream", json!({ "StreamName": "garden-3" })),
        ("/tagStream", json!({ "StreamName": "garden-1", "Tags": { "a": "b" } })),
        ("/describeStream", json!({ "StreamName": "door" })),
        ("/describeNotificationConfiguration", json!({ "StreamName": "garden-1" })),
        ("/describeEdgeConfiguration", json!({ "StreamName": "garden-1" })),
    ] {
        server.call(&viewer, path, &asked).await.is_refused(StatusCode::FORBIDDEN, "AccessDeniedException");
    }
}

// --- Sessions of playback

#[tokio::test]
async fn a_viewer_opens_sessions_of_its_streams_where_there_is_something_to_play() {
    let server = Server::new();
    let viewer = server.key(Role::Viewer, &["garden-*"]);
    let live_only = Retention::LIVE_ONLY;
    server.archive.create_stream(&"garden-1".parse().unwrap(), Retention::DEFAULT, storage::now()).unwrap();
    server.archive.create_stream(&"garden-2".parse().unwrap(), live_only, storage::now()).unwrap();
    let producer = server.key(Role::Producer, &[]);
    for path in ["/getHLSStreamingSessionURL", "/getDASHStreamingSessionURL"] {
        let of = |name: &str| json!({ "StreamName": name });
        for (key, stream, status, name) in [
            (&viewer, "door", StatusCode::FORBIDDEN, "AccessDeniedException"),
            (&producer, "garden-1", StatusCode::FORBIDDEN, "AccessDeniedException"),
            (&viewer, "garden-0", StatusCode::NOT_FOUND, "ResourceNotFoundException"),
            (&viewer, "garden-1", StatusCode::NOT_FOUND, "ResourceNotFoundException"),
            (&viewer, "garden-2", StatusCode::BAD_REQUEST, "NoDataRetentionException"),
        ] {
            server.call(key, path, &of(stream)).await.is_refused(status, name);
        }
        let selector = if path.contains("HLS") { "HLSFragmentSelector" } else { "DASHFragmentSelector" };
        let begin = storage::now().as_millis() / 1000;
        let future = json!({
            "StreamName": "garden-1",
            "PlaybackMode": "ON_DEMAND",
            selector: { "TimestampRange": { "StartTimestamp": begin - 9, "EndTimestamp": begin + 9 } },
        });
        server.call(&viewer, path, &future).await.is_refused(StatusCode::BAD_REQUEST, "InvalidArgumentException");
    }
}

// --- How often, and without what is not installed

#[tokio::test]
async fn by_the_quotas_of_aws_a_stream_is_described_five_times_a_second() {
    let call_rates = Arc::new(CallRates::new(Limits::Aws));
    let server = Server::with(|service| Service { call_rates, ..service });
    let key = server.key(Role::Admin, &[]);
    for name in ["front", "back"] {
        assert_eq!(server.call(&key, "/createStream", &json!({ "StreamName": name })).await.status, StatusCode::OK);
    }
    let first = server.call(&key, "/describeStream", &json!({ "StreamName": "front" })).await;
    let arn = &first.body["StreamInfo"]["StreamARN"];
    // However it is named; and more than a slow machine lets pass.
    for named in [json!({ "StreamName": "front" }), json!({ "StreamARN": arn })] {
        let mut refused = None;
        for _ in 0..100 {
            let answer = server.call(&key, "/describeStream", &named).await;
            refused = refused.or(Some(answer).filter(|answer| answer.status != StatusCode::OK));
        }
        let refused = refused.expect("a hundred are too many");
        refused.is_refused(StatusCode::BAD_REQUEST, "ClientLimitExceededException");
    }
    let back = server.call(&key, "/describeStream", &json!({ "StreamName": "back" })).await;
    assert_eq!(back.status, StatusCode::OK);
}

#[tokio::test]
async fn by_the_quotas_of_aws_media_are_put_and_fetched_five_times_a_second() {
    let call_rates = Arc::new(CallRates::new(Limits::Aws));
    let server = Server::with(|service| Service { call_rates, ..service });
    let key = server.key(Role::Admin, &[]);
    let fetch = json!({ "StreamName": "front", "StartSelector": { "StartSelectorType": "NOW" } }).to_string();
    let put = [("x-amzn-stream-name", "front"), ("x-amzn-fragment-timecode-type", "ABSOLUTE")];
    for (path, body, more) in [("/getMedia", fetch.as_bytes(), &[][..]), ("/putMedia", b"", &put)] {
        let mut refused = None;
        for _ in 0..100 {
            let mut headers = key.signed(path, body, SystemTime::now());
            headers.extend(more.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())));
            let answer = server.send(Method::POST, path, body, &headers).await;
            // There is no such stream.
            refused = refused.or(Some(answer).filter(|answer| answer.status != StatusCode::NOT_FOUND));
        }
        let refused = refused.expect("a hundred are too many");
        refused.is_refused(StatusCode::BAD_REQUEST, "ClientLimitExceededException");
    }
}

#[tokio::test]
async fn without_the_program_for_pictures_they_are_said_not_to_be_there() {
    let server = Server::with(|service| Service { studio: Studio::with(None), ..service });
    let key = server.key(Role::Viewer, &[]);
    let asked = json!({
        "StreamName": "front", "ImageSelectorType": "SERVER_TIMESTAMP", "StartTimestamp": 1_790_000_000,
        "EndTimestamp": 1_790_000_001, "Format": "JPEG",
    });
    let refused = server.call(&key, "/getImages", &asked).await;
    refused.is_refused(StatusCode::NOT_IMPLEMENTED, "NotImplementedException");
    assert!(refused.message().contains("millrace-images"), "{}", refused.message());
}

#[tokio::test]
async fn a_page_of_large_images_ends_within_a_fragment_and_the_next_one_goes_on_there() {
    // Four pictures of 3 MiB, of which three fill a page.
    let (server, _folder) =
        Server::with_studio("for i in 1 2 3 4; do printf '\\0\\060\\0\\0'; head -c 3145728 /dev/zero; done");
    let (key, asked) = (server.key(Role::Viewer, &[]), server.asked_for_images().await);
    let page = server.call(&key, "/getImages", &asked).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.body);
    let images = page.body["Images"].as_array().unwrap();
    assert_eq!(images.len(), 3);
    assert!(images.iter().all(|image| image["ImageContent"].as_str().unwrap().len() == 4 << 20));
    let mut next = asked.clone();
    next["NextToken"] = page.body["NextToken"].clone();
    let page = server.call(&key, "/getImages", &next).await;
    assert_eq!(page.body["Images"][0]["TimeStamp"], json!(1_790_000_001.5));
    assert_eq!((page.body["Images"].as_array().unwrap().len(), page.body.get("NextToken")), (1, None));
}

#[tokio::test]
async fn a_fragment_that_pictures_can_t_be_made_of_is_an_error_at_its_times() {
    // It crashes, and gives no picture.
    for script in ["exit 1", "head -c 4000 /dev/zero"] {
        let (server, _folder) = Server::with_studio(script);
        let (key, asked) = (server.key(Role::Viewer, &[]), server.asked_for_images().await);
        let page = server.call(&key, "/getImages", &asked).await;
        let errors: Vec<&Value> = page.body["Images"].as_array().unwrap().iter().map(|image| &image["Error"]).collect();
        assert_eq!(errors, ["MEDIA_ERROR"; 4], "{script}");
    }
}

// --- Streams that others have made

#[tokio::test]
async fn a_stream_that_a_device_or_an_operator_made_is_one_like_any_other() {
    let server = Server::new();
    let key = server.key(Role::Admin, &[]);
    let stream = server.archive.find_or_create_stream(&"yard".parse().unwrap(), storage::now()).unwrap();
    let asked = json!({ "StreamName": "yard" });
    let before = server.call(&key, "/describeStream", &asked).await.body["StreamInfo"].clone();
    assert_eq!((&before["StreamARN"], &before["DataRetentionInHours"]), (&json!(stream.arn()), &json!(24)));
    assert!(before.get("DeviceName").is_none());

    let two_days = Retention::new(Duration::from_secs(48 * 3600)).unwrap();
    server.archive.set_retention(stream.id, two_days, storage::now()).await.unwrap();
    let changed = json!({ "StreamName": "yard", "CurrentVersion": before["Version"], "DeviceName": "cam" });
    let stale = server.call(&key, "/updateStream", &changed).await;
    stale.is_refused(StatusCode::BAD_REQUEST, "VersionMismatchException");
    let after = server.call(&key, "/describeStream", &asked).await.body["StreamInfo"].clone();
    assert_eq!(after["DataRetentionInHours"], json!(48));
}

#[tokio::test]
async fn a_bound_in_bytes_survives_a_change_of_hours() {
    let server = Server::new();
    let key = server.key(Role::Admin, &[]);
    let bounded = Retention::DEFAULT.with_bytes(Some(1 << 30)).unwrap();
    let stream = server.archive.create_stream(&"yard".parse().unwrap(), bounded, storage::now()).unwrap();
    let described = server.call(&key, "/describeStream", &json!({ "StreamName": "yard" })).await;
    let change = json!({
        "StreamARN": stream.arn(), "CurrentVersion": described.body["StreamInfo"]["Version"],
        "Operation": "DECREASE_DATA_RETENTION", "DataRetentionChangeInHours": 20,
    });
    assert_eq!(server.call(&key, "/updateDataRetention", &change).await.status, StatusCode::OK);
    let retention = server.archive.stream(stream.id).unwrap().unwrap().retention;
    assert_eq!((retention.time().as_secs(), retention.bytes()), (4 * 3600, Some(1 << 30)));
}

#[tokio::test]
async fn a_version_survives_what_the_server_itself_notes() {
    let server = Server::new();
    let key = server.key(Role::Admin, &[]);
    let stream = server.archive.find_or_create_stream(&"yard".parse().unwrap(), storage::now()).unwrap();
    let version = async || {
        let described = server.call(&key, "/describeStream", &json!({ "StreamName": "yard" })).await;
        described.body["StreamInfo"]["Version"].clone()
    };
    let before = version().await;
    server.archive.set_sub_of(stream.id, &"gate".parse().unwrap()).unwrap();
    assert_eq!(version().await, before);
}

// --- Several servers

#[tokio::test]
async fn servers_of_one_store_agree_on_streams_versions_and_keys() {
    let [one, two] = Server::two();
    let key = one.key(Role::Admin, &[]);
    let named = json!({ "StreamName": "yard" });
    assert_eq!(one.call(&key, "/createStream", &named).await.status, StatusCode::OK);
    let first = two.call(&key, "/describeStream", &named).await.body["StreamInfo"]["Version"].clone();
    let update = |version: &Value| json!({ "StreamName": "yard", "CurrentVersion": version, "DeviceName": "cam" });
    assert_eq!(one.call(&key, "/updateStream", &update(&first)).await.status, StatusCode::OK);
    let stale = two.call(&key, "/updateStream", &update(&first)).await;
    stale.is_refused(StatusCode::BAD_REQUEST, "VersionMismatchException");
    let second = one.call(&key, "/describeStream", &named).await.body["StreamInfo"]["Version"].clone();
    let tag = json!({ "StreamName": "yard", "Tags": { "a": "b" } });
    assert_eq!(two.call(&key, "/tagStream", &tag).await.status, StatusCode::OK, "it sees what the other has changed");
    one.call(&key, "/updateStream", &update(&second))
        .await
        .is_refused(StatusCode::BAD_REQUEST, "VersionMismatchException");
    two.keys.disable(&key.id, storage::now()).unwrap();
    one.call(&key, "/describeStream", &named).await.is_refused(StatusCode::FORBIDDEN, "InvalidClientTokenId");
}

// --- The wire

#[tokio::test]
async fn browsers_may_ask_before_they_call_and_other_methods_are_refused() {
    let server = Server::new();
    for path in ["/createStream", "/putMedia"] {
        let asked = server.send(Method::OPTIONS, path, b"", &[]).await;
        assert_eq!(asked.status, StatusCode::NO_CONTENT, "{path}");
        assert!(asked.headers["access-control-allow-headers"].to_str().unwrap().contains("x-amz-security-token"));
        let got = server.send(Method::GET, path, b"", &[]).await;
        got.is_refused(StatusCode::METHOD_NOT_ALLOWED, "UnknownOperationException");
    }
}

#[tokio::test]
async fn null_members_and_unknown_ones_are_passed_over_and_nonsense_is_told() {
    let server = Server::new();
    let key = server.key(Role::Admin, &[]);
    let asked = json!({ "StreamName": "a", "DeviceName": null, "Tags": null, "Newer": { "a": 1 } });
    assert_eq!(server.call(&key, "/createStream", &asked).await.status, StatusCode::OK);
    for body in ["[]", "{", "\u{feff}{}"] {
        let signed = key.signed("/listStreams", body.as_bytes(), SystemTime::now());
        let answer = server.send(Method::POST, "/listStreams", body.as_bytes(), &signed).await;
        answer.is_refused(StatusCode::BAD_REQUEST, "SerializationException");
    }
    let empty = key.signed("/listStreams", b"", SystemTime::now());
    assert_eq!(server.send(Method::POST, "/listStreams", b"", &empty).await.status, StatusCode::OK);
}

/// The routes of a server with an archive in a temporary folder.
struct Server {
    router: Router,
    archive: Archive,
    keys: AccessKeys,
    stop: CancellationToken,
    folder: Arc<TempDir>,
}

#[derive(Clone)]
struct Key {
    id: String,
    secret: String,
    token: Option<String>,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    /// What came, where it is no JSON.
    media: Bytes,
    body: Value,
}

impl Server {
    fn new() -> Self {
        Self::with(|service| service)
    }

    fn with(change: impl FnOnce(Service) -> Service) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let keyring = Keyring::of_vault(folder.path()).unwrap();
        let archive = Archive::open(folder.path(), Arc::new(keyring)).unwrap();
        Self::of(change(service(&archive, false)), archive, Arc::new(folder))
    }

    /// Two on one store.
    fn two() -> [Self; 2] {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let (catalog, keys) = (Arc::new(MemoryCatalog::default()), Arc::new(MemoryKeys::default()));
        let segments = Arc::new(LocalSegments::open(Arc::new(OsDisk), folder.path()).unwrap());
        [(); 2].map(|()| {
            let (service, index) = (Arc::new(Keyring::of_vault(folder.path()).unwrap()), Arc::new(Index::new()));
            let entropy = Arc::new(OsEntropy);
            let parts = Parts::of_stores(segments.clone(), catalog.clone(), keys.clone(), service, entropy);
            let vault = Vault::assemble(parts, vec![index.clone()]).unwrap();
            Self::on(Archive::new(vault, index).unwrap(), true, folder.clone())
        })
    }

    fn on(archive: Archive, is_shared: bool, folder: Arc<TempDir>) -> Self {
        Self::of(service(&archive, is_shared), archive, folder)
    }

    /// One whose parts are as a test wants them.
    fn of(service: Service, archive: Archive, folder: Arc<TempDir>) -> Self {
        let stop = service.stop.clone();
        Self { router: router(service), keys: AccessKeys::new(archive.vault().clone()), archive, stop, folder }
    }

    /// One of which may be read so much.
    fn with_quotas(quotas: ReadQuotas) -> Self {
        let (get_media, fragment_lists) = (Places::new(quotas.get_media), Places::new(quotas.fragment_list));
        Self::with(|service| Service { quotas, get_media, fragment_lists, ..service })
    }

    fn key(&self, role: Role, streams: &[&str]) -> Key {
        let streams = streams.iter().map(|pattern| pattern.parse().unwrap()).collect();
        let Created { id, secret } = self.keys.create(role, streams, storage::now()).unwrap();
        Key { id, secret: secret.to_string(), token: None }
    }

    /// One whose pictures are made by a shell script.
    fn with_studio(script: &str) -> (Self, TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("program");
        fs::write(&program, format!("#!/bin/sh\n{script}\ncat >/dev/null\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        (Self::with(|service| Service { studio: Studio::with(Some(program)), ..service }), folder)
    }

    /// Stores a fragment of two seconds, and asks for four images of it.
    async fn asked_for_images(&self) -> Value {
        let start = WallTime::from_millis(1_790_000_000_000);
        let stream = self.archive.find_or_create_stream(&"front".parse().unwrap(), storage::now()).unwrap();
        let fragment = Fragment {
            id: FragmentId { session: SessionId(1), sequence: Sequence(1) },
            start,
            quality: ClockQuality::Given,
            duration: Duration::from_secs(2),
            tracks_fingerprint: 7,
            independent: true,
            codecs: Vec::new(),
            arrived: storage::now(),
            payload: (&b"a document"[..]).into(),
        };
        self.archive.store(stream.id, fragment).await.unwrap();
        json!({
            "StreamName": "front", "ImageSelectorType": "PRODUCER_TIMESTAMP", "StartTimestamp": 1_790_000_000,
            "EndTimestamp": 1_790_000_002, "SamplingInterval": 500, "Format": "PNG",
        })
    }

    /// A device limited to `garden-1`, and a key that it got then.
    fn temporary(&self, now: WallTime) -> (Enrolled, Temporary) {
        let cam = Enrolled::new(&self.archive, &["garden-1"], now);
        let device = cam.devices.admit(&cam.certificate).unwrap();
        let temporary = self.keys.grant(&device, &cam.certificate, now).unwrap();
        (cam, temporary)
    }

    async fn call(&self, key: &Key, path: &str, asked: &Value) -> Answer {
        let body = asked.to_string();
        self.send(Method::POST, path, body.as_bytes(), &key.signed(path, body.as_bytes(), SystemTime::now())).await
    }

    async fn send(&self, method: Method, path: &str, body: &[u8], headers: &[(String, String)]) -> Answer {
        let mut request = Request::builder().method(method).uri(path).header("host", HOST);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request.body(Body::from(body.to_vec())).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let media = to_bytes(body, usize::MAX).await.unwrap();
        let is_json = parts.headers.get("content-type").is_some_and(|kind| kind == "application/json");
        let body = if is_json { serde_json::from_slice(&media).unwrap() } else { Value::Null };
        Answer { status: parts.status, headers: parts.headers, media, body }
    }
}

fn service(archive: &Archive, is_shared: bool) -> Service {
    let devices = Devices::new(archive.vault().catalog().clone());
    Service::new(ServiceParts {
        archive: archive.clone(),
        is_shared,
        fleet: Fleet::of_vault(archive.vault(), devices, is_shared),
        public_url: "https://video.example".to_owned(),
        outgoing: Outgoing::new(64 << 20),
        damage: Arc::default(),
        limits: Limits::Own,
        images: None,
        playback: crate::http::tests::state(archive, "the console key"),
        receiving: Receiving::default(),
        stop: CancellationToken::new(),
    })
}

const HOST: &str = "127.0.0.1:8080";

impl Key {
    /// The headers that a signature adds.
    fn signed(&self, path: &str, body: &[u8], time: SystemTime) -> Vec<(String, String)> {
        self.signed_by(SigningSettings::default(), path, body, time)
    }

    /// As the C SDK signs.
    fn signed_but_for_the_token(&self, path: &str, body: &[u8], time: SystemTime) -> Vec<(String, String)> {
        let mut settings = SigningSettings::default();
        settings.session_token_mode = SessionTokenMode::Exclude;
        self.signed_by(settings, path, body, time)
    }

    fn signed_by(&self, settings: SigningSettings, path: &str, body: &[u8], time: SystemTime) -> Vec<(String, String)> {
        let identity = Credentials::new(&self.id, &self.secret, self.token.clone(), None, "a test").into();
        let parameters = v4::SigningParams::builder().identity(&identity).region("eu-central-1").name("kinesisvideo");
        let parameters = parameters.time(time).settings(settings).build().unwrap().into();
        let url = format!("http://{HOST}{path}");
        let signable = SignableRequest::new("POST", &url, std::iter::empty(), SignableBody::Bytes(body)).unwrap();
        let (instructions, _) = sign(signable, &parameters).unwrap().into_parts();
        instructions.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }
}

impl Answer {
    fn is_refused(&self, status: StatusCode, name: &str) {
        let found = self.headers.get("x-amzn-errortype").map(|name| name.to_str().unwrap());
        assert_eq!((self.status, found), (status, Some(name)), "{}", self.body);
        assert!(!self.message().is_empty());
    }

    fn message(&self) -> &str {
        self.body["Message"].as_str().unwrap_or_default()
    }
}
