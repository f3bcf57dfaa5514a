//! How much work may come of files that change: whoever writes all the time is not to have the machine.

use std::time::Duration;

use tokio::time::Instant;

/// Work that is done without a pause where there was none for a while.
const BURST: Duration = Duration::from_secs(5);

/// How long it takes to earn a part of it, as a multiple of that: a third of one core goes into it at most.
const PRICE: u32 = 3;

/// Time that may be worked.
#[derive(Debug)]
pub(super) struct Allowance {
    /// What is spent of [`BURST`], or more than that.
    spent: Duration,
    at: Instant,
}

impl Allowance {
    pub(super) fn new(now: Instant) -> Allowance {
        Allowance { spent: Duration::ZERO, at: now }
    }

    /// Notes work that has ended. How long there is to be none.
    pub(super) fn spend(&mut self, worked: Duration, now: Instant) -> Duration {
        let earned = (now - self.at) / PRICE;
        self.spent = self.spent.saturating_sub(earned) + worked;
        self.at = now;
        self.spent.saturating_sub(BURST) * PRICE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_changes_in_a_row_are_free_and_all_the_time_is_a_third() {
        let (began, each) = (Instant::now(), Duration::from_millis(500));
        let (mut allowance, mut now, mut free) = (Allowance::new(began), began, 0);
        for _ in 0..1000 {
            now += each;
            let pause = allowance.spend(each, now);
            free += u32::from(pause.is_zero());
            now += pause;
        }
        assert!((10..20).contains(&free), "{free} without a pause");
        let share = (1000 * each).as_secs_f64() / (now - began).as_secs_f64();
        assert!(share < 0.34, "{share} of the time");
    }
}
