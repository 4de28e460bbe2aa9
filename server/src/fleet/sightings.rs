//! When and where a device was connected last, and how it was then: a row that survives the server, and that the other
//! servers on the same store read.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use upload::fleet::Status;
use vault::{Batch, Catalog, Key, Space};

use crate::devices::{DeviceError, DeviceName};

const SIGHTING: u8 = 6;

/// The last that is known of a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sighting {
    /// The server that it was connected to.
    pub(super) server: String,
    /// Whether it still was when this was written.
    pub(super) connected: bool,
    /// Since when.
    pub(super) since_ns: i64,
    /// When this was written.
    pub(super) at_ns: i64,
    /// Where it came from.
    pub(super) remote: String,
    pub(super) agent_version: String,
    pub(super) status: Option<Status>,
    /// When the status arrived.
    pub(super) status_at_ns: Option<i64>,
}

/// All sightings. The calls block.
pub(super) struct Sightings(Arc<dyn Catalog>);

impl Sightings {
    pub(super) fn new(catalog: Arc<dyn Catalog>) -> Self {
        Self(catalog)
    }

    pub(super) fn get(&self, name: &DeviceName) -> Result<Option<Sighting>, DeviceError> {
        let storage = |error: &dyn std::fmt::Display| DeviceError::Storage(error.to_string());
        let row = self.0.get(&key(name)).map_err(|error| storage(&error))?;
        row.map(|row| serde_json::from_slice(&row).map_err(|error| storage(&error))).transpose()
    }

    pub(super) fn put(&self, name: &DeviceName, seen: &Sighting) -> Result<(), DeviceError> {
        let mut batch = Batch::new();
        batch.insert(key(name), serde_json::to_vec(seen).expect("a sighting is plain JSON"));
        self.0.commit(batch).map_err(|error| DeviceError::Storage(error.to_string()))
    }
}

fn key(name: &DeviceName) -> Key {
    Key::new(Space::Server, &[&[SIGHTING], name.as_str().as_bytes()].concat())
}
