//! Deadlines of the futures of one root context, on the root's one tick.
//!
//! [`Timers`] knows no host: times are passed in, and what to ask of the host comes out.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::host;
use crate::scope::Services;

/// One deadline among those of the same moment.
type Key = (Duration, u64);

/// Deadlines, soonest first. Times are those of the host's monotonic clock: one that is set does not move them.
#[derive(Default)]
pub(crate) struct Timers {
    waiting: BTreeMap<Key, Waker>,
    added: u64,
    /// When the host was asked to tick next.
    armed: Option<Duration>,
}

impl Timers {
    /// Has `waker` woken at `deadline`. Returns the tick period to set, if that comes before what the host is waiting for.
    pub(crate) fn add(&mut self, now: Duration, deadline: Duration, waker: Waker) -> (Key, Option<Duration>) {
        self.added += 1;
        let key = (deadline, self.added);
        self.waiting.insert(key, waker);
        (key, self.arm(now, deadline))
    }

    /// Asks for a tick at `deadline`, or before. Returns the tick period to set, if there is one to set.
    pub(crate) fn arm(&mut self, now: Duration, deadline: Duration) -> Option<Duration> {
        if self.armed.is_some_and(|armed| armed <= deadline) {
            return None;
        }
        // Others wait for an earlier one only if their tick was refused.
        let soonest = self.waiting.keys().next().map_or(deadline, |(first, _)| deadline.min(*first));
        self.armed = Some(soonest);
        Some(period(now, soonest))
    }

    /// The host refused to tick: the next that waits asks again.
    pub(crate) fn disarm(&mut self) {
        self.armed = None;
    }

    /// Takes out what is due, in the order of the deadlines. Wake it when nothing is borrowed.
    pub(crate) fn take_due(&mut self, now: Duration) -> BTreeMap<Key, Waker> {
        let not_due = self.waiting.split_off(&(now, u64::MAX));
        std::mem::replace(&mut self.waiting, not_due)
    }

    /// The tick period to set after a tick; zero when nothing waits.
    pub(crate) fn rearm(&mut self, now: Duration) -> Duration {
        self.armed = self.waiting.keys().next().map(|(deadline, _)| *deadline);
        self.armed.map_or(Duration::ZERO, |deadline| period(now, deadline))
    }
}

/// Hosts tick in whole milliseconds: rounded up, so that a tick does not come just before its deadline.
fn period(now: Duration, deadline: Duration) -> Duration {
    let left = deadline.saturating_sub(now);
    Duration::from_millis((left.as_nanos().div_ceil(1_000_000) as u64).max(1))
}

/// Waits; see [`Exchange::sleep`](crate::Exchange::sleep). Its time begins when it is made, not when it is awaited.
///
/// ```no_run
/// # use std::time::Duration;
/// # use tidegate_sdk::Exchange;
/// async fn at_least(exchange: &Exchange, work: impl Future<Output = ()>) {
///     let second = exchange.sleep(Duration::from_secs(1));
///     work.await;
///     second.await; // what is left of it
/// }
/// ```
#[must_use = "a sleep waits when it is awaited"]
pub struct Sleep {
    services: Rc<Services>,
    deadline: Duration,
    key: Option<Key>,
}

impl Sleep {
    pub(crate) fn new(services: Rc<Services>, duration: Duration) -> Sleep {
        Sleep { services, deadline: host::monotonic().saturating_add(duration), key: None }
    }

    fn forget(&mut self) {
        if let Some(key) = self.key.take() {
            let waker = self.services.timers.borrow_mut().waiting.remove(&key);
            drop(waker); // nothing is borrowed: a waker of another crate may do anything here
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.forget();
        let now = host::monotonic();
        if now >= self.deadline {
            return Poll::Ready(());
        }
        let (key, period) = self.services.timers.borrow_mut().add(now, self.deadline, cx.waker().clone());
        self.key = Some(key);
        self.services.tick_after(period);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.forget();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};
    use std::task::Wake;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Notes the order in which wakers were woken.
    struct Note(usize, Arc<Mutex<Vec<usize>>>, AtomicUsize);

    impl Wake for Note {
        fn wake(self: Arc<Self>) {
            self.2.fetch_add(1, Ordering::Relaxed);
            self.1.lock().unwrap().push(self.0);
        }
    }

    #[test]
    fn the_host_is_asked_to_tick_for_the_soonest_deadline_only() {
        let woken = Arc::new(Mutex::new(Vec::new()));
        let waker = |name| Waker::from(Arc::new(Note(name, woken.clone(), AtomicUsize::new(0))));
        let (mut timers, now) = (Timers::default(), Duration::from_secs(100));
        assert_eq!(timers.add(now, now + 50 * MS, waker(7)).1, Some(50 * MS));
        let (eight, period) = timers.add(now, now + 80 * MS, waker(8));
        assert_eq!(period, None);
        assert_eq!(timers.add(now + MS, now + 11 * MS, waker(9)).1, Some(10 * MS));

        let later = now + 50 * MS;
        timers.take_due(later).into_values().for_each(Waker::wake);
        assert_eq!(*woken.lock().unwrap(), [9, 7]);
        assert_eq!(timers.rearm(later), 30 * MS);
        timers.waiting.remove(&eight);
        assert_eq!(timers.rearm(later), Duration::ZERO);
        assert_eq!(timers.arm(later, later + MS / 3), Some(MS));
        assert_eq!(timers.rearm(later), Duration::ZERO);
        let (_, period) = timers.add(later, later + MS + MS / 3, waker(1));
        assert_eq!(period, Some(2 * MS), "never before the deadline");
    }

    #[test]
    fn a_tick_that_was_refused_is_asked_for_again() {
        let waker = || Waker::noop().clone();
        let (mut timers, now) = (Timers::default(), Duration::from_secs(100));
        assert_eq!(timers.add(now, now + 50 * MS, waker()).1, Some(50 * MS));
        timers.disarm();
        assert_eq!(timers.add(now + MS, now + 80 * MS, waker()).1, Some(49 * MS), "for those before it, too");
    }
}
