//! Bits, most significant first, and the Exp-Golomb numbers of H.264 and H.265 parameter sets.

use super::InvalidConfig;

/// A place in a run of bits. Each method names what it reads, for the error when the bits run out.
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Bits<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    /// An unsigned number of `count` bits, at most 32.
    pub(super) fn read(&mut self, count: u32, what: &'static str) -> Result<u32, InvalidConfig> {
        debug_assert!(count <= 32);
        let mut value: u32 = 0;
        for _ in 0..count {
            let byte = self.bytes.get(self.position / 8).ok_or(InvalidConfig::Truncated { expected: what })?;
            let bit = byte >> (7 - self.position % 8) & 1;
            value = value << 1 | u32::from(bit);
            self.position += 1;
        }
        Ok(value)
    }

    pub(super) fn flag(&mut self, what: &'static str) -> Result<bool, InvalidConfig> {
        Ok(self.read(1, what)? == 1)
    }

    pub(super) fn skip(&mut self, count: u32, what: &'static str) -> Result<(), InvalidConfig> {
        let end = self.position.saturating_add(count as usize);
        if end > self.bytes.len().saturating_mul(8) {
            return Err(InvalidConfig::Truncated { expected: what });
        }
        self.position = end;
        Ok(())
    }

    /// Skips to the next whole byte.
    pub(super) fn align(&mut self) {
        self.position = self.position.next_multiple_of(8);
    }

    /// `ue(v)`: an unsigned Exp-Golomb number.
    pub(super) fn unsigned(&mut self, what: &'static str) -> Result<u32, InvalidConfig> {
        let mut zeros = 0;
        while !self.flag(what)? {
            zeros += 1;
            if zeros > 31 {
                return Err(InvalidConfig::Value {
                    field: what,
                    value: u64::from(u32::MAX),
                    expected: "an Exp-Golomb number below 2^32 - 1",
                });
            }
        }
        // With 31 zeros: (2^31 - 1) + (2^31 - 1), which fits.
        Ok((1u32 << zeros) - 1 + self.read(zeros, what)?)
    }

    /// `se(v)`: a signed Exp-Golomb number.
    pub(super) fn signed(&mut self, what: &'static str) -> Result<i64, InvalidConfig> {
        let code = i64::from(self.unsigned(what)?);
        Ok(if code % 2 == 1 { (code + 1) / 2 } else { -(code / 2) })
    }
}

/// The payload of a NAL unit without its emulation prevention bytes (`00 00 03` stands for `00 00`).
pub(super) fn unescape(nal: &[u8]) -> Vec<u8> {
    let mut payload = Vec::with_capacity(nal.len());
    let mut zeros = 0;
    for &byte in nal {
        if zeros >= 2 && byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        payload.push(byte);
    }
    payload
}

/// Bytes, with the name of what was expected where they end.
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn take(&mut self, count: usize, what: &'static str) -> Result<&'a [u8], InvalidConfig> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(InvalidConfig::Truncated { expected: what })?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn u8(&mut self, what: &'static str) -> Result<u8, InvalidConfig> {
        Ok(self.take(1, what)?[0])
    }

    pub(super) fn u16(&mut self, what: &'static str) -> Result<u16, InvalidConfig> {
        let bytes = self.take(2, what)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// A NAL unit behind its 16-bit length.
    pub(super) fn nal(&mut self, what: &'static str) -> Result<&'a [u8], InvalidConfig> {
        let length = self.u16(what)?;
        self.take(usize::from(length), what)
    }
}

/// A picture's side after cropping; zero, negative or beyond the limit is an error.
pub(super) fn cropped(side: u64, crop: u64, field: &'static str) -> Result<u32, InvalidConfig> {
    let max = u64::from(crate::limits::PICTURE_SIDE_MAX);
    side.checked_sub(crop)
        .filter(|side| (1..=max).contains(side))
        .and_then(|side| u32::try_from(side).ok())
        .ok_or(InvalidConfig::Value { field, value: side, expected: "1 to 16384 pixels after cropping" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_golomb_numbers_are_read_as_the_standard_tabulates_them() {
        // 1 | 010 | 011 | 00100 | 00101 -> 0 1 2 3 4
        let mut bits = Bits::new(&[0b1010_0110, 0b0100_0010, 0b1000_0000]);
        let read: Vec<u32> = (0..5).map(|_| bits.unsigned("n").unwrap()).collect();
        assert_eq!(read, [0, 1, 2, 3, 4]);
        let mut bits = Bits::new(&[0b1010_0110, 0b0100_0010, 0b1000_0000]);
        let read: Vec<i64> = (0..5).map(|_| bits.signed("n").unwrap()).collect();
        assert_eq!(read, [0, 1, -1, 2, -2]);
    }

    #[test]
    fn an_endless_exp_golomb_number_is_an_error() {
        assert!(Bits::new(&[0; 16]).unsigned("n").is_err());
    }

    #[test]
    fn emulation_prevention_bytes_are_taken_out() {
        assert_eq!(unescape(&[0, 0, 3, 1, 0, 0, 3, 0, 0, 3]), [0, 0, 1, 0, 0, 0, 0]);
    }
}
