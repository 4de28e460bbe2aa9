//! EBML's own layer: ids, sizes, and elements whose bytes are all there.
//!
//! ```text
//! element = [id: 1-4][size: 1-8][data: size]
//! id      = the leading zeros of the first byte tell the length; the marker bit stays in the value
//! size    = likewise, but the marker bit is taken off; all ones = unknown
//! ```

use super::elements::Id;
use super::error::{Error, ErrorKind};

/// The longest id and size together.
pub(super) const HEADER_BYTES_MAX: usize = 12;

/// The start of an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) id: Id,
    /// `None` = unknown.
    pub(super) size: Option<u64>,
    /// The bytes of id and size.
    pub(super) length: usize,
}

impl Header {
    /// Reads the header at the start of `bytes`; `None` when more bytes are needed.
    #[inline]
    pub(super) fn read(bytes: &[u8], offset: u64) -> Result<Option<Self>, Error> {
        let Some(&first) = bytes.first() else { return Ok(None) };
        let id_length = first.leading_zeros() as usize + 1;
        if id_length > 4 {
            return Err(ErrorKind::InvalidId { found: first }.at(offset));
        }
        if bytes.len() <= id_length {
            return Ok(None);
        }
        let id = Id(bytes[..id_length].iter().fold(0, |id, &byte| id << 8 | u32::from(byte)));
        let size_first = bytes[id_length];
        if size_first == 0 {
            return Err(ErrorKind::InvalidSize { element: id }.at(offset));
        }
        Ok(read_size(&bytes[id_length..]).map(|(size, size_length)| Self { id, size, length: id_length + size_length }))
    }
}

/// Reads a variable-length size and its own length; `None` when `bytes` is too short or starts with a zero.
#[inline]
pub(super) fn read_size(bytes: &[u8]) -> Option<(Option<u64>, usize)> {
    let first = *bytes.first()?;
    let length = first.leading_zeros() as usize + 1;
    if length > 8 {
        return None;
    }
    let rest = bytes.get(1..length)?;
    // For 8 bytes the first holds nothing but the marker.
    let value = u64::from(first) & (0x7f >> (length - 1));
    let value = rest.iter().fold(value, |value, &byte| value << 8 | u64::from(byte));
    let unknown = (1 << (7 * length)) - 1;
    Some(((value != unknown).then_some(value), length))
}

/// One element whose data is all there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Element<'a> {
    pub(super) id: Id,
    /// Where its data starts.
    pub(super) offset: u64,
    pub(super) data: &'a [u8],
}

impl<'a> Element<'a> {
    /// The elements within, in order.
    pub(super) fn children(self) -> Children<'a> {
        Children { data: self.data, offset: self.offset, failed: false }
    }

    pub(super) fn unsigned(self) -> Result<u64, Error> {
        if self.data.len() > 8 {
            return Err(self.invalid("an unsigned integer of at most 8 bytes"));
        }
        Ok(self.data.iter().fold(0, |value, &byte| value << 8 | u64::from(byte)))
    }

    /// Text up to the first NUL; bytes that are not UTF-8 are replaced.
    pub(super) fn text(self) -> String {
        let end = self.data.iter().position(|&byte| byte == 0).unwrap_or(self.data.len());
        String::from_utf8_lossy(&self.data[..end]).into_owned()
    }

    pub(super) fn invalid(self, expected: &'static str) -> Error {
        ErrorKind::InvalidValue { element: self.id, expected }.at(self.offset)
    }

    pub(super) fn missing(self, missing: Id) -> Error {
        ErrorKind::Missing { missing, parent: self.id }.at(self.offset)
    }
}

/// The elements within another. Void and CRC-32 are passed over.
pub(super) struct Children<'a> {
    data: &'a [u8],
    offset: u64,
    failed: bool,
}

impl<'a> Children<'a> {
    fn read(&mut self) -> Result<Option<Element<'a>>, Error> {
        if self.data.is_empty() {
            return Ok(None);
        }
        let offset = self.offset;
        let Some(header) = Header::read(self.data, offset)? else {
            return Err(ErrorKind::TruncatedHeader.at(offset));
        };
        let id = header.id;
        let size = header.size.ok_or_else(|| ErrorKind::UnknownSize { element: id }.at(offset))?;
        let rest = &self.data[header.length..];
        let start = offset + header.length as u64;
        let Some((data, rest)) = usize::try_from(size).ok().and_then(|size| rest.split_at_checked(size)) else {
            let (end, parent_end) = (start.saturating_add(size), offset + self.data.len() as u64);
            return Err(ErrorKind::PastParent { element: id, end, parent_end }.at(offset));
        };
        self.data = rest;
        self.offset = start + size;
        Ok(Some(Element { id, offset: start, data }))
    }
}

impl<'a> Iterator for Children<'a> {
    type Item = Result<Element<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.failed {
            match self.read() {
                Ok(Some(Element { id: Id::VOID | Id::CRC_32, .. })) => {}
                Ok(element) => return element.map(Ok),
                Err(error) => {
                    self.failed = true;
                    return Some(Err(error));
                }
            }
        }
        None
    }
}

/// Appends `size` in the fewest bytes.
pub(super) fn write_size(out: &mut Vec<u8>, size: u64) {
    debug_assert!(size < (1 << 56) - 1, "an EBML size has at most 56 bits");
    // One less than all ones, which mean unknown.
    let length = (1..=8).find(|length| size < (1 << (7 * length)) - 1).unwrap_or(8);
    let marked = size | 1 << (7 * length);
    out.extend_from_slice(&marked.to_be_bytes()[8 - length..]);
}

/// Appends `id`.
pub(super) fn write_id(out: &mut Vec<u8>, id: Id) {
    let bytes = id.0.to_be_bytes();
    out.extend_from_slice(&bytes[id.0.leading_zeros() as usize / 8..]);
}

/// Appends an element with this content.
pub(super) fn write_element(out: &mut Vec<u8>, id: Id, data: &[u8]) {
    write_id(out, id);
    write_size(out, data.len() as u64);
    out.extend_from_slice(data);
}

/// Appends an element that holds `value` in the fewest bytes.
pub(super) fn write_unsigned(out: &mut Vec<u8>, id: Id, value: u64) {
    let skip = (value.leading_zeros() as usize / 8).min(7);
    write_element(out, id, &value.to_be_bytes()[skip..]);
}

/// Appends an element that holds other elements.
pub(super) fn write_master(out: &mut Vec<u8>, id: Id, fill: impl FnOnce(&mut Vec<u8>)) {
    let mut data = Vec::new();
    fill(&mut data);
    write_element(out, id, &data);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_size_survives_its_bytes(size in 0u64..(1 << 56) - 1) {
            let mut out = Vec::new();
            write_size(&mut out, size);
            prop_assert_eq!(read_size(&out), Some((Some(size), out.len())));
        }
    }

    #[test]
    fn sizes_around_each_length_are_written_as_known() {
        for bits in (7..=49).step_by(7) {
            for size in [(1u64 << bits) - 2, (1 << bits) - 1, 1 << bits] {
                let mut out = Vec::new();
                write_size(&mut out, size);
                assert_eq!(read_size(&out), Some((Some(size), out.len())));
            }
        }
    }

    #[test]
    fn all_ones_are_an_unknown_size_in_every_length() {
        assert_eq!(read_size(&[0xff]), Some((None, 1)));
        assert_eq!(read_size(&[0x7f, 0xff]), Some((None, 2)));
        assert_eq!(read_size(&[0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), Some((None, 8)));
    }

    #[test]
    fn ids_that_matroska_does_not_have_are_errors() {
        assert!(Header::read(&[0x08, 0, 0, 0, 0, 0x80], 7).is_err_and(|error| error.offset == 7));
        assert!(Header::read(&[0xec, 0x00], 0).is_err());
        assert_eq!(Header::read(&[0x1a, 0x45], 0), Ok(None));
    }
}
