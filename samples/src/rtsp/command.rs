//! What a camera can be told, as a value and as a line of text.

use std::str::FromStr;
use std::time::Duration;

/// A fault for the camera to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// `stall SECONDS`: send nothing for a time, while connections stay open. The frames of that time are lost.
    Stall(Duration),
    /// `blind SECONDS`: send sound, but no picture, for a time. A camera without sound then sends nothing.
    Blind(Duration),
    /// `vanish SECONDS`: for a time neither send nor read anything, without closing a connection, as when a cable is pulled.
    Vanish(Duration),
    /// `show NUMBER`: from the next key frame on, show another of its clips, counted from 0.
    Show(usize),
    /// `lose NUMBER`: from now on leave out every so-manieth packet of the picture; `lose 0` ends that.
    Lose {
        /// Every which.
        every: u64,
    },
    /// `drop`: close every connection at once. Viewers may come back.
    Drop,
    /// `restart SECONDS`: close every connection, be gone for a time, then begin the clip again.
    Restart(Duration),
    /// `jump SECONDS`: from now on timestamps lie this much further ahead, or back if negative.
    Jump {
        /// By how much.
        nanos: i64,
    },
}

/// Why a line is not a command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "say stall SECONDS, blind SECONDS, vanish SECONDS, drop, restart SECONDS, jump SECONDS, show NUMBER or lose NUMBER"
)]
pub struct NotACommand;

impl FromStr for Command {
    type Err = NotACommand;

    fn from_str(line: &str) -> Result<Self, NotACommand> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["drop"] => Ok(Self::Drop),
            ["stall", time] => Ok(Self::Stall(duration(time)?)),
            ["blind", time] => Ok(Self::Blind(duration(time)?)),
            ["vanish", time] => Ok(Self::Vanish(duration(time)?)),
            ["show", number] => Ok(Self::Show(number.parse().map_err(|_| NotACommand)?)),
            ["lose", number] => Ok(Self::Lose { every: number.parse().map_err(|_| NotACommand)? }),
            ["restart", time] => Ok(Self::Restart(duration(time)?)),
            ["jump", time] => {
                let (back, time) = time.strip_prefix('-').map_or((false, time), |time| (true, time));
                let nanos = i64::try_from(duration(time)?.as_nanos()).map_err(|_| NotACommand)?;
                Ok(Self::Jump { nanos: if back { -nanos } else { nanos } })
            }
            _ => Err(NotACommand),
        }
    }
}

/// Seconds, perhaps with a fraction.
fn duration(text: &str) -> Result<Duration, NotACommand> {
    text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).ok_or(NotACommand)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_understood() {
        assert_eq!("stall 5".parse(), Ok(Command::Stall(Duration::from_secs(5))));
        assert_eq!(" drop\n".parse(), Ok(Command::Drop));
        assert_eq!("restart 0.5".parse(), Ok(Command::Restart(Duration::from_millis(500))));
        assert_eq!("blind 5".parse(), Ok(Command::Blind(Duration::from_secs(5))));
        assert_eq!("vanish 5".parse(), Ok(Command::Vanish(Duration::from_secs(5))));
        assert_eq!("show 1".parse(), Ok(Command::Show(1)));
        assert_eq!("lose 50".parse(), Ok(Command::Lose { every: 50 }));
        assert_eq!("jump -60".parse(), Ok(Command::Jump { nanos: -60_000_000_000 }));
    }

    #[test]
    fn anything_else_is_not_a_command() {
        for line in
            ["", "stall", "stall x", "stall -1", "drop 5", "jump --1", "jump NaN", "show a", "lose -1", "explode"]
        {
            assert_eq!(line.parse::<Command>(), Err(NotACommand), "{line}");
        }
    }
}
