//! The edge agent: cameras in, fragments out.
//!
//! ```text
//! pipelines → recorder (cuts, writes Matroska) → spool (disk) → feed → upload::Sender → uplink (QUIC)
//!                                                         └───→ aws (PutMedia), if the destination is AWS
//! ```
//!
//! The spool stands between capture and the uplink and is all that they share: neither waits for the other.
//! A fragment is on disk before anything of it is sent, and leaves the disk only when the server has it on
//! its own. The agent decodes nothing and plays nothing, and it listens on no port.
//!
//! Start reading at [`run`], then [`recorder`], [`spool`] and [`uplink`].

#[cfg(feature = "aws")]
pub mod aws;
pub mod backoff;
pub mod calendar;
#[cfg(feature = "capture")]
pub mod capture;
pub mod check;
pub mod clock;
pub mod config;
pub mod destination;
pub mod enrol;
pub mod feed;
pub mod identity;
pub mod limits;
#[cfg(feature = "capture")]
pub mod once;
pub mod recorder;
pub mod renewal;
pub mod run;
pub mod state;
pub mod status;
pub mod trust;
pub mod uplink;

/// The agent's version, as the server's log shows it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
