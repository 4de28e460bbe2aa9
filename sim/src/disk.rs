//! A disk whose power can go at any step.
//!
//! What the running system sees and what is on the disk are two states. A write changes the first and waits; a
//! sync carries what waits for one file (or for the names of one folder) over to the second. When the power goes,
//! each change that waited may have reached the disk or not, in any order, whole, cut at any byte, or in some of
//! its pages only. Names are changes of their folder: a file that was written and synced but whose folder was not
//! may be gone, and with a folder goes what is in it.
//!
//! A process can also end alone, at any step: its open files are gone, and all that it wrote is seen, and waits.
//!
//! A sync that fails forgets: what waited may be on the disk or not, the running system sees it all the same, and
//! the next sync succeeds. That is what Linux does.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use disk::{Disk, File, folder_of};
use fastrand::Rng;

use crate::content::{Content, PAGE_BYTES};
use crate::log::Log;

/// What is wrong with the disk.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// The power goes before this step, or the process ends: what comes back decides.
    pub cut_at: Option<u64>,
    /// The first sync at or after this step fails.
    pub fail_sync_at: Option<u64>,
    /// Syncs of paths that end so say that they succeeded and do nothing.
    pub ignore_syncs_of: Option<&'static str>,
    /// How much can be stored; `None`: as much as is wanted.
    pub capacity: Option<u64>,
    /// How many files there can be: a file system has its inodes counted. `None`: as many as are wanted.
    pub files_max: Option<usize>,
    /// How long each step takes: what is kept for a time only may end between any two.
    pub step_takes: Duration,
}

/// A simulated disk. Clones are the same disk.
#[derive(Clone)]
pub struct VirtualDisk {
    state: Arc<Mutex<State>>,
}

struct State {
    inodes: BTreeMap<u64, Inode>,
    next_inode: u64,
    names: Names,
    names_on_disk: Names,
    waiting_names: Vec<NameChange>,
    faults: Faults,
    steps: u64,
    /// What all steps have taken.
    elapsed: Duration,
    /// Syncs that failed so far.
    failed_syncs: u64,
    /// Rises with each cut: what was open before is closed.
    boot: u64,
    is_off: bool,
    rng: Rng,
    log: Log,
}

type Names = BTreeMap<PathBuf, Node>;

/// What has a name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Node {
    Folder,
    File(u64),
}

/// A file's bytes, as seen and as stored.
#[derive(Default)]
struct Inode {
    seen: Content,
    on_disk: Content,
    waiting: Vec<DataChange>,
}

#[derive(Clone)]
enum DataChange {
    Write { bytes: Vec<u8>, offset: u64 },
    SetLen(u64),
}

struct NameChange {
    folder: PathBuf,
    kind: NameChangeKind,
}

enum NameChangeKind {
    Link(PathBuf, Node),
    Unlink(PathBuf),
    Rename(PathBuf, PathBuf, Node),
}

impl VirtualDisk {
    /// An empty disk.
    pub fn new(seed: u64) -> Self {
        let state = State {
            inodes: BTreeMap::new(),
            next_inode: 0,
            names: Names::new(),
            names_on_disk: Names::new(),
            waiting_names: Vec::new(),
            faults: Faults::default(),
            elapsed: Duration::ZERO,
            steps: 0,
            failed_syncs: 0,
            boot: 0,
            is_off: false,
            rng: Rng::with_seed(seed),
            log: Log::default(),
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Sets what is wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.state().faults = faults;
    }

    /// How much can be stored from now on; `None`: as much as is wanted.
    pub fn set_capacity(&self, capacity: Option<u64>) {
        self.state().faults.capacity = capacity;
    }

    /// Steps so far: every call that changes something or makes it durable is one.
    pub fn steps(&self) -> u64 {
        self.state().steps
    }

    /// What all steps so far have taken: the time by the disk's own clock.
    pub fn elapsed(&self) -> Duration {
        self.state().elapsed
    }

    /// Syncs that failed so far.
    pub fn failed_syncs(&self) -> u64 {
        self.state().failed_syncs
    }

    /// From now on syncs of paths that end so say that they succeeded and do nothing; with `None`, all work again.
    pub fn ignore_syncs_of(&self, end: Option<&'static str>) {
        self.state().faults.ignore_syncs_of = end;
    }

    /// Whether the power is gone.
    pub fn is_off(&self) -> bool {
        self.state().is_off
    }

    /// Takes the power away, or the process: nothing works until [`Self::cycle_power`] or [`Self::restart`].
    pub fn cut(&self) {
        self.state().is_off = true;
    }

    /// Begins a new process: what was open is closed, and all that was done is seen, whether it is on the disk or
    /// waits. All faults end.
    pub fn restart(&self) {
        let mut state = self.state();
        state.revive();
        state.log.push("the process starts again".to_owned());
    }

    /// Takes the power away, if it is not gone already, and brings it back: what is seen from now on is what
    /// reached the disk. All faults end.
    pub fn cycle_power(&self) {
        self.state().cycle_power();
    }

    /// Flips one bit of a file whose name contains `part`, of what is stored and of what is seen. Answers where.
    pub fn flip_bit(&self, part: &str) -> Option<(PathBuf, u64)> {
        self.state().flip_bit(part)
    }

    /// What happened so far.
    pub fn log(&self) -> Log {
        self.state().log.clone()
    }

    /// Adds a line to the log.
    pub fn note(&self, line: String) {
        self.state().log.push(line);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handle(&self, state: &State, inode: u64) -> Arc<dyn File> {
        Arc::new(VirtualFile { disk: self.clone(), inode, boot: state.boot })
    }
}

impl Disk for VirtualDisk {
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.check_power()?;
        let missing: Vec<&Path> = path.ancestors().take_while(|path| !state.is_folder(path)).collect();
        if missing.is_empty() {
            return state.sync_names(folder_of(path));
        }
        for path in missing.into_iter().rev() {
            state.step(|| format!("create folder {}", path.display()))?;
            state.rename(path, NameChangeKind::Link(path.to_owned(), Node::Folder));
            if let Err(error) = state.sync_names(folder_of(path)) {
                if !state.is_off {
                    state.rename(path, NameChangeKind::Unlink(path.to_owned()));
                }
                return Err(error);
            }
        }
        Ok(())
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let mut state = self.state();
        state.step(|| format!("create {}", path.display()))?;
        if state.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if !state.is_folder(folder_of(path)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        if state.faults.files_max.is_some_and(|files_max| state.files().count() >= files_max) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let inode = state.next_inode;
        state.next_inode += 1;
        state.inodes.insert(inode, Inode::default());
        state.rename(path, NameChangeKind::Link(path.to_owned(), Node::File(inode)));
        Ok(self.handle(&state, inode))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let state = self.state();
        let inode = state.find(path)?;
        Ok(self.handle(&state, inode))
    }

    fn open_to_cut(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.open(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.step(|| format!("rename {} to {}", from.display(), to.display()))?;
        let inode = state.find(from)?;
        state.rename(to, NameChangeKind::Rename(from.to_owned(), to.to_owned(), Node::File(inode)));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.step(|| format!("remove {}", path.display()))?;
        state.find(path)?;
        state.rename(path, NameChangeKind::Unlink(path.to_owned()));
        Ok(())
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        state.check_power()?;
        match state.names.get(folder) {
            Some(Node::Folder) => {}
            Some(Node::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
            None => return Err(io::ErrorKind::NotFound.into()),
        }
        let names = state.names.keys().filter(|path| path.parent() == Some(folder));
        Ok(names.filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect())
    }

    fn file_bytes(&self, path: &Path) -> io::Result<u64> {
        let state = self.state();
        let inode = state.find(path)?;
        Ok(state.inodes[&inode].seen.len())
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.state().sync_names(folder)
    }

    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        let state = self.state();
        state.check_power()?;
        // Never so much that a sum of two overflows.
        Ok(state.faults.capacity.map_or(u64::MAX / 4, |capacity| capacity.saturating_sub(state.used())))
    }
}

impl State {
    fn check_power(&self) -> io::Result<()> {
        if self.is_off { Err(io::Error::other("the power is gone")) } else { Ok(()) }
    }

    /// Counts a step and says it, unless the power goes here.
    fn step(&mut self, what: impl FnOnce() -> String) -> io::Result<()> {
        self.check_power()?;
        if self.faults.cut_at.is_some_and(|cut| self.steps >= cut) {
            self.is_off = true;
            self.log.push(format!("{} the power goes", self.steps));
            return self.check_power();
        }
        self.log.push(format!("{} {}", self.steps, what()));
        self.steps += 1;
        self.elapsed += self.faults.step_takes;
        Ok(())
    }

    fn find(&self, path: &Path) -> io::Result<u64> {
        self.check_power()?;
        match self.names.get(path) {
            Some(Node::File(inode)) => Ok(*inode),
            Some(Node::Folder) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// The folder that a relative path begins in has no name and is always there.
    fn is_folder(&self, path: &Path) -> bool {
        path == Path::new(".") || path == Path::new("") || self.names.get(path) == Some(&Node::Folder)
    }

    fn sync_names(&mut self, folder: &Path) -> io::Result<()> {
        if !self.is_folder(folder) {
            self.check_power()?;
            return Err(io::ErrorKind::NotFound.into());
        }
        self.step(|| format!("sync folder {}", folder.display()))?;
        if self.ignores(folder) {
            return Ok(());
        }
        let failed = self.sync_fails();
        let mut later = Vec::new();
        for change in std::mem::take(&mut self.waiting_names) {
            if change.folder != folder {
                later.push(change);
            } else if !failed || self.rng.bool() {
                change.kind.apply(&mut self.names_on_disk);
            }
        }
        self.waiting_names = later;
        if failed { Err(io::Error::other("the disk failed to sync a folder")) } else { Ok(()) }
    }

    fn rename(&mut self, path: &Path, kind: NameChangeKind) {
        kind.apply(&mut self.names);
        let folder = folder_of(path).to_owned();
        self.waiting_names.push(NameChange { folder, kind });
    }

    fn ignores(&self, path: &Path) -> bool {
        self.faults.ignore_syncs_of.is_some_and(|end| path.to_string_lossy().ends_with(end))
    }

    fn sync_fails(&mut self) -> bool {
        // The step of this sync has been counted already.
        let fails = self.faults.fail_sync_at.is_some_and(|at| self.steps > at);
        if fails {
            self.faults.fail_sync_at = None;
            self.failed_syncs += 1;
            self.log.push("the sync fails".to_owned());
        }
        fails
    }

    fn path_of(&self, inode: u64) -> PathBuf {
        let named = self.names.iter().find(|(_, node)| **node == Node::File(inode));
        named.map(|(path, _)| path.clone()).unwrap_or_default()
    }

    fn used(&self) -> u64 {
        let bytes = |inode: &u64| self.inodes[inode].seen.len().next_multiple_of(PAGE_BYTES as u64);
        self.files().map(|(_, inode)| bytes(inode)).sum()
    }

    fn files(&self) -> impl Iterator<Item = (&PathBuf, &u64)> {
        self.names.iter().filter_map(|(path, node)| match node {
            Node::File(inode) => Some((path, inode)),
            Node::Folder => None,
        })
    }

    /// How long a file can be that is to be `len` long.
    fn room_for(&self, inode: u64, len: u64) -> u64 {
        let now = self.inodes[&inode].seen.len();
        match self.faults.capacity {
            Some(capacity) if len > now => len.min(now + capacity.saturating_sub(self.used())),
            _ => len,
        }
    }

    fn cycle_power(&mut self) {
        // How much of what waits has reached the disk: a cut right after a pause finds nearly all of it.
        let odds = [0.0, 0.5, 0.9, 1.0][self.rng.usize(..4)];
        for change in std::mem::take(&mut self.waiting_names) {
            if self.rng.f64() < odds {
                change.kind.apply(&mut self.names_on_disk);
            }
        }
        // A folder comes before what is in it, so what a lost one held goes with it.
        for (path, node) in std::mem::take(&mut self.names_on_disk) {
            let folder = folder_of(&path);
            if folder == Path::new(".") || self.names_on_disk.contains_key(folder) {
                self.names_on_disk.insert(path, node);
            }
        }
        self.names = self.names_on_disk.clone();
        let named: BTreeSet<u64> = self.files().map(|(_, inode)| *inode).collect();
        self.inodes.retain(|inode, _| named.contains(inode));
        for inode in self.inodes.values_mut() {
            for change in std::mem::take(&mut inode.waiting) {
                if self.rng.f64() < odds {
                    change.apply_torn(&mut inode.on_disk, &mut self.rng);
                }
            }
            inode.seen = inode.on_disk.clone();
        }
        self.revive();
        self.log.push("the power is back".to_owned());
    }

    fn revive(&mut self) {
        self.faults = Faults::default();
        self.boot += 1;
        self.is_off = false;
    }

    fn flip_bit(&mut self, part: &str) -> Option<(PathBuf, u64)> {
        let files: Vec<(PathBuf, u64)> = self
            .files()
            .filter(|(path, inode)| path.to_string_lossy().contains(part) && self.inodes[inode].seen.len() > 0)
            .map(|(path, inode)| (path.clone(), *inode))
            .collect();
        let (path, inode) = files.get(self.rng.usize(..files.len().max(1)))?.clone();
        let inode = self.inodes.get_mut(&inode)?;
        let at = self.rng.u64(..inode.seen.written_end().max(1));
        let bit = 1 << self.rng.u8(..8);
        for content in [&mut inode.seen, &mut inode.on_disk] {
            let mut byte = [0];
            if content.read(&mut byte, at) == 1 {
                content.write(&[byte[0] ^ bit], at);
            }
        }
        self.log.push(format!("a bit flips in {} at {at}", path.display()));
        Some((path, at))
    }
}

impl NameChangeKind {
    fn apply(&self, names: &mut Names) {
        match self {
            Self::Link(path, node) => {
                names.insert(path.clone(), *node);
            }
            Self::Unlink(path) => {
                names.remove(path);
            }
            Self::Rename(from, to, node) => {
                names.remove(from);
                names.insert(to.clone(), *node);
            }
        }
    }
}

impl DataChange {
    fn apply(&self, content: &mut Content) {
        match self {
            Self::Write { bytes, offset } => content.write(bytes, *offset),
            Self::SetLen(len) => content.set_len(*len),
        }
    }

    /// Applies it whole, cut at a byte, or in some of its pages only.
    fn apply_torn(&self, content: &mut Content, rng: &mut Rng) {
        let Self::Write { bytes, offset } = self else {
            return self.apply(content);
        };
        match rng.u8(..3) {
            0 => content.write(bytes, *offset),
            1 => content.write(&bytes[..rng.usize(..=bytes.len())], *offset),
            _ => {
                for (i, page) in bytes.chunks(PAGE_BYTES).enumerate() {
                    if rng.bool() {
                        content.write(page, *offset + (i * PAGE_BYTES) as u64);
                    }
                }
            }
        }
    }
}

/// An open file, until the power goes.
struct VirtualFile {
    disk: VirtualDisk,
    inode: u64,
    boot: u64,
}

impl VirtualFile {
    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.state();
        state.check_power()?;
        if state.boot != self.boot {
            return Err(io::Error::other("the file was open when the power went"));
        }
        Ok(state)
    }

    fn change(&self, name: &str, change: DataChange, end: u64) -> io::Result<()> {
        let mut state = self.state()?;
        let path = state.path_of(self.inode);
        state.step(|| format!("{name} {} to {end}", path.display()))?;
        let room = state.room_for(self.inode, end);
        let inode = state.inodes.get_mut(&self.inode).expect("an open file has its inode");
        let change = match change {
            // On a full disk a write gets as far as there is room.
            DataChange::Write { mut bytes, offset } if room < end => {
                bytes.truncate(usize::try_from(room.saturating_sub(offset)).expect("not longer than before"));
                DataChange::Write { bytes, offset }
            }
            DataChange::SetLen(_) if room < end => return Err(io::ErrorKind::StorageFull.into()),
            change => change,
        };
        change.apply(&mut inode.seen);
        inode.waiting.push(change);
        if room < end { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl File for VirtualFile {
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.state()?;
        Ok(state.inodes[&self.inode].seen.read(out, offset))
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let end = offset + bytes.len() as u64;
        self.change("write", DataChange::Write { bytes: bytes.to_vec(), offset }, end)
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.state()?;
        let path = state.path_of(self.inode);
        state.step(|| format!("sync {}", path.display()))?;
        if state.ignores(&path) {
            return Ok(());
        }
        let failed = state.sync_fails();
        let inode = state.inodes.get_mut(&self.inode).expect("an open file has its inode");
        let waiting = std::mem::take(&mut inode.waiting);
        let mut reached = Vec::new();
        for change in waiting {
            if !failed || state.rng.bool() {
                reached.push(change);
            }
        }
        let inode = state.inodes.get_mut(&self.inode).expect("an open file has its inode");
        for change in &reached {
            change.apply(&mut inode.on_disk);
        }
        if failed { Err(io::Error::other("the disk failed to sync a file")) } else { Ok(()) }
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.state()?.inodes[&self.inode].seen.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change("cut", DataChange::SetLen(len), len)
    }

    fn lay_out(&self, from: u64, bytes: u64) -> io::Result<()> {
        let len = self.len()?.max(from + bytes);
        self.change("lay out", DataChange::SetLen(len), len)
    }

    fn written_end(&self) -> io::Result<u64> {
        Ok(self.state()?.inodes[&self.inode].seen.written_end())
    }
}
