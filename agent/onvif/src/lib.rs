//! Finds ONVIF cameras and asks them for their streams.
//!
//! [`network::search`] calls into the local networks and collects who answers; [`client::look_up`] has a
//! [`Conversation`] with one camera: its maker and model, its profiles, and where each is streamed. The messages,
//! what their answers mean and what is asked next are decided without I/O; `network` and `client` only carry them.
//!
//! Whatever a camera says, nothing is asked of another address than the one that it answered from, and so no
//! other gets a password. Answers, their sizes, cameras, profiles and time are bounded by `limits`.
//!
//! It does not control cameras, takes no events, and speaks no TLS and no HTTP authentication.

pub mod address;
pub mod answer;
pub mod client;
pub mod conversation;
pub mod discovery;
pub mod limits;
pub mod network;
pub mod profile;
pub mod request;
mod xml;

pub use conversation::{Camera, Conversation, Credentials};
pub use profile::{Profile, Wanted};
