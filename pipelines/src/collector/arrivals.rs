//! Which arrivals are told: those that say something new of how late units come.

use std::time::{Duration, Instant};

use fragment::MediaTime;

use crate::limits;

/// The present second of arrivals.
#[derive(Default)]
pub(super) struct Arrivals {
    second: Option<Second>,
}

struct Second {
    began: Instant,
    /// The least late unit in it.
    least: (MediaTime, Instant),
}

impl Arrivals {
    /// Whether the unit shown at `media`, which came `at`, is the first of a second or less late than those before in it.
    pub(super) fn is_news(&mut self, media: MediaTime, at: Instant) -> bool {
        match &mut self.second {
            Some(second) if at.saturating_duration_since(second.began) < limits::ARRIVAL_INTERVAL => {
                let is_less = is_less_late((media, at), second.least);
                if is_less {
                    second.least = (media, at);
                }
                is_less
            }
            _ => {
                self.second = Some(Second { began: at, least: (media, at) });
                true
            }
        }
    }
}

fn is_less_late((media, at): (MediaTime, Instant), (other_media, other_at): (MediaTime, Instant)) -> bool {
    // Both sides without a subtraction that could be negative: at - other_at < media - other_media.
    let elapsed = |later: Instant, earlier: Instant| later.saturating_duration_since(earlier);
    let forwards = elapsed(at, other_at) + other_media.since(media);
    let shown = elapsed(other_at, at) + media.since(other_media);
    forwards + Duration::from_millis(1) <= shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_second_is_told_and_each_that_is_less_late() {
        let began = Instant::now();
        let mut arrivals = Arrivals::default();
        let mut come = |media, at| arrivals.is_news(MediaTime::from_millis(media), began + Duration::from_millis(at));
        assert!(come(0, 300), "the first");
        assert!(!come(40, 340), "as late as before");
        assert!(!come(80, 400), "later");
        assert!(come(120, 401), "less late");
        assert!(!come(160, 450), "later than the least");
        assert!(come(3_600_160, 451), "a jump forwards");
        assert!(come(3_601_200, 1_500), "another second");
        assert!(!come(0, 1_501), "a jump backwards, which looks like a delay");
    }
}
