//! A frame: one sealed payload with a header that describes it.
//!
//! Numbers are big-endian.
//!
//! ```text
//! offset  bytes  field
//!      0      4  magic "MRfr"
//!      4      8  segment id        with the magic, what a scan looks for after damage
//!     12      4  ordinal           the frame's place in its segment, from 0; never used twice
//!     16      1  format version    1
//!     17      1  reserved          0
//!     18      2  index bytes (n)
//!     20      4  payload bytes (p) as before sealing
//!     24      8  owner
//!     32      4  expiry slot
//!     36      4  key epoch         with the owner and the key id, names the data key
//!     40      8  key id
//!     48      n  index             the owner's own entry, readable without any key
//!   48+n      4  crc32c            of everything before, so that a scan can walk without keys
//!   52+n      p  payload           AES-256-GCM
//! 52+n+p     16  tag               authenticates bytes 0 to 52+n and the payload
//! ```
//!
//! The nonce is `[segment id: 8][ordinal: 4]`; design/vault.md argues why it never repeats under a key.

use aws_lc_rs::aead::{Aad, Nonce};
use bytes::{Bytes, BytesMut};

use crate::id::{ExpirySlot, KeyEpoch, KeyId, KeyName, OwnerId, SegmentId, u32_at, u64_at};
use crate::keys::DataKey;
use crate::limits;

pub(crate) const FIXED_BYTES: usize = 48;
pub(crate) const TAG_BYTES: usize = 16;
const MAGIC: &[u8; 4] = b"MRfr";
const VERSION: u8 = 1;
const CRC_BYTES: usize = 4;

/// What a frame says about itself. Authenticated once the frame has been opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// The segment that the frame was written to.
    pub segment: SegmentId,
    /// Its place in that segment.
    pub ordinal: u32,
    /// Whose it is.
    pub owner: OwnerId,
    /// When it may be deleted.
    pub expiry: ExpirySlot,
    /// The day of expiry of the key that seals it.
    pub epoch: KeyEpoch,
    /// Which of the owner's keys of that day.
    pub key: KeyId,
    /// The owner's index entry.
    pub index: Bytes,
    /// The length of the payload.
    pub payload_bytes: u32,
}

/// The length of a frame with this much index and payload.
pub(crate) fn frame_bytes(index: usize, payload: usize) -> usize {
    body_offset(index) + payload + TAG_BYTES
}

/// What every frame of `segment` begins with.
pub(crate) fn signature(segment: SegmentId) -> [u8; 12] {
    let mut signature = [0; 12];
    signature[..4].copy_from_slice(MAGIC);
    signature[4..].copy_from_slice(&segment.0.to_be_bytes());
    signature
}

impl FrameHeader {
    /// The name of the data key that seals it.
    pub fn key_name(&self) -> KeyName {
        KeyName { owner: self.owner, epoch: self.epoch, id: self.key }
    }

    /// The length of the whole frame.
    pub(crate) fn frame_bytes(&self) -> usize {
        frame_bytes(self.index.len(), self.payload_bytes as usize)
    }

    /// Writes the whole frame into `out`, which has exactly its length. The payload is sealed on its way:
    /// this is the only time that its bytes are touched between the network and the disk.
    pub(crate) fn seal(&self, key: &DataKey, payload: &[u8], out: &mut [u8]) {
        assert_eq!(out.len(), self.frame_bytes(), "a frame is sealed into exactly its place");
        assert_eq!(payload.len(), self.payload_bytes as usize, "the header states the payload's length");
        let (head, body) = out.split_at_mut(body_offset(self.index.len()));
        self.encode(head);
        let (ciphertext, tag) = body.split_at_mut(payload.len());
        key.aead()
            .seal_out_of_place_scatter(self.nonce(), Aad::from(&*head), payload, ciphertext, &[], tag)
            .expect("AES-GCM seals any payload of up to 64 GiB");
    }

    /// Reads the header at the start of `frame`, which need not hold the payload.
    pub(crate) fn decode(frame: &[u8]) -> Result<Self, &'static str> {
        let (fixed, _) = frame.split_at_checked(FIXED_BYTES).ok_or("it is cut short")?;
        if fixed[..4] != *MAGIC {
            return Err("no frame begins here");
        }
        let index_bytes = usize::from(u16::from_be_bytes([fixed[18], fixed[19]]));
        let head = frame.get(..body_offset(index_bytes)).ok_or("it is cut short")?;
        let (sealed, crc) = head.split_at(head.len() - CRC_BYTES);
        if crc32c::crc32c(sealed) != u32_at(crc, 0) {
            return Err("the header's checksum is wrong");
        }
        if fixed[16] != VERSION {
            return Err("it has a format version that this program does not know");
        }
        let payload_bytes = u32_at(fixed, 20);
        if payload_bytes as usize > limits::PAYLOAD_BYTES_MAX {
            return Err("it states an impossible length");
        }
        Ok(Self {
            segment: SegmentId(u64_at(fixed, 4)),
            ordinal: u32_at(fixed, 12),
            owner: OwnerId::from_u64(u64_at(fixed, 24)),
            expiry: ExpirySlot(u32_at(fixed, 32)),
            epoch: KeyEpoch(u32_at(fixed, 36)),
            key: KeyId(u64_at(fixed, 40)),
            index: Bytes::copy_from_slice(&sealed[FIXED_BYTES..]),
            payload_bytes,
        })
    }

    /// Opens a whole frame in place and answers its payload, a part of the same memory.
    pub(crate) fn open(&self, key: &DataKey, mut frame: BytesMut) -> Result<Bytes, &'static str> {
        if frame.len() != self.frame_bytes() {
            return Err("it has another length than its header states");
        }
        let mut body = frame.split_off(body_offset(self.index.len()));
        key.aead()
            .open_in_place(self.nonce(), Aad::from(&*frame), &mut body)
            .map_err(|_| "its seal does not match its bytes, or it was sealed with another key")?;
        body.truncate(self.payload_bytes as usize);
        Ok(body.freeze())
    }

    fn encode(&self, head: &mut [u8]) {
        head[..12].copy_from_slice(&signature(self.segment));
        head[12..16].copy_from_slice(&self.ordinal.to_be_bytes());
        head[16] = VERSION;
        head[17] = 0;
        let index_bytes = u16::try_from(self.index.len()).expect("an index entry is checked at put");
        head[18..20].copy_from_slice(&index_bytes.to_be_bytes());
        head[20..24].copy_from_slice(&self.payload_bytes.to_be_bytes());
        head[24..32].copy_from_slice(&self.owner.to_u64().to_be_bytes());
        head[32..36].copy_from_slice(&self.expiry.0.to_be_bytes());
        head[36..40].copy_from_slice(&self.epoch.0.to_be_bytes());
        head[40..48].copy_from_slice(&self.key.0.to_be_bytes());
        let crc_at = head.len() - CRC_BYTES;
        head[FIXED_BYTES..crc_at].copy_from_slice(&self.index);
        let crc = crc32c::crc32c(&head[..crc_at]);
        head[crc_at..].copy_from_slice(&crc.to_be_bytes());
    }

    fn nonce(&self) -> Nonce {
        let mut nonce = [0; 12];
        nonce[..8].copy_from_slice(&self.segment.0.to_be_bytes());
        nonce[8..].copy_from_slice(&self.ordinal.to_be_bytes());
        Nonce::assume_unique_for_key(nonce)
    }
}

fn body_offset(index: usize) -> usize {
    FIXED_BYTES + index + CRC_BYTES
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_flipped_bit_of_a_frame_is_noticed() {
        let (header, frame, key) = sealed(b"index", b"some payload");
        for bit in 0..frame.len() * 8 {
            let mut bad = frame.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let opened = FrameHeader::decode(&bad).and_then(|h| h.open(&key, bad[..].into()));
            assert!(opened.is_err(), "bit {bit} of {header:?}");
        }
    }

    #[test]
    fn every_shortened_frame_is_noticed() {
        let (_, frame, key) = sealed(b"index", b"some payload");
        for len in 0..frame.len() {
            let short = &frame[..len];
            assert!(FrameHeader::decode(short).and_then(|h| h.open(&key, short.into())).is_err(), "{len}");
        }
    }

    #[test]
    fn another_key_does_not_open_a_frame() {
        let (header, frame, _) = sealed(b"", b"payload");
        assert!(header.open(&DataKey::random().unwrap(), frame[..].into()).is_err());
    }

    proptest! {
        #[test]
        fn a_frame_gives_back_what_was_sealed(index: Vec<u8>, payload: Vec<u8>) {
            let (header, frame, key) = sealed(&index, &payload);
            let decoded = FrameHeader::decode(&frame).unwrap();
            prop_assert_eq!(&decoded, &header);
            prop_assert_eq!(decoded.open(&key, frame[..].into()).unwrap(), payload);
        }

        #[test]
        fn any_bytes_decode_or_are_refused(bytes: Vec<u8>) {
            let _ = FrameHeader::decode(&bytes);
        }
    }

    fn sealed(index: &[u8], payload: &[u8]) -> (FrameHeader, Vec<u8>, DataKey) {
        let header = FrameHeader {
            segment: SegmentId(0x1122_3344_5566_7788),
            ordinal: 7,
            owner: OwnerId::from_u64(9),
            expiry: ExpirySlot(500_000),
            epoch: KeyEpoch(20_833),
            key: KeyId(0x99aa_bbcc_ddee_ff00),
            index: Bytes::copy_from_slice(index),
            payload_bytes: u32::try_from(payload.len()).unwrap(),
        };
        let key = DataKey::random().unwrap();
        let mut frame = vec![0; header.frame_bytes()];
        header.seal(&key, payload, &mut frame);
        (header, frame, key)
    }
}
