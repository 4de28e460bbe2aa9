//! The tables of a clip: its fragments are gone through a first time.

use fragment::{FragmentNumber, mkv};
use hls::ClipError;
use hls::clip::Clip;
use hls::cmaf::Placement;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;

use super::fragments::Listed;
use crate::kinesis_video::refusal::Refusal;
use crate::kinesis_video::{Service, chunk};
use crate::playable;

/// A clip that can be sent.
pub(super) struct Plan {
    pub(super) clip: Clip,
    pub(super) fragments: Vec<Planned>,
    /// One of those whose tables are in memory.
    pub(super) place: OwnedSemaphorePermit,
}

/// A fragment of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Planned {
    pub(super) number: FragmentNumber,
    /// The bytes of its samples.
    pub(super) media_bytes: u64,
}

/// A plan being made, by a task that ends when nobody waits for it any more.
pub(super) struct Planning(JoinHandle<Result<Plan, Refusal>>);

impl Planning {
    pub(super) fn start(service: Service, stream: u64, fragments: Vec<Listed>) -> Self {
        Self(tokio::spawn(plan(service, stream, fragments)))
    }

    /// The plan, when it is made. May be asked for again until then.
    pub(super) async fn plan(&mut self) -> Result<Plan, Refusal> {
        (&mut self.0).await.map_err(|error| Refusal::Internal(error.to_string()))?
    }
}

impl Drop for Planning {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn plan(service: Service, stream: u64, fragments: Vec<Listed>) -> Result<Plan, Refusal> {
    let place = service.clips.clone().acquire_owned().await.expect("the semaphore is never closed");
    let (mut clip, mut planned) = (Clip::default(), Vec::with_capacity(fragments.len()));
    for listed in fragments {
        let _room = service.outgoing.room(listed.bytes).await;
        let (service, number, before) = (service.clone(), listed.number, clip.media_bytes());
        let added = tokio::task::spawn_blocking(move || {
            let added = add(&service, stream, listed, &mut clip);
            (clip, added)
        });
        let (grown, added) = added.await.map_err(|error| Refusal::Internal(error.to_string()))?;
        clip = grown;
        match added? {
            Added::Whole => planned.push(Planned { number, media_bytes: clip.media_bytes() - before }),
            Added::LeftOut => {}
            Added::Full => break,
        }
    }
    if planned.is_empty() { Err(Refusal::NoFragments) } else { Ok(Plan { clip, fragments: planned, place }) }
}

fn invalid_private_data(error: &dyn std::error::Error) -> Refusal {
    Refusal::InvalidCodecPrivateData(format!("The codec private data are not valid: {error}"))
}

/// What became of a fragment.
enum Added {
    Whole,
    /// It is gone, or damaged.
    LeftOut,
    /// The clip ends before it.
    Full,
}

/// Blocks.
fn add(service: &Service, stream: u64, listed: Listed, clip: &mut Clip) -> Result<Added, Refusal> {
    let Listed { number, start, duration, .. } = listed;
    let document = match chunk::read(&service.archive, &service.damage, stream, number) {
        Ok(document) => document,
        Err(error) if error.is_for_good => return Ok(Added::LeftOut),
        Err(error) => return Err(Refusal::Internal(error.to_string())),
    };
    let broken = |error: &dyn std::error::Error| Refusal::InvalidMediaFrame(format!("Fragment {number}: {error}."));
    let document = mkv::document(document).map_err(|error| match error.kind {
        mkv::ErrorKind::Codec { .. } => invalid_private_data(&error),
        _ => broken(&error),
    })?;
    playable::check(&document.tracks)?;
    let origin = document.start.or(document.units.first().map(|unit| unit.pts)).unwrap_or_default();
    let placement = Placement { origin, start, duration, sequence_number: 0 };
    match clip.add(&document.tracks, &document.units, placement) {
        Ok(()) => Ok(Added::Whole),
        Err(ClipError::Full) => Ok(Added::Full),
        Err(ClipError::Tracks(error)) => Err(invalid_private_data(&error)),
        Err(error @ ClipError::Changed(_)) => {
            Err(Refusal::UnsupportedMediaType(format!("Fragment {number}: {error}.")))
        }
        Err(error) => Err(broken(&error)),
    }
}
