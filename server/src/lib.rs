//! The media server: takes fragments over QUIC, keeps them sealed in the vault, plays them as HLS.
//!
//! It records no camera and decodes no picture (`pictures` has a program for that): devices send whole fragments, browsers get them
//! repackaged. The way of a fragment: `ingest` (QUIC) → `intake` (is it what it claims to be?) →
//! `archive::Archive::store` → the ack. Everything else stands around that: `devices`, `ca` and `join` say
//! who may send, `access_keys` who may call the AWS APIs, `credentials` gives devices keys for it, `presence` who does so now, `fleet` how the devices are and what they are told to do, `retention` deletes, `admin` is the way in for the
//! operator's commands, `http` the way out for viewers, `kinesis_video` the door for programs that were written for AWS.
//!
//! Start reading at [`serve::Server`].

mod access_keys;
mod admin;
mod backup;
mod budget;
mod ca;
pub mod cli;
pub mod config;
mod core_dumps;
mod credentials;
mod data_folder;
mod devices;
#[cfg(test)]
mod enrolled;
mod fleet;
mod http;
mod ingest;
mod intake;
mod join;
mod key_service;
mod kinesis_video;
mod limits;
mod master_keys;
mod media_secrets;
mod office;
mod peers;
pub mod pictures;
mod playable;
mod presence;
mod retention;
pub mod serve;
mod service;
mod shared_store;
mod storage;
mod telemetry;
