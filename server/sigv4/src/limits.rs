//! The bounds of this crate, each with its reason.

use std::time::Duration;

/// How far the clock of whoever signs may be off, as at AWS.
pub const SKEW_MAX: Duration = Duration::from_secs(15 * 60);

/// The longest that an address signed beforehand works: a week, as at AWS.
pub const EXPIRES_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// Headers that one request may have signed: the most talkative SDK signs ten.
pub const SIGNED_HEADERS_MAX: usize = 64;

/// The longest id of an access key: the model of AWS's STS has it.
pub const ACCESS_KEY_CHARS_MAX: usize = 128;

/// The longest session token: what the producer SDK has room for.
pub const SESSION_TOKEN_BYTES_MAX: usize = 10_000;
