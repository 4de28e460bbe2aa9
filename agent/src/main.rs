//! `millrace-agent`: reads the command line, sets up the log, and hands over to the library.

mod cli;
mod viewing;

use std::io::IsTerminal as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::ExitCode;

use agent::config::{Config, Local, Server, Uplink};
use agent::join::Joined;
use agent::{check, discover, join, limits, run, service};
use anyhow::Context as _;
use clap::Parser as _;
use tracing_subscriber::EnvFilter;
use upload::JoinToken;

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
        Command::Run { config } => return run(&config).await,
        Command::Join { token, server, config } => join(&config, server.as_deref(), &token).await?,
        Command::Once { file, stream, start_time, target } => upload(file, stream, start_time, target).await?,
        Command::Recordings { command } => tokio::task::block_in_place(|| viewing::run(command))?,
        Command::Discover(arguments) => return tokio::task::block_in_place(|| discover(arguments)),
        Command::Check { config } => {
            let local = Local::load(&config)?;
            let config = check::effective(&local, &local.config().state, |line| println!("{line}"));
            let well = check::check(&config, |line| println!("{line}")).await;
            return Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn discover(arguments: cli::Discover) -> anyhow::Result<ExitCode> {
    let password = match (&arguments.password_file, arguments.ask) {
        (Some(file), _) => {
            let text = std::fs::read_to_string(file).with_context(|| format!("{} can't be read", file.display()))?;
            Some(text.trim_end_matches(['\r', '\n']).to_owned())
        }
        (None, true) => Some(discover::ask("Password: ").context("the password can't be read")?),
        (None, false) => None,
    };
    anyhow::ensure!(
        password.is_some() || arguments.user.is_none(),
        "--user needs a password: give --ask or --password-file FILE"
    );
    let credentials = arguments.user.zip(password).map(|(user, password)| onvif::Credentials { user, password });
    let password_file = arguments.password_file.map(|file| std::path::absolute(&file).unwrap_or(file));
    let request = discover::Request { credentials, password_file, address: arguments.address, time: arguments.timeout };
    let reports = discover::discover(&request)?;
    if arguments.json {
        print!("{}", discover::json(&reports, &request));
    } else if reports.is_empty() {
        println!(
            "No camera answered within {}. Is ONVIF switched on in the camera's settings, and is it in this network? Give \
             --address HOST for one that is not.",
            humantime::format_duration(arguments.timeout)
        );
    } else {
        print!("{}", discover::table(&reports, &request));
    }
    let any = reports.iter().any(|report| report.outcome.is_ok());
    Ok(if any { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs, and says to the service manager whether another start would do better.
async fn run(config: &Path) -> anyhow::Result<ExitCode> {
    let (error, needs_a_person) = match Local::load_with_what_can_be_read(config) {
        Err(error) => {
            let needs_a_person = !error.may_pass();
            (error.into(), needs_a_person)
        }
        Ok(config) => match as_owner(&config.config().state).map(|()| config) {
            Err(error) => return Err(error),
            Ok(config) => match run::run(config).await {
                Ok(()) => return Ok(ExitCode::SUCCESS),
                Err(error) => {
                    let needs_a_person = error.needs_a_person();
                    (anyhow::Error::from(error), needs_a_person)
                }
            },
        },
    };
    if !needs_a_person {
        return Err(error);
    }
    eprintln!("millrace-agent: {error:#}");
    service::say(&format!("{error:#}").replace('\n', " "));
    Ok(ExitCode::from(service::NEEDS_A_PERSON))
}

/// Goes on as the owner of the state folder, if this is root and it is another's: what root writes there that one could
/// not replace later.
fn as_owner(state: &Path) -> anyhow::Result<()> {
    let Some((user, group)) = join::owner_to_become(state) else { return Ok(()) };
    let program = std::env::current_exe().context("this program can't find itself")?;
    let error = std::process::Command::new(program).args(std::env::args_os().skip(1)).uid(user).gid(group).exec();
    Err(error).context("going on as the state folder's owner is not possible")
}

async fn join(path: &Path, server: Option<&str>, token: &JoinToken) -> anyhow::Result<()> {
    let config = join::configuration(path, server)?;
    as_owner(&config.state)?;
    let address = &config.server.address;
    match join::join(&config, token).await? {
        Joined::Now => println!("This device has joined {address}."),
        Joined::Before => println!("This device has tried this token before, and stays the one it is at {address}."),
    }
    if config.cameras.is_empty() {
        println!("Next: give it a camera in {}, and start the agent.", path.display());
    }
    Ok(())
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
        (Some(path), Some(address)) => {
            let mut config = Config::load_or_at(path, Some(&address))?;
            config.server.address = address;
            config
        }
        // As `run` does, which may have been pushed another server.
        (Some(path), None) => {
            let local = Local::load(path)?;
            let state = target.state.as_ref().unwrap_or(&local.config().state);
            check::effective(&local, state, |line| tracing::info!("{line}"))
        }
        (None, address) => Config {
            state: Path::new(".").to_owned(),
            server: Server { address: address.context("give --config or --server")?, token: None },
            aws: None,
            spool: limits::SPOOL_BYTES_DEFAULT.into(),
            metrics: None,
            uplink: Uplink::default(),
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
