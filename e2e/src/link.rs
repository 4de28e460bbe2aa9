//! A slow line between an agent and a server: a UDP forwarder that lets so many bytes a second through.
//!
//! What comes faster waits in a short queue, and what finds that full is lost, as in a modem: so QUIC notices how
//! fast the line is. The way back is not held up.

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// What may wait: a quarter of a second of the line.
const QUEUE: Duration = Duration::from_millis(250);

/// No datagram is larger.
const DATAGRAM_BYTES_MAX: usize = 65_536;

/// The line. It works until the process ends.
#[derive(Debug)]
pub struct Link {
    address: SocketAddr,
}

/// A datagram on the line: when it is through, which way it goes, and what it says.
type OnTheWay = (Instant, UdpSocket, Vec<u8>);

impl Link {
    /// A line to `server` (`host:port`) of so many bytes a second.
    pub fn start(server: &str, bytes_per_second: u32) -> Link {
        let server: SocketAddr = server.parse().expect("an address of this machine");
        let near = UdpSocket::bind("127.0.0.1:0").expect("there is a free port");
        let address = near.local_addr().expect("a bound socket has an address");
        let (enter, line) = channel();
        thread::spawn(move || accept(&near, server, bytes_per_second, &enter));
        thread::spawn(move || deliver(&line));
        Link { address }
    }

    /// Where the agent sends to.
    pub fn address(&self) -> String {
        self.address.to_string()
    }
}

/// Each of the agent's ports has one of its own towards the server, as behind a router.
fn accept(near: &UdpSocket, server: SocketAddr, bytes_per_second: u32, line: &Sender<OnTheWay>) {
    let mut ways: HashMap<SocketAddr, UdpSocket> = HashMap::new();
    let mut free_at = Instant::now();
    let mut datagram = vec![0; DATAGRAM_BYTES_MAX];
    while let Ok((length, from)) = near.recv_from(&mut datagram) {
        let way = ways.entry(from).or_insert_with(|| way_back(near, from, server));
        let now = Instant::now();
        let begins = free_at.max(now);
        if begins - now > QUEUE {
            continue;
        }
        let bytes = u32::try_from(length).expect("a datagram is small");
        free_at = begins + Duration::from_secs(1) * bytes / bytes_per_second;
        let way = way.try_clone().expect("a socket can be doubled");
        if line.send((free_at, way, datagram[..length].to_vec())).is_err() {
            return;
        }
    }
}

fn deliver(line: &Receiver<OnTheWay>) {
    for (due, way, datagram) in line {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        // A server that is away takes nothing.
        let _ = way.send(&datagram);
    }
}

fn way_back(near: &UdpSocket, agent: SocketAddr, server: SocketAddr) -> UdpSocket {
    let far = UdpSocket::bind("127.0.0.1:0").expect("there is a free port");
    far.connect(server).expect("a UDP socket can be connected");
    let (from, to) = (far.try_clone().expect("a socket can be doubled"), near.try_clone().expect("likewise"));
    thread::spawn(move || {
        let mut datagram = vec![0; DATAGRAM_BYTES_MAX];
        loop {
            // An error says that the server is away; it may come back.
            match from.recv(&mut datagram) {
                Ok(length) => drop(to.send_to(&datagram[..length], agent)),
                Err(_) => thread::sleep(Duration::from_millis(10)),
            }
        }
    });
    far
}
