//! The server's hold on the device: what it pushes, what it asks for, what it is told.
//!
//! `trial` decides what becomes of a pushed configuration, `store` keeps that over power cuts, `plan` which cameras a
//! new one stops and starts; `machine` and `reporter` say how the device is. [`crate::run`] carries it out.

pub mod machine;
pub mod plan;
pub mod reporter;
pub mod store;
pub mod trial;

use tokio::sync::mpsc;
use upload::{FromAgent, FromServer};

/// What the uplink hears that is about the device itself.
#[derive(Debug)]
pub enum Heard {
    /// The server answers; what is put in here is said to it. Ends with the connection.
    Connected(mpsc::Sender<FromAgent>),
    /// It said something.
    Told(FromServer),
}
