//! A note in the vault that a stream's retention was raised: a frame without a payload and without rows.
//!
//! What was stored before the raise lies in segments that say an earlier time, and only the catalog knows better. The note is what is
//! left of that if the catalog is lost. It expires when the last fragment from before it does, and those from
//! after it say the time themselves.
//!
//! ```text
//! [128][raised at, ns: 8][retention seconds: 4]
//! ```

use std::time::Duration;

use bytes::Bytes;
use fragment::WallTime;
use vault::{Entry, ExpirySlot, OwnerId};

/// No version of a fragment's index entry, which the others begin with.
const KIND: u8 = 128;

/// A retention was raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Raise {
    pub(crate) at: WallTime,
    pub(crate) to: Duration,
}

impl Raise {
    /// The frame that says so.
    pub(crate) fn entry(self, owner: OwnerId) -> Entry {
        let expires = (self.at + self.to).as_millis() / 1000;
        Entry {
            owner,
            expiry: ExpirySlot::containing(u64::try_from(expires).unwrap_or(0)),
            index: self.encode(),
            payload: Bytes::new(),
            unless_exists: None,
        }
    }

    fn encode(self) -> Bytes {
        let mut out = vec![KIND];
        out.extend_from_slice(&self.at.as_nanos().to_be_bytes());
        out.extend_from_slice(&u32::try_from(self.to.as_secs()).expect("at most 10 years").to_be_bytes());
        out.into()
    }

    /// `None` if the index entry is another one's.
    pub(crate) fn decode(index: &[u8]) -> Option<Self> {
        let (at, secs) = index.strip_prefix(&[KIND])?.split_first_chunk()?;
        Some(Self {
            at: WallTime::from_nanos(i64::from_be_bytes(*at)),
            to: Duration::from_secs(u32::from_be_bytes(secs.try_into().ok()?).into()),
        })
    }
}
