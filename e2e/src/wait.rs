//! Waiting for something that another process will do.

use std::thread;
use std::time::{Duration, Instant};

/// Asks again and again until there is an answer, or fails with what was waited for.
pub fn until<T>(what: &str, deadline: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    within(deadline, &mut ask).unwrap_or_else(|| panic!("{what}: not within {deadline:?}"))
}

/// Asks again and again until there is an answer or the time is over.
pub fn within<T>(deadline: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + deadline;
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if Instant::now() > end {
            return None;
        }
        thread::sleep(Duration::from_millis(50));
    }
}
