//! Codes of G.726 in the order in which the decoder reads them.
//!
//! ```text
//! RFC 3551, G726-24      [c b a][f e d][h g…   the first code in the lowest bits of the first byte
//! AAL2, AAL2-G726-24     [a b c][d e f][g h…   the first code in the highest bits
//! ```
//!
//! The decoder reads the second. GStreamer 1.22's depayloader turns one into the other for codes of 2 and 4 bits, and
//! garbles those of 3 and 5 (a tone of 300 Hz came out as noise at 1400), so it is told to leave them as they are,
//! and they are turned here.

use gst::prelude::*;

/// What the depayloader is called in a line.
const DEPAYLOADER: &str = "g726";

/// The line that decodes G.726 of either kind.
pub(crate) const LINE: &str = "rtpg726depay name=g726 force-aal2=true ! avdec_g726";

/// Has the codes in `bin`, if it has G.726 in it, turned as the decoder wants them. `caps` are the camera's.
pub(crate) fn put_in_order(bin: &gst::Bin, caps: &gst::CapsRef) {
    let encoding = caps.structure(0).and_then(|structure| structure.get::<&str>("encoding-name").ok());
    let Some(bits) = encoding.and_then(bits_of) else { return };
    let Some(pad) = bin.by_name(DEPAYLOADER).and_then(|depayloader| depayloader.static_pad("src")) else { return };
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        if let Some(gst::PadProbeData::Buffer(buffer)) = &mut info.data
            && let Ok(mut map) = buffer.make_mut().map_writable()
        {
            turn(&mut map, bits);
        }
        gst::PadProbeReturn::Ok
    });
}

/// The bits of a code that is packed from the lowest bit; nothing for AAL2 and for other codings.
fn bits_of(encoding: &str) -> Option<u32> {
    match encoding.to_ascii_uppercase().strip_prefix("G726-")? {
        "16" => Some(2),
        "24" => Some(3),
        "32" => Some(4),
        "40" => Some(5),
        _ => None,
    }
}

/// Packs codes of `bits` bits from the highest bit that were packed from the lowest. Packets hold whole codes; bits
/// that are left over are the end of a damaged one.
fn turn(bytes: &mut [u8], bits: u32) {
    let mask = (1_u32 << bits) - 1;
    let (mut read, mut have) = (0_u32, 0);
    let (mut written, mut filled, mut at) = (0_u32, 0, 0);
    for i in 0..bytes.len() {
        read |= u32::from(bytes[i]) << have;
        have += 8;
        while have >= bits {
            written = (written << bits) | (read & mask);
            (read, have, filled) = (read >> bits, have - bits, filled + bits);
            if filled >= 8 {
                filled -= 8;
                bytes[at] = u8::try_from((written >> filled) & 0xff).expect("it is masked");
                at += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_turned_as_another_coder_packs_them() {
        // The same sound by ffmpeg's g726le and g726.
        for (bits, lowest_first, highest_first) in [
            (2, &[0x00, 0xf0, 0xbf, 0xef][..], &[0x00, 0x0f, 0xfe, 0xfb][..]),
            (
                3,
                &[0xc9, 0xf5, 0x3f, 0xb5, 0xda, 0xbe, 0x96, 0xfd, 0x44][..],
                &[0x27, 0xaf, 0xf9, 0xb9, 0x5b, 0x7d, 0xcb, 0x6e, 0x4a][..],
            ),
            (4, &[0xcc, 0x1d, 0xec, 0x4d][..], &[0xcc, 0xd1, 0xce, 0xd4][..]),
            (
                5,
                &[0xa5, 0x88, 0x5e, 0x04, 0xb9, 0xe4, 0xdb, 0x7f, 0xb5, 0xee][..],
                &[0x29, 0x45, 0xd2, 0x88, 0x97, 0x27, 0xed, 0xfb, 0xeb, 0x5d][..],
            ),
        ] {
            let mut bytes = lowest_first.to_vec();
            turn(&mut bytes, bits);
            assert_eq!(bytes, highest_first, "{bits} bits");
        }
    }

    #[test]
    fn codes_of_aal2_are_left_as_they_are() {
        assert_eq!(bits_of("AAL2-G726-32"), None);
        assert_eq!(bits_of("g726-40"), Some(5));
        assert_eq!(bits_of("PCMU"), None);
    }
}
