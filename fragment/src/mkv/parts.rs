//! A stored document taken apart, to be framed anew with tags around its media. Nothing is decoded, and nothing of the media
//! is copied.
//!
//! ```text
//! EBML header          as stored
//! Segment              unknown size
//!   Info, Tracks       as stored
//!   Tags               the fragment's own, if it has any
//!   Tags               those that go before
//!   Cluster            known size, in 8 bytes; its elements as stored. Ours have one; others may have more
//!   Tags               those that go behind
//! ```
//!
//! SeekHead, Cues and the like are left out: the places that they name are no more.

use bytes::Bytes;

use super::ebml::{Element, Header, write_id};
use super::elements::Id;
use super::error::{Error, ErrorKind};
use super::tags::{self, END_OF_FRAGMENT, Tag};
use super::writer::{UNKNOWN_SIZE, write_ebml};

/// A document, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
    /// The EBML header.
    ebml: Bytes,
    /// Info and Tracks.
    headers: Vec<Bytes>,
    /// What is in each Cluster.
    clusters: Vec<Bytes>,
    /// The fragment's own tags, without [`END_OF_FRAGMENT`].
    pub tags: Vec<Tag>,
}

/// Takes a stored document apart.
pub fn parts(document: &Bytes) -> Result<Parts, Error> {
    let mut walk = Walk { document, at: 0 };
    let ebml = walk.whole(Id::EBML)?;
    walk.enter(Id::SEGMENT)?;
    let (mut headers, mut clusters, mut tags) = (Vec::new(), Vec::new(), Vec::new());
    while let Some((header, start)) = walk.header()? {
        match header.id {
            Id::INFO | Id::TRACKS => headers.push(walk.whole(header.id)?),
            Id::CLUSTER => clusters.push(walk.cluster()?),
            Id::TAGS => {
                let whole = walk.whole(Id::TAGS)?;
                let element = Element { id: Id::TAGS, offset: start, data: &whole[header.length..] };
                tags.extend(tags::read(element)?);
            }
            Id::EBML | Id::SEGMENT => {
                return Err(ErrorKind::Unexpected { expected: "one document", found: header.id }.at(start));
            }
            other => drop(walk.whole(other)?),
        }
    }
    let end = document.len() as u64;
    if clusters.is_empty() {
        return Err(ErrorKind::Missing { missing: Id::CLUSTER, parent: Id::SEGMENT }.at(end));
    }
    tags.retain(|tag| tag.name != END_OF_FRAGMENT);
    Ok(Parts { ebml, headers, clusters, tags })
}

impl Parts {
    /// The document with tags before and behind its media, in pieces.
    pub fn framed(&self, before: &[(&str, &str)], behind: &[(&str, &str)]) -> Vec<Bytes> {
        let mut head = Vec::with_capacity(1024);
        head.extend_from_slice(&self.ebml);
        write_id(&mut head, Id::SEGMENT);
        head.extend_from_slice(&UNKNOWN_SIZE);
        self.headers.iter().for_each(|header| head.extend_from_slice(header));
        if !self.tags.is_empty() {
            tags::write(&mut head, self.tags.iter().map(|tag| (tag.name.as_str(), tag.value.as_str())));
        }
        tags::write(&mut head, before.iter().copied());
        let mut pieces = Vec::with_capacity(2 * self.clusters.len() + 1);
        for cluster in &self.clusters {
            write_id(&mut head, Id::CLUSTER);
            head.extend_from_slice(&(cluster.len() as u64 | 1 << 56).to_be_bytes());
            pieces.extend([std::mem::take(&mut head).into(), cluster.clone()]);
        }
        if !behind.is_empty() {
            let mut tail = Vec::with_capacity(256);
            tags::write(&mut tail, behind.iter().copied());
            pieces.push(tail.into());
        }
        pieces
    }
}

/// A document that holds nothing but tags: what is said where there is no fragment.
pub fn tags_alone(tags: &[(&str, &str)]) -> Bytes {
    let mut out = Vec::with_capacity(512);
    write_ebml(&mut out);
    write_id(&mut out, Id::SEGMENT);
    out.extend_from_slice(&UNKNOWN_SIZE);
    tags::write(&mut out, tags.iter().copied());
    out.into()
}

/// Goes through the elements of a document that is all there.
struct Walk<'a> {
    document: &'a Bytes,
    at: usize,
}

impl Walk<'_> {
    /// The header of the next element, and where that begins; `None` at the end.
    fn header(&self) -> Result<Option<(Header, u64)>, Error> {
        let start = self.at as u64;
        if self.at == self.document.len() {
            return Ok(None);
        }
        let header = Header::read(&self.document[self.at..], start)?;
        header.map(|header| Some((header, start))).ok_or_else(|| ErrorKind::TruncatedHeader.at(start))
    }

    fn expect(&self, id: Id) -> Result<(Header, u64), Error> {
        let missing = || ErrorKind::Missing { missing: id, parent: Id::SEGMENT }.at(self.at as u64);
        self.header()?.filter(|(header, _)| header.id == id).ok_or_else(missing)
    }

    /// Goes into the next element.
    fn enter(&mut self, id: Id) -> Result<(), Error> {
        self.at += self.expect(id)?.0.length;
        Ok(())
    }

    /// The next element with its header.
    fn whole(&mut self, id: Id) -> Result<Bytes, Error> {
        let (header, start) = self.expect(id)?;
        let size = header.size.ok_or_else(|| ErrorKind::UnknownSize { element: id }.at(start))?;
        let left = (self.document.len() - self.at - header.length) as u64;
        if size > left {
            let (end, parent_end) = (start + header.length as u64 + size, self.document.len() as u64);
            return Err(ErrorKind::PastParent { element: id, end, parent_end }.at(start));
        }
        let length = header.length + usize::try_from(size).expect("no more than is left");
        let whole = self.document.slice(self.at..self.at + length);
        self.at += length;
        Ok(whole)
    }

    /// What is in the next element, a Cluster. One of unknown size ends where an element begins that belongs above it.
    fn cluster(&mut self) -> Result<Bytes, Error> {
        let (header, _) = self.expect(Id::CLUSTER)?;
        if header.size.is_some() {
            return Ok(self.whole(Id::CLUSTER)?.slice(header.length..));
        }
        self.at += header.length;
        let begin = self.at;
        while let Some((child, _)) = self.header()?
            && !child.id.is_above_cluster()
        {
            self.whole(child.id)?;
        }
        Ok(self.document.slice(begin..self.at))
    }
}

#[cfg(test)]
mod tests {
    use crate::mkv::{Writer, document};
    use crate::{AccessUnit, Codec, MediaTime, Track, TrackKind, TrackNumber, Tracks};

    use super::*;

    #[test]
    fn a_document_framed_anew_holds_the_same_media_and_more_tags() {
        let stored = stored(&[tag("place", "yard"), tag("place", "gate")]);
        let parts = parts(&stored).unwrap();
        let pieces = parts.framed(&[("N", "1"), ("T", "2.5")], &[("B", "0")]);
        let [_, media, _] = &pieces[..] else { panic!("{} pieces", pieces.len()) };
        assert!(stored.as_ptr_range().contains(&media.as_ptr()), "the media are not copied");
        let framed = Bytes::from(pieces.concat());
        let (before, after) = (document(stored).unwrap(), document(framed.clone()).unwrap());
        assert_eq!((&after.tracks, after.start, &after.units), (&before.tracks, before.start, &before.units));
        let expected = [("place", "yard"), ("place", "gate"), ("N", "1"), ("T", "2.5"), ("B", "0")];
        assert_eq!(after.tags, expected.map(|(name, value)| tag(name, value)));
        let at = framed.windows(4).position(|window| window == [0x1f, 0x43, 0xb6, 0x75]).unwrap();
        assert_eq!(framed[at + 4], 1, "the size of the Cluster is known, and takes eight bytes");
    }

    #[test]
    fn what_is_framed_can_be_taken_apart_again() {
        let first = parts(&stored(&[])).unwrap();
        let again = parts(&first.framed(&[("A", "1")], &[("B", "2")]).concat().into()).unwrap();
        assert_eq!(again.tags, [tag("A", "1"), tag("B", "2")]);
        assert_eq!(Parts { tags: Vec::new(), ..again }, first);
    }

    #[test]
    fn a_document_cut_anywhere_is_refused_or_ends_between_elements() {
        let stored = stored(&[tag("a", "b")]);
        let whole = parts(&stored).unwrap();
        for length in 0..stored.len() {
            if let Ok(cut) = parts(&stored.slice(..length)) {
                assert!(whole.clusters[0].starts_with(&cut.clusters[0]), "cut at {length}");
            }
        }
    }

    #[test]
    fn documents_of_two_clusters_keep_both_and_two_documents_are_refused() {
        let (one, mut writer) = (stored(&[]), Writer::new(&tracks()));
        let mut two = [&one[..], &writer.cluster(MediaTime::from_millis(300))].concat();
        let (head, data) = writer.block(&unit(9)).unwrap();
        two.extend([head, data].concat());
        let two = Bytes::from(two);
        let framed = parts(&two).unwrap().framed(&[("N", "1")], &[]).concat();
        assert_eq!(document(framed.into()).unwrap().units, document(two).unwrap().units);
        let twice = [&one[..], &one[..]].concat();
        assert!(parts(&twice.into()).unwrap_err().to_string().contains("one document"));
    }

    #[test]
    fn tags_can_stand_alone() {
        let mut reader = crate::mkv::Reader::new(crate::mkv::Limits::default());
        reader.push(tags_alone(&[("CODE", "4000")]));
        let mut found = Vec::new();
        while let Some(event) = reader.next().unwrap() {
            if let crate::mkv::Event::Tags(tags) = event {
                found.extend(tags);
            }
        }
        assert_eq!(found, [tag("CODE", "4000")]);
    }

    fn stored(tags: &[Tag]) -> Bytes {
        let mut writer = Writer::new(&tracks());
        let mut out = [writer.header(), writer.cluster(MediaTime::from_millis(40))].concat();
        for at in 0..5 {
            let (head, data) = writer.block(&unit(at)).unwrap();
            out.extend_from_slice(&head);
            out.extend_from_slice(&data);
        }
        out.extend_from_slice(&writer.end(tags));
        out.into()
    }

    fn tracks() -> Tracks {
        let codec = Codec::Other { id: "V_TEST".to_owned(), private: Bytes::new(), kind: TrackKind::Video };
        Tracks::new(vec![Track { number: TrackNumber::VIDEO, codec }]).unwrap()
    }

    fn unit(at: i64) -> AccessUnit {
        AccessUnit {
            track: TrackNumber::VIDEO,
            pts: MediaTime::from_millis(40 * (at + 1)),
            duration: None,
            key: at == 0,
            // Longer than one byte of size holds.
            data: vec![u8::try_from(at).unwrap(); 300].into(),
        }
    }

    fn tag(name: &str, value: &str) -> Tag {
        Tag { name: name.to_owned(), value: value.to_owned() }
    }
}
