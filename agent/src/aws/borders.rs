//! Keeps the frames of one fragment apart from those of the next.
//!
//! A fragment is cut at a key frame, and sound that was captured with the last picture may come before or after the
//! first one behind it. AWS refuses fragments of a session whose times overlap (4004). So packets of sound at the
//! border are moved, by as little as it takes, and at most by what they lie across it: some 20 ms. Pictures stay.

use std::time::Duration;

use fragment::{AccessUnit, MediaTime, TrackKind, TrackNumber, Tracks};

/// What two times have to differ by, to differ in whole milliseconds.
const APART: Duration = Duration::from_millis(1);

/// Moves sound behind the `latest` frame of the fragment before, and before the picture that is likely to come next.
pub(super) fn part(units: &mut [AccessUnit], tracks: &Tracks, latest: Option<MediaTime>) {
    let kind = |number: TrackNumber| tracks.find(number).map(|track| track.codec.kind());
    let is_sound = |unit: &AccessUnit| kind(unit.track) == Some(TrackKind::Audio);
    if let Some(latest) = latest {
        let mut earliest = latest + APART;
        for unit in units.iter_mut().filter(|unit| is_sound(unit)) {
            unit.pts = unit.pts.max(earliest);
            earliest = unit.pts + APART;
        }
    }
    let pictures = units.iter().filter(|unit| kind(unit.track) == Some(TrackKind::Video)).map(|unit| unit.pts);
    let (first, last, count) = pictures.fold((None, None, 0u32), |(first, last, count), pts| {
        let first = first.map_or(pts, |first: MediaTime| first.min(pts));
        (Some(first), Some(last.map_or(pts, |last: MediaTime| last.max(pts))), count + 1)
    });
    if let (Some(first), Some(last), 2..) = (first, last, count) {
        // The next picture comes a picture's time after the last; half of that is on the safe side.
        let mut latest = last + last.since(first) / (count - 1) / 2;
        for unit in units.iter_mut().rev().filter(|unit| is_sound(unit)) {
            unit.pts = unit.pts.min(latest);
            latest = unit.pts - APART;
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use fragment::{Codec, Track};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sound_across_a_border_is_moved_before_it_and_behind_it_and_the_rest_stays() {
        // Pictures each 40 ms, sound each 20 ms; a packet of sound came late, two came early.
        let mut before = units(&[(1, 0), (2, 0), (2, 20), (1, 40), (2, 40), (2, 60), (2, 80), (2, 100)]);
        part(&mut before, &tracks(), None);
        assert_eq!(times(&before), [0, 0, 20, 40, 40, 58, 59, 60]);
        let mut after = units(&[(1, 80), (2, 50), (2, 120), (1, 120), (2, 130)]);
        part(&mut after, &tracks(), before.iter().map(|unit| unit.pts).max());
        assert_eq!(times(&after), [80, 61, 120, 120, 130]);
    }

    proptest! {
        #[test]
        fn fragments_of_a_steady_camera_never_overlap_and_no_picture_moves(
            jitter in prop::collection::vec(-60i64..60, 1..20), frame_ms in 20i64..100, pictures in 9i64..40
        ) {
            let length = pictures * frame_ms;
            let mut latest = None;
            for start in [0, length, 2 * length] {
                let mut sound: Vec<i64> =
                    jitter.iter().zip(0..).map(|(by, n)| start + n * length / 20 + by).collect();
                sound.sort_unstable();
                let shown = (0..pictures).map(|n| (1, start + n * frame_ms));
                let before: Vec<_> = shown.chain(sound.into_iter().map(|at| (2, at))).collect();
                let mut after = units(&before);
                part(&mut after, &tracks(), latest);
                prop_assert!(latest < after.iter().map(|unit| unit.pts).min());
                for (unit, (track, at)) in after.iter().zip(before) {
                    prop_assert!(track == 2 || unit.pts.as_millis() == at);
                }
                latest = after.iter().map(|unit| unit.pts).max();
            }
        }
    }

    fn tracks() -> Tracks {
        let track = |number, id: &str, kind| Track {
            number,
            codec: Codec::Other { id: id.to_owned(), private: Bytes::new(), kind },
        };
        let video = track(TrackNumber::VIDEO, "V_VP9", TrackKind::Video);
        Tracks::new(vec![video, track(TrackNumber::AUDIO, "A_OPUS", TrackKind::Audio)]).unwrap()
    }

    fn units(of: &[(u8, i64)]) -> Vec<AccessUnit> {
        of.iter()
            .map(|&(track, at)| AccessUnit {
                track: TrackNumber::new(track.into()).unwrap(),
                pts: MediaTime::from_millis(at),
                duration: None,
                key: true,
                data: Bytes::from_static(b"x"),
            })
            .collect()
    }

    fn times(units: &[AccessUnit]) -> Vec<i64> {
        units.iter().map(|unit| unit.pts.as_millis()).collect()
    }
}
