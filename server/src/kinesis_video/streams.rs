//! The archive's streams as the API sees them: found by name or ARN, with a version, and with attributes.
//!
//! A stream is the same whether a device's first fragment, an operator or CreateStream made it; only the last gives it
//! attributes. Its version says which revision of it somebody has seen: whatever is changed on that condition is not changed if
//! anybody else was quicker, on whichever server.

use std::collections::BTreeMap;

use archive::{Archive, Retention, Stream, StreamError};
use aws_lc_rs::digest::{SHA256, digest};
use axum::body::Bytes;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fragment::{StreamName, WallTime};
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;

use super::control::{Edge, ImageGeneration, Notification};
use super::members::Members;
use super::operation::Call;
use super::refusal::Refusal;
use super::rules;
use crate::{limits, storage};

/// What is said of a stream, beside what the archive itself knows. Stored as JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Attributes {
    pub(super) device_name: Option<String>,
    pub(super) media_type: Option<String>,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) storage_tier: StorageTier,
    /// What a device is to record for it.
    pub(super) edge: Option<Edge>,
    /// Of which fragments pictures are made by themselves.
    pub(super) image_generation: Option<ImageGeneration>,
    /// Who is told of which fragments.
    pub(super) notification: Option<Notification>,
}

/// What AWS asks for storage by. Here all tiers are one disk; it is kept and told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum StorageTier {
    #[default]
    Hot,
    Warm,
}

/// Which stream a request is about: by name, by ARN, or by both where they agree.
#[derive(Clone, Debug)]
pub(super) struct StreamReference {
    name: StreamName,
    arn: Option<String>,
}

impl StreamReference {
    /// Reads `StreamName` and `StreamARN`, one of which is needed.
    pub(super) fn read(members: &Members<'_>) -> Result<Self, Refusal> {
        let name = members.text("StreamName", &rules::STREAM_NAME)?.map(stream_name).transpose()?;
        let arn = members.text("StreamARN", &rules::STREAM_ARN)?;
        let of_arn = arn.map(name_in).transpose()?;
        match (name, of_arn) {
            (Some(name), Some(of_arn)) if name != of_arn => {
                Err(Refusal::InvalidArgument("streamName and streamARN name two streams; give one of them".to_owned()))
            }
            (Some(name), _) | (None, Some(name)) => Ok(Self { name, arn: arn.map(str::to_owned) }),
            (None, None) => Err(Refusal::InvalidArgument("Either streamName or streamARN must be given".to_owned())),
        }
    }

    /// Its name.
    pub(super) fn name(&self) -> &StreamName {
        &self.name
    }

    /// The same in operations about tags, where AWS has an error of its own for a text that is no ARN.
    pub(super) fn read_for_tags(members: &Members<'_>) -> Result<Self, Refusal> {
        match members.text("StreamARN", &rules::STREAM_ARN) {
            Err(Refusal::InvalidArgument(why)) => Err(Refusal::InvalidResourceFormat(why)),
            _ => Self::read(members),
        }
    }
}

/// A name by AWS's rule that is one by ours: not of dots alone.
pub(super) fn stream_name(text: &str) -> Result<StreamName, Refusal> {
    text.parse().map_err(|error| Refusal::InvalidArgument(format!("streamName: {error}")))
}

/// The name in an ARN that is written as one of a stream or a channel.
fn name_in(arn: &str) -> Result<StreamName, Refusal> {
    let name = arn.split('/').nth(1).unwrap_or_default();
    if !arn.contains(":stream/") {
        return Err(Refusal::InvalidArgument(format!("streamARN: {arn} is no stream's")));
    }
    stream_name(name)
}

/// A stream's version: 20 characters, which tell nothing but whether they are the same.
pub(super) fn version(stream: &Stream) -> String {
    let text = format!("{}/{}/{}", stream.id, stream.created.as_nanos(), stream.revision);
    digest(&SHA256, text.as_bytes()).as_ref()[..10].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A time as the API tells it.
pub(super) fn seconds(time: WallTime) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 are exact for 285,000 years")]
    let millis = time.as_millis() as f64;
    millis / 1000.0
}

/// What stands for the rest of a list behind the stream of this name.
pub(super) fn page_token(last: &StreamName) -> String {
    STANDARD.encode(last.as_str())
}

/// The name in such a token.
pub(super) fn token_name(token: &str) -> Result<String, Refusal> {
    let name = STANDARD.decode(token).ok().and_then(|name| String::from_utf8(name).ok());
    name.ok_or_else(|| Refusal::InvalidArgument("nextToken is not one that this server gave out".to_owned()))
}

/// The hours that a stream is kept, as the API counts.
pub(super) fn retention_hours(stream: &Stream) -> u64 {
    if stream.retention.time().is_zero() { 0 } else { stream.kept_for().as_secs() / 3600 }
}

impl Call {
    /// The stream that is meant, if the caller may do this with it. Blocks.
    pub(super) fn find(&self, wanted: &StreamReference) -> Result<Stream, Refusal> {
        self.check(&wanted.name)?;
        let archive = &self.service.archive;
        let look = || {
            let found = archive.find_stream(&wanted.name)?;
            Ok::<_, Refusal>(found.filter(|stream| wanted.arn.as_ref().is_none_or(|arn| *arn == stream.arn())))
        };
        if let Some(stream) = look()? {
            return Ok(stream);
        }
        // Another server may have made it a moment ago.
        if self.service.is_shared {
            archive.refresh()?;
        }
        look()?.ok_or(Refusal::NotFound)
    }

    /// The same, if it keeps what arrives.
    pub(super) fn find_retained(&self, wanted: &StreamReference) -> Result<Stream, Refusal> {
        let stream = self.find(wanted)?;
        if stream.retention.time().is_zero() { Err(Refusal::NoDataRetention) } else { Ok(stream) }
    }

    /// The same, if it is still of this version. Blocks.
    pub(super) fn find_version(&self, wanted: &StreamReference, expected: Option<&str>) -> Result<Stream, Refusal> {
        let is_it = |stream: &Stream| expected.is_none_or(|expected| version(stream) == expected);
        let stream = self.find(wanted)?;
        if is_it(&stream) {
            return Ok(stream);
        }
        // Or have changed it.
        if self.service.is_shared {
            self.service.archive.refresh()?;
        }
        Some(self.find(wanted)?).filter(is_it).ok_or(Refusal::VersionMismatch)
    }

    /// What is said of a stream. Blocks.
    pub(super) fn attributes(&self, stream: &Stream) -> Result<Attributes, Refusal> {
        attributes_of(&self.service.archive, stream)
    }

    /// Changes a stream that is of this version, or of any. `change` is asked again if somebody else was quicker. Blocks.
    pub(super) fn change(
        &self,
        wanted: &StreamReference,
        expected: Option<&str>,
        change: impl Fn(&Stream, Attributes) -> Result<(Retention, Attributes), Refusal>,
    ) -> Result<(), Refusal> {
        for _ in 0..limits::COMMIT_ATTEMPTS_MAX {
            let stream = self.find_version(wanted, expected)?;
            let before = self.attributes(&stream)?;
            let (retention, after) = change(&stream, before.clone())?;
            // With a version the commit is what tells whether it is still the newest, on all servers.
            if expected.is_none() && retention == stream.retention && after == before {
                return Ok(());
            }
            let (archive, stored) = (&self.service.archive, stored(&after));
            // It waits for the vault's own thread, and for none of those that block.
            Handle::current().block_on(archive.note_raise(stream.id, retention, storage::now()))?;
            match archive.update_stream(stream.id, stream.revision, retention, &stored) {
                Ok(_) => return Ok(()),
                Err(StreamError::Changed) => archive.refresh()?,
                Err(error) => return Err(error.into()),
            }
        }
        Err(Refusal::InUse(format!("The stream {} is being changed by others all the time.", wanted.name)))
    }
}

/// What is said of a stream. Blocks.
pub(super) fn attributes_of(archive: &Archive, stream: &Stream) -> Result<Attributes, Refusal> {
    let Some(stored) = archive.attributes(stream.id)? else { return Ok(Attributes::default()) };
    let damaged = |error| Refusal::Internal(format!("the attributes of {} are damaged: {error}", stream.name));
    serde_json::from_slice(&stored).map_err(damaged)
}

/// Attributes as they are stored.
pub(super) fn stored(attributes: &Attributes) -> Bytes {
    serde_json::to_vec(attributes).expect("attributes are plain JSON").into()
}
