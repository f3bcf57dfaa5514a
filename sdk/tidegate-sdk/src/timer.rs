//! What has to happen later: the deadlines of the exchanges of one root context, on the root's one tick.
//!
//! It knows no host: `dispatch` passes the time in and performs what comes out.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::exchange::Exchange;

/// What to do for an exchange when its time has come.
pub(crate) type Later = Box<dyn FnOnce(&Exchange)>;

/// Deadlines, soonest first. Times are since 1970, as the host tells them.
#[derive(Default)]
pub(crate) struct Timers {
    waiting: BTreeMap<(Duration, u64), (u32, Later)>,
    added: u64,
    /// When the host was asked to tick next.
    armed: Option<Duration>,
}

impl Timers {
    /// Returns the tick period to set, if this deadline comes before what the host is waiting for.
    pub(crate) fn add(
        &mut self,
        now: Duration,
        after: Duration,
        context: u32,
        later: Later,
    ) -> Option<Duration> {
        let deadline = now + after;
        self.added += 1;
        self.waiting.insert((deadline, self.added), (context, later));
        if self.armed.is_some_and(|armed| armed <= deadline) {
            return None;
        }
        self.armed = Some(deadline);
        Some(period(now, deadline))
    }

    /// Takes what is due, in the order of the deadlines.
    pub(crate) fn take_due(&mut self, now: Duration) -> Vec<(u32, Later)> {
        let not_due = self.waiting.split_off(&(now, u64::MAX));
        std::mem::replace(&mut self.waiting, not_due).into_values().collect()
    }

    /// The tick period to set after a tick; zero when nothing waits.
    pub(crate) fn rearm(&mut self, now: Duration) -> Duration {
        self.armed = self.waiting.keys().next().map(|(deadline, _)| *deadline);
        self.armed.map_or(Duration::ZERO, |deadline| period(now, deadline))
    }

    /// Forgets what an exchange that is over was waiting for.
    pub(crate) fn cancel(&mut self, context: u32) {
        if !self.waiting.is_empty() {
            self.waiting.retain(|_, (owner, _)| *owner != context);
        }
    }
}

/// Hosts tick in whole milliseconds: rounded up, so that a tick does not come just before its deadline.
fn period(now: Duration, deadline: Duration) -> Duration {
    let left = deadline.saturating_sub(now);
    Duration::from_millis((left.as_nanos().div_ceil(1_000_000) as u64).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn nothing() -> Later {
        Box::new(|_| {})
    }

    #[test]
    fn the_host_is_asked_to_tick_for_the_soonest_deadline_only() {
        let (mut timers, now) = (Timers::default(), Duration::from_secs(100));
        assert_eq!(timers.add(now, 50 * MS, 7, nothing()), Some(50 * MS));
        assert_eq!(timers.add(now, 80 * MS, 8, nothing()), None);
        assert_eq!(timers.add(now + MS, 10 * MS, 9, nothing()), Some(10 * MS));

        let later = now + 50 * MS;
        let due: Vec<u32> = timers.take_due(later).into_iter().map(|(context, _)| context).collect();
        assert_eq!(due, [9, 7]);
        assert_eq!(timers.rearm(later), 30 * MS);
        timers.cancel(8);
        assert_eq!(timers.rearm(later), Duration::ZERO);
        assert_eq!(timers.add(later, MS / 3, 7, nothing()), Some(MS));
        timers.cancel(7);
        assert_eq!(timers.rearm(later), Duration::ZERO);
        assert_eq!(timers.add(later, MS + MS / 3, 7, nothing()), Some(2 * MS), "never before the deadline");
    }
}
