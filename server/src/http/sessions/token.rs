//! What a session is, and the token that says so. It stands in the address, so that any player can use it, and any server with the same
//! key can serve it without keeping state.
//!
//! ```text
//! token = [version: 1 = 1][protocol: 1][mode: 1][discontinuities: 1][flags: 1][stream id: 8][opened, ns since 1970: 8]
//!         [expiry, s since 1970: 8][most results: 2][target duration, s: 2][first: 8][last: 8]
//! protocol          1 HLS with fragmented MP4, 2 HLS with MPEG-TS, 3 DASH
//! mode 1 LIVE       first = the number of the first fragment; last = 0
//! mode 2 REPLAY     first, last = the range by the session's clock, ns since 1970, end excluded; the greatest i64 is no end
//! mode 3 ON_DEMAND  likewise
//! discontinuities   1 always, 2 never, 3 where they are found
//! flags             1 the session's clock is the server's, 2 fragments' times are displayed, 4 their numbers are
//! ```
//!
//! Numbers are big-endian. Sealed by `http/seal.rs`.

use archive::Stored;
use fragment::{FragmentNumber, WallTime};
use hls::session::{Discontinuities, Pace, Plan};

use crate::http::error::Problem;
use crate::http::seal::Sealer;

const PURPOSE: &[u8] = b"millrace session token";
const VERSION: u8 = 1;

/// What is played, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Session {
    /// The stream.
    pub(crate) stream: u64,
    /// When it was opened.
    pub(crate) opened: WallTime,
    /// When it ends, in whole seconds since 1970.
    pub(crate) expiry_seconds: u64,
    pub(crate) protocol: Protocol,
    pub(crate) mode: Mode,
    pub(crate) clock: Clock,
    pub(crate) discontinuities: Discontinuities,
    pub(crate) is_dated: bool,
    pub(crate) is_numbered: bool,
    /// The most fragments that a playlist or manifest has.
    pub(crate) results_max: u16,
    /// Fixed when the session began.
    pub(crate) target_duration_seconds: u16,
}

/// How a session is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Protocol {
    HlsMp4,
    HlsTs,
    Dash,
}

/// Which fragments a session has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Mode {
    /// The live ones, from this one on.
    Live { first: FragmentNumber },
    /// Those of a range, as if it were live now.
    Replay { start: WallTime, end: Option<WallTime> },
    /// Those of a range, at once.
    OnDemand { start: WallTime, end: WallTime },
}

/// Whose clock orders and dates fragments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Clock {
    Producer,
    Server,
}

impl Clock {
    /// When a fragment begins.
    pub(crate) fn of(self, stored: &Stored) -> WallTime {
        match self {
            Self::Producer => stored.start,
            Self::Server => stored.arrived,
        }
    }
}

impl Session {
    /// What its itinerary is to be.
    pub(crate) fn plan(&self) -> Plan {
        Plan {
            pace: match self.mode {
                Mode::Live { .. } => Pace::Live,
                Mode::Replay { .. } => Pace::Replay { begun: self.opened },
                Mode::OnDemand { .. } => Pace::OnDemand,
            },
            results_max: self.results_max.into(),
            discontinuities: self.discontinuities,
            is_of_one_coding: self.protocol == Protocol::Dash,
        }
    }

    /// The range of its clock.
    pub(crate) fn range(&self) -> std::ops::Range<WallTime> {
        const NEVER: WallTime = WallTime::from_nanos(i64::MAX);
        match self.mode {
            Mode::Live { .. } => WallTime::from_nanos(i64::MIN)..NEVER,
            Mode::Replay { start, end } => start..end.unwrap_or(NEVER),
            Mode::OnDemand { start, end } => start..end,
        }
    }

    /// Whether a fragment belongs to it. What arrives after the session was opened belongs to it only where it can follow what
    /// is shown: nothing is ever put before that.
    pub(crate) fn has(&self, stored: &Stored) -> bool {
        let follows = match (self.mode, self.clock) {
            (Mode::Live { first }, _) => stored.live.is_some() && stored.number >= first,
            (Mode::OnDemand { .. }, _) => stored.arrived <= self.opened,
            (Mode::Replay { .. }, Clock::Producer) => stored.arrived <= self.opened || stored.live.is_some(),
            (Mode::Replay { .. }, Clock::Server) => true,
        };
        follows && self.range().contains(&self.clock.of(stored))
    }

    /// As it stands in addresses.
    pub(crate) fn seal(&self, sealer: &Sealer) -> String {
        let (mode, first, last) = match self.mode {
            Mode::Live { first } => (1, first.0.to_be_bytes(), [0; 8]),
            Mode::Replay { start, end } => {
                (2, start.as_nanos().to_be_bytes(), end.map_or(i64::MAX, WallTime::as_nanos).to_be_bytes())
            }
            Mode::OnDemand { start, end } => (3, start.as_nanos().to_be_bytes(), end.as_nanos().to_be_bytes()),
        };
        let protocol = match self.protocol {
            Protocol::HlsMp4 => 1,
            Protocol::HlsTs => 2,
            Protocol::Dash => 3,
        };
        let discontinuities = match self.discontinuities {
            Discontinuities::Always => 1,
            Discontinuities::Never => 2,
            Discontinuities::Found => 3,
        };
        let flags =
            u8::from(self.clock == Clock::Server) | u8::from(self.is_dated) << 1 | u8::from(self.is_numbered) << 2;
        let mut plain = vec![VERSION, protocol, mode, discontinuities, flags];
        plain.extend_from_slice(&self.stream.to_be_bytes());
        plain.extend_from_slice(&self.opened.as_nanos().to_be_bytes());
        plain.extend_from_slice(&self.expiry_seconds.to_be_bytes());
        plain.extend_from_slice(&self.results_max.to_be_bytes());
        plain.extend_from_slice(&self.target_duration_seconds.to_be_bytes());
        plain.extend_from_slice(&first);
        plain.extend_from_slice(&last);
        sealer.seal(PURPOSE, &plain)
    }

    /// Opens a token, and checks that it is still good.
    pub(crate) fn open(text: &str, sealer: &Sealer, now: WallTime) -> Result<Self, Problem> {
        let plain = sealer.open(PURPOSE, text).map_err(|_| Problem::InvalidToken)?;
        let session = parse(&plain).ok_or(Problem::InvalidToken)?;
        let now_seconds = u64::try_from(now.as_millis() / 1000).unwrap_or(0);
        if now_seconds >= session.expiry_seconds {
            return Err(Problem::ExpiredToken);
        }
        Ok(session)
    }
}

fn parse(plain: &[u8]) -> Option<Session> {
    let mut rest = plain;
    let [version, protocol, mode, discontinuities, flags] = take(&mut rest)?;
    if version != VERSION {
        return None;
    }
    let stream = u64::from_be_bytes(take(&mut rest)?);
    let opened = WallTime::from_nanos(i64::from_be_bytes(take(&mut rest)?));
    let expiry_seconds = u64::from_be_bytes(take(&mut rest)?);
    let results_max = u16::from_be_bytes(take(&mut rest)?);
    let target_duration_seconds = u16::from_be_bytes(take(&mut rest)?);
    let (first, last) = (take(&mut rest)?, take(&mut rest)?);
    let time = |bytes| WallTime::from_nanos(i64::from_be_bytes(bytes));
    let session = Session {
        stream,
        opened,
        expiry_seconds,
        protocol: match protocol {
            1 => Protocol::HlsMp4,
            2 => Protocol::HlsTs,
            3 => Protocol::Dash,
            _ => return None,
        },
        mode: match mode {
            1 => Mode::Live { first: FragmentNumber(u64::from_be_bytes(first)) },
            2 => Mode::Replay { start: time(first), end: Some(time(last)).filter(|end| end.as_nanos() < i64::MAX) },
            3 => Mode::OnDemand { start: time(first), end: time(last) },
            _ => return None,
        },
        discontinuities: match discontinuities {
            1 => Discontinuities::Always,
            2 => Discontinuities::Never,
            3 => Discontinuities::Found,
            _ => return None,
        },
        clock: if flags & 1 == 0 { Clock::Producer } else { Clock::Server },
        is_dated: flags & 2 != 0,
        is_numbered: flags & 4 != 0,
        results_max,
        target_duration_seconds,
    };
    rest.is_empty().then_some(session)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(*head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::token::{Part, Token};

    const BEFORE_EXPIRY: WallTime = WallTime::from_millis(999_999);
    const AT_EXPIRY: WallTime = WallTime::from_millis(1_000_000);

    #[test]
    fn a_session_survives_its_token() {
        let sealer = Sealer::new(&[1; 32]);
        let (start, end) = (WallTime::from_nanos(5), WallTime::from_nanos(9));
        let modes = [
            Mode::Live { first: FragmentNumber(u64::MAX) },
            Mode::Replay { start, end: None },
            Mode::Replay { start, end: Some(end) },
            Mode::OnDemand { start, end },
        ];
        let protocols = [Protocol::HlsMp4, Protocol::HlsTs, Protocol::Dash, Protocol::Dash];
        let kinds = [Discontinuities::Always, Discontinuities::Never, Discontinuities::Found, Discontinuities::Never];
        for (i, mode) in modes.into_iter().enumerate() {
            let clock = if i % 2 == 0 { Clock::Server } else { Clock::Producer };
            let session = Session {
                mode,
                protocol: protocols[i],
                discontinuities: kinds[i],
                clock,
                is_dated: i == 1,
                ..session()
            };
            let text = session.seal(&sealer);
            assert_eq!(text.len(), 103, "as the limit's reason says");
            assert_eq!(Session::open(&text, &sealer, BEFORE_EXPIRY).unwrap(), session);
        }
    }

    #[test]
    fn a_session_ends_at_the_second_of_its_expiry() {
        let sealer = Sealer::new(&[1; 32]);
        let text = session().seal(&sealer);
        assert!(matches!(Session::open(&text, &sealer, AT_EXPIRY), Err(Problem::ExpiredToken)));
    }

    #[test]
    fn a_token_of_the_watch_page_or_of_another_server_opens_no_session() {
        let sealer = Sealer::new(&[1; 32]);
        let part = Part::Live { first: FragmentNumber(1) };
        let other = Token { stream: 9, expiry_seconds: 1000, target_duration_seconds: 4, part }.seal(&sealer);
        let elsewhere = session().seal(&Sealer::new(&[2; 32]));
        for text in [&other[..], &elsewhere, ""] {
            assert!(matches!(Session::open(text, &sealer, BEFORE_EXPIRY), Err(Problem::InvalidToken)), "{text}");
        }
    }

    fn session() -> Session {
        Session {
            stream: 9,
            opened: WallTime::from_millis(700_000),
            expiry_seconds: 1000,
            protocol: Protocol::HlsMp4,
            mode: Mode::Live { first: FragmentNumber(1) },
            clock: Clock::Server,
            discontinuities: Discontinuities::Always,
            is_dated: false,
            is_numbered: true,
            results_max: 5000,
            target_duration_seconds: 4,
        }
    }
}
