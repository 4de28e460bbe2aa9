//! Sessions of the AWS API. What clients see of them is in `e2e/python/conformance`.

use std::process::Command;

use hls::session::Discontinuities;

use super::*;
use crate::http::sessions::{Clock, OpenError, Protocol, Wanted, WantedMode};
use crate::kinesis_video::fragment_number;

const LIVE: Wanted = Wanted {
    protocol: Protocol::HlsMp4,
    mode: WantedMode::Live,
    clock: Clock::Producer,
    discontinuities: Discontinuities::Never,
    is_dated: false,
    is_numbered: false,
    results_max: 5,
    expires: Duration::from_secs(300),
};

// --- HLS

#[tokio::test]
async fn a_session_on_demand_plays_each_track_from_the_master_playlist_to_the_segment() {
    let server = Server::new();
    let begin = server.recorded(4).await;
    let master = server.open("front", on_demand(begin, begin + SECOND * 4)).await.unwrap();
    let text = server.get(&master, &[]).await.text();
    assert!(text.contains("RESOLUTION=160x96,FRAME-RATE=27.000,AUDIO=\"audio\"\n"), "{text}");
    for track in [1, 2] {
        let name = text.lines().find_map(|line| {
            line.split('"').chain([line]).find(|part| part.ends_with(&format!("TrackNumber={track}")))
        });
        let media = sibling(&master, name.unwrap());
        let playlist = server.get(&media, &[]).await.text();
        assert!(playlist.contains("#EXT-X-PLAYLIST-TYPE:VOD") && playlist.ends_with("#EXT-X-ENDLIST\n"), "{playlist}");
        let init = server.get(&sibling(&master, &init(&playlist)), &[]).await;
        assert_eq!(
            (init.status, init.header("content-type"), &init.body[4..8]),
            (StatusCode::OK, "video/mp4", &b"ftyp"[..])
        );
        assert_eq!(init.body.windows(4).filter(|box_| box_ == b"trak").count(), 1);
        let segments = segments(&playlist);
        assert_eq!(segments.len(), 4);
        for (i, name) in (0..).zip(&segments) {
            let segment = server.get(&sibling(&master, name), &[]).await;
            assert_eq!((segment.status, segment.header("access-control-allow-origin")), (StatusCode::OK, "*"));
            assert_eq!(segment.body.windows(4).filter(|box_| box_ == b"traf").count(), 1);
            if track == 1 {
                let ticks = (begin + SECOND * i).as_nanos() / 1000 * 9 / 100;
                assert!(
                    decode_time(&segment.body).abs_diff(u64::try_from(ticks).unwrap()) < 90 * 100,
                    "by the producer's clock"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_session_has_the_fragments_that_begin_in_its_range_and_no_more_than_are_asked_for() {
    let server = Server::new();
    let begin = server.recorded(6).await;
    let half = SECOND / 2;
    let shown = async |from, to, results_max| {
        let wanted = Wanted { results_max, ..on_demand(from, to) };
        server.numbers(&server.open("front", wanted).await.unwrap()).await.len()
    };
    assert_eq!(shown(begin + half, begin + SECOND * 3 + half, 5).await, 3);
    assert_eq!(shown(begin + SECOND, begin + SECOND * 3, 5).await, 2);
    assert_eq!(shown(begin, begin + SECOND * 6, 5).await, 5);
    let nothing = server.open("front", on_demand(begin + SECOND * 7, begin + SECOND * 9)).await;
    assert!(matches!(nothing, Err(OpenError::Nothing)));
}

#[tokio::test]
async fn of_fragments_that_begin_at_the_same_time_the_newest_is_played_and_by_the_servers_clock_all() {
    let server = Server::new();
    let begin = now() - SECOND * 60;
    let mut numbers = Vec::new();
    for session in 1..=3 {
        for sequence in 0..2 {
            let id = FragmentId { session: SessionId(session), sequence: Sequence(sequence) };
            numbers.push(
                server.store_fragment("front", Fragment { id, ..fragment(sequence, begin + SECOND * sequence) }).await,
            );
        }
    }
    let by_producer = server.open("front", on_demand(begin, now())).await.unwrap();
    assert_eq!(server.numbers(&by_producer).await, numbers[4..]);
    let wanted = Wanted { clock: Clock::Server, results_max: 100, ..on_demand(now() - SECOND * 10, now()) };
    assert_eq!(server.numbers(&server.open("front", wanted).await.unwrap()).await, numbers);
}

#[tokio::test]
async fn more_fragments_than_are_asked_of_the_archive_at_once_are_all_there_in_order() {
    let server = Server::new();
    let begin = now() - SECOND * 3600;
    let count = u32::try_from(limits::ITINERARY_PAGE).unwrap() + 100;
    let mut numbers = Vec::new();
    for sequence in 0..count {
        numbers.push(server.store_fragment("front", fragment(sequence, begin + SECOND * sequence)).await);
    }
    let wanted = Wanted { results_max: 5000, ..on_demand(begin, now()) };
    assert_eq!(server.numbers(&server.open("front", wanted).await.unwrap()).await, numbers);
}

#[tokio::test]
async fn what_comes_later_is_added_to_a_live_session_and_what_comes_late_is_not() {
    let server = Server::new();
    let begin = now() - SECOND * 20;
    server.store("front", &[(0, begin), (1, begin + SECOND), (3, begin + SECOND * 3)]).await;
    let master = server.open("front", Wanted { discontinuities: Discontinuities::Found, ..LIVE }).await.unwrap();
    let first = server.media(&master).await;
    assert!(first.contains("#EXT-X-MEDIA-SEQUENCE:0\n") && first.matches("DISCONTINUITY\n").count() == 1, "{first}");
    let late = server.store("front", &[(2, begin + SECOND * 2)]).await;
    let newer =
        server.store("front", &[(4, begin + SECOND * 4), (5, begin + SECOND * 5), (6, begin + SECOND * 6)]).await;
    let shown = server.numbers(&master).await;
    assert_eq!((shown.len(), &shown[2..]), (5, &newer[..]));
    assert!(!shown.contains(&late[0]));
    let again = server.media(&master).await;
    assert!(again.contains("#EXT-X-MEDIA-SEQUENCE:1\n") && !again.contains("ENDLIST"), "{again}");
    let segment = sibling(&master, &segments(&first)[0]);
    assert_eq!(
        server.get(&segment, &[]).await.status,
        StatusCode::OK,
        "what has left the playlist is there for a while"
    );
    let number = segments(&first)[0].split(['=', '&']).nth(1).unwrap().to_owned();
    let late = sibling(&master, &segments(&first)[0].replace(&number, &fragment_number::format(late[0])));
    assert_eq!(server.get(&late, &[]).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn another_server_counts_a_live_session_as_the_one_that_opened_it() {
    let server = Server::new();
    let begin = now() - SECOND * 30;
    let fragments: Vec<_> = (0..3).map(|i| (i, begin + SECOND * i)).collect();
    server.store("front", &fragments).await;
    let wanted = Wanted { discontinuities: Discontinuities::Always, ..LIVE };
    let master = server.open("front", wanted).await.unwrap();
    server.media(&master).await;
    let more: Vec<_> = (3..25).map(|i| (i, begin + SECOND * i)).collect();
    server.store("front", &more).await;
    let other = server.with_console_key("another");
    let (here, there) = (server.media(&master).await, other.media(&master).await);
    assert!(here.contains("#EXT-X-MEDIA-SEQUENCE:20\n#EXT-X-DISCONTINUITY-SEQUENCE:20\n"), "{here}");
    assert_eq!(here, there);
}

#[tokio::test]
async fn a_replay_shows_the_past_at_its_own_pace() {
    let server = Server::new();
    let begin = server.recorded(9).await;
    let wanted = Wanted { mode: WantedMode::Replay { start: begin, end: None }, ..LIVE };
    let master = server.open("front", wanted).await.unwrap();
    let opened = now();
    let first = server.numbers(&master).await;
    assert!(first.len() >= 3 && first.len() < 9, "{first:?}");
    tokio::time::sleep(SECOND * 3).await;
    let later = server.numbers(&master).await;
    let passed = usize::try_from(now().since(opened).as_secs()).unwrap();
    assert_eq!(later.len(), 5);
    assert!(later[4] >= first[2] && !server.media(&master).await.contains("ENDLIST"), "{passed} s later: {later:?}");
    assert!(later.last() > first.last());
}

#[tokio::test]
async fn a_transport_stream_is_read_by_ffprobe_without_a_warning() {
    let server = Server::new();
    let begin = server.recorded(3).await;
    let wanted = Wanted { protocol: Protocol::HlsTs, ..on_demand(begin, begin + SECOND * 3) };
    let master = server.open("front", wanted).await.unwrap();
    assert!(!server.get(&master, &[]).await.text().contains("EXT-X-MEDIA"));
    let playlist = server.media(&master).await;
    assert!(!playlist.contains("EXT-X-MAP"), "{playlist}");
    let mut file = tempfile::NamedTempFile::new().unwrap();
    for name in segments(&playlist) {
        let segment = server.get(&sibling(&master, &name), &[]).await;
        assert_eq!((segment.status, segment.header("content-type")), (StatusCode::OK, "video/mp2t"));
        std::io::Write::write_all(&mut file, &segment.body).unwrap();
    }
    let probe = Command::new("ffprobe")
        .args([
            "-v",
            "warning",
            "-count_packets",
            "-show_entries",
            "stream=codec_name,nb_read_packets",
            "-of",
            "csv=p=0",
        ])
        .arg(file.path())
        .output()
        .expect("ffprobe is installed");
    let (found, said) = (String::from_utf8_lossy(&probe.stdout), String::from_utf8_lossy(&probe.stderr));
    assert!(found.contains("h264,81") && found.contains("aac,") && said.is_empty(), "{found}{said}");
}

#[tokio::test]
async fn a_change_of_tracks_has_an_initialisation_segment_of_its_own() {
    let server = Server::new();
    let begin = now() - SECOND * 10;
    server.store("front", &[(0, begin)]).await;
    server.store_fragment("front", Fragment { tracks_fingerprint: 8, ..fragment(1, begin + SECOND) }).await;
    let master = server.open("front", on_demand(begin, now())).await.unwrap();
    let playlist = server.media(&master).await;
    let inits: Vec<&str> =
        playlist.lines().filter_map(|line| line.strip_prefix("#EXT-X-MAP:URI=\"")?.strip_suffix('"')).collect();
    assert_eq!(inits.len(), 2, "{playlist}");
    assert_eq!(playlist.matches("#EXT-X-DISCONTINUITY\n").count(), 1, "{playlist}");
    for init in inits {
        assert_eq!(server.get(&sibling(&master, init), &[]).await.status, StatusCode::OK, "{init}");
    }
    let third = playlist
        .split("URI=\"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap()
        .replace("SequenceNumber=0", "SequenceNumber=2");
    assert_eq!(server.get(&sibling(&master, &third), &[]).await.status, StatusCode::NOT_FOUND);
}

// --- DASH

#[tokio::test]
async fn a_manifest_and_its_segments_have_one_time_without_holes() {
    let server = Server::new();
    let begin = now() - SECOND * 60;
    server.store("front", &[(0, begin), (1, begin + SECOND), (5, begin + SECOND * 30)]).await;
    let wanted = Wanted { protocol: Protocol::Dash, is_dated: true, is_numbered: true, ..on_demand(begin, now()) };
    let address = server.open("front", wanted).await.unwrap();
    let manifest = server.get(&address, &[]).await;
    assert_eq!(manifest.header("content-type"), "application/dash+xml");
    let text = manifest.text();
    assert!(text.contains("type=\"static\"") && text.matches("<AdaptationSet").count() == 2, "{text}");
    let video = text.split("</AdaptationSet>").next().unwrap();
    let times: Vec<u64> = attributes(video, " t=\"").iter().map(|t| t.parse().unwrap()).collect();
    assert_eq!([times[1] - times[0], times[2] - times[1]], [90_000, 90_000]);
    let displayed: Vec<f64> = attributes(video, "kvs:ts=\"").iter().map(|ts| ts.parse().unwrap()).collect();
    assert!((displayed[2] - displayed[1] - 29.0).abs() < 0.002, "the clock says otherwise: {displayed:?}");
    for (i, time) in times.iter().enumerate() {
        let segment = attributes(video, "media=\"")[0].replace("&amp;", "&").replace("$Number$", &(i + 1).to_string());
        let segment = server.get(&sibling(&address, &segment), &[]).await;
        assert_eq!(segment.status, StatusCode::OK);
        // The first picture is shown at the fragment's beginning; reordering decodes it no more than four pictures away.
        assert!(decode_time(&segment.body).abs_diff(*time) <= 4 * 3600, "{} and {time}", decode_time(&segment.body));
    }
    let init = attributes(video, "initialization=\"")[0].replace("&amp;", "&");
    assert_eq!(server.get(&sibling(&address, &init), &[]).await.status, StatusCode::OK);
    let fourth = attributes(video, "media=\"")[0].replace("&amp;", "&").replace("$Number$", "4");
    assert_eq!(server.get(&sibling(&address, &fourth), &[]).await.status, StatusCode::NOT_FOUND);
}

// --- What a token is good for

#[tokio::test]
async fn a_token_opens_nothing_else_and_nothing_at_all_when_it_was_changed() {
    let server = Server::new();
    let begin = server.recorded(2).await;
    let hls = server.open("front", on_demand(begin, begin + SECOND)).await.unwrap();
    let segment = segments(&server.media(&hls).await)[0].clone();
    let beyond = fragment_number::format(server.all("front")[1]);
    let number = segment.split(['=', '&']).nth(1).unwrap();
    let outside = sibling(&hls, &segment.replace(number, &beyond));
    let changed = hls.replace("SessionToken=", "SessionToken=A");
    let in_dash = hls.replace("/hls/v1/getHLSMasterPlaylist.m3u8", "/dash/v1/getDASHManifest.mpd");
    let as_ts = hls.replace("getHLSMasterPlaylist.m3u8", "getTSFragment.ts");
    for (path, status) in [
        (outside, StatusCode::NOT_FOUND),
        (changed, StatusCode::FORBIDDEN),
        (in_dash, StatusCode::NOT_FOUND),
        (as_ts, StatusCode::NOT_FOUND),
        ("/hls/v1/getHLSMasterPlaylist.m3u8".to_owned(), StatusCode::BAD_REQUEST),
        (sibling(&hls, &segment.replace(number, "123")), StatusCode::NOT_FOUND),
        (sibling(&hls, &segment.replace("TrackNumber=1", "TrackNumber=9")), StatusCode::UNPROCESSABLE_ENTITY),
    ] {
        let answer = server.get(&path, &[]).await;
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (status, "*"), "{path}");
    }
}

#[tokio::test]
async fn a_session_ends_with_its_stream() {
    let server = Server::new();
    let begin = server.recorded(2).await;
    let master = server.open("front", on_demand(begin, begin + SECOND)).await.unwrap();
    let stream = server.archive.find_stream(&name("front")).unwrap().unwrap();
    server.archive.delete_stream(stream.id).await.unwrap();
    let answer = server.get(&master, &[]).await;
    assert_eq!((answer.status, answer.error()), (StatusCode::NOT_FOUND, "stream_gone".to_owned()));
}

// --- What can't be played

#[tokio::test]
async fn nothing_is_live_where_nothing_came_for_half_a_minute() {
    let server = Server::new();
    let begin = now() - SECOND * 60;
    let old = Fragment { arrived: now() - SECOND * 31, ..fragment(0, begin) };
    server.store_fragment("front", old).await;
    assert!(matches!(server.open("front", LIVE).await, Err(OpenError::Nothing)));
    server.store("front", &[(1, begin + SECOND)]).await;
    assert!(server.open("front", LIVE).await.is_ok());
}

#[tokio::test]
async fn the_first_fragment_says_whether_a_session_can_be_played() {
    let server = Server::new();
    // The CodecPrivate of the video track: renamed to a Void, it is not there; with another first byte it is no avcC.
    let at = FRAGMENT.windows(2).position(|id| id == [0x63, 0xa2]).unwrap();
    let [mut missing, mut invalid, mut unsupported] = [(); 3].map(|()| FRAGMENT.to_vec());
    let size = FRAGMENT[at + 2] & 0x7f;
    missing[at..at + 3].copy_from_slice(&[0xec, 0x80 | (size + 1), 0]);
    invalid[at + 3] = 9;
    for codec in [&b"V_MPEG4/ISO/AVC"[..], b"A_AAC"] {
        let at = unsupported.windows(codec.len()).position(|id| id == codec).unwrap();
        unsupported[at..at + 5].copy_from_slice(b"X_ODD");
    }
    for (stream, payload, expected) in [
        ("missing", missing, "Track 1 (V_MPEG4/ISO/AVC) has no codec private data."),
        ("invalid", invalid, "The codec private data of track 1 (V_MPEG4/ISO/AVC) are not what its codec has them be."),
        (
            "unsupported",
            unsupported,
            "None of the tracks is H.264, H.265 or AAC; their codec ids are X_ODDG4/ISO/AVC, X_ODD.",
        ),
        ("broken", b"this is no Matroska".to_vec(), "the first fragment can't be played: "),
    ] {
        server.store_payload(stream, 0, now() - SECOND, payload).await;
        let refused = server.open(stream, LIVE).await.unwrap_err().to_string();
        assert!(refused.starts_with(expected), "{stream}: {refused}");
    }
}

// --- Helpers

impl Server {
    /// So many fragments of a second each, a minute ago. When the first begins.
    async fn recorded(&self, fragments: u32) -> WallTime {
        let begin = WallTime::from_millis(now().as_millis()) - SECOND * 60;
        for sequence in 0..fragments {
            self.store("front", &[(sequence, begin + SECOND * sequence)]).await;
        }
        begin
    }

    async fn open(&self, stream: &str, wanted: Wanted) -> Result<String, OpenError> {
        let stream = self.archive.find_stream(&name(stream)).unwrap().unwrap();
        self.state.open_session(stream, wanted, now()).await
    }

    /// The first media playlist of a master playlist's address.
    async fn media(&self, master: &str) -> String {
        let text = self.get(master, &[]).await.text();
        let name =
            text.lines().find(|line| line.starts_with("getHLSMediaPlaylist")).unwrap_or_else(|| panic!("{text}"));
        let media = self.get(&sibling(master, name), &[]).await;
        assert_eq!(media.status, StatusCode::OK, "{}", media.text());
        media.text()
    }

    /// The fragments in it.
    async fn numbers(&self, master: &str) -> Vec<FragmentNumber> {
        let names = segments(&self.media(master).await);
        names.iter().map(|name| fragment_number::parse(name.split(['=', '&']).nth(1).unwrap()).unwrap()).collect()
    }

    fn all(&self, stream: &str) -> Vec<FragmentNumber> {
        let stream = self.archive.find_stream(&name(stream)).unwrap().unwrap();
        let all = self.archive.numbered(stream.id, FragmentNumber(0)..FragmentNumber(u64::MAX), 100, now());
        all.unwrap().into_iter().map(|stored| stored.number).collect()
    }
}

fn on_demand(start: WallTime, end: WallTime) -> Wanted {
    Wanted { mode: WantedMode::OnDemand { start, end }, ..LIVE }
}

/// Another file of the session's folder.
fn sibling(address: &str, file: &str) -> String {
    super::sibling(address.split('?').next().unwrap(), file)
}

fn segments(playlist: &str) -> Vec<String> {
    let is_segment = |line: &&str| line.starts_with("getMP4MediaFragment") || line.starts_with("getTSFragment");
    playlist.lines().filter(is_segment).map(str::to_owned).collect()
}

/// The values of an attribute of XML.
fn attributes<'a>(text: &'a str, attribute: &str) -> Vec<&'a str> {
    text.split(attribute).skip(1).map(|rest| rest.split('"').next().unwrap()).collect()
}

/// That of the first tfdt box, version 1.
fn decode_time(segment: &[u8]) -> u64 {
    let at = segment.windows(4).position(|name| name == b"tfdt").unwrap() + 8;
    u64::from_be_bytes(segment[at..at + 8].try_into().unwrap())
}
