//! H.265: the `hvcC` record (ISO/IEC 14496-15) and the sequence parameter set within.
//!
//! ```text
//!  0 [version: 1 = 1]
//!  1 [profile space: 2 bits][tier: 1 bit][profile: 5 bits]
//!  2 [profile compatibility: 4]
//!  6 [constraints: 6]
//! 12 [level: 1]
//! 13 [segmentation, parallelism, chroma, depths, frame rate: 8]
//! 21 [frame rate kind, layers, nesting: 6 bits][NAL length size - 1: 2 bits]
//! 22 [arrays: 1] then per array [completeness, 0, NAL type: 1][count: 2] then per NAL unit [length: 2][NAL]
//! ```

use std::fmt::Write as _;

use bytes::Bytes;

use super::InvalidConfig;
use super::bits::{Bits, Fields, cropped, unescape};

const NAL_SPS: u8 = 33;
/// Video, sequence and picture parameter sets; what else a record may hold is of no need to a decoder.
const PARAMETER_SETS: std::ops::RangeInclusive<u8> = 32..=34;

/// A decoder configuration for H.265.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    raw: Bytes,
    parameter_sets: Vec<Bytes>,
    width: u32,
    height: u32,
}

impl Config {
    /// Parses an `hvcC` record.
    pub fn parse(raw: Bytes) -> Result<Self, InvalidConfig> {
        let mut fields = Fields::new(&raw);
        let version = fields.u8("the version of an hvcC record")?;
        if version != 1 {
            return Err(InvalidConfig::Value { field: "the version of hvcC", value: version.into(), expected: "1" });
        }
        fields.take(20, "profile, level and formats")?;
        let length_size = (fields.u8("the NAL length size")? & 0b11) + 1;
        if length_size == 3 {
            return Err(InvalidConfig::Value { field: "the NAL length size", value: 3, expected: "1, 2 or 4" });
        }
        let (mut size, mut parameter_sets) = (None, Vec::new());
        for _ in 0..fields.u8("the number of arrays")? {
            let kind = fields.u8("an array of NAL units")? & 0b11_1111;
            for _ in 0..fields.u16("the number of NAL units")? {
                let nal = fields.nal("a parameter set")?;
                if kind == NAL_SPS && size.is_none() {
                    size = Some(picture_size(nal)?);
                }
                if PARAMETER_SETS.contains(&kind) {
                    parameter_sets.push(raw.slice_ref(nal));
                }
            }
        }
        let (width, height) = size.ok_or(InvalidConfig::Missing("sequence parameter set"))?;
        Ok(Self { raw, parameter_sets, width, height })
    }

    /// The record as it is stored in CodecPrivate.
    pub fn as_bytes(&self) -> &Bytes {
        &self.raw
    }

    /// The parameter sets in it, in the record's order, NAL headers included.
    pub fn parameter_sets(&self) -> &[Bytes] {
        &self.parameter_sets
    }

    /// The RFC 6381 string, such as `hvc1.1.6.L93.90` (ISO/IEC 14496-15, annex E).
    pub fn rfc6381(&self) -> String {
        let profile = self.raw[1];
        let space = ["", "A", "B", "C"][usize::from(profile >> 6)];
        let tier = if profile & 0b10_0000 == 0 { 'L' } else { 'H' };
        let compatibility = u32::from_be_bytes([self.raw[2], self.raw[3], self.raw[4], self.raw[5]]).reverse_bits();
        let mut text = format!("hvc1.{space}{}.{compatibility:X}.{tier}{}", profile & 0b1_1111, self.raw[12]);
        let constraints = &self.raw[6..12];
        let used = constraints.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        for byte in &constraints[..used] {
            write!(text, ".{byte:X}").expect("a String takes every text");
        }
        text
    }

    /// The width of the picture in pixels, cropped.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// The height of the picture in pixels, cropped.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// The bytes before each NAL unit that hold its length: 1, 2 or 4.
    pub fn nal_length_size(&self) -> u8 {
        (self.raw[21] & 0b11) + 1
    }
}

/// The picture's size from a sequence parameter set, NAL header included.
fn picture_size(nal: &[u8]) -> Result<(u32, u32), InvalidConfig> {
    if nal.len() < 2 {
        return Err(InvalidConfig::Truncated { expected: "the header of the SPS" });
    }
    let kind = nal[0] >> 1 & 0b11_1111;
    if kind != NAL_SPS {
        return Err(InvalidConfig::Value { field: "the NAL unit type of the SPS", value: kind.into(), expected: "33" });
    }
    let payload = unescape(&nal[2..]);
    let mut bits = Bits::new(&payload);
    bits.skip(4, "sps_video_parameter_set_id")?;
    let sub_layers = bits.read(3, "sps_max_sub_layers_minus1")?;
    bits.skip(1, "sps_temporal_id_nesting_flag")?;
    skip_profile_tier_level(&mut bits, sub_layers)?;
    bits.unsigned("sps_seq_parameter_set_id")?;
    let format = bits.unsigned("chroma_format_idc")?;
    let (unit_x, unit_y) = match format {
        1 => (2, 2),
        2 => (2, 1),
        0 | 3 => (1, 1),
        _ => {
            return Err(InvalidConfig::Value { field: "chroma_format_idc", value: format.into(), expected: "0 to 3" });
        }
    };
    if format == 3 {
        bits.skip(1, "separate_colour_plane_flag")?;
    }
    let width = u64::from(bits.unsigned("pic_width_in_luma_samples")?);
    let height = u64::from(bits.unsigned("pic_height_in_luma_samples")?);
    let (mut crop_x, mut crop_y) = (0, 0);
    if bits.flag("conformance_window_flag")? {
        let mut offset = || bits.unsigned("a conformance window offset").map(u64::from);
        crop_x = (offset()? + offset()?) * unit_x;
        crop_y = (offset()? + offset()?) * unit_y;
    }
    Ok((cropped(width, crop_x, "the picture's width")?, cropped(height, crop_y, "the picture's height")?))
}

fn skip_profile_tier_level(bits: &mut Bits<'_>, sub_layers: u32) -> Result<(), InvalidConfig> {
    bits.skip(88 + 8, "profile_tier_level")?;
    let mut present = [(false, false); 7];
    for layer in present.iter_mut().take(sub_layers as usize) {
        *layer = (bits.flag("sub_layer_profile_present_flag")?, bits.flag("sub_layer_level_present_flag")?);
    }
    if sub_layers > 0 {
        bits.skip(2 * (8 - sub_layers), "reserved_zero_2bits")?;
    }
    for (profile, level) in present {
        bits.skip(if profile { 88 } else { 0 }, "the profile of a sub-layer")?;
        bits.skip(if level { 8 } else { 0 }, "the level of a sub-layer")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codec_string_follows_annex_e() {
        let mut raw = vec![1, 0x01, 0x60, 0, 0, 0, 0x90, 0, 0, 0, 0, 0, 93];
        raw.resize(23, 0);
        let config = Config { raw: Bytes::from(raw.clone()), parameter_sets: Vec::new(), width: 1, height: 1 };
        assert_eq!(config.rfc6381(), "hvc1.1.6.L93.90");

        raw[1] = 0b0110_0010;
        raw[11] = 0x0a;
        let config = Config { raw: Bytes::from(raw), parameter_sets: Vec::new(), width: 1, height: 1 };
        assert_eq!(config.rfc6381(), "hvc1.A2.6.H93.90.0.0.0.0.A");
    }

    #[test]
    fn a_record_without_sps_is_an_error() {
        let mut raw = vec![1; 22];
        raw[21] = 0xff;
        raw.push(0);
        assert_eq!(Config::parse(Bytes::from(raw)), Err(InvalidConfig::Missing("sequence parameter set")));
    }
}
