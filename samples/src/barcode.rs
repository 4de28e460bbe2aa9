//! The frame number that every picture of a sample clip carries.
//!
//! A strip along the top of the picture holds 24 blocks of equal width, black for 0 and white for 1,
//! the most significant bit at the left. At 320×180 the strip is 24 pixels high and a block 13.3 wide:
//!
//! ```text
//! x = 0                                                                    x = width
//! [bit 23][bit 22][bit 21] … [bit 2][bit 1][bit 0]      y = 0 … height × 24/180
//! [                 the scene                    ]      below
//! ```
//!
//! The code scales with the picture, so a reader samples the middle of each block: five by five
//! pixels' mean, since the codec blurs edges. A grey mean is an error rather than a guess.

/// Bits in the code, and blocks along the strip.
pub const BITS: usize = 24;

/// Means at or below this are black. Black is coded as 16 and white as 235.
const BLACK_MAX: u32 = 80;

/// Means at or above this are white.
const WHITE_MIN: u32 = 170;

/// Pixels on each side of a block's middle that are averaged.
const REACH: usize = 2;

/// Why no number could be read from a picture.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// The picture has too few pixels, or fewer than its size says.
    #[error("a picture of {width}x{height} in {bytes} bytes is too small for a bar code")]
    TooSmall {
        /// Pixels in a row.
        width: usize,
        /// Rows.
        height: usize,
        /// Bytes that were given.
        bytes: usize,
    },
    /// A block is neither black nor white.
    #[error("block {block} of the bar code is neither black nor white but {mean}")]
    Grey {
        /// The block, from the left.
        block: usize,
        /// The mean of its middle.
        mean: u32,
    },
}

/// Reads the frame number from the 8-bit luma plane of a picture whose rows lie `stride` bytes apart.
pub fn read(luma: &[u8], width: usize, height: usize, stride: usize) -> Result<u32, Unreadable> {
    let middle_y = height * 12 / 180;
    let too_small = Unreadable::TooSmall { width, height, bytes: luma.len() };
    if width < BITS * (2 * REACH + 1) || middle_y < REACH || luma.len() < (middle_y + REACH) * stride + width {
        return Err(too_small);
    }
    let mut number = 0;
    for block in 0..BITS {
        let middle_x = (2 * block + 1) * width / (2 * BITS);
        let mean = mean(luma, stride, middle_x, middle_y);
        let bit = match mean {
            0..=BLACK_MAX => 0,
            WHITE_MIN.. => 1,
            _ => return Err(Unreadable::Grey { block, mean }),
        };
        number = number << 1 | bit;
    }
    Ok(number)
}

/// The mean of the pixels around a point.
fn mean(luma: &[u8], stride: usize, x: usize, y: usize) -> u32 {
    let rows = y - REACH..=y + REACH;
    let sum: u32 =
        rows.flat_map(|row| &luma[row * stride + x - REACH..=row * stride + x + REACH]).map(|&p| u32::from(p)).sum();
    sum / 25
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    const WIDTH: usize = 320;
    const HEIGHT: usize = 180;

    #[test]
    fn every_picture_of_every_clip_carries_its_number() {
        for name in crate::CLIPS {
            let numbers: Vec<u32> = decode(name)
                .chunks_exact(WIDTH * HEIGHT)
                .map(|luma| read(luma, WIDTH, HEIGHT, WIDTH).unwrap_or_else(|e| panic!("{name}: {e}")))
                .collect();
            assert!(numbers.len() >= 150, "{name}: {} pictures", numbers.len());
            assert!(numbers.iter().copied().eq(0..numbers.len().try_into().unwrap()), "{name}: {numbers:?}");
        }
    }

    #[test]
    fn a_picture_without_a_code_is_not_guessed() {
        let grey = vec![128; WIDTH * HEIGHT];
        assert_eq!(read(&grey, WIDTH, HEIGHT, WIDTH), Err(Unreadable::Grey { block: 0, mean: 128 }));
    }

    #[test]
    fn a_picture_that_is_too_small_is_refused() {
        assert!(matches!(read(&[0; 64], 8, 8, 8), Err(Unreadable::TooSmall { .. })));
    }

    /// The luma planes of a clip, as ffmpeg decodes them.
    fn decode(name: &str) -> Vec<u8> {
        let output = Command::new("ffmpeg")
            .args(["-v", "error", "-i"])
            .arg(crate::clip(name))
            .args(["-map", "0:v", "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "gray", "-"])
            .output()
            .expect("ffmpeg runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }
}
