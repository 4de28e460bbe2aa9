//! Packets that never came, told from the sequence numbers of those that did.
//!
//! The jitter buffer has put packets in order and given up on what is late, so that a gap here is a gap in
//! what the depayloader gets.
//!
//! ```text
//! RTP: [V P X CC: 1][M, payload type: 1][sequence number: 2][timestamp: 4][SSRC: 4]…
//! ```

/// What was lost in one place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loss {
    /// Packets.
    pub packets: u64,
    /// Access units that are damaged or missing for it, as far as the packets around the gap tell: at least one, unless
    /// an earlier gap in the same unit was told.
    pub units: u64,
}

/// What matters of a packet's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    marker: bool,
    number: u16,
    timestamp: u32,
    source: u32,
}

/// Watches over the packets of one track.
#[derive(Debug, Default)]
pub(crate) struct LossWatch {
    last: Option<Header>,
    /// From one unit to the next, where nothing was lost.
    step: Option<u32>,
    /// The timestamp of the unit that was counted last.
    counted: Option<u32>,
}

impl Header {
    /// The header of a packet, if it is one.
    pub(crate) fn parse(packet: &[u8]) -> Option<Self> {
        let [first, second, rest @ ..] = packet else { return None };
        let word = |at: usize| rest.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes);
        (first >> 6 == 2).then_some(())?;
        Some(Self {
            marker: second & 0x80 != 0,
            number: u16::from_be_bytes(rest.get(..2)?.try_into().ok()?),
            timestamp: word(2)?,
            source: word(6)?,
        })
    }
}

impl LossWatch {
    /// The next packet; answers what was lost in front of it.
    pub(crate) fn push(&mut self, next: Header) -> Option<Loss> {
        let last = self.last.replace(next)?;
        let gap = next.number.wrapping_sub(last.number).wrapping_sub(1);
        // A step back, or another sender: it numbers anew, and nothing can be told of what lies between.
        if gap >= 0x8000 || last.source != next.source {
            (self.step, self.counted) = (None, None);
            return None;
        }
        let ticks = next.timestamp.wrapping_sub(last.timestamp);
        if gap == 0 {
            if ticks > 0 {
                self.step = Some(ticks);
            }
            return None;
        }
        Some(Loss { packets: gap.into(), units: self.units(last, next, ticks) })
    }

    fn units(&mut self, last: Header, next: Header, ticks: u32) -> u64 {
        // A timestamp that steps back, as those of B-frames do, tells nothing of missing units.
        let steps = self.step.filter(|_| ticks < 1 << 31).map_or(0, |step| (ticks + step / 2) / step);
        let missing = u64::from(steps.saturating_sub(1));
        let tail = u64::from(!last.marker && ticks != 0 && self.counted != Some(last.timestamp));
        // Neither is missing: what was lost is the head, or the middle, of the unit that goes on.
        let head = u64::from(missing == 0 && (ticks == 0 || last.marker) && self.counted != Some(next.timestamp));
        if head > 0 {
            self.counted = Some(next.timestamp);
        }
        missing + tail + head
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_in_a_row_lose_nothing_also_where_their_numbers_begin_anew() {
        let mut watch = LossWatch::default();
        for i in 0..200_000u32 {
            assert_eq!(watch.push(packet(i, i / 4 * 3600, i % 4 == 3)), None);
        }
    }

    #[test]
    fn every_packet_left_out_is_counted_and_every_unit_it_was_of() {
        let (mut watch, mut packets, mut units, mut left_out) = (LossWatch::default(), 0, 0, 0);
        for i in 0..100_000u32 {
            if i % 50 == 49 {
                left_out += 1;
                continue;
            }
            if let Some(loss) = watch.push(packet(i, i / 4 * 3600, i % 4 == 3)) {
                (packets, units) = (packets + loss.packets, units + loss.units);
            }
        }
        assert_eq!((packets, units), (left_out - 1, left_out - 1), "the last one has none behind it");
    }

    #[test]
    fn units_that_are_missing_as_a_whole_are_counted() {
        let mut watch = LossWatch::default();
        for i in 0..8 {
            watch.push(packet(i, i / 4 * 3600, i % 4 == 3));
        }
        assert_eq!(watch.push(packet(20, 5 * 3600, false)), Some(Loss { packets: 12, units: 3 }));
    }

    #[test]
    fn two_gaps_in_one_unit_damage_one_unit() {
        let mut watch = LossWatch::default();
        watch.push(packet(0, 0, false));
        assert_eq!(watch.push(packet(2, 0, false)), Some(Loss { packets: 1, units: 1 }));
        assert_eq!(watch.push(packet(4, 0, true)), Some(Loss { packets: 1, units: 0 }));
    }

    #[test]
    fn a_sender_that_numbers_anew_has_lost_nothing() {
        let mut watch = LossWatch::default();
        watch.push(packet(9_000, 0, true));
        assert_eq!(watch.push(packet(8, 3600, true)), None);
        assert_eq!(watch.push(Header { source: 7, ..packet(900, 7200, true) }), None);
    }

    #[test]
    fn what_is_no_packet_has_no_header() {
        assert_eq!(Header::parse(&[]), None);
        assert_eq!(Header::parse(&[0x80; 11]), None);
        assert_eq!(Header::parse(&[0; 12]), None);
        let bytes = [0x80, 0xe0, 0, 7, 0, 0, 0, 9, 0, 0, 0, 1];
        assert_eq!(Header::parse(&bytes), Some(packet(7, 9, true)));
    }

    fn packet(number: u32, timestamp: u32, marker: bool) -> Header {
        Header { marker, number: u16::try_from(number & 0xffff).unwrap(), timestamp, source: 1 }
    }
}
