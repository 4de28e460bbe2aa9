//! DescribeImageGenerationConfiguration and UpdateImageGenerationConfiguration: of which fragments pictures are made by themselves,
//! and where they go.

use std::time::Duration;

use fragment::StreamName;
use serde::{Deserialize, Serialize};

use crate::access_keys::Access;
use crate::kinesis_video::members::Members;
use crate::kinesis_video::operation::{Call, Done, Operation};
use crate::kinesis_video::pictures::{Clock, read_clock, read_format};
use crate::kinesis_video::refusal::Refusal;
use crate::kinesis_video::rules;
use crate::kinesis_video::streams::StreamReference;
use crate::limits;
use crate::pictures::{Format, Size};

/// What is kept of it with the stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::kinesis_video) struct ImageGeneration {
    pub(in crate::kinesis_video) is_enabled: bool,
    pub(in crate::kinesis_video) clock: Clock,
    pub(in crate::kinesis_video) uri: String,
    pub(in crate::kinesis_video) region: String,
    pub(in crate::kinesis_video) interval_ms: u32,
    pub(in crate::kinesis_video) format: Format,
    pub(in crate::kinesis_video) size: Size,
}

impl ImageGeneration {
    /// Between two pictures.
    pub(in crate::kinesis_video) fn interval(&self) -> Duration {
        Duration::from_millis(self.interval_ms.into())
    }

    fn read(members: &Members<'_>) -> Result<Self, Refusal> {
        let destination = members.required("DestinationConfig", members.structure("DestinationConfig")?)?;
        let uri = destination.text("Uri", &rules::DESTINATION_URI)?;
        let region = destination.text("DestinationRegion", &rules::DESTINATION_REGION)?;
        let uri = destination.required("Uri", uri)?;
        let is_folder = uri.strip_prefix("folder://").is_some_and(|name| name.parse::<StreamName>().is_ok());
        if !uri.starts_with("s3://") && !is_folder {
            let why = "destinationConfig.uri must be s3://bucket, or folder:// and a name of letters, digits, '_', '.' and '-'";
            return Err(Refusal::InvalidArgument(why.to_owned()));
        }
        let interval = members.integer("SamplingInterval", limits::IMAGES_INTERVAL_MIN_MS..=i32::MAX as u32)?;
        Ok(Self {
            is_enabled: read_status(members)?,
            clock: members.required("ImageSelectorType", read_clock(members)?)?,
            uri: uri.to_owned(),
            region: destination.required("DestinationRegion", region)?.to_owned(),
            interval_ms: members.required("SamplingInterval", interval)?,
            format: read_format(members)?,
            size: Size {
                width: members.integer("WidthPixels", 1..=3840)?,
                height: members.integer("HeightPixels", 1..=2160)?,
            },
        })
    }
}

/// `Status`, which both configurations have.
pub(super) fn read_status(members: &Members<'_>) -> Result<bool, Refusal> {
    members.required("Status", members.choice("Status", &[("ENABLED", true), ("DISABLED", false)])?)
}

/// The same as it is told.
pub(super) fn status(is_enabled: bool) -> &'static str {
    if is_enabled { "ENABLED" } else { "DISABLED" }
}

pub(super) struct DescribeImageGenerationConfiguration(StreamReference);

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Described {
    #[serde(skip_serializing_if = "Option::is_none")]
    image_generation_configuration: Option<Configuration>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Configuration {
    status: &'static str,
    image_selector_type: Clock,
    destination_config: DestinationConfig,
    sampling_interval: u32,
    format: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    format_config: Option<FormatConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    width_pixels: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    height_pixels: Option<u32>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DestinationConfig {
    uri: String,
    destination_region: String,
}

#[derive(Serialize)]
struct FormatConfig {
    #[serde(rename = "JPEGQuality")]
    quality: String,
}

impl From<ImageGeneration> for Configuration {
    fn from(kept: ImageGeneration) -> Self {
        let (format, quality) = match kept.format {
            Format::Jpeg { quality } => ("JPEG", Some(quality)),
            Format::Png => ("PNG", None),
        };
        Self {
            status: status(kept.is_enabled),
            image_selector_type: kept.clock,
            destination_config: DestinationConfig { uri: kept.uri, destination_region: kept.region },
            sampling_interval: kept.interval_ms,
            format,
            format_config: quality.map(|quality| FormatConfig { quality: quality.to_string() }),
            width_pixels: kept.size.width,
            height_pixels: kept.size.height,
        }
    }
}

impl Operation for DescribeImageGenerationConfiguration {
    const NAME: &'static str = "DescribeImageGenerationConfiguration";
    const PATH: &'static str = "/describeImageGenerationConfiguration";
    const ACCESS: Access = Access::Manage;
    type Answer = Described;

    fn read(members: &Members<'_>) -> Result<Self, Refusal> {
        StreamReference::read(members).map(Self)
    }

    async fn carry_out(self, call: Call) -> Result<Described, Refusal> {
        call.blocking(move |call| {
            let kept = call.attributes(&call.find(&self.0)?)?.image_generation;
            Ok(Described { image_generation_configuration: kept.map(Configuration::from) })
        })
        .await
    }
}

/// `None` takes it away.
pub(super) struct UpdateImageGenerationConfiguration {
    stream: StreamReference,
    wanted: Option<ImageGeneration>,
}

impl Operation for UpdateImageGenerationConfiguration {
    const NAME: &'static str = "UpdateImageGenerationConfiguration";
    const PATH: &'static str = "/updateImageGenerationConfiguration";
    const ACCESS: Access = Access::Manage;
    type Answer = Done;

    fn read(members: &Members<'_>) -> Result<Self, Refusal> {
        let wanted = members.structure("ImageGenerationConfiguration")?;
        Ok(Self {
            stream: StreamReference::read(members)?,
            wanted: wanted.as_ref().map(ImageGeneration::read).transpose()?,
        })
    }

    async fn carry_out(self, call: Call) -> Result<Done, Refusal> {
        call.blocking(move |call| {
            call.find_retained(&self.stream)?;
            let is_folder = self.wanted.as_ref().is_some_and(|wanted| wanted.uri.starts_with("folder://"));
            if is_folder && !call.service.deliveries.has_folder() {
                let why =
                    "destinationConfig.uri: this server has no folders for images; its operator gives them by --images";
                return Err(Refusal::InvalidArgument(why.to_owned()));
            }
            call.change(&self.stream, None, |stream, mut attributes| {
                attributes.image_generation.clone_from(&self.wanted);
                Ok((stream.retention, attributes))
            })?;
            Ok(Done {})
        })
        .await
    }
}
