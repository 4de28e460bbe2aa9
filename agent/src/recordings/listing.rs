//! The list of recordings, as it is printed.

use std::time::Duration;

use bytesize::ByteSize;
use fragment::WallTime;
use jiff::tz::TimeZone;
use spool::drops::Run;

use super::{Piece, Shelf};

/// Pieces that are further apart than this have a gap between them: a fragment's times are known to some milliseconds.
const GAP_MIN: Duration = Duration::from_millis(500);

/// Pieces that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// When the first begins.
    pub start: WallTime,
    /// When the last ends.
    pub end: WallTime,
    /// How many.
    pub fragments: usize,
    /// The size of their files.
    pub bytes: u64,
    /// How many the server has.
    pub persisted: usize,
}

/// The ranges without a gap, in the order of capture.
pub fn ranges(pieces: &[Piece]) -> Vec<Range> {
    let mut ranges: Vec<Range> = Vec::new();
    for piece in pieces {
        let apart = |range: &Range| range.end.since(piece.start).max(piece.start.since(range.end));
        match ranges.last_mut() {
            Some(range) if apart(range) < GAP_MIN => range.take(piece),
            _ => {
                let mut range = Range { start: piece.start, end: piece.start, fragments: 0, bytes: 0, persisted: 0 };
                range.take(piece);
                ranges.push(range);
            }
        }
    }
    ranges
}

impl Range {
    fn take(&mut self, piece: &Piece) {
        self.end = self.end.max(piece.end());
        self.fragments += 1;
        self.bytes += piece.recording.file_bytes;
        self.persisted += usize::from(piece.recording.is_persisted);
    }
}

/// A stream's recordings in lines.
pub fn lines(shelf: &Shelf, zone: &TimeZone) -> Vec<String> {
    let ranges = ranges(&shelf.pieces);
    let bytes = ranges.iter().map(|range| range.bytes).sum();
    let mut lines = vec![format!("{}  {}", shelf.stream, ByteSize::b(bytes))];
    let mut before: Option<WallTime> = None;
    for range in &ranges {
        if let Some(end) = before.replace(range.end) {
            let gap = range.start.since(end);
            // A clock that was set back between two sessions leaves none.
            if gap > Duration::ZERO {
                lines.push(format!("  gap of {}", humantime::format_duration(Duration::from_millis(millis(gap)))));
            }
        }
        lines.push(format!(
            "  {} to {}  {} fragments, {}, {} uploaded, {} waiting",
            time(range.start, zone),
            time(range.end, zone),
            range.fragments,
            ByteSize::b(range.bytes),
            range.persisted,
            range.fragments - range.persisted
        ));
    }
    if shelf.growing > 0 {
        lines.push(format!("  {} being captured", shelf.growing));
    }
    lines
}

/// A run of drops in a line.
pub fn drop_line(run: &Run, zone: &TimeZone) -> String {
    let Run { reason, stream, session, first, last, pictures, .. } = run;
    let (start, seconds) = (time(run.start, zone), run.duration.as_secs_f64());
    if *pictures > 0 {
        return format!(
            "{start}  {stream}  {reason}  {pictures} pictures, {seconds:.1} s  before {session}-{:010}",
            first.0
        );
    }
    let fragments = last.0.saturating_sub(first.0).saturating_add(1);
    format!(
        "{start}  {stream}  {reason}  {fragments} fragments, {seconds:.1} s  {session}-{:010} to {:010}",
        first.0, last.0
    )
}

/// A time as `--from` and `--to` take it.
pub fn time(time: WallTime, zone: &TimeZone) -> String {
    match jiff::Timestamp::from_nanosecond(time.as_nanos().into()) {
        Ok(timestamp) => timestamp.to_zoned(zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%.3f%:z").to_string(),
        Err(_) => format!("{} ns", time.as_nanos()),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use fragment::{FragmentId, Sequence, SessionId};
    use spool::drops::Reason;
    use upload::FragmentKey;

    use super::*;

    #[test]
    fn a_drop_is_told_in_fragments_or_in_pictures() {
        let key = FragmentKey {
            stream: "front".parse().unwrap(),
            id: FragmentId { session: SessionId(7), sequence: Sequence(0) },
        };
        let start = WallTime::from_millis(1_700_000_000_000);
        let run = Run::of(&key, start, Duration::from_secs(2), Reason::Quota);
        let dropped = Run { last: Sequence(4), duration: Duration::from_secs(10), ..run };
        let left_out = Run::before_key_frame(&key, start, Duration::from_millis(480), 12);
        let lines = [dropped, left_out].map(|run| drop_line(&run, &TimeZone::UTC));
        assert_eq!(
            lines,
            [
                "2023-11-14T22:13:20.000+00:00  front  quota  5 fragments, 10.0 s  0000000000000007-0000000000 to 0000000004",
                "2023-11-14T22:13:20.000+00:00  front  waiting-for-key-frame  12 pictures, 0.5 s  before 0000000000000007-0000000000",
            ]
        );
    }
}
