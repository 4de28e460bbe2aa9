//! Where media time zero lies by the device's monotonic clock, out of arrivals.
//!
//! A unit arrives when it was captured, plus a delay that is never below zero: the camera's encoder, the network, the jitter
//! buffer. So the least of `arrival − media time` is the best of its time. It is taken over the last minute, so that it
//! follows the camera's crystal, in buckets of ten seconds, so that it costs nothing. The buckets of the last half hour tell
//! how fast the crystal is.

use std::collections::VecDeque;
use std::time::Duration;

use crate::limits;

/// The least of each bucket.
#[derive(Debug, Default)]
pub(super) struct Envelope {
    /// Oldest first.
    buckets: VecDeque<Bucket>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    index: u64,
    /// When the least came, and what it was.
    at: Duration,
    least: i64,
}

impl Envelope {
    /// Something arrived `at` this long after the boot; by it, media time zero lies at `zero`.
    pub(super) fn note(&mut self, zero: i64, at: Duration) {
        let index = at.as_secs() / limits::ARRIVAL_BUCKET.as_secs();
        match self.buckets.back_mut() {
            Some(last) if last.index >= index => {
                if zero < last.least {
                    (last.least, last.at) = (zero, at);
                }
            }
            _ => {
                if self.buckets.len() == limits::ARRIVAL_BUCKETS_MAX {
                    self.buckets.pop_front();
                }
                self.buckets.push_back(Bucket { index, at, least: zero });
            }
        }
    }

    /// The least of the last minute.
    pub(super) fn least(&self) -> Option<i64> {
        let newest = self.buckets.back()?.index;
        let recent = self.buckets.iter().rev().take_while(|bucket| newest - bucket.index < limits::ARRIVAL_WINDOW);
        recent.map(|bucket| bucket.least).min()
    }

    /// By how much media time runs faster than the device's clock, in millionths; once a minute is known, and
    /// from where it last moved by more than any crystal does.
    pub(super) fn drift_ppm(&self) -> Option<i64> {
        // The last bucket is not over: its least may yet come.
        let whole = self.buckets.len().checked_sub(1)?;
        let is_step = |i: usize| {
            let step = self.buckets[i].least.abs_diff(self.buckets[i - 1].least);
            u128::from(step) > limits::DRIFT_STEP_MAX.as_nanos()
        };
        let from = (1..whole).rev().find(|&i| is_step(i)).unwrap_or(0);
        let points: Vec<(i128, i128)> = (from..whole)
            .map(|i| {
                let (first, bucket) = (self.buckets[from], self.buckets[i]);
                let millis = i128::try_from((bucket.at - first.at).as_millis()).unwrap_or(0);
                (millis, i128::from(bucket.least - first.least) / 1000)
            })
            .collect();
        if points.len() < limits::DRIFT_BUCKETS_MIN {
            return None;
        }
        slope(&points).and_then(|slope| i64::try_from(-slope).ok())
    }
}

/// The slope of the line nearest to these points of milliseconds and microseconds, in millionths.
fn slope(points: &[(i128, i128)]) -> Option<i128> {
    let n = i128::try_from(points.len()).ok()?;
    let sum = |of: fn(&(i128, i128)) -> i128| points.iter().map(of).sum::<i128>();
    let (x, y, xx, xy) = (sum(|p| p.0), sum(|p| p.1), sum(|p| p.0 * p.0), sum(|p| p.0 * p.1));
    let below = n * xx - x * x;
    (below > 0).then(|| 1000 * (n * xy - x * y) / below)
}
