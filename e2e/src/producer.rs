//! A producer of AWS's, as its own C SDK and `kvssink` on it behave on the wire: what they sign, how they write Matroska, in which
//! chunks they send it, and when they end.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use serde_json::Value;

/// libcurl's buffer of 64 KiB, less the head and the end of a chunk.
const CHUNK_BYTES: usize = 0xfff4;
const USER_AGENT: &str = "AWS-SDK-KVS-CPP-CLIENT/3.6.0/1.6.2 GCC/12.2.0 Linux/6.1.0 x86_64 CPPSDK";
/// How long an ack may take on a machine that does other things too.
const ACK_WAIT: Duration = Duration::from_secs(60);

/// An access key and its secret.
#[derive(Clone, Debug)]
pub struct AccessKey {
    /// The id.
    pub id: String,
    /// The secret.
    pub secret: String,
}

impl AccessKey {
    /// The key in what `millrace access-key create` prints.
    pub fn parse(printed: &str) -> AccessKey {
        let value = |name: &str| {
            let lines = printed.lines().filter_map(|line| line.strip_prefix("export ")?.split_once('='));
            let found = lines.filter(|(of, _)| *of == name).map(|(_, value)| value.to_owned()).next();
            found.unwrap_or_else(|| panic!("no {name} in {printed:?}"))
        };
        AccessKey { id: value("AWS_ACCESS_KEY_ID"), secret: value("AWS_SECRET_ACCESS_KEY") }
    }
}

/// A session of PutMedia.
#[derive(Debug)]
pub struct Producer {
    socket: TcpStream,
    acks: mpsc::Receiver<Value>,
}

/// From when a producer's times count.
#[derive(Clone, Copy, Debug)]
pub enum Timecodes {
    /// From 1970.
    Absolute,
    /// From so many milliseconds after 1970.
    Relative(u64),
}

impl Producer {
    /// Begins a session at `address` (host and port); it must be accepted.
    pub fn connect(address: &str, key: &AccessKey, stream: &str, timecodes: Timecodes) -> Producer {
        Producer::try_connect(address, key, stream, timecodes).unwrap_or_else(|error| panic!("PutMedia: {error}"))
    }

    /// Begins one, or says what came instead.
    pub fn try_connect(address: &str, key: &AccessKey, stream: &str, timecodes: Timecodes) -> io::Result<Producer> {
        let mut socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.write_all(head(address, key, stream, timecodes).as_bytes())?;
        let mut reader = BufReader::new(socket.try_clone()?);
        // libcurl sends no byte of the body before it is told to, or a second has passed.
        let mut status = read_head(&mut reader)?;
        if status.starts_with("HTTP/1.1 100 ") {
            status = read_head(&mut reader)?;
        }
        if !status.starts_with("HTTP/1.1 200 ") {
            return Err(io::Error::other(status));
        }
        let (told, acks) = mpsc::channel();
        thread::spawn(move || read_acks(reader, &told));
        Ok(Producer { socket, acks })
    }

    /// Sends a part of the body.
    pub fn send(&mut self, data: &[u8]) -> io::Result<()> {
        for piece in data.chunks(CHUNK_BYTES) {
            self.socket.write_all(&[format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat())?;
        }
        Ok(())
    }

    /// The next ack; `None` when the answer has ended, or the connection.
    pub fn next(&self) -> Option<Value> {
        match self.acks.recv_timeout(ACK_WAIT) {
            Ok(ack) => Some(ack),
            Err(mpsc::RecvTimeoutError::Disconnected) => None,
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("no ack within {ACK_WAIT:?}"),
        }
    }

    /// All acks up to and with the last of so many of one kind.
    pub fn until(&self, kind: &str, count: usize) -> Vec<Value> {
        let mut acks = Vec::new();
        while of_kind(&acks, kind).len() < count {
            acks.push(self.next().unwrap_or_else(|| panic!("the answer ended before {count} {kind}: {acks:?}")));
        }
        acks
    }

    /// Ends the body; gives the acks that still come.
    pub fn end(mut self) -> Vec<Value> {
        // A server that has ended the session does not listen.
        let _ = self.socket.write_all(b"0\r\n\r\n");
        std::iter::from_fn(|| self.next()).collect()
    }

    /// Breaks the connection.
    pub fn break_off(self) {
        let _ = self.socket.shutdown(Shutdown::Both);
    }

    /// Sends a whole session as kvssink does, which ends it when the last fragment is persisted; gives all acks.
    pub fn put(mut self, media: &Media) -> Vec<Value> {
        let sent = self.send(&media.session());
        sent.unwrap_or_else(|error| {
            panic!("the session broke off: {error}: {:?}", self.acks.try_iter().collect::<Vec<_>>())
        });
        let acks = self.until("PERSISTED", media.fragments.len());
        [acks, self.end()].concat()
    }
}

/// The acks of one kind.
pub fn of_kind<'a>(acks: &'a [Value], kind: &str) -> Vec<&'a Value> {
    acks.iter().filter(|ack| ack["EventType"] == kind).collect()
}

/// The head of the request. The C SDK leaves the port out of Host and signs it so, signs `connection` and `transfer-encoding`, and
/// writes the milliseconds of the start without zeros in front.
fn head(address: &str, key: &AccessKey, stream: &str, timecodes: Timecodes) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is set");
    let (kind, start_ms) = match timecodes {
        Timecodes::Absolute => ("ABSOLUTE", u64::try_from(now.as_millis()).expect("before the year 584 million")),
        Timecodes::Relative(start_ms) => ("RELATIVE", start_ms),
    };
    let (start, date) = (format!("{}.{}", start_ms / 1000, start_ms % 1000), amz_date(now));
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let signed = [
        ("connection", "keep-alive"),
        ("host", host),
        ("transfer-encoding", "chunked"),
        ("user-agent", USER_AGENT),
        ("x-amz-date", &date),
        ("x-amzn-fragment-acknowledgment-required", "1"),
        ("x-amzn-fragment-timecode-type", kind),
        ("x-amzn-producer-start-timestamp", &start),
        ("x-amzn-stream-name", stream),
    ];
    let authorization = authorization(key, &date, &signed);
    let lines: String = signed.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!(
        "POST /putMedia HTTP/1.1\r\n{lines}content-type: application/json\r\nAuthorization: {authorization}\r\nExpect: 100-continue\r\n\r\n"
    )
}

/// SigV4 over these headers and a body of no bytes.
fn authorization(key: &AccessKey, date: &str, signed: &[(&str, &str)]) -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let sha256 = |bytes: &[u8]| hex(digest(&SHA256, bytes).as_ref());
    let names: Vec<&str> = signed.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    let lines: String = signed.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    let canonical = format!("POST\n/putMedia\n\n{lines}\n{names}\n{}", sha256(b""));
    let scope = format!("{}/us-west-2/kinesisvideo/aws4_request", &date[..8]);
    let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", sha256(canonical.as_bytes()));
    let sign =
        |key: &[u8], text: &str| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec();
    let signing = scope.split('/').fold(format!("AWS4{}", key.secret).into_bytes(), |key, step| sign(&key, step));
    let signature = hex(&sign(&signing, &text));
    format!("AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}", key.id)
}

fn amz_date(now: Duration) -> String {
    let seconds = i64::try_from(now.as_secs()).expect("before the year 292 billion");
    let time = jiff::Timestamp::from_second(seconds).expect("before the year 9999");
    time.strftime("%Y%m%dT%H%M%SZ").to_string()
}

/// Reads a head; gives its first line, and the body where that is an error's.
fn read_head(reader: &mut BufReader<TcpStream>) -> io::Result<String> {
    let (mut first, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
            length = value.parse().map_err(io::Error::other)?;
        }
        if first.is_empty() {
            line.clone_into(&mut first);
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(first + &String::from_utf8_lossy(&body))
}

/// One ack a chunk: a line with a size, and a line with an object. The last chunk has the size 0.
fn read_acks(reader: BufReader<TcpStream>, told: &mpsc::Sender<Value>) {
    let lines = reader.lines().map_while(Result::ok).take_while(|line| line != "0");
    for line in lines.filter(|line| line.starts_with('{')) {
        let ack = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"));
        if told.send(ack).is_err() {
            return;
        }
    }
}

/// Media to be put: fragments that begin with key frames.
#[derive(Clone, Debug)]
pub struct Media {
    /// TrackEntry elements.
    tracks: Vec<u8>,
    /// Each at least one frame.
    pub fragments: Vec<Vec<Frame>>,
    /// What the times of frames count from, in ms since 1970.
    pub start_ms: u64,
}

/// A frame.
#[derive(Clone, Debug)]
pub struct Frame {
    track: u8,
    /// From the start of the media.
    ms: i64,
    key: bool,
    data: Vec<u8>,
}

impl Media {
    /// A file that ffmpeg reads, cut at the key frames of its first track, as if it began then. Sound goes with the pictures of
    /// its time, since AWS refuses fragments that overlap.
    pub fn of(file: &Path, start_ms: u64) -> Media {
        let mut command = Command::new("ffmpeg");
        command.args(["-v", "error", "-i"]).arg(file).args(["-map", "0:v?", "-map", "0:a?", "-c", "copy"]);
        let output = command.args(["-f", "matroska", "-"]).output().expect("ffmpeg can be run");
        assert!(output.status.success(), "ffmpeg: {}", String::from_utf8_lossy(&output.stderr));
        let (tracks, frames) = read(&output.stdout);
        let leads = |frame: &&Frame| frame.track == 1;
        let borders: Vec<i64> = frames.iter().filter(leads).filter(|frame| frame.key).map(|frame| frame.ms).collect();
        let mut fragments = vec![Vec::new(); borders.len()];
        for frame in frames {
            let at = borders.partition_point(|border| *border <= frame.ms).max(1) - 1;
            fragments[at].push(frame);
        }
        Media { tracks, fragments, start_ms }
    }

    /// All of it, as kvssink writes it, the end of the last fragment told by a tag.
    pub fn session(&self) -> Vec<u8> {
        let fragments = (0..self.fragments.len()).flat_map(|at| self.fragment(at));
        self.head().into_iter().chain(fragments).chain(tags(&[("AWS_KINESISVIDEO_END_OF_FRAGMENT", "")])).collect()
    }

    /// What stands before the first fragment.
    pub fn head(&self) -> Vec<u8> {
        let ebml: [(u32, &[u8]); 7] = [
            (0x4286, &[1]),
            (0x42f7, &[1]),
            (0x42f2, &[4]),
            (0x42f3, &[8]),
            (0x4282, b"matroska"),
            (0x4287, &[2]),
            (0x4285, &[2]),
        ];
        let ebml: Vec<u8> = ebml.iter().flat_map(|(id, data)| element(*id, data)).collect();
        let info = [element(0x2a_d7b1, &1_000_000_u64.to_be_bytes()), element(0x7ba9, b"Kinesis Video SDK")].concat();
        [
            element(0x1a45_dfa3, &ebml),
            [&0x1853_8067_u32.to_be_bytes()[..], &[0xff]].concat(),
            element(0x1549_a966, &info),
            element(0x1654_ae6b, &self.tracks),
        ]
        .concat()
    }

    /// When a fragment begins, in ms since 1970.
    pub fn timecode(&self, at: usize) -> u64 {
        let first = self.fragments[at].iter().map(|frame| frame.ms).min().unwrap_or_default();
        self.start_ms.saturating_add_signed(first)
    }

    /// A fragment: a Cluster whose size is not known.
    pub fn fragment(&self, at: usize) -> Vec<u8> {
        let timecode = self.timecode(at);
        let mut out = [&0x1f43_b675_u32.to_be_bytes()[..], &[0xff]].concat();
        out.extend([element(0xe7, &timecode.to_be_bytes()), element(0xa7, &[0])].concat());
        for frame in &self.fragments[at] {
            let relative = self.start_ms.cast_signed() + frame.ms - timecode.cast_signed();
            let relative = i16::try_from(relative).expect("fragments are short").to_be_bytes();
            let flags = if frame.key { 0x80 } else { 0 };
            out.extend(element(0xa3, &[&[0x80 | frame.track][..], &relative, &[flags], &frame.data].concat()));
        }
        out
    }
}

/// A Tags element.
pub fn tags(pairs: &[(&str, &str)]) -> Vec<u8> {
    let simple = |(name, value): &(&str, &str)| {
        element(0x67c8, &[element(0x45a3, name.as_bytes()), element(0x4487, value.as_bytes())].concat())
    };
    element(0x1254_c367, &element(0x7373, &pairs.iter().flat_map(simple).collect::<Vec<u8>>()))
}

/// An element whose size takes eight bytes, as all of kvssink's do.
fn element(id: u32, data: &[u8]) -> Vec<u8> {
    let id = &id.to_be_bytes()[id.leading_zeros() as usize / 8..];
    [id, &(data.len() as u64 | 1 << 56).to_be_bytes(), data].concat()
}

/// The tracks and frames of a document as ffmpeg writes it, in milliseconds.
fn read(document: &[u8]) -> (Vec<u8>, Vec<Frame>) {
    let (mut tracks, mut frames, mut sound) = (Vec::new(), Vec::new(), Vec::new());
    let segment = children(document).into_iter().find(|(id, _)| *id == 0x1853_8067).expect("a Segment").1;
    for (id, data) in children(segment) {
        match id {
            0x1654_ae6b => {
                for (id, entry) in children(data).into_iter().filter(|(id, _)| *id == 0xae) {
                    tracks.extend(element(id, entry));
                    let field =
                        |id: u32| children(entry).into_iter().find(|(of, _)| *of == id).map(|(_, data)| data[0]);
                    if field(0x83) == Some(2) {
                        sound.extend(field(0xd7));
                    }
                }
            }
            0x1f43_b675 => {
                let mut cluster_ms = 0;
                for (id, data) in children(data) {
                    match id {
                        0xe7 => cluster_ms = data.iter().fold(0, |value, &byte| value << 8 | i64::from(byte)),
                        0xa3 => frames.push(frame(data, cluster_ms, data[3] & 0x80 != 0)),
                        0xa0 => {
                            let key = !children(data).iter().any(|(id, _)| *id == 0xfb);
                            let block = children(data).into_iter().find(|(id, _)| *id == 0xa1).expect("a Block").1;
                            frames.push(frame(block, cluster_ms, key));
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    for frame in &mut frames {
        frame.key |= sound.contains(&frame.track);
    }
    (tracks, frames)
}

fn frame(block: &[u8], cluster_ms: i64, key: bool) -> Frame {
    assert!(block[0] & 0x80 != 0 && block[3] & 0x06 == 0, "small numbers of tracks, and no lacing");
    let relative = i64::from(i16::from_be_bytes([block[1], block[2]]));
    Frame { track: block[0] & 0x7f, ms: cluster_ms + relative, key, data: block[4..].to_vec() }
}

/// The elements in another, those of unknown size to its end.
fn children(mut data: &[u8]) -> Vec<(u32, &[u8])> {
    let mut found = Vec::new();
    while let Some(&first) = data.first() {
        let length = first.leading_zeros() as usize + 1;
        let id = data[..length].iter().fold(0, |id, &byte| id << 8 | u32::from(byte));
        let size_length = data[length].leading_zeros() as usize + 1;
        let coded = data[length..length + size_length].iter().fold(0, |size, &byte| size << 8 | u64::from(byte));
        let mask = (1_u64 << (7 * size_length)) - 1;
        let rest = &data[length + size_length..];
        let size =
            if coded & mask == mask { rest.len() } else { usize::try_from(coded & mask).expect("it is all there") };
        found.push((id, &rest[..size]));
        data = &rest[size..];
    }
    found
}
