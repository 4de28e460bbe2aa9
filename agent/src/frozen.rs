//! Tells a picture that stands still from a scene in which nothing moves.
//!
//! A sensor never gives the same picture twice: its noise changes some bytes of each key frame, also where every
//! picture between two key frames says "as before". (1080p by x264, noise of one grey level, 44 kB a key frame: hardly
//! two had the same size.) A frozen sensor or a hung image processor gives its encoder one picture again and again, and an encoder at
//! rest codes it alike each time. So the coded key frames are compared, and nothing is decoded.
//!
//! What is compared is the latter half of each without its last bytes: headers, which count, lie in front, and x264 puts bits of its
//! frame number at the very end. Encoders number their key frames 0, 1, 0, 1 in a code of unequal length, which may shift
//! all bits behind it, so a key frame may be like either of the last two.
//!
//! What this can't see: a frozen picture under a clock that the camera draws into it, and one whose encoder never comes to
//! rest. What it takes for frozen: a picture made by a program, such as a slide.

use std::hash::{DefaultHasher, Hasher as _};
use std::time::Duration;

use fragment::MediaTime;

/// Key frames that have to be alike, whatever the time they take.
const ALIKE_MIN: u32 = 3;

/// Bytes at the end of a key frame that are not compared.
const ENDING: usize = 8;

/// Watches over the key frames of one camera.
#[derive(Debug)]
pub struct FrozenPicture {
    allowed: Duration,
    /// What the last two key frames came to.
    recent: [Option<u64>; 2],
    since: MediaTime,
    alike: u32,
}

impl FrozenPicture {
    /// A picture that is the same for `allowed` is frozen.
    pub fn new(allowed: Duration) -> Self {
        Self { allowed, recent: [None; 2], since: MediaTime::ZERO, alike: 0 }
    }

    /// The key frame at `at`. Answers for how long the picture has stood, if that is too long.
    pub fn key_frame(&mut self, data: &[u8], at: MediaTime) -> Option<Duration> {
        let sum = sum(data);
        if self.recent.contains(&Some(sum)) {
            self.alike += 1;
        } else {
            (self.since, self.alike) = (at, 0);
        }
        self.recent = [self.recent[1], Some(sum)];
        let stands = at.since(self.since);
        (self.alike >= ALIKE_MIN && stands >= self.allowed).then_some(stands)
    }
}

/// What a key frame comes to without what may count in it.
fn sum(data: &[u8]) -> u64 {
    let end = data.len() - ENDING.min(data.len() / 4);
    let mut hasher = DefaultHasher::new();
    hasher.write(&data[data.len() / 2..end]);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWED: Duration = Duration::from_secs(30);

    #[test]
    fn the_same_key_frame_for_long_is_a_frozen_picture() {
        let mut watch = FrozenPicture::new(ALLOWED);
        let found: Vec<_> = (0..40).filter(|second| watch.key_frame(&frame(7), at(*second)).is_some()).collect();
        assert_eq!(found.first(), Some(&30));
    }

    #[test]
    fn key_frames_that_are_coded_alike_in_turns_are_one_picture() {
        let mut watch = FrozenPicture::new(ALLOWED);
        assert!((0..40).any(|second| watch.key_frame(&frame(second % 2), at(second)).is_some()));
    }

    #[test]
    fn noise_that_changes_a_byte_is_a_living_picture() {
        let mut watch = FrozenPicture::new(ALLOWED);
        for second in 0..1_000i64 {
            let mut frame = frame(7);
            let [byte, ..] = second.to_le_bytes();
            frame[600 + usize::from(byte)] ^= byte | 1;
            assert_eq!(watch.key_frame(&frame, at(second)), None);
        }
    }

    #[test]
    fn counters_in_front_and_at_the_very_end_do_not_make_it_another_picture() {
        let mut watch = FrozenPicture::new(ALLOWED);
        let mut frozen = frame(7);
        let stands = (0..40i64).filter_map(|second| {
            let [count, ..] = second.to_le_bytes();
            (frozen[4], frozen[999]) = (count, count);
            watch.key_frame(&frozen, at(second))
        });
        assert!(stands.count() > 0);
    }

    #[test]
    fn a_few_rare_key_frames_do_not_make_it_frozen() {
        let mut watch = FrozenPicture::new(ALLOWED);
        assert!((0..3).all(|frame_number| watch.key_frame(&frame(7), at(frame_number * 60)).is_none()));
    }

    #[test]
    fn a_picture_that_moved_in_between_begins_anew() {
        let mut watch = FrozenPicture::new(ALLOWED);
        for second in 0..100 {
            let picture = if second % 20 == 0 { 1_000 + second } else { 7 };
            assert_eq!(watch.key_frame(&frame(picture), at(second)), None);
        }
    }

    fn at(seconds: i64) -> MediaTime {
        MediaTime::from_millis(seconds * 1_000)
    }

    fn frame(seed: i64) -> Vec<u8> {
        (0..1_000).map(|i: i64| (i * 31 + seed * 17).to_le_bytes()[0]).collect()
    }
}
