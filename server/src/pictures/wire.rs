//! What is spoken with a process that makes pictures, over its standard input and output.
//!
//! ```text
//! job   = [order bytes: 4][document bytes: 4][order: JSON][document: Matroska]
//! reply = for each time of the order: [picture bytes: 4][picture]        no bytes: none could be made
//! ```
//!
//! Numbers are big-endian. The process answers each job before it reads the next, and ends when there is none.

use serde::{Deserialize, Serialize};

/// Which pictures are wanted of a fragment, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// How they are coded.
    pub format: Format,
    /// How large they are.
    pub size: Size,
    /// Times after the fragment's beginning, in nanoseconds: what is seen then.
    pub at_ns: Vec<u64>,
}

/// How pictures are coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// With losses.
    Jpeg {
        /// 1 to 100.
        quality: u8,
    },
    /// Without.
    Png,
}

/// How large pictures are, in pixels. With one of the two the other follows from the picture's shape; with both it is
/// stretched; with none it stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// From left to right.
    pub width: Option<u32>,
    /// From top to bottom.
    pub height: Option<u32>,
}

/// The head of a job: the lengths of order and document.
pub(super) fn job_head(order: &[u8], document: &[u8]) -> Option<[u8; 8]> {
    let lengths = u32::try_from(order.len()).ok().zip(u32::try_from(document.len()).ok());
    let (order, document) = lengths?;
    let mut head = [0; 8];
    head[..4].copy_from_slice(&order.to_be_bytes());
    head[4..].copy_from_slice(&document.to_be_bytes());
    Some(head)
}

/// The lengths in such a head.
pub(super) fn lengths(head: [u8; 8]) -> (usize, usize) {
    let [a, b, c, d, e, f, g, h] = head;
    (u32::from_be_bytes([a, b, c, d]) as usize, u32::from_be_bytes([e, f, g, h]) as usize)
}
