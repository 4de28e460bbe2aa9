//! Every way in which a call can fail, and the one place that maps them to HTTP.
//!
//! The answer as AWS gives it, and as its SDKs read it: a status, the header `x-amzn-ErrorType` with the bare name, and
//! `{"Message": "…"}`.

use archive::{QueryError, StreamError};
use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use sigv4::{ReadError, VerifyError};

use crate::access_keys::AccessKeyError;
use crate::limits;
use crate::playable::NotPlayable;

/// Why a call was not carried out.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// It is not signed, or not in a way that can be read.
    #[error("{0}")]
    Unsigned(#[from] ReadError),
    /// Its signature does not hold.
    #[error("{0}")]
    Signature(#[from] VerifyError),
    /// Nobody has its access key, or nobody any more.
    #[error("The security token included in the request is invalid: {0}")]
    UnknownKey(String),
    /// Its temporary key is over.
    #[error("{0}")]
    ExpiredToken(AccessKeyError),
    /// Who calls may not do this.
    #[error("User: {access_key} is not authorized to perform: kinesisvideo:{operation} on resource: {resource}")]
    AccessDenied { access_key: String, operation: &'static str, resource: String },
    /// What was sent is no JSON object.
    #[error("the request is no JSON object: {0}")]
    NotJson(String),
    /// What was sent is too large.
    #[error("the request has more than {max} bytes", max = limits::AWS_REQUEST_BYTES_MAX)]
    TooLarge,
    /// What was sent did not come to its end.
    #[error("the request broke off: {0}")]
    BrokenOff(String),
    /// A member breaks a rule; the text names it.
    #[error("{0}")]
    InvalidArgument(String),
    /// An ARN in an operation about tags is none.
    #[error("{0}")]
    InvalidResourceFormat(String),
    /// There is no such stream.
    #[error("The requested stream is not found or not active.")]
    NotFound,
    /// There is nothing in the range that is asked for.
    #[error("No fragments of the stream begin within the requested range.")]
    NoFragments,
    /// The name is taken, or others change the same stream all the time.
    #[error("{0}")]
    InUse(String),
    /// No device is configured for the stream.
    #[error("The stream has no edge configuration.")]
    NoEdgeConfiguration,
    /// It is too much at once; trying again later helps.
    #[error("{0}")]
    LimitExceeded(String),
    /// The stream was changed since the caller looked.
    #[error(
        "The stream version that you provided is not the newest; describe the stream, and try again with what it says."
    )]
    VersionMismatch,
    /// A resource has too many tags.
    #[error("A stream has at most {max} tags.", max = limits::TAGS_MAX)]
    TooManyTags,
    /// There are too many streams.
    #[error("{0}")]
    TooManyStreams(String),
    /// As many send media as may at once.
    #[error("The server has as many connections of producers as it takes, which is {max}.", max = limits::PRODUCERS_MAX)]
    TooManyProducers,
    /// As many read a stream at once as may.
    #[error("The stream has as many connections of this kind as it may have, which is {0}.")]
    TooManyConnections(usize),
    /// Nothing of the stream is kept.
    #[error("The stream does not retain data: its DataRetentionInHours is 0.")]
    NoDataRetention,
    /// What a track is coded with can't be played.
    #[error("{0}")]
    UnsupportedMediaType(String),
    /// A track does not say how it is to be decoded.
    #[error("{0}")]
    MissingCodecPrivateData(String),
    /// Or says it in a way that can't be read.
    #[error("{0}")]
    InvalidCodecPrivateData(String),
    /// The frames of a fragment are not what they should be.
    #[error("{0}")]
    InvalidMediaFrame(String),
    /// AWS has this operation and this server has not.
    #[error("{operation} is not implemented by this server: {reason}")]
    NotThere { operation: &'static str, reason: &'static str },
    /// It was asked by another method than POST.
    #[error("operations are called by POST")]
    NotPost,
    /// The server failed; the text is for the log.
    #[error("{0}")]
    Internal(String),
}

const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");

impl Refusal {
    /// Status and name.
    fn kind(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Unsigned(ReadError::Missing) => (StatusCode::FORBIDDEN, "MissingAuthenticationToken"),
            Self::Unsigned(_) => (StatusCode::BAD_REQUEST, "IncompleteSignature"),
            // With 403 the C WebRTC SDK looks for the right time in `Date`.
            Self::Signature(VerifyError::Expired { .. } | VerifyError::NotYetCurrent { .. }) => {
                (StatusCode::FORBIDDEN, "RequestExpired")
            }
            Self::Signature(_) => (StatusCode::FORBIDDEN, "SignatureDoesNotMatch"),
            Self::UnknownKey(_) => (StatusCode::FORBIDDEN, "InvalidClientTokenId"),
            Self::ExpiredToken(_) => (StatusCode::FORBIDDEN, "ExpiredTokenException"),
            Self::AccessDenied { .. } => (StatusCode::FORBIDDEN, "AccessDeniedException"),
            Self::NotJson(_) | Self::BrokenOff(_) => (StatusCode::BAD_REQUEST, "SerializationException"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLargeException"),
            Self::InvalidArgument(_) => (StatusCode::BAD_REQUEST, "InvalidArgumentException"),
            Self::InvalidResourceFormat(_) => (StatusCode::BAD_REQUEST, "InvalidResourceFormatException"),
            Self::NotFound | Self::NoFragments => (StatusCode::NOT_FOUND, "ResourceNotFoundException"),
            Self::InUse(_) => (StatusCode::BAD_REQUEST, "ResourceInUseException"),
            Self::NoEdgeConfiguration => (StatusCode::NOT_FOUND, "StreamEdgeConfigurationNotFoundException"),
            Self::LimitExceeded(_) => (StatusCode::BAD_REQUEST, "ClientLimitExceededException"),
            Self::VersionMismatch => (StatusCode::BAD_REQUEST, "VersionMismatchException"),
            Self::TooManyTags => (StatusCode::BAD_REQUEST, "TagsPerResourceExceededLimitException"),
            Self::TooManyStreams(_) => (StatusCode::BAD_REQUEST, "AccountStreamLimitExceededException"),
            Self::TooManyProducers => (StatusCode::BAD_REQUEST, "ConnectionLimitExceededException"),
            Self::TooManyConnections(_) => (StatusCode::BAD_REQUEST, "ConnectionLimitExceededException"),
            Self::NoDataRetention => (StatusCode::BAD_REQUEST, "NoDataRetentionException"),
            Self::UnsupportedMediaType(_) => (StatusCode::BAD_REQUEST, "UnsupportedStreamMediaTypeException"),
            Self::MissingCodecPrivateData(_) => (StatusCode::BAD_REQUEST, "MissingCodecPrivateDataException"),
            Self::InvalidCodecPrivateData(_) => (StatusCode::BAD_REQUEST, "InvalidCodecPrivateDataException"),
            Self::InvalidMediaFrame(_) => (StatusCode::BAD_REQUEST, "InvalidMediaFrameException"),
            Self::NotThere { .. } => (StatusCode::NOT_IMPLEMENTED, "NotImplementedException"),
            Self::NotPost => (StatusCode::METHOD_NOT_ALLOWED, "UnknownOperationException"),
            Self::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "InternalFailure"),
        }
    }

    /// What the caller reads. What failed inside belongs in the log.
    fn message(&self) -> String {
        match self {
            Self::Internal(_) => "the server failed; its log says why".to_owned(),
            other => other.to_string(),
        }
    }
}

impl From<AccessKeyError> for Refusal {
    fn from(error: AccessKeyError) -> Self {
        match error {
            AccessKeyError::Unknown(id) => Self::UnknownKey(format!("there is no access key {id}")),
            AccessKeyError::Disabled(_)
            | AccessKeyError::Token(_)
            | AccessKeyError::TokenMissing(_)
            | AccessKeyError::Withdrawn(_) => Self::UnknownKey(error.to_string()),
            AccessKeyError::Expired => Self::ExpiredToken(error),
            error => Self::Internal(error.to_string()),
        }
    }
}

impl From<QueryError> for Refusal {
    fn from(error: QueryError) -> Self {
        Self::Internal(error.to_string())
    }
}

impl From<NotPlayable> for Refusal {
    fn from(why: NotPlayable) -> Self {
        match why {
            NotPlayable::Unsupported(_) => Self::UnsupportedMediaType(why.to_string()),
            NotPlayable::MissingPrivateData { .. } => Self::MissingCodecPrivateData(why.to_string()),
            NotPlayable::InvalidPrivateData { .. } => Self::InvalidCodecPrivateData(why.to_string()),
        }
    }
}

impl From<StreamError> for Refusal {
    fn from(error: StreamError) -> Self {
        match error {
            StreamError::Exists(name) => Self::InUse(format!("The stream {name} already exists.")),
            StreamError::NotFound => Self::NotFound,
            StreamError::TooMany => Self::TooManyStreams(error.to_string()),
            StreamError::Changed => Self::VersionMismatch,
            StreamError::Retention(_) | StreamError::Ceiling { .. } => {
                Self::InvalidArgument(format!("dataRetentionInHours: {error}"))
            }
            error => Self::Internal(error.to_string()),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, name) = self.kind();
        if let Self::Internal(reason) = &self {
            tracing::error!(%reason, "a call of the AWS API failed");
        }
        let body = Json(serde_json::json!({ "Message": self.message() }));
        (status, [(ERROR_TYPE, HeaderValue::from_static(name))], body).into_response()
    }
}
