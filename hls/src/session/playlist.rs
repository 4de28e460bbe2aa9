//! A session as HLS. Fragmented MP4 has a playlist for each track, MPEG-TS one for all.

use std::fmt::Write as _;
use std::time::Duration;

use fragment::FragmentNumber;

use super::{Resource, Shown, Stop};
use crate::date::Iso8601;

/// What the master playlist says of the stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Variant {
    /// The peak bits per second.
    pub bandwidth: u64,
    /// RFC 6381 strings, video first.
    pub codecs: Vec<String>,
    /// Width and height, where there is video.
    pub resolution: Option<(u32, u32)>,
    /// Pictures per second, where there is video.
    pub frame_rate: Option<f64>,
    /// The track that is played first; of MPEG-TS none.
    pub track: Option<u8>,
    /// The track that is its sound, where that is another one.
    pub audio: Option<u8>,
}

/// The media playlist of a track, or of all.
pub struct Media<'a> {
    /// The fragments.
    pub shown: &'a Shown<'a>,
    /// The track; of MPEG-TS none.
    pub track: Option<u8>,
    /// What stands for the session in addresses.
    pub token: &'a str,
    /// Fixed when the session began; exceeded only when a longer fragment leaves no choice.
    pub target_duration_seconds: u64,
    /// Whether each fragment is dated.
    pub is_dated: bool,
    /// A fragment's number in addresses.
    pub number: &'a dyn Fn(FragmentNumber) -> String,
}

/// The master playlist.
pub fn master(variant: &Variant, token: &str) -> String {
    let mut text = String::from("#EXTM3U\n#EXT-X-VERSION:6\n");
    if let Some(audio) = variant.audio {
        let uri = Resource::Media(Some(audio)).address(token);
        push(
            &mut text,
            format_args!("#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio\",NAME=\"audio\",DEFAULT=YES,AUTOSELECT=YES,"),
        );
        push(&mut text, format_args!("URI=\"{uri}\"\n"));
    }
    push(&mut text, format_args!("#EXT-X-STREAM-INF:BANDWIDTH={}", variant.bandwidth.max(1)));
    push(&mut text, format_args!(",CODECS=\"{}\"", variant.codecs.join(",")));
    if let Some((width, height)) = variant.resolution {
        push(&mut text, format_args!(",RESOLUTION={width}x{height}"));
    }
    if let Some(rate) = variant.frame_rate {
        push(&mut text, format_args!(",FRAME-RATE={rate:.3}"));
    }
    if variant.audio.is_some() {
        text.push_str(",AUDIO=\"audio\"");
    }
    push(&mut text, format_args!("\n{}\n", Resource::Media(variant.track).address(token)));
    text
}

impl Media<'_> {
    /// As text.
    pub fn text(&self) -> String {
        let stops = &self.shown.stops;
        let longest = stops.iter().map(|stop| stop.entry.duration).max().unwrap_or_default();
        let target = self.target_duration_seconds.max(target_duration_seconds(longest));
        let mut text = format!("#EXTM3U\n#EXT-X-VERSION:{}\n", if self.track.is_some() { 7 } else { 3 });
        let first = stops.first();
        let index = first.map_or(0, |stop| stop.index);
        if self.shown.is_on_demand {
            text.push_str("#EXT-X-PLAYLIST-TYPE:VOD\n");
        }
        push(&mut text, format_args!("#EXT-X-TARGETDURATION:{target}\n#EXT-X-MEDIA-SEQUENCE:{index}\n"));
        let before = first.map_or(0, |stop| stop.discontinuities - u64::from(stop.discontinuity));
        if before > 0 {
            push(&mut text, format_args!("#EXT-X-DISCONTINUITY-SEQUENCE:{before}\n"));
        }
        if stops.iter().all(|stop| stop.entry.independent) {
            text.push_str("#EXT-X-INDEPENDENT-SEGMENTS\n");
        }
        let mut codings = None;
        for stop in stops {
            self.push_segment(&mut text, stop, &mut codings);
        }
        if self.shown.is_over {
            text.push_str("#EXT-X-ENDLIST\n");
        }
        text
    }

    fn push_segment(&self, text: &mut String, stop: &Stop, codings: &mut Option<u64>) {
        if stop.discontinuity {
            text.push_str("#EXT-X-DISCONTINUITY\n");
        }
        let fragment = (self.number)(stop.entry.number);
        let segment = match self.track {
            Some(track) => {
                if codings.replace(stop.codings) != Some(stop.codings) {
                    let init = Resource::Init { track, codings: stop.codings };
                    push(text, format_args!("#EXT-X-MAP:URI=\"{}\"\n", init.address(self.token)));
                }
                Resource::Mp4 { fragment: &fragment, track }
            }
            None => Resource::Ts { fragment: &fragment },
        };
        if self.is_dated {
            push(text, format_args!("#EXT-X-PROGRAM-DATE-TIME:{}\n", Iso8601(stop.entry.start)));
        }
        if stop.entry.gap {
            text.push_str("#EXT-X-GAP\n");
        }
        let seconds = Seconds(stop.entry.duration);
        push(text, format_args!("#EXTINF:{seconds},\n{}\n", segment.address(self.token)));
    }
}

/// The whole seconds that no segment of this length exceeds when rounded; at least 1.
pub fn target_duration_seconds(longest: Duration) -> u64 {
    (longest + Duration::from_millis(500)).as_secs().max(1)
}

/// Seconds with up to three decimals, and no zeros behind the last that counts.
struct Seconds(Duration);

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let millis = (self.0 + Duration::from_micros(500)).as_millis();
        let text = format!("{}.{:03}", millis / 1000, millis % 1000);
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

fn push(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("writing to a String can't fail");
}

#[cfg(test)]
mod tests {
    use fragment::{FragmentId, Sequence, SessionId, WallTime};

    use super::super::{Discontinuities, Itinerary, Pace, Plan};
    use super::*;
    use crate::timeline::Entry;

    #[test]
    fn a_master_playlist_with_sound_of_its_own_reads_so() {
        let variant = Variant {
            bandwidth: 2_583_047,
            codecs: vec!["avc1.42c032".into(), "mp4a.40.2".into()],
            resolution: Some((2592, 1944)),
            frame_rate: Some(15.01),
            track: Some(1),
            audio: Some(2),
        };
        assert_eq!(
            master(&variant, "T"),
            "#EXTM3U\n\
             #EXT-X-VERSION:6\n\
             #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio\",NAME=\"audio\",DEFAULT=YES,AUTOSELECT=YES,\
             URI=\"getHLSMediaPlaylist.m3u8?SessionToken=T&TrackNumber=2\"\n\
             #EXT-X-STREAM-INF:BANDWIDTH=2583047,CODECS=\"avc1.42c032,mp4a.40.2\",RESOLUTION=2592x1944,FRAME-RATE=15.010,AUDIO=\"audio\"\n\
             getHLSMediaPlaylist.m3u8?SessionToken=T&TrackNumber=1\n"
        );
    }

    #[test]
    fn a_playlist_on_demand_with_dates_and_discontinuities_reads_so() {
        let itinerary = itinerary(Pace::OnDemand, Discontinuities::Always, &[entry(0), entry(1)]);
        assert_eq!(
            text(&itinerary, Some(1), true),
            "#EXTM3U\n\
             #EXT-X-VERSION:7\n\
             #EXT-X-PLAYLIST-TYPE:VOD\n\
             #EXT-X-TARGETDURATION:4\n\
             #EXT-X-MEDIA-SEQUENCE:0\n\
             #EXT-X-INDEPENDENT-SEGMENTS\n\
             #EXT-X-DISCONTINUITY\n\
             #EXT-X-MAP:URI=\"getMP4InitFragment.mp4?SessionToken=T&TrackNumber=1&SequenceNumber=0\"\n\
             #EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:20.000Z\n\
             #EXTINF:2.68,\n\
             getMP4MediaFragment.mp4?FragmentNumber=n0&SessionToken=T&TrackNumber=1\n\
             #EXT-X-DISCONTINUITY\n\
             #EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:22.680Z\n\
             #EXTINF:2.68,\n\
             getMP4MediaFragment.mp4?FragmentNumber=n1&SessionToken=T&TrackNumber=1\n\
             #EXT-X-ENDLIST\n"
        );
    }

    #[test]
    fn a_live_playlist_of_a_transport_stream_reads_so() {
        let entries: Vec<Entry> = (0..7).map(entry).collect();
        let itinerary = itinerary(Pace::Live, Discontinuities::Never, &entries);
        assert_eq!(
            text(&itinerary, None, false),
            "#EXTM3U\n\
             #EXT-X-VERSION:3\n\
             #EXT-X-TARGETDURATION:4\n\
             #EXT-X-MEDIA-SEQUENCE:5\n\
             #EXT-X-INDEPENDENT-SEGMENTS\n\
             #EXTINF:2.68,\n\
             getTSFragment.ts?FragmentNumber=n5&SessionToken=T\n\
             #EXTINF:2.68,\n\
             getTSFragment.ts?FragmentNumber=n6&SessionToken=T\n"
        );
    }

    #[test]
    fn discontinuities_and_changes_of_tracks_are_counted_over_what_has_left_the_window() {
        let recoded = Entry { tracks_fingerprint: 8, ..entry(3) };
        let itinerary = itinerary(Pace::Live, Discontinuities::Always, &[entry(0), entry(1), entry(2), recoded]);
        let text = text(&itinerary, Some(1), false);
        assert!(text.contains("#EXT-X-MEDIA-SEQUENCE:2\n#EXT-X-DISCONTINUITY-SEQUENCE:2\n"), "{text}");
        assert!(text.contains("SequenceNumber=0\"\n") && text.contains("SequenceNumber=1\"\n"), "{text}");
    }

    #[test]
    fn seconds_have_no_more_decimals_than_they_need() {
        for (micros, expected) in [(2_663_000, "2.663"), (2_680_000, "2.68"), (10_000_000, "10"), (1_999_600, "2")] {
            assert_eq!(Seconds(Duration::from_micros(micros)).to_string(), expected);
        }
    }

    fn text(itinerary: &Itinerary, track: Option<u8>, is_dated: bool) -> String {
        let shown = itinerary.shown(WallTime::from_millis(0)).unwrap();
        let number = |number: FragmentNumber| format!("n{number}");
        Media { shown: &shown, track, token: "T", target_duration_seconds: 4, is_dated, number: &number }.text()
    }

    fn itinerary(pace: Pace, discontinuities: Discontinuities, entries: &[Entry]) -> Itinerary {
        let mut itinerary = Itinerary::new(Plan { pace, results_max: 2, discontinuities, is_of_one_coding: false });
        for entry in entries {
            itinerary.push(entry.clone(), 1);
        }
        itinerary
    }

    fn entry(sequence: u32) -> Entry {
        let duration = Duration::from_millis(2680);
        Entry {
            number: FragmentNumber(u64::from(sequence)),
            id: FragmentId { session: SessionId(1), sequence: Sequence(sequence) },
            start: WallTime::from_millis(1_700_000_000_000) + duration * sequence,
            duration,
            tracks_fingerprint: 7,
            independent: true,
            live: None,
            gap: false,
        }
    }
}
