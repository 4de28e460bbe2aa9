//! A media playlist read back: only what the server writes, and strictly.

use std::time::Duration;

use jiff::Timestamp;

/// The longest time that a picture of the clips is shown, rounded up.
const LAST_PICTURE: Duration = Duration::from_millis(100);

/// A media playlist.
#[derive(Clone, Debug)]
pub struct Playlist {
    /// Its segments in order.
    pub segments: Vec<Segment>,
    /// Whether nothing more will come.
    pub ended: bool,
    /// The number of its first segment.
    pub media_sequence: u64,
}

/// One segment, which is one fragment.
#[derive(Clone, Debug)]
pub struct Segment {
    /// Where it is fetched.
    pub uri: String,
    /// Where its initialisation is fetched.
    pub map: String,
    /// When it was captured.
    pub start: Timestamp,
    /// How long it plays.
    pub duration: Duration,
    /// Whether it begins a new run, after a gap or a change of codec.
    pub discontinuity: bool,
}

impl Segment {
    /// When the next begins, if there is no gap.
    pub fn end(&self) -> Timestamp {
        self.start + self.duration
    }

    /// The server's number for the fragment.
    pub fn number(&self) -> u64 {
        let name = self.uri.rsplit('/').next().unwrap_or_default();
        let digits = name.strip_suffix(".m4s").unwrap_or_default();
        digits.parse().unwrap_or_else(|_| panic!("{} has no fragment number", self.uri))
    }
}

impl Playlist {
    /// Reads a playlist; `resolve` turns its addresses into full ones.
    pub fn parse(text: &str, resolve: impl Fn(&str) -> String) -> Playlist {
        let mut playlist = Playlist { segments: Vec::new(), ended: false, media_sequence: 0 };
        let (mut map, mut start, mut duration, mut discontinuity) = (String::new(), None, None, false);
        for line in text.lines() {
            if let Some(value) = line.strip_prefix("#EXT-X-MAP:URI=") {
                map = resolve(value.split('"').nth(1).expect("the address of a map stands in quotes"));
            } else if let Some(value) = line.strip_prefix("#EXT-X-PROGRAM-DATE-TIME:") {
                start = Some(value.parse::<Timestamp>().unwrap_or_else(|e| panic!("{line}: {e}")));
            } else if let Some(value) = line.strip_prefix("#EXTINF:") {
                let seconds =
                    value.split(',').next().unwrap_or_default().parse().unwrap_or_else(|e| panic!("{line}: {e}"));
                duration = Some(Duration::from_secs_f64(seconds));
            } else if let Some(value) = line.strip_prefix("#EXT-X-MEDIA-SEQUENCE:") {
                playlist.media_sequence = value.parse().unwrap_or_else(|e| panic!("{line}: {e}"));
            } else if line == "#EXT-X-DISCONTINUITY" {
                discontinuity = true;
            } else if line == "#EXT-X-ENDLIST" {
                playlist.ended = true;
            } else if !line.is_empty() && !line.starts_with('#') {
                let duration = duration.take().unwrap_or_else(|| panic!("{line} has no EXTINF"));
                // Without a date of its own, a segment begins where the one before ends.
                let start = start.take().or_else(|| playlist.segments.last().map(Segment::end));
                playlist.segments.push(Segment {
                    uri: resolve(line),
                    map: map.clone(),
                    start: start.expect("the first segment has a date"),
                    duration,
                    discontinuity: std::mem::take(&mut discontinuity),
                });
            }
        }
        playlist
    }

    /// The pairs of neighbours that overlap by more than `slack`: a fragment stored twice would. Where one session ends
    /// and the next begins, the last picture may last a little into the first, as its duration is a guess.
    pub fn overlaps(&self, slack: Duration) -> Vec<(Segment, Segment)> {
        let allowed = |next: &Segment| if next.discontinuity { slack + LAST_PICTURE } else { slack };
        let pairs = self.segments.windows(2).filter(|pair| pair[1].start + allowed(&pair[1]) < pair[0].end());
        pairs.map(|pair| (pair[0].clone(), pair[1].clone())).collect()
    }

    /// The pairs of neighbours with more than `slack` of nothing between them.
    pub fn gaps(&self, slack: Duration) -> Vec<(Segment, Segment)> {
        let pairs = self.segments.windows(2).filter(|pair| pair[1].start > pair[0].end() + slack);
        pairs.map(|pair| (pair[0].clone(), pair[1].clone())).collect()
    }
}
