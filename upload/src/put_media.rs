//! PutMedia of Kinesis Video Streams: fragments that come as one endless Matroska document, without sockets.
//!
//! A producer sends a Segment whose Clusters never end, each a fragment, and hears of each what became of it while it goes on
//! sending. [`Splitter`] takes the bytes in any split and gives fragments, each as a document of its own that can be stored;
//! [`Ack`] is what is answered. What a producer may do is a matter of [`Limits`], and what breaks them has a number of AWS's
//! ([`Error`]). Who the producer is, how late it is, and whether a fragment could be stored is the caller's business.
//!
//! ```text
//! EBML header, Segment, Info, Tracks     once
//! Tags                                   of the next fragment
//! Cluster                                BUFFERING as soon as its Timestamp is there
//! Cluster, Tags or the end               RECEIVED: only now it is known that the one before is whole
//! Tags with END_OF_FRAGMENT              of the fragment before, which is whole by that
//! ```

mod ack;
mod course;
mod limits;
mod splitter;
mod tags;
#[cfg(test)]
mod tests;

pub use ack::Ack;
pub use limits::{Limits, Order};
pub use splitter::{Error, Event, Fragment, Splitter, Timecodes};
pub use tags::{END_OF_FRAGMENT, IMAGE_GENERATION, IMAGE_PREFIX, NOTIFICATION};
