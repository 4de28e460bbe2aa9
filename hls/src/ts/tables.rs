//! The two tables that tell a demuxer what there is: program association and program map (ISO/IEC 13818-1, 2.4.4).
//!
//! ```text
//! [table id: 1][1011: 4 bits][length: 12 bits][id: 2][11, version 0, current: 1][section 0 of 0: 2] … [CRC-32/MPEG-2: 4]
//! PAT  [program: 2][111][PID of its PMT: 13 bits]
//! PMT  [111][PID of the clock: 13 bits][1111][no descriptors: 12 bits] then per stream [type: 1][111][PID: 13 bits][1111][no descriptors: 12 bits]
//! ```

use super::{PID_AUDIO, PID_PMT, PID_VIDEO};

const PROGRAM: u16 = 1;
const TABLE_PROGRAM_ASSOCIATION: u8 = 0;
const TABLE_PROGRAM_MAP: u8 = 2;

/// What a stream carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    H264,
    H265,
    Adts,
}

impl Kind {
    /// The registered stream type.
    fn stream_type(self) -> u8 {
        match self {
            Self::H264 => 0x1b,
            Self::H265 => 0x24,
            Self::Adts => 0x0f,
        }
    }

    pub(super) fn pid(self) -> u16 {
        match self {
            Self::H264 | Self::H265 => PID_VIDEO,
            Self::Adts => PID_AUDIO,
        }
    }
}

pub(super) fn program_association() -> Vec<u8> {
    section(TABLE_PROGRAM_ASSOCIATION, &[PROGRAM.to_be_bytes(), (0xe000 | PID_PMT).to_be_bytes()].concat())
}

/// The clock travels with the first stream.
pub(super) fn program_map(streams: &[Kind]) -> Vec<u8> {
    let clock = streams.first().map_or(0x1fff, |kind| kind.pid());
    let mut body = [(0xe000 | clock).to_be_bytes(), 0xf000_u16.to_be_bytes()].concat();
    for kind in streams {
        body.push(kind.stream_type());
        body.extend_from_slice(&(0xe000 | kind.pid()).to_be_bytes());
        body.extend_from_slice(&0xf000_u16.to_be_bytes());
    }
    section(TABLE_PROGRAM_MAP, &body)
}

fn section(table: u8, body: &[u8]) -> Vec<u8> {
    // Counted from behind itself, the checksum included.
    let length = u16::try_from(5 + body.len() + 4).expect("a table of one program is short");
    let mut section = vec![table];
    section.extend_from_slice(&(0xb000 | length).to_be_bytes());
    section.extend_from_slice(&PROGRAM.to_be_bytes());
    section.extend_from_slice(&[0b1100_0001, 0, 0]);
    section.extend_from_slice(body);
    let checksum = crc32(&section);
    section.extend_from_slice(&checksum.to_be_bytes());
    section
}

/// CRC-32/MPEG-2, bit by bit: some 30 bytes for each segment.
fn crc32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(
            crc ^ u32::from(*byte) << 24,
            |crc, _| {
                if crc & 1 << 31 == 0 { crc << 1 } else { crc << 1 ^ 0x04c1_1db7 }
            },
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_the_standard() {
        assert_eq!(crc32(b"123456789"), 0x0376_e6e7, "the check value of CRC-32/MPEG-2");
        assert_eq!(crc32(&program_map(&[Kind::H264, Kind::Adts])), 0, "a section with its checksum gives 0");
    }

    #[test]
    fn a_program_map_names_its_streams() {
        let map = program_map(&[Kind::H265, Kind::Adts]);
        assert_eq!(map[..3], [2, 0xb0, 23]);
        assert_eq!(map[8..12], [0xe1, 0x00, 0xf0, 0x00]);
        assert_eq!(map[12..22], [0x24, 0xe1, 0x00, 0xf0, 0x00, 0x0f, 0xe1, 0x01, 0xf0, 0x00]);
    }
}
