//! The control port: commands in, one a line, answers out.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Weak};
use std::thread;

use super::Camera;

/// Serves `listener` on a thread of its own, one connection after the other.
pub(super) fn listen(listener: TcpListener, camera: &Arc<Camera>) {
    let camera = Arc::downgrade(camera);
    thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            if let Err(error) = converse(&connection, &camera) {
                tracing::warn!(%error, "a control connection broke");
            }
        }
    });
}

fn converse(connection: &TcpStream, camera: &Weak<Camera>) -> io::Result<()> {
    let mut answers = connection;
    for line in BufReader::new(connection).lines() {
        let Some(camera) = camera.upgrade() else { return Ok(()) };
        writeln!(answers, "{}", camera.obey(&line?))?;
    }
    Ok(())
}
