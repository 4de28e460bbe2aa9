//! Segments: made of stored fragments, kept for the next who asks, and given out as far as there is room.

use bytes::Bytes;
use fragment::{FragmentNumber, Track, TrackKind, TrackNumber, Tracks, WallTime, mkv};
use hls::cmaf::Placement;

use super::State;
use super::error::Problem;
use super::library::{Fragment, Stream};
use super::segment_cache::Key;

/// What a fragment becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Form {
    /// Fragmented MP4 with all tracks.
    Whole,
    /// Fragmented MP4 with one.
    Track(TrackNumber),
    /// MPEG-TS.
    TransportStream,
}

impl State {
    /// The segment of a fragment that begins at `start`, by whichever clock.
    pub(super) async fn segment(
        &self,
        stream: &Stream,
        fragment: &Fragment,
        form: Form,
        start: WallTime,
    ) -> Result<Bytes, Problem> {
        // A segment is as large as its fragment, but for a percent of other boxes.
        let room = self.0.outgoing.room(fragment.bytes).await;
        let key = Key { stream: stream.id, number: fragment.entry.number, form, start };
        Ok(room.hold(self.find_or_build(stream, fragment, key).await?))
    }

    async fn find_or_build(&self, stream: &Stream, fragment: &Fragment, key: Key) -> Result<Bytes, Problem> {
        if let Some(segment) = self.0.segments.find(key, self.opened_now()) {
            return Ok(segment);
        }
        // Whoever waited for a place may find that another request has built the segment meanwhile.
        let _place = self.0.building.acquire().await.expect("the semaphore is never closed");
        let opened = self.opened_now();
        if let Some(segment) = self.0.segments.find(key, opened) {
            return Ok(segment);
        }
        let stored = self.library().read(stream, key.number).await?;
        let segment = build(fragment, key, stored).await?;
        self.0.segments.insert(key, segment.clone(), opened);
        Ok(segment)
    }
}

/// Builds a segment away from the tasks that serve other requests: it copies megabytes.
async fn build(fragment: &Fragment, key: Key, stored: Bytes) -> Result<Bytes, Problem> {
    let Key { number, form, start, .. } = key;
    let (duration, sequence) = (fragment.entry.duration, fragment.entry.id.sequence);
    let build = move || {
        let document = mkv::document(stored).map_err(|error| unplayable(number, &error))?;
        let origin = document.start.or(document.units.first().map(|unit| unit.pts)).unwrap_or_default();
        let placement = Placement { origin, start, duration, sequence_number: sequence.0.wrapping_add(1) };
        let (tracks, units) = (&document.tracks, &document.units);
        let segment = match form {
            Form::Whole => hls::cmaf::segment(tracks, units, placement),
            Form::Track(track) => {
                let track = tracks.find(track).ok_or_else(|| lacks(number, track))?.clone();
                let alone = Tracks::new(vec![track]).expect("one track is a set of tracks");
                hls::cmaf::segment(&alone, units, placement)
            }
            Form::TransportStream => hls::ts::segment(tracks, units, placement),
        };
        segment.map_err(|error| unplayable(number, &error))
    };
    tokio::task::spawn_blocking(build).await.map_err(|error| Problem::Storage(error.to_string()))?
}

/// The track that shows this, of those that can be played.
pub(super) fn track_of(tracks: &Tracks, kind: TrackKind) -> Option<&Track> {
    tracks.iter().find(|track| track.codec.kind() == kind && track.codec.rfc6381().is_some())
}

pub(super) fn unplayable(number: FragmentNumber, error: &dyn std::error::Error) -> Problem {
    Problem::Unplayable { number, reason: error.to_string() }
}

fn lacks(number: FragmentNumber, track: TrackNumber) -> Problem {
    Problem::Unplayable { number, reason: format!("it has no track {track}") }
}
