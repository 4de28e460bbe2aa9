//! The list of drops: what was captured and will never arrive, with the reason.
//!
//! ```text
//! <state>/drops      [crc32c of the rest: 8 hex digits] [reason] [stream] [session] [first sequence] [last sequence]
//!                    [start by the calendar at capture, ns] [duration, ns] [pictures, if it is no fragment] \n
//!                    and so on, then zeros
//! <state>/drops.old  the same, of earlier times, fragments that follow each other in one line
//! ```
//!
//! A drop is appended before its file is removed. It is synced with what the spool syncs next, so that it costs no sync
//! of its own: a power cut in between may lose the last lines. The file is laid out ahead, so that a full disk has room for the line that says so. When
//! it has no more, its lines go to `drops.old`, joined; the oldest of those make room.
//!
//! A fragment that is refused is noted twice: when it begins, without a duration, and with it at its end. So durations of lines that
//! name one fragment add up.
//!
//! Pictures that came before the key frame with which a session began are of no fragment. Their line names the one in front of which
//! they were, and how many they are; an agent of before this reason passes over it.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use disk::{Disk, File};
use fragment::{Sequence, SessionId, StreamName, WallTime};
use upload::FragmentKey;

use crate::limits;

/// Why a fragment was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The spool was full, and the oldest made room.
    Quota,
    /// It had waited for too long.
    Age,
    /// The spool was full, and it was not begun.
    RefusedFull,
    /// The disk was full.
    DiskFull,
    /// The disk was slower than the cameras.
    SlowDisk,
    /// It could not be written.
    WriteError,
    /// It could not be read back, whole or in part.
    Damaged,
    /// The server refused it for good.
    Rejected,
    /// Pictures, and no fragment: they came before a key frame, and can't be decoded without what the camera sent earlier.
    WaitingForKeyFrame,
}

/// Fragments that were dropped in this run of the agent, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Drops {
    /// See [`Reason::Quota`]; so with the others.
    pub quota: u64,
    /// Waited for too long.
    pub age: u64,
    /// Not begun.
    pub refused_full: u64,
    /// No room on the disk.
    pub disk_full: u64,
    /// The disk did not keep up.
    pub slow_disk: u64,
    /// Could not be written.
    pub write_error: u64,
    /// Could not be read back.
    pub damaged: u64,
    /// Refused by the server.
    pub rejected: u64,
    /// No fragments: how often pictures were left out in front of a key frame.
    pub waiting_for_key_frame: u64,
}

/// Fragments of one session that were dropped, one behind the other; or pictures in front of the first of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Why.
    pub reason: Reason,
    /// Their stream.
    pub stream: StreamName,
    /// Their session.
    pub session: SessionId,
    /// The first of them.
    pub first: Sequence,
    /// The last of them.
    pub last: Sequence,
    /// When the first began, by the calendar at its capture.
    pub start: WallTime,
    /// How long they play together.
    pub duration: Duration,
    /// How many pictures it is, where it is no fragment; else 0.
    pub pictures: u64,
}

/// Appends to the list.
pub(crate) struct List {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    file: Option<Arc<dyn File>>,
    /// Where the next line goes.
    end: u64,
    /// Lines that could not be written yet.
    waiting: VecDeque<String>,
    unsynced: bool,
}

const NAMES: [(Reason, &str); 9] = [
    (Reason::Quota, "quota"),
    (Reason::Age, "age"),
    (Reason::RefusedFull, "refused-full"),
    (Reason::DiskFull, "disk-full"),
    (Reason::SlowDisk, "slow-disk"),
    (Reason::WriteError, "write-error"),
    (Reason::Damaged, "damaged"),
    (Reason::Rejected, "rejected"),
    (Reason::WaitingForKeyFrame, "waiting-for-key-frame"),
];

/// All drops that the list of a state folder still names, oldest first.
pub fn read(disk: &dyn Disk, state: &Path) -> io::Result<Vec<Run>> {
    let path = state.join("drops");
    let mut runs = lines(disk, &old(&path))?;
    runs.extend(lines(disk, &path)?);
    Ok(joined(runs))
}

impl List {
    /// Opens the list of a state folder, or begins one. A disk that does not let it holds up nothing: the lines wait.
    pub(crate) fn open(disk: Arc<dyn Disk>, state: &Path) -> Self {
        let path = state.join("drops");
        let mut list = Self { disk, path, file: None, end: 0, waiting: VecDeque::new(), unsynced: false };
        if let Err(error) = list.reopen() {
            tracing::error!(path = %list.path.display(), %error, "the list of drops can't be opened; it is tried again");
        }
        list
    }

    pub(crate) fn append(&mut self, run: &Run) {
        if self.waiting.len() >= limits::DROPS_WAITING_MAX {
            self.waiting.pop_front();
        }
        self.waiting.push_back(run.line());
        self.write_waiting();
    }

    pub(crate) fn is_unsynced(&self) -> bool {
        self.unsynced || !self.waiting.is_empty()
    }

    /// Puts what was appended on disk.
    pub(crate) fn sync(&mut self) {
        self.write_waiting();
        let Some(file) = self.file.as_ref().filter(|_| self.unsynced) else {
            return;
        };
        match file.sync() {
            Ok(()) => self.unsynced = false,
            Err(error) => tracing::error!(path = %self.path.display(), %error, "the list of drops can't be synced"),
        }
    }

    fn write_waiting(&mut self) {
        while let Some(line) = self.waiting.front().cloned() {
            let written = match &self.file {
                Some(file) if self.end + line.len() as u64 <= limits::DROPS_BYTES_MAX => {
                    file.write_at(line.as_bytes(), self.end)
                }
                Some(_) => match self.turn_over() {
                    Ok(()) => continue,
                    Err(error) => Err(error),
                },
                None => match self.reopen() {
                    Ok(()) => continue,
                    Err(error) => Err(error),
                },
            };
            if let Err(error) = written {
                tracing::error!(path = %self.path.display(), %error, waiting = self.waiting.len(), "a drop can't be listed yet");
                return;
            }
            self.end += line.len() as u64;
            self.unsynced = true;
            self.waiting.pop_front();
        }
    }

    fn reopen(&mut self) -> io::Result<()> {
        let file = match self.disk.open_to_cut(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let file = self.disk.create(&self.path)?;
                self.disk.sync_folder(disk::folder_of(&self.path))?;
                file
            }
            Err(error) => return Err(error),
        };
        let bytes = disk::read(&*self.disk, &self.path, usize::MAX)?;
        let text = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        // A line that was torn must not take the next one with it.
        let is_torn = text > 0 && bytes[text - 1] != b'\n';
        if is_torn {
            file.write_at(b"\n", text as u64)?;
        }
        self.end = text as u64 + u64::from(is_torn);
        lay_out(&*file)?;
        // The run that wrote its lines may have ended before it synced them.
        self.unsynced |= self.end > 0;
        self.file = Some(file);
        Ok(())
    }

    /// Joins all lines into `drops.old` and begins anew: (1) write it beside, (2) sync, (3) rename, (4) sync the folder,
    /// (5) empty the list. A crash before the last step leaves lines twice.
    fn turn_over(&mut self) -> io::Result<()> {
        let (old, beside) = (old(&self.path), self.path.with_extension("new"));
        let mut runs = lines(&*self.disk, &old)?;
        runs.extend(lines(&*self.disk, &self.path)?);
        let mut text: Vec<String> = joined(runs).iter().map(Run::line).collect();
        let mut bytes: u64 = text.iter().map(|line| line.len() as u64).sum();
        let surplus = text.iter().take_while(|line| {
            let over = bytes > limits::DROPS_BYTES_MAX;
            bytes -= if over { line.len() as u64 } else { 0 };
            over
        });
        let surplus = surplus.count();
        text.drain(..surplus);
        let _ = self.disk.remove(&beside);
        disk::write_new(&*self.disk, &beside, text.concat().as_bytes())?;
        self.disk.rename(&beside, &old)?;
        self.disk.sync_folder(disk::folder_of(&old))?;
        if let Some(file) = &self.file {
            file.write_at(&vec![0; usize::try_from(limits::DROPS_BYTES_MAX).unwrap_or(0)], 0)?;
        }
        self.end = 0;
        Ok(())
    }
}

impl Run {
    /// One fragment, or a part of it.
    pub fn of(key: &FragmentKey, start: WallTime, duration: Duration, reason: Reason) -> Self {
        let FragmentKey { stream, id } = key.clone();
        Self {
            reason,
            stream,
            session: id.session,
            first: id.sequence,
            last: id.sequence,
            start,
            duration,
            pictures: 0,
        }
    }

    /// Pictures in front of the fragment `key`, or where it would have begun.
    pub fn before_key_frame(key: &FragmentKey, start: WallTime, duration: Duration, pictures: u64) -> Self {
        Self { pictures, ..Self::of(key, start, duration, Reason::WaitingForKeyFrame) }
    }

    fn line(&self) -> String {
        let Self { reason, stream, session, first, last, start, duration, pictures } = self;
        let (start, duration) = (start.as_nanos(), duration.as_nanos());
        let mut rest = format!("{reason} {stream} {session} {} {} {start} {duration}", first.0, last.0);
        if *pictures > 0 {
            rest += &format!(" {pictures}");
        }
        format!("{:08x} {rest}\n", crc32c::crc32c(rest.as_bytes()))
    }

    fn parse(line: &str) -> Option<Self> {
        let (checksum, rest) = line.split_once(' ')?;
        if u32::from_str_radix(checksum, 16).ok()? != crc32c::crc32c(rest.as_bytes()) {
            return None;
        }
        let mut words = rest.split(' ');
        Some(Self {
            reason: words.next()?.parse().ok()?,
            stream: words.next()?.parse().ok()?,
            session: SessionId(u64::from_str_radix(words.next()?, 16).ok()?),
            first: Sequence(words.next()?.parse().ok()?),
            last: Sequence(words.next()?.parse().ok()?),
            start: WallTime::from_nanos(words.next()?.parse().ok()?),
            duration: Duration::from_nanos(words.next()?.parse().ok()?),
            pictures: words.next().map_or(Ok(0), str::parse).ok()?,
        })
    }

    /// Takes in what follows, if it does: more of the last fragment, or the next one.
    pub fn join(&mut self, next: &Self) -> bool {
        let follows = self.reason == next.reason
            && self.session == next.session
            && (next.first == self.last || self.last.0.checked_add(1) == Some(next.first.0));
        if follows {
            self.last = next.last;
            self.duration += next.duration;
            self.pictures += next.pictures;
        }
        follows
    }
}

impl Drops {
    pub(crate) fn count(&mut self, reason: Reason) {
        *match reason {
            Reason::Quota => &mut self.quota,
            Reason::Age => &mut self.age,
            Reason::RefusedFull => &mut self.refused_full,
            Reason::DiskFull => &mut self.disk_full,
            Reason::SlowDisk => &mut self.slow_disk,
            Reason::WriteError => &mut self.write_error,
            Reason::Damaged => &mut self.damaged,
            Reason::Rejected => &mut self.rejected,
            Reason::WaitingForKeyFrame => &mut self.waiting_for_key_frame,
        } += 1;
    }

    /// What a policy gave up, to keep something else.
    pub fn by_policy(&self) -> u64 {
        self.quota + self.age + self.refused_full + self.slow_disk
    }

    /// What the disk did not take or give back.
    pub fn by_fault(&self) -> u64 {
        self.disk_full + self.write_error + self.damaged
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = NAMES.iter().find(|(reason, _)| reason == self).map(|(_, name)| *name);
        f.write_str(name.expect("each reason has its name"))
    }
}

impl FromStr for Reason {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        NAMES.iter().find(|(_, name)| *name == text).map(|(reason, _)| *reason).ok_or(())
    }
}

fn old(path: &Path) -> PathBuf {
    path.with_extension("old")
}

fn lay_out(file: &dyn File) -> io::Result<()> {
    match file.lay_out(0, limits::DROPS_BYTES_MAX) {
        // Then there may be room for the line, or the next one.
        Err(error) if disk::is_full(&error) => Ok(()),
        done => done,
    }
}

fn lines(disk: &dyn Disk, path: &Path) -> io::Result<Vec<Run>> {
    let bytes = match disk::read(disk, path, usize::MAX) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        read => read?,
    };
    // What is not a line was torn.
    Ok(String::from_utf8_lossy(&bytes).lines().map(|line| line.trim_matches('\0')).filter_map(Run::parse).collect())
}

/// Puts fragments that follow each other in one run, stream by stream.
fn joined(runs: Vec<Run>) -> Vec<Run> {
    let mut out: Vec<Run> = Vec::new();
    let mut last: HashMap<StreamName, usize> = HashMap::new();
    for run in runs {
        match last.get(&run.stream) {
            Some(&at) if out[at].join(&run) => {}
            _ => {
                last.insert(run.stream.clone(), out.len());
                out.push(run);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use disk::OsDisk;
    use fragment::FragmentId;

    use super::*;

    #[test]
    fn what_is_listed_is_read_back_with_runs_joined_also_after_a_restart() {
        let state = tempfile::tempdir().unwrap();
        for sequences in [0..3, 3..5] {
            let mut list = List::open(Arc::new(OsDisk), state.path());
            sequences.for_each(|sequence| list.append(&drop_of("front", sequence, Reason::Quota)));
            list.append(&drop_of("back", 7, Reason::SlowDisk));
        }
        let runs = read(&OsDisk, state.path()).unwrap();
        let [front, back] = &runs[..] else { panic!("{runs:#?}") };
        assert_eq!((front.first, front.last, front.duration), (Sequence(0), Sequence(4), Duration::from_secs(10)));
        assert_eq!((back.reason, back.start), (Reason::SlowDisk, WallTime::from_millis(7000)));
    }

    #[test]
    fn a_list_torn_at_any_byte_keeps_the_lines_before_and_takes_more() {
        let origin = tempfile::tempdir().unwrap();
        let mut list = List::open(Arc::new(OsDisk), origin.path());
        (0..2).for_each(|sequence| list.append(&drop_of("front", 2 * sequence, Reason::Age)));
        let end = usize::try_from(list.end).unwrap();
        let bytes = std::fs::read(origin.path().join("drops")).unwrap();
        let first = bytes.iter().position(|&byte| byte == b'\n').unwrap();
        for torn_at in first + 1..end {
            let state = tempfile::tempdir().unwrap();
            std::fs::write(state.path().join("drops"), &bytes[..torn_at]).unwrap();
            List::open(Arc::new(OsDisk), state.path()).append(&drop_of("back", 9, Reason::Rejected));
            let runs = read(&OsDisk, state.path()).unwrap();
            assert!(runs.len() >= 2, "torn at {torn_at}: {runs:#?}");
            assert_eq!(runs.first().unwrap(), &drop_of("front", 0, Reason::Age));
            assert_eq!(runs.last().unwrap(), &drop_of("back", 9, Reason::Rejected));
        }
    }

    #[test]
    fn a_list_that_is_full_joins_its_lines_and_stays_bounded() {
        let state = tempfile::tempdir().unwrap();
        let mut list = List::open(Arc::new(OsDisk), state.path());
        for sequence in 0..20_000 {
            list.append(&drop_of("front", sequence, Reason::Quota));
            list.append(&drop_of("back", sequence, Reason::Quota));
        }
        let runs = read(&OsDisk, state.path()).unwrap();
        assert_eq!(runs.len(), 2, "{runs:#?}");
        assert!(runs.iter().all(|run| (run.first.0, run.last.0) == (0, 19_999)));
        // Runs that can't be joined: the last are kept.
        for sequence in 0..20_000 {
            list.append(&drop_of("front", 3 * sequence, Reason::Age));
        }
        let runs = read(&OsDisk, state.path()).unwrap();
        assert_eq!(runs.last().unwrap().last, Sequence(59_997));
        let bytes = |name| std::fs::metadata(state.path().join(name)).unwrap().len();
        assert!(bytes("drops") <= limits::DROPS_BYTES_MAX && bytes("drops.old") <= limits::DROPS_BYTES_MAX);
    }

    #[test]
    fn pictures_before_a_key_frame_are_listed_with_their_number_and_join_to_one_run() {
        let state = tempfile::tempdir().unwrap();
        let mut list = List::open(Arc::new(OsDisk), state.path());
        let id = FragmentId { session: SessionId(7), sequence: Sequence(0) };
        let key = FragmentKey { stream: "front".parse().unwrap(), id };
        let run = |second: i64, pictures| {
            Run::before_key_frame(&key, WallTime::from_millis(second * 1000), Duration::from_secs(60), pictures)
        };
        list.append(&run(0, 1500));
        list.append(&run(60, 20));
        list.append(&drop_of("front", 0, Reason::Quota));
        let runs = read(&OsDisk, state.path()).unwrap();
        let expected = Run { duration: Duration::from_secs(120), ..run(0, 1520) };
        assert_eq!(runs, [expected, drop_of("front", 0, Reason::Quota)]);
    }

    #[test]
    fn each_reason_has_a_name_that_is_read_back() {
        for (reason, name) in NAMES {
            assert_eq!((reason.to_string().as_str(), name.parse()), (name, Ok(reason)));
        }
    }

    fn drop_of(stream: &str, sequence: u32, reason: Reason) -> Run {
        let id = FragmentId { session: SessionId(7), sequence: Sequence(sequence) };
        let key = FragmentKey { stream: stream.parse().unwrap(), id };
        Run::of(&key, WallTime::from_millis(1000 * i64::from(sequence)), Duration::from_secs(2), reason)
    }
}
