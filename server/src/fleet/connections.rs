//! Who is connected to this server, and which answers are waited for. In memory, and without I/O.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use fragment::WallTime;
use tokio::sync::mpsc;
use upload::FromServer;
use upload::fleet::{Command, CommandKind, CommandPart, CommandResult, Status};

use super::CommandError;
use super::sightings::Sighting;
use crate::devices::DeviceName;
use crate::limits;

/// Who is connected. A device that connects anew takes the place of its connection before.
#[derive(Clone, Default)]
pub(super) struct Connections(Arc<Inner>);

#[derive(Default)]
struct Inner {
    devices: Mutex<HashMap<DeviceName, Connection>>,
    /// Of connections and of commands.
    next: AtomicU64,
}

struct Connection {
    id: u64,
    say: mpsc::Sender<FromServer>,
    since: WallTime,
    remote: SocketAddr,
    agent_version: String,
    status: Option<(Status, WallTime)>,
    /// The newest version that the device has spoken of or was given.
    version: u64,
    /// Whether it has said what is in force: agents from before do not.
    reports: bool,
    pending: HashMap<u64, mpsc::Sender<CommandPart>>,
}

/// A command that was sent.
#[derive(Debug)]
pub(super) struct Asked {
    parts: mpsc::Receiver<CommandPart>,
    _given_up: GivenUp,
}

/// Forgets a command when nobody waits for it any more.
struct GivenUp {
    connections: Connections,
    name: DeviceName,
    command: u64,
}

impl std::fmt::Debug for GivenUp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GivenUp").field("command", &self.command).finish_non_exhaustive()
    }
}

impl Connections {
    pub(super) fn connect(
        &self,
        name: &DeviceName,
        remote: SocketAddr,
        agent_version: &str,
        since: WallTime,
    ) -> (u64, mpsc::Receiver<FromServer>) {
        let (say, queue) = mpsc::channel(limits::WORDS_QUEUED_MAX);
        let id = self.0.next.fetch_add(1, Relaxed);
        let agent_version = agent_version.chars().take(limits::AGENT_VERSION_CHARS_MAX).collect();
        let connection = Connection {
            id,
            say,
            since,
            remote,
            agent_version,
            status: None,
            version: 0,
            reports: false,
            pending: HashMap::new(),
        };
        self.lock().insert(name.clone(), connection);
        (id, queue)
    }

    /// The connection has ended; what was known of the device, unless it is connected anew.
    pub(super) fn leave(&self, name: &DeviceName, id: u64, server: &str) -> Option<Sighting> {
        let mut devices = self.lock();
        let connection = devices.get(name).filter(|connection| connection.id == id)?;
        let seen = connection.sighting(server);
        devices.remove(name);
        Some(seen)
    }

    pub(super) fn sighting(&self, name: &DeviceName, server: &str) -> Option<Sighting> {
        self.lock().get(name).map(|connection| connection.sighting(server))
    }

    pub(super) fn note_status(&self, name: &DeviceName, id: u64, status: Status, at: WallTime) {
        self.with(name, id, |connection| connection.status = Some((status, at)));
    }

    /// The device has spoken of this version, or was given it.
    pub(super) fn note_version(&self, name: &DeviceName, id: u64, version: u64, in_force: bool) {
        self.with(name, id, |connection| {
            connection.version = connection.version.max(version);
            connection.reports |= in_force;
        });
    }

    /// Whether the device should be given this version.
    pub(super) fn lacks(&self, name: &DeviceName, id: u64, version: u64) -> bool {
        self.with(name, id, |connection| connection.reports && connection.version < version).unwrap_or(false)
    }

    /// Says something to the device. `false`: it takes no more now.
    pub(super) fn say(&self, name: &DeviceName, id: u64, message: FromServer) -> bool {
        self.with(name, id, |connection| connection.say.try_send(message).is_ok()).unwrap_or(false)
    }

    /// Sends a command; `None` if the device is not connected here.
    pub(super) fn ask(&self, name: &DeviceName, kind: CommandKind) -> Option<Result<Asked, CommandError>> {
        let mut devices = self.lock();
        let connection = devices.get_mut(name)?;
        Some(if !connection.reports {
            Err(CommandError::TooOld(name.clone(), connection.agent_version.clone()))
        } else if connection.pending.len() >= limits::COMMANDS_PENDING_MAX {
            Err(CommandError::Busy(name.clone()))
        } else {
            let id = self.0.next.fetch_add(1, Relaxed);
            let (tell, parts) = mpsc::channel(limits::RESULT_PARTS_MAX);
            match connection.say.try_send(FromServer::Command(Command { id, kind })) {
                Ok(()) => {
                    connection.pending.insert(id, tell);
                    let given_up = GivenUp { connections: self.clone(), name: name.clone(), command: id };
                    Ok(Asked { parts, _given_up: given_up })
                }
                Err(_) => Err(CommandError::Busy(name.clone())),
            }
        })
    }

    pub(super) fn note_result(&self, name: &DeviceName, id: u64, CommandResult { id: command, part }: CommandResult) {
        self.with(name, id, |connection| {
            let whole = !matches!(part, CommandPart::Piece(_));
            let told = connection.pending.get(&command).map(|pending| pending.try_send(part).is_ok());
            // More parts than an answer may have: whoever waits finds that it broke off.
            if whole || told == Some(false) {
                connection.pending.remove(&command);
            }
        });
    }

    fn with<T>(&self, name: &DeviceName, id: u64, use_it: impl FnOnce(&mut Connection) -> T) -> Option<T> {
        self.lock().get_mut(name).filter(|connection| connection.id == id).map(use_it)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<DeviceName, Connection>> {
        self.0.devices.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    fn sighting(&self, server: &str) -> Sighting {
        let (status, status_at) = self.status.clone().unzip();
        Sighting {
            server: server.to_owned(),
            connected: true,
            since_ns: self.since.as_nanos(),
            at_ns: crate::storage::now().as_nanos(),
            remote: self.remote.to_string(),
            agent_version: self.agent_version.clone(),
            status,
            status_at_ns: status_at.map(WallTime::as_nanos),
        }
    }
}

impl Asked {
    /// Everything that the device answers.
    pub(super) async fn answer(mut self, name: &DeviceName) -> Result<Bytes, CommandError> {
        let mut bytes = BytesMut::new();
        loop {
            match self.parts.recv().await {
                Some(CommandPart::Piece(piece)) if bytes.len() + piece.len() > upload::limits::RESULT_BYTES_MAX => {
                    return Err(CommandError::TooLarge(name.clone()));
                }
                Some(CommandPart::Piece(piece)) => bytes.extend_from_slice(&piece),
                Some(CommandPart::Done) => return Ok(bytes.freeze()),
                Some(CommandPart::Failed(why)) => return Err(CommandError::Failed(name.clone(), why)),
                None => return Err(CommandError::Lost(name.clone())),
            }
        }
    }
}

impl Drop for GivenUp {
    fn drop(&mut self) {
        if let Some(connection) = self.connections.lock().get_mut(&self.name) {
            connection.pending.remove(&self.command);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_in_pieces_is_put_together_and_only_by_its_own_connection() {
        let (all, id, mut queue) = connected();
        let asked = all.ask(&cam(), CommandKind::Ping).unwrap().unwrap();
        let Some(FromServer::Command(Command { id: command, .. })) = queue.recv().await else { panic!("a command") };
        let part = |part| CommandResult { id: command, part };
        all.note_result(&cam(), id + 100, part(CommandPart::Failed("not mine".to_owned())));
        all.note_result(&cam(), id, part(CommandPart::Piece(Bytes::from_static(b"one "))));
        all.note_result(&cam(), id, part(CommandPart::Piece(Bytes::from_static(b"two"))));
        all.note_result(&cam(), id, part(CommandPart::Done));
        assert_eq!(&asked.answer(&cam()).await.unwrap()[..], b"one two");
        assert!(all.lock()[&cam()].pending.is_empty());
    }

    #[tokio::test]
    async fn whoever_waits_is_told_when_the_connection_ends() {
        let (all, id, _queue) = connected();
        let asked = all.ask(&cam(), CommandKind::Ping).unwrap().unwrap();
        assert!(all.leave(&cam(), id, "").is_some());
        assert!(matches!(asked.answer(&cam()).await, Err(CommandError::Lost(_))));
        assert!(all.ask(&cam(), CommandKind::Ping).is_none());
    }

    #[tokio::test]
    async fn an_answer_without_end_is_refused() {
        let (all, id, _queue) = connected();
        let asked = all.ask(&cam(), CommandKind::Ping).unwrap().unwrap();
        let command = *all.lock()[&cam()].pending.keys().next().unwrap();
        let piece = Bytes::from(vec![0; upload::limits::MESSAGE_BYTES_MAX - 100]);
        for _ in 0..200 {
            all.note_result(&cam(), id, CommandResult { id: command, part: CommandPart::Piece(piece.clone()) });
        }
        assert!(matches!(asked.answer(&cam()).await, Err(CommandError::TooLarge(_))));
    }

    #[test]
    fn a_device_that_does_not_answer_is_asked_only_so_often() {
        let (all, _, _queue) = connected();
        let asked: Vec<_> = (0..limits::COMMANDS_PENDING_MAX).map(|_| all.ask(&cam(), CommandKind::Ping)).collect();
        assert!(matches!(all.ask(&cam(), CommandKind::Ping), Some(Err(CommandError::Busy(_)))));
        drop(asked);
        assert!(all.lock()[&cam()].pending.is_empty());
    }

    #[test]
    fn the_end_of_an_old_connection_does_not_touch_the_new_one() {
        let (all, old, _queue) = connected();
        let (new, _queue) = all.connect(&cam(), remote(), "2", WallTime::from_nanos(2));
        assert!(all.leave(&cam(), old, "").is_none());
        assert_eq!(all.sighting(&cam(), "here").unwrap().agent_version, "2");
        assert!(all.leave(&cam(), new, "").is_some());
    }

    #[test]
    fn an_agent_from_before_commands_is_told_apart() {
        let all = Connections::default();
        let (id, _queue) = all.connect(&cam(), remote(), "0.0.1", WallTime::from_nanos(1));
        assert!(matches!(all.ask(&cam(), CommandKind::Ping), Some(Err(CommandError::TooOld(..)))));
        assert!(!all.lacks(&cam(), id, 5), "it is not given what it can't understand");
        all.note_version(&cam(), id, 0, true);
        assert!(all.lacks(&cam(), id, 5));
    }

    fn connected() -> (Connections, u64, mpsc::Receiver<FromServer>) {
        let all = Connections::default();
        let (id, queue) = all.connect(&cam(), remote(), "1", WallTime::from_nanos(1));
        all.note_version(&cam(), id, 0, true);
        (all, id, queue)
    }

    fn cam() -> DeviceName {
        "cam".parse().unwrap()
    }

    fn remote() -> SocketAddr {
        ([127, 0, 0, 1], 1).into()
    }
}
