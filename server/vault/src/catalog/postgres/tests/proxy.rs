//! Something between the catalog and its server that breaks a connection at a chosen message, once.

use std::fs;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use tempfile::TempDir;

use services::Postgres;

/// What happens to the next transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trap {
    /// The connection breaks before the server gets the COMMIT.
    BeforeCommit,
    /// It breaks after the server has committed and before the client hears of it.
    AfterCommit,
    /// It breaks for the client; the server gets the COMMIT when it is released.
    CommitLate,
    /// It breaks for the client; the server gets all that stands behind BEGIN when it is released.
    AllLate,
}

/// A socket in a folder of its own that leads to the server's.
pub(super) struct Proxy {
    folder: TempDir,
    state: Arc<State>,
}

struct State {
    server: std::path::PathBuf,
    trap: Mutex<Option<Trap>>,
    /// Whether new connections are refused.
    closed: AtomicBool,
    late: Mutex<Option<Late>>,
    changed: Condvar,
}

/// What the server gets late.
struct Late {
    server: UnixStream,
    bytes: Vec<u8>,
}

impl Proxy {
    pub(super) fn before(server: &Postgres) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let state = Arc::new(State {
            server: server.folder().join(".s.PGSQL.5432"),
            trap: Mutex::default(),
            closed: AtomicBool::new(false),
            late: Mutex::default(),
            changed: Condvar::new(),
        });
        let listener = UnixListener::bind(folder.path().join(".s.PGSQL.5432")).unwrap();
        let serving = state.clone();
        // Ends with the test's process: what it waits for is the next connection.
        thread::spawn(move || serve(&listener, &serving));
        Self { folder, state }
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Breaks the next transaction.
    pub(super) fn set(&self, trap: Trap) {
        *self.state.trap.lock().unwrap() = Some(trap);
    }

    /// Refuses connections from the moment that a trap closes.
    pub(super) fn set_and_close(&self, trap: Trap) {
        self.state.closed.store(true, Ordering::SeqCst);
        self.set(trap);
    }

    /// Takes connections again.
    pub(super) fn reopen(&self) {
        self.state.closed.store(false, Ordering::SeqCst);
    }

    /// Sends what was held back, once there is something, and waits until the server has dealt with it.
    pub(super) fn release(&self) {
        let held = self.state.late.lock().unwrap();
        let mut held = self.state.changed.wait_while(held, |late| late.is_none()).unwrap();
        let Late { mut server, bytes } = held.take().unwrap();
        server.write_all(&bytes).unwrap();
        server.shutdown(Shutdown::Write).unwrap();
        io::copy(&mut server, &mut io::sink()).unwrap();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.folder.path().join(".s.PGSQL.5432"));
    }
}

fn serve(listener: &UnixListener, state: &Arc<State>) {
    for client in listener.incoming() {
        let Ok(client) = client else { return };
        let armed = state.trap.lock().unwrap().is_some();
        if state.closed.load(Ordering::SeqCst) && !armed {
            continue;
        }
        let Ok(server) = UnixStream::connect(&state.server) else { continue };
        let state = state.clone();
        thread::spawn(move || {
            // An error is a connection that ended, which both ends notice by themselves.
            let _ = relay(&client, &server, &state);
            let _ = client.shutdown(Shutdown::Both);
        });
    }
}

/// Passes messages on until one meets the trap.
fn relay(client: &UnixStream, server: &UnixStream, state: &State) -> io::Result<()> {
    let muted = Arc::new(AtomicBool::new(false));
    let answers = {
        let (from, to, muted) = (server.try_clone()?, client.try_clone()?, muted.clone());
        thread::spawn(move || pass_answers(from, to, &muted))
    };
    let (mut from, mut to) = (client.try_clone()?, server.try_clone()?);
    // The first message has no kind.
    to.write_all(&read_message(&mut from, false)?)?;
    let mut late = Vec::new();
    let mut holding = false;
    loop {
        let Ok(message) = read_message(&mut from, true) else {
            let _ = server.shutdown(Shutdown::Both);
            return Ok(());
        };
        if holding {
            late.extend_from_slice(&message);
        }
        let is_commit = message.ends_with(b"COMMIT\0");
        let trap = *state.trap.lock().unwrap();
        match trap {
            Some(Trap::AllLate) if message.ends_with(b"SERIALIZABLE\0") => {
                holding = true;
                to.write_all(&message)?;
                continue;
            }
            Some(trap) if is_commit => {
                *state.trap.lock().unwrap() = None;
                match trap {
                    Trap::BeforeCommit => server.shutdown(Shutdown::Both)?,
                    Trap::AfterCommit => {
                        muted.store(true, Ordering::SeqCst);
                        to.write_all(&message)?;
                        let _ = answers.join();
                        server.shutdown(Shutdown::Both)?;
                    }
                    Trap::CommitLate | Trap::AllLate => {
                        muted.store(true, Ordering::SeqCst);
                        let bytes = if holding { late } else { message };
                        *state.late.lock().unwrap() = Some(Late { server: server.try_clone()?, bytes });
                        state.changed.notify_all();
                    }
                }
                return Ok(());
            }
            _ if !holding => to.write_all(&message)?,
            _ => {}
        }
    }
}

/// Passes the server's bytes on; once muted, only waits for it to say that it has committed.
fn pass_answers(mut from: UnixStream, mut to: UnixStream, muted: &AtomicBool) {
    let mut buffer = [0; 1 << 16];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if muted.load(Ordering::SeqCst) {
            if buffer[..count].windows(7).any(|bytes| bytes == b"COMMIT\0") {
                return;
            }
        } else if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}

fn read_message(from: &mut UnixStream, has_kind: bool) -> io::Result<Vec<u8>> {
    let head = if has_kind { 5 } else { 4 };
    let mut message = vec![0; head];
    from.read_exact(&mut message)?;
    let length: [u8; 4] = message[head - 4..].try_into().expect("four bytes");
    let rest = u32::from_be_bytes(length) as usize - 4;
    message.resize(head + rest, 0);
    from.read_exact(&mut message[head..])?;
    Ok(message)
}
