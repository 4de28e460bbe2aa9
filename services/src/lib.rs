//! The services of others that the server can work with, started by tests: real ones, each in a folder of its own that is
//! gone when it is dropped. `scripts/setup.sh test` installs them.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod postgres;
mod process;
mod s3;

pub use self::postgres::{Postgres, give_to_postgres};
pub use self::s3::S3;
