//! The server asks for a range of time: how much of it there is, and its upload.
//!
//! The range is on disk before the answer is given. From then on it is uploaded however often the agent ends meanwhile.

use std::path::PathBuf;

use fragment::{StreamName, WallTime};
use jiff::Timestamp;
use spool::Spool;
use upload::FragmentKey;
use upload::fleet::Fetched;

use crate::calendar::Calendar;
use crate::clock::Clock;
use crate::holdings;
use crate::limits;
use crate::wanted::{self, Range, WantError};

/// Who answers for a device.
#[derive(Debug)]
pub struct Desk {
    /// The state folder.
    pub state: PathBuf,
    /// What is in it.
    pub spool: Spool,
    /// The device's clocks.
    pub clock: Clock,
    /// The streams that cameras feed.
    pub streams: Vec<String>,
}

/// Why a range can't be fetched; what to do is in the words.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Nothing of this stream was ever here, as far as the device knows.
    #[error("the device has no camera for {stream:?} and no recordings of it; it has {has}")]
    UnknownStream {
        /// What was asked for.
        stream: String,
        /// What could have been.
        has: String,
    },
    /// Nothing of it waits here, and nothing will.
    #[error(
        "nothing of {} from {} to {} waits here: it was never recorded, or was dropped, or is uploaded. {held}",
        .range.stream, time(.range.from), time(.range.to)
    )]
    Nothing {
        /// What was asked for.
        range: Range,
        /// What there is of the stream, in words.
        held: String,
    },
    /// It can't be asked for.
    #[error(transparent)]
    Want(#[from] WantError),
}

impl Desk {
    /// Has a range uploaded; says what of it is here. Reads files.
    pub fn fetch(&self, stream: &str, from: WallTime, to: WallTime) -> Result<Fetched, FetchError> {
        let calendar = Calendar::open(&self.state, self.clock.boot());
        let mut starts = |key: &FragmentKey| {
            let reader = self.spool.read(key).ok()?;
            let header = reader.header();
            Some(calendar.look(key.id, header.start, self.spool.is_own(header)).0)
        };
        let has_camera = self.streams.iter().any(|fed| fed == stream);
        let unknown = || FetchError::UnknownStream { stream: stream.to_owned(), has: self.known() };
        let name: StreamName = stream.parse().map_err(|_| unknown())?;
        if !has_camera && self.spool.amount_of(|held| *held == name).fragments == 0 {
            return Err(unknown());
        }
        let range = Range::new(name, from, to);
        if range.to <= range.from {
            return Err(WantError::Empty.into());
        }
        let held = holdings::of(&self.spool, &range, &mut starts);
        let is_over = range.to + limits::WANTED_SLACK < calendar.now(self.clock.now());
        let more = held.growing || has_camera && !is_over;
        if held.fragments == 0 && !more {
            let extent = holdings::extent(&self.spool, &range.stream, &mut starts);
            let held = extent.map_or_else(
                || "Nothing else of it waits either".to_owned(),
                |(from, to)| format!("What waits of it lies from {} to {}: ask for some of that", time(from), time(to)),
            );
            return Err(FetchError::Nothing { range, held });
        }
        wanted::want(&self.state, &range)?;
        Ok(Fetched { fragments: held.fragments, bytes: held.bytes, duration: held.duration, more })
    }

    /// The streams of cameras, and those of which something else waits.
    fn known(&self) -> String {
        let recorded = self.spool.streams();
        let mut known: Vec<&str> = self.streams.iter().map(String::as_str).collect();
        known.extend(recorded.iter().map(StreamName::as_str));
        known.sort_unstable();
        known.dedup();
        if known.is_empty() { "none".to_owned() } else { known.join(", ") }
    }
}

fn time(time: WallTime) -> Timestamp {
    Timestamp::from_millisecond(time.as_millis()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use fragment::{ClockQuality, FragmentId, Sequence, SessionId};
    use spool::Start;

    use super::*;

    #[test]
    fn a_range_is_wanted_once_it_is_said_how_much_of_it_there_is() {
        let (_folder, desk) = desk(10);
        let fetched = desk.fetch("yard", at(1002), at(1005)).unwrap();
        assert_eq!(fetched, Fetched { fragments: 3, bytes: 48, duration: Duration::from_secs(3), more: false });
        assert_eq!(wanted::list(&desk.state).unwrap(), [range(1002, 1005)]);
        // Whoever asks again is told the same, and nothing is wanted twice.
        assert_eq!(desk.fetch("yard", at(1002), at(1005)).unwrap(), fetched);
        assert_eq!(wanted::list(&desk.state).unwrap(), [range(1002, 1005)]);
    }

    #[test]
    fn what_lies_ahead_is_wanted_of_a_camera_and_of_nothing_else() {
        let (_folder, desk) = desk(1);
        let later = desk.clock.now().wall + Duration::from_secs(60);
        let fetched = desk.fetch("yard", desk.clock.now().wall, later).unwrap();
        assert_eq!(fetched, Fetched { more: true, ..Fetched::default() });
        let taken_out = Desk { streams: vec!["gate".to_owned()], ..desk };
        let refused = taken_out.fetch("yard", taken_out.clock.now().wall, later).unwrap_err().to_string();
        assert!(refused.contains("nothing of yard"), "{refused}");
        assert_eq!(taken_out.fetch("yard", at(1000), at(1001)).unwrap().fragments, 1, "it was recorded before");
    }

    #[test]
    fn what_can_not_be_fetched_is_said_with_what_to_do_and_nothing_is_wanted() {
        let (_folder, desk) = desk(10);
        for (stream, from, to, said) in [
            ("attic", 1000, 1001, "no camera for \"attic\" and no recordings of it; it has gate, yard"),
            ("no stream", 1000, 1001, "no camera for \"no stream\""),
            ("yard", 1001, 1001, "later time than --from"),
            ("yard", 1001, 1000, "later time than --from"),
            (
                "yard",
                500,
                600,
                "nothing of yard from 1970-01-01T00:08:20Z to 1970-01-01T00:10:00Z waits here: it was never recorded, or was \
                 dropped, or is uploaded. What waits of it lies from 1970-01-01T00:16:40Z to 1970-01-01T00:16:50Z: ask for",
            ),
            ("gate", 500, 600, "Nothing else of it waits either"),
        ] {
            let refused = desk.fetch(stream, at(from), at(to)).unwrap_err().to_string();
            assert!(refused.contains(said), "{refused}");
        }
        assert_eq!(wanted::list(&desk.state).unwrap(), []);
    }

    #[test]
    fn a_stream_of_which_only_recordings_are_left_is_named_too() {
        let (_folder, desk) = desk(1);
        let desk = Desk { streams: vec!["gate".to_owned()], ..desk };
        let refused = desk.fetch("attic", at(1000), at(1001)).unwrap_err().to_string();
        assert!(refused.contains("no recordings of it; it has gate, yard"), "{refused}");
    }

    #[test]
    fn too_many_ranges_are_refused() {
        let (_folder, desk) = desk(1);
        let most = i64::try_from(limits::WANTED_RANGES_MAX).unwrap();
        (0..most).for_each(|i| wanted::want(&desk.state, &range(2 * i, 2 * i + 1)).unwrap());
        let refused = desk.fetch("yard", at(1000), at(1001)).unwrap_err().to_string();
        assert!(refused.contains("256 ranges wait for their upload already; wait until some are done"), "{refused}");
    }

    /// A device with cameras for the yard and the gate, and so many seconds of the yard from 1000 on.
    fn desk(seconds: u32) -> (tempfile::TempDir, Desk) {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().to_owned();
        let spool = Spool::open(&state, 1 << 30).unwrap();
        wanted::prepare(&state).unwrap();
        for sequence in 0..seconds {
            let id = FragmentId { session: SessionId(7), sequence: Sequence(sequence) };
            let key = FragmentKey { stream: "yard".parse().unwrap(), id };
            let start = Start { monotonic: None, wall: at(1000 + i64::from(sequence)), quality: ClockQuality::Given };
            let mut writer = spool.create(key, start, Bytes::from_static(b"</fragment>")).unwrap();
            writer.append(Duration::ZERO, &[Bytes::from_static(b"media")]).unwrap();
            writer.finish(Duration::from_secs(1)).unwrap();
        }
        let streams = vec!["gate".to_owned(), "yard".to_owned()];
        (folder, Desk { state, spool, clock: Clock::open().unwrap(), streams })
    }

    fn range(from: i64, to: i64) -> Range {
        Range::new("yard".parse().unwrap(), at(from), at(to))
    }

    fn at(secs: i64) -> WallTime {
        WallTime::from_millis(secs * 1000)
    }
}
