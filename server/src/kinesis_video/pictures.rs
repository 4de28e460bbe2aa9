//! What the operations about pictures are asked in common: whose clock, and in which form.

use super::members::Members;
use super::refusal::Refusal;
use super::rules;
use crate::pictures::Format;
use serde::{Deserialize, Serialize};

/// Whose time counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Clock {
    #[serde(rename = "PRODUCER_TIMESTAMP")]
    Producer,
    #[serde(rename = "SERVER_TIMESTAMP")]
    Server,
}

/// The quality where none is told, as at AWS.
const QUALITY_DEFAULT: u8 = 80;

/// The `ImageSelectorType`.
pub(super) fn read_clock(members: &Members<'_>) -> Result<Option<Clock>, Refusal> {
    members.choice("ImageSelectorType", &[("PRODUCER_TIMESTAMP", Clock::Producer), ("SERVER_TIMESTAMP", Clock::Server)])
}

/// `Format`, with what `FormatConfig` says of it.
pub(super) fn read_format(members: &Members<'_>) -> Result<Format, Refusal> {
    let jpeg = Format::Jpeg { quality: read_quality(members)?.unwrap_or(QUALITY_DEFAULT) };
    members.required("Format", members.choice("Format", &[("JPEG", jpeg), ("PNG", Format::Png)])?)
}

fn read_quality(members: &Members<'_>) -> Result<Option<u8>, Refusal> {
    let Some(config) = members.map("FormatConfig", &rules::FORMAT_CONFIG_KEY, &rules::FORMAT_CONFIG_VALUE)? else {
        return Ok(None);
    };
    let quality = config.get("JPEGQuality").map(|text| text.parse().ok().filter(|quality| (1..=100).contains(quality)));
    match quality {
        Some(None) => {
            Err(Refusal::InvalidArgument("formatConfig.JPEGQuality must be a number from 1 to 100".to_owned()))
        }
        quality => Ok(quality.flatten()),
    }
}
