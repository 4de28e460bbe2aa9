//! The end of the process that makes pictures: reads jobs, chooses what is decoded, and answers. How something is decoded
//! it is told, so that it can be tested without a decoder.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::time::Duration;

use bytes::Bytes;
use fragment::{AccessUnit, Codec, MediaTime, mkv};
use rustix::process::{Resource, Rlimit, setrlimit};

use super::wire::{self, Order};
use crate::{core_dumps, limits};

/// Makes pictures of those units of one track, in decoding order, that are shown at these times.
pub type Make<'a> = dyn Fn(&Codec, &[AccessUnit], &BTreeSet<MediaTime>, &Order) -> BTreeMap<MediaTime, Bytes> + 'a;

/// Keeps this process from what it has no need of: much memory, and leaving what it has seen in a core dump.
pub fn confine() {
    core_dumps::forbid();
    let most = Some(limits::PICTURE_PROCESS_BYTES_MAX);
    // Without the limit pictures are made as well.
    let _ = setrlimit(Resource::As, Rlimit { current: most, maximum: most });
}

/// Does jobs until there are no more.
pub fn work(mut input: impl Read, mut output: impl Write, make: &Make<'_>) -> io::Result<()> {
    while let Some((order, document)) = read_job(&mut input)? {
        for picture in pictures(&order, document, make) {
            // One that is too large to be handed on is none.
            let picture = picture.filter(|picture| picture.len() <= limits::PICTURE_BYTES_MAX).unwrap_or_default();
            let length = u32::try_from(picture.len()).expect("a picture is far below 4 GiB");
            output.write_all(&length.to_be_bytes())?;
            output.write_all(&picture)?;
        }
        output.flush()?;
    }
    Ok(())
}

/// The next job; `None` when the other end is done.
fn read_job(input: &mut impl Read) -> io::Result<Option<(Order, Bytes)>> {
    let mut head = [0; 8];
    match input.read_exact(&mut head) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let (order, document) = wire::lengths(head);
    if order > limits::PICTURE_ORDER_BYTES_MAX || document > fragment::limits::FRAGMENT_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the job is too large"));
    }
    let (mut order, mut document) = (vec![0; order], vec![0; document]);
    input.read_exact(&mut order)?;
    input.read_exact(&mut document)?;
    Ok(Some((serde_json::from_slice(&order)?, document.into())))
}

/// One picture, or none, for each time of the order.
fn pictures(order: &Order, document: Bytes, make: &Make<'_>) -> Vec<Option<Bytes>> {
    let none = || vec![None; order.at_ns.len()];
    let Ok(document) = mkv::document(document) else { return none() };
    let Some(track) = document.tracks.video() else { return none() };
    let units: Vec<AccessUnit> = document.units.into_iter().filter(|unit| unit.track == track.number).collect();
    let origin = document.start.or(units.first().map(|unit| unit.pts)).unwrap_or_default();
    let seen: Vec<Option<MediaTime>> =
        order.at_ns.iter().map(|after| seen_at(&units, origin + Duration::from_nanos(*after))).collect();
    let made = make(&track.codec, &units, &seen.iter().flatten().copied().collect(), order);
    seen.into_iter().map(|time| made.get(&time?).cloned()).collect()
}

/// The time of the picture that is seen at a time: the last one until then, or else the first of all.
fn seen_at(units: &[AccessUnit], time: MediaTime) -> Option<MediaTime> {
    let shown = || units.iter().map(|unit| unit.pts);
    shown().filter(|pts| *pts <= time).max().or_else(|| shown().min())
}

#[cfg(test)]
mod tests {
    use fragment::{Track, TrackKind, TrackNumber, Tracks};

    use super::super::wire::{Format, Size};
    use super::*;

    #[test]
    fn each_time_gets_what_is_seen_then() {
        // Of 25 pictures a second, in decoding order with a picture that is shown later first.
        let document = document(&[0, 80, 40, 120]);
        let order = order(&[0, 39_999_999, 40_000_000, 100_000_000, 5_000_000_000]);
        assert_eq!(answers(&order, &document), ["0", "0", "40", "80", "120"]);
    }

    #[test]
    fn a_time_before_the_first_picture_gets_the_first() {
        let document = document(&[400, 440]);
        assert_eq!(answers(&order(&[0]), &document), ["400"]);
    }

    #[test]
    fn what_is_no_document_or_has_no_video_gives_no_picture_and_the_next_job_does() {
        let whole = document(&[0]);
        let jobs = [job(&order(&[0, 1]), b"nonsense"), job(&order(&[0]), &whole)].concat();
        assert_eq!(replies(&jobs, &make), ["", "", "0"]);
    }

    #[test]
    fn a_picture_that_is_too_large_is_none() {
        let huge: &Make<'_> = &|_, _, wanted: &BTreeSet<MediaTime>, _: &Order| {
            let bytes = |extra| Bytes::from(vec![7; limits::PICTURE_BYTES_MAX + extra]);
            wanted.iter().enumerate().map(|(at, time)| (*time, bytes(at))).collect()
        };
        let mut output = Vec::new();
        work(&job(&order(&[0, 40_000_000]), &document(&[0, 40]))[..], &mut output, huge).unwrap();
        let length = u32::try_from(limits::PICTURE_BYTES_MAX).unwrap();
        assert_eq!(output[..4], length.to_be_bytes());
        assert_eq!(output[4 + limits::PICTURE_BYTES_MAX..], [0; 4]);
    }

    #[test]
    fn a_job_that_is_too_large_or_broken_off_is_an_error() {
        let mut large = job(&order(&[0]), b"");
        large[4..8].copy_from_slice(&u32::MAX.to_be_bytes());
        assert!(work(&large[..], Vec::new(), &make).is_err());
        let whole = job(&order(&[0]), &document(&[0]));
        assert!(work(&whole[..whole.len() - 1], Vec::new(), &make).is_err());
    }

    /// A picture is its time in milliseconds.
    fn make(_: &Codec, _: &[AccessUnit], wanted: &BTreeSet<MediaTime>, _: &Order) -> BTreeMap<MediaTime, Bytes> {
        wanted.iter().map(|time| (*time, Bytes::from(time.as_millis().to_string()))).collect()
    }

    fn answers(order: &Order, document: &[u8]) -> Vec<String> {
        replies(&job(order, document), &make)
    }

    fn replies(jobs: &[u8], make: &Make<'_>) -> Vec<String> {
        let mut output = Vec::new();
        work(jobs, &mut output, make).unwrap();
        let (mut rest, mut replies) = (&output[..], Vec::new());
        while let Some((length, tail)) = rest.split_first_chunk::<4>() {
            let (picture, tail) = tail.split_at(u32::from_be_bytes(*length) as usize);
            replies.push(String::from_utf8(picture.to_vec()).unwrap());
            rest = tail;
        }
        replies
    }

    fn job(order: &Order, document: &[u8]) -> Vec<u8> {
        let order = serde_json::to_vec(order).unwrap();
        [&wire::job_head(&order, document).unwrap()[..], &order, document].concat()
    }

    fn order(at_ns: &[u64]) -> Order {
        Order { format: Format::Png, size: Size::default(), at_ns: at_ns.to_vec() }
    }

    /// A document of pictures that are shown at these milliseconds, in decoding order.
    fn document(shown_ms: &[i64]) -> Vec<u8> {
        let codec = Codec::Other { id: "V_TEST".to_owned(), kind: TrackKind::Video, private: Bytes::new() };
        let tracks = Tracks::new(vec![Track { number: TrackNumber::VIDEO, codec }]).unwrap();
        let mut writer = mkv::Writer::new(&tracks);
        let mut document = [writer.header(), writer.cluster(MediaTime::ZERO)].concat();
        for (at, shown) in shown_ms.iter().enumerate() {
            let unit = AccessUnit {
                track: TrackNumber::VIDEO,
                pts: MediaTime::from_millis(*shown),
                duration: None,
                key: at == 0,
                data: Bytes::from_static(b"coded"),
            };
            let (head, data) = writer.block(&unit).unwrap();
            document.extend_from_slice(&[head, data].concat());
        }
        document.extend_from_slice(&writer.end(&[]));
        document
    }
}
