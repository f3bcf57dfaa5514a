//! How long a guest runs. Reading the clock twice costs a fifth of what a short call does, so calls for exchanges are
//! sampled once there are many of them.

use std::cell::{Cell, RefCell};

/// So many calls are measured one by one before sampling begins.
const EXACT: u32 = 256;

/// After that, one call in so many is measured, picked at random, and stands for the others: callbacks come in patterns,
/// which a regular choice could keep step with.
const SHARE: u8 = 8;

/// Measures the calls of a guest, or of all that are made of one image.
#[derive(Debug)]
pub(crate) struct Stopwatch {
    clock: quanta::Clock,
    exact: Cell<u32>,
    choice: RefCell<fastrand::Rng>,
}

/// A call being measured: when it began, and for how many calls it stands.
#[derive(Clone, Copy)]
pub(crate) struct Lap {
    began: u64,
    calls: u8,
}

impl Stopwatch {
    pub(crate) fn new() -> Stopwatch {
        let choice = RefCell::new(fastrand::Rng::with_seed(0));
        Stopwatch { clock: quanta::Clock::new(), exact: Cell::new(EXACT), choice }
    }

    /// Begins to measure every call.
    pub(crate) fn start(&self) -> Option<Lap> {
        Some(Lap { began: self.clock.raw(), calls: 1 })
    }

    /// Begins to measure a call that is one of many like it, or leaves it to the others.
    pub(crate) fn sample(&self) -> Option<Lap> {
        if self.exact.get() > 0 {
            self.exact.set(self.exact.get() - 1);
            return self.start();
        }
        (self.choice.borrow_mut().u8(..) < u8::MAX / SHARE + 1)
            .then(|| Lap { began: self.clock.raw(), calls: SHARE })
    }

    /// How long the calls took that this one stands for, in nanoseconds.
    pub(crate) fn stop(&self, lap: Option<Lap>) -> u64 {
        lap.map_or(0, |lap| self.clock.delta_as_nanos(lap.began, self.clock.raw()) * u64::from(lap.calls))
    }
}
