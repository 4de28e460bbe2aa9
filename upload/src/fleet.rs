//! What server and device say to each other about the device itself: how it is, what it shall do, how it shall be
//! configured.
//!
//! ```text
//! device → server  Status (every few seconds), CommandResult, ConfigurationReport
//! server → device  Command, Configuration, Confirmation
//! ```
//!
//! They travel on the control stream beside acks, [`crate::control`] has their numbers. All texts in them are cut to a
//! limit at both ends, so that neither end has to trust the other's.

pub mod command;
pub mod configuration;
pub mod status;

pub use command::{Command, CommandKind, CommandPart, CommandResult, Fetched};
pub use configuration::{Configuration, ConfigurationReport, ConfigurationState, Confirmation};
pub use status::{CameraReport, ClockReport, MachineReport, SpoolReport, Status, Throttling};

/// As much of a text as `max` bytes hold, cut between characters.
pub(crate) fn cut(text: &str, max: usize) -> String {
    let end = (0..=max.min(text.len())).rev().find(|&at| text.is_char_boundary(at));
    text[..end.unwrap_or(0)].to_owned()
}
