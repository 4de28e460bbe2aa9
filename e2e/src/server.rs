//! The media server as a process: start, kill, restart, and the questions that tests ask it.

use std::fs;
use std::io::Write as _;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::camera::free_port;
use crate::playlist::{Playlist, Segment};
use crate::process::{Process, binary};
use crate::wait::until;

/// How long a start may take: recovery of the catalog on a busy machine included.
const START: Duration = Duration::from_secs(30);

/// A server with a data folder and ports of its own. It keeps them over restarts.
#[derive(Debug)]
pub struct Server {
    data: PathBuf,
    log: PathBuf,
    http: u16,
    quic: u16,
    /// Where it listens for devices.
    host: String,
    /// Given to the server and to every command.
    arguments: Vec<String>,
    /// Given to the server alone.
    serve_arguments: Vec<String>,
    environment: Vec<(String, String)>,
    process: Option<Process>,
}

/// What to play.
#[derive(Clone, Copy, Debug)]
pub enum Playback<'a> {
    /// The newest fragments, as they come.
    Live,
    /// A range of producer time, both ends in RFC 3339.
    Past(&'a str, &'a str),
}

/// What the server answered over HTTP.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Server {
    /// Starts a server whose data lies in `folder/data`.
    pub fn start(folder: &Path) -> Server {
        Server::start_with(folder, &[], &[])
    }

    /// Starts one with these arguments and variables, which its commands get too.
    pub fn start_with(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Server {
        let mut server = Server {
            log: folder.join("server.log"),
            arguments: arguments.iter().copied().map(str::to_owned).collect(),
            environment: environment.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect(),
            ..Server::of_others(&folder.join("data"))
        };
        server.restart();
        server
    }

    /// Starts one with these arguments of `serve`, which its commands don't get, and with these variables, which they do.
    pub fn start_serving(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Server {
        let mut server = Server {
            log: folder.join("server.log"),
            serve_arguments: arguments.iter().copied().map(str::to_owned).collect(),
            environment: environment.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect(),
            ..Server::of_others(&folder.join("data"))
        };
        server.restart();
        server
    }

    /// Starts one that listens for devices at another address of this machine than 127.0.0.1.
    pub fn start_at(folder: &Path, host: &str) -> Server {
        let mut server = Server { host: host.to_owned(), ..Server::of_others(&folder.join("data")) };
        server.restart();
        server
    }

    /// Whether a server on the same data, which is not running, starts with other arguments, and what it says.
    pub fn try_start_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> (bool, String) {
        let mut command = Command::new("timeout");
        command.arg("60").arg(binary("millrace")).arg("--data").arg(self.data()).args(arguments).arg("serve");
        command.args(["--http", &self.http_address(), "--quic", &self.upload_address()]);
        let output = command.envs(environment.iter().copied()).output().expect("millrace can be run");
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    }

    /// A server with data in `data` on free ports, which somebody else will start, and end.
    pub fn of_others(data: &Path) -> Server {
        let log = data.with_extension("log");
        Server {
            data: data.to_owned(),
            log,
            http: free_port(),
            quic: free_udp_port(),
            host: "127.0.0.1".to_owned(),
            arguments: Vec::new(),
            serve_arguments: Vec::new(),
            environment: Vec::new(),
            process: None,
        }
    }

    /// Starts it again after [`Server::kill`] or [`Server::stop`].
    pub fn restart(&mut self) {
        assert!(self.process.is_none(), "the server runs already");
        let mut command = self.command();
        command.arg("serve");
        command.args(["--http", &self.http_address()]);
        command.args(["--quic", &self.upload_address()]);
        command.args(&self.serve_arguments);
        let mut process = Process::start("millrace", &mut command, &self.log);
        let health = self.address("/healthz");
        until("the server is healthy", START, || {
            assert!(process.is_running(), "the server ended at its start:\n{}", process.output());
            (get(&health, None)?.status == 200).then_some(())
        });
        self.process = Some(process);
    }

    /// kill -9.
    pub fn kill(&mut self) {
        self.process.take().expect("the server runs").kill();
    }

    /// Stops it in order.
    pub fn stop(&mut self) {
        let status = self.process.take().expect("the server runs").stop();
        assert!(status.success(), "the server stopped with {status}");
    }

    /// The number of its process.
    pub fn id(&self) -> u32 {
        self.process.as_ref().expect("the server runs").id()
    }

    /// Where everything that it stores lies.
    pub fn data(&self) -> PathBuf {
        self.data.clone()
    }

    /// Where browsers and programs come in.
    pub fn http_address(&self) -> String {
        format!("127.0.0.1:{}", self.http)
    }

    /// Where agents upload to.
    pub fn upload_address(&self) -> String {
        format!("{}:{}", self.host, self.quic)
    }

    /// The full address of a path, which may be a full address already.
    pub fn address(&self, path: &str) -> String {
        if path.starts_with("http") { path.to_owned() } else { format!("http://{}{path}", self.http_address()) }
    }

    /// The console's address as the server prints it, key included.
    pub fn watch_address(&self) -> String {
        self.address(&format!("/?key={}", self.key()))
    }

    /// Runs an admin command and gives back what it printed; it must succeed.
    pub fn admin(&self, arguments: &[&str]) -> String {
        let (well, printed) = self.try_admin(arguments);
        assert!(well, "millrace {arguments:?}: {printed}");
        printed
    }

    /// Runs an admin command that reads this, and gives back what it printed; it must succeed.
    pub fn admin_with_input(&self, arguments: &[&str], input: &str) -> String {
        let mut command = self.command();
        let mut child =
            command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("millrace can be run");
        child.stdin.take().expect("it is piped").write_all(input.as_bytes()).expect("millrace reads");
        let output = child.wait_with_output().expect("millrace ends");
        assert!(output.status.success(), "millrace {arguments:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs an admin command; says whether it succeeded, and what it printed, with its complaint if it did not.
    pub fn try_admin(&self, arguments: &[&str]) -> (bool, String) {
        let output = self.command().args(arguments).output().expect("millrace can be run");
        let well = output.status.success();
        let printed = if well { output.stdout } else { [output.stdout, output.stderr].concat() };
        (well, String::from_utf8_lossy(&printed).into_owned())
    }

    /// A new access key that may do everything, as AWS's programs take it from the environment.
    pub fn access_key(&self) -> Vec<(String, String)> {
        // As a shell would take it.
        let printed = self.admin(&["access-key", "create"]);
        let key = printed.lines().filter_map(|line| line.strip_prefix("export ")?.split_once('='));
        let key: Vec<(String, String)> = key.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        assert_eq!(key.len(), 2, "{printed}");
        key
    }

    fn command(&self) -> Command {
        let mut command = Command::new(binary("millrace"));
        command.arg("--data").arg(self.data()).args(&self.arguments);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Adds a device and gives back its join token.
    pub fn add_device(&self, name: &str) -> String {
        let printed = self.admin(&["device", "add", name]);
        let word = printed.split(|c: char| c.is_whitespace() || c == '"').find(|word| word.starts_with("mrj1_"));
        word.unwrap_or_else(|| panic!("device add printed no token:\n{printed}")).to_owned()
    }

    /// What AWS's clients take from the environment to call this server: its address, and a new access key that may do everything.
    pub fn aws_environment(&self) -> Vec<(String, String)> {
        let mut environment = self.access_key();
        environment.push(("AWS_ENDPOINT_URL".to_owned(), self.address("")));
        environment.push(("AWS_DEFAULT_REGION".to_owned(), "us-west-2".to_owned()));
        environment
    }

    /// Asks as the console does, with the key.
    pub fn get(&self, path: &str) -> Answer {
        get(&self.address(path), Some(&self.key())).unwrap_or_else(|| panic!("GET {path}: no answer"))
    }

    /// Sends JSON as the console does, with the key.
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        let request = http().post(self.address(path)).header("Authorization", &format!("Bearer {}", self.key()));
        let sent = request.header("Content-Type", "application/json").send(body.to_string());
        let mut response = sent.unwrap_or_else(|error| panic!("POST {path}: {error}"));
        let status = response.status().as_u16();
        let body = response.body_mut().read_to_vec().unwrap_or_else(|error| panic!("POST {path}: {error}"));
        Answer { status, body }
    }

    /// Asks without any key, as a player with a playback address does.
    pub fn get_as_stranger(&self, path: &str) -> Answer {
        get(&self.address(path), None).unwrap_or_else(|| panic!("GET {path}: no answer"))
    }

    /// The address to play `stream` at, or `None` while the stream has nothing to play.
    pub fn try_playback(&self, stream: &str, what: Playback<'_>) -> Option<String> {
        let body = match what {
            Playback::Live => json!({"mode": "live"}),
            Playback::Past(start, end) => json!({"mode": "past", "start": start, "end": end}),
        };
        let url = self.address(&format!("/api/streams/{stream}/playback"));
        let key = format!("Bearer {}", self.key());
        let request = http().post(&url).header("Authorization", &key).header("Content-Type", "application/json");
        let mut response = request.send(body.to_string()).ok()?;
        let body = response.body_mut().read_to_string().ok()?;
        let answer: Value = serde_json::from_str(&body).ok()?;
        Some(self.address(answer.get("url")?.as_str()?))
    }

    /// The address to play `stream` at.
    pub fn playback(&self, stream: &str, what: Playback<'_>) -> String {
        until(&format!("{stream} can be played"), Duration::from_secs(20), || self.try_playback(stream, what))
    }

    /// The media playlist behind the playback address `url`, or `None` while there is none.
    pub fn try_playlist(&self, url: &str) -> Option<Playlist> {
        let multivariant = get(url, None).filter(|answer| answer.status == 200)?.text();
        let media = multivariant.lines().find(|line| !line.is_empty() && !line.starts_with('#'))?.to_owned();
        let media = beside(url, &media);
        let text = get(&media, None).filter(|answer| answer.status == 200)?.text();
        Some(Playlist::parse(&text, |uri| beside(&media, uri)))
    }

    /// All that is stored of `stream`, as the playlist of a range that holds everything.
    pub fn everything(&self, stream: &str) -> Playlist {
        self.try_everything(stream).unwrap_or_else(|| panic!("{stream} has nothing to play"))
    }

    /// All that is stored of `stream`, or `None` while there is nothing.
    pub fn try_everything(&self, stream: &str) -> Option<Playlist> {
        self.try_playlist(&self.try_whole(stream)?)
    }

    /// The address that plays all that is stored of `stream`, or `None` while there is nothing.
    pub fn try_whole(&self, stream: &str) -> Option<String> {
        let answer = get(&self.address("/api/streams"), Some(&self.key()))?;
        let listing: Value = serde_json::from_slice(&answer.body).ok()?;
        let listed = listing["streams"].as_array()?.iter().find(|listed| listed["name"] == stream)?;
        // The listing is in milliseconds, the range goes to the end of the last fragment.
        let last: jiff::Timestamp = listed["last"].as_str()?.parse().ok()?;
        let end = (last + Duration::from_secs(1)).to_string();
        self.try_playback(stream, Playback::Past(listed["first"].as_str()?, &end))
    }

    /// The address that plays all that is stored of `stream`.
    pub fn whole(&self, stream: &str) -> String {
        until(&format!("{stream} has something to play"), Duration::from_secs(20), || self.try_whole(stream))
    }

    /// The sum of a counter of `/metrics` over all its labels, since the server's start; `None` while it has counted
    /// nothing.
    pub fn try_metric(&self, name: &str) -> Option<f64> {
        let text = self.get("/metrics").text();
        let is_it = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
        let value = |line: &str| -> f64 {
            let value = line.rsplit(' ').next().unwrap_or_default();
            value.parse().unwrap_or_else(|error| panic!("{line}: {error}"))
        };
        text.lines().filter(is_it).map(value).reduce(|sum, value| sum + value)
    }

    /// A segment with its initialisation in front, as a player has them.
    pub fn segment(&self, segment: &Segment) -> Vec<u8> {
        let parts = [&segment.map, &segment.uri].map(|uri| {
            let answer = self.get_as_stranger(uri);
            assert_eq!(answer.status, 200, "GET {uri}: {}", answer.text());
            answer.body
        });
        parts.concat()
    }

    /// From its file, or as the server printed it where several have one.
    fn key(&self) -> String {
        if let Ok(text) = fs::read_to_string(self.data().join("console.key")) {
            return text.trim().to_owned();
        }
        let log = fs::read_to_string(&self.log).expect("the server has a log");
        let (_, printed) = log.rsplit_once("?key=").expect("the server has printed its key");
        printed.split_whitespace().next().unwrap_or_default().to_owned()
    }
}

/// `uri` as seen from the document at `base`.
fn beside(base: &str, uri: &str) -> String {
    if uri.starts_with("http") {
        return uri.to_owned();
    }
    let folder = base.rsplit_once('/').map_or(base, |(folder, _)| folder);
    format!("{folder}/{uri}")
}

fn get(url: &str, key: Option<&str>) -> Option<Answer> {
    let mut request = http().get(url);
    if let Some(key) = key {
        request = request.header("Authorization", &format!("Bearer {key}"));
    }
    let mut response = request.call().ok()?;
    let status = response.status().as_u16();
    // Larger than any segment: a fragment holds at most 50 MB.
    let body = response.body_mut().with_config().limit(64 << 20).read_to_vec().ok()?;
    Some(Answer { status, body })
}

/// A client for which an error status is an answer like any other.
fn http() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(20)))
        .build()
        .new_agent()
}

fn free_udp_port() -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("there is a free port");
    socket.local_addr().expect("a bound socket has an address").port()
}
