//! Calls into the local networks and collects who answers.
//!
//! A call leaves from each IPv4 address of this device: the kernel sends a multicast from the interface that has the
//! address which its socket is bound to. Cameras on IPv6 alone are not found, and can be named by address.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs as _, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use crate::address::Host;
use crate::discovery::{Call, Found, GROUP};
use crate::limits;

/// How long to rest where nothing has come.
const NAP: Duration = Duration::from_millis(10);

/// Why nobody can be called.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// No socket.
    #[error("no call can be sent into the local networks: {0}")]
    Socket(io::Error),
}

/// Calls into all networks of this device for `time`, at most [`limits::SEARCH_MAX`], and answers who is there, each
/// once. Ends early once `enough` says so of one that answered.
pub fn search(time: Duration, enough: impl Fn(&Found) -> bool) -> Result<Vec<Found>, SearchError> {
    let mut sockets = Vec::new();
    for address in own_addresses().into_iter().take(limits::NETWORKS_MAX) {
        // An address may have gone in the meantime.
        let Ok(socket) = UdpSocket::bind((address, 0)) else { continue };
        socket.set_nonblocking(true).map_err(SearchError::Socket)?;
        sockets.push(socket);
    }
    if sockets.is_empty() {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).map_err(SearchError::Socket)?;
        socket.set_nonblocking(true).map_err(SearchError::Socket)?;
        sockets.push(socket);
    }
    Ok(gather(&sockets, GROUP.into(), time.min(limits::SEARCH_MAX), enough))
}

/// Calls one camera. `None` if it does not answer to calls, as those behind a firewall.
pub fn call(host: &Host) -> Result<Option<Found>, SearchError> {
    let name = host.to_string();
    let name = name.trim_start_matches('[').trim_end_matches(']');
    let Some(to) = (name, GROUP.1).to_socket_addrs().ok().and_then(|mut found| found.next()) else { return Ok(None) };
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { std::net::Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).map_err(SearchError::Socket)?;
    socket.set_nonblocking(true).map_err(SearchError::Socket)?;
    let found = gather(&[socket], to, limits::CALL_AGAIN * 2, |found| found.host == Host::from(to.ip()));
    Ok(found.into_iter().find(|found| found.host == Host::from(to.ip())))
}

/// Calls twice, and collects until `time` is over.
fn gather(sockets: &[UdpSocket], to: SocketAddr, time: Duration, enough: impl Fn(&Found) -> bool) -> Vec<Found> {
    let call = Call::new(fastrand::u128(..));
    let message = call.to_string();
    let began = Instant::now();
    let mut calls = 0;
    let mut answers = 0;
    let mut found: Vec<Found> = Vec::new();
    let mut buffer = vec![0; limits::DATAGRAM_BYTES_MAX];
    while began.elapsed() < time {
        if calls < 2 && began.elapsed() >= limits::CALL_AGAIN * calls {
            calls += 1;
            for socket in sockets {
                // A network may be down; the others are heard.
                let _ = socket.send_to(message.as_bytes(), to);
            }
        }
        let mut quiet = true;
        for socket in sockets {
            // Such as an ICMP error that answers the call.
            let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
            quiet = false;
            answers += 1;
            let Ok(camera) = call.answer(&buffer[..length], &Host::from(from.ip())) else { continue };
            let is_enough = enough(&camera);
            // A camera in two networks answers twice, and so does one that was called twice.
            if !found.iter().any(|known| known.name == camera.name) {
                found.push(camera);
            }
            if is_enough || found.len() >= limits::CAMERAS_MAX || answers >= limits::DATAGRAMS_MAX {
                return found;
            }
        }
        if quiet {
            thread::sleep(NAP);
        }
    }
    found
}

/// The IPv4 addresses of this device, from the kernel's own table.
fn own_addresses() -> Vec<Ipv4Addr> {
    fs::read_to_string("/proc/net/fib_trie").map(|table| local_addresses(&table)).unwrap_or_default()
}

/// The addresses that the table calls local to this host.
fn local_addresses(table: &str) -> Vec<Ipv4Addr> {
    let mut addresses = Vec::new();
    let mut last = None;
    for line in table.lines() {
        if let Some((_, address)) = line.split_once("|-- ") {
            last = address.trim().parse().ok();
        } else if line.contains("/32 host LOCAL")
            && let Some(address) = last
            && !addresses.contains(&address)
        {
            addresses.push(address);
        }
    }
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_table_tells_the_addresses_of_this_device() {
        let table = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 127.0.0.0\n        /8 host LOCAL\n     |-- 127.0.0.1\n        \
                     /32 host LOCAL\n     |-- 192.168.1.0\n        /24 link UNICAST\n     |-- 192.168.1.7\n        \
                     /32 host LOCAL\nLocal:\n     |-- 192.168.1.7\n        /32 host LOCAL\n";
        assert_eq!(local_addresses(table), [Ipv4Addr::LOCALHOST, Ipv4Addr::new(192, 168, 1, 7)]);
    }

    #[test]
    fn a_flood_of_answers_ends_the_search_and_not_the_memory() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let flood = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = flood.local_addr().unwrap();
        flood.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let flooding = thread::spawn(move || {
            let mut buffer = [0; 4096];
            let (length, back) = flood.recv_from(&mut buffer).unwrap();
            let call = String::from_utf8_lossy(&buffer[..length]).into_owned();
            let id = call.split("MessageID>").nth(1).unwrap().trim_end_matches("</a:").to_owned();
            let mut number = 0;
            // Until the other end is gone.
            while number < 200_000 && (number % 64 != 0 || flood.send_to(&[], back).is_ok()) {
                number += 1;
                let answer = format!(
                    "<e><RelatesTo>{id}</RelatesTo><ProbeMatch><EndpointReference><Address>urn:{number}</Address>\
                     </EndpointReference><XAddrs>http://127.0.0.1/</XAddrs></ProbeMatch></e>"
                );
                let _ = flood.send_to(answer.as_bytes(), back);
            }
        });
        let found = gather(&[socket], to, Duration::from_secs(30), |_| false);
        assert_eq!(found.len(), limits::CAMERAS_MAX);
        flooding.join().unwrap();
    }
}
