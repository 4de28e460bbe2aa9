//! The streams that a camera offers, and which of them is meant.

use std::cmp::Reverse;

/// One stream that a camera offers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// The camera's name for it, for programs.
    pub token: String,
    /// The same for people.
    pub name: Option<String>,
    /// How pictures are coded: `H264`, `H265`, `JPEG`, …
    pub codec: Option<String>,
    /// Pixels in a row, and rows.
    pub resolution: Option<(u32, u32)>,
    /// Pictures a second.
    pub fps: Option<u32>,
    /// How sound is coded.
    pub audio: Option<String>,
    /// Where it is streamed.
    pub url: Option<String>,
}

/// Which profile of a camera.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Wanted {
    /// The largest.
    #[default]
    Main,
    /// The next smaller one.
    Sub,
    /// The one with this token.
    Token(String),
}

impl Profile {
    fn pixels(&self) -> u64 {
        self.resolution.map_or(0, |(width, height)| u64::from(width) * u64::from(height))
    }

    /// Whether its pictures are stored as they come, and not encoded anew.
    fn passes(&self) -> bool {
        self.codec.as_deref().is_some_and(|codec| ["H264", "H265"].contains(&codec))
    }
}

impl Wanted {
    /// `main`, `sub` or a token.
    pub fn parse(text: &str) -> Option<Self> {
        match text.trim() {
            "" => None,
            "main" => Some(Self::Main),
            "sub" => Some(Self::Sub),
            token => Some(Self::Token(token.to_owned())),
        }
    }

    /// The profile that is meant.
    pub fn of<'a>(&self, profiles: &'a [Profile]) -> Option<&'a Profile> {
        match self {
            Self::Main => main(profiles),
            Self::Sub => sub(profiles),
            Self::Token(token) => profiles.iter().find(|profile| profile.token == *token),
        }
    }
}

/// The largest of those that are stored as they come, or of all; the first of several.
fn main(profiles: &[Profile]) -> Option<&Profile> {
    profiles.iter().min_by_key(|profile| (Reverse(profile.passes()), Reverse(profile.pixels())))
}

/// The largest of those smaller than the main one.
fn sub(profiles: &[Profile]) -> Option<&Profile> {
    let main = main(profiles)?;
    let smaller = profiles.iter().filter(|profile| profile.pixels() < main.pixels() && profile.pixels() > 0);
    smaller.min_by_key(|profile| (Reverse(profile.passes()), Reverse(profile.pixels())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn main_is_the_largest_that_passes_and_sub_the_next_smaller() {
        let profiles = [
            profile("snapshots", "JPEG", (2592, 1944)),
            profile("mobile", "H264", (352, 288)),
            profile("first", "H265", (1920, 1080)),
            profile("same", "H264", (1920, 1080)),
            profile("second", "H264", (704, 576)),
        ];
        assert_eq!(token(&Wanted::Main, &profiles), Some("first"));
        assert_eq!(token(&Wanted::Sub, &profiles), Some("second"));
        assert_eq!(token(&Wanted::Token("mobile".to_owned()), &profiles), Some("mobile"));
        assert_eq!(token(&Wanted::Token("none".to_owned()), &profiles), None);
    }

    #[test]
    fn a_camera_with_one_stream_has_no_sub_stream() {
        let profiles = [profile("only", "JPEG", (640, 480))];
        assert_eq!(token(&Wanted::Main, &profiles), Some("only"));
        assert_eq!(token(&Wanted::Sub, &profiles), None);
    }

    fn token<'a>(wanted: &Wanted, profiles: &'a [Profile]) -> Option<&'a str> {
        wanted.of(profiles).map(|profile| profile.token.as_str())
    }

    fn profile(token: &str, codec: &str, resolution: (u32, u32)) -> Profile {
        Profile {
            token: token.to_owned(),
            codec: Some(codec.to_owned()),
            resolution: Some(resolution),
            ..Profile::default()
        }
    }
}
