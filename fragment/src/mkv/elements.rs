//! The ids of the elements that this crate reads or writes, and their names for error messages.

use std::fmt;

/// The id of an element, its length marker included, as the Matroska specification writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Id(pub u32);

macro_rules! elements {
    ($($constant:ident = $id:literal, $name:literal;)*) => {
        impl Id {
            $(pub(super) const $constant: Self = Self($id);)*

            /// The element's name, where this crate knows it.
            pub fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($id => Some($name),)*
                    _ => None,
                }
            }
        }
    };
}

elements! {
    // Anywhere.
    VOID = 0xEC, "Void";
    CRC_32 = 0xBF, "CRC-32";
    // The EBML header.
    EBML = 0x1A45_DFA3, "EBML";
    EBML_VERSION = 0x4286, "EBMLVersion";
    EBML_READ_VERSION = 0x42F7, "EBMLReadVersion";
    EBML_MAX_ID_LENGTH = 0x42F2, "EBMLMaxIDLength";
    EBML_MAX_SIZE_LENGTH = 0x42F3, "EBMLMaxSizeLength";
    DOC_TYPE = 0x4282, "DocType";
    DOC_TYPE_VERSION = 0x4287, "DocTypeVersion";
    DOC_TYPE_READ_VERSION = 0x4285, "DocTypeReadVersion";
    // The Segment and what lies directly in it.
    SEGMENT = 0x1853_8067, "Segment";
    SEEK_HEAD = 0x114D_9B74, "SeekHead";
    INFO = 0x1549_A966, "Info";
    TRACKS = 0x1654_AE6B, "Tracks";
    CLUSTER = 0x1F43_B675, "Cluster";
    CUES = 0x1C53_BB6B, "Cues";
    CHAPTERS = 0x1043_A770, "Chapters";
    ATTACHMENTS = 0x1941_A469, "Attachments";
    TAGS = 0x1254_C367, "Tags";
    // Info.
    TIMESTAMP_SCALE = 0x2A_D7B1, "TimestampScale";
    TITLE = 0x7BA9, "Title";
    MUXING_APP = 0x4D80, "MuxingApp";
    WRITING_APP = 0x5741, "WritingApp";
    // Tracks.
    TRACK_ENTRY = 0xAE, "TrackEntry";
    TRACK_NUMBER = 0xD7, "TrackNumber";
    TRACK_UID = 0x73C5, "TrackUID";
    TRACK_TYPE = 0x83, "TrackType";
    FLAG_LACING = 0x9C, "FlagLacing";
    LANGUAGE = 0x22_B59C, "Language";
    DEFAULT_DURATION = 0x23_E383, "DefaultDuration";
    CODEC_ID = 0x86, "CodecID";
    CODEC_PRIVATE = 0x63A2, "CodecPrivate";
    CONTENT_ENCODINGS = 0x6D80, "ContentEncodings";
    VIDEO = 0xE0, "Video";
    PIXEL_WIDTH = 0xB0, "PixelWidth";
    PIXEL_HEIGHT = 0xBA, "PixelHeight";
    AUDIO = 0xE1, "Audio";
    SAMPLING_FREQUENCY = 0xB5, "SamplingFrequency";
    CHANNELS = 0x9F, "Channels";
    // Clusters.
    TIMESTAMP = 0xE7, "Timestamp";
    SIMPLE_BLOCK = 0xA3, "SimpleBlock";
    BLOCK_GROUP = 0xA0, "BlockGroup";
    BLOCK = 0xA1, "Block";
    BLOCK_DURATION = 0x9B, "BlockDuration";
    REFERENCE_BLOCK = 0xFB, "ReferenceBlock";
    // Tags.
    TAG = 0x7373, "Tag";
    TARGETS = 0x63C0, "Targets";
    SIMPLE_TAG = 0x67C8, "SimpleTag";
    TAG_NAME = 0x45A3, "TagName";
    TAG_STRING = 0x4487, "TagString";
}

impl Id {
    /// Whether the element belongs directly into a Segment or beside one: such an element ends a
    /// Cluster of unknown size.
    pub(super) fn is_above_cluster(self) -> bool {
        matches!(
            self,
            Self::SEEK_HEAD
                | Self::INFO
                | Self::TRACKS
                | Self::CLUSTER
                | Self::CUES
                | Self::CHAPTERS
                | Self::ATTACHMENTS
                | Self::TAGS
        ) || self.is_top_level()
    }

    /// Whether the element belongs beside a Segment: such an element ends a Segment of unknown size.
    pub(super) fn is_top_level(self) -> bool {
        matches!(self, Self::EBML | Self::SEGMENT)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "the unknown element 0x{:X}", self.0),
        }
    }
}
