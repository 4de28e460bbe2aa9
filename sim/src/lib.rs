//! The vault and the agent's spool on a simulated disk, from a seed.
//!
//! [`VirtualDisk`] is a file system that forgets what was not synced when its power goes, tears and reorders
//! it, fails and lies at a sync, and fills up. The vault's and the spool's own code runs on it, unchanged; a model
//! says what must be readable after every cut. One seed is one run: the same operations in the same order, the same
//! cuts, the same log.
//!
//! What is not simulated: threads (the committer works when it is told to), time, and the catalog's own engine.
//! [`JournalCatalog`] stands in for it, with the same promise: what was committed is there, whole, after a cut.
//! That fjall keeps this promise, `server/vault/tests/syncs.rs` shows.
//!
//! Start reading at [`VirtualDisk`], then `vault_run.rs` or `spool_run.rs`.

mod catalog;
mod content;
mod disk;
mod entropy;
mod log;
mod nonces;
pub mod spool_run;
pub mod vault_run;

pub use self::catalog::JournalCatalog;
pub use self::disk::{Faults, VirtualDisk};
pub use self::entropy::{SeededEntropy, SeededKeys};
pub use self::log::Log;
