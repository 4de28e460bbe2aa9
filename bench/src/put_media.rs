//! PutMedia to PERSISTED over HTTP/1.1, beside a bare hyper server that discards what comes; and what an idle producer costs.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use bytes::Bytes;
use e2e::{AccessKey, Producer, Server, Timecodes};
use fragment::mkv::Writer;
use fragment::{AccessUnit, MediaTime, TrackNumber, Tracks};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;

use crate::{figures, ingest, process};

/// Producers that send as fast as the server takes it.
const SATURATING: u32 = 16;

/// A second of 4 Mbit/s: as in `ingest`.
const FRAMES: usize = 15;
const FRAME_BYTES: usize = 33_000;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where data goes; a folder on the disk that is to be measured.
    #[arg(long)]
    dir: PathBuf,
    /// Fragments of each producer.
    #[arg(long, default_value_t = 300)]
    fragments: u32,
    /// Producers that are idle.
    #[arg(long, default_value_t = 500)]
    idle: u32,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let media = Media::new(&ingest::sample_tracks()?)?;
    figures::row(&["PutMedia, 0.5 MB fragments", "rate", "resident at most"]);
    figures::row(&["---", "---", "---"]);
    let bare = bare(&media, args.fragments)?;
    figures::row(&["bare hyper server that discards, 16 producers", &rate(bare), ""]);

    let folder = tempfile::tempdir_in(&args.dir)?;
    let server = Server::start(folder.path());
    let key = AccessKey::parse(&server.admin(&["access-key", "create"]));
    for producer in 0..args.idle.max(SATURATING) {
        server.admin(&["stream", "create", &stream(producer)]);
    }
    let idle = idle(&server, &key, &media, args.idle)?;
    let peak = process::Peak::watch(server.id());
    let ours = load(&server.http_address(), &key, &media, args.fragments, |producer, fragments| {
        producer.until("PERSISTED", fragments);
        producer.end();
    })?;
    let resident = format!("{:.0} MB", peak.end() as f64 / 1e6);
    figures::row(&["millrace to PERSISTED, 16 producers", &rate(ours), &resident]);
    figures::row(&[&format!("{} idle producers, each in a fragment", args.idle), "", &idle]);
    Ok(())
}

fn rate((bytes, elapsed): (u64, Duration)) -> String {
    format!("{:.0} MB/s", figures::megabytes_per_second(bytes, elapsed))
}

fn stream(producer: u32) -> String {
    format!("producer-{producer}")
}

/// What every producer sends, but for its times.
struct Media {
    tracks: Tracks,
    head: Bytes,
    frames: Vec<Bytes>,
}

impl Media {
    fn new(tracks: &Tracks) -> anyhow::Result<Self> {
        let head = Writer::new(tracks).header();
        let bytes: Bytes = crate::media::bytes(FRAME_BYTES).into();
        Ok(Self { tracks: tracks.clone(), head, frames: vec![bytes; FRAMES] })
    }

    /// A fragment of a second, or its first frames.
    fn fragment(&self, at: Duration, frames: usize) -> anyhow::Result<Vec<u8>> {
        let mut writer = Writer::new(&self.tracks);
        let start = MediaTime::from_nanos(i64::try_from(at.as_nanos())?);
        let mut out = writer.cluster(start).to_vec();
        for (n, data) in (0..).zip(&self.frames[..frames]) {
            let pts = start + Duration::from_millis(1000 * n / FRAMES as u64);
            let unit = AccessUnit { track: TrackNumber::VIDEO, pts, duration: None, key: n == 0, data: data.clone() };
            let (head, payload) = writer.block(&unit)?;
            out.extend_from_slice(&head);
            out.extend_from_slice(&payload);
        }
        Ok(out)
    }
}

/// Sixteen producers send as fast as they may; `settle` waits until all is done. Gives bytes and time.
fn load(
    address: &str,
    key: &AccessKey,
    media: &Media,
    fragments: u32,
    settle: impl Fn(Producer, usize) + Sync,
) -> anyhow::Result<(u64, Duration)> {
    let began = Instant::now();
    let send = |producer: u32| {
        let mut session = Producer::connect(address, key, &stream(producer), Timecodes::Absolute);
        session.send(&media.head)?;
        // As long ago as it is long, so that none lies ahead.
        let first = now() - Duration::from_secs(fragments.into());
        for n in 0..fragments {
            session.send(&media.fragment(first + Duration::from_secs(n.into()), FRAMES)?)?;
        }
        session.send(&e2e::tags(&[("AWS_KINESISVIDEO_END_OF_FRAGMENT", "")]))?;
        settle(session, fragments as usize);
        anyhow::Ok(())
    };
    let send = &send;
    thread::scope(|scope| {
        let producers: Vec<_> = (0..SATURATING).map(|producer| scope.spawn(move || send(producer))).collect();
        producers.into_iter().try_for_each(|producer| producer.join().expect("a producer does not panic"))
    })?;
    let bytes = u64::from(SATURATING) * u64::from(fragments) * (FRAMES * FRAME_BYTES) as u64;
    Ok((bytes, began.elapsed()))
}

/// Memory of the server for each of so many producers that have begun a fragment and send no more.
fn idle(server: &Server, key: &AccessKey, media: &Media, count: u32) -> anyhow::Result<String> {
    let connect = |producer: u32| {
        let mut session = Producer::connect(&server.http_address(), key, &stream(producer), Timecodes::Absolute);
        session.send(&media.head)?;
        session.send(&media.fragment(now(), 0)?)?;
        session.until("BUFFERING", 1);
        anyhow::Ok(session)
    };
    connect(0)?.end();
    let before = process::resident(server.id())?;
    let sessions: Vec<_> = (0..count).map(connect).collect::<Result<_, _>>()?;
    let after = process::resident(server.id())?;
    drop(sessions);
    let each = after.saturating_sub(before) as f64 / f64::from(count.max(1)) / 1e3;
    Ok(format!("{:.0} MB, {each:.1} kB for each", after as f64 / 1e6))
}

/// The same bytes to a server that answers, reads to the end, and does nothing with it.
fn bare(media: &Media, fragments: u32) -> anyhow::Result<(u64, Duration)> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let listener = runtime.block_on(tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))))?;
    let address = listener.local_addr()?.to_string();
    runtime.spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(socket), service_fn(discard)));
        }
    });
    let key = AccessKey { id: "nobody".to_owned(), secret: "looks".to_owned() };
    load(&address, &key, media, fragments, |producer, _| drop(producer.end())).context("the bare server")
}

/// Answers at once; the answer ends with the body.
async fn discard(
    mut request: Request<Incoming>,
) -> Result<Response<StreamBody<impl futures_util::Stream<Item = Result<Frame<Bytes>, Infallible>>>>, Infallible> {
    let (ended, end) = tokio::sync::oneshot::channel::<()>();
    tokio::spawn(async move {
        while let Some(Ok(_)) = request.body_mut().frame().await {}
        drop(ended);
    });
    let nothing = futures_util::stream::once(async move {
        let _ = end.await;
        Ok(Frame::data(Bytes::new()))
    });
    Ok(Response::new(StreamBody::new(nothing)))
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is set")
}
