//! Every way in which a request can fail, and the one place that maps them to HTTP.
//!
//! The answer's body is JSON: `{"error": <stable code>, "message": <words for a person>}`.

use archive::{QueryError, ReadError};
use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use vault::{KeyError, KeyRefusal};

use crate::fleet::CommandError;

/// Why a request was not answered as asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    /// Neither a console session nor the console key was given.
    #[error(
        "not logged in: open the address that the server printed at its start, or send the console key as a Bearer token"
    )]
    NotLoggedIn,
    /// The request can't be understood; the text says what is wrong.
    #[error("{0}")]
    BadRequest(String),
    /// The path leads nowhere.
    #[error("there is nothing at this address")]
    NotFound,
    /// No stream has this name, or it was deleted.
    #[error("there is no stream {0:?}")]
    UnknownStream(String),
    /// No device has this name.
    #[error("there is no device {0:?}")]
    UnknownDevice(String),
    /// A device did not do what it was told; the text says why.
    #[error("{0}")]
    Device(CommandError),
    /// The stream of a playback token was deleted.
    #[error("the stream of this playback address no longer exists")]
    StreamGone,
    /// Nothing is stored that could be played as asked.
    #[error("{0}")]
    NothingToPlay(String),
    /// A playback token that this server has not made, or that was changed.
    #[error("this playback address is not valid: it was changed or made by another server; ask for a new one")]
    InvalidToken,
    /// A playback token past its time.
    #[error("this playback address has expired; ask for a new one")]
    ExpiredToken,
    /// A segment that the token doesn't cover, or that is past its retention.
    #[error("this segment is not part of what the playback address covers, or its retention has ended")]
    SegmentGone,
    /// The range of the past is longer than one playlist may be.
    #[error("{0}")]
    RangeTooLong(String),
    /// What is stored of a fragment is not what was written; where and how is in the log.
    #[error("this piece of the video is damaged on the server's disk; what comes before and after it plays")]
    Damaged,
    /// A fragment that can't be played in a browser.
    #[error("fragment {number} can't be played: {reason}")]
    Unplayable {
        /// The fragment.
        number: fragment::FragmentNumber,
        /// Why, in words.
        reason: String,
    },
    /// The key that video was sealed with can't be had; the text is for the log.
    #[error("{0}")]
    Key(KeyError),
    /// The request did not come, or could not be answered, in time.
    #[error("the request was not answered in time: it came too slowly, or the server has too much to do; try again")]
    Slow,
    /// The storage failed; the text is for the log.
    #[error("{0}")]
    Storage(String),
}

impl Problem {
    /// The status and the stable code of a problem.
    fn kind(&self) -> (StatusCode, &'static str) {
        match self {
            Self::NotLoggedIn => (StatusCode::UNAUTHORIZED, "not_logged_in"),
            Self::BadRequest(_) => (StatusCode::BAD_REQUEST, "bad_request"),
            Self::NotFound => (StatusCode::NOT_FOUND, "not_found"),
            Self::UnknownStream(_) => (StatusCode::NOT_FOUND, "unknown_stream"),
            Self::UnknownDevice(_) => (StatusCode::NOT_FOUND, "unknown_device"),
            Self::Device(CommandError::NoAnswer(..)) => (StatusCode::GATEWAY_TIMEOUT, "device_silent"),
            Self::Device(CommandError::Busy(_)) => (StatusCode::TOO_MANY_REQUESTS, "device_busy"),
            Self::Device(CommandError::Offline(..) | CommandError::Elsewhere(..) | CommandError::NoServer) => {
                (StatusCode::CONFLICT, "device_not_here")
            }
            Self::Device(_) => (StatusCode::BAD_GATEWAY, "device_failed"),
            Self::StreamGone => (StatusCode::NOT_FOUND, "stream_gone"),
            Self::NothingToPlay(_) => (StatusCode::NOT_FOUND, "nothing_to_play"),
            Self::InvalidToken => (StatusCode::FORBIDDEN, "invalid_token"),
            Self::ExpiredToken => (StatusCode::FORBIDDEN, "expired_token"),
            Self::SegmentGone => (StatusCode::NOT_FOUND, "segment_gone"),
            Self::RangeTooLong(_) => (StatusCode::BAD_REQUEST, "range_too_long"),
            // Not to be tried again: players go on behind it.
            Self::Damaged => (StatusCode::NOT_FOUND, "damaged"),
            Self::Unplayable { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "unplayable"),
            // Players try again after a 503, so that playback goes on when the key is there again.
            Self::Key(error) => (StatusCode::SERVICE_UNAVAILABLE, key_code(error)),
            Self::Slow => (StatusCode::SERVICE_UNAVAILABLE, "slow"),
            Self::Storage(_) => (StatusCode::SERVICE_UNAVAILABLE, "storage"),
        }
    }

    /// What the client reads. Storage errors name files, those of keys accounts; both belong in the log.
    fn message(&self) -> String {
        match self {
            Self::Storage(_) => "the server can't read its storage; its log says why".to_owned(),
            Self::Key(error) => match error.refusal() {
                Some(refusal @ KeyRefusal::Disabled) => {
                    format!("{refusal}: the master key of this video is disabled; playback goes on when it is enabled")
                }
                Some(refusal) => format!("{refusal}: the key of this video can't be had; the server's log says why"),
                None => "the key of this video can't be had; the server's log says why".to_owned(),
            },
            other => other.to_string(),
        }
    }
}

impl From<QueryError> for Problem {
    fn from(error: QueryError) -> Self {
        Self::Storage(error.to_string())
    }
}

impl From<CommandError> for Problem {
    fn from(error: CommandError) -> Self {
        match error {
            CommandError::Unknown(name) => Self::UnknownDevice(name.to_string()),
            CommandError::Storage(error) => Self::Storage(error.to_string()),
            CommandError::EmptyRange => Self::BadRequest(error.to_string()),
            error => Self::Device(error),
        }
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Vault(vault::ReadError::Key { source, .. }) => Self::Key(source),
            ReadError::Vault(error) if error.is_damage() => Self::Damaged,
            error => Self::Storage(error.to_string()),
        }
    }
}

fn key_code(error: &KeyError) -> &'static str {
    match error.refusal() {
        Some(KeyRefusal::Disabled) => "key_disabled",
        _ => "key",
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, code) = self.kind();
        match &self {
            Self::Storage(reason) => tracing::error!(%reason, "a request failed in the storage"),
            Self::Key(error) => tracing::error!(%error, "a request failed for lack of a key"),
            _ => {}
        }
        let body = Json(serde_json::json!({ "error": code, "message": self.message() }));
        // A problem may pass (nothing to play yet), so no cache may keep it.
        (status, [(header::CACHE_CONTROL, "no-store")], body).into_response()
    }
}
