//! Playlists, manifests and segments of sessions. The token is all that is asked for, and pages of any origin may read.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State as Extract};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use fragment::{FragmentNumber, TrackKind, TrackNumber, WallTime};
use hls::session::manifest::{self, Manifest, Shape};
use hls::session::playlist::{self, Media, Variant};
use hls::session::{Resource, Stop};
use serde::Deserialize;

use super::itineraries::Progress;
use super::token::{Protocol, Session};
use crate::http::error::Problem;
use crate::http::library::{Fragment, Stream};
use crate::http::playback::{ANY_ORIGIN, BANDWIDTH_MARGIN_PERCENT, Caching, MP4, PLAYLIST, reply};
use crate::http::rendition::Rendition;
use crate::http::segments::{Form, track_of, unplayable};
use crate::http::{State, now};
use crate::kinesis_video::fragment_number;

const MANIFEST: &str = "application/dash+xml";
const TRANSPORT_STREAM: &str = "video/mp2t";

/// What the query of an address may say.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Asked {
    session_token: String,
    track_number: Option<u64>,
    /// Of HLS as in ListFragments, of DASH counted from 1.
    fragment_number: Option<String>,
    sequence_number: Option<u64>,
}

/// `GET /hls/v1/{file}`
pub(super) async fn hls(
    state: Extract<State>,
    file: Path<String>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Response {
    serve(state, file, asked, &[Protocol::HlsMp4, Protocol::HlsTs]).await
}

/// `GET /dash/v1/{file}`
pub(super) async fn dash(
    state: Extract<State>,
    file: Path<String>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Response {
    serve(state, file, asked, &[Protocol::Dash]).await
}

async fn serve(
    Extract(state): Extract<State>,
    Path(file): Path<String>,
    asked: Result<Query<Asked>, QueryRejection>,
    protocols: &[Protocol],
) -> Response {
    let answer = async {
        let Query(asked) = asked.map_err(|rejection| Problem::BadRequest(rejection.body_text()))?;
        let now = now();
        let session = Session::open(&asked.session_token, state.sealer(), now)?;
        if !protocols.contains(&session.protocol) {
            return Err(Problem::NotFound);
        }
        let stream = state.library().stream(session.stream)?;
        Playback { state: &state, session, stream, now, asked }.answer(&file).await
    };
    ([ANY_ORIGIN], answer.await).into_response()
}

/// One request for a session that was found good.
struct Playback<'a> {
    state: &'a State,
    session: Session,
    stream: Stream,
    now: WallTime,
    asked: Asked,
}

impl Playback<'_> {
    async fn answer(&self, file: &str) -> Result<Response, Problem> {
        const MASTER: Resource<'_> = Resource::Master;
        let (mp4, ts) = (Resource::Mp4 { fragment: "", track: 0 }, Resource::Ts { fragment: "" });
        let init = Resource::Init { track: 0, codings: 0 };
        let is = |resource: &Resource<'_>| file == resource.file();
        match self.session.protocol {
            Protocol::HlsMp4 | Protocol::HlsTs if is(&MASTER) => {
                Ok(reply(PLAYLIST, Caching::Never, self.master().await?.into()))
            }
            Protocol::HlsMp4 | Protocol::HlsTs if is(&Resource::Media(None)) => {
                Ok(reply(PLAYLIST, Caching::Never, self.media().await?.into()))
            }
            Protocol::HlsTs if is(&ts) => Ok(reply(TRANSPORT_STREAM, Caching::Forever, self.hls_segment().await?)),
            Protocol::HlsMp4 if is(&mp4) => Ok(reply(MP4, Caching::Forever, self.hls_segment().await?)),
            Protocol::Dash if is(&Resource::Manifest) => {
                Ok(reply(MANIFEST, Caching::Never, self.manifest().await?.into()))
            }
            Protocol::Dash if is(&mp4) => Ok(reply(MP4, Caching::Forever, self.dash_segment().await?)),
            Protocol::HlsMp4 | Protocol::Dash if is(&init) => Ok(reply(MP4, Caching::Forever, self.init().await?)),
            _ => Err(Problem::NotFound),
        }
    }

    async fn master(&self) -> Result<String, Problem> {
        let (rendition, peak) = self.beginning().await?;
        let (video, audio) = (track(&rendition, TrackKind::Video), track(&rendition, TrackKind::Audio));
        let is_mp4 = self.session.protocol == Protocol::HlsMp4;
        let variant = Variant {
            bandwidth: peak,
            track: video.or(audio).filter(|_| is_mp4).map(TrackNumber::get),
            audio: audio.filter(|_| is_mp4 && video.is_some()).map(TrackNumber::get),
            codecs: rendition.codecs,
            resolution: rendition.resolution,
            frame_rate: rendition.frame_rate,
        };
        Ok(playlist::master(&variant, &self.asked.session_token))
    }

    async fn media(&self) -> Result<String, Problem> {
        let track = match self.session.protocol {
            Protocol::HlsTs => None,
            Protocol::HlsMp4 | Protocol::Dash => Some(self.track()?.get()),
        };
        let progress = self.progress().await?;
        let progress = locked(&progress);
        let shown = progress.itinerary.shown(self.now).ok_or_else(|| self.nothing())?;
        let media = Media {
            shown: &shown,
            track,
            token: &self.asked.session_token,
            target_duration_seconds: self.session.target_duration_seconds.into(),
            is_dated: self.session.is_dated,
            number: &fragment_number::format,
        };
        Ok(media.text())
    }

    async fn manifest(&self) -> Result<String, Problem> {
        let (rendition, peak) = self.beginning().await?;
        let audio_peak =
            rendition.audio_bits_per_second + rendition.audio_bits_per_second * BANDWIDTH_MARGIN_PERCENT / 100;
        let describe = |kind| {
            let track = track_of(&rendition.tracks, kind)?;
            let (shape, bandwidth) = match (&track.codec, rendition.resolution) {
                (fragment::Codec::Aac(config), _) => (Shape::Audio(config.sampling_frequency()), audio_peak),
                (_, Some((width, height))) => (Shape::Video(width, height), peak),
                (_, None) => return None,
            };
            Some(manifest::Track { number: track.number.get(), codec: track.codec.rfc6381()?, bandwidth, shape })
        };
        let tracks: Vec<_> = [TrackKind::Video, TrackKind::Audio].into_iter().filter_map(describe).collect();
        let progress = self.progress().await?;
        let progress = locked(&progress);
        let shown = progress.itinerary.shown(self.now).ok_or_else(|| self.nothing())?;
        let number: &dyn Fn(FragmentNumber) -> String = &fragment_number::format;
        let manifest = Manifest {
            itinerary: &progress.itinerary,
            shown: &shown,
            tracks: &tracks,
            token: &self.asked.session_token,
            now: self.now,
            is_dated: self.session.is_dated,
            number: self.session.is_numbered.then_some(number),
        };
        Ok(manifest.text())
    }

    /// The initialisation segment of a track, after so many changes.
    async fn init(&self) -> Result<Bytes, Problem> {
        let (track, codings) = (self.track()?, self.asked.sequence_number.unwrap_or(0));
        let stops: Vec<Stop> = {
            let progress = self.progress().await?;
            let progress = locked(&progress);
            progress.itinerary.coded(codings).cloned().collect()
        };
        let first = stops.first().ok_or(Problem::SegmentGone)?;
        let rendition = self.rendition(first.entry.tracks_fingerprint, &stops).await?;
        let init = rendition.init_of(track).ok_or_else(|| no_track(track))?;
        init.map_err(|error| unplayable(first.entry.number, &error))
    }

    async fn hls_segment(&self) -> Result<Bytes, Problem> {
        let number = self.asked.fragment_number.as_deref().ok_or_else(|| missing("FragmentNumber"))?;
        let number = fragment_number::parse(number).ok_or(Problem::SegmentGone)?;
        let form = match self.session.protocol {
            Protocol::HlsTs => Form::TransportStream,
            Protocol::HlsMp4 | Protocol::Dash => Form::Track(self.track()?),
        };
        let stored = self.state.library().stored(&self.stream, number, self.now).await?;
        let stored = stored.filter(|stored| self.session.has(stored)).ok_or(Problem::SegmentGone)?;
        let start = self.session.clock.of(&stored);
        self.state.segment(&self.stream, &Fragment::from(stored), form, start).await
    }

    /// A segment by its place in the session, in the session's own time.
    async fn dash_segment(&self) -> Result<Bytes, Problem> {
        let number = self.asked.fragment_number.as_deref().ok_or_else(|| missing("FragmentNumber"))?;
        let index = number.parse::<u64>().ok().and_then(|number| number.checked_sub(1)).ok_or(Problem::SegmentGone)?;
        let (number, start) = {
            let progress = self.progress().await?;
            let progress = locked(&progress);
            let stop = progress.itinerary.find(index, self.now).ok_or(Problem::SegmentGone)?;
            (stop.entry.number, manifest::placed(&progress.itinerary, stop))
        };
        let fragment = self.state.library().fragment(&self.stream, number, self.now).await?;
        let fragment = fragment.ok_or(Problem::SegmentGone)?;
        self.state.segment(&self.stream, &fragment, Form::Track(self.track()?), start).await
    }

    /// How the first fragment that is shown is presented, and the peak rate of all that are.
    async fn beginning(&self) -> Result<(Rendition, u64), Problem> {
        let stops: Vec<Stop> = {
            let progress = self.progress().await?;
            let progress = locked(&progress);
            let shown = progress.itinerary.shown(self.now).ok_or_else(|| self.nothing())?;
            shown.stops.into_iter().cloned().collect()
        };
        let peak = stops.iter().map(|stop| stop.bits_per_second).max().unwrap_or(0);
        let rendition = self.rendition(stops[0].entry.tracks_fingerprint, &stops).await?;
        Ok((rendition, peak + peak * BANDWIDTH_MARGIN_PERCENT / 100))
    }

    async fn rendition(&self, fingerprint: u64, stops: &[Stop]) -> Result<Rendition, Problem> {
        let coded_so = stops.iter().filter(|stop| stop.entry.tracks_fingerprint == fingerprint);
        let candidates = coded_so.map(|stop| (stop.entry.number, stop.entry.duration));
        self.state.rendition(&self.stream, fingerprint, candidates).await
    }

    async fn progress(&self) -> Result<Arc<Mutex<Progress>>, Problem> {
        self.state.progress(&self.session, self.now).await
    }

    fn track(&self) -> Result<TrackNumber, Problem> {
        let number = self.asked.track_number.ok_or_else(|| missing("TrackNumber"))?;
        TrackNumber::new(number).ok_or(Problem::SegmentGone)
    }

    fn nothing(&self) -> Problem {
        Problem::NothingToPlay(format!("nothing to play: what was stored of \"{}\" has expired", self.stream.name))
    }
}

impl State {
    /// A session's itinerary, with all that has come by now.
    pub(super) async fn progress(&self, session: &Session, now: WallTime) -> Result<Arc<Mutex<Progress>>, Problem> {
        // What is fixed only when the first fragments are known makes no other session of it.
        let session = Session { target_duration_seconds: 0, ..*session };
        let progress = self.0.itineraries.find(&session);
        let (advancing, library) = (progress.clone(), self.library().clone());
        let advance = move |archive: &archive::Archive| {
            let mut progress = locked(&advancing);
            progress.advance(archive, &session, now)?;
            progress.itinerary.mark_gaps(|number| library.knows_damage(session.stream, number));
            Ok::<usize, archive::QueryError>(progress.itinerary.held())
        };
        let held = self.library().ask(advance).await?;
        self.0.itineraries.note(&session, held);
        Ok(progress)
    }
}

/// Whoever panicked has left it at some fragment; it goes on from there.
fn locked(progress: &Mutex<Progress>) -> MutexGuard<'_, Progress> {
    progress.lock().unwrap_or_else(PoisonError::into_inner)
}

fn track(rendition: &Rendition, kind: TrackKind) -> Option<TrackNumber> {
    track_of(&rendition.tracks, kind).map(|track| track.number)
}

fn missing(member: &str) -> Problem {
    Problem::BadRequest(format!("{member} is missing"))
}

fn no_track(track: TrackNumber) -> Problem {
    Problem::BadRequest(format!("there is no track {track}"))
}
