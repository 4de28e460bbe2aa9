//! Matroska bytes, in both directions, without I/O.
//!
//! [`Writer`] turns a fragment into one self-contained document. [`Reader`] is a push parser for what
//! any tool writes: [`Reader::push`] bytes in any split, then [`Reader::next`] until nothing comes.
//! [`document()`] reads one whole stored fragment, [`parts()`] frames one anew. Payloads are handed on as slices of what was pushed.

mod block;
mod document;
mod ebml;
mod elements;
mod error;
mod event;
mod headers;
mod input;
mod level;
mod parts;
mod payload;
mod reader;
mod tags;
mod writer;

pub use document::{Document, document};
pub use elements::Id;
pub use error::{Error, ErrorKind};
pub use event::{Block, Event, Info, Limits};
pub use parts::{Parts, parts, tags_alone};
pub use payload::Payload;
pub use reader::Reader;
pub use tags::{END_OF_FRAGMENT, Tag};
pub use writer::{WriteError, Writer};

#[cfg(test)]
mod tests;
