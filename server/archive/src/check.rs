//! Reading everything: whether catalog, segments and keys agree.
//!
//! Every frame is opened, every row is followed to its frame, and the indices are held against each other. A check
//! changes nothing and runs beside a working server: what it finds it looks at twice, since fragments come and go
//! meanwhile. Frames that no row refers to are no fault: a crash between two syncs leaves them, and so does a row
//! that expired before its segment.

use fragment::{FragmentNumber, WallTime};
use vault::{HeaderError, Key, KeyRange, Location, Owner as _, SegmentName, Walk, Walked};

use crate::archive::Archive;
use crate::entry::Stored;
use crate::error::{CheckError, QueryError};
use crate::index::all_rows;
use crate::key::{self, Row};
use crate::raise::Raise;
use crate::stream::Stream;
use crate::tail::Tail;

/// A disagreement.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Finding {
    /// The header of a segment that holds fragments is damaged. It costs none of them.
    #[error("segment {:08}-{}: {why}; its fragments do not depend on that", segment.expiry.0, segment.id)]
    Header {
        /// The segment.
        segment: SegmentName,
        /// What is wrong with it.
        why: HeaderError,
    },
    /// Bytes between two frames of a segment that are none. Which fragments they were, their rows tell.
    #[error("segment {:08}-{}: {bytes} bytes at {offset} are no frame", segment.expiry.0, segment.id)]
    Damage {
        /// The segment.
        segment: SegmentName,
        /// Where they begin.
        offset: u64,
        /// How many they are.
        bytes: u64,
    },
    /// A fragment's bytes can't be had.
    #[error("stream {stream}, fragment {}: {why}", number.0)]
    Unreadable {
        /// Its stream's number.
        stream: u64,
        /// Its number.
        number: FragmentNumber,
        /// Why not.
        why: String,
    },
    /// A fragment's row and its frame say different things.
    #[error("stream {stream}, fragment {}: its row differs from what its frame says", number.0)]
    Differs {
        /// Its stream's number.
        stream: u64,
        /// Its number.
        number: FragmentNumber,
    },
    /// Two fragments have one identity: the index by identity leads to another one. One of them was stored twice.
    #[error("stream {stream}, fragment {}: the index by identity leads to another fragment of the same identity", number.0)]
    Double {
        /// Their stream's number.
        stream: u64,
        /// The number of the one that it does not lead to.
        number: FragmentNumber,
    },
    /// A fragment can't be found by one of the indices.
    #[error("stream {stream}, fragment {}: it is missing in the index by {index}", number.0)]
    Unindexed {
        /// Its stream's number.
        stream: u64,
        /// Its number.
        number: FragmentNumber,
        /// Which index.
        index: &'static str,
    },
    /// A row of an index leads to no fragment.
    #[error("stream {stream}: the index by {index} names fragment {}, which does not exist", number.0)]
    Dangling {
        /// The stream's number.
        stream: u64,
        /// The fragment that it names.
        number: FragmentNumber,
        /// Which index.
        index: &'static str,
    },
    /// The end of a stream, from which the next fragment is numbered, is not that of its fragments.
    #[error("stream {stream}: its end, or how much it holds, is not what its fragments say")]
    Tail {
        /// The stream's number.
        stream: u64,
    },
}

/// What was checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Segments read.
    pub segments: u64,
    /// Frames opened.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Frames that no row refers to: no fault.
    pub unreferenced: u64,
    /// Fragments whose rows were followed.
    pub fragments: u64,
    /// Disagreements.
    pub findings: u64,
}

impl Archive {
    /// Reads everything and tells what disagrees. Blocks for as long as that takes.
    pub fn check(&self, now: WallTime, tell: &mut dyn FnMut(Finding)) -> Result<Checked, CheckError> {
        let mut check = Check { archive: self, now, tell, checked: Checked::default() };
        check.segments()?;
        for stream in self.list_streams() {
            check.fragments(&stream)?;
            check.indices(&stream)?;
            check.tail(&stream)?;
        }
        Ok(check.checked)
    }
}

struct Check<'a> {
    archive: &'a Archive,
    now: WallTime,
    tell: &'a mut dyn FnMut(Finding),
    checked: Checked,
}

impl Check<'_> {
    fn find(&mut self, finding: Finding) {
        self.checked.findings += 1;
        (self.tell)(finding);
    }

    /// Opens every frame of every segment.
    fn segments(&mut self) -> Result<(), CheckError> {
        let vault = self.archive.vault();
        for segment in vault.segments()? {
            let mut walk = match vault.walk(segment.name) {
                Ok(walk) => walk,
                // Expired since the segments were listed.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error.into()),
            };
            self.checked.segments += 1;
            let mut is_used = false;
            for walked in walk.by_ref() {
                match walked? {
                    Walked::Damaged { offset, bytes } => {
                        self.find(Finding::Damage { segment: segment.name, offset, bytes });
                    }
                    Walked::Frame(header, location) => is_used |= self.frame(&header, location)?,
                }
            }
            // Before its first sync, and so before its first row, a power cut may leave any of its bytes out.
            if is_used {
                self.header(segment.name, &walk)?;
            }
        }
        Ok(())
    }

    fn header(&mut self, segment: SegmentName, walk: &Walk) -> Result<(), CheckError> {
        match walk.check_header() {
            Ok(Ok(())) => Ok(()),
            Ok(Err(why)) => {
                self.find(Finding::Header { segment, why });
                Ok(())
            }
            // Expired since it was walked through.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Says whether a row refers to it.
    fn frame(&mut self, header: &vault::FrameHeader, location: Location) -> Result<bool, CheckError> {
        self.checked.frames += 1;
        self.checked.bytes += u64::from(location.bytes);
        let read = self.archive.vault().read_blocking(location);
        let (index, catalog) = (self.archive.index(), self.archive.catalog());
        let ours = header.owner.domain() == index.domain();
        let is_live = ours && index.is_live(catalog, header.owner, &header.index, location)?;
        match (read, Stored::decode(&header.index)) {
            (Ok(_), _) if is_live || !ours => {}
            (Err(error), Some(stored)) if is_live => {
                let (stream, number) = (header.owner.number(), stored.number);
                if self.is_there(stream)? {
                    self.find(Finding::Unreadable { stream, number, why: error.to_string() });
                } else {
                    self.checked.unreferenced += 1;
                }
            }
            // No row is to lead to it.
            (Ok(_), None) if ours && Raise::decode(&header.index).is_some() => {}
            _ => self.checked.unreferenced += 1,
        }
        Ok(is_live)
    }

    /// Follows the row of every fragment that has not expired.
    fn fragments(&mut self, stream: &Stream) -> Result<(), CheckError> {
        let first = Row::ByNumber(stream.id, stream.first_kept(self.now)).key();
        let end = KeyRange::prefix(key::numbers(stream.id)).end;
        for row in all_rows(self.archive.catalog(), KeyRange { start: first, end }) {
            let row = row?;
            let Some(number) = key::number_of(&row.key) else { continue };
            let Some((location, stored)) = Stored::decode_row(&row.value) else {
                let why = "its row is damaged".to_owned();
                self.find(Finding::Unreadable { stream: stream.id, number, why });
                continue;
            };
            self.checked.fragments += 1;
            if stored.number == number {
                self.follow(stream, location, &stored, &row.key)?;
            } else {
                self.find(Finding::Differs { stream: stream.id, number });
            }
        }
        Ok(())
    }

    fn follow(&mut self, stream: &Stream, location: Location, stored: &Stored, row: &Key) -> Result<(), CheckError> {
        let number = stored.number;
        let examined = self.archive.vault().examine(location);
        let still_there = || -> Result<bool, QueryError> {
            Ok(self.is_there(stream.id)? && self.archive.catalog().get(row)?.is_some())
        };
        match examined {
            Ok(header) if Stored::decode(&header.index).as_ref() == Some(stored) => {}
            Ok(_) => self.find(Finding::Differs { stream: stream.id, number }),
            // Its segment, or its stream, may have gone since its row was read.
            Err(_) if !still_there()? => return Ok(()),
            Err(error) => self.find(Finding::Unreadable { stream: stream.id, number, why: error.to_string() }),
        }
        let indices = [
            ("time", Row::ByTime(stream.id, stored.start, number)),
            ("identity", Row::ByIdentity(stream.id, stored.id)),
        ];
        let catalog = self.archive.catalog();
        for (index, key) in indices {
            let Some(value) = catalog.get(&key.key())? else {
                if catalog.get(row)?.is_some() {
                    self.find(Finding::Unindexed { stream: stream.id, number, index });
                }
                continue;
            };
            // The row by time has no value: all that it says is in its key.
            if index == "identity" && value[..] != number.0.to_be_bytes() && catalog.get(row)?.is_some() {
                self.find(Finding::Double { stream: stream.id, number });
            }
        }
        Ok(())
    }

    /// Whether a stream is there, and not being deleted, which takes its keys before its rows.
    fn is_there(&self, stream: u64) -> Result<bool, QueryError> {
        Ok(self.archive.stream(stream)?.is_some())
    }

    /// Counts the fragments, at one moment.
    fn tail(&mut self, stream: &Stream) -> Result<(), CheckError> {
        let snapshot = self.archive.catalog().snapshot();
        let Some(row) = snapshot.get(&Row::Tail(stream.id).key())? else { return Ok(()) };
        let Some(tail) = Tail::decode(&row) else {
            self.find(Finding::Tail { stream: stream.id });
            return Ok(());
        };
        let counted = Tail::count(&*snapshot, stream.id)?;
        // The last fragments may have been removed, and the tail goes on from them.
        let agrees = counted.stored == tail.stored
            && counted.last.is_none_or(|last| tail.last.is_some_and(|tail| last.number <= tail.number));
        if !agrees {
            self.find(Finding::Tail { stream: stream.id });
        }
        Ok(())
    }

    /// Follows the rows of the other indices back.
    fn indices(&mut self, stream: &Stream) -> Result<(), CheckError> {
        for row in all_rows(self.archive.catalog(), KeyRange::prefix(key::times(stream.id))) {
            let row = row?;
            if let Some((_, number)) = key::time_of(&row.key) {
                self.lead(stream, &row.key, number, "time")?;
            }
        }
        for row in all_rows(self.archive.catalog(), KeyRange::prefix(key::identities(stream.id))) {
            let row = row?;
            if let Ok(number) = row.value[..].try_into().map(u64::from_be_bytes) {
                self.lead(stream, &row.key, FragmentNumber(number), "identity")?;
            }
        }
        Ok(())
    }

    fn lead(
        &mut self,
        stream: &Stream,
        row: &Key,
        number: FragmentNumber,
        index: &'static str,
    ) -> Result<(), CheckError> {
        let catalog = self.archive.catalog();
        let exists = catalog.get(&Row::ByNumber(stream.id, number).key())?.is_some();
        if !exists && catalog.get(row)?.is_some() {
            self.find(Finding::Dangling { stream: stream.id, number, index });
        }
        Ok(())
    }
}
