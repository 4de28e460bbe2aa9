//! Playlists as text (RFC 8216, version 7 for fragmented MP4; EXT-X-GAP is of its second edition, 4.4.4.7, and older
//! players overlook it).
//!
//! ```text
//! index.m3u8   multivariant: one variant with its codecs, size and bandwidth
//! media.m3u8   the segments; live without, past with EXT-X-ENDLIST
//! init-<tracks fingerprint, 16 hexadecimal digits>.mp4
//! <fragment number>.m4s
//! ```
//!
//! All addresses are relative to the playlist, so that the folder's name can be a playback token.

use std::fmt::Write as _;
use std::str::FromStr;

use fragment::FragmentNumber;

use crate::date::Iso8601;
use crate::timeline::Timeline;

/// The name of the multivariant playlist.
pub const MULTIVARIANT: &str = "index.m3u8";

/// The name of the media playlist.
pub const MEDIA: &str = "media.m3u8";

/// What the multivariant playlist says of the one way in which a stream is coded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant {
    /// The peak bits per second.
    pub bandwidth: u64,
    /// RFC 6381 strings, video first. Those of the first segment that is played.
    pub codecs: Vec<String>,
    /// Width and height, where there is video.
    pub resolution: Option<(u32, u32)>,
}

/// A file that a media playlist refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum File {
    /// The multivariant playlist.
    Multivariant,
    /// The media playlist.
    Media,
    /// The initialisation segment for tracks with this fingerprint.
    Init(u64),
    /// The media segment made of this fragment.
    Segment(FragmentNumber),
}

/// Why a name is not that of a file of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a playback folder has index.m3u8, media.m3u8, init-<tracks>.mp4 and <number>.m4s")]
pub struct UnknownFile;

impl std::fmt::Display for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Multivariant => f.write_str(MULTIVARIANT),
            Self::Media => f.write_str(MEDIA),
            Self::Init(fingerprint) => write!(f, "init-{fingerprint:016x}.mp4"),
            Self::Segment(number) => write!(f, "{number}.m4s"),
        }
    }
}

impl FromStr for File {
    type Err = UnknownFile;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let file = match name {
            MULTIVARIANT => Self::Multivariant,
            MEDIA => Self::Media,
            _ => {
                if let Some(number) = name.strip_suffix(".m4s") {
                    Self::Segment(FragmentNumber(number.parse().map_err(|_| UnknownFile)?))
                } else {
                    let hex = name.strip_prefix("init-").and_then(|rest| rest.strip_suffix(".mp4"));
                    Self::Init(u64::from_str_radix(hex.ok_or(UnknownFile)?, 16).map_err(|_| UnknownFile)?)
                }
            }
        };
        // One name per file: "+1.m4s" and "001.m4s" would be other names for what caches know already.
        if file.to_string() == name { Ok(file) } else { Err(UnknownFile) }
    }
}

/// The multivariant playlist, which names the media playlist next to it.
pub fn multivariant(variant: &Variant) -> String {
    let mut text = String::from("#EXTM3U\n#EXT-X-VERSION:7\n");
    push(&mut text, format_args!("#EXT-X-STREAM-INF:BANDWIDTH={}", variant.bandwidth.max(1)));
    if !variant.codecs.is_empty() {
        push(&mut text, format_args!(",CODECS=\"{}\"", variant.codecs.join(",")));
    }
    if let Some((width, height)) = variant.resolution {
        push(&mut text, format_args!(",RESOLUTION={width}x{height}"));
    }
    push(&mut text, format_args!("\n{MEDIA}\n"));
    text
}

/// The live media playlist. `target_duration_seconds` was fixed when playback began, since it must not
/// change while a client refreshes; it is exceeded only when a longer fragment leaves no choice.
pub fn live(timeline: &Timeline, target_duration_seconds: u64) -> String {
    let target = target_duration_seconds.max(timeline.target_duration_seconds());
    let first = timeline.first();
    let mut text = header(timeline, target);
    push(&mut text, format_args!("#EXT-X-MEDIA-SEQUENCE:{}\n", first.media_sequence));
    push(&mut text, format_args!("#EXT-X-DISCONTINUITY-SEQUENCE:{}\n", first.discontinuity_sequence));
    push_segments(&mut text, timeline);
    text
}

/// The media playlist of a past range, complete.
pub fn past(timeline: &Timeline) -> String {
    let mut text = header(timeline, timeline.target_duration_seconds());
    text.push_str("#EXT-X-MEDIA-SEQUENCE:0\n#EXT-X-PLAYLIST-TYPE:VOD\n");
    push_segments(&mut text, timeline);
    text.push_str("#EXT-X-ENDLIST\n");
    text
}

/// A camera that sends key frames rarely has fragments that begin without one (design/fragment.md); a
/// player that knows does not begin there.
fn header(timeline: &Timeline, target_duration_seconds: u64) -> String {
    let independent = if timeline.is_independent() { "#EXT-X-INDEPENDENT-SEGMENTS\n" } else { "" };
    format!("#EXTM3U\n#EXT-X-VERSION:7\n{independent}#EXT-X-TARGETDURATION:{target_duration_seconds}\n")
}

fn push_segments(text: &mut String, timeline: &Timeline) {
    let mut tracks = None;
    for segment in timeline.segments() {
        let entry = &segment.entry;
        if segment.discontinuity {
            text.push_str("#EXT-X-DISCONTINUITY\n");
        }
        if tracks != Some(entry.tracks_fingerprint) {
            tracks = Some(entry.tracks_fingerprint);
            push(text, format_args!("#EXT-X-MAP:URI=\"{}\"\n", File::Init(entry.tracks_fingerprint)));
        }
        push(text, format_args!("#EXT-X-PROGRAM-DATE-TIME:{}\n", Iso8601(entry.start)));
        if entry.gap {
            text.push_str("#EXT-X-GAP\n");
        }
        let seconds = entry.duration.as_secs_f64();
        push(text, format_args!("#EXTINF:{seconds:.6},\n{}\n", File::Segment(entry.number)));
    }
}

fn push(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("writing to a String can't fail");
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::timeline::{Entry, LivePosition};
    use fragment::{FragmentId, Sequence, SessionId, WallTime};

    #[test]
    fn a_multivariant_playlist_reads_so() {
        let variant = Variant {
            bandwidth: 2_100_000,
            codecs: vec!["avc1.64001f".into(), "mp4a.40.2".into()],
            resolution: Some((1280, 720)),
        };
        assert_eq!(
            multivariant(&variant),
            "#EXTM3U\n\
             #EXT-X-VERSION:7\n\
             #EXT-X-STREAM-INF:BANDWIDTH=2100000,CODECS=\"avc1.64001f,mp4a.40.2\",RESOLUTION=1280x720\n\
             media.m3u8\n"
        );
    }

    #[test]
    fn a_live_playlist_reads_so() {
        let timeline = Timeline::live(vec![live(7, 2, 0xa), live(8, 2, 0xa), live(9, 3, 0xb)]);
        assert_eq!(
            super::live(&timeline, 4),
            "#EXTM3U\n\
             #EXT-X-VERSION:7\n\
             #EXT-X-INDEPENDENT-SEGMENTS\n\
             #EXT-X-TARGETDURATION:4\n\
             #EXT-X-MEDIA-SEQUENCE:7\n\
             #EXT-X-DISCONTINUITY-SEQUENCE:2\n\
             #EXT-X-MAP:URI=\"init-000000000000000a.mp4\"\n\
             #EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:34.000Z\n\
             #EXTINF:2.000000,\n\
             1007.m4s\n\
             #EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:36.000Z\n\
             #EXTINF:2.000000,\n\
             1008.m4s\n\
             #EXT-X-DISCONTINUITY\n\
             #EXT-X-MAP:URI=\"init-000000000000000b.mp4\"\n\
             #EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:38.000Z\n\
             #EXTINF:2.000000,\n\
             1009.m4s\n"
        );
    }

    #[test]
    fn a_playlist_of_the_past_with_a_gap_reads_so() {
        let timeline = Timeline::past(vec![live(0, 0, 0xa), live(3, 0, 0xa)]);
        assert_eq!(
            past(&timeline),
            "#EXTM3U\n\
             #EXT-X-VERSION:7\n\
             #EXT-X-INDEPENDENT-SEGMENTS\n\
             #EXT-X-TARGETDURATION:2\n\
             #EXT-X-MEDIA-SEQUENCE:0\n\
             #EXT-X-PLAYLIST-TYPE:VOD\n\
             #EXT-X-MAP:URI=\"init-000000000000000a.mp4\"\n\
             #EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:20.000Z\n\
             #EXTINF:2.000000,\n\
             1000.m4s\n\
             #EXT-X-DISCONTINUITY\n\
             #EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:26.000Z\n\
             #EXTINF:2.000000,\n\
             1003.m4s\n\
             #EXT-X-ENDLIST\n"
        );
    }

    #[test]
    fn the_target_duration_rises_only_for_a_longer_fragment() {
        let timeline = Timeline::live(vec![Entry { duration: Duration::from_secs(9), ..live(0, 0, 1) }]);
        assert!(super::live(&timeline, 4).contains("#EXT-X-TARGETDURATION:9\n"));
        assert!(super::live(&timeline, 12).contains("#EXT-X-TARGETDURATION:12\n"));
    }

    #[test]
    fn what_can_not_be_had_is_marked_as_a_gap_and_keeps_its_place() {
        let gap = Entry { gap: true, ..live(1, 0, 0xa) };
        let text = past(&Timeline::past(vec![live(0, 0, 0xa), gap, live(2, 0, 0xa)]));
        assert!(text.contains("#EXT-X-GAP\n#EXTINF:2.000000,\n1001.m4s\n"), "{text}");
        assert_eq!((text.matches("GAP").count(), text.matches("DISCONTINUITY").count()), (1, 0), "{text}");
    }

    #[test]
    fn segments_are_called_independent_only_if_all_are() {
        let dependent = Entry { independent: false, ..live(1, 0, 0xa) };
        let timeline = Timeline::past(vec![live(0, 0, 0xa), dependent]);
        assert!(!past(&timeline).contains("INDEPENDENT-SEGMENTS"));
    }

    #[test]
    fn file_names_survive_their_text_form() {
        for file in [
            File::Multivariant,
            File::Media,
            File::Init(0xdead_beef),
            File::Segment(FragmentNumber(1_767_225_599_999_999)),
        ] {
            assert_eq!(file.to_string().parse(), Ok(file));
        }
    }

    #[test]
    fn other_file_names_are_refused() {
        for name in ["", "x.m4s", "-1.m4s", "+1.m4s", "01.m4s", "init-1.mp4", "init-xyz.mp4", "../index.m3u8"] {
            assert_eq!(name.parse::<File>(), Err(UnknownFile), "{name}");
        }
    }

    fn live(sequence: u32, discontinuity_sequence: u64, tracks_fingerprint: u64) -> Entry {
        Entry {
            number: FragmentNumber(1000 + u64::from(sequence)),
            id: FragmentId { session: SessionId(1), sequence: Sequence(sequence) },
            start: WallTime::from_millis(1_700_000_000_000 + i64::from(sequence) * 2000),
            duration: Duration::from_secs(2),
            tracks_fingerprint,
            independent: true,
            live: Some(LivePosition { media_sequence: u64::from(sequence), discontinuity_sequence }),
            gap: false,
        }
    }
}
