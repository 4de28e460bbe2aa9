//! How often operations may be called: AWS's quotas, for those who want to see how their programs fare under them.
//!
//! Each operation has a bucket of tokens for all its calls together, and one for each stream where AWS counts by stream. A
//! bucket fills at its rate and holds a second's worth. Whoever finds it empty is told ClientLimitExceededException, on
//! which AWS's clients wait and try again. Without a profile nothing is counted.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use fragment::StreamName;

use super::refusal::Refusal;
use crate::config::Limits;
use crate::limits;

/// Calls a second of one operation.
struct Quota {
    operation: &'static str,
    /// Of all together.
    account: Option<u32>,
    /// For one stream.
    stream: Option<u32>,
}

const AWS: [Quota; 25] = [
    quota("CreateStream", Some(50), None),
    quota("DescribeStream", Some(300), Some(5)),
    quota("GetDataEndpoint", Some(300), Some(5)),
    quota("ListStreams", Some(50), None),
    quota("ListEdgeAgentConfigurations", Some(50), None),
    quota("DeleteStream", Some(50), Some(5)),
    quota("UpdateStream", Some(50), Some(5)),
    quota("UpdateDataRetention", Some(50), Some(5)),
    quota("TagStream", Some(50), Some(5)),
    quota("UntagStream", Some(50), Some(5)),
    quota("ListTagsForStream", Some(50), Some(5)),
    quota("DescribeImageGenerationConfiguration", Some(50), Some(5)),
    quota("UpdateImageGenerationConfiguration", Some(50), Some(5)),
    quota("DescribeNotificationConfiguration", Some(50), Some(5)),
    quota("UpdateNotificationConfiguration", Some(50), Some(5)),
    quota("DescribeStreamStorageConfiguration", Some(50), Some(5)),
    quota("UpdateStreamStorageConfiguration", Some(50), Some(5)),
    quota("DescribeEdgeConfiguration", Some(50), Some(5)),
    quota("StartEdgeConfigurationUpdate", Some(10), Some(1)),
    quota("DeleteEdgeConfiguration", Some(10), Some(1)),
    quota("PutMedia", None, Some(5)),
    quota("GetMedia", None, Some(5)),
    quota("GetHLSStreamingSessionURL", None, Some(25)),
    quota("GetDASHStreamingSessionURL", None, Some(25)),
    quota("GetImages", None, Some(5)),
];

const fn quota(operation: &'static str, account: Option<u32>, stream: Option<u32>) -> Quota {
    Quota { operation, account, stream }
}

/// What is left of each quota.
pub(super) struct CallRates {
    table: &'static [Quota],
    buckets: Mutex<HashMap<(&'static str, Option<StreamName>), Bucket>>,
}

/// Tokens at a time.
#[derive(Clone, Copy)]
struct Bucket {
    rate: f64,
    tokens: f64,
    at: Instant,
}

impl CallRates {
    /// Those of a profile.
    pub(super) fn new(profile: Limits) -> Self {
        let table: &[Quota] = match profile {
            Limits::Own => &[],
            Limits::Aws => &AWS,
        };
        Self { table, buckets: Mutex::default() }
    }

    /// Takes a call of an operation, for a stream if it is for one.
    pub(super) fn take(&self, operation: &str, stream: Option<&StreamName>, now: Instant) -> Result<(), Refusal> {
        let Some(quota) = self.table.iter().find(|quota| quota.operation == operation) else { return Ok(()) };
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= limits::QUOTA_BUCKETS_MAX {
            buckets.retain(|_, bucket| !bucket.is_full(now));
        }
        let whose =
            [quota.account.map(|rate| (None, rate)), stream.cloned().zip(quota.stream).map(|(s, r)| (Some(s), r))];
        for (stream, rate) in whose.into_iter().flatten() {
            let bucket = buckets.entry((quota.operation, stream.clone())).or_insert_with(|| Bucket::full(rate, now));
            if !bucket.take(now) {
                let of = stream.map_or_else(String::new, |stream| format!(" for the stream {stream}"));
                let why = format!("{operation} may be called {rate} times a second{of}; try again later.");
                return Err(Refusal::LimitExceeded(why));
            }
        }
        Ok(())
    }
}

impl Bucket {
    fn full(rate: u32, now: Instant) -> Self {
        let rate = f64::from(rate);
        Self { rate, tokens: rate, at: now }
    }

    fn tokens(&self, now: Instant) -> f64 {
        (self.tokens + self.rate * now.saturating_duration_since(self.at).as_secs_f64()).min(self.rate)
    }

    fn is_full(&self, now: Instant) -> bool {
        self.tokens(now) >= self.rate
    }

    fn take(&mut self, now: Instant) -> bool {
        let tokens = self.tokens(now);
        (self.tokens, self.at) = (tokens, now);
        if tokens < 1.0 {
            return false;
        }
        self.tokens = tokens - 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_seconds_worth_may_come_at_once_and_the_rest_at_the_rate() {
        let (rates, now) = (CallRates::new(Limits::Aws), Instant::now());
        let taken = |count: usize, now: Instant| (0..count).filter(|_| call(&rates, "front", now)).count();
        assert_eq!(taken(10, now), 5);
        assert_eq!(taken(10, now + Duration::from_millis(199)), 0);
        assert_eq!(taken(10, now + Duration::from_millis(401)), 2);
        assert_eq!(taken(10, now + Duration::from_secs(60)), 5, "and no more than that is saved up");
    }

    #[test]
    fn streams_and_operations_do_not_take_from_each_other() {
        let (rates, now) = (CallRates::new(Limits::Aws), Instant::now());
        while call(&rates, "front", now) {}
        assert!(call(&rates, "back", now));
        assert!(rates.take("GetDataEndpoint", Some(&name("front")), now).is_ok());
    }

    #[test]
    fn all_streams_together_have_a_quota_too() {
        let (rates, now) = (CallRates::new(Limits::Aws), Instant::now());
        let taken = (0..1000).filter(|at| call(&rates, &format!("stream-{at}"), now)).count();
        assert_eq!(taken, 300);
        assert!(rates.take("DescribeStream", None, now).unwrap_err().to_string().contains("300 times a second"));
    }

    #[test]
    fn without_a_profile_nothing_is_counted() {
        let (rates, now) = (CallRates::new(Limits::Own), Instant::now());
        assert!((0..10_000).all(|_| call(&rates, "front", now)));
        assert!(rates.buckets.lock().unwrap().is_empty());
    }

    #[test]
    fn buckets_that_are_full_again_are_forgotten() {
        let (rates, now) = (CallRates::new(Limits::Aws), Instant::now());
        for at in 0..limits::QUOTA_BUCKETS_MAX {
            let _ = rates.take("PutMedia", Some(&name(&format!("stream-{at}"))), now);
        }
        assert_eq!(rates.buckets.lock().unwrap().len(), limits::QUOTA_BUCKETS_MAX);
        assert!(call(&rates, "front", now + Duration::from_secs(1)));
        assert_eq!(rates.buckets.lock().unwrap().len(), 2);
    }

    fn call(rates: &CallRates, stream: &str, now: Instant) -> bool {
        rates.take("DescribeStream", Some(&name(stream)), now).is_ok()
    }

    fn name(text: &str) -> StreamName {
        text.parse().unwrap()
    }
}
