//! GetHLSStreamingSessionURL.

use hls::session::Discontinuities;
use serde::Serialize;

use super::session::{Names, SessionRequest};
use crate::access_keys::Access;
use crate::http::sessions::{Clock, Protocol, Wanted};
use crate::kinesis_video::members::Members;
use crate::kinesis_video::operation::{Call, Operation};
use crate::kinesis_video::refusal::Refusal;

const NAMES: Names = Names { selector: "HLSFragmentSelector", results_max: "MaxMediaPlaylistFragmentResults" };

const FORMATS: [(&str, Protocol); 2] = [("FRAGMENTED_MP4", Protocol::HlsMp4), ("MPEG_TS", Protocol::HlsTs)];

const DISCONTINUITIES: [(&str, Discontinuities); 3] = [
    ("ALWAYS", Discontinuities::Always),
    ("NEVER", Discontinuities::Never),
    ("ON_DISCONTINUITY", Discontinuities::Found),
];

pub(super) struct GetHlsStreamingSessionUrl(SessionRequest);

#[derive(Serialize)]
pub(super) struct Answer {
    #[serde(rename = "HLSStreamingSessionURL")]
    url: String,
}

impl Operation for GetHlsStreamingSessionUrl {
    const NAME: &'static str = "GetHLSStreamingSessionURL";
    const PATH: &'static str = "/getHLSStreamingSessionURL";
    const ACCESS: Access = Access::Watch;
    type Answer = Answer;

    fn read(members: &Members<'_>) -> Result<Self, Refusal> {
        let protocol = members.choice("ContainerFormat", &FORMATS)?.unwrap_or(Protocol::HlsMp4);
        let discontinuities = members.choice("DiscontinuityMode", &DISCONTINUITIES)?;
        let request = SessionRequest::read(members, protocol, &NAMES)?;
        Ok(Self(request.with(|wanted| {
            // Fragments that arrive over a network never lie end to end.
            let usual = match wanted.clock {
                Clock::Server => Discontinuities::Always,
                Clock::Producer => Discontinuities::Never,
            };
            Wanted { discontinuities: discontinuities.unwrap_or(usual), ..wanted }
        })))
    }

    async fn carry_out(self, call: Call) -> Result<Answer, Refusal> {
        Ok(Answer { url: self.0.open(call).await? })
    }
}
