//! One fault of a camera after the other, on the recording agent: each is found with its reason and healed, and of
//! what was recorded before and after no picture is missing.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::collections::{BTreeMap, HashMap};
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use agent::clock::Clock;
use agent::config::{Camera, Secret, Source, TlsTrust, Transport};
use agent::reason::Reason;
use agent::status::{CameraStatus, Status};
use agent::{capture, metrics};
use bytes::Bytes;
use fragment::{SessionId, StreamName, TrackNumber, mkv};
use pipelines::Event;
use samples::rtsp::{self, Command};
use spool::Spool;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// Longer than a camera's silence, its longest pause and its start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// What the cameras show, and can be told to show.
const CLIPS: [&str; 3] = ["h264-aac.mp4", "h264-aac-large.mp4", "h264-aac-frozen.mp4"];

const LARGE: usize = 1;
const FROZEN: usize = 2;

/// How a fault is got over.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Healed {
    /// By starting the camera's pipeline again.
    Anew,
    /// Without.
    Within,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_that_sends_nothing_while_its_session_lives() {
    for transport in [Transport::Tcp, Transport::Udp] {
        heals(transport, Command::Stall(Duration::from_secs(15)), Reason::Silent, Healed::Anew).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_is_gone_without_a_word() {
    for transport in [Transport::Tcp, Transport::Udp] {
        heals(transport, Command::Vanish(Duration::from_secs(15)), Reason::Silent, Healed::Anew).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_whose_sound_goes_on_without_a_picture() {
    heals(Transport::Tcp, Command::Blind(Duration::from_secs(15)), Reason::PictureStands, Healed::Anew).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_that_drops_the_connection() {
    heals(Transport::Tcp, Command::Drop, Reason::StreamEnded, Healed::Anew).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_that_is_switched_off_and_on() {
    heals(Transport::Tcp, Command::Restart(Duration::from_secs(5)), Reason::Refused, Healed::Anew).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_whose_resolution_is_changed() {
    heals(Transport::Tcp, Command::Show(LARGE), Reason::CodingChanged, Healed::Within).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_whose_clock_jumps() {
    heals(Transport::Tcp, Command::Jump { nanos: 3_600_000_000_000 }, Reason::ClockJumped, Healed::Within).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_that_stands_still_where_it_is_watched_for() {
    let mut yard = Yard::new();
    yard.record("frozen", |camera| camera.frozen_picture = Some(Duration::from_secs(5)));
    yard.record("unwatched", |_| {});
    yard.camera.control(Command::Show(FROZEN));
    yard.until("it is found", || yard.troubles("frozen", Reason::FrozenPicture) > 0).await;
    yard.camera.control(Command::Show(0));
    yard.is_recorded_on("frozen").await;
    assert_eq!(yard.troubles("unwatched", Reason::FrozenPicture), 0);
    yard.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn packets_that_are_lost_on_the_way() {
    let mut yard = Yard::new();
    yard.record("yard", |camera| set_transport(camera, Transport::Udp));
    yard.is_recorded_on("yard").await;
    yard.camera.control(Command::Lose { every: 11 });
    yard.until("they are found", || yard.status("yard").packets_lost() >= 20).await;
    yard.camera.control(Command::Lose { every: 0 });
    yard.is_recorded_on("yard").await;
    assert_eq!(yard.status("yard").packets_lost(), yard.camera.packets_lost());
    assert!(yard.troubles("yard", Reason::PacketsLost) > 0);
    assert_eq!(yard.sessions("yard"), 1, "the recording went on");
    yard.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_camera_never_disturbs_another() {
    let mut yard = Yard::with(|settings| settings.credentials = Some(("me".to_owned(), "secret".to_owned())));
    let me = |camera: &mut Camera| set_password(camera, "secret");
    let (mute, flood) = (listen(|_| std::thread::park()), listen(flood));
    let stalled = rtsp::Camera::start(&rtsp::Settings::new(samples::clip(CLIPS[0]))).unwrap();
    yard.record("good", me);
    yard.record("wrong-password", |camera| set_password(camera, "wrong"));
    yard.record("refuses", |camera| set_url(camera, "rtsp://127.0.0.1:1/cam"));
    yard.record("mute", |camera| set_url(camera, &mute));
    yard.record("floods", |camera| set_url(camera, &flood));
    yard.record("stalls", |camera| set_url(camera, &stalled.url()));
    yard.is_recorded_on("stalls").await;
    stalled.control(Command::Stall(Duration::from_secs(600)));
    for (name, reason) in [
        ("wrong-password", Reason::Unauthorized),
        ("refuses", Reason::Refused),
        ("mute", Reason::NoAnswer),
        ("stalls", Reason::Silent),
    ] {
        yard.until(name, || yard.troubles(name, reason) > 0).await;
        let last = yard.status(name).last_trouble().unwrap();
        assert!(!last.words.contains("secret") && !last.words.is_empty(), "{last:?}");
    }
    yard.until("the flood is found", || !yard.status("floods").troubles().is_empty()).await;
    yard.is_recorded_on("good").await;
    assert_eq!(yard.status("good").troubles(), BTreeMap::new());
    assert_eq!(yard.sessions("good"), 1, "every picture of it is in one session");
    yard.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn status_and_metrics_tell_each_camera_and_its_troubles() {
    let mut yard = Yard::new();
    yard.record("yard", |_| {});
    yard.is_recorded_on("yard").await;
    let status = Status::new(yard.state.path(), yard.spool.clone());
    status.watch(vec![Arc::clone(yard.status("yard"))]);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (writing, stop) = (tokio::spawn(status.clone().run(yard.stop.clone())), yard.stop.clone());
    let (metrics, read) = (status.clone(), status.clone());
    let serving = tokio::spawn(async move { metrics::serve_on(&listener, &metrics, &stop).await });
    yard.camera.control(Command::Drop);
    yard.until("it is told", || {
        let camera = read.latest().cameras.first().cloned().unwrap_or_default();
        camera.failures > 0 && camera.fps > 10.0
    })
    .await;
    let camera = read.latest().cameras.remove(0);
    let coding = (camera.codec.as_deref(), camera.width, camera.height);
    assert_eq!(coding, (Some("H.264"), Some(320), Some(180)));
    assert!(camera.bits_per_second > 10_000, "{camera:?}");
    assert_eq!(camera.last_trouble.unwrap().reason, Reason::StreamEnded);
    let page = tokio::task::spawn_blocking(move || fetch(address)).await.unwrap();
    assert!(page.contains("\nmillrace_agent_camera_up{stream=\"yard\"} 1\n"), "{page}");
    assert!(page.contains("reason=\"stream-ended\"} 1\n"), "{page}");
    let path = yard.state.path().join("status.json");
    yard.stop.cancel();
    writing.await.unwrap();
    serving.await.unwrap();
    let written = std::fs::read_to_string(path).unwrap();
    assert!(written.contains("\"reason\": \"stream-ended\""), "{written}");
    yard.stop().await;
}

/// Records a camera, lets it misbehave, and sees that it is found and got over, and that no picture is missing
/// before and after.
async fn heals(transport: Transport, fault: Command, reason: Reason, healed: Healed) {
    let mut yard = Yard::new();
    yard.record("yard", |camera| set_transport(camera, transport));
    yard.is_recorded_on("yard").await;
    yard.camera.control(fault);
    yard.until(reason.name(), || yard.troubles("yard", reason) > 0).await;
    yard.is_recorded_on("yard").await;
    let again = yard.status("yard").troubles().iter().any(|(reason, _)| !NOTED.contains(reason));
    assert_eq!(again, healed == Healed::Anew, "{:?}", yard.status("yard").troubles());
    assert!(yard.sessions("yard") > 1, "what comes after lies in a session of its own");
    yard.stop().await;
}

/// The reasons for which nothing is started again.
const NOTED: [Reason; 4] = [Reason::CodingChanged, Reason::ClockJumped, Reason::Paused, Reason::PacketsLost];

/// A simulated camera, and an agent's recordings of it and of others.
struct Yard {
    camera: rtsp::Camera,
    spool: Spool,
    stop: CancellationToken,
    recordings: Vec<(String, Arc<CameraStatus>, tokio::task::JoinHandle<()>)>,
    numbers: Numbers,
    state: TempDir,
}

impl Yard {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut rtsp::Settings)) -> Self {
        let _ = tracing_subscriber::fmt().with_test_writer().with_env_filter("warn").try_init();
        let mut settings = rtsp::Settings::new(samples::clip(CLIPS[0]));
        settings.others = CLIPS[1..].iter().map(|name| samples::clip(name)).collect();
        change(&mut settings);
        let state = tempfile::tempdir().unwrap();
        Self {
            camera: rtsp::Camera::start(&settings).unwrap(),
            spool: Spool::open(state.path(), 1 << 30).unwrap(),
            stop: CancellationToken::new(),
            recordings: Vec::new(),
            numbers: Numbers::read(),
            state,
        }
    }

    /// Records the camera, or what `change` makes of it, as the stream `name`.
    fn record(&mut self, name: &str, change: impl FnOnce(&mut Camera)) {
        let source = Source::Rtsp {
            url: self.camera.url(),
            transport: Transport::Tcp,
            credentials: None,
            latency: None,
            trust: TlsTrust::System,
        };
        let mut camera =
            Camera { fragment_target: Duration::from_secs(1), ..Camera::new(name.parse().unwrap(), source) };
        change(&mut camera);
        let status = Arc::new(CameraStatus::new(name));
        let (spool, told, stop) = (self.spool.clone(), Arc::clone(&status), self.stop.clone());
        let task = tokio::task::spawn_blocking(move || {
            capture::run(&camera, &spool, Clock::open().unwrap(), &told, &stop);
        });
        self.recordings.push((name.to_owned(), status, task));
    }

    fn status(&self, name: &str) -> &Arc<CameraStatus> {
        self.recordings.iter().find(|recording| recording.0 == name).map(|recording| &recording.1).unwrap()
    }

    fn troubles(&self, name: &str, reason: Reason) -> u64 {
        self.status(name).troubles().get(&reason).copied().unwrap_or(0)
    }

    async fn until(&self, what: &str, reached: impl Fn() -> bool) {
        let look = async {
            while !reached() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let states: Vec<_> = self.recordings.iter().map(|(name, status, _)| (name, status)).collect();
        assert!(tokio::time::timeout(PATIENCE, look).await.is_ok(), "{what}: it never came to this: {states:?}");
    }

    /// Waits for three more whole fragments of the stream.
    async fn is_recorded_on(&self, name: &str) {
        let whole = || self.fragments(name).len();
        let before = whole();
        self.until("it is recorded on", || whole() >= before + 3).await;
    }

    fn sessions(&self, name: &str) -> usize {
        let mut sessions: Vec<_> = self.fragments(name).into_iter().map(|(session, _)| session).collect();
        sessions.dedup();
        sessions.len()
    }

    /// The whole fragments of a stream in the order of capture.
    fn fragments(&self, name: &str) -> Vec<(SessionId, Bytes)> {
        let stream: StreamName = name.parse().unwrap();
        let (mut fragments, mut after) = (Vec::new(), None);
        while let Some((ordinal, entry)) = self.spool.next(after) {
            after = Some(ordinal);
            let Some(trailer) = entry.trailer.filter(|_| entry.key.stream == stream) else { continue };
            let pieces = self.spool.read(&entry.key).unwrap().read(usize::try_from(trailer.bytes).unwrap()).unwrap();
            let payload: Vec<u8> = pieces.into_iter().flatten().collect();
            fragments.push((entry.key.id.session, payload.into()));
        }
        fragments
    }

    /// Ends the recordings, and sees that no picture is missing in any session of a camera that lost no packets.
    async fn stop(mut self) {
        self.stop.cancel();
        for (name, status, task) in std::mem::take(&mut self.recordings) {
            tokio::time::timeout(PATIENCE, task).await.expect("it stops").unwrap();
            if status.packets_lost() > 0 {
                continue;
            }
            let mut sessions: Vec<(SessionId, Vec<usize>)> = Vec::new();
            for (session, payload) in self.fragments(&name) {
                if sessions.last().is_none_or(|last| last.0 != session) {
                    sessions.push((session, Vec::new()));
                }
                let pictures = mkv::document(payload).unwrap().units;
                let pictures = pictures.iter().filter(|unit| unit.track == TrackNumber::VIDEO);
                sessions.last_mut().unwrap().1.extend(pictures.map(|unit| self.numbers.of(&unit.data)));
            }
            for (_, pictures) in sessions {
                for pair in pictures.windows(2) {
                    self.numbers.follow(pair[0], pair[1]);
                }
            }
        }
    }
}

/// The numbers of the clips' pictures, told by their coded slices.
struct Numbers(HashMap<Vec<u8>, usize>);

/// Pictures in each clip; the numbers of the second clip begin at this.
const PICTURES: usize = 250;

impl Numbers {
    fn read() -> Self {
        let mut numbers = HashMap::new();
        // Those of the frozen clip are alike.
        for (clip, name) in CLIPS[..FROZEN].iter().enumerate() {
            let (handle, mut events) = capture::fast(&samples::clip(name));
            let mut number = clip * PICTURES;
            let runtime = tokio::runtime::Handle::current();
            tokio::task::block_in_place(|| {
                while let Some(event) = runtime.block_on(events.recv()) {
                    let Event::Unit(unit) = event else { continue };
                    if unit.track == TrackNumber::VIDEO {
                        numbers.insert(slices(&unit.data), number);
                        number += 1;
                    }
                }
                handle.stop();
            });
            assert_eq!(number, (clip + 1) * PICTURES, "{name}");
        }
        Self(numbers)
    }

    /// The number of a picture; `usize::MAX` for those of the frozen clip.
    fn of(&self, picture: &[u8]) -> usize {
        self.0.get(&slices(picture)).copied().unwrap_or(usize::MAX)
    }

    /// One picture comes right behind another.
    fn follow(&self, one: usize, other: usize) {
        if one != usize::MAX && other != usize::MAX {
            let next = one / PICTURES * PICTURES + (one + 1) % PICTURES;
            assert_eq!(next, other, "pictures are missing between {one} and {other}");
        }
    }
}

/// The slices of a picture without its parameter sets and messages, which a camera may send or not.
fn slices(picture: &[u8]) -> Vec<u8> {
    let (mut slices, mut rest) = (Vec::new(), picture);
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let (unit, after) = after.split_at(u32::from_be_bytes(*length) as usize);
        if matches!(unit[0] & 0x1f, 1..=5) {
            slices.extend_from_slice(unit);
        }
        rest = after;
    }
    slices
}

fn set_transport(camera: &mut Camera, to: Transport) {
    if let Source::Rtsp { transport, .. } = &mut camera.source {
        *transport = to;
    }
}

fn set_password(camera: &mut Camera, password: &str) {
    if let Source::Rtsp { credentials, .. } = &mut camera.source {
        *credentials = Some(("me".to_owned(), Secret(password.to_owned())));
    }
}

fn set_url(camera: &mut Camera, to: &str) {
    if let Source::Rtsp { url, .. } = &mut camera.source {
        to.clone_into(url);
    }
}

/// The address of something that is no camera: it does `serve` with each connection.
fn listen(serve: fn(std::net::TcpStream)) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("rtsp://127.0.0.1:{}/cam", listener.local_addr().unwrap().port());
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            std::thread::spawn(move || serve(connection));
        }
    });
    url
}

/// Sends nonsense as fast as it is taken.
fn flood(mut connection: std::net::TcpStream) {
    let mut random = fastrand::Rng::with_seed(7);
    let nonsense: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(1 << 16).collect();
    while connection.write_all(&nonsense).is_ok() {}
}

fn fetch(address: std::net::SocketAddr) -> String {
    let mut connection = std::net::TcpStream::connect(address).unwrap();
    connection.write_all(b"GET /metrics HTTP/1.1\r\nhost: agent\r\n\r\n").unwrap();
    let mut page = String::new();
    connection.read_to_string(&mut page).unwrap();
    page
}
