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

    /// Counts a request of this key if it is within the limit. `now` is since 1970; not every algorithm asks for it. Let it
    /// be the same for all that is done for one request: what is taken back is taken out of the window that it was put in.
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

    /// Decides by the counts of the interval before and of this one, the request included. In whole numbers: who comes
    /// back at the moment that was named must not be late or early by a rounding.
    fn decide(&self, most: u32, before: u64, counted: u64) -> Decision {
        let length = self.length.as_nanos().max(1);
        let left = length.saturating_sub(self.passed.as_nanos());
        let (most, before, counted) = (u128::from(most), u128::from(before), u128::from(counted));
        // Requests times the time for which they count.
        let (room, reach) = (most * length, before * left + counted * length);
        let allowed = reach <= room;
        // The others of this interval, which stay in it whatever happens to this request.
        let others = counted - 1;
        let retry_after = (!allowed).then(|| {
            if counted <= most {
                // Within this interval, when enough of the one before is out of reach.
                left - (most - counted) * length / before.max(1)
            } else {
                // In the next, when enough of this one is.
                left + length - (most - 1) * length / others.max(1)
            }
        });
        let used = if allowed { reach } else { reach - length };
        let reset = if allowed || others > 0 { left + length } else { left };
        Decision {
            retry_after: retry_after.map(from_nanos),
            remaining: u32::try_from(room.saturating_sub(used) / length).unwrap_or(u32::MAX),
            reset: from_nanos(reset),
        }
    }
}

fn from_nanos(nanoseconds: u128) -> Duration {
    Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
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
        let lengths =
            [Duration::from_millis(7), Duration::from_secs(7), MINUTE, Duration::from_secs(366 * 86_400)];
        for length in lengths {
            for tenths in 0..10 {
                for most in 1..12 {
                    for (before, counted) in
                        (0..40).flat_map(|before| (1..14).map(move |counted| (before, counted)))
                    {
                        assert_let_through(
                            length * 100 + length / 10 * tenths,
                            length,
                            most,
                            before,
                            counted,
                        );
                    }
                }
            }
        }
    }

    /// Who is refused is refused until the moment that was named, and let through then.
    fn assert_let_through(now: Duration, length: Duration, most: u32, before: u64, counted: u64) {
        let Some(wait) = Window::at(now, length).decide(most, before, counted).retry_after else { return };
        let others = counted - 1;
        let decide = |at| {
            let window = Window::at(at, length);
            match window.index {
                100 => window.decide(most, before, others + 1),
                101 => window.decide(most, others, 1),
                _ => window.decide(most, 0, 1),
            }
        };
        let said =
            format!("{most} in {length:?} at {now:?}, {before} before, {counted} counted: after {wait:?}");
        assert_eq!(decide(now + wait).retry_after, None, "{said}");
        assert!(
            decide(now + wait - Duration::from_nanos(1)).retry_after.is_some(),
            "{said}, and not earlier"
        );
    }
}
