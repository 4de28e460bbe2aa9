//! What the HTTP side asks of the archive, in the words of playback.
//!
//! The archive's calls block; all but the shortest run where blocking does no harm. Errors of the storage become
//! a [`Problem`] here: no request can do anything about them but say so.

use std::sync::Arc;

use archive::{Archive, ReadError};
use bytes::Bytes;
use fragment::{FragmentNumber, StreamName, WallTime};
use hls::timeline::{Entry, LivePosition, Timeline};

use super::damage::Damage;
use super::error::Problem;
use crate::storage::point_read;
use crate::telemetry;

/// A stream, as far as playback is concerned.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    pub(crate) id: u64,
    pub(crate) name: StreamName,
}

impl From<archive::Stream> for Stream {
    fn from(stream: archive::Stream) -> Self {
        Self { id: stream.id, name: stream.name }
    }
}

/// A stored fragment: its place in the timeline, and its size.
#[derive(Clone, Debug)]
pub(crate) struct Fragment {
    pub(crate) entry: Entry,
    pub(crate) bytes: u64,
}

impl Fragment {
    /// Its mean rate.
    pub(crate) fn bits_per_second(&self) -> u64 {
        let millis = u64::try_from(self.entry.duration.as_millis()).unwrap_or(u64::MAX).max(1);
        self.bytes.saturating_mul(8000) / millis
    }
}

impl From<archive::Stored> for Fragment {
    fn from(stored: archive::Stored) -> Self {
        Self {
            bytes: stored.bytes,
            entry: Entry {
                number: stored.number,
                id: stored.id,
                start: stored.start,
                duration: stored.duration,
                tracks_fingerprint: stored.tracks_fingerprint,
                independent: stored.independent,
                gap: false,
                live: stored.live.map(|live| LivePosition {
                    media_sequence: live.media_sequence,
                    discontinuity_sequence: live.discontinuity_sequence,
                }),
            },
        }
    }
}

/// The archive, asked from async code.
#[derive(Clone)]
pub(crate) struct Library {
    archive: Archive,
    damage: Arc<Damage>,
}

impl Library {
    pub(crate) fn new(archive: Archive, damage: Arc<Damage>) -> Self {
        Self { archive, damage }
    }

    /// All streams in the order of their names.
    pub(crate) async fn list(&self, now: WallTime) -> Result<Vec<archive::Overview>, Problem> {
        self.ask(move |archive| archive.overview(now)).await
    }

    pub(crate) async fn find(&self, name: &StreamName) -> Result<Option<Stream>, Problem> {
        let name = name.clone();
        Ok(self.ask(move |archive| archive.find_stream(&name)).await?.map(Stream::from))
    }

    /// The stream of a token. Streams are in memory.
    pub(crate) fn stream(&self, id: u64) -> Result<Stream, Problem> {
        self.archive.stream(id)?.map(Stream::from).ok_or(Problem::StreamGone)
    }

    /// The newest fragments of the live timeline.
    pub(crate) async fn live(&self, stream: &Stream, now: WallTime) -> Result<Vec<Fragment>, Problem> {
        let id = stream.id;
        let found = self.ask(move |archive| archive.latest_live(id, hls::limits::LIVE_SEGMENTS_MAX, now)).await?;
        Ok(self.fragments(id, found))
    }

    pub(crate) async fn live_timeline(&self, stream: &Stream, now: WallTime) -> Result<Timeline, Problem> {
        Ok(Timeline::live(entries(self.live(stream, now).await?)))
    }

    /// The fragments of a range of the past, the one that contains its start included.
    pub(crate) async fn past(
        &self,
        stream: &Stream,
        start: WallTime,
        end: WallTime,
        now: WallTime,
    ) -> Result<Vec<Fragment>, Problem> {
        let (id, max) = (stream.id, hls::limits::PAST_SEGMENTS_MAX);
        let found = self.ask(move |archive| archive.range(id, start..end, max + 1, now)).await?;
        if found.len() > max {
            return Err(Problem::RangeTooLong(format!(
                "more than {max} fragments lie in the range, the most that one playlist may have; ask for less"
            )));
        }
        Ok(self.fragments(id, found))
    }

    pub(crate) async fn past_timeline(
        &self,
        stream: &Stream,
        start: WallTime,
        end: WallTime,
        now: WallTime,
    ) -> Result<Timeline, Problem> {
        Ok(Timeline::past(entries(self.past(stream, start, end, now).await?)))
    }

    /// A fragment, found by a point read, which is cheaper than the way to another thread.
    pub(crate) async fn fragment(
        &self,
        stream: &Stream,
        number: FragmentNumber,
        now: WallTime,
    ) -> Result<Option<Fragment>, Problem> {
        Ok(self.stored(stream, number, now).await?.map(Fragment::from))
    }

    /// The same with all that is known of it.
    pub(crate) async fn stored(
        &self,
        stream: &Stream,
        number: FragmentNumber,
        now: WallTime,
    ) -> Result<Option<archive::Stored>, Problem> {
        let (archive, id) = (self.archive.clone(), stream.id);
        Ok(point_read(&**self.archive.vault().catalog(), move || archive.fragment(id, number, now)).await?)
    }

    /// The stored bytes of a fragment: a Matroska document.
    pub(crate) async fn read(&self, stream: &Stream, number: FragmentNumber) -> Result<Bytes, Problem> {
        let id = stream.id;
        let (name, damage) = (stream.name.clone(), self.damage.clone());
        let read = move |archive: &Archive| {
            let read = archive.read(id, number);
            if let Err(ReadError::Vault(error)) = &read
                && error.is_damage()
                && damage.note(id, number)
            {
                tracing::error!(stream = %name, %number, %error, "a fragment is damaged; it is left out from now on");
                telemetry::damaged();
            }
            read
        };
        self.ask(read).await?.ok_or(Problem::SegmentGone)
    }

    fn fragments(&self, stream: u64, found: Vec<archive::Stored>) -> Vec<Fragment> {
        let mut fragments: Vec<_> = found.into_iter().map(Fragment::from).collect();
        for Fragment { entry, .. } in &mut fragments {
            entry.gap = self.knows_damage(stream, entry.number);
        }
        fragments
    }

    /// Whether the archive takes and gives video, else why not.
    pub(crate) fn health(&self) -> Result<(), String> {
        self.archive.health()
    }

    /// Changes whenever what was opened before may be kept in memory no longer.
    pub(crate) fn key_drops(&self) -> u64 {
        self.archive.vault().key_drops()
    }

    /// Whether a fragment was found damaged.
    pub(crate) fn knows_damage(&self, stream: u64, number: FragmentNumber) -> bool {
        self.damage.knows(stream, number)
    }

    /// Asks the archive where blocking does no harm.
    pub(super) async fn ask<T, E, F>(&self, question: F) -> Result<T, Problem>
    where
        T: Send + 'static,
        E: Into<Problem> + Send + 'static,
        F: FnOnce(&Archive) -> Result<T, E> + Send + 'static,
    {
        let archive = self.archive.clone();
        let answer = tokio::task::spawn_blocking(move || question(&archive)).await;
        answer.map_err(|error| Problem::Storage(error.to_string()))?.map_err(E::into)
    }
}

fn entries(fragments: Vec<Fragment>) -> Vec<Entry> {
    fragments.into_iter().map(|fragment| fragment.entry).collect()
}
