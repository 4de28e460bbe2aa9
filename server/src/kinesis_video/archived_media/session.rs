//! What both kinds of sessions are asked: a stream, which of its fragments, and for how long.

use std::time::Duration;

use hls::session::Discontinuities;

use crate::http::sessions::{Clock, OpenError, Protocol, Wanted, WantedMode};
use crate::kinesis_video::members::Members;
use crate::kinesis_video::operation::Call;
use crate::kinesis_video::refusal::Refusal;
use crate::kinesis_video::selector;
use crate::kinesis_video::streams::StreamReference;
use crate::{limits, storage};

/// How the words of a protocol are called in requests.
pub(super) struct Names {
    pub(super) selector: &'static str,
    pub(super) results_max: &'static str,
}

/// A session as it is asked for.
pub(super) struct SessionRequest {
    stream: StreamReference,
    wanted: Wanted,
}

#[derive(Clone, Copy)]
enum PlaybackMode {
    Live,
    LiveReplay,
    OnDemand,
}

const MODES: [(&str, PlaybackMode); 3] =
    [("LIVE", PlaybackMode::Live), ("LIVE_REPLAY", PlaybackMode::LiveReplay), ("ON_DEMAND", PlaybackMode::OnDemand)];

const CLOCKS: [(&str, Clock); 2] = [("PRODUCER_TIMESTAMP", Clock::Producer), ("SERVER_TIMESTAMP", Clock::Server)];

/// Whether something is displayed.
pub(super) const DISPLAYS: [(&str, bool); 2] = [("ALWAYS", true), ("NEVER", false)];

impl SessionRequest {
    /// Reads what both protocols have. Of the rest there is what is asked for least.
    pub(super) fn read(members: &Members<'_>, protocol: Protocol, names: &Names) -> Result<Self, Refusal> {
        let stream = StreamReference::read(members)?;
        let playback = members.choice("PlaybackMode", &MODES)?.unwrap_or(PlaybackMode::Live);
        let selector = members.structure(names.selector)?;
        let clock = match &selector {
            Some(selector) => selector.choice("FragmentSelectorType", &CLOCKS)?,
            None => None,
        };
        let range = match &selector {
            Some(selector) => selector.structure("TimestampRange")?,
            None => None,
        };
        let mode = match (playback, range) {
            (PlaybackMode::Live, None) => WantedMode::Live,
            (PlaybackMode::Live, Some(_)) => {
                let selector = names.selector;
                return Err(invalid(format!("{selector}.TimestampRange must not be there when PlaybackMode is LIVE")));
            }
            (playback, range) => {
                let selector = members.required(names.selector, selector)?;
                read_range(&selector.required("TimestampRange", range)?, playback)?
            }
        };
        let default_results = match playback {
            PlaybackMode::Live | PlaybackMode::LiveReplay => limits::SESSION_LIVE_RESULTS,
            PlaybackMode::OnDemand => limits::SESSION_ON_DEMAND_RESULTS,
        };
        let results_max =
            members.integer(names.results_max, 1..=limits::SESSION_RESULTS_MAX)?.unwrap_or(default_results);
        let shortest = limits::SESSION_EXPIRY_MIN;
        let expires = members.integer("Expires", shortest..=limits::SESSION_EXPIRY_MAX)?.unwrap_or(shortest);
        let is_dated = members.choice("DisplayFragmentTimestamp", &DISPLAYS)?.unwrap_or(false);
        let wanted = Wanted {
            protocol,
            mode,
            clock: clock.unwrap_or(Clock::Server),
            discontinuities: Discontinuities::Never,
            is_dated,
            is_numbered: false,
            results_max: u16::try_from(results_max).expect("at most 5000"),
            expires: Duration::from_secs(expires.into()),
        };
        Ok(Self { stream, wanted })
    }

    /// The same with what only one of the protocols has.
    pub(super) fn with(self, more: impl FnOnce(Wanted) -> Wanted) -> Self {
        Self { wanted: more(self.wanted), ..self }
    }

    /// Opens the session; gives its address.
    pub(super) async fn open(self, call: Call) -> Result<String, Refusal> {
        let Self { stream, wanted } = self;
        let now = storage::now();
        if let (Clock::Server, WantedMode::Replay { end: Some(end), .. } | WantedMode::OnDemand { end, .. }) =
            (wanted.clock, wanted.mode)
            && end > now + Duration::from_millis(1)
        {
            return Err(invalid("EndTimestamp must be in the past with SERVER_TIMESTAMP".to_owned()));
        }
        let service = call.service.clone();
        let stream = call.blocking(move |call| call.find(&stream)).await?;
        if stream.retention.time().is_zero() {
            return Err(Refusal::NoDataRetention);
        }
        let path = service.playback.open_session(stream, wanted, now).await?;
        Ok(format!("{}{path}", service.public_url))
    }
}

/// Both ends belong to the range, to the millisecond; what is kept has its end excluded.
fn read_range(range: &Members<'_>, playback: PlaybackMode) -> Result<WantedMode, Refusal> {
    let start = range.required("StartTimestamp", range.timestamp("StartTimestamp")?)?;
    let end = range.timestamp("EndTimestamp")?;
    if let Some(end) = end {
        if end <= start {
            return Err(invalid("EndTimestamp must be later than StartTimestamp".to_owned()));
        }
        if end.since(start) > limits::SESSION_RANGE_MAX {
            return Err(invalid("EndTimestamp must be within 24 hours of StartTimestamp".to_owned()));
        }
    }
    let (start, end) = (selector::first_millisecond(start), end.map(selector::behind_millisecond));
    match playback {
        PlaybackMode::OnDemand => Ok(WantedMode::OnDemand { start, end: range.required("EndTimestamp", end)? }),
        PlaybackMode::Live | PlaybackMode::LiveReplay => Ok(WantedMode::Replay { start, end }),
    }
}

fn invalid(why: String) -> Refusal {
    Refusal::InvalidArgument(why)
}

impl From<OpenError> for Refusal {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Nothing => Self::NotFound,
            OpenError::Unsupported(_) => Self::UnsupportedMediaType(error.to_string()),
            OpenError::InvalidPrivateData(_) => Self::InvalidCodecPrivateData(error.to_string()),
            OpenError::NotPlayable(why) => why.into(),
            OpenError::Problem(problem) => Self::Internal(problem.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const NAMES: Names = Names { selector: "HLSFragmentSelector", results_max: "MaxMediaPlaylistFragmentResults" };

    #[test]
    fn what_is_not_asked_for_is_as_at_aws() {
        let live = read(json!({})).unwrap().wanted;
        assert!(matches!(live.mode, WantedMode::Live));
        assert_eq!((live.clock, live.results_max, live.expires.as_secs()), (Clock::Server, 5, 300));
        assert!(!live.is_dated);
        let range = json!({ "StartTimestamp": 1_700_000_000, "EndTimestamp": 1_700_000_060 });
        for (mode, results) in [("LIVE_REPLAY", 5), ("ON_DEMAND", 1000)] {
            let asked = json!({ "PlaybackMode": mode, "HLSFragmentSelector": { "TimestampRange": range } });
            assert_eq!(read(asked).unwrap().wanted.results_max, results);
        }
    }

    #[test]
    fn both_ends_of_a_range_belong_to_it_to_the_millisecond() {
        let range = json!({ "StartTimestamp": 1_700_000_000.123_4, "EndTimestamp": 1_700_000_000.987_6 });
        let asked = json!({ "PlaybackMode": "ON_DEMAND", "HLSFragmentSelector": { "TimestampRange": range } });
        let WantedMode::OnDemand { start, end } = read(asked).unwrap().wanted.mode else { panic!("it is on demand") };
        assert_eq!((start.as_millis(), end.as_millis()), (1_700_000_000_124, 1_700_000_000_988));
    }

    #[test]
    fn what_breaks_a_rule_is_named() {
        let of = |mode: &str, start: Value, end: Value| {
            json!({
                "PlaybackMode": mode,
                "HLSFragmentSelector": { "TimestampRange": { "StartTimestamp": start, "EndTimestamp": end } },
            })
        };
        for (asked, said) in [
            (of("LIVE", json!(1), json!(2)), "TimestampRange must not be there when PlaybackMode is LIVE"),
            (of("ON_DEMAND", json!(2), json!(2)), "EndTimestamp must be later than StartTimestamp"),
            (of("ON_DEMAND", json!(1), json!(86_402)), "EndTimestamp must be within 24 hours"),
            (of("ON_DEMAND", json!(1), Value::Null), "hLSFragmentSelector.timestampRange.endTimestamp"),
            (of("LIVE_REPLAY", Value::Null, json!(1)), "hLSFragmentSelector.timestampRange.startTimestamp"),
            (json!({ "PlaybackMode": "LIVE_REPLAY" }), "hLSFragmentSelector"),
            (json!({ "PlaybackMode": "ON_DEMAND", "HLSFragmentSelector": {} }), "hLSFragmentSelector.timestampRange"),
            (json!({ "PlaybackMode": "PAST" }), "playbackMode"),
            (json!({ "Expires": 299 }), "expires"),
            (json!({ "Expires": 43_201 }), "expires"),
            (json!({ "MaxMediaPlaylistFragmentResults": 0 }), "maxMediaPlaylistFragmentResults"),
            (json!({ "MaxMediaPlaylistFragmentResults": 5001 }), "maxMediaPlaylistFragmentResults"),
            (json!({ "DisplayFragmentTimestamp": "SOMETIMES" }), "displayFragmentTimestamp"),
        ] {
            let refused = read(asked.clone()).err().map(|refusal| refusal.to_string()).unwrap_or_default();
            assert!(refused.contains(said), "{asked}: {refused}");
        }
        assert!(read(of("LIVE_REPLAY", json!(1), Value::Null)).is_ok(), "a replay may go on without an end");
    }

    fn read(mut asked: Value) -> Result<SessionRequest, Refusal> {
        asked["StreamName"] = json!("front");
        SessionRequest::read(&Members::new(asked.as_object().unwrap()), Protocol::HlsMp4, &NAMES)
    }
}
