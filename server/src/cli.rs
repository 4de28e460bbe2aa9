//! The command line: raw arguments, and what each command prints.

mod access_key;
mod device;
mod secret;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use archive::{Rebuilt, Retention};
use axum::http::Uri;
use bytesize::ByteSize;
use clap::{Parser, Subcommand};
use jiff::Timestamp;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::spawn_blocking;
use vault::KmsKey;

use crate::admin::{self, AskError};
use crate::backup::{self, Manifest};
use crate::config::{Config, KeySettings, Limits, SharedStore, StorageSettings};
use crate::core_dumps;
use crate::data_folder::DataFolder;
use crate::fleet::Fleet;
use crate::master_keys::{self, KeyCommand, KeyInfo};
use crate::office::{Answer, CheckReport, Command, Office};
use crate::serve::{Opened, Server, when_free};
use crate::service;
use crate::storage::{Reindexed, Storage, StreamInfo};
use crate::telemetry;

/// Takes video fragments from devices, keeps them sealed, plays them in a browser.
#[derive(Debug, Parser)]
#[command(name = "millrace", version)]
pub struct Arguments {
    /// The folder that holds everything the server stores.
    #[arg(long, global = true, default_value = Config::DATA)]
    data: PathBuf,
    #[command(flatten)]
    storage: StorageArguments,
    #[command(subcommand)]
    command: Verb,
}

/// How what is stored is opened.
#[derive(Debug, clap::Args)]
struct StorageArguments {
    #[command(flatten)]
    keys: KeyArguments,
    /// A PostgreSQL database for the index, as postgres://user@host/database, where several servers work on the same
    /// streams; the password may stand in PGPASSWORD. Needs --store.
    #[arg(
        long,
        global = true,
        value_name = "URL",
        requires = "store",
        env = "MILLRACE_CATALOG",
        hide_env_values = true
    )]
    catalog: Option<String>,
    /// A bucket for video and keys, as s3://bucket/prefix, for several servers. Region and credentials come from AWS_REGION,
    /// AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the machine's role; profiles are not read. Needs --catalog.
    #[arg(long, global = true, value_name = "URL", requires = "catalog", env = "MILLRACE_STORE")]
    store: Option<String>,
    /// Another S3 than AWS's, by its URL.
    #[arg(long, global = true, value_name = "URL", requires = "store", env = "MILLRACE_STORE_ENDPOINT")]
    store_endpoint: Option<String>,
    /// The longest that anything is kept, whatever its stream says: 1h to 10 years.
    #[arg(long, global = true, value_name = "TIME", default_value = "7d", value_parser = ceiling)]
    max_retention: Duration,
}

/// Who wraps the data keys. Needed wherever the data folder is opened.
#[derive(Debug, clap::Args)]
struct KeyArguments {
    /// The file of the master keys, instead of the credential millrace.keyring or vault/master.keyring in the
    /// data folder.
    #[arg(long, global = true, value_name = "PATH")]
    keyring: Option<PathBuf>,
    /// A file with the passphrase of the keyring, instead of the credential millrace.passphrase, the variable
    /// MILLRACE_PASSPHRASE or a question at the terminal.
    #[arg(long, global = true, value_name = "PATH")]
    passphrase_file: Option<PathBuf>,
    /// The master key in AWS KMS, by id, ARN or alias, in place of a keyring. Region and credentials come from where
    /// AWS's tools take them: AWS_REGION, AWS_ACCESS_KEY_ID, AWS_PROFILE, the instance's role.
    #[arg(long, global = true, value_name = "KEY", conflicts_with_all = ["keyring", "passphrase_file"])]
    kms_key: Option<String>,
    /// Another KMS than AWS's, by its URL.
    #[arg(long, global = true, value_name = "URL", requires = "kms_key")]
    kms_endpoint: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the server.
    Serve {
        /// Where browsers and programs come in (TCP).
        #[arg(long, default_value = Config::HTTP)]
        http: SocketAddr,
        /// What programs written for AWS are told to send and fetch media by: where --http is reached from outside, as scheme,
        /// host and port.
        #[arg(long, value_name = "URL", value_parser = public_url)]
        public_url: Option<String>,
        /// Where devices come in (UDP).
        #[arg(long, default_value = Config::QUIC)]
        quic: SocketAddr,
        /// Where devices fetch temporary access keys with their certificates (TCP, TLS), as AWS IoT's credential provider gives
        /// them out; for kvssink and its like. Nowhere without it.
        #[arg(long, value_name = "ADDRESS")]
        credentials: Option<SocketAddr>,
        /// Keep so much of the disk free, such as 20GiB, by deleting what is oldest, though it is within its
        /// stream's retention; never what is younger than an hour. Without it a full disk makes devices wait.
        #[arg(long, value_name = "SIZE")]
        keep_free: Option<ByteSize>,
        /// Where folders lie into which images of fragments may go by themselves, as UpdateImageGenerationConfiguration names them
        /// (folder://NAME). Without it they go into buckets only.
        #[arg(long, value_name = "FOLDER")]
        images: Option<PathBuf>,
        /// What programs written for AWS may do: as much as this server takes, or what AWS's own quotas allow.
        #[arg(long, value_enum, default_value_t)]
        limits: Limits,
        /// Write logs as JSON, one object per line.
        #[arg(long)]
        log_json: bool,
    },
    /// Add, list, show, configure, command and revoke devices.
    #[command(subcommand)]
    Device(device::Verb),
    /// Create, list, disable, enable and delete access keys, with which programs written for AWS come in.
    #[command(subcommand)]
    AccessKey(access_key::Verb),
    /// Keep, list and delete addresses of cameras, which edge configurations of the AWS API name.
    #[command(subcommand)]
    Secret(secret::Verb),
    /// Create, list, describe, update and delete streams.
    #[command(subcommand)]
    Stream(StreamVerb),
    /// Read everything that is stored and say what disagrees. Works beside a running server; fails if it finds something.
    Check,
    /// Make the index again out of segments and keys, after it was lost or damaged. The server must not run.
    RebuildIndex,
    /// Copy everything that is stored into a new folder. Works beside a running server, which goes on writing. The master
    /// key is not in it, and without that nothing in it can be read.
    Backup {
        /// The folder, which does not exist yet.
        to: PathBuf,
    },
    /// Make a new data folder (--data) of a backup. Needs the keyring, or the KMS key, that the backup was made under.
    Restore {
        /// The backup's folder.
        from: PathBuf,
    },
    /// List, rotate, disable and enable the master keys that guard everything stored.
    #[command(subcommand)]
    Key(KeyVerb),
}

#[derive(Debug, Subcommand)]
enum KeyVerb {
    /// List the master keys, and how many data keys each guards.
    List,
    /// Make a new master key, wrap all data keys under it, and forget the old ones. Back up the keyring after it.
    Rotate,
    /// Stop all reads and writes of what a master key guards, at once. Devices keep what they have.
    Disable {
        /// The master key, as the list shows it.
        id: String,
    },
    /// Let a disabled master key be used again.
    Enable {
        /// The master key, as the list shows it.
        id: String,
    },
}

#[derive(Debug, Subcommand)]
enum StreamVerb {
    /// Create a stream. Streams also come into being at their first fragment.
    Create {
        /// Its name.
        name: String,
        /// How long its fragments are kept: 1h or more, and 7d at most unless --max-retention says otherwise. 0s is live
        /// only: for five minutes.
        #[arg(long, default_value = "24h", value_parser = humantime::parse_duration)]
        retention: Duration,
        /// How much of it is kept at most, such as 50GiB: the oldest goes first. Looked at once a minute.
        #[arg(long, value_name = "SIZE")]
        max_size: Option<ByteSize>,
    },
    /// List all streams.
    List,
    /// Say everything about one stream.
    Describe {
        /// Its name.
        name: String,
    },
    /// Change how long a stream is kept, and how much of it. What is stored already goes within minutes if it has to.
    Update {
        /// Its name.
        name: String,
        /// How long its fragments are kept: 1h or more, and 7d at most unless --max-retention says otherwise. 0s is live
        /// only: for five minutes.
        #[arg(long, value_parser = humantime::parse_duration, required_unless_present = "max_size")]
        retention: Option<Duration>,
        /// How much of it is kept at most, such as 50GiB, or "none" for no bound.
        #[arg(long, value_name = "SIZE", value_parser = size_or_none)]
        max_size: Option<ByteSize>,
    },
    /// Delete a stream and everything in it, at once and for good.
    Delete {
        /// Its name.
        name: String,
    },
}

impl Arguments {
    /// Does what was asked for.
    pub fn run(self) -> anyhow::Result<()> {
        // Before any key is unwrapped: commands do that too, while no server runs.
        core_dumps::forbid();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let command = match self.command {
            Verb::Serve { http, public_url, quic, credentials, keep_free, images, limits, log_json } => {
                telemetry::start_logs(log_json);
                let storage = self.storage.resolve(&self.data)?;
                if keep_free.is_some() && storage.shared.is_some() {
                    bail!("--keep-free is for a disk of one's own; a bucket has no end");
                }
                let keep_free = keep_free.map(|size| size.as_u64());
                let config =
                    Config { data: self.data, http, public_url, quic, credentials, keep_free, images, limits, storage };
                return runtime.block_on(serve(config));
            }
            Verb::Device(verb) => {
                let (command, form) = verb.resolve()?;
                let answer = runtime.block_on(ask(&self.data, self.storage, command.clone()))?;
                return device::print(&command, answer, &form);
            }
            Verb::AccessKey(verb) => {
                let command = Command::AccessKey(verb.command());
                return access_key::print(runtime.block_on(ask(&self.data, self.storage, command))?);
            }
            Verb::Secret(verb) => {
                let command = verb.command()?;
                let answer = runtime.block_on(ask(&self.data, self.storage, Command::Secret(command.clone())))?;
                return secret::print(&command, answer);
            }
            Verb::Stream(verb) => verb.command(),
            Verb::Check => Command::Check,
            Verb::RebuildIndex => return rebuild_index(&self.data, &self.storage),
            // The server may be at home in another folder.
            Verb::Backup { to } => Command::Backup { to: std::path::absolute(to)? },
            Verb::Restore { from } => return restore(&from, &self.data, &self.storage),
            Verb::Key(verb) => Command::Key(verb.command()),
        };
        let answer = runtime.block_on(ask(&self.data, self.storage, command.clone()))?;
        print(&command, answer)
    }
}

impl KeyArguments {
    fn resolve(&self, data: &Path) -> anyhow::Result<KeySettings> {
        let vault = DataFolder::vault_in(data);
        let kms = self.kms_key.clone().map(|id| KmsKey { id, endpoint: self.kms_endpoint.clone() });
        Ok(KeySettings::resolve(kms, self.keyring.clone(), self.passphrase_file.as_deref(), &vault)?)
    }
}

impl StorageArguments {
    fn resolve(&self, data: &Path) -> anyhow::Result<StorageSettings> {
        let endpoint = self.store_endpoint.clone();
        let places = self.catalog.clone().zip(self.store.clone());
        let shared = places.map(|(catalog, store)| SharedStore { catalog, store, endpoint });
        Ok(StorageSettings { keys: self.keys.resolve(data)?, shared, retention_max: self.max_retention })
    }
}

impl KeyVerb {
    fn command(self) -> KeyCommand {
        match self {
            Self::List => KeyCommand::List,
            Self::Rotate => KeyCommand::Rotate,
            Self::Disable { id } => KeyCommand::Disable { id },
            Self::Enable { id } => KeyCommand::Enable { id },
        }
    }
}

impl StreamVerb {
    fn command(self) -> Command {
        match self {
            Self::Create { name, retention, max_size } => Command::CreateStream {
                name,
                retention_seconds: retention.as_secs(),
                max_bytes: max_size.map(|size| size.as_u64()),
            },
            Self::List => Command::ListStreams,
            Self::Describe { name } => Command::DescribeStream { name },
            Self::Update { name, retention, max_size } => Command::UpdateStream {
                name,
                retention_seconds: retention.map(|time| time.as_secs()),
                max_bytes: max_size.map(|size| size.as_u64()),
            },
            Self::Delete { name } => Command::DeleteStream { name },
        }
    }
}

/// An address without a path: clients put theirs behind it, and some take `//` for another path than `/`.
fn public_url(text: &str) -> Result<String, String> {
    let url: Uri = text.parse().map_err(|error| format!("{error}"))?;
    let is_base = matches!(url.path(), "" | "/") && url.query().is_none();
    match (url.scheme_str(), url.authority()) {
        (Some(scheme @ ("http" | "https")), Some(authority)) if is_base => Ok(format!("{scheme}://{authority}")),
        _ => Err("write it as https://host or http://host:port, without a path".to_owned()),
    }
}

/// A time that a ceiling of retention may be.
fn ceiling(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    Retention::new(time).map(Retention::time).map_err(|error| error.to_string())
}

/// A size, or "none", which is told as 0.
fn size_or_none(text: &str) -> Result<ByteSize, String> {
    if text == "none" { Ok(ByteSize(0)) } else { text.parse() }
}

/// Runs the server until SIGTERM or SIGINT.
async fn serve(config: Config) -> anyhow::Result<()> {
    // Before the start: a signal that comes during it is not lost.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let server = Server::start(config).await?;
    println!("Devices: {}", server.quic());
    if let Some(address) = server.credentials() {
        println!("Credentials: {address}");
    }
    println!("Watch: {}", server.watch_url());
    tracing::info!(http = %server.http(), quic = %server.quic(), "the server runs");
    service::ready(&format!("browsers on {}, devices on {}", server.http(), server.quic()));
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        never = service::feed_watchdog(&server) => match never {},
    }
    service::stopping();
    tracing::info!("stopping");
    server.stop().await;
    Ok(())
}

/// Asks the running server, or does it here when none runs. One that is just starting or ending is waited for.
async fn ask(data: &Path, storage: StorageArguments, command: Command) -> anyhow::Result<Answer> {
    let folder = DataFolder::open(data)?;
    let mut settings = None;
    loop {
        match admin::ask(&folder.admin_socket(), &command).await {
            Ok(answer) => return Ok(answer),
            Err(AskError::NotRunning) => {}
            Err(error) => return Err(error.into()),
        }
        // Only now, because it may ask for a passphrase, which a running server has no need of.
        let settings = match &settings {
            Some(settings) => settings,
            None => settings.insert(storage.resolve(data)?),
        };
        if let Some(answer) = carry_out_here(&folder, settings, command.clone()).await? {
            return Ok(answer);
        }
    }
}

/// Carries a command out in this process; `None` if a server answers by now.
async fn carry_out_here(
    folder: &DataFolder,
    settings: &StorageSettings,
    command: Command,
) -> anyhow::Result<Option<Answer>> {
    const CLOSED: &str = "no server answers, and its data can't be opened here";
    let (opening, settings) = (folder.clone(), settings.clone());
    if let Command::Key(command) = command {
        let closed =
            when_free(folder, move || Ok(master_keys::Closed::open(&opening, &settings)?)).await.context(CLOSED)?;
        let Some(closed) = closed else { return Ok(None) };
        return Ok(Some(spawn_blocking(move || closed.carry_out(command)).await??));
    }
    let opened = when_free(folder, move || Opened::new(&opening, &settings)).await.context(CLOSED)?;
    let Some(Opened { storage, ca, devices, .. }) = opened else { return Ok(None) };
    let fleet = Fleet::new(&storage, devices.clone());
    Ok(Some(Office { ca, devices, storage, fleet, quic: None }.carry_out(command).await))
}

/// Prints an answer.
fn print(command: &Command, answer: Answer) -> anyhow::Result<()> {
    let out = &mut io::stdout().lock();
    match answer {
        Answer::Done => {}
        Answer::Streams(streams) => print_streams(out, &streams)?,
        Answer::Checked(report) => print_check(out, &report)?,
        Answer::BackedUp(manifest) => print_backup(out, command, &manifest)?,
        Answer::Keys(keys) => print_keys(out, &keys)?,
        Answer::Rotated { id, data_keys, retired } => print_rotated(out, &id, data_keys, &retired)?,
        Answer::Failed(why) => bail!(why),
        other => bail!("an answer to another command: {other:?}"),
    }
    Ok(())
}

fn print_streams(out: &mut impl io::Write, streams: &[StreamInfo]) -> io::Result<()> {
    writeln!(
        out,
        "{:24} {:>9} {:>9} {:>14} {:20} {:20} {:>9}",
        "STREAM", "RETENTION", "FRAGMENTS", "BYTES", "FIRST", "LAST", "MAX SIZE"
    )?;
    for info in streams {
        let retention = humantime::format_duration(Duration::from_secs(info.retention_seconds)).to_string();
        let (first, last) = (time(info.first_ns), time(info.last_ns));
        let max = info.max_bytes.map_or_else(|| "-".to_owned(), |max| ByteSize(max).to_string());
        let (fragments, bytes) = (info.fragments, info.bytes);
        writeln!(out, "{:24} {retention:>9} {fragments:>9} {bytes:>14} {first:20} {last:20} {max:>9}", info.name)?;
    }
    Ok(())
}

fn print_check(out: &mut impl io::Write, report: &CheckReport) -> anyhow::Result<()> {
    let CheckReport { segments, frames, bytes, fragments, unreferenced, findings, first } = report;
    writeln!(
        out,
        "Read {frames} frames in {segments} segments, {bytes} bytes, and the rows of {fragments} fragments."
    )?;
    if *unreferenced > 0 {
        writeln!(
            out,
            "{unreferenced} frames belong to no fragment any more and go with their segment; that is no fault."
        )?;
    }
    for finding in first {
        writeln!(out, "{finding}")?;
    }
    match findings {
        0 => Ok(writeln!(out, "Catalog, segments and keys agree.")?),
        _ => bail!(
            "{findings} disagreements; if rows are missing or lead nowhere, stop the server and run rebuild-index"
        ),
    }
}

fn rebuild_index(data: &Path, storage: &StorageArguments) -> anyhow::Result<()> {
    let folder = DataFolder::open(data)?;
    let Reindexed { rebuilt, aside, server_rows, cut } = Storage::rebuild_index(&folder, &storage.resolve(data)?)?;
    let Rebuilt { streams, fragments, skipped, damaged } = rebuilt;
    println!("{fragments} fragments of {streams} streams have their rows again.");
    if skipped + damaged > 0 {
        println!("{skipped} frames had been deleted or were copies; {damaged} places in segments are damaged.");
    }
    match server_rows {
        Ok(0) => println!("No device is known: let them join anew (millrace device add NAME)."),
        Ok(_) if cut => println!(
            "Devices are known as before the place where the old index is damaged: what was added or revoked last may be \
             undone (millrace device list)."
        ),
        Ok(_) => println!("Devices are known as before."),
        Err(why) => println!("The old catalog can't be read ({why}): devices have to join anew."),
    }
    if let Some(aside) = aside {
        println!("The old catalog lies in {}; delete it when all is well.", aside.display());
    }
    Ok(())
}

fn print_backup(out: &mut impl io::Write, command: &Command, manifest: &Manifest) -> io::Result<()> {
    let Manifest { rows, segments, bytes, keys, master_keys, .. } = manifest;
    if let Command::Backup { to } = command {
        writeln!(out, "{} holds {segments} segments of {bytes} bytes, {keys} keys and {rows} rows.", to.display())?;
    }
    writeln!(out, "Nothing in it can be read without its master key, which is not in it: {}.", master_keys.join(", "))?;
    writeln!(
        out,
        "On the disk of the data folder it shares its blocks: copy it to another disk, and the keyring elsewhere."
    )
}

fn restore(from: &Path, data: &Path, storage: &StorageArguments) -> anyhow::Result<()> {
    let manifest = backup::restore(from, data, || storage.resolve(data))?;
    let Manifest { made, segments, bytes, rows, .. } = manifest;
    println!("{} holds the backup of {made}: {segments} segments of {bytes} bytes, {rows} rows.", data.display());
    println!("What has expired since is not shown any more. Let the server of then and this one not run together.");
    Ok(())
}

fn print_keys(out: &mut impl io::Write, keys: &[KeyInfo]) -> io::Result<()> {
    writeln!(out, "{:16} {:11} {:5} {:>9} SINCE", "MASTER KEY", "STATE", "WRAPS", "DATA KEYS")?;
    for info in keys {
        let (wraps, since) = (if info.wraps { "yes" } else { "no" }, time(info.created_ns));
        writeln!(out, "{:16} {:11} {wraps:5} {:>9} {since}", info.id, info.state, info.data_keys)?;
    }
    Ok(())
}

fn print_rotated(out: &mut impl io::Write, id: &str, data_keys: u64, retired: &[String]) -> io::Result<()> {
    writeln!(out, "Master key {id} wraps from now on; {data_keys} data keys were wrapped anew.")?;
    for id in retired {
        writeln!(out, "Master key {id} guards nothing any more and was forgotten.")?;
    }
    writeln!(out, "Back up the keyring; keep the old copy as long as the backups of that time.")
}

/// A time as the operator reads it, to the second.
fn time(nanos: Option<i64>) -> String {
    let time = nanos.and_then(|nanos| Timestamp::from_second(nanos.div_euclid(1_000_000_000)).ok());
    time.map_or_else(|| "-".to_owned(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_url_has_no_path() {
        for (text, url) in [
            ("https://video.example", "https://video.example"),
            ("http://192.0.2.1:8080/", "http://192.0.2.1:8080"),
            ("http://[2001:db8::1]:80", "http://[2001:db8::1]:80"),
        ] {
            assert_eq!(public_url(text), Ok(url.to_owned()), "{text}");
        }
        for text in ["", "video.example", "video.example:80", "ftp://a", "https://a/b", "https://a?b", "https://"] {
            assert!(public_url(text).is_err(), "{text}");
        }
    }
}
