//! GetDASHStreamingSessionURL.

use serde::Serialize;

use super::session::{DISPLAYS, Names, SessionRequest};
use crate::access_keys::Access;
use crate::http::sessions::{Protocol, Wanted};
use crate::kinesis_video::members::Members;
use crate::kinesis_video::operation::{Call, Operation};
use crate::kinesis_video::refusal::Refusal;

const NAMES: Names = Names { selector: "DASHFragmentSelector", results_max: "MaxManifestFragmentResults" };

pub(super) struct GetDashStreamingSessionUrl(SessionRequest);

#[derive(Serialize)]
pub(super) struct Answer {
    #[serde(rename = "DASHStreamingSessionURL")]
    url: String,
}

impl Operation for GetDashStreamingSessionUrl {
    const NAME: &'static str = "GetDASHStreamingSessionURL";
    const PATH: &'static str = "/getDASHStreamingSessionURL";
    const ACCESS: Access = Access::Watch;
    type Answer = Answer;

    fn read(members: &Members<'_>) -> Result<Self, Refusal> {
        let is_numbered = members.choice("DisplayFragmentNumber", &DISPLAYS)?.unwrap_or(false);
        let request = SessionRequest::read(members, Protocol::Dash, &NAMES)?;
        Ok(Self(request.with(|wanted| Wanted { is_numbered, ..wanted })))
    }

    async fn carry_out(self, call: Call) -> Result<Answer, Refusal> {
        Ok(Answer { url: self.0.open(call).await? })
    }
}
