//! When the pieces of a slowed response may go on. Knows no host: times come in, waits come out.
//!
//! Pieces leave one after another as over a line of the given rate. What is held goes on together when the first of
//! it is due, and what of it came early is charged to the next; but the end of the body waits for its own time, so the
//! whole never takes less than its size over the rate.

use std::time::Duration;

/// One response. Times are since any fixed moment.
#[derive(Debug)]
pub(crate) struct Pace {
    bytes_per_second: u64,
    /// When everything taken so far has passed the line.
    free: Duration,
    /// When what is held goes on.
    release: Option<Duration>,
    ended: bool,
}

impl Pace {
    pub(crate) fn new(bytes_per_second: u64) -> Pace {
        Pace { bytes_per_second: bytes_per_second.max(1), free: Duration::ZERO, release: None, ended: false }
    }

    pub(crate) fn is_holding(&self) -> bool {
        self.release.is_some()
    }

    /// Takes a piece. `Some`: it is held, together with what is held already, for this long at least.
    pub(crate) fn take(&mut self, now: Duration, bytes: usize, last: bool) -> Option<Duration> {
        let nanos = bytes as u128 * 1_000_000_000 / u128::from(self.bytes_per_second);
        let passing = Duration::from_nanos(nanos.try_into().unwrap_or(u64::MAX));
        self.free = self.free.max(now).saturating_add(passing);
        self.ended |= last;
        if self.release.is_none() && self.free > now {
            self.release = Some(self.free);
        }
        self.release.map(|release| release.saturating_sub(now))
    }

    /// The wait is over: `Some` is how much longer to wait, `None` that what is held goes on.
    pub(crate) fn release(&mut self, now: Duration) -> Option<Duration> {
        let due = if self.ended { self.free } else { self.release? };
        if now < due {
            return Some(due - now);
        }
        self.release = None;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(1_000_000 + ms)
    }

    fn wait(ms: u64) -> Option<Duration> {
        Some(Duration::from_millis(ms))
    }

    #[test]
    fn a_body_in_one_piece_waits_for_its_size_over_the_rate() {
        let mut pace = Pace::new(1000);
        assert_eq!(pace.take(ms(0), 500, true), wait(500));
        assert_eq!(pace.release(ms(499)), wait(1));
        assert_eq!(pace.release(ms(500)), None);
        assert!(!pace.is_holding());
    }

    #[test]
    fn the_end_is_not_let_through_before_its_time() {
        let mut pace = Pace::new(1000);
        assert_eq!(pace.take(ms(0), 100, false), wait(100));
        assert_eq!(pace.take(ms(10), 400, false), wait(90));
        assert_eq!(pace.take(ms(20), 0, true), wait(80));
        assert_eq!(pace.release(ms(100)), wait(400));
        assert_eq!(pace.release(ms(500)), None);
    }

    #[test]
    fn what_went_early_is_charged_to_the_next_piece() {
        let mut pace = Pace::new(1000);
        assert_eq!(pace.take(ms(0), 100, false), wait(100));
        assert_eq!(pace.take(ms(10), 400, false), wait(90));
        assert_eq!(pace.release(ms(100)), None);
        assert_eq!(pace.take(ms(200), 100, true), wait(400));
        assert_eq!(pace.release(ms(600)), None);
    }

    #[test]
    fn a_slow_upstream_is_not_charged_for_its_own_pauses() {
        let mut pace = Pace::new(1000);
        assert_eq!(pace.take(ms(0), 100, false), wait(100));
        assert_eq!(pace.release(ms(100)), None);
        assert_eq!(pace.take(ms(5000), 100, false), wait(100));
        assert_eq!(pace.release(ms(5100)), None);
        assert_eq!(pace.take(ms(9000), 0, true), None);
    }
}
