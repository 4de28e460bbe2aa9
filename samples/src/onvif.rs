//! An ONVIF device in front of simulated cameras: it answers calls, and tells who proves to know the password where
//! its streams are.
//!
//! It knows what `millrace-agent discover` and `onvif = …` ask, of both versions of the media service, and checks
//! proofs as cameras do: the digest, that its time is near the camera's own, which may be wrong, and that no proof is
//! used twice.

mod guard;
mod messages;

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use guard::Guard;
pub use messages::Profile;

/// Where cameras are called, WS-Discovery.
const GROUP: (Ipv4Addr, u16) = (Ipv4Addr::new(239, 255, 255, 250), 3702);

/// The longest request that is read.
const REQUEST_BYTES_MAX: u64 = 64 * 1024;

/// How often a thread looks whether it is over.
const PATIENCE: Duration = Duration::from_millis(200);

/// What a device is like.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The port of its services, at 127.0.0.1; 0 takes a free one.
    pub port: u16,
    /// The name that it keeps.
    pub name: String,
    /// Who made it, and its model.
    pub make: (String, String),
    /// The user and password that it wants, if it wants any.
    pub credentials: Option<(String, String)>,
    /// How many seconds its clock is ahead.
    pub clock_ahead: i64,
    /// Whether it has the newer media service as well.
    pub media2: bool,
    /// Whether it answers calls.
    pub answers_calls: bool,
    /// What it streams.
    pub profiles: Vec<Profile>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            port: 0,
            name: "urn:uuid:5f5a69c2-e0ae-504f-829b-00ceb5e1a0a1".to_owned(),
            make: ("Millrace".to_owned(), "Sample 1".to_owned()),
            credentials: None,
            clock_ahead: 0,
            media2: true,
            answers_calls: false,
            profiles: Vec::new(),
        }
    }
}

/// A running device; dropping it switches it off.
pub struct Device {
    address: SocketAddr,
    over: Arc<AtomicBool>,
}

impl Device {
    /// Switches a device on.
    pub fn start(settings: Settings) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", settings.port))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let over = Arc::new(AtomicBool::new(false));
        if settings.answers_calls {
            // Bound to the group, so that only calls arrive.
            let socket = UdpSocket::bind(GROUP)?;
            socket.join_multicast_v4(&GROUP.0, &Ipv4Addr::LOCALHOST)?;
            socket.set_read_timeout(Some(PATIENCE))?;
            let (settings, over) = (settings.clone(), Arc::clone(&over));
            thread::spawn(move || answer_calls(&socket, &settings, address, &over));
        }
        let guard = Arc::new(Guard::new(settings.credentials.clone(), settings.clock_ahead));
        let (settings, told) = (Arc::new(settings), Arc::clone(&over));
        thread::spawn(move || {
            while !told.load(Ordering::Acquire) {
                match listener.accept() {
                    Ok((stream, _)) => {
                        let (settings, guard) = (Arc::clone(&settings), Arc::clone(&guard));
                        thread::spawn(move || {
                            if let Err(error) = serve(stream, &settings, &guard, address) {
                                tracing::warn!(%error, "a request could not be answered");
                            }
                        });
                    }
                    Err(_) => thread::sleep(Duration::from_millis(10)),
                }
            }
        });
        Ok(Self { address, over })
    }

    /// Where its services are.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
    }
}

fn answer_calls(socket: &UdpSocket, settings: &Settings, address: SocketAddr, over: &AtomicBool) {
    let mut buffer = [0; 8192];
    while !over.load(Ordering::Acquire) {
        let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
        let call = String::from_utf8_lossy(&buffer[..length]);
        let Some(answer) = messages::probe_match(&call, settings, address) else { continue };
        // The answer comes from the address of the services, as a camera's does, and not from the group's.
        let sent = UdpSocket::bind((address.ip(), 0)).and_then(|own| own.send_to(answer.as_bytes(), from));
        if let Err(error) = sent {
            tracing::warn!(%error, "a call could not be answered");
        }
    }
}

/// Answers one request, and closes.
fn serve(mut stream: TcpStream, settings: &Settings, guard: &Guard, address: SocketAddr) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut reader = BufReader::new(stream.try_clone()?.take(REQUEST_BYTES_MAX));
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    let mut body = vec![0; usize::min(length, 60 * 1024)];
    reader.read_exact(&mut body)?;
    let (status, answer) = messages::answer(&String::from_utf8_lossy(&body), settings, guard, address);
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/soap+xml; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        answer.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(answer.as_bytes())
}
