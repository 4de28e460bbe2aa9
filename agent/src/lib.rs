//! The edge agent: cameras in, fragments out.
//!
//! ```text
//! pipelines → recorder (cuts, writes Matroska) → scribe → spool (disk) → feed → upload::Sender → uplink (QUIC)
//!                                                              └───→ aws (PutMedia), if the destination is AWS
//! ```
//!
//! The spool stands between capture and the uplink and is all that they share: neither waits for the other.
//! A fragment is on disk before anything of it is sent, and leaves the disk only when the server has it on
//! its own. The agent decodes nothing and plays nothing, and it listens on no port but
//! that of its metrics, where the configuration names one.
//!
//! Start reading at [`run`], then [`recorder`], [`spool`] and [`uplink`].

#[cfg(feature = "aws")]
pub mod aws;
pub mod backoff;
pub mod calendar;
pub mod cameras;
#[cfg(feature = "capture")]
pub mod capture;
pub mod check;
pub mod clock;
pub mod config;
pub mod destination;
pub mod device;
pub mod discover;
pub mod enrol;
pub mod feed;
pub mod fetch;
pub mod fleet;
pub mod frozen;
pub mod holdings;
pub mod hours;
pub mod identity;
pub mod join;
pub mod limits;
pub mod metrics;
#[cfg(feature = "capture")]
pub mod once;
pub mod plan;
pub mod reason;
pub mod recorder;
pub mod recordings;
pub mod renewal;
pub mod run;
pub mod scribe;
pub mod service;
pub mod snapshot;
pub mod sparing;
pub mod state;
pub mod status;
pub mod timekeeper;
pub mod trust;
pub mod upkeep;
pub mod uplink;
pub mod wanted;
pub mod watchdog;

/// The agent's version, as the server's log shows it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
