//! The head of a block, and the frames that lacing packs into one.
//!
//! ```text
//! block  = [track: EBML size, 1-2 bytes][time from the Cluster's: 2, signed][flags: 1][lacing][frames]
//! flags  = 0x80 key (SimpleBlock only), 0x06 lacing: 00 none, 02 Xiph, 06 EBML, 04 fixed
//! lacing = [frames - 1: 1] then for all frames but the last their sizes:
//!          Xiph: the sum of bytes up to the first below 255
//!          EBML: the first as an EBML size, the others as signed differences, biased by half their range
//!          fixed: none, all frames are equal
//! ```

use smallvec::SmallVec;

use crate::TrackNumber;

use super::ebml::read_size;
use super::elements::Id;
use super::error::{Error, ErrorKind};
use super::input::Input;

/// A block's head.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) track: TrackNumber,
    /// In units of the timestamp scale, from the Cluster's.
    pub(super) relative: i16,
    pub(super) key: bool,
    pub(super) lacing: Lacing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lacing {
    None,
    Xiph,
    Fixed,
    Ebml,
}

/// The sizes of the frames in a block: nearly always one.
pub(super) type Sizes = SmallVec<[usize; 8]>;

impl Head {
    /// Reads the head of a block of `size` bytes, all of which are there, and leaves `size` at what follows.
    #[inline]
    pub(super) fn read(input: &mut Input, id: Id, size: &mut usize) -> Result<Self, Error> {
        let offset = input.offset();
        let short = || ErrorKind::InvalidValue { element: id, expected: "a track number, a time and flags" }.at(offset);
        let (head, length) = input
            .peek(|bytes| {
                let bytes = &bytes[..bytes.len().min(*size)];
                let (track, length) = read_size(bytes)?;
                let &[high, low, flags] = bytes.get(length..length + 3)? else { return None };
                Some((track, i16::from_be_bytes([high, low]), flags, length + 3))
            })
            .map(|(track, relative, flags, length)| ((track, relative, flags), length))
            .ok_or_else(short)?;
        let (number, relative, flags) = head;
        // Tracks refuses numbers above 127, so that a larger one cannot have been declared.
        let number = number.unwrap_or(u64::MAX);
        let track = TrackNumber::new(number).ok_or(ErrorKind::UndeclaredTrack { track: number }.at(offset))?;
        let lacing = match flags & 0x06 {
            0x00 => Lacing::None,
            0x02 => Lacing::Xiph,
            0x04 => Lacing::Fixed,
            _ => Lacing::Ebml,
        };
        input.skip(length as u64);
        *size -= length;
        Ok(Self { track, relative, key: flags & 0x80 != 0, lacing })
    }
}

/// Reads the sizes of laced frames; `size` bytes of the block are left, and all of them are there.
pub(super) fn read_lacing(input: &mut Input, lacing: Lacing, size: usize) -> Result<Sizes, Error> {
    let mut lace = Lace { offset: input.offset(), input, left: size };
    if lacing == Lacing::None {
        return Ok(Sizes::from_slice(&[size]));
    }
    let count = usize::from(lace.byte()?) + 1;
    let mut sizes = Sizes::new();
    match lacing {
        Lacing::None => {}
        Lacing::Fixed => {
            if !lace.left.is_multiple_of(count) {
                return Err(lace.error("a size that the number of frames divides"));
            }
            sizes.resize(count, lace.left / count);
            return Ok(sizes);
        }
        Lacing::Xiph => {
            for _ in 1..count {
                sizes.push(lace.xiph_size()?);
            }
        }
        Lacing::Ebml => {
            for i in 1..count {
                let before = sizes.last().copied();
                sizes.push(if i == 1 { lace.ebml_size()? } else { lace.ebml_difference(before.unwrap_or(0))? });
            }
        }
    }
    let last = sizes.iter().try_fold(lace.left, |left, &size| left.checked_sub(size));
    sizes.push(last.ok_or_else(|| lace.error("frames that fit into their block"))?);
    Ok(sizes)
}

/// The lacing's own bytes.
struct Lace<'a> {
    input: &'a mut Input,
    offset: u64,
    left: usize,
}

impl Lace<'_> {
    fn byte(&mut self) -> Result<u8, Error> {
        self.left = self.left.checked_sub(1).ok_or_else(|| self.error("the sizes of its frames"))?;
        Ok(self.input.take_byte())
    }

    fn xiph_size(&mut self) -> Result<usize, Error> {
        let mut size = 0;
        loop {
            let byte = self.byte()?;
            // Bounded by the block's own size, since each step consumes a byte of it.
            size += usize::from(byte);
            if byte != 255 {
                return Ok(size);
            }
        }
    }

    fn ebml_number(&mut self) -> Result<(u64, usize), Error> {
        let left = self.left;
        let (value, length) = self
            .input
            .peek(|bytes| read_size(&bytes[..bytes.len().min(left)]))
            .and_then(|(value, length)| Some((value?, length)))
            .ok_or_else(|| self.error("an EBML size"))?;
        self.input.skip(length as u64);
        self.left -= length;
        Ok((value, length))
    }

    fn ebml_size(&mut self) -> Result<usize, Error> {
        let (value, _) = self.ebml_number()?;
        usize::try_from(value).map_err(|_| self.error("frames that fit into their block"))
    }

    fn ebml_difference(&mut self, before: usize) -> Result<usize, Error> {
        let (value, length) = self.ebml_number()?;
        let bias = (1i64 << (7 * length - 1)) - 1;
        // At most 56 bits, so that neither step overflows for sizes that fit a block.
        let difference = i64::try_from(value).unwrap_or(i64::MAX) - bias;
        i64::try_from(before)
            .ok()
            .and_then(|before| before.checked_add(difference))
            .and_then(|size| usize::try_from(size).ok())
            .ok_or_else(|| self.error("a frame size that is not negative"))
    }

    fn error(&self, expected: &'static str) -> Error {
        ErrorKind::Lacing { expected }.at(self.offset)
    }
}
