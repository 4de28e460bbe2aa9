//! Images of a fragment, made by themselves, into a folder of the server or a bucket.

use std::path::Path;

use archive::ReadError;
use bytes::Bytes;
use fragment::WallTime;
use object_store::aws::AmazonS3Builder;
use object_store::path::Path as Key;
use object_store::{Attribute, AttributeValue, Attributes, ObjectStore as _, PutOptions};

use super::{Deliveries, DeliveryError, Persisted, message};
use crate::kinesis_video::archived_media::Sampling;
use crate::kinesis_video::control::ImageGeneration;
use crate::kinesis_video::pictures::Clock;
use crate::limits;
use crate::pictures::{Format, Order};

/// An image with where it goes.
struct Image {
    name: String,
    metadata: Vec<(String, String)>,
    content: Bytes,
}

impl Deliveries {
    /// Whether images were to be made of a fragment, and were.
    pub(super) async fn make_images(&self, persisted: &Persisted) -> Result<bool, DeliveryError> {
        let Some(wanted) = self.attributes(persisted).await?.image_generation.filter(|wanted| wanted.is_enabled) else {
            return Ok(false);
        };
        for image in self.images(persisted, &wanted).await? {
            self.attempt(|| self.put(&wanted, &image)).await?;
        }
        Ok(true)
    }

    async fn images(&self, persisted: &Persisted, wanted: &ImageGeneration) -> Result<Vec<Image>, DeliveryError> {
        let (start, interval) = (persisted.start, wanted.interval());
        let sampling = Sampling { start, end: start + persisted.duration, interval };
        let times: Vec<WallTime> = sampling.times_from(start).take(limits::IMAGES_PER_FRAGMENT_MAX).collect();
        let after = |time: &WallTime| u64::try_from(time.since(start).as_nanos()).unwrap_or(u64::MAX);
        let order = Order { format: wanted.format, size: wanted.size, at_ns: times.iter().map(after).collect() };
        let Some(document) = self.document(persisted).await? else { return Ok(Vec::new()) };
        let mut worker = self.0.studio.worker().await.map_err(|error| DeliveryError::passing(&error))?;
        let made = worker.pictures(&order, &document, limits::IMAGES_PAGE_BYTES).await;
        let made = made.map_err(|error| DeliveryError::lasting(&error))?;
        let suffix = match wanted.format {
            Format::Jpeg { .. } => "jpg",
            Format::Png => "png",
        };
        let image = |(at, content): (&WallTime, Option<Bytes>)| {
            let server = persisted.arrived + at.since(start);
            let code = if wanted.clock == Clock::Producer { *at } else { server };
            Some(Image {
                name: message::image_name(persisted, code, &crate::kinesis_video::request_id(), suffix),
                metadata: message::image_metadata(persisted, *at, server),
                content: content?,
            })
        };
        Ok(times.iter().zip(made).filter_map(image).collect())
    }

    /// The fragment's bytes; `None` if it is gone already.
    async fn document(&self, persisted: &Persisted) -> Result<Option<Bytes>, DeliveryError> {
        let (archive, stream, number) = (self.0.archive.clone(), persisted.stream.id, persisted.number);
        let read = tokio::task::spawn_blocking(move || archive.read(stream, number)).await;
        let read = read.map_err(|error| DeliveryError::passing(&error))?;
        read.map_err(|error: ReadError| DeliveryError::lasting(&error))
    }

    async fn put(&self, wanted: &ImageGeneration, image: &Image) -> Result<(), DeliveryError> {
        match wanted.uri.split_once("://") {
            Some(("folder", name)) => {
                let root = self
                    .0
                    .folder
                    .as_ref()
                    .ok_or_else(|| DeliveryError::lasting(&"the server has no folder for images"))?;
                write(&root.join(name.trim_matches('/')), image).await.map_err(|error| DeliveryError::passing(&error))
            }
            Some(("s3", place)) => put_object(place, &wanted.region, image).await,
            _ => Err(DeliveryError::lasting(&"the destination is neither a folder nor a bucket")),
        }
    }
}

/// Whole or not at all, with what is said of it beside it.
async fn write(folder: &Path, image: &Image) -> std::io::Result<()> {
    let path = folder.join(&image.name);
    tokio::fs::create_dir_all(path.parent().unwrap_or(folder)).await?;
    let metadata: serde_json::Map<_, _> =
        image.metadata.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
    let metadata = serde_json::to_vec(&metadata).expect("texts are plain JSON");
    for (suffix, content) in [("json", metadata.as_slice()), ("", &image.content)] {
        let path = if suffix.is_empty() { path.clone() } else { path.with_extension(suffix) };
        let partial = path.with_extension("partial");
        tokio::fs::write(&partial, content).await?;
        tokio::fs::rename(&partial, &path).await?;
    }
    Ok(())
}

/// With the credentials of the server's environment.
async fn put_object(place: &str, region: &str, image: &Image) -> Result<(), DeliveryError> {
    let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
    let store = AmazonS3Builder::from_env().with_bucket_name(bucket).with_region(region).build();
    let store = store.map_err(|error| DeliveryError::lasting(&error))?;
    let metadata = |(name, value): &(String, String)| {
        (Attribute::Metadata(name.clone().into()), AttributeValue::from(value.clone()))
    };
    let attributes: Attributes = image.metadata.iter().map(metadata).collect();
    let key = Key::from(format!("{}/{}", prefix.trim_matches('/'), image.name).trim_matches('/'));
    let options = PutOptions { attributes, ..PutOptions::default() };
    let put = store.put_opts(&key, image.content.clone().into(), options).await;
    put.map(drop).map_err(|error| DeliveryError::passing(&error))
}
