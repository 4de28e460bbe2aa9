//! What programs written for AWS read: GetMedia and GetClip, beside nginx sending the clip as a file; and ListFragments on the index of
//! a week.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use archive::{Archive, Fragment, Retention};
use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use bytes::Bytes;
use e2e::{Agent, Server};
use fragment::{ClockQuality, FragmentId, Sequence, SessionId, WallTime};
use vault::Keyring;

use crate::{figures, media, playback};

const FRAGMENT: Duration = Duration::from_secs(2);
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);
const HOUR: Duration = Duration::from_secs(3600);
/// Fragments under way at once while the week is stored.
const AT_ONCE: u64 = 512;
/// Nothing for so long is the end of what is stored; it is not counted.
const SILENCE: Duration = Duration::from_secs(1);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where data goes.
    #[arg(long)]
    dir: PathBuf,
    /// Length of what is read.
    #[arg(long, default_value_t = 600)]
    clip_seconds: u32,
    /// Pages of fragments that are listed.
    #[arg(long, default_value_t = 2000)]
    pages: usize,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    media_beside_a_file(args)?;
    println!();
    list_a_week(args)
}

fn media_beside_a_file(args: &Args) -> anyhow::Result<()> {
    let folder = tempfile::tempdir_in(&args.dir)?;
    let clip = media::clip(folder.path(), args.clip_seconds)?;
    let server = Server::start(folder.path());
    let output = Agent::enrolled(folder.path(), &server).once(&clip, "bench");
    anyhow::ensure!(output.status.success(), "the upload failed: {}", String::from_utf8_lossy(&output.stderr));
    let client = Client::new(&server)?;
    let now = seconds(SystemTime::now());
    let range = serde_json::json!({ "StartTimestamp": now - 86_000.0, "EndTimestamp": now + 400.0 });
    let selector = serde_json::json!({ "FragmentSelectorType": "PRODUCER_TIMESTAMP", "TimestampRange": range });
    let clip = serde_json::json!({ "StreamName": "bench", "ClipFragmentSelector": selector }).to_string();
    let earliest = serde_json::json!({ "StreamName": "bench", "StartSelector": { "StartSelectorType": "EARLIEST" } });

    let files = folder.path().join("www");
    std::fs::create_dir(&files)?;
    let (_, mp4) = client.post("/getClip", &clip)?;
    std::fs::write(files.join("clip.mp4"), vec![7; usize::try_from(mp4.bytes)?])?;
    let nginx = playback::nginx(folder.path(), &files)?;
    let file = format!("GET /clip.mp4 HTTP/1.1\r\nhost: {0}\r\nconnection: close\r\n\r\n", playback::NGINX);

    figures::row(&["read over one connection", "rate", "first byte"]);
    figures::row(&["---"; 3]);
    let rows: [(&str, &dyn Fn() -> anyhow::Result<Took>); 3] = [
        ("nginx, a file as large as the clip", &|| Ok(ask(playback::NGINX, file.as_bytes())?.1)),
        ("millrace, GetMedia", &|| Ok(client.post("/getMedia", &earliest.to_string())?.1)),
        ("millrace, GetClip", &|| Ok(client.post("/getClip", &clip)?.1)),
    ];
    let measured = rows.iter().try_for_each(|(name, read)| {
        // The first time warms the caches of both.
        read()?;
        let took = read()?;
        let rate = figures::megabytes_per_second(took.bytes, took.all);
        figures::row(&[name, &format!("{rate:.0} MB/s"), &figures::millis(took.first)]);
        Ok(())
    });
    nginx.stop();
    measured
}

fn list_a_week(args: &Args) -> anyhow::Result<()> {
    let folder = tempfile::tempdir_in(&args.dir)?;
    let begin = now() - WEEK + HOUR;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let fragments = runtime.block_on(store_a_week(folder.path(), begin))?;
    let server = Server::start(folder.path());
    let client = Client::new(&server)?;
    figures::row(&["ListFragments, a week of fragments of 2 s", "pages", "fragments listed", "p50", "p99"]);
    figures::row(&["---"; 5]);
    for page in [100, 1000] {
        let mut took = Vec::with_capacity(args.pages);
        for _ in 0..args.pages {
            let start = begin + Duration::from_secs(fastrand::u64(..(WEEK - HOUR * 3).as_secs()));
            let (start, end) = (start.as_millis() as f64 / 1000.0, (start + HOUR).as_millis() as f64 / 1000.0);
            let range = serde_json::json!({ "StartTimestamp": start, "EndTimestamp": end });
            let selector = serde_json::json!({ "FragmentSelectorType": "PRODUCER_TIMESTAMP", "TimestampRange": range });
            let asked = serde_json::json!({ "StreamName": "week", "MaxResults": page, "FragmentSelector": selector });
            let (answer, page_took) = client.post("/listFragments", &asked.to_string())?;
            anyhow::ensure!(answer.contains("NextToken"), "an hour has more than a page: {answer}");
            took.push(page_took.all);
        }
        let all: Duration = took.iter().sum();
        let rate = args.pages as f64 / all.as_secs_f64();
        figures::row(&[
            &format!("{page} in a page, of {fragments}"),
            &format!("{rate:.0}/s"),
            &format!("{:.0}/s", rate * f64::from(page)),
            &figures::millis(figures::percentile(&mut took, 50.0)),
            &figures::millis(figures::percentile(&mut took, 99.0)),
        ]);
    }
    Ok(())
}

/// A week of fragments of one camera, in the data folder of a server that has not been started yet.
async fn store_a_week(folder: &Path, begin: WallTime) -> anyhow::Result<u64> {
    let vault = folder.join("data/vault");
    std::fs::create_dir_all(&vault)?;
    let archive = Archive::open(&vault, Arc::new(Keyring::of_vault(&vault)?))?;
    let stream = archive.create_stream(&"week".parse()?, Retention::new(WEEK)?, now())?;
    let count = (WEEK - HOUR).as_secs() / FRAGMENT.as_secs();
    for first in (0..count).step_by(usize::try_from(AT_ONCE)?) {
        let stores = (first..count.min(first + AT_ONCE)).map(|at| {
            let sequence = u32::try_from(at).expect("a week of them");
            let start = begin + FRAGMENT * sequence;
            let fragment = Fragment {
                id: FragmentId { session: SessionId(1), sequence: Sequence(sequence) },
                start,
                quality: ClockQuality::Synchronised,
                duration: FRAGMENT,
                tracks_fingerprint: 7,
                independent: true,
                codecs: vec!["avc1.640028".to_owned(), "mp4a.40.2".to_owned()],
                arrived: start + FRAGMENT,
                payload: Bytes::from_static(&[7; 16]),
            };
            archive.store(stream.id, fragment)
        });
        futures_util::future::try_join_all(stores).await?;
    }
    Ok(count)
}

/// Who asks the server, with a key of its own.
struct Client {
    host: String,
    id: String,
    secret: String,
}

/// How long an answer took, and how large it was.
#[derive(Clone, Copy)]
struct Took {
    first: Duration,
    all: Duration,
    bytes: u64,
}

impl Client {
    fn new(server: &Server) -> anyhow::Result<Self> {
        let printed = server.admin(&["access-key", "create"]);
        let value = |name: &str| {
            let line =
                printed.lines().find_map(|line| line.strip_prefix("export ")?.strip_prefix(name)?.strip_prefix('='));
            line.map(str::to_owned).with_context(|| format!("no {name} in {printed}"))
        };
        let host = server.address("").trim_start_matches("http://").to_owned();
        Ok(Self { host, id: value("AWS_ACCESS_KEY_ID")?, secret: value("AWS_SECRET_ACCESS_KEY")? })
    }

    /// Calls an operation over a connection of its own. Gives the answer, as far as it is JSON.
    fn post(&self, path: &str, body: &str) -> anyhow::Result<(String, Took)> {
        let identity = Credentials::new(&self.id, &self.secret, None, None, "bench").into();
        let parameters = v4::SigningParams::builder().identity(&identity).region("us-east-1").name("kinesisvideo");
        let settings = SigningSettings::default();
        let parameters = parameters.time(SystemTime::now()).settings(settings).build()?.into();
        let url = format!("http://{}{path}", self.host);
        let signable = SignableBody::Bytes(body.as_bytes());
        let signable = SignableRequest::new("POST", &url, std::iter::empty(), signable)?;
        let (instructions, _) = sign(signable, &parameters)?.into_parts();
        let mut request = format!("POST {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n", self.host);
        for (name, value) in instructions.headers() {
            request += &format!("{name}: {value}\r\n");
        }
        request += &format!("content-length: {}\r\n\r\n{body}", body.len());
        ask(&self.host, request.as_bytes())
    }
}

/// Sends a request and takes the answer, until it ends or nothing comes for a while.
fn ask(host: &str, request: &[u8]) -> anyhow::Result<(String, Took)> {
    let socket = TcpStream::connect(host)?;
    socket.set_nodelay(true)?;
    let began = Instant::now();
    (&socket).write_all(request)?;
    let mut reader = BufReader::with_capacity(256 * 1024, &socket);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head)? > 0 {}
    anyhow::ensure!(head.starts_with("HTTP/1.1 200"), "{head}");
    let is_json = head.to_ascii_lowercase().contains("content-type: application/json");
    // From here on silence is the end.
    socket.set_read_timeout(Some(SILENCE))?;
    let mut text = Vec::new();
    let mut took = Took { first: began.elapsed(), all: began.elapsed(), bytes: 0 };
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                if took.bytes == 0 {
                    took.first = began.elapsed();
                }
                took.bytes += count as u64;
                took.all = began.elapsed();
                if is_json {
                    text.extend_from_slice(&buffer[..count]);
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok((String::from_utf8_lossy(&text).into_owned(), took))
}

fn now() -> WallTime {
    WallTime::from_nanos(0) + SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64().floor()
}
