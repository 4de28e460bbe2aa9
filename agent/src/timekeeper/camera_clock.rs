//! The calendar of a camera, out of its sender reports: watched always, and believed where the configuration says so.

use crate::limits;

/// What a report said that is worth a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// The camera has a calendar.
    First,
    /// Someone set it: two reports agree that it moved. Nanoseconds, forwards if positive.
    Set {
        /// By how much.
        by: i64,
    },
}

/// What the reports said.
#[derive(Debug, Default)]
pub(super) struct CameraClock {
    /// The camera's calendar at the device's boot, in nanoseconds since 1970.
    ahead: Option<i64>,
    /// One report said this, and none has confirmed it.
    doubted: Option<i64>,
}

impl CameraClock {
    /// A report. Says what is new, and whether it can be gone by: a single one that disagrees can't.
    pub(super) fn note(&mut self, ahead: i64) -> (Option<News>, bool) {
        let is_near = |other: i64| u128::from(other.abs_diff(ahead)) <= limits::CAMERA_STEP_MIN.as_nanos();
        match (self.ahead, self.doubted) {
            (Some(before), _) if is_near(before) => {
                (self.ahead, self.doubted) = (Some(ahead), None);
                (None, true)
            }
            (Some(before), Some(doubted)) if is_near(doubted) => {
                (self.ahead, self.doubted) = (Some(ahead), None);
                (Some(News::Set { by: ahead.saturating_sub(before) }), true)
            }
            (Some(_), _) => {
                self.doubted = Some(ahead);
                (None, false)
            }
            (None, _) => {
                self.ahead = Some(ahead);
                (Some(News::First), true)
            }
        }
    }

    /// The camera's calendar at the device's boot, as last confirmed.
    pub(super) fn ahead(&self) -> Option<i64> {
        self.ahead
    }
}
