//! HLS: `/hls/{token}/{file}`. The token says what may be played; the folder's files are playlists and
//! segments.
//!
//! A segment never changes, so caches may keep it for ever; a live playlist is new with each
//! fragment. Players on other sites may read everything here: who has the token may play.

use axum::extract::{Path, State as Extract};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use fragment::{FragmentNumber, WallTime, mkv};
use hls::cmaf::Placement;
use hls::playlist::{self, File, Variant};
use hls::timeline::{Entry, Timeline};

use super::error::Problem;
use super::library::{Fragment, Stream};
use super::rendition::Rendition;
use super::token::{Part, Token};
use super::{State, now};

const PLAYLIST: &str = "application/vnd.apple.mpegurl";
const MP4: &str = "video/mp4";
const ANY_ORIGIN: (HeaderName, &str) = (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*");

/// Peak over mean: what a variant's BANDWIDTH adds to the largest segment for the protocol around it.
const BANDWIDTH_MARGIN_PERCENT: u64 = 10;

/// How long caches may keep a file.
#[derive(Clone, Copy)]
enum Caching {
    /// It changes with each fragment.
    Never,
    /// It is what it is; private, as the address holds a token.
    Forever,
}

/// `GET /hls/{token}/{file}`
pub(super) async fn file(Extract(state): Extract<State>, Path((token, file)): Path<(String, String)>) -> Response {
    let answer = answer(&state, &token, &file, now()).await;
    ([ANY_ORIGIN], answer).into_response()
}

/// `OPTIONS /hls/{token}/{file}`: players may send a Range header from anywhere.
pub(super) async fn preflight() -> Response {
    let headers = [
        ANY_ORIGIN,
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "Range"),
        (header::ACCESS_CONTROL_MAX_AGE, "86400"),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

async fn answer(state: &State, token: &str, file: &str, now: WallTime) -> Result<Response, Problem> {
    let token = Token::open(token, state.sealer(), now)?;
    let file: File = file.parse().map_err(|_| Problem::NotFound)?;
    let playback = Playback { state, token, now, stream: state.library().stream(token.stream)? };
    match file {
        File::Multivariant => Ok(reply(PLAYLIST, Caching::Never, playback.multivariant().await?.into())),
        File::Media => Ok(reply(PLAYLIST, Caching::Never, playback.media().await?.into())),
        File::Init(fingerprint) => Ok(reply(MP4, Caching::Forever, playback.init(fingerprint).await?)),
        File::Segment(number) => Ok(reply(MP4, Caching::Forever, playback.segment(number).await?)),
    }
}

fn reply(content_type: &'static str, caching: Caching, body: Bytes) -> Response {
    let caching = match caching {
        Caching::Never => "no-cache",
        Caching::Forever => "private, max-age=31536000, immutable",
    };
    ([(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, caching)], body).into_response()
}

/// One request under a token that was found good.
struct Playback<'a> {
    state: &'a State,
    token: Token,
    stream: Stream,
    now: WallTime,
}

impl Playback<'_> {
    async fn multivariant(&self) -> Result<String, Problem> {
        let fragments = self.fragments().await?;
        // Who watches live sees the newest tracks, who watches the past begins with the oldest.
        let mut whole = fragments.iter().filter(|fragment| !fragment.entry.gap);
        let decisive = match self.token.part {
            Part::Live { .. } => whole.next_back(),
            Part::Past { .. } => whole.next(),
        };
        let decisive = decisive.or(fragments.first()).ok_or_else(|| self.nothing())?;
        let rendition = self.rendition(&fragments, decisive.entry.tracks_fingerprint).await?;
        let peak = fragments.iter().map(Fragment::bits_per_second).max().unwrap_or(0);
        let variant = Variant {
            bandwidth: peak + peak * BANDWIDTH_MARGIN_PERCENT / 100,
            codecs: rendition.codecs,
            resolution: rendition.resolution,
        };
        Ok(playlist::multivariant(&variant))
    }

    async fn media(&self) -> Result<String, Problem> {
        let mut entries: Vec<Entry> = self.fragments().await?.into_iter().map(|fragment| fragment.entry).collect();
        // At its ends a gap says nothing, and players would wait there for ever.
        let whole = |entry: &Entry| !entry.gap;
        if !entries.is_empty() && !entries.iter().any(whole) {
            return Err(Problem::Damaged);
        }
        entries.truncate(entries.iter().rposition(whole).map_or(0, |last| last + 1));
        entries.drain(..entries.iter().position(whole).unwrap_or(0));
        let timeline = match self.token.part {
            Part::Live { .. } => Timeline::live(entries),
            Part::Past { .. } => Timeline::past(entries),
        };
        if timeline.is_empty() {
            return Err(self.nothing());
        }
        Ok(match self.token.part {
            Part::Live { .. } => playlist::live(&timeline, u64::from(self.token.target_duration_seconds)),
            Part::Past { .. } => playlist::past(&timeline),
        })
    }

    async fn init(&self, fingerprint: u64) -> Result<Bytes, Problem> {
        if let Some(rendition) = self.state.0.renditions.find(self.stream.id, fingerprint) {
            return Ok(rendition.init);
        }
        Ok(self.rendition(&self.fragments().await?, fingerprint).await?.init)
    }

    async fn segment(&self, number: FragmentNumber) -> Result<Bytes, Problem> {
        let fragment = self.state.library().fragment(&self.stream, number, self.now).await?;
        let fragment = fragment.filter(|fragment| self.covers(&fragment.entry)).ok_or(Problem::SegmentGone)?;
        // A segment is as large as its fragment, but for a percent of other boxes.
        let room = self.state.0.outgoing.room(fragment.bytes).await;
        Ok(room.hold(self.find_or_build(&fragment).await?))
    }

    async fn find_or_build(&self, fragment: &Fragment) -> Result<Bytes, Problem> {
        let key = (self.stream.id, fragment.entry.number);
        if let Some(segment) = self.state.0.segments.find(key, self.state.opened_now()) {
            return Ok(segment);
        }
        // Whoever waited for a place may find that another request has built the segment meanwhile.
        let _place = self.state.0.building.acquire().await.expect("the semaphore is never closed");
        let opened = self.state.opened_now();
        if let Some(segment) = self.state.0.segments.find(key, opened) {
            return Ok(segment);
        }
        let stored = self.state.library().read(&self.stream, fragment).await?;
        let segment = build(&fragment.entry, stored).await?;
        self.state.0.segments.insert(key, segment.clone(), opened);
        Ok(segment)
    }

    /// What the fragments with these tracks are coded as, by the first of them that can be read.
    async fn rendition(&self, fragments: &[Fragment], fingerprint: u64) -> Result<Rendition, Problem> {
        let renditions = &self.state.0.renditions;
        if let Some(rendition) = renditions.find(self.stream.id, fingerprint) {
            return Ok(rendition);
        }
        let (mut found, mut missing) = (None, Problem::SegmentGone);
        for fragment in fragments {
            if fragment.entry.tracks_fingerprint != fingerprint {
                continue;
            }
            missing = Problem::Damaged;
            if fragment.entry.gap {
                continue;
            }
            match self.state.library().read(&self.stream, fragment).await {
                Err(Problem::Damaged) => {}
                stored => {
                    found = Some((fragment.entry.number, stored?));
                    break;
                }
            }
        }
        let (number, stored) = found.ok_or(missing)?;
        let document = mkv::document(stored).map_err(|error| unplayable(number, &error))?;
        let rendition = Rendition::new(&document.tracks).map_err(|error| unplayable(number, &error))?;
        renditions.insert(self.stream.id, fingerprint, rendition.clone());
        Ok(rendition)
    }

    async fn fragments(&self) -> Result<Vec<Fragment>, Problem> {
        match self.token.part {
            Part::Live { .. } => self.state.library().live(&self.stream, self.now).await,
            Part::Past { start, end } => self.state.library().past(&self.stream, start, end, self.now).await,
        }
    }

    /// Whether the token allows this fragment.
    fn covers(&self, entry: &Entry) -> bool {
        match self.token.part {
            Part::Live { first } => entry.live.is_some() && entry.number >= first,
            Part::Past { start, end } => entry.start < end && (entry.end() > start || entry.start >= start),
        }
    }

    fn nothing(&self) -> Problem {
        Problem::NothingToPlay(format!("nothing to play: what was stored of \"{}\" has expired", self.stream.name))
    }
}

/// Builds a segment away from the tasks that serve other requests: it copies megabytes.
async fn build(entry: &Entry, stored: Bytes) -> Result<Bytes, Problem> {
    let (number, start, duration, sequence) = (entry.number, entry.start, entry.duration, entry.id.sequence);
    let build = move || {
        let document = mkv::document(stored).map_err(|error| unplayable(number, &error))?;
        let origin = document.start.or(document.units.first().map(|unit| unit.pts)).unwrap_or_default();
        let placement = Placement { origin, start, duration, sequence_number: sequence.0.wrapping_add(1) };
        hls::cmaf::segment(&document.tracks, &document.units, placement).map_err(|error| unplayable(number, &error))
    };
    tokio::task::spawn_blocking(build).await.map_err(|error| Problem::Storage(error.to_string()))?
}

fn unplayable(number: FragmentNumber, error: &dyn std::error::Error) -> Problem {
    Problem::Unplayable { number, reason: error.to_string() }
}
