//! Whether the tracks of a fragment can be played, and AWS's words for why not.

use fragment::{Codec, Tracks};

use super::refusal::Refusal;

/// Refuses tracks that no player decodes: there has to be one at least of H.264, H.265 or AAC, and each of those has to say how it is
/// configured. Other tracks beside them are not played, and are no reason to refuse.
pub(super) fn check(tracks: &Tracks) -> Result<(), Refusal> {
    for track in tracks {
        let Codec::Other { id, private, .. } = &track.codec else { continue };
        if is_played(id) && private.is_empty() {
            return Err(Refusal::MissingCodecPrivateData { track: track.number, codec: id.clone() });
        }
        if is_played(id) {
            let message = format!("those of track {} ({id}) are not what its codec has them be", track.number);
            return Err(Refusal::InvalidCodecPrivateData(message));
        }
    }
    if tracks.iter().any(|track| track.codec.rfc6381().is_some()) {
        return Ok(());
    }
    let ids: Vec<&str> =
        tracks.iter().map(|track| if let Codec::Other { id, .. } = &track.codec { id } else { "" }).collect();
    let message = format!("None of the tracks is H.264, H.265 or AAC; their codec ids are {}.", ids.join(", "));
    Err(Refusal::UnsupportedMediaType(message))
}

/// Whether a codec id is one of those, as Matroska or as AWS writes them.
fn is_played(id: &str) -> bool {
    let video = ["V_MPEG4/ISO/AVC", "V_MPEG/ISO/AVC", "V_MPEGH/ISO/HEVC", "V_MPEG/ISO/HEVC"];
    video.contains(&id) || id == "A_AAC" || id.starts_with("A_AAC/")
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use fragment::codec::aac;
    use fragment::{Track, TrackKind, TrackNumber};

    use super::*;

    #[test]
    fn tracks_are_played_or_refused_in_words_of_aws() {
        let aac = Codec::Aac(aac::Config::parse(Bytes::from_static(&[0x11, 0x88])).unwrap());
        let other = |id: &str, private: &'static [u8]| Codec::Other {
            id: id.to_owned(),
            private: Bytes::from_static(private),
            kind: TrackKind::Video,
        };
        let check = |codecs: &[&Codec]| {
            let track = |(at, codec): (usize, &&Codec)| Track {
                number: TrackNumber::new(at as u64 + 1).unwrap(),
                codec: (*codec).clone(),
            };
            check(&Tracks::new(codecs.iter().enumerate().map(track).collect()).unwrap())
        };
        let missing = other("V_MPEG4/ISO/AVC", b"");
        let invalid = other("V_MPEG/ISO/HEVC", &[0, 0, 0, 1, 0x40]);
        let unknown = other("V_VP9", b"");
        assert!(check(&[&aac]).is_ok());
        assert!(check(&[&aac, &unknown]).is_ok());
        assert!(matches!(check(&[&aac, &missing]), Err(Refusal::MissingCodecPrivateData { .. })));
        assert!(matches!(check(&[&invalid]), Err(Refusal::InvalidCodecPrivateData(_))));
        let refused = check(&[&unknown]).unwrap_err();
        assert!(matches!(refused, Refusal::UnsupportedMediaType(_)) && refused.to_string().contains("V_VP9"));
    }
}
