//! The TCP side: accepts connections, and bounds what a slow or silent client can hold.
//!
//! axum's own `serve` takes any number of connections and waits for ever on each. Here a connection ends when
//! it brings no whole request head in time (which is also the bound of an idle one), when its client takes
//! nothing of a response for a while, and a request that is not answered in time is answered so. Beyond
//! the limit of connections, new ones wait in the system's queue: whoever is slow makes room in the end.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, Sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use super::error::Problem;
use super::limits;

/// How much a client may hold, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// Connections at one time.
    pub(crate) connections: usize,
    /// From the readiness for a request to the end of its head.
    pub(crate) head: Duration,
    /// From there to its answer, the reading of its body included.
    pub(crate) answer: Duration,
    /// Without a byte of the response being taken.
    pub(crate) stall: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connections: limits::CONNECTIONS_MAX,
            head: limits::HEAD_WAIT,
            answer: limits::ANSWER_WAIT,
            stall: limits::STALL_MAX,
        }
    }
}

/// Serves until told to stop; then lets requests under way end.
pub(crate) async fn serve(listener: TcpListener, router: Router, patience: Patience, stop: CancellationToken) {
    let room = Arc::new(Semaphore::new(patience.connections));
    let connections = TaskTracker::new();
    loop {
        let accepted = async {
            let place = room.clone().acquire_owned().await.expect("the semaphore is never closed");
            (accept(&listener).await, place)
        };
        let (socket, place) = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accepted => accepted,
        };
        let (router, stop) = (router.clone(), stop.clone());
        connections.spawn(async move {
            connection(socket, router, patience, stop).await;
            drop(place);
        });
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

/// The next connection. Errors are the connection's, which is gone, or that of a process out of file
/// descriptors, which passes when others end.
async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((socket, _)) => return socket,
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::error!(%error, "an HTTP connection can't be accepted; trying again in a second");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

async fn connection(socket: TcpStream, router: Router, patience: Patience, stop: CancellationToken) {
    // A response's last, short packet must not wait for the acknowledgement of the one before.
    let _ = socket.set_nodelay(true);
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let answer = timeout(patience.answer, router.clone().oneshot(request.map(Body::new)));
        async move { Ok::<Response, Infallible>(answer.await.map_or_else(|_| Problem::Slow.into_response(), infallible)) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience.head)
        .max_buf_size(limits::CONNECTION_BUFFER_BYTES)
        .serve_connection(TokioIo::new(Unstalled::new(socket, patience.stall)), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an HTTP connection broke off");
    }
}

fn infallible(answer: Result<Response, Infallible>) -> Response {
    answer.unwrap_or_else(|never| match never {})
}

/// A socket whose writes fail when the other end takes nothing for too long.
struct Unstalled {
    socket: TcpStream,
    stall_max: Duration,
    deadline: Pin<Box<Sleep>>,
    waits: bool,
}

impl Unstalled {
    fn new(socket: TcpStream, stall_max: Duration) -> Self {
        Self { socket, stall_max, deadline: Box::pin(tokio::time::sleep(stall_max)), waits: false }
    }

    /// Counts the time from the first attempt that made no progress.
    fn judge<T>(&mut self, cx: &mut Context<'_>, progress: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if progress.is_ready() {
            self.waits = false;
            return progress;
        }
        if !self.waits {
            self.waits = true;
            self.deadline.as_mut().reset(Instant::now() + self.stall_max);
        }
        ready!(self.deadline.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing of the response")))
    }
}

impl AsyncRead for Unstalled {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, into)
    }
}

impl AsyncWrite for Unstalled {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let progress = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.judge(cx, progress)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let progress = Pin::new(&mut self.socket).poll_write_vectored(cx, pieces);
        self.judge(cx, progress)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::{get, post};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const SHORT: Duration = Duration::from_millis(100);
    const LONG: Duration = Duration::from_secs(30);
    const PATIENT: Patience = Patience { connections: 100, head: LONG, answer: LONG, stall: LONG };
    const ASK: &[u8] = b"GET /hello HTTP/1.1\r\nhost: x\r\n\r\n";

    #[tokio::test]
    async fn a_request_head_that_never_ends_ends_the_connection() {
        let server = Server::start(Patience { head: SHORT, ..PATIENT }).await;
        let mut client = server.connect().await;
        client.write_all(b"GET /hello HTTP/1.1\r\nx-slow: 1").await.unwrap();
        assert_eq!(closed(client).await, "");
    }

    #[tokio::test]
    async fn an_idle_connection_ends() {
        let server = Server::start(Patience { head: SHORT, ..PATIENT }).await;
        let mut client = server.connect().await;
        client.write_all(ASK).await.unwrap();
        assert!(closed(client).await.ends_with("hello"), "it was answered, waited for more, and was closed");
    }

    #[tokio::test]
    async fn a_body_that_never_ends_is_answered_and_ends_the_connection() {
        let server = Server::start(Patience { answer: SHORT, ..PATIENT }).await;
        let mut client = server.connect().await;
        client.write_all(b"POST /read HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nhalf").await.unwrap();
        assert!(closed(client).await.starts_with("HTTP/1.1 503"));
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_of_its_response_makes_room_for_the_next() {
        let server = Server::start(Patience { connections: 1, stall: SHORT, ..PATIENT }).await;
        let mut slow = server.connect().await;
        slow.write_all(b"GET /huge HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut next = server.connect().await;
        next.write_all(ASK).await.unwrap();
        assert!(some(&mut next).await.starts_with("HTTP/1.1 200"));
        drop(slow);
    }

    #[tokio::test]
    async fn connections_beyond_the_limit_wait_until_another_one_ends() {
        let server = Server::start(Patience { connections: 4, ..PATIENT }).await;
        let mut silent = Vec::new();
        for _ in 0..4 {
            silent.push(server.connect().await);
        }
        let mut client = server.connect().await;
        client.write_all(ASK).await.unwrap();
        assert!(timeout(SHORT, client.readable()).await.is_err(), "there is no place for it yet");
        silent.pop();
        assert!(some(&mut client).await.starts_with("HTTP/1.1 200"));
    }

    #[tokio::test]
    async fn hundreds_of_silent_clients_do_not_keep_out_the_others_for_ever() {
        let server = Server::start(Patience { connections: 50, head: SHORT, ..PATIENT }).await;
        let mut silent = Vec::new();
        for _ in 0..300 {
            silent.push(server.connect().await);
        }
        let mut client = server.connect().await;
        client.write_all(ASK).await.unwrap();
        assert!(some(&mut client).await.starts_with("HTTP/1.1 200"));
    }

    #[tokio::test]
    async fn a_stop_lets_a_request_under_way_end_and_closes_what_is_idle() {
        let server = Server::start(PATIENT).await;
        let (mut idle, mut busy) = (server.connect().await, server.connect().await);
        idle.write_all(ASK).await.unwrap();
        some(&mut idle).await;
        let head = b"POST /read HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n";
        busy.write_all(head).await.unwrap();
        assert!(some(&mut busy).await.starts_with("HTTP/1.1 100"), "the request is under way");
        server.stop.cancel();
        assert_eq!(closed(idle).await, "");
        busy.write_all(b"1234").await.unwrap();
        assert!(closed(busy).await.ends_with("1234"));
        timeout(LONG, server.task).await.unwrap().unwrap();
    }

    struct Server {
        address: std::net::SocketAddr,
        stop: CancellationToken,
        task: tokio::task::JoinHandle<()>,
    }

    impl Server {
        async fn start(patience: Patience) -> Self {
            let router = Router::new()
                .route("/hello", get(async || "hello"))
                .route("/read", post(async |body: String| body))
                .route("/huge", get(async || vec![0_u8; 100_000_000]));
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let stop = CancellationToken::new();
            let task = tokio::spawn(serve(listener, router, patience, stop.clone()));
            Self { address, stop, task }
        }

        async fn connect(&self) -> TcpStream {
            TcpStream::connect(self.address).await.unwrap()
        }
    }

    /// Everything until the server closes the connection, which it has to.
    async fn closed(mut client: TcpStream) -> String {
        let mut answer = String::new();
        timeout(LONG, client.read_to_string(&mut answer)).await.expect("it ends").unwrap();
        answer
    }

    /// What comes first.
    async fn some(client: &mut TcpStream) -> String {
        let mut answer = [0; 1024];
        let count = timeout(LONG, client.read(&mut answer)).await.expect("an answer comes").unwrap();
        String::from_utf8_lossy(&answer[..count]).into_owned()
    }
}
