//! The group commit: one thread that takes all waiting entries at once.
//!
//! Latency is that of the disk and not of a timer, and throughput grows with load: while one batch is on
//! its way to disk, the next gathers in the queue. The steps are numbered as in design/vault.md.

mod batch;
mod seal;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use self::batch::Work;
use crate::catalog::{Batch, Catalog};
use crate::data_keys::{Demand, SealingKey};
use crate::error::{CatalogError, CommitError, KeyError, PutError};
use crate::id::{ExpirySlot, KeyScope, Location, OwnerId};
use crate::key_use::Usage;
use crate::limits;
use crate::segment::Appender;
use crate::segment_store::{SegmentName, SyncError};
use crate::vault::{Entry, Put, Shared};

/// An entry that waits for its commit.
pub(crate) struct Pending {
    pub(crate) entry: Entry,
    /// Where it lies already, if it is to be moved.
    pub(crate) from: Option<Location>,
    pub(crate) answer: Answer,
    /// The queue's room, given back when the entry is answered.
    pub(crate) room: OwnedSemaphorePermit,
}

pub(crate) type Answer = oneshot::Sender<Result<Put, PutError>>;

/// What the committer is asked to do. One thread does all of it, so each is over before the next begins.
pub(crate) enum Job {
    /// Store an entry.
    Put(Pending),
    /// Say when everything before is answered.
    Barrier(oneshot::Sender<()>),
    /// Close segments that expire before a slot, and take no more entries for them.
    CloseBefore(ExpirySlot, oneshot::Sender<()>),
    /// Close those of these segments that are open.
    Close(BTreeSet<SegmentName>, oneshot::Sender<()>),
    /// Destroy an owner's keys.
    DestroyKeys(OwnerId, oneshot::Sender<Result<(), KeyError>>),
}

/// Why a batch was not stored.
enum Failure {
    /// A row that an owner's part of the batch is built upon has changed since: another server stored something too.
    Overtaken,
    /// Anything else, which the callers are told.
    Refused(PutError),
}

impl From<PutError> for Failure {
    fn from(error: PutError) -> Self {
        Self::Refused(error)
    }
}

impl From<Failure> for PutError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(error) => error,
            Failure::Overtaken => Self::Catalog("other servers store so much in the same streams".to_owned()),
        }
    }
}

/// Ordered, so that what is done to all of them is done in the same order in every run.
type Appenders = BTreeMap<ExpirySlot, (u64, Appender)>;

/// The committer's state, owned by its thread.
pub(crate) struct Committer {
    shared: Arc<Shared>,
    queue: mpsc::Receiver<Job>,
    /// The segments open for appending, one per expiry slot, with the commit that last used them.
    appenders: Appenders,
    /// Segments that filled up in the batch under way.
    retired: Vec<Appender>,
    /// Sealed frames on their way to the file. Kept between batches, so that its pages are touched once.
    sealed: Vec<u8>,
    /// Entries that expire earlier may find their segment deleted under them.
    floor: ExpirySlot,
    /// Whether the last commit of the catalog may yet appear in it.
    unsettled: bool,
    commits: u64,
}

impl Committer {
    pub(crate) fn new(shared: Arc<Shared>, queue: mpsc::Receiver<Job>) -> Self {
        Self {
            shared,
            queue,
            appenders: Appenders::new(),
            retired: Vec::new(),
            sealed: Vec::new(),
            floor: ExpirySlot(0),
            unsettled: false,
            commits: 0,
        }
    }

    /// Starts the thread. It ends when the queue's last sender is gone and the queue is empty.
    pub(crate) fn spawn(self) -> io::Result<JoinHandle<()>> {
        thread::Builder::new().name("vault-committer".to_owned()).spawn(move || self.run())
    }

    fn run(mut self) {
        while let Some(first) = self.queue.blocking_recv() {
            self.turn(first);
        }
        for (_, appender) in std::mem::take(&mut self.appenders).into_values() {
            appender.close();
        }
    }

    /// Takes what waits in the queue, as one turn of the thread would. `false`: nothing waited. For a committer
    /// without a thread, whose caller says when it works.
    pub(crate) fn step(&mut self) -> bool {
        let first = self.queue.try_recv();
        first.map(|first| self.turn(first)).is_ok()
    }

    fn turn(&mut self, first: Job) {
        // Step 1: everything that waits, up to the size of a batch.
        let (batch, other) = gather(first, &mut self.queue);
        if !batch.is_empty() {
            self.commit(batch);
        }
        if let Some(job) = other {
            self.other(job);
        }
    }

    fn other(&mut self, job: Job) {
        // Whoever asked may have gone away meanwhile; the work is done all the same.
        match job {
            Job::Put(_) => unreachable!("gathered into the batch"),
            Job::Barrier(answer) => {
                let _ = answer.send(());
            }
            Job::CloseBefore(slot, answer) => {
                self.floor = self.floor.max(slot);
                let later = self.appenders.split_off(&slot);
                for (_, appender) in std::mem::replace(&mut self.appenders, later).into_values() {
                    appender.close();
                }
                let _ = answer.send(());
            }
            Job::Close(segments, answer) => {
                let (closing, open): (Appenders, Appenders) = std::mem::take(&mut self.appenders)
                    .into_iter()
                    .partition(|(_, (_, appender))| segments.contains(&appender.name()));
                self.appenders = open;
                closing.into_values().for_each(|(_, appender)| appender.close());
                let _ = answer.send(());
            }
            Job::DestroyKeys(owner, answer) => {
                let _ = answer.send(self.shared.destroy_keys(owner));
            }
        }
    }

    fn commit(&mut self, mut pending: Vec<Pending>) {
        let shared = self.shared.clone();
        if let Err(error) = self.settle() {
            return batch::refuse(pending, &error);
        }
        let mut overtaken = 0;
        while !pending.is_empty() {
            // Steps 2 and 3: drop what is stored already; the owners complete the rest.
            let (mut works, duplicates) = batch::admit(&shared, self.floor, std::mem::take(&mut pending));
            let outcome = if works.is_empty() { Ok(Batch::new()) } else { self.store(&mut works) };
            match outcome {
                Ok(rows) => {
                    self.count(&works);
                    batch::answer_stored(&shared, works, duplicates, &rows);
                    self.close_retired();
                }
                Err(Failure::Overtaken) if overtaken < limits::OVERTAKEN_MAX => {
                    overtaken += 1;
                    self.abandon(&works);
                    pending = batch::take_back(&shared, works, duplicates);
                }
                Err(failure) => {
                    self.abandon(&works);
                    batch::answer_failed(&shared, works, duplicates, &failure.into());
                }
            }
        }
        self.shared.segments.tidy();
        self.shrink();
    }

    /// Learns what became of a commit of the catalog that was never answered. Before that nothing is read:
    /// numbers given after its rows' absence would collide with them when they appear.
    fn settle(&mut self) -> Result<(), PutError> {
        if self.unsettled {
            self.shared.catalog.settle().map_err(|e| PutError::Catalog(e.to_string()))?;
            self.unsettled = false;
        }
        Ok(())
    }

    /// Steps 4 to 9, after which every entry is on disk.
    fn store(&mut self, works: &mut [Work]) -> Result<Batch, Failure> {
        let shared = self.shared.clone();
        shared.poison.check()?;
        if !shared.catalog.has_room() {
            return Err(PutError::DiskFull.into());
        }
        // Step 4: every key that seals this batch is on disk.
        let keys = self.keys(works)?;
        // Step 5: each frame has its place; new segments are named on disk.
        let segments = self.place(works)?;
        // Steps 6 and 7: seal and append, piece by piece.
        let Self { appenders, retired, sealed, .. } = self;
        seal::in_pieces(works, &keys, sealed, |piece| {
            let appended = appender(appenders, retired, piece.segment).write(piece.bytes, piece.offset);
            appended.map_err(|e| write_error(&e))
        })?;
        // Step 8: sync each segment once.
        self.sync(&segments)?;
        // Step 9: the rows, which make the entries exist.
        let rows = batch::rows(&shared, works);
        match shared.catalog.commit(rows.clone()) {
            Ok(()) => {}
            Err(CommitError::Precondition) => return Err(Failure::Overtaken),
            Err(CommitError::NotCommitted(CatalogError::Full)) => return Err(PutError::DiskFull.into()),
            Err(CommitError::NotCommitted(e)) => return Err(PutError::Catalog(e.to_string()).into()),
            Err(CommitError::Unknown(e)) => {
                self.unsettled = true;
                return Err(PutError::Unknown(e.to_string()).into());
            }
            Err(CommitError::Broken(e)) => {
                return Err(shared.poison.set(format!("a commit of the catalog failed: {e}")).into());
            }
        }
        for segment in segments {
            appender(&mut self.appenders, &mut self.retired, segment).committed();
        }
        Ok(rows)
    }

    /// A key for each owner and day of the batch.
    fn keys(&self, works: &[Work]) -> Result<HashMap<KeyScope, SealingKey>, PutError> {
        let mut usage: BTreeMap<KeyScope, Usage> = BTreeMap::new();
        for work in works {
            *usage.entry(work.key_scope()).or_default() += Usage::of_frame(work.frame_bytes());
        }
        let demands: Vec<Demand> = usage.into_iter().map(|(scope, usage)| Demand { scope, usage }).collect();
        let shared = &*self.shared;
        let resource = |owner| shared.owners.of(owner).expect("looked up at its admission").resource(owner);
        let keys = shared.keys.for_sealing(&demands, &resource).map_err(|error| match error {
            KeyError::Store(e) if e.is_of_sync() => shared.poison.set(format!("a sync of a data key failed: {e}")),
            KeyError::Store(e) if disk::is_full_kind(e.kind()) => PutError::DiskFull,
            other => PutError::Key(other),
        })?;
        Ok(demands.into_iter().map(|demand| demand.scope).zip(keys).collect())
    }

    /// Gives each work its place and answers the segments, each once. Works come ordered by expiry.
    fn place(&mut self, works: &mut [Work]) -> Result<Vec<SegmentName>, PutError> {
        let mut segments: Vec<SegmentName> = Vec::new();
        let mut created = false;
        for work in works {
            let expiry = work.entry.expiry;
            let bytes = work.frame_bytes();
            let (name, place) = loop {
                if let Some((used, appender)) = self.appenders.get_mut(&expiry) {
                    *used = self.commits;
                    if let Some(place) = appender.place(bytes) {
                        break (appender.name(), place);
                    }
                    self.retire(expiry);
                }
                self.make_room_for(expiry, &segments);
                let appender = Appender::create(&*self.shared.segments, expiry, &*self.shared.entropy)
                    .map_err(|e| write_error(&e))?;
                self.appenders.insert(expiry, (self.commits, appender));
                self.shared.keys.segment_begun();
                created = true;
            };
            let location = Location { expiry, segment: name.id, offset: place.offset, bytes };
            work.place(location, place.ordinal);
            if segments.last() != Some(&name) {
                segments.push(name);
            }
        }
        if created {
            let synced = self.shared.segments.sync_names();
            synced.map_err(|e| self.shared.poison.set(format!("syncing the segments' folder failed: {e}")))?;
        }
        Ok(segments)
    }

    fn sync(&mut self, segments: &[SegmentName]) -> Result<(), PutError> {
        for &segment in segments {
            let begun = self.shared.clock.now();
            let synced = appender(&mut self.appenders, &mut self.retired, segment).sync();
            let micros = self.shared.clock.now().saturating_sub(begun).as_micros();
            let micros = u64::try_from(micros).unwrap_or(u64::MAX);
            self.shared.counters.sync_micros.fetch_add(micros, Ordering::Relaxed);
            synced.map_err(|error| match error {
                SyncError::Doubtful(e) => self.shared.poison.set(format!("syncing a segment failed: {e}")),
                SyncError::NotStored(e) => write_error(&e),
            })?;
        }
        Ok(())
    }

    /// Sets a full segment aside; the batch under way may have frames in it.
    fn retire(&mut self, expiry: ExpirySlot) {
        self.retired.extend(self.appenders.remove(&expiry).map(|(_, full)| full));
    }

    /// Gives up the segments that a failed batch touched: its nonces are spent, so nothing may be written
    /// over its frames.
    fn abandon(&mut self, works: &[Work]) {
        for expiry in works.iter().filter_map(Work::placed_in) {
            self.retire(expiry);
        }
        if self.unsettled || self.shared.poison.reason().is_some() {
            // The catalog may turn out to hold the batch's rows: its frames stay.
            self.retired.clear();
        }
        self.close_retired();
    }

    fn close_retired(&mut self) {
        for full in self.retired.drain(..) {
            full.close();
        }
    }

    /// Before a segment is begun: closes those that nothing has been written to for a while, since their slot is
    /// over and each keeps space laid out, and the longest unused if there are too many all the same.
    fn make_room_for(&mut self, expiry: ExpirySlot, begun: &[SegmentName]) {
        let in_use = |slot: ExpirySlot| slot == expiry || begun.iter().any(|segment| segment.expiry == slot);
        let mut idle: Vec<(u64, ExpirySlot)> =
            self.appenders.iter().map(|(slot, (used, _))| (*used, *slot)).filter(|(_, slot)| !in_use(*slot)).collect();
        idle.sort_unstable();
        let crowd = (self.appenders.len() + 1).saturating_sub(limits::SEGMENTS_OPEN_MAX);
        let stale = idle.iter().filter(|(used, _)| used + limits::SEGMENT_IDLE_COMMITS < self.commits).count();
        for (_, slot) in idle.into_iter().take(crowd.max(stale)) {
            if let Some((_, appender)) = self.appenders.remove(&slot) {
                appender.close();
            }
        }
    }

    fn count(&mut self, works: &[Work]) {
        self.commits += 1;
        let counters = &self.shared.counters;
        let payload: usize = works.iter().map(|work| work.entry.payload.len()).sum();
        counters.commits.fetch_add(1, Ordering::Relaxed);
        counters.frames.fetch_add(works.len() as u64, Ordering::Relaxed);
        counters.payload_bytes.fetch_add(payload as u64, Ordering::Relaxed);
    }

    /// Gives back the memory that one unusually large payload took.
    fn shrink(&mut self) {
        let usual = limits::BATCH_BYTES_MAX + limits::BATCH_BYTES_MAX / 8;
        if self.sealed.len() > usual {
            self.sealed.truncate(usual);
            self.sealed.shrink_to(usual);
        }
    }
}

/// Takes what waits behind `first`, up to the size of a batch and up to a job of another kind.
fn gather(first: Job, queue: &mut mpsc::Receiver<Job>) -> (Vec<Pending>, Option<Job>) {
    let mut batch = Vec::new();
    let mut bytes = 0;
    let mut next = Some(first);
    while let Some(job) = next {
        match job {
            Job::Put(pending) => {
                bytes += pending.entry.payload.len();
                batch.push(pending);
            }
            other => return (batch, Some(other)),
        }
        if batch.len() >= limits::BATCH_ENTRIES_MAX || bytes >= limits::BATCH_BYTES_MAX {
            break;
        }
        next = queue.try_recv().ok();
    }
    (batch, None)
}

/// The open segment of this name.
fn appender<'a>(open: &'a mut Appenders, retired: &'a mut [Appender], segment: SegmentName) -> &'a mut Appender {
    let open = open.get_mut(&segment.expiry).map(|(_, appender)| appender);
    open.into_iter()
        .chain(retired)
        .find(|appender| appender.name() == segment)
        .expect("a batch is placed in segments that are open, or retired in it")
}

fn write_error(error: &io::Error) -> PutError {
    if disk::is_full(error) { PutError::DiskFull } else { PutError::Write(error.to_string()) }
}
