//! What can be wrong with a signature. The texts go to whoever signed: they say what to do, and nothing of the secret.

/// Why it can't be told who is said to have signed a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// It is not signed at all.
    #[error("the request is not signed: it has neither an Authorization header nor X-Amz-Signature in its query")]
    Missing,
    /// It is signed in another way.
    #[error("the request is signed by {0:?}; this server verifies AWS4-HMAC-SHA256")]
    Algorithm(String),
    /// Something of the signature is missing or is not what it should be.
    #[error("the request's signature is incomplete: {0}")]
    Incomplete(String),
}

/// Why a signature does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// It was made too long ago, or was good until a time that is over.
    #[error("Signature expired: {signed} is now earlier than {limit}; set the clock of the machine that signs")]
    Expired {
        /// When it was made, or until when it was good.
        signed: String,
        /// The earliest that is taken.
        limit: String,
    },
    /// It is of a time that is yet to come.
    #[error("Signature not yet current: {signed} is still later than {limit}; set the clock of the machine that signs")]
    NotYetCurrent {
        /// When it was made.
        signed: String,
        /// The latest that is taken.
        limit: String,
    },
    /// It was made for something else.
    #[error("the credential is scoped to {found:?}, and has to be to {expected:?}")]
    Scope {
        /// What the request says.
        found: String,
        /// What it should say.
        expected: String,
    },
    /// A header that is said to be signed did not come.
    #[error(
        "the header {0:?} is said to be signed and is not in the request; a proxy that removes it makes the signature void"
    )]
    HeaderGone(String),
    /// The body is said to be signed in a way that is not known here.
    #[error("x-amz-content-sha256 is {0:?}: send the body's SHA-256 or UNSIGNED-PAYLOAD")]
    Payload(String),
    /// A body without an end is said to have this hash.
    #[error(
        "a body that is still being sent can't be held against x-amz-content-sha256: leave that out, or send UNSIGNED-PAYLOAD"
    )]
    StreamedHash,
    /// The body is another one than was signed.
    #[error("the body is not the one that x-amz-content-sha256 names")]
    Body,
    /// The signature is another one.
    #[error(
        "The request signature we calculated does not match the signature you provided. Check the secret access key and \
         the signing method"
    )]
    Mismatch,
}
