//! Transport packets (ISO/IEC 13818-1, 2.4.3).
//!
//! ```text
//! [0x47][error, start of payload, priority: 3 bits][PID: 13 bits][scrambling 00][adaptation, payload: 2 bits][counter: 4 bits]
//! adaptation field  [length: 1][flags: 1][clock reference: 6 if a flag says so][stuffing 0xff …]
//! ```

use bytes::Bytes;

pub(super) const PACKET_BYTES: usize = 188;
const HEADER_BYTES: usize = 4;
const ROOM: usize = PACKET_BYTES - HEADER_BYTES;

/// The continuity counter has 4 bits.
const CYCLE: usize = 16;

/// How long before it is decoded the first byte of a picture arrives, in ticks: a tenth of a second.
const LEAD: u64 = 9_000;

/// One PES packet, not yet cut.
pub(super) struct Pes {
    /// When it is decoded, in ticks since 1970.
    pub(super) decoded: u64,
    /// Whether decoding can begin here.
    pub(super) key: bool,
    /// Whether it carries the program's clock.
    pub(super) clock: bool,
    /// Header and payload.
    pub(super) bytes: Vec<u8>,
}

impl Pes {
    /// What the first packet says beside the payload.
    fn adaptation(&self) -> Vec<u8> {
        if !self.key && !self.clock {
            return Vec::new();
        }
        let mut field = vec![u8::from(self.key) << 6 | u8::from(self.clock) << 4];
        if self.clock {
            let reference = self.decoded.wrapping_sub(LEAD) & 0x1_ffff_ffff;
            // [base: 33 bits][reserved: 6 bits][extension: 9 bits = 0]
            field.extend_from_slice(&(reference << 15 | 0x7e00).to_be_bytes()[2..]);
        }
        field
    }

    fn least_packets(&self) -> usize {
        let adaptation = self.adaptation().len();
        let first = ROOM - adaptation - usize::from(adaptation > 0);
        1 + self.bytes.len().saturating_sub(first).div_ceil(ROOM)
    }
}

/// How many packets each of these is cut into: as few as possible, but for some at the beginning, so that all together are a
/// multiple of the counter's cycle.
pub(super) fn counts(packets: &[Pes]) -> Vec<usize> {
    let mut counts: Vec<usize> = packets.iter().map(Pes::least_packets).collect();
    let mut missing = counts.iter().sum::<usize>().next_multiple_of(CYCLE) - counts.iter().sum::<usize>();
    while missing > 0 {
        let before = missing;
        for (count, pes) in counts.iter_mut().zip(packets) {
            // A packet has at least a byte of payload.
            if missing > 0 && *count < pes.bytes.len() {
                *count += 1;
                missing -= 1;
            }
        }
        if missing == before {
            break;
        }
    }
    counts
}

/// Packets one after the other, each PID with a counter of its own.
pub(super) struct Packets {
    bytes: Vec<u8>,
    counters: Vec<(u16, u8)>,
}

impl Packets {
    pub(super) fn with_capacity(media_bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(media_bytes / ROOM * PACKET_BYTES + 64 * PACKET_BYTES), counters: Vec::new() }
    }

    /// One packet with a section, which has to fit.
    pub(super) fn table(&mut self, pid: u16, section: &[u8]) {
        let begin = self.bytes.len();
        self.header(pid, true, false);
        self.bytes.push(0); // the section begins here
        self.bytes.extend_from_slice(section);
        self.bytes.resize(begin + PACKET_BYTES, 0xff);
    }

    /// A PES packet in so many packets.
    pub(super) fn pes(&mut self, pid: u16, pes: &Pes, count: usize) {
        let mut rest = &pes.bytes[..];
        for left in (0..count).rev() {
            let is_first = left + 1 == count;
            let mut field = if is_first { pes.adaptation() } else { Vec::new() };
            let room = ROOM - field.len() - usize::from(!field.is_empty());
            // What follows gets a byte each at least.
            let (payload, after) = rest.split_at(room.min(rest.len().saturating_sub(left)));
            rest = after;
            let stuffing = room - payload.len();
            self.header(pid, is_first, stuffing > 0 || !field.is_empty());
            if stuffing > 0 && field.is_empty() {
                // The length itself is one byte, the flags another.
                field = if stuffing == 1 { Vec::new() } else { vec![0] };
                field.resize(stuffing - 1, 0xff);
                self.adaptation_field(&field);
            } else if !field.is_empty() {
                field.resize(field.len() + stuffing, 0xff);
                self.adaptation_field(&field);
            }
            self.bytes.extend_from_slice(payload);
        }
        debug_assert!(rest.is_empty(), "the count was found for these bytes");
    }

    pub(super) fn into_bytes(self) -> Bytes {
        debug_assert!(self.bytes.len().is_multiple_of(PACKET_BYTES));
        self.bytes.into()
    }

    fn adaptation_field(&mut self, field: &[u8]) {
        self.bytes.push(u8::try_from(field.len()).expect("a packet is shorter than 256 bytes"));
        self.bytes.extend_from_slice(field);
    }

    fn header(&mut self, pid: u16, start: bool, adaptation: bool) {
        let counter = self.count(pid);
        let [high, low] = pid.to_be_bytes();
        let control = if adaptation { 0b11 } else { 0b01 };
        self.bytes.extend_from_slice(&[0x47, u8::from(start) << 6 | high, low, control << 4 | counter]);
    }

    fn count(&mut self, pid: u16) -> u8 {
        let at = self.counters.iter().position(|(of, _)| *of == pid).unwrap_or_else(|| {
            self.counters.push((pid, 0));
            self.counters.len() - 1
        });
        let counter = self.counters[at].1;
        self.counters[at].1 = (counter + 1) & 0xf;
        counter
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_cut_into_packets_is_all_there_and_ends_a_cycle(
            sizes in proptest::collection::vec((20_usize..3000, any::<bool>(), any::<bool>()), 1..40),
        ) {
            let all: Vec<Pes> = sizes
                .iter()
                .map(|&(size, key, clock)| Pes { decoded: 1 << 40, key, clock, bytes: (0..size).map(|i| i.to_le_bytes()[0]).collect() })
                .collect();
            let counts = counts(&all);
            prop_assert_eq!(counts.iter().sum::<usize>() % CYCLE, 0);
            let mut packets = Packets::with_capacity(0);
            for (pes, count) in all.iter().zip(counts) {
                packets.pes(0x100, pes, count);
            }
            let bytes = packets.into_bytes();
            let mut payload = Vec::new();
            for (i, packet) in bytes.chunks(PACKET_BYTES).enumerate() {
                prop_assert_eq!((packet[0], usize::from(packet[3] & 0xf)), (0x47, i % CYCLE));
                let skipped = if packet[3] & 0x20 == 0 { 0 } else { 1 + usize::from(packet[4]) };
                prop_assert!(skipped < ROOM, "a byte of payload at least");
                payload.extend_from_slice(&packet[HEADER_BYTES + skipped..]);
            }
            prop_assert_eq!(payload, all.into_iter().flat_map(|pes| pes.bytes).collect::<Vec<u8>>());
        }
    }

    #[test]
    fn the_clock_is_written_as_the_standard_lays_it_out() {
        let pes = Pes { decoded: LEAD + 0x1_2345_6789, key: true, clock: true, bytes: vec![0; 20] };
        // The base's 33 bits, six ones, nine zeros.
        assert_eq!(pes.adaptation(), [0x50, 0x91, 0xa2, 0xb3, 0xc4, 0xfe, 0x00]);
    }
}
