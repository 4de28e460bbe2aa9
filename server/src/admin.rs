//! The way in for the operator's commands: HTTP and JSON over a unix socket in the data folder.
//!
//! `POST /command` with a [`Command`], answered with an [`Answer`]. Whoever may open the socket (0600) owns
//! the data folder, so there is no other authentication.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use axum::extract::{DefaultBodyLimit, State};
use axum::routing::post;
use axum::{Json, Router};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

use crate::limits;
use crate::office::{Answer, Command, Office};

/// Why the admin socket can't be opened.
#[derive(Debug, thiserror::Error)]
#[error("can't open the admin socket {path}: {source}", path = path.display())]
pub struct SocketError {
    path: PathBuf,
    source: io::Error,
}

/// Why a running server could not be asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    #[error("no server runs on this data folder")]
    NotRunning,
    #[error("the running server did not answer: {0}")]
    NoAnswer(String),
}

/// A socket that is open for its owner only.
pub(crate) struct AdminSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl AdminSocket {
    /// Opens the socket. Call with the data folder's lock held: what lies at the path is then left from a
    /// server that was killed.
    pub(crate) fn open(path: &Path) -> Result<Self, SocketError> {
        let failed = |source| SocketError { path: path.to_owned(), source };
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        // The folder is 0700, so that nobody can come in between these two.
        let listener = UnixListener::bind(path).map_err(failed)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
        Ok(Self { listener, path: path.to_owned() })
    }

    /// Serves until told to stop, then removes the socket.
    pub(crate) async fn serve(self, office: Office, stop: CancellationToken) {
        let router = Router::new()
            .route("/command", post(command))
            .layer(DefaultBodyLimit::max(limits::ADMIN_BYTES_MAX))
            .with_state(office);
        let serve = axum::serve(self.listener, router).with_graceful_shutdown(stop.cancelled_owned());
        if let Err(error) = serve.await {
            tracing::error!(%error, "the admin socket failed");
        }
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn command(State(office): State<Office>, Json(command): Json<Command>) -> Json<Answer> {
    Json(office.carry_out(command).await)
}

/// Whether a server runs on this data folder and takes commands.
pub(crate) async fn answers(socket: &Path) -> bool {
    UnixStream::connect(socket).await.is_ok()
}

/// Asks the server that runs on this data folder.
pub(crate) async fn ask(socket: &Path, command: &Command) -> Result<Answer, AskError> {
    // Whatever stands in the way of the socket, the lock of the data folder tells whether a server runs.
    let stream = UnixStream::connect(socket).await.map_err(|_| AskError::NotRunning)?;
    let answer = tokio::time::timeout(command.patience(), exchange(stream, command)).await;
    let too_long = || format!("it takes longer than {} s", command.patience().as_secs());
    let answer = answer.map_err(|_| AskError::NoAnswer(too_long()))?;
    answer.map_err(|error| AskError::NoAnswer(error.to_string()))
}

async fn exchange(stream: UnixStream, command: &Command) -> Result<Answer, Box<dyn std::error::Error + Send + Sync>> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let body = Full::new(Bytes::from(serde_json::to_vec(command)?));
    let request = Request::post("/command").header("host", "admin").header("content-type", "application/json");
    let response = sender.send_request(request.body(body)?).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), limits::ADMIN_BYTES_MAX).collect().await?.to_bytes();
    connection.abort();
    if !status.is_success() {
        return Err(format!("{status}: {}", String::from_utf8_lossy(&body)).into());
    }
    Ok(serde_json::from_slice(&body)?)
}
