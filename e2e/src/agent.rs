//! The edge agent as a process: its configuration, its kills, its one-off uploads.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;

use crate::calendar::Calendar;
use crate::process::{Process, binary};
use crate::server::Server;
use crate::wait::until;

/// Where a stream's pictures come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// A camera at this address.
    Rtsp(String),
    /// A clip of the samples, in a loop and in real time.
    Loop(&'static str),
    /// Any other file, likewise.
    LoopOf(PathBuf),
}

/// A fragment that the server has on disk, as the agent heard it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Persisted {
    /// Its stream.
    pub stream: String,
    /// The id given at capture.
    pub id: String,
    /// The server's number.
    pub number: u64,
}

/// An agent with a state folder of its own, which it keeps over restarts.
#[derive(Debug)]
pub struct Agent {
    folder: PathBuf,
    environment: Vec<(String, String)>,
    calendar: Option<Calendar>,
    process: Option<Process>,
}

impl Agent {
    /// Enrols a device at `server` and starts an agent with these streams. Its state lies in `folder/state`.
    pub fn start(folder: &Path, server: &Server, streams: &[(&str, Source)]) -> Agent {
        Agent::start_at(folder, server, &server.upload_address(), streams)
    }

    /// The same, with another way to the server than the straight one.
    pub fn start_at(folder: &Path, server: &Server, address: &str, streams: &[(&str, Source)]) -> Agent {
        let mut agent = Agent::configured(folder, server, address, streams);
        agent.restart();
        agent
    }

    /// The same, not yet started.
    pub fn configured(folder: &Path, server: &Server, address: &str, streams: &[(&str, Source)]) -> Agent {
        let agent = Agent::enrolled_at(folder, server, address);
        agent.add(streams);
        agent
    }

    /// Prepares an agent that uploads to AWS and finds there what `environment` says.
    pub fn to_aws(folder: &Path, endpoint: &str, environment: &[(&str, &str)], streams: &[(&str, Source)]) -> Agent {
        let mut agent = Agent { folder: folder.to_owned(), environment: Vec::new(), calendar: None, process: None };
        fs::create_dir_all(folder).expect("the folder can be made");
        let text = format!(
            "state = {:?}\ndestination = \"aws\"\n\n[aws]\nregion = \"eu-central-1\"\nendpoint = {endpoint:?}\nstream_prefix = \"e2e-\"\n",
            agent.state(),
        );
        fs::write(agent.config(), text).expect("the configuration can be written");
        agent.add(streams);
        agent.set_environment(environment);
        agent
    }

    /// What its processes find from their next start on.
    pub fn set_environment(&mut self, environment: &[(&str, &str)]) {
        // No test asks the network for the role of an instance.
        let environment = [environment, &[("AWS_EC2_METADATA_DISABLED", "true")]].concat();
        self.environment = environment.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
    }

    fn add(&self, streams: &[(&str, Source)]) {
        let mut text = fs::read_to_string(self.config()).expect("the configuration was written a moment ago");
        for (stream, source) in streams {
            let looped = |file: &Path| {
                format!("\n[[camera]]\nstream = {stream:?}\nfile = {file:?}\nlooped = true\nfragment_seconds = 1.0\n")
            };
            text += &match source {
                Source::Rtsp(url) => format!("\n[[camera]]\nstream = {stream:?}\nurl = {url:?}\ntransport = \"tcp\"\n"),
                Source::Loop(name) => looped(&crate::clip(name)),
                Source::LoopOf(file) => looped(file),
            };
        }
        fs::write(self.config(), text).expect("the configuration can be written");
    }

    /// Prepares an agent without streams, for [`Agent::once`].
    pub fn enrolled(folder: &Path, server: &Server) -> Agent {
        Agent::enrolled_at(folder, server, &server.upload_address())
    }

    /// The same, with another way to the server than the straight one.
    pub fn enrolled_at(folder: &Path, server: &Server, address: &str) -> Agent {
        let agent = Agent { folder: folder.to_owned(), environment: Vec::new(), calendar: None, process: None };
        fs::create_dir_all(folder).expect("the folder can be made");
        // Each folder is a device of its own.
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        let token = server.add_device(&format!("e2e-{}", name.trim_start_matches('.')));
        let state = agent.state();
        let text = format!("state = {state:?}\n\n[server]\naddress = {address:?}\ntoken = {token:?}\n");
        fs::write(agent.config(), text).expect("the configuration can be written");
        agent
    }

    /// The command that runs it, for those who start it in their own way.
    pub fn command(&self) -> Command {
        let mut command = Command::new(binary("millrace-agent"));
        command.arg("run").arg("--config").arg(self.config());
        command
    }

    /// Starts it again after [`Agent::kill`] or [`Agent::stop`].
    pub fn restart(&mut self) {
        assert!(self.process.is_none(), "the agent runs already");
        let mut command = self.command();
        command
            .env("RUST_LOG", "info,millrace_agent=debug")
            .env("NO_COLOR", "1")
            .envs(self.environment.iter().cloned());
        self.process = Some(Process::start("millrace-agent", &mut command, &self.log()));
    }

    /// From its next start on its calendar says what [`Agent::set_clock`] told it; its monotonic clock goes on.
    pub fn with_calendar(&mut self, says: &str) {
        let calendar = Calendar::new(&self.folder, says);
        let environment = calendar.environment().map(|(name, value)| (name.to_owned(), value.to_owned()));
        self.environment.extend(environment);
        self.calendar = Some(calendar);
    }

    /// Sets its calendar, in the words of [`Calendar::set`].
    pub fn set_clock(&self, says: &str) {
        self.calendar.as_ref().expect("the agent has a calendar of its own").set(says);
    }

    /// What `status.json` says.
    pub fn status(&self) -> Value {
        let text = fs::read(self.state().join("status.json")).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// kill -9.
    pub fn kill(&mut self) {
        self.process.take().expect("the agent runs").kill();
    }

    /// Stops it in order.
    pub fn stop(&mut self) {
        let status = self.process.take().expect("the agent runs").stop();
        assert!(status.success(), "the agent stopped with {status}");
    }

    /// Starts it once more after [`Agent::stop`], without cameras, until nothing is left in its spool.
    pub fn send_the_rest(&mut self) {
        let text = fs::read_to_string(self.config()).expect("the agent has a configuration");
        let (without, _) = text.split_once("\n[[camera]]").expect("the agent has cameras");
        // Without a camera, it waits for a configuration that the server pushes.
        let waiting = format!("{without}\n[fleet]\npushed = \"accept\"\n");
        fs::write(self.config(), waiting).expect("the configuration can be written");
        self.restart();
        until("the last of the spool arrives", Duration::from_secs(60), || self.spooled().is_empty().then_some(()));
        self.stop();
        fs::write(self.config(), text).expect("the configuration can be written");
    }

    /// Has it say whether its configuration works.
    pub fn check(&self) -> Output {
        let mut command = Command::new(binary("millrace-agent"));
        command.envs(self.environment.iter().cloned());
        command.arg("check").arg("--config").arg(self.config()).output().expect("millrace-agent can be run")
    }

    /// Uploads a file, as a user would by hand.
    pub fn once(&self, file: &Path, stream: &str) -> Output {
        self.once_command(file, stream).output().expect("millrace-agent can be run")
    }

    /// The same at a terminal, which script(1) makes. What it shows is in `stdout`.
    pub fn once_at_a_terminal(&self, file: &Path, stream: &str) -> Output {
        let once = self.once_command(file, stream);
        let words = [once.get_program()].into_iter().chain(once.get_args());
        let line: Vec<String> = words.map(|word| format!("'{}'", word.to_string_lossy())).collect();
        let mut script = Command::new("script");
        script.args(["--quiet", "--return", "--flush", "--command", &line.join(" "), "/dev/null"]);
        script.output().expect("script can be run")
    }

    fn once_command(&self, file: &Path, stream: &str) -> Command {
        let mut command = Command::new(binary("millrace-agent"));
        command.envs(self.environment.iter().cloned());
        command.arg("once").arg(file).args(["--stream", stream]).arg("--config").arg(self.config());
        command
    }

    /// The number of its process.
    pub fn id(&self) -> u32 {
        self.process.as_ref().expect("the agent runs").id()
    }

    /// The fragments waiting in the spool of all streams, finished or not.
    pub fn spooled(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let Ok(streams) = fs::read_dir(self.state().join("spool")) else { return found };
        for stream in streams.flatten() {
            let Ok(files) = fs::read_dir(stream.path()) else { continue };
            found.extend(
                files.flatten().map(|file| file.path()).filter(|path| path.extension().is_some_and(|e| e == "frag")),
            );
        }
        found
    }

    /// The fragments of which the log says that they are persisted.
    pub fn persisted(&self) -> BTreeSet<Persisted> {
        let logged = self.logged();
        // A line that has no end yet is still being written.
        let whole = logged.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().filter(|line| line.contains(" persisted ")).map(Persisted::parse).collect()
    }

    /// Everything that it has said, in all its lives.
    pub fn logged(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.log()).unwrap_or_default()).into_owned()
    }

    /// How many fragments it has put aside because the server refused them for good.
    pub fn rejected(&self) -> usize {
        fs::read_dir(self.state().join("rejected")).map_or(0, Iterator::count)
    }

    /// Where its key, certificate and spool lie.
    pub fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    fn config(&self) -> PathBuf {
        self.folder.join("agent.toml")
    }

    fn log(&self) -> PathBuf {
        self.folder.join("agent.log")
    }
}

impl Persisted {
    /// Reads `stream=<name>`, `fragment=<id>` and `number=<number>` from a line of the log.
    fn parse(line: &str) -> Persisted {
        let field = |name: &str| {
            let value = line.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
            value.unwrap_or_else(|| panic!("no {name} in the log's line {line:?}"))
        };
        let number = field("number").parse().unwrap_or_else(|error| panic!("{line:?}: {error}"));
        Persisted { stream: field("stream").to_owned(), id: field("fragment").to_owned(), number }
    }
}
