//! AAC: the AudioSpecificConfig (ISO/IEC 14496-3, 1.6.2.1).
//!
//! ```text
//! [object type: 5 bits, 31 = 32 + the next 6][frequency index: 4 bits, 15 = the next 24][channels: 4 bits]
//! for HE-AAC (object type 5 or 29): [extension frequency][object type of the core]
//! [frame length flag: 1 bit][depends on core coder: 1 bit + 14][extension flag: 1 bit]
//! for channels = 0: [program config element]
//! ```

use bytes::Bytes;

use super::InvalidConfig;
use super::bits::Bits;

const FREQUENCIES: [u32; 13] =
    [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];

/// The bytes before a frame in ADTS.
pub const ADTS_HEADER_BYTES: usize = 7;

/// A decoder configuration for AAC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    raw: Bytes,
    object_type: u32,
    core: u32,
    sampling_frequency: u32,
    channels: u8,
    samples_per_frame: u32,
}

impl Config {
    /// Parses an AudioSpecificConfig.
    pub fn parse(raw: Bytes) -> Result<Self, InvalidConfig> {
        let mut bits = Bits::new(&raw);
        let object_type = read_object_type(&mut bits)?;
        let sampling_frequency = read_frequency(&mut bits)?;
        let channel_config = bits.read(4, "the channel configuration")?;
        let mut core = object_type;
        if matches!(object_type, 5 | 29) {
            read_frequency(&mut bits)?;
            core = read_object_type(&mut bits)?;
        }
        if !matches!(core, 1..=4 | 6 | 7 | 17 | 19..=23 | 39 | 42) {
            return Err(InvalidConfig::Value {
                field: "the audio object type",
                value: core.into(),
                expected: "a kind of AAC",
            });
        }
        // xHE-AAC (42) goes on in a way of its own; AAC-LC and its kin share the GASpecificConfig.
        let short = core != 42 && bits.flag("the frame length flag")?;
        let channels = match channel_config {
            0 if core == 42 => 0,
            0 => read_program_channels(&mut bits)?,
            1 => 1,
            2 => 2,
            3 => 3,
            4 => 4,
            5 => 5,
            6 => 6,
            7 | 12 | 14 => 8,
            11 => 7,
            _ => {
                return Err(InvalidConfig::Value {
                    field: "the channel configuration",
                    value: channel_config.into(),
                    expected: "0 to 7, 11, 12 or 14",
                });
            }
        };
        let samples_per_frame = match (core, short) {
            (23 | 39, false) => 512,
            (23 | 39, true) => 480,
            (_, false) => 1024,
            (_, true) => 960,
        };
        Ok(Self { raw, object_type, core, sampling_frequency, channels, samples_per_frame })
    }

    /// The record as it is stored in CodecPrivate.
    pub fn as_bytes(&self) -> &Bytes {
        &self.raw
    }

    /// The RFC 6381 string, such as `mp4a.40.2`.
    pub fn rfc6381(&self) -> String {
        format!("mp4a.40.{}", self.object_type)
    }

    /// Samples per second of the core coder; HE-AAC plays at twice that.
    pub fn sampling_frequency(&self) -> u32 {
        self.sampling_frequency
    }

    /// The number of channels of the core coder.
    pub fn channels(&self) -> u8 {
        self.channels
    }

    /// Samples per channel in each frame, counted at [`Self::sampling_frequency`].
    pub fn samples_per_frame(&self) -> u32 {
        self.samples_per_frame
    }

    /// The ADTS header (ISO/IEC 14496-3, 1.A.2.2) of a frame with this many bytes; `None` where ADTS has no words for the
    /// configuration or the size.
    pub fn adts_header(&self, frame_bytes: usize) -> Option<[u8; ADTS_HEADER_BYTES]> {
        // Main, LC, SSR or LTP, in two bits; HE-AAC says LC and is recognised by what is in the frames.
        let profile = u8::try_from(self.core.checked_sub(1)?).ok().filter(|profile| *profile < 4)?;
        let frequency = FREQUENCIES.iter().position(|frequency| *frequency == self.sampling_frequency)?;
        let channels = Some(self.channels).filter(|channels| (1..=6).contains(channels))?;
        if self.samples_per_frame != 1024 {
            return None;
        }
        let length = u16::try_from(frame_bytes + ADTS_HEADER_BYTES).ok().filter(|length| *length < 1 << 13)?;
        let [high, low] = length.to_be_bytes();
        let frequency = u8::try_from(frequency).expect("there are 13");
        Some([
            0xff,
            0xf1, // MPEG-4, no checksum
            profile << 6 | frequency << 2 | channels >> 2,
            (channels & 0b11) << 6 | high >> 3,
            high << 5 | low >> 3,
            low << 5 | 0b1_1111,
            0b1111_1100, // the buffer's fullness is not told; one frame
        ])
    }
}

fn read_object_type(bits: &mut Bits<'_>) -> Result<u32, InvalidConfig> {
    match bits.read(5, "the audio object type")? {
        31 => Ok(32 + bits.read(6, "the extended audio object type")?),
        object_type => Ok(object_type),
    }
}

fn read_frequency(bits: &mut Bits<'_>) -> Result<u32, InvalidConfig> {
    let index = bits.read(4, "the sampling frequency index")?;
    let frequency = match index {
        15 => bits.read(24, "the sampling frequency")?,
        _ => FREQUENCIES.get(index as usize).copied().unwrap_or(0),
    };
    if frequency == 0 {
        return Err(InvalidConfig::Value {
            field: "the sampling frequency index",
            value: index.into(),
            expected: "0 to 12, or 15 and a frequency above 0",
        });
    }
    Ok(frequency)
}

/// Counts the channels of a program config element, which follows when the configuration is 0.
fn read_program_channels(bits: &mut Bits<'_>) -> Result<u8, InvalidConfig> {
    const WHAT: &str = "a program config element";
    if bits.flag(WHAT)? {
        bits.skip(14, "the core coder's delay")?;
    }
    bits.skip(1, "the extension flag")?;
    bits.skip(4 + 2 + 4, WHAT)?;
    let pairs_or_singles = bits.read(4, WHAT)? + bits.read(4, WHAT)? + bits.read(4, WHAT)?;
    let low_frequency = bits.read(2, WHAT)?;
    bits.skip(3 + 4, WHAT)?;
    for mixdown_bits in [4, 4, 3] {
        if bits.flag(WHAT)? {
            bits.skip(mixdown_bits, WHAT)?;
        }
    }
    let mut channels = low_frequency;
    for _ in 0..pairs_or_singles {
        channels += 1 + bits.read(1, WHAT)?;
        bits.skip(4, WHAT)?;
    }
    bits.align();
    u8::try_from(channels).ok().filter(|&channels| channels > 0).ok_or(InvalidConfig::Value {
        field: "the number of channels",
        value: channels.into(),
        expected: "1 to 255",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(bytes: &'static [u8]) -> Result<Config, InvalidConfig> {
        Config::parse(Bytes::from_static(bytes))
    }

    #[test]
    fn aac_lc_is_read() {
        let config = parse(&[0x12, 0x10]).unwrap();
        assert_eq!((config.sampling_frequency(), config.channels()), (44_100, 2));
        assert_eq!(config.samples_per_frame(), 1024);
        assert_eq!(config.rfc6381(), "mp4a.40.2");
    }

    #[test]
    fn an_adts_header_says_what_the_configuration_does() {
        let stereo = parse(&[0x12, 0x10]).unwrap();
        // As ffmpeg's adts muxer writes it before a frame of 371 bytes, but for the fullness that it tells.
        assert_eq!(stereo.adts_header(371), Some([0xff, 0xf1, 0x50, 0x80, 0x2f, 0x5f, 0xfc]));
        assert_eq!(stereo.adts_header((1 << 13) - ADTS_HEADER_BYTES), None, "13 bits tell its length");
        let he = parse(&[0x2b, 0x11, 0x88, 0x00]).unwrap();
        assert_eq!(he.adts_header(371).unwrap()[2], 0b0101_1000, "LC at the core's 24 kHz");
        assert_eq!(parse(&[0x17, 0x80, 0x18, 0x1c, 0x88]).unwrap().adts_header(371), None, "no index for 12,345 Hz");
    }

    #[test]
    fn he_aac_tells_the_core_coder_s_rate() {
        // object type 5, 24 kHz core, stereo, extension 48 kHz, core object type 2
        let config = parse(&[0x2b, 0x11, 0x88, 0x00]).unwrap();
        assert_eq!((config.sampling_frequency(), config.channels()), (24_000, 2));
        assert_eq!(config.rfc6381(), "mp4a.40.5");
    }

    #[test]
    fn an_explicit_frequency_is_read() {
        // object type 2, index 15, 24 bits of 12345, mono
        let config = parse(&[0x17, 0x80, 0x18, 0x1c, 0x88]).unwrap();
        assert_eq!((config.sampling_frequency(), config.channels()), (12_345, 1));
    }

    #[test]
    fn reserved_values_and_truncations_are_errors() {
        assert!(parse(&[]).is_err());
        assert!(parse(&[0x12]).is_err());
        assert!(parse(&[0x16, 0x90]).is_err(), "frequency index 13");
        assert!(parse(&[0x4a, 0x10]).is_err(), "object type 9");
        assert!(parse(&[0x12, 0x00]).is_err(), "no program config element");
    }
}
