//! Figures: percentiles of samples, and rows of the table that is printed.

use std::time::Duration;

/// The value below which `percent` of the samples lie. Sorts in place.
pub(crate) fn percentile(samples: &mut [Duration], percent: f64) -> Duration {
    samples.sort_unstable();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index within the samples")]
    let rank = ((samples.len().saturating_sub(1)) as f64 * percent / 100.0).round() as usize;
    samples.get(rank).copied().unwrap_or_default()
}

/// A duration in milliseconds with two decimals.
pub(crate) fn millis(duration: Duration) -> String {
    format!("{:.2} ms", duration.as_secs_f64() * 1e3)
}

/// A rate in megabytes (10^6) per second.
pub(crate) fn megabytes_per_second(bytes: u64, elapsed: Duration) -> f64 {
    bytes as f64 / 1e6 / elapsed.as_secs_f64()
}

/// Prints one row of a Markdown table.
pub(crate) fn row(cells: &[&str]) {
    println!("| {} |", cells.join(" | "));
}
