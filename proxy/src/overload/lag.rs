//! How late a worker gets round to what is due: the one measure of how busy it is that has no unit to guess.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::Admission;

/// So many times in a row: something long may happen once.
const TIMES: u32 = 3;

/// How often it is looked at, at most and at least.
const PERIODS: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(100));

/// Has the worker refuse requests for as long as it is late by `limit`. Until it is dropped.
pub(crate) async fn keep_pace(admission: Rc<Admission>, limit: Duration) {
    struct OnTime(Rc<Admission>);
    impl Drop for OnTime {
        fn drop(&mut self) {
            self.0.is_late.set(false);
        }
    }
    let admission = OnTime(admission);
    let period = (limit / 4).clamp(PERIODS.0, PERIODS.1);
    let mut pace = Pace { limit, late: 0 };
    loop {
        let due = Instant::now() + period;
        sleep_until(due).await;
        let is_late = pace.is_late(due.elapsed());
        if admission.0.is_late.replace(is_late) != is_late {
            let lag_ms = due.elapsed().as_millis() as u64;
            match is_late {
                true => tracing::warn!(lag_ms, "this worker is late: it refuses requests"),
                false => tracing::info!("this worker is on time again: it takes requests"),
            }
        }
    }
}

/// How late it was the last times.
struct Pace {
    limit: Duration,
    /// So many times in a row by the limit.
    late: u32,
}

impl Pace {
    /// Whether it is late, now that it was by so much. Once it is, it is until it was by less than half the limit.
    fn is_late(&mut self, lag: Duration) -> bool {
        if lag >= self.limit {
            self.late = self.late.saturating_add(1);
        } else if self.late < TIMES || lag < self.limit / 2 {
            self.late = 0;
        }
        self.late >= TIMES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_is_late_once_sheds_nothing_and_one_that_stays_late_does_until_it_is_not() {
        let mut pace = Pace { limit: Duration::from_millis(100), late: 0 };
        let lags = [300, 300, 99, 100, 100, 100, 60, 99, 51, 49, 200, 10];
        let late = lags.map(|lag| pace.is_late(Duration::from_millis(lag)));
        let expected = [false, false, false, false, false, true, true, true, true, false, false, false];
        assert_eq!(late, expected);
    }
}
