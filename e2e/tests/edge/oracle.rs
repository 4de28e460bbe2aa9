//! What has to be in the archive, by what the cameras say that they sent, and what is.

use std::collections::BTreeMap;
use std::time::Duration;

use e2e::{Segment, Server, clip, frames};

use crate::stage::{STREAMS, Stage};

/// A picture may be dated so far from when it was sent, in ms. The clips repeat after 10 s, so that which round it is of
/// is certain up to half of that.
const APART_MAX: i64 = 4000;

/// Fails unless every picture that was sent while the agent could see it is stored once and in order, or stands in the
/// list of drops. Gives the numbers of pictures: sent and seen, stored, dropped.
pub(crate) fn check(stage: &Stage, camera: usize) -> (usize, usize, usize) {
    let (stream, source) = STREAMS[camera];
    let sent = stage.sent(camera);
    let stored = stored(&stage.server, stream, source);
    let matched = matched(stream, &sent, &stored);
    for pair in matched.windows(2) {
        assert!(pair[0] != pair[1], "{stream}: stored twice: the picture that was sent at {:?}", sent[pair[0]]);
        assert!(pair[0] < pair[1], "{stream}: out of order: {:?} before {:?}", sent[pair[0]], sent[pair[1]]);
    }
    let drops = stage.drops(stream);
    let is_stored = |i: usize| matched.binary_search(&i).is_ok();
    let is_dropped = |at: i64| drops.iter().any(|&(from, to)| (from..=to).contains(&at));
    let unseen = |at: i64| stage.unseen.iter().any(|&(of, from, to)| of == camera && (from..=to).contains(&at));
    let seen: Vec<usize> = (0..sent.len()).filter(|&i| !unseen(sent[i].0)).collect();
    let (there, missing): (Vec<usize>, Vec<usize>) = seen.iter().partition(|&&i| is_stored(i));
    let (dropped, lost): (Vec<usize>, Vec<usize>) = missing.into_iter().partition(|&i| is_dropped(sent[i].0));
    let shown: Vec<_> = lost.iter().map(|&i| sent[i]).take(50).collect();
    let around = lost.first().map(|&i| stage.around(sent[i].0)).unwrap_or_default();
    assert!(
        lost.is_empty(),
        "{stream}: {} of {} pictures are lost without a word: {shown:?}\n{around}",
        lost.len(),
        seen.len()
    );
    assert!(there.len() > 100, "{stream}: only {} pictures were seen and stored", there.len());
    (seen.len(), stored.len(), dropped.len())
}

/// Which of the sent pictures each stored one is.
fn matched(stream: &str, sent: &[(i64, usize)], stored: &[(i64, usize)]) -> Vec<usize> {
    let mut rounds: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (i, (_, picture)) in sent.iter().enumerate() {
        rounds.entry(*picture).or_default().push(i);
    }
    let nearest = |&(at, picture): &(i64, usize)| {
        let near = rounds.get(&picture).and_then(|sent_at| sent_at.iter().min_by_key(|i| (sent[**i].0 - at).abs()));
        let near = near.copied().filter(|i| (sent[*i].0 - at).abs() <= APART_MAX);
        near.unwrap_or_else(|| panic!("{stream}: picture {picture} is dated {at}, and was not sent near to that time"))
    };
    stored.iter().map(nearest).collect()
}

/// The pictures of a stream in the order of the archive: dated when, in ms since 1970, and which of the clip.
fn stored(server: &Server, stream: &str, source: &str) -> Vec<(i64, usize)> {
    let known = frames::pictures(&clip(source));
    let known: BTreeMap<&str, usize> = known.iter().enumerate().map(|(i, (_, hash))| (hash.as_str(), i)).collect();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("segment.mp4");
    let mut pictures = Vec::new();
    for segment in &server.everything(stream).segments {
        std::fs::write(&file, server.segment(segment)).expect("a segment can be written");
        for (shown, hash) in frames::pictures(&file) {
            let picture =
                known.get(hash.as_str()).unwrap_or_else(|| panic!("{stream}: {hash} is no picture of {source}"));
            pictures.push((dated(segment, shown), *picture));
        }
    }
    pictures
}

fn dated(segment: &Segment, shown: Duration) -> i64 {
    (segment.start + shown).as_millisecond()
}
