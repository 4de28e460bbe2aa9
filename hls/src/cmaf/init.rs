//! The initialisation segment: what a decoder must know before the first media segment.

use bytes::Bytes;
use fragment::{Codec, Track, TrackNumber, Tracks, codec};
use mp4_atom::{
    Atom, Audio, Avc1, Avcc, Dinf, Dref, DrefEntry, Encode, Esds, FourCC, Ftyp, Hdlr, Hvc1, Hvcc, Mdhd, Mdia, Minf,
    Moov, Mp4a, Mvex, Mvhd, Smhd, Stbl, Stco, Stsd, Tkhd, Trak, Trex, Url, Visual, Vmhd, esds,
};

use super::timescale;
use crate::error::InitError;

/// The MPEG-4 object type "Audio ISO/IEC 14496-3", and the stream type "audio" (ISO/IEC 14496-1).
const OBJECT_TYPE_AAC: u8 = 0x40;
const STREAM_TYPE_AUDIO: u8 = 0x05;

/// The initialisation segment for fragments with these tracks.
pub fn init(tracks: &Tracks) -> Result<Bytes, InitError> {
    let mut moov = Moov {
        mvhd: Mvhd { timescale: 1000, rate: 1.into(), volume: 1.into(), ..Mvhd::default() },
        mvex: Some(Mvex::default()),
        ..Moov::default()
    };
    let mut extends = Mvex::default();
    for track in tracks {
        let Some(timescale) = timescale(track) else {
            continue;
        };
        moov.trak.push(trak(track.number, timescale, vec![sample_entry(track)?]));
        extends.trex.push(Trex {
            track_id: u32::from(track.number.get()),
            default_sample_description_index: 1,
            ..Trex::default()
        });
        moov.mvhd.next_track_id = moov.mvhd.next_track_id.max(u32::from(track.number.get()) + 1);
    }
    if moov.trak.is_empty() {
        return Err(InitError::NothingPlayable);
    }
    moov.mvex = Some(extends);

    let mut bytes = Vec::with_capacity(2048);
    Ftyp {
        major_brand: b"iso6".into(),
        minor_version: 0,
        compatible_brands: vec![b"iso6".into(), b"cmfc".into(), b"mp41".into()],
    }
    .encode(&mut bytes)?;
    moov.encode(&mut bytes)?;
    Ok(bytes.into())
}

/// A track whose samples are coded as these entries say, without any sample yet.
pub(crate) fn trak(number: TrackNumber, timescale: u32, entries: Vec<mp4_atom::Codec>) -> Trak {
    let visual = entries.iter().find_map(|entry| entry.visual());
    let (width, height) = visual.map_or((0, 0), |visual| (visual.width, visual.height));
    let video = visual.is_some();
    Trak {
        tkhd: Tkhd {
            track_id: u32::from(number.get()),
            enabled: true,
            in_movie: true,
            volume: u8::from(!video).into(),
            width: width.into(),
            height: height.into(),
            ..Tkhd::default()
        },
        mdia: Mdia {
            mdhd: Mdhd { timescale, language: "und".into(), ..Mdhd::default() },
            hdlr: Hdlr {
                handler: if video { FourCC::new(b"vide") } else { FourCC::new(b"soun") },
                name: if video { "Video".into() } else { "Audio".into() },
            },
            minf: Minf {
                vmhd: video.then(Vmhd::default),
                smhd: (!video).then(Smhd::default),
                // The media lies in the same file: an empty location.
                dinf: Dinf { dref: Dref { entries: vec![DrefEntry::Url(Url::default())] } },
                stbl: Stbl { stsd: Stsd { codecs: entries }, stco: Some(Stco::default()), ..Stbl::default() },
                ..Minf::default()
            },
        },
        ..Trak::default()
    }
}

/// What tells a decoder how the samples of a track are coded.
pub(crate) fn sample_entry(track: &Track) -> Result<mp4_atom::Codec, InitError> {
    let configuration = |source| InitError::Configuration { track: track.number, source };
    match &track.codec {
        Codec::H264(config) => Ok(mp4_atom::Codec::Avc1(Avc1 {
            visual: visual(track, config.width(), config.height())?,
            avcc: record::<Avcc>(config.as_bytes()).map_err(configuration)?,
            ..Avc1::default()
        })),
        Codec::H265(config) => Ok(mp4_atom::Codec::Hvc1(Hvc1 {
            visual: visual(track, config.width(), config.height())?,
            hvcc: record::<Hvcc>(config.as_bytes()).map_err(configuration)?,
            ..Hvc1::default()
        })),
        Codec::Aac(config) => Ok(mp4_atom::Codec::Mp4a(mp4a(config, track))),
        Codec::Other { .. } => Err(InitError::NothingPlayable),
    }
}

fn visual(track: &Track, width: u32, height: u32) -> Result<Visual, InitError> {
    let too_large = |_| InitError::PictureTooLarge { track: track.number, width, height };
    Ok(Visual {
        data_reference_index: 1,
        width: u16::try_from(width).map_err(too_large)?,
        height: u16::try_from(height).map_err(too_large)?,
        ..Visual::default()
    })
}

/// A decoder configuration record, which is the body of an MP4 box of its own.
fn record<A: Atom>(bytes: &Bytes) -> Result<A, mp4_atom::Error> {
    A::decode_body(&mut &bytes[..])
}

fn mp4a(config: &codec::aac::Config, track: &Track) -> Mp4a {
    // The field is 16.16: rates above 65,535 Hz don't fit and are told by the AudioSpecificConfig alone.
    let sample_rate = u16::try_from(config.sampling_frequency()).unwrap_or(0);
    Mp4a {
        audio: Audio {
            data_reference_index: 1,
            channel_count: u16::from(config.channels()),
            sample_size: 16,
            sample_rate: sample_rate.into(),
        },
        esds: Esds {
            es_desc: esds::EsDescriptor {
                es_id: u16::from(track.number.get()),
                dec_config: esds::DecoderConfig {
                    object_type_indication: OBJECT_TYPE_AAC,
                    stream_type: STREAM_TYPE_AUDIO,
                    dec_specific: Some(esds::DecoderSpecific {
                        raw: config.as_bytes().to_vec(),
                        ..esds::DecoderSpecific::default()
                    }),
                    ..esds::DecoderConfig::default()
                },
                ..esds::EsDescriptor::default()
            },
        },
        btrt: None,
        taic: None,
    }
}
