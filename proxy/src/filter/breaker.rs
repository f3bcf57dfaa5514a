//! When a filter that fails again and again is left alone, and how long one that failed waits for its successor.
//!
//! Only a fault looks at the clock, and an exchange while the breaker is open: nothing is paid while all goes well.

use std::time::{Duration, Instant};

use crate::config::model::{self, Reload};
use crate::wasm::Services;

/// The longest that a breaker is open.
const LONGEST_OPEN: Duration = Duration::from_secs(3600);

/// A filter's breaker on one worker.
#[derive(Debug)]
pub(super) struct Breaker {
    settings: model::Breaker,
    /// Exchanges that the filter was called for, ever.
    entered: u64,
    window: Option<Window>,
    open_until: Option<Instant>,
    /// How often it opened without having been well in between.
    strikes: u32,
}

/// Whether a filter is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// As ever.
    Usual,
    /// For the first time after it was left alone.
    Trial,
    /// Not at all: it is left alone.
    Refused,
}

/// The faults that are counted together.
#[derive(Debug)]
struct Window {
    since: Instant,
    /// What `entered` was then.
    entered: u64,
    faults: u64,
}

impl Breaker {
    pub(super) fn new(settings: &model::Breaker) -> Breaker {
        Breaker { settings: settings.clone(), entered: 0, window: None, open_until: None, strikes: 0 }
    }

    /// What becomes of an exchange that comes now.
    pub(super) fn admit(&mut self, now: impl FnOnce() -> Instant) -> Admission {
        let Some(until) = self.open_until else { return Admission::Usual };
        let now = now();
        if now < until {
            return Admission::Refused;
        }
        self.open_until = None;
        self.window = Some(Window { since: now, entered: self.entered, faults: 0 });
        Admission::Trial
    }

    /// Counts an exchange that the filter is called for.
    pub(super) fn note_exchange(&mut self) {
        self.entered += 1;
    }

    /// Counts a fault. For how long the filter is left alone, if that is from now on.
    pub(super) fn note_fault(&mut self, services: &Services) -> Option<Duration> {
        let now = services.clock.monotonic();
        let entered = self.entered;
        let fresh = || Window { since: now, entered: entered.saturating_sub(1), faults: 0 };
        let window = self.window.get_or_insert_with(fresh);
        if now.saturating_duration_since(window.since) > self.settings.interval {
            *window = fresh();
            self.strikes = 0;
        }
        window.faults += 1;
        // One that was left alone, and fails at once, is left alone again.
        let enough = if self.strikes > 0 { 1 } else { self.settings.faults };
        let is_most = window.faults * 2 >= entered.saturating_sub(window.entered);
        if self.settings.faults == 0 || self.open_until.is_some() || window.faults < enough || !is_most {
            return None;
        }
        let open_for = self.settings.open_for.saturating_mul(1 << self.strikes.min(16)).min(LONGEST_OPEN);
        self.strikes += 1;
        self.open_until = Some(now + jittered(open_for, services));
        Some(open_for)
    }
}

/// How long the next guest of a slot waits for the last one.
#[derive(Debug)]
pub(super) struct Backoff {
    settings: Reload,
    made: Instant,
    wait: Duration,
    failures: u32,
}

impl Backoff {
    /// A guest was made for the first time.
    pub(super) fn new(settings: &Reload, now: Instant) -> Backoff {
        Backoff { settings: settings.clone(), made: now, wait: Duration::ZERO, failures: 0 }
    }

    /// Whether another may be made now. It counts as made.
    pub(super) fn may_rebuild(&mut self, services: &Services) -> bool {
        let now = services.clock.monotonic();
        let lived = now.saturating_duration_since(self.made);
        if lived < self.wait {
            return false;
        }
        if lived >= self.settings.max_interval {
            self.failures = 0;
        }
        let wait = self.settings.base_interval.saturating_mul(1 << self.failures.min(16));
        self.wait = jittered(wait.min(self.settings.max_interval), services);
        self.failures += 1;
        self.made = now;
        true
    }
}

/// Up to half longer.
fn jittered(wait: Duration, services: &Services) -> Duration {
    let mut byte = [0];
    // Without randomness there is none in the wait, which then is as good as another's.
    let _ = services.randomness.fill(&mut byte);
    wait + wait * u32::from(byte[0]) / 512
}
