//! The baseline: fragments as chunked requests over HTTP/1.1, and a server that writes each to a file and syncs it.

use std::convert::Infallible;
use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt as _, Empty, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::load::Load;

/// A server with threads of its own.
pub(super) struct Store {
    address: SocketAddr,
    stored: Arc<AtomicU64>,
    _runtime: tokio::runtime::Runtime,
}

impl Store {
    pub(super) fn start(host: &str, folder: &Path) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind((host, 0)))?;
        let address = listener.local_addr()?;
        let stored = Arc::new(AtomicU64::new(0));
        let (count, folder) = (stored.clone(), folder.join("http"));
        std::fs::create_dir_all(&folder)?;
        runtime.spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let (count, folder) = (count.clone(), folder.clone());
                let service = service_fn(move |request| store(request, count.clone(), folder.clone()));
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(connection), service),
                );
            }
        });
        Ok(Self { address, stored, _runtime: runtime })
    }

    pub(super) fn address(&self) -> String {
        self.address.to_string()
    }

    /// How many fragments have come.
    pub(super) fn stored(&self) -> u64 {
        self.stored.load(Relaxed)
    }
}

async fn store(
    request: Request<Incoming>,
    count: Arc<AtomicU64>,
    folder: PathBuf,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    let answer = |status| Ok(Response::builder().status(status).body(Empty::new()).expect("a status is a response"));
    let Ok(body) = request.into_body().collect().await else {
        return answer(StatusCode::BAD_REQUEST);
    };
    let number = count.load(Relaxed);
    let written = tokio::task::spawn_blocking(move || {
        let mut file = File::create(folder.join(format!("{number}")))?;
        file.write_all(&body.to_bytes())?;
        file.sync_data()
    });
    match written.await {
        Ok(Ok(())) => {
            count.fetch_add(1, Relaxed);
            answer(StatusCode::OK)
        }
        _ => answer(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

/// Whether this kernel's TCP has a congestion control of this name.
pub(super) fn knows(control: &str) -> bool {
    let known = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_available_congestion_control").unwrap_or_default();
    known.split_whitespace().any(|known| known == control)
}

/// All cameras of a load, each on a connection of its own with this congestion control, or the system's. From each
/// fragment's last byte to its answer.
pub(super) async fn send(to: SocketAddr, load: Load, control: Option<&str>) -> anyhow::Result<Vec<Duration>> {
    let mut cameras = tokio::task::JoinSet::new();
    for camera in 0..load.cameras {
        cameras.spawn(feed(to, camera, load, control.map(str::to_owned)));
    }
    let mut latencies = Vec::new();
    while let Some(done) = cameras.join_next().await {
        latencies.extend(done??);
    }
    Ok(latencies)
}

async fn feed(to: SocketAddr, camera: u32, load: Load, control: Option<String>) -> anyhow::Result<Vec<Duration>> {
    let connection = TcpStream::connect(to).await?;
    connection.set_nodelay(true)?;
    if let Some(control) = control {
        rustix::net::sockopt::set_tcp_congestion(&connection, &control)?;
    }
    let (mut client, driver) = hyper::client::conn::http1::handshake(TokioIo::new(connection)).await?;
    tokio::spawn(driver);
    if load.real_time {
        tokio::time::sleep(load.fragment * camera / load.cameras).await;
    }
    let frame: Bytes = crate::media::bytes(load.frame_bytes()).into();
    let mut clock = tokio::time::interval(load.frame_time());
    let began = Instant::now();
    let mut latencies = Vec::new();
    for fragment in 1..=load.fragments {
        // What a camera has captured waits here while the line is slow, as it would in a spool.
        let (frames, body) = mpsc::unbounded_channel::<Bytes>();
        let body = stream::unfold(body, |mut body| async {
            let bytes = body.recv().await?;
            Some((Ok::<_, Infallible>(Frame::data(bytes)), body))
        });
        let request = Request::post("/").header("host", "bench").body(StreamBody::new(Box::pin(body)))?;
        client.ready().await?;
        let answer = tokio::spawn(client.send_request(request));
        for _ in 0..load.frames() {
            if load.real_time {
                clock.tick().await;
            }
            frames.send(frame.clone())?;
        }
        drop(frames);
        // A camera does not wait for the line.
        let captured = began + load.fragment * fragment - load.frame_time();
        let finished = if load.real_time { captured.min(Instant::now()) } else { Instant::now() };
        let answer = answer.await??;
        anyhow::ensure!(answer.status() == StatusCode::OK, "{}", answer.status());
        answer.into_body().collect().await?;
        latencies.push(finished.elapsed());
    }
    Ok(latencies)
}
