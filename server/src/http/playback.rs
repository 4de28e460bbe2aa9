//! HLS: `/hls/{token}/{file}`. The token says what may be played; the folder's files are playlists and
//! segments.
//!
//! A segment never changes, so caches may keep it for ever; a live playlist is new with each
//! fragment. Players on other sites may read everything here: who has the token may play.

use axum::extract::{Path, State as Extract};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use fragment::{FragmentNumber, WallTime};
use hls::playlist::{self, File, Variant};
use hls::timeline::{Entry, Timeline};

use super::error::Problem;
use super::library::{Fragment, Stream};
use super::rendition::Rendition;
use super::segments::Form;
use super::token::{Part, Token};
use super::{State, now};

pub(super) const PLAYLIST: &str = "application/vnd.apple.mpegurl";
pub(super) const MP4: &str = "video/mp4";
pub(super) const ANY_ORIGIN: (HeaderName, &str) = (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*");

/// Peak over mean: what a variant's BANDWIDTH adds to the largest segment for the protocol around it.
pub(super) const BANDWIDTH_MARGIN_PERCENT: u64 = 10;

/// How long caches may keep a file.
#[derive(Clone, Copy)]
pub(super) enum Caching {
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

pub(super) fn reply(content_type: &'static str, caching: Caching, body: Bytes) -> Response {
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
        self.state.segment(&self.stream, &fragment, Form::Whole, fragment.entry.start).await
    }

    /// What the fragments with these tracks are coded as.
    async fn rendition(&self, fragments: &[Fragment], fingerprint: u64) -> Result<Rendition, Problem> {
        let coded_so = fragments.iter().filter(|fragment| fragment.entry.tracks_fingerprint == fingerprint);
        let candidates = coded_so.map(|fragment| (fragment.entry.number, fragment.entry.duration));
        self.state.rendition(&self.stream, fingerprint, candidates).await
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
