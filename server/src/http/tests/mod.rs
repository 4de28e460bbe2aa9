//! The router as a client sees it, with a real archive in a temporary folder.
//!
//! `fragment.mkv` is one group of pictures of `hls/tests/clips/h264-bframes-aac.mp4`:
//! `ffmpeg -i h264-bframes-aac.mp4 -c copy -t 1 fragment.mkv`.

mod sessions;

use std::sync::Arc;
use std::time::Duration;

use archive::{Archive, Fragment, Retention};
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use fragment::{ClockQuality, FragmentId, FragmentNumber, Sequence, SessionId, StreamName, WallTime};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::outgoing::Outgoing;
use super::token::{Part, Token};
use super::{Parts, Presence, State, limits, now, router};
use crate::devices::Devices;
use crate::fleet::Fleet;

const KEY: &str = "the console key";
const FRAGMENT: &[u8] = include_bytes!("fragment.mkv");
const SECOND: Duration = Duration::from_secs(1);

// --- Devices

#[tokio::test]
async fn devices_are_told_to_those_who_are_logged_in_and_no_one_else() {
    let server = Server::new();
    for path in ["/v1/devices", "/v1/devices/cam", "/v1/devices/cam/cameras/yard/snapshot"] {
        assert_eq!(server.get(path, &[]).await.status, StatusCode::UNAUTHORIZED, "{path}");
    }
    let listed = server.ask(Method::GET, "/v1/devices", None).await;
    assert_eq!((listed.status, listed.json()), (StatusCode::OK, json!([])));
}

#[tokio::test]
async fn a_device_that_is_not_there_is_told_in_words() {
    let server = Server::new();
    for (method, path) in [
        (Method::GET, "/v1/devices/cam"),
        (Method::GET, "/v1/devices/cam/cameras/yard/snapshot"),
        (Method::POST, "/v1/devices/cam/cameras/yard/restart"),
    ] {
        let answer = server.ask(method, path, None).await;
        assert_eq!((answer.status, answer.error()), (StatusCode::NOT_FOUND, "unknown_device".to_owned()), "{path}");
    }
}

#[tokio::test]
async fn a_range_is_fetched_from_a_device_that_is_there_and_holds_some_time() {
    let server = Server::new();
    let path = "/v1/devices/cam/cameras/yard/fetch";
    let range = |from: &str, to: &str| Some(json!({ "from": from, "to": to }));
    let (noon, later) = ("2026-03-01T12:00:00Z", "2026-03-01T12:10:00Z");
    for (body, status, error) in [
        (None, StatusCode::BAD_REQUEST, "bad_request"),
        (range("noon", later), StatusCode::BAD_REQUEST, "bad_request"),
        (range(later, noon), StatusCode::BAD_REQUEST, "bad_request"),
        (range(noon, later), StatusCode::NOT_FOUND, "unknown_device"),
    ] {
        let answer = server.ask(Method::POST, path, body).await;
        assert_eq!((answer.status, answer.error()), (status, error.to_owned()), "{}", answer.text());
    }
}

// --- Console and login

#[tokio::test]
async fn without_the_key_there_is_only_the_login_page() {
    let server = Server::new();
    let answer = server.get("/", &[]).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert!(answer.text().contains("Console key"));
    assert!(!answer.text().contains("app.js"));
}

#[tokio::test]
async fn the_key_in_the_address_becomes_a_session_and_leaves_the_address() {
    let server = Server::new();
    let login = server.get("/?key=the%20console%20key", &[]).await;
    assert_eq!((login.status, login.header("location")), (StatusCode::SEE_OTHER, "/"));
    let cookie = login.header("set-cookie");
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"), "{cookie}");
    let session = cookie.split(';').next().unwrap();
    let page = server.get("/", &[("cookie", &format!("other=1; {session}"))]).await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.text().contains("app.js"));
    assert_eq!(server.get("/api/streams", &[("cookie", session)]).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_wrong_key_opens_nothing() {
    let server = Server::new();
    let login = server.get("/?key=guess", &[]).await;
    assert_eq!(login.status, StatusCode::UNAUTHORIZED);
    assert!(!login.headers.contains_key(header::SET_COOKIE));
    let api = server.get("/api/streams", &[("authorization", "Bearer guess")]).await;
    assert_eq!((api.status, api.error()), (StatusCode::UNAUTHORIZED, "not_logged_in".to_owned()));
}

#[tokio::test]
async fn a_playback_token_is_no_console_session() {
    let server = Server::new();
    let token = token(1, Part::Live { first: FragmentNumber(0) }, now() + SECOND * 60).seal(server.state.sealer());
    let answer = server.get("/api/streams", &[("cookie", &format!("millrace_session={token}"))]).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_new_console_key_ends_all_sessions() {
    let server = Server::new();
    let login = server.get("/?key=the%20console%20key", &[]).await;
    let session = login.header("set-cookie").split(';').next().unwrap().to_owned();
    let renewed = server.with_console_key("another");
    assert_eq!(renewed.get("/api/streams", &[("cookie", &session)]).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn the_console_has_all_its_files() {
    let server = Server::new();
    for path in ["/console/app.js", "/console/style.css", "/console/hls.light.min.js"] {
        assert_eq!(server.get(path, &[]).await.status, StatusCode::OK, "{path}");
    }
}

// --- The list of streams

#[tokio::test]
async fn the_list_says_what_is_stored_and_what_is_live() {
    let server = Server::new();
    server.archive.create_stream(&name("empty"), Retention::DEFAULT, now()).unwrap();
    let begin = now() - SECOND * 3;
    server.store("front", &[(0, begin), (1, begin + SECOND)]).await;
    let answer = server.ask(Method::GET, "/api/streams", None).await.json();
    let [empty, front] = &answer["streams"].as_array().unwrap()[..] else { panic!("{answer}") };
    assert_eq!((&empty["name"], &empty["live"], &empty["last"]), (&json!("empty"), &json!(false), &Value::Null));
    assert_eq!((&front["name"], &front["live"], &front["fragments"]), (&json!("front"), &json!(true), &json!(2)));
    assert_eq!(front["connected"], json!(true));
    assert_eq!((&empty["clock"], &front["clock"]), (&Value::Null, &json!("given")));
}

// --- Live

#[tokio::test]
async fn live_plays_from_the_playlist_to_the_segment() {
    let server = Server::new();
    let begin = now() - SECOND * 5;
    server.store("front", &[(0, begin), (1, begin + SECOND), (2, begin + SECOND * 2)]).await;
    let url = server.play("front", json!({ "mode": "live" })).await;

    let index = server.get(&url, &[]).await;
    assert_eq!(index.header("content-type"), "application/vnd.apple.mpegurl");
    assert!(index.text().contains("CODECS=\"avc1."), "{}", index.text());
    assert!(index.text().contains("mp4a.40.2\",RESOLUTION=160x96\nmedia.m3u8\n"), "{}", index.text());

    let media = server.get(&sibling(&url, "media.m3u8"), &[]).await;
    assert_eq!(media.header("cache-control"), "no-cache");
    assert!(media.text().contains("#EXT-X-MEDIA-SEQUENCE:0\n") && !media.text().contains("ENDLIST"));
    assert_eq!(segments(&media.text()).len(), 3);

    let init = server.get(&sibling(&url, &init(&media.text())), &[]).await;
    assert_eq!((init.status, init.header("content-type")), (StatusCode::OK, "video/mp4"));
    assert_eq!(&init.body[4..8], b"ftyp");

    for name in segments(&media.text()) {
        let segment = server.get(&sibling(&url, &name), &[]).await;
        assert_eq!((segment.status, &segment.body[4..8]), (StatusCode::OK, &b"styp"[..]));
        assert!(segment.header("cache-control").contains("immutable"));
    }
}

#[tokio::test]
async fn a_segment_out_of_the_cache_is_the_same() {
    let server = Server::new();
    server.store("front", &[(0, now() - SECOND)]).await;
    let url = server.play("front", json!({ "mode": "live" })).await;
    let media = server.get(&sibling(&url, "media.m3u8"), &[]).await.text();
    let segment = sibling(&url, &segments(&media)[0]);
    let built = server.get(&segment, &[]).await.body;
    assert_eq!(server.get(&segment, &[]).await.body, built);
}

#[tokio::test]
async fn a_segment_is_counted_as_outgoing_until_its_response_has_ended() {
    let server = Server::new();
    server.store("front", &[(0, now() - SECOND)]).await;
    let url = server.play("front", json!({ "mode": "live" })).await;
    let media = server.get(&sibling(&url, "media.m3u8"), &[]).await.text();
    let segment = sibling(&url, &segments(&media)[0]);
    let free = || server.state.0.outgoing.free_bytes();
    let before = free();
    let request = Request::get(&segment).body(Body::empty()).unwrap();
    let response = router(server.state.clone()).oneshot(request).await.unwrap();
    assert!(before - free() >= FRAGMENT.len() as u64, "the response is under way");
    drop(response);
    assert_eq!(free(), before);
}

#[tokio::test]
async fn a_lost_fragment_shows_as_a_discontinuity() {
    let server = Server::new();
    let begin = now() - SECOND * 9;
    server.store("front", &[(0, begin), (2, begin + SECOND * 2)]).await;
    let url = server.play("front", json!({ "mode": "live" })).await;
    let media = server.get(&sibling(&url, "media.m3u8"), &[]).await.text();
    assert_eq!(media.matches("#EXT-X-DISCONTINUITY\n").count(), 1, "{media}");
}

#[tokio::test]
async fn a_stream_without_video_has_nothing_to_play_yet() {
    let server = Server::new();
    server.archive.create_stream(&name("empty"), Retention::DEFAULT, now()).unwrap();
    let answer = server.request_playback("empty", json!({ "mode": "live" })).await;
    assert_eq!((answer.status, answer.error()), (StatusCode::NOT_FOUND, "nothing_to_play".to_owned()));
    assert!(answer.message().contains("nothing to play yet"));
}

#[tokio::test]
async fn an_unknown_stream_is_not_found() {
    let server = Server::new();
    for name in ["nobody", "not%20a%20name"] {
        let answer = server.request_playback(name, json!({ "mode": "live" })).await;
        assert_eq!((answer.status, answer.error()), (StatusCode::NOT_FOUND, "unknown_stream".to_owned()));
    }
}

// --- The past

#[tokio::test]
async fn the_past_begins_with_the_fragment_that_holds_the_start_and_is_complete() {
    let server = Server::new();
    let begin = whole_second(now()) - SECOND * 600;
    let times: Vec<_> = (0..6).map(|i| (i, begin + SECOND * i)).collect();
    server.store("front", &times).await;
    let half = Duration::from_millis(500);
    let url = server.play("front", past(begin + SECOND + half, begin + SECOND * 4)).await;
    let media = server.get(&sibling(&url, "media.m3u8"), &[]).await.text();
    assert_eq!(segments(&media).len(), 3, "{media}");
    assert!(media.ends_with("#EXT-X-ENDLIST\n"));
    let first = format!("#EXT-X-PROGRAM-DATE-TIME:{}", millis(begin + SECOND));
    assert!(media.contains(first.trim_end_matches('Z')), "{first} in {media}");
    assert_eq!(server.get(&sibling(&url, &segments(&media)[0]), &[]).await.status, StatusCode::OK);
    assert_eq!(server.get(&sibling(&url, &init(&media)), &[]).await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_empty_range_has_nothing_to_play() {
    let server = Server::new();
    server.store("front", &[(0, now() - SECOND)]).await;
    let answer = server.request_playback("front", past(now() - SECOND * 7200, now() - SECOND * 3600)).await;
    assert_eq!((answer.status, answer.error()), (StatusCode::NOT_FOUND, "nothing_to_play".to_owned()));
    assert!(answer.message().contains("front"));
}

#[tokio::test]
async fn a_range_too_long_or_turned_round_is_refused() {
    let server = Server::new();
    server.store("front", &[(0, now() - SECOND)]).await;
    let long = server.request_playback("front", past(now() - limits::PAST_RANGE_MAX - SECOND, now())).await;
    assert_eq!((long.status, long.error()), (StatusCode::BAD_REQUEST, "range_too_long".to_owned()));
    let turned = server.request_playback("front", past(now(), now() - SECOND)).await;
    assert_eq!((turned.status, turned.error()), (StatusCode::BAD_REQUEST, "bad_request".to_owned()));
}

#[tokio::test]
async fn a_request_that_makes_no_sense_is_refused_in_words() {
    let server = Server::new();
    server.store("front", &[(0, now() - SECOND)]).await;
    for body in [json!({}), json!({ "mode": "future" }), json!({ "mode": "past", "start": "yesterday" })] {
        let answer = server.request_playback("front", body).await;
        assert_eq!((answer.status, answer.error()), (StatusCode::BAD_REQUEST, "bad_request".to_owned()));
    }
    let forever = server.request_playback("front", json!({ "mode": "live", "expires_seconds": 1_000_000 })).await;
    assert_eq!(forever.status, StatusCode::BAD_REQUEST);
}

// --- Tokens

#[tokio::test]
async fn an_expired_token_is_refused() {
    let server = Server::new();
    server.store("front", &[(0, now() - SECOND)]).await;
    let token = token(1, Part::Live { first: FragmentNumber(0) }, now() - SECOND).seal(server.state.sealer());
    let answer = server.get(&format!("/hls/{token}/index.m3u8"), &[]).await;
    assert_eq!((answer.status, answer.error()), (StatusCode::FORBIDDEN, "expired_token".to_owned()));
}

#[tokio::test]
async fn a_tampered_token_is_refused() {
    let server = Server::new();
    server.store("front", &[(0, now() - SECOND)]).await;
    let url = server.play("front", json!({ "mode": "live" })).await;
    let mut changed = url.clone().into_bytes();
    changed[30] = if changed[30] == b'A' { b'B' } else { b'A' };
    let answer = server.get(&String::from_utf8(changed).unwrap(), &[]).await;
    assert_eq!((answer.status, answer.error()), (StatusCode::FORBIDDEN, "invalid_token".to_owned()));
    assert!(answer.message().contains("not valid"));
}

#[tokio::test]
async fn a_token_gives_no_segment_outside_its_range() {
    let server = Server::new();
    let begin = whole_second(now()) - SECOND * 60;
    let numbers = server.store("front", &[(0, begin), (1, begin + SECOND), (2, begin + SECOND * 2)]).await;
    let url = server.play("front", past(begin + SECOND, begin + SECOND * 2)).await;
    let status = async |i: usize| server.get(&sibling(&url, &format!("{}.m4s", numbers[i])), &[]).await.status;
    assert_eq!(status(0).await, StatusCode::NOT_FOUND);
    assert_eq!(status(1).await, StatusCode::OK);
    assert_eq!(status(2).await, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_live_token_gives_nothing_from_before_it_was_made() {
    let server = Server::new();
    let numbers = server.store("front", &[(0, now() - SECOND * 60), (1, now() - SECOND * 59)]).await;
    let token = token(1, Part::Live { first: numbers[1] }, now() + SECOND * 60).seal(server.state.sealer());
    let answer = server.get(&format!("/hls/{token}/{}.m4s", numbers[0]), &[]).await;
    assert_eq!((answer.status, answer.error()), (StatusCode::NOT_FOUND, "segment_gone".to_owned()));
}

#[tokio::test]
async fn the_token_of_a_deleted_stream_plays_nothing_not_even_out_of_the_cache() {
    let server = Server::new();
    server.store("front", &[(0, now() - SECOND)]).await;
    let url = server.play("front", json!({ "mode": "live" })).await;
    let media = server.get(&sibling(&url, "media.m3u8"), &[]).await.text();
    let segment = sibling(&url, &segments(&media)[0]);
    assert_eq!(server.get(&segment, &[]).await.status, StatusCode::OK);
    let stream = server.archive.find_stream(&name("front")).unwrap().unwrap();
    server.archive.delete_stream(stream.id).await.unwrap();
    let answer = server.get(&segment, &[]).await;
    assert_eq!((answer.status, answer.error()), (StatusCode::NOT_FOUND, "stream_gone".to_owned()));
}

// --- Around it

#[tokio::test]
async fn a_fragment_that_is_no_matroska_is_unplayable_and_others_still_play() {
    let server = Server::new();
    let begin = now() - SECOND * 3;
    server.store("front", &[(0, begin)]).await;
    server.store_payload("front", 1, begin + SECOND, b"this is no Matroska".to_vec()).await;
    let url = server.play("front", json!({ "mode": "live" })).await;
    let media = server.get(&sibling(&url, "media.m3u8"), &[]).await.text();
    let [good, bad] = &segments(&media)[..] else { panic!("{media}") };
    let answer = server.get(&sibling(&url, bad), &[]).await;
    assert_eq!((answer.status, answer.error()), (StatusCode::UNPROCESSABLE_ENTITY, "unplayable".to_owned()));
    assert_eq!(server.get(&sibling(&url, good), &[]).await.status, StatusCode::OK);
}

#[tokio::test]
async fn only_playback_allows_other_origins() {
    let server = Server::new();
    server.store("front", &[(0, now() - SECOND)]).await;
    let url = server.play("front", json!({ "mode": "live" })).await;
    for (path, allowed) in [(&url[..], true), ("/hls/x/index.m3u8", true), ("/", false), ("/api/streams", false)] {
        let answer = server.get(path, &[("origin", "https://elsewhere.example")]).await;
        assert_eq!(answer.headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN), allowed, "{path}");
    }
}

#[tokio::test]
async fn health_and_metrics_need_no_login() {
    let server = Server::new();
    let health = server.get("/healthz", &[]).await;
    assert_eq!((health.status, &health.json()["status"]), (StatusCode::OK, &json!("ok")));
    assert_eq!(server.get("/metrics", &[]).await.text(), "millrace_test 1\n");
}

#[tokio::test]
async fn an_unknown_address_is_not_found_in_json() {
    let answer = Server::new().get("/nothing/here", &[]).await;
    assert_eq!((answer.status, answer.error()), (StatusCode::NOT_FOUND, "not_found".to_owned()));
}

// --- Helpers

struct Server {
    archive: Archive,
    state: State,
    _folder: Arc<tempfile::TempDir>,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

struct AllConnected;

impl Presence for AllConnected {
    fn is_connected(&self, _: &StreamName) -> bool {
        true
    }
}

impl Server {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vault");
        let keyring = vault::Keyring::of_vault(&path).unwrap();
        let archive = Archive::open(&path, Arc::new(keyring)).unwrap();
        let state = state(&archive, KEY);
        Self { archive, state, _folder: Arc::new(folder) }
    }

    fn with_console_key(&self, key: &str) -> Self {
        Self { archive: self.archive.clone(), state: state(&self.archive, key), _folder: self._folder.clone() }
    }

    /// Stores fragments of a second each: sequence and start.
    async fn store(&self, stream: &str, fragments: &[(u32, WallTime)]) -> Vec<FragmentNumber> {
        let mut numbers = Vec::new();
        for (sequence, start) in fragments {
            numbers.push(self.store_payload(stream, *sequence, *start, FRAGMENT.to_vec()).await);
        }
        numbers
    }

    async fn store_payload(&self, stream: &str, sequence: u32, start: WallTime, payload: Vec<u8>) -> FragmentNumber {
        self.store_fragment(stream, Fragment { payload: payload.into(), ..fragment(sequence, start) }).await
    }

    async fn store_fragment(&self, stream: &str, fragment: Fragment) -> FragmentNumber {
        let stream = self.archive.find_or_create_stream(&name(stream), now()).unwrap();
        self.archive.store(stream.id, fragment).await.unwrap().number
    }

    async fn play(&self, stream: &str, wanted: Value) -> String {
        let answer = self.request_playback(stream, wanted).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        answer.json()["url"].as_str().unwrap().to_owned()
    }

    async fn request_playback(&self, stream: &str, wanted: Value) -> Answer {
        self.ask(Method::POST, &format!("/api/streams/{stream}/playback"), Some(wanted)).await
    }

    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::AUTHORIZATION, format!("Bearer {KEY}"))
            .header(header::CONTENT_TYPE, "application/json");
        self.send(request.body(body.map_or(Body::empty(), |body| Body::from(body.to_string()))).unwrap()).await
    }

    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let request = headers.iter().fold(Request::get(path), |request, (name, value)| request.header(*name, *value));
        self.send(request.body(Body::empty()).unwrap()).await
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = router(self.state.clone()).oneshot(request).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap().to_vec();
        Answer { status, headers, body }
    }
}

impl Answer {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn error(&self) -> String {
        self.json()["error"].as_str().unwrap().to_owned()
    }

    fn message(&self) -> String {
        self.json()["message"].as_str().unwrap().to_owned()
    }

    fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }
}

pub(crate) fn state(archive: &Archive, console_key: &str) -> State {
    State::new(Parts {
        archive: archive.clone(),
        token_key: [7; 32].into(),
        console_key: console_key.to_owned(),
        metrics: Box::new(|| "millrace_test 1\n".to_owned()),
        presence: Box::new(AllConnected),
        fleet: fleet(archive),
        outgoing: Outgoing::new(limits::OUTGOING_BYTES_MAX),
        damage: Arc::default(),
    })
}

/// A fragment of a second that has just arrived.
fn fragment(sequence: u32, start: WallTime) -> Fragment {
    Fragment {
        id: FragmentId { session: SessionId(1), sequence: Sequence(sequence) },
        start,
        quality: ClockQuality::Given,
        duration: SECOND,
        tracks_fingerprint: 7,
        independent: true,
        codecs: vec!["avc1.64000a".into(), "mp4a.40.2".into()],
        arrived: now(),
        payload: FRAGMENT.into(),
    }
}

fn fleet(archive: &Archive) -> Fleet {
    let vault = archive.vault();
    Fleet::of_vault(vault, Devices::new(vault.catalog().clone()), false)
}

fn token(stream: u64, part: Part, expiry: WallTime) -> Token {
    let expiry_seconds = u64::try_from(expiry.as_millis() / 1000).unwrap();
    Token { stream, expiry_seconds, target_duration_seconds: 1, part }
}

fn past(start: WallTime, end: WallTime) -> Value {
    json!({ "mode": "past", "start": millis(start), "end": millis(end) })
}

/// Requests say times in milliseconds.
fn whole_second(time: WallTime) -> WallTime {
    WallTime::from_millis(time.as_millis() / 1000 * 1000)
}

fn millis(time: WallTime) -> String {
    jiff::Timestamp::from_millisecond(time.as_millis()).unwrap().to_string()
}

fn name(name: &str) -> StreamName {
    name.parse().unwrap()
}

/// Another file in the playlist's folder.
fn sibling(url: &str, file: &str) -> String {
    format!("{}/{file}", url.rsplit_once('/').unwrap().0)
}

fn segments(playlist: &str) -> Vec<String> {
    playlist.lines().filter(|line| line.ends_with(".m4s")).map(str::to_owned).collect()
}

fn init(playlist: &str) -> String {
    playlist.split("URI=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
}
