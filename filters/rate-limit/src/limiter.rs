//! The one place that decides: whether a request of a key is within a limit.
//!
//! [`Limiter`] is the seam: it counts in what the workers of one proxy share. One that asks a service for the limits of
//! many proxies takes its place.

use std::time::Duration;

use tidegate_sdk::{CellError, Cells, TokenBucket};

use crate::rate::Rate;

/// What is allowed to one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limit {
    pub(crate) rate: Rate,
    /// The most requests at one moment; of a sliding window, at any moment and in any window.
    pub(crate) burst: u32,
    pub(crate) algorithm: Algorithm,
}

/// How requests are counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Algorithm {
    /// A bucket of `burst` tokens that gains `rate` evenly; each request takes one.
    #[default]
    TokenBucket,
    /// At most `rate` in any interval of that length. Requests are counted in intervals that follow each other, and the
    /// last but one counts for the share of it that is still within reach.
    SlidingWindow,
}

/// What was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Decision {
    /// `None`: the request is within the limit, and was counted. Else it was not, and may be tried again after this time.
    pub(crate) retry_after: Option<Duration>,
    /// How many more requests would be allowed now.
    pub(crate) remaining: u32,
    /// When all of the limit is there again.
    pub(crate) reset: Duration,
}

/// Decides.
#[derive(Debug)]
pub(crate) struct Limiter {
    cells: Cells,
}

impl Limiter {
    pub(crate) fn new() -> Limiter {
        // Filters of one `vm_id` share their cells: each filter counts for itself.
        Limiter { cells: Cells::of_this_filter() }
    }

    /// Counts a request of this key if it is within the limit. `now` is since 1970; not every algorithm asks for it.
    pub(crate) fn decide(
        &self,
        key: &[u8],
        limit: &Limit,
        now: impl FnOnce() -> Duration,
    ) -> Result<Decision, CellError> {
        match limit.algorithm {
            Algorithm::TokenBucket => {
                let taken = self.cells.take(key, limit.bucket(), 1)?;
                Ok(Decision {
                    retry_after: taken.retry_after,
                    remaining: taken.remaining,
                    reset: taken.reset,
                })
            }
            Algorithm::SlidingWindow => self.slide(key, limit, now()),
        }
    }

    /// Takes a request back that was counted and then refused for another reason.
    pub(crate) fn take_back(
        &self,
        key: &[u8],
        limit: &Limit,
        now: impl FnOnce() -> Duration,
    ) -> Result<(), CellError> {
        match limit.algorithm {
            Algorithm::TokenBucket => self.cells.give_back(key, limit.bucket(), 1).map(drop),
            Algorithm::SlidingWindow => {
                let window = Window::at(now(), limit.rate.interval);
                self.cells.add(window.key(key, 0), -1, Some(window.life())).map(drop)
            }
        }
    }

    fn slide(&self, key: &[u8], limit: &Limit, now: Duration) -> Result<Decision, CellError> {
        let window = Window::at(now, limit.rate.interval);
        let own = window.key(key, 0);
        // Counted first and taken back if it is too many: two workers that ask first would both be told yes.
        let counted = self.cells.add(&own, 1, Some(window.life()))?.count;
        let before = self.cells.add(window.key(key, 1), 0, None)?.count;
        let decision = window.decide(limit.rate.requests, before.max(0) as u64, counted.max(1) as u64);
        if decision.retry_after.is_some() {
            self.cells.add(&own, -1, Some(window.life()))?;
        }
        Ok(decision)
    }
}

impl Limit {
    fn bucket(&self) -> TokenBucket {
        TokenBucket { burst: self.burst, tokens: self.rate.requests, interval: self.rate.interval }
    }
}

/// One interval of a sliding window, and how much of it has passed.
#[derive(Debug, Clone, Copy)]
struct Window {
    index: u64,
    passed: Duration,
    length: Duration,
}

impl Window {
    fn at(now: Duration, length: Duration) -> Window {
        let (now_ns, length_ns) = (now.as_nanos(), length.as_nanos().max(1));
        let passed = Duration::from_nanos((now_ns % length_ns) as u64);
        Window { index: (now_ns / length_ns) as u64, passed, length }
    }

    /// A counter lives until nobody looks at it: to the end of the interval after its own.
    fn life(&self) -> Duration {
        self.length * 2
    }

    fn key(&self, key: &[u8], back: u64) -> Vec<u8> {
        [key, &self.index.wrapping_sub(back).to_le_bytes()].concat()
    }

    /// Decides by the counts of the interval before and of this one, the request included.
    fn decide(&self, most: u32, before: u64, counted: u64) -> Decision {
        let length = self.length.as_secs_f64();
        let left = (length - self.passed.as_secs_f64()).max(0.0);
        let weight = left / length;
        let reach = before as f64 * weight + counted as f64;
        let most = f64::from(most);
        let allowed = reach <= most;
        // The others of this interval, which stay in it whatever happens to this request.
        let others = (counted - 1) as f64;
        let retry_after = (!allowed).then(|| {
            let wait = if others + 1.0 <= most {
                // Within this interval, when enough of the one before is out of reach.
                left - (most - others - 1.0) / before as f64 * length
            } else {
                // In the next, when enough of this one is.
                left + (1.0 - (most - 1.0) / others) * length
            };
            Duration::from_secs_f64(wait.clamp(0.0, 2.0 * length))
        });
        let used = if allowed { reach } else { reach - 1.0 };
        let reset = if allowed || others > 0.0 { left + length } else { left };
        Decision {
            retry_after,
            remaining: (most - used).max(0.0) as u32,
            reset: Duration::from_secs_f64(reset),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn window(passed: u64) -> Window {
        Window::at(Duration::from_secs(6000 + passed), MINUTE)
    }

    #[test]
    fn a_window_knows_where_it_is() {
        let window = window(15);
        assert_eq!((window.index, window.passed), (100, Duration::from_secs(15)));
        assert_ne!(window.key(b"k", 0), window.key(b"k", 1));
    }

    #[test]
    fn the_interval_before_counts_for_what_is_within_reach() {
        // A quarter has passed: three quarters of 40 are 30, and 30 are left of 60.
        assert_eq!(window(15).decide(60, 40, 30).retry_after, None);
        assert_eq!(window(15).decide(60, 40, 30).remaining, 0);
        assert!(window(15).decide(60, 40, 31).retry_after.is_some());
        assert_eq!(window(15).decide(60, 0, 1).remaining, 59);
    }

    #[test]
    fn a_request_that_comes_back_in_time_is_let_through() {
        for (passed, most, before, counted) in
            [(15, 60, 40, 31), (0, 10, 10, 1), (30, 10, 3, 11), (59, 1, 0, 2)]
        {
            let refused = window(passed).decide(most, before, counted);
            let wait = refused.retry_after.expect("it is too many");
            let later = Duration::from_secs(6000 + passed) + wait + Duration::from_micros(1);
            let later_window = Window::at(later, MINUTE);
            let others = counted - 1;
            let again = match later_window.index {
                100 => later_window.decide(most, before, others + 1),
                101 => later_window.decide(most, others, 1),
                _ => later_window.decide(most, 0, 1),
            };
            assert_eq!(again.retry_after, None, "{passed} {most} {before} {counted}: after {wait:?}");
        }
    }
}
