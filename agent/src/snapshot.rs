//! A picture of what a camera sees now, for the server: its newest key frame, decoded here.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Semaphore;

use crate::limits;
use crate::status::KeyFrame;

/// Takes snapshots, a few at a time.
#[derive(Clone, Debug)]
pub struct Studio(Arc<Semaphore>);

impl Default for Studio {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(limits::SNAPSHOTS_MAX)))
    }
}

impl Studio {
    /// The picture as a JPEG of at most this width; 0 leaves it to the agent. Failures are told in words.
    pub async fn take(&self, frame: Option<KeyFrame>, width_max: u32) -> Result<Bytes, String> {
        let width = if width_max == 0 { limits::SNAPSHOT_WIDTH_DEFAULT } else { width_max };
        let width = width.min(limits::SNAPSHOT_WIDTH_MAX);
        let frame = frame.ok_or("the camera gives no video now, so there is no picture")?;
        let busy = || "other snapshots are being taken; try again in a few seconds".to_owned();
        let permit = self.0.clone().try_acquire_owned().map_err(|_| busy())?;
        let taken = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            decode(&frame, width)
        });
        let picture = taken.await.map_err(|error| error.to_string())??;
        if picture.len() > upload::limits::RESULT_BYTES_MAX {
            return Err(format!("the picture has {} bytes; ask for a smaller width", picture.len()));
        }
        Ok(picture)
    }
}

#[cfg(feature = "capture")]
fn decode(frame: &KeyFrame, width_max: u32) -> Result<Bytes, String> {
    pipelines::still::jpeg(&frame.track.codec, &frame.unit.data, width_max).map_err(|error| error.to_string())
}

#[cfg(not(feature = "capture"))]
fn decode(_: &KeyFrame, _: u32) -> Result<Bytes, String> {
    Err("this agent was built without capture and can't decode pictures".to_owned())
}
