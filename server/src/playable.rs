//! Whether the tracks of a fragment can be played.

use fragment::{Codec, TrackNumber, Tracks};

/// Why not.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotPlayable {
    /// None of them is coded in a way that is played.
    #[error("None of the tracks is H.264, H.265 or AAC; their codec ids are {0}.")]
    Unsupported(String),
    /// One does not say how it is to be decoded.
    #[error("Track {track} ({codec}) has no codec private data.")]
    MissingPrivateData { track: TrackNumber, codec: String },
    /// Or says it in a way that can't be read.
    #[error("The codec private data of track {track} ({codec}) are not what its codec has them be.")]
    InvalidPrivateData { track: TrackNumber, codec: String },
}

/// Refuses tracks that no player decodes: there has to be one at least of H.264, H.265 or AAC, and each of those has to say how it is
/// configured. Other tracks beside them are not played, and are no reason to refuse.
pub(crate) fn check(tracks: &Tracks) -> Result<(), NotPlayable> {
    for track in tracks {
        let Codec::Other { id, private, .. } = &track.codec else { continue };
        let (track, codec) = (track.number, id.clone());
        if is_played(id) && private.is_empty() {
            return Err(NotPlayable::MissingPrivateData { track, codec });
        }
        if is_played(id) {
            return Err(NotPlayable::InvalidPrivateData { track, codec });
        }
    }
    if tracks.iter().any(|track| track.codec.rfc6381().is_some()) {
        return Ok(());
    }
    let ids: Vec<&str> =
        tracks.iter().map(|track| if let Codec::Other { id, .. } = &track.codec { id } else { "" }).collect();
    Err(NotPlayable::Unsupported(ids.join(", ")))
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
    fn tracks_are_played_or_said_why_not() {
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
        assert!(matches!(check(&[&aac, &missing]), Err(NotPlayable::MissingPrivateData { .. })));
        assert!(matches!(check(&[&invalid]), Err(NotPlayable::InvalidPrivateData { .. })));
        let refused = check(&[&unknown]).unwrap_err();
        assert!(matches!(refused, NotPlayable::Unsupported(_)) && refused.to_string().contains("V_VP9"));
    }
}
