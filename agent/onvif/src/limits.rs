//! The bounds of this crate, each with its reason.

use std::time::Duration;

/// The largest answer over HTTP: the profiles of a camera with four lenses take 100 kB.
pub const ANSWER_BYTES_MAX: u64 = 512 * 1024;

/// Elements, attributes and texts of one answer.
pub(crate) const ANSWER_NODES_MAX: u32 = 50_000;

/// How deep elements may lie in each other. ONVIF needs about ten.
pub(crate) const ANSWER_DEPTH_MAX: usize = 64;

/// The largest answer to a call: one datagram.
pub(crate) const DATAGRAM_BYTES_MAX: usize = 65_535;

/// Answers that are read after one call. Each camera sends one for each call and network.
pub(crate) const DATAGRAMS_MAX: usize = 4096;

/// Cameras in one search: as many as one agent takes.
pub const CAMERAS_MAX: usize = 256;

/// Addresses of this device from which is called.
pub(crate) const NETWORKS_MAX: usize = 32;

/// Profiles of one camera. Four lenses with four streams each are 16.
pub const PROFILES_MAX: usize = 64;

/// The longest name, token or address that is taken from a camera.
pub(crate) const TEXT_CHARS_MAX: usize = 512;

/// How long one answer may take: small cameras need a second or two.
pub(crate) const REQUEST_MAX: Duration = Duration::from_secs(4);

/// How long a conversation with one camera may take in all.
pub const LOOK_UP_MAX: Duration = Duration::from_secs(12);

/// A call is a datagram and may be lost; it is repeated after this long.
pub(crate) const CALL_AGAIN: Duration = Duration::from_millis(500);

/// How long is listened for answers unless the user says otherwise: the standard has cameras wait up to half a second,
/// slow ones take longer.
pub const SEARCH_DEFAULT: Duration = Duration::from_secs(3);

/// The longest search.
pub const SEARCH_MAX: Duration = Duration::from_secs(60);

/// Conversations at the same time in one search.
pub const CONVERSATIONS_MAX: usize = 8;
