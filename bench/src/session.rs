//! How long it takes until a player has its first segment: GetHLSStreamingSessionURL, master playlist, media playlist, init and media segment,
//! beside nginx serving the same bytes as files.

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use e2e::{Agent, Server};

use crate::{figures, media, playback};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where data goes.
    #[arg(long)]
    dir: PathBuf,
    /// Sessions that are opened, one after another.
    #[arg(long, default_value_t = 500)]
    sessions: u32,
    /// Length of what is there to be played: the default's are 1000 fragments, as many as a playlist has unless asked otherwise.
    #[arg(long, default_value_t = 2000)]
    clip_seconds: u32,
}

const OPERATION: &str = "/getHLSStreamingSessionURL";

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let folder = tempfile::tempdir_in(&args.dir)?;
    let clip = media::clip(folder.path(), args.clip_seconds)?;
    let server = Server::start(folder.path());
    let output = Agent::enrolled(folder.path(), &server).once(&clip, "bench");
    anyhow::ensure!(output.status.success(), "the upload failed: {}", String::from_utf8_lossy(&output.stderr));
    let segments = server.everything("bench").segments;
    let (first, last) = (segments.first().context("a fragment")?, segments.last().context("a fragment")?);
    let player = Player::new(&server);

    figures::row(&["HLS session", "fragments", "until its address, p50", "p99", "until its first segment, p50", "p99"]);
    figures::row(&["---", "---", "---", "---", "---", "---"]);
    let newest = 5.min(segments.len());
    let range = (first.start.as_millisecond(), last.start.as_millisecond());
    let files = folder.path().join("www");
    std::fs::create_dir(&files)?;
    for (name, start, fragments) in [
        ("on demand, the last five", segments[segments.len() - newest].start.as_millisecond(), newest),
        ("on demand, all", range.0, segments.len()),
    ] {
        let open = || player.start(start, range.1);
        let bodies = open()?.bodies;
        let (mut addressed, mut started) = (Vec::new(), Vec::new());
        for _ in 0..args.sessions {
            let session = open()?;
            addressed.push(session.addressed);
            started.push(session.started);
        }
        row(&format!("millrace, {name}"), fragments, &mut [&mut addressed, &mut started]);

        for (i, body) in bodies.iter().enumerate() {
            std::fs::write(files.join(i.to_string()), body)?;
        }
        let nginx = playback::nginx(folder.path(), &files)?;
        let mut started = Vec::new();
        for _ in 0..args.sessions {
            let begun = Instant::now();
            for i in 0..bodies.len() {
                player.get(&format!("http://{}/{i}", playback::NGINX))?;
            }
            started.push(begun.elapsed());
        }
        nginx.stop();
        row(&format!("nginx, the same bytes as files, {name}"), fragments, &mut [&mut Vec::new(), &mut started]);
    }
    Ok(())
}

fn row(name: &str, fragments: usize, samples: &mut [&mut Vec<Duration>]) {
    let mut cells = vec![name.to_owned(), fragments.to_string()];
    for samples in samples {
        for percent in [50.0, 99.0] {
            let value = figures::percentile(samples, percent);
            cells.push(if samples.is_empty() { String::new() } else { figures::millis(value) });
        }
    }
    figures::row(&cells.iter().map(String::as_str).collect::<Vec<_>>());
}

/// A client with a key and a connection that it keeps.
struct Player {
    agent: ureq::Agent,
    address: String,
    identity: Credentials,
}

/// A session, once its first segment is there.
struct Started {
    addressed: Duration,
    started: Duration,
    /// Of playlists and segments, in the order in which they were asked for.
    bodies: Vec<Vec<u8>>,
}

impl Player {
    fn new(server: &Server) -> Self {
        let key = server.access_key();
        let identity = Credentials::new(&key[0].1, &key[1].1, None, None, "a bench");
        Self { agent: ureq::Agent::new_with_defaults(), address: server.address(""), identity }
    }

    fn start(&self, start_ms: i64, end_ms: i64) -> anyhow::Result<Started> {
        let asked = format!(
            "{{\"StreamName\":\"bench\",\"PlaybackMode\":\"ON_DEMAND\",\"HLSFragmentSelector\":{{\"FragmentSelectorType\":\"PRODUCER_TIMESTAMP\",\
             \"TimestampRange\":{{\"StartTimestamp\":{:.3},\"EndTimestamp\":{:.3}}}}}}}",
            start_ms as f64 / 1e3,
            end_ms as f64 / 1e3
        );
        let begun = Instant::now();
        let answer = self.call(&asked)?;
        let url = answer.split('"').nth(3).context("an address")?;
        let addressed = begun.elapsed();
        let folder = url.rsplit_once('/').context("a folder")?.0;
        let beside = |name: &str| format!("{folder}/{name}");
        let master = self.get(url)?;
        let media = self.get(&beside(line_with(&master, "getHLSMediaPlaylist")?))?;
        let init = self.get(&beside(line_with(&media, "getMP4InitFragment")?))?;
        let segment = self.get(&beside(line_with(&media, "getMP4MediaFragment")?))?;
        Ok(Started { addressed, started: begun.elapsed(), bodies: vec![master, media, init, segment] })
    }

    fn get(&self, url: &str) -> anyhow::Result<Vec<u8>> {
        Ok(self.agent.get(url).call()?.body_mut().with_config().limit(u64::MAX).read_to_vec()?)
    }

    fn call(&self, body: &str) -> anyhow::Result<String> {
        let identity = self.identity.clone().into();
        let parameters = v4::SigningParams::builder().identity(&identity).region("us-east-1").name("kinesisvideo");
        let parameters = parameters.time(SystemTime::now()).settings(SigningSettings::default()).build()?.into();
        let url = format!("{}{OPERATION}", self.address);
        let signable = SignableRequest::new("POST", &url, std::iter::empty(), SignableBody::Bytes(body.as_bytes()))?;
        let (instructions, _) = sign(signable, &parameters)?.into_parts();
        let request =
            instructions.headers().fold(self.agent.post(&url), |request, (name, value)| request.header(name, value));
        Ok(request.send(body)?.body_mut().read_to_string()?)
    }
}

/// The address in a playlist that names this file; the first one, or that of the variant.
fn line_with<'a>(playlist: &'a [u8], file: &str) -> anyhow::Result<&'a str> {
    let lines = std::str::from_utf8(playlist)?.lines().filter(|line| !line.starts_with("#EXT-X-MEDIA:"));
    let mut found = lines.filter_map(|line| line.split('"').find(|part| part.starts_with(file)));
    found.next().with_context(|| format!("no {file} in the playlist"))
}
