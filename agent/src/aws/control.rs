//! Finds a stream at AWS, makes it where it is missing, and asks where its video goes.

use aws_config::SdkConfig;
use aws_credential_types::Credentials;
use aws_sdk_kinesisvideo::Client;
use aws_sdk_kinesisvideo::config::Builder;
use aws_sdk_kinesisvideo::config::http::HttpResponse;
use aws_sdk_kinesisvideo::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kinesisvideo::types::{ApiName, Status, StreamInfo};

use super::error::OpenError;
use super::keys::chain;
use super::limits;
use super::time::ServerClock;
use crate::config::Aws;

/// A stream that video can be sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Scheme and host.
    pub(super) endpoint: String,
    /// Whether what is sent is kept.
    pub(super) keeps: bool,
}

/// The control plane, with credentials.
pub(super) struct Control<'a> {
    client: Client,
    aws: &'a Aws,
    clock: &'a ServerClock,
}

impl<'a> Control<'a> {
    pub(super) fn new(sdk: &SdkConfig, aws: &'a Aws, clock: &'a ServerClock, credentials: Credentials) -> Self {
        let mut config = Builder::from(sdk).credentials_provider(credentials);
        if let Some(endpoint) = &aws.endpoint {
            config = config.endpoint_url(endpoint);
        }
        Self { client: Client::from_conf(config.build()), aws, clock }
    }

    /// Where the video of the stream goes.
    pub(super) async fn place(&self, stream: &str) -> Result<Place, OpenError> {
        let info = match self.describe(stream).await? {
            Some(info) => info,
            None => self.create(stream).await?,
        };
        const OPERATION: &str = "GetDataEndpoint";
        let asked = self.client.get_data_endpoint().stream_name(stream).api_name(ApiName::PutMedia).send().await;
        let answer = asked.map_err(|error| self.explain(OPERATION, stream, &error))?;
        let endpoint = answer
            .data_endpoint
            .ok_or_else(|| OpenError::Answer { operation: OPERATION, why: "it names no endpoint".to_owned() })?;
        let keeps = info.data_retention_in_hours.unwrap_or(0) > 0;
        Ok(Place { endpoint: endpoint.trim_end_matches('/').to_owned(), keeps })
    }

    /// The stream, once it can be used; `None` if there is none.
    pub(super) async fn describe(&self, stream: &str) -> Result<Option<StreamInfo>, OpenError> {
        let mut status = String::new();
        for _ in 0..limits::ACTIVE_LOOKS {
            let info = match self.client.describe_stream().stream_name(stream).send().await {
                Ok(answer) => answer.stream_info.unwrap_or_else(|| StreamInfo::builder().build()),
                Err(error) if error.code() == Some("ResourceNotFoundException") => return Ok(None),
                Err(error) => return Err(self.explain("DescribeStream", stream, &error)),
            };
            match &info.status {
                // Its settings change; it takes video all the same.
                None | Some(Status::Active | Status::Updating) => return Ok(Some(info)),
                Some(other) => status = other.as_str().to_owned(),
            }
            if info.status == Some(Status::Deleting) {
                break;
            }
            tokio::time::sleep(limits::ACTIVE_PAUSE).await;
        }
        Err(OpenError::NotActive { stream: stream.to_owned(), status })
    }

    async fn create(&self, stream: &str) -> Result<StreamInfo, OpenError> {
        let none = || OpenError::NoStream { stream: stream.to_owned(), region: self.aws.region.clone() };
        let hours = self.aws.retention_hours.ok_or_else(none)?;
        let retention = i32::try_from(hours).unwrap_or(i32::MAX);
        match self.client.create_stream().stream_name(stream).data_retention_in_hours(retention).send().await {
            Ok(_) => tracing::info!(stream, hours, "made a stream at AWS"),
            // Someone was quicker.
            Err(error) if error.code() == Some("ResourceInUseException") => {}
            Err(error) => return Err(self.explain("CreateStream", stream, &error)),
        }
        self.describe(stream).await?.ok_or_else(none)
    }

    fn explain<E>(&self, operation: &'static str, stream: &str, error: &SdkError<E, HttpResponse>) -> OpenError
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let response = error.raw_response();
        if let Some(date) = response.and_then(|response| response.headers().get("date")) {
            self.clock.handle_date(date);
        }
        match (error, response) {
            (SdkError::ServiceError(refusal), _) => {
                let status = refusal.raw().status().as_u16();
                OpenError::Refused {
                    operation,
                    stream: stream.to_owned(),
                    code: error.code().map_or_else(|| format!("status {status}"), str::to_owned),
                    message: error.message().unwrap_or_default().to_owned(),
                }
            }
            (_, Some(_)) => OpenError::Answer { operation, why: chain(error) },
            _ => {
                let address = self.aws.endpoint.clone();
                let address = address.unwrap_or_else(|| format!("Kinesis Video Streams in {}", self.aws.region));
                OpenError::Unreachable { address, why: chain(error) }
            }
        }
    }
}
