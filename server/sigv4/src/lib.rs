//! AWS Signature Version 4 from the server's side.
//!
//! A request claims that somebody with an access key has signed it: in its `Authorization` header, or in its query when
//! its address was signed beforehand. [`Claim::read`] says what it claims; whoever called finds the secret of that key,
//! and [`Claim::verify`] computes the signature anew.
//!
//! It has no I/O, no list of keys and no clock: the request is lent to it, and `now` is an argument. It does not know which
//! operations there are, nor who may do what. Bodies in signed chunks (`STREAMING-…`) are refused: no client of Kinesis
//! Video Streams sends them.
//!
//! Nothing is required to be signed but the `host` header, and the date, which is always part of what is signed: the
//! SDKs of AWS differ in everything else. design/aws-api.md has a table.

mod canonical;
mod claim;
mod error;
pub mod limits;
mod time;
mod verify;

pub use canonical::{Request, canonical_request};
pub use claim::{Claim, Place};
pub use error::{ReadError, VerifyError};
pub use verify::Body;
