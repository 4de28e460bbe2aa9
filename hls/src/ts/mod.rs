//! Fragments as MPEG-TS (ISO/IEC 13818-1): one program, video and audio multiplexed.
//!
//! ```text
//! ….ts   [PAT][PMT][PES packets of both tracks by decode time] … with tables in between, in packets of 188 bytes
//! ```
//!
//! Each segment is made from its fragment alone, in any order, by any node, and still continues the one before: the number of
//! packets of each PID is a multiple of 16, so that every segment begins and ends with the same continuity counters. Times are
//! wall times in ticks of 90 kHz, modulo 2^33.

mod elementary;
mod packet;
mod tables;

use bytes::Bytes;
use fragment::{AccessUnit, Tracks};

use crate::error::SegmentError;
use crate::limits;
use crate::placement::Placement;
use elementary::Elementary;
use packet::{Packets, Pes};

/// Ticks per second of all times here.
const TIMESCALE: u32 = 90_000;

/// Tables are sent so often in each segment: the continuity counter's cycle, which is also about every 100 ms of a usual one.
const TABLES: usize = 16;

/// Packet ids. Any from 0x10 on would do.
const PID_PAT: u16 = 0;
const PID_PMT: u16 = 0x1000;
const PID_VIDEO: u16 = 0x100;
const PID_AUDIO: u16 = 0x101;

/// The media segment of a fragment: its first video and its first audio track of those that players of MPEG-TS play.
pub fn segment(tracks: &Tracks, units: &[AccessUnit], placement: Placement) -> Result<Bytes, SegmentError> {
    let streams = elementary::streams(tracks, units, placement)?;
    let media_bytes: usize = streams.iter().flat_map(|stream| &stream.packets).map(|pes| pes.bytes.len()).sum();
    if media_bytes > limits::SEGMENT_BYTES_MAX {
        return Err(SegmentError::TooLarge(media_bytes));
    }
    let kinds: Vec<_> = streams.iter().map(|stream| stream.kind).collect();
    let (pat, pmt) = (tables::program_association(), tables::program_map(&kinds));
    let mut order = in_order(&streams);
    let mut packets = Packets::with_capacity(media_bytes);
    let every = order.len().div_ceil(TABLES).max(1);
    for _ in 0..TABLES {
        packets.table(PID_PAT, &pat);
        packets.table(PID_PMT, &pmt);
        for (pid, pes, count) in order.by_ref().take(every) {
            packets.pes(pid, pes, count);
        }
    }
    Ok(packets.into_bytes())
}

/// The packets of all streams by their decode time, each with the number of transport packets that it is cut into.
fn in_order(streams: &[Elementary]) -> std::vec::IntoIter<(u16, &Pes, usize)> {
    let mut all = Vec::new();
    for stream in streams {
        let counts = packet::counts(&stream.packets);
        all.extend(stream.packets.iter().zip(counts).map(|(pes, count)| (stream.kind.pid(), pes, count)));
    }
    all.sort_by_key(|(_, pes, _)| pes.decoded);
    all.into_iter()
}
