//! From what is asked to the address of a session: what it would show has to be there, and has to be something that players play.

use std::time::Duration;

use fragment::mkv::{self, ErrorKind};
use fragment::{FragmentNumber, WallTime};
use hls::InitError;
use hls::session::playlist::target_duration_seconds;
use hls::session::{Discontinuities, Resource};

use super::token::{Clock, Mode, Protocol, Session};
use crate::http::error::Problem;
use crate::http::library::Stream;
use crate::http::rendition::Rendition;
use crate::http::{State, limits};
use crate::playable::{self, NotPlayable};

/// What is asked of a session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) protocol: Protocol,
    pub(crate) mode: WantedMode,
    pub(crate) clock: Clock,
    pub(crate) discontinuities: Discontinuities,
    pub(crate) is_dated: bool,
    pub(crate) is_numbered: bool,
    pub(crate) results_max: u16,
    pub(crate) expires: Duration,
}

/// Which fragments are asked for. Ends are excluded.
#[derive(Clone, Copy, Debug)]
pub(crate) enum WantedMode {
    Live,
    Replay { start: WallTime, end: Option<WallTime> },
    OnDemand { start: WallTime, end: WallTime },
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// There is nothing that it could show.
    #[error("no fragment is there to be played")]
    Nothing,
    /// The first fragment can't be played.
    #[error(transparent)]
    NotPlayable(#[from] NotPlayable),
    /// It is nothing that can be read as media.
    #[error("the first fragment can't be played: {0}")]
    Unsupported(String),
    /// A track of it says in a way that can't be read how it is to be decoded.
    #[error("the codec private data of the first fragment are not valid: {0}")]
    InvalidPrivateData(String),
    /// Anything else.
    #[error(transparent)]
    Problem(#[from] Problem),
}

impl State {
    /// Opens a session; gives its address, without the server's.
    pub(crate) async fn open_session(
        &self,
        stream: archive::Stream,
        wanted: Wanted,
        now: WallTime,
    ) -> Result<String, OpenError> {
        let stream = Stream::from(stream);
        let mode = match wanted.mode {
            WantedMode::Live => Mode::Live { first: self.first_live(&stream, wanted.results_max, now).await? },
            WantedMode::Replay { start, end } => Mode::Replay { start, end },
            WantedMode::OnDemand { start, end } => Mode::OnDemand { start, end },
        };
        let expiry = now + wanted.expires;
        let mut session = Session {
            stream: stream.id,
            opened: now,
            expiry_seconds: u64::try_from(expiry.as_millis() / 1000).unwrap_or(0),
            protocol: wanted.protocol,
            mode,
            clock: wanted.clock,
            discontinuities: wanted.discontinuities,
            is_dated: wanted.is_dated,
            is_numbered: wanted.is_numbered,
            results_max: wanted.results_max,
            target_duration_seconds: 0,
        };
        let progress = self.progress(&session, now).await?;
        let (fingerprint, candidates, longest) = {
            let progress = progress.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let shown = progress.itinerary.shown(now).ok_or(OpenError::Nothing)?;
            let fingerprint = shown.stops[0].entry.tracks_fingerprint;
            let coded_so = shown.stops.iter().filter(|stop| stop.entry.tracks_fingerprint == fingerprint);
            let candidates: Vec<_> = coded_so.map(|stop| (stop.entry.number, stop.entry.duration)).collect();
            (fingerprint, candidates, shown.stops.iter().map(|stop| stop.entry.duration).max().unwrap_or_default())
        };
        self.judge(&stream, fingerprint, &candidates).await?;
        session.target_duration_seconds = u16::try_from(target_duration_seconds(longest)).unwrap_or(u16::MAX);
        let token = session.seal(self.sealer());
        Ok(match wanted.protocol {
            Protocol::HlsMp4 | Protocol::HlsTs => format!("/hls/v1/{}", Resource::Master.address(&token)),
            Protocol::Dash => format!("/dash/v1/{}", Resource::Manifest.address(&token)),
        })
    }

    /// The first fragment of the live window, if the last of it has just arrived.
    async fn first_live(&self, stream: &Stream, results_max: u16, now: WallTime) -> Result<FragmentNumber, OpenError> {
        let id = stream.id;
        let newest = self.library().ask(move |archive| archive.latest_live(id, results_max.into(), now)).await?;
        let is_live = newest.last().is_some_and(|last| now.since(last.arrived) <= limits::SESSION_LIVE_WITHIN);
        newest.first().filter(|_| is_live).map(|first| first.number).ok_or(OpenError::Nothing)
    }

    /// Whether players can play what the session begins with.
    async fn judge(
        &self,
        stream: &Stream,
        fingerprint: u64,
        candidates: &[(FragmentNumber, Duration)],
    ) -> Result<(), OpenError> {
        if let Some(rendition) = self.0.renditions.find(stream.id, fingerprint) {
            return Ok(playable::check(&rendition.tracks)?);
        }
        for &(number, duration) in candidates {
            let stored = match self.library().read(stream, number).await {
                Err(Problem::Damaged) => continue,
                stored => stored?,
            };
            let document = mkv::document(stored).map_err(|error| match error.kind {
                ErrorKind::Codec { .. } => OpenError::InvalidPrivateData(error.to_string()),
                _ => OpenError::Unsupported(error.to_string()),
            })?;
            playable::check(&document.tracks)?;
            let rendition = Rendition::new(&document, duration).map_err(|error| match error {
                InitError::NothingPlayable => OpenError::Unsupported(error.to_string()),
                _ => OpenError::InvalidPrivateData(error.to_string()),
            })?;
            self.0.renditions.insert(stream.id, fingerprint, rendition);
            return Ok(());
        }
        Err(Problem::Damaged.into())
    }
}
