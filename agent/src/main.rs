//! `millrace-agent`: reads the command line, sets up the log, and hands over to the library.

mod cli;

use std::io::IsTerminal as _;
use std::path::Path;
use std::process::ExitCode;

use agent::config::{Config, Server};
use agent::{check, limits, run};
use anyhow::Context as _;
use clap::Parser as _;
use tracing_subscriber::EnvFilter;

use cli::{Cli, Command, LogFormat, Target};

fn main() -> ExitCode {
    let cli = Cli::parse();
    set_up_log(cli.log);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        // One thread drives the uplink: its work comes in small steps, and with more threads each step wakes
        // another one. Cameras and slow reads have threads of their own.
        .worker_threads(1)
        // A thread per camera, and a few to remove files.
        .max_blocking_threads(limits::CAMERAS_MAX + 16)
        .build();
    let outcome = match runtime {
        Ok(runtime) => {
            let outcome = runtime.block_on(dispatch(cli.command));
            // A pipeline that does not stop must not hold up the end.
            runtime.shutdown_timeout(std::time::Duration::from_secs(2));
            outcome
        }
        Err(error) => Err(error.into()),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("millrace-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn dispatch(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run { config } => run::run(Config::load(&config)?).await?,
        Command::Once { file, stream, start_time, target } => upload(file, stream, start_time, target).await?,
        Command::Check { config } => {
            let well = check::check(&Config::load(&config)?, |line| println!("{line}")).await;
            return Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(feature = "capture")]
async fn upload(
    file: std::path::PathBuf,
    stream: fragment::StreamName,
    start: Option<fragment::WallTime>,
    target: Target,
) -> anyhow::Result<()> {
    let config = resolve(target)?;
    Ok(agent::once::once(config, agent::once::Upload { file, stream, start }).await?)
}

#[cfg(not(feature = "capture"))]
async fn upload(
    _: std::path::PathBuf,
    _: fragment::StreamName,
    _: Option<fragment::WallTime>,
    target: Target,
) -> anyhow::Result<()> {
    resolve(target)?;
    anyhow::bail!("this agent was built without capture and can't read files")
}

/// The configuration, with what the command line says on top.
fn resolve(target: Target) -> anyhow::Result<Config> {
    let mut config = match (&target.config, target.server) {
        (Some(path), address) => {
            let mut config = Config::load(path)?;
            config.server.address = address.unwrap_or(config.server.address);
            config
        }
        (None, address) => Config {
            state: Path::new(".").to_owned(),
            server: Server { address: address.context("give --config or --server")?, token: None },
            aws: None,
            spool_bytes_max: limits::SPOOL_BYTES_DEFAULT,
            cameras: Vec::new(),
        },
    };
    if config.aws.is_some() {
        anyhow::ensure!(
            config.server.address.is_empty() && target.token.is_none(),
            "--server and --token have no effect with destination = \"aws\": remove them"
        );
    } else {
        Server::check_address(&config.server.address).map_err(anyhow::Error::msg)?;
    }
    if let Some(token) = target.token {
        config.server.token = Some(token.parse().context("--token")?);
    }
    config.state = target.state.unwrap_or(config.state);
    Ok(config)
}

fn set_up_log(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Json => log.json().init(),
        LogFormat::Text => {
            let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            log.with_ansi(colours).with_target(false).init();
        }
    }
}
