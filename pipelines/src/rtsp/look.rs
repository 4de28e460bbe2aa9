//! A second look at a camera that could not be opened: GStreamer says "generic error" for most of what can be wrong.

use std::io::ErrorKind;
use std::net::{TcpStream, ToSocketAddrs};

use crate::{Error, limits};

/// Why nobody can be reached at `host`, when GStreamer could not; `error` itself if somebody can.
pub(super) fn explain(error: Error, host: &str, port: u16) -> Error {
    let Error::Unreachable { what, detail } = error else { return error };
    // Of an address in brackets only what is between them is one.
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let Some(address) = (bare, port).to_socket_addrs().ok().and_then(|mut addresses| addresses.next()) else {
        return Error::Unreachable { what, detail: format!("no address is known for the name {bare}") };
    };
    match TcpStream::connect_timeout(&address, limits::LOOK_MAX) {
        Ok(_) => Error::Unreachable { what, detail },
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Error::Refused { what, port },
        Err(error) if error.kind() == ErrorKind::TimedOut => Error::Unreachable {
            what,
            detail: "nothing answers there; is it switched on, and in this network?".to_owned(),
        },
        Err(error) => Error::Unreachable { what, detail: error.to_string() },
    }
}
