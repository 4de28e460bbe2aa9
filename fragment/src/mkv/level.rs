//! Where the reader stands: which elements are open, and where they end.

use std::collections::VecDeque;

use super::block::Head;
use super::elements::Id;
use super::payload::Payload;

/// Where the parser stands.
#[derive(Debug)]
pub(super) enum Level {
    /// Before the first EBML header.
    Start,
    /// Between EBML header and Segment, or after a Segment.
    Document,
    Segment {
        end: Option<u64>,
    },
    Cluster(Cluster),
    Group(Box<Group>),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Cluster {
    pub(super) segment_end: Option<u64>,
    pub(super) end: Option<u64>,
    /// In units of the scale; `None` until its Timestamp was read.
    pub(super) timestamp: Option<i64>,
}

#[derive(Debug)]
pub(super) struct Group {
    pub(super) cluster: Cluster,
    pub(super) end: u64,
    pub(super) head: Option<(Head, u64)>,
    pub(super) frames: VecDeque<Payload>,
    pub(super) duration: Option<u64>,
    pub(super) has_reference: bool,
}

impl Level {
    /// Where the level ends, if its own or its parents' size says so.
    #[inline]
    pub(super) fn end(&self) -> Option<u64> {
        match self {
            Self::Start | Self::Document => None,
            Self::Segment { end } => *end,
            Self::Cluster(cluster) => cluster.end.or(cluster.segment_end),
            Self::Group(group) => Some(group.end),
        }
    }

    /// Whether an element of this id ends the level, whose size is unknown.
    #[inline]
    pub(super) fn is_ended_by(&self, id: Id) -> bool {
        match self {
            Self::Segment { end: None } => id.is_top_level(),
            Self::Cluster(Cluster { end: None, .. }) => id.is_above_cluster(),
            _ => false,
        }
    }

    /// Whether the end of the input may end the level.
    pub(super) fn may_end_unsaid(&self) -> bool {
        matches!(self, Self::Segment { end: None } | Self::Cluster(Cluster { end: None, .. }))
    }
}
