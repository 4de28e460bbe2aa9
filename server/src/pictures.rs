//! Pictures out of stored fragments, which a program of its own makes: `millrace-images`.
//!
//! The server decodes no video. Decoders are large and are fed with what cameras send, so they run in processes that have neither
//! keys nor files of the server's, that are killed when they take too long, and whose crash costs one fragment its
//! pictures. Few run at a time, each for one caller, who gives it one fragment after the other.
//!
//! `wire` is what is spoken with such a process, `studio` starts them, `worker` is their end of it. This crate does not know
//! GStreamer: `millrace-images` is a program of the feature `images`, and a server that does not find it beside itself
//! makes no pictures.

mod studio;
mod wire;
pub mod worker;

pub(crate) use studio::{Studio, StudioError};
pub use wire::{Format, Order, Size};
