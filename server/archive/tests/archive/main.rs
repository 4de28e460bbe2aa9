//! The archive as the server uses it, on a real disk.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod interrupted;
mod repair;
mod retention;
mod stage;
mod storing;
mod streams;
