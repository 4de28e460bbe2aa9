//! A session as DASH (ISO/IEC 23009-1): a period with an adaptation set for each track, segments by their number, counted from 1.
//!
//! The session's time has no holes and no overlaps, whatever the fragments' clocks say: it begins with the first fragment's start,
//! and each other one begins where the one before it ends. What the clocks say can be displayed beside it.

use std::fmt::Write as _;
use std::time::Duration;

use fragment::{FragmentNumber, WallTime};

use super::{Itinerary, Resource, Shown, Stop};
use crate::date::Iso8601;

/// Ticks per second of the manifest.
const TIMESCALE: i128 = 90_000;

/// How often players ask for a new manifest: as often as for a new playlist.
const UPDATE_SECONDS: u64 = 1;

/// What the manifest says of a track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Track {
    /// Its number.
    pub number: u8,
    /// Its RFC 6381 string.
    pub codec: String,
    /// Its peak bits per second.
    pub bandwidth: u64,
    /// What it shows.
    pub shape: Shape,
}

/// What a track shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Pictures of this width and height.
    Video(u32, u32),
    /// Sound of so many samples per second.
    Audio(u32),
}

/// A manifest.
pub struct Manifest<'a> {
    /// All fragments of the session.
    pub itinerary: &'a Itinerary,
    /// Those to play.
    pub shown: &'a Shown<'a>,
    /// The tracks.
    pub tracks: &'a [Track],
    /// What stands for the session in addresses.
    pub token: &'a str,
    /// What the server's clock says.
    pub now: WallTime,
    /// Whether each fragment's time is displayed.
    pub is_dated: bool,
    /// A fragment's number as it is displayed, if it is.
    pub number: Option<&'a dyn Fn(FragmentNumber) -> String>,
}

/// When a fragment is played, in the session's own time.
pub fn placed(itinerary: &Itinerary, stop: &Stop) -> WallTime {
    origin(itinerary) + stop.elapsed
}

fn origin(itinerary: &Itinerary) -> WallTime {
    itinerary.first().map_or(WallTime::from_nanos(0), |first| first.entry.start)
}

impl Manifest<'_> {
    /// As text.
    pub fn text(&self) -> String {
        let stops = &self.shown.stops;
        let duration: Duration = stops.iter().map(|stop| stop.entry.duration).sum();
        let longest = stops.iter().map(|stop| stop.entry.duration).max().unwrap_or_default();
        let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
        text.push_str("<MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" xmlns:kvs=\"urn:kinesisvideo\"");
        text.push_str(" profiles=\"urn:mpeg:dash:profile:isoff-live:2011\"");
        let begun = self.itinerary.begun().unwrap_or(self.now);
        push(
            &mut text,
            format_args!(" minBufferTime=\"{}\" availabilityStartTime=\"{}\"", Period(longest), Iso8601(begun)),
        );
        if self.shown.is_on_demand {
            push(&mut text, format_args!(" type=\"static\" mediaPresentationDuration=\"{}\">\n", Period(duration)));
        } else {
            push(&mut text, format_args!(" type=\"dynamic\" publishTime=\"{}\"", Iso8601(self.now)));
            push(&mut text, format_args!(" timeShiftBufferDepth=\"{}\"", Period(duration)));
            // As HLS has it: three segments from the end, as far as there are so many.
            let delay = longest * 3;
            push(&mut text, format_args!(" suggestedPresentationDelay=\"{}\"", Period(delay.min(duration))));
            // A manifest without a period of updates is the last one.
            if !self.shown.is_over {
                push(&mut text, format_args!(" minimumUpdatePeriod=\"PT{UPDATE_SECONDS}S\""));
            }
            push(
                &mut text,
                format_args!(
                    ">\n <UTCTiming schemeIdUri=\"urn:mpeg:dash:utc:direct:2014\" value=\"{}\"/>\n",
                    Iso8601(self.now)
                ),
            );
        }
        text.push_str(" <Period id=\"0\" start=\"PT0S\">\n");
        for track in self.tracks {
            self.push_track(&mut text, track);
        }
        text.push_str(" </Period>\n</MPD>\n");
        text
    }

    fn push_track(&self, text: &mut String, track: &Track) {
        let kind = match track.shape {
            Shape::Video(..) => "video",
            Shape::Audio(_) => "audio",
        };
        push(
            text,
            format_args!("  <AdaptationSet id=\"{}\" contentType=\"{kind}\" mimeType=\"{kind}/mp4\"", track.number),
        );
        text.push_str(" segmentAlignment=\"true\" startWithSAP=\"1\">\n");
        let init = Resource::Init { track: track.number, codings: 0 }.address(self.token);
        let media = Resource::Mp4 { fragment: "$Number$", track: track.number }.address(self.token);
        push(text, format_args!("   <SegmentTemplate timescale=\"{TIMESCALE}\" initialization=\"{}\"", escaped(&init)));
        let stops = &self.shown.stops;
        let number = stops.first().map_or(1, |stop| stop.index + 1);
        let offset = ticks(origin(self.itinerary));
        push(text, format_args!(" media=\"{}\" startNumber=\"{number}\"", escaped(&media)));
        push(text, format_args!(" presentationTimeOffset=\"{offset}\">\n    <SegmentTimeline>\n"));
        for stop in stops {
            let begin = placed(self.itinerary, stop);
            let (begin, end) = (ticks(begin), ticks(begin + stop.entry.duration));
            push(text, format_args!("     <S t=\"{begin}\" d=\"{}\"", end - begin));
            if self.is_dated {
                let millis = stop.entry.start.as_millis();
                push(text, format_args!(" kvs:ts=\"{}.{:03}\"", millis.div_euclid(1000), millis.rem_euclid(1000)));
            }
            if let Some(number) = self.number {
                push(text, format_args!(" kvs:fn=\"{}\"", number(stop.entry.number)));
            }
            text.push_str("/>\n");
        }
        text.push_str("    </SegmentTimeline>\n   </SegmentTemplate>\n");
        let Track { codec, bandwidth, number, .. } = track;
        push(
            text,
            format_args!("   <Representation id=\"{number}\" codecs=\"{codec}\" bandwidth=\"{}\"", (*bandwidth).max(1)),
        );
        match track.shape {
            Shape::Video(width, height) => push(text, format_args!(" width=\"{width}\" height=\"{height}\"/>\n")),
            Shape::Audio(rate) => push(text, format_args!(" audioSamplingRate=\"{rate}\"/>\n")),
        }
        text.push_str("  </AdaptationSet>\n");
    }
}

/// Rounded like the times in segments.
fn ticks(time: WallTime) -> i128 {
    (i128::from(time.as_nanos()) * TIMESCALE + 500_000_000).div_euclid(1_000_000_000)
}

/// The only character of addresses that XML has another meaning for.
fn escaped(address: &str) -> String {
    address.replace('&', "&amp;")
}

/// A length of time as ISO 8601 has it, in seconds.
struct Period(Duration);

impl std::fmt::Display for Period {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PT{:.3}S", self.0.as_secs_f64())
    }
}

fn push(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("writing to a String can't fail");
}

#[cfg(test)]
mod tests {
    use fragment::{FragmentId, Sequence, SessionId};

    use super::super::{Discontinuities, Pace, Plan};
    use super::*;
    use crate::timeline::Entry;

    const BEGUN: WallTime = WallTime::from_millis(1_700_000_000_000);

    #[test]
    fn a_manifest_on_demand_reads_so_and_has_no_hole_where_the_clock_has_one() {
        let later = Entry { start: BEGUN + Duration::from_secs(60), ..entry(1) };
        assert_eq!(
            text(&itinerary(Pace::OnDemand, vec![entry(0), later])),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" xmlns:kvs=\"urn:kinesisvideo\" \
             profiles=\"urn:mpeg:dash:profile:isoff-live:2011\" minBufferTime=\"PT2.000S\" \
             availabilityStartTime=\"2023-11-14T22:13:20.000Z\" type=\"static\" mediaPresentationDuration=\"PT4.000S\">\n \
             <Period id=\"0\" start=\"PT0S\">\n  \
             <AdaptationSet id=\"1\" contentType=\"video\" mimeType=\"video/mp4\" segmentAlignment=\"true\" startWithSAP=\"1\">\n   \
             <SegmentTemplate timescale=\"90000\" initialization=\"getMP4InitFragment.mp4?SessionToken=T&amp;TrackNumber=1&amp;SequenceNumber=0\" \
             media=\"getMP4MediaFragment.mp4?FragmentNumber=$Number$&amp;SessionToken=T&amp;TrackNumber=1\" startNumber=\"1\" \
             presentationTimeOffset=\"153000000000000\">\n    \
             <SegmentTimeline>\n     \
             <S t=\"153000000000000\" d=\"180000\" kvs:ts=\"1700000000.000\" kvs:fn=\"n1000\"/>\n     \
             <S t=\"153000000180000\" d=\"180000\" kvs:ts=\"1700000060.000\" kvs:fn=\"n1001\"/>\n    \
             </SegmentTimeline>\n   \
             </SegmentTemplate>\n   \
             <Representation id=\"1\" codecs=\"avc1.64001f\" bandwidth=\"5\" width=\"640\" height=\"360\"/>\n  \
             </AdaptationSet>\n \
             </Period>\n\
             </MPD>\n"
        );
    }

    #[test]
    fn a_live_manifest_is_dynamic_and_counts_on() {
        let text = text(&itinerary(Pace::Live, (0..9).map(entry).collect()));
        for part in ["type=\"dynamic\"", "minimumUpdatePeriod=\"PT1S\"", "startNumber=\"7\"", "t=\"153000001080000\""] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    fn text(itinerary: &Itinerary) -> String {
        let shown = itinerary.shown(BEGUN).unwrap();
        let number = |number: FragmentNumber| format!("n{number}");
        let tracks = [Track { number: 1, codec: "avc1.64001f".into(), bandwidth: 5, shape: Shape::Video(640, 360) }];
        let (tracks, token, number) = (&tracks[..], "T", Some(&number as &dyn Fn(FragmentNumber) -> String));
        Manifest { itinerary, shown: &shown, tracks, token, now: BEGUN, is_dated: true, number }.text()
    }

    fn itinerary(pace: Pace, entries: Vec<Entry>) -> Itinerary {
        let discontinuities = Discontinuities::Never;
        let mut itinerary = Itinerary::new(Plan { pace, results_max: 3, discontinuities, is_of_one_coding: true });
        for entry in entries {
            itinerary.push(entry, 1);
        }
        itinerary
    }

    fn entry(sequence: u32) -> Entry {
        Entry {
            number: FragmentNumber(1000 + u64::from(sequence)),
            id: FragmentId { session: SessionId(1), sequence: Sequence(sequence) },
            start: BEGUN + Duration::from_secs(2) * sequence,
            duration: Duration::from_secs(2),
            tracks_fingerprint: 7,
            independent: true,
            live: None,
            gap: false,
        }
    }
}
