//! Reads one whole stored fragment.

use bytes::Bytes;

use crate::{AccessUnit, MediaTime, Tracks};

use super::elements::Id;
use super::error::{Error, ErrorKind};
use super::event::{Event, Limits};
use super::reader::Reader;
use super::tags::{END_OF_FRAGMENT, Tag};

/// A document's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// The tracks.
    pub tracks: Tracks,
    /// The time of the first Cluster, if there is one.
    pub start: Option<MediaTime>,
    /// The units of all Clusters, in the order of the document.
    pub units: Vec<AccessUnit>,
    /// The tags of the Segment, without [`END_OF_FRAGMENT`].
    pub tags: Vec<Tag>,
    /// Whether [`END_OF_FRAGMENT`] was there: the writer came to its end.
    pub complete: bool,
}

/// Reads a document that is all there. Units are slices of `bytes`. A CodecPrivate that can't be read is no error: what is
/// stored is given back, and whoever plays it says what is wrong with it.
pub fn document(bytes: Bytes) -> Result<Document, Error> {
    let end = bytes.len() as u64;
    let mut reader = Reader::new(Limits::default()).with_broken_codecs();
    let mut tracks = None;
    let (mut start, mut units, mut tags) = (None, Vec::new(), Vec::new());
    reader.push(bytes);
    let mut finished = false;
    loop {
        let offset = reader.offset();
        match reader.next()? {
            Some(Event::Ebml) if tracks.is_some() => {
                return Err(ErrorKind::Unexpected { expected: "one document", found: Id::EBML }.at(offset));
            }
            Some(Event::Tracks(found)) => tracks = Some(found),
            Some(Event::Cluster { time }) => start = start.or(Some(time)),
            Some(Event::Block(block)) => units.push(AccessUnit {
                track: block.track,
                pts: block.pts,
                duration: block.duration,
                key: block.key,
                data: block.data.into_bytes(),
            }),
            Some(Event::Tags(found)) => tags.extend(found),
            Some(Event::Ebml | Event::Segment | Event::Info(_) | Event::ClusterEnd { .. }) => {}
            None if finished => break,
            None => {
                reader.finish()?;
                finished = true;
            }
        }
    }
    let tracks = tracks.ok_or(ErrorKind::Missing { missing: Id::TRACKS, parent: Id::SEGMENT }.at(end))?;
    let complete = tags.iter().any(|tag| tag.name == END_OF_FRAGMENT);
    tags.retain(|tag| tag.name != END_OF_FRAGMENT);
    Ok(Document { tracks, start, units, tags, complete })
}
