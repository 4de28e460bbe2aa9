//! Which of the device's addresses faces the server.
//!
//! Asked of the system by connecting a UDP socket, which sends nothing: it costs three system calls, needs no rights, and
//! says what matters of a cable that was moved, a lease that was renewed or a modem that took over.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// The way to the server, as it was when it was last looked at.
#[derive(Debug)]
pub(super) struct Way {
    to: SocketAddr,
    from: Option<IpAddr>,
}

impl Default for Way {
    /// To anywhere: an address that is kept for documentation.
    fn default() -> Self {
        Self::to((Ipv4Addr::new(192, 0, 2, 1), 9).into())
    }
}

impl Way {
    pub(super) fn to(to: SocketAddr) -> Self {
        Self { to, from: source(to) }
    }

    pub(super) fn server(&self) -> SocketAddr {
        self.to
    }

    /// Whether there is another address than before, or one again. Without any it is waited for the next.
    pub(super) fn has_changed(&mut self) -> bool {
        let from = source(self.to);
        from.is_some() && std::mem::replace(&mut self.from, from) != from
    }

    /// The same, where having none for a while is a change too.
    pub(super) fn has_come_back(&mut self) -> bool {
        let from = source(self.to);
        std::mem::replace(&mut self.from, from) != from && from.is_some()
    }
}

/// A socket that faces wherever the system sends from.
pub(super) fn any(to: SocketAddr) -> SocketAddr {
    if to.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() }
}

fn source(to: SocketAddr) -> Option<IpAddr> {
    let socket = UdpSocket::bind(any(to)).ok()?;
    socket.connect(to).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_that_stays_has_not_changed() {
        let mut way = Way::to(([127, 0, 0, 1], 9).into());
        assert!(!way.has_changed() && !way.has_come_back());
        way.from = Some([127, 0, 0, 7].into());
        assert!(way.has_changed() && !way.has_changed());
        way.from = None;
        assert!(way.has_come_back() && !way.has_come_back());
    }
}
