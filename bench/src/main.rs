//! Side-by-side measurements: each of ours beside a baseline, in the same run on the same machine.
//!
//! `bench parse` · `bench ingest` · `bench put-media` · `bench vault` · `bench archive` · `bench memory` · `bench playback` · `bench reads` · `bench session` · `bench agent` ·
//! `bench badlink` · `bench week`; each prints a Markdown
//! table. `scripts/bench.sh` calls them in turn.

mod agent;
mod archive;
mod badlink;
mod baseline;
mod figures;
mod ingest;
mod load;
mod media;
mod memory;
mod parse;
mod playback;
mod process;
mod put_media;
mod reads;
mod session;
mod vault;
mod week;

use clap::{Parser, Subcommand};

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Ingest over loopback QUIC to PERSISTED, beside disk, AES-256-GCM and plain quinn.
    Ingest(ingest::Args),
    /// PutMedia to PERSISTED, beside a bare hyper server that discards; memory for each idle producer.
    PutMedia(put_media::Args),
    /// Appends to the vault alone, beside the disk's own.
    Vault(vault::Args),
    /// The fragment index as it grows, beside the same code over rows in memory.
    Archive(archive::Args),
    /// Memory on a slow disk, on a full one, and through a sweep.
    Memory(memory::Args),
    /// HLS segments per second, beside nginx serving the same bytes as files.
    Playback(playback::Args),
    /// GetMedia, GetClip and ListFragments, beside nginx sending a file.
    Reads(reads::Args),
    /// The start of HLS sessions of the AWS API, beside nginx serving the same bytes as files.
    Session(session::Args),
    /// Matroska parsing, beside ffmpeg's demuxer.
    Parse(parse::Args),
    /// Uploads over a line that loses packets, beside HTTP over TCP; needs root.
    Badlink(badlink::Args),
    /// The device's end of `badlink`.
    #[command(hide = true)]
    BadlinkClient(badlink::ClientArgs),
    /// Weeks without a line: the spool's index, its drops, a start again, and how the device catches up.
    Week(week::Args),
    /// The agent on one 1080p30 RTSP camera, beside a bare gst-launch pipeline.
    Agent(agent::Args),
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Ingest(args) => ingest::run(&args),
        Command::PutMedia(args) => put_media::run(&args),
        Command::Vault(args) => vault::run(&args),
        Command::Archive(args) => archive::run(&args),
        Command::Memory(args) => memory::run(&args),
        Command::Playback(args) => playback::run(&args),
        Command::Reads(args) => reads::run(&args),
        Command::Session(args) => session::run(&args),
        Command::Parse(args) => parse::run(&args),
        Command::Badlink(args) => badlink::run(&args),
        Command::BadlinkClient(args) => badlink::run_client(&args),
        Command::Week(args) => week::run(&args),
        Command::Agent(args) => agent::run(&args),
    }
}
