//! Waiting for conditions, never for time.

use std::time::{Duration, Instant};

/// The longest that any wait of a test lasts: far beyond what a busy machine needs, so that reaching it is a fault.
pub(crate) const BOUND: Duration = Duration::from_secs(30);

/// Asks again and again until there is an answer, and fails the test when [`BOUND`] passes without one.
///
/// The pause between two questions is only there to leave the processor to those who work on the answer.
pub(crate) fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < BOUND, "waited {BOUND:?} for this, and it did not happen: {what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}
