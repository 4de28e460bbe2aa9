//! What a camera can be told, as a value and as a line of text.

use std::str::FromStr;
use std::time::Duration;

/// A fault for the camera to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// `stall SECONDS`: send nothing for a time, while connections stay open. The frames of that time are lost.
    Stall(Duration),
    /// `drop`: close every connection at once. Viewers may come back.
    Drop,
    /// `restart SECONDS`: close every connection, be gone for a time, then begin the clip again.
    Restart(Duration),
    /// `jump SECONDS`: from now on timestamps lie this much further ahead, or back if negative.
    Jump {
        /// By how much.
        nanos: i64,
    },
    /// `set-clock SECONDS`: its calendar is set forwards by this much, or back if negative. Timestamps go on as before.
    SetClock {
        /// By how much.
        nanos: i64,
    },
}

/// Why a line is not a command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("say stall SECONDS, drop, restart SECONDS, jump SECONDS or set-clock SECONDS")]
pub struct NotACommand;

impl FromStr for Command {
    type Err = NotACommand;

    fn from_str(line: &str) -> Result<Self, NotACommand> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["drop"] => Ok(Self::Drop),
            ["stall", time] => Ok(Self::Stall(duration(time)?)),
            ["restart", time] => Ok(Self::Restart(duration(time)?)),
            ["jump", time] => Ok(Self::Jump { nanos: nanos(time)? }),
            ["set-clock", time] => Ok(Self::SetClock { nanos: nanos(time)? }),
            _ => Err(NotACommand),
        }
    }
}

/// Seconds, negative ones too.
fn nanos(text: &str) -> Result<i64, NotACommand> {
    let (back, time) = text.strip_prefix('-').map_or((false, text), |time| (true, time));
    let nanos = i64::try_from(duration(time)?.as_nanos()).map_err(|_| NotACommand)?;
    Ok(if back { -nanos } else { nanos })
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
        assert_eq!("jump -60".parse(), Ok(Command::Jump { nanos: -60_000_000_000 }));
        assert_eq!("set-clock -1.5".parse(), Ok(Command::SetClock { nanos: -1_500_000_000 }));
    }

    #[test]
    fn anything_else_is_not_a_command() {
        for line in ["", "stall", "stall x", "stall -1", "drop 5", "jump --1", "jump NaN", "explode"] {
            assert_eq!(line.parse::<Command>(), Err(NotACommand), "{line}");
        }
    }
}
