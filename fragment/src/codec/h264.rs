//! H.264: the `avcC` record (ISO/IEC 14496-15) and the sequence parameter set within.
//!
//! ```text
//! [version: 1 = 1][profile: 1][constraints: 1][level: 1][111111 + NAL length size - 1: 1]
//! [111 + SPS count: 1] then per SPS [length: 2][SPS]
//! [PPS count: 1] then per PPS [length: 2][PPS]
//! [what high profiles add, not read here]
//! ```

use bytes::Bytes;

use super::InvalidConfig;
use super::bits::{Bits, Fields, cropped, unescape};

/// A decoder configuration for H.264.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    raw: Bytes,
    parameter_sets: Vec<Bytes>,
    width: u32,
    height: u32,
}

impl Config {
    /// Parses an `avcC` record.
    pub fn parse(raw: Bytes) -> Result<Self, InvalidConfig> {
        let mut fields = Fields::new(&raw);
        let version = fields.u8("the version of an avcC record")?;
        if version != 1 {
            return Err(InvalidConfig::Value { field: "the version of avcC", value: version.into(), expected: "1" });
        }
        fields.take(3, "profile, constraints and level")?;
        let length_size = (fields.u8("the NAL length size")? & 0b11) + 1;
        if length_size == 3 {
            return Err(InvalidConfig::Value { field: "the NAL length size", value: 3, expected: "1, 2 or 4" });
        }
        let (mut size, mut parameter_sets) = (None, Vec::new());
        for _ in 0..fields.u8("the number of SPS")? & 0b1_1111 {
            let sps = fields.nal("a sequence parameter set")?;
            size = size.or(Some(picture_size(sps)?));
            parameter_sets.push(raw.slice_ref(sps));
        }
        for _ in 0..fields.u8("the number of PPS")? {
            parameter_sets.push(raw.slice_ref(fields.nal("a picture parameter set")?));
        }
        let (width, height) = size.ok_or(InvalidConfig::Missing("sequence parameter set"))?;
        Ok(Self { raw, parameter_sets, width, height })
    }

    /// The record as it is stored in CodecPrivate.
    pub fn as_bytes(&self) -> &Bytes {
        &self.raw
    }

    /// The parameter sets in it, sequence before picture, NAL headers included.
    pub fn parameter_sets(&self) -> &[Bytes] {
        &self.parameter_sets
    }

    /// The RFC 6381 string, such as `avc1.64001f`.
    pub fn rfc6381(&self) -> String {
        format!("avc1.{:02x}{:02x}{:02x}", self.raw[1], self.raw[2], self.raw[3])
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
        (self.raw[4] & 0b11) + 1
    }
}

/// The profiles whose SPS has the chroma and scaling fields (H.264, 7.3.2.1.1).
const HIGH_PROFILES: [u32; 13] = [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135];

/// The picture's size from a sequence parameter set, NAL header included.
fn picture_size(nal: &[u8]) -> Result<(u32, u32), InvalidConfig> {
    let kind = nal.first().ok_or(InvalidConfig::Missing("sequence parameter set"))? & 0b1_1111;
    if kind != 7 {
        return Err(InvalidConfig::Value { field: "the NAL unit type of the SPS", value: kind.into(), expected: "7" });
    }
    let payload = unescape(&nal[1..]);
    let mut bits = Bits::new(&payload);
    let profile = bits.read(8, "profile_idc")?;
    bits.skip(16, "constraint flags and level_idc")?;
    bits.unsigned("seq_parameter_set_id")?;
    let chroma = if HIGH_PROFILES.contains(&profile) { read_chroma(&mut bits)? } else { Chroma::YUV_420 };
    bits.unsigned("log2_max_frame_num_minus4")?;
    skip_picture_order(&mut bits)?;
    bits.unsigned("max_num_ref_frames")?;
    bits.skip(1, "gaps_in_frame_num_value_allowed_flag")?;
    let width_mbs = u64::from(bits.unsigned("pic_width_in_mbs_minus1")?) + 1;
    let height_units = u64::from(bits.unsigned("pic_height_in_map_units_minus1")?) + 1;
    let frames_only = bits.flag("frame_mbs_only_flag")?;
    if !frames_only {
        bits.skip(1, "mb_adaptive_frame_field_flag")?;
    }
    bits.skip(1, "direct_8x8_inference_flag")?;
    let (mut crop_x, mut crop_y) = (0, 0);
    let field_factor = if frames_only { 1 } else { 2 };
    if bits.flag("frame_cropping_flag")? {
        let mut offset = || bits.unsigned("a frame cropping offset").map(u64::from);
        crop_x = (offset()? + offset()?) * chroma.unit_x;
        crop_y = (offset()? + offset()?) * chroma.unit_y * field_factor;
    }
    let width = cropped(width_mbs * 16, crop_x, "the picture's width")?;
    let height = cropped(height_units * 16 * field_factor, crop_y, "the picture's height")?;
    Ok((width, height))
}

/// How many pixels a cropping offset counts.
struct Chroma {
    unit_x: u64,
    unit_y: u64,
}

impl Chroma {
    const YUV_420: Self = Self { unit_x: 2, unit_y: 2 };
}

fn read_chroma(bits: &mut Bits<'_>) -> Result<Chroma, InvalidConfig> {
    let format = bits.unsigned("chroma_format_idc")?;
    let chroma = match format {
        1 => Chroma::YUV_420,
        2 => Chroma { unit_x: 2, unit_y: 1 },
        0 | 3 => Chroma { unit_x: 1, unit_y: 1 },
        _ => {
            return Err(InvalidConfig::Value { field: "chroma_format_idc", value: format.into(), expected: "0 to 3" });
        }
    };
    if format == 3 {
        bits.skip(1, "separate_colour_plane_flag")?;
    }
    bits.unsigned("bit_depth_luma_minus8")?;
    bits.unsigned("bit_depth_chroma_minus8")?;
    bits.skip(1, "qpprime_y_zero_transform_bypass_flag")?;
    if bits.flag("seq_scaling_matrix_present_flag")? {
        let lists = if format == 3 { 12 } else { 8 };
        for list in 0..lists {
            if bits.flag("seq_scaling_list_present_flag")? {
                skip_scaling_list(bits, if list < 6 { 16 } else { 64 })?;
            }
        }
    }
    Ok(chroma)
}

fn skip_scaling_list(bits: &mut Bits<'_>, size: u32) -> Result<(), InvalidConfig> {
    let mut next: i64 = 8;
    for _ in 0..size {
        if next == 0 {
            break;
        }
        // Only whether it becomes 0 matters; the list repeats its last value from there on.
        next = (next + bits.signed("a scaling list delta")?).rem_euclid(256);
    }
    Ok(())
}

fn skip_picture_order(bits: &mut Bits<'_>) -> Result<(), InvalidConfig> {
    let kind = bits.unsigned("pic_order_cnt_type")?;
    match kind {
        0 => {
            bits.unsigned("log2_max_pic_order_cnt_lsb_minus4")?;
        }
        1 => {
            bits.skip(1, "delta_pic_order_always_zero_flag")?;
            bits.signed("offset_for_non_ref_pic")?;
            bits.signed("offset_for_top_to_bottom_field")?;
            // The count is not bounded here: the bits run out first.
            for _ in 0..bits.unsigned("num_ref_frames_in_pic_order_cnt_cycle")? {
                bits.signed("offset_for_ref_frame")?;
            }
        }
        2 => {}
        _ => {
            return Err(InvalidConfig::Value { field: "pic_order_cnt_type", value: kind.into(), expected: "0 to 2" });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1920x1080 High, as x264 writes it: 1088 rows coded, 8 cropped.
    const X264_1080P: &[u8] = &[
        0x01, 0x64, 0x00, 0x28, 0xff, 0xe1, 0x00, 0x1b, 0x67, 0x64, 0x00, 0x28, 0xac, 0xd9, 0x40, 0x78, 0x02, 0x27,
        0xe5, 0xc0, 0x44, 0x00, 0x00, 0x03, 0x00, 0x04, 0x00, 0x00, 0x03, 0x00, 0xf0, 0x3c, 0x60, 0xc6, 0x58, 0x01,
        0x00, 0x06, 0x68, 0xeb, 0xe3, 0xcb, 0x22, 0xc0,
    ];

    #[test]
    fn the_size_is_cropped_and_the_codec_string_is_read_off() {
        let config = Config::parse(Bytes::from_static(X264_1080P)).unwrap();
        assert_eq!((config.width(), config.height()), (1920, 1080));
        assert_eq!(config.rfc6381(), "avc1.640028");
        assert_eq!(config.nal_length_size(), 4);
        assert_eq!(config.as_bytes(), X264_1080P);
        let kinds: Vec<u8> = config.parameter_sets().iter().map(|nal| nal[0] & 0b1_1111).collect();
        assert_eq!(kinds, [7, 8]);
    }

    #[test]
    fn every_truncation_is_an_error() {
        for end in 0..X264_1080P.len() {
            assert!(Config::parse(Bytes::from_static(&X264_1080P[..end])).is_err(), "{end} bytes");
        }
    }

    #[test]
    fn a_record_without_sps_is_an_error() {
        let empty = Bytes::from_static(&[1, 0x64, 0, 0x28, 0xff, 0xe0, 0]);
        assert_eq!(Config::parse(empty), Err(InvalidConfig::Missing("sequence parameter set")));
    }

    #[test]
    fn annex_b_is_not_avcc() {
        let annex_b = Bytes::from_static(&[0, 0, 0, 1, 0x67, 0x64, 0, 0x28]);
        assert!(matches!(Config::parse(annex_b), Err(InvalidConfig::Value { value: 0, .. })));
    }
}
