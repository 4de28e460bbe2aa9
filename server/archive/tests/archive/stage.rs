//! An archive in a folder, and fragments to store in it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use archive::{Archive, Fragment, LivePosition, OpenError, Retention, Stream};
use bytes::Bytes;
use fragment::{ClockQuality, FragmentId, Sequence, SessionId, WallTime};
use tempfile::TempDir;
use vault::Parts;
use vault::catalog::FjallCatalog;

/// 2026-01-01T00:00:00Z: some hour's beginning.
pub(crate) const BEGIN_SECS: i64 = 1_767_225_600;

/// A folder that an archive is opened in again and again.
pub(crate) struct Bench(pub(crate) TempDir);

impl Bench {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn open(&self) -> Archive {
        open(self.0.path())
    }

    /// As soon as work of the archive before that nobody waits for any more has ended, and the folder is let go.
    pub(crate) async fn open_again(&self) -> Archive {
        loop {
            let ring = Arc::new(vault::Keyring::of_vault(self.0.path()).unwrap());
            match Archive::open(self.0.path(), ring) {
                Err(OpenError::Vault(vault::OpenError::Locked(_))) => {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                opened => return opened.unwrap(),
            }
        }
    }

    pub(crate) fn open_under(&self, ceiling: Duration) -> Archive {
        let ring = Arc::new(vault::Keyring::of_vault(self.0.path()).unwrap());
        Archive::assemble(Parts::local(self.0.path(), ring).unwrap(), ceiling).unwrap()
    }

    pub(crate) fn lose_catalog(&self) {
        FjallCatalog::set_aside(self.0.path(), &self.0.path().join("aside")).unwrap();
        std::fs::remove_dir_all(self.0.path().join("aside")).unwrap();
    }

    /// In the middle of what lies between the beginnings of the second and the third payload.
    pub(crate) fn flip_bit_of_the_second_payload(&self) {
        let frame = payload(1, 0).len() + 200;
        self.flip_bit_of_the_segment(32 + frame + frame / 2);
    }

    /// Of the byte at `at` of the one segment.
    pub(crate) fn flip_bit_of_the_segment(&self, at: usize) {
        flip_bit(&only_file_of(&self.0.path().join("segments"), ""), at);
    }

    /// Of the byte at `at` of the one key of a stream.
    pub(crate) fn flip_bit_of_the_key_of(&self, stream: u64, at: usize) {
        flip_bit(&only_file_of(&self.0.path().join("keys"), &owner_of(stream)), at);
    }

    /// Whatever was deleted of a stream when its deletion was cut off.
    pub(crate) fn lose_keys_of(&self, stream: u64) {
        let owner = owner_of(stream);
        for key in std::fs::read_dir(self.0.path().join("keys")).unwrap().map(|key| key.unwrap()) {
            if key.file_name().to_str().unwrap().starts_with(&owner) {
                std::fs::remove_file(key.path()).unwrap();
            }
        }
    }

    /// How many data keys of a stream there are.
    pub(crate) fn keys_of(&self, stream: u64) -> usize {
        let owner = format!("01{stream:014x}-");
        let keys = std::fs::read_dir(self.0.path().join("keys")).unwrap();
        keys.filter(|key| key.as_ref().unwrap().file_name().to_str().unwrap().starts_with(&owner)).count()
    }

    pub(crate) fn segments(&self) -> usize {
        std::fs::read_dir(self.0.path().join("segments")).unwrap().count()
    }
}

/// What the names of a stream's keys begin with.
fn owner_of(stream: u64) -> String {
    format!("01{stream:014x}-")
}

fn only_file_of(folder: &Path, prefix: &str) -> PathBuf {
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap());
    let files: Vec<_> = files.filter(|file| file.file_name().to_str().unwrap().starts_with(prefix)).collect();
    let [file] = &files[..] else { panic!("{files:?}") };
    file.path()
}

fn flip_bit(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 1;
    // In place: the archive may hold the file open.
    std::fs::write(path, bytes).unwrap();
}

pub(crate) fn open(folder: &Path) -> Archive {
    let ring = Arc::new(vault::Keyring::of_vault(folder).unwrap());
    Archive::open(folder, ring).unwrap()
}

pub(crate) trait Front {
    fn front(&self) -> Stream;
    fn live(&self, stream: &Stream) -> Vec<(u64, u64)>;
}

impl Front for Archive {
    fn front(&self) -> Stream {
        self.find_or_create_stream(&"front".parse().unwrap(), at(0)).unwrap()
    }

    fn live(&self, stream: &Stream) -> Vec<(u64, u64)> {
        let live = self.latest_live(stream.id, 100, at(100)).unwrap();
        let position = |live: LivePosition| (live.media_sequence, live.discontinuity_sequence);
        live.iter().filter_map(|stored| stored.live.map(position)).collect()
    }
}

/// Streams of which twenty fragments each lie in the same files.
pub(crate) async fn side_by_side<const N: usize>(archive: &Archive, names: [&str; N]) -> [u64; N] {
    let streams = names.map(|name| archive.create_stream(&name.parse().unwrap(), hours(24), at(0)).unwrap().id);
    for sequence in 0..20 {
        for stream in streams {
            archive.store(stream, fragment(stream, sequence, i64::from(sequence))).await.unwrap();
        }
    }
    streams
}

pub(crate) fn fragment(session: u64, sequence: u32, start_secs: i64) -> Fragment {
    Fragment {
        id: id(session, sequence),
        start: at(start_secs),
        quality: ClockQuality::Synchronised,
        duration: Duration::from_secs(2),
        tracks_fingerprint: 7,
        independent: true,
        codecs: vec!["avc1.42C00D".to_owned(), "mp4a.40.2".to_owned()],
        arrived: at(start_secs + 2),
        payload: payload(session, sequence),
    }
}

pub(crate) fn payload(session: u64, sequence: u32) -> Bytes {
    Bytes::from(format!("payload of {session}-{sequence} ").repeat(50))
}

pub(crate) fn id(session: u64, sequence: u32) -> FragmentId {
    FragmentId { session: SessionId(session), sequence: Sequence(sequence) }
}

pub(crate) fn hours(hours: u64) -> Retention {
    Retention::new(Duration::from_secs(hours * 3600)).unwrap()
}

pub(crate) fn at(secs: i64) -> WallTime {
    WallTime::from_millis((BEGIN_SECS + secs) * 1000)
}
