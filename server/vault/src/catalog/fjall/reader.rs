//! Reads fjall's little-endian numbers.

/// What is left to read. Nothing is answered beyond its end.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(taken)
    }

    /// A number of at most eight bytes.
    pub(super) fn number<const BYTES: usize>(&mut self) -> Option<u64> {
        let mut number = [0; 8];
        number[..BYTES].copy_from_slice(self.take(BYTES)?);
        Some(u64::from_le_bytes(number))
    }

    /// A number of bytes or a place among them.
    pub(super) fn size<const BYTES: usize>(&mut self) -> Option<usize> {
        usize::try_from(self.number::<BYTES>()?).ok()
    }

    pub(super) fn tag(&mut self, tag: u8) -> Option<()> {
        (self.take(1)? == [tag]).then_some(())
    }
}
